/* A campaign's rate. Only what was granted may be leased (grant.lua), so the rate holds over all
 * nodes, retries included. Time gives credit, which is granted to the partitions where something
 * waits, in proportion to what they have; grants that stay unused are taken back when another
 * partition could use them.
 *
 * Nothing is reckoned from what was sent: each answer tells how much a partition was given in sum
 * (used and unused), and that is what credit pays for. So a call that ran twice or not at all, a
 * take-back that came too late, or another worker's last grant is noticed with the next answer.
 * What lies unused in sum is at most BURST_MS' worth (and one job); a worker that takes over begins
 * without credit. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "queue/control_internal.h"

enum {
    BURST_MS = 300, /* whose worth may lie unused: a grant is known to be used two turns later */
    ACCRUE_MS_MAX = 300,  /* a longer pause gives no more credit than this */
    IDLE_ASK_MS = 1000,   /* partitions without open jobs are looked at this often */
    HOLD_MS = 1000,       /* an unused grant stays for this long, doubled … */
    HOLD_DOUBLED_MAX = 5, /* … at most so often, each time it was in vain */
    QUEUES_ENTERED = 200, /* into the index again, by one call */
};

static int64_t part_open(const struct meter_partition *at)
{
    return MAX_OF(at->accepted - at->ended, INT64_C(0));
}

/* Jobs that could be leased, and those that wait for a retry. */
static int64_t part_queued(const struct meter_partition *at)
{
    return part_open(at) - MAX_OF(at->leased - at->answered, INT64_C(0));
}

/* ---- answers ---- */

static void take_counts(struct meter_partition *at, const struct redis_value *items, int64_t now)
{
    struct meter *meter = &at->campaign->meter;
    int64_t n[11];
    for (size_t i = 0; i < ARRAY_LEN(n); i++)
        n[i] = (int64_t)redis_value_u64(&items[i]);
    if (at->heard)
        meter->credit -= (double)(n[0] + n[1] - at->budget - at->leased);
    at->took = at->heard && n[1] > at->leased;
    if (at->took)
        at->fruitless = 0;
    if (at->took || at->budget == 0)
        at->used_ms = now;
    at->heard = true;
    at->budget = n[0];
    at->leased = n[1];
    at->waiting = n[2];
    at->accepted = n[3];
    at->ended = n[4] + n[5] + n[6] + n[7] + n[8];
    at->delivered = n[4];
    at->bounced = n[5];
    at->answered = n[10];
}

static void grant_done(struct redis_call *call, const struct redis_value *reply)
{
    struct meter_partition *at = CONTAINER_OF(call, struct meter_partition, call);
    struct campaign *campaign = at->campaign;
    struct queue *queue = campaign->control->queue;
    if (!campaign_call_end(campaign))
        return;
    struct meter *meter = &campaign->meter;
    meter->busy--;
    if (!reply)
        return;
    if (reply->type != VALUE_ARRAY || reply->count != 11) {
        if (!meter->failed)
            log_error(queue->options.log, "campaign-grant", "campaign %s in partition %u: %.*s",
                      campaign->flow, at->index, SLICE_FMT(reply->text));
        meter->failed = true;
        return;
    }
    meter->failed = false;
    take_counts(at, reply->items, ring_now_ms(queue->ring));
    /* Metering ends when all queues that waited are back in the index. */
    if (meter->state == METER_ENDING && at->waiting == 0)
        at->off = true;
}

static void grant_send(struct meter_partition *at, int64_t now)
{
    struct campaign *campaign = at->campaign;
    struct queue_partition *partition = &campaign->control->queue->partitions[at->index];
    char more[24], most[24], queues[12];
    snprintf(more, sizeof more, "%lld", (long long)at->grant);
    snprintf(most, sizeof most, "%lld", (long long)MAX_OF(at->budget + at->grant, INT64_C(0)));
    snprintf(queues, sizeof queues, "%d", QUEUES_ENTERED);
    at->asked_ms = now;
    at->call = (struct redis_call){ .done = grant_done };
    campaign->meter.busy++;
    campaign_call_begin(campaign);
    struct slice args[9] = {
        SLICE("EVALSHA"),
        script_sha(&partition->server->scripts, SCRIPT_GRANT),
        SLICE("1"),
        queue_key_slice(&partition->key_epoch),
        slice_str(campaign->flow),
        campaign->meter.state == METER_ON ? SLICE("on") : SLICE("off"),
        slice_str(more),
        slice_str(most),
        slice_str(queues),
    };
    redis_send(partition->server->redis, &at->call, args, 9);
}

