#include "engine/cli/demo_show.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "engine/cli/cli.h"
#include "engine/cli/demo_verdict.h"
#include "engine/cli/stats_client.h"

#define BAR_WIDTH 24
#define LINE_EVERY_S 2.0 /* where there's no terminal */

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

void demo_progress_start(struct demo_progress *progress, uint64_t total)
{
    *progress = (struct demo_progress){ .total = total,
                                        .started_s = now_s(),
                                        .shown_s = now_s(),
                                        .terminal = isatty(STDOUT_FILENO),
                                        .open = true };
}

void demo_progress_show(struct demo_progress *progress, uint64_t done, uint64_t delivered,
                        uint64_t deferred, uint64_t bounced)
{
    double now = now_s(), since = now - progress->shown_s;
    bool last = done >= progress->total;
    if (!progress->terminal && since < LINE_EVERY_S && !last)
        return;
    if (since > 0.05) {
        double rate = (double)(done - progress->done_before) / since;
        progress->rate = progress->rate > 0 ? 0.5 * progress->rate + 0.5 * rate : rate;
    }
    progress->shown_s = now;
    progress->done_before = done;
    char bar[BAR_WIDTH + 1], n[5][28];
    size_t filled = progress->total ? (size_t)(done * BAR_WIDTH / progress->total) : 0;
    memset(bar, '.', BAR_WIDTH);
    memset(bar, '#', MIN_OF(filled, (size_t)BAR_WIDTH));
    bar[BAR_WIDTH] = '\0';
    printf("%s[%s] %s/%s  %s/s  delivered %s  deferred %llu  bounced %s%s",
           progress->terminal ? "\r\033[K" : "", bar, cli_thousands(done, n[0]),
           cli_thousands(progress->total, n[1]), cli_thousands((uint64_t)progress->rate, n[2]),
           cli_thousands(delivered, n[3]), (unsigned long long)deferred,
           cli_thousands(bounced, n[4]), progress->terminal ? "" : "\n");
    fflush(stdout);
}

void demo_progress_end(struct demo_progress *progress)
{
    if (progress->open && progress->terminal)
        putchar('\n');
    progress->open = false;
}

static void outcome_row(const char *name, uint64_t seen, uint64_t expected)
{
    char a[28], b[28];
    printf("  %-22s %12s %12s   %s\n", name, cli_thousands(seen, a), cli_thousands(expected, b),
           seen == expected ? "as expected" : "WRONG");
}

static void stage_row(const json_t *stats, const char *stage, const char *what)
{
    static const char *const columns[] = { "p50", "p95", "p99", "max" };
    printf("  %-14s", stage);
    for (size_t i = 0; i < ARRAY_LEN(columns); i++) {
        char path[64];
        snprintf(path, sizeof path, "latency_ms.%s.%s", stage, columns[i]);
        printf(" %10.1f", stats_number(stats, path));
    }
    printf("   %s\n", what);
}

void demo_summary_print(const struct demo_verdict *verdict, const json_t *stats, double seconds,
                        uint64_t recipients)
{
    char rate[28];
    printf("\n  %-22s %12s %12s\n", "outcome", "messages", "expected");
    outcome_row("delivered", verdict->delivered, verdict->expected_delivered);
    outcome_row("bounced", verdict->bounced, verdict->expected_bounced);
    outcome_row("deferred at first", verdict->deferred, verdict->expected_deferred);
    outcome_row("other", verdict->other, 0);
    outcome_row("received by the sink", verdict->received, verdict->expected_delivered);
    outcome_row("received twice", verdict->received_again, 0);
    printf(
        "\n  %s messages per second at the receiver (without the first and last tenth of them);\n",
        cli_thousands((uint64_t)verdict->received_per_second, rate));
    printf("  all in %.2f s, with the second that deferred ones wait: %s messages per second; %.0f "
           "sessions, on %s\n",
           seconds, cli_thousands((uint64_t)((double)recipients / seconds), rate),
           stats_number(stats, "sessions.opened_total"),
           json_string_value(json_object_get(stats, "io")));

    printf("\n  %-14s %10s %10s %10s %10s\n", "milliseconds", "p50", "p95", "p99", "max");
    stage_row(stats, "queue_wait", "submitted until leased");
    stage_row(stats, "dns", "look-ups");
    stage_row(stats, "connect", "until a session is open");
    stage_row(stats, "session_wait", "leased until a session takes it");
    stage_row(stats, "transaction", "MAIL until the last reply");
    stage_row(stats, "ack", "outcome until it's recorded");
    stage_row(stats, "total", "submitted until delivered");
}
