/* The connection is a small state machine: WAITING (for the next attempt) → CONNECTING → GREETING
 * (AUTH, SELECT, SETNAME) → UP → CLOSING → WAITING. Outgoing commands are kept as hiredis formatted
 * them, one vector each, so nothing is copied again on the way to the kernel. */
#include "queue/redis.h"

#include <hiredis/hiredis.h>
#include <hiredis/read.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/un.h>

#include "engine/base/arena.h"
#include "engine/base/mem.h"
#include "engine/net/stream.h"

enum {
    FLIGHT_VECTORS_MAX = 512,
    BUFFER_BYTES = 512 << 10,
    CHECK_MS = 250,
    PAUSE_MS_MIN = 50,
    LASTED_MS = 500
};

enum redis_state {
    REDIS_IDLE,
    REDIS_WAITING,
    REDIS_CONNECTING,
    REDIS_GREETING,
    REDIS_UP,
    REDIS_CLOSING,
    REDIS_STOPPED
};

struct flight {
    struct iovec vectors[FLIGHT_VECTORS_MAX]; /* the ring changes them while sending */
    char *commands[FLIGHT_VECTORS_MAX];       /* what to free afterwards */
    unsigned count;
};

struct greeting { /* one command of the greeting */
    struct redis_call call;
    struct redis *redis;
};

struct outgoing {
    char *bytes;
    size_t len;
};

struct redis {
    struct ring *ring;
    struct redis_url url;
    struct redis_options options;
    const struct redis_events *events;
    void *user;
    enum redis_state state;
    bool stopping;
    struct sockaddr_storage address;
    socklen_t address_len;
    struct stream stream;
    redisReader *reader;
    struct arena arena;
    struct list calls;         /* sent or about to be, not answered; oldest first */
    struct outgoing *outgoing; /* a queue: head … head + len */
    size_t outgoing_head, outgoing_len, outgoing_room;
    struct flight flight;
    struct ring_task flush;
    struct ring_timer timer;
    unsigned pause_ms;
    unsigned greetings; /* outstanding */
    struct greeting greeting[3];
    bool told_up;
    int64_t up_ms;     /* since when */
    const char **argv; /* scratch for the formatter */
    size_t *argv_lens;
    unsigned argv_room;
    uint64_t commands, connects;
    char failure[256]; /* of the last attempt: a lasting one is logged once */
};

/* ---- values: built in the arena by the reader ---- */

static struct redis_value *value_slot(const redisReadTask *task)
{
    if (task->parent) {
        struct redis_value *parent = task->parent->obj;
        return &parent->items[task->idx];
    }
    struct redis *redis = task->privdata;
    return arena_alloc(&redis->arena, sizeof(struct redis_value));
}

static void *value_string(const redisReadTask *task, char *text, size_t len)
{
    struct redis *redis = task->privdata;
    struct redis_value *value = value_slot(task);
    enum redis_value_type type = task->type == REDIS_REPLY_ERROR    ? VALUE_ERROR
                                 : task->type == REDIS_REPLY_STATUS ? VALUE_STATUS
                                                                    : VALUE_STRING;
    *value = (struct redis_value){ .type = type,
                                   .text = arena_copy(&redis->arena, slice_of(text, len)) };
    return value;
}

static void *value_array(const redisReadTask *task, int elements)
{
    struct redis *redis = task->privdata;
    struct redis_value *value = value_slot(task);
    size_t count = elements > 0 ? (size_t)elements : 0;
    *value = (struct redis_value){ .type = VALUE_ARRAY, .count = count };
    value->items = arena_alloc(&redis->arena, (count ? count : 1) * sizeof *value->items);
    memset(value->items, 0, count * sizeof *value->items);
    return value;
}

static void *value_integer(const redisReadTask *task, long long integer)
{
    struct redis_value *value = value_slot(task);
    *value = (struct redis_value){ .type = VALUE_INTEGER, .integer = integer };
    return value;
}

static void *value_nil(const redisReadTask *task)
{
    struct redis_value *value = value_slot(task);
    *value = (struct redis_value){ .type = VALUE_NIL };
    return value;
}

