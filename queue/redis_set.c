#include "queue/redis_set.h"

#include <stdlib.h>

#include "engine/base/mem.h"

struct set_server {
    struct redis_set *set;
    struct redis *redis;
    max_align_t data[]; /* the user's */
};

struct redis_set {
    const struct redis_set_events *events;
    void *user;
    struct set_server *server;
};

/* ---- what the servers tell ---- */

static void on_up(void *user)
{
    struct set_server *server = user;
    server->set->events->up(server->set->user, server->redis);
}

static void on_down(void *user)
{
    struct set_server *server = user;
    server->set->events->down(server->set->user, server->redis);
}

static void on_stopped(void *user)
{
    struct set_server *server = user;
    server->set->events->stopped(server->set->user);
}

static const struct redis_events server_events = { .up = on_up,
                                                   .down = on_down,
                                                   .stopped = on_stopped };

/* ---- life ---- */

bool redis_set_create(struct redis_set **out, struct ring *ring,
                      const struct redis_options *options, const struct redis_set_events *events,
                      void *user, struct err *err)
{
    struct redis_set *set = mem_zalloc(sizeof *set);
    set->events = events;
    set->user = user;
    set->server = mem_zalloc(sizeof *set->server + events->server_bytes);
    set->server->set = set;
    if (!redis_create(&set->server->redis, ring, options, &server_events, set->server, err)) {
        free(set->server);
        free(set);
        return false;
    }
    *out = set;
    return true;
}

void redis_set_start(struct redis_set *set)
{
    redis_start(set->server->redis);
}

void redis_set_stop(struct redis_set *set)
{
    redis_stop(set->server->redis);
}

void redis_set_destroy(struct redis_set **set)
{
    struct redis_set *it = *set;
    if (!it)
        return;
    redis_destroy(&it->server->redis);
    free(it->server);
    free(it);
    *set = NULL;
}

/* ---- who serves what ---- */

struct redis *redis_set_server(const struct redis_set *set, struct slice key)
{
    (void)key; /* one server has all keys */
    return redis_up(set->server->redis) ? set->server->redis : NULL;
}

void *redis_set_data(const struct redis *server)
{
    return ((struct set_server *)redis_user(server))->data;
}

unsigned redis_set_count(const struct redis_set *set)
{
    (void)set;
    return 1;
}

struct redis *redis_set_at(const struct redis_set *set, unsigned index)
{
    assert(index == 0);
    return set->server->redis;
}

uint64_t redis_set_commands(const struct redis_set *set)
{
    return redis_commands(set->server->redis);
}

uint64_t redis_set_reconnects(const struct redis_set *set)
{
    return MAX_OF(redis_connects(set->server->redis), 1u) - 1;
}
