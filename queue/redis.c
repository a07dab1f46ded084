/* The connection is a small state machine: WAITING (for the next attempt) → LOOKING (for the
 * address) → CONNECTING → SECURING (TLS) → GREETING (AUTH, SELECT, SETNAME, ROLE) → UP → CLOSING →
 * WAITING. Outgoing commands are kept as hiredis formatted them, one vector each, so nothing is
 * copied again on the way to the kernel.
 *
 * Durable calls: the WAIT goes behind the flight's last command and has its place among the calls.
 * A reply of a durable call, and each that follows it, stays in the arena until the WAIT's reply
 * says how many replicas there are; so callbacks keep their order, and there is one WAIT per
 * flight, not per call. */
#include "queue/redis.h"

#include <hiredis/hiredis.h>
#include <hiredis/read.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/mem.h"
#include "engine/net/stream.h"
#include "queue/redis_lookup.h"

enum {
    FLIGHT_VECTORS_MAX = 512, /* the WAIT included */
    BUFFER_BYTES = 512 << 10,
    CHECK_MS = 250,
    PAUSE_MS_MIN = 50,
    LASTED_MS = 500,
    GREETINGS_MAX = 4,
};

enum redis_state {
    REDIS_IDLE,
    REDIS_WAITING,
    REDIS_LOOKING,
    REDIS_CONNECTING,
    REDIS_SECURING,
    REDIS_GREETING,
    REDIS_UP,
    REDIS_CLOSING,
    REDIS_STOPPED
};

struct flight {
    struct iovec vectors[FLIGHT_VECTORS_MAX]; /* the ring changes them while sending */
    char *commands[FLIGHT_VECTORS_MAX];       /* what to free afterwards; NULL: the WAIT */
    unsigned count;
};

struct greeting { /* one command of the greeting */
    struct redis_call call;
    struct redis *redis;
    bool optional; /* done without where an ACL forbids it */
};

struct wait_call {
    struct redis_call call;
    struct redis *redis;
};

struct outgoing {
    char *bytes;
    size_t len;
    struct redis_call *call;
};

struct redis {
    struct ring *ring;
    struct redis_target target;
    char place[280]; /* for the log */
    struct redis_options options;
    const struct redis_events *events;
    void *user;
    enum redis_state state;
    bool stopping;
    struct redis_lookup lookup;
    struct stream stream;
    redisReader *reader;
    struct arena arena;
    struct list calls;         /* sent or about to be, not answered; oldest first */
    struct list held;          /* answered, but the replicas aren't; oldest first */
    struct list waits;         /* wait_call, for reuse */
    struct outgoing *outgoing; /* a queue: head … head + len */
    size_t outgoing_head, outgoing_len, outgoing_room;
    struct flight flight;
    char wait_text[64]; /* the WAIT as it's sent */
    size_t wait_len;
    struct ring_task flush;
    struct ring_timer timer;
    unsigned pause_ms;
    unsigned greetings; /* outstanding */
    struct greeting greeting[GREETINGS_MAX];
    bool asked; /* `may_connect`, which said no */
    bool told_up;
    int64_t up_ms;     /* since when */
    const char **argv; /* scratch for the formatter */
    size_t *argv_lens;
    unsigned argv_room;
    uint64_t commands, connects;
    char failure[256]; /* of the last attempt: a lasting one is logged once */
};

/* ---- sending ---- */

static void outgoing_push(struct redis *redis, struct outgoing out)
{
    if (redis->outgoing_head + redis->outgoing_len == redis->outgoing_room) {
        if (redis->outgoing_head > 0) {
            memmove(redis->outgoing, redis->outgoing + redis->outgoing_head,
                    redis->outgoing_len * sizeof *redis->outgoing);
            redis->outgoing_head = 0;
        } else {
            redis->outgoing_room = redis->outgoing_room ? 2 * redis->outgoing_room : 64;
            redis->outgoing =
                mem_realloc(redis->outgoing, redis->outgoing_room * sizeof *redis->outgoing);
        }
    }
    redis->outgoing[redis->outgoing_head + redis->outgoing_len++] = out;
}

