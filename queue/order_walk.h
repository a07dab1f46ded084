#pragma once
/* Goes over what all partitions hold, in slices of one script call, so that Redis is never kept
 * from others for long: few calls at a time, and how many is ruled by how long the last ones took.
 */
#include "queue/admin_io.h"
#include "queue/orders.h"

/** The parts of a partition, in the order in which a walk sees them: while an order keeps jobs from
 * being leased they only move on that way, so none escapes. */
enum walk_phase {
    WALK_IN_FLIGHT = 1 << 0,
    WALK_RETRIES = 1 << 1,
    WALK_QUEUES = 1 << 2,
    WALK_ALL = WALK_RETRIES | WALK_QUEUES | WALK_IN_FLIGHT,
};

struct walk {
    const char *script; /* its reply begins with the next cursor */
    unsigned phases;
    /** Adds the call for a slice of so many entries: phase is "t", "x" or "i". */
    struct producer_call *(*slice)(void *user, struct admin *admin, unsigned partition,
                                   const char *phase, struct slice cursor, unsigned entries);
    /** Gets the slice's reply; false stops the walk, `err` set. */
    bool (*took)(void *user, unsigned partition, const char *phase, const struct redis_value *reply,
                 struct err *err);
    void *user;
    const struct order_watch *watch; /* stop; may be NULL */
};

/** Phase by phase, all partitions. ERR_CANCELLED when the watch stops it. Resets the admin. */
MUST_USE bool walk_run(struct admin *admin, const struct walk *walk, struct err *err);

/** Walks with walk.lua: `action` is count, cancel, purge, retry or link, `order` an order's JSON.
 * What it dealt with is added to `out`. */
struct order_walk {
    const char *action, *order;
    unsigned phases;
    int64_t keep_s;
    const struct order_watch *watch;
};
MUST_USE bool order_walk_run(struct admin *admin, const struct order_walk *walk,
                             struct order_counts *out, struct err *err);

/** Waits until nothing that matches is in flight any more, at most `patience_ms`; `left` gets what
 * still is. */
MUST_USE bool order_walk_settled(struct admin *admin, const char *order,
                                 const struct order_watch *watch, int64_t patience_ms,
                                 uint64_t *left, struct err *err);
