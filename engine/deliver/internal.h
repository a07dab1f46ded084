#pragma once
/* The objects of delivery and who owns whom:
 *
 *   deliver      one per worker; owns all below
 *   submission   a submission's object, loaded and compiled once, shared by its jobs (submission.c)
 *   destination  a recipient's domain: its route, its backoff, what is leased of it (destination.c)
 *   path         the way to a destination: its own mail exchangers, or a relay's, with the
 *                policy in force (path.c, rule.c)
 *   lane         jobs of one destination, path, class and pool of sources that wait here (lane.c)
 *   site         a set of MX hosts and the pool that their sessions leave from, shared by lanes:
 *                hosts with their health, sessions, rank (site.c, host.c, room.c,
 *                source.c)
 *   peer         one pooled SMTP session to a site (peer.c)
 *   delivery     one leased job on its way through this worker: the queue's job plus its
 *                transaction (delivery.c)
 *
 * A delivery is in exactly one place: its lane's waiting list, or a peer's open list.
 */
#include "engine/base/map.h"
#include "engine/classify/verdict.h"
#include "engine/deliver/deliver.h"
#include "engine/message/content.h"

/* A destination that is taken care of by name isn't discovered again for this long. After a crash
 * it's also how long one may stay unseen, since the visits of the dead are still written in the
 * ready set. */
#define DELIVER_VISIT_MS 3000u
/* The same for transactional mail: nobody should notice a crash either. */
#define DELIVER_VISIT_TRANSACTIONAL_MS 500u

/* Messages started in one turn of the loop: what is rendered in a turn is in memory until its end.
 * Transactional ones have as many of their own. */
#define DELIVER_TURN_MESSAGES 256u

struct delivery;
struct destination;
struct lane;
struct path;
struct peer;
struct site;
struct submission;

enum submission_state { SUBMISSION_LOADING, SUBMISSION_READY, SUBMISSION_BROKEN };

struct submission {
    struct deliver *deliver;
    enum submission_state state;
    struct queue_load load;
    struct list lanes; /* that wait for this one (lane.content_node) */
    struct list lru;
    unsigned references; /* deliveries */
    struct message_content *content;
    struct slice sender;
    int64_t accepted_ms, expires_ms; /* wall clock */
    int64_t (*windows)[2];           /* from, to: wall clock, sorted; heap */
    unsigned window_count;           /* 0: always */
    size_t bytes;
    struct err err; /* why it's broken */
    struct slice id;
    char data[]; /* id, then sender */
};

/** What a message itself asks of TLS (RFC 8689). */
enum tls_demand {
    TLS_AS_USUAL,
    TLS_NEEDED, /* REQUIRETLS */
    TLS_WAIVED, /* TLS-Required: No: what the recipient's domain publishes doesn't count */
};

/** How mail goes, besides to which hosts and from which pool: sites differ by it. */
struct way {
    enum tls_demand demand;
    unsigned policy;   /* in deliver_options.policies */
    unsigned relay;    /* in deliver_options.relays, or DELIVER_NO_RELAY */
    bool secure;       /* that these are the hosts was validated (DNSSEC), or configured */
    enum sts_mode sts; /* of the domain's MTA-STS policy */
};

enum path_state { PATH_NONE, PATH_ASKED, PATH_KNOWN };

struct path {
    struct list node; /* in destination->paths; lives as long as the destination */
    struct destination *destination;
    enum path_state state;
    bool own_route; /* what is asked for, or known, are the destination's own mail exchangers */
    struct way way; /* PATH_KNOWN, as all below */
    struct dns_route *route;
    struct dns_request request;
    struct sts_request sts;
    char *sts_text; /* the domain's MTA-STS policy as TLS reports have it; NULL: none, or no reports
                     */
    bool sts_asked; /* the route is known, the domain's MTA-STS policy isn't yet */
    int64_t asked_us;
    enum tls_demand demand;
    size_t tenant_len;
    char tenant[]; /* that the rules name; else empty */
};