static void flight_free(struct flight *flight)
{
    for (unsigned i = 0; i < flight->count; i++)
        redisFreeCommand(flight->commands[i]);
    flight->count = 0;
}

static void outgoing_free(struct redis *redis)
{
    for (size_t i = 0; i < redis->outgoing_len; i++)
        redisFreeCommand(redis->outgoing[redis->outgoing_head + i].bytes);
    redis->outgoing_head = redis->outgoing_len = 0;
}

static void wait_done(struct redis_call *call, const struct redis_value *reply);

/* Ends the flight with a WAIT, whose reply comes after that of `last`. */
static void wait_add(struct redis *redis, struct redis_call *last)
{
    struct list *node = list_pop_front(&redis->waits);
    struct wait_call *wait =
        node ? LIST_ENTRY(node, struct wait_call, call.node) : mem_alloc(sizeof *wait);
    *wait = (struct wait_call){ .call.done = wait_done,
                                .call.sent_ms = ring_now_ms(redis->ring),
                                .redis = redis };
    list_insert_between(&wait->call.node, &last->node, last->node.next);
    struct flight *flight = &redis->flight;
    flight->commands[flight->count] = NULL;
    flight->vectors[flight->count++] = (struct iovec){ redis->wait_text, redis->wait_len };
    redis->commands++;
}

static void flush_run(struct ring_task *task)
{
    struct redis *redis = CONTAINER_OF(task, struct redis, flush);
    if ((redis->state != REDIS_UP && redis->state != REDIS_GREETING) || redis->outgoing_len == 0 ||
        redis->flight.count > 0)
        return;
    struct flight *flight = &redis->flight;
    bool durable = false;
    unsigned count = (unsigned)MIN_OF(redis->outgoing_len, (size_t)FLIGHT_VECTORS_MAX - 1);
    struct outgoing *out = &redis->outgoing[redis->outgoing_head];
    for (unsigned i = 0; i < count; i++) {
        flight->commands[i] = out[i].bytes;
        flight->vectors[i] = (struct iovec){ out[i].bytes, out[i].len };
        durable = durable || out[i].call->durable;
    }
    flight->count = count;
    if (durable && redis->wait_len > 0)
        wait_add(redis, out[count - 1].call);
    redis->outgoing_head += count;
    redis->outgoing_len -= count;
    if (redis->outgoing_len == 0)
        redis->outgoing_head = 0;
    stream_send(&redis->stream, flight->vectors, flight->count);
}

static void command_queue(struct redis *redis, struct redis_call *call, const struct slice *args,
                          unsigned count)
{
    if (count > redis->argv_room) {
        redis->argv_room = count;
        redis->argv = mem_realloc(redis->argv, count * sizeof *redis->argv);
        redis->argv_lens = mem_realloc(redis->argv_lens, count * sizeof *redis->argv_lens);
    }
    for (unsigned i = 0; i < count; i++) {
        redis->argv[i] = args[i].ptr;
        redis->argv_lens[i] = args[i].len;
    }
    char *bytes = NULL;
    int len = redisFormatCommandArgv(&bytes, (int)count, redis->argv, redis->argv_lens);
    assert(len > 0); /* as mem_alloc: without memory there's no going on */
    outgoing_push(redis, (struct outgoing){ bytes, (size_t)len, call });
    call->sent_ms = ring_now_ms(redis->ring);
    list_push_back(&redis->calls, &call->node);
    redis->commands++;
    ring_task_queue(redis->ring, &redis->flush);
}

void redis_send(struct redis *redis, struct redis_call *call, const struct slice *args,
                unsigned count)
{
    assert(redis->state == REDIS_UP && call->done);
    command_queue(redis, call, args, count);
}

/* ---- life of a connection ---- */

/* Whether the connection served for a while. One that is lost at once, again and again, is a fault
 * that lasts: its pauses grow, and it's logged once. */
