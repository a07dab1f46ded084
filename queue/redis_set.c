/* A set is what was last learned of who serves what: one server with all slots (redis://, unix://,
 * Sentinel) or some with their slots (Cluster). What is learned is applied as a whole: servers that
 * aren't primaries any more leave, new ones join, then `moved`.
 *
 * A server that a sentinel or a cluster named connects only when it was named after its last loss.
 * A primary that comes back from the dead, and doesn't know yet that another one was promoted,
 * would otherwise be taken for one: it even says so itself, and what it accepts is lost. */
#include "queue/redis_set.h"

#include <stddef.h>
#include <stdlib.h>

#include "engine/base/mem.h"
#include "queue/redis_watch.h"

enum {
    NO_SERVER = UINT16_MAX,
    NAMED_PAUSE_MS_MAX = 250,   /* of servers that are named anew before each attempt, anyway */
    REDIRECT_TROUBLE_MS = 2000, /* how long a redirection makes the watch ask more often */
};

struct set_server {
    struct redis_set *set;
    struct redis *redis;
    bool leaving;
    int64_t lost_ms;    /* when it was last seen to be away; at first when it joined */
    int64_t named_ms;   /* as of when it's known to be a primary */
    max_align_t data[]; /* the user's */
};

struct redis_set {
    struct ring *ring;
    struct redis_options options;
    struct redis_url url;
    struct redis_target target; /* of all servers, but for the host */
    struct tls_context *tls;
    const struct redis_set_events *events;
    void *user;
    struct redis_watch *watch; /* NULL: the one server never changes */
    struct set_server *servers[REDIS_PRIMARIES_MAX];
    unsigned count;
    uint16_t *slots;  /* a cluster's: an index of servers, or NO_SERVER */
    unsigned running; /* what hasn't said `stopped` */
    bool stopping;
    int64_t redirected_ms;
    uint64_t commands, reconnects; /* of those that have left */
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
    struct redis_set *set = server->set;
    server->lost_ms = ring_now_ms(set->ring);
    set->events->down(set->user, server->redis);
    if (set->watch && !set->stopping)
        redis_watch_ask(set->watch);
}

static bool may_connect(void *user)
{
    struct set_server *server = user;
    struct redis_set *set = server->set;
    if (!set->watch)
        return true;
    if (server->named_ms > server->lost_ms) {
        server->lost_ms = server->named_ms; /* for one attempt */
        return true;
    }
    redis_watch_ask(set->watch);
    return false;
}

static void on_redirected(void *user, const struct redis_value *error)
{
    struct set_server *server = user;
    struct redis_set *set = server->set;
    if (redis_value_fails(error, "READONLY") || redis_value_fails(error, "MASTERDOWN"))
        redis_drop(server->redis, "it isn't the primary any more");
    set->redirected_ms = ring_now_ms(set->ring);
    if (set->watch && !set->stopping)
        redis_watch_ask(set->watch);
}

static uint64_t reconnects_of(const struct set_server *server)
{
    return MAX_OF(redis_connects(server->redis), 1u) - 1;
}

static void server_free(struct set_server *server)
{
    server->set->commands += redis_commands(server->redis);
    server->set->reconnects += reconnects_of(server);
    redis_destroy(&server->redis);
    free(server);
}

static void one_stopped(struct redis_set *set)
{
    if (--set->running == 0 && set->stopping)
        set->events->stopped(set->user);
}

static void on_stopped(void *user)
{
    struct set_server *server = user;
    struct redis_set *set = server->set;
    if (server->leaving)
        server_free(server);
    one_stopped(set);
}

static const struct redis_events server_events = {
    .up = on_up,
    .down = on_down,
    .stopped = on_stopped,
    .may_connect = may_connect,
    .redirected = on_redirected,
};

/* ---- who is in the set ---- */

static struct set_server *server_join(struct redis_set *set, const struct redis_host *host)
{
    struct set_server *server = mem_zalloc(sizeof *server + set->events->server_bytes);
    server->set = set;
    struct redis_target target = set->target;
    target.host = *host;
    redis_create(&server->redis, set->ring, &set->options, &target, &server_events, server);
    set->servers[set->count++] = server;
    return server;
}

static void server_leave(struct redis_set *set, unsigned index)
{
    struct set_server *server = set->servers[index];
    set->servers[index] = set->servers[--set->count];
    server->leaving = true;
    redis_stop(server->redis);
}

