#include "dns/answer.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/support/check_main.h"
#include "tests/support/dnsd.h"

static struct dnsd_packet packet;
static struct dns_answer answer;

static void start(unsigned rcode, enum dns_type type)
{
    dnsd_packet_start(&packet, 7, rcode, "example.com", type);
}

static void parse(enum dns_type type)
{
    /* A copy of the exact size, so that ASan sees every byte read past the end. */
    char *copy = malloc(packet.len ? packet.len : 1);
    memcpy(copy, packet.bytes, packet.len);
    dns_answer_parse(slice_of(copy, packet.len), type, SLICE("example.com"), &answer);
    free(copy);
}

static const char *hosts(void)
{
    static char text[4096];
    size_t len = 0;
    text[0] = '\0';
    for (unsigned i = 0; i < answer.count; i++)
        len += (size_t)snprintf(text + len, sizeof text - len, "%s%u %s", i ? ", " : "",
                                answer.mx[i].preference, answer.mx[i].name);
    return text;
}

START_TEST(mx_records_come_sorted_and_stable)
{
    start(DNSD_NOERROR, DNS_TYPE_MX);
    dnsd_packet_mx(&packet, "example.com", 300, 20, "C.Example.com");
    dnsd_packet_mx(&packet, "example.com", 200, 10, "b.example.com");
    dnsd_packet_mx(&packet, "EXAMPLE.com", 400, 10, "a.example.com");
    parse(DNS_TYPE_MX);
    ck_assert_int_eq(answer.status, DNS_OK);
    ck_assert_str_eq(hosts(), "10 b.example.com, 10 a.example.com, 20 c.example.com");
    ck_assert(answer.has_ttl);
    ck_assert_uint_eq(answer.ttl_s, 200);
}
END_TEST

START_TEST(a_host_named_twice_counts_once_with_its_best_preference)
{
    start(DNSD_NOERROR, DNS_TYPE_MX);
    dnsd_packet_mx(&packet, "example.com", 300, 20, "a.example.com");
    dnsd_packet_mx(&packet, "example.com", 300, 15, "b.example.com");
    dnsd_packet_mx(&packet, "example.com", 300, 10, "A.example.com");
    dnsd_packet_mx(&packet, "example.com", 300, 30, "b.example.com");
    parse(DNS_TYPE_MX);
    ck_assert_str_eq(hosts(), "10 a.example.com, 15 b.example.com");
}
END_TEST

START_TEST(of_four_thousand_mx_the_hundred_most_preferred_are_kept)
{
    start(DNSD_NOERROR, DNS_TYPE_MX);
    int count = 0;
    for (; count < 4000 && packet.len < 65000; count++) {
        char host[32];
        snprintf(host, sizeof host, "%d", 3999 - count);
        uint8_t rdata[16] = { (uint8_t)((4000 - count) >> 8),
                              (uint8_t)(4000 - count),
                              1,
                              (uint8_t)('a' + count % 26),
                              0xc0,
                              12 };
        dnsd_packet_record(&packet, DNSD_ANSWER, "example.com", DNSD_MX, 60, rdata, 6);
    }
    ck_assert_int_gt(count, 3500);
    parse(DNS_TYPE_MX);
    ck_assert_int_eq(answer.status, DNS_OK);
    ck_assert_uint_eq(answer.count, 26); /* 26 different names */
    ck_assert_uint_eq(answer.mx[0].preference, 4000 - (unsigned)count + 1);

    start(DNSD_NOERROR, DNS_TYPE_MX);
    for (unsigned i = 0; i < 2000; i++) {
        uint8_t rdata[16] = { (uint8_t)((5000 - i) >> 8), (uint8_t)(5000 - i), 4 };
        snprintf((char *)rdata + 3, 5, "%04u", i);
        rdata[7] = 0xc0;
        rdata[8] = 12;
        dnsd_packet_record(&packet, DNSD_ANSWER, "example.com", DNSD_MX, 60, rdata, 9);
    }
    parse(DNS_TYPE_MX);
    ck_assert_uint_eq(answer.count, DNS_MX_MAX);
    ck_assert_uint_eq(answer.mx[0].preference, 3001);
    ck_assert_str_eq(answer.mx[0].name, "1999.example.com");
    ck_assert_uint_eq(answer.mx[99].preference, 3100);
    ck_assert_str_eq(answer.mx[99].name, "1900.example.com");
}
END_TEST

