#pragma once
/* xoshiro256++: fast, seeded, one per worker; for shuffling, jitter and boundaries, never for secrets. */
#include "engine/base/compiler.h"

struct rng {
    uint64_t state[4];
};

void rng_seed(struct rng *rng, uint64_t seed);
uint64_t rng_next(struct rng *rng);
/** Uniform in [0, n), n > 0. */
uint64_t rng_below(struct rng *rng, uint64_t n);
/** A seed from the operating system. */
uint64_t rng_system_seed(void);
