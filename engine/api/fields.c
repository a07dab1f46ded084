/* The tables of what a snapshot holds, and the memory for rates. */
#include "engine/api/internal.h"

#define COUNTER(name)                                                                              \
    {                                                                                              \
#name, offsetof(struct stats_counters, name)                                               \
    }
const struct stats_field stats_counter_fields[] = {
    COUNTER(leased),          COUNTER(attempts),        COUNTER(delivered),
    COUNTER(deferred),        COUNTER(bounced),         COUNTER(expired),
    COUNTER(unknown),         COUNTER(released),        COUNTER(reply_2xx),
    COUNTER(reply_4xx),       COUNTER(reply_5xx),       COUNTER(reply_local),
    COUNTER(sessions_opened), COUNTER(sessions_reused), COUNTER(sessions_failed),
    COUNTER(tls_resumed),     COUNTER(violations),      COUNTER(dns_lookups),
    COUNTER(dns_cache_hits),  COUNTER(dns_failures),    COUNTER(dns_timeouts),
    COUNTER(dns_stale),       COUNTER(dns_refreshed),   COUNTER(dns_refused),
    COUNTER(dns_secure),      COUNTER(redis_commands),  COUNTER(redis_reconnects),
    COUNTER(turns),           COUNTER(submits),         COUNTER(completions),
    COUNTER(no_buffers),
};
const size_t stats_counter_count = ARRAY_LEN(stats_counter_fields);
static_assert(sizeof(struct stats_counters) == ARRAY_LEN(stats_counter_fields) * sizeof(uint64_t),
              "each counter has a row");

#define GAUGE(name)                                                                                \
    {                                                                                              \
#name, offsetof(struct stats_gauges, name)                                                 \
    }
const struct stats_field stats_gauge_fields[] = {
    GAUGE(sessions_opening),
    GAUGE(sessions_busy),
    GAUGE(sessions_idle),
    GAUGE(jobs_held),
    GAUGE(jobs_held_transactional),
    GAUGE(jobs_held_deadline),
    GAUGE(jobs_held_bulk),
    GAUGE(acks_pending),
    GAUGE(destinations),
    GAUGE(sites),
    GAUGE(render_bytes),
    GAUGE(partitions_owned),
};
const size_t stats_gauge_count = ARRAY_LEN(stats_gauge_fields);
static_assert(sizeof(struct stats_gauges) == ARRAY_LEN(stats_gauge_fields) * sizeof(uint64_t),
              "each gauge has a row");

const char *stats_stage_name(enum stats_stage stage)
{
    static const char *const names[] = { "queue_wait",  "queue_wait_transactional",
                                         "dns",         "connect",
                                         "tls",         "session_wait",
                                         "transaction", "ack",
                                         "total" };
    static_assert(ARRAY_LEN(names) == STATS_STAGES, "each stage has a name");
    return names[stage];
}

uint64_t stats_queue_depth(const struct stats_queue *queue)
{
    uint64_t ended =
        queue->delivered + queue->bounced + queue->expired + queue->suppressed + queue->cancelled;
    /* The partitions are read one after another, so a sum may be a little ahead of another. */
    return queue->accepted > ended ? queue->accepted - ended : 0;
}

void rates_sample(struct rates *rates, int64_t now_ms, const struct stats_counters *counters)
{
    rates->samples[rates->next].at_ms = now_ms;
    rates->samples[rates->next].counters = *counters;
    rates->next = (rates->next + 1) % ARRAY_LEN(rates->samples);
    if (rates->count < ARRAY_LEN(rates->samples))
        rates->count++;
}

struct rates_window rates_over(const struct rates *rates, unsigned seconds)
{
    struct rates_window window = { 0 };
    if (rates->count < 2)
        return window;
    unsigned room = ARRAY_LEN(rates->samples);
    unsigned back = MIN_OF(seconds, rates->count - 1);
    unsigned newest = (rates->next + room - 1) % room, oldest = (newest + room - back) % room;
    window.seconds = (double)(rates->samples[newest].at_ms - rates->samples[oldest].at_ms) / 1000;
    for (size_t i = 0; i < stats_counter_count; i++) {
        const struct stats_field *field = &stats_counter_fields[i];
        uint64_t now = stats_field_value(&rates->samples[newest].counters, field);
        uint64_t then = stats_field_value(&rates->samples[oldest].counters, field);
        *(uint64_t *)((char *)&window.growth + field->offset) = now > then ? now - then : 0;
    }
    return window;
}
