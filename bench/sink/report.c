/* What a sink saw, added up over its threads while they go on. */
#include <inttypes.h>
#include <sys/resource.h>
#include <time.h>

#include "bench/sink/worker.h"

static void totals_add(struct sink_totals *totals, struct sink_counters *counters)
{
#define ADD(name) totals->name += atomic_load_explicit(&counters->name, memory_order_relaxed);
    SINK_COUNTERS(ADD)
#undef ADD
}

void sink_totals(struct sink *sink, struct sink_totals *out)
{
    *out = (struct sink_totals){ 0 };
    for (unsigned i = 0; i < sink->workers_count; i++) {
        totals_add(out, &sink->workers[i].counters);
        uint64_t messages_max = atomic_load(&sink->workers[i].session_messages_max);
        out->session_messages_max = MAX_OF(out->session_messages_max, messages_max);
    }
    totals_add(out, &sink->side_counters);
    out->unique = hashset_count(&sink->ledger.seen);
    out->duplicates = atomic_load(&sink->ledger.duplicates);
    out->sessions_open = atomic_load(&sink->open);
    out->sessions_peak = atomic_load(&sink->peak);
    for (size_t i = 0; i < sink->endpoints.count; i++) {
        uint64_t peak = atomic_load(&sink->addresses[i].peak);
        out->sessions_peak_per_address = MAX_OF(out->sessions_peak_per_address, peak);
    }
}

static void report_latency(struct sink *sink, struct buf *out)
{
    struct histogram sum = { 0 };
    for (unsigned i = 0; i < sink->workers_count; i++)
        histogram_add_to(&sink->workers[i].latency, &sum);
    buf_printf(out,
               ",\"transaction_latency_us\":{\"p50\":%" PRIu64 ",\"p90\":%" PRIu64
               ",\"p99\":%" PRIu64 ",\"max\":%" PRIu64 "}",
               histogram_percentile(&sum, 0.5), histogram_percentile(&sum, 0.9),
               histogram_percentile(&sum, 0.99), sum.max_us);
}

static void report_duplicates(struct sink *sink, struct buf *out)
{
    buf_append(out, SLICE(",\"duplicates_listed\":["));
    pthread_mutex_lock(&sink->ledger.lock);
    struct slice rest = buf_slice(&sink->ledger.listed);
    for (bool first = true; rest.len > 0; first = false) {
        struct slice line = slice_cut(&rest, '\n');
        struct slice recipient = slice_cut(&line, '\t');
        buf_append(out, first ? SLICE("{\"recipient\":") : SLICE(",{\"recipient\":"));
        buf_append_json(out, recipient);
        buf_append(out, SLICE(",\"id\":"));
        buf_append_json(out, line);
        buf_append_char(out, '}');
    }
    pthread_mutex_unlock(&sink->ledger.lock);
    buf_append_char(out, ']');
}

void sink_report(struct sink *sink, struct buf *out)
{
    struct sink_totals totals;
    struct rusage usage;
    struct timespec now;
    sink_totals(sink, &totals);
    getrusage(RUSAGE_SELF, &usage);
    clock_gettime(CLOCK_MONOTONIC, &now);
    int64_t cpu_us = (int64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 +
                     usage.ru_utime.tv_usec + usage.ru_stime.tv_usec;
    int64_t elapsed_us = (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000 - sink->started_us;
    buf_printf(
        out, "{\"io\":\"%s\",\"threads\":%u,\"elapsed_us\":%" PRId64 ",\"process_cpu_us\":%" PRId64,
        sink->workers[0].body->name, sink->workers_count, elapsed_us, cpu_us);
#define REPORT(name) buf_printf(out, ",\"" #name "\":%" PRIu64, totals.name);
    REPORT(unique)
    REPORT(duplicates)
    REPORT(sessions_open)
    REPORT(sessions_peak)
    REPORT(sessions_peak_per_address)
    REPORT(session_messages_max)
    SINK_COUNTERS(REPORT)
#undef REPORT
    if (sink->options.latency)
        report_latency(sink, out);
    report_duplicates(sink, out);
    buf_append(out, SLICE("}\n"));
}
