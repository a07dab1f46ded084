/* The command line of bench-sink. It says on standard output, in one JSON line, which ports it
 * listens on, and then waits for signals: SIGUSR1 writes the report and goes on, SIGTERM and SIGINT
 * write it and end. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "bench/sink/sink.h"
#include "engine/base/rng.h"

#define EXIT_USAGE 2
#define SCRIPT_BYTES_MAX (1u << 20)

enum option_id {
    OPTION_LISTEN = 256,
    OPTION_THREADS,
    OPTION_IO,
    OPTION_HOSTNAME,
    OPTION_NO_CHUNKING,
    OPTION_NO_PIPELINING,
    OPTION_SIZE_MAX,
    OPTION_STARTTLS,
    OPTION_REQUIRETLS,
    OPTION_CERTIFICATE,
    OPTION_KEY,
    OPTION_DELAY_MS,
    OPTION_SCRIPT,
    OPTION_LEDGER,
    OPTION_LEDGER_DIGEST,
    OPTION_UNIQUE_BY_ID,
    OPTION_INSPECT,
    OPTION_LIST_DUPLICATES,
    OPTION_LATENCY,
    OPTION_SEED,
    OPTION_DNS,
    OPTION_ZONE,
    OPTION_SITES,
    OPTION_MX_HOSTS,
    OPTION_TTL,
    OPTION_STATS,
    OPTION_REPORT,
    OPTION_HELP,
};

static const struct {
    const char *name, *argument, *help;
    enum option_id id;
} option_table[] = {
    { "listen", "LIST", "addresses: 127.0.0.1-127.0.0.200:2525,[::1]:2525 (127.0.0.1:2525)",
      OPTION_LISTEN },
    { "threads", "N", "receiving threads (1)", OPTION_THREADS },
    { "io", "BODY", "io_uring, epoll or auto (auto)", OPTION_IO },
    { "hostname", "NAME", "in greeting, EHLO and certificate (sink.invalid)", OPTION_HOSTNAME },
    { "no-chunking", NULL, "don't offer CHUNKING", OPTION_NO_CHUNKING },
    { "no-pipelining", NULL, "don't offer PIPELINING", OPTION_NO_PIPELINING },
    { "size-max", "BYTES", "limit of SIZE (67108864)", OPTION_SIZE_MAX },
    { "starttls", NULL, "offer STARTTLS, with a certificate of its own making", OPTION_STARTTLS },
    { "requiretls", NULL, "offer REQUIRETLS inside TLS", OPTION_REQUIRETLS },
    { "certificate", "FILE", "PEM chain for STARTTLS", OPTION_CERTIFICATE },
    { "key", "FILE", "PEM key of the certificate", OPTION_KEY },
    { "delay-ms", "N", "answer everything after N ms (0)", OPTION_DELAY_MS },
    { "script", "FILE", "scripted replies, delays and faults", OPTION_SCRIPT },
    { "ledger", "FILE", "append one line per accepted recipient", OPTION_LEDGER },
    { "ledger-digest", NULL, "with the SHA-256 of the message", OPTION_LEDGER_DIGEST },
    { "unique-by-id", NULL, "unique means recipient and Message-ID, not recipient",
      OPTION_UNIQUE_BY_ID },
    { "inspect", NULL, "count bare CR, bare LF and long lines in content", OPTION_INSPECT },
    { "list-duplicates", "N", "how many duplicates the report names (100)",
      OPTION_LIST_DUPLICATES },
    { "latency", NULL, "report the time from MAIL to end-of-data", OPTION_LATENCY },
    { "seed", "N", "of the script's probabilities (random, printed)", OPTION_SEED },
    { "dns", "ADDRESS:PORT", "answer DNS queries there", OPTION_DNS },
    { "zone", "NAME", "only for names in this zone (all)", OPTION_ZONE },
    { "sites", "N", "domains share N MX host sets (each has its own)", OPTION_SITES },
    { "mx-hosts", "N", "MX hosts per set (1)", OPTION_MX_HOSTS },
    { "ttl", "SECONDS", "of DNS answers (300)", OPTION_TTL },
    { "stats", "ADDRESS:PORT", "the report over HTTP", OPTION_STATS },
    { "report", "FILE", "write the report there (standard output)", OPTION_REPORT },
    { "help", NULL, "this text", OPTION_HELP },
};

struct command_line {
    struct sink_options options;
    const char *script_file, *report_file;
    bool seeded, help;
};

static void usage(FILE *to)
{
    fputs("bench-sink: an SMTP receiver that stands for the world's mail exchangers\n\n", to);
    for (size_t i = 0; i < ARRAY_LEN(option_table); i++) {
        char head[48];
        snprintf(head, sizeof head, "--%s %s", option_table[i].name,
                 option_table[i].argument ? option_table[i].argument : "");
        fprintf(to, "  %-24s %s\n", head, option_table[i].help);
    }
}

static bool number(const char *name, uint64_t max, uint64_t *out, struct err *err)
{
    if (slice_to_u64(slice_str(optarg), out) && *out <= max)
        return true;
    return err_set(err, ERR_USAGE, "--%s needs a number up to %llu, not '%s'", name,
                   (unsigned long long)max, optarg);
}

static bool io_parse(const char *name, enum sink_io *out, struct err *err)
{
    static const char *const names[] = {
        [SINK_IO_AUTO] = "auto", [SINK_IO_URING] = "io_uring", [SINK_IO_EPOLL] = "epoll"
    };
    for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
        if (strcmp(name, names[i]) == 0) {
            *out = i;
            return true;
        }
    }
    return err_set(err, ERR_USAGE, "--io is io_uring, epoll or auto, not '%s'", name);
}

/* One flat switch: one case per option. */
static bool option_apply(struct command_line *line, enum option_id id, const char *name,
                         struct err *err)
{
    struct sink_options *options = &line->options;
    uint64_t n = 0;
    switch (id) {
    case OPTION_LISTEN:
        options->listen = optarg;
        return true;
    case OPTION_THREADS:
        if (!number(name, 256, &n, err))
            return false;
        options->threads = (unsigned)n;
        return true;
    case OPTION_IO:
        return io_parse(optarg, &options->io, err);
    case OPTION_HOSTNAME:
        options->hostname = optarg;
        return true;
    case OPTION_NO_CHUNKING:
        options->no_chunking = true;
        return true;
    case OPTION_NO_PIPELINING:
        options->no_pipelining = true;
        return true;
    case OPTION_SIZE_MAX:
        return number(name, UINT64_MAX, &options->size_bytes_max, err);
    case OPTION_REQUIRETLS:
        options->requiretls = true;
        return true;
    case OPTION_STARTTLS:
        options->starttls = true;
        return true;
    case OPTION_CERTIFICATE:
        options->starttls = true;
        options->certificate_file = optarg;
        return true;
    case OPTION_KEY:
        options->key_file = optarg;
        return true;
    case OPTION_DELAY_MS:
        if (!number(name, 86400000, &n, err))
            return false;
        options->delay_ms = (unsigned)n;
        return true;
    case OPTION_SCRIPT:
        line->script_file = optarg;
        return true;
    case OPTION_LEDGER:
        options->ledger_file = optarg;
        return true;
    case OPTION_LEDGER_DIGEST:
        options->ledger_digest = true;
        return true;
    case OPTION_UNIQUE_BY_ID:
        options->id_in_key = true;
        return true;
    case OPTION_INSPECT:
        options->inspect = true;
        return true;
    case OPTION_LIST_DUPLICATES:
        if (!number(name, 1000000, &n, err))
            return false;
        options->duplicates_listed_max = (size_t)n;
        return true;
    case OPTION_LATENCY:
        options->latency = true;
        return true;
    case OPTION_SEED:
        line->seeded = true;
        return number(name, UINT64_MAX, &options->seed, err);
    case OPTION_DNS:
        options->dns_listen = optarg;
        return true;
    case OPTION_ZONE:
        options->dns_zone = optarg;
        return true;
    case OPTION_SITES:
    case OPTION_MX_HOSTS:
    case OPTION_TTL:
        if (!number(name, id == OPTION_MX_HOSTS ? 16 : 1000000000, &n, err))
            return false;
        *(id == OPTION_SITES      ? &options->dns_sites
          : id == OPTION_MX_HOSTS ? &options->dns_hosts
                                  : &options->dns_ttl_seconds) = (uint32_t)n;
        return true;
    case OPTION_STATS:
        options->stats_listen = optarg;
        return true;
    case OPTION_REPORT:
        line->report_file = optarg;
        return true;
    case OPTION_HELP:
        line->help = true;
        return true;
    }
    return false;
}

