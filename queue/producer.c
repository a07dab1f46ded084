#include "queue/producer.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "engine/base/mem.h"
#include "queue/keys.h"
#include "queue/producer_internal.h"

enum {
    WAIT_STEP_MS = 20,
    EVENTS_PER_READ = 500,
};

void producer_pause_ms(int ms)
{
    struct timespec time = { .tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000 };
    nanosleep(&time, NULL);
}

int64_t producer_wall_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- opening ---- */

/* Reads how the queue is laid out; what isn't there yet is written when `partitions` says how. */
static bool layout_read(struct producer *producer, unsigned partitions, struct err *err)
{
    struct queue_key meta = queue_key_global(producer->name_space, "meta", SLICE(""));
    struct slice key = queue_key_slice(&meta);
    char number[12], version[12];
    snprintf(number, sizeof number, "%u", partitions);
    snprintf(version, sizeof version, "%d", QUEUE_LAYOUT_VERSION);
    if (partitions > 0 &&
        (!producer_reply_good(producer,
                              PRODUCER_WRITE(producer, err, key, SLICE("HSETNX"), key,
                                             SLICE("version"), slice_str(version)),
                              err) ||
         !producer_reply_good(producer,
                              PRODUCER_WRITE(producer, err, key, SLICE("HSETNX"), key,
                                             SLICE("partitions"), slice_str(number)),
                              err)))
        return false;
    const struct redis_value *reply = PRODUCER_COMMAND(producer, err, key, SLICE("HMGET"), key,
                                                       SLICE("version"), SLICE("partitions"));
    if (!producer_reply_good(producer, reply, err))
        return false;
    uint64_t found_version = redis_value_u64(producer_item(reply, 0)),
             found = redis_value_u64(producer_item(reply, 1));
    if (found == 0)
        return err_set(err, ERR_NOT_FOUND,
                       "no engine has used Redis at %s with the name space '%s' yet",
                       producer->place, producer->name_space);
    if (found_version != QUEUE_LAYOUT_VERSION || found > QUEUE_PARTITIONS_MAX)
        return err_set(err, ERR_REDIS,
                       "Redis at %s holds a queue of layout %llu, this program knows %d",
                       producer->place, (unsigned long long)found_version, QUEUE_LAYOUT_VERSION);
    producer->partitions = (unsigned)found;
    return true;
}

bool producer_open_with(struct producer **out, const struct producer_options *options,
                        struct err *err)
{
    if (!queue_name_valid(slice_str(options->name_space), QUEUE_NAME_SPACE_BYTES_MAX))
        return err_set(err, ERR_CONFIG, "name space '%s': 1–%d letters, digits, '.', '_', '-'",
                       options->name_space, QUEUE_NAME_SPACE_BYTES_MAX);
    struct producer *producer = mem_zalloc(sizeof *producer);
    producer->name_space = slice_dup(slice_str(options->name_space));
    if (!producer_io_open(producer, options, err) ||
        !layout_read(producer, options->partitions, err)) {
        producer_close(&producer);
        return false;
    }
    *out = producer;
    return true;
}

bool producer_open(struct producer **out, const char *url, const char *name_space,
                   unsigned partitions, struct err *err)
{
    const struct producer_options options = { .url = url,
                                              .name_space = name_space,
                                              .partitions = partitions };
    return producer_open_with(out, &options, err);
}

bool producer_reopen(struct producer *producer, const char *url, struct err *err)
{
    (void)url; /* the connection comes back by itself */
    return producer_io_connected(producer, err);
}

void producer_close(struct producer **producer)
{
    struct producer *it = *producer;
    if (!it)
        return;
    producer_io_close(it);
    free(it->event_ids);
    free(it->name_space);
    free(it);
    *producer = NULL;
}

unsigned producer_partitions(const struct producer *producer)
{
    return producer->partitions;
}

/* ---- watching ---- */

static void totals_add(struct producer_totals *totals, struct slice name, uint64_t n)
{
    const struct {
        struct slice name;
        uint64_t *value;
    } fields[] = {
        { SLICE("accepted"), &totals->accepted },   { SLICE("rejected"), &totals->rejected },
        { SLICE("delivered"), &totals->delivered }, { SLICE("bounced"), &totals->bounced },
        { SLICE("expired"), &totals->expired },     { SLICE("suppressed"), &totals->suppressed },
        { SLICE("cancelled"), &totals->cancelled }, { SLICE("deferred"), &totals->deferred },
        { SLICE("unknown"), &totals->unknown },
    };
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        if (slice_eq(fields[i].name, name))
            *fields[i].value += n;
}

