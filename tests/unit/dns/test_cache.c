#include "dns/cache.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/base/mem.h"
#include "engine/base/rng.h"
#include "tests/support/check_main.h"

/* A value is a number that counts how often it was released. */
struct value {
    int released;
};

static struct dns_cache cache;

static void release(struct slice key, void *value)
{
    ck_assert_uint_gt(key.len, 0);
    ((struct value *)value)->released++;
}

static void start(unsigned entries_max, size_t bytes_max)
{
    dns_cache_init(&cache, entries_max, bytes_max, 1, release);
}

static void stop(void)
{
    dns_cache_free(&cache);
}

START_TEST(a_value_is_there_until_its_time_and_not_at_it)
{
    struct value v = { 0 };
    start(10, 10000);
    dns_cache_put(&cache, SLICE("a"), &v, 1, 5000, 1000);
    ck_assert_ptr_eq(dns_cache_get(&cache, SLICE("a"), 1000), &v);
    ck_assert_ptr_eq(dns_cache_get(&cache, SLICE("a"), 4999), &v);
    ck_assert_ptr_null(dns_cache_get(&cache, SLICE("a"), 5000));
    ck_assert_ptr_null(dns_cache_get(&cache, SLICE("b"), 1000));
    ck_assert_int_eq(v.released, 0);
    stop();
    ck_assert_int_eq(v.released, 1);
}
END_TEST

START_TEST(a_value_past_its_time_is_of_use_for_a_while)
{
    struct value v = { 0 };
    start(10, 10000);
    cache.keep_ms = 3000;
    dns_cache_put(&cache, SLICE("a"), &v, 1, 5000, 1000);
    ck_assert_ptr_null(dns_cache_stale(&cache, SLICE("a"), 4999)); /* not yet */
    ck_assert_ptr_eq(dns_cache_stale(&cache, SLICE("a"), 5000), &v);
    ck_assert_ptr_null(dns_cache_get(&cache, SLICE("a"), 5000));
    dns_cache_extend(&cache, SLICE("a"), 7000);
    ck_assert_ptr_eq(dns_cache_get(&cache, SLICE("a"), 6999), &v);
    ck_assert_ptr_eq(dns_cache_stale(&cache, SLICE("a"), 7999), &v);
    dns_cache_extend(&cache, SLICE("a"), 9000); /* not that long */
    ck_assert_ptr_null(dns_cache_get(&cache, SLICE("a"), 8000));
    ck_assert_ptr_null(dns_cache_stale(&cache, SLICE("a"), 8000));
    dns_cache_extend(&cache, SLICE("b"), 9000);
    stop();
    ck_assert_int_eq(v.released, 1);
}
END_TEST

START_TEST(a_new_value_replaces_the_old_one)
{
    struct value v[2] = { 0 };
    start(10, 10000);
    dns_cache_put(&cache, SLICE("a"), &v[0], 1, 5000, 1000);
    size_t bytes = cache.bytes;
    dns_cache_put(&cache, SLICE("a"), &v[1], 1, 9000, 2000);
    ck_assert_ptr_eq(dns_cache_get(&cache, SLICE("a"), 6000), &v[1]);
    ck_assert_int_eq(v[0].released, 1);
    ck_assert_uint_eq(dns_cache_count(&cache), 1);
    ck_assert_uint_eq(cache.bytes, bytes);
    stop();
}
END_TEST

START_TEST(the_least_recently_used_goes_first)
{
    struct value v[4] = { 0 };
    start(3, 100000);
    dns_cache_put(&cache, SLICE("a"), &v[0], 1, 9000, 0);
    dns_cache_put(&cache, SLICE("b"), &v[1], 1, 9000, 0);
    dns_cache_put(&cache, SLICE("c"), &v[2], 1, 9000, 0);
    ck_assert_ptr_nonnull(dns_cache_get(&cache, SLICE("a"), 1));
    dns_cache_put(&cache, SLICE("d"), &v[3], 1, 9000, 1);
    ck_assert_ptr_null(dns_cache_get(&cache, SLICE("b"), 1));
    ck_assert_ptr_nonnull(dns_cache_get(&cache, SLICE("a"), 1));
    ck_assert_ptr_nonnull(dns_cache_get(&cache, SLICE("c"), 1));
    ck_assert_ptr_nonnull(dns_cache_get(&cache, SLICE("d"), 1));
    ck_assert_int_eq(v[1].released, 1);
    stop();
}
END_TEST

