#include "dns/servers.h"

#include <arpa/inet.h>

#include "tests/support/check_main.h"

static const struct {
    const char *text;
    unsigned count;
    int family, port; /* of the last */
} lists[] = {
    { "127.0.0.1", 1, AF_INET, 53 },
    { "127.0.0.1:5353", 1, AF_INET, 5353 },
    { "::1", 1, AF_INET6, 53 },
    { "[::1]", 1, AF_INET6, 53 },
    { "[::1]:65535", 1, AF_INET6, 65535 },
    { " 127.0.0.1:5353 , [::1]:54 ", 2, AF_INET6, 54 },
    { "127.0.0.1,127.0.0.2,127.0.0.3:1", 3, AF_INET, 1 },
    { "localhost", 0, 0, 0 },
    { "127.0.0.1:", 0, 0, 0 },
    { "127.0.0.1:0", 0, 0, 0 },
    { "127.0.0.1:65536", 0, 0, 0 },
    { "127.0.0.1:dns", 0, 0, 0 },
    { "127.0.0.256", 0, 0, 0 },
    { "127.0.0.1,", 1, AF_INET, 53 },
    { "127.0.0.1,,::1", 0, 0, 0 },
    { "[::1", 0, 0, 0 },
    { "[::1]x", 0, 0, 0 },
    { "[::1]:", 0, 0, 0 },
    { "1,2", 0, 0, 0 },
    { "::1,::1,::1,::1,::1,::1,::1,::1", 8, AF_INET6, 53 },
    { "::1,::1,::1,::1,::1,::1,::1,::1,::1", 0, 0, 0 },
    { "12345678901234567890123456789012345678901234567890", 0, 0, 0 },
};

START_TEST(each_list_is_read_whole_or_refused)
{
    struct dns_servers servers;
    struct err err = { 0 };
    bool ok = dns_servers_read(lists[_i].text, &servers, &err);
    ck_assert_msg(ok == (lists[_i].count > 0), "%s", lists[_i].text);
    if (!ok) {
        ck_assert_int_eq(err.kind, ERR_CONFIG);
        ck_assert_str_ne(err.text, "");
        return;
    }
    ck_assert_uint_eq(servers.count, lists[_i].count);
    ck_assert_int_eq(servers.list[servers.count - 1].family, lists[_i].family);
    ck_assert_int_eq(servers.list[servers.count - 1].udp_port, lists[_i].port);
    ck_assert_int_eq(servers.list[servers.count - 1].tcp_port, lists[_i].port);
}
END_TEST

START_TEST(without_a_list_the_systems_servers_are_taken)
{
    struct dns_servers servers;
    struct err err = { 0 };
    ck_assert_msg(dns_servers_read(NULL, &servers, &err), "%s", err.text);
    ck_assert_uint_ge(servers.count, 1);
    ck_assert_msg(dns_servers_read("", &servers, &err), "%s", err.text);
    ck_assert_uint_ge(servers.count, 1);
}
END_TEST

int main(void)
{
    Suite *suite = SUITE_OF("servers", without_a_list_the_systems_servers_are_taken);
    TCase *tcase = tcase_create("table");
    tcase_set_timeout(tcase, 0);
    tcase_add_loop_test(tcase, each_list_is_read_whole_or_refused, 0, (int)ARRAY_LEN(lists));
    suite_add_tcase(suite, tcase);
    return check_main(suite);
}
