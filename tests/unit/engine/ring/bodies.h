#pragma once
/* The bodies that each test of the ring runs on, as a libcheck loop: `_i` picks one. */
#include <stdio.h>
#include <stdlib.h>

#include "engine/ring/sim.h"
#include "tests/support/check_main.h"

enum { BODY_URING, BODY_URING_PLAIN, BODY_EPOLL, BODIES_REAL, BODY_SIM = BODIES_REAL, BODIES };

struct rig {
    struct ring *ring;
    struct ring_sim *sim;
};

static inline struct rig rig_with(int body, struct ring_options options)
{
    struct rig rig = { 0 };
    struct err err;
    options.body = body == BODY_SIM     ? RING_BODY_SIM
                   : body == BODY_EPOLL ? RING_BODY_EPOLL
                                        : RING_BODY_URING;
    options.plain_taskrun = body == BODY_URING_PLAIN;
    if (body == BODY_SIM)
        options.sim = rig.sim = ring_sim_create(1);
    if (!ring_create(&rig.ring, &options, &err))
        ck_abort_msg("%s", err.text);
    return rig;
}

static inline struct rig rig_on(int body)
{
    return rig_with(body, (struct ring_options){ 0 });
}

static inline void rig_free(struct rig *rig)
{
    ck_assert_uint_eq(ring_stats(rig->ring)->stale, 0);
    ring_destroy(&rig->ring);
    ring_sim_destroy(&rig->sim);
}

#define TURN_UNTIL(ring, condition)                                                                \
    do {                                                                                           \
        while (!(condition))                                                                       \
            ring_turn(ring, -1);                                                                   \
    } while (0)

/** Adds each test once per body; CASE_LOOP(case, BODIES_REAL, test_a, …). */
#define CASE_LOOP(tcase, count, ...)                                                               \
    do {                                                                                           \
        const TTest *case_tests_[] = { __VA_ARGS__ };                                              \
        for (size_t t_ = 0; t_ < sizeof case_tests_ / sizeof case_tests_[0]; t_++)                 \
            tcase_add_loop_test(tcase, case_tests_[t_], 0, count);                                 \
    } while (0)
