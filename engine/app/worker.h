#pragma once
/* One worker: a thread with its ring and everything that hangs on it. */
#include "engine/app/config.h"
#include "engine/deliver/deliver.h"
#include "queue/journal.h"

struct worker;

/** What all workers of a process have in common; outlives them. */
struct worker_common {
    const struct config *config;
    const struct log *log;
    const char *redis_url;
    const char *node;
    uint64_t instance; /* random, of this process */
    unsigned workers;
    struct deliver_shared *shared;
    struct tls_tally *tally;               /* NULL: no TLS reports */
    struct sts *sts;                       /* NULL: MTA-STS is off */
    struct queue_journal *const *journals; /* one part per worker */
    const struct deliver_source *sources;
    unsigned source_count;
    const struct deliver_pool *pools;
    unsigned pool_count;
    const struct deliver_schedule *schedules; /* as many as the configuration has */
    const struct queue_tenant *tenants;       /* likewise */
};

/** Starts the thread and waits until it runs or has failed to. */
MUST_USE bool worker_start(struct worker **out, const struct worker_common *common, unsigned index,
                           struct err *err);
/** Asks it to stop; returns at once. */
void worker_stop(struct worker *worker);
/** Waits for its end and frees it. */
void worker_join(struct worker **worker);

/** For the stats thread; pointers stay valid until worker_join(). NULL members before the worker
 * runs. */
struct worker_view {
    const struct deliver_stats *deliver;
    const struct queue_stats *queue;
    const struct dns_stats *dns;
    const struct ring_stats *ring;
    const char *io;
};
struct worker_view worker_view(const struct worker *worker);