static bool command_line_parse(int argc, char **argv, struct command_line *line, struct err *err)
{
    struct option long_options[ARRAY_LEN(option_table) + 1] = { 0 };
    for (size_t i = 0; i < ARRAY_LEN(option_table); i++)
        long_options[i] = (struct option){
            .name = option_table[i].name,
            .has_arg = option_table[i].argument ? required_argument : no_argument,
            .val = option_table[i].id,
        };
    line->options = sink_options_default();
    line->options.listen = "127.0.0.1:2525";
    line->options.seed = rng_system_seed();
    opterr = 0;
    optind = 1;
    int id, index = 0;
    while ((id = getopt_long(argc, argv, "", long_options, &index)) != -1) {
        if (id == '?')
            return err_set(err, ERR_USAGE, "unknown option or missing value: %s", argv[optind - 1]);
        if (!option_apply(line, (enum option_id)id, long_options[index].name, err))
            return false;
    }
    if (optind < argc)
        return err_set(err, ERR_USAGE, "unexpected argument '%s'", argv[optind]);
    return true;
}

static bool file_read(const char *path, struct buf *out, struct err *err)
{
    FILE *file = fopen(path, "re");
    if (!file)
        return err_system(err, errno, "cannot read %s", path);
    char *to = buf_reserve(out, SCRIPT_BYTES_MAX);
    buf_grow(out, fread(to, 1, SCRIPT_BYTES_MAX, file));
    bool whole = !ferror(file) && fgetc(file) == EOF;
    fclose(file);
    return whole || err_set(err, ERR_INPUT, "%s cannot be read or is above 1 MiB", path);
}

