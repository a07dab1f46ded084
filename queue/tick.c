/* What comes due by itself, and what operators ordered: tick.lua brings retries and scheduled
 * queues back and expires jobs, and tells the orders in force and new suppressions, which are
 * applied here to the jobs that are already leased. */
#include <stdio.h>
#include <stdlib.h>

#include "queue/internal.h"

/* ---- orders ---- */

void partition_orders_free(struct queue_partition *partition)
{
    for (unsigned i = 0; i < partition->order_count; i++)
        json_decref(partition->orders[i].root);
    free(partition->orders);
    partition->orders = NULL;
    partition->order_count = 0;
}

static const char *text_of(const json_t *root, const char *key)
{
    return json_string_value(json_object_get(root, key));
}

static bool order_parse(struct slice text, struct order *out)
{
    json_t *root = json_loadb(text.ptr, text.len, 0, NULL);
    if (!root)
        return false;
    *out = (struct order){
        .root = root,
        .action = text_of(root, "action"),
        .class = text_of(root, "class"),
        .tenant = text_of(root, "tenant"),
        .campaign = text_of(root, "campaign"),
        .submission = text_of(root, "submission"),
        .destination = text_of(root, "destination"),
        .site = text_of(root, "site"),
        .pool = text_of(root, "pool"),
        .at_ms = (int64_t)json_number_value(json_object_get(root, "at")),
        .before_ms = (int64_t)json_number_value(json_object_get(root, "before")),
    };
    if (out->action && !json_is_true(json_object_get(root, "done")))
        return true;
    json_decref(root);
    return false;
}

/* As lib/orders.lua has it: "*.example.org" is any name below it; `text` is words. */
static bool names(const char *pattern, struct slice text)
{
    struct slice wanted = slice_str(pattern);
    bool below = slice_starts_with(wanted, SLICE("*"));
    if (below)
        wanted = slice_skip(wanted, 1);
    while (text.len > 0) {
        struct slice word = slice_cut(&text, ' ');
        if (below ? slice_ends_with(word, wanted) : slice_eq(word, wanted))
            return true;
    }
    return false;
}

static bool is(const char *wanted, struct slice have)
{
    return !wanted || slice_eq(slice_str(wanted), have);
}

static bool order_matches(const struct order *order, const struct queue_partition *partition,
                          const struct held_job *held)
{
    const struct queue_job *job = &held->job;
    if (!is(order->class, queue_class_letter(job->class)) || !is(order->tenant, job->tenant) ||
        !is(order->campaign, job->campaign) || !is(order->submission, job->submission) ||
        (order->before_ms && held->accepted_ms >= order->before_ms) ||
        (order->destination && !names(order->destination, job->destination)))
        return false;
    if (!order->site)
        return true;
    const struct site_hosts *site = map_get(&partition->queue->sites, job->destination);
    return site && names(order->site, site->hosts);
}

void partition_orders_apply(const struct queue_partition *partition, struct held_job *held)
{
    held->job.held = false;
    int64_t moved_ms = -1;
    for (unsigned i = 0; i < partition->order_count; i++) {
        const struct order *order = &partition->orders[i];
        if (!order_matches(order, partition, held))
            continue;
        if (strcmp(order->action, "move") != 0) {
            held->job.held = true;
        } else if (order->pool && order->at_ms > moved_ms) {
            moved_ms = order->at_ms;
            int n = snprintf(held->pool, sizeof held->pool, "%s", order->pool);
            held->job.pool = slice_of(held->pool, MIN_OF((size_t)n, sizeof held->pool - 1));
        }
    }
}

static uint64_t orders_hash(const struct redis_value *texts)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a: only tells whether they changed */
    for (size_t i = 0; i < texts->count; i++)
        for (size_t b = 0; b < texts->items[i].text.len; b++)
            hash = (hash ^ (uint8_t)texts->items[i].text.ptr[b]) * UINT64_C(0x100000001b3);
    return hash;
}

