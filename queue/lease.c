/* Leasing: requests are collected during a turn and leave as one script call per partition. */
#include <stdio.h>
#include <stdlib.h>

#include "queue/internal.h"

static void lease_done(struct redis_call *call, const struct redis_value *reply);

static struct lease_call *lease_call_get(struct queue_partition *partition)
{
    struct queue *queue = partition->queue;
    struct list *node = list_pop_front(&queue->free_asks);
    struct lease_call *it =
        node ? LIST_ENTRY(node, struct lease_call, node) : mem_zalloc(sizeof *it);
    struct buf names = it->names;
    buf_clear(&names);
    *it = (struct lease_call){ .partition = partition,
                               .call = { .done = lease_done, .durable = true },
                               .names = names,
                               .requests = it->requests,
                               .room = it->room };
    list_init(&it->node);
    return it;
}

void lease_call_free(struct lease_call *call)
{
    list_push_front(&call->partition->queue->free_asks, &call->node);
}

void partition_asks_drop(struct queue_partition *partition)
{
    struct list *node;
    while ((node = list_pop_front(&partition->asks)) != NULL)
        lease_call_free(LIST_ENTRY(node, struct lease_call, node));
}

/* The call that is being filled. */
static struct lease_call *lease_call_filling(struct queue_partition *partition, unsigned jobs)
{
    if (!list_empty(&partition->asks)) {
        struct lease_call *last = LIST_ENTRY(partition->asks.prev, struct lease_call, node);
        if (last->jobs + jobs <= LEASE_CALL_JOBS_MAX)
            return last;
    }
    struct lease_call *it = lease_call_get(partition);
    list_push_back(&partition->asks, &it->node);
    return it;
}

static void request_add(struct queue_partition *partition, struct slice destination,
                        struct lease_request request)
{
    assert(destination.len > 0 && destination.len <= QUEUE_DESTINATION_BYTES_MAX);
    struct lease_call *it = lease_call_filling(partition, request.jobs);
    if (it->count == it->room) {
        it->room = it->room ? 2 * it->room : 16;
        it->requests = mem_realloc(it->requests, it->room * sizeof *it->requests);
    }
    request.name_at = (uint32_t)it->names.len;
    request.name_len = (uint32_t)destination.len;
    buf_append(&it->names, destination);
    it->requests[it->count++] = request;
    it->jobs += request.jobs;
    queue_flush_later(partition->queue);
}

void queue_lease(struct queue_partition *partition, struct slice destination,
                 enum queue_class class, unsigned jobs, unsigned visit_ms)
{
    struct lease_request request = { .class = class,
                                     .jobs = MIN_OF(jobs, (unsigned)LEASE_JOBS_MAX),
                                     .visit_ms = visit_ms };
    request_add(partition, destination, request);
}

void queue_park(struct queue_partition *partition, struct slice destination, int64_t due_ms)
{
    request_add(partition, destination, (struct lease_request){ .park = true, .due_ms = due_ms });
}

void queue_discover(struct queue *queue, enum queue_class class, unsigned jobs,
                    unsigned per_destination, unsigned visit_ms)
{
    unsigned owned = 0;
    for (unsigned i = 0; i < queue->count; i++)
        owned += partition_leasing(&queue->partitions[i]);
    if (owned == 0 || per_destination == 0)
        return;
    /* Room is shared out evenly, and the one after the last served begins next time, so that little
     * room goes round, too. */
    unsigned share = MAX_OF(jobs / owned, 1u), first = queue->discover_next;
    for (unsigned i = 0; i < queue->count && jobs > 0; i++) {
        unsigned index = (first + i) % queue->count;
        struct queue_partition *partition = &queue->partitions[index];
        if (!partition_leasing(partition) || partition->discovering[class])
            continue;
        unsigned n = MIN_OF(share, jobs);
        n = MIN_OF(n, (unsigned)LEASE_CALL_JOBS_MAX);
        struct lease_call *it = lease_call_filling(partition, 0);
        it->discover[class] = (struct lease_discovery){
            .jobs = n,
            .per_destination = MIN_OF(per_destination, (unsigned)LEASE_JOBS_MAX),
            .visit_ms = visit_ms,
        };
        partition->discovering[class] = true;
        jobs -= n;
        queue->discover_next = (index + 1) % queue->count;
        queue_flush_later(queue);
    }
}

/* ---- to Redis ---- */

static struct slice number(struct queue *queue, int64_t value)
{
    /* The scratch is reserved in advance, so that earlier numbers don't move. */
    size_t at = queue->numbers.len;
    buf_append_u64(&queue->numbers, value > 0 ? (uint64_t)value : 0);
    return slice_skip(buf_slice(&queue->numbers), at);
}

static unsigned discoveries_add(const struct lease_call *it, struct slice *args, unsigned n)
{
    struct queue *queue = it->partition->queue;
    unsigned count = 0;
    for (unsigned class = 0; class < QUEUE_CLASSES; class ++)
        count += it->discover[class].jobs > 0;
    args[n++] = number(queue, count);
    for (unsigned class = 0; class < QUEUE_CLASSES; class ++) {
        const struct lease_discovery *discover = &it->discover[class];
        if (discover->jobs == 0)
            continue;
        args[n++] = queue_class_letter(class);
        args[n++] = number(queue, discover->jobs);
        args[n++] = number(queue, discover->per_destination);
        args[n++] = number(queue, discover->visit_ms);
    }
    return n;
}

