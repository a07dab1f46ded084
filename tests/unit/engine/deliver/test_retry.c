/* The pause before the next attempt. */
#include "engine/deliver/retry.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "tests/support/check_main.h"

static const unsigned usual[] = { 300, 900, 3600 }, quick[] = { 15, 30 }, grey[] = { 120, 600 },
                      grey_bulk[] = { 240 };

static const struct deliver_schedule schedules[] = {
    { .class = 2, .category = "greylisted", .schedule_s = grey_bulk, .count = 1 },
    { .class = 0, .category = "", .schedule_s = quick, .count = 2 },
    { .class = DELIVER_ANY_CLASS, .category = "greylisted", .schedule_s = grey, .count = 2 },
};

static const struct {
    struct retry_case of;
    int64_t pause_s;
} cases[] = {
    { { .class = 2, .category = "other", .attempts = 0 }, 300 },
    { { .class = 2, .category = "other", .attempts = 1 }, 900 },
    { { .class = 2, .category = "other", .attempts = 2 }, 3600 },
    { { .class = 2, .category = "other", .attempts = 100 }, 3600 },
    { { .class = 2, .category = NULL, .attempts = 0 }, 300 },
    { { .class = 2, .category = "greylisted", .attempts = 7 }, 240 },
    { { .class = 1, .category = "greylisted", .attempts = 0 }, 120 },
    { { .class = 1, .category = "greylisted", .attempts = 5 }, 600 },
    { { .class = 0, .category = "greylisted", .attempts = 0 }, 15 }, /* the first that fits */
    { { .class = 0, .category = "other", .attempts = 1 }, 30 },
    { { .class = DELIVER_ANY_CLASS, .category = "greylisted", .attempts = 0 }, 120 },
    { { .class = 0, .category = "other", .attempts = 0, .asked_s = 10 }, 15 },
    { { .class = 0, .category = "other", .attempts = 0, .asked_s = 900 }, 900 },
};

static struct deliver_options options_with(unsigned jitter_percent)
{
    return (struct deliver_options){ .retry_schedule_s = usual,
                                     .retry_count = 3,
                                     .schedules = schedules,
                                     .schedule_count = ARRAY_LEN(schedules),
                                     .retry_jitter_percent = jitter_percent };
}

START_TEST(each_job_has_its_schedule)
{
    struct deliver_options options = options_with(0);
    struct rng rng;
    rng_seed(&rng, 1);
    ck_assert_int_eq(retry_pause_ms(&options, &rng, &cases[_i].of), cases[_i].pause_s * 1000);
}
END_TEST

START_TEST(jitter_stays_within_its_share_and_never_cuts_what_the_server_asked_for)
{
    const char *given = getenv("EILPOST_TEST_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
    printf("EILPOST_TEST_SEED=%llu\n", (unsigned long long)seed);
    struct deliver_options options = options_with(10);
    struct rng rng;
    rng_seed(&rng, seed);
    int64_t least = INT64_MAX, most = 0;
    for (int i = 0; i < 10000; i++) {
        int64_t pause =
            retry_pause_ms(&options, &rng, &(struct retry_case){ .class = 2, .category = "other" });
        ck_assert_int_ge(pause, 270000);
        ck_assert_int_le(pause, 330000);
        least = MIN_OF(least, pause);
        most = MAX_OF(most, pause);
        pause =
            retry_pause_ms(&options, &rng,
                           &(struct retry_case){ .class = 2, .category = "other", .asked_s = 295 });
        ck_assert_int_ge(pause, 295000);
        ck_assert_int_le(pause, 330000);
        pause =
            retry_pause_ms(&options, &rng,
                           &(struct retry_case){ .class = 2, .category = "other", .asked_s = 600 });
        ck_assert_int_ge(pause, 600000);
        ck_assert_int_le(pause, 660000);
    }
    ck_assert_int_lt(least, 280000);
    ck_assert_int_gt(most, 320000);
}
END_TEST

int main(void)
{
    Suite *suite =
        SUITE_OF("retry", jitter_stays_within_its_share_and_never_cuts_what_the_server_asked_for);
    TCase *tcase = tcase_create("schedules");
    tcase_add_loop_test(tcase, each_job_has_its_schedule, 0, (int)ARRAY_LEN(cases));
    suite_add_tcase(suite, tcase);
    return check_main(suite);
}