/** What is leased and still to be leased of one class. */
struct intake {
    struct destination *destination;
    struct list hungry_node; /* in deliver->hungry of its class: wants a lease */
    unsigned held;           /* deliveries here or on a peer */
    uint64_t queued;         /* at least so many are in Redis, as last heard */
    unsigned asked;          /* jobs: an answer is awaited … */
    int64_t asked_until_ms;  /* … and believed lost after this */
};

struct destination {
    struct deliver *deliver;
    struct queue_partition *partition;
    struct list paths; /* path.node */
    struct list lanes; /* lane.node */
    struct intake intake[QUEUE_CLASSES];
    unsigned failures;        /* destination-wide ones in a row */
    int64_t backoff_until_ms; /* monotonic; 0: none */
    bool draining;            /* its partition is about to go to another worker */
    int64_t used_ms;
    struct slice name;
    char data[];
};

struct lane {
    struct list node; /* in destination->lanes; lives as long as the destination */
    struct destination *destination;
    struct path *path;
    enum queue_class class;
    unsigned pool;
    struct list waiting; /* delivery.node */
    unsigned waiting_count;
    struct list site_node;    /* in site->ready of its class while it has waiting deliveries and no
                                 reason to hold them */
    struct list content_node; /* in submission->lanes */
    struct site *site;        /* while the route is known and it's in use; else NULL */
};

struct site_host {
    struct slice name; /* NUL-terminated too */
    uint16_t preference;
    struct dns_addresses *addresses; /* NULL until asked */
    bool asked;
    bool tls_broken; /* a handshake failed under the opportunistic policy: in clear until
                        retry_tls_ms */
    int64_t retry_tls_ms;
    int64_t unnamed_until_ms; /* verification failed, and the MTA-STS policy is only being tested */
    int64_t down_until_ms;    /* skipped until then */
    uint32_t address_down;    /* bit per address (≤ 20) that failed since the last success */
    struct dns_request request;
    struct dns_tlsa *tlsa; /* NULL until asked for */
    struct dns_request tlsa_request;
    bool own_base;   /* TLSA records of its own name, not of the end of its CNAMEs */
    const char *why; /* it can't be used, other than for its addresses; NULL: it can */
    struct site *site;
};

#define HOST_TLSA_MAX 16 /* records of a host that are used */

/** How a session to a host is to be secured. */
struct host_session {
    enum smtp_tls_mode mode;
    struct tls_context *context;
    const char *server_name;
    struct dns_tlsa *tlsa; /* by DANE: what the records refer to, a reference; else NULL */
    struct tls_tlsa *records;
    unsigned record_count;
    bool may_be_clear;   /* if the handshake fails, the next session is */
    bool may_be_unnamed; /* … goes without verification */
};

/** A TLS ticket, and the host that gave it: for one session (RFC 8446, C.4). */
struct site_ticket {
    struct tls_ticket *ticket;
    unsigned host;
};
#define SITE_TICKETS_MAX 8 /* and no more than it has sessions */

/** A source as one of a site's pool. */
struct site_source {
    struct site_limit *limit;
    unsigned index;            /* in deliver_options.sources */
    unsigned weight;           /* of the pool */
    unsigned connections_max;  /* on the node */
    unsigned connections_bulk; /* of these, for other than transactional mail */
    unsigned peers;            /* this worker's */
    int64_t credit;            /* whose turn it is, see source.c */
};

