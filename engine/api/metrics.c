/* Prometheus' text format. Names and label sets are fixed: a dashboard and alerts depend on them,
 * and nothing that comes from outside (domains, hosts, replies) becomes a label, since each value
 * would be a time series for ever. */
#include "engine/api/internal.h"

struct metric {         /* one sample of a family with a fixed label */
    const char *labels; /* "outcome=\"delivered\"" or "" */
    size_t offset;
};

static void heading(struct buf *out, const char *name, const char *type, const char *help)
{
    buf_printf(out, "# HELP eilpost_%s %s\n# TYPE eilpost_%s %s\n", name, help, name, type);
}

static void sample(struct buf *out, const char *name, const char *labels, uint64_t value)
{
    const char *open = *labels ? "{" : "", *close = *labels ? "}" : "";
    buf_printf(out, "eilpost_%s%s%s%s %llu\n", name, open, labels, close,
               (unsigned long long)value);
}

static void family(struct buf *out, const char *name, const char *type, const char *help,
                   const void *structure, const struct metric *metrics, size_t count)
{
    heading(out, name, type, help);
    for (size_t i = 0; i < count; i++)
        sample(out, name, metrics[i].labels,
               *(const uint64_t *)((const char *)structure + metrics[i].offset));
}

#define FAMILY(out, name, type, help, structure, ...)                                              \
    do {                                                                                           \
        static const struct metric metrics_[] = { __VA_ARGS__ };                                   \
        family(out, name, type, help, structure, metrics_, ARRAY_LEN(metrics_));                   \
    } while (0)
#define COUNTER(labels, member)                                                                    \
    {                                                                                              \
        labels, offsetof(struct stats_counters, member)                                            \
    }
#define GAUGE(labels, member)                                                                      \
    {                                                                                              \
        labels, offsetof(struct stats_gauges, member)                                              \
    }
#define QUEUE(labels, member)                                                                      \
    {                                                                                              \
        labels, offsetof(struct stats_queue, member)                                               \
    }

static void render_process(const struct stats_snapshot *snapshot, struct buf *out)
{
    heading(out, "info", "gauge", "Always 1; what runs.");
    buf_printf(out, "eilpost_info{version=\"%s\",io=\"%s\"} 1\n", EILPOST_VERSION,
               snapshot->io ? snapshot->io : "");
    heading(out, "uptime_seconds", "gauge", "Since the process started.");
    buf_printf(out, "eilpost_uptime_seconds %.3f\n", (double)snapshot->uptime_ms / 1000);
    heading(out, "workers", "gauge", "Worker threads.");
    sample(out, "workers", "", snapshot->worker_count);
    heading(out, "redis_recordable", "gauge",
            "1 while outcomes can be recorded; while 0 nothing is sent.");
    sample(out, "redis_recordable", "", snapshot->recordable);
}

static void render_counters(const struct stats_counters *counters, struct buf *out)
{
    FAMILY(out, "jobs_leased_total", "counter", "Jobs taken from the queue.", counters,
           COUNTER("", leased));
    FAMILY(out, "attempts_total", "counter", "Tries to deliver one job.", counters,
           COUNTER("", attempts));
    FAMILY(out, "outcomes_total", "counter", "How attempts ended.", counters,
           COUNTER("outcome=\"delivered\"", delivered), COUNTER("outcome=\"deferred\"", deferred),
           COUNTER("outcome=\"bounced\"", bounced), COUNTER("outcome=\"expired\"", expired),
           COUNTER("outcome=\"unknown\"", unknown), COUNTER("outcome=\"released\"", released));
    FAMILY(out, "replies_total", "counter",
           "Replies that decided an attempt; local ones are the engine's own.", counters,
           COUNTER("class=\"2xx\"", reply_2xx), COUNTER("class=\"4xx\"", reply_4xx),
           COUNTER("class=\"5xx\"", reply_5xx), COUNTER("class=\"local\"", reply_local));
    FAMILY(out, "sessions_opened_total", "counter", "Sessions that were started.", counters,
           COUNTER("", sessions_opened));
    FAMILY(out, "tls_resumed_total", "counter", "Sessions whose TLS took up an earlier one's.",
           counters, COUNTER("", tls_resumed));
    FAMILY(out, "sessions_reused_total", "counter", "Messages that found an open session.",
           counters, COUNTER("", sessions_reused));
    FAMILY(out, "sessions_failed_total", "counter", "Sessions that failed.", counters,
           COUNTER("", sessions_failed));
    FAMILY(out, "protocol_violations_total", "counter",
           "Sessions ended because the peer broke the protocol.", counters,
           COUNTER("", violations));
    FAMILY(out, "dns_lookups_total", "counter", "Names asked for.", counters,
           COUNTER("", dns_lookups));
    FAMILY(out, "dns_cache_hits_total", "counter", "Names answered from the cache.", counters,
           COUNTER("", dns_cache_hits));
    FAMILY(out, "dns_failures_total", "counter", "Names that couldn't be looked up.", counters,
           COUNTER("why=\"failed\"", dns_failures), COUNTER("why=\"timeout\"", dns_timeouts));
    FAMILY(out, "dns_stale_total", "counter",
           "Answers used past their end because the name couldn't be looked up.", counters,
           COUNTER("", dns_stale));
    FAMILY(out, "dns_refreshed_total", "counter", "Names looked up again before their end.",
           counters, COUNTER("", dns_refreshed));
    FAMILY(out, "dns_refused_total", "counter", "Answers with addresses that mail isn't sent to.",
           counters, COUNTER("", dns_refused));
    FAMILY(out, "dns_secure_total", "counter", "Look-ups that DNSSEC has validated.", counters,
           COUNTER("", dns_secure));
    FAMILY(out, "redis_commands_total", "counter", "Commands sent to Redis.", counters,
           COUNTER("", redis_commands));
    FAMILY(out, "redis_reconnects_total", "counter",
           "Connections to Redis that were lost and made again.", counters,
           COUNTER("", redis_reconnects));
    FAMILY(out, "loop_turns_total", "counter", "Turns of the event loops.", counters,
           COUNTER("", turns));
    FAMILY(out, "loop_submits_total", "counter", "System calls of the event loops.", counters,
           COUNTER("", submits));
    FAMILY(out, "loop_completions_total", "counter", "I/O operations that ended.", counters,
           COUNTER("", completions));
    FAMILY(out, "loop_no_buffers_total", "counter", "Receives that found no buffer.", counters,
           COUNTER("", no_buffers));
}

