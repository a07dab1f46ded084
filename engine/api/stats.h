#pragma once
/* The stats endpoint: an HTTP server of its own thread that shows operators what the engine does.
 * It reads nothing itself: the application fills a snapshot, plain data, each time one is asked
 * for.
 *
 *   GET /healthz    200 "ok", or 503 and the reason
 *   GET /metrics    Prometheus' text format
 *   GET /v1/stats   the same as JSON, with rates and percentiles
 */
#include "engine/base/err.h"
#include "engine/base/histogram.h"
#include "engine/base/log.h"

/** Where a message's time goes, each a histogram in µs. */
enum stats_stage {
    STATS_QUEUE_WAIT,               /* submitted until leased, retries included */
    STATS_QUEUE_WAIT_TRANSACTIONAL, /* the same, of transactional mail only */
    STATS_DNS,                      /* look-ups of MX and addresses */
    STATS_CONNECT,                  /* connection, greeting, EHLO, TLS: until a session is usable */
    STATS_TLS,                      /* handshakes only */
    STATS_SESSION_WAIT,             /* leased until a session takes it */
    STATS_TRANSACTION,              /* MAIL until the last reply */
    STATS_ACK,                      /* outcome known until it's recorded */
    STATS_TOTAL,                    /* submitted until delivered */
    STATS_STAGES,
};

/** Counters that only grow, since the process started. */
struct stats_counters {
    uint64_t leased, attempts;
    uint64_t delivered, deferred, bounced, expired, unknown, released;
    uint64_t reply_2xx, reply_4xx, reply_5xx, reply_local;
    uint64_t sessions_opened, sessions_reused, sessions_failed, violations;
    uint64_t tls_resumed;
    uint64_t dns_lookups, dns_cache_hits;
    uint64_t dns_failures, dns_timeouts, dns_stale, dns_refreshed, dns_refused, dns_secure;
    uint64_t redis_commands, redis_reconnects;
    uint64_t turns, submits, completions, no_buffers; /* of the event loops */
};

/** What is so at the moment. */
struct stats_gauges {
    uint64_t sessions_opening, sessions_busy, sessions_idle;
    uint64_t jobs_held, jobs_held_transactional, jobs_held_deadline, jobs_held_bulk; /* sum first */
    uint64_t acks_pending;
    uint64_t destinations, sites;
    uint64_t render_bytes;
    uint64_t partitions_owned;
};

/** The queue as Redis counts it, over all nodes, since it was created. */
struct stats_queue {
    uint64_t accepted, delivered, bounced, expired, suppressed, cancelled;
    uint64_t deferrals, unknown; /* attempts, not jobs */
    uint64_t retrying;           /* jobs that wait for their next attempt */
};

struct stats_worker {
    struct stats_counters counters;
    struct stats_gauges gauges;
    bool recordable; /* Redis takes its outcomes now */
};

/** Of one process. */
struct stats_snapshot {
    int64_t uptime_ms;
    const char *io; /* "io_uring", "epoll" or "simulation" */
    const char *node;
    bool recordable; /* all workers are */
    struct stats_queue queue;
    struct stats_counters counters; /* sums over the workers */
    struct stats_gauges gauges;
    struct histogram stages[STATS_STAGES];
    unsigned worker_count;
    /** worker_count entries, allocated by the callback with malloc (may be NULL); the endpoint
     * frees them. */
    struct stats_worker *workers;
};

struct api;

struct api_options {
    const char *listen; /* ADDRESS:PORT or [ADDRESS]:PORT; port 0: any free one */
    /** Fills `out`, which is zeroed. Called on threads of the endpoint, never twice at
     *  once. */
    void (*snapshot)(void *user, struct stats_snapshot *out);
    /** Whether all is well; else a reason of at most `room` bytes. Called on the endpoint's thread.
     */
    bool (*healthy)(void *user, char *reason, size_t room);
    void *user;
    const struct log *log; /* outlives the endpoint */
};

/** Starts serving. On false `err` says why, e.g. that the port is in use. */
MUST_USE bool api_start(const struct api_options *options, struct api **out, struct err *err);
/** Ends it; no callback fires after the return. Sets *api to NULL, which it may already be. */
void api_stop(struct api **api);
/** The address really listened on, "127.0.0.1:8025". */
const char *api_address(const struct api *api);

/** "queue_wait", "dns", … */
const char *stats_stage_name(enum stats_stage stage);
