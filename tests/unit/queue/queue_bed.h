#pragma once
/* A test bed: a real Redis, a ring, and queues that write down what they're told. */
#include "engine/base/buf.h"
#include "engine/base/mem.h"
#include "queue/internal.h"
#include "tests/support/check_main.h"
#include "tests/support/redis.h"

enum { BED_JOBS_MAX = 4096 };

struct bed_engine {
    struct queue *queue;
    struct queue_journal_file *journal;
    struct queue_job *jobs[BED_JOBS_MAX]; /* leased, not finished */
    unsigned job_count, leased_calls, drained, lost, acked, recovered_unknown, recovered_replied;
    unsigned recovered_code;
    uint64_t waiting;                  /* of the last `leased` */
    struct queue_partition *partition; /* of the last `leased` or `drained` */
    bool recordable, stopped;
    bool keep_recovered; /* don't end recovered jobs at once */
};

struct bed {
    struct test_redis redis;
    struct ring *ring;
    struct log log;
    char folder[64]; /* state directory */
    unsigned partitions;
    unsigned redis_timeout_ms; /* 0: 3000 */
    unsigned wait_replicas;
    const struct queue_tenant *tenants;
    unsigned tenant_count;
    unsigned orders_walk_ms;
};

static inline void bed_leased(void *user, struct queue_partition *partition,
                              struct slice destination, enum queue_class class, struct list *jobs,
                              unsigned count, uint64_t waiting)
{
    struct bed_engine *engine = user;
    (void)destination;
    (void)class;
    engine->leased_calls++;
    engine->waiting = waiting;
    engine->partition = partition;
    unsigned n = 0;
    list_for_each_safe (node, jobs) {
        ck_assert_uint_lt(engine->job_count, BED_JOBS_MAX);
        list_remove(node);
        engine->jobs[engine->job_count++] = LIST_ENTRY(node, struct queue_job, node);
        n++;
    }
    ck_assert_uint_eq(n, count);
}

static inline void bed_drained(void *user, struct queue_partition *partition,
                               struct slice destination, enum queue_class class)
{
    struct bed_engine *engine = user;
    (void)destination;
    (void)class;
    engine->partition = partition;
    engine->drained++;
}

static inline void bed_recovered(void *user, struct queue_job *job, enum queue_recovery what,
                                 unsigned code)
{
    struct bed_engine *engine = user;
    engine->recovered_unknown += what == QUEUE_RECOVERED_UNKNOWN;
    engine->recovered_replied += what == QUEUE_RECOVERED_REPLIED;
    engine->recovered_code = code;
    if (engine->keep_recovered) {
        engine->jobs[engine->job_count++] = job;
        return;
    }
    struct queue_outcome outcome = { .end = QUEUE_DELIVERED, .code = code };
    if (what == QUEUE_RECOVERED_UNKNOWN)
        outcome = (struct queue_outcome){ .end = QUEUE_RETRY, .unknown = true, .retry_at_ms = 1 };
    queue_finish(job, &outcome);
}

static inline void bed_recordable(void *user, bool yes)
{
    ((struct bed_engine *)user)->recordable = yes;
}

static inline void bed_lost(void *user, struct queue_partition *partition)
{
    (void)partition;
    ((struct bed_engine *)user)->lost++;
}

static inline void bed_acked(void *user, unsigned count, int64_t lag_ms)
{
    (void)lag_ms;
    ((struct bed_engine *)user)->acked += count;
}

static inline void bed_stopped(void *user)
{
    ((struct bed_engine *)user)->stopped = true;
}

static const struct queue_events bed_events = {
    .leased = bed_leased,
    .drained = bed_drained,
    .recovered = bed_recovered,
    .recordable = bed_recordable,
    .lost = bed_lost,
    .acked = bed_acked,
};