/* ---- who gets what ---- */

static bool part_hungry(const struct meter_partition *at)
{
    /* What a lease left over after a full portion isn't among those that wait. */
    return at->heard && (at->waiting > 0 || (at->took && at->budget == 0 && part_queued(at) > 0));
}

static unsigned find_hungry(struct campaign *campaign)
{
    struct control *control = campaign->control;
    unsigned count = 0;
    for (unsigned i = 0; i < control->queue->count; i++)
        if (control_partition_up(&control->queue->partitions[i]) &&
            part_hungry(&campaign->meter.partitions[i]))
            control->hungry[count++] = &campaign->meter.partitions[i];
    return count;
}

static double part_weight(const struct meter_partition *at)
{
    double open = (double)MAX_OF(part_open(at), INT64_C(1));
    return open / (double)(1U << 2 * MIN_OF(at->fruitless, 10U));
}

static int by_carry(const void *a, const void *b)
{
    double x = (*(struct meter_partition *const *)a)->carry,
           y = (*(struct meter_partition *const *)b)->carry;
    return (x < y) - (x > y);
}

/* Gives up to `most` of what is left, no more than it could use. */
static void part_give(struct meter_partition *at, int64_t most, int64_t *left)
{
    int64_t use = MAX_OF(part_queued(at) - at->budget, INT64_C(1)) - at->grant;
    int64_t n = MIN_OF(most, use);
    n = MIN_OF(n, *left);
    if (n <= 0)
        return;
    at->grant += n;
    at->carry -= (double)n;
    *left -= n;
}

/* In proportion; remainders are carried on, so that small shares get their turn. */
static void distribute(struct campaign *campaign, unsigned count, int64_t jobs)
{
    struct meter_partition **hungry = campaign->control->hungry;
    double weights = 0;
    int64_t left = jobs;
    for (unsigned i = 0; i < count; i++)
        weights += part_weight(hungry[i]);
    for (unsigned i = 0; i < count; i++)
        hungry[i]->carry += (double)jobs * part_weight(hungry[i]) / weights;
    qsort(hungry, count, sizeof(struct meter_partition *), by_carry);
    for (unsigned i = 0; i < count; i++)
        part_give(hungry[i], (int64_t)floor(hungry[i]->carry), &left);
    for (unsigned i = 0; i < count; i++)
        part_give(hungry[i], 1, &left);
    for (unsigned i = 0; i < count; i++)
        part_give(hungry[i], left, &left);
    for (unsigned i = 0; i < count; i++)
        hungry[i]->carry = fmax(fmin(hungry[i]->carry, 1), -1);
}

static void take_back(struct campaign *campaign, int64_t excess)
{
    for (unsigned i = 0; i < campaign->control->queue->count && excess > 0; i++) {
        struct meter_partition *at = &campaign->meter.partitions[i];
        int64_t n = MIN_OF(at->budget, excess);
        at->grant -= n;
        excess -= n;
    }
}

/* What lies unused while others wait. A partition whose engine comes by seldom must not lose its
 * grant before it does: it's left alone for longer each time. */
static void take_back_unused(struct campaign *campaign, unsigned hungry, int64_t now)
{
    for (unsigned i = 0; i < campaign->control->queue->count; i++) {
        struct meter_partition *at = &campaign->meter.partitions[i];
        int64_t hold = (int64_t)HOLD_MS << MIN_OF(at->fruitless, (unsigned)HOLD_DOUBLED_MAX);
        bool others = hungry > (part_hungry(at) ? 1U : 0U);
        if (at->budget + at->grant <= 0 || !others || now - at->used_ms < hold)
            continue;
        at->grant = -at->budget;
        at->fruitless++;
        at->used_ms = now;
    }
}

/* ---- from turn to turn ---- */

static struct meter_sums sum_up(const struct campaign *campaign)
{
    struct meter_sums sums = { .complete = true };
    for (unsigned i = 0; i < campaign->control->queue->count; i++) {
        const struct meter_partition *at = &campaign->meter.partitions[i];
        sums.complete = sums.complete && at->heard;
        sums.budget += at->budget;
        sums.leased += at->leased;
        sums.accepted += at->accepted;
        sums.answered += at->answered;
        sums.delivered += at->delivered;
        sums.bounced += at->bounced;
    }
    return sums;
}

