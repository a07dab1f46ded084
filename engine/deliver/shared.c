#include "engine/deliver/shared.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "engine/base/map.h"
#include "engine/base/mem.h"
#include "engine/base/rng.h"

struct site_limit {
    atomic_uint connections;
    atomic_uint bulk;    /* of them carry other than transactional mail */
    atomic_uint wishes;  /* tries that failed since the last connection was given back */
    unsigned references; /* under the table's lock */
    size_t key_len;
    char key[]; /* "SOURCE SITE" */
};

struct deliver_shared {
    pthread_mutex_t lock;
    struct map limits;
};

struct deliver_shared *deliver_shared_create(void)
{
    struct deliver_shared *shared = mem_zalloc(sizeof *shared);
    pthread_mutex_init(&shared->lock, NULL);
    map_init(&shared->limits, rng_system_seed());
    return shared;
}

void deliver_shared_destroy(struct deliver_shared **shared)
{
    if (!*shared)
        return;
    assert((*shared)->limits.count == 0);
    map_free(&(*shared)->limits);
    pthread_mutex_destroy(&(*shared)->lock);
    free(*shared);
    *shared = NULL;
}

struct site_limit *site_limit_hold(struct deliver_shared *shared, struct slice site,
                                   unsigned source)
{
    size_t key_len = site.len + sizeof source;
    struct site_limit *fresh = mem_zalloc(sizeof *fresh + key_len);
    memcpy(fresh->key, &source, sizeof source);
    memcpy(fresh->key + sizeof source, site.ptr, site.len);
    fresh->key_len = key_len;

    pthread_mutex_lock(&shared->lock);
    struct site_limit *limit = map_get(&shared->limits, slice_of(fresh->key, key_len));
    if (!limit) {
        limit = fresh;
        fresh = NULL;
        map_put(&shared->limits, slice_of(limit->key, key_len), limit);
    }
    limit->references++;
    pthread_mutex_unlock(&shared->lock);
    free(fresh);
    return limit;
}

void site_limit_release(struct deliver_shared *shared, struct site_limit *limit)
{
    pthread_mutex_lock(&shared->lock);
    bool last = --limit->references == 0;
    if (last)
        map_remove(&shared->limits, slice_of(limit->key, limit->key_len));
    pthread_mutex_unlock(&shared->lock);
    if (last)
        free(limit);
}

static bool take_one(atomic_uint *counter, unsigned max)
{
    unsigned now = atomic_load_explicit(counter, memory_order_relaxed);
    while (now < max)
        if (atomic_compare_exchange_weak_explicit(counter, &now, now + 1, memory_order_acq_rel,
                                                  memory_order_relaxed))
            return true;
    return false;
}

static void give_one(atomic_uint *counter)
{
    unsigned before = atomic_fetch_sub_explicit(counter, 1, memory_order_acq_rel);
    assert(before > 0);
}

bool site_limit_take(struct site_limit *limit, unsigned max)
{
    if (take_one(&limit->connections, max))
        return true;
    atomic_fetch_add_explicit(&limit->wishes, 1, memory_order_relaxed);
    return false;
}

void site_limit_give(struct site_limit *limit)
{
    give_one(&limit->connections);
    atomic_store_explicit(&limit->wishes, 0, memory_order_relaxed);
}

bool site_limit_wanted(const struct site_limit *limit)
{
    return atomic_load_explicit(&limit->wishes, memory_order_relaxed) > 0;
}

bool site_limit_take_bulk(struct site_limit *limit, unsigned max)
{
    return take_one(&limit->bulk, max);
}

void site_limit_give_bulk(struct site_limit *limit)
{
    give_one(&limit->bulk);
}