static void value_free(void *value)
{
    (void)value; /* the arena's */
}

static redisReplyObjectFunctions value_functions = {
    .createString = value_string,
    .createArray = value_array,
    .createInteger = value_integer,
    .createNil = value_nil,
    .freeObject = value_free,
};

uint64_t redis_value_u64(const struct redis_value *value)
{
    uint64_t number = 0;
    if (value->type == VALUE_INTEGER)
        return value->integer > 0 ? (uint64_t)value->integer : 0;
    if ((value->type == VALUE_STRING || value->type == VALUE_STATUS) &&
        slice_to_u64(value->text, &number))
        return number;
    return 0;
}

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

static void flush_run(struct ring_task *task)
{
    struct redis *redis = CONTAINER_OF(task, struct redis, flush);
    if ((redis->state != REDIS_UP && redis->state != REDIS_GREETING) || redis->outgoing_len == 0 ||
        redis->flight.count > 0)
        return;
    struct flight *flight = &redis->flight;
    flight->count = (unsigned)MIN_OF(redis->outgoing_len, (size_t)FLIGHT_VECTORS_MAX);
    for (unsigned i = 0; i < flight->count; i++) {
        struct outgoing *out = &redis->outgoing[redis->outgoing_head + i];
        flight->commands[i] = out->bytes;
        flight->vectors[i] = (struct iovec){ out->bytes, out->len };
    }
    redis->outgoing_head += flight->count;
    redis->outgoing_len -= flight->count;
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
    outgoing_push(redis, (struct outgoing){ bytes, (size_t)len });
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
    return redis->told_up && ring_now_ms(redis->ring) - redis->up_ms >= LASTED_MS;
}

static void connection_failed(struct redis *redis, const char *reason)
{
    if (connection_lasted(redis) || strcmp(redis->failure, reason) != 0)
        log_warn(redis->options.log, "redis-lost", "%s: %s",
                 redis->url.unix_socket ? redis->url.path : redis->url.host, reason);
    snprintf(redis->failure, sizeof redis->failure, "%s", reason);
}

static void connection_close(struct redis *redis)
{
    redis->state = REDIS_CLOSING;
    ring_timer_stop(&redis->timer);
    ring_task_cancel(&redis->flush);
    stream_close(&redis->stream, true);
}

void redis_drop(struct redis *redis, const char *reason)
{
    if (redis->state != REDIS_CONNECTING && redis->state != REDIS_GREETING &&
        redis->state != REDIS_UP)
        return;
    connection_failed(redis, reason);
    connection_close(redis);
}

static void connection_open(struct redis *redis);

static void pause_start(struct redis *redis)
{
    redis->state = REDIS_WAITING;
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
    while ((node = list_pop_front(&redis->calls)) != NULL) {
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
        struct redis_call *call = LIST_ENTRY(node, struct redis_call, node);
        call->done(call, reply);
        arena_reset(&redis->arena);
    }
}

