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
#include "queue/url.h"

#define WAIT_MS 500
#define RECONNECT_MS 200

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

static bool interrupted(int signals, int wait_ms)
{
    struct pollfd wait = { .fd = signals, .events = POLLIN };
    return poll(&wait, 1, wait_ms) == 1;
}

/** A follower outlives its Redis: tries until it's back, and goes on where it was. False when
 * interrupted. */
static bool reconnect(struct producer *producer, const char *url, int signals,
                      const struct err *why)
{
    struct err err;
    fprintf(stderr, "eilpost events: %s; waiting for it\n", why->text);
    while (!interrupted(signals, RECONNECT_MS))
        if (producer_reopen(producer, url, &err)) {
            fprintf(stderr, "eilpost events: connected again\n");
            return true;
        }
    return false;
}

struct reading {
    struct producer *producer;
    const char *url;
    bool follow, only_new;
    int signals;
};

static bool print_events(struct reading *reading, struct printer *printer, struct err *err)
{
    bool from_start = !reading->only_new;
    while (!interrupted(reading->signals, 0)) {
        printer->seen = 0;
        int wait_ms = reading->follow ? WAIT_MS : 0;
        bool good =
            producer_events(reading->producer, from_start, wait_ms, print_event, printer, err);
        if (fflush(stdout) != 0) /* the reader of the pipe has gone: that's all right */
            return errno == EPIPE || err_system(err, errno, "can't write");
        if (!good && (!reading->follow || err->kind != ERR_REDIS))
            return false;
        if (!good && !reconnect(reading->producer, reading->url, reading->signals, err))
            return true;
        if (good && !reading->follow && printer->seen == 0)
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
        { "follow", NULL, "Go on with new events until interrupted, even when Redis restarts.",
          CLI_FLAG, &follow, false },
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
    char url[REDIS_URL_BYTES];
    struct printer printer = { .submission = submission };
    struct reading reading = {
        .url = url, .follow = follow || only_new, .only_new = only_new, .signals = signals
    };
    struct err err = { 0 };
    if (!cli_config_load(path, &config, &err))
        return cli_fail("events", &err);
    bool good = cli_producer_open(&reading.producer, &config, &err) &&
                cli_redis_url(&config, url, sizeof url, &err) &&
                print_events(&reading, &printer, &err);
    if (reading.producer)
        producer_close(&reading.producer);
    config_free(&config);
    close(signals);
    return good ? CLI_OK : cli_fail("events", &err);
}
