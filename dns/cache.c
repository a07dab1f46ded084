#include "dns/cache.h"

/* Entries past their time aren't swept: each put looks at the two oldest and drops those that are
 * over, so that the cache shrinks towards what is alive at a constant cost, and what is asked for
 * often could still be served stale. The bound in bytes is for routes of a hundred hosts: a zone
 * with a wildcard can make as many of those as it likes, so a bound in entries alone would be none.
 * Owned by one resolver, on its thread. */
#include <stdlib.h>

#include "engine/base/mem.h"

#define SWEEP_PER_PUT 2

void dns_cache_init(struct dns_cache *cache, unsigned entries_max, size_t bytes_max, uint64_t seed,
                    void (*release)(struct slice key, void *value))
{
    assert(entries_max > 0 && bytes_max > 0);
    *cache = (struct dns_cache){ .bytes_max = bytes_max,
                                 .entries_max = entries_max,
                                 .release = release };
    map_init(&cache->map, seed);
    list_init(&cache->lru);
}

static struct slice key_of(const struct dns_cached *entry)
{
    return slice_of(entry->key, entry->key_len);
}

static void entry_drop(struct dns_cache *cache, struct dns_cached *entry)
{
    map_remove(&cache->map, key_of(entry));
    list_remove(&entry->node);
    cache->bytes -= entry->bytes;
    cache->release(key_of(entry), entry->value);
    free(entry);
}

static struct dns_cached *oldest(struct dns_cache *cache)
{
    return list_empty(&cache->lru) ? NULL : LIST_ENTRY(cache->lru.prev, struct dns_cached, node);
}

void dns_cache_free(struct dns_cache *cache)
{
    for (struct dns_cached *entry; (entry = oldest(cache)) != NULL;)
        entry_drop(cache, entry);
    map_free(&cache->map);
}

static void *used(struct dns_cache *cache, struct dns_cached *entry)
{
    list_remove(&entry->node);
    list_push_front(&cache->lru, &entry->node);
    return entry->value;
}

void *dns_cache_get(struct dns_cache *cache, struct slice key, int64_t now_ms)
{
    struct dns_cached *entry = map_get(&cache->map, key);
    return entry && entry->expires_ms > now_ms ? used(cache, entry) : NULL;
}

void *dns_cache_stale(struct dns_cache *cache, struct slice key, int64_t now_ms)
{
    struct dns_cached *entry = map_get(&cache->map, key);
    return entry && entry->expires_ms <= now_ms && entry->useless_ms > now_ms ? used(cache, entry)
                                                                              : NULL;
}

void dns_cache_extend(struct dns_cache *cache, struct slice key, int64_t expires_ms)
{
    struct dns_cached *entry = map_get(&cache->map, key);
    if (entry)
        entry->expires_ms = MIN_OF(expires_ms, entry->useless_ms);
}

void dns_cache_put(struct dns_cache *cache, struct slice key, void *value, size_t bytes,
                   int64_t expires_ms, int64_t now_ms)
{
    struct dns_cached *entry = map_get(&cache->map, key);
    if (entry)
        entry_drop(cache, entry);
    for (int i = 0; i < SWEEP_PER_PUT; i++) {
        entry = oldest(cache);
        if (entry && entry->useless_ms <= now_ms)
            entry_drop(cache, entry);
    }
    entry = mem_alloc(sizeof *entry + key.len);
    *entry =
        (struct dns_cached){ .value = value,
                             .expires_ms = expires_ms,
                             .useless_ms = expires_ms + cache->keep_ms,
                             .bytes = bytes + sizeof *entry + key.len + sizeof(struct map_entry),
                             .key_len = key.len };
    memcpy(entry->key, key.ptr, key.len);
    map_put(&cache->map, key_of(entry), entry);
    list_push_front(&cache->lru, &entry->node);
    cache->bytes += entry->bytes;
    while (cache->map.count > cache->entries_max || cache->bytes > cache->bytes_max)
        entry_drop(cache, oldest(cache));
}

size_t dns_cache_count(const struct dns_cache *cache)
{
    return cache->map.count;
}
