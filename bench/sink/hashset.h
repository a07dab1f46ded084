#pragma once
/* A set of 64-bit hashes that several threads fill: the memory of "have I seen this before?". */
#include <pthread.h>

#include "engine/base/compiler.h"

#define HASHSET_SHARDS 64

struct hashset_shard {
    _Alignas(64) pthread_mutex_t lock;
    uint64_t *slots; /* 0: free */
    size_t room, count;
};

struct hashset {
    struct hashset_shard shards[HASHSET_SHARDS];
};

void hashset_init(struct hashset *set);
void hashset_deinit(struct hashset *set);
/** Puts `hash` in; true if it wasn't there before. Any thread. Grows as needed. */
bool hashset_insert(struct hashset *set, uint64_t hash);
/** How many hashes are in it. Any thread. */
uint64_t hashset_count(struct hashset *set);