static int server_find(const struct redis_set *set, const struct redis_host *host)
{
    for (unsigned i = 0; i < set->count; i++)
        if (redis_host_eq(redis_host(set->servers[i]->redis), host))
            return (int)i;
    return -1;
}

/* Servers' indices change when some leave, so all slots are written anew; true when any has
 * another server than before. */
static bool slots_apply(struct redis_set *set, const struct redis_topology *topology,
                        struct set_server *const *before)
{
    bool moved = false;
    uint16_t *slots = mem_alloc(REDIS_SLOTS * sizeof *slots);
    memset(slots, 0xff, REDIS_SLOTS * sizeof *slots);
    for (unsigned r = 0; r < topology->range_count; r++) {
        const struct redis_slot_range *range = &topology->ranges[r];
        int index = server_find(set, &topology->primaries[range->primary]);
        for (unsigned slot = range->first; slot <= range->last; slot++)
            slots[slot] = (uint16_t)index;
    }
    for (unsigned slot = 0; slot < REDIS_SLOTS; slot++) {
        const struct set_server *was =
                                    set->slots[slot] == NO_SERVER ? NULL : before[set->slots[slot]],
                                *is = slots[slot] == NO_SERVER ? NULL : set->servers[slots[slot]];
        moved = moved || was != is;
    }
    free(set->slots);
    set->slots = slots;
    return moved;
}

static bool named_again(const struct redis_topology *topology, const struct redis_host *host)
{
    for (unsigned i = 0; i < topology->primary_count; i++)
        if (redis_host_eq(&topology->primaries[i], host))
            return true;
    return false;
}

static void on_learned(void *user, const struct redis_topology *topology)
{
    struct redis_set *set = user;
    if (set->stopping)
        return;
    struct set_server *before[REDIS_PRIMARIES_MAX];
    unsigned before_count = set->count;
    memcpy(before, set->servers, sizeof before);
    bool moved = false;
    for (unsigned i = set->count; i-- > 0;) {
        if (named_again(topology, redis_host(set->servers[i]->redis)))
            continue;
        char place[300];
        redis_host_print(redis_host(set->servers[i]->redis), place, sizeof place);
        log_info(set->options.log, "redis-left", "%s isn't a primary any more", place);
        server_leave(set, i);
        moved = true;
    }
    for (unsigned i = 0; i < topology->primary_count; i++) {
        int found = server_find(set, &topology->primaries[i]);
        struct set_server *server =
            found >= 0 ? set->servers[found] : server_join(set, &topology->primaries[i]);
        server->named_ms = topology->asked_ms;
        if (found >= 0) {
            redis_wake(server->redis);
            continue;
        }
        server->lost_ms = topology->asked_ms - 1;
        set->running++;
        redis_start(server->redis);
    }
    if (set->slots)
        moved = slots_apply(set, topology, before) || moved;
    if (before_count > 0 && moved && set->events->moved)
        set->events->moved(set->user);
}

static bool on_troubled(void *user)
{
    const struct redis_set *set = user;
    if (set->count == 0 || (set->redirected_ms != 0 &&
                            ring_now_ms(set->ring) - set->redirected_ms < REDIRECT_TROUBLE_MS))
        return true;
    for (unsigned i = 0; i < set->count; i++)
        if (!redis_up(set->servers[i]->redis))
            return true;
    for (unsigned slot = 0; set->slots && slot < REDIS_SLOTS; slot++)
        if (set->slots[slot] == NO_SERVER)
            return true;
    return false;
}

static void on_watch_stopped(void *user)
{
    one_stopped(user);
}

static const struct redis_watch_events watch_events = { .learned = on_learned,
                                                        .troubled = on_troubled,
                                                        .stopped = on_watch_stopped };

/* ---- life ---- */

static bool tls_prepare(struct redis_set *set, struct err *err)
{
    const struct redis_url *url = &set->url;
    if (!url->tls)
        return true;
    struct tls_context_options options = {
        .verify = url->verify ? TLS_VERIFY_NAME : TLS_VERIFY_NONE,
        .ca_file = url->ca[0] ? url->ca : NULL,
        .cert_file = url->cert[0] ? url->cert : NULL,
        .key_file = url->key[0] ? url->key : NULL,
    };
    return tls_context_create(&set->tls, &options, err) || err_prefix(err, "Redis URL");
}

