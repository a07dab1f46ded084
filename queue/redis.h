#pragma once
/* One Redis connection on a ring: hiredis formats commands and parses replies, our stream carries
 * them (LIMITS 7.2). It connects and goes on connecting until it's stopped; commands of one turn
 * leave in one flight; replies come in order.
 *
 * A command that wasn't answered when the connection went may still be executed, later (RELIABILITY
 * 1, finding 7): its callback gets no reply, and what that means is the caller's to know. After a
 * time-out the connection is given up, since everything behind it is late, too.
 *
 * With `wait_replicas` a flight that holds a durable call ends with WAIT, and its replies are kept
 * until so many replicas have what it wrote. Too few of them is like no answer: the connection is
 * given up. */
#include "engine/net/tls.h"
#include "engine/ring/ring.h"
#include "queue/redis_value.h"
#include "queue/url.h"

struct redis;

/** A command under way: the caller's memory, from redis_send() until `done`. */
struct redis_call {
    struct list node;                /* private */
    int64_t sent_ms;                 /* private; monotonic */
    const struct redis_value *reply; /* private */
    /** The reply, or NULL when the connection went first. Commands may be sent from here. */
    void (*done)(struct redis_call *call, const struct redis_value *reply);
    unsigned extra_ms; /* allowed on top of the time-out, for commands that block */
    bool durable;      /* its answer waits for the replicas, where that is set */
};

struct redis_events {
    /** Connected, authenticated, database selected. Commands may be sent from now on. */
    void (*up)(void *user);
    /** The connection is gone; all calls have been answered with NULL. It connects again by itself.
     */
    void (*down)(void *user);
    /** After redis_stop(); the last callback, from which redis_destroy() may be called. */
    void (*stopped)(void *user);
    /** Whether to connect now; redis_host_set() may be called from it. After a no it's asked
     * again after the longest pause, or at redis_wake(). May be NULL: always. */
    bool (*may_connect)(void *user);
    /** A reply says that this isn't the server to ask, or not now (redis_value_refused()); before
     * the call's own callback. May be NULL. */
    void (*redirected)(void *user, const struct redis_value *error);
};

struct redis_options {
    const char *url;          /* of a set, see queue/redis_set.h and queue/url.h */
    unsigned timeout_ms;      /* 0: 3000 */
    unsigned pause_ms_max;    /* longest pause between attempts to connect; 0: 1000 */
    size_t buffer_bytes;      /* kept for replies: those that fit cost no allocation; 0: 512 KiB */
    unsigned wait_replicas;   /* that must have what durable calls write; 0: none */
    unsigned wait_timeout_ms; /* how long it may take them; 0: 1000 */
    const char *client_name;  /* CLIENT SETNAME; may be NULL */
    const struct log *log;
};

/** Whom to connect to, and as whom; what it points to must outlive the connection. */
struct redis_target {
    struct redis_host host;
    const char *user, *password; /* NULL or "": none */
    unsigned db;
    struct tls_context *tls; /* NULL: in clear */
    const char *tls_name;    /* in the certificate; NULL: the host's name */
    bool sentinel;           /* not a server but a sentinel: knows no databases */
    bool primary;            /* it must be one */
};

void redis_create(struct redis **out, struct ring *ring, const struct redis_options *options,
                  const struct redis_target *target, const struct redis_events *events, void *user);
void redis_start(struct redis *redis);
/** Closes. Calls under way are answered with NULL first, then `stopped`. */
void redis_stop(struct redis *redis);
/** Only when never started, or from or after `stopped`. */
void redis_destroy(struct redis **redis);

/** Between `up` and the loss of the connection, which may be known a little before `down`. */
bool redis_up(const struct redis *redis);
/** Gives the connection up, e.g. after a reply that makes no sense; `reason` goes to the log (NULL:
 * nothing is wrong). */
void redis_drop(struct redis *redis, const char *reason);
/** Asks `may_connect` again at once, if it said no. */
void redis_wake(struct redis *redis);
/** Whom to connect to the next time. */
void redis_host_set(struct redis *redis, const struct redis_host *host);
const struct redis_host *redis_host(const struct redis *redis);
/** Why the last connection or attempt failed; "" when none did. Without passwords. */
const char *redis_failure(const struct redis *redis);

/** Sends a command. Only while redis_up(); the arguments are copied. */
void redis_send(struct redis *redis, struct redis_call *call, const struct slice *args,
                unsigned count);

/** As given to redis_create(). */
void *redis_user(const struct redis *redis);
uint64_t redis_commands(const struct redis *redis);
uint64_t redis_connects(const struct redis *redis);
