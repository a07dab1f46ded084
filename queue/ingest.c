/* Reads entries, a batch at a time. Its stages are listed in ingest_internal.h; a stage begins when
 * all replies of the one before are there. Whatever goes wrong on the way, the batch is dropped and
 * read again, as a new process would do: that the parts' markers make this harmless is the only
 * recovery there is. */
#include "queue/ingest.h"

#include <stdio.h>
#include <stdlib.h>

#include "queue/ingest_internal.h"

enum {
    BATCH_BYTES = 256 << 10, /* no entry is read beyond that: the worker does nothing else */
    BLOCK_MS = 2000,
    CLAIM_MS = 30000,      /* between looks for entries that a dead consumer left */
    CLAIM_IDLE_MS = 60000, /* how long an entry must have been left */
};

static void ingest_begin(struct ingest *ingest);

const struct ingest_stats *ingest_stats(const struct ingest *ingest)
{
    return &ingest->stats;
}

/* ---- reading ---- */

static void batch_begin(struct ingest *ingest, const struct redis_value *entries)
{
    for (size_t i = 0; i < entries->count && ingest->work_count < ENTRIES_MAX; i++)
        if (entries->items[i].type == VALUE_ARRAY && entries->items[i].count == 2)
            ingest_take(ingest, &entries->items[i]);
    ingest->stage_next = ingest_stage_claim;
    ingest_stage_end(ingest); /* dead letters first */
}

/* The stream's server is away, or another one: begins again when there is one. */
static void loop_lost(struct ingest *ingest)
{
    ingest->busy = false;
    ingest_begin(ingest);
}

/* Nothing is there: waits for an entry. More of them are read at once by the script then. */
static void wait_done(struct redis_call *call, const struct redis_value *reply);
static void read_wait(struct ingest *ingest);

static void read_done(struct redis_call *call, const struct redis_value *reply)
{
    struct ingest *ingest = CONTAINER_OF(call, struct ingest, loop_call);
    if (!reply) {
        loop_lost(ingest);
    } else if (reply->type != VALUE_ARRAY) {
        ingest_stage_failed(ingest, "reading the submit stream", reply);
        ingest_batch_pause(ingest);
    } else if (reply->count > 0) {
        batch_begin(ingest, reply);
    } else if (ingest->pending_read) {
        ingest->pending_read = false;
        ingest_read_next(ingest);
    } else {
        read_wait(ingest);
    }
}

static void wait_done(struct redis_call *call, const struct redis_value *reply)
{
    struct ingest *ingest = CONTAINER_OF(call, struct ingest, loop_call);
    if (!reply) {
        loop_lost(ingest);
        return;
    }
    if (reply->type == VALUE_ERROR) {
        ingest_stage_failed(ingest, "waiting for the submit stream", reply);
        ingest_batch_pause(ingest);
        return;
    }
    if (reply->type == VALUE_ARRAY && reply->count == 1 && reply->items[0].type == VALUE_ARRAY &&
        reply->items[0].count == 2 && reply->items[0].items[1].type == VALUE_ARRAY &&
        reply->items[0].items[1].count > 0)
        batch_begin(ingest, &reply->items[0].items[1]);
    else
        ingest_read_next(ingest);
}

static void claim_done(struct redis_call *call, const struct redis_value *reply)
{
    struct ingest *ingest = CONTAINER_OF(call, struct ingest, loop_call);
    if (!reply) {
        loop_lost(ingest);
        return;
    }
    /* [cursor, [id…], …]: what was claimed is this consumer's now, and is read as such. */
    if (reply->type == VALUE_ARRAY && reply->count >= 2 && reply->items[1].count > 0)
        ingest->pending_read = true;
    ingest_read_next(ingest);
}

static void loop_send(struct ingest *ingest,
                      void (*done)(struct redis_call *, const struct redis_value *),
                      const struct slice *args, unsigned count, unsigned extra_ms)
{
    struct ingest_server *server = ingest_server(ingest, &ingest->key_submit);
    if (!server) {
        ingest->busy = false; /* its readiness begins again */
        return;
    }
    ingest->loop_call = (struct redis_call){ .done = done, .extra_ms = extra_ms };
    redis_send(server->redis, &ingest->loop_call, args, count);
}