/* Written whole and renamed, so that a reader never sees half a report. */
static void report_write(struct sink *sink, const char *path)
{
    struct buf report = BUF_EMPTY, temporary = BUF_EMPTY;
    sink_report(sink, &report);
    if (!path) {
        fputs(buf_cstr(&report), stdout);
        fflush(stdout);
    } else {
        buf_printf(&temporary, "%s.new", path);
        FILE *file = fopen(buf_cstr(&temporary), "we");
        bool wrote = file && fputs(buf_cstr(&report), file) >= 0;
        wrote = file && fclose(file) == 0 && wrote && rename(buf_cstr(&temporary), path) == 0;
        if (!wrote)
            fprintf(stderr, "bench-sink: cannot write %s: %s\n", path, strerror(errno));
    }
    buf_free(&report);
    buf_free(&temporary);
}

static void wait_for_end(struct sink *sink, const sigset_t *signals, const char *report_file)
{
    for (;;) {
        int signal_number = 0;
        if (sigwait(signals, &signal_number) != 0)
            continue;
        report_write(sink, report_file);
        if (signal_number != SIGUSR1)
            return;
    }
}

static int run(struct command_line *line)
{
    struct buf script = BUF_EMPTY;
    struct err err = { 0 };
    struct rlimit descriptors;
    if (getrlimit(RLIMIT_NOFILE, &descriptors) == 0) {
        descriptors.rlim_cur = descriptors.rlim_max;
        setrlimit(RLIMIT_NOFILE, &descriptors);
    }
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGUSR1);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    struct sink *sink = NULL;
    bool started = !line->script_file || file_read(line->script_file, &script, &err);
    if (started && line->script_file)
        line->options.script_text = buf_cstr(&script);
    started = started && sink_start(&line->options, &sink, &err);
    buf_free(&script);
    if (!started) {
        fprintf(stderr, "bench-sink: %s\n", err.text);
        return EXIT_FAILURE;
    }
    printf("{\"smtp_port\":%u,\"dns_port\":%u,\"stats_port\":%u,\"seed\":%llu,\"pid\":%d}\n",
           sink_smtp_port(sink), sink_dns_port(sink), sink_stats_port(sink),
           (unsigned long long)line->options.seed, (int)getpid());
    fflush(stdout);
    wait_for_end(sink, &signals, line->report_file);
    sink_stop(&sink);
    return EXIT_SUCCESS;
}

int sink_main(int argc, char **argv)
{
    struct command_line line = { 0 };
    struct err err = { 0 };
    if (!command_line_parse(argc, argv, &line, &err)) {
        fprintf(stderr, "bench-sink: %s\nTry --help.\n", err.text);
        return EXIT_USAGE;
    }
    if (line.help) {
        usage(stdout);
        return EXIT_SUCCESS;
    }
    return run(&line);
}
