/* Sentinels learn of a failover one after another. The configuration's epoch tells who is behind:
 * once an answer with a higher one was seen, those with a lower one aren't believed. */
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
    struct redis_call epoch_call, call;
    bool busy;   /* they are under way */
    bool wanted; /* ask as soon as possible */
    bool stopping;
    int64_t asked_ms;
    uint64_t epoch, epoch_answered; /* a sentinel's: the highest of all, and this one's */
    unsigned asks;                  /* of this source, while there was trouble */
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

/* [name, value, …] */
static void epoch_asked(struct redis_call *call, const struct redis_value *reply)
{
    struct redis_watch *watch = CONTAINER_OF(call, struct redis_watch, epoch_call);
    watch->epoch_answered = 0;
    for (size_t i = 0; reply && reply->type == VALUE_ARRAY && i + 1 < reply->count; i += 2)
        if (redis_value_is(&reply->items[i], "config-epoch"))
            watch->epoch_answered = redis_value_u64(&reply->items[i + 1]);
}

static void asked(struct redis_call *call, const struct redis_value *reply)
{
    struct redis_watch *watch = CONTAINER_OF(call, struct redis_watch, call);
    watch->busy = false;
    if (!reply || watch->stopping)
        return;
    bool sentinel = watch->url->kind == REDIS_URL_SENTINEL;
    struct redis_topology topology;
    if (sentinel && watch->epoch_answered < watch->epoch) {
        redis_drop(watch->redis, "it doesn't know of the last failover");
        return;
    }
    watch->epoch = watch->epoch_answered;
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
    watch->epoch_call = (struct redis_call){ .done = epoch_asked };
    watch->call = (struct redis_call){ .done = asked };
    if (watch->url->kind == REDIS_URL_SENTINEL) {
        /* The epoch first: what is asked for afterwards is at least as new. MASTER's own address
         * is that of the old primary until all replicas follow the new one. */
        struct slice args[3] = { SLICE("SENTINEL"), SLICE("MASTER"),
                                 slice_str(watch->url->master) };
        redis_send(watch->redis, &watch->epoch_call, args, 3);
        args[1] = SLICE("GET-MASTER-ADDR-BY-NAME");
        redis_send(watch->redis, &watch->call, args, 3);
    } else
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
        redis_drop(watch->redis, NULL);
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
