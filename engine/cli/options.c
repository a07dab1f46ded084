/* Options from tables: one table parses a command's line and prints its help, so that the two can't
 * differ. */
#include <stdio.h>
#include <string.h>

#include "engine/cli/cli.h"

#define HELP_COLUMN 26

static void print_wrapped(const char *text)
{
    size_t column = HELP_COLUMN;
    struct slice rest = slice_str(text);
    while (rest.len > 0) {
        struct slice word = slice_cut(&rest, ' ');
        if (column > HELP_COLUMN && column + 1 + word.len > 96) {
            printf("\n%*s", HELP_COLUMN, "");
            column = HELP_COLUMN;
        } else if (column > HELP_COLUMN) {
            putchar(' ');
            column++;
        }
        printf("%.*s", SLICE_FMT(word));
        column += word.len;
    }
    putchar('\n');
}

static void print_option(const char *name, const char *argument, const char *help)
{
    char left[64];
    snprintf(left, sizeof left, "  --%s%s%s", name, argument ? " " : "", argument ? argument : "");
    printf("%-*s", HELP_COLUMN, left);
    if (strlen(left) >= HELP_COLUMN)
        printf("\n%*s", HELP_COLUMN, "");
    print_wrapped(help);
}

static void print_help(const struct cli_usage *usage)
{
    printf("%s\n\nusage: eilpost %s%s%s%s\n", usage->summary, usage->command,
           usage->option_count ? " [OPTION…]" : "", usage->operands ? " " : "",
           usage->operands ? usage->operands : "");
    printf("\noptions:\n");
    for (size_t i = 0; i < usage->option_count; i++)
        print_option(usage->options[i].name, usage->options[i].argument, usage->options[i].help);
    print_option("help", NULL, "Show this.");
    if (usage->notes)
        printf("\n%s", usage->notes);
    printf("\nexit codes: 0 done, 1 failed, 2 wrong usage, 3 wrong configuration, 4 wrong input, 5 "
           "Redis isn't\n"
           "there, 6 the system refused\n");
}

static bool parse_duration(struct slice text, int64_t *out)
{
    static const struct {
        char unit;
        int64_t seconds;
    } units[] = { { 's', 1 }, { 'm', 60 }, { 'h', 3600 }, { 'd', 86400 } };
    int64_t factor = 1;
    for (size_t i = 0; i < ARRAY_LEN(units) && text.len > 0; i++)
        if (text.ptr[text.len - 1] == units[i].unit) {
            factor = units[i].seconds;
            text.len--;
            break;
        }
    uint64_t number;
    if (!slice_to_u64(text, &number) || number == 0 || number > (uint64_t)(INT32_MAX / factor))
        return false;
    *out = (int64_t)number * factor;
    return true;
}

static bool set_value(const struct cli_option *option, const char *value, struct err *err)
{
    switch (option->kind) {
    case CLI_FLAG:
        *(bool *)option->target = true;
        return true;
    case CLI_TEXT:
        *(const char **)option->target = value;
        return true;
    case CLI_TEXTS: {
        struct cli_texts *texts = option->target;
        if (texts->count == ARRAY_LEN(texts->items))
            return err_set(err, ERR_USAGE, "--%s is given too often", option->name);
        texts->items[texts->count++] = value;
        return true;
    }
    case CLI_COUNT:
        if (!slice_to_u64(slice_str(value), option->target))
            return err_set(err, ERR_USAGE, "--%s is '%s', must be a whole number", option->name,
                           value);
        return true;
    case CLI_DURATION:
        if (!parse_duration(slice_str(value), option->target))
            return err_set(err, ERR_USAGE,
                           "--%s is '%s', must be a time such as 90s, 15m, 4h or 2d", option->name,
                           value);
        return true;
    }
    return false;
}

static const struct cli_option *find_option(const struct cli_usage *usage, struct slice name)
{
    for (size_t i = 0; i < usage->option_count; i++)
        if (slice_eq(name, slice_str(usage->options[i].name)))
            return &usage->options[i];
    return NULL;
}

/** Takes the option at argv[*at], with its value; advances *at. `given` gets its bit. */
static bool take_option(const struct cli_usage *usage, int argc, char **argv, int *at,
                        uint64_t *given, struct err *err)
{
    struct slice value = slice_str(argv[(*at)++] + 2);
    bool has_value = slice_find(value, '=') >= 0;
    struct slice name = slice_cut(&value, '=');
    const struct cli_option *option = find_option(usage, name);
    if (!option)
        return err_set(err, ERR_USAGE, "unknown option --%.*s", SLICE_FMT(name));
    uint64_t bit = UINT64_C(1) << (option - usage->options);
    if (*given & bit && option->kind != CLI_TEXTS)
        return err_set(err, ERR_USAGE, "--%s is given twice", option->name);
    *given |= bit;
    if (option->kind == CLI_FLAG)
        return has_value ? err_set(err, ERR_USAGE, "--%s takes no value", option->name)
                         : set_value(option, NULL, err);
    if (has_value)
        return set_value(option, value.ptr, err);
    if (*at == argc)
        return err_set(err, ERR_USAGE, "--%s needs a value", option->name);
    return set_value(option, argv[(*at)++], err);
}

static bool parse_line(const struct cli_usage *usage, int argc, char **argv,
                       unsigned *operand_count, bool *help, struct err *err)
{
    assert(usage->option_count <= 64);
    uint64_t given = 0;
    bool only_operands = false;
    *operand_count = 0;
    for (int at = 1; at < argc;) {
        const char *word = argv[at];
        if (!only_operands && strcmp(word, "--") == 0) {
            only_operands = true;
            at++;
        } else if (!only_operands && (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)) {
            *help = true;
            return true;
        } else if (!only_operands && strncmp(word, "--", 2) == 0) {
            if (!take_option(usage, argc, argv, &at, &given, err))
                return false;
        } else if (!only_operands && word[0] == '-' && word[1]) {
            return err_set(err, ERR_USAGE, "unknown option %s", word);
        } else if (!usage->operands) {
            return err_set(err, ERR_USAGE, "what is '%s' for? This command takes options only",
                           word);
        } else {
            argv[1 + (*operand_count)++] = argv[at++];
        }
    }
    for (size_t i = 0; i < usage->option_count; i++)
        if (usage->options[i].required && !(given >> i & 1))
            return err_set(err, ERR_USAGE, "--%s is missing", usage->options[i].name);
    return true;
}

enum cli_parsed cli_parse(const struct cli_usage *usage, int argc, char **argv,
                          unsigned *operand_count)
{
    struct err err = { 0 };
    bool help = false;
    if (!parse_line(usage, argc, argv, operand_count, &help, &err)) {
        fprintf(stderr, "eilpost %s: %s (see eilpost %s --help)\n", usage->command, err.text,
                usage->command);
        return CLI_PARSE_FAILED;
    }
    if (help)
        print_help(usage);
    return help ? CLI_HELP_SHOWN : CLI_PARSED;
}
