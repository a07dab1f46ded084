/* Submissions into the partitions, as ingest does: parts of up to 500 jobs of one partition, sorted
 * by destination, one call of enqueue.lua each, several under way. A submission goes round all
 * destinations in turn, as a list in no order does. */
#include <stdio.h>
#include <stdlib.h>

#include "bench/queue/load.h"
#include "engine/base/buf.h"
#include "engine/base/mem.h"
#include "queue/record.h"

enum {
    PART_JOBS = 500, /* as in queue/ingest_batch.h: each of another destination counts as five */
    UNDER_WAY = 16,
    EXPIRES_MS = 4 * 86400 * 1000,
};

struct fill_part {
    unsigned number, count;
    uint64_t jobs[PART_JOBS]; /* numbers in the submission */
};

struct fill_call {
    struct redis_call call;
    struct fill *fill;
    struct fill_call *next; /* among the free */
};

struct fill {
    struct server *server;
    const struct load_options *options;
    struct fill_part *parts; /* one per partition */
    struct fill_call calls[UNDER_WAY], *free;
    unsigned under_way;
    struct buf text; /* records and names of the part at hand */
    struct slice *args;
    char failure[200];
    /* of the submission at hand: */
    uint64_t first; /* how many jobs were in those before */
    char id[QUEUE_SUBMISSION_BYTES_MAX + 1], flow[64], accepted[24], expires[24];
};

static unsigned destination_of(const struct fill *fill, uint64_t job)
{
    return (unsigned)((fill->first + job) % fill->options->destinations);
}

static void enqueue_done(struct redis_call *call, const struct redis_value *reply)
{
    struct fill_call *it = CONTAINER_OF(call, struct fill_call, call);
    struct fill *fill = it->fill;
    it->next = fill->free;
    fill->free = it;
    fill->under_way--;
    if (!reply)
        snprintf(fill->failure, sizeof fill->failure, "no answer from Redis");
    else if (reply->type != VALUE_ARRAY || reply->count == 0 ||
             !redis_value_is(&reply->items[0], "OK"))
        snprintf(fill->failure, sizeof fill->failure, "%.*s",
                 SLICE_FMT(reply->type == VALUE_ARRAY ? reply->items[0].text : reply->text));
}

/* The buffer is reserved in advance, so that what was appended doesn't move. */
static struct slice appended(struct fill *fill, size_t at)
{
    return slice_skip(buf_slice(&fill->text), at);
}

static struct slice record_append(struct fill *fill, uint64_t job)
{
    char id[QUEUE_ID_BYTES_MAX], to[64], name[256], offer[256];
    size_t at = fill->text.len, id_len = queue_job_id(slice_str(fill->id), job, id);
    int to_len = snprintf(to, sizeof to, "r%010llu@d%06u.test", (unsigned long long)job,
                          destination_of(fill, job));
    int name_len = MIN_OF((int)fill->options->data_bytes / 3, 250);
    int offer_len = MIN_OF((int)fill->options->data_bytes - name_len, 250);
    snprintf(name, sizeof name, "%-*llu", name_len, (unsigned long long)job);
    snprintf(offer, sizeof offer, "%-*u", offer_len, (unsigned)(job % 97));
    struct slice values[2] = { slice_head(slice_str(name), (size_t)name_len),
                               slice_head(slice_str(offer), (size_t)offer_len) };
    bool ok = record_write(&fill->text, &(struct record){ .id = slice_of(id, id_len),
                                                          .recipient = slice_of(to, (size_t)to_len),
                                                          .value_count = 2,
                                                          .values = values });
    assert(ok); /* the text has no cap */
    return appended(fill, at);
}

static unsigned part_head(struct fill *fill, unsigned partition, const struct queue_key *epoch)
{
    struct fill_part *part = &fill->parts[partition];
    size_t at = fill->text.len;
    buf_append_u64(&fill->text, part->number++);
    const struct slice head[] = {
        SLICE("EVALSHA"),
        script_sha(&fill->server->scripts, SCRIPT_ENQUEUE),
        SLICE("1"),
        queue_key_slice(epoch),
        slice_str(fill->id), /* stands for a stream entry */
        appended(fill, at),
        SLICE("604800"),
        SLICE("604800"),
        SLICE("172800"),
        slice_str(fill->id),
        SLICE("0"),
        SLICE("8"),
        SLICE("class"),
        SLICE("b"),
        SLICE("flow"),
        slice_str(fill->flow),
        SLICE("accepted"),
        slice_str(fill->accepted),
        SLICE("expires"),
        slice_str(fill->expires),
        SLICE(""),
    };
    memcpy(fill->args, head, sizeof head);
    return ARRAY_LEN(head);
}