START_TEST(a_single_root_target_is_the_null_mx)
{
    start(DNSD_NOERROR, DNS_TYPE_MX);
    dnsd_packet_mx(&packet, "example.com", 300, 0, "");
    parse(DNS_TYPE_MX);
    ck_assert_int_eq(answer.status, DNS_NULL_MX);
    ck_assert_uint_eq(answer.ttl_s, 300);
}
END_TEST

START_TEST(a_root_target_among_others_is_dropped)
{
    start(DNSD_NOERROR, DNS_TYPE_MX);
    dnsd_packet_mx(&packet, "example.com", 300, 0, "");
    dnsd_packet_mx(&packet, "example.com", 300, 10, "a.example.com");
    parse(DNS_TYPE_MX);
    ck_assert_int_eq(answer.status, DNS_OK);
    ck_assert_str_eq(hosts(), "10 a.example.com");
    ck_assert_uint_eq(answer.dropped, 1);
}
END_TEST

static const char *const not_hosts[] = { "127.0.0.1",    "[127",      "a b.example",
                                         "-x.example",   "256",       "0x7f.1",
                                         "a\\b.example", "localhost", "LocalHost.LocalDomain",
                                         "mx.localhost" };

START_TEST(a_target_that_is_no_host_name_is_dropped)
{
    start(DNSD_NOERROR, DNS_TYPE_MX);
    dnsd_packet_mx(&packet, "example.com", 300, 10, not_hosts[_i]);
    parse(DNS_TYPE_MX);
    ck_assert_int_eq(answer.status, DNS_INVALID);
    ck_assert_uint_eq(answer.dropped, 1);
    ck_assert(answer.has_ttl);

    start(DNSD_NOERROR, DNS_TYPE_MX);
    dnsd_packet_mx(&packet, "example.com", 300, 10, not_hosts[_i]);
    dnsd_packet_mx(&packet, "example.com", 300, 20, "b.example.com");
    parse(DNS_TYPE_MX);
    ck_assert_int_eq(answer.status, DNS_OK);
    ck_assert_str_eq(hosts(), "20 b.example.com");
}
END_TEST

START_TEST(addresses_are_taken_in_order_and_bounded)
{
    start(DNSD_NOERROR, DNS_TYPE_A);
    for (int i = 0; i < 30; i++) {
        char text[32];
        snprintf(text, sizeof text, "192.0.2.%d", i + 1);
        dnsd_packet_address(&packet, "example.com", 60, text);
    }
    parse(DNS_TYPE_A);
    ck_assert_int_eq(answer.status, DNS_OK);
    ck_assert_uint_eq(answer.count, DNS_ADDRESS_MAX);
    ck_assert_uint_eq(answer.address[0].v4.s_addr, inet_addr("192.0.2.1"));
    ck_assert_uint_eq(answer.address[19].v4.s_addr, inet_addr("192.0.2.20"));

    start(DNSD_NOERROR, DNS_TYPE_AAAA);
    dnsd_packet_address(&packet, "example.com", 60, "2001:db8::1");
    parse(DNS_TYPE_AAAA);
    ck_assert_uint_eq(answer.count, 1);
    ck_assert_uint_eq(answer.address[0].v6.s6_addr[15], 1);
}
END_TEST

START_TEST(records_of_another_name_class_or_type_are_left_alone)
{
    start(DNSD_NOERROR, DNS_TYPE_A);
    dnsd_packet_address(&packet, "victim.example", 60, "192.0.2.66");
    dnsd_packet_address(&packet, "example.com", 60, "2001:db8::1");
    dnsd_packet_address(&packet, "example.com", 90, "192.0.2.1");
    parse(DNS_TYPE_A);
    ck_assert_uint_eq(answer.count, 1);
    ck_assert_uint_eq(answer.address[0].v4.s_addr, inet_addr("192.0.2.1"));
    ck_assert_uint_eq(answer.ttl_s, 90);
}
END_TEST

