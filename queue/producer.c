#include "queue/producer.h"

#include <errno.h>
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

#include "engine/base/mem.h"
#include "engine/base/rng.h"
#include "queue/ingest_batch.h"
#include "queue/keys.h"
#include "queue/producer_internal.h"
#include "queue/submission.h"
#include "queue/url.h"

enum {
    CONNECT_S = 5,
    BACKLOG_ENTRIES_MAX = 200, /* in the submit stream; then producer_append() waits */
    WAIT_STEP_MS = 20,
    LOADING_MS_MAX = 60000,
    EVENTS_PER_READ = 500,
    EXPIRES_DEFAULT_S = 4 * 86400,
};

/* ---- commands ---- */

static bool connection_lost(struct producer *producer, struct err *err)
{
    return err_set(err, ERR_REDIS, "Redis at %s: %s", producer->place,
                   producer->context->errstr[0] ? producer->context->errstr : "connection lost");
}

redisReply *producer_command(struct producer *producer, struct err *err, const struct slice *args,
                             size_t count)
{
    const char **ptrs = mem_array(count, sizeof *ptrs);
    size_t *lens = mem_array(count, sizeof *lens);
    for (size_t i = 0; i < count; i++) {
        ptrs[i] = args[i].ptr;
        lens[i] = args[i].len;
    }
    redisReply *reply = redisCommandArgv(producer->context, (int)count, ptrs, lens);
    free(ptrs);
    free(lens);
    if (!reply)
        connection_lost(producer, err);
    return reply;
}

bool producer_reply_done(struct producer *producer, redisReply *reply, struct err *err)
{
    if (!reply)
        return false;
    bool ok = reply->type != REDIS_REPLY_ERROR;
    if (!ok)
        err_set(err, ERR_REDIS, "Redis at %s refused: %.200s", producer->place, reply->str);
    freeReplyObject(reply);
    return ok;
}

static uint64_t reply_u64(const redisReply *reply)
{
    uint64_t number = 0;
    if (reply->type == REDIS_REPLY_INTEGER)
        return reply->integer > 0 ? (uint64_t)reply->integer : 0;
    if (reply->type == REDIS_REPLY_STRING &&
        slice_to_u64(slice_of(reply->str, reply->len), &number))
        return number;
    return 0;
}

/* Queues a command in the pipeline; its reply is fetched by next_reply(). */
static void pipeline(struct producer *producer, const char *verb, const struct queue_key *key,
                     const char *third)
{
    const char *args[3] = { verb, key->text, third };
    size_t lens[3] = { strlen(verb), key->len, third ? strlen(third) : 0 };
    redisAppendCommandArgv(producer->context, third ? 3 : 2, args, lens);
}

static redisReply *next_reply(struct producer *producer, struct err *err)
{
    void *reply = NULL;
    if (redisGetReply(producer->context, &reply) != REDIS_OK || !reply) {
        connection_lost(producer, err);
        return NULL;
    }
    return reply;
}

/* ---- opening ---- */

static void pause_ms(int ms)
{
    struct timespec time = { .tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000 };
    nanosleep(&time, NULL);
}

static bool connect_to(struct producer *producer, const char *url, struct err *err)
{
    struct redis_url parsed;
    if (!redis_url_parse(slice_str(url), &parsed, err))
        return false;
    struct timeval timeout = { .tv_sec = CONNECT_S };
    char place[400];
    const struct redis_host *host = &parsed.hosts[0];
    redis_host_print(host, place, sizeof place);
    if (host->port == 0)
        producer->context = redisConnectUnixWithTimeout(host->name, timeout);
    else
        producer->context = redisConnectWithTimeout(host->name, host->port, timeout);
    producer->place = slice_dup(slice_str(place));
    if (!producer->context)
        return err_set(err, ERR_REDIS, "Redis at %s: no memory", place);
    if (producer->context->err)
        return err_set(err, ERR_REDIS, "no Redis at %s: %s", place, producer->context->errstr);
    struct slice user = slice_str(parsed.user), password = slice_str(parsed.password);
    bool ok = true;
    if (password.len > 0) {
        redisReply *reply = user.len > 0
                                ? PRODUCER_COMMAND(producer, err, SLICE("AUTH"), user, password)
                                : PRODUCER_COMMAND(producer, err, SLICE("AUTH"), password);
        ok = producer_reply_done(producer, reply, err);
    }
    explicit_bzero(&parsed.password, sizeof parsed.password);
    char db[12];
    snprintf(db, sizeof db, "%u", parsed.db);
    if (ok)
        ok = producer_reply_done(
            producer, PRODUCER_COMMAND(producer, err, SLICE("SELECT"), slice_str(db)), err);
    /* A Redis that was just started may be reading its files for a while; it takes SELECT then, but
     * not PING. */
    for (int waited = 0; ok; waited += WAIT_STEP_MS) {
        redisReply *reply = PRODUCER_COMMAND(producer, err, SLICE("PING"));
        bool loading = reply && reply->type == REDIS_REPLY_ERROR &&
                       slice_starts_with(slice_str(reply->str), SLICE("LOADING"));
        if (!loading || waited > LOADING_MS_MAX)
            return producer_reply_done(producer, reply, err);
        freeReplyObject(reply);
        pause_ms(WAIT_STEP_MS);
    }
    return false;
}

