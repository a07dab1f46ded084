#include <stdio.h>
#include <stdlib.h>

#include "engine/base/mem.h"
#include "queue/producer_internal.h"
#include "queue/redis_topology.h"

enum {
    CONNECT_MS = 5000,   /* for the first connection */
    PATIENCE_MS = 20000, /* later: longer than a failover takes */
    LOADING_MS = 60000,  /* a Redis that was just started may be reading its files for a while */
    AGAIN_MS = 50,       /* before a refused command is sent again */
    TURN_MS = 20,
    REFUSED_MS = 300,
    UNDER_WAY_MAX = 1024, /* at once: a Redis that answers us serves nobody else */
};

enum call_state { CALL_WAITS, CALL_SENT, CALL_ANSWERED, CALL_LOST };

struct producer_server {
    struct script_loader scripts;
    bool loading; /* the scripts */
};

/* ---- the set ---- */

static void scripts_ready(struct script_loader *loader)
{
    CONTAINER_OF(loader, struct producer_server, scripts)->loading = false;
}

static void on_up(void *user, struct redis *redis)
{
    (void)user;
    struct producer_server *server = redis_set_data(redis);
    *server = (struct producer_server){ .scripts = { .redis = redis, .ready = scripts_ready } };
}

static void on_down(void *user, struct redis *redis)
{
    (void)user;
    (void)redis; /* its calls have been answered */
}

static void on_stopped(void *user)
{
    ((struct producer *)user)->stopped = true;
}

static const struct redis_set_events set_events = {
    .up = on_up,
    .down = on_down,
    .stopped = on_stopped,
    .server_bytes = sizeof(struct producer_server),
};

static bool place_write(struct producer *producer, const char *url_text, struct err *err)
{
    struct redis_url url;
    if (!redis_url_parse(slice_str(url_text), &url, err))
        return false;
    char host[300], place[480];
    redis_host_print(&url.hosts[0], host, sizeof host);
    if (url.kind == REDIS_URL_SENTINEL)
        snprintf(place, sizeof place, "%s of sentinel %s", url.master, host);
    else
        snprintf(place, sizeof place, "%s%s", url.kind == REDIS_URL_CLUSTER ? "cluster " : "",
                 host);
    redis_url_clear(&url);
    producer->place = slice_dup(slice_str(place));
    return true;
}

bool producer_io_open(struct producer *producer, const struct producer_options *options,
                      struct err *err)
{
    producer->log = (struct log){ .fd = 2, .level = LOG_ERROR + 1 };
    producer->arena.block_bytes = 65536;
    list_init(&producer->calls);
    struct ring_options ring = { .body = RING_BODY_EPOLL,
                                 .receive_buffers = 16,
                                 .receive_buffer_bytes = 65536,
                                 .log = &producer->log };
    struct redis_options redis = { .url = options->url,
                                   .timeout_ms = CONNECT_MS,
                                   .pause_ms_max = 200,
                                   .wait_replicas = options->wait_replicas,
                                   .wait_timeout_ms = options->wait_timeout_ms,
                                   .client_name = "eilpost-cli",
                                   .log = &producer->log };
    if (!place_write(producer, options->url, err) || !ring_create(&producer->ring, &ring, err) ||
        !redis_set_create(&producer->set, producer->ring, &redis, &set_events, producer, err))
        return false;
    redis_set_start(producer->set);
    if (!producer_io_connected(producer, err))
        return false;
    producer->opened = true;
    return true;
}

void producer_io_close(struct producer *producer)
{
    if (producer->set) {
        redis_set_stop(producer->set);
        while (!producer->stopped)
            ring_turn(producer->ring, TURN_MS);
        redis_set_destroy(&producer->set);
    }
    if (producer->ring)
        ring_destroy(&producer->ring);
    arena_free(&producer->arena);
    free(producer->place);
}

static bool all_up(const struct producer *producer)
{
    unsigned count = redis_set_count(producer->set);
    for (unsigned i = 0; i < count; i++)
        if (!redis_up(redis_set_at(producer->set, i)))
            return false;
    return count > 0;
}

static bool nobody_there(const struct producer *producer, struct err *err)
{
    const char *failure = redis_set_failure(producer->set);
    return err_set(err, ERR_REDIS, "no Redis at %s: %s", producer->place,
                   failure[0] ? failure : "no connection in time");
}

bool producer_io_connected(struct producer *producer, struct err *err)
{
    /* A single server that can't be reached is told of at once, or rather when all its addresses
     * have been tried; of others the first failure isn't all there is to know. */
    bool single = redis_set_kind(producer->set) == REDIS_URL_SERVER && !producer->opened;
    ring_turn(producer->ring, 0);
    int64_t start = ring_now_ms(producer->ring);
    while (!all_up(producer)) {
        int64_t waited = ring_now_ms(producer->ring) - start;
        if (waited >= CONNECT_MS ||
            (single && waited >= REFUSED_MS && redis_set_failure(producer->set)[0]))
            return nobody_there(producer, err);
        ring_turn(producer->ring, TURN_MS);
    }
    return true;
}

