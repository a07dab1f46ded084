#include "bench/queue/load.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/base/buf.h"

enum {
    TIMEOUT_MS = 60000, /* a machine with other work on it may be slow */
    SLOW_ENTRIES = 10000,
};

static void scripts_ready(struct script_loader *loader)
{
    CONTAINER_OF(loader, struct server, scripts)->up = true;
}

static void on_up(void *user)
{
    struct server *server = user;
    server->scripts = (struct script_loader){ .redis = server->redis, .ready = scripts_ready };
    script_loader_start(&server->scripts);
}

static void on_down(void *user)
{
    struct server *server = user;
    server->up = false;
    server->lost = "the connection to Redis was lost";
}

static void on_stopped(void *user)
{
    ((struct server *)user)->stopped = true;
}

bool server_open(struct server *server, struct ring *ring, const char *url, const struct log *log,
                 struct err *err)
{
    static const struct redis_events events = { .up = on_up,
                                                .down = on_down,
                                                .stopped = on_stopped };
    *server = (struct server){ .ring = ring };
    if (!redis_url_parse(slice_str(url), &server->url, err))
        return false;
    struct redis_options options = {
        .timeout_ms = TIMEOUT_MS, .buffer_bytes = 1 << 20, .client_name = "bench-queue", .log = log
    };
    struct redis_target target = { .host = server->url.hosts[0],
                                   .user = server->url.user,
                                   .password = server->url.password,
                                   .db = server->url.db };
    redis_create(&server->redis, ring, &options, &target, &events, server);
    redis_start(server->redis);
    while (!server->up && !server->lost && !redis_failure(server->redis)[0])
        ring_turn(ring, 100);
    if (server->up)
        return true;
    err_set(err, ERR_REDIS, "%s: %s", url, redis_failure(server->redis));
    server_close(server);
    return false;
}

void server_close(struct server *server)
{
    if (!server->redis)
        return;
    redis_stop(server->redis);
    while (!server->stopped)
        ring_turn(server->ring, 100);
    redis_destroy(&server->redis);
}

/* ---- one command at a time ---- */

struct question {
    struct redis_call call;
    void (*take)(void *user, const struct redis_value *reply);
    void *user;
    bool done;
    char failure[200];
};

static void answered(struct redis_call *call, const struct redis_value *reply)
{
    struct question *it = CONTAINER_OF(call, struct question, call);
    it->done = true;
    if (!reply)
        snprintf(it->failure, sizeof it->failure, "no answer from Redis");
    else if (reply->type == VALUE_ERROR)
        snprintf(it->failure, sizeof it->failure, "%.*s", SLICE_FMT(reply->text));
    else if (it->take)
        it->take(it->user, reply);
}

bool server_command(struct server *server, const struct slice *args, unsigned count,
                    void (*take)(void *user, const struct redis_value *reply), void *user,
                    struct err *err)
{
    struct question it = { .call.done = answered, .take = take, .user = user };
    if (!server->up)
        return err_set(err, ERR_REDIS, "%s", server->lost);
    redis_send(server->redis, &it.call, args, count);
    while (!it.done)
        ring_turn(server->ring, 100);
    return !it.failure[0] || err_set(err, ERR_REDIS, "%.*s: %s", SLICE_FMT(args[0]), it.failure);
}

/* ---- what Redis says of itself ---- */

static void usage_take(void *user, const struct redis_value *reply)
{
    struct server_usage *usage = user;
    struct slice text = reply->text;
    while (text.len > 0) {
        struct slice value = slice_cut(&text, '\n');
        struct slice name = slice_cut(&value, ':');
        if (slice_eq(name, SLICE("used_memory")))
            usage->memory_bytes = strtoull(value.ptr, NULL, 10);
        else if (slice_eq(name, SLICE("used_cpu_sys")) || slice_eq(name, SLICE("used_cpu_user")))
            usage->cpu_us += strtod(value.ptr, NULL) * 1e6;
    }
}

bool server_usage_read(struct server *server, struct server_usage *out, struct err *err)
{
    *out = (struct server_usage){ 0 };
    struct slice args[] = { SLICE("INFO"), SLICE("memory"), SLICE("cpu") };
    return server_command(server, args, ARRAY_LEN(args), usage_take, out, err);
}

bool server_slowest_start(struct server *server, struct err *err)
{
    char slow[12], entries[12];
    snprintf(slow, sizeof slow, "%d", LOAD_SLOW_US);
    snprintf(entries, sizeof entries, "%d", SLOW_ENTRIES);
    struct slice set[] = { SLICE("CONFIG"),
                           SLICE("SET"),
                           SLICE("slowlog-log-slower-than"),
                           slice_str(slow),
                           SLICE("slowlog-max-len"),
                           slice_str(entries) };
    struct slice reset[] = { SLICE("SLOWLOG"), SLICE("RESET") };
    return server_command(server, set, ARRAY_LEN(set), NULL, NULL, err) &&
           server_command(server, reset, ARRAY_LEN(reset), NULL, NULL, err);
}

struct slowest_reading {
    const struct server *server;
    struct server_slowest *out;
};

/* An entry: its number, when, how long in µs, the command's words, … */
static void slow_entry_take(const struct slowest_reading *reading, const struct redis_value *entry)
{
    if (entry->type != VALUE_ARRAY || entry->count < 4 || entry->items[3].count < 2)
        return;
    uint64_t us = redis_value_u64(&entry->items[2]), *slot = &reading->out->other_us;
    const struct redis_value *words = entry->items[3].items;
    for (unsigned i = 0; i < SCRIPT_COUNT; i++)
        if (slice_eq(words[1].text, script_sha(&reading->server->scripts, i)))
            slot = &reading->out->script_us[i];
    *slot = MAX_OF(*slot, us);
}

static void slowest_take(void *user, const struct redis_value *reply)
{
    for (size_t i = 0; reply->type == VALUE_ARRAY && i < reply->count; i++)
        slow_entry_take(user, &reply->items[i]);
}

bool server_slowest_read(struct server *server, struct server_slowest *out, struct err *err)
{
    *out = (struct server_slowest){ 0 };
    char entries[12];
    snprintf(entries, sizeof entries, "%d", SLOW_ENTRIES);
    struct slowest_reading reading = { server, out };
    struct slice args[] = { SLICE("SLOWLOG"), SLICE("GET"), slice_str(entries) };
    return server_command(server, args, ARRAY_LEN(args), slowest_take, &reading, err);
}
