/* Weights of tenants, from the configuration into the partitions, where leases share by them
 * (lib/share.lua). Each acquisition brings them up to date. */
#include <stdio.h>

#include "queue/internal.h"

static void command_done(struct redis_call *call, const struct redis_value *reply)
{
    struct queue_partition *partition = CONTAINER_OF(call, struct queue_partition, weights_call);
    partition->weights_busy = false;
    if (reply && reply->type == VALUE_ERROR) /* e.g. at maxmemory: the old ones stay */
        log_warn(partition->queue->options.log, "tenants", "weights in partition %u: %.*s",
                 partition->index, SLICE_FMT(reply->text));
}

static bool configured(const struct queue *queue, struct slice tenant)
{
    for (unsigned i = 0; i < queue->options.tenant_count; i++)
        if (slice_eq(slice_str(queue->options.tenants[i].name), tenant))
            return true;
    return false;
}

static void command_send(struct queue_partition *partition,
                         void (*done)(struct redis_call *, const struct redis_value *),
                         const struct slice *args, unsigned count)
{
    partition->weights_busy = true;
    partition->weights_call = (struct redis_call){ .done = done };
    redis_send(partition->server->redis, &partition->weights_call, args, count);
}

static void set_send(struct queue_partition *partition)
{
    struct queue *queue = partition->queue;
    unsigned count = queue->options.tenant_count;
    if (count == 0 || !partition_up(partition))
        return;
    struct queue_key key = queue_key_partition(queue->name_space, partition->index, "v", SLICE(""));
    struct slice *args = queue_args(queue, 2 + 2 * count);
    args[0] = SLICE("HSET");
    args[1] = queue_key_slice(&key);
    buf_clear(&queue->numbers);
    for (unsigned i = 0; i < count; i++)
        buf_printf(&queue->numbers, "%u ", queue->options.tenants[i].weight);
    struct slice numbers = buf_slice(&queue->numbers);
    for (unsigned i = 0; i < count; i++) {
        args[2 + 2 * i] = slice_str(queue->options.tenants[i].name);
        args[3 + 2 * i] = slice_cut(&numbers, ' ');
    }
    command_send(partition, command_done, args, 2 + 2 * count);
}

static void dropped_done(struct redis_call *call, const struct redis_value *reply)
{
    command_done(call, reply);
    if (reply)
        set_send(CONTAINER_OF(call, struct queue_partition, weights_call));
}

/* Those that nobody configured any more go first. */
static void known_done(struct redis_call *call, const struct redis_value *reply)
{
    struct queue_partition *partition = CONTAINER_OF(call, struct queue_partition, weights_call);
    struct queue *queue = partition->queue;
    partition->weights_busy = false;
    if (!reply || reply->type != VALUE_ARRAY || !partition_up(partition))
        return;
    struct queue_key key = queue_key_partition(queue->name_space, partition->index, "v", SLICE(""));
    struct slice *args = queue_args(queue, 2 + (unsigned)reply->count);
    unsigned count = 2;
    args[0] = SLICE("HDEL");
    args[1] = queue_key_slice(&key);
    for (size_t i = 0; i < reply->count; i++)
        if (!configured(queue, reply->items[i].text))
            args[count++] = reply->items[i].text;
    if (count > 2)
        command_send(partition, dropped_done, args, count);
    else
        set_send(partition);
}

void partition_weights(struct queue_partition *partition)
{
    if (partition->weights_busy)
        return;
    struct queue_key key =
        queue_key_partition(partition->queue->name_space, partition->index, "v", SLICE(""));
    command_send(partition, known_done, (struct slice[]){ SLICE("HKEYS"), queue_key_slice(&key) },
                 2);
}
