/* Workers that lease and end jobs as engine/deliver does: a window per destination that is filled
 * up by name while there's more, and discovery for what isn't known, with a tenth of the room kept
 * for it. A delivery takes no time: jobs end in the turn after the one that brought them. So the
 * next requests don't wait for the engine's timers either: its pace isn't what is measured. */
#include <stdio.h>
#include <stdlib.h>

#include "bench/queue/load.h"
#include "engine/base/map.h"
#include "engine/base/mem.h"
#include "queue/queue.h"

enum {
    WINDOW_MIN = 8,
    VISIT_MS = 3000,
    DISCOVER_MS = 40, /* with less room than half; sooner with more */
    PATIENCE_MS = 60000,
};

struct destination {
    struct queue_partition *partition;
    struct list hungry_node;
    unsigned held, asked;
    uint64_t queued; /* in Redis, as last heard */
    struct slice name;
    char data[];
};

struct worker {
    struct drain *drain;
    struct queue *queue;
    struct map destinations;
    struct list jobs, hungry;
    unsigned held, asked;
    int64_t discovered_ms;
    bool found; /* by discovery, since it was last asked for */
    bool recordable, stopped;
    uint64_t leased, ended, visits;
};

struct drain {
    struct ring *ring;
    const struct load_options *options;
    struct worker *workers;
    unsigned count;
    bool lost;
};

/* ---- what the queue tells ---- */

static struct destination *destination_get(struct worker *worker, struct slice name)
{
    struct destination *it = map_get(&worker->destinations, name);
    if (it)
        return it;
    it = mem_zalloc(sizeof *it + name.len);
    memcpy(it->data, name.ptr, name.len);
    it->name = slice_of(it->data, name.len);
    list_init(&it->hungry_node);
    map_put(&worker->destinations, it->name, it);
    return it;
}

static void destination_heard(struct worker *worker, struct destination *destination,
                              uint64_t queued)
{
    worker->visits++;
    worker->found |= destination->asked == 0;
    worker->asked -= destination->asked;
    destination->asked = 0;
    destination->queued = queued;
    if (queued > 0 && !list_linked(&destination->hungry_node))
        list_push_back(&worker->hungry, &destination->hungry_node);
}

static void on_leased(void *user, struct queue_partition *partition, struct slice name,
                      enum queue_class class, struct list *jobs, unsigned count, uint64_t waiting)
{
    struct worker *worker = user;
    struct destination *destination = destination_get(worker, name);
    struct list *node;
    (void)class;
    destination->partition = partition;
    while ((node = list_pop_front(jobs)) != NULL) {
        LIST_ENTRY(node, struct queue_job, node)->user = destination;
        list_push_back(&worker->jobs, node);
    }
    destination->held += count;
    worker->held += count;
    worker->leased += count;
    destination_heard(worker, destination, waiting);
}

static void on_drained(void *user, struct queue_partition *partition, struct slice name,
                       enum queue_class class)
{
    (void)partition;
    (void)class;
    destination_heard(user, destination_get(user, name), 0);
}

static void on_recovered(void *user, struct queue_job *job, enum queue_recovery what, unsigned code)
{
    (void)what;
    (void)code;
    ((struct worker *)user)->drain->lost = true; /* nothing was in flight before */
    queue_finish(job, &(struct queue_outcome){ .end = QUEUE_RELEASE });
}

static void on_recordable(void *user, bool yes)
{
    ((struct worker *)user)->recordable = yes;
}

static void on_lost(void *user, struct queue_partition *partition)
{
    (void)partition;
    ((struct worker *)user)->drain->lost = true;
}

static void on_acked(void *user, unsigned count, int64_t lag_ms)
{
    (void)lag_ms;
    ((struct worker *)user)->ended += count;
}

static void on_stopped(void *user)
{
    ((struct worker *)user)->stopped = true;
}

static const struct queue_events handlers = {
    .leased = on_leased,
    .drained = on_drained,
    .recovered = on_recovered,
    .recordable = on_recordable,
    .lost = on_lost,
    .acked = on_acked,
};

/* ---- what a worker does in each turn ---- */