START_TEST(a_cname_chain_is_followed_in_any_order_of_records)
{
    start(DNSD_NOERROR, DNS_TYPE_MX);
    dnsd_packet_mx(&packet, "c.example", 300, 10, "mx.c.example");
    dnsd_packet_cname(&packet, "b.example", 30, "C.example");
    dnsd_packet_cname(&packet, "example.com", 400, "b.example");
    dnsd_packet_mx(&packet, "example.com", 300, 5, "wrong.example");
    parse(DNS_TYPE_MX);
    ck_assert_int_eq(answer.status, DNS_OK);
    ck_assert_str_eq(hosts(), "10 mx.c.example");
    ck_assert_uint_eq(answer.ttl_s, 30);
}
END_TEST

static void chain(unsigned len)
{
    char from[32], to[32];
    start(DNSD_NOERROR, DNS_TYPE_A);
    for (unsigned i = 0; i < len; i++) {
        snprintf(from, sizeof from, i ? "n%u.example" : "example.com", i);
        snprintf(to, sizeof to, "n%u.example", i + 1);
        dnsd_packet_cname(&packet, from, 60, to);
    }
    dnsd_packet_address(&packet, len ? to : "example.com", 60, "192.0.2.1");
    parse(DNS_TYPE_A);
}

START_TEST(a_chain_of_eight_is_followed_and_one_of_nine_fails)
{
    chain(DNS_CNAME_MAX);
    ck_assert_int_eq(answer.status, DNS_OK);
    chain(DNS_CNAME_MAX + 1);
    ck_assert_int_eq(answer.status, DNS_FAILED);
    chain(17);
    ck_assert_int_eq(answer.status, DNS_FAILED);
}
END_TEST

START_TEST(a_cname_loop_fails)
{
    start(DNSD_NOERROR, DNS_TYPE_MX);
    dnsd_packet_cname(&packet, "example.com", 60, "b.example");
    dnsd_packet_cname(&packet, "b.example", 60, "example.com");
    parse(DNS_TYPE_MX);
    ck_assert_int_eq(answer.status, DNS_FAILED);
    ck_assert(!answer.has_ttl);
}
END_TEST

START_TEST(a_dangling_cname_is_no_data_with_the_soas_life)
{
    start(DNSD_NOERROR, DNS_TYPE_MX);
    dnsd_packet_cname(&packet, "example.com", 60, "b.example");
    dnsd_packet_soa(&packet, "b.example", 3600, 90);
    parse(DNS_TYPE_MX);
    ck_assert_int_eq(answer.status, DNS_NO_DATA);
    ck_assert_uint_eq(answer.ttl_s, 60);
}
END_TEST

static const struct {
    uint32_t ttl, minimum, expected;
} negatives[] = { { 3600, 300, 300 },
                  { 100, 300, 100 },
                  { 0, 300, 0 },
                  { 0x80000000, 300, 0 },
                  { 60, 0xffffffff, 0 } };

START_TEST(no_lives_as_long_as_the_soa_says)
{
    start(_i % 2 ? DNSD_NXDOMAIN : DNSD_NOERROR, DNS_TYPE_A);
    dnsd_packet_soa(&packet, "com", negatives[_i].ttl, negatives[_i].minimum);
    parse(DNS_TYPE_A);
    ck_assert_int_eq(answer.status, _i % 2 ? DNS_NXDOMAIN : DNS_NO_DATA);
    ck_assert(answer.has_ttl);
    ck_assert_uint_eq(answer.ttl_s, negatives[_i].expected);
}
END_TEST

START_TEST(no_without_an_soa_has_no_life)
{
    start(DNSD_NXDOMAIN, DNS_TYPE_MX);
    parse(DNS_TYPE_MX);
    ck_assert_int_eq(answer.status, DNS_NXDOMAIN);
    ck_assert(!answer.has_ttl);
}
END_TEST

START_TEST(a_malformed_soa_gives_no_life)
{
    start(DNSD_NXDOMAIN, DNS_TYPE_MX);
    dnsd_packet_record(&packet, DNSD_AUTHORITY, "com", DNSD_SOA, 60, "\1a\0\1b\0\0\0\0", 9);
    parse(DNS_TYPE_MX);
    ck_assert_int_eq(answer.status, DNS_NXDOMAIN);
    ck_assert(!answer.has_ttl);
}
END_TEST

static const struct {
    uint32_t ttl, expected;
} ttls[] = { { 0, 0 }, { 1, 1 }, { 0x7fffffff, 0x7fffffff }, { 0x80000000, 0 }, { 0xffffffff, 0 } };