static void greeting_done(struct redis_call *call, const struct redis_value *reply)
{
    struct redis *redis = CONTAINER_OF(call, struct greeting, call)->redis;
    if (!reply || redis->state != REDIS_GREETING)
        return;
    if (reply->type == VALUE_ERROR) {
        char text[200];
        snprintf(text, sizeof text, "refused: %.*s", SLICE_FMT(reply->text));
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

static void greet(struct redis *redis, const struct slice *args, unsigned count)
{
    struct greeting *greeting = &redis->greeting[redis->greetings++];
    *greeting = (struct greeting){ .call.done = greeting_done, .redis = redis };
    command_queue(redis, &greeting->call, args, count);
}

static void on_connected(struct stream *stream)
{
    struct redis *redis = CONTAINER_OF(stream, struct redis, stream);
    if (redis->state != REDIS_CONNECTING)
        return;
    redis->state = REDIS_GREETING;
    redis->greetings = 0;
    const struct redis_url *url = &redis->url;
    if (url->password[0]) {
        struct slice auth[3] = { SLICE("AUTH"), slice_str(url->user), slice_str(url->password) };
        if (url->user[0])
            greet(redis, auth, 3);
        else
            greet(redis, (struct slice[]){ auth[0], auth[2] }, 2);
    }
    char db[12];
    snprintf(db, sizeof db, "%u", url->db);
    greet(redis, (struct slice[]){ SLICE("SELECT"), slice_str(db) }, 2);
    if (redis->options.client_name)
        greet(redis,
              (struct slice[]){ SLICE("CLIENT"), SLICE("SETNAME"),
                                slice_str(redis->options.client_name) },
              3);
    ring_timer_start(redis->ring, &redis->timer, CHECK_MS);
}

static const struct stream_events stream_handlers = {
    .connected = on_connected,
    .received = on_received,
    .sent = on_sent,
    .ended = on_ended,
    .closed = on_closed,
};

static void connection_open(struct redis *redis)
{
    redis->state = REDIS_CONNECTING;
    redis->reader = redisReaderCreateWithFunctions(&value_functions);
    assert(redis->reader);
    redis->reader->maxbuf = redis->options.buffer_bytes;
    redisReaderSetPrivdata(redis->reader, redis);
    stream_init(&redis->stream, redis->ring, &stream_handlers);
    stream_connect(&redis->stream, (struct sockaddr *)&redis->address, redis->address_len, NULL, 0);
    ring_timer_start(redis->ring, &redis->timer, redis->options.timeout_ms);
}

/* The next attempt to connect, a connect that takes too long, or the look at the oldest command. */
static void timer_fired(struct ring_timer *timer)
{
    struct redis *redis = CONTAINER_OF(timer, struct redis, timer);
    switch (redis->state) {
    case REDIS_WAITING:
        connection_open(redis);
        return;
    case REDIS_CONNECTING:
        redis_drop(redis, "connecting took too long");
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
    case REDIS_CLOSING:
    case REDIS_STOPPED:
        return;
    }
}

static bool address_resolve(struct redis *redis, struct err *err)
{
    const struct redis_url *url = &redis->url;
    if (url->unix_socket) {
        struct sockaddr_un *address = (struct sockaddr_un *)&redis->address;
        address->sun_family = AF_UNIX;
        memcpy(address->sun_path, url->path, sizeof address->sun_path);
        redis->address_len = sizeof *address;
        return true;
    }
    char port[8];
    snprintf(port, sizeof port, "%u", url->port);
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found = NULL;
    int status = getaddrinfo(url->host, port, &hints, &found);
    if (status != 0)
        return err_set(err, ERR_CONFIG, "Redis host %s: %s", url->host, gai_strerror(status));
    memcpy(&redis->address, found->ai_addr, found->ai_addrlen);
    redis->address_len = found->ai_addrlen;
    freeaddrinfo(found);
    return true;
}

bool redis_create(struct redis **out, struct ring *ring, const struct redis_options *options,
                  const struct redis_events *events, void *user, struct err *err)
{
    struct redis *redis = mem_zalloc(sizeof *redis);
    *redis = (struct redis){
        .ring = ring, .options = *options, .events = events, .user = user, .pause_ms = PAUSE_MS_MIN
    };
    redis->options.buffer_bytes = options->buffer_bytes ? options->buffer_bytes : BUFFER_BYTES;
    redis->arena.block_bytes = redis->options.buffer_bytes;
    redis->options.timeout_ms = options->timeout_ms ? options->timeout_ms : 3000;
    redis->options.pause_ms_max = options->pause_ms_max ? options->pause_ms_max : 1000;
    list_init(&redis->calls);
    ring_task_init(&redis->flush, flush_run);
    ring_timer_init(&redis->timer, timer_fired);
    if (!redis_url_parse(slice_str(options->url), &redis->url, err) ||
        !address_resolve(redis, err)) {
        free(redis);
        return false;
    }
    *out = redis;
    return true;
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
    case REDIS_GREETING:
    case REDIS_UP:
        connection_close(redis);
        return;
    case REDIS_IDLE:
    case REDIS_WAITING: /* nothing to close; still no callback before this call returns */
        ring_timer_stop(&redis->timer);
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
    explicit_bzero(it->url.password, sizeof it->url.password);
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
