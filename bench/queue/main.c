/* The command line of bench-queue: one run, one line of JSON. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "bench/queue/load.h"

#define EXIT_USAGE 2

static const char usage[] =
    "bench-queue: fills the queue in a Redis of its own, leases and ends jobs\n\n"
    "  --redis URL          an empty Redis, e.g. unix:///run/redis.sock\n"
    "  --jobs N             queued at the beginning of each round (10000)\n"
    "  --drain N            of them leased and ended in each round (all)\n"
    "  --slices N           steps in which they are, each measured alone (1)\n"
    "  --rounds N           (1)\n"
    "  --destinations N     (1000)\n"
    "  --submissions N      that the jobs of a round are from (4)\n"
    "  --campaigns N        that the submissions belong to (1)\n"
    "  --workers N          (2)\n"
    "  --jobs-max N         held by a worker (4000)\n"
    "  --per-destination N  of one destination (200)\n"
    "  --data BYTES         of merge data (60)\n";

struct command_line {
    struct load_options options;
    bool help;
};

static bool number(const char *name, uint64_t min, uint64_t max, uint64_t *out, struct err *err)
{
    if (slice_to_u64(slice_str(optarg), out) && *out >= min && *out <= max)
        return true;
    return err_set(err, ERR_USAGE, "--%s needs a number from %llu to %llu, not '%s'", name,
                   (unsigned long long)min, (unsigned long long)max, optarg);
}

static bool option_apply(struct command_line *line, int id, const char *name, struct err *err)
{
    struct load_options *options = &line->options;
    const struct {
        int id;
        uint64_t min, max;
        unsigned *out;
    } counts[] = {
        { 'i', 1, LOAD_SLICES_MAX, &options->slices },
        { 'o', 1, LOAD_SLICES_MAX, &options->rounds },
        { 'd', 1, 999999, &options->destinations },
        { 's', 1, LOAD_SUBMISSIONS_MAX, &options->submissions },
        { 'c', 1, LOAD_SUBMISSIONS_MAX, &options->campaigns },
        { 'w', 1, LOAD_PARTITIONS, &options->workers },
        { 'm', 10, 100000, &options->jobs_max },
        { 'p', 1, 100000, &options->per_destination },
        { 'b', 0, 500, &options->data_bytes },
    };
    if (id == 'h')
        line->help = true;
    else if (id == 'r')
        options->url = optarg;
    else if (id == 'j' || id == 'n')
        return number(name, 1, 100000000, id == 'j' ? &options->jobs : &options->drain, err);
    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        uint64_t n;
        if (id != counts[i].id)
            continue;
        if (!number(name, counts[i].min, counts[i].max, &n, err))
            return false;
        *counts[i].out = (unsigned)n;
    }
    return true;
}

static bool command_line_check(struct command_line *line, struct err *err)
{
    struct load_options *options = &line->options;
    options->drain = options->drain ? options->drain : options->jobs;
    if (!options->url)
        return err_set(err, ERR_USAGE, "--redis is missing");
    if (options->drain > options->jobs)
        return err_set(err, ERR_USAGE, "--drain is more than --jobs");
    if (options->slices * options->rounds > LOAD_SLICES_MAX || options->slices > options->drain)
        return err_set(err, ERR_USAGE, "too many slices");
    if (options->destinations > options->jobs)
        return err_set(err, ERR_USAGE, "more destinations than jobs");
    if (LOAD_PARTITIONS % options->workers != 0)
        return err_set(err, ERR_USAGE, "--workers doesn't divide %d", LOAD_PARTITIONS);
    return true;
}

static bool command_line_parse(int argc, char **argv, struct command_line *line, struct err *err)
{
    static const struct option long_options[] = {
        { "redis", required_argument, NULL, 'r' },
        { "jobs", required_argument, NULL, 'j' },
        { "drain", required_argument, NULL, 'n' },
        { "slices", required_argument, NULL, 'i' },
        { "rounds", required_argument, NULL, 'o' },
        { "destinations", required_argument, NULL, 'd' },
        { "submissions", required_argument, NULL, 's' },
        { "campaigns", required_argument, NULL, 'c' },
        { "workers", required_argument, NULL, 'w' },
        { "jobs-max", required_argument, NULL, 'm' },
        { "per-destination", required_argument, NULL, 'p' },
        { "data", required_argument, NULL, 'b' },
        { "help", no_argument, NULL, 'h' },
        { NULL, 0, NULL, 0 },
    };
    line->options = (struct load_options){
        .jobs = 10000,
        .slices = 1,
        .rounds = 1,
        .destinations = 1000,
        .submissions = 4,
        .campaigns = 1,
        .workers = 2,
        .jobs_max = 4000,
        .per_destination = 200,
        .data_bytes = 60,
    };
    opterr = 0;
    int id, index = 0;
    while ((id = getopt_long(argc, argv, "", long_options, &index)) != -1) {
        if (id == '?')
            return err_set(err, ERR_USAGE, "unknown option or missing value: %s", argv[optind - 1]);
        if (!option_apply(line, id, long_options[index].name, err))
            return false;
    }
    if (optind < argc)
        return err_set(err, ERR_USAGE, "unexpected argument '%s'", argv[optind]);
    return line->help || command_line_check(line, err);
}

/* ---- the run ---- */