static void lease_call_send(struct lease_call *it)
{
    struct queue_partition *partition = it->partition;
    struct queue *queue = partition->queue;
    buf_clear(&queue->numbers);
    buf_reserve(&queue->numbers, (it->count * 2 + 16) * 20);
    struct slice *args = queue_args(queue, 12 + 4 * (it->count + QUEUE_CLASSES)),
                 names = buf_slice(&it->names);
    unsigned n = 0, parks = 0;
    for (unsigned i = 0; i < it->count; i++)
        parks += it->requests[i].park;
    args[n++] = SLICE("EVALSHA");
    args[n++] = script_sha(&partition->server->scripts, SCRIPT_LEASE);
    args[n++] = SLICE("1");
    args[n++] = queue_key_slice(&partition->key_epoch);
    args[n++] = slice_str(partition->epoch_text);
    args[n++] = slice_str(queue->node);
    args[n++] = slice_str(queue->job_lease_text);
    args[n++] = number(queue, QUEUE_TOTALS_TTL_S);
    args[n++] = number(queue, parks);
    for (unsigned i = 0; i < it->count; i++) {
        const struct lease_request *request = &it->requests[i];
        if (!request->park)
            continue;
        args[n++] = slice_head(slice_skip(names, request->name_at), request->name_len);
        args[n++] = number(queue, request->due_ms);
    }
    args[n++] = number(queue, it->count - parks);
    for (unsigned i = 0; i < it->count; i++) {
        const struct lease_request *request = &it->requests[i];
        if (request->park)
            continue;
        args[n++] = queue_class_letter(request->class);
        args[n++] = slice_head(slice_skip(names, request->name_at), request->name_len);
        args[n++] = number(queue, request->jobs);
        args[n++] = number(queue, request->visit_ms);
    }
    n = discoveries_add(it, args, n);
    STAT_ADD(queue->stats.leases, 1);
    redis_send(partition->server->redis, &it->call, args, n);
}

void partition_asks_send(struct queue_partition *partition)
{
    if (!partition_leasing(partition) || !partition_up(partition) || partition->queue->stopping)
        return;
    struct list *node;
    while ((node = list_pop_front(&partition->asks)) != NULL)
        lease_call_send(LIST_ENTRY(node, struct lease_call, node));
}

/* ---- and back ---- */

/* The jobs of one group, appended to `jobs`. */
static unsigned group_take(struct queue_partition *partition, const struct job_group *group,
                           const struct redis_value *records, uint64_t n, uint64_t epoch,
                           struct list *jobs)
{
    struct queue *queue = partition->queue;
    unsigned count = 0;
    for (uint64_t i = 0; i < n; i++) {
        /* What can't be read stays in flight, so that nothing is lost, and is reported again at
         * each sweep. */
        struct held_job *held = held_job_create(partition, records[i].text, group, epoch);
        if (!held)
            continue;
        if (map_get(&partition->held, held->job.id)) {
            log_error(queue->options.log, "job-doubled", "%.*s is queued twice",
                      SLICE_FMT(held->job.id));
            held->lost = true;
            held_job_end(held);
            continue;
        }
        map_put(&partition->held, held->job.id, held);
        list_push_back(jobs, &held->job.node);
        count++;
    }
    return count;
}

/* One destination and class of the reply: class, destination, waiting, groups, then for each group
 * submission, flow, stream, pool, accepted, n and n records. False when it ends too early. */
static bool leased(struct queue_partition *partition, const struct redis_value *reply, size_t *at,
                   uint64_t epoch)
{
    struct queue *queue = partition->queue;
    enum queue_class class;
    if (*at + 4 > reply->count || !queue_class_of_letter(reply->items[*at].text, &class))
        return false;
    struct slice destination = reply->items[*at + 1].text;
    uint64_t waiting = redis_value_u64(&reply->items[*at + 2]),
             groups = redis_value_u64(&reply->items[*at + 3]);
    *at += 4;
    struct list jobs;
    list_init(&jobs);
    unsigned count = 0;
    for (; groups > 0; groups--) {
        if (*at + 6 > reply->count)
            return false;
        const struct redis_value *items = &reply->items[*at];
        struct job_group group = {
            .destination = destination,
            .flow = items[1].text,
            .stream = items[2].text,
            .pool = items[3].text,
            .class = class,
            .accepted_ms = (int64_t)redis_value_u64(&items[4]),
        };
        uint64_t n = redis_value_u64(&items[5]);
        *at += 6;
        if (n > reply->count - *at)
            return false;
        count += group_take(partition, &group, items + 6, n, epoch, &jobs);
        *at += n;
    }
    STAT_ADD(queue->stats.leased, count);
    if (count > 0)
        queue->events->leased(queue->user, partition, destination, class, &jobs, count, waiting);
    else if (waiting == 0)
        queue->events->drained(queue->user, partition, destination, class);
    return true;
}

static void lease_done(struct redis_call *call, const struct redis_value *reply)
{
    struct lease_call *it = CONTAINER_OF(call, struct lease_call, call);
    struct queue_partition *partition = it->partition;
    for (unsigned class = 0; class < QUEUE_CLASSES; class ++)
        if (it->discover[class].jobs)
            partition->discovering[class] = false;
    if (!reply || redis_value_is(reply, "STALE") || redis_value_refused(reply)) {
        /* Asked again under the next epoch; the sweep brings back what was popped for nobody. */
        memset(it->discover, 0, sizeof it->discover);
        list_push_back(&partition->asks, &it->node);
        if (reply && reply->type == VALUE_ERROR)
            partition_fault(partition, "leasing", reply);
        else if (reply)
            partition_stale(partition);
        return;
    }
    if (reply->type != VALUE_ARRAY || reply->count < 1) {
        lease_call_free(it);
        partition_fault(partition, "leasing", reply);
        return;
    }
    uint64_t epoch = partition->epoch;
    for (size_t at = 1; at < reply->count;) {
        if (!leased(partition, reply, &at, epoch)) {
            partition_fault(partition, "leasing", reply);
            break;
        }
    }
    lease_call_free(it);
}
