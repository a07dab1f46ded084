#pragma once
/* When to try again. */
#include "engine/base/rng.h"
#include "engine/deliver/deliver.h"

struct retry_case {
    unsigned class; /* of the job */
    const char *category;
    unsigned attempts; /* before this one */
    unsigned asked_s;  /* the server's "try again in …"; 0: it didn't say */
};

/** The pause before the next attempt, in ms: by the first schedule that fits class and category,
 * jittered; never shorter than what the server asked for. */
int64_t retry_pause_ms(const struct deliver_options *options, struct rng *rng,
                       const struct retry_case *of);
/** A pause in ms, longer or shorter by up to the configured jitter. */
int64_t retry_jitter_ms(const struct deliver_options *options, struct rng *rng, int64_t pause_s);
