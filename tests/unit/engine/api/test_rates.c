/* Rates come from samples: over a window, over less at the start, and over a wrapped ring. */
#include "engine/api/internal.h"

#include <stdlib.h>

#include "tests/support/check_main.h"

/** Samples second by second, with `per_second` more delivered in each. */
static void run(struct rates *rates, unsigned from, unsigned to, uint64_t per_second,
                uint64_t *delivered)
{
    for (unsigned second = from; second < to; second++) {
        *delivered += per_second;
        struct stats_counters counters = { .delivered = *delivered };
        rates_sample(rates, (int64_t)second * 1000, &counters);
    }
}

START_TEST(there_is_no_rate_before_the_second_sample)
{
    struct rates *rates = calloc(1, sizeof *rates);
    uint64_t delivered = 0;
    run(rates, 0, 1, 10, &delivered);
    ck_assert(rates_over(rates, 10).seconds == 0);
    free(rates);
}
END_TEST

START_TEST(a_young_process_is_measured_over_what_there_is)
{
    struct rates *rates = calloc(1, sizeof *rates);
    uint64_t delivered = 0;
    run(rates, 0, 4, 10, &delivered);
    struct rates_window window = rates_over(rates, 60);
    ck_assert(window.seconds == 3);
    ck_assert_uint_eq(window.growth.delivered, 30);
    free(rates);
}
END_TEST

START_TEST(windows_end_at_the_newest_sample_however_often_the_ring_wrapped)
{
    struct rates *rates = calloc(1, sizeof *rates);
    uint64_t delivered = 0;
    run(rates, 0, 500, 10, &delivered);
    run(rates, 500, 505, 100, &delivered);
    ck_assert_uint_eq(rates_over(rates, 1).growth.delivered, 100);
    ck_assert_uint_eq(rates_over(rates, 10).growth.delivered, 550);
    ck_assert_uint_eq(rates_over(rates, 60).growth.delivered, 1050);
    ck_assert(rates_over(rates, 60).seconds == 60);
    free(rates);
}
END_TEST

START_TEST(the_depth_never_goes_below_zero)
{
    struct stats_queue queue = { .accepted = 10, .delivered = 8, .bounced = 3 };
    ck_assert_uint_eq(stats_queue_depth(&queue), 0);
    queue.accepted = 12;
    ck_assert_uint_eq(stats_queue_depth(&queue), 1);
}
END_TEST

int main(void)
{
    return check_main(SUITE_OF("rates", there_is_no_rate_before_the_second_sample,
                               a_young_process_is_measured_over_what_there_is,
                               windows_end_at_the_newest_sample_however_often_the_ring_wrapped,
                               the_depth_never_goes_below_zero));
}
