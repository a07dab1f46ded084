#pragma once
/* Delivery on one worker: leases jobs, finds where they go, opens and reuses sessions, sends, and
 * records what happened. The only place where dns, queue, smtp and message meet.
 * engine/deliver/README.md tells the whole way of a job. */
#include <limits.h>

#include "dns/sts.h"
#include "engine/base/histogram.h"
#include "engine/deliver/shared.h"
#include "engine/net/tls.h"
#include "engine/smtp/session.h"
#include "queue/queue.h"

struct deliver;

/** An egress identity. */
struct deliver_source {
    const char *name;
    const char *ehlo_name;
    struct sockaddr_storage address; /* ss_family AF_UNSPEC: the system chooses */
};

/** A set of sources; a site's sessions leave from one pool. */
struct deliver_pool {
    const char *name;
    const unsigned *sources; /* indexes into deliver_options.sources */
    const unsigned *weights; /* one per source: the heaviest has all of connections_per_site */
    unsigned source_count;   /* ≥ 1 */
};

/** Pauses before the next attempt for some classes and categories. */
struct deliver_schedule {
    unsigned class;       /* enum queue_class, or DELIVER_ANY_CLASS */
    const char *category; /* "": any */
    const unsigned *schedule_s;
    unsigned count; /* ≥ 1 */
};
#define DELIVER_ANY_CLASS ((unsigned)QUEUE_CLASSES)

enum deliver_tls_mode {
    DELIVER_TLS_OFF,           /* never */
    DELIVER_TLS_OPPORTUNISTIC, /* where it's offered; in clear when a handshake fails (RFC 7435) */
    DELIVER_TLS_REQUIRED,      /* or not at all; any certificate */
    DELIVER_TLS_VERIFIED,      /* chain and host name must be right */
    DELIVER_TLS_DANE,          /* TLSA records must be there and fit (RFC 7672) */
};

/** How sessions are secured. */
struct deliver_policy {
    const char *name;
    enum deliver_tls_mode mode;
    struct tls_context *context; /* NULL: off */
    struct tls_context *dane;    /* for hosts with TLSA records; NULL: they aren't looked for */
    struct tls_context *named;   /* for domains with an MTA-STS policy, and for REQUIRETLS; NULL: as
                                    `context` does */
    bool sts;                    /* MTA-STS policies are looked for */
};

/** A server that takes mail for others. */
struct deliver_relay {
    const char *name;
    const char *host; /* a name, or an address without brackets */
    unsigned port;
    bool mx;           /* the host's MX records say where; else its addresses */
    bool implicit_tls; /* at once after connecting (RFC 8314), unless the policy is "off" */
    unsigned policy;   /* index into deliver_options.policies */
    bool lmtp;         /* RFC 2033 */
    const struct smtp_auth *auth; /* NULL: without logging in; outlives the deliver */
};
#define DELIVER_NO_RELAY UINT_MAX

/** What some mail needs: of several that fit, the first one says. Patterns of names are
 * "example.org", "*.example.org" (all below it) or "*", in lower case. */
struct deliver_rule {
    const char *const *destinations; /* patterns; none: all */
    unsigned destination_count;
    const char *const *sites; /* patterns, one of which fits one of the MX hosts; none: all */
    unsigned site_count;
    const char *const *tenants; /* none: all */
    unsigned tenant_count;
    unsigned policy; /* index */
    unsigned relay;  /* index, or DELIVER_NO_RELAY */
};

struct deliver_options {
    unsigned port;                         /* of the mail exchangers: 25 */
    const struct deliver_policy *policies; /* the first is for what no rule fits */
    unsigned policy_count;                 /* ≥ 1 */
    const struct deliver_relay *relays;
    unsigned relay_count;
    const struct deliver_rule *rules;
    unsigned rule_count;
    struct sts *sts; /* the node's MTA-STS policies; NULL: none */
    struct smtp_timeouts timeouts;
    bool no_pipelining, no_chunking;
    unsigned pipeline_depth; /* transactions open at once on a session of a site that earned it */
    unsigned pipeline_rank;  /* accepted messages in a row that earn it */

