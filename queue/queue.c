/* The queue as one worker sees it: its life, its partitions' table, job blocks, stored submissions
 * and totals. Owning partitions is in owner.c, leasing in lease.c, outcomes in ack.c, taking back
 * in sweep.c; all of it runs on the worker's ring. */
#include "queue/internal.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- helpers that all parts use ---- */

struct slice *queue_args(struct queue *queue, unsigned count)
{
    if (count > queue->args_room) {
        queue->args_room = MAX_OF(count, 2 * queue->args_room);
        queue->args = mem_realloc(queue->args, queue->args_room * sizeof *queue->args);
    }
    return queue->args;
}

void queue_fault(struct queue_server *server, const char *what, const struct redis_value *reply)
{
    char text[240];
    if (reply && reply->type == VALUE_ERROR)
        snprintf(text, sizeof text, "%s: %.*s", what, SLICE_FMT(reply->text));
    else
        snprintf(text, sizeof text, "%s: unexpected reply", what);
    redis_drop(server->redis, text);
}

/* The order of commands on the connection is what makes this safe without giving it up: whatever
 * was sent before is answered before the next acquisition is. */
void partition_fault(struct queue_partition *partition, const char *what,
                     const struct redis_value *reply)
{
    struct queue *queue = partition->queue;
    if (!redis_value_refused(reply)) {
        queue_fault(partition->server, what, reply);
        return;
    }
    if (partition->state == PARTITION_OWNED)
        log_warn(queue->options.log, "partition-refused", "partition %u waits: %s: %.*s",
                 partition->index, what, SLICE_FMT(reply->text));
    if (partition->state != PARTITION_ACQUIRING)
        partition->tried_ms = ring_now_ms(queue->ring);
    partition->state = PARTITION_FREE;
    queue_recordable_update(queue);
}

void queue_flush_later(struct queue *queue)
{
    if (queue->servers_ready > 0)
        ring_task_queue(queue->ring, &queue->flush);
}

/* At a start everything that can be had is acquired first. Later on, a partition that comes back
 * (with one of several servers) doesn't stop the others; each is looked at by queue_commit(). */
void queue_recordable_update(struct queue *queue)
{
    unsigned owned = 0;
    bool acquiring = false;
    for (unsigned i = 0; i < queue->count; i++) {
        const struct queue_partition *partition = &queue->partitions[i];
        owned += partition->state == PARTITION_OWNED && partition_up(partition);
        acquiring = acquiring || partition->state == PARTITION_ACQUIRING;
    }
    STAT_SET(queue->stats.partitions_owned, owned);
    bool yes = owned > 0 && (queue->recordable || !acquiring);
    if (yes == queue->recordable)
        return;
    queue->recordable = yes;
    STAT_SET(queue->stats.recordable, yes);
    queue->events->recordable(queue->user, yes);
}

struct slice queue_class_letter(enum queue_class class)
{
    switch (class) {
    case QUEUE_TRANSACTIONAL:
        return SLICE("t");
    case QUEUE_DEADLINE:
        return SLICE("d");
    case QUEUE_BULK:
    case QUEUE_CLASSES:
        break;
    }
    return SLICE("b");
}

bool queue_class_of_letter(struct slice letter, enum queue_class *out)
{
    for (enum queue_class class = 0; class < QUEUE_CLASSES; class ++)
        if (slice_eq(letter, queue_class_letter(class))) {
            *out = class;
            return true;
        }
    return false;
}

const char *queue_class_name(enum queue_class class)
{
    switch (class) {
    case QUEUE_TRANSACTIONAL:
        return "transactional";
    case QUEUE_DEADLINE:
        return "deadline";
    case QUEUE_BULK:
    case QUEUE_CLASSES:
        break;
    }
    return "bulk";
}

/* ---- commands that nobody waits for ---- */

static void loose_done(struct redis_call *call, const struct redis_value *reply)
{
    struct loose_call *it = CONTAINER_OF(call, struct loose_call, call);
    if (reply && reply->type == VALUE_ERROR)
        queue_fault(redis_set_data(it->server), "a side command", reply);
    list_push_front(&it->queue->free_loose, &it->node);
}

void queue_send_loose(struct queue *queue, struct redis *server, const struct slice *args,
                      unsigned count)
{
    struct list *node = list_pop_front(&queue->free_loose);
    struct loose_call *it =
        node ? LIST_ENTRY(node, struct loose_call, node) : mem_alloc(sizeof *it);
    *it = (struct loose_call){ .queue = queue, .server = server, .call.done = loose_done };
    list_init(&it->node);
    redis_send(server, &it->call, args, count);
}