START_TEST(a_ttl_with_its_top_bit_set_is_zero)
{
    start(DNSD_NOERROR, DNS_TYPE_MX);
    dnsd_packet_mx(&packet, "example.com", ttls[_i].ttl, 10, "a.example.com");
    parse(DNS_TYPE_MX);
    ck_assert_uint_eq(answer.ttl_s, ttls[_i].expected);
}
END_TEST

static const unsigned failures[] = {
    DNSD_FORMERR, DNSD_SERVFAIL, DNSD_NOTIMP, DNSD_REFUSED, 9, 15
};

START_TEST(other_response_codes_are_failures)
{
    start(failures[_i], DNS_TYPE_MX);
    dnsd_packet_mx(&packet, "example.com", 60, 10, "a.example.com");
    parse(DNS_TYPE_MX);
    ck_assert_int_eq(answer.status, DNS_FAILED);
    ck_assert_str_ne(answer.text, "");
}
END_TEST

START_TEST(an_answer_to_another_question_is_refused)
{
    dnsd_packet_start(&packet, 7, DNSD_NOERROR, "example.org", DNS_TYPE_MX);
    parse(DNS_TYPE_MX);
    ck_assert_int_eq(answer.status, DNS_FAILED);
    start(DNSD_NXDOMAIN, DNS_TYPE_A);
    parse(DNS_TYPE_MX);
    ck_assert_int_eq(answer.status, DNS_FAILED);
    start(DNSD_NOERROR, DNS_TYPE_MX);
    packet.bytes[2] &= 0x7f; /* a query, not a response */
    parse(DNS_TYPE_MX);
    ck_assert_int_eq(answer.status, DNS_FAILED);
    start(DNSD_NOERROR, DNS_TYPE_MX);
    packet.bytes[2] |= 0x02; /* truncated */
    parse(DNS_TYPE_MX);
    ck_assert_int_eq(answer.status, DNS_FAILED);
}
END_TEST

static const struct {
    const char *what;
    enum dns_type type;
    size_t len;
    const char *rdata;
} malformed[] = {
    { "an MX without a target", DNS_TYPE_MX, 2, "\0\12" },
    { "an empty MX", DNS_TYPE_MX, 0, "" },
    { "an MX whose name passes the packet's end", DNS_TYPE_MX, 4, "\0\12\77a" },
    { "an MX that points to itself", DNS_TYPE_MX, 4, "\0\12\xc0\x47" },
    { "an MX that points past the end", DNS_TYPE_MX, 4, "\0\12\xff\xff" },
    { "an MX with bytes behind its name", DNS_TYPE_MX, 6, "\0\12\1a\0x" },
    { "a reserved label type", DNS_TYPE_MX, 4, "\0\12\x80\0" },
    { "an A of three bytes", DNS_TYPE_A, 3, "\1\2\3" },
    { "an A of sixteen bytes", DNS_TYPE_A, 16, "\1\2\3\4\1\2\3\4\1\2\3\4\1\2\3\4" },
    { "an AAAA of four bytes", DNS_TYPE_AAAA, 4, "\1\2\3\4" },
    { "an AAAA of none", DNS_TYPE_AAAA, 0, "" },
};

START_TEST(a_malformed_record_spoils_the_answer)
{
    start(DNSD_NOERROR, malformed[_i].type);
    if (malformed[_i].type == DNS_TYPE_MX)
        dnsd_packet_mx(&packet, "example.com", 60, 10, "good.example");
    dnsd_packet_record(&packet, DNSD_ANSWER, "example.com", (uint16_t)malformed[_i].type, 60,
                       malformed[_i].rdata, malformed[_i].len);
    parse(malformed[_i].type);
    ck_assert_msg(answer.status == DNS_FAILED, "%s", malformed[_i].what);
    ck_assert_uint_eq(answer.count, 0);
}
END_TEST

START_TEST(a_loop_of_compression_pointers_ends)
{
    start(DNSD_NOERROR, DNS_TYPE_MX);
    /* Two pointers that point at each other, the second inside the first record's data. */
    uint8_t rdata[] = { 0, 10, 0xc0, (uint8_t)(packet.len + 16), 0xc0, (uint8_t)(packet.len + 14) };
    dnsd_packet_record(&packet, DNSD_ANSWER, "example.com", DNSD_MX, 60, rdata, sizeof rdata);
    parse(DNS_TYPE_MX);
    ck_assert_int_eq(answer.status, DNS_FAILED);

    start(DNSD_NOERROR, DNS_TYPE_MX);
    packet.bytes[12] = 0xc0; /* the question's name points to itself */
    packet.bytes[13] = 12;
    parse(DNS_TYPE_MX);
    ck_assert_int_eq(answer.status, DNS_FAILED);
}
END_TEST

