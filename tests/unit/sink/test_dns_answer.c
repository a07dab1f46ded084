/* The bytes on the wire, and malformed queries. What a real resolver makes of the answers is in
 * tests/unit/test_sink_process.py, with dig. */
#include "bench/sink/dns_answer.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/base/rng.h"
#include "tests/support/check_main.h"

struct rig {
    struct endpoints addresses;
    struct dns_world world;
    char query[600], answer[DNS_ANSWER_BYTES_MAX];
    size_t query_len, answer_len;
};

static void rig_open(struct rig *rig, const char *zone)
{
    struct err err;
    *rig = (struct rig){ 0 };
    bool parsed = endpoints_parse(SLICE("[::1]:25,127.0.0.1-127.0.0.9:25"), &rig->addresses, &err);
    ck_assert(parsed);
    rig->world = (struct dns_world){ &rig->addresses, slice_str(zone), 0, 2, 300 };
}

static void query_make(struct rig *rig, const char *name, unsigned type, bool edns)
{
    char *q = rig->query;
    memcpy(q, "\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00", 12);
    q[11] = edns ? 1 : 0;
    size_t at = 12;
    struct slice rest = slice_str(name);
    while (rest.len > 0) {
        struct slice label = slice_cut(&rest, '.');
        q[at++] = (char)label.len;
        memcpy(q + at, label.ptr, label.len);
        at += label.len;
    }
    memcpy(q + at, "\x00\x00\x00\x00\x01", 5);
    q[at + 2] = (char)type;
    at += 5;
    if (edns) {
        memcpy(q + at, "\x00\x00\x29\x10\x00\x00\x00\x00\x00\x00\x00", 11);
        at += 11;
    }
    rig->query_len = at;
}

static unsigned u16(const struct rig *rig, size_t at)
{
    return (unsigned)(unsigned char)rig->answer[at] << 8 | (unsigned char)rig->answer[at + 1];
}

static unsigned ask(struct rig *rig, const char *name, unsigned type, bool tcp)
{
    query_make(rig, name, type, false);
    rig->answer_len =
        dns_answer(&rig->world, slice_of(rig->query, rig->query_len), tcp, rig->answer);
    ck_assert_uint_ge(rig->answer_len, 12);
    ck_assert_uint_eq(u16(rig, 0), 0x1234);
    ck_assert_uint_eq(u16(rig, 2) & 0x8100, 0x8100);
    return u16(rig, 2) & 15;
}

enum { A = 1, MX = 15, AAAA = 28 };

START_TEST(an_mx_answer_has_the_bytes_of_rfc_1035)
{
    struct rig rig;
    rig_open(&rig, "");
    rig.world.hosts = 1;
    ck_assert_uint_eq(ask(&rig, "D.test", MX, false), 0);
    static const char expected[] =
        "\x12\x34\x85\x80\x00\x01\x00\x01\x00\x00\x00\x00" /* header: QR AA RD RA */
        "\x01"
        "D\x04test\x00\x00\x0f\x00\x01"
        "\xc0\x0c\x00\x0f\x00\x01\x00\x00\x01\x2c\x00\x0e\x00\x0a\x03"
        "mx1\x01"
        "d\x04test";
    ck_assert_uint_eq(rig.answer_len, sizeof expected);
    ck_assert_mem_eq(rig.answer, expected, sizeof expected);
    endpoints_free(&rig.addresses);
}
END_TEST

START_TEST(names_that_misbehave_do_so)
{
    struct rig rig;
    rig_open(&rig, "");
    ck_assert_uint_eq(ask(&rig, "d.test", MX, false), 0);
    ck_assert_uint_eq(u16(&rig, 6), 2);
    ck_assert_uint_eq(ask(&rig, "mx1.d.test", A, false), 0);
    ck_assert_uint_eq(u16(&rig, 6), 1);
    ck_assert_int_eq(rig.answer[rig.answer_len - 4], 127);
    ck_assert_uint_eq(ask(&rig, "mx1.d.test", AAAA, false), 0);
    ck_assert_uint_eq(u16(&rig, 6), 0);
    ck_assert_uint_eq(u16(&rig, 8), 1);
    ck_assert_uint_eq(ask(&rig, "nx-1.test", MX, false), 3);
    ck_assert_uint_eq(u16(&rig, 8), 1);
    ck_assert_uint_eq(ask(&rig, "NX-1.test", A, false), 3);
    ck_assert_uint_eq(ask(&rig, "servfail-1.test", MX, false), 2);
    ck_assert_uint_eq(ask(&rig, "nomx-1.test", MX, false), 0);
    ck_assert_uint_eq(u16(&rig, 6), 0);
    ck_assert_uint_eq(ask(&rig, "nomx-1.test", A, false), 0);
    ck_assert_uint_eq(u16(&rig, 6), 1);
    ck_assert_uint_eq(ask(&rig, "nullmx-1.test", MX, false), 0);
    ck_assert_uint_eq(u16(&rig, 6), 1);
    ck_assert_mem_eq(rig.answer + rig.answer_len - 5, "\x00\x03\x00\x00\x00", 5);
    ck_assert_uint_eq(ask(&rig, "tc-1.test", MX, false), 0);
    ck_assert_uint_eq(u16(&rig, 2) & 0x200, 0x200);
    ck_assert_uint_eq(ask(&rig, "tc-1.test", MX, true), 0);
    ck_assert_uint_eq(u16(&rig, 2) & 0x200, 0);
    ck_assert_uint_eq(u16(&rig, 6), 2);
    query_make(&rig, "silent-1.test", MX, false);
    ck_assert_uint_eq(dns_answer(&rig.world, slice_of(rig.query, rig.query_len), false, rig.answer),
                      0);
    endpoints_free(&rig.addresses);
}
END_TEST

