/* Who has which partition. Every worker of every node says once a second that it's alive, and
 * learns who else is; all compute the same shares from the same list, so nobody needs to be told.
 * Each partition ranks the workers by a hash of both and goes to the first that has room for it:
 * shares differ by at most one, and few partitions move when a worker comes or goes. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "queue/internal.h"

struct member {
    struct slice id; /* NODE/WORKER */
    unsigned partitions;
};

static uint64_t rank(struct slice id, unsigned partition)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325) ^ partition;
    for (size_t i = 0; i < id.len; i++)
        hash = (hash ^ (uint8_t)id.ptr[i]) * UINT64_C(0x100000001b3);
    hash ^= hash >> 32;
    return hash * UINT64_C(0x9e3779b97f4a7c15);
}

static int member_compare(const void *a, const void *b)
{
    const struct member *x = a, *y = b;
    int order = memcmp(x->id.ptr, y->id.ptr, MIN_OF(x->id.len, y->id.len));
    return order ? order : x->id.len < y->id.len ? -1 : x->id.len > y->id.len;
}

/* The worker that partition p falls to; members are sorted. */
static struct member *choose(struct member *members, size_t count, unsigned p, unsigned room)
{
    struct member *best = NULL;
    for (size_t i = 0; i < count; i++) {
        struct member *it = &members[i];
        if (it->partitions < room && (!best || rank(it->id, p) > rank(best->id, p)))
            best = it;
    }
    return best;
}

static void shares_compute(struct queue *queue, struct member *members, size_t count)
{
    unsigned partitions = queue->options.partitions;
    unsigned least = partitions / (unsigned)count;
    char own[96];
    snprintf(own, sizeof own, "%s/%u", queue->node, queue->options.worker);
    qsort(members, count, sizeof *members, member_compare);
    for (unsigned p = 0; p < partitions; p++) {
        /* The remainder goes round last, when all have their even share. */
        unsigned room = p < least * count ? least : least + 1;
        struct member *it = choose(members, count, p, room);
        it->partitions++;
        queue->partitions[p].wanted = slice_eq(it->id, slice_str(own));
    }
}

static void join_done(struct redis_call *call, const struct redis_value *reply)
{
    struct queue *queue = CONTAINER_OF(call, struct queue, join_call);
    queue->join_busy = false;
    if (!reply || queue->stopping)
        return;
    if (reply->type != VALUE_ARRAY) {
        log_warn(queue->options.log, "join-failed", "%.*s", SLICE_FMT(reply->text));
        return;
    }
    /* The other workers of this node are about to come, if they aren't there yet. */
    struct member *members = mem_array(reply->count + queue->options.workers, sizeof *members);
    char(*own)[96] = mem_array(queue->options.workers, sizeof *own);
    size_t count = 0;
    for (unsigned i = 0; i < queue->options.workers; i++) {
        int n = snprintf(own[i], sizeof own[i], "%s/%u", queue->node, i);
        members[count++].id = slice_of(own[i], (size_t)n);
    }
    for (size_t i = 0; i < reply->count; i++) {
        struct slice rest = reply->items[i].text;
        if (!slice_eq(slice_cut(&rest, '/'), slice_str(queue->node)))
            members[count++].id = reply->items[i].text;
    }
    shares_compute(queue, members, count);
    free(members);
    free(own);
    shares_balance(queue);
}

/* The server of ns:nodes, when it's ready. */
static struct queue_server *shares_server(struct queue *queue, const struct queue_key *key)
{
    struct redis *redis = redis_set_server(queue->redis, queue_key_slice(key));
    struct queue_server *server = redis ? redis_set_data(redis) : NULL;
    return server && server->ready && redis_up(redis) ? server : NULL;
}

static void join_send(struct queue *queue, bool leave)
{
    struct queue_key key = queue_key_global(queue->name_space, "nodes", SLICE(""));
    struct queue_server *server = shares_server(queue, &key);
    if (!server || queue->join_busy)
        return;
    char id[96], about[512], host[128] = "", dead[12];
    gethostname(host, sizeof host - 1);
    snprintf(id, sizeof id, "%s/%u", queue->node, queue->options.worker);
    snprintf(about, sizeof about,
             "\"node\":\"%s\",\"worker\":%u,\"pid\":%ld,\"host\":\"%s\",\"version\":\"%s\","
             "\"partitions\":%u,\"leased\":%llu",
             queue->node, queue->options.worker, (long)getpid(), host, EILPOST_VERSION,
             queue->stats.partitions_owned, (unsigned long long)queue->stats.leased);
    snprintf(dead, sizeof dead, "%d", DEAD_MS);
    struct slice args[7] = {
        SLICE("EVALSHA"), script_sha(&server->scripts, SCRIPT_JOIN),
        SLICE("1"),       queue_key_slice(&key),
        slice_str(id),    leave ? SLICE("") : slice_str(about),
        slice_str(dead),
    };
    if (leave) {
        queue_send_loose(queue, server->redis, args, 7);
        return;
    }
    queue->join_busy = true;
    queue->join_call = (struct redis_call){ .done = join_done };
    redis_send(server->redis, &queue->join_call, args, 7);
}

void shares_join(struct queue *queue)
{
    join_send(queue, false);
}

void shares_leave(struct queue *queue)
{
    join_send(queue, true);
}

static void partition_balance(struct queue_partition *partition, int64_t now)
{
    struct queue *queue = partition->queue;
    bool needed = partition->wanted || partition->held.count > 0 || !list_empty(&partition->acks);
    switch (partition->state) {
    case PARTITION_FREE:
        if (needed && partition_up(partition) && now - partition->tried_ms >= TAKE_OVER_MS)
            partition_acquire(partition);
        return;
    case PARTITION_ACQUIRING:
        return;
    case PARTITION_OWNED:
        break;
    }
    if (partition->wanted) {
        if (partition->draining)
            log_info(queue->options.log, "partition-kept", "partition %u stays after all",
                     partition->index);
        partition->draining = false;
        return;
    }
    if (!partition->draining) {
        partition->draining = true;
        log_info(queue->options.log, "partition-leaves", "partition %u goes to another worker",
                 partition->index);
        partition_asks_drop(partition);
        if (queue->events->draining)
            queue->events->draining(queue->user, partition);
    }
    if (partition->held.count == 0 && list_empty(&partition->acks))
        partition_give_up(partition);
}

void shares_balance(struct queue *queue)
{
    if (queue->stopping)
        return;
    int64_t now = ring_now_ms(queue->ring);
    for (unsigned i = 0; i < queue->count; i++)
        partition_balance(&queue->partitions[i], now);
    queue_recordable_update(queue);
}
