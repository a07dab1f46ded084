/* The JSON of /v1/stats. engine/api/README.md shows one. */
#include <jansson.h>
#include <stdlib.h>

#include "engine/api/internal.h"

static void set(json_t *object, const char *name, uint64_t value)
{
    json_object_set_new(object, name, json_integer((json_int_t)value));
}

static json_t *section(json_t *parent, const char *name)
{
    json_t *object = json_object();
    json_object_set_new(parent, name, object);
    return object;
}

static void put_fields(json_t *object, const void *structure, const struct stats_field *fields,
                       size_t count)
{
    for (size_t i = 0; i < count; i++)
        set(object, fields[i].name, stats_field_value(structure, &fields[i]));
}

static void put_queue(json_t *root, const struct stats_snapshot *snapshot)
{
    const struct stats_queue *from = &snapshot->queue;
    json_t *queue = section(root, "queue");
    set(queue, "depth", stats_queue_depth(from));
    set(queue, "in_flight", snapshot->gauges.jobs_held);
    set(queue, "retrying", from->retrying);
    set(queue, "accepted", from->accepted);
    set(queue, "delivered", from->delivered);
    set(queue, "bounced", from->bounced);
    set(queue, "expired", from->expired);
    set(queue, "suppressed", from->suppressed);
    set(queue, "cancelled", from->cancelled);
    set(queue, "deferrals", from->deferrals);
    set(queue, "unknown", from->unknown);
}

static void put_sessions(json_t *root, const struct stats_snapshot *snapshot)
{
    const struct stats_gauges *gauges = &snapshot->gauges;
    json_t *sessions = section(root, "sessions");
    set(sessions, "opening", gauges->sessions_opening);
    set(sessions, "busy", gauges->sessions_busy);
    set(sessions, "idle", gauges->sessions_idle);
    set(sessions, "total",
        gauges->sessions_opening + gauges->sessions_busy + gauges->sessions_idle);
    set(sessions, "opened_total", snapshot->counters.sessions_opened);
    set(sessions, "reused_total", snapshot->counters.sessions_reused);
    set(sessions, "failed_total", snapshot->counters.sessions_failed);
}

static void put_replies(json_t *root, const struct stats_counters *counters)
{
    json_t *replies = section(root, "replies");
    set(replies, "2xx", counters->reply_2xx);
    set(replies, "4xx", counters->reply_4xx);
    set(replies, "5xx", counters->reply_5xx);
    set(replies, "local", counters->reply_local);
}

static void put_rates(json_t *root, const struct rates *rates)
{
    static const struct {
        const char *name;
        unsigned seconds;
    } windows[] = { { "1s", 1 }, { "10s", 10 }, { "60s", 60 } };
    json_t *all = section(root, "rates_per_second");
    for (size_t i = 0; i < ARRAY_LEN(windows); i++) {
        struct rates_window window = rates_over(rates, windows[i].seconds);
        json_t *one = section(all, windows[i].name);
        for (size_t f = 0; f < stats_counter_count; f++) {
            double growth = (double)stats_field_value(&window.growth, &stats_counter_fields[f]);
            json_object_set_new(one, stats_counter_fields[f].name,
                                json_real(window.seconds > 0 ? growth / window.seconds : 0));
        }
    }
}

static void put_latencies(json_t *root, const struct stats_snapshot *snapshot)
{
    static const struct {
        const char *name;
        double fraction;
    } percentiles[] = { { "p50", 0.50 }, { "p95", 0.95 }, { "p99", 0.99 } };
    json_t *all = section(root, "latency_ms");
    for (unsigned stage = 0; stage < STATS_STAGES; stage++) {
        const struct histogram *histogram = &snapshot->stages[stage];
        json_t *one = section(all, stats_stage_name(stage));
        set(one, "count", histogram->count);
        double mean =
            histogram->count ? (double)histogram->sum_us / (double)histogram->count / 1000 : 0;
        json_object_set_new(one, "mean", json_real(mean));
        for (size_t i = 0; i < ARRAY_LEN(percentiles); i++) {
            uint64_t us = histogram_percentile(histogram, percentiles[i].fraction);
            json_object_set_new(one, percentiles[i].name, json_real((double)us / 1000));
        }
        json_object_set_new(one, "max", json_real((double)histogram->max_us / 1000));
    }
}

static void put_workers(json_t *root, const struct stats_snapshot *snapshot)
{
    json_t *workers = json_array();
    json_object_set_new(root, "per_worker", workers);
    for (unsigned i = 0; snapshot->workers && i < snapshot->worker_count; i++) {
        const struct stats_worker *from = &snapshot->workers[i];
        json_t *worker = json_object();
        json_object_set_new(worker, "recordable", json_boolean(from->recordable));
        put_fields(worker, &from->gauges, stats_gauge_fields, stats_gauge_count);
        put_fields(worker, &from->counters, stats_counter_fields, stats_counter_count);
        json_array_append_new(workers, worker);
    }
}

static int append(const char *bytes, size_t len, void *out)
{
    return buf_append(out, slice_of(bytes, len)) ? 0 : -1;
}

void report_render(const struct stats_snapshot *snapshot, const struct rates *rates,
                   struct buf *out)
{
    json_t *root = json_object();
    json_object_set_new(root, "version", json_string(EILPOST_VERSION));
    json_object_set_new(root, "node", json_string(snapshot->node ? snapshot->node : ""));
    json_object_set_new(root, "io", json_string(snapshot->io ? snapshot->io : ""));
    json_object_set_new(root, "uptime_s", json_real((double)snapshot->uptime_ms / 1000));
    set(root, "workers", snapshot->worker_count);
    json_object_set_new(root, "recordable", json_boolean(snapshot->recordable));
    put_queue(root, snapshot);
    put_sessions(root, snapshot);
    put_replies(root, &snapshot->counters);
    put_fields(section(root, "counters"), &snapshot->counters, stats_counter_fields,
               stats_counter_count);
    put_fields(section(root, "gauges"), &snapshot->gauges, stats_gauge_fields, stats_gauge_count);
    put_rates(root, rates);
    put_latencies(root, snapshot);
    put_workers(root, snapshot);
    json_dump_callback(root, append, out,
                       JSON_INDENT(2) | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(9));
    buf_append_char(out, '\n');
    json_decref(root);
}