static void claim(struct ingest *ingest)
{
    char idle[12], count[12];
    snprintf(idle, sizeof idle, "%d", CLAIM_IDLE_MS);
    snprintf(count, sizeof count, "%d", ENTRIES_MAX);
    ingest->claimed_ms = ring_now_ms(ingest->ring);
    struct slice args[] = { SLICE("XAUTOCLAIM"),
                            queue_key_slice(&ingest->key_submit),
                            GROUP,
                            slice_str(ingest->consumer),
                            slice_str(idle),
                            SLICE("0-0"),
                            SLICE("COUNT"),
                            slice_str(count),
                            SLICE("JUSTID") };
    loop_send(ingest, claim_done, args, ARRAY_LEN(args), 0);
}

static void read_wait(struct ingest *ingest)
{
    char block[12];
    snprintf(block, sizeof block, "%d", BLOCK_MS);
    struct slice args[] = { SLICE("XREADGROUP"),
                            SLICE("GROUP"),
                            GROUP,
                            slice_str(ingest->consumer),
                            SLICE("COUNT"),
                            SLICE("1"),
                            SLICE("BLOCK"),
                            slice_str(block),
                            SLICE("STREAMS"),
                            queue_key_slice(&ingest->key_submit),
                            SLICE(">") };
    loop_send(ingest, wait_done, args, ARRAY_LEN(args), BLOCK_MS);
}

void ingest_read_next(struct ingest *ingest)
{
    if (!ingest->pending_read && ring_now_ms(ingest->ring) - ingest->claimed_ms >= CLAIM_MS) {
        claim(ingest);
        return;
    }
    const struct ingest_server *server = ingest_server(ingest, &ingest->key_submit);
    if (!server) {
        ingest->busy = false; /* its readiness begins again */
        return;
    }
    char count[12], bytes[12];
    snprintf(count, sizeof count, "%d", ENTRIES_MAX);
    snprintf(bytes, sizeof bytes, "%d", BATCH_BYTES);
    struct slice args[] = { SLICE("EVALSHA"),
                            script_sha(&server->scripts, SCRIPT_READ),
                            SLICE("1"),
                            queue_key_slice(&ingest->key_submit),
                            GROUP,
                            slice_str(ingest->consumer),
                            ingest->pending_read ? SLICE("0") : SLICE(">"),
                            slice_str(count),
                            slice_str(bytes) };
    loop_send(ingest, read_done, args, ARRAY_LEN(args), 0);
}

static void group_done(struct redis_call *call, const struct redis_value *reply)
{
    struct ingest *ingest = CONTAINER_OF(call, struct ingest, loop_call);
    if (!reply) {
        loop_lost(ingest);
        return;
    }
    if (reply->type == VALUE_ERROR && !slice_starts_with(reply->text, SLICE("BUSYGROUP"))) {
        ingest_stage_failed(ingest, "creating the consumer group", reply);
        ingest_batch_pause(ingest);
        return;
    }
    ingest->pending_read = true;
    ingest_read_next(ingest);
}

static void group_create(struct ingest *ingest)
{
    struct slice args[] = { SLICE("XGROUP"), SLICE("CREATE"), queue_key_slice(&ingest->key_submit),
                            GROUP,           SLICE("0"),      SLICE("MKSTREAM") };
    loop_send(ingest, group_done, args, ARRAY_LEN(args), 0);
}

/* ---- life ---- */

struct ingest_server *ingest_server(const struct ingest *ingest, const struct queue_key *key)
{
    struct redis *redis = redis_set_server(ingest->redis, queue_key_slice(key));
    struct ingest_server *server = redis ? redis_set_data(redis) : NULL;
    return server && server->scripts.loaded ? server : NULL;
}

/* Begins with reading, unless something is under way that will. */
static void ingest_begin(struct ingest *ingest)
{
    if (ingest->busy || !ingest_server(ingest, &ingest->key_submit))
        return;
    ingest->busy = true;
    group_create(ingest);
}

static void pause_fired(struct ring_timer *timer)
{
    struct ingest *ingest = CONTAINER_OF(timer, struct ingest, pause);
    ingest->busy = false;
    ingest_begin(ingest);
}

static void scripts_ready(struct script_loader *loader)
{
    ingest_begin(CONTAINER_OF(loader, struct ingest_server, scripts)->ingest);
}