static void worker_end_jobs(struct worker *worker)
{
    static const struct queue_outcome delivered = {
        .end = QUEUE_DELIVERED,
        .code = 250,
        .status = { "2.0.0", 5 },
        .text = { "Ok: queued as 4XyZab1cD2", 24 },
        .phase = "end-of-data",
        .site = { "mx1.bench.test", 14 },
        .host = { "mx1.bench.test", 14 },
        .address = { "127.0.0.17", 10 },
        .source = { "default", 7 },
        .duration_ms = 12,
    };
    struct list *node;
    while ((node = list_pop_front(&worker->jobs)) != NULL) {
        struct queue_job *job = LIST_ENTRY(node, struct queue_job, node);
        struct destination *destination = job->user;
        destination->held--;
        worker->held--;
        if (!queue_commit(job))
            worker->drain->lost = true;
        queue_finish(job, &delivered);
    }
}

/* As in engine/deliver: fewer of each the more destinations there are. */
static unsigned window_of(const struct worker *worker)
{
    const struct load_options *options = worker->drain->options;
    unsigned share = options->jobs_max / (unsigned)(worker->destinations.count + 1);
    share = MAX_OF(share, (unsigned)WINDOW_MIN);
    return MIN_OF(options->per_destination, share);
}

static void worker_lease(struct worker *worker)
{
    const struct load_options *options = worker->drain->options;
    unsigned most = options->jobs_max - options->jobs_max / 10, window = window_of(worker);
    while (!list_empty(&worker->hungry) && worker->held + worker->asked < most) {
        struct destination *it =
            LIST_ENTRY(list_pop_front(&worker->hungry), struct destination, hungry_node);
        if (it->held >= window || it->queued == 0 || it->asked > 0)
            continue;
        unsigned jobs = MIN_OF(window - it->held, most - worker->held - worker->asked);
        it->asked = jobs;
        worker->asked += jobs;
        queue_lease(it->partition, it->name, QUEUE_BULK, jobs, VISIT_MS);
    }
}

static void worker_discover(struct worker *worker)
{
    unsigned most = worker->drain->options->jobs_max, window = window_of(worker);
    unsigned room = most - MIN_OF(most, worker->held + worker->asked);
    int64_t now = ring_now_ms(worker->drain->ring);
    bool due = now - worker->discovered_ms >= DISCOVER_MS;
    if (room == 0 || !(due || (worker->found && room > most / 2)))
        return;
    worker->found = false;
    queue_discover(worker->queue, QUEUE_BULK, room, window, VISIT_MS);
    if (!due)
        return;
    worker->discovered_ms = now;
    queue_discover(worker->queue, QUEUE_TRANSACTIONAL, room, window, VISIT_MS);
    queue_discover(worker->queue, QUEUE_DEADLINE, room, window, VISIT_MS);
}

/* ---- a run ---- */

static uint64_t sum_leased(const struct drain *drain)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < drain->count; i++)
        sum += drain->workers[i].leased;
    return sum;
}

static uint64_t sum_ended(const struct drain *drain)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < drain->count; i++)
        sum += drain->workers[i].ended;
    return sum;
}

static void sum_work(const struct drain *drain, struct drain_result *out)
{
    *out = (struct drain_result){ .leased = sum_leased(drain), .ended = sum_ended(drain) };
    for (unsigned i = 0; i < drain->count; i++) {
        out->visits += drain->workers[i].visits;
        out->calls += queue_stats(drain->workers[i].queue)->leases;
    }
}

