#include "dns/prefix.h"

#include <arpa/inet.h>

#include "tests/support/check_main.h"

static struct dns_prefix prefixes[DNS_PREFIX_DEFAULTS + 8];

static const struct dns_prefix *find(unsigned count, const char *text)
{
    union dns_answer_address address;
    int family = strchr(text, ':') ? AF_INET6 : AF_INET;
    ck_assert_int_eq(inet_pton(family, text, &address), 1);
    return dns_prefix_find(prefixes, count, family, &address);
}

static const char *const refused[] = {
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.0",
    "10.255.255.255",
    "100.64.0.1",
    "127.0.0.1",
    "127.255.255.255",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.8",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.7",
    "203.0.113.9",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:8.8.8.8",
    "::ffff:127.0.0.1",
    "64:ff9b::8.8.8.8",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "fc00::1",
    "fdff::1",
    "fe80::1",
    "fec0::1",
    "ff02::1",
    "5f00::1",
    "3fff::1",
};

START_TEST(the_default_ranges_hold_what_is_not_on_the_internet)
{
    unsigned count = dns_prefix_defaults(prefixes);
    ck_assert_msg(find(count, refused[_i]) != NULL, "%s", refused[_i]);
}
END_TEST

static const char *const allowed[] = {
    "1.1.1.1",         "8.8.8.8",         "9.255.255.255", "11.0.0.0",     "100.63.255.255",
    "100.128.0.0",     "126.255.255.255", "128.0.0.1",     "169.253.1.1",  "172.15.255.255",
    "172.32.0.0",      "192.0.1.1",       "192.0.3.0",     "192.167.1.1",  "198.17.255.255",
    "198.20.0.0",      "223.255.255.255", "2001:4860::1",  "2a00:1450::1", "2600::1",
    "2001:db7:ffff::", "2003::1",         "172.144.0.1",   "100.192.0.1",  "7c00::1",
    "2620:fe::fe",
};

START_TEST(they_hold_nothing_else)
{
    unsigned count = dns_prefix_defaults(prefixes);
    const struct dns_prefix *prefix = find(count, allowed[_i]);
    ck_assert_msg(prefix == NULL, "%s", allowed[_i]);
}
END_TEST

static const struct {
    const char *text;
    const char *error; /* NULL: good */
} texts[] = {
    { "10.0.0.0/8", NULL },
    { "10.1.2.3", NULL },
    { "0.0.0.0/0", NULL },
    { "fd00::/8", NULL },
    { "2001:db8::1/128", NULL },
    { "10.0.0.1/8", "\"10.0.0.1/8\" has bits set behind the first 8" },
    { "fd00::1/64", "\"fd00::1/64\" has bits set behind the first 64" },
    { "10.0.0.0/33",
      "\"10.0.0.0/33\" isn't an address or a prefix such as 10.0.0.0/8 or fd00::/8" },
    { "10.0.0/8", "\"10.0.0/8\" isn't an address or a prefix such as 10.0.0.0/8 or fd00::/8" },
    { "10.0.0.0/", "\"10.0.0.0/\" isn't an address or a prefix such as 10.0.0.0/8 or fd00::/8" },
    { "::/129", "\"::/129\" isn't an address or a prefix such as 10.0.0.0/8 or fd00::/8" },
    { "", "\"\" isn't an address or a prefix such as 10.0.0.0/8 or fd00::/8" },
    { "example.org",
      "\"example.org\" isn't an address or a prefix such as 10.0.0.0/8 or fd00::/8" },
};

START_TEST(a_prefix_is_read_or_explained)
{
    struct err err = { 0 };
    bool good = dns_prefix_parse(slice_str(texts[_i].text), &prefixes[0], &err);
    ck_assert_int_eq(good, texts[_i].error == NULL);
    if (!good)
        ck_assert_str_eq(err.text, texts[_i].error);
}
END_TEST

START_TEST(an_ipv4_address_in_ipv6_falls_under_the_ranges_of_both)
{
    struct err err;
    ck_assert(dns_prefix_parse(SLICE("203.0.113.0/24"), &prefixes[0], &err));
    ck_assert_ptr_eq(find(1, "::ffff:203.0.113.7"), &prefixes[0]);
    ck_assert_ptr_eq(find(1, "64:ff9b::203.0.113.7"), &prefixes[0]);
    ck_assert_ptr_null(find(1, "::ffff:203.0.114.7"));
    ck_assert_ptr_null(find(1, "2001:db8::203.0.113.7"));
}
END_TEST

START_TEST(the_loopback_address_is_one_of_our_own)
{
    unsigned count = dns_prefix_own(prefixes, ARRAY_LEN(prefixes));
    ck_assert_uint_gt(count, 0);
    ck_assert_ptr_nonnull(find(count, "127.0.0.1"));
    ck_assert_ptr_null(find(count, "8.8.8.8"));
    ck_assert_uint_eq(dns_prefix_own(prefixes, 1), 1);
}
END_TEST

int main(void)
{
    Suite *suite = SUITE_OF("prefix", an_ipv4_address_in_ipv6_falls_under_the_ranges_of_both,
                            the_loopback_address_is_one_of_our_own);
    TCase *tcase = tcase_create("tables");
    tcase_set_timeout(tcase, 0);
    tcase_add_loop_test(tcase, the_default_ranges_hold_what_is_not_on_the_internet, 0,
                        (int)ARRAY_LEN(refused));
    tcase_add_loop_test(tcase, they_hold_nothing_else, 0, (int)ARRAY_LEN(allowed));
    tcase_add_loop_test(tcase, a_prefix_is_read_or_explained, 0, (int)ARRAY_LEN(texts));
    suite_add_tcase(suite, tcase);
    return check_main(suite);
}
