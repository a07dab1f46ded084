/* eilpost demo: the main job, from a recipient list to mail servers, on one machine, with
 * everything it needs; and a judgement whether it went as it should. The engine under it is the
 * ordinary one, started as an operator would. */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "engine/cli/campaign.h"
#include "engine/cli/cli.h"
#include "engine/cli/demo_show.h"
#include "engine/cli/demo_verdict.h"
#include "engine/cli/demo_world.h"
#include "engine/cli/stats_client.h"
#include "queue/producer.h"

#define RECIPIENTS_DEFAULT 20000
#define FROM "bounces@news.demo.example"
#define POLL_MS 200
#define STALL_S 120 /* without any outcome: something is stuck */
#define EVENT_WAIT_MS 200

struct demo {
    const char *io, *files;
    uint64_t recipients;
    bool stay;
    int signals;
    struct demo_world world;
    struct demo_verdict verdict;
    struct campaign_content content;
    struct campaign campaign;
    struct producer *producer;
    struct demo_progress progress;
    char submission[25];
    double seconds; /* of the campaign */
    json_t *stats;  /* after it */
};

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/** True when Ctrl-C came; else after `ms`. */
static bool interrupted(const struct demo *demo, int ms)
{
    struct pollfd wait = { .fd = demo->signals, .events = POLLIN };
    return poll(&wait, 1, ms) == 1;
}

/* ---- the campaign ---- */

/** The folder of the campaign's files: in the source tree beside the build, or where they were
 * installed. */
