#include "engine/deliver/shared.h"

#include <pthread.h>
#include <stdatomic.h>

#include "tests/support/check_main.h"

#define THREADS 4
#define ROUNDS 20000
#define LIMIT 3

struct contest {
    struct deliver_shared *shared;
    atomic_int inside, most;
};

static void *contend(void *arg)
{
    struct contest *contest = arg;
    for (int i = 0; i < ROUNDS; i++) {
        struct site_limit *limit = site_limit_hold(contest->shared, SLICE("mx.example"), 0);
        if (site_limit_take(limit, LIMIT)) {
            int now = atomic_fetch_add(&contest->inside, 1) + 1;
            int most = atomic_load(&contest->most);
            while (now > most && !atomic_compare_exchange_weak(&contest->most, &most, now)) {
            }
            atomic_fetch_sub(&contest->inside, 1);
            site_limit_give(limit);
        }
        site_limit_release(contest->shared, limit);
    }
    return NULL;
}

START_TEST(threads_never_hold_more_connections_than_the_limit)
{
    struct contest contest = { .shared = deliver_shared_create() };
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, contend, &contest), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    ck_assert_int_ge(atomic_load(&contest.most), 1);
    ck_assert_int_le(atomic_load(&contest.most), LIMIT);
    deliver_shared_destroy(&contest.shared);
}
END_TEST

START_TEST(a_refused_wish_is_seen_until_a_connection_is_given_back)
{
    struct deliver_shared *shared = deliver_shared_create();
    struct site_limit *limit = site_limit_hold(shared, SLICE("mx.example"), 0);
    ck_assert(site_limit_take(limit, 1));
    ck_assert(!site_limit_wanted(limit));
    ck_assert(!site_limit_take(limit, 1));
    ck_assert(site_limit_wanted(limit));
    site_limit_give(limit);
    ck_assert(!site_limit_wanted(limit));
    ck_assert(site_limit_take(limit, 1));
    site_limit_give(limit);
    site_limit_release(shared, limit);
    deliver_shared_destroy(&shared);
}
END_TEST

START_TEST(sources_and_sites_are_counted_apart)
{
    struct deliver_shared *shared = deliver_shared_create();
    struct site_limit *a = site_limit_hold(shared, SLICE("mx.example"), 0);
    struct site_limit *b = site_limit_hold(shared, SLICE("mx.example"), 1);
    struct site_limit *c = site_limit_hold(shared, SLICE("mx2.example"), 0);
    struct site_limit *again = site_limit_hold(shared, SLICE("mx.example"), 0);
    ck_assert_ptr_eq(a, again);
    ck_assert(site_limit_take(a, 1) && site_limit_take(b, 1) && site_limit_take(c, 1));
    ck_assert(!site_limit_take(again, 1));
    site_limit_give(a);
    site_limit_give(b);
    site_limit_give(c);
    site_limit_release(shared, a);
    site_limit_release(shared, again);
    site_limit_release(shared, b);
    site_limit_release(shared, c);
    deliver_shared_destroy(&shared);
}
END_TEST

START_TEST(connections_that_carry_bulk_have_a_limit_of_their_own)
{
    struct deliver_shared *shared = deliver_shared_create();
    struct site_limit *limit = site_limit_hold(shared, SLICE("mx.example"), 0);
    ck_assert(site_limit_take_bulk(limit, 2) && site_limit_take_bulk(limit, 2));
    ck_assert(!site_limit_take_bulk(limit, 2));
    ck_assert(!site_limit_wanted(limit)); /* nobody needs to close for it */
    ck_assert(site_limit_take(limit, 1));
    site_limit_give_bulk(limit);
    ck_assert(site_limit_take_bulk(limit, 2));
    site_limit_give_bulk(limit);
    site_limit_give_bulk(limit);
    site_limit_give(limit);
    site_limit_release(shared, limit);
    deliver_shared_destroy(&shared);
}
END_TEST

int main(void)
{
    return check_main(SUITE_OF("shared", threads_never_hold_more_connections_than_the_limit,
                               a_refused_wish_is_seen_until_a_connection_is_given_back,
                               sources_and_sites_are_counted_apart,
                               connections_that_carry_bulk_have_a_limit_of_their_own));
}