START_TEST(domains_of_one_site_share_their_hosts)
{
    struct rig rig;
    char name[64];
    unsigned sites[4] = { 0 };
    rig_open(&rig, "bench.test");
    rig.world.sites = 4;
    rig.world.hosts = 1;
    for (int i = 0; i < 400; i++) {
        snprintf(name, sizeof name, "d%d.bench.test", i);
        ck_assert_uint_eq(ask(&rig, name, MX, false), 0);
        const char *host = memmem(rig.answer, rig.answer_len, "\x05site", 5);
        ck_assert_ptr_nonnull(host);
        sites[host[5] - '0']++;
    }
    for (int i = 0; i < 4; i++)
        ck_assert_uint_ge(sites[i], 50);
    endpoints_free(&rig.addresses);
}
END_TEST

START_TEST(names_outside_the_zone_are_refused)
{
    struct rig rig;
    rig_open(&rig, "bench.test");
    ck_assert_uint_eq(ask(&rig, "bench.test", MX, false), 0);
    ck_assert_uint_eq(ask(&rig, "a.BENCH.test", MX, false), 0);
    ck_assert_uint_eq(ask(&rig, "xbench.test", MX, false), 5);
    ck_assert_uint_eq(ask(&rig, "test", MX, false), 5);
    endpoints_free(&rig.addresses);
}
END_TEST

START_TEST(an_answer_that_does_not_fit_is_truncated_whole)
{
    struct rig rig;
    char name[256] = "";
    rig_open(&rig, "");
    rig.world.hosts = 16;
    for (int i = 0; i < 3; i++)
        strcat(name, "a123456789b123456789c123456789d123456789e123456789.");
    strcat(name, "test");
    ck_assert_uint_eq(ask(&rig, name, MX, false), 0);
    ck_assert_uint_eq(u16(&rig, 2) & 0x200, 0x200);
    ck_assert_uint_eq(u16(&rig, 6), 0);
    ck_assert_uint_eq(rig.answer_len, rig.query_len);
    ck_assert_uint_eq(ask(&rig, name, MX, true), 0);
    ck_assert_uint_eq(u16(&rig, 6), 16);
    query_make(&rig, "a-somewhat-longer-name.test", MX, true);
    rig.answer_len = dns_answer(&rig.world, slice_of(rig.query, rig.query_len), false, rig.answer);
    ck_assert_uint_gt(rig.answer_len, 512);
    ck_assert_uint_eq(u16(&rig, 2) & 0x200, 0);
    ck_assert_uint_eq(u16(&rig, 10), 1);
    endpoints_free(&rig.addresses);
}
END_TEST

START_TEST(broken_queries_are_survived)
{
    const char *given = getenv("EILPOST_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 0) : rng_system_seed();
    printf("EILPOST_SEED=%llu\n", (unsigned long long)seed);
    struct rng rng;
    struct rig rig;
    rng_seed(&rng, seed);
    rig_open(&rig, "");
    for (int round = 0; round < 50000; round++) {
        query_make(&rig, "mail.d.test", MX, round & 1);
        size_t len = rng_below(&rng, 4) ? rig.query_len : rng_below(&rng, rig.query_len + 1);
        for (uint64_t hits = rng_below(&rng, 4); hits > 0 && len > 0; hits--)
            rig.query[rng_below(&rng, len)] = (char)rng_next(&rng);
        char *copy = slice_dup(slice_of(rig.query, len));
        size_t answer = dns_answer(&rig.world, slice_of(copy, len), round & 2, rig.answer);
        ck_assert_uint_le(answer, sizeof rig.answer);
        free(copy);
    }
    endpoints_free(&rig.addresses);
}
END_TEST

int main(void)
{
    return check_main(
        SUITE_OF("dns_answer", an_mx_answer_has_the_bytes_of_rfc_1035, names_that_misbehave_do_so,
                 domains_of_one_site_share_their_hosts, names_outside_the_zone_are_refused,
                 an_answer_that_does_not_fit_is_truncated_whole, broken_queries_are_survived));
}
