/* Which source a session leaves from, and how many of its connections are kept for transactional
 * mail. */
#include <arpa/inet.h>

#include "engine/deliver/internal.h"
#include "tests/support/check_main.h"

struct rig {
    struct deliver_source sources[3];
    struct deliver deliver;
};

/* Sources "a" and "c" are bound to nothing, "b" to IPv6. */
static void rig_setup(struct rig *rig, const struct deliver_pool *pools, unsigned pool_count,
                      unsigned connections, unsigned reserved)
{
    *rig = (struct rig){
        .sources = { { .name = "a" }, { .name = "b" }, { .name = "c" } },
        .deliver.options = { .source_count = 3,
                             .pools = pools,
                             .pool_count = pool_count,
                             .connections_per_site = connections,
                             .reserved_per_site = reserved,
                             .shared = deliver_shared_create() },
    };
    rig->sources[1].address.ss_family = AF_INET6;
    rig->deliver.options.sources = rig->sources;
}

static void site_setup(struct site *site, struct rig *rig, unsigned pool, struct slice key)
{
    *site = (struct site){ .deliver = &rig->deliver, .pool = pool, .key = key };
    site_sources_create(site);
}

/* Takes connections until there are no more; returns how many each source gave. */
static unsigned take_all(struct site *site, enum queue_class class, sa_family_t family,
                         unsigned taken[3])
{
    unsigned sum = 0, source;
    memset(taken, 0, 3 * sizeof taken[0]);
    while (site_source_take(site, class, family, &source)) {
        taken[site->sources[source].index]++;
        sum++;
    }
    return sum;
}

static void give_all(struct site *site)
{
    for (unsigned i = 0; i < site->source_count; i++)
        while (site->sources[i].peers > 0)
            site_source_give(site, i);
}

static const unsigned both[] = { 0, 2 }, first[] = { 0 }, all[] = { 0, 1, 2 };
static const unsigned same[] = { 1, 1, 1 }, three_to_one[] = { 3, 1 };

START_TEST(the_heaviest_source_has_all_connections_and_the_others_their_share)
{
    static const struct deliver_pool pool = { "p", both, three_to_one, 2 };
    struct rig rig;
    struct site site;
    unsigned taken[3], source;
    rig_setup(&rig, &pool, 1, 9, 0);
    site_setup(&site, &rig, 0, SLICE("mx"));
    /* in proportion from the beginning, not only at the end */
    for (unsigned i = 0; i < 8; i++)
        ck_assert(site_source_take(&site, QUEUE_BULK, AF_INET, &source));
    ck_assert_uint_eq(site.sources[0].peers, 6);
    ck_assert_uint_eq(site.sources[1].peers, 2);
    take_all(&site, QUEUE_BULK, AF_INET, taken);
    ck_assert_uint_eq(site.sources[0].peers, 9);
    ck_assert_uint_eq(site.sources[1].peers, 3);
    give_all(&site);
    site_sources_destroy(&site);
    deliver_shared_destroy(&rig.deliver.options.shared);
}
END_TEST

START_TEST(sessions_one_after_the_other_are_spread_by_weight_too)
{
    static const struct deliver_pool pool = { "p", both, three_to_one, 2 };
    struct rig rig;
    struct site site;
    unsigned source, used[2] = { 0 };
    rig_setup(&rig, &pool, 1, 9, 0);
    site_setup(&site, &rig, 0, SLICE("mx"));
    for (unsigned i = 0; i < 400; i++) {
        ck_assert(site_source_take(&site, QUEUE_BULK, AF_INET, &source));
        used[source]++;
        site_source_give(&site, source);
    }
    ck_assert_uint_eq(used[0], 300);
    ck_assert_uint_eq(used[1], 100);
    site_sources_destroy(&site);
    deliver_shared_destroy(&rig.deliver.options.shared);
}
END_TEST

START_TEST(bulk_never_opens_the_connections_that_are_kept)
{
    static const struct deliver_pool pool = { "p", first, same, 1 };
    struct rig rig;
    struct site site;
    unsigned taken[3];
    rig_setup(&rig, &pool, 1, 5, 2);
    site_setup(&site, &rig, 0, SLICE("mx"));
    ck_assert_uint_eq(take_all(&site, QUEUE_BULK, AF_INET, taken), 3);
    ck_assert_uint_eq(take_all(&site, QUEUE_DEADLINE, AF_INET, taken), 0);
    ck_assert_uint_eq(take_all(&site, QUEUE_TRANSACTIONAL, AF_INET, taken), 2);
    give_all(&site);
    site_sources_destroy(&site);
    deliver_shared_destroy(&rig.deliver.options.shared);
}
END_TEST

