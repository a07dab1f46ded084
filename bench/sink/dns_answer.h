#pragma once
/* Answers for the sink's made-up world: every name has mail exchangers, and their addresses are the
 * sink's. A pure function of the query, so that 10 million domains need no table. */
#include "bench/sink/endpoint.h"

struct dns_world {
    const struct endpoints *addresses; /* IPv4 ones are used */
    struct slice zone;                 /* lower case, without dots at its ends; empty: every name */
    unsigned sites;                    /* domains share so many MX host sets; 0: each has its own */
    unsigned hosts;                    /* MX hosts in a set */
    uint32_t ttl_seconds;
};

#define DNS_UDP_BYTES_MAX 1232 /* with EDNS; 512 without */
#define DNS_ANSWER_BYTES_MAX 4096

/**
 * Writes the answer to `query` (a DNS message) into `out` and returns its length; 0 means no answer
 * is due (not a query, too short, or a name that asks for silence). Over UDP an answer that doesn't
 * fit is truncated with TC.
 */
size_t dns_answer(const struct dns_world *world, struct slice query, bool tcp,
                  char out[static DNS_ANSWER_BYTES_MAX]);