/* Reads how the queue is laid out; what isn't there yet is written when `partitions` says how. */
static bool layout_read(struct producer *producer, unsigned partitions, struct err *err)
{
    struct queue_key meta = queue_key_global(producer->name_space, "meta", SLICE(""));
    char number[12], version[12];
    snprintf(number, sizeof number, "%u", partitions);
    snprintf(version, sizeof version, "%d", QUEUE_LAYOUT_VERSION);
    if (partitions > 0 &&
        (!producer_reply_done(producer,
                              PRODUCER_COMMAND(producer, err, SLICE("HSETNX"),
                                               queue_key_slice(&meta), SLICE("version"),
                                               slice_str(version)),
                              err) ||
         !producer_reply_done(producer,
                              PRODUCER_COMMAND(producer, err, SLICE("HSETNX"),
                                               queue_key_slice(&meta), SLICE("partitions"),
                                               slice_str(number)),
                              err)))
        return false;
    redisReply *reply = PRODUCER_COMMAND(producer, err, SLICE("HMGET"), queue_key_slice(&meta),
                                         SLICE("version"), SLICE("partitions"));
    if (!reply || reply->type != REDIS_REPLY_ARRAY || reply->elements != 2)
        return producer_reply_done(producer, reply, err) &&
               err_set(err, ERR_REDIS, "Redis at %s: unexpected reply", producer->place);
    uint64_t found_version = reply_u64(reply->element[0]), found = reply_u64(reply->element[1]);
    freeReplyObject(reply);
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

bool producer_open(struct producer **out, const char *url, const char *name_space,
                   unsigned partitions, struct err *err)
{
    if (!queue_name_valid(slice_str(name_space), QUEUE_NAME_SPACE_BYTES_MAX))
        return err_set(err, ERR_CONFIG, "name space '%s': 1–%d letters, digits, '.', '_', '-'",
                       name_space, QUEUE_NAME_SPACE_BYTES_MAX);
    struct producer *producer = mem_zalloc(sizeof *producer);
    producer->name_space = slice_dup(slice_str(name_space));
    if (!connect_to(producer, url, err) || !layout_read(producer, partitions, err)) {
        producer_close(&producer);
        return false;
    }
    *out = producer;
    return true;
}

bool producer_reopen(struct producer *producer, const char *url, struct err *err)
{
    if (producer->context)
        redisFree(producer->context);
    free(producer->place);
    producer->context = NULL;
    producer->place = NULL;
    return connect_to(producer, url, err);
}

void producer_close(struct producer **producer)
{
    struct producer *it = *producer;
    if (!it)
        return;
    if (it->context)
        redisFree(it->context);
    free(it->event_ids);
    free(it->name_space);
    free(it->place);
    free(it);
    *producer = NULL;
}

unsigned producer_partitions(const struct producer *producer)
{
    return producer->partitions;
}

/* ---- submitting ---- */

static int64_t wall_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* 'c', the time in base 36, and 51 random bits: not guessable by accident, and in order of time. */
static void fresh_id(char id[25])
{
    char digits[13];
    size_t n = 0, len = queue_base36((uint64_t)wall_ms(), digits);
    id[n++] = 'c';
    memcpy(id + n, digits, len);
    n += len;
    len = queue_base36(rng_system_seed() >> 13, digits);
    memcpy(id + n, digits, len);
    id[n + len] = '\0';
}

bool producer_begin(struct producer *producer, const struct producer_submission *submission,
                    char id[25], struct err *err)
{
    json_error_t error;
    json_t *content = json_loadb(submission->content.ptr, submission->content.len,
                                 JSON_REJECT_DUPLICATES, &error);
    if (!content || !json_is_object(content)) {
        json_decref(content);
        return err_set(err, ERR_INPUT, "content isn't a JSON object: %s",
                       content ? "wrong type" : error.text);
    }
    fresh_id(id);
    int64_t now = wall_ms();
    int64_t expires =
        now + 1000 * (submission->expires_in_s ? submission->expires_in_s : EXPIRES_DEFAULT_S);
    char *object = submission_object(NULL, submission->from, content, now, expires);
    json_decref(content);
    struct queue_key key = queue_key_submission(producer->name_space, "s:", slice_str(id));
    char expiry[24];
    snprintf(expiry, sizeof expiry, "%lld", (long long)(expires / 1000 + QUEUE_OBJECT_GRACE_S));
    bool ok =
        producer_reply_done(producer,
                            PRODUCER_COMMAND(producer, err, SLICE("SET"), queue_key_slice(&key),
                                             slice_str(object), SLICE("EXAT"), slice_str(expiry)),
                            err);
    free(object);
    return ok;
}

/* Waits while the stream is long: the jobs are smaller in their queues, and nothing is gained by
 * being far ahead. */
static bool backlog_wait(struct producer *producer, int64_t deadline, struct err *err)
{
    if (producer->entries_since_look++ < BACKLOG_ENTRIES_MAX / 4)
        return true;
    struct queue_key stream = queue_key_global(producer->name_space, "submit", SLICE(""));
    for (;;) {
        redisReply *reply =
            PRODUCER_COMMAND(producer, err, SLICE("XLEN"), queue_key_slice(&stream));
        if (!reply || reply->type != REDIS_REPLY_INTEGER)
            return producer_reply_done(producer, reply, err);
        bool free_again = reply->integer < BACKLOG_ENTRIES_MAX;
        freeReplyObject(reply);
        if (free_again)
            break;
        if (wall_ms() >= deadline)
            return err_set(err, ERR_LIMIT,
                           "the engine doesn't take submissions in: %d wait in '%s'",
                           BACKLOG_ENTRIES_MAX, stream.text);
        pause_ms(WAIT_STEP_MS);
    }
    producer->entries_since_look = 0;
    return true;
}

/* Adds one entry; waits while Redis says that it's full or not able to. */
static bool entry_add(struct producer *producer, struct slice json, int64_t deadline, char *entry,
                      size_t room, struct err *err)
{
    struct queue_key stream = queue_key_global(producer->name_space, "submit", SLICE(""));
    for (;;) {
        redisReply *reply = PRODUCER_COMMAND(producer, err, SLICE("XADD"), queue_key_slice(&stream),
                                             SLICE("*"), SLICE("json"), json);
        if (!reply)
            return false; /* perhaps stored, perhaps not: the caller's decision */
        if (reply->type == REDIS_REPLY_STRING) {
            snprintf(entry, room, "%s", reply->str);
            freeReplyObject(reply);
            return true;
        }
        struct slice text = slice_str(reply->type == REDIS_REPLY_ERROR ? reply->str : "");
        bool later =
            slice_starts_with(text, SLICE("OOM")) || slice_starts_with(text, SLICE("LOADING")) ||
            slice_starts_with(text, SLICE("MISCONF")) || slice_starts_with(text, SLICE("BUSY"));
        if (!later)
            return producer_reply_done(producer, reply, err) &&
                   err_set(err, ERR_REDIS, "unexpected reply");
        if (wall_ms() >= deadline) {
            err_set(err, ERR_LIMIT, "Redis at %s takes nothing more, try later: %.200s",
                    producer->place, reply->str);
            freeReplyObject(reply);
            return false;
        }
        freeReplyObject(reply);
        pause_ms(WAIT_STEP_MS);
    }
}

bool producer_append(struct producer *producer, const char *id, uint64_t first,
                     struct slice recipients, int64_t patience_ms, struct err *err)
{
    int64_t deadline = wall_ms() + patience_ms;
    if (!backlog_wait(producer, deadline, err))
        return false;
    char entry[EVENT_ID_BYTES];
    struct buf json = BUF_EMPTY;
    buf_printf(&json, "{\"submission\":\"%s\",\"first\":%llu,\"recipients\":", id,
               (unsigned long long)first);
    buf_append(&json, recipients);
    buf_append_char(&json, '}');
    bool ok = entry_add(producer, buf_slice(&json), deadline, entry, sizeof entry, err);
    buf_free(&json);
    return ok;
}

bool producer_submit(struct producer *producer, struct slice submission_json, char id[25],
                     struct err *err)
{
    struct submission submission;
    struct submission_problem problem;
    if (!submission_parse(&submission, submission_json, &problem))
        return err_set(err, ERR_INPUT, "%s%s%s", problem.path, problem.path[0] ? ": " : "",
                       problem.reason);
    bool whole = submission.content != NULL;
    struct slice given = submission.id;
    if (given.len > 0)
        snprintf(id, 25, "%.*s", SLICE_FMT(given));
    submission_free(&submission);
    if (!whole)
        return err_set(err, ERR_INPUT, "a submission needs \"content\"");
    char entry[EVENT_ID_BYTES];
    if (!entry_add(producer, submission_json, wall_ms(), entry, sizeof entry, err))
        return false;
    int64_t ms;
    if (given.len == 0 && !ingest_submission_id(slice_str(entry), id, &ms))
        return err_set(err, ERR_REDIS, "unexpected entry id %s", entry);
    return true;
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
    for (unsigned p = 0; p < producer->partitions; p++) {
        struct queue_key key =
            id ? queue_key_partition(producer->name_space, p, "g:", slice_str(id))
               : queue_key_partition(producer->name_space, p, "n", SLICE(""));
        pipeline(producer, "HGETALL", &key, NULL);
    }
    bool ok = true;
    for (unsigned p = 0; p < producer->partitions; p++) {
        redisReply *reply = next_reply(producer, ok ? err : NULL);
        if (!reply)
            return false;
        for (size_t i = 0; reply->type == REDIS_REPLY_ARRAY && i + 1 < reply->elements; i += 2)
            totals_add(out, slice_of(reply->element[i]->str, reply->element[i]->len),
                       reply_u64(reply->element[i + 1]));
        ok = producer_reply_done(producer, reply, ok ? err : NULL) && ok;
    }
    return ok;
}

bool producer_depth(struct producer *producer, struct producer_depth *out, struct err *err)
{
    *out = (struct producer_depth){ 0 };
    struct queue_key submit = queue_key_global(producer->name_space, "submit", SLICE(""));
    struct queue_key dead = queue_key_global(producer->name_space, "dead", SLICE(""));
    pipeline(producer, "XLEN", &submit, NULL);
    pipeline(producer, "XLEN", &dead, NULL);
    for (unsigned p = 0; p < producer->partitions; p++) {
        struct queue_key retry = queue_key_partition(producer->name_space, p, "t", SLICE(""));
        struct queue_key inflight = queue_key_partition(producer->name_space, p, "i", SLICE(""));
        pipeline(producer, "ZCARD", &retry, NULL);
        pipeline(producer, "HLEN", &inflight, NULL);
        for (unsigned class = 0; class < 3; class ++) {
            struct queue_key ready =
                queue_key_partition(producer->name_space, p, "r:", slice_of("tdb" + class, 1));
            pipeline(producer, "ZCARD", &ready, NULL);
        }
    }
    bool ok = true;
    for (unsigned i = 0; i < 2 + 5 * producer->partitions; i++) {
        uint64_t *const first[2] = { &out->submit_entries, &out->dead_letters };
        uint64_t *const each[5] = { &out->retrying, &out->in_flight, &out->destinations,
                                    &out->destinations, &out->destinations };
        redisReply *reply = next_reply(producer, ok ? err : NULL);
        if (!reply)
            return false;
        *(i < 2 ? first[i] : each[(i - 2) % 5]) += reply_u64(reply);
        ok = producer_reply_done(producer, reply, ok ? err : NULL) && ok;
    }
    return ok;
}

/* Where reading begins: before the first event, or behind the last one that's there now. */
static bool events_begin(struct producer *producer, bool from_start, struct err *err)
{
    producer->event_ids = mem_array(producer->partitions, sizeof *producer->event_ids);
    for (unsigned p = 0; p < producer->partitions; p++) {
        snprintf(producer->event_ids[p], EVENT_ID_BYTES, "0-0");
        if (from_start)
            continue;
        struct queue_key key = queue_key_partition(producer->name_space, p, "ev", SLICE(""));
        redisReply *reply =
            PRODUCER_COMMAND(producer, err, SLICE("XREVRANGE"), queue_key_slice(&key), SLICE("+"),
                             SLICE("-"), SLICE("COUNT"), SLICE("1"));
        if (reply && reply->type == REDIS_REPLY_ARRAY && reply->elements == 1)
            snprintf(producer->event_ids[p], EVENT_ID_BYTES, "%s",
                     reply->element[0]->element[0]->str);
        if (!producer_reply_done(producer, reply, err)) {
            free(producer->event_ids);
            producer->event_ids = NULL;
            return false;
        }
    }
    return true;
}

static unsigned partition_of_key(struct slice key)
{
    uint64_t p;
    slice_cut(&key, '{');
    return slice_to_u64(slice_cut(&key, '}'), &p) ? (unsigned)p : 0;
}

/* One stream of an XREAD reply: [key, [[id, [field, value]]…]]. */
static void events_take(struct producer *producer, const redisReply *stream,
                        void (*event)(void *user, struct slice json), void *user)
{
    unsigned p = partition_of_key(slice_of(stream->element[0]->str, stream->element[0]->len));
    const redisReply *entries = stream->element[1];
    for (size_t i = 0; i < entries->elements && p < producer->partitions; i++) {
        const redisReply *entry = entries->element[i], *fields = entry->element[1];
        snprintf(producer->event_ids[p], EVENT_ID_BYTES, "%s", entry->element[0]->str);
        for (size_t f = 0; f + 1 < fields->elements; f += 2)
            if (slice_eq(slice_of(fields->element[f]->str, fields->element[f]->len), SLICE("e")))
                event(user, slice_of(fields->element[f + 1]->str, fields->element[f + 1]->len));
    }
}

bool producer_events(struct producer *producer, bool from_start, int wait_ms,
                     void (*event)(void *user, struct slice json), void *user, struct err *err)
{
    if (!producer->event_ids && !events_begin(producer, from_start, err))
        return false;
    char count[12], block[12];
    snprintf(count, sizeof count, "%d", EVENTS_PER_READ);
    snprintf(block, sizeof block, "%d", wait_ms);
    size_t n = 0, room = 6 + 2 * (size_t)producer->partitions;
    struct slice *args = mem_array(room, sizeof *args);
    struct queue_key *keys = mem_array(producer->partitions, sizeof *keys);
    args[n++] = SLICE("XREAD");
    args[n++] = SLICE("COUNT");
    args[n++] = slice_str(count);
    if (wait_ms > 0) { /* BLOCK 0 would be forever */
        args[n++] = SLICE("BLOCK");
        args[n++] = slice_str(block);
    }
    args[n++] = SLICE("STREAMS");
    for (unsigned p = 0; p < producer->partitions; p++) {
        keys[p] = queue_key_partition(producer->name_space, p, "ev", SLICE(""));
        args[n++] = queue_key_slice(&keys[p]);
    }
    for (unsigned p = 0; p < producer->partitions; p++)
        args[n++] = slice_str(producer->event_ids[p]);
    redisReply *reply = producer_command(producer, err, args, n);
    free(args);
    free(keys);
    for (size_t i = 0; reply && reply->type == REDIS_REPLY_ARRAY && i < reply->elements; i++)
        events_take(producer, reply->element[i], event, user);
    return producer_reply_done(producer, reply, err);
}

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
    redisReply *reply = PRODUCER_COMMAND(producer, err, SLICE("XRANGE"), queue_key_slice(&key),
                                         SLICE("-"), SLICE("+"), SLICE("COUNT"), slice_str(count));
    for (size_t i = 0; reply && reply->type == REDIS_REPLY_ARRAY && i < reply->elements; i++) {
        const redisReply *fields = reply->element[i]->element[1];
        struct producer_dead_letter it = { 0 };
        for (size_t f = 0; f + 1 < fields->elements; f += 2)
            letter_field(&it, slice_of(fields->element[f]->str, fields->element[f]->len),
                         slice_of(fields->element[f + 1]->str, fields->element[f + 1]->len));
        letter(user, &it);
    }
    return producer_reply_done(producer, reply, err);
}
