#pragma once
/* Hierarchical timer wheel: 8 levels of 64 slots, one tick a millisecond. A timer lies on the level
 * of the highest digit (base 64) in which its deadline differs from now, so a slot never wraps, and
 * the deadlines of one millisecond always share a slot. Starting and stopping is O(1); a timer that
 * is restarted for later, which is what nearly all do, isn't even moved: its slot is only looked at
 * too early, and it moves then.
 *
 * Rejected: one hashed wheel of coarse ticks (far deadlines are walked over again and again), a
 * heap (O(log n), and scattered memory on each restart), a kernel time-out per operation (720 ns
 * each).
 */
#include "engine/ring/ring.h"

enum { WHEEL_LEVELS = 8, WHEEL_BITS = 6, WHEEL_SLOTS = 1 << WHEEL_BITS };

struct wheel {
    uint64_t now;                    /* ticks up to here are done */
    uint64_t occupied[WHEEL_LEVELS]; /* a set bit may be stale, a clear one is not */
    struct list expired;             /* due and not yet taken, in order of deadline */
    struct list slots[WHEEL_LEVELS][WHEEL_SLOTS];
};

void wheel_init(struct wheel *wheel, int64_t now);
/** (Re)starts the timer for `due`; a deadline that has passed expires with the next wheel_take().
 */
void wheel_start(struct wheel *wheel, struct ring_timer *timer, int64_t due);
/** Moves on to `now` (not before the last one); what is due is then on the list of expired timers.
 */
void wheel_advance(struct wheel *wheel, int64_t now);
/** Moves the expired timers to the end of `out`; timers started meanwhile aren't among them. */
void wheel_take(struct wheel *wheel, struct list *out);
/** The next time at which wheel_advance() has something to do, never after the next deadline; -1
 * without timers. */
int64_t wheel_next(struct wheel *wheel);
