#pragma once
/* The objects of delivery and who owns whom:
 *
 *   deliver      one per worker; owns all below
 *   submission   a submission's object, loaded and compiled once, shared by its jobs (submission.c)
 *   destination  a recipient's domain: its leased jobs that wait, its route, its backoff
 * (destination.c) site         a set of MX hosts shared by destinations: hosts with their health,
 * sessions, rank (site.c) peer         one pooled SMTP session to a site (peer.c) delivery     one
 * leased job on its way through this worker: the queue's job plus its transaction (delivery.c)
 *
 * A delivery is in exactly one place: its destination's waiting list, or a peer's open list.
 */
#include "engine/base/map.h"
#include "engine/classify/verdict.h"
#include "engine/deliver/deliver.h"
#include "engine/message/content.h"

/* A destination that is taken care of by name isn't discovered again for this long. After a crash
 * it's also how long one may stay unseen, since the visits of the dead are still written in the
 * ready set. */
#define DELIVER_VISIT_MS 3000u

/* Messages started in one turn of the loop: what is rendered in a turn is in memory until its end.
 */
#define DELIVER_TURN_MESSAGES 256u

struct delivery;
struct destination;
struct peer;
struct site;
struct submission;

enum submission_state { SUBMISSION_LOADING, SUBMISSION_READY, SUBMISSION_BROKEN };

struct submission {
    struct deliver *deliver;
    enum submission_state state;
    struct queue_load load;
    struct list destinations; /* that wait for this one (destination.content_node) */
    struct list lru;
    unsigned references; /* deliveries */
    struct message_content *content;
    struct slice sender;
    int64_t accepted_ms, expires_ms; /* wall clock */
    size_t bytes;
    struct err err; /* why it's broken */
    struct slice id;
    char data[]; /* id, then sender */
};

enum route_state { ROUTE_NONE, ROUTE_ASKED, ROUTE_KNOWN };

struct destination {
    struct deliver *deliver;
    struct queue_partition *partition;
    struct list waiting; /* delivery.node */
    struct list
        site_node; /* in site->ready while it has waiting deliveries and no reason to hold them */
    struct list content_node; /* in submission->destinations */
    struct list hungry_node;  /* in deliver->hungry: wants a lease */
    struct site *site;        /* while the route is known; NULL otherwise */
    enum route_state route_state;
    struct dns_request request;
    int64_t asked_us;
    int64_t route_expires_ms;
    unsigned held;   /* deliveries here or on a peer */
    uint64_t queued; /* in Redis, as last heard */
    bool lease_asked;
    unsigned failures;        /* destination-wide ones in a row */
    int64_t backoff_until_ms; /* monotonic; 0: none */
    unsigned waiting_count;
    int64_t used_ms;
    struct slice name;
    char data[];
};

struct site_host {
    struct slice name; /* NUL-terminated too */
    uint16_t preference;
    struct dns_addresses *addresses; /* NULL until asked */
    bool asked;
    bool tls_broken; /* a handshake failed under the opportunistic policy: in clear until
                        retry_tls_ms */
    int64_t retry_tls_ms;
    int64_t down_until_ms; /* skipped until then */
    uint32_t address_down;     /* bit per address (≤ 20) that failed since the last success */
    struct tls_ticket *ticket; /* single use */
    struct dns_request request;
    struct site *site;
};

struct site {
    struct deliver *deliver;
    struct list ready;               /* destination.site_node */
    struct list idle, busy, opening; /* peer.node */
    unsigned peer_count, opening_count;
    unsigned destinations; /* that refer to it */
    unsigned lookups;      /* host look-ups under way */
    struct ring_task drain;
    struct ring_timer retry; /* when the node-wide limit left nothing, or all hosts are down */
    int64_t transaction_us, connect_us; /* moving averages; 0: none yet */
    uint64_t transactions;              /* that ended */
    unsigned in_order;                  /* accepted messages in a row without violation */
    int64_t opening_blocked_ms;         /* no new sessions until then (monotonic) */
    int64_t used_ms;
    struct site_limit **limits; /* one per source */
    struct slice key;
    unsigned host_count;
    struct site_host hosts[];
};

struct peer {
    struct list node; /* in one of the site's lists */
    struct site *site;
    struct smtp_session *session;
    struct list open; /* delivery.node */
    struct ring_timer idle_timer;
    unsigned source, host, address;
    unsigned messages;
    bool ready, ending;
    bool in_clear;            /* opened without TLS after a failed handshake */
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
    struct list node;           /* in destination->waiting or peer->open */
    struct queue_job *job;
    struct destination *destination;
    struct submission *submission;
    struct peer *peer; /* while open */
    struct smtp_recipient recipient;
    struct message_output output;
    bool has_output;
    bool fenced;      /* queue_commit refused */
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
    struct list hungry; /* destinations that want a lease */
    unsigned held;      /* deliveries */
    unsigned peers;
    unsigned next_source;
    uint64_t budget_turn; /* the turn of the loop that `budget` is for */
    unsigned budget;      /* messages that may still be started in it */
    int64_t turn_us; /* how long a turn of the loop takes, moving average: what each answer waits
                        for us */
    bool running, recordable, stopping;
    int64_t discovered_ms;
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

/* destination.c */
struct destination *destination_get(struct deliver *deliver, struct queue_partition *partition,
                                    struct slice name);
/** Does whatever is possible now for a destination with waiting deliveries: route, content, hand
 * over to its site. Idempotent. */
void destination_drain(struct destination *destination);
/** After a delivery ended: asks for more when the window is half empty. */
void destination_refill(struct destination *destination);
/** A failure that holds for all its jobs: one is recorded as an attempt, the others go back, no
 * lease until the backoff ends. */
void destination_failed(struct destination *destination, const struct smtp_reply *reply,
                        const struct site_host *host);
void destination_succeeded(struct destination *destination);
/** Gives every waiting delivery back to the queue. */
void destination_release_waiting(struct destination *destination);
bool destination_unused(const struct destination *destination);
void destination_free(struct destination *destination);

/* site.c */
struct site *site_get(struct deliver *deliver, const struct dns_route *route);
void site_drain_soon(struct site *site);
void site_host_failed(struct site *site, struct peer *peer, const struct smtp_reply *reason);
void site_host_worked(struct site *site, struct peer *peer);
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

/* peer.c */
/** Opens a session to an address of a host; the caller took a connection of the node-wide limit. */
void peer_open(struct site *site, unsigned host, unsigned address, unsigned source);
/** Gives the peer one more delivery; smtp_session_room() was > 0. */
void peer_submit(struct peer *peer, struct delivery *delivery);
void peer_quit(struct peer *peer);
unsigned peer_depth(const struct peer *peer);

/* delivery.c */
struct delivery *delivery_create(struct destination *destination, struct queue_job *job);
/** Takes the first waiting delivery that can go now, ending those that expired or are broken on the
 * way; NULL if there's none (then the destination waits for content, or is empty). */
struct delivery *delivery_next(struct destination *destination);
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