bool producer_totals(struct producer *producer, const char *id, struct producer_totals *out,
                     struct err *err)
{
    *out = (struct producer_totals){ 0 };
    producer_pipeline_begin(producer);
    for (unsigned p = 0; p < producer->partitions; p++) {
        struct queue_key key =
            id ? queue_key_partition(producer->name_space, p, "g:", slice_str(id))
               : queue_key_partition(producer->name_space, p, "n", SLICE(""));
        PRODUCER_ADD(producer, queue_key_slice(&key), SLICE("HGETALL"), queue_key_slice(&key));
    }
    if (!producer_pipeline_run(producer, err))
        return false;
    for (const struct producer_call *call = producer_pipeline_first(producer); call;
         call = producer_pipeline_next(producer, call)) {
        const struct redis_value *reply = call->reply;
        if (!producer_reply_good(producer, reply, err))
            return false;
        for (size_t i = 0; i + 1 < reply->count; i += 2)
            totals_add(out, reply->items[i].text, redis_value_u64(&reply->items[i + 1]));
    }
    return true;
}

bool producer_depth(struct producer *producer, struct producer_depth *out, struct err *err)
{
    *out = (struct producer_depth){ 0 };
    static const struct {
        const char *key;
        struct slice verb;
        size_t field;
    } looks[] = {
        { "t", SLICE("ZCARD"), offsetof(struct producer_depth, retrying) },
        { "i", SLICE("HLEN"), offsetof(struct producer_depth, in_flight) },
        { "r:t", SLICE("ZCARD"), offsetof(struct producer_depth, destinations) },
        { "r:d", SLICE("ZCARD"), offsetof(struct producer_depth, destinations) },
        { "r:b", SLICE("ZCARD"), offsetof(struct producer_depth, destinations) },
    };
    struct queue_key submit = queue_key_global(producer->name_space, "submit", SLICE(""));
    struct queue_key dead = queue_key_global(producer->name_space, "dead", SLICE(""));
    producer_pipeline_begin(producer);
    PRODUCER_ADD(producer, queue_key_slice(&submit), SLICE("XLEN"), queue_key_slice(&submit));
    PRODUCER_ADD(producer, queue_key_slice(&dead), SLICE("XLEN"), queue_key_slice(&dead));
    for (unsigned p = 0; p < producer->partitions; p++)
        for (size_t i = 0; i < ARRAY_LEN(looks); i++) {
            struct queue_key key =
                queue_key_partition(producer->name_space, p, looks[i].key, SLICE(""));
            PRODUCER_ADD(producer, queue_key_slice(&key), looks[i].verb, queue_key_slice(&key));
        }
    if (!producer_pipeline_run(producer, err))
        return false;
    unsigned n = 0;
    for (const struct producer_call *call = producer_pipeline_first(producer); call;
         call = producer_pipeline_next(producer, call), n++) {
        uint64_t *const first[2] = { &out->submit_entries, &out->dead_letters };
        uint64_t *sum =
            n < 2 ? first[n]
                  : (uint64_t *)(void *)((char *)out + looks[(n - 2) % ARRAY_LEN(looks)].field);
        if (!producer_reply_good(producer, call->reply, err))
            return false;
        *sum += redis_value_u64(call->reply);
    }
    return true;
}

/* ---- events ---- */

/* Where reading begins: before the first event, or behind the last one that's there now. */
static bool events_begin(struct producer *producer, bool from_start, struct err *err)
{
    char(*ids)[EVENT_ID_BYTES] = mem_array(producer->partitions, sizeof *ids);
    producer_pipeline_begin(producer);
    for (unsigned p = 0; p < producer->partitions; p++) {
        snprintf(ids[p], EVENT_ID_BYTES, "0-0");
        struct queue_key key = queue_key_partition(producer->name_space, p, "ev", SLICE(""));
        if (!from_start)
            PRODUCER_ADD(producer, queue_key_slice(&key), SLICE("XREVRANGE"), queue_key_slice(&key),
                         SLICE("+"), SLICE("-"), SLICE("COUNT"), SLICE("1"));
    }
    bool ok = producer_pipeline_run(producer, err);
    unsigned p = 0;
    for (const struct producer_call *call = producer_pipeline_first(producer); ok && call;
         call = producer_pipeline_next(producer, call), p++) {
        ok = producer_reply_good(producer, call->reply, err);
        if (ok && call->reply->count == 1)
            snprintf(ids[p], EVENT_ID_BYTES, "%.*s",
                     SLICE_FMT(producer_item(&call->reply->items[0], 0)->text));
    }
    if (ok)
        producer->event_ids = ids;
    else
        free(ids);
    return ok;
}

static unsigned partition_of_key(struct slice key)
{
    uint64_t p;
    slice_cut(&key, '{');
    return slice_to_u64(slice_cut(&key, '}'), &p) ? (unsigned)p : 0;
}

/* One stream of an XREAD reply: [key, [[id, [field, value]]…]]. Returns the number of events. */
static size_t events_take(struct producer *producer, const struct redis_value *stream,
                          void (*event)(void *user, struct slice json), void *user)
{
    unsigned p = partition_of_key(producer_item(stream, 0)->text);
    const struct redis_value *entries = producer_item(stream, 1);
    for (size_t i = 0; i < entries->count && p < producer->partitions; i++) {
        const struct redis_value *entry = &entries->items[i], *fields = producer_item(entry, 1);
        snprintf(producer->event_ids[p], EVENT_ID_BYTES, "%.*s",
                 SLICE_FMT(producer_item(entry, 0)->text));
        for (size_t f = 0; f + 1 < fields->count; f += 2)
            if (slice_eq(fields->items[f].text, SLICE("e")))
                event(user, fields->items[f + 1].text);
    }
    return entries->count;
}