START_TEST(one_connection_is_left_to_bulk_however_many_are_kept)
{
    static const struct deliver_pool pool = { "p", first, same, 1 };
    struct rig rig;
    struct site site;
    unsigned taken[3];
    rig_setup(&rig, &pool, 1, 1, 1);
    site_setup(&site, &rig, 0, SLICE("mx"));
    ck_assert_uint_eq(take_all(&site, QUEUE_BULK, AF_INET, taken), 1);
    give_all(&site);
    site_sources_destroy(&site);
    deliver_shared_destroy(&rig.deliver.options.shared);
}
END_TEST

START_TEST(pools_with_a_common_source_share_its_connections)
{
    static const struct deliver_pool pools[] = { { "p", both, same, 2 }, { "q", first, same, 1 } };
    struct rig rig;
    struct site p, q, elsewhere;
    unsigned taken[3];
    rig_setup(&rig, pools, 2, 4, 0);
    site_setup(&p, &rig, 0, SLICE("mx"));
    site_setup(&q, &rig, 1, SLICE("mx"));
    site_setup(&elsewhere, &rig, 1, SLICE("mx2"));
    ck_assert_uint_eq(take_all(&q, QUEUE_BULK, AF_INET, taken), 4);
    ck_assert_uint_eq(take_all(&p, QUEUE_BULK, AF_INET, taken), 4);
    ck_assert_uint_eq(taken[0], 0);
    ck_assert_uint_eq(taken[2], 4);
    ck_assert_uint_eq(take_all(&elsewhere, QUEUE_BULK, AF_INET, taken), 4);
    give_all(&p);
    give_all(&q);
    give_all(&elsewhere);
    site_sources_destroy(&p);
    site_sources_destroy(&q);
    site_sources_destroy(&elsewhere);
    deliver_shared_destroy(&rig.deliver.options.shared);
}
END_TEST

START_TEST(a_source_bound_to_ipv6_is_not_used_for_ipv4)
{
    static const unsigned only_b[] = { 1 };
    static const struct deliver_pool pools[] = { { "p", all, same, 3 }, { "q", only_b, same, 1 } };
    struct rig rig;
    struct site p, q;
    unsigned taken[3];
    rig_setup(&rig, pools, 2, 2, 0);
    site_setup(&p, &rig, 0, SLICE("mx"));
    site_setup(&q, &rig, 1, SLICE("mx"));
    ck_assert(p.ipv4 && p.ipv6);
    ck_assert(!q.ipv4 && q.ipv6);
    ck_assert_uint_eq(take_all(&p, QUEUE_BULK, AF_INET, taken), 4);
    ck_assert_uint_eq(taken[1], 0);
    ck_assert_uint_eq(take_all(&p, QUEUE_BULK, AF_INET6, taken), 2);
    ck_assert_uint_eq(taken[1], 2);
    give_all(&p);
    site_sources_destroy(&p);
    site_sources_destroy(&q);
    deliver_shared_destroy(&rig.deliver.options.shared);
}
END_TEST

START_TEST(more_sources_than_fit_on_the_stack_are_all_tried)
{
    enum { SOURCES = 40 };
    static struct deliver_source sources[SOURCES];
    static unsigned members[SOURCES], weights[SOURCES];
    for (unsigned i = 0; i < SOURCES; i++) {
        sources[i].name = "x";
        members[i] = i;
        weights[i] = 1;
    }
    struct deliver_pool pool = { "p", members, weights, SOURCES };
    struct deliver deliver = { .options = { .sources = sources,
                                            .source_count = SOURCES,
                                            .pools = &pool,
                                            .pool_count = 1,
                                            .connections_per_site = 2,
                                            .shared = deliver_shared_create() } };
    struct site site = { .deliver = &deliver, .key = SLICE("mx") };
    site_sources_create(&site);
    unsigned source, sum = 0;
    while (site_source_take(&site, QUEUE_BULK, AF_INET, &source))
        sum++;
    ck_assert_uint_eq(sum, 2 * SOURCES);
    give_all(&site);
    site_sources_destroy(&site);
    deliver_shared_destroy(&deliver.options.shared);
}
END_TEST

int main(void)
{
    return check_main(SUITE_OF("source",
                               the_heaviest_source_has_all_connections_and_the_others_their_share,
                               sessions_one_after_the_other_are_spread_by_weight_too,
                               bulk_never_opens_the_connections_that_are_kept,
                               one_connection_is_left_to_bulk_however_many_are_kept,
                               pools_with_a_common_source_share_its_connections,
                               a_source_bound_to_ipv6_is_not_used_for_ipv4,
                               more_sources_than_fit_on_the_stack_are_all_tried));
}
