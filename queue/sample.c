/* How fast campaigns go: every few seconds those with open jobs get a sample [ms, ended] into their
 * object, from which an ETA is made. What is written is the reading before, so that a sample always
 * looks back some seconds. The same look finds campaigns that are metered though nobody wants it
 * any more, e.g. by a call that ran after its worker was replaced. */
#include <stdio.h>
#include <stdlib.h>

#include "queue/control_internal.h"

enum {
    SAMPLE_MS = 5000,
    SAMPLE_AGE_MAX_MS = 60000, /* an older reading tells nothing of now */
    SAMPLED_MAX = 200,         /* campaigns in a round: all, or … */
    SAMPLED_ACTIVE_MAX = 100,  /* … those that were last active, and others in turn */
    CALLS_PER_TURN = 512,
};

/* ---- one campaign ---- */

static void write_done(struct redis_call *call, const struct redis_value *reply)
{
    (void)reply; /* there will be another one */
    struct campaign *campaign = CONTAINER_OF(call, struct campaign, sample.write_call);
    if (campaign_call_end(campaign))
        campaign->sample.writing = false;
}

static void sample_write(struct campaign *campaign, int64_t at_ms, int64_t ended)
{
    struct queue *queue = campaign->control->queue;
    struct queue_key key = queue_key_global(queue->name_space, "campaigns", SLICE(""));
    struct queue_server *server = control_server(queue, &key);
    if (!server || campaign->sample.writing)
        return;
    char fields[80];
    snprintf(fields, sizeof fields, "{\"sample\":[%lld,%lld]}", (long long)at_ms, (long long)ended);
    campaign->sample.writing = true;
    campaign_call_begin(campaign);
    campaign->sample.write_call = (struct redis_call){ .done = write_done };
    struct slice args[7] = {
        SLICE("EVALSHA"),
        script_sha(&server->scripts, SCRIPT_CAMPAIGN),
        SLICE("1"),
        queue_key_slice(&key),
        slice_str(campaign->flow),
        slice_str(fields),
        SLICE("0"),
    };
    redis_send(server->redis, &campaign->sample.write_call, args, 7);
}

static void sample_complete(struct campaign *campaign)
{
    struct campaign_sample *sample = &campaign->sample;
    struct ring *ring = campaign->control->queue->ring;
    int64_t now = ring_wall_ms(ring) + campaign->control->clock_ahead_ms;
    bool known = sample->last_ms > 0 && now - sample->last_ms <= SAMPLE_AGE_MAX_MS;
    if (sample->ended != sample->last_ended)
        sample->active_ms = ring_now_ms(ring);
    if (sample->accepted > sample->ended)
        sample_write(campaign, known ? sample->last_ms : now,
                     known ? sample->last_ended : sample->ended);
    sample->last_ms = now;
    sample->last_ended = sample->ended;
    /* Twice: what was just begun by an operator's command is known here a little later. */
    sample->strayed =
        sample->metered > 0 && campaign->meter.state == METER_OFF ? sample->strayed + 1 : 0;
    if (sample->strayed > 1)
        meter_end(campaign);
}

static void read_done(struct redis_call *call, const struct redis_value *reply)
{
    struct campaign_call *it = CONTAINER_OF(call, struct campaign_call, call);
    struct campaign *campaign = it->campaign;
    if (!campaign_call_end(campaign))
        return;
    struct campaign_sample *sample = &campaign->sample;
    bool good = reply && reply->type == VALUE_ARRAY && reply->count == 7;
    for (size_t i = 1; good && i < 6; i++)
        sample->ended += (int64_t)redis_value_u64(&reply->items[i]);
    if (good) {
        sample->accepted += (int64_t)redis_value_u64(&reply->items[0]);
        sample->metered += redis_value_is(&reply->items[6], "1");
    }
    sample->failed = sample->failed || !good;
    if (--sample->missing == 0 && !sample->failed)
        sample_complete(campaign);
}

