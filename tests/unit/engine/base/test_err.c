#include "engine/base/err.h"

#include <errno.h>
#include <string.h>

#include "tests/support/check_main.h"

START_TEST(setting_an_error_returns_false_and_needs_no_place)
{
    struct err err = { 0 };
    ck_assert(!err_set(&err, ERR_PROTO, "reply %d", 7));
    ck_assert_int_eq(err.kind, ERR_PROTO);
    ck_assert_str_eq(err.text, "reply 7");
    ck_assert(!err_set(NULL, ERR_PROTO, "reply %d", 7));
    ck_assert(!err_system(NULL, EACCES, "x"));
    ck_assert(!err_prefix(NULL, "x"));
}
END_TEST

START_TEST(a_system_error_says_what_and_why)
{
    struct err err = { 0 };
    ck_assert(!err_system(&err, ENOENT, "open %s", "a.yaml"));
    ck_assert_int_eq(err.kind, ERR_SYSTEM);
    ck_assert_str_eq(err.text, "open a.yaml: No such file or directory");
}
END_TEST

START_TEST(prefixes_add_up_from_the_inside_out)
{
    struct err err = { 0 };
    err_set(&err, ERR_INPUT, "bad address");
    ck_assert(!err_prefix(&err, "row %d", 3));
    ck_assert(!err_prefix(&err, "list.csv"));
    ck_assert_int_eq(err.kind, ERR_INPUT);
    ck_assert_str_eq(err.text, "list.csv: row 3: bad address");
}
END_TEST

START_TEST(long_texts_are_cut_at_the_end)
{
    struct err err = { 0 };
    char text[1000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    err_set(&err, ERR_INPUT, "%s", text);
    ck_assert_uint_eq(strlen(err.text), sizeof err.text - 1);
    err_prefix(&err, "%s", "file");
    ck_assert_int_eq(strncmp(err.text, "file: xxx", 9), 0);
    ck_assert_uint_eq(strlen(err.text), sizeof err.text - 1);
    err_prefix(&err, "%s", text);
    ck_assert_uint_eq(strlen(err.text), sizeof err.text - 1);
    err_system(&err, ENOENT, "%s", text);
    ck_assert_uint_eq(strlen(err.text), sizeof err.text - 1);
}
END_TEST

int main(void)
{
    return check_main(SUITE_OF("err", setting_an_error_returns_false_and_needs_no_place,
                               a_system_error_says_what_and_why,
                               prefixes_add_up_from_the_inside_out, long_texts_are_cut_at_the_end));
}