    const struct deliver_source *sources;
    unsigned source_count;            /* ≥ 1 */
    const struct deliver_pool *pools; /* the first is the default */
    unsigned pool_count;              /* ≥ 1 */

    unsigned connections_per_site; /* over all workers of the node, per source */
    unsigned reserved_per_site; /* of these, only for transactional mail, as long as one is left */
    unsigned connecting_per_site; /* sessions being opened at once, per worker */
    unsigned messages_per_session;
    unsigned idle_ms;
    unsigned sessions_max;      /* per worker */
    struct dkim_signer *signer; /* this worker's; NULL: messages aren't signed */
    struct tls_tally *tally;    /* where sessions are counted for TLS reports; NULL: they aren't */

    sa_family_t family;           /* tried first while none is known to work: AF_INET6, AF_INET */
    unsigned race_ms;             /* then the other one is tried beside it; 0: never */
    unsigned hosts_per_round;     /* that may fail in a row before the destinations back off */
    unsigned addresses_per_round; /* likewise */

    unsigned jobs_max;              /* leased by this worker at once */
    unsigned jobs_per_destination;  /* and class */
    unsigned jobs_reserved_percent; /* of jobs_max, only for transactional mail */

    const struct deliver_schedule *schedules; /* the first one that fits is used, else … */
    unsigned schedule_count;
    const unsigned *retry_schedule_s; /* … this */
    unsigned retry_count;             /* ≥ 1; the last one repeats until the submission expires */
    unsigned retry_jitter_percent;
    unsigned unknown_delay_s; /* before a job whose outcome is unknown is tried again */

    size_t render_bytes_max;       /* of rendered messages that wait to leave */
    size_t content_bytes_max;      /* of compiled content kept */
    struct deliver_shared *shared; /* one per process */
    const struct log *log;
};

/** The first rule that fits mail of a tenant for a destination, NULL if none does. While `route` is
 * NULL *depends says that it's the destination's MX hosts which decide (and NULL is returned). */
const struct deliver_rule *deliver_rule_find(const struct deliver_options *options,
                                             struct slice tenant, struct slice destination,
                                             const struct dns_route *route, bool *depends);

/** Written by the worker, read by other threads with relaxed loads. */
struct deliver_stats {
    uint64_t leased, attempts, delivered, deferred, bounced, expired, unknown, released;
    uint64_t reply_2xx, reply_4xx, reply_5xx, reply_local;
    uint64_t sessions_opened, sessions_reused, sessions_failed, violations;
    uint64_t tls_resumed; /* of sessions_opened */
    uint64_t sessions_opening, sessions_busy, sessions_idle;
    uint64_t jobs_held[QUEUE_CLASSES], destinations, sites;
    uint64_t render_bytes;
    struct histogram queue_wait, queue_wait_transactional; /* µs, as all below */
    struct histogram dns, connect, tls, session_wait, transaction, ack, total;
};

MUST_USE bool deliver_create(struct deliver **out, struct ring *ring, struct dns_resolver *resolver,
                             const struct deliver_options *options, struct err *err);
/** The queue's events belong to delivery: create the queue with these and the deliver as user, then
 * attach it. */
extern const struct queue_events deliver_queue_events;
void deliver_attach(struct deliver *deliver, struct queue *queue);
/** Starts leasing. */
void deliver_start(struct deliver *deliver);
/** No new leases; jobs without a transaction go back to their queues; open transactions are waited
 * for, at most `timeout_ms`, and then aborted (those with end-of-data sent become unknown); then
 * `stopped`. */
void deliver_stop(struct deliver *deliver, int64_t timeout_ms, void (*stopped)(void *user),
                  void *user);
void deliver_destroy(struct deliver **deliver);

const struct deliver_stats *deliver_stats(const struct deliver *deliver);
