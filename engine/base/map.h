#pragma once
/* A hash table from byte strings to pointers: open addressing, linear probing, power-of-two size. The key's
 * bytes belong to the entry's owner and must outlive the entry (they usually lie inside the value). */
#include "engine/base/slice.h"

struct map_entry {
    struct slice key; /* key.ptr NULL: free */
    uint64_t hash;
    void *value;
};

struct map {
    struct map_entry *entries;
    size_t room, count;
    uint64_t seed;
};

/** An empty map needs no memory. `seed` should be random where keys come from outside. */
void map_init(struct map *map, uint64_t seed);
void map_free(struct map *map);
/** The value, or NULL. */
void *map_get(const struct map *map, struct slice key);
/** Inserts or replaces; returns the value that was there before, or NULL. `value` isn't NULL. */
void *map_put(struct map *map, struct slice key, void *value);
/** Removes and returns the value, or NULL. */
void *map_remove(struct map *map, struct slice key);
/** The next entry at or after *cursor (start with 0), or NULL; no insertion or removal in between. */
struct map_entry *map_next(const struct map *map, size_t *cursor);