/* ---- replies ---- */

/* "ASK 3999 127.0.0.1:6381": this once, there. Only for a command of one key: a script finds some
 * of its keys on either side of a slot that is being moved. */
static void ask_note(struct producer_call *it, const struct redis_value *reply)
{
    struct slice host = reply->text;
    uint64_t port = 0;
    it->asked.port = 0;
    if (it->script != SCRIPT_COUNT || !redis_value_fails(reply, "ASK "))
        return;
    slice_cut(&host, ' ');
    slice_cut(&host, ' ');
    for (size_t i = host.len; i-- > 0;) {
        if (host.ptr[i] != ':')
            continue;
        if (!slice_to_u64(slice_skip(host, i + 1), &port) || port > 65535 ||
            i >= sizeof it->asked.name)
            return;
        snprintf(it->asked.name, sizeof it->asked.name, "%.*s", (int)i, host.ptr);
        it->asked.port = (uint16_t)port;
        return;
    }
}

static struct producer_server *server_data(struct redis *redis)
{
    return redis_set_data(redis);
}

static void call_done(struct redis_call *call, const struct redis_value *reply)
{
    struct producer_call *it = CONTAINER_OF(call, struct producer_call, call);
    struct producer *producer = it->producer;
    producer->under_way--;
    it->reply = NULL;
    if (!reply) {
        it->state = CALL_LOST;
        return;
    }
    struct redis_value *copy = arena_alloc(&producer->arena, sizeof *copy);
    redis_value_copy(copy, &producer->arena, reply);
    it->reply = copy;
    it->state = CALL_ANSWERED;
    bool flushed = redis_value_fails(reply, "NOSCRIPT");
    if (!flushed && !redis_value_refused(reply))
        return;
    if (flushed)
        server_data(it->server)->scripts.loaded = false;
    ask_note(it, reply);
    it->state = CALL_WAITS;
    it->again_ms = ring_now_ms(producer->ring) + (it->asked.port ? 0 : AGAIN_MS);
}

static void asking_done(struct redis_call *call, const struct redis_value *reply)
{
    (void)call; /* what comes of it is in the answer to the command behind it */
    (void)reply;
}

/* ---- calls ---- */

static struct redis *call_server(const struct producer_call *it)
{
    const struct redis_set *set = it->producer->set;
    if (it->key.len > 0 && it->asked.port == 0)
        return redis_set_server(set, it->key);
    for (unsigned i = 0; i < redis_set_count(set); i++) {
        struct redis *redis = redis_set_at(set, i);
        bool right = it->asked.port != 0 ? redis_host_eq(redis_host(redis), &it->asked)
                                         : !it->fixed || it->fixed == redis;
        if (right && redis_up(redis))
            return redis;
    }
    return NULL;
}

static bool scripts_there(struct redis *redis)
{
    struct producer_server *server = server_data(redis);
    if (!server->scripts.loaded && !server->loading) {
        server->loading = true;
        script_loader_start(&server->scripts);
    }
    return server->scripts.loaded;
}

static void call_try(struct producer_call *it)
{
    struct producer *producer = it->producer;
    if (ring_now_ms(producer->ring) < it->again_ms || producer->under_way >= UNDER_WAY_MAX)
        return;
    struct redis *redis = call_server(it);
    bool asking = it->asked.port != 0;
    it->asked.port = 0;
    if (!redis || (it->script != SCRIPT_COUNT && !scripts_there(redis)))
        return;
    if (it->script != SCRIPT_COUNT)
        it->args[1] = script_sha(&server_data(redis)->scripts, it->script);
    it->server = redis;
    it->state = CALL_SENT;
    producer->under_way++;
    if (asking) {
        it->asking_call = (struct redis_call){ .done = asking_done };
        redis_send(redis, &it->asking_call, (struct slice[]){ SLICE("ASKING") }, 1);
    }
    redis_send(redis, &it->call, it->args, it->count);
}

/* What was refused all the time is answered with that; what was never taken is lost. */
static void call_give_up(struct producer_call *it)
{
    it->state = it->reply ? CALL_ANSWERED : CALL_LOST;
}

static bool calls_answered(const struct producer *producer, struct err *err)
{
    list_for_each (node, &producer->calls) {
        const struct producer_call *it = LIST_ENTRY(node, struct producer_call, node);
        if (it->state == CALL_ANSWERED)
            continue;
        const char *failure = redis_set_failure(producer->set);
        return err_set(err, ERR_REDIS, "Redis at %s: %s", producer->place,
                       failure[0] ? failure : "connection lost");
    }
    return true;
}