/* An XREAD of the partitions from `first` on, `n` of them. */
static void events_ask(struct producer *producer, unsigned first, unsigned n, int wait_ms)
{
    char count[12], block[12];
    snprintf(count, sizeof count, "%d", EVENTS_PER_READ);
    snprintf(block, sizeof block, "%d", wait_ms);
    size_t at = 0;
    struct slice *args = mem_array(6 + 2 * (size_t)n, sizeof *args);
    struct queue_key *keys = mem_array(n, sizeof *keys);
    args[at++] = SLICE("XREAD");
    args[at++] = SLICE("COUNT");
    args[at++] = slice_str(count);
    if (wait_ms > 0) { /* BLOCK 0 would be forever */
        args[at++] = SLICE("BLOCK");
        args[at++] = slice_str(block);
    }
    args[at++] = SLICE("STREAMS");
    for (unsigned i = 0; i < n; i++) {
        keys[i] = queue_key_partition(producer->name_space, first + i, "ev", SLICE(""));
        args[at++] = queue_key_slice(&keys[i]);
    }
    for (unsigned i = 0; i < n; i++)
        args[at++] = slice_str(producer->event_ids[first + i]);
    producer_pipeline_add(producer, queue_key_slice(&keys[0]), false, args, at)->call.extra_ms =
        (unsigned)wait_ms;
    free(args);
    free(keys);
}

/* Reads what is there, or waits for it at one server. */
static bool events_read(struct producer *producer, int wait_ms, size_t *seen,
                        void (*event)(void *user, struct slice json), void *user, struct err *err)
{
    bool cluster = redis_set_kind(producer->set) == REDIS_URL_CLUSTER;
    producer_pipeline_begin(producer);
    if (cluster) /* a command may only name keys of one slot there */
        for (unsigned p = 0; p < producer->partitions; p++)
            events_ask(producer, p, 1, 0);
    else
        events_ask(producer, 0, producer->partitions, wait_ms);
    if (!producer_pipeline_run(producer, err))
        return false;
    for (const struct producer_call *call = producer_pipeline_first(producer); call;
         call = producer_pipeline_next(producer, call)) {
        if (!producer_reply_good(producer, call->reply, err))
            return false;
        for (size_t i = 0; i < call->reply->count; i++)
            *seen += events_take(producer, &call->reply->items[i], event, user);
    }
    return true;
}

bool producer_events(struct producer *producer, bool from_start, int wait_ms,
                     void (*event)(void *user, struct slice json), void *user, struct err *err)
{
    if (!producer->event_ids && !events_begin(producer, from_start, err))
        return false;
    size_t seen = 0;
    if (redis_set_kind(producer->set) != REDIS_URL_CLUSTER)
        return events_read(producer, wait_ms, &seen, event, user, err);
    /* Blocking works for one slot only, so all are asked again and again. */
    int64_t deadline = producer_wall_ms() + wait_ms;
    for (;;) {
        if (!events_read(producer, 0, &seen, event, user, err))
            return false;
        if (seen > 0 || producer_wall_ms() >= deadline)
            return true;
        producer_pause_ms(WAIT_STEP_MS + (int)producer->partitions / 16);
    }
}

/* ---- dead letters ---- */

static void letter_field(struct producer_dead_letter *letter, struct slice name, struct slice value)
{
    if (slice_eq(name, SLICE("reason")))
        letter->reason = value;
    else if (slice_eq(name, SLICE("path")))
        letter->path = value;
    else if (slice_eq(name, SLICE("submission")))
        letter->submission = value;
    else if (slice_eq(name, SLICE("original")))
        letter->original = value;
}

bool producer_dead_letters(struct producer *producer, size_t max,
                           void (*letter)(void *user, const struct producer_dead_letter *letter),
                           void *user, struct err *err)
{
    struct queue_key key = queue_key_global(producer->name_space, "dead", SLICE(""));
    char count[24];
    snprintf(count, sizeof count, "%zu", max);
    const struct redis_value *reply = PRODUCER_COMMAND(
        producer, err, queue_key_slice(&key), SLICE("XRANGE"), queue_key_slice(&key), SLICE("-"),
        SLICE("+"), SLICE("COUNT"), slice_str(count));
    for (size_t i = 0; reply && i < reply->count; i++) {
        const struct redis_value *fields = producer_item(&reply->items[i], 1);
        struct producer_dead_letter it = { 0 };
        for (size_t f = 0; f + 1 < fields->count; f += 2)
            letter_field(&it, fields->items[f].text, fields->items[f + 1].text);
        letter(user, &it);
    }
    return producer_reply_good(producer, reply, err);
}
