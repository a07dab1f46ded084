/* eilpost check-config: tells whether a file is right, and what the settings are. */
#include <stdio.h>

#include "engine/cli/cli.h"

static void print_config(const struct config *config)
{
    struct buf text = BUF_EMPTY;
    config_dump(config, &text);
    fwrite(text.data, 1, text.len, stdout);
    buf_free(&text);
}

static void warn_setting(void *user, const char *text)
{
    fprintf(stderr, "%s: warning: %s\n", (const char *)user, text);
}

int command_check_config(int argc, char **argv)
{
    const char *path = NULL;
    bool defaults = false, print = false;
    const struct cli_option options[] = {
        { "config", "FILE", "The file; without it /etc/eilpost/eilpost.yaml.", CLI_TEXT, &path,
          false },
        { "print", NULL, "Print all settings as they would be in effect.", CLI_FLAG, &print,
          false },
        { "defaults", NULL,
          "Print all settings with their defaults and what they mean; reads no file.", CLI_FLAG,
          &defaults, false },
    };
    const struct cli_usage usage = {
        .command = "check-config",
        .summary = "Checks a configuration file: unknown keys, wrong values, and what is probably "
                   "not meant.",
        .notes = "A mistake is one line on stderr with file, line and key, and exit code 3. "
                 "Warnings don't\n"
                 "change the exit code.\n\n"
                 "examples:\n  eilpost check-config --config eilpost.yaml\n"
                 "  eilpost check-config --defaults > eilpost.yaml\n",
        .options = options,
        .option_count = ARRAY_LEN(options),
    };
    unsigned operands;
    enum cli_parsed parsed = cli_parse(&usage, argc, argv, &operands);
    if (parsed != CLI_PARSED)
        return parsed == CLI_HELP_SHOWN ? CLI_OK : CLI_USAGE;

    struct config config;
    struct err err = { 0 };
    if (defaults) {
        config_defaults(&config);
        print_config(&config);
        config_free(&config);
        return CLI_OK;
    }
    if (!cli_config_load(path, &config, &err))
        return cli_fail("check-config", &err);
    config_lint(&config, warn_setting, (void *)(uintptr_t)config.path);
    if (print)
        print_config(&config);
    else
        printf("%s: ok\n", config.path);
    config_free(&config);
    return CLI_OK;
}
