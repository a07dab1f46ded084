#pragma once
/* The thread that takes a node's counts of TLS sessions to Redis, and sends the reports that are
 * due (engine/report/README.md). */
#include "engine/app/config.h"
#include "engine/report/tally.h"

struct reporter;

struct reporter_options {
    const struct config *config;
    const struct log *log;
    const char *redis_url, *node;
    struct tls_tally *tally;
};
MUST_USE bool reporter_start(struct reporter **out, const struct reporter_options *options,
                             struct err *err);
/** Takes what is left to Redis first. */
void reporter_stop(struct reporter **reporter);