/* False when it can't be read now. */
static bool sample_read(struct campaign *campaign)
{
    struct campaign_sample *sample = &campaign->sample;
    struct queue *queue = campaign->control->queue;
    for (unsigned i = 0; i < queue->count; i++)
        if (!control_partition_up(&queue->partitions[i]))
            return false;
    if (sample->missing > 0 || campaign->gone)
        return false;
    if (!sample->calls)
        sample->calls = mem_array(queue->count, sizeof *sample->calls);
    sample->accepted = sample->ended = sample->metered = 0;
    sample->failed = false;
    sample->missing = queue->count;
    sample->read_ms = ring_now_ms(queue->ring);
    for (unsigned i = 0; i < queue->count; i++) {
        struct queue_key key =
            queue_key_partition(queue->name_space, i, "c:", slice_str(campaign->flow));
        sample->calls[i] = (struct campaign_call){ .campaign = campaign, .call.done = read_done };
        campaign_call_begin(campaign);
        struct slice args[9] = { SLICE("HMGET"),      queue_key_slice(&key), SLICE("accepted"),
                                 SLICE("delivered"),  SLICE("bounced"),      SLICE("expired"),
                                 SLICE("suppressed"), SLICE("cancelled"),    SLICE("metered") };
        redis_send(queue->partitions[i].server->redis, &sample->calls[i].call, args, 9);
    }
    return true;
}

/* ---- which ones ---- */

static int by_activity(const void *a, const void *b)
{
    int64_t x = (*(struct campaign *const *)a)->sample.active_ms,
            y = (*(struct campaign *const *)b)->sample.active_ms;
    return (x < y) - (x > y);
}

static int by_reading(const void *a, const void *b)
{
    int64_t x = (*(struct campaign *const *)a)->sample.read_ms,
            y = (*(struct campaign *const *)b)->sample.read_ms;
    return (x > y) - (x < y);
}

static void choose(struct control *control)
{
    size_t count = 0, active = SAMPLED_ACTIVE_MAX;
    struct campaign **all = mem_array(control->count + 1, sizeof(struct campaign *));
    list_for_each (node, &control->campaigns)
        all[count++] = LIST_ENTRY(node, struct campaign, node);
    if (count > SAMPLED_MAX) {
        qsort(all, count, sizeof(struct campaign *), by_activity);
        qsort(all + active, count - active, sizeof(struct campaign *), by_reading);
    }
    for (size_t i = 0; i < count; i++)
        all[i]->sample.due = i < SAMPLED_MAX;
    free(all);
}

static void time_done(struct redis_call *call, const struct redis_value *reply)
{
    struct control *control = CONTAINER_OF(call, struct control, time_call);
    control->time_busy = false;
    if (!reply || reply->type != VALUE_ARRAY || reply->count != 2)
        return;
    int64_t ms = (int64_t)(redis_value_u64(&reply->items[0]) * 1000 +
                           redis_value_u64(&reply->items[1]) / 1000);
    control->clock_ahead_ms = ms - ring_wall_ms(control->queue->ring);
}

static void time_send(struct control *control)
{
    struct queue_key key = queue_key_global(control->queue->name_space, "campaigns", SLICE(""));
    struct queue_server *server = control_server(control->queue, &key);
    if (!server || control->time_busy)
        return;
    control->time_busy = true;
    control->time_call = (struct redis_call){ .done = time_done };
    redis_send(server->redis, &control->time_call, (struct slice[]){ SLICE("TIME") }, 1);
}

void sample_tick(struct control *control, int64_t now)
{
    if (control->reading > 0 &&
        (control->sampled_ms == 0 || now - control->sampled_ms >= SAMPLE_MS)) {
        control->sampled_ms = now;
        time_send(control);
        choose(control);
    }
    unsigned room = MAX_OF(CALLS_PER_TURN / control->queue->count, 1U);
    list_for_each (node, &control->campaigns) {
        struct campaign *campaign = LIST_ENTRY(node, struct campaign, node);
        if (room == 0)
            return;
        if (!campaign->sample.due)
            continue;
        campaign->sample.due = false;
        room -= sample_read(campaign);
    }
}
