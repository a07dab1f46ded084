#include "engine/app/snapshot.h"

#include <stdio.h>
#include <time.h>

#include "engine/base/mem.h"

#define LOAD(field) __atomic_load_n(&(field), __ATOMIC_RELAXED)

static int64_t monotonic_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void app_stats_init(struct app_stats *stats, struct worker *const *workers, const char *node)
{
    stats->workers = workers;
    stats->node = node;
    stats->started_ms = monotonic_ms();
    atomic_init(&stats->worker_count, 0);
}

void app_stats_running(struct app_stats *stats, unsigned worker_count)
{
    atomic_store_explicit(&stats->worker_count, worker_count, memory_order_release);
}

static unsigned running(struct app_stats *stats)
{
    return atomic_load_explicit(&stats->worker_count, memory_order_acquire);
}

static void read_counters(const struct worker_view *view, struct stats_counters *out)
{
    const struct deliver_stats *deliver = view->deliver;
    *out = (struct stats_counters){
        .leased = LOAD(deliver->leased),
        .attempts = LOAD(deliver->attempts),
        .delivered = LOAD(deliver->delivered),
        .deferred = LOAD(deliver->deferred),
        .bounced = LOAD(deliver->bounced),
        .expired = LOAD(deliver->expired),
        .unknown = LOAD(deliver->unknown),
        .released = LOAD(deliver->released),
        .reply_2xx = LOAD(deliver->reply_2xx),
        .reply_4xx = LOAD(deliver->reply_4xx),
        .reply_5xx = LOAD(deliver->reply_5xx),
        .reply_local = LOAD(deliver->reply_local),
        .sessions_opened = LOAD(deliver->sessions_opened),
        .sessions_reused = LOAD(deliver->sessions_reused),
        .tls_resumed = LOAD(deliver->tls_resumed),
        .sessions_failed = LOAD(deliver->sessions_failed),
        .violations = LOAD(deliver->violations),
        .dns_lookups = LOAD(view->dns->lookups),
        .dns_cache_hits = LOAD(view->dns->cache_hits),
        .dns_failures = LOAD(view->dns->failures),
        .dns_timeouts = LOAD(view->dns->timeouts),
        .dns_stale = LOAD(view->dns->stale),
        .dns_refreshed = LOAD(view->dns->refreshed),
        .dns_refused = LOAD(view->dns->refused),
        .dns_secure = LOAD(view->dns->secure),
        .redis_commands = LOAD(view->queue->redis_commands),
        .redis_reconnects = LOAD(view->queue->redis_reconnects),
        .turns = LOAD(view->ring->turns),
        .submits = LOAD(view->ring->submits),
        .completions = LOAD(view->ring->completions),
        .no_buffers = LOAD(view->ring->no_buffers),
    };
}

static void read_gauges(const struct worker_view *view, struct stats_gauges *out)
{
    const struct deliver_stats *deliver = view->deliver;
    uint64_t transactional = LOAD(deliver->jobs_held[QUEUE_TRANSACTIONAL]),
             deadline = LOAD(deliver->jobs_held[QUEUE_DEADLINE]),
             bulk = LOAD(deliver->jobs_held[QUEUE_BULK]);
    *out = (struct stats_gauges){
        .sessions_opening = LOAD(deliver->sessions_opening),
        .sessions_busy = LOAD(deliver->sessions_busy),
        .sessions_idle = LOAD(deliver->sessions_idle),
        .jobs_held = transactional + deadline + bulk,
        .jobs_held_transactional = transactional,
        .jobs_held_deadline = deadline,
        .jobs_held_bulk = bulk,
        .acks_pending = LOAD(view->queue->acks_pending),
        .destinations = LOAD(deliver->destinations),
        .sites = LOAD(deliver->sites),
        .render_bytes = LOAD(deliver->render_bytes),
        .partitions_owned = LOAD(view->queue->partitions_owned),
    };
}

/* Both structures hold nothing but uint64_t. */
static void add_all(uint64_t *into, const uint64_t *from, size_t bytes)
{
    for (size_t i = 0; i < bytes / sizeof *into; i++)
        into[i] += from[i];
}

static void add_queue(const struct queue_stats *from, struct stats_queue *into)
{
    into->accepted += LOAD(from->accepted);
    into->delivered += LOAD(from->delivered);
    into->bounced += LOAD(from->bounced);
    into->expired += LOAD(from->expired);
    into->suppressed += LOAD(from->suppressed);
    into->cancelled += LOAD(from->cancelled);
    into->deferrals += LOAD(from->deferred);
    into->unknown += LOAD(from->unknown);
    into->retrying += LOAD(from->retrying);
}

static void add_stages(const struct deliver_stats *deliver, struct histogram stages[STATS_STAGES])
{
    const struct histogram *from[STATS_STAGES] = {
        [STATS_QUEUE_WAIT] = &deliver->queue_wait,
        [STATS_QUEUE_WAIT_TRANSACTIONAL] = &deliver->queue_wait_transactional,
        [STATS_DNS] = &deliver->dns,
        [STATS_CONNECT] = &deliver->connect,
        [STATS_TLS] = &deliver->tls,
        [STATS_SESSION_WAIT] = &deliver->session_wait,
        [STATS_TRANSACTION] = &deliver->transaction,
        [STATS_ACK] = &deliver->ack,
        [STATS_TOTAL] = &deliver->total,
    };
    for (unsigned i = 0; i < STATS_STAGES; i++)
        histogram_add_to(from[i], &stages[i]);
}

void app_stats_snapshot(void *user, struct stats_snapshot *out)
{
    struct app_stats *stats = user;
    out->uptime_ms = monotonic_ms() - stats->started_ms;
    out->node = stats->node;
    out->worker_count = running(stats);
    out->recordable = out->worker_count > 0;
    out->io = "none";
    out->workers = mem_array(out->worker_count, sizeof *out->workers);
    for (unsigned i = 0; i < out->worker_count; i++) {
        struct worker_view view = worker_view(stats->workers[i]);
        struct stats_worker *worker = &out->workers[i];
        read_counters(&view, &worker->counters);
        read_gauges(&view, &worker->gauges);
        worker->recordable = LOAD(view.queue->recordable);
        out->recordable &= worker->recordable;
        out->io = view.io;
        add_all((uint64_t *)&out->counters, (const uint64_t *)&worker->counters,
                sizeof worker->counters);
        add_all((uint64_t *)&out->gauges, (const uint64_t *)&worker->gauges, sizeof worker->gauges);
        add_queue(view.queue, &out->queue);
        add_stages(view.deliver, out->stages);
    }
}

bool app_stats_healthy(void *user, char *reason, size_t room)
{
    struct app_stats *stats = user;
    unsigned count = running(stats);
    if (count == 0) {
        snprintf(reason, room, "the workers are starting");
        return false;
    }
    for (unsigned i = 0; i < count; i++) {
        struct worker_view view = worker_view(stats->workers[i]);
        if (LOAD(view.queue->recordable))
            continue;
        snprintf(reason, room,
                 "worker %u can't record outcomes in Redis; it sends nothing until it can", i);
        return false;
    }
    return true;
}