struct site {
    struct deliver *deliver;
    struct list ready[QUEUE_CLASSES]; /* lane.site_node */
    struct list idle, busy, opening;  /* peer.node */
    unsigned peer_count, opening_count;
    unsigned lanes;   /* that refer to it */
    unsigned lookups; /* host look-ups under way */
    struct ring_task drain;
    struct list crowded_node; /* in deliver->crowded while it wants a session of a full worker */
    struct ring_timer retry;  /* when the node-wide limit left nothing, or all hosts are down */
    int64_t transaction_us, connect_us; /* moving averages; 0: none yet */
    int64_t alone_us;        /* of a transaction with none before it on its session; likewise */
    int64_t behind_us;       /* by how much each one before it makes one longer; likewise */
    uint64_t transactions;   /* that ended */
    unsigned in_order;       /* accepted messages in a row without violation */
    sa_family_t family;      /* that was connected to last; AF_UNSPEC: none yet */
    int64_t family_until_ms; /* it's believed to be the better one until then */
    unsigned hosts_tried, addresses_tried; /* in vain, since one worked or all were given up */
    unsigned host_tried;                   /* the last one */
    int64_t accepted_ms;                   /* when a message was accepted last; 0: never */
    int64_t opening_blocked_ms;            /* no new sessions until then (monotonic) */
    int64_t used_ms;
    struct way way;
    unsigned pool;
    struct site_source *sources; /* as many as the pool has */
    unsigned source_count;
    struct site_ticket tickets[SITE_TICKETS_MAX]; /* the newest one last */
    unsigned ticket_count;
    bool ipv4, ipv6;  /* that some source can reach */
    struct slice key; /* of the hosts */
    struct slice id;  /* key, pool and way */
    unsigned host_count;
    struct site_host hosts[];
};

struct peer {
    struct list node;      /* in one of the site's lists */
    struct list idle_node; /* in deliver->idle while it's in the site's */
    struct site *site;
    struct smtp_session *session;
    struct list open;               /* delivery.node */
    unsigned open_count, open_bulk; /* of them; other than transactional */
    struct ring_timer timer;        /* idle too long; while connecting: time for a rival */
    struct peer *rival;             /* connecting to the same host over the other family, or NULL */
    unsigned source;                /* in site->sources */
    unsigned host, address;
    sa_family_t family;
    unsigned messages;
    bool connected, ready, ending;
    bool evicted; /* ending, so that another one can begin */
    struct host_session security;
    bool may_bulk;              /* counts as one that carries bulk */
    const struct path *told[8]; /* that it was counted for, the last one first; only compared */
    int64_t opened_us;
    char text[64]; /* address for events */
};

/* A reply kept beyond its callback. */
struct refusal {
    struct smtp_reply reply;
    char text[];
};

struct delivery {
    struct smtp_transaction tx; /* tx.node is the session's */
    struct list node;           /* in lane->waiting or peer->open */
    struct queue_job *job;
    struct lane *lane;
    struct submission *submission;
    struct peer *peer; /* while open */
    struct smtp_recipient recipient;
    struct message_output output;
    bool has_output;
    bool fenced;      /* queue_commit refused */
    bool looked_at;   /* its wait in the queue is in the statistics */
    unsigned ahead;   /* open on the session when it was submitted */
    uint8_t restarts; /* times a session failed under it before end-of-data, within this lease */
    int64_t leased_us, submitted_us;
    struct refusal *refusal; /* of the recipient, when RCPT was refused; heap */
};

struct deliver {
    struct ring *ring;
    struct queue *queue;
    struct dns_resolver *resolver;
    struct deliver_options options;
    struct message_blocks *blocks;
    struct map submissions, destinations, sites;
    struct list submissions_lru; /* those without references */
    size_t content_bytes;
    struct list free_deliveries;
    struct map pools;                  /* by name: deliver_pool */
    struct map tenants;                /* that the rules name: themselves */
    struct map unknown_pools;          /* names that were warned of */
    struct list hungry[QUEUE_CLASSES]; /* intakes that want a lease */
    unsigned held;                     /* deliveries */
    unsigned held_bulk;                /* of them, other than transactional */
    unsigned asked, asked_bulk;        /* jobs that may come yet, likewise; by name only */
    unsigned peers;
    struct list idle;       /* peer.idle_node, the one that has been longest in front */
    struct list crowded;    /* site.crowded_node: sites that wait for one of sessions_max */
    unsigned crowded_count; /* of them */
    unsigned evicted;       /* peers that end for them */
    uint64_t budget_turn;   /* the turn of the loop that `budget` is for */
    unsigned budget[2];     /* messages that may still be started in it: transactional, other */
    int64_t turn_us; /* how long a turn of the loop takes, moving average: what each answer waits
                        for us */
    bool running, recordable, stopping;
    int64_t discovered_ms[QUEUE_CLASSES];
    struct ring_timer pump_timer, sweep_timer, stop_timer;
    struct ring_task pump;
    void (*stopped)(void *user);
    void *stopped_user;
    struct deliver_stats stats;
};

