#pragma once
/* One Redis connection on a ring: hiredis formats commands and parses replies, our stream carries
 * them (LIMITS 7.2). It connects and goes on connecting until it's stopped; commands of one turn
 * leave in one flight; replies come in order.
 *
 * A command that wasn't answered when the connection went may still be executed, later (RELIABILITY
 * 1, finding 7): its callback gets no reply, and what that means is the caller's to know. After a
 * time-out the connection is given up, since everything behind it is late, too. */
#include "engine/ring/ring.h"
#include "queue/url.h"

struct redis;

enum redis_value_type {
    VALUE_NIL,
    VALUE_STRING,
    VALUE_STATUS,
    VALUE_ERROR,
    VALUE_INTEGER,
    VALUE_ARRAY
};

/** A reply or a part of one; lives until the callback that got it returns. */
struct redis_value {
    enum redis_value_type type;
    int64_t integer;
    struct slice text;         /* STRING, STATUS, ERROR */
    struct redis_value *items; /* ARRAY */
    size_t count;
};

/** A command under way: the caller's memory, from redis_send() until `done`. */
struct redis_call {
    struct list node; /* private */
    int64_t sent_ms;  /* private; monotonic */
    /** The reply, or NULL when the connection went first. Commands may be sent from here. */
    void (*done)(struct redis_call *call, const struct redis_value *reply);
    unsigned extra_ms; /* allowed on top of the time-out, for commands that block */
};

struct redis_events {
    /** Connected, authenticated, database selected. Commands may be sent from now on. */
    void (*up)(void *user);
    /** The connection is gone; all calls have been answered with NULL. It connects again by itself.
     */
    void (*down)(void *user);
    /** After redis_stop(); the last callback. */
    void (*stopped)(void *user);
};

struct redis_options {
    const char *url;
    unsigned timeout_ms;     /* 0: 3000 */
    unsigned pause_ms_max;   /* longest pause between attempts to connect; 0: 1000 */
    size_t buffer_bytes;     /* kept for replies: those that fit cost no allocation; 0: 512 KiB */
    const char *client_name; /* CLIENT SETNAME; may be NULL */
    const struct log *log;
};

/** Looks up the host once, here and blocking; so call it before the ring runs. */
MUST_USE bool redis_create(struct redis **out, struct ring *ring,
                           const struct redis_options *options, const struct redis_events *events,
                           void *user, struct err *err);
void redis_start(struct redis *redis);
/** Closes. Calls under way are answered with NULL first, then `stopped`. */
void redis_stop(struct redis *redis);
/** Only when never started, or after `stopped`. */
void redis_destroy(struct redis **redis);

/** Between `up` and the loss of the connection, which may be known a little before `down`. */
bool redis_up(const struct redis *redis);
/** Gives the connection up, e.g. after a reply that makes no sense; `reason` goes to the log. */
void redis_drop(struct redis *redis, const char *reason);

/** Sends a command. Only while redis_up(); the arguments are copied. */
void redis_send(struct redis *redis, struct redis_call *call, const struct slice *args,
                unsigned count);

/** As given to redis_create(). */
void *redis_user(const struct redis *redis);
uint64_t redis_commands(const struct redis *redis);
uint64_t redis_connects(const struct redis *redis);

static inline bool redis_value_is(const struct redis_value *value, const char *text)
{
    return (value->type == VALUE_STRING || value->type == VALUE_STATUS) &&
           slice_eq(value->text, slice_str(text));
}

/** An integer reply, or a string of digits; 0 for anything else. */
uint64_t redis_value_u64(const struct redis_value *value);