static void watch_prepare(struct redis_set *set)
{
    struct redis_target target = set->target;
    if (set->url.kind == REDIS_URL_SENTINEL) {
        target.sentinel = true;
        target.user = set->url.sentinel_user;
        target.password = set->url.sentinel_password;
        set->target.primary = true;
    } else {
        set->slots = mem_alloc(REDIS_SLOTS * sizeof *set->slots);
        memset(set->slots, 0xff, REDIS_SLOTS * sizeof *set->slots);
    }
    redis_watch_create(&set->watch, set->ring, &set->options, &set->url, &target, &watch_events,
                       set);
    unsigned most = set->options.pause_ms_max ? set->options.pause_ms_max : NAMED_PAUSE_MS_MAX;
    set->options.pause_ms_max = MIN_OF(most, (unsigned)NAMED_PAUSE_MS_MAX);
}

bool redis_set_create(struct redis_set **out, struct ring *ring,
                      const struct redis_options *options, const struct redis_set_events *events,
                      void *user, struct err *err)
{
    struct redis_set *set = mem_zalloc(sizeof *set);
    set->ring = ring;
    set->options = *options;
    set->options.url = NULL; /* may hold a password, and isn't ours */
    set->events = events;
    set->user = user;
    if (!redis_url_parse(slice_str(options->url), &set->url, err) || !tls_prepare(set, err)) {
        redis_set_destroy(&set);
        return false;
    }
    set->target = (struct redis_target){ .user = set->url.user,
                                         .password = set->url.password,
                                         .db = set->url.db,
                                         .tls = set->tls,
                                         .tls_name = set->url.name };
    if (set->url.kind == REDIS_URL_SERVER)
        server_join(set, &set->url.hosts[0]);
    else
        watch_prepare(set);
    *out = set;
    return true;
}

void redis_set_start(struct redis_set *set)
{
    set->running = 1;
    if (set->watch)
        redis_watch_start(set->watch);
    else
        redis_start(set->servers[0]->redis);
}

void redis_set_stop(struct redis_set *set)
{
    if (set->stopping)
        return;
    set->stopping = true;
    set->running = MAX_OF(set->running, 1u); /* when it was never started */
    if (set->watch)
        redis_watch_stop(set->watch);
    for (unsigned i = 0; i < set->count; i++)
        redis_stop(set->servers[i]->redis);
}

void redis_set_destroy(struct redis_set **set)
{
    struct redis_set *it = *set;
    if (!it)
        return;
    while (it->count > 0)
        server_free(it->servers[--it->count]);
    redis_watch_destroy(&it->watch);
    tls_context_destroy(&it->tls);
    redis_url_clear(&it->url);
    free(it->slots);
    free(it);
    *set = NULL;
}

/* ---- who serves what ---- */

struct redis *redis_set_server(const struct redis_set *set, struct slice key)
{
    unsigned index = set->slots ? set->slots[redis_key_slot(key)] : 0;
    if (index >= set->count)
        return NULL;
    struct redis *redis = set->servers[index]->redis;
    return redis_up(redis) ? redis : NULL;
}

void *redis_set_data(const struct redis *server)
{
    return ((struct set_server *)redis_user(server))->data;
}

unsigned redis_set_count(const struct redis_set *set)
{
    return set->count;
}

struct redis *redis_set_at(const struct redis_set *set, unsigned index)
{
    assert(index < set->count);
    return set->servers[index]->redis;
}

enum redis_url_kind redis_set_kind(const struct redis_set *set)
{
    return set->url.kind;
}

const char *redis_set_failure(const struct redis_set *set)
{
    for (unsigned i = 0; i < set->count; i++)
        if (!redis_up(set->servers[i]->redis) && redis_failure(set->servers[i]->redis)[0])
            return redis_failure(set->servers[i]->redis);
    return set->watch ? redis_watch_failure(set->watch) : "";
}

uint64_t redis_set_commands(const struct redis_set *set)
{
    uint64_t sum = set->commands;
    for (unsigned i = 0; i < set->count; i++)
        sum += redis_commands(set->servers[i]->redis);
    return sum;
}

uint64_t redis_set_reconnects(const struct redis_set *set)
{
    uint64_t sum = set->reconnects;
    for (unsigned i = 0; i < set->count; i++)
        sum += reconnects_of(set->servers[i]);
    return sum;
}
