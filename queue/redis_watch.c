#include "queue/redis_watch.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/base/mem.h"

enum {
    TICK_MS = 200,
    SENTINEL_MS = 1000,
    CLUSTER_MS = 60000,
    TROUBLED_ASKS_MAX = 10, /* in a row of one source; then another may know more */
};

struct redis_watch {
    struct ring *ring;
    const struct redis_url *url;
    const struct redis_watch_events *events;
    void *user;
    struct redis *redis;
    struct redis_call call;
    bool busy;   /* the call is under way */
    bool wanted; /* ask as soon as possible */
    bool stopping;
    int64_t asked_ms;
    unsigned asks; /* of this source, while there was trouble */
    struct ring_timer tick;
    /* Whom to ask in turn: the URL's hosts, then what they told of. */
    struct redis_host *known;
    unsigned known_count, next;
    struct arena arena;
};

/* ---- the source ---- */

/* Each attempt goes to the next one. */
static bool may_connect(void *user)
{
    struct redis_watch *watch = user;
    unsigned count = watch->url->host_count + watch->known_count;
    unsigned i = watch->next++ % count;
    redis_host_set(watch->redis, i < watch->url->host_count
                                     ? &watch->url->hosts[i]
                                     : &watch->known[i - watch->url->host_count]);
    return true;
}

static void ask(struct redis_watch *watch);

static void on_up(void *user)
{
    struct redis_watch *watch = user;
    watch->asks = 0;
    ask(watch);
}

static void on_down(void *user)
{
    struct redis_watch *watch = user;
    watch->wanted = true;
}

static void on_stopped(void *user)
{
    struct redis_watch *watch = user;
    ring_timer_stop(&watch->tick);
    watch->events->stopped(watch->user);
}

static const struct redis_events source_events = {
    .up = on_up,
    .down = on_down,
    .stopped = on_stopped,
    .may_connect = may_connect,
};

/* ---- asking ---- */

static void known_keep(struct redis_watch *watch, const struct redis_topology *topology)
{
    watch->known_count = topology->primary_count + topology->other_count;
    free(watch->known);
    watch->known = mem_array(watch->known_count, sizeof *watch->known);
    memcpy(watch->known, topology->primaries, topology->primary_count * sizeof *watch->known);
    if (topology->other_count > 0)
        memcpy(watch->known + topology->primary_count, topology->others,
               topology->other_count * sizeof *watch->known);
}

static void asked(struct redis_call *call, const struct redis_value *reply)
{
    struct redis_watch *watch = CONTAINER_OF(call, struct redis_watch, call);
    watch->busy = false;
    if (!reply || watch->stopping)
        return;
    bool sentinel = watch->url->kind == REDIS_URL_SENTINEL;
    struct redis_topology topology;
    bool good = sentinel ? redis_topology_sentinel(&topology, &watch->arena, reply)
                         : redis_topology_cluster(&topology, &watch->arena, reply,
                                                  redis_host(watch->redis));
    if (good) {
        topology.asked_ms = watch->asked_ms;
        if (!sentinel) /* what a sentinel names is no sentinel */
            known_keep(watch, &topology);
        watch->events->learned(watch->user, &topology);
    } else {
        char text[200];
        snprintf(text, sizeof text, "it doesn't say who the %s: %.*s",
                 sentinel ? "primary is" : "primaries are",
                 SLICE_FMT(reply->type == VALUE_ERROR ? reply->text : SLICE("nobody")));
        redis_drop(watch->redis, text);
    }
    arena_reset(&watch->arena);
}

static void ask(struct redis_watch *watch)
{
    watch->wanted = true;
    if (watch->busy || !redis_up(watch->redis))
        return;
    watch->wanted = false;
    watch->busy = true;
    watch->asked_ms = ring_now_ms(watch->ring);
    watch->call = (struct redis_call){ .done = asked };
    if (watch->url->kind == REDIS_URL_SENTINEL)
        redis_send(watch->redis, &watch->call,
                   (struct slice[]){ SLICE("SENTINEL"), SLICE("GET-MASTER-ADDR-BY-NAME"),
                                     slice_str(watch->url->master) },
                   3);
    else
        redis_send(watch->redis, &watch->call, (struct slice[]){ SLICE("CLUSTER"), SLICE("SLOTS") },
                   2);
}

static void tick_fired(struct ring_timer *timer)
{
    struct redis_watch *watch = CONTAINER_OF(timer, struct redis_watch, tick);
    ring_timer_start(watch->ring, timer, TICK_MS);
    bool troubled = watch->events->troubled(watch->user);
    int64_t every = watch->url->kind == REDIS_URL_SENTINEL ? SENTINEL_MS : CLUSTER_MS;
    if (!troubled)
        watch->asks = 0;
    if (watch->asks >= TROUBLED_ASKS_MAX && watch->url->host_count + watch->known_count > 1) {
        watch->asks = 0;
        redis_drop(watch->redis, "asking another one");
        return;
    }
    if (!troubled && !watch->wanted && ring_now_ms(watch->ring) - watch->asked_ms < every)
        return;
    watch->asks += troubled;
    ask(watch);
}

void redis_watch_ask(struct redis_watch *watch)
{
    if (ring_now_ms(watch->ring) - watch->asked_ms >= TICK_MS / 4)
        ask(watch);
    watch->wanted = true; /* what is just being answered may be too old */
}

/* ---- life ---- */

void redis_watch_create(struct redis_watch **out, struct ring *ring,
                        const struct redis_options *options, const struct redis_url *url,
                        const struct redis_target *target, const struct redis_watch_events *events,
                        void *user)
{
    struct redis_watch *watch = *out = mem_zalloc(sizeof *watch);
    watch->ring = ring;
    watch->url = url;
    watch->events = events;
    watch->user = user;
    struct redis_options own = {
        .timeout_ms = MIN_OF(options->timeout_ms ? options->timeout_ms : 3000u, 1000u),
        .pause_ms_max = TICK_MS,
        .buffer_bytes = 16384,
        .client_name = options->client_name,
        .log = options->log,
    };
    redis_create(&watch->redis, ring, &own, target, &source_events, watch);
    ring_timer_init(&watch->tick, tick_fired);
}

void redis_watch_start(struct redis_watch *watch)
{
    redis_start(watch->redis);
    ring_timer_start(watch->ring, &watch->tick, TICK_MS);
}

void redis_watch_stop(struct redis_watch *watch)
{
    watch->stopping = true;
    redis_stop(watch->redis);
}

void redis_watch_destroy(struct redis_watch **watch)
{
    struct redis_watch *it = *watch;
    if (!it)
        return;
    redis_destroy(&it->redis);
    arena_free(&it->arena);
    free(it->known);
    free(it);
    *watch = NULL;
}

const char *redis_watch_failure(const struct redis_watch *watch)
{
    return redis_failure(watch->redis);
}