static bool connection_lasted(const struct redis *redis)
{
    int64_t enough = LASTED_MS + (redis->wait_len > 0 ? redis->options.wait_timeout_ms : 0);
    return redis->told_up && ring_now_ms(redis->ring) - redis->up_ms >= enough;
}

static void connection_failed(struct redis *redis, const char *reason)
{
    if (connection_lasted(redis) || strcmp(redis->failure, reason) != 0)
        log_warn(redis->options.log, "redis-lost", "%s: %s", redis->place, reason);
    snprintf(redis->failure, sizeof redis->failure, "%s", reason);
}

static void connection_close(struct redis *redis)
{
    redis->state = REDIS_CLOSING;
    ring_timer_stop(&redis->timer);
    ring_task_cancel(&redis->flush);
    stream_close(&redis->stream, true);
}

/* Whether there's a stream that can be closed. */
static bool connection_open(const struct redis *redis)
{
    return redis->state == REDIS_CONNECTING || redis->state == REDIS_SECURING ||
           redis->state == REDIS_GREETING || redis->state == REDIS_UP;
}

void redis_drop(struct redis *redis, const char *reason)
{
    if (!connection_open(redis))
        return;
    if (reason)
        connection_failed(redis, reason);
    connection_close(redis);
}

static void pause_start(struct redis *redis)
{
    redis->state = REDIS_WAITING;
    redis->asked = false;
    unsigned jitter = (unsigned)rng_below(ring_rng(redis->ring), redis->pause_ms / 4 + 1);
    ring_timer_start(redis->ring, &redis->timer, redis->pause_ms + jitter);
    redis->pause_ms = MIN_OF(redis->pause_ms * 2, redis->options.pause_ms_max);
}

/* Everything about the connection is over: answer what is open, then wait for the next attempt, or
 * be done. */
static void on_closed(struct stream *stream)
{
    struct redis *redis = CONTAINER_OF(stream, struct redis, stream);
    flight_free(&redis->flight);
    outgoing_free(redis);
    redisReaderFree(redis->reader);
    redis->reader = NULL;
    /* No call sent from within a callback can get in here: redis_up() is false. */
    struct list *node;
    while ((node = list_pop_front(&redis->held)) != NULL ||
           (node = list_pop_front(&redis->calls)) != NULL) {
        struct redis_call *call = LIST_ENTRY(node, struct redis_call, node);
        call->done(call, NULL);
    }
    arena_reset(&redis->arena);
    bool was_up = redis->told_up;
    if (connection_lasted(redis))
        redis->pause_ms = PAUSE_MS_MIN;
    redis->told_up = false;
    if (was_up)
        redis->events->down(redis->user);
    if (redis->stopping) {
        redis->state = REDIS_STOPPED;
        redis->events->stopped(redis->user);
    } else {
        pause_start(redis);
    }
}

static void on_ended(struct stream *stream, const struct stream_failure *failure)
{
    redis_drop(CONTAINER_OF(stream, struct redis, stream),
               failure->text[0] ? failure->text : "connection closed");
}

static void on_sent(struct stream *stream)
{
    struct redis *redis = CONTAINER_OF(stream, struct redis, stream);
    flight_free(&redis->flight);
    if (redis->outgoing_len > 0)
        ring_task_queue(redis->ring, &redis->flush);
}

static void call_answered(struct redis *redis, struct redis_call *call,
                          const struct redis_value *reply)
{
    if (redis->events->redirected && redis->state == REDIS_UP && redis_value_refused(reply))
        redis->events->redirected(redis->user, reply);
    bool waits = redis->wait_len > 0 && (call->durable || !list_empty(&redis->held));
    if (waits && call->done != wait_done) {
        call->reply = reply;
        list_push_back(&redis->held, &call->node);
        return;
    }
    call->done(call, reply);
}