bool producer_pipeline_run(struct producer *producer, struct err *err)
{
    ring_turn(producer->ring, 0); /* nobody turned it since the last command: what time is it? */
    int64_t start = ring_now_ms(producer->ring);
    for (bool open = true; open;) {
        int64_t waited = ring_now_ms(producer->ring) - start;
        open = false;
        list_for_each (node, &producer->calls) {
            struct producer_call *it = LIST_ENTRY(node, struct producer_call, node);
            bool loading = it->reply && redis_value_fails(it->reply, "LOADING");
            if (it->state == CALL_WAITS && waited >= (loading ? LOADING_MS : PATIENCE_MS))
                call_give_up(it);
            if (it->state == CALL_WAITS)
                call_try(it);
            open = open || it->state == CALL_WAITS || it->state == CALL_SENT;
        }
        if (open)
            ring_turn(producer->ring, TURN_MS);
    }
    return calls_answered(producer, err);
}

void producer_pipeline_begin(struct producer *producer)
{
    assert(producer->under_way == 0);
    while (list_pop_front(&producer->calls))
        continue;
    arena_reset(&producer->arena);
}

static struct producer_call *call_add(struct producer *producer, struct slice key, size_t count)
{
    struct producer_call *it = arena_alloc(&producer->arena, sizeof *it);
    *it = (struct producer_call){ .producer = producer,
                                  .call.done = call_done,
                                  .key = arena_copy(&producer->arena, key),
                                  .count = (unsigned)count,
                                  .script = SCRIPT_COUNT,
                                  .state = CALL_WAITS };
    it->args = arena_alloc(&producer->arena, count * sizeof *it->args);
    list_push_back(&producer->calls, &it->node);
    return it;
}

struct producer_call *producer_pipeline_add(struct producer *producer, struct slice key,
                                            bool durable, const struct slice *args, size_t count)
{
    struct producer_call *it = call_add(producer, key, count);
    it->call.durable = durable;
    for (size_t i = 0; i < count; i++)
        it->args[i] = arena_copy(&producer->arena, args[i]);
    return it;
}

struct producer_call *producer_pipeline_add_eval(struct producer *producer, enum script script,
                                                 const struct slice *keys, size_t key_count,
                                                 const struct slice *args, size_t count)
{
    char number[12];
    int len = snprintf(number, sizeof number, "%zu", key_count);
    struct producer_call *it = call_add(producer, keys[0], 3 + key_count + count);
    it->call.durable = script != SCRIPT_SURVEY; /* which only reads */
    it->script = script;
    it->args[0] = SLICE("EVALSHA");
    it->args[2] = arena_copy(&producer->arena, slice_of(number, (size_t)len));
    for (size_t i = 0; i < key_count; i++)
        it->args[3 + i] = arena_copy(&producer->arena, keys[i]);
    for (size_t i = 0; i < count; i++)
        it->args[3 + key_count + i] = arena_copy(&producer->arena, args[i]);
    return it;
}

/* ---- one at a time ---- */

const struct redis_value *producer_command_to(struct producer *producer, struct err *err,
                                              struct slice key, bool durable,
                                              const struct slice *args, size_t count)
{
    producer_pipeline_begin(producer);
    struct producer_call *it = producer_pipeline_add(producer, key, durable, args, count);
    return producer_pipeline_run(producer, err) ? it->reply : NULL;
}

const struct redis_value *producer_command_at(struct producer *producer, struct err *err,
                                              unsigned index, const struct slice *args,
                                              size_t count)
{
    producer_pipeline_begin(producer);
    struct producer_call *it = producer_pipeline_add(producer, SLICE(""), false, args, count);
    it->fixed = redis_set_at(producer->set, index);
    return producer_pipeline_run(producer, err) ? it->reply : NULL;
}

const struct redis_value *producer_eval(struct producer *producer, struct err *err,
                                        enum script script, const struct slice *keys,
                                        size_t key_count, const struct slice *args, size_t count)
{
    producer_pipeline_begin(producer);
    struct producer_call *it =
        producer_pipeline_add_eval(producer, script, keys, key_count, args, count);
    return producer_pipeline_run(producer, err) ? it->reply : NULL;
}

bool producer_reply_good(struct producer *producer, const struct redis_value *reply,
                         struct err *err)
{
    if (!reply)
        return false;
    return reply->type != VALUE_ERROR ||
           err_set(err, ERR_REDIS, "Redis at %s refused: %.200s", producer->place, reply->text.ptr);
}

const struct redis_value *producer_item(const struct redis_value *array, size_t i)
{
    static const struct redis_value nil = { .type = VALUE_NIL };
    return array && array->type == VALUE_ARRAY && i < array->count ? &array->items[i] : &nil;
}
