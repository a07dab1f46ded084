/* Campaigns in the engine. ns:campaigns is read every 200 ms; what it says decides what is metered
 * (meter.c), judged (canary.c) and sampled (sample.c). The owner of partition 0 does it for all
 * partitions: partitions have one owner at a time, so there's no election of its own. What one
 * worker has begun another one can go on with, since everything is in Redis: grants in the
 * partitions' counters, where a canary began in the campaign's object.
 *
 * Two may do it for a moment when partition 0 changes hands. Grants stand that (meter.c); changes
 * of a campaign's object are made only to the text that was read (campaign.lua), so neither undoes
 * the other's, nor the operator's. */
#include "queue/control_internal.h"

#include <stdio.h>
#include <stdlib.h>

enum { HOLD_AGAIN_MS = 1000 };

struct queue_server *control_server(struct queue *queue, const struct queue_key *key)
{
    struct redis *redis = redis_set_server(queue->redis, queue_key_slice(key));
    struct queue_server *server = redis ? redis_set_data(redis) : NULL;
    return server && server->ready && redis_up(redis) ? server : NULL;
}

bool control_partition_up(const struct queue_partition *partition)
{
    return partition_up(partition) && partition->server->ready;
}

static struct queue_key campaigns_key(const struct control *control)
{
    return queue_key_global(control->queue->name_space, "campaigns", SLICE(""));
}

/* ---- campaigns come and go ---- */

static void campaign_free(struct campaign *campaign)
{
    meter_free(campaign);
    free(campaign->hold.calls);
    free(campaign->sample.calls);
    json_decref(campaign->object);
    free(campaign->text);
    free(campaign);
}

/* Its memory stays until its last call was answered. */
static void campaign_drop(struct campaign *campaign)
{
    struct control *control = campaign->control;
    list_remove(&campaign->node);
    map_remove(&control->by_flow, slice_str(campaign->flow));
    control->count--;
    campaign->dropped = true;
    if (campaign->calls == 0)
        campaign_free(campaign);
}

static struct campaign *campaign_of(struct control *control, struct slice flow)
{
    struct campaign *campaign = map_get(&control->by_flow, flow);
    if (campaign)
        return campaign;
    campaign = mem_zalloc(sizeof *campaign);
    campaign->control = control;
    memcpy(campaign->flow, flow.ptr, flow.len);
    list_init(&campaign->node);
    list_push_back(&control->campaigns, &campaign->node);
    map_put(&control->by_flow, slice_str(campaign->flow), campaign);
    control->count++;
    return campaign;
}

void campaign_call_begin(struct campaign *campaign)
{
    campaign->calls++;
}

bool campaign_call_end(struct campaign *campaign)
{
    campaign->calls--;
    if (!campaign->dropped)
        return true;
    if (campaign->calls == 0)
        campaign_free(campaign);
    return false;
}

/* What a stopped canary stops: the order that holds the campaign is entered after the state was
 * changed, or by the next who finds it so. */
static void hold_set(struct campaign *campaign, bool pending)
{
    struct campaign_hold *hold = &campaign->hold;
    unsigned count = campaign->control->queue->count;
    if (pending && !hold->calls)
        hold->calls = mem_array(count, sizeof *hold->calls);
    for (unsigned i = 0; pending && i < count; i++)
        hold->calls[i].done = false;
    hold->pending = pending;
    hold->tried_ms = 0;
}

static void campaign_take(struct campaign *campaign, struct slice text)
{
    if (campaign->text && slice_eq(slice_str(campaign->text), text))
        return;
    json_t *object = json_loadb(text.ptr, text.len, 0, NULL);
    if (!json_is_object(object)) {
        json_decref(object);
        object = json_object();
    }
    free(campaign->text);
    json_decref(campaign->object);
    campaign->text = slice_dup(text);
    campaign->object = object;
    const char *state = json_string_value(json_object_get(object, "state"));
    const json_t *rate = json_object_get(object, "rate");
    bool failed = campaign->canary.failed;
    campaign->running = !state || strcmp(state, "running") == 0;
    campaign->rate = json_is_number(rate) ? MAX_OF(json_number_value(rate), 0.0) : 0;
    canary_parse(json_object_get(object, "canary"), &campaign->canary);
    bool stopped = campaign->canary.failed && state && strcmp(state, "stopped") == 0;
    if (!stopped)
        hold_set(campaign, false);
    else if (!failed)
        hold_set(campaign, true);
}

static void forget_all(struct control *control)
{
    list_for_each_safe (node, &control->campaigns)
        campaign_drop(LIST_ENTRY(node, struct campaign, node));
}

/* ---- reading and changing ---- */

