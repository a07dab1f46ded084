#pragma once
/* What the stats endpoint shows: sums over the workers, read from another thread with relaxed
 * loads. */
#include <stdatomic.h>

#include "engine/api/stats.h"
#include "engine/app/worker.h"

struct app_stats {
    struct worker *const *workers;
    atomic_uint worker_count; /* 0 until they run */
    const char *node;
    int64_t started_ms; /* monotonic */
};

/** Before the workers run; `workers` is looked at only after app_stats_running(). */
void app_stats_init(struct app_stats *stats, struct worker *const *workers, const char *node);
/** All workers run: from here on they're shown. */
void app_stats_running(struct app_stats *stats, unsigned worker_count);
/** For struct api_options; `user` is the app_stats. */
void app_stats_snapshot(void *user, struct stats_snapshot *out);
bool app_stats_healthy(void *user, char *reason, size_t room);