void queue_release_content(struct queue_partition *partition, struct slice submission)
{
    struct queue *queue = partition->queue;
    struct queue_key open = queue_key_submission(queue->name_space, "o:", submission),
                     object = queue_key_submission(queue->name_space, "s:", submission);
    struct redis *redis = redis_set_server(queue->redis, queue_key_slice(&open));
    struct queue_server *server = redis ? redis_set_data(redis) : NULL;
    if (!server || !server->ready || !redis_up(redis))
        return; /* it stays until it expires */
    char index[12];
    snprintf(index, sizeof index, "%u", partition->index);
    struct slice args[6] = { SLICE("EVALSHA"),
                             script_sha(&server->scripts, SCRIPT_RELEASE),
                             SLICE("2"),
                             queue_key_slice(&open),
                             queue_key_slice(&object),
                             slice_str(index) };
    queue_send_loose(queue, redis, args, 6);
}

/* Copies a text to where `at` points, and moves that on. */
static struct slice text_place(char **at, struct slice text)
{
    if (text.len)
        memcpy(*at, text.ptr, text.len);
    *at += text.len;
    return slice_of(*at - text.len, text.len);
}

static void sites_forget(struct queue *queue)
{
    size_t cursor = 0;
    struct map_entry *entry;
    while ((entry = map_next(&queue->sites, &cursor)) != NULL)
        free(entry->value);
    map_free(&queue->sites);
}

void queue_site(struct queue_partition *partition, struct slice destination, struct slice hosts)
{
    struct queue *queue = partition->queue;
    const struct site_hosts *known = map_get(&queue->sites, destination);
    if ((known && slice_eq(known->hosts, hosts)) || !partition_up(partition))
        return;
    if (queue->sites.count >= SITES_MAX)
        sites_forget(queue);
    free(map_remove(&queue->sites, destination));
    struct site_hosts *entry = mem_alloc(sizeof *entry + destination.len + hosts.len);
    char *at = entry->data;
    entry->destination = text_place(&at, destination);
    entry->hosts = text_place(&at, hosts);
    map_put(&queue->sites, entry->destination, entry);
    struct queue_key key = queue_key_partition(queue->name_space, partition->index, "l", SLICE(""));
    struct slice args[4] = { SLICE("HSET"), queue_key_slice(&key), destination, hosts };
    queue_send_loose(queue, partition->server->redis, args, 4);
}

/* ---- job blocks ---- */

struct held_job *held_job_create(struct queue_partition *partition, struct slice bytes,
                                 const struct job_group *group, uint64_t epoch)
{
    struct queue *queue = partition->queue;
    struct record record;
    struct err err;
    if (!record_parse(bytes, &record, queue->values, QUEUE_RECORD_VALUES_MAX, &err)) {
        log_error(queue->options.log, "record-malformed", "partition %u: %s", partition->index,
                  err.text);
        return NULL;
    }
    size_t values_bytes = record.value_count * sizeof(struct slice);
    size_t size = sizeof(struct held_job) + values_bytes + bytes.len + group->destination.len +
                  group->flow.len + group->stream.len;
    size_t class = (size + BLOCK_STEP - 1) / BLOCK_STEP;
    struct held_job *held;
    if (class < BLOCK_CLASSES) {
        struct list *node = list_pop_front(&queue->blocks[class]);
        held = node ? LIST_ENTRY(node, struct held_job, job.lease_node)
                    : mem_alloc(class * BLOCK_STEP);
    } else {
        class = 0; /* too big to keep */
        held = mem_alloc(size);
    }
    struct slice *values = (struct slice *)(void *)held->block;
    char *copy = held->block + values_bytes;
    memcpy(copy, bytes.ptr, bytes.len);
#define MOVED(s) ((struct slice){ copy + ((s).ptr - bytes.ptr), (s).len })
    for (uint32_t i = 0; i < record.value_count; i++)
        values[i] = MOVED(queue->values[i]);
    struct slice pool = slice_head(group->pool, MIN_OF(group->pool.len, sizeof held->pool));
    *held = (struct held_job){
        .epoch = epoch,
        .block_class = (uint32_t)class,
        .accepted_ms = group->accepted_ms,
        .job = {
            .partition = partition,
            .id = MOVED(record.id),
            .submission = MOVED(record.id),
            .class = group->class,
            .recipient = MOVED(record.recipient),
            .last_reply = MOVED(record.last_reply),
            .attempts = record.attempts,
            .flags = record.flags,
            .value_count = record.value_count,
            .values = values,
            .leased_ms = ring_now_ms(queue->ring),
            .deadline_ms = ring_now_ms(queue->ring) + queue->options.job_lease_ms,
            .journal_slot = -1,
        },
    };
#undef MOVED
    copy += bytes.len;
    held->job.destination = text_place(&copy, group->destination);
    struct slice flow = text_place(&copy, group->flow);
    held->job.tenant = slice_cut(&flow, '/');
    held->job.campaign = flow;
    held->job.stream = text_place(&copy, group->stream);
    if (pool.len)
        memcpy(held->pool, pool.ptr, pool.len);
    held->job.pool = slice_of(held->pool, pool.len);
    while (held->job.submission.ptr[--held->job.submission.len] != '-')
        continue;
    list_init(&held->job.node);
    list_init(&held->job.lease_node);
    return held;
}

