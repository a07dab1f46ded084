/* The command line of bench-blaster: one run, one line of JSON. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "bench/blaster/blaster.h"

#define EXIT_USAGE 2

static const char usage[] =
    "bench-blaster: the cheapest possible pipelined SMTP sender\n\n"
    "  --to LIST         addresses, as bench-sink's --listen (127.0.0.1:2525)\n"
    "  --shape SHAPE     pipe, dotpipe or bdat (pipe)\n"
    "  --flight K        messages per flight of bdat (1)\n"
    "  --connections N   sessions at a time (64)\n"
    "  --messages N      (100000)\n"
    "  --size BYTES      of a message (4096)\n"
    "  --to-domains N    recipients' domains (200)\n"
    "  --threads N       (1)\n"
    "  --prefix TEXT     of the recipients' local parts (u)\n";

static const char *const shape_names[] = {
    [BLASTER_PIPE] = "pipe", [BLASTER_DOTPIPE] = "dotpipe", [BLASTER_BDAT] = "bdat"
};

struct command_line {
    struct blaster_options options;
    const char *to;
    bool help;
};

static bool number(const char *name, uint64_t min, uint64_t max, uint64_t *out, struct err *err)
{
    if (slice_to_u64(slice_str(optarg), out) && *out >= min && *out <= max)
        return true;
    return err_set(err, ERR_USAGE, "--%s needs a number from %llu to %llu, not '%s'", name,
                   (unsigned long long)min, (unsigned long long)max, optarg);
}

static bool shape_parse(enum blaster_shape *out, struct err *err)
{
    for (unsigned i = 0; i < ARRAY_LEN(shape_names); i++) {
        if (strcmp(optarg, shape_names[i]) == 0) {
            *out = i;
            return true;
        }
    }
    return err_set(err, ERR_USAGE, "--shape is pipe, dotpipe or bdat, not '%s'", optarg);
}

static bool option_apply(struct command_line *line, int id, const char *name, struct err *err)
{
    struct blaster_options *options = &line->options;
    uint64_t n = 0;
    switch (id) {
    case 't':
        line->to = optarg;
        return true;
    case 's':
        return shape_parse(&options->shape, err);
    case 'p':
        options->prefix = optarg;
        return true;
    case 'h':
        line->help = true;
        return true;
    case 'm':
        return number(name, 1, 9999999999, &options->messages, err);
    case 'b':
        if (!number(name, 1, 1u << 30, &n, err))
            return false;
        options->size_bytes = (size_t)n;
        return true;
    case 'k':
        if (!number(name, 1, BLASTER_FLIGHT_MAX, &n, err))
            return false;
        options->flight = (unsigned)n;
        return true;
    default:
        if (!number(name, 1, 999999, &n, err))
            return false;
        *(id == 'c'   ? &options->connections
          : id == 'd' ? &options->to_domains
                      : &options->threads) = (unsigned)n;
        return true;
    }
}

static bool command_line_parse(int argc, char **argv, struct command_line *line, struct err *err)
{
    static const struct option long_options[] = {
        { "to", required_argument, NULL, 't' },
        { "shape", required_argument, NULL, 's' },
        { "flight", required_argument, NULL, 'k' },
        { "connections", required_argument, NULL, 'c' },
        { "messages", required_argument, NULL, 'm' },
        { "size", required_argument, NULL, 'b' },
        { "to-domains", required_argument, NULL, 'd' },
        { "threads", required_argument, NULL, 'n' },
        { "prefix", required_argument, NULL, 'p' },
        { "help", no_argument, NULL, 'h' },
        { NULL, 0, NULL, 0 },
    };
    line->to = "127.0.0.1:2525";
    line->options = (struct blaster_options){
        .flight = 1,
        .connections = 64,
        .threads = 1,
        .to_domains = 200,
        .messages = 100000,
        .size_bytes = 4096,
        .prefix = "u",
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
    if (line->options.threads > line->options.connections)
        return err_set(err, ERR_USAGE, "more threads than connections");
    return true;
}

static void print_result(const struct blaster_options *options, const struct blaster_result *result)
{
    double messages = (double)(result->accepted ? result->accepted : 1);
    double seconds = (double)result->elapsed_us / 1e6;
    printf("{\"shape\":\"%s\",\"flight\":%u,\"connections\":%u,\"threads\":%u,\"size_bytes\":%zu,"
           "\"accepted\":%llu,\"refused\":%llu,\"failed_connections\":%llu,\"seconds\":%.6f,"
           "\"messages_per_second\":%.1f,\"cpu_us_per_message\":%.3f,\"user_us_per_message\":%.3f,"
           "\"system_us_per_message\":%.3f}\n",
           shape_names[options->shape], options->flight, options->connections, options->threads,
           options->size_bytes, (unsigned long long)result->accepted,
           (unsigned long long)result->refused, (unsigned long long)result->failed_connections,
           seconds, (double)result->accepted / seconds,
           (double)(result->user_us + result->system_us) / messages,
           (double)result->user_us / messages, (double)result->system_us / messages);
}

int main(int argc, char **argv)
{
    struct command_line line = { 0 };
    struct err err = { 0 };
    struct endpoints targets = { 0 };
    struct rlimit descriptors;
    if (!command_line_parse(argc, argv, &line, &err) ||
        (!line.help && !endpoints_parse(slice_str(line.to), &targets, &err))) {
        fprintf(stderr, "bench-blaster: %s\nTry --help.\n", err.text);
        return EXIT_USAGE;
    }
    if (line.help) {
        fputs(usage, stdout);
        return EXIT_SUCCESS;
    }
    if (getrlimit(RLIMIT_NOFILE, &descriptors) == 0) {
        descriptors.rlim_cur = descriptors.rlim_max;
        setrlimit(RLIMIT_NOFILE, &descriptors);
    }
    struct blaster_result result = { 0 };
    line.options.targets = &targets;
    bool ran = blaster_run(&line.options, &result, &err);
    endpoints_free(&targets);
    if (!ran) {
        fprintf(stderr, "bench-blaster: %s\n", err.text);
        return EXIT_FAILURE;
    }
    print_result(&line.options, &result);
    return result.accepted == line.options.messages ? EXIT_SUCCESS : EXIT_FAILURE;
}