static void wait_done(struct redis_call *call, const struct redis_value *reply)
{
    struct wait_call *wait = CONTAINER_OF(call, struct wait_call, call);
    struct redis *redis = wait->redis;
    list_push_front(&redis->waits, &call->node);
    if (!reply)
        return;
    if (redis_value_u64(reply) < redis->options.wait_replicas) {
        char text[160];
        if (reply->type == VALUE_ERROR)
            snprintf(text, sizeof text, "WAIT: %.*s", SLICE_FMT(reply->text));
        else
            snprintf(text, sizeof text, "%llu of %u replicas have what was written",
                     (unsigned long long)redis_value_u64(reply), redis->options.wait_replicas);
        redis_drop(redis, text);
        return;
    }
    /* What a callback's redis_drop() leaves here goes with the connection. */
    while (redis->state == REDIS_UP && !list_empty(&redis->held)) {
        struct redis_call *held = LIST_ENTRY(list_pop_front(&redis->held), struct redis_call, node);
        held->done(held, held->reply);
    }
}

static void on_received(struct stream *stream, struct slice bytes)
{
    struct redis *redis = CONTAINER_OF(stream, struct redis, stream);
    if (redis->state == REDIS_CLOSING)
        return;
    redisReaderFeed(redis->reader, bytes.ptr, bytes.len);
    while (redis->state == REDIS_UP || redis->state == REDIS_GREETING) {
        void *reply = NULL;
        if (redisReaderGetReply(redis->reader, &reply) != REDIS_OK) {
            redis_drop(redis, "malformed reply");
            return;
        }
        if (!reply)
            return;
        struct list *node = list_pop_front(&redis->calls);
        if (!node) {
            redis_drop(redis, "a reply without its command");
            return;
        }
        call_answered(redis, LIST_ENTRY(node, struct redis_call, node), reply);
        if (list_empty(&redis->held))
            arena_reset(&redis->arena);
    }
}

/* ---- greeting ---- */

static void greeting_done(struct redis_call *call, const struct redis_value *reply)
{
    struct greeting *greeting = CONTAINER_OF(call, struct greeting, call);
    struct redis *redis = greeting->redis;
    char text[200];
    if (!reply || redis->state != REDIS_GREETING)
        return;
    if (reply->type == VALUE_ERROR && !(greeting->optional && redis_value_fails(reply, "NOPERM"))) {
        snprintf(text, sizeof text, "refused: %.*s", SLICE_FMT(reply->text));
        redis_drop(redis, text);
        return;
    }
    if (reply->type == VALUE_ARRAY && reply->count > 0 && /* ROLE's */
        !redis_value_is(&reply->items[0], "master")) {
        snprintf(text, sizeof text, "it's a %.*s, not the primary",
                 SLICE_FMT(reply->items[0].text));
        redis_drop(redis, text);
        return;
    }
    if (--redis->greetings > 0)
        return;
    redis->state = REDIS_UP;
    redis->connects++;
    redis->told_up = true;
    redis->up_ms = ring_now_ms(redis->ring);
    redis->events->up(redis->user);
}

static void greet(struct redis *redis, bool optional, const struct slice *args, unsigned count)
{
    assert(redis->greetings < GREETINGS_MAX);
    struct greeting *greeting = &redis->greeting[redis->greetings++];
    *greeting =
        (struct greeting){ .call.done = greeting_done, .redis = redis, .optional = optional };
    command_queue(redis, &greeting->call, args, count);
}

static void greeting_start(struct redis *redis)
{
    redis->state = REDIS_GREETING;
    redis->greetings = 0;
    const struct redis_target *target = &redis->target;
    if (target->password && target->password[0]) {
        struct slice auth[3] = { SLICE("AUTH"), slice_str(target->user),
                                 slice_str(target->password) };
        if (auth[1].len > 0)
            greet(redis, false, auth, 3);
        else
            greet(redis, false, (struct slice[]){ auth[0], auth[2] }, 2);
    }
    char db[12];
    snprintf(db, sizeof db, "%u", target->db);
    if (target->sentinel) /* something to be answered */
        greet(redis, true, (struct slice[]){ SLICE("PING") }, 1);
    else
        greet(redis, false, (struct slice[]){ SLICE("SELECT"), slice_str(db) }, 2);
    if (redis->options.client_name && !target->sentinel)
        greet(redis, true,
              (struct slice[]){ SLICE("CLIENT"), SLICE("SETNAME"),
                                slice_str(redis->options.client_name) },
              3);
    if (target->primary)
        greet(redis, true, (struct slice[]){ SLICE("ROLE") }, 1);
    ring_timer_start(redis->ring, &redis->timer, CHECK_MS);
}

