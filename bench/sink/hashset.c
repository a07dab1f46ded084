/* Open addressing with linear probing, split into shards by the hash's low bits so that two threads
 * rarely meet at a lock. Two different keys with one 64-bit hash would count as a duplicate: 3 in
 * 10^6 for 10^7 keys. */
#include "bench/sink/hashset.h"

#include <stdlib.h>

#include "engine/base/mem.h"

#define SHARD_ROOM_FIRST 64

void hashset_init(struct hashset *set)
{
    for (size_t i = 0; i < HASHSET_SHARDS; i++) {
        set->shards[i] = (struct hashset_shard){ .room = 0 };
        pthread_mutex_init(&set->shards[i].lock, NULL);
    }
}

void hashset_deinit(struct hashset *set)
{
    for (size_t i = 0; i < HASHSET_SHARDS; i++) {
        pthread_mutex_destroy(&set->shards[i].lock);
        free(set->shards[i].slots);
    }
}

/* The slot that holds `hash`, or the free one where it belongs. The shard has a free slot. */
static uint64_t *shard_find(const struct hashset_shard *shard, uint64_t hash)
{
    size_t at = (hash / HASHSET_SHARDS) & (shard->room - 1);
    while (shard->slots[at] != 0 && shard->slots[at] != hash)
        at = (at + 1) & (shard->room - 1);
    return &shard->slots[at];
}

static void shard_grow(struct hashset_shard *shard)
{
    struct hashset_shard before = *shard;
    shard->room = before.room ? before.room * 2 : SHARD_ROOM_FIRST;
    shard->slots = mem_array(shard->room, sizeof shard->slots[0]);
    for (size_t i = 0; i < before.room; i++)
        if (before.slots[i] != 0)
            *shard_find(shard, before.slots[i]) = before.slots[i];
    free(before.slots);
}

bool hashset_insert(struct hashset *set, uint64_t hash)
{
    if (hash == 0)
        hash = 1; /* 0 marks a free slot */
    struct hashset_shard *shard = &set->shards[hash % HASHSET_SHARDS];
    pthread_mutex_lock(&shard->lock);
    if (shard->count * 10 >= shard->room * 7)
        shard_grow(shard);
    uint64_t *slot = shard_find(shard, hash);
    bool fresh = *slot == 0;
    if (fresh) {
        *slot = hash;
        shard->count++;
    }
    pthread_mutex_unlock(&shard->lock);
    return fresh;
}

uint64_t hashset_count(struct hashset *set)
{
    uint64_t count = 0;
    for (size_t i = 0; i < HASHSET_SHARDS; i++) {
        pthread_mutex_lock(&set->shards[i].lock);
        count += set->shards[i].count;
        pthread_mutex_unlock(&set->shards[i].lock);
    }
    return count;
}