/* A name at the end of a chain of `len` compression pointers, the first of which points to the
 * question's. */
static void pointer_chain(unsigned len)
{
    static uint8_t rdata[16000];
    start(DNSD_NOERROR, DNS_TYPE_MX);
    size_t at = packet.len + 12;
    unsigned target = 12;
    for (unsigned i = 0; i < len; i++) {
        rdata[2 * i] = (uint8_t)(0xc0 | target >> 8);
        rdata[2 * i + 1] = (uint8_t)target;
        target = (unsigned)at + 2 * i;
    }
    dnsd_packet_record(&packet, DNSD_ANSWER, "example.com", DNSD_TXT, 60, rdata, 2 * (size_t)len);
    const uint8_t mx[] = { 0, 10, (uint8_t)(0xc0 | target >> 8), (uint8_t)target };
    dnsd_packet_record(&packet, DNSD_ANSWER, "example.com", DNSD_MX, 60, mx, sizeof mx);
    parse(DNS_TYPE_MX);
}

START_TEST(a_long_chain_of_compression_pointers_is_refused)
{
    pointer_chain(63); /* and one to it */
    ck_assert_int_eq(answer.status, DNS_OK);
    ck_assert_str_eq(hosts(), "10 example.com");
    pointer_chain(64);
    ck_assert_int_eq(answer.status, DNS_FAILED);
    pointer_chain(8000);
    ck_assert_int_eq(answer.status, DNS_FAILED);
}
END_TEST

START_TEST(every_prefix_of_an_answer_is_refused)
{
    start(DNSD_NOERROR, DNS_TYPE_MX);
    dnsd_packet_cname(&packet, "example.com", 60, "b.example");
    dnsd_packet_mx(&packet, "b.example", 60, 10, "mx.b.example");
    size_t whole = packet.len;
    for (size_t len = 0; len < whole; len++) {
        packet.len = len;
        parse(DNS_TYPE_MX);
        ck_assert_int_eq(answer.status, DNS_FAILED);
    }
    packet.len = whole;
    parse(DNS_TYPE_MX);
    ck_assert_int_eq(answer.status, DNS_OK);
    packet.len = whole + 1; /* a byte too many */
    parse(DNS_TYPE_MX);
    ck_assert_int_eq(answer.status, DNS_FAILED);
}
END_TEST

static const struct {
    enum dns_type type;
    const char *rdata;
    size_t len;
    bool good;
} records[] = {
    { DNS_TYPE_TLSA, "\3\1\1x", 4, true },
    { DNS_TYPE_TLSA, "\3\1\1", 3, false }, /* without anything to compare */
    { DNS_TYPE_TLSA, "", 0, false },
    { DNS_TYPE_TXT, "\3abc", 4, true },
    { DNS_TYPE_TXT, "\3abc\0\1x", 7, true },
    { DNS_TYPE_TXT, "\0", 1, true },
    { DNS_TYPE_TXT, "", 0, false },
    { DNS_TYPE_TXT, "\4abc", 4, false },
    { DNS_TYPE_TXT, "\3abc\1", 5, false },
};

START_TEST(records_of_bytes_are_taken_as_they_are_or_spoil_the_answer)
{
    start(DNSD_NOERROR, records[_i].type);
    dnsd_packet_record(&packet, DNSD_ANSWER, "example.com", (uint16_t)records[_i].type, 60,
                       records[_i].rdata, records[_i].len);
    dns_answer_parse(slice_of(packet.bytes, packet.len), records[_i].type, SLICE("example.com"),
                     &answer);
    ck_assert_int_eq(answer.status, records[_i].good ? DNS_OK : DNS_FAILED);
    if (records[_i].good)
        ck_assert(slice_eq(answer.record[0], slice_of(records[_i].rdata, records[_i].len)));
}
END_TEST