static void on_connected(struct stream *stream)
{
    struct redis *redis = CONTAINER_OF(stream, struct redis, stream);
    if (redis->state != REDIS_CONNECTING)
        return;
    const struct redis_target *target = &redis->target;
    if (!target->tls) {
        greeting_start(redis);
        return;
    }
    redis->state = REDIS_SECURING; /* in what is left of the time for connecting */
    stream_tls_start(stream,
                     &(struct tls_client_options){
                         .context = target->tls,
                         .server_name = target->tls_name && target->tls_name[0] ? target->tls_name
                                                                                : target->host.name,
                     });
}

static void on_secured(struct stream *stream)
{
    struct redis *redis = CONTAINER_OF(stream, struct redis, stream);
    if (redis->state == REDIS_SECURING)
        greeting_start(redis);
}

static const struct stream_events stream_handlers = {
    .connected = on_connected,
    .secured = on_secured,
    .received = on_received,
    .sent = on_sent,
    .ended = on_ended,
    .closed = on_closed,
};

static void address_found(struct redis_lookup *lookup, const struct sockaddr *address,
                          socklen_t len, const char *failure)
{
    struct redis *redis = CONTAINER_OF(lookup, struct redis, lookup);
    assert(redis->state == REDIS_LOOKING);
    if (!address) {
        connection_failed(redis, failure);
        pause_start(redis);
        return;
    }
    redis->state = REDIS_CONNECTING;
    redis->reader = redis_value_reader(&redis->arena, redis->options.buffer_bytes);
    stream_init(&redis->stream, redis->ring, &stream_handlers);
    stream_connect(&redis->stream, address, len, NULL, 0);
    ring_timer_start(redis->ring, &redis->timer, redis->options.timeout_ms);
}

static void attempt(struct redis *redis)
{
    redis->asked = redis->events->may_connect && !redis->events->may_connect(redis->user);
    if (redis->asked) {
        ring_timer_start(redis->ring, &redis->timer, redis->options.pause_ms_max);
        return;
    }
    redis_host_print(&redis->target.host, redis->place, sizeof redis->place);
    redis->state = REDIS_LOOKING;
    redis_lookup_start(&redis->lookup, &redis->target.host);
}

/* The next attempt to connect, a connect that takes too long, or the look at the oldest command. */
static void timer_fired(struct ring_timer *timer)
{
    struct redis *redis = CONTAINER_OF(timer, struct redis, timer);
    switch (redis->state) {
    case REDIS_WAITING:
        attempt(redis);
        return;
    case REDIS_CONNECTING:
        redis_drop(redis, "connecting took too long");
        return;
    case REDIS_SECURING:
        redis_drop(redis, "the TLS handshake took too long");
        return;
    case REDIS_GREETING:
    case REDIS_UP:
        if (!list_empty(&redis->calls)) {
            const struct redis_call *oldest =
                LIST_ENTRY(redis->calls.next, struct redis_call, node);
            if (ring_now_ms(redis->ring) - oldest->sent_ms >
                (int64_t)redis->options.timeout_ms + oldest->extra_ms) {
                redis_drop(redis, "no answer in time");
                return;
            }
        }
        ring_timer_start(redis->ring, timer, CHECK_MS);
        return;
    case REDIS_IDLE:
    case REDIS_LOOKING:
    case REDIS_CLOSING:
    case REDIS_STOPPED:
        return;
    }
}

