#include "engine/ring/wheel.h"

/* Later than this a deadline is never reached (8,900 years), so it may as well be this. */
static const uint64_t wheel_horizon = (1ULL << (WHEEL_LEVELS * WHEEL_BITS)) - 1;

void wheel_init(struct wheel *wheel, int64_t now)
{
    assert(now >= 0);
    *wheel = (struct wheel){ .now = (uint64_t)now };
    list_init(&wheel->expired);
    for (size_t level = 0; level < WHEEL_LEVELS; level++) {
        for (size_t slot = 0; slot < WHEEL_SLOTS; slot++)
            list_init(&wheel->slots[level][slot]);
    }
}

/** Puts an unlinked timer where its deadline belongs. */
static void wheel_place(struct wheel *wheel, struct ring_timer *timer)
{
    uint64_t due = (uint64_t)timer->due_ms;
    if (due <= wheel->now) {
        list_push_back(&wheel->expired, &timer->node);
        return;
    }
    unsigned level = (unsigned)(63 - __builtin_clzll(due ^ wheel->now)) / WHEEL_BITS;
    unsigned slot = (due >> (level * WHEEL_BITS)) % WHEEL_SLOTS;
    assert(level < WHEEL_LEVELS);
    wheel->occupied[level] |= 1ULL << slot;
    list_push_back(&wheel->slots[level][slot], &timer->node);
}

void wheel_start(struct wheel *wheel, struct ring_timer *timer, int64_t due)
{
    if (UNLIKELY(due > (int64_t)wheel_horizon))
        due = (int64_t)wheel_horizon;
    if (list_linked(&timer->node)) {
        bool later = due >= timer->due_ms;
        timer->due_ms = due;
        if (later)
            return;
        list_remove(&timer->node);
    }
    timer->due_ms = due;
    wheel_place(wheel, timer);
}

int64_t wheel_next(struct wheel *wheel)
{
    if (!list_empty(&wheel->expired))
        return (int64_t)wheel->now;
    for (unsigned level = 0; level < WHEEL_LEVELS; level++) {
        while (wheel->occupied[level] != 0) {
            unsigned slot = (unsigned)__builtin_ctzll(wheel->occupied[level]);
            if (list_empty(&wheel->slots[level][slot])) { /* all stopped since */
                wheel->occupied[level] &= wheel->occupied[level] - 1;
                continue;
            }
            /* Slots behind now on this level don't exist, and lower levels come first. */
            uint64_t above = wheel->now >> (level * WHEEL_BITS);
            return (int64_t)((above - above % WHEEL_SLOTS + slot) << (level * WHEEL_BITS));
        }
    }
    return -1;
}

/** Empties the slot that begins at `wheel->now` on each level: into lower ones, or among the
 * expired. */
static void wheel_cascade(struct wheel *wheel)
{
    for (unsigned level = WHEEL_LEVELS; level-- > 0;) {
        unsigned slot = (wheel->now >> (level * WHEEL_BITS)) % WHEEL_SLOTS;
        if ((wheel->occupied[level] & (1ULL << slot)) == 0)
            continue;
        wheel->occupied[level] &= ~(1ULL << slot);
        struct list *head = &wheel->slots[level][slot];
        for (struct list *node = list_pop_front(head); node != NULL; node = list_pop_front(head))
            wheel_place(wheel, LIST_ENTRY(node, struct ring_timer, node));
    }
}

void wheel_advance(struct wheel *wheel, int64_t now)
{
    assert((uint64_t)now >= wheel->now);
    struct list expired; /* set aside, so that wheel_next() looks at the slots */
    list_init(&expired);
    wheel_take(wheel, &expired);
    for (int64_t next = wheel_next(wheel); next >= 0 && next <= now; next = wheel_next(wheel)) {
        wheel->now = (uint64_t)next;
        wheel_cascade(wheel);
        wheel_take(wheel, &expired);
    }
    wheel->now = (uint64_t)now;
    while (!list_empty(&expired))
        list_push_back(&wheel->expired, list_pop_front(&expired));
}

void wheel_take(struct wheel *wheel, struct list *out)
{
    struct list *node;
    while ((node = list_pop_front(&wheel->expired)) != NULL) {
        struct ring_timer *timer = LIST_ENTRY(node, struct ring_timer, node);
        if (UNLIKELY((uint64_t)timer->due_ms > wheel->now))
            wheel_place(wheel, timer); /* restarted for later while it was on the list */
        else
            list_push_back(out, node);
    }
}
