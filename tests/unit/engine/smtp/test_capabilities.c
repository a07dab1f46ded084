#include "engine/smtp/capabilities.h"

#include "tests/support/check_main.h"

static const struct {
    const char *line;
    unsigned offered;
    uint64_t limit;
} lines[] = {
    { "PIPELINING", SMTP_CAP_PIPELINING, 0 },
    { "pipelining", SMTP_CAP_PIPELINING, 0 },
    { "  ChunKing  ", SMTP_CAP_CHUNKING, 0 },
    { "8BITMIME", SMTP_CAP_8BITMIME, 0 },
    { "SMTPUTF8", SMTP_CAP_SMTPUTF8, 0 },
    { "STARTTLS", SMTP_CAP_STARTTLS, 0 },
    { "ENHANCEDSTATUSCODES", SMTP_CAP_ENHANCEDSTATUSCODES, 0 },
    { "DSN", SMTP_CAP_DSN, 0 },
    { "BINARYMIME", SMTP_CAP_BINARYMIME, 0 },
    { "REQUIRETLS", SMTP_CAP_REQUIRETLS, 0 },
    { "AUTH PLAIN LOGIN", SMTP_CAP_AUTH, 0 },
    { "AUTH=PLAIN LOGIN", SMTP_CAP_AUTH, 0 },
    { "AUTH", SMTP_CAP_AUTH, 0 },
    { "AUTHX PLAIN", 0, 0 },
    { "SIZE", SMTP_CAP_SIZE, 0 },
    { "SIZE 0", SMTP_CAP_SIZE, 0 },
    { "SIZE 1000", SMTP_CAP_SIZE, 1000 },
    { "size   1000  ", SMTP_CAP_SIZE, 1000 },
    { "SIZE 18446744073709551615", SMTP_CAP_SIZE, UINT64_MAX },
    { "SIZE 18446744073709551616", SMTP_CAP_SIZE, 0 },
    { "SIZE 99999999999999999999999999999999999999", SMTP_CAP_SIZE, 0 },
    { "SIZE -1", SMTP_CAP_SIZE, 0 },
    { "SIZE many", SMTP_CAP_SIZE, 0 },
    { "SIZE 10 20", SMTP_CAP_SIZE, 0 },
    { "PIPELINING2", 0, 0 },
    { "PIPE", 0, 0 },
    { "X-PIPELINING", 0, 0 },
    { "XCLIENT NAME ADDR", 0, 0 },
    { "", 0, 0 },
    { "   ", 0, 0 },
    { "\x01\xff", 0, 0 },
};

START_TEST(each_keyword_is_known_by_its_name)
{
    struct smtp_capabilities capabilities = { 0 };
    smtp_capabilities_add(&capabilities, slice_str(lines[_i].line));
    ck_assert_msg(capabilities.offered == lines[_i].offered, "%s", lines[_i].line);
    ck_assert_msg(capabilities.size_limit == lines[_i].limit, "%s", lines[_i].line);
}
END_TEST

START_TEST(the_smallest_of_several_size_limits_counts)
{
    struct smtp_capabilities capabilities = { 0 };
    smtp_capabilities_add(&capabilities, SLICE("SIZE 2000"));
    smtp_capabilities_add(&capabilities, SLICE("SIZE"));
    smtp_capabilities_add(&capabilities, SLICE("SIZE 1000"));
    smtp_capabilities_add(&capabilities, SLICE("SIZE 3000"));
    ck_assert_uint_eq(capabilities.size_limit, 1000);
}
END_TEST

START_TEST(the_mechanisms_of_all_auth_lines_count)
{
    struct smtp_capabilities capabilities = { 0 };
    smtp_capabilities_add(&capabilities, SLICE("AUTH  gssapi plain"));
    smtp_capabilities_add(&capabilities, SLICE("auth=Login"));
    smtp_capabilities_add(&capabilities, SLICE("XAUTH SCRAM-SHA-256"));
    ck_assert_uint_eq(capabilities.mechanisms, SASL_SET(SASL_PLAIN) | SASL_SET(SASL_LOGIN));
}
END_TEST

START_TEST(a_million_keywords_take_no_memory)
{
    struct smtp_capabilities capabilities = { 0 };
    for (unsigned i = 0; i < 1000000; i++)
        smtp_capabilities_add(&capabilities, i % 2 ? SLICE("XUNKNOWN parameter") : SLICE("DSN"));
    ck_assert_uint_eq(capabilities.offered, SMTP_CAP_DSN);
}
END_TEST

int main(void)
{
    Suite *suite =
        SUITE_OF("capabilities", the_smallest_of_several_size_limits_counts,
                 the_mechanisms_of_all_auth_lines_count, a_million_keywords_take_no_memory);
    TCase *table = tcase_create("keywords");
    tcase_set_timeout(table, 0);
    tcase_add_loop_test(table, each_keyword_is_known_by_its_name, 0, (int)ARRAY_LEN(lines));
    suite_add_tcase(suite, table);
    return check_main(suite);
}