static void render_gauges(const struct stats_gauges *gauges, struct buf *out)
{
    FAMILY(out, "sessions", "gauge", "SMTP sessions by state.", gauges,
           GAUGE("state=\"opening\"", sessions_opening), GAUGE("state=\"busy\"", sessions_busy),
           GAUGE("state=\"idle\"", sessions_idle));
    FAMILY(out, "jobs_held", "gauge", "Jobs leased by this process.", gauges, GAUGE("", jobs_held));
    FAMILY(out, "jobs_held_by_class", "gauge", "The same by class.", gauges,
           GAUGE("class=\"transactional\"", jobs_held_transactional),
           GAUGE("class=\"deadline\"", jobs_held_deadline),
           GAUGE("class=\"bulk\"", jobs_held_bulk));
    FAMILY(out, "acks_pending", "gauge", "Outcomes that Redis doesn't have yet.", gauges,
           GAUGE("", acks_pending));
    FAMILY(out, "destinations", "gauge", "Domains known to the workers.", gauges,
           GAUGE("", destinations));
    FAMILY(out, "sites", "gauge", "Sets of servers known to the workers.", gauges,
           GAUGE("", sites));
    FAMILY(out, "render_bytes", "gauge", "Rendered messages that wait to leave.", gauges,
           GAUGE("", render_bytes));
    FAMILY(out, "partitions_owned", "gauge", "Slices of the queue that this process works on.",
           gauges, GAUGE("", partitions_owned));
}

static void render_queue(const struct stats_queue *queue, struct buf *out)
{
    heading(out, "queue_depth", "gauge", "Jobs accepted and not ended, over all nodes.");
    sample(out, "queue_depth", "", stats_queue_depth(queue));
    FAMILY(out, "queue_retrying", "gauge", "Of these, jobs that wait for their next attempt.",
           queue, QUEUE("", retrying));
    FAMILY(out, "queue_accepted_total", "counter", "Jobs accepted, over all nodes.", queue,
           QUEUE("", accepted));
    FAMILY(out, "queue_ended_total", "counter", "Jobs ended, over all nodes.", queue,
           QUEUE("end=\"delivered\"", delivered), QUEUE("end=\"bounced\"", bounced),
           QUEUE("end=\"expired\"", expired), QUEUE("end=\"suppressed\"", suppressed),
           QUEUE("end=\"cancelled\"", cancelled));
    FAMILY(out, "queue_deferrals_total", "counter", "Temporary failures, over all nodes.", queue,
           QUEUE("", deferrals));
    FAMILY(out, "queue_unknown_total", "counter",
           "Attempts whose outcome is unknown, over all nodes.", queue, QUEUE("", unknown));
}

static void render_stages(const struct stats_snapshot *snapshot, struct buf *out)
{
    static const uint64_t bounds_us[] = { 100,      1000,      5000,      10000,   50000,
                                          100000,   500000,    1000000,   5000000, 10000000,
                                          60000000, 300000000, 3600000000 };
    heading(out, "stage_seconds", "histogram", "Where a message's time goes.");
    for (unsigned stage = 0; stage < STATS_STAGES; stage++) {
        const struct histogram *histogram = &snapshot->stages[stage];
        const char *name = stats_stage_name(stage);
        for (size_t i = 0; i < ARRAY_LEN(bounds_us); i++)
            buf_printf(out, "eilpost_stage_seconds_bucket{stage=\"%s\",le=\"%g\"} %llu\n", name,
                       (double)bounds_us[i] / 1e6,
                       (unsigned long long)histogram_count_up_to(histogram, bounds_us[i]));
        /* Not histogram->count, which may be one ahead of the steps while it's being written. */
        unsigned long long all = histogram_count_up_to(histogram, UINT64_MAX);
        buf_printf(out, "eilpost_stage_seconds_bucket{stage=\"%s\",le=\"+Inf\"} %llu\n", name, all);
        buf_printf(out, "eilpost_stage_seconds_sum{stage=\"%s\"} %.6f\n", name,
                   (double)histogram->sum_us / 1e6);
        buf_printf(out, "eilpost_stage_seconds_count{stage=\"%s\"} %llu\n", name, all);
    }
}

void metrics_render(const struct stats_snapshot *snapshot, struct buf *out)
{
    render_process(snapshot, out);
    render_queue(&snapshot->queue, out);
    render_counters(&snapshot->counters, out);
    render_gauges(&snapshot->gauges, out);
    render_stages(snapshot, out);
}
