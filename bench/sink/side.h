#pragma once
/* The sink's second thread: answers DNS queries and shows the report over HTTP. Neither is hot. */
#include "bench/sink/dns_answer.h"
#include "bench/sink/sink.h"
#include "engine/base/err.h"

struct side;

struct side_options {
    const char *dns_listen, *stats_listen; /* NULL: not offered */
    struct dns_world world;                /* its addresses and zone outlive the side */
    struct sink *sink;
    struct sink_counters *counters; /* written by the side's thread only */
};

MUST_USE bool side_start(const struct side_options *options, struct side **out, struct err *err);
void side_stop(struct side **side);
uint16_t side_dns_port(const struct side *side);
uint16_t side_stats_port(const struct side *side);
