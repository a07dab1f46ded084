/* Command lines: what is taken, what is refused. */
#include "engine/cli/cli.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/support/check_main.h"

struct line {
    bool flag;
    const char *text;
    uint64_t count;
    int64_t duration_s;
    struct cli_texts texts;
    unsigned operands;
    char *argv[16];
};

/** Parses words; what is printed goes nowhere. */
static enum cli_parsed parse(struct line *line, const char *operands, const char *const *words)
{
    const struct cli_option options[] = {
        { "flag", NULL, "A flag.", CLI_FLAG, &line->flag, false },
        { "text", "TEXT", "A text.", CLI_TEXT, &line->text, false },
        { "count", "N", "A number.", CLI_COUNT, &line->count, false },
        { "time", "TIME", "A duration.", CLI_DURATION, &line->duration_s, false },
        { "set", "NAME=VALUE", "Several.", CLI_TEXTS, &line->texts, false },
        { "must", "TEXT", "Required.", CLI_TEXT, &(const char *){ NULL }, true },
    };
    const struct cli_usage usage = { .command = "test",
                                     .operands = operands,
                                     .summary = "Test.",
                                     .options = options,
                                     .option_count = ARRAY_LEN(options) };
    int argc = 0;
    line->argv[argc++] = (char *)(uintptr_t)"test";
    for (; *words; words++)
        line->argv[argc++] = (char *)(uintptr_t)*words;
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC), out = dup(1), err = dup(2);
    dup2(null, 1);
    dup2(null, 2);
    enum cli_parsed parsed = cli_parse(&usage, argc, line->argv, &line->operands);
    fflush(stdout);
    dup2(out, 1);
    dup2(err, 2);
    close(null);
    close(out);
    close(err);
    return parsed;
}

#define WORDS(...) ((const char *const[]){ __VA_ARGS__, NULL })

START_TEST(values_come_behind_a_blank_or_an_equals_sign)
{
    struct line line = { 0 };
    ck_assert_int_eq(
        parse(&line, NULL,
              WORDS("--text", "a=b", "--must=x", "--flag", "--count=12", "--time", "2h")),
        CLI_PARSED);
    ck_assert(line.flag);
    ck_assert_str_eq(line.text, "a=b");
    ck_assert_uint_eq(line.count, 12);
    ck_assert_int_eq(line.duration_s, 7200);
}
END_TEST

START_TEST(repeatable_options_keep_their_order)
{
    struct line line = { 0 };
    ck_assert_int_eq(parse(&line, NULL, WORDS("--set", "a=1", "--must", "x", "--set=b=2")),
                     CLI_PARSED);
    ck_assert_uint_eq(line.texts.count, 2);
    ck_assert_str_eq(line.texts.items[0], "a=1");
    ck_assert_str_eq(line.texts.items[1], "b=2");
}
END_TEST

START_TEST(operands_are_moved_to_the_front)
{
    struct line line = { 0 };
    ck_assert_int_eq(parse(&line, "[X…]", WORDS("one", "--must", "x", "-", "--", "--flag")),
                     CLI_PARSED);
    ck_assert_uint_eq(line.operands, 3);
    ck_assert_str_eq(line.argv[1], "one");
    ck_assert_str_eq(line.argv[2], "-");
    ck_assert_str_eq(line.argv[3], "--flag");
    ck_assert(!line.flag);
}
END_TEST

START_TEST(help_wins_over_what_is_missing)
{
    struct line line = { 0 };
    ck_assert_int_eq(parse(&line, NULL, WORDS("--flag", "--help")), CLI_HELP_SHOWN);
}
END_TEST

static const char *const *const wrong_lines[] = {
    WORDS("--flag"),                              /* --must is missing */
    WORDS("--must"),                              /* without a value */
    WORDS("--must", "x", "--flagg"),              /* unknown */
    WORDS("--must", "x", "-f"),                   /* unknown */
    WORDS("--must", "x", "--flag=yes"),           /* a flag takes no value */
    WORDS("--must", "x", "--must", "y"),          /* twice */
    WORDS("--must", "x", "stray"),                /* no operands are taken */
    WORDS("--must", "x", "--count", "1x"),        /* not a number */
    WORDS("--must", "x", "--count", ""),          /* not a number */
    WORDS("--must", "x", "--time", "0"),          /* no time at all */
    WORDS("--must", "x", "--time", "5y"),         /* not a unit */
    WORDS("--must", "x", "--time", "9999999999d") /* too long */
};

START_TEST(wrong_lines_are_refused)
{
    struct line line = { 0 };
    ck_assert_int_eq(parse(&line, NULL, wrong_lines[_i]), CLI_PARSE_FAILED);
}
END_TEST

START_TEST(thousands_are_grouped)
{
    char out[28];
    ck_assert_str_eq(cli_thousands(0, out), "0");
    ck_assert_str_eq(cli_thousands(999, out), "999");
    ck_assert_str_eq(cli_thousands(1000, out), "1,000");
    ck_assert_str_eq(cli_thousands(UINT64_MAX, out), "18,446,744,073,709,551,615");
}
END_TEST

int main(void)
{
    Suite *suite = SUITE_OF("options", values_come_behind_a_blank_or_an_equals_sign,
                            repeatable_options_keep_their_order, operands_are_moved_to_the_front,
                            help_wins_over_what_is_missing, thousands_are_grouped);
    TCase *table = tcase_create("wrong lines");
    tcase_set_timeout(table, 0);
    tcase_add_loop_test(table, wrong_lines_are_refused, 0, ARRAY_LEN(wrong_lines));
    suite_add_tcase(suite, table);
    return check_main(suite);
}