static inline void bed_open(struct bed *bed, unsigned partitions, const char *const *redis_options)
{
    *bed = (struct bed){ .partitions = partitions };
    test_redis_start(&bed->redis, redis_options);
    bed->log = (struct log){ .fd = 2, .level = getenv("EILPOST_TEST_LOG") ? LOG_DEBUG : LOG_ERROR };
    struct ring_options options = { .body = RING_BODY_EPOLL,
                                    .log = &bed->log,
                                    .receive_buffer_bytes = 65536 };
    struct err err;
    ck_assert_msg(ring_create(&bed->ring, &options, &err), "%s", err.text);
    snprintf(bed->folder, sizeof bed->folder, "/tmp/eilpost-state-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(bed->folder));
}

static inline void bed_close(struct bed *bed)
{
    ring_destroy(&bed->ring);
    test_redis_stop(&bed->redis);
    char command[96];
    snprintf(command, sizeof command, "rm -rf %s", bed->folder);
    ck_assert_int_eq(system(command), 0);
}

/* Starts an engine and waits until it may record. */
static inline void bed_engine_create(struct bed *bed, struct bed_engine *engine, const char *node,
                                     bool journal)
{
    *engine = (struct bed_engine){ 0 };
    struct err err;
    if (journal)
        ck_assert_msg(queue_journal_open(&engine->journal, bed->folder, 1, 16384, &err), "%s",
                      err.text);
    struct queue_options options = {
        .url = bed->redis.url,
        .name_space = "e",
        .partitions = bed->partitions,
        .node = node,
        .workers = 1,
        .owner_lease_ms = 4000,
        .log = &bed->log,
        .journal = journal ? queue_journal_worker(engine->journal, 0) : NULL,
        .redis_timeout_ms = bed->redis_timeout_ms ? bed->redis_timeout_ms : 3000,
        .wait_replicas = bed->wait_replicas,
        .tenants = bed->tenants,
        .tenant_count = bed->tenant_count,
        .orders_walk_ms = bed->orders_walk_ms,
    };
    ck_assert_msg(queue_create(&engine->queue, bed->ring, &options, &bed_events, engine, &err),
                  "%s", err.text);
}

/* Turns the ring until the condition holds. */
#define BED_UNTIL(bed, condition)                                                                  \
    do {                                                                                           \
        while (!(condition))                                                                       \
            ring_turn((bed)->ring, 1000);                                                          \
    } while (0)

static inline void bed_engine_start(struct bed *bed, struct bed_engine *engine)
{
    queue_start(engine->queue);
    BED_UNTIL(bed, engine->recordable);
}

static inline void bed_engine_stop(struct bed *bed, struct bed_engine *engine)
{
    queue_stop(engine->queue, 2000, bed_stopped, engine);
    BED_UNTIL(bed, engine->stopped);
    queue_destroy(&engine->queue);
    queue_journal_close(&engine->journal);
}

/* Queues jobs "SUBMISSION-first" … in one partition through enqueue.lua, as ingest does. */
static inline void bed_enqueue(struct bed *bed, const char *submission, const char *destination,
                               unsigned first, unsigned count)
{
    unsigned partition = queue_partition_of(slice_str(destination), bed->partitions);
    const struct script_source *source = &script_sources[SCRIPT_ENQUEUE];
    for (unsigned i = first; i < first + count; i++) {
        char id[QUEUE_ID_BYTES_MAX], recipient[128];
        size_t id_len = queue_job_id(slice_str(submission), i, id);
        snprintf(recipient, sizeof recipient, "user%u@%s", i, destination);
        struct slice values[2] = { SLICE("Ada"), SLICE("") };
        struct record record = { .id = slice_of(id, id_len),
                                 .recipient = slice_str(recipient),
                                 .value_count = 2,
                                 .values = values };
        struct buf bytes = BUF_EMPTY;
        ck_assert(record_write(&bytes, &record));
        char *reply = test_redis_command(
            &bed->redis,
            "EVAL %b 1 e:{%u}:e %b 0 100 100000 1000 %s 0 8 class b flow acme/news accepted 1 "
            "expires 9000000000000 %s %s 1 0 %b",
            source->text.ptr, source->text.len, partition, id, id_len, submission, "", destination,
            bytes.data + bytes.start, bytes.len);
        ck_assert_msg(reply && strncmp(reply, "OK", 2) == 0, "%s", reply);
        free(reply);
        buf_free(&bytes);
    }
}

static inline struct queue_job *bed_take(struct bed_engine *engine)
{
    ck_assert_uint_gt(engine->job_count, 0);
    return engine->jobs[--engine->job_count];
}
