#pragma once
/* Inside the stats endpoint: the two ways to show a snapshot, and the short memory that rates come
 * from. */
#include "engine/api/stats.h"
#include "engine/base/buf.h"

/** A number of the snapshot, by its place. Both outputs are made from these tables, so that none is
 * forgotten. */
struct stats_field {
    const char *name; /* "delivered" */
    size_t offset;    /* of a uint64_t in the structure that the table describes */
};

extern const struct stats_field stats_counter_fields[];
extern const size_t stats_counter_count;
extern const struct stats_field stats_gauge_fields[];
extern const size_t stats_gauge_count;

static inline uint64_t stats_field_value(const void *structure, const struct stats_field *field)
{
    return *(const uint64_t *)((const char *)structure + field->offset);
}

/** Jobs accepted and not ended: queued, waiting for a retry, or on their way. */
uint64_t stats_queue_depth(const struct stats_queue *queue);

#define RATES_SECONDS 60

/** The counters of the last minute, one sample a second. */
struct rates {
    struct {
        int64_t at_ms;
        struct stats_counters counters;
    } samples[RATES_SECONDS + 1];
    unsigned count, next;
};

void rates_sample(struct rates *rates, int64_t now_ms, const struct stats_counters *counters);
/** The growth of each counter over the last `seconds` (or as far as the samples reach), per second.
 */
struct rates_window {
    double seconds; /* really covered; 0: too early to tell */
    struct stats_counters growth;
};
struct rates_window rates_over(const struct rates *rates, unsigned seconds);

/** Prometheus' text format 0.0.4. */
void metrics_render(const struct stats_snapshot *snapshot, struct buf *out);
/** The JSON of /v1/stats. */
void report_render(const struct stats_snapshot *snapshot, const struct rates *rates,
                   struct buf *out);
