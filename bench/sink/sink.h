#pragma once
/* An SMTP receiver that stands for the world's mail exchangers: much cheaper than the engine it
 * receives from, with code of its own, because it is the engine's judge. With it come a DNS
 * responder for its own names and a report of what it saw. */
#include "bench/sink/counters.h"
#include "engine/base/buf.h"
#include "engine/base/err.h"

enum sink_io { SINK_IO_AUTO, SINK_IO_URING, SINK_IO_EPOLL };

struct sink_options {
    const char *listen; /* see endpoints_parse; port 0: one free port, the same on all addresses */
    unsigned threads;
    enum sink_io io;
    const char *hostname;
    bool no_chunking, no_pipelining;
    uint64_t size_bytes_max;
    bool starttls;
    bool requiretls;                         /* offered inside TLS (RFC 8689) */
    const char *certificate_file, *key_file; /* PEM; NULL: a certificate of its own making */
    unsigned delay_ms;                       /* before every reply */
    const char *script_text;                 /* NULL: none; see script.h */
    const char *ledger_file;                 /* NULL: none */
    bool ledger_digest;                      /* SHA-256 of each message in the ledger */
    bool id_in_key; /* unique by recipient and Message-ID, not by recipient */
    bool inspect;   /* count bare CR, bare LF and long lines in content */
    size_t duplicates_listed_max;
    bool latency;
    uint64_t seed; /* of the script's probabilities */

    const char *dns_listen; /* one address; NULL: no responder */
    const char *dns_zone;   /* "" or NULL: every name */
    unsigned dns_sites;     /* domains share this many MX host sets; 0: each has its own */
    unsigned dns_hosts;     /* MX hosts per set */
    uint32_t dns_ttl_seconds;

    const char *stats_listen; /* one address for HTTP; NULL: none */
};

/** One thread, 127.0.0.1 and a free port, all extensions but STARTTLS, nothing scripted. */
struct sink_options sink_options_default(void);

struct sink;

/**
 * Listens and receives until sink_stop; threads of its own, signals blocked in them. The strings of
 * `options` may go after the call. On false nothing is left behind.
 */
MUST_USE bool sink_start(const struct sink_options *options, struct sink **out, struct err *err);
/** Ends the threads, writes the ledger's rest, frees. Open sessions are cut. */
void sink_stop(struct sink **sink);

/** The ports in use, also where the options said 0; 0 where there is no such service. */
uint16_t sink_smtp_port(const struct sink *sink);
uint16_t sink_dns_port(const struct sink *sink);
uint16_t sink_stats_port(const struct sink *sink);

struct sink_totals {
#define SINK_TOTAL_FIELD(name) uint64_t name;
    SINK_COUNTERS(SINK_TOTAL_FIELD)
#undef SINK_TOTAL_FIELD
    uint64_t unique, duplicates;
    uint64_t sessions_open, sessions_peak;
    uint64_t sessions_peak_per_address; /* on the busiest of the sink's addresses */
    uint64_t session_messages_max;      /* the most messages one session brought */
};

/** The sum of what all threads counted up to now. Any thread. */
void sink_totals(struct sink *sink, struct sink_totals *out);
/** The report as a JSON object with a newline; bench/README.md names its fields. Any thread. */
void sink_report(struct sink *sink, struct buf *out);

/** The command line `bench-sink`; returns the exit code. */
int sink_main(int argc, char **argv);