void held_job_end(struct held_job *held)
{
    struct queue *queue = held->job.partition->queue;
    if (!held->lost && map_get(&held->job.partition->held, held->job.id) == held) {
        map_remove(&held->job.partition->held, held->job.id);
        STAT_SET(queue->stats.leased, queue->stats.leased - 1);
    }
    if (held->job.journal_slot >= 0)
        journal_free(queue->options.journal, held->job.journal_slot);
    list_remove(&held->job.lease_node);
    if (held->block_class)
        list_push_front(&queue->blocks[held->block_class], &held->job.lease_node);
    else
        free(held);
}

/* ---- stored submissions ---- */

static void load_done(struct redis_call *call, const struct redis_value *reply)
{
    struct load_call *it = CONTAINER_OF(call, struct load_call, call);
    struct queue *queue = it->queue;
    struct queue_load *load = it->load;
    list_remove(&it->node);
    list_push_front(&queue->free_loads, &it->node);
    if (!reply || reply->type == VALUE_ERROR) {
        list_push_back(&queue->loads, &load->node);
        if (reply)
            queue_fault(redis_set_data(it->server), "reading a submission", reply);
        return;
    }
    struct slice json = reply->type == VALUE_STRING ? reply->text : (struct slice){ 0 };
    load->loaded(load, json);
}

/* False while the server of its key isn't ready: it stays in line. */
static bool load_send(struct queue *queue, struct queue_load *load)
{
    struct queue_key key = queue_key_submission(queue->name_space, "s:", load->submission);
    struct redis *redis = redis_set_server(queue->redis, queue_key_slice(&key));
    if (!redis || !((struct queue_server *)redis_set_data(redis))->ready)
        return false;
    list_remove(&load->node);
    struct list *node = list_pop_front(&queue->free_loads);
    struct load_call *it = node ? LIST_ENTRY(node, struct load_call, node) : mem_alloc(sizeof *it);
    *it =
        (struct load_call){ .queue = queue, .server = redis, .load = load, .call.done = load_done };
    list_init(&it->node);
    list_push_back(&queue->loads_sent, &it->node);
    redis_send(redis, &it->call, (struct slice[]){ SLICE("GET"), queue_key_slice(&key) }, 2);
    return true;
}

void queue_load_submission(struct queue *queue, struct queue_load *load, struct slice submission)
{
    load->submission = submission;
    list_init(&load->node);
    list_push_back(&queue->loads, &load->node);
    queue_flush_later(queue);
}

/* ---- what leaves once a turn ---- */

static void flush_run(struct ring_task *task)
{
    struct queue *queue = CONTAINER_OF(task, struct queue, flush);
    list_for_each_safe (node, &queue->loads)
        load_send(queue, LIST_ENTRY(node, struct queue_load, node));
    for (unsigned i = 0; i < queue->count; i++) {
        /* Outcomes first: a repeated one must be through before its job can be leased again. */
        partition_acks_send(&queue->partitions[i], queue->stopping);
        partition_asks_send(&queue->partitions[i]);
    }
}

static void ack_timer_fired(struct ring_timer *timer)
{
    struct queue *queue = CONTAINER_OF(timer, struct queue, ack_timer);
    for (unsigned i = 0; i < queue->count; i++)
        partition_acks_send(&queue->partitions[i], true);
}

