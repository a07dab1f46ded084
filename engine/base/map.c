#include "engine/base/map.h"

#include <stdlib.h>

#include "engine/base/mem.h"

void map_init(struct map *map, uint64_t seed)
{
    *map = (struct map){ .seed = seed };
}

void map_free(struct map *map)
{
    free(map->entries);
    *map = (struct map){ .seed = map->seed };
}

/* The entry of the key, or the free place where it belongs. The table is never full. */
static struct map_entry *map_find(const struct map *map, struct slice key, uint64_t hash)
{
    size_t mask = map->room - 1;
    for (size_t i = hash & mask;; i = (i + 1) & mask) {
        struct map_entry *entry = &map->entries[i];
        if (!entry->key.ptr || (entry->hash == hash && slice_eq(entry->key, key)))
            return entry;
    }
}

static void map_resize(struct map *map, size_t room)
{
    struct map old = *map;
    map->entries = mem_array(room, sizeof *map->entries);
    map->room = room;
    for (size_t i = 0; i < old.room; i++)
        if (old.entries[i].key.ptr)
            *map_find(map, old.entries[i].key, old.entries[i].hash) = old.entries[i];
    free(old.entries);
}

void *map_get(const struct map *map, struct slice key)
{
    if (map->count == 0)
        return NULL;
    struct map_entry *entry = map_find(map, key, slice_hash(key, map->seed));
    return entry->key.ptr ? entry->value : NULL;
}

void *map_put(struct map *map, struct slice key, void *value)
{
    assert(value && key.ptr);
    if ((map->count + 1) * 4 > map->room * 3)
        map_resize(map, map->room ? map->room * 2 : 16);
    uint64_t hash = slice_hash(key, map->seed);
    struct map_entry *entry = map_find(map, key, hash);
    void *before = entry->key.ptr ? entry->value : NULL;
    if (!before)
        map->count++;
    *entry = (struct map_entry){ key, hash, value };
    return before;
}

void *map_remove(struct map *map, struct slice key)
{
    if (map->count == 0)
        return NULL;
    struct map_entry *entry = map_find(map, key, slice_hash(key, map->seed));
    if (!entry->key.ptr)
        return NULL;
    void *value = entry->value;
    map->count--;
    /* Backward shift: entries behind move up into the hole when their home lies at or before it. */
    size_t mask = map->room - 1, hole = (size_t)(entry - map->entries);
    for (size_t i = (hole + 1) & mask; map->entries[i].key.ptr; i = (i + 1) & mask) {
        size_t home = map->entries[i].hash & mask;
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            map->entries[hole] = map->entries[i];
            hole = i;
        }
    }
    map->entries[hole] = (struct map_entry){ 0 };
    return value;
}

struct map_entry *map_next(const struct map *map, size_t *cursor)
{
    while (*cursor < map->room) {
        struct map_entry *entry = &map->entries[(*cursor)++];
        if (entry->key.ptr)
            return entry;
    }
    return NULL;
}
