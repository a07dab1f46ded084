/* The wheel against a model that is a plain table of deadlines. */
#include "engine/ring/wheel.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/base/mem.h"
#include "tests/support/check_main.h"

static void never(struct ring_timer *timer)
{
    (void)timer;
}

static uint64_t seed_of_run(void)
{
    const char *given = getenv("WHEEL_SEED");
    uint64_t seed = given != NULL ? strtoull(given, NULL, 0) : rng_system_seed();
    printf("WHEEL_SEED=%llu\n", (unsigned long long)seed);
    fflush(stdout);
    return seed;
}

enum { TIMERS = 300, ROUNDS = 20000 };

struct model {
    struct wheel wheel;
    struct rng rng;
    int64_t now;
    struct ring_timer timers[TIMERS];
    int64_t due[TIMERS]; /* -1: stopped */
};

/** Delays of all magnitudes, with the borders of slots and levels among them. */
static int64_t any_delay(struct rng *rng)
{
    int64_t delay = (int64_t)(rng_next(rng) >> (24 + rng_below(rng, 40)));
    if (rng_below(rng, 4) == 0)
        delay = (1LL << rng_below(rng, 40)) + (int64_t)rng_below(rng, 3) - 1;
    return delay;
}

static void start_some(struct model *model)
{
    size_t i = rng_below(&model->rng, TIMERS);
    if (rng_below(&model->rng, 5) == 0) {
        list_remove(&model->timers[i].node);
        model->due[i] = -1;
        return;
    }
    model->due[i] = model->now + any_delay(&model->rng);
    wheel_start(&model->wheel, &model->timers[i], model->due[i]);
}

static int64_t model_next(const struct model *model)
{
    int64_t next = -1;
    for (size_t i = 0; i < TIMERS; i++) {
        if (model->due[i] >= 0 && (next < 0 || model->due[i] < next))
            next = model->due[i];
    }
    return next;
}

static void advance_and_compare(struct model *model)
{
    int64_t next = model_next(model);
    int64_t says = wheel_next(&model->wheel);
    ck_assert(next < 0 ? says < 0 : says >= 0 && says <= MAX_OF(next, model->now));
    switch (rng_below(&model->rng, 4)) {
    case 0:
        if (next > model->now)
            model->now = next - 1; /* just before */
        break;
    case 1:
        model->now = MAX_OF(next, model->now); /* on the spot */
        break;
    case 2:
        model->now = MAX_OF(says, model->now);
        break;
    default:
        model->now += any_delay(&model->rng) >> 10;
    }
    struct list expired;
    list_init(&expired);
    wheel_advance(&model->wheel, model->now);
    wheel_take(&model->wheel, &expired);
    int64_t last = -1;
    struct list *node;
    while ((node = list_pop_front(&expired)) != NULL) {
        struct ring_timer *timer = LIST_ENTRY(node, struct ring_timer, node);
        int64_t *due = &model->due[timer - model->timers];
        ck_assert_int_ge(*due, 0);
        ck_assert_int_le(*due, model->now);
        ck_assert_int_ge(*due, last);
        last = *due;
        *due = -1;
    }
    ck_assert(model_next(model) < 0 || model_next(model) > model->now);
}

START_TEST(any_sequence_expires_what_a_sorted_table_would)
{
    struct model *model = mem_zalloc(sizeof *model);
    rng_seed(&model->rng, seed_of_run() + (uint64_t)_i);
    model->now = (int64_t)rng_below(&model->rng, 1ULL << 41);
    wheel_init(&model->wheel, model->now);
    for (size_t i = 0; i < TIMERS; i++) {
        ring_timer_init(&model->timers[i], never);
        model->due[i] = -1;
    }
    for (size_t round = 0; round < ROUNDS; round++) {
        for (uint64_t n = rng_below(&model->rng, 8); n > 0; n--)
            start_some(model);
        advance_and_compare(model);
    }
    free(model);
}
END_TEST

START_TEST(an_empty_wheel_has_no_next_time)
{
    struct wheel *wheel = mem_zalloc(sizeof *wheel);
    wheel_init(wheel, 12345);
    ck_assert_int_eq(wheel_next(wheel), -1);
    struct ring_timer timer;
    ring_timer_init(&timer, never);
    wheel_start(wheel, &timer, 99999);
    ck_assert_int_ge(wheel_next(wheel), 12345);
    ring_timer_stop(&timer);
    ck_assert_int_eq(wheel_next(wheel), -1);
    free(wheel);
}
END_TEST

START_TEST(timers_of_one_millisecond_expire_in_the_order_of_their_start)
{
    struct wheel *wheel = mem_zalloc(sizeof *wheel);
    wheel_init(wheel, 1);
    struct ring_timer timers[10];
    for (size_t i = 0; i < ARRAY_LEN(timers); i++) {
        ring_timer_init(&timers[i], never);
        wheel_advance(wheel, 1 + (int64_t)i * 400);
        wheel_start(wheel, &timers[i], 5000);
    }
    struct list expired;
    list_init(&expired);
    wheel_advance(wheel, 5000);
    wheel_take(wheel, &expired);
    for (size_t i = 0; i < ARRAY_LEN(timers); i++)
        ck_assert_ptr_eq(list_pop_front(&expired), &timers[i].node);
    ck_assert(list_empty(&expired));
    free(wheel);
}
END_TEST

START_TEST(a_deadline_beyond_the_last_level_is_kept)
{
    struct wheel *wheel = mem_zalloc(sizeof *wheel);
    wheel_init(wheel, 1);
    struct ring_timer timer;
    ring_timer_init(&timer, never);
    wheel_start(wheel, &timer, INT64_MAX);
    wheel_advance(wheel, 1LL << 45);
    ck_assert(list_empty(&wheel->expired));
    ck_assert(ring_timer_running(&timer));
    ring_timer_stop(&timer);
    free(wheel);
}
END_TEST

START_TEST(a_timer_restarted_after_it_expired_is_not_taken)
{
    struct wheel *wheel = mem_zalloc(sizeof *wheel);
    wheel_init(wheel, 1);
    struct ring_timer timer;
    ring_timer_init(&timer, never);
    wheel_start(wheel, &timer, 10);
    wheel_advance(wheel, 20);
    wheel_start(wheel, &timer, 30);
    struct list expired;
    list_init(&expired);
    wheel_take(wheel, &expired);
    ck_assert(list_empty(&expired));
    wheel_advance(wheel, 30);
    wheel_take(wheel, &expired);
    ck_assert_ptr_eq(list_pop_front(&expired), &timer.node);
    free(wheel);
}
END_TEST

int main(void)
{
    Suite *suite = SUITE_OF("wheel", an_empty_wheel_has_no_next_time,
                            timers_of_one_millisecond_expire_in_the_order_of_their_start,
                            a_deadline_beyond_the_last_level_is_kept,
                            a_timer_restarted_after_it_expired_is_not_taken);
    TCase *random = tcase_create("random");
    tcase_set_timeout(random, 0);
    tcase_add_loop_test(random, any_sequence_expires_what_a_sorted_table_would, 0, 4);
    suite_add_tcase(suite, random);
    return check_main(suite);
}
