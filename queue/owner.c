/* Owning partitions: acquired at each connection, renewed four times a lease, given up at the end.
 * An epoch that Redis doesn't know any more (a script said STALE) makes us ask again; the answer
 * tells whether anybody else was there meanwhile. */
#include <stdio.h>
#include <stdlib.h>

#include "queue/internal.h"

/* Someone else had or has the partition: nothing of what we hold is ours any more. */
static void partition_lose(struct queue_partition *partition)
{
    struct queue *queue = partition->queue;
    partition_acks_drop(partition);
    partition_asks_drop(partition);
    size_t cursor = 0;
    struct map_entry *entry;
    while ((entry = map_next(&partition->held, &cursor)) != NULL)
        ((struct held_job *)entry->value)->lost = true;
    STAT_SET(queue->stats.leased, queue->stats.leased - partition->held.count);
    map_free(&partition->held);
    partition->epoch = partition->since = 0;
    log_warn(queue->options.log, "partition-lost", "partition %u went to another node",
             partition->index);
    queue->events->lost(queue->user, partition);
}

static void acquired(struct queue_partition *partition, uint64_t epoch, uint64_t since)
{
    struct queue *queue = partition->queue;
    if (partition->epoch != 0 && since > partition->epoch)
        partition_lose(partition);
    if (partition->epoch == 0)
        partition->tenures++;
    partition->epoch = epoch;
    partition->since = since;
    snprintf(partition->epoch_text, sizeof partition->epoch_text, "%llu",
             (unsigned long long)epoch);
    partition->lease_until_ms = partition->asked_ms + queue->options.owner_lease_ms;
    partition->state = PARTITION_OWNED;
    partition->draining = false;
    /* Repeated outcomes go first: a job whose outcome an earlier epoch recorded could be leased
     * again. */
    partition_acks_send(partition, true);
    partition_sweep(partition);
    partition_weights(partition);
    partition_tick(partition);
    queue_flush_later(queue);
}

static void acquire_done(struct redis_call *call, const struct redis_value *reply)
{
    struct queue_partition *partition = CONTAINER_OF(call, struct queue_partition, owner_call);
    struct queue *queue = partition->queue;
    partition->owner_busy = false;
    if (!reply)
        return;
    partition->state = PARTITION_FREE;
    if (reply->type == VALUE_ARRAY && reply->count == 3 && redis_value_is(&reply->items[0], "OK")) {
        acquired(partition, redis_value_u64(&reply->items[1]), redis_value_u64(&reply->items[2]));
    } else if (reply->type == VALUE_ARRAY && reply->count == 2 &&
               redis_value_is(&reply->items[0], "TAKEN")) {
        if (partition->epoch != 0)
            partition_lose(partition);
    } else {
        partition_fault(partition, "acquiring a partition", reply);
        return;
    }
    queue_recordable_update(queue);
    if (queue->stopping)
        queue_stop_drain(queue);
}

void partition_acquire(struct queue_partition *partition)
{
    struct queue *queue = partition->queue;
    if (partition->owner_busy)
        return;
    partition->state = PARTITION_ACQUIRING;
    partition->tried_ms = partition->asked_ms = ring_now_ms(queue->ring);
    partition->owner_busy = true;
    partition->owner_call = (struct redis_call){ .done = acquire_done, .durable = true };
    struct slice args[9] = {
        SLICE("EVALSHA"),
        script_sha(&partition->server->scripts, SCRIPT_ACQUIRE),
        SLICE("3"),
        queue_key_slice(&partition->key_epoch),
        queue_key_slice(&partition->key_owner),
        queue_key_slice(&partition->key_holder),
        slice_str(queue->node),
        slice_str(queue->holder),
        slice_str(queue->owner_lease_text),
    };
    redis_send(partition->server->redis, &partition->owner_call, args, 9);
}

static void renew_done(struct redis_call *call, const struct redis_value *reply)
{
    struct queue_partition *partition = CONTAINER_OF(call, struct queue_partition, owner_call);
    partition->owner_busy = false;
    if (!reply)
        return;
    if (redis_value_is(reply, "OK"))
        partition->lease_until_ms = partition->asked_ms + partition->queue->options.owner_lease_ms;
    else if (redis_value_is(reply, "STALE"))
        partition_stale(partition);
    else
        partition_fault(partition, "renewing a partition", reply);
}

static void give_up_done(struct redis_call *call, const struct redis_value *reply)
{
    struct queue_partition *partition = CONTAINER_OF(call, struct queue_partition, owner_call);
    (void)reply; /* at worst the lease runs out by itself */
    partition->owner_busy = false;
    partition->epoch = partition->since = 0;
    partition->draining = false;
    queue_stop_drain(partition->queue);
    queue_recordable_update(partition->queue);
}

static void renew_send(struct queue_partition *partition,
                       void (*done)(struct redis_call *, const struct redis_value *),
                       struct slice lease_ms)
{
    struct queue *queue = partition->queue;
    partition->asked_ms = ring_now_ms(queue->ring);
    partition->owner_busy = true;
    partition->owner_call = (struct redis_call){ .done = done };
    struct slice args[8] = {
        SLICE("EVALSHA"),
        script_sha(&partition->server->scripts, SCRIPT_RENEW),
        SLICE("2"),
        queue_key_slice(&partition->key_epoch),
        queue_key_slice(&partition->key_owner),
        slice_str(partition->epoch_text),
        slice_str(queue->holder),
        lease_ms,
    };
    redis_send(partition->server->redis, &partition->owner_call, args, 8);
}

void partition_renew(struct queue_partition *partition)
{
    if (!partition->owner_busy)
        renew_send(partition, renew_done, slice_str(partition->queue->owner_lease_text));
}

void partition_give_up(struct queue_partition *partition)
{
    if (partition->owner_busy || partition->state != PARTITION_OWNED || !partition_up(partition))
        return;
    partition->state = PARTITION_FREE;
    renew_send(partition, give_up_done, SLICE("0"));
}

void partition_stale(struct queue_partition *partition)
{
    if (partition->state == PARTITION_ACQUIRING)
        return;
    partition->state = PARTITION_FREE;
    /* A renewal under way is stale, too, and leads here again. */
    if (partition_up(partition))
        partition_acquire(partition);
    queue_recordable_update(partition->queue);
}