/* One writer per counter, readers on other threads. */
static inline void stat_add(uint64_t *counter, uint64_t n)
{
    __atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}
static inline void stat_sub(uint64_t *counter, uint64_t n)
{
    __atomic_store_n(counter, *counter - n, __ATOMIC_RELAXED);
}

/* deliver.c */
/** Sees to it that more jobs are asked for soon. */
void deliver_pump_soon(struct deliver *deliver);
void deliver_check_stopped(struct deliver *deliver);

/* submission.c */
struct submission *submission_hold(struct deliver *deliver, struct slice id);
void submission_release(struct submission *submission);
void submissions_free(struct deliver *deliver);
/** Whether none of its time windows forbids sending now. It's ready. */
bool submission_may_leave(const struct submission *submission, int64_t wall_ms);

/* destination.c */
struct destination *destination_get(struct deliver *deliver, struct queue_partition *partition,
                                    struct slice name);
/** Does whatever is possible now for a destination with waiting deliveries: route, content, hand
 * over to its sites. Idempotent. */
void destination_drain(struct destination *destination);
/** After a delivery of the class ended: asks for more when there are more. */
void destination_refill(struct destination *destination, enum queue_class class);
/** Whether a lease of the class is under way. */
bool destination_asked(const struct destination *destination, enum queue_class class);
/** Notes that so many jobs were asked for; 0: the answer is there, or won't come. */
void destination_ask(struct destination *destination, enum queue_class class, unsigned jobs);
/** A failure that holds for all its jobs: one is recorded as an attempt, the others go back, no
 * lease until the backoff ends. `site` is where it failed (NULL: before one was known): when other
 * pools get through, only those that wait for this site have failed. */
void destination_failed(struct destination *destination, const struct site *site,
                        const struct smtp_reply *reply, const struct site_host *host);
/** There's no way for the mail of a path now. */
void destination_path_failed(struct destination *destination, const struct path *path,
                             const struct smtp_reply *reply);
void destination_succeeded(struct destination *destination);
/** Gives every waiting delivery back to the queue. */
void destination_release_waiting(struct destination *destination);
/** What is held of it was changed by an order or a suppression. */
void destination_review(struct destination *destination);
bool destination_waiting(const struct destination *destination);
/** Whether the resolver is asked for a way to it. */
bool destination_asking(const struct destination *destination);
/** It won't call back. */
void destination_cancel(struct destination *destination);
bool destination_unused(const struct destination *destination);
void destination_free(struct destination *destination);

/* path.c */
/** The path of a tenant's mail that asks this of TLS. */
struct path *path_of(struct destination *destination, struct slice tenant, enum tls_demand demand);
/** Asks for the way, if nobody has; when it's known the destination is drained. */
void path_find(struct path *path);
/** Nobody calls back any more. */
void path_cancel(struct path *path);
/** What is known is too old. */
void path_forget(struct path *path);
void path_free(struct path *path);

