#include "dns/result.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/rng.h"
#include "tests/support/check_main.h"

static struct dns_answer answer;

static struct dns_route *route(unsigned count, const uint16_t *preferences)
{
    answer = (struct dns_answer){ .status = DNS_OK, .count = count };
    for (unsigned i = 0; i < count; i++) {
        answer.mx[i].preference = preferences[i];
        answer.mx[i].len =
            (uint8_t)snprintf(answer.mx[i].name, sizeof answer.mx[i].name, "mx%u.example", i);
    }
    return dns_route_from_answer(&answer, answer.count, 1);
}

static struct rng random_start(const char *test)
{
    struct rng rng;
    const char *text = getenv("EILPOST_TEST_SEED");
    uint64_t seed = text ? strtoull(text, NULL, 10) : rng_system_seed();
    printf("%s: EILPOST_TEST_SEED=%llu\n", test, (unsigned long long)seed);
    rng_seed(&rng, seed);
    return rng;
}

START_TEST(a_route_keeps_names_and_preferences)
{
    const uint16_t preferences[] = { 5, 5, 30 };
    struct dns_route *r = route(3, preferences);
    ck_assert_uint_eq(r->host_count, 3);
    ck_assert_str_eq(r->hosts[2].name.ptr, "mx2.example");
    ck_assert_uint_eq(r->hosts[2].name.len, 11);
    ck_assert_uint_eq(r->hosts[2].preference, 30);
    ck_assert(!r->implicit);
    ck_assert_ptr_eq(dns_route_hold(r), r);
    dns_route_release(r);
    dns_route_release(r);
}
END_TEST

START_TEST(all_orders_of_equals_are_equally_likely)
{
    /* Three equals between two others: 6 orders, 10,000 picks. Chi-square with 5 degrees of freedom
     * passes 25.7 once in ten thousand runs. */
    const uint16_t preferences[] = { 5, 10, 10, 10, 20 };
    struct dns_route *r = route(5, preferences);
    struct rng rng = random_start("all_orders_of_equals_are_equally_likely");
    unsigned seen[3][3] = { 0 };
    for (int i = 0; i < 10000; i++) {
        uint16_t order[5];
        dns_route_shuffle(r, &rng, order);
        ck_assert_uint_eq(order[0], 0);
        ck_assert_uint_eq(order[4], 4);
        ck_assert_uint_eq(order[1] + order[2] + order[3], 6);
        seen[order[1] - 1][order[2] - 1]++;
    }
    double chi = 0;
    for (int a = 0; a < 3; a++)
        for (int b = 0; b < 3; b++) {
            double expected = 10000.0 / 6, off = seen[a][b] - expected;
            if (a != b)
                chi += off * off / expected;
        }
    printf("chi-square %.2f\n", chi);
    ck_assert_msg(chi < 25.74, "chi-square %f", chi);
    dns_route_release(r);
}
END_TEST

START_TEST(two_equals_take_turns)
{
    const uint16_t preferences[] = { 10, 10 };
    struct dns_route *r = route(2, preferences);
    struct rng rng = random_start("two_equals_take_turns");
    unsigned first = 0;
    for (int i = 0; i < 10000; i++) {
        uint16_t order[2];
        dns_route_shuffle(r, &rng, order);
        first += order[0] == 0;
    }
    double off = first - 5000.0, chi = 2 * off * off / 5000;
    printf("chi-square %.2f\n", chi);
    ck_assert_msg(chi < 15.13, "%u of 10000",
                  first); /* 1 degree of freedom, once in ten thousand runs */
    dns_route_release(r);
}
END_TEST

static const struct {
    unsigned v6, v4;
    const char *order;
} merges[] = {
    { 2, 2, "6464" },
    { 1, 3, "6444" },
    { 3, 1, "6466" },
    { 0, 2, "44" },
    { 2, 0, "66" },
    { 20, 20, "64646464646464646464" },
    { 20, 1, "64666666666666666666" },
};

START_TEST(families_take_turns_starting_with_ipv6)
{
    struct dns_family v6 = { .count = merges[_i].v6 }, v4 = { .count = merges[_i].v4 };
    for (unsigned i = 0; i < DNS_ADDRESS_MAX; i++) {
        v6.list[i].v6.s6_addr[15] = (uint8_t)i;
        v4.list[i].v4.s_addr = htonl(i);
    }
    struct dns_addresses *addresses = dns_addresses_merge(&v6, &v4, SLICE("host.example"), 77);
    ck_assert_uint_eq(addresses->count, strlen(merges[_i].order));
    ck_assert_int_eq(addresses->expires_ms, 77);
    unsigned next6 = 0, next4 = 0;
    for (unsigned i = 0; i < addresses->count; i++) {
        const struct dns_address *a = &addresses->list[i];
        if (merges[_i].order[i] == '6') {
            const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&a->addr;
            ck_assert_uint_eq(a->len, sizeof *in6);
            ck_assert_int_eq(in6->sin6_family, AF_INET6);
            ck_assert_uint_eq(in6->sin6_addr.s6_addr[15], next6++);
            ck_assert_uint_eq(in6->sin6_port, 0);
        } else {
            const struct sockaddr_in *in = (const struct sockaddr_in *)&a->addr;
            ck_assert_uint_eq(a->len, sizeof *in);
            ck_assert_int_eq(in->sin_family, AF_INET);
            ck_assert_uint_eq(in->sin_addr.s_addr, htonl(next4++));
            ck_assert_uint_eq(in->sin_port, 0);
        }
    }
    dns_addresses_release(addresses);
}
END_TEST

START_TEST(a_failure_says_what_was_asked)
{
    struct dns_route *r = dns_route_none(DNS_FAILED, "SERVFAIL", SLICE("example.com"), 5);
    ck_assert_str_eq(r->text, "SERVFAIL (MX of example.com)");
    ck_assert_str_eq(dns_status_name(r->status), "failed");
    dns_route_release(r);
    char name[250];
    memset(name, 'a', sizeof name);
    r = dns_route_none(DNS_FAILED, "SERVFAIL", slice_of(name, sizeof name), 5);
    ck_assert_uint_eq(strlen(r->text), sizeof r->text - 1);
    dns_route_release(r);
}
END_TEST

int main(void)
{
    Suite *suite = SUITE_OF("result", a_route_keeps_names_and_preferences,
                            all_orders_of_equals_are_equally_likely, two_equals_take_turns,
                            a_failure_says_what_was_asked);
    TCase *tcase = tcase_create("merge");
    tcase_set_timeout(tcase, 0);
    tcase_add_loop_test(tcase, families_take_turns_starting_with_ipv6, 0, (int)ARRAY_LEN(merges));
    suite_add_tcase(suite, tcase);
    return check_main(suite);
}