static void read_done(struct redis_call *call, const struct redis_value *reply)
{
    struct control *control = CONTAINER_OF(call, struct control, read_call);
    control->reading_busy = false;
    if (!reply || reply->type != VALUE_ARRAY || !control->ours)
        return;
    control->reading++;
    for (size_t i = 0; i + 1 < reply->count; i += 2) {
        struct slice flow = reply->items[i].text;
        if (flow.len > FLOW_BYTES_MAX || slice_find(flow, '/') < 0 || slice_find(flow, ' ') >= 0)
            continue;
        struct campaign *campaign = campaign_of(control, flow);
        campaign->reading = control->reading;
        campaign->gone = false;
        campaign_take(campaign, reply->items[i + 1].text);
    }
    list_for_each (node, &control->campaigns) {
        struct campaign *campaign = LIST_ENTRY(node, struct campaign, node);
        campaign->gone = campaign->reading != control->reading;
    }
}

static void read_send(struct control *control, int64_t now)
{
    int64_t pause = control->count > CAMPAIGNS_MANY ? READ_MANY_MS : READ_MS;
    struct queue_key key = campaigns_key(control);
    struct queue_server *server = control_server(control->queue, &key);
    if (!server || control->reading_busy || now - control->read_ms < pause)
        return;
    control->read_ms = now;
    control->reading_busy = true;
    control->read_call = (struct redis_call){ .done = read_done };
    redis_send(server->redis, &control->read_call,
               (struct slice[]){ SLICE("HGETALL"), queue_key_slice(&key) }, 2);
}

static void log_done(struct redis_call *call, const struct redis_value *reply)
{
    (void)reply; /* at worst the line is missing: the campaign's object says it, too */
    CONTAINER_OF(call, struct control, log_call)->log_busy = false;
}

/* Into the log of commands, where operators look for who stopped what. */
static void log_stop(struct campaign *campaign)
{
    struct control *control = campaign->control;
    struct queue_key key = queue_key_global(control->queue->name_space, "log", SLICE(""));
    struct queue_server *server = control_server(control->queue, &key);
    if (!server || control->log_busy)
        return;
    int64_t at = ring_wall_ms(control->queue->ring) + control->clock_ahead_ms;
    const char *reason = json_string_value(json_object_get(campaign->object, "reason"));
    json_t *entry = json_object();
    json_object_set_new(entry, "by", json_string("canary"));
    json_object_set_new(entry, "action", json_string("stop"));
    json_object_set_new(entry, "campaign", json_string(campaign->flow));
    json_object_set_new(entry, "reason", json_string(reason ? reason : ""));
    json_object_set_new(entry, "at", json_integer(at));
    char *text = json_dumps(entry, JSON_COMPACT);
    control->log_busy = true;
    control->log_call = (struct redis_call){ .done = log_done };
    struct slice args[5] = { SLICE("XADD"), queue_key_slice(&key), SLICE("*"), SLICE("e"),
                             slice_str(text) };
    redis_send(server->redis, &control->log_call, args, 5);
    free(text);
    json_decref(entry);
}

static void change_done(struct redis_call *call, const struct redis_value *reply)
{
    struct campaign *campaign = CONTAINER_OF(call, struct campaign, change_call);
    if (!campaign_call_end(campaign))
        return;
    campaign->changing = false;
    if (!reply || reply->type != VALUE_STRING || reply->text.len == 0)
        return; /* the next reading tells what became of it */
    bool failed = campaign->canary.failed;
    campaign_take(campaign, reply->text);
    if (!failed && campaign->hold.pending)
        log_stop(campaign);
}

bool campaign_change(struct campaign *campaign, json_t *fields)
{
    struct control *control = campaign->control;
    struct queue_key key = campaigns_key(control);
    struct queue_server *server = control_server(control->queue, &key);
    char *text = json_dumps(fields, JSON_COMPACT);
    bool sent = server && !campaign->changing;
    json_decref(fields);
    if (sent) {
        campaign->changing = true;
        campaign_call_begin(campaign);
        campaign->change_call = (struct redis_call){ .done = change_done };
        struct slice args[8] = { SLICE("EVALSHA"),
                                 script_sha(&server->scripts, SCRIPT_CAMPAIGN),
                                 SLICE("1"),
                                 queue_key_slice(&key),
                                 slice_str(campaign->flow),
                                 slice_str(text),
                                 SLICE("0"),
                                 slice_str(campaign->text) };
        redis_send(server->redis, &campaign->change_call, args, 8);
    }
    free(text);
    return sent;
}

/* ---- holding ---- */

static void hold_done(struct redis_call *call, const struct redis_value *reply)
{
    struct campaign_call *it = CONTAINER_OF(call, struct campaign_call, call);
    struct campaign *campaign = it->campaign;
    if (!campaign_call_end(campaign))
        return;
    it->campaign = NULL;
    it->done = reply && reply->type == VALUE_INTEGER;
}

