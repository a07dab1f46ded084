#include "queue/order_walk.h"

#include <stdio.h>
#include <time.h>

enum {
    SLICE_MIN = 25, /* queues, retries or leases that one call looks at */
    SLICE_MAX = 200,
    JOBS_PER_ENTRY = 2, /* that one call ends at most, for each entry that it looks at */
    FLIGHT_MAX = 64,    /* partitions at a time */
    FLIGHT_US = 6000,   /* what a flight should cost Redis at most */
    POLL_MS = 50,
};

static int64_t clock_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static bool stopped(const struct order_watch *watch, struct err *err)
{
    if (!watch || !watch->stop || !watch->stop(watch->user))
        return false;
    err_set(err, ERR_CANCELLED, "interrupted");
    return true;
}

/* How much is asked for at a time: ruled by how long the last flight took. */
struct pace {
    unsigned width, entries;
    int64_t fastest_us; /* the way there and back, more or less */
};

static void pace_learn(struct pace *pace, int64_t took_us)
{
    pace->fastest_us = MIN_OF(pace->fastest_us, took_us);
    int64_t cost = took_us - pace->fastest_us;
    if (cost > FLIGHT_US && pace->width > 1)
        pace->width /= 2;
    else if (cost > FLIGHT_US)
        pace->entries = MAX_OF(pace->entries / 2, (unsigned)SLICE_MIN);
    else if (cost < FLIGHT_US / 3 && pace->entries < SLICE_MAX)
        pace->entries = MIN_OF(2 * pace->entries, (unsigned)SLICE_MAX);
    else if (cost < FLIGHT_US / 3)
        pace->width = MIN_OF(2 * pace->width, (unsigned)FLIGHT_MAX);
}

/* A partition whose phase isn't over. */
struct place {
    unsigned partition;
    char cursor[24];
    struct producer_call *call;
};

/* One call for each of the first places, as many as the pace allows; those that are through leave.
 */
static bool step(struct admin *admin, const struct walk *walk, const char *phase,
                 struct place *places, unsigned *count, const struct pace *pace, struct err *err)
{
    admin_reset(admin);
    unsigned calls = MIN_OF(*count, pace->width), left = 0;
    for (unsigned i = 0; i < calls; i++)
        places[i].call = walk->slice(walk->user, admin, places[i].partition, phase,
                                     slice_str(places[i].cursor), pace->entries);
    if (!admin_run(admin, err))
        return false;
    for (unsigned i = 0; i < calls; i++) {
        const struct redis_value *reply = places[i].call->reply;
        struct slice cursor = admin_item(reply, 0)->text;
        if (cursor.len == 0 || cursor.len >= sizeof places[i].cursor)
            return err_set(err, ERR_REDIS, "script '%s' gave an unexpected reply", walk->script);
        if (!walk->took(walk->user, places[i].partition, phase, reply, err))
            return false;
        snprintf(places[i].cursor, sizeof places[i].cursor, "%.*s", SLICE_FMT(cursor));
        if (!slice_eq(cursor, SLICE("0")))
            places[left++] = places[i];
    }
    memmove(places + left, places + calls, (*count - calls) * sizeof *places);
    *count -= calls - left;
    return true;
}

static bool walk_phase(struct admin *admin, const struct walk *walk, const char *phase,
                       struct err *err)
{
    struct place places[FLIGHT_MAX];
    struct pace pace = { .width = 1, .entries = SLICE_MIN, .fastest_us = INT64_MAX };
    unsigned next = 0, count = 0;
    while (next < admin->partitions || count > 0) {
        if (stopped(walk->watch, err))
            return false;
        while (count < pace.width && next < admin->partitions)
            places[count++] = (struct place){ .partition = next++, .cursor = "0" };
        int64_t began = clock_us();
        if (!step(admin, walk, phase, places, &count, &pace, err))
            return false;
        pace_learn(&pace, clock_us() - began);
    }
    return true;
}

bool walk_run(struct admin *admin, const struct walk *walk, struct err *err)
{
    static const struct {
        enum walk_phase phase;
        const char *name;
    } phases[] = { { WALK_IN_FLIGHT, "i" }, { WALK_RETRIES, "t" }, { WALK_QUEUES, "x" } };
    bool ok = true;
    for (size_t i = 0; ok && i < ARRAY_LEN(phases); i++)
        if (walk->phases & phases[i].phase)
            ok = walk_phase(admin, walk, phases[i].name, err);
    admin_reset(admin);
    return ok;
}

/* ---- orders ---- */

struct order_walk_state {
    const struct order_walk *walk;
    struct order_counts *out;
    uint64_t jobs;
};

static struct producer_call *order_slice(void *user, struct admin *admin, unsigned partition,
                                         const char *phase, struct slice cursor, unsigned entries)
{
    const struct order_walk *walk = ((struct order_walk_state *)user)->walk;
    /* An order that somebody takes back meanwhile ends nothing any more. */
    bool ends = strcmp(walk->action, "cancel") == 0 || strcmp(walk->action, "purge") == 0;
    return ADMIN_EVAL(admin, SCRIPT_WALK, admin_key(admin, partition, "e", SLICE("")),
                      slice_str(walk->action), slice_str(walk->order), slice_str(phase), cursor,
                      admin_number(admin, entries), admin_number(admin, JOBS_PER_ENTRY * entries),
                      admin_number(admin, walk->keep_s), admin_number(admin, QUEUE_TOTALS_TTL_S),
                      ends ? SLICE("1") : SLICE(""));
}

static bool order_took(void *user, unsigned partition, const char *phase,
                       const struct redis_value *reply, struct err *err)
{
    (void)partition;
    (void)err;
    struct order_walk_state *state = user;
    uint64_t jobs = (uint64_t)MAX_OF(admin_int(admin_item(reply, 1)), INT64_C(0));
    uint64_t *count = phase[0] == 't'   ? &state->out->retrying
                      : phase[0] == 'x' ? &state->out->queued
                                        : &state->out->in_flight;
    *count += jobs;
    state->jobs += jobs;
    const struct order_watch *watch = state->walk->watch;
    if (watch && watch->progress)
        watch->progress(watch->user, state->jobs);
    return true;
}

bool order_walk_run(struct admin *admin, const struct order_walk *walk, struct order_counts *out,
                    struct err *err)
{
    struct order_walk_state state = { .walk = walk, .out = out };
    const struct walk it = { .script = "walk",
                             .phases = walk->phases,
                             .slice = order_slice,
                             .took = order_took,
                             .user = &state,
                             .watch = walk->watch };
    return walk_run(admin, &it, err);
}

bool order_walk_settled(struct admin *admin, const char *order, const struct order_watch *watch,
                        int64_t patience_ms, uint64_t *left, struct err *err)
{
    const struct order_watch quiet = { .stop = watch ? watch->stop : NULL,
                                       .user = watch ? watch->user : NULL };
    const struct order_walk count = {
        .action = "count", .order = order, .phases = WALK_IN_FLIGHT, .watch = &quiet
    };
    int64_t deadline = clock_us() + patience_ms * 1000;
    for (;;) {
        struct order_counts counts = { 0 };
        if (!order_walk_run(admin, &count, &counts, err))
            return false;
        *left = counts.in_flight;
        if (*left == 0 || clock_us() >= deadline)
            return true;
        nanosleep(&(struct timespec){ .tv_nsec = POLL_MS * 1000000L }, NULL);
    }
}
