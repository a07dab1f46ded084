#include "engine/base/histogram.h"

#include <stdlib.h>

#include "engine/base/mem.h"
#include "tests/support/check_main.h"
#include "tests/unit/engine/base/random.h"

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

START_TEST(percentiles_are_right_to_a_sixteenth)
{
    struct rng rng;
    rng_seed(&rng, test_seed("histogram"));
    enum { N = 5000 };
    uint64_t *values = mem_array(N, sizeof *values);
    struct histogram histogram = { 0 };
    for (unsigned i = 0; i < N; i++) {
        values[i] = rng_next(&rng) >> (24 + rng_below(&rng, 40)); /* all magnitudes below 2^40 */
        histogram_record(&histogram, (int64_t)values[i]);
    }
    qsort(values, N, sizeof *values, compare);
    static const double fractions[] = { 0, 0.1, 0.5, 0.9, 0.99, 0.999 };
    for (size_t i = 0; i < ARRAY_LEN(fractions); i++) {
        uint64_t exact = values[(size_t)(fractions[i] * N)];
        uint64_t got = histogram_percentile(&histogram, fractions[i]);
        ck_assert_msg(got >= exact && got <= exact + exact / 16, "%g: %llu for %llu", fractions[i],
                      (unsigned long long)got, (unsigned long long)exact);
    }
    ck_assert_uint_eq(histogram_percentile(&histogram, 1), values[N - 1]);
    free(values);
}
END_TEST

START_TEST(small_values_are_exact)
{
    for (int us = 0; us < 32; us++) {
        struct histogram histogram = { 0 };
        histogram_record(&histogram, us);
        histogram_record(&histogram, 1000); /* so that the maximum isn't the answer */
        ck_assert_uint_eq(histogram_percentile(&histogram, 0.4), us);
    }
}
END_TEST

START_TEST(values_out_of_range_count_at_the_ends)
{
    struct histogram histogram = { 0 };
    histogram_record(&histogram, -5);
    ck_assert_uint_eq(histogram_percentile(&histogram, 0.5), 0);
    histogram_record(&histogram, INT64_MAX);
    ck_assert_uint_eq(histogram_percentile(&histogram, 1), INT64_MAX);
    ck_assert_uint_eq(histogram_percentile(&histogram, -1), 0);
    ck_assert_uint_eq(histogram.count, 2);
}
END_TEST

START_TEST(an_empty_histogram_has_percentile_zero)
{
    struct histogram histogram = { 0 };
    ck_assert_uint_eq(histogram_percentile(&histogram, 0.5), 0);
}
END_TEST

START_TEST(adding_up_equals_recording_in_one)
{
    struct histogram a = { 0 }, b = { 0 }, both = { 0 }, sum = { 0 };
    for (int us = 1; us < 100000; us = us * 3 + 1) {
        histogram_record(us % 2 ? &a : &b, us);
        histogram_record(&both, us);
    }
    histogram_add_to(&a, &sum);
    histogram_add_to(&b, &sum);
    ck_assert_mem_eq(&sum, &both, sizeof sum);
}
END_TEST

int main(void)
{
    return check_main(SUITE_OF("histogram", percentiles_are_right_to_a_sixteenth,
                               small_values_are_exact, values_out_of_range_count_at_the_ends,
                               an_empty_histogram_has_percentile_zero,
                               adding_up_equals_recording_in_one));
}