START_TEST(of_many_records_of_bytes_the_first_are_kept)
{
    start(DNSD_NOERROR, DNS_TYPE_TXT);
    for (int i = 0; i < DNS_RECORD_MAX + 3; i++)
        dnsd_packet_record(&packet, DNSD_ANSWER, "example.com", DNSD_TXT, 60,
                           (char[]){ 1, (char)('0' + i) }, 2);
    dns_answer_parse(slice_of(packet.bytes, packet.len), DNS_TYPE_TXT, SLICE("example.com"),
                     &answer);
    ck_assert_uint_eq(answer.count, DNS_RECORD_MAX);
    ck_assert_int_eq(answer.record[1].ptr[1], '1');
}
END_TEST

START_TEST(the_ad_bit_counts_for_yes_and_no_but_not_for_failures)
{
    static const struct {
        unsigned rcode;
        bool authenticated;
    } cases[] = { { DNSD_NOERROR, true }, { DNSD_NXDOMAIN, true }, { DNSD_SERVFAIL, false } };
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        start(cases[i].rcode, DNS_TYPE_MX);
        packet.bytes[3] |= 0x20;
        parse(DNS_TYPE_MX);
        ck_assert_int_eq(answer.authenticated, cases[i].authenticated);
    }
    start(DNSD_NOERROR, DNS_TYPE_MX);
    parse(DNS_TYPE_MX);
    ck_assert(!answer.authenticated);
}
END_TEST

START_TEST(the_name_at_the_end_of_the_cnames_is_told)
{
    start(DNSD_NOERROR, DNS_TYPE_A);
    dnsd_packet_address(&packet, "example.com", 60, "192.0.2.1");
    parse(DNS_TYPE_A);
    ck_assert_str_eq(answer.canonical, "");
    start(DNSD_NOERROR, DNS_TYPE_A);
    dnsd_packet_cname(&packet, "example.com", 60, "a.example");
    dnsd_packet_cname(&packet, "a.example", 60, "B.Example");
    dnsd_packet_address(&packet, "b.example", 60, "192.0.2.1");
    parse(DNS_TYPE_A);
    ck_assert_uint_eq(answer.count, 1);
    ck_assert_str_eq(answer.canonical, "b.example");
}
END_TEST

int main(void)
{
    Suite *suite = SUITE_OF(
        "answer", mx_records_come_sorted_and_stable,
        a_host_named_twice_counts_once_with_its_best_preference,
        of_four_thousand_mx_the_hundred_most_preferred_are_kept,
        a_single_root_target_is_the_null_mx, a_root_target_among_others_is_dropped,
        addresses_are_taken_in_order_and_bounded,
        records_of_another_name_class_or_type_are_left_alone,
        a_cname_chain_is_followed_in_any_order_of_records,
        a_chain_of_eight_is_followed_and_one_of_nine_fails, a_cname_loop_fails,
        a_dangling_cname_is_no_data_with_the_soas_life, no_without_an_soa_has_no_life,
        a_malformed_soa_gives_no_life, an_answer_to_another_question_is_refused,
        a_loop_of_compression_pointers_ends, a_long_chain_of_compression_pointers_is_refused,
        every_prefix_of_an_answer_is_refused, of_many_records_of_bytes_the_first_are_kept,
        the_ad_bit_counts_for_yes_and_no_but_not_for_failures,
        the_name_at_the_end_of_the_cnames_is_told);
    TCase *tcase = tcase_create("tables");
    tcase_set_timeout(tcase, 0);
    tcase_add_loop_test(tcase, a_target_that_is_no_host_name_is_dropped, 0,
                        (int)ARRAY_LEN(not_hosts));
    tcase_add_loop_test(tcase, no_lives_as_long_as_the_soa_says, 0, (int)ARRAY_LEN(negatives));
    tcase_add_loop_test(tcase, a_ttl_with_its_top_bit_set_is_zero, 0, (int)ARRAY_LEN(ttls));
    tcase_add_loop_test(tcase, other_response_codes_are_failures, 0, (int)ARRAY_LEN(failures));
    tcase_add_loop_test(tcase, a_malformed_record_spoils_the_answer, 0, (int)ARRAY_LEN(malformed));
    tcase_add_loop_test(tcase, records_of_bytes_are_taken_as_they_are_or_spoil_the_answer, 0,
                        (int)ARRAY_LEN(records));
    suite_add_tcase(suite, tcase);
    return check_main(suite);
}
