#include "bench/sink/endpoint.h"

#include "tests/support/check_main.h"

static const struct {
    const char *text;
    size_t count; /* 0: refused */
    uint16_t port;
} lists[] = {
    { "127.0.0.1:25", 1, 25 },
    { "127.0.0.1-127.0.0.200:2525", 200, 2525 },
    { "127.0.0.250-127.0.1.5:0", 12, 0 },
    { "127.0.0.1:25, [::1]:25,127.1.2.3-127.1.2.3:25", 3, 25 },
    { "", 0, 0 },
    { "127.0.0.1", 0, 0 },
    { "127.0.0.1:65536", 0, 0 },
    { "127.0.0.2-127.0.0.1:25", 0, 0 },
    { "127.0.0.1-127.1.0.1:25", 0, 0 },
    { "192.0.2.1:25", 0, 0 },
    { "[2001:db8::1]:25", 0, 0 },
    { "localhost:25", 0, 0 },
    { "127.0.0.1:25,x:25", 0, 0 },
};

START_TEST(address_lists_are_read_and_only_loopback_is_taken)
{
    struct endpoints endpoints = { 0 };
    struct err err;
    bool parsed = endpoints_parse(slice_str(lists[_i].text), &endpoints, &err);
    ck_assert_int_eq(parsed, lists[_i].count > 0);
    ck_assert_uint_eq(endpoints.count, lists[_i].count);
    if (parsed)
        ck_assert_uint_eq(endpoint_port(&endpoints.items[endpoints.count - 1]), lists[_i].port);
    endpoints_free(&endpoints);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("endpoint");
    TCase *lists_case = tcase_create("lists");
    tcase_set_timeout(lists_case, 0);
    tcase_add_loop_test(lists_case, address_lists_are_read_and_only_loopback_is_taken, 0,
                        (int)ARRAY_LEN(lists));
    suite_add_tcase(suite, lists_case);
    return check_main(suite);
}
