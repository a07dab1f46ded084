/* Destinations: a recipient's domain with the jobs that this worker holds for it.
 * destination_drain() looks at one and does whatever is possible now, so that every event (jobs
 * leased, route found, content loaded, backoff over) just calls it. */
#include <stdlib.h>

#include "engine/base/mem.h"
#include "engine/deliver/internal.h"

#define BACKOFF_BASE_MS_MAX 30000
#define BACKOFF_MS_MAX 900000

static void destination_route_found(struct dns_request *request, struct dns_route *route);

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
    list_init(&destination->waiting);
    list_init(&destination->site_node);
    list_init(&destination->content_node);
    list_init(&destination->hungry_node);
    destination->request.route_found = destination_route_found;
    map_put(&deliver->destinations, destination->name, destination);
    stat_add(&deliver->stats.destinations, 1);
    return destination;
}

static void destination_leave_site(struct destination *destination)
{
    list_remove(&destination->site_node);
    if (destination->site) {
        destination->site->destinations--;
        destination->site = NULL;
    }
    destination->route_state = ROUTE_NONE;
}

static struct smtp_reply reply_of_route(const struct dns_route *route)
{
    struct slice text = slice_str(route->text);
    switch (route->status) {
    case DNS_NULL_MX:
        return smtp_reply_local(SMTP_PHASE_DNS, 556, (struct smtp_enhanced){ 5, 1, 10 }, text);
    case DNS_NXDOMAIN:
    case DNS_NO_DATA:
    case DNS_INVALID:
        return smtp_reply_local(SMTP_PHASE_DNS, 550, (struct smtp_enhanced){ 5, 1, 2 }, text);
    case DNS_OK:
    case DNS_FAILED:
    case DNS_TIMEOUT:
        break;
    }
    return smtp_reply_local(SMTP_PHASE_DNS, 451, (struct smtp_enhanced){ 4, 4, 3 }, text);
}

static void destination_route_found(struct dns_request *request, struct dns_route *route)
{
    struct destination *destination = CONTAINER_OF(request, struct destination, request);
    struct deliver *deliver = destination->deliver;
    histogram_record(&deliver->stats.dns, ring_clock_us(deliver->ring) - destination->asked_us);
    destination->route_state = ROUTE_NONE;
    if (route->status == DNS_OK) {
        destination->site = site_get(deliver, route);
        destination->site->destinations++;
        destination->route_state = ROUTE_KNOWN;
        destination->route_expires_ms = route->expires_ms;
        dns_route_release(route);
        destination_drain(destination);
        return;
    }
    struct smtp_reply reply = reply_of_route(route);
    if (reply.code >= 500) {
        struct list *node;
        while ((node = list_pop_front(&destination->waiting))) {
            destination->waiting_count--;
            delivery_end_by_reply(LIST_ENTRY(node, struct delivery, node), &reply, NULL);
        }
    } else {
        destination_failed(destination, &reply, NULL);
    }
    dns_route_release(route);
    deliver_check_stopped(deliver);
}

void destination_drain(struct destination *destination)
{
    struct deliver *deliver = destination->deliver;
    int64_t now = ring_now_ms(deliver->ring);
    destination->used_ms = now;
    if (list_empty(&destination->waiting)) {
        list_remove(&destination->site_node);
        return;
    }
    if (deliver->stopping) {
        destination_release_waiting(destination);
        return;
    }
    if (destination->backoff_until_ms > now) {
        queue_park(destination->partition, destination->name,
                   ring_wall_ms(deliver->ring) + destination->backoff_until_ms - now);
        destination_release_waiting(destination);
        return;
    }
    if (destination->route_state == ROUTE_KNOWN && destination->route_expires_ms <= now)
        destination_leave_site(destination);
    switch (destination->route_state) {
    case ROUTE_NONE:
        destination->route_state = ROUTE_ASKED;
        destination->asked_us = ring_clock_us(deliver->ring);
        dns_resolve_route(deliver->resolver, &destination->request, destination->name);
        return;
    case ROUTE_ASKED:
        return;
    case ROUTE_KNOWN:
        if (!list_linked(&destination->site_node) && !list_linked(&destination->content_node))
            list_push_back(&destination->site->ready, &destination->site_node);
        site_drain_soon(destination->site);
        return;
    }
}

void destination_refill(struct destination *destination)
{
    struct deliver *deliver = destination->deliver;
    if (destination->queued == 0 || destination->lease_asked ||
        list_linked(&destination->hungry_node))
        return;
    if (destination->backoff_until_ms > ring_now_ms(deliver->ring))
        return;
    list_push_back(&deliver->hungry, &destination->hungry_node);
    deliver_pump_soon(deliver);
}

void destination_failed(struct destination *destination, const struct smtp_reply *reply,
                        const struct site_host *host)
{
    struct deliver *deliver = destination->deliver;
    int64_t base =
        MIN_OF((int64_t)deliver->options.retry_schedule_s[0] * 1000, (int64_t)BACKOFF_BASE_MS_MAX);
    unsigned shift = MIN_OF(destination->failures, 6u);
    int64_t backoff = MIN_OF(base << shift, (int64_t)BACKOFF_MS_MAX);
    backoff -= (int64_t)rng_below(ring_rng(deliver->ring), (uint64_t)backoff / 10 + 1);
    if (reply->origin == SMTP_PEER)
        backoff = MAX_OF(backoff, (int64_t)classify_retry_after_s(reply->text) * 1000);
    destination->failures++;
    destination->backoff_until_ms = ring_now_ms(deliver->ring) + backoff;
    log_info(deliver->options.log, "destination-failed",
             "%.*s: %u %.*s; next try in %lld ms, %u jobs go back", SLICE_FMT(destination->name),
             reply->code, SLICE_FMT(reply->text), (long long)backoff, destination->waiting_count);

    struct list *node = list_pop_front(&destination->waiting);
    if (node) {
        destination->waiting_count--;
        delivery_end_by_reply(LIST_ENTRY(node, struct delivery, node), reply, host);
    }
    queue_park(destination->partition, destination->name, ring_wall_ms(deliver->ring) + backoff);
    destination_release_waiting(destination);
    destination->queued = 0; /* discovery finds it again when the backoff is over */
}

void destination_succeeded(struct destination *destination)
{
    destination->failures = 0;
    destination->backoff_until_ms = 0;
}

void destination_release_waiting(struct destination *destination)
{
    list_remove(&destination->site_node);
    list_remove(&destination->content_node);
    /* Last first: each goes to the head of the queue, so the order stays. */
    while (!list_empty(&destination->waiting)) {
        struct list *node = destination->waiting.prev;
        list_remove(node);
        destination->waiting_count--;
        delivery_release(LIST_ENTRY(node, struct delivery, node));
    }
}

bool destination_unused(const struct destination *destination)
{
    return destination->held == 0 && destination->route_state != ROUTE_ASKED &&
           !destination->lease_asked;
}

void destination_free(struct destination *destination)
{
    assert(destination_unused(destination));
    list_remove(&destination->hungry_node);
    list_remove(&destination->content_node);
    destination_leave_site(destination);
    map_remove(&destination->deliver->destinations, destination->name);
    stat_sub(&destination->deliver->stats.destinations, 1);
    free(destination);
}
