/* The command line of bench-tls: the engine's handshakes and OpenSSL's own in turn, one line of
 * JSON. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench/tls/handshakes.h"
#include "engine/base/slice.h"

#define EXIT_USAGE 2
enum { SLICES_MAX = 100 };

static const char usage[] =
    "bench-tls: TLS handshakes, the engine's way and OpenSSL's own, in turn\n\n"
    "  --count N     handshakes in a slice (2000)\n"
    "  --slices N    of each kind, 1 to 100 (5)\n"
    "  --at-once N   of the engine's connections (32)\n";

struct kind {
    const char *name;
    bool ours, resume;
    double us[SLICES_MAX]; /* CPU per handshake, a slice each */
    unsigned count, resumed;
};

static int compare(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

/* The median: single slices are disturbed by what else the machine does. */
static double middle(double *values, unsigned count)
{
    qsort(values, count, sizeof *values, compare);
    return values[count / 2];
}

static bool number(const char *name, unsigned max, unsigned *out, struct err *err)
{
    uint64_t n;
    if (!slice_to_u64(slice_str(optarg), &n) || n < 1 || n > max)
        return err_set(err, ERR_USAGE, "--%s needs a number from 1 to %u, not '%s'", name, max,
                       optarg);
    *out = (unsigned)n;
    return true;
}

static bool measure(uint16_t port, unsigned count, unsigned slices, unsigned at_once,
                    struct kind *kinds, size_t kind_count, struct err *err)
{
    for (unsigned slice = 0; slice < slices; slice++) {
        for (size_t i = 0; i < kind_count; i++) {
            struct handshakes done;
            struct kind *kind = &kinds[i];
            if (!(kind->ours ? handshakes_ours(port, count, at_once, kind->resume, &done, err)
                             : handshakes_bare(port, count, kind->resume, &done, err)))
                return false;
            kind->us[slice] = done.cpu_s * 1e6 / done.count;
            kind->count += done.count;
            kind->resumed += done.resumed;
        }
    }
    return true;
}

int main(int argc, char **argv)
{
    static const struct option options[] = { { "count", required_argument, NULL, 'c' },
                                             { "slices", required_argument, NULL, 's' },
                                             { "at-once", required_argument, NULL, 'a' },
                                             { "help", no_argument, NULL, 'h' },
                                             { 0 } };
    struct kind kinds[] = { { .name = "full_bare" },
                            { .name = "full_ours", .ours = true },
                            { .name = "resumed_bare", .resume = true },
                            { .name = "resumed_ours", .ours = true, .resume = true } };
    unsigned count = 2000, slices = 5, at_once = 32;
    struct err err = { 0 };
    uint16_t port;
    for (int id; (id = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (id == 'h')
            return fputs(usage, stdout) < 0;
        if (id == '?' || !number(id == 'c'   ? "count"
                                 : id == 's' ? "slices"
                                             : "at-once",
                                 id == 's' ? SLICES_MAX : 1000000,
                                 id == 'c'   ? &count
                                 : id == 's' ? &slices
                                             : &at_once,
                                 &err)) {
            fprintf(stderr, "bench-tls: %s\nTry --help.\n", err.text);
            return EXIT_USAGE;
        }
    }
    if (!handshake_server_start(&port, &err) ||
        !measure(port, count, slices, at_once, kinds, ARRAY_LEN(kinds), &err)) {
        fprintf(stderr, "bench-tls: %s\n", err.text);
        return 1;
    }
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        printf("%c\"%s_us\": %.2f, \"%s_resumed\": %.4f", i ? ',' : '{', kinds[i].name,
               middle(kinds[i].us, slices), kinds[i].name,
               (double)kinds[i].resumed / kinds[i].count);
    puts("}");
    return 0;
}
