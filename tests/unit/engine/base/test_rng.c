#include "engine/base/rng.h"

#include "tests/support/check_main.h"
#include "tests/unit/engine/base/random.h"

START_TEST(equal_seeds_give_equal_sequences_and_others_dont)
{
    struct rng a, b, c;
    rng_seed(&a, 1);
    rng_seed(&b, 1);
    rng_seed(&c, 2);
    unsigned equal = 0;
    for (int i = 0; i < 1000; i++) {
        uint64_t value = rng_next(&a);
        ck_assert_uint_eq(value, rng_next(&b));
        equal += value == rng_next(&c);
    }
    ck_assert_uint_eq(equal, 0);
}
END_TEST

START_TEST(seed_zero_is_as_good_as_any)
{
    struct rng rng;
    rng_seed(&rng, 0);
    ck_assert_uint_ne(rng_next(&rng), rng_next(&rng));
}
END_TEST

START_TEST(numbers_below_a_bound_are_all_met_about_equally_often)
{
    struct rng rng;
    rng_seed(&rng, test_seed("rng"));
    unsigned met[10] = { 0 };
    for (unsigned i = 0; i < 100000; i++)
        met[rng_below(&rng, 10)]++;
    for (unsigned i = 0; i < 10; i++)
        ck_assert_msg(met[i] > 9300 && met[i] < 10700, "%u met %u times", i, met[i]); /* 7 sigma */
    ck_assert_uint_eq(rng_below(&rng, 1), 0);
}
END_TEST

START_TEST(the_system_gives_different_seeds)
{
    ck_assert_uint_ne(rng_system_seed(), rng_system_seed());
}
END_TEST

int main(void)
{
    return check_main(SUITE_OF(
        "rng", equal_seeds_give_equal_sequences_and_others_dont, seed_zero_is_as_good_as_any,
        numbers_below_a_bound_are_all_met_about_equally_often, the_system_gives_different_seeds));
}