static void renew_timer_fired(struct ring_timer *timer)
{
    struct queue *queue = CONTAINER_OF(timer, struct queue, renew_timer);
    ring_timer_start(queue->ring, timer, queue->options.owner_lease_ms / 4);
    if (queue->stopping)
        return;
    for (unsigned i = 0; i < queue->count; i++) {
        struct queue_partition *partition = &queue->partitions[i];
        if (partition->state == PARTITION_OWNED && partition_up(partition))
            partition_renew(partition);
    }
}

static void tick_timer_fired(struct ring_timer *timer)
{
    struct queue *queue = CONTAINER_OF(timer, struct queue, tick_timer);
    ring_timer_start(queue->ring, timer, TICK_MS);
    if (queue->stopping)
        return;
    for (unsigned i = 0; i < queue->count; i++)
        partition_tick(&queue->partitions[i]);
    shares_balance(queue);
}

static void join_timer_fired(struct ring_timer *timer)
{
    struct queue *queue = CONTAINER_OF(timer, struct queue, join_timer);
    ring_timer_start(queue->ring, timer, JOIN_MS);
    if (!queue->stopping)
        shares_join(queue);
}

/* ---- totals ---- */

static void totals_sum(struct queue *queue)
{
    struct partition_counts sum = { 0 };
    for (unsigned i = 0; i < queue->count; i++) {
        const struct partition_counts *counts = &queue->partitions[i].counts;
        sum.accepted += counts->accepted;
        sum.delivered += counts->delivered;
        sum.bounced += counts->bounced;
        sum.expired += counts->expired;
        sum.suppressed += counts->suppressed;
        sum.cancelled += counts->cancelled;
        sum.deferred += counts->deferred;
        sum.unknown += counts->unknown;
        sum.retrying += counts->retrying;
    }
    struct queue_stats *stats = &queue->stats;
    STAT_SET(stats->accepted, sum.accepted);
    STAT_SET(stats->delivered, sum.delivered);
    STAT_SET(stats->bounced, sum.bounced);
    STAT_SET(stats->expired, sum.expired);
    STAT_SET(stats->suppressed, sum.suppressed);
    STAT_SET(stats->cancelled, sum.cancelled);
    STAT_SET(stats->deferred, sum.deferred);
    STAT_SET(stats->unknown, sum.unknown);
    STAT_SET(stats->retrying, sum.retrying);
    STAT_SET(stats->redis_commands, redis_set_commands(queue->redis));
    STAT_SET(stats->redis_reconnects, redis_set_reconnects(queue->redis));
}

static void counts_done(struct redis_call *call, const struct redis_value *reply)
{
    struct queue_partition *partition = CONTAINER_OF(call, struct queue_partition, counts_call);
    struct partition_counts *counts = &partition->counts;
    partition->queue->stats_busy--;
    if (!reply || reply->type != VALUE_ARRAY || reply->count != 8)
        return;
    uint64_t *const fields[8] = { &counts->accepted, &counts->delivered,  &counts->bounced,
                                  &counts->expired,  &counts->suppressed, &counts->cancelled,
                                  &counts->deferred, &counts->unknown };
    for (unsigned i = 0; i < 8; i++)
        *fields[i] = redis_value_u64(&reply->items[i]);
}

static void retry_done(struct redis_call *call, const struct redis_value *reply)
{
    struct queue_partition *partition = CONTAINER_OF(call, struct queue_partition, retry_call);
    if (reply)
        partition->counts.retrying = redis_value_u64(reply);
    if (--partition->queue->stats_busy == 0)
        totals_sum(partition->queue);
}

static void stats_timer_fired(struct ring_timer *timer)
{
    struct queue *queue = CONTAINER_OF(timer, struct queue, stats_timer);
    ring_timer_start(queue->ring, timer, STATS_MS);
    if (queue->stats_busy > 0)
        return;
    for (unsigned i = 0; i < queue->count; i++) {
        struct queue_partition *partition = &queue->partitions[i];
        /* Each worker of a node asks about its part of all partitions, whoever owns them. */
        if (!partition_up(partition) || i % queue->options.workers != queue->options.worker)
            continue; /* counts as it last did */
        partition->counts_call = (struct redis_call){ .done = counts_done };
        partition->retry_call = (struct redis_call){ .done = retry_done };
        queue->stats_busy += 2;
        struct slice args[10] = {
            SLICE("HMGET"),      queue_key_slice(&partition->key_counters),
            SLICE("accepted"),   SLICE("delivered"),
            SLICE("bounced"),    SLICE("expired"),
            SLICE("suppressed"), SLICE("cancelled"),
            SLICE("deferred"),   SLICE("unknown"),
        };
        redis_send(partition->server->redis, &partition->counts_call, args, 10);
        redis_send(partition->server->redis, &partition->retry_call,
                   (struct slice[]){ SLICE("ZCARD"), queue_key_slice(&partition->key_retry) }, 2);
    }
}