static int by_destination(const void *a, const void *b, void *user)
{
    unsigned x = destination_of(user, *(const uint64_t *)a),
             y = destination_of(user, *(const uint64_t *)b);
    return x < y ? -1 : x > y;
}

/* A destination's jobs of the part; returns the number of arguments. */
static unsigned part_destination(struct fill *fill, const uint64_t *jobs, unsigned count,
                                 unsigned n)
{
    size_t at = fill->text.len;
    buf_printf(&fill->text, "d%06u.test", destination_of(fill, jobs[0]));
    fill->args[n++] = appended(fill, at);
    at = fill->text.len;
    buf_append_u64(&fill->text, count);
    fill->args[n++] = appended(fill, at);
    fill->args[n++] = SLICE("0");
    for (unsigned i = 0; i < count; i++)
        fill->args[n++] = record_append(fill, jobs[i]);
    return n;
}

/* Sends what was collected of a partition. */
static void part_send(struct fill *fill, unsigned partition)
{
    struct fill_part *part = &fill->parts[partition];
    while (!fill->free)
        ring_turn(fill->server->ring, 100);
    if (part->count == 0 || fill->failure[0])
        return;
    struct queue_key epoch = queue_key_partition("e", partition, "e", SLICE(""));
    buf_clear(&fill->text);
    buf_reserve(&fill->text, (part->count + 1) * (size_t)(fill->options->data_bytes + 200));
    qsort_r(part->jobs, part->count, sizeof *part->jobs, by_destination, fill);
    unsigned n = part_head(fill, partition, &epoch);
    for (unsigned i = 0, same; i < part->count; i = same) {
        for (same = i + 1; same < part->count; same++)
            if (by_destination(&part->jobs[i], &part->jobs[same], fill) != 0)
                break;
        n = part_destination(fill, part->jobs + i, same - i, n);
    }
    part->count = 0;
    struct fill_call *it = fill->free;
    fill->free = it->next;
    fill->under_way++;
    redis_send(fill->server->redis, &it->call, fill->args, n);
}

static void submission_fill(struct fill *fill, unsigned round, unsigned number, uint64_t jobs,
                            const uint16_t *partitions)
{
    int64_t now = ring_wall_ms(fill->server->ring);
    snprintf(fill->id, sizeof fill->id, "r%us%u", round, number);
    snprintf(fill->flow, sizeof fill->flow, "bench/c%u", number % fill->options->campaigns);
    snprintf(fill->accepted, sizeof fill->accepted, "%lld", (long long)now);
    snprintf(fill->expires, sizeof fill->expires, "%lld", (long long)now + EXPIRES_MS);
    for (unsigned p = 0; p < LOAD_PARTITIONS; p++)
        fill->parts[p].number = 0;
    for (uint64_t job = 0; job < jobs && !fill->failure[0]; job++) {
        unsigned partition = partitions[destination_of(fill, job)];
        struct fill_part *part = &fill->parts[partition];
        part->jobs[part->count++] = job;
        unsigned of_part = MIN_OF(part->count, fill->options->destinations / LOAD_PARTITIONS + 1);
        if (part->count + 4 * of_part >= PART_JOBS)
            part_send(fill, partition);
    }
    for (unsigned p = 0; p < LOAD_PARTITIONS; p++)
        part_send(fill, p);
}

bool fill_run(struct server *server, const struct load_options *options, unsigned round,
              struct err *err)
{
    struct fill *fill = mem_zalloc(sizeof *fill);
    uint16_t *partitions = mem_array(options->destinations, sizeof *partitions);
    *fill = (struct fill){ .server = server, .options = options };
    fill->parts = mem_zalloc(LOAD_PARTITIONS * sizeof *fill->parts);
    fill->args = mem_array(32 + 4 * PART_JOBS, sizeof *fill->args);
    for (unsigned i = 0; i < UNDER_WAY; i++) {
        fill->calls[i] =
            (struct fill_call){ .call.done = enqueue_done, .fill = fill, .next = fill->free };
        fill->free = &fill->calls[i];
    }
    for (unsigned i = 0; i < options->destinations; i++) {
        char name[16];
        int len = snprintf(name, sizeof name, "d%06u.test", i);
        partitions[i] = (uint16_t)queue_partition_of(slice_of(name, (size_t)len), LOAD_PARTITIONS);
    }
    for (unsigned i = 0; i < options->submissions; i++) {
        uint64_t jobs = (options->jobs - fill->first) / (options->submissions - i);
        submission_fill(fill, round, i, jobs, partitions);
        fill->first += jobs;
    }
    while (fill->under_way > 0)
        ring_turn(server->ring, 100);
    bool ok = !fill->failure[0] || err_set(err, ERR_REDIS, "queueing: %s", fill->failure);
    buf_free(&fill->text);
    free(fill->args);
    free(fill->parts);
    free(partitions);
    free(fill);
    return ok;
}
