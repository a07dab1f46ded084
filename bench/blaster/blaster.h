#pragma once
/* The cheapest possible pipelined SMTP sender: no queue, no DNS, no rendering, no retries. What it
 * costs per message is the limit that the engine is measured against. */
#include "bench/sink/endpoint.h"

enum blaster_shape {
    BLASTER_PIPE,    /* MAIL RCPT DATA, then body and dot: two round trips a message */
    BLASTER_DOTPIPE, /* body, dot and the next MAIL RCPT DATA: one */
    BLASTER_BDAT, /* several MAIL RCPT BDAT with their bodies, RSET between them: one per flight */
};

#define BLASTER_FLIGHT_MAX 64

struct blaster_options {
    const struct endpoints *targets; /* connections are dealt out over them in turn */
    enum blaster_shape shape;
    unsigned flight; /* messages per flight, BLASTER_BDAT only */
    unsigned connections, threads, to_domains;
    uint64_t messages;
    size_t size_bytes;  /* of a message's content */
    const char *prefix; /* of the recipients' local parts, to tell runs apart */
};

struct blaster_result {
    uint64_t accepted,
        refused; /* replies to end-of-data; refused also counts messages of failed connections */
    uint64_t failed_connections;
    int64_t elapsed_us, user_us, system_us; /* from the first envelope to the last reply */
};

/** Connects, sends all messages, measures, says QUIT. False if nothing could be sent at all. */
MUST_USE bool blaster_run(const struct blaster_options *options, struct blaster_result *out,
                          struct err *err);