const struct queue_stats *queue_stats(const struct queue *queue)
{
    return &queue->stats;
}

/* ---- the connection comes and goes ---- */

/* Gives each partition without a server the one that serves its keys now, once that is ready. */
static void partitions_attach(struct queue *queue)
{
    for (unsigned i = 0; i < queue->count; i++) {
        struct queue_partition *partition = &queue->partitions[i];
        struct redis *redis =
            redis_set_server(queue->redis, queue_key_slice(&partition->key_epoch));
        struct queue_server *server = redis ? redis_set_data(redis) : NULL;
        if (partition->server || !server || !server->ready)
            continue;
        partition->server = server;
        if (partition->wanted || partition->held.count > 0 || !list_empty(&partition->acks))
            partition_acquire(partition);
    }
    if (!ring_timer_running(&queue->join_timer) && queue->servers_ready > 0 && !queue->stopping)
        join_timer_fired(&queue->join_timer);
    queue_recordable_update(queue);
    queue_flush_later(queue);
}

static void server_ready(struct queue_server *server)
{
    if (server->ready)
        return;
    server->ready = true;
    server->queue->servers_ready++;
    partitions_attach(server->queue);
}

static bool serves_meta(const struct queue_server *server)
{
    const struct queue *queue = server->queue;
    return redis_set_server(queue->redis, queue_key_slice(&queue->key_meta)) == server->redis;
}

/* ns:meta is on one server. Those that were sooner wait until it has been read. */
static void meta_found_fine(struct queue *queue)
{
    queue->meta_fine = true;
    for (unsigned i = 0; i < redis_set_count(queue->redis); i++) {
        struct redis *redis = redis_set_at(queue->redis, i);
        struct queue_server *server = redis_set_data(redis);
        if (redis_up(redis) && server->scripts.loaded)
            server_ready(server);
    }
}

static void meta_written(struct redis_call *call, const struct redis_value *reply)
{
    (void)call; /* what counts is what the hash says in the end */
    (void)reply;
}

/* The number of partitions is fixed by the first who comes: who thinks otherwise would look for
 * destinations in the wrong places. */
static void meta_read(struct redis_call *call, const struct redis_value *reply)
{
    struct queue_server *server = CONTAINER_OF(call, struct queue_server, meta_read_call);
    struct queue *queue = server->queue;
    server->meta_busy = false;
    if (!reply)
        return;
    if (reply->type != VALUE_ARRAY || reply->count != 2) {
        queue_fault(server, "reading the queue's layout", reply);
        return;
    }
    uint64_t version = redis_value_u64(&reply->items[0]),
             partitions = redis_value_u64(&reply->items[1]);
    if (version == QUEUE_LAYOUT_VERSION && partitions == queue->options.partitions) {
        meta_found_fine(queue);
        return;
    }
    queue->meta_fine = false;
    if (!queue->meta_told)
        log_error(queue->options.log, "queue-layout",
                  "this Redis holds a queue of layout %llu with %llu partitions, this engine wants "
                  "layout %u with %u",
                  (unsigned long long)version, (unsigned long long)partitions, QUEUE_LAYOUT_VERSION,
                  queue->options.partitions);
    queue->meta_told = true;
    redis_drop(server->redis, "wrong queue layout");
}

static void meta_check(struct queue_server *server)
{
    struct queue *queue = server->queue;
    if (server->meta_busy)
        return;
    server->meta_busy = true;
    char version[12], partitions[12];
    snprintf(version, sizeof version, "%d", QUEUE_LAYOUT_VERSION);
    snprintf(partitions, sizeof partitions, "%u", queue->options.partitions);
    struct slice hash = queue_key_slice(&queue->key_meta), set = SLICE("HSETNX");
    server->meta_version_call = server->meta_partitions_call =
        (struct redis_call){ .done = meta_written };
    server->meta_read_call = (struct redis_call){ .done = meta_read };
    redis_send(server->redis, &server->meta_version_call,
               (struct slice[]){ set, hash, SLICE("version"), slice_str(version) }, 4);
    redis_send(server->redis, &server->meta_partitions_call,
               (struct slice[]){ set, hash, SLICE("partitions"), slice_str(partitions) }, 4);
    redis_send(server->redis, &server->meta_read_call,
               (struct slice[]){ SLICE("HMGET"), hash, SLICE("version"), SLICE("partitions") }, 4);
}

