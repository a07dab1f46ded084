#pragma once
/* What the stats endpoint shows: sums over the workers, read from another thread with relaxed
 * loads. */
#include "engine/api/stats.h"
#include "engine/app/worker.h"

struct app_stats {
    struct worker *const *workers;
    unsigned worker_count;
    const char *node;
    int64_t started_ms; /* monotonic */
};

void app_stats_init(struct app_stats *stats, struct worker *const *workers, unsigned count,
                    const char *node);
/** For struct api_options; `user` is the app_stats. */
void app_stats_snapshot(void *user, struct stats_snapshot *out);
bool app_stats_healthy(void *user, char *reason, size_t room);
