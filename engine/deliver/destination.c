/* Destinations: a recipient's domain with the jobs that this worker holds for it.
 * destination_drain() looks at one and does whatever is possible now, so that every event (jobs
 * leased, route found, content loaded, backoff over) just calls it. */
#include <stdlib.h>

#include "engine/base/mem.h"
#include "engine/deliver/internal.h"

#define BACKOFF_BASE_MS_MAX 30000
#define BACKOFF_MS_MAX 900000
#define ASKED_MS 5000
/* A pool that got through to the hosts within this shows that another one's failure is its own. */
#define WORKS_MS 600000

struct destination *destination_get(struct deliver *deliver, struct queue_partition *partition,
                                    struct slice name)
{
    struct destination *destination = map_get(&deliver->destinations, name);
    if (destination) {
        /* A partition that was lost and acquired again may be another object. */
        destination->partition = partition;
        return destination;
    }
    destination = mem_zalloc(sizeof *destination + name.len);
    destination->deliver = deliver;
    destination->partition = partition;
    memcpy(destination->data, name.ptr, name.len);
    destination->name = slice_of(destination->data, name.len);
    list_init(&destination->paths);
    list_init(&destination->lanes);
    for (unsigned i = 0; i < QUEUE_CLASSES; i++) {
        destination->intake[i].destination = destination;
        list_init(&destination->intake[i].hungry_node);
    }
    map_put(&deliver->destinations, destination->name, destination);
    stat_add(&deliver->stats.destinations, 1);
    return destination;
}

bool destination_waiting(const struct destination *destination)
{
    list_for_each (it, &destination->lanes)
        if (!list_empty(&LIST_ENTRY(it, struct lane, node)->waiting))
            return true;
    return false;
}

bool destination_asked(const struct destination *destination, enum queue_class class)
{
    const struct intake *intake = &destination->intake[class];
    return intake->asked > 0 && intake->asked_until_ms > ring_now_ms(destination->deliver->ring);
}

void destination_ask(struct destination *destination, enum queue_class class, unsigned jobs)
{
    struct deliver *deliver = destination->deliver;
    struct intake *intake = &destination->intake[class];
    bool bulk = class != QUEUE_TRANSACTIONAL;
    deliver->asked += jobs - intake->asked;
    deliver->asked_bulk += bulk ? jobs - intake->asked : 0;
    intake->asked = jobs;
    intake->asked_until_ms = jobs > 0 ? ring_now_ms(deliver->ring) + ASKED_MS : 0;
}

bool destination_asking(const struct destination *destination)
{
    list_for_each (it, &destination->paths)
        if (LIST_ENTRY(it, struct path, node)->state == PATH_ASKED)
            return true;
    return false;
}

void destination_cancel(struct destination *destination)
{
    list_for_each (it, &destination->paths)
        path_cancel(LIST_ENTRY(it, struct path, node));
}

void destination_drain(struct destination *destination)
{
    struct deliver *deliver = destination->deliver;
    int64_t now = ring_now_ms(deliver->ring);
    destination->used_ms = now;
    if (!destination_waiting(destination))
        return;
    if (deliver->stopping || destination->draining) {
        destination_release_waiting(destination);
        return;
    }
    if (destination->backoff_until_ms > now) {
        queue_park(destination->partition, destination->name,
                   ring_wall_ms(deliver->ring) + destination->backoff_until_ms - now);
        destination_release_waiting(destination);
        return;
    }
    list_for_each (it, &destination->lanes) {
        struct lane *lane = LIST_ENTRY(it, struct lane, node);
        if (list_empty(&lane->waiting))
            continue;
        path_find(lane->path);
        if (lane->path->state == PATH_KNOWN)
            lane_stand(lane);
    }
}

void destination_refill(struct destination *destination, enum queue_class class)
{
    struct deliver *deliver = destination->deliver;
    struct intake *intake = &destination->intake[class];
    if (intake->queued == 0 || list_linked(&intake->hungry_node) || destination->draining ||
        destination_asked(destination, class))
        return;
    if (destination->backoff_until_ms > ring_now_ms(deliver->ring))
        return;
    list_push_back(&deliver->hungry[class], &intake->hungry_node);
    deliver_pump_soon(deliver);
}

/* ---- failure and success ---- */

static bool other_pool_works(const struct destination *destination, const struct site *failed)
{
    int64_t now = ring_now_ms(destination->deliver->ring);
    list_for_each (it, &destination->lanes) {
        const struct site *site = LIST_ENTRY(it, struct lane, node)->site;
        if (failed && site && site != failed && site->accepted_ms > 0 &&
            now - site->accepted_ms < WORKS_MS)
            return true;
    }
    return false;
}

