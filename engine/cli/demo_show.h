#pragma once
/* What a demonstration shows: a progress bar on a terminal (a line now and then elsewhere), and the
 * summary. */
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct demo_verdict;

struct demo_progress {
    uint64_t total, done_before;
    double started_s, shown_s;
    double rate; /* messages per second, smoothed */
    bool terminal, open;
};

void demo_progress_start(struct demo_progress *progress, uint64_t total);
void demo_progress_show(struct demo_progress *progress, uint64_t done, uint64_t delivered,
                        uint64_t deferred, uint64_t bounced);
/** Leaves the bar's line. May be called again, and without a start. */
void demo_progress_end(struct demo_progress *progress);

/** The tables: outcomes against what was expected, and where a message's time went. */
void demo_summary_print(const struct demo_verdict *verdict, const json_t *stats, double seconds,
                        uint64_t recipients);
