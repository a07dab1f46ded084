#pragma once
/* Seeds of the random tests: printed, and taken from EILPOST_SEED, so that a failure can be repeated. */
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/rng.h"

static inline uint64_t test_seed(const char *name)
{
    const char *given = getenv("EILPOST_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 0) : rng_system_seed();
    printf("%s: EILPOST_SEED=0x%llx\n", name, (unsigned long long)seed);
    fflush(stdout);
    return seed;
}