/* Credit since the last turn; at most what may lie unused, less what does. Returns how much that
 * is. */
static double accrue(struct campaign *campaign, const struct meter_sums *sums, int64_t now)
{
    struct meter *meter = &campaign->meter;
    int64_t past_ms = MIN_OF(now - meter->accrued_ms, (int64_t)ACCRUE_MS_MAX);
    double burst = 1 + campaign->rate * BURST_MS / 1000;
    meter->accrued_ms = now;
    meter->credit += campaign->rate * (double)past_ms / 1000;
    meter->credit = MIN_OF(meter->credit, burst - (double)sums->budget);
    meter->credit = MAX_OF(meter->credit, -burst);
    return burst;
}

static void plan(struct campaign *campaign, const struct meter_sums *sums, int64_t now)
{
    int64_t room, jobs = INT64_MAX, excess = 0;
    if (!campaign->running || !canary_step(campaign, sums, &room))
        return;
    if (campaign->rate > 0) {
        double burst = accrue(campaign, sums, now);
        jobs = (int64_t)floor(campaign->meter.credit);
        excess = sums->budget - (int64_t)burst;
    }
    jobs = MIN_OF(jobs, room);
    excess = MAX_OF(excess, room < 0 ? -room : 0);
    if (excess > 0)
        take_back(campaign, excess);
    unsigned hungry = find_hungry(campaign);
    take_back_unused(campaign, hungry, now);
    if (jobs > 0 && hungry > 0)
        distribute(campaign, hungry, jobs);
}

static void tick_on(struct campaign *campaign, int64_t now)
{
    struct meter *meter = &campaign->meter;
    struct meter_sums sums = sum_up(campaign);
    for (unsigned i = 0; i < campaign->control->queue->count; i++)
        meter->partitions[i].grant = 0;
    plan(campaign, &sums, now);
    for (unsigned i = 0; i < campaign->control->queue->count; i++) {
        struct meter_partition *at = &meter->partitions[i];
        bool busy = at->grant != 0 || !at->heard || at->waiting > 0 || part_open(at) > 0;
        if (control_partition_up(&campaign->control->queue->partitions[i]) &&
            (now - at->asked_ms >= IDLE_ASK_MS || (campaign->running && busy)))
            grant_send(at, now);
    }
}

static void tick_ending(struct campaign *campaign, int64_t now)
{
    struct meter *meter = &campaign->meter;
    bool off = true;
    for (unsigned i = 0; i < campaign->control->queue->count; i++) {
        struct meter_partition *at = &meter->partitions[i];
        off = off && at->off;
        if (at->off || !control_partition_up(&campaign->control->queue->partitions[i]))
            continue;
        at->grant = 0;
        grant_send(at, now);
    }
    if (!off)
        return;
    free(meter->partitions);
    *meter = (struct meter){ .state = METER_OFF };
}

static void begin(struct campaign *campaign, enum meter_state state, int64_t now)
{
    struct meter *meter = &campaign->meter;
    unsigned count = campaign->control->queue->count;
    if (!meter->partitions)
        meter->partitions = mem_array(count, sizeof *meter->partitions);
    for (unsigned i = 0; i < count; i++)
        meter->partitions[i] =
            (struct meter_partition){ .campaign = campaign, .index = i, .used_ms = now };
    meter->state = state;
    meter->credit = 0;
    meter->accrued_ms = now;
}

void meter_tick(struct campaign *campaign, int64_t now)
{
    struct meter *meter = &campaign->meter;
    bool wanted = !campaign->gone && (campaign->rate > 0 || campaign->canary.running);
    if (meter->busy > 0)
        return; /* plans are made of complete answers */
    if (wanted && meter->state != METER_ON)
        begin(campaign, METER_ON, now);
    if (!wanted && meter->state == METER_ON)
        begin(campaign, METER_ENDING, now);
    switch (meter->state) {
    case METER_OFF:
        return;
    case METER_ON:
        tick_on(campaign, now);
        return;
    case METER_ENDING:
        tick_ending(campaign, now);
        return;
    }
}

void meter_end(struct campaign *campaign)
{
    if (campaign->meter.state == METER_OFF)
        begin(campaign, METER_ENDING, ring_now_ms(campaign->control->queue->ring));
}

void meter_free(struct campaign *campaign)
{
    free(campaign->meter.partitions);
    campaign->meter.partitions = NULL;
}