struct measured {
    double fill_cpu_us, drain_cpu_us, own_cpu_us; /* sums over all rounds; own: while draining */
    double slice_cpu_us[LOAD_SLICES_MAX], slice_rate[LOAD_SLICES_MAX]; /* per job, per second */
    unsigned slices;
    int64_t fill_us;
    uint64_t memory_bytes; /* of the first round's jobs */
    struct drain_result drained;
    struct server_slowest slowest;
};

static double own_cpu_us(void)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1e6 +
           (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
}

static bool fill_measure(struct server *server, const struct load_options *options, unsigned round,
                         struct measured *out, struct err *err)
{
    struct server_usage before, after;
    int64_t start_us = ring_clock_us(server->ring);
    if (!server_usage_read(server, &before, err) || !fill_run(server, options, round, err) ||
        !server_usage_read(server, &after, err))
        return false;
    out->fill_cpu_us += after.cpu_us - before.cpu_us;
    out->fill_us += ring_clock_us(server->ring) - start_us;
    if (round == 0)
        out->memory_bytes = after.memory_bytes - before.memory_bytes;
    return true;
}

static bool slice_measure(struct server *server, struct drain *drain, uint64_t jobs,
                          struct measured *out, struct err *err)
{
    struct server_usage before, after;
    struct drain_result result;
    double own = own_cpu_us();
    if (!server_usage_read(server, &before, err) || !drain_run(drain, jobs, &result, err) ||
        !server_usage_read(server, &after, err))
        return false;
    double ended = (double)result.ended;
    out->slice_cpu_us[out->slices] = (after.cpu_us - before.cpu_us) / ended;
    out->slice_rate[out->slices++] = ended * 1e6 / (double)result.elapsed_us;
    out->drain_cpu_us += after.cpu_us - before.cpu_us;
    out->own_cpu_us += own_cpu_us() - own;
    out->drained.leased += result.leased;
    out->drained.ended += result.ended;
    out->drained.visits += result.visits;
    out->drained.calls += result.calls;
    out->drained.elapsed_us += result.elapsed_us;
    return true;
}

static bool drain_measure(struct server *server, struct drain *drain,
                          const struct load_options *options, struct measured *out, struct err *err)
{
    uint64_t left = options->drain;
    for (unsigned i = 0; i < options->slices; i++) {
        /* A slice takes a little more than it's asked for: the last ones take what is left. */
        uint64_t jobs = MIN_OF(left, options->drain / options->slices), before = out->drained.ended;
        if (jobs > 0 && !slice_measure(server, drain, jobs, out, err))
            return false;
        left -= MIN_OF(left, out->drained.ended - before);
    }
    return true;
}