static bool orders_take(struct queue_partition *partition, const struct redis_value *texts)
{
    uint64_t hash = orders_hash(texts);
    if (hash == partition->orders_hash)
        return false;
    partition->orders_hash = hash;
    order_rounds_heard(partition, texts);
    partition_orders_free(partition);
    partition->orders = mem_array(texts->count + 1, sizeof *partition->orders);
    for (size_t i = 0; i < texts->count; i++)
        if (order_parse(texts->items[i].text, &partition->orders[partition->order_count]))
            partition->order_count++;
    size_t cursor = 0;
    struct map_entry *entry;
    while ((entry = map_next(&partition->held, &cursor)) != NULL)
        partition_orders_apply(partition, entry->value);
    return true;
}

/* ---- suppressions ---- */

static bool scope_covers(struct slice scope, const struct queue_job *job)
{
    struct slice kind = slice_cut(&scope, ':');
    if (slice_eq(kind, SLICE("g")))
        return true;
    if (slice_eq(kind, SLICE("t")))
        return slice_eq(scope, job->tenant);
    struct slice tenant = slice_cut(&scope, '/');
    return slice_eq(tenant, job->tenant) && slice_eq(scope, job->stream);
}

/* (id, address, scope) each. */
static bool notices_take(struct queue_partition *partition, const struct redis_value *notices)
{
    for (size_t i = 0; i + 2 < notices->count; i += 3) {
        struct slice address = notices->items[i + 1].text, scope = notices->items[i + 2].text;
        size_t cursor = 0;
        struct map_entry *entry;
        while ((entry = map_next(&partition->held, &cursor)) != NULL) {
            struct held_job *held = entry->value;
            if (slice_eq_nocase(held->job.recipient, address) && scope_covers(scope, &held->job))
                held->job.suppressed = true;
        }
        snprintf(partition->notice, sizeof partition->notice, "%.*s",
                 SLICE_FMT(notices->items[i].text));
    }
    return notices->count >= 3;
}

/* ---- the call ---- */

static void tick_done(struct redis_call *call, const struct redis_value *reply)
{
    struct queue_partition *partition = CONTAINER_OF(call, struct queue_partition, tick_call);
    struct queue *queue = partition->queue;
    partition->tick_busy = false;
    if (!reply)
        return;
    if (redis_value_is(reply, "STALE")) {
        partition_stale(partition);
        return;
    }
    if (reply->type != VALUE_ARRAY || reply->count != 4) {
        partition_fault(partition, "looking for what is due", reply);
        return;
    }
    for (size_t i = 0; i < reply->items[3].count; i++)
        queue_release_content(partition, reply->items[3].items[i].text);
    bool changed = orders_take(partition, &reply->items[1]);
    changed = notices_take(partition, &reply->items[2]) || changed;
    bool more = redis_value_u64(&reply->items[0]) > 0;
    if (more && partition->state == PARTITION_OWNED)
        partition_tick(partition);
    if (changed && queue->events->changed)
        queue->events->changed(queue->user);
}

void partition_tick(struct queue_partition *partition)
{
    if (partition->tick_busy || partition->state != PARTITION_OWNED || !partition_up(partition))
        return;
    char moves[12], expire[12], ttl[12];
    snprintf(moves, sizeof moves, "%d", TICK_MOVES_MAX);
    snprintf(expire, sizeof expire, "%d", TICK_EXPIRE_MAX);
    snprintf(ttl, sizeof ttl, "%d", QUEUE_TOTALS_TTL_S);
    if (!partition->notice[0]) /* those since a little before we came; leasing looked at all */
        snprintf(
            partition->notice, sizeof partition->notice, "%lld-0",
            (long long)(partition->epoch / 1000 > 60000 ? partition->epoch / 1000 - 60000 : 0));
    partition->tick_busy = true;
    partition->tick_call = (struct redis_call){ .done = tick_done, .durable = true };
    struct slice args[9] = {
        SLICE("EVALSHA"),
        script_sha(&partition->server->scripts, SCRIPT_TICK),
        SLICE("1"),
        queue_key_slice(&partition->key_epoch),
        slice_str(partition->epoch_text),
        slice_str(moves),
        slice_str(expire),
        slice_str(ttl),
        slice_str(partition->notice),
    };
    redis_send(partition->server->redis, &partition->tick_call, args, 9);
}