/* The delivery whose attempt is recorded for all: of the first class that waits. */
static struct delivery *take_first_waiting(struct destination *destination)
{
    struct lane *first = NULL;
    list_for_each (it, &destination->lanes) {
        struct lane *lane = LIST_ENTRY(it, struct lane, node);
        if (!list_empty(&lane->waiting) && (!first || lane->class < first->class))
            first = lane;
    }
    if (!first)
        return NULL;
    struct delivery *delivery = LIST_ENTRY(first->waiting.next, struct delivery, node);
    lane_take(first, delivery);
    return delivery;
}

static int64_t backoff_ms(struct destination *destination, const struct smtp_reply *reply)
{
    struct deliver *deliver = destination->deliver;
    int64_t base =
        MIN_OF((int64_t)deliver->options.retry_schedule_s[0] * 1000, (int64_t)BACKOFF_BASE_MS_MAX);
    unsigned shift = MIN_OF(destination->failures, 6u);
    int64_t backoff = MIN_OF(base << shift, (int64_t)BACKOFF_MS_MAX);
    backoff -= (int64_t)rng_below(ring_rng(deliver->ring), (uint64_t)backoff / 10 + 1);
    if (reply->origin == SMTP_PEER)
        backoff = MAX_OF(backoff, (int64_t)classify_retry_after_s(reply->text) * 1000);
    return backoff;
}

static bool has_several_paths(const struct destination *destination)
{
    return !list_empty(&destination->paths) && destination->paths.next->next != &destination->paths;
}

/* Only what waits for this site has failed: each of its jobs has its own retry time, so that the
 * others needn't wait. */
static void site_lanes_failed(struct destination *destination, const struct site *site,
                              const struct smtp_reply *reply, const struct site_host *host)
{
    list_for_each (it, &destination->lanes) {
        struct lane *lane = LIST_ENTRY(it, struct lane, node);
        if (lane->site == site)
            lane_end_waiting(lane, reply, host);
    }
}

void destination_failed(struct destination *destination, const struct site *site,
                        const struct smtp_reply *reply, const struct site_host *host)
{
    struct deliver *deliver = destination->deliver;
    if (site && (has_several_paths(destination) || other_pool_works(destination, site))) {
        site_lanes_failed(destination, site, reply, host);
        return;
    }
    int64_t backoff = backoff_ms(destination, reply);
    destination->failures++;
    destination->backoff_until_ms = ring_now_ms(deliver->ring) + backoff;
    log_info(deliver->options.log, "destination-failed",
             "%.*s: %u %.*s; next try in %lld ms, all jobs but one go back",
             SLICE_FMT(destination->name), reply->code, SLICE_FMT(reply->text), (long long)backoff);

    struct delivery *delivery = take_first_waiting(destination);
    if (delivery)
        delivery_end_by_reply(delivery, reply, host);
    queue_park(destination->partition, destination->name, ring_wall_ms(deliver->ring) + backoff);
    destination_release_waiting(destination);
    for (unsigned i = 0; i < QUEUE_CLASSES; i++)
        destination->intake[i].queued = 0; /* discovery finds it when the backoff is over */
}

void destination_path_failed(struct destination *destination, const struct path *path,
                             const struct smtp_reply *reply)
{
    if (!has_several_paths(destination)) {
        destination_failed(destination, NULL, reply, NULL);
        return;
    }
    list_for_each (it, &destination->lanes) {
        struct lane *lane = LIST_ENTRY(it, struct lane, node);
        if (lane->path == path)
            lane_end_waiting(lane, reply, NULL);
    }
}

void destination_succeeded(struct destination *destination)
{
    if (destination->failures == 0)
        return;
    destination->failures = 0;
    destination->backoff_until_ms = 0;
    queue_park(destination->partition, destination->name, 0);
}

/* ---- going back ---- */

void destination_release_waiting(struct destination *destination)
{
    list_for_each (it, &destination->lanes)
        lane_release_waiting(LIST_ENTRY(it, struct lane, node));
}

void destination_review(struct destination *destination)
{
    list_for_each (it, &destination->lanes)
        lane_review(LIST_ENTRY(it, struct lane, node));
    destination_drain(destination);
}

bool destination_unused(const struct destination *destination)
{
    if (destination_asking(destination))
        return false;
    for (unsigned i = 0; i < QUEUE_CLASSES; i++)
        if (destination->intake[i].held > 0)
            return false;
    return true;
}

void destination_free(struct destination *destination)
{
    assert(destination_unused(destination));
    for (unsigned i = 0; i < QUEUE_CLASSES; i++) {
        list_remove(&destination->intake[i].hungry_node);
        destination_ask(destination, i, 0);
    }
    list_for_each_safe (it, &destination->lanes)
        lane_free(LIST_ENTRY(it, struct lane, node));
    list_for_each_safe (it, &destination->paths)
        path_free(LIST_ENTRY(it, struct path, node));
    map_remove(&destination->deliver->destinations, destination->name);
    stat_sub(&destination->deliver->stats.destinations, 1);
    free(destination);
}