static bool rounds_run(struct server *server, const struct load_options *options,
                       const struct log *log, struct measured *out, struct err *err)
{
    struct drain *drain = NULL;
    bool ok = server_slowest_start(server, err);
    for (unsigned round = 0; ok && round < options->rounds; round++) {
        ok = fill_measure(server, options, round, out, err);
        if (ok && !drain)
            ok = drain_create(&drain, server->ring, options, log, err);
        ok = ok && drain_measure(server, drain, options, out, err);
    }
    ok = ok && server_slowest_read(server, &out->slowest, err);
    if (drain)
        drain_destroy(&drain);
    return ok;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void print_result(const struct load_options *options, struct measured *it)
{
    double queued = (double)options->jobs * options->rounds, ended = (double)it->drained.ended;
    qsort(it->slice_cpu_us, it->slices, sizeof *it->slice_cpu_us, by_size);
    qsort(it->slice_rate, it->slices, sizeof *it->slice_rate, by_size);
    printf("{\"jobs\":%llu,\"destinations\":%u,\"submissions\":%u,\"campaigns\":%u,\"rounds\":%u,"
           "\"drained\":%llu,\"slices\":%u,\"redis_cpu_us_per_job\":%.3f,"
           "\"redis_cpu_us_per_job_median\":%.3f,\"redis_cpu_us_per_job_mean\":%.3f,"
           "\"leases_per_second\":%.0f,\"leases_per_second_median\":%.0f,"
           "\"jobs_per_visit\":%.2f,\"jobs_per_call\":%.2f,\"driver_cpu_us_per_job\":%.3f,"
           "\"queueing_cpu_us_per_job\":%.3f,\"queued_per_second\":%.0f,"
           "\"memory_bytes_per_job\":%.1f,\"longest_us\":{",
           (unsigned long long)options->jobs, options->destinations, options->submissions,
           options->campaigns, options->rounds, (unsigned long long)it->drained.ended, it->slices,
           it->slice_cpu_us[it->slices / 4], it->slice_cpu_us[it->slices / 2],
           it->drain_cpu_us / ended, it->slice_rate[it->slices - 1 - it->slices / 4],
           it->slice_rate[it->slices / 2], ended / (double)it->drained.visits,
           ended / (double)it->drained.calls, it->own_cpu_us / ended, it->fill_cpu_us / queued,
           queued * 1e6 / (double)it->fill_us, (double)it->memory_bytes / (double)options->jobs);
    for (unsigned i = 0; i < SCRIPT_COUNT; i++)
        if (it->slowest.script_us[i] > 0)
            printf("\"%s\":%llu,", script_sources[i].name,
                   (unsigned long long)it->slowest.script_us[i]);
    printf("\"other\":%llu}}\n", (unsigned long long)it->slowest.other_us);
}

int main(int argc, char **argv)
{
    struct command_line line = { 0 };
    struct err err = { 0 };
    if (!command_line_parse(argc, argv, &line, &err)) {
        fprintf(stderr, "bench-queue: %s\nTry --help.\n", err.text);
        return EXIT_USAGE;
    }
    if (line.help) {
        fputs(usage, stdout);
        return EXIT_SUCCESS;
    }
    struct log log = { .fd = 2, .level = LOG_WARN };
    struct ring_options ring_options = { .log = &log, .receive_buffer_bytes = 16384 };
    struct ring *ring;
    struct server server;
    struct measured measured = { 0 };
    bool ok = ring_create(&ring, &ring_options, &err);
    if (ok) {
        ok = server_open(&server, ring, line.options.url, &log, &err);
        if (ok) {
            ok = rounds_run(&server, &line.options, &log, &measured, &err);
            server_close(&server);
        }
        ring_destroy(&ring);
    }
    if (!ok) {
        fprintf(stderr, "bench-queue: %s\n", err.text);
        return EXIT_FAILURE;
    }
    print_result(&line.options, &measured);
    return EXIT_SUCCESS;
}