static void on_up(void *user, struct redis *redis)
{
    struct ingest_server *server = redis_set_data(redis);
    server->ingest = user;
    server->redis = redis;
    server->scripts = (struct script_loader){ .redis = redis, .ready = scripts_ready };
    script_loader_start(&server->scripts);
}

static void on_down(void *user, struct redis *redis)
{
    (void)user; /* each call was answered, with NULL at last; that drops the batch */
    ((struct ingest_server *)redis_set_data(redis))->scripts.loaded = false;
}

static void on_moved(void *user)
{
    ingest_begin(user);
}

static void on_stopped(void *user)
{
    struct ingest *ingest = user;
    assert(ingest->missing == 0);
    ring_timer_stop(&ingest->pause);
    ingest->stopped(ingest->stopped_user);
}

static const struct redis_set_events redis_handlers = {
    .up = on_up,
    .down = on_down,
    .moved = on_moved,
    .stopped = on_stopped,
    .server_bytes = sizeof(struct ingest_server),
};

bool ingest_create(struct ingest **out, struct ring *ring, const struct ingest_options *options,
                   const struct ingest_callbacks *callbacks, void *user, struct err *err)
{
    if (!queue_name_valid(slice_str(options->node), QUEUE_NODE_BYTES_MAX) ||
        !queue_name_valid(slice_str(options->name_space), QUEUE_NAME_SPACE_BYTES_MAX) ||
        options->partitions == 0 || options->partitions > QUEUE_PARTITIONS_MAX)
        return err_set(err, ERR_CONFIG,
                       "ingest: node, name space or number of partitions is wrong");
    struct ingest *ingest = mem_zalloc(sizeof *ingest);
    struct redis_options redis = { .url = options->url,
                                   .timeout_ms = options->redis_timeout_ms,
                                   .wait_replicas = options->wait_replicas,
                                   .wait_timeout_ms = options->wait_timeout_ms,
                                   .buffer_bytes = BUFFER_BYTES,
                                   .client_name = "eilpost-ingest",
                                   .log = options->log };
    if (!redis_set_create(&ingest->redis, ring, &redis, &redis_handlers, ingest, err)) {
        free(ingest);
        return false;
    }
    ingest->ring = ring;
    ingest->options = *options;
    ingest->options.expires_s = options->expires_s ? options->expires_s : 4 * 86400;
    if (options->expires_transactional_s == 0)
        ingest->options.expires_transactional_s = ingest->options.expires_s;
    ingest->options.idempotency_s = options->idempotency_s ? options->idempotency_s : 2 * 86400;
    ingest->options.url = NULL; /* may hold a password, and isn't ours */
    ingest->callbacks = callbacks;
    ingest->user = user;
    ingest->name_space = slice_dup(slice_str(options->name_space));
    snprintf(ingest->consumer, sizeof ingest->consumer, "%s/%u", options->node, options->worker);
    ingest->options.node = ingest->options.name_space = NULL;
    ingest->key_submit = queue_key_global(ingest->name_space, "submit", SLICE(""));
    ingest->key_dead = queue_key_global(ingest->name_space, "dead", SLICE(""));
    ingest->key_campaigns = queue_key_global(ingest->name_space, "campaigns", SLICE(""));
    ingest->pause_ms = PAUSE_MS_MIN;
    ingest->claimed_ms = -CLAIM_MS;
    ingest->arena.block_bytes = BUFFER_BYTES;
    list_init(&ingest->schemas);
    ring_timer_init(&ingest->pause, pause_fired);
    *out = ingest;
    return true;
}

void ingest_start(struct ingest *ingest)
{
    redis_set_start(ingest->redis);
}

void ingest_stop(struct ingest *ingest, void (*stopped)(void *user), void *user)
{
    ingest->stopped = stopped;
    ingest->stopped_user = user;
    redis_set_stop(ingest->redis);
}

void ingest_destroy(struct ingest **ingest)
{
    struct ingest *it = *ingest;
    if (!it)
        return;
    redis_set_destroy(&it->redis);
    ingest_batch_reset(it);
    while (!list_empty(&it->schemas))
        ingest_schema_drop(it, LIST_ENTRY(it->schemas.next, struct schema, node));
    arena_free(&it->arena);
    buf_free(&it->records);
    buf_free(&it->object);
    buf_free(&it->packed);
    free(it->args);
    free(it->name_space);
    free(it);
    *ingest = NULL;
}