/* lane.c */
/** The lane for a job, by its class, pool and path. */
struct lane *lane_of(struct destination *destination, const struct queue_job *job);
void lane_push(struct lane *lane, struct delivery *delivery, bool first);
/** Takes a waiting delivery out. */
void lane_take(struct lane *lane, struct delivery *delivery);
/** Stands in line at its site. The path is known. */
void lane_stand(struct lane *lane);
/** Out of all lines, and away from its site. */
void lane_leave_site(struct lane *lane);
void lane_release_waiting(struct lane *lane);
/** Ends every waiting delivery by a reply. */
void lane_end_waiting(struct lane *lane, const struct smtp_reply *reply,
                      const struct site_host *host);
/** Releases what is held, ends what is suppressed, and moves what has another pool now. */
void lane_review(struct lane *lane);
void lane_free(struct lane *lane);

/* site.c */
struct site *site_get(struct deliver *deliver, const struct dns_route *route, const struct way *way,
                      unsigned pool);
bool site_has_ready(const struct site *site);
static inline const struct deliver_policy *site_policy(const struct site *site)
{
    return &site->deliver->options.policies[site->way.policy];
}
/** NULL: none. */
static inline const struct deliver_relay *site_relay(const struct site *site)
{
    return site->way.relay == DELIVER_NO_RELAY ? NULL
                                               : &site->deliver->options.relays[site->way.relay];
}
/** A transaction ended that had `ahead` before it on its session when it was submitted. */
void site_timed(struct site *site, int64_t took_us, unsigned ahead);
/** How many transactions of other than transactional mail may be open at once on a session: fewer
 * than its depth where they'd keep one that is waited for from leaving. */
unsigned site_bulk_depth(const struct site *site);
void site_drain_soon(struct site *site);
/** Feeds a moving average (the last eight or so count most). */
static inline void average_add(int64_t *average, int64_t us)
{
    *average = *average == 0 ? MAX_OF(us, (int64_t)1) : *average + (us - *average) / 8;
}
/** Feeds an average that falls at once and rises slowly: the time that a peer takes, without the
 * time that its answers wait for us. More sessions would only make us slower then. */
static inline void low_average_add(int64_t *average, int64_t us)
{
    us = MAX_OF(us, (int64_t)1);
    *average = *average == 0 || us < *average ? us : *average + (us - *average) / 128;
}
bool site_unused(const struct site *site);
void site_free(struct site *site);

/* host.c */
enum host_choice { HOST_CHOICE_FOUND, HOST_CHOICE_WAIT, HOST_CHOICE_NONE };
/** The host and address to connect to next: the lowest preference that has one up, a random one
 * among equals. HOST_CHOICE_WAIT: something about one is being asked for. */
enum host_choice site_choose(struct site *site, unsigned *host, unsigned *address);
void host_addresses_found(struct dns_request *request, struct dns_addresses *addresses);
/** All hosts are down and no session lives: the destinations have failed, each on its own account.
 */
void site_failed(struct site *site, const struct smtp_reply *reason, const struct site_host *host);
void site_host_failed(struct site *site, struct peer *peer, const struct smtp_reply *reason);
void site_host_worked(struct site *site, struct peer *peer);
/** A session is long in connecting: opens another one to the same host over the other address
 * family (RFC 8305), if there is one and the limits allow. */
void site_race(struct site *site, struct peer *peer);
/** A session is connected: its family is the one to use. */
void site_connected(struct site *site, struct peer *peer);

/* secure.c */
void host_records_found(struct dns_request *request, struct dns_tlsa *tlsa);
enum host_security { HOST_SECURED, HOST_WAIT, HOST_UNUSABLE };
/** Whether it's known how to secure sessions to a host whose addresses are known; asks for what is
 * missing. HOST_UNUSABLE: `why`, a constant. */
enum host_security host_secure(struct site_host *host, int64_t now_ms, const char **why);
void host_session_security(struct site_host *host, struct host_session *out);
void host_session_clear(struct host_session *session);
/** Whether there are validated TLSA records that are to be kept. */
bool host_has_records(const struct site_host *host);
/** A session failed before it was ready: whether it's because of TLS, and the next one may do
 * without. */
