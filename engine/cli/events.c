/* eilpost events: the events streams as JSON lines, for pipes. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "engine/base/buf.h"
#include "engine/cli/cli.h"
#include "queue/producer.h"

#define WAIT_MS 500

struct printer {
    const char *submission; /* NULL: all */
    uint64_t seen;          /* in the round at hand */
};

static void print_event(void *user, struct slice json)
{
    struct printer *printer = user;
    printer->seen++;
    if (printer->submission) {
        char mark[64];
        int n = snprintf(mark, sizeof mark, "\"submission\":\"%s\"", printer->submission);
        if (!memmem(json.ptr, json.len, mark, (size_t)n))
            return;
    }
    fwrite(json.ptr, 1, json.len, stdout);
    putchar('\n');
}

static bool interrupted(int signals)
{
    struct pollfd wait = { .fd = signals, .events = POLLIN };
    return poll(&wait, 1, 0) == 1;
}

static bool print_events(struct producer *producer, struct printer *printer, bool follow,
                         bool only_new, int signals, struct err *err)
{
    for (bool from_start = !only_new; !interrupted(signals); from_start = false) {
        printer->seen = 0;
        if (!producer_events(producer, from_start, follow ? WAIT_MS : 0, print_event, printer, err))
            return false;
        if (fflush(stdout) != 0) /* the reader of the pipe has gone: that's all right */
            return errno == EPIPE || err_system(err, errno, "can't write");
        if (!follow && printer->seen == 0)
            return true;
    }
    return true;
}

int command_events(int argc, char **argv)
{
    const char *path = NULL, *submission = NULL;
    bool follow = false, only_new = false;
    const struct cli_option options[] = {
        { "config", "FILE", "The configuration; without it /etc/eilpost/eilpost.yaml.", CLI_TEXT,
          &path, false },
        { "follow", NULL, "Go on with new events until interrupted.", CLI_FLAG, &follow, false },
        { "new", NULL, "Only events from now on; implies --follow.", CLI_FLAG, &only_new, false },
        { "submission", "ID", "Only those of this submission.", CLI_TEXT, &submission, false },
    };
    const struct cli_usage usage = {
        .command = "events",
        .summary = "Prints the events that are kept, one JSON object per line, oldest first.",
        .notes = "The order is exact for each destination domain. How many are kept is "
                 "queue.events_max.\n\n"
                 "example:\n  eilpost events --config eilpost.yaml --follow | jq 'select(.type == "
                 "\"bounced\")'\n",
        .options = options,
        .option_count = ARRAY_LEN(options),
    };
    unsigned operands;
    enum cli_parsed parsed = cli_parse(&usage, argc, argv, &operands);
    if (parsed != CLI_PARSED)
        return parsed == CLI_HELP_SHOWN ? CLI_OK : CLI_USAGE;
    if (submission && strlen(submission) > 38) {
        struct err err;
        err_set(&err, ERR_USAGE, "'%s' isn't a submission's id", submission);
        return cli_fail("events", &err);
    }

    sigset_t stop;
    sigemptyset(&stop);
    sigaddset(&stop, SIGINT);
    sigaddset(&stop, SIGTERM);
    sigprocmask(SIG_BLOCK, &stop, NULL);
    signal(SIGPIPE, SIG_IGN);
    int signals = signalfd(-1, &stop, SFD_CLOEXEC);

    struct config config;
    struct producer *producer = NULL;
    struct printer printer = { .submission = submission };
    struct err err = { 0 };
    if (!cli_config_load(path, &config, &err))
        return cli_fail("events", &err);
    bool good = cli_producer_open(&producer, &config, &err) &&
                print_events(producer, &printer, follow || only_new, only_new, signals, &err);
    if (producer)
        producer_close(&producer);
    config_free(&config);
    close(signals);
    return good ? CLI_OK : cli_fail("events", &err);
}