static void scripts_ready(struct script_loader *loader)
{
    struct queue_server *server = CONTAINER_OF(loader, struct queue_server, scripts);
    if (serves_meta(server))
        meta_check(server);
    else if (server->queue->meta_fine)
        server_ready(server);
}

static void on_up(void *user, struct redis *redis)
{
    struct queue_server *server = redis_set_data(redis);
    server->queue = user;
    server->redis = redis;
    server->scripts = (struct script_loader){ .redis = redis, .ready = scripts_ready };
    script_loader_start(&server->scripts);
}

static void on_down(void *user, struct redis *redis)
{
    struct queue *queue = user;
    struct queue_server *server = redis_set_data(redis);
    queue->servers_ready -= server->ready;
    server->ready = false;
    for (unsigned i = 0; i < queue->count; i++) {
        struct queue_partition *partition = &queue->partitions[i];
        if (partition->server != server)
            continue;
        partition->server = NULL;
        partition->state = PARTITION_FREE;
        memset(partition->discovering, 0, sizeof partition->discovering);
    }
    partitions_attach(queue); /* another one may serve them already */
}

/* Keys went from one server to another. A partition follows when its old server's connection is
 * gone, so that nothing it sent there can be answered after it was acquired here. */
static void on_moved(void *user)
{
    struct queue *queue = user;
    for (unsigned i = 0; i < queue->count; i++) {
        struct queue_partition *partition = &queue->partitions[i];
        if (partition_up(partition) &&
            redis_set_server(queue->redis, queue_key_slice(&partition->key_epoch)) !=
                partition->server->redis)
            redis_drop(partition->server->redis, "its keys moved");
    }
    for (unsigned i = 0; i < redis_set_count(queue->redis); i++) {
        struct queue_server *server = redis_set_data(redis_set_at(queue->redis, i));
        if (server->scripts.loaded && !server->ready && redis_up(server->redis))
            scripts_ready(&server->scripts); /* it may have been waiting for ns:meta */
    }
    partitions_attach(queue);
}

static void on_stopped(void *user)
{
    struct queue *queue = user;
    ring_timer_stop(&queue->renew_timer);
    ring_timer_stop(&queue->ack_timer);
    ring_timer_stop(&queue->stats_timer);
    ring_timer_stop(&queue->stop_timer);
    ring_timer_stop(&queue->tick_timer);
    ring_timer_stop(&queue->join_timer);
    control_stop(queue->control);
    order_rounds_stop(queue->rounds);
    ring_task_cancel(&queue->flush);
    queue->stopped(queue->stopped_user);
}

static const struct redis_set_events redis_handlers = {
    .up = on_up,
    .down = on_down,
    .moved = on_moved,
    .stopped = on_stopped,
    .server_bytes = sizeof(struct queue_server),
};

/* ---- life ---- */

static bool options_check(const struct queue_options *options, struct err *err)
{
    if (options->partitions == 0 || options->partitions > QUEUE_PARTITIONS_MAX)
        return err_set(err, ERR_CONFIG, "partitions: %u isn't in 1…%d", options->partitions,
                       QUEUE_PARTITIONS_MAX);
    if (options->workers == 0 || options->worker >= options->workers)
        return err_set(err, ERR_CONFIG, "worker %u of %u", options->worker, options->workers);
    if (!queue_name_valid(slice_str(options->name_space), QUEUE_NAME_SPACE_BYTES_MAX))
        return err_set(err, ERR_CONFIG, "name space '%s': 1–%d letters, digits, '.', '_', '-'",
                       options->name_space, QUEUE_NAME_SPACE_BYTES_MAX);
    if (!queue_name_valid(slice_str(options->node), QUEUE_NODE_BYTES_MAX))
        return err_set(err, ERR_CONFIG, "node id '%s': 1–%d letters, digits, '.', '_', '-'",
                       options->node, QUEUE_NODE_BYTES_MAX);
    if (options->owner_lease_ms < 2 * COMMIT_MARGIN_MS)
        return err_set(err, ERR_CONFIG, "owner lease: %u ms are less than %d",
                       options->owner_lease_ms, 2 * COMMIT_MARGIN_MS);
    return true;
}