static bool find_files(char *out, size_t room, const char *given, struct err *err)
{
    static const char *const places[] = { "../../deploy/demo", "../share/eilpost/demo" };
    char program[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    program[n > 0 ? n : 0] = '\0';
    char *slash = strrchr(program, '/');
    if (slash)
        *slash = '\0';
    for (size_t i = 0; i <= ARRAY_LEN(places); i++) {
        char list[PATH_MAX + 64];
        if (i == 0)
            snprintf(out, room, "%s", given ? given : "deploy/demo");
        else
            snprintf(out, room, "%.3900s/%s", program, places[i - 1]);
        snprintf(list, sizeof list, "%.4000s/recipients.csv", out);
        if (access(list, R_OK) == 0)
            return true;
        if (given)
            return err_set(err, ERR_USAGE, "there is no recipients.csv in %s", given);
    }
    return err_set(err, ERR_USAGE,
                   "the demonstration's files aren't beside %s; name their folder with --files",
                   program);
}

/** One row as a JSON line. In later rounds through the list the address gets a tag, so that each is
 * there once. */
static void write_row(FILE *to, struct demo_verdict *verdict, const struct recipient_row *row,
                      uint64_t round)
{
    struct buf line = BUF_EMPTY, address = BUF_EMPTY;
    struct slice domain = row->address;
    struct slice local = slice_cut(&domain, '@');
    buf_append(&address, local);
    if (round > 0)
        buf_printf(&address, "+%llu", (unsigned long long)round);
    buf_append_char(&address, '@');
    buf_append(&address, domain);
    bool fresh = demo_verdict_expect(verdict, buf_slice(&address));
    assert(fresh);
    buf_append(&line, SLICE("{\"email\":"));
    buf_append_json(&line, buf_slice(&address));
    buf_append(&line, SLICE(",\"data\":{"));
    for (size_t i = 0; i < row->count; i++) {
        buf_append(&line, i ? SLICE(",") : SLICE(""));
        buf_append_json(&line, row->names[i]);
        buf_append_char(&line, ':');
        buf_append_json(&line, row->values[i]);
    }
    buf_append(&line, SLICE("}}\n"));
    fwrite(line.data + line.start, 1, line.len, to);
    buf_free(&line);
    buf_free(&address);
}

/** Copies as many recipients as asked for from the list that ships with the project, and notes what
 * to expect of each. */
static bool make_list(struct demo *demo, const char *source, const char *target, struct err *err)
{
    FILE *from = fopen(source, "re"), *to = fopen(target, "we");
    bool good = from && to;
    if (!good)
        err_system(err, errno, "%s", from ? target : source);
    uint64_t made = 0;
    for (uint64_t round = 0; good && made < demo->recipients; round++) {
        rewind(from);
        struct recipient_list_options options = { .format = RECIPIENT_LIST_CSV };
        struct recipient_list *list =
            recipient_list_create(&options, recipient_list_read_file, from);
        struct recipient_row row;
        enum recipient_list_result result = RECIPIENT_LIST_END;
        while (made < demo->recipients &&
               (result = recipient_list_next(list, &row, err)) == RECIPIENT_LIST_ROW) {
            write_row(to, &demo->verdict, &row, round);
            made++;
        }
        if (result == RECIPIENT_LIST_BAD || result == RECIPIENT_LIST_FAILED)
            good = err_prefix(err, "%s", source);
        else if (made == 0)
            good = err_set(err, ERR_INPUT, "%s has no recipients", source);
        recipient_list_destroy(&list);
    }
    if (from)
        fclose(from);
    if (to && fclose(to) != 0 && good)
        good = err_system(err, errno, "%s", target);
    return good;
}

static void print_bad_row(void *user, const char *text)
{
    (void)user;
    fprintf(stderr, "%s\n", text);
}

/** Everything that `eilpost send` checks, on the demonstration's files. */
static bool prepare_campaign(struct demo *demo, struct err *err)
{
    char folder[PATH_MAX], list[PATH_MAX + 32], template_path[PATH_MAX + 32], html[PATH_MAX + 32],
        target[320];
    if (!find_files(folder, sizeof folder, demo->files, err))
        return false;
    snprintf(list, sizeof list, "%s/recipients.csv", folder);
    snprintf(template_path, sizeof template_path, "%s/template.txt", folder);
    snprintf(html, sizeof html, "%s/template.html", folder);
    snprintf(target, sizeof target, "%s/list.jsonl", demo->world.directory);
    struct campaign_counts counts;
    demo->campaign = (struct campaign){ .content = &demo->content, .from = SLICE(FROM) };
    return campaign_content_load(&demo->content, template_path, html, NULL, err) &&
           make_list(demo, list, target, err) &&
           campaign_list_open(&demo->campaign, target, NULL, err) &&
           campaign_check(&demo->campaign, print_bad_row, NULL, &counts, err);
}

static bool open_queue(struct demo *demo, struct err *err)
{
    struct config config;
    if (!config_load(demo->world.config_path, &config, err))
        return false;
    bool good = cli_producer_open(&demo->producer, &config, err);
    config_free(&config);
    return good;
}

/** One look at the queue; *open is how many jobs haven't ended. */
static bool look(struct demo *demo, uint64_t *open, struct err *err)
{
    struct producer_totals totals;
    if (!producer_totals(demo->producer, demo->submission, &totals, err))
        return false;
    uint64_t ended = totals.delivered + totals.bounced + totals.expired + totals.suppressed +
                     totals.cancelled + totals.rejected;
    *open = demo->recipients > ended ? demo->recipients - ended : 0;
    demo_progress_show(&demo->progress, ended, totals.delivered, totals.deferred, totals.bounced);
    return true;
}

static bool run_campaign(struct demo *demo, struct err *err)
{
    double started = now_s(), moved = started;
    uint64_t open = demo->recipients, before = open;
    struct campaign_result result;
    struct campaign_progress progress = { .patience_ms = 60000 };
    demo_progress_start(&demo->progress, demo->recipients);
    if (!campaign_submit(&demo->campaign, demo->producer,
                         &(struct producer_submission){ .class = SLICE("bulk") }, &progress,
                         &result, err))
        return false;
    memcpy(demo->submission, result.id, sizeof demo->submission);
    for (;;) {
        if (!look(demo, &open, err))
            return false;
        if (open == 0)
            break;
        if (open != before)
            moved = now_s();
        before = open;
        if (!demo_world_alive(&demo->world, err))
            return false;
        if (now_s() - moved > STALL_S)
            return err_set(err, ERR_LIMIT, "nothing has moved for %d s, and %llu messages are left",
                           STALL_S, (unsigned long long)open);
        if (interrupted(demo, POLL_MS))
            return err_set(err, ERR_CANCELLED, "interrupted");
    }
    demo->seconds = now_s() - started;
    demo_progress_end(&demo->progress);
    demo->stats = stats_fetch(demo->world.stats_address, err);
    return demo->stats != NULL;
}

/* ---- the judgement ---- */

static void take_event(void *user, struct slice json)
{
    struct demo *demo = user;
    demo_verdict_event(&demo->verdict, json);
}

/** All events are there before the last job counts as ended: both are one step in Redis. */
static bool read_events(struct demo *demo, struct err *err)
{
    uint64_t before;
    bool from_start = true;
    do {
        before = demo->verdict.delivered + demo->verdict.bounced + demo->verdict.deferred +
                 demo->verdict.other;
        if (!producer_events(demo->producer, from_start, EVENT_WAIT_MS, take_event, demo, err))
            return false;
        from_start = false;
    } while (before != demo->verdict.delivered + demo->verdict.bounced + demo->verdict.deferred +
                           demo->verdict.other);
    return true;
}

static bool judge(struct demo *demo, struct err *err)
{
    if (!read_events(demo, err) ||
        !demo_verdict_ledger(&demo->verdict, demo->world.ledger_path, err))
        return false;
    bool good = demo_verdict_close(&demo->verdict);
    demo_summary_print(&demo->verdict, demo->stats, demo->seconds, demo->recipients);
    if (good)
        return true;
    fflush(stdout);
    fprintf(stderr, "%s", buf_cstr(&demo->verdict.complaints));
    return err_set(err, ERR_LIMIT, "%llu messages didn't end as the sink's script says",
                   (unsigned long long)demo->verdict.wrong);
}

static void stay(struct demo *demo)
{
    printf("\nEverything stays up until Ctrl-C: the statistics at http://%s/v1/stats, and\n"
           "  eilpost status --config %s\n"
           "  eilpost send   --config %s --from me@demo.example --to you@anywhere.example …\n",
           demo->world.stats_address, demo->world.config_path, demo->world.config_path);
    fflush(stdout);
    struct err err;
    while (!interrupted(demo, 1000))
        if (!demo_world_alive(&demo->world, &err)) {
            fprintf(stderr, "eilpost demo: %s\n", err.text);
            return;
        }
}

static bool run_demo(struct demo *demo, struct err *err)
{
    /* Twice what is needed, since streams are cut for each partition. */
    struct demo_world_options options = { .io = demo->io,
                                          .events_max = 1000000 + 4 * demo->recipients };
    if (!demo_world_start(&demo->world, &options, err))
        return false;
    printf("engine with a private Redis, and a sink on 127.0.1.1-127.0.1.50 port %u in place of "
           "the world\n"
           "statistics at http://%s/v1/stats\n",
           demo->world.smtp_port, demo->world.stats_address);
    fflush(stdout);
    bool good = prepare_campaign(demo, err) && open_queue(demo, err) && run_campaign(demo, err) &&
                judge(demo, err);
    demo_progress_end(&demo->progress);
    if (good) {
        printf("\nstatistics: http://%s/v1/stats%s\n", demo->world.stats_address,
               demo->stay ? "" : " (--stay keeps everything up)");
        if (demo->stay)
            stay(demo);
    }
    if (demo->producer)
        producer_close(&demo->producer);
    bool ended_well = demo_world_stop_engine(&demo->world);
    demo_world_stop_sink(&demo->world);
    return good && (ended_well || err_set(err, ERR_SYSTEM, "the engine didn't end in order"));
}

static const char notes[] =
    "Starts a private Redis on a Unix socket, a sink that stands for the world's mail servers with "
    "a DNS\n"
    "responder, and the engine; submits a personalised newsletter to 200 domains; and compares "
    "each\n"
    "message's outcome with the sink's script. Recipients gone.* get a 550, later.* a 451 at "
    "first, and one\n"
    "domain doesn't exist. Exit code 0 only if all ended as they should. Only loopback addresses "
    "are used.\n\n"
    "examples:\n  eilpost demo\n  eilpost demo --recipients 1000000 --stay\n";

static bool check_usage(const struct demo *demo, struct err *err)
{
    if (demo->io && strcmp(demo->io, "auto") != 0 && strcmp(demo->io, "io_uring") != 0 &&
        strcmp(demo->io, "epoll") != 0)
        return err_set(err, ERR_USAGE, "--io is '%s', must be auto, io_uring or epoll", demo->io);
    if (demo->recipients == 0 || demo->recipients > 10000000)
        return err_set(err, ERR_USAGE, "--recipients must be from 1 to 10000000");
    return true;
}

int command_demo(int argc, char **argv)
{
    struct demo demo = { .recipients = RECIPIENTS_DEFAULT };
    const struct cli_option options[] = {
        { "recipients", "N", "How many (20000).", CLI_COUNT, &demo.recipients, false },
        { "io", "BODY", "auto, io_uring or epoll.", CLI_TEXT, &demo.io, false },
        { "stay", NULL, "Keep everything up until Ctrl-C.", CLI_FLAG, &demo.stay, false },
        { "files", "FOLDER", "Where recipients.csv, template.txt and template.html are.", CLI_TEXT,
          &demo.files, false },
    };
    const struct cli_usage usage = {
        .command = "demo",
        .summary = "Shows the whole engine at work on this machine; nothing leaves it.",
        .notes = notes,
        .options = options,
        .option_count = ARRAY_LEN(options),
    };
    unsigned operands;
    enum cli_parsed parsed = cli_parse(&usage, argc, argv, &operands);
    if (parsed != CLI_PARSED)
        return parsed == CLI_HELP_SHOWN ? CLI_OK : CLI_USAGE;
    struct err err = { 0 };
    if (!check_usage(&demo, &err))
        return cli_fail("demo", &err);

    sigset_t stop;
    sigemptyset(&stop);
    sigaddset(&stop, SIGINT);
    sigaddset(&stop, SIGTERM);
    sigprocmask(SIG_BLOCK, &stop, NULL);
    signal(SIGPIPE, SIG_IGN);
    demo.signals = signalfd(-1, &stop, SFD_CLOEXEC);

    bool good = run_demo(&demo, &err);
    if (good || err.kind == ERR_CANCELLED)
        demo_world_remove(&demo.world);
    else if (demo.world.directory[0])
        fprintf(stderr, "eilpost demo: what happened is in %s\n", demo.world.directory);
    json_decref(demo.stats);
    campaign_list_close(&demo.campaign);
    campaign_content_free(&demo.content);
    demo_verdict_free(&demo.verdict);
    close(demo.signals);
    return good ? CLI_OK : cli_fail("demo", &err);
}
