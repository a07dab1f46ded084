#include "engine/base/log.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "engine/base/utf8.h"
#include "tests/support/check_main.h"

static int pipe_fds[2];
static char line[32768];
static size_t line_len;

static void setup(void)
{
    ck_assert_int_eq(pipe(pipe_fds), 0);
}

static void teardown(void)
{
    close(pipe_fds[0]);
    close(pipe_fds[1]);
}

static void read_line(void)
{
    ssize_t n = read(pipe_fds[0], line, sizeof line - 1);
    ck_assert_int_gt(n, 0);
    line[n] = '\0';
    line_len = (size_t)n;
    ck_assert_int_eq(line[n - 1], '\n');
    for (ssize_t i = 0; i < n - 1; i++) /* one line, whatever was in it */
        ck_assert_msg((unsigned char)line[i] >= 0x20 && line[i] != 0x7f, "byte %02x", line[i]);
    ck_assert(utf8_valid(slice_of(line, line_len)));
}

static struct log log_to_pipe(enum log_format format)
{
    return (struct log){
        .fd = pipe_fds[1], .level = LOG_INFO, .format = format, .context = "worker=1"
    };
}

START_TEST(a_text_line_has_time_level_event_context_and_message)
{
    struct log log = log_to_pipe(LOG_TEXT);
    log_warn(&log, "redis-lost", "no answer from %s", "127.0.0.1");
    read_line();
    ck_assert_ptr_nonnull(strstr(line, "Z warn  redis-lost worker=1: no answer from 127.0.0.1\n"));
    ck_assert_int_eq(line[10], 'T');
}
END_TEST

START_TEST(a_json_line_has_the_same_fields)
{
    struct log log = log_to_pipe(LOG_JSON);
    log_error(&log, "redis-lost", "no \"answer\"");
    read_line();
    ck_assert_ptr_nonnull(
        strstr(line, "\"level\":\"error\",\"event\":\"redis-lost\",\"context\":\"worker=1\","
                     "\"message\":\"no \\\"answer\\\"\"}\n"));
}
END_TEST

START_TEST(what_is_below_the_level_is_not_written)
{
    struct log log = log_to_pipe(LOG_TEXT);
    log_debug(&log, "noise", "nothing");
    log_info(&log, "signal", "something");
    read_line();
    ck_assert_ptr_null(strstr(line, "noise"));
    ck_assert_ptr_nonnull(strstr(line, "signal"));
}
END_TEST

START_TEST(a_hostile_text_can_neither_forge_a_line_nor_reach_the_terminal)
{
    static const char hostile[] =
        "550 no\r\n2026-01-01T00:00:00.000Z info  forged: x\x1b[2J\x7f \x9b"
        "31m \xc2\x9b"
        "31m \xff \\x41 gr\xc3\xbc\xc3\x9f";
    struct log log = log_to_pipe(LOG_TEXT);
    log_info(&log, "reply", "%s", hostile);
    read_line();
    ck_assert_ptr_nonnull(strstr(line, "550 no\\x0d\\x0a2026"));
    ck_assert_ptr_nonnull(
        strstr(line, "x\\x1b[2J\\x7f \\x9b31m \\xc2\\x9b31m \\xff \\\\x41 gr\xc3\xbc\xc3\x9f"));
    log.format = LOG_JSON;
    log_info(&log, "reply", "%s", hostile);
    read_line();
    ck_assert_ptr_nonnull(strstr(line, "550 no\\u000d\\u000a2026"));
}
END_TEST

START_TEST(the_longest_message_is_cut_and_the_line_still_ends)
{
    static char text[5000], context[20000];
    memset(text, '\x01', sizeof text - 1);
    memset(context, '"', sizeof context - 1);
    for (int format = LOG_TEXT; format <= LOG_JSON; format++) {
        struct log log = log_to_pipe((enum log_format)format);
        log_info(&log, "long", "%s", text);
        read_line();
        ck_assert(format == LOG_TEXT || strstr(line, "\"}\n"));
        log.context = context; /* absurd, but no reason for half a line */
        log_info(&log, "long", "%s", text);
        read_line();
        ck_assert(format == LOG_TEXT || strstr(line, "\"}\n"));
    }
}
END_TEST

START_TEST(logging_leaves_errno_alone)
{
    struct log log = log_to_pipe(LOG_TEXT);
    log.fd = -1;
    errno = ENOENT;
    log_info(&log, "event", "text");
    ck_assert_int_eq(errno, ENOENT);
}
END_TEST

START_TEST(levels_are_known_by_name)
{
    enum log_level level = LOG_DEBUG;
    ck_assert(log_level_parse(SLICE("WARN"), &level));
    ck_assert_int_eq(level, LOG_WARN);
    ck_assert(!log_level_parse(SLICE("loud"), &level) && !log_level_parse(SLICE(""), &level));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("log");
    TCase *tcase = tcase_create("pipe");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 0);
    tcase_add_test(tcase, a_text_line_has_time_level_event_context_and_message);
    tcase_add_test(tcase, a_json_line_has_the_same_fields);
    tcase_add_test(tcase, what_is_below_the_level_is_not_written);
    tcase_add_test(tcase, a_hostile_text_can_neither_forge_a_line_nor_reach_the_terminal);
    tcase_add_test(tcase, the_longest_message_is_cut_and_the_line_still_ends);
    tcase_add_test(tcase, logging_leaves_errno_alone);
    tcase_add_test(tcase, levels_are_known_by_name);
    suite_add_tcase(suite, tcase);
    return check_main(suite);
}