static void options_defaults(struct queue_options *options)
{
    options->name_space = options->name_space ? options->name_space : "e";
    options->partitions = options->partitions ? options->partitions : 16;
    options->workers = options->workers ? options->workers : 1;
    options->owner_lease_ms = options->owner_lease_ms ? options->owner_lease_ms : 6000;
    options->job_lease_ms = options->job_lease_ms ? options->job_lease_ms : 7200000;
    options->ack_batch_max = options->ack_batch_max ? MIN_OF(options->ack_batch_max, 1000u) : 256;
    options->ack_delay_ms = options->ack_delay_ms ? options->ack_delay_ms : 20;
    options->events_max = options->events_max ? options->events_max : 1000000;
}

static void partition_init(struct queue *queue, struct queue_partition *partition, unsigned index)
{
    const char *ns = queue->name_space;
    *partition = (struct queue_partition){
        .queue = queue,
        .index = index,
        .key_epoch = queue_key_partition(ns, index, "e", SLICE("")),
        .key_owner = queue_key_partition(ns, index, "o", SLICE("")),
        .key_holder = queue_key_partition(ns, index, "h", SLICE("")),
        .key_inflight = queue_key_partition(ns, index, "i", SLICE("")),
        .key_counters = queue_key_partition(ns, index, "n", SLICE("")),
        .key_retry = queue_key_partition(ns, index, "t", SLICE("")),
    };
    map_init(&partition->held, rng_next(ring_rng(queue->ring)));
    list_init(&partition->acks);
    list_init(&partition->asks);
    list_init(&partition->rounds);
}

static void stop_timer_fired(struct ring_timer *timer)
{
    redis_set_stop(CONTAINER_OF(timer, struct queue, stop_timer)->redis);
}

bool queue_create(struct queue **out, struct ring *ring, const struct queue_options *options,
                  const struct queue_events *events, void *user, struct err *err)
{
    struct queue_options checked = *options;
    options_defaults(&checked);
    if (!options_check(&checked, err))
        return false;
    struct queue *queue = mem_zalloc(sizeof *queue);
    struct redis_options redis_options = { .url = options->url,
                                           .timeout_ms = options->redis_timeout_ms,
                                           .wait_replicas = options->wait_replicas,
                                           .wait_timeout_ms = options->wait_timeout_ms,
                                           .client_name = "eilpost",
                                           .log = options->log };
    if (!redis_set_create(&queue->redis, ring, &redis_options, &redis_handlers, queue, err)) {
        free(queue);
        return false;
    }
    queue->ring = ring;
    queue->options = checked;
    queue->events = events;
    queue->user = user;
    queue->node = slice_dup(slice_str(checked.node));
    queue->name_space = slice_dup(slice_str(checked.name_space));
    queue->key_meta = queue_key_global(queue->name_space, "meta", SLICE(""));
    queue->options.node = queue->node;
    queue->options.name_space = queue->name_space;
    queue->options.url = NULL; /* may hold a password, and isn't ours */
    snprintf(queue->holder, sizeof queue->holder, "%s/%u/%016llx", queue->node, checked.worker,
             (unsigned long long)(checked.instance ? checked.instance : rng_system_seed()));
    snprintf(queue->owner_lease_text, sizeof queue->owner_lease_text, "%u", checked.owner_lease_ms);
    snprintf(queue->job_lease_text, sizeof queue->job_lease_text, "%u", checked.job_lease_ms);
    snprintf(queue->events_max_text, sizeof queue->events_max_text, "%llu",
             (unsigned long long)(checked.events_max / checked.partitions + 1));
    queue->values = mem_array(QUEUE_RECORD_VALUES_MAX, sizeof *queue->values);
    queue->partitions = mem_array(checked.partitions, sizeof *queue->partitions);
    for (unsigned i = 0; i < checked.partitions; i++)
        partition_init(queue, &queue->partitions[queue->count++], i);
    map_init(&queue->sites, rng_next(ring_rng(ring)));
    struct list *const lists[] = { &queue->free_batches, &queue->free_asks, &queue->free_loads,
                                   &queue->free_loose,   &queue->loads,     &queue->loads_sent };
    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        list_init(lists[i]);
    for (size_t i = 0; i < BLOCK_CLASSES; i++)
        list_init(&queue->blocks[i]);
    ring_timer_init(&queue->renew_timer, renew_timer_fired);
    ring_timer_init(&queue->ack_timer, ack_timer_fired);
    ring_timer_init(&queue->stats_timer, stats_timer_fired);
    ring_timer_init(&queue->stop_timer, stop_timer_fired);
    ring_timer_init(&queue->tick_timer, tick_timer_fired);
    ring_timer_init(&queue->join_timer, join_timer_fired);
    ring_task_init(&queue->flush, flush_run);
    queue->control = control_create(queue);
    queue->rounds = order_rounds_create(queue);
    *out = queue;
    return true;
}

