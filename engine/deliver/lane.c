/* Lanes: the jobs of one destination that are of one class, go one way and leave from one pool of
 * sources. A lane stands in line at its site, one line per class; what a lane waits for (content, a
 * route, a session) never keeps another lane from leaving. */
#include <stdlib.h>

#include "engine/base/mem.h"
#include "engine/deliver/internal.h"

#define UNKNOWN_POOLS_MAX 100 /* names that are warned of */

/* A job bound to a pool that isn't configured here leaves from the default one: to give it back
 * would be to lease it again at once, to end it would be a loss. */
static unsigned pool_named(struct deliver *deliver, struct slice name)
{
    if (name.len == 0)
        return 0;
    const struct deliver_pool *pool = map_get(&deliver->pools, name);
    if (pool)
        return (unsigned)(pool - deliver->options.pools);
    if (!map_get(&deliver->unknown_pools, name) &&
        deliver->unknown_pools.count < UNKNOWN_POOLS_MAX) {
        char *copy = slice_dup(name);
        map_put(&deliver->unknown_pools, slice_of(copy, name.len), copy);
        log_warn(deliver->options.log, "unknown-pool",
                 "'%.*s' isn't configured on this node; its messages leave from '%s'",
                 SLICE_FMT(name), deliver->options.pools[0].name);
    }
    return 0;
}

static enum tls_demand demand_of(const struct queue_job *job)
{
    return job->flags & QUEUE_JOB_REQUIRE_TLS ? TLS_NEEDED
           : job->flags & QUEUE_JOB_WAIVE_TLS ? TLS_WAIVED
                                              : TLS_AS_USUAL;
}

struct lane *lane_of(struct destination *destination, const struct queue_job *job)
{
    unsigned pool = pool_named(destination->deliver, job->pool);
    struct path *path = path_of(destination, job->tenant, demand_of(job));
    list_for_each (it, &destination->lanes) {
        struct lane *lane = LIST_ENTRY(it, struct lane, node);
        if (lane->class == job->class && lane->pool == pool && lane->path == path)
            return lane;
    }
    struct lane *lane = mem_zalloc(sizeof *lane);
    lane->destination = destination;
    lane->path = path;
    lane->class = job->class;
    lane->pool = pool;
    list_init(&lane->waiting);
    list_init(&lane->site_node);
    list_init(&lane->content_node);
    list_push_back(&destination->lanes, &lane->node);
    return lane;
}

void lane_push(struct lane *lane, struct delivery *delivery, bool first)
{
    delivery->lane = lane;
    if (first)
        list_push_front(&lane->waiting, &delivery->node);
    else
        list_push_back(&lane->waiting, &delivery->node);
    lane->waiting_count++;
}

void lane_take(struct lane *lane, struct delivery *delivery)
{
    list_remove(&delivery->node);
    lane->waiting_count--;
}

void lane_stand(struct lane *lane)
{
    struct destination *destination = lane->destination;
    if (!lane->site) {
        lane->site =
            site_get(destination->deliver, lane->path->route, &lane->path->way, lane->pool);
        lane->site->lanes++;
    }
    if (!list_linked(&lane->site_node) && !list_linked(&lane->content_node))
        list_push_back(&lane->site->ready[lane->class], &lane->site_node);
    site_drain_soon(lane->site);
}

void lane_leave_site(struct lane *lane)
{
    list_remove(&lane->site_node);
    if (lane->site) {
        lane->site->lanes--;
        lane->site = NULL;
    }
}

void lane_release_waiting(struct lane *lane)
{
    list_remove(&lane->site_node);
    list_remove(&lane->content_node);
    /* Last first: each goes to the head of the queue, so the order stays. */
    while (!list_empty(&lane->waiting)) {
        struct delivery *delivery = LIST_ENTRY(lane->waiting.prev, struct delivery, node);
        lane_take(lane, delivery);
        delivery_release(delivery);
    }
}

void lane_end_waiting(struct lane *lane, const struct smtp_reply *reply,
                      const struct site_host *host)
{
    list_remove(&lane->site_node);
    list_remove(&lane->content_node);
    while (!list_empty(&lane->waiting)) {
        struct delivery *delivery = LIST_ENTRY(lane->waiting.next, struct delivery, node);
        lane_take(lane, delivery);
        delivery_end_by_reply(delivery, reply, host);
    }
}

void lane_review(struct lane *lane)
{
    /* Last first, as in lane_release_waiting(). */
    for (struct list *it = lane->waiting.prev, *before; it != &lane->waiting; it = before) {
        before = it->prev;
        struct delivery *delivery = LIST_ENTRY(it, struct delivery, node);
        const struct queue_job *job = delivery->job;
        struct lane *other = NULL;
        if (!job->held && !job->suppressed) {
            other = lane_of(lane->destination, job);
            if (other == lane)
                continue;
        }
        lane_take(lane, delivery);
        if (other)
            lane_push(other, delivery, true);
        else if (job->held)
            delivery_release(delivery);
        else
            delivery_suppress(delivery);
    }
    if (list_empty(&lane->waiting)) {
        list_remove(&lane->site_node);
        list_remove(&lane->content_node);
    }
}

void lane_free(struct lane *lane)
{
    assert(list_empty(&lane->waiting));
    lane_leave_site(lane);
    list_remove(&lane->content_node);
    list_remove(&lane->node);
    free(lane);
}
