/* eilpost run: the engine in the foreground, for a service manager. */
#include <stdio.h>
#include <unistd.h>

#include "engine/app/app.h"
#include "engine/cli/cli.h"

static void warn_setting(void *user, const char *text)
{
    log_warn((const struct log *)user, "config", "%s", text);
}

static bool choose_io(const char *name, enum ring_body *out, struct err *err)
{
    if (strcmp(name, "auto") == 0)
        *out = RING_BODY_AUTO;
    else if (strcmp(name, "io_uring") == 0)
        *out = RING_BODY_URING;
    else if (strcmp(name, "epoll") == 0)
        *out = RING_BODY_EPOLL;
    else
        return err_set(err, ERR_USAGE, "--io is '%s', must be auto, io_uring or epoll", name);
    return true;
}

int command_run(int argc, char **argv)
{
    const char *path = NULL, *io = NULL;
    const struct cli_option options[] = {
        { "config", "FILE", "The configuration; without it /etc/eilpost/eilpost.yaml.", CLI_TEXT,
          &path, false },
        { "io", "BODY", "auto, io_uring or epoll, in place of the file's `io`.", CLI_TEXT, &io,
          false },
    };
    const struct cli_usage usage = {
        .command = "run",
        .summary = "Runs the engine in the foreground until SIGTERM or SIGINT.",
        .notes = "It logs to stderr. On a signal it takes no new work, waits for open transactions "
                 "(at most\n"
                 "30 s), and records them.\n\n"
                 "example:\n  eilpost run --config /etc/eilpost/eilpost.yaml\n",
        .options = options,
        .option_count = ARRAY_LEN(options),
    };
    unsigned operands;
    enum cli_parsed parsed = cli_parse(&usage, argc, argv, &operands);
    if (parsed != CLI_PARSED)
        return parsed == CLI_HELP_SHOWN ? CLI_OK : CLI_USAGE;

    struct config config;
    struct err err = { 0 };
    if (!cli_config_load(path, &config, &err))
        return cli_fail("run", &err);
    bool good = !io || choose_io(io, &config.io, &err);
    if (good) {
        struct log log = { .fd = STDERR_FILENO,
                           .level = config.log.level,
                           .format = config.log.format };
        config_lint(&config, warn_setting, &log);
        good = app_run(&config, &log, &err);
    }
    config_free(&config);
    return good ? CLI_OK : cli_fail("run", &err);
}