bool drain_run(struct drain *drain, uint64_t jobs, struct drain_result *out, struct err *err)
{
    struct drain_result before, after;
    sum_work(drain, &before);
    int64_t start_us = ring_clock_us(drain->ring), moved_ms = ring_now_ms(drain->ring);
    uint64_t ended = before.ended;
    for (unsigned i = 0; i < drain->count; i++)
        drain->workers[i].found = true;
    while (ended < before.ended + jobs || ended < sum_leased(drain)) {
        bool more = sum_leased(drain) < before.leased + jobs;
        for (unsigned i = 0; i < drain->count; i++) {
            worker_end_jobs(&drain->workers[i]);
            if (more) {
                worker_lease(&drain->workers[i]);
                worker_discover(&drain->workers[i]);
            }
        }
        ring_turn(drain->ring, 1);
        if (sum_ended(drain) != ended)
            moved_ms = ring_now_ms(drain->ring);
        ended = sum_ended(drain);
        if (drain->lost)
            return err_set(err, ERR_REDIS, "a partition or a lease was lost");
        if (ring_now_ms(drain->ring) - moved_ms > PATIENCE_MS)
            return err_set(err, ERR_REDIS, "stuck at %llu of %llu jobs",
                           (unsigned long long)(ended - before.ended), (unsigned long long)jobs);
    }
    sum_work(drain, &after);
    *out = (struct drain_result){ .leased = after.leased - before.leased,
                                  .ended = after.ended - before.ended,
                                  .visits = after.visits - before.visits,
                                  .calls = after.calls - before.calls,
                                  .elapsed_us = ring_clock_us(drain->ring) - start_us };
    return true;
}

/* ---- life ---- */

static bool all_recordable(const struct drain *drain)
{
    for (unsigned i = 0; i < drain->count; i++)
        if (!drain->workers[i].recordable ||
            queue_stats(drain->workers[i].queue)->partitions_owned !=
                LOAD_PARTITIONS / drain->count)
            return false;
    return true;
}

static bool worker_start(struct worker *worker, const struct log *log, struct err *err)
{
    struct drain *drain = worker->drain;
    struct queue_options options = {
        .url = drain->options->url,
        .name_space = "e",
        .partitions = LOAD_PARTITIONS,
        .node = "bench",
        .worker = (unsigned)(worker - drain->workers),
        .workers = drain->options->workers,
        .owner_lease_ms = 60000, /* a busy machine isn't what is measured */
        .log = log,
        .redis_timeout_ms = PATIENCE_MS,
    };
    list_init(&worker->jobs);
    list_init(&worker->hungry);
    map_init(&worker->destinations, 1);
    if (!queue_create(&worker->queue, drain->ring, &options, &handlers, worker, err))
        return false;
    queue_start(worker->queue);
    return true;
}

bool drain_create(struct drain **out, struct ring *ring, const struct load_options *options,
                  const struct log *log, struct err *err)
{
    struct drain *drain = mem_zalloc(sizeof *drain);
    drain->ring = ring;
    drain->options = options;
    drain->workers = mem_zalloc(options->workers * sizeof *drain->workers);
    bool ok = true;
    while (ok && drain->count < options->workers) {
        struct worker *worker = &drain->workers[drain->count++];
        worker->drain = drain;
        ok = worker_start(worker, log, err);
    }
    int64_t end_ms = ring_now_ms(ring) + PATIENCE_MS;
    while (ok && !all_recordable(drain)) {
        ring_turn(ring, 100);
        if (ring_now_ms(ring) > end_ms)
            ok = err_set(err, ERR_REDIS, "the workers don't get their partitions");
    }
    if (ok)
        *out = drain;
    else
        drain_destroy(&drain);
    return ok;
}

static void worker_stop(struct worker *worker)
{
    if (!worker->queue)
        return;
    struct list *node;
    while ((node = list_pop_front(&worker->jobs)) != NULL) /* only after a failure */
        queue_finish(LIST_ENTRY(node, struct queue_job, node),
                     &(struct queue_outcome){ .end = QUEUE_RELEASE });
    queue_stop(worker->queue, 5000, on_stopped, worker);
    while (!worker->stopped)
        ring_turn(worker->drain->ring, 100);
    queue_destroy(&worker->queue);
}

void drain_destroy(struct drain **drain)
{
    struct drain *it = *drain;
    for (unsigned i = 0; i < it->count; i++) {
        struct worker *worker = &it->workers[i];
        worker_stop(worker);
        size_t cursor = 0;
        struct map_entry *entry;
        while ((entry = map_next(&worker->destinations, &cursor)) != NULL)
            free(entry->value);
        map_free(&worker->destinations);
    }
    free(it->workers);
    free(it);
    *drain = NULL;
}