bool host_tls_failed(struct site_host *host, const struct peer *peer,
                     const struct smtp_reply *reason);
/** When a failure means that what messages demand of TLS can't be had from any host: the reply that
 * ends them (RFC 8689, 4.2.1). */
bool tls_demand_failed(const struct site *site, const struct smtp_reply *reason,
                       struct smtp_reply *end);

/* tell.c */
/** A session carries mail of a path. */
void tell_session_used(struct peer *peer, const struct path *path);
/** It failed before it was ready. */
void tell_session_failed(struct peer *peer, const struct smtp_reply *reason);
/** Its TLSA records forbid to use it now. */
void tell_host_unusable(struct site_host *host, const char *why);
/** What the domain's policy is, and what was wrong with getting it (NULL: nothing). */
void tell_sts_policy(struct path *path, const struct sts_policy *policy);
void tell_sts_problem(const struct path *path, const char *problem);

/* room.c */
/** Whether a session may be opened that is to carry the class. */
bool room_left(const struct deliver *deliver, enum queue_class class);
/** Lets a site wait for room, or no more. The one that has been idle longest makes way for it. */
void room_await(struct site *site, bool wanted);
/** Wakes sites that wait while there's room. */
void room_offer(struct deliver *deliver);
/** A session has nothing more to do: whether it has to end for others, which then has begun. */
bool room_yield(struct peer *peer);

/* source.c */
void site_sources_create(struct site *site);
void site_sources_destroy(struct site *site);
/** Takes a connection of the node-wide limit for a session that is to carry the class: from the
 * source whose turn it is, of those that have one left and can reach the address family. */
MUST_USE bool site_source_take(struct site *site, enum queue_class class, sa_family_t family,
                               unsigned *source);
void site_source_give(struct site *site, unsigned source);

/* peer.c */
/** Opens a session to an address of a host; the caller took a connection of the node-wide limit. */
struct peer *peer_open(struct site *site, unsigned host, unsigned address, unsigned source);
/** Gives the peer one more delivery; smtp_session_room() was > 0. */
void peer_submit(struct peer *peer, struct delivery *delivery);
void peer_quit(struct peer *peer);
/** Whether it can take one more transaction of the class now; for other than transactional ones
 * then peer_settle() must follow, whether or not one was submitted. */
MUST_USE bool peer_offer(struct peer *peer, enum queue_class class);
/** Gives back what peer_offer() took, if it carries no bulk. */
void peer_settle(struct peer *peer);
unsigned peer_depth(const struct peer *peer);
/** Its source's index in deliver_options.sources. */
unsigned peer_source(const struct peer *peer);

/* delivery.c */
struct delivery *delivery_create(struct destination *destination, struct queue_job *job);
/** Takes the first waiting delivery that can go now, ending or releasing those that can't on the
 * way; NULL if there's none (then the lane waits for content, or is empty). */
struct delivery *delivery_next(struct lane *lane);
/** Ends it because its recipient was suppressed after the lease. */
void delivery_suppress(struct delivery *delivery);
/** Ends it by a reply that goes through the classifier. */
void delivery_end_by_reply(struct delivery *delivery, const struct smtp_reply *reply,
                           const struct site_host *host);
/** Gives the lease back as if it never was. */
void delivery_release(struct delivery *delivery);
bool delivery_body(struct delivery *delivery, bool chunked, struct smtp_body *body,
                   struct smtp_reply *reply);
void delivery_body_done(struct delivery *delivery);
void delivery_recipient_refused(struct delivery *delivery, const struct smtp_reply *reply);
void delivery_done(struct delivery *delivery, enum smtp_tx_outcome outcome,
                   const struct smtp_reply *reply);
void delivery_recovered(struct deliver *deliver, struct queue_job *job, enum queue_recovery what,
                        unsigned code);