START_TEST(a_fat_value_pushes_out_many_and_one_too_fat_stays_out)
{
    struct value v[5] = { 0 };
    start(100, 4000);
    dns_cache_put(&cache, SLICE("a"), &v[0], 900, 9000, 0);
    dns_cache_put(&cache, SLICE("b"), &v[1], 900, 9000, 0);
    dns_cache_put(&cache, SLICE("c"), &v[2], 900, 9000, 0);
    dns_cache_put(&cache, SLICE("d"), &v[3], 2500, 9000, 0);
    ck_assert_uint_eq(dns_cache_count(&cache), 2);
    ck_assert_ptr_nonnull(dns_cache_get(&cache, SLICE("d"), 0));
    dns_cache_put(&cache, SLICE("e"), &v[4], 4001, 9000, 0);
    ck_assert_int_eq(v[4].released, 1);
    ck_assert_uint_eq(dns_cache_count(&cache), 0);
    ck_assert_uint_eq(cache.bytes, 0);
    stop();
}
END_TEST

START_TEST(entries_past_their_time_give_way_without_a_sweep)
{
    static struct value v[2000];
    start(100000, 100000000);
    for (unsigned i = 0; i < 1000; i++) {
        char key[16];
        size_t len = (size_t)snprintf(key, sizeof key, "old%u", i);
        dns_cache_put(&cache, slice_of(key, len), &v[i], 1, 10, 0);
    }
    for (unsigned i = 1000; i < 1500; i++) {
        char key[16];
        size_t len = (size_t)snprintf(key, sizeof key, "new%u", i);
        dns_cache_put(&cache, slice_of(key, len), &v[i], 1, 1000, 20);
    }
    ck_assert_uint_eq(dns_cache_count(&cache), 500);
    stop();
}
END_TEST

START_TEST(random_use_keeps_the_books)
{
    static struct value v[100000];
    static int newest[64]; /* index of the value last put under each key */
    const char *seed_text = getenv("EILPOST_TEST_SEED");
    uint64_t seed = seed_text ? strtoull(seed_text, NULL, 10) : rng_system_seed();
    printf("random_use_keeps_the_books: EILPOST_TEST_SEED=%llu\n", (unsigned long long)seed);
    struct rng rng;
    rng_seed(&rng, seed);
    start(20, 20 * 1000);
    for (int i = 0; i < 64; i++)
        newest[i] = -1;
    for (int i = 0; i < 100000; i++) {
        unsigned k = (unsigned)rng_below(&rng, 64);
        char key[8];
        size_t len = (size_t)snprintf(key, sizeof key, "k%u", k);
        int64_t now = i;
        if (rng_below(&rng, 2)) {
            struct value *got = dns_cache_get(&cache, slice_of(key, len), now);
            if (got) {
                ck_assert_ptr_eq(got, &v[newest[k]]);
                ck_assert_int_eq(got->released, 0);
            }
            continue;
        }
        newest[k] = i;
        dns_cache_put(&cache, slice_of(key, len), &v[i], rng_below(&rng, 1500),
                      now + (int64_t)rng_below(&rng, 200), now);
        ck_assert_uint_le(dns_cache_count(&cache), 20);
        ck_assert_uint_le(cache.bytes, cache.bytes_max);
    }
    stop();
    ck_assert_uint_eq(cache.bytes, 0);
    for (int i = 0; i < 100000; i++)
        ck_assert_int_le(v[i].released, 1);
}
END_TEST

int main(void)
{
    return check_main(SUITE_OF(
        "cache", a_value_is_there_until_its_time_and_not_at_it,
        a_value_past_its_time_is_of_use_for_a_while, a_new_value_replaces_the_old_one,
        the_least_recently_used_goes_first, a_fat_value_pushes_out_many_and_one_too_fat_stays_out,
        entries_past_their_time_give_way_without_a_sweep, random_use_keeps_the_books));
}
