#include "engine/smtp/command.h"

#include <signal.h>

#include "tests/support/check_main.h"

static struct buf out;

static void setup(void)
{
    out = BUF_EMPTY;
}

static void teardown(void)
{
    buf_free(&out);
}

static const struct {
    const char *sender;
    struct smtp_mail_parameters parameters;
    const char *line;
} mails[] = {
    { "", { 0 }, "MAIL FROM:<>\r\n" },
    { "a@b.example", { 0 }, "MAIL FROM:<a@b.example>\r\n" },
    { "a@b.example", { .size = 1 }, "MAIL FROM:<a@b.example> SIZE=1\r\n" },
    { "a@b.example",
      { .size = SIZE_MAX, .body_8bit = true, .smtputf8 = true },
      "MAIL FROM:<a@b.example> SIZE=18446744073709551615 BODY=8BITMIME SMTPUTF8\r\n" },
    { "a@b.example",
      { .size = 1, .body_8bit = true, .smtputf8 = true, .requiretls = true },
      "MAIL FROM:<a@b.example> SIZE=1 BODY=8BITMIME SMTPUTF8 REQUIRETLS\r\n" },
    { "\"a b\"@c.example", { .smtputf8 = true }, "MAIL FROM:<\"a b\"@c.example> SMTPUTF8\r\n" },
    { "\"a\\\"<>\"@c.example",
      { .body_8bit = true },
      "MAIL FROM:<\"a\\\"<>\"@c.example> BODY=8BITMIME\r\n" },
    { "gr\xc3\xbc\xc3\x9f@c.example", { 0 }, "MAIL FROM:<gr\xc3\xbc\xc3\x9f@c.example>\r\n" },
};

START_TEST(mail_names_the_sender_and_what_was_asked_for)
{
    smtp_command_mail(&out, slice_str(mails[_i].sender), &mails[_i].parameters);
    ck_assert_str_eq(buf_cstr(&out), mails[_i].line);
}
END_TEST

START_TEST(commands_are_appended_one_behind_the_other)
{
    smtp_command_hello(&out, SLICE("EHLO"), "mta.example");
    smtp_command_hello(&out, SLICE("HELO"), "[192.0.2.1]");
    smtp_command_rcpt(&out, SLICE("x@y.example"));
    smtp_command_bdat(&out, 0, true);
    smtp_command_bdat(&out, 4294967296, false);
    smtp_command_plain(&out, SLICE("DATA"));
    smtp_command_plain(&out, SLICE("."));
    ck_assert_str_eq(buf_cstr(&out),
                     "EHLO mta.example\r\nHELO [192.0.2.1]\r\nRCPT TO:<x@y.example>\r\n"
                     "BDAT 0 LAST\r\nBDAT 4294967296\r\nDATA\r\n.\r\n");
}
END_TEST

START_TEST(authentication_lines_are_base64)
{
    struct slice empty = SLICE(""), some = SLICE("\0a\0b");
    smtp_command_auth(&out, "LOGIN", NULL);
    smtp_command_auth(&out, "EXTERNAL", &empty);
    smtp_command_auth(&out, "PLAIN", &some);
    smtp_command_response(&out, empty);
    smtp_command_response(&out, some);
    ck_assert_str_eq(buf_cstr(&out), "AUTH LOGIN\r\nAUTH EXTERNAL =\r\nAUTH PLAIN AGEAYg==\r\n"
                                     "\r\nAGEAYg==\r\n");
}
END_TEST

static const struct {
    const char *bytes;
    size_t len;
} smuggled[] = {
    { "a@b\r\nDATA", 9 },  { "a@b\nx", 5 },      { "a@b\rx", 5 },  { "a\0b@c", 5 },
    { "a@b> SIZE=1", 11 }, { "<a@b", 4 },        { "a b@c", 5 },   { "\"a@b", 4 },
    { "\"a\r\"@b", 6 },    { "\"a\\\n\"@b", 7 }, { "a\x7f@b", 4 }, { "\"a\"b>@c", 7 },
};

/* Our bug, not the world's answer: it must not leave the process. */
START_TEST(an_address_that_would_smuggle_a_command_stops_the_process)
{
    smtp_command_rcpt(&out, slice_of(smuggled[_i].bytes, smuggled[_i].len));
}
END_TEST

START_TEST(a_host_name_that_would_smuggle_a_command_stops_the_process)
{
    smtp_command_hello(&out, SLICE("EHLO"), "mta.example\r\nMAIL");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("command");
    TCase *table = tcase_create("commands");
    tcase_set_timeout(table, 0);
    tcase_add_checked_fixture(table, setup, teardown);
    tcase_add_loop_test(table, mail_names_the_sender_and_what_was_asked_for, 0,
                        (int)ARRAY_LEN(mails));
    tcase_add_test(table, authentication_lines_are_base64);
    tcase_add_test(table, commands_are_appended_one_behind_the_other);
    tcase_add_loop_test_raise_signal(table,
                                     an_address_that_would_smuggle_a_command_stops_the_process,
                                     SIGABRT, 0, (int)ARRAY_LEN(smuggled));
    tcase_add_test_raise_signal(table, a_host_name_that_would_smuggle_a_command_stops_the_process,
                                SIGABRT);
    suite_add_tcase(suite, table);
    return check_main(suite);
}