void queue_start(struct queue *queue)
{
    redis_set_start(queue->redis);
    ring_timer_start(queue->ring, &queue->renew_timer, queue->options.owner_lease_ms / 4);
    ring_timer_start(queue->ring, &queue->stats_timer, 0);
    ring_timer_start(queue->ring, &queue->tick_timer, TICK_MS);
    control_start(queue->control);
    order_rounds_start(queue->rounds);
}

void queue_stop_drain(struct queue *queue)
{
    if (!queue->stopping)
        return;
    bool busy = false;
    for (unsigned i = 0; i < queue->count; i++) {
        struct queue_partition *partition = &queue->partitions[i];
        if (list_empty(&partition->acks))
            partition_give_up(partition);
        busy = busy || !list_empty(&partition->acks) || partition->owner_busy;
    }
    if (busy)
        return;
    shares_leave(queue);
    redis_set_stop(queue->redis);
}

static void drain_run(struct ring_task *task)
{
    struct queue *queue = CONTAINER_OF(task, struct queue, flush);
    flush_run(task);
    queue_stop_drain(queue);
}

void queue_stop(struct queue *queue, int64_t timeout_ms, void (*stopped)(void *user), void *user)
{
    queue->stopping = true;
    queue->stopped = stopped;
    queue->stopped_user = user;
    ring_timer_start(queue->ring, &queue->stop_timer, timeout_ms);
    ring_task_cancel(&queue->flush);
    ring_task_init(&queue->flush, drain_run);
    ring_task_queue(queue->ring, &queue->flush);
}

static void partition_free(struct queue_partition *partition)
{
    struct list *node;
    /* What Redis never confirmed stays in the journal, for the next start. */
    while ((node = list_pop_front(&partition->acks)) != NULL) {
        struct ack_batch *batch = LIST_ENTRY(node, struct ack_batch, node);
        struct list *job;
        while ((job = list_pop_front(&batch->jobs)) != NULL) {
            struct held_job *held = LIST_ENTRY(job, struct held_job, job.lease_node);
            held->job.journal_slot = -1;
            held_job_end(held);
        }
        ack_batch_free(batch);
    }
    partition_asks_drop(partition);
    partition_orders_free(partition);
    order_rounds_forget(partition);
    map_free(&partition->held);
}

void queue_destroy(struct queue **queue)
{
    struct queue *it = *queue;
    if (!it)
        return;
    for (unsigned i = 0; i < it->count; i++)
        partition_free(&it->partitions[i]);
    redis_set_destroy(&it->redis);
    control_destroy(&it->control);
    order_rounds_destroy(&it->rounds);
    struct list *node;
    while ((node = list_pop_front(&it->free_batches)) != NULL) {
        struct ack_batch *batch = LIST_ENTRY(node, struct ack_batch, node);
        buf_free(&batch->text);
        free(batch);
    }
    while ((node = list_pop_front(&it->free_asks)) != NULL) {
        struct lease_call *call = LIST_ENTRY(node, struct lease_call, node);
        buf_free(&call->names);
        free(call->requests);
        free(call);
    }
    while ((node = list_pop_front(&it->free_loads)) != NULL)
        free(LIST_ENTRY(node, struct load_call, node));
    while ((node = list_pop_front(&it->free_loose)) != NULL)
        free(LIST_ENTRY(node, struct loose_call, node));
    sites_forget(it);
    for (size_t i = 0; i < BLOCK_CLASSES; i++)
        while ((node = list_pop_front(&it->blocks[i])) != NULL)
            free(LIST_ENTRY(node, struct held_job, job.lease_node));
    buf_free(&it->numbers);
    free(it->values);
    free(it->args);
    free(it->partitions);
    free(it->node);
    free(it->name_space);
    free(it);
    *queue = NULL;
}

unsigned queue_partition_index(const struct queue_partition *partition)
{
    return partition->index;
}