static char *hold_text(const struct campaign *campaign)
{
    struct slice name = slice_str(campaign->flow), tenant = slice_cut(&name, '/');
    const struct control *control = campaign->control;
    json_t *order = json_object();
    char id[FLOW_BYTES_MAX + 3];
    snprintf(id, sizeof id, "c:%s", campaign->flow);
    json_object_set_new(order, "id", json_string(id));
    json_object_set_new(order, "action", json_string("suspend"));
    json_object_set_new(order, "tenant", json_stringn(tenant.ptr, tenant.len));
    json_object_set_new(order, "campaign", json_stringn(name.ptr, name.len));
    json_object_set_new(order, "at",
                        json_integer(ring_wall_ms(control->queue->ring) + control->clock_ahead_ms));
    json_object_set(order, "reason", json_object_get(campaign->object, "reason"));
    char *text = json_dumps(order, JSON_COMPACT);
    json_decref(order);
    return text;
}

static void hold_send(struct campaign *campaign, unsigned index, struct slice text)
{
    struct queue *queue = campaign->control->queue;
    struct campaign_call *it = &campaign->hold.calls[index];
    char id[FLOW_BYTES_MAX + 3];
    snprintf(id, sizeof id, "c:%s", campaign->flow);
    struct queue_key key = queue_key_partition(queue->name_space, index, "a", SLICE(""));
    it->campaign = campaign;
    it->call = (struct redis_call){ .done = hold_done };
    campaign_call_begin(campaign);
    struct slice args[4] = { SLICE("HSETNX"), queue_key_slice(&key), slice_str(id), text };
    redis_send(queue->partitions[index].server->redis, &it->call, args, 4);
}

/* Until each partition has the order. Metering isn't ended before. */
static void hold_tick(struct campaign *campaign, int64_t now)
{
    struct campaign_hold *hold = &campaign->hold;
    struct queue *queue = campaign->control->queue;
    unsigned missing = 0;
    bool again = hold->tried_ms == 0 || now - hold->tried_ms >= HOLD_AGAIN_MS;
    char *text = hold_text(campaign);
    for (unsigned i = 0; i < queue->count; i++) {
        struct campaign_call *it = &hold->calls[i];
        missing += !it->done;
        if (again && !it->done && !it->campaign && control_partition_up(&queue->partitions[i]))
            hold_send(campaign, i, slice_str(text));
    }
    free(text);
    if (again)
        hold->tried_ms = now;
    hold->pending = missing > 0;
}

/* ---- from turn to turn ---- */

static void campaign_tick(struct campaign *campaign, int64_t now)
{
    if (campaign->hold.pending) {
        hold_tick(campaign, now);
        return;
    }
    meter_tick(campaign, now);
    if (campaign->gone && campaign->meter.state == METER_OFF)
        campaign_drop(campaign);
}

/* The lease's end is looked at, too: who was asleep must not grant before it knows. */
static bool control_ours(const struct control *control)
{
    const struct queue_partition *first = &control->queue->partitions[0];
    return partition_leasing(first) && control_partition_up(first) && !control->queue->stopping &&
           ring_now_ms(control->queue->ring) < first->lease_until_ms;
}

static void timer_fired(struct ring_timer *timer)
{
    struct control *control = CONTAINER_OF(timer, struct control, timer);
    int64_t now = ring_now_ms(control->queue->ring);
    ring_timer_start(control->queue->ring, timer, CONTROL_MS);
    bool was = control->ours;
    control->ours = control_ours(control);
    if (control->ours != was)
        log_debug(control->queue->options.log, "campaigns", "this worker %s campaigns",
                  was ? "no longer controls" : "controls");
    if (!control->ours) {
        if (was)
            forget_all(control);
        return;
    }
    if (!was) {
        control->reading = 0;
        control->read_ms = now - READ_MANY_MS;
        control->sampled_ms = 0;
    }
    read_send(control, now);
    list_for_each_safe (node, &control->campaigns)
        campaign_tick(LIST_ENTRY(node, struct campaign, node), now);
    sample_tick(control, now);
}

struct control *control_create(struct queue *queue)
{
    struct control *control = mem_zalloc(sizeof *control);
    control->queue = queue;
    control->hungry = mem_array(queue->count, sizeof(struct meter_partition *));
    map_init(&control->by_flow, rng_next(ring_rng(queue->ring)));
    list_init(&control->campaigns);
    ring_timer_init(&control->timer, timer_fired);
    return control;
}

void control_start(struct control *control)
{
    ring_timer_start(control->queue->ring, &control->timer, CONTROL_MS);
}

void control_stop(struct control *control)
{
    ring_timer_stop(&control->timer);
}

void control_destroy(struct control **control)
{
    struct control *it = *control;
    if (!it)
        return;
    forget_all(it);
    map_free(&it->by_flow);
    free(it->hungry);
    free(it);
    *control = NULL;
}