void redis_create(struct redis **out, struct ring *ring, const struct redis_options *options,
                  const struct redis_target *target, const struct redis_events *events, void *user)
{
    struct redis *redis = *out = mem_zalloc(sizeof *redis);
    redis->ring = ring;
    redis->options = *options;
    redis->options.url = NULL; /* may hold a password, and isn't ours */
    redis->target = *target;
    redis->events = events;
    redis->user = user;
    redis->pause_ms = PAUSE_MS_MIN;
    redis->options.buffer_bytes = options->buffer_bytes ? options->buffer_bytes : BUFFER_BYTES;
    redis->options.timeout_ms = options->timeout_ms ? options->timeout_ms : 3000;
    redis->options.pause_ms_max = options->pause_ms_max ? options->pause_ms_max : 1000;
    if (options->wait_replicas > 0) {
        redis->options.wait_timeout_ms = options->wait_timeout_ms ? options->wait_timeout_ms : 1000;
        char *text;
        int len = redisFormatCommand(&text, "WAIT %u %u", options->wait_replicas,
                                     redis->options.wait_timeout_ms);
        assert(len > 0 && (size_t)len < sizeof redis->wait_text);
        memcpy(redis->wait_text, text, (size_t)len);
        redis->wait_len = (size_t)len;
        redisFreeCommand(text);
        /* Everything behind a WAIT is as late as it. */
        redis->options.timeout_ms += redis->options.wait_timeout_ms;
    }
    redis->arena.block_bytes = redis->options.buffer_bytes;
    list_init(&redis->calls);
    list_init(&redis->held);
    list_init(&redis->waits);
    redis_lookup_init(&redis->lookup, ring, address_found);
    ring_task_init(&redis->flush, flush_run);
    ring_timer_init(&redis->timer, timer_fired);
}

void redis_start(struct redis *redis)
{
    assert(redis->state == REDIS_IDLE);
    redis->state = REDIS_WAITING;
    ring_timer_start(redis->ring, &redis->timer, 0);
}

static void stop_run(struct ring_task *task)
{
    struct redis *redis = CONTAINER_OF(task, struct redis, flush);
    redis->state = REDIS_STOPPED;
    redis->events->stopped(redis->user);
}

void redis_stop(struct redis *redis)
{
    if (redis->stopping)
        return;
    redis->stopping = true;
    switch (redis->state) {
    case REDIS_CONNECTING:
    case REDIS_SECURING:
    case REDIS_GREETING:
    case REDIS_UP:
        connection_close(redis);
        return;
    case REDIS_IDLE:
    case REDIS_LOOKING:
    case REDIS_WAITING: /* nothing to close; still no callback before this call returns */
        ring_timer_stop(&redis->timer);
        redis_lookup_cancel(&redis->lookup);
        redis->state = REDIS_CLOSING;
        ring_task_init(&redis->flush, stop_run);
        ring_task_queue(redis->ring, &redis->flush);
        return;
    case REDIS_CLOSING:
    case REDIS_STOPPED:
        return;
    }
}

void redis_destroy(struct redis **redis)
{
    struct redis *it = *redis;
    if (!it)
        return;
    assert(it->state == REDIS_IDLE || it->state == REDIS_STOPPED);
    struct list *node;
    while ((node = list_pop_front(&it->waits)) != NULL)
        free(LIST_ENTRY(node, struct wait_call, call.node));
    arena_free(&it->arena);
    free(it->outgoing);
    free(it->argv);
    free(it->argv_lens);
    free(it);
    *redis = NULL;
}

bool redis_up(const struct redis *redis)
{
    return redis->state == REDIS_UP;
}

void redis_wake(struct redis *redis)
{
    if (redis->state == REDIS_WAITING && redis->asked && !redis->stopping)
        ring_timer_start(redis->ring, &redis->timer, 0);
}

void redis_host_set(struct redis *redis, const struct redis_host *host)
{
    redis->target.host = *host;
}

const struct redis_host *redis_host(const struct redis *redis)
{
    return &redis->target.host;
}

const char *redis_failure(const struct redis *redis)
{
    return redis->failure;
}

void *redis_user(const struct redis *redis)
{
    return redis->user;
}

uint64_t redis_commands(const struct redis *redis)
{
    return redis->commands;
}

uint64_t redis_connects(const struct redis *redis)
{
    return redis->connects;
}
