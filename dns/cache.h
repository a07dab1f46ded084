#pragma once
/* What is known until when: values by key, least recently used gone first, bounded in entries and
 * in bytes. */
#include "engine/base/list.h"
#include "engine/base/map.h"

struct dns_cache {
    struct map map;  /* key → struct dns_cached */
    struct list lru; /* most recently used in front */
    size_t bytes, bytes_max;
    unsigned entries_max;
    int64_t keep_ms; /* how long past its end an entry may be of use; 0, or set after init */
    void (*release)(struct slice key, void *value);
};

struct dns_cached {
    struct list node;
    void *value;
    int64_t expires_ms, useless_ms;
    size_t bytes; /* all that the entry costs */
    size_t key_len;
    char key[];
};

/** `bytes_max` counts the values' bytes as told to dns_cache_put() and the entries' own. `release`
 * gives back a value. */
void dns_cache_init(struct dns_cache *cache, unsigned entries_max, size_t bytes_max, uint64_t seed,
                    void (*release)(struct slice key, void *value));
void dns_cache_free(struct dns_cache *cache);
/** The value, still the cache's, or NULL when there's none or its time is over. An entry whose time
 * is over stays until it's replaced or pushed out. */
void *dns_cache_get(struct dns_cache *cache, struct slice key, int64_t now_ms);
/** The value whose time is over, for less than keep_ms since then; as a use. NULL: none. */
void *dns_cache_stale(struct dns_cache *cache, struct slice key, int64_t now_ms);
/** Gives a value more time. It's of use for no longer than it was. */
void dns_cache_extend(struct dns_cache *cache, struct slice key, int64_t expires_ms);
/** Takes `value` over, in place of what the key had. May release it at once if it alone is over the
 * bound. */
void dns_cache_put(struct dns_cache *cache, struct slice key, void *value, size_t bytes,
                   int64_t expires_ms, int64_t now_ms);
size_t dns_cache_count(const struct dns_cache *cache);
