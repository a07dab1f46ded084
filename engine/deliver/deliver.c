/* The worker's delivery as a whole: leasing in measure, the sweep of what isn't used any more,
 * start and stop. */
#include "engine/deliver/deliver.h"

#include <stdlib.h>

#include "engine/base/mem.h"
#include "engine/deliver/internal.h"

#define PUMP_MS 10               /* leases are asked for in batches, this far apart */
#define DISCOVER_MS 45           /* how soon a new destination is found */
#define RENDER_BLOCK_BYTES 8192  /* a message of usual size is one block */
#define SIGNED_BLOCK_BYTES 16384 /* with its signatures */
#define SWEEP_MS 5000
#define UNUSED_MS 60000 /* destinations and sites without work are forgotten after */

/* ---- leasing ---- */

/* How many jobs of one destination and class to hold: fewer the more destinations there are, so
 * that none takes all. */
static unsigned window_of(const struct deliver *deliver)
{
    unsigned share = deliver->options.jobs_max / (unsigned)(deliver->destinations.count + 1);
    share = MAX_OF(share, 8u);
    return MIN_OF(deliver->options.jobs_per_destination, share);
}

/* How many jobs of a class may be held, whatever is held of others. */
static unsigned class_max(const struct deliver *deliver, enum queue_class class)
{
    unsigned max = deliver->options.jobs_max;
    unsigned reserved = (unsigned)((uint64_t)max * deliver->options.jobs_reserved_percent / 100);
    return class == QUEUE_TRANSACTIONAL ? max : max - reserved;
}

static unsigned room_under(unsigned max, unsigned taken)
{
    return max - MIN_OF(max, taken);
}

/* How many more jobs of a class may be leased now. */
static unsigned class_room(const struct deliver *deliver, enum queue_class class)
{
    unsigned max = deliver->options.jobs_max, bulk_max = class_max(deliver, QUEUE_BULK);
    unsigned taken = deliver->held + deliver->asked;
    unsigned taken_bulk = deliver->held_bulk + deliver->asked_bulk, all = room_under(max, taken);
    /* What discovery brings isn't known in advance: should it be more bulk than planned, what is
     * kept is still kept. */
    unsigned room = class == QUEUE_TRANSACTIONAL ? room_under(max - bulk_max, taken - taken_bulk)
                                                 : room_under(bulk_max, taken_bulk);
    return class == QUEUE_TRANSACTIONAL ? MAX_OF(room, all) : MIN_OF(room, all);
}

static unsigned visit_ms(enum queue_class class)
{
    return class == QUEUE_TRANSACTIONAL ? DELIVER_VISIT_TRANSACTIONAL_MS : DELIVER_VISIT_MS;
}

/* Asks for more of the destinations that are known. */
static void lease_hungry(struct deliver *deliver, enum queue_class class)
{
    /* A tenth is left to discovery: a new destination isn't kept waiting by those that are known.
     */
    unsigned kept = class_max(deliver, class) / 10, window = window_of(deliver);
    struct list *hungry = &deliver->hungry[class];
    while (!list_empty(hungry)) {
        unsigned room = room_under(class_room(deliver, class), kept);
        if (room == 0)
            return;
        struct intake *intake = LIST_ENTRY(list_pop_front(hungry), struct intake, hungry_node);
        struct destination *destination = intake->destination;
        if (intake->held >= window || intake->queued == 0)
            continue;
        unsigned jobs = MIN_OF(window - intake->held, room);
        destination_ask(destination, class, jobs);
        queue_lease(destination->partition, destination->name, class, jobs, visit_ms(class));
    }
}

/* Asks for jobs of one class; returns whether there's more to ask for soon. */
static bool pump_class(struct deliver *deliver, enum queue_class class)
{
    lease_hungry(deliver, class);
    int64_t now = ring_now_ms(deliver->ring);
    unsigned room = class_room(deliver, class);
    if (room > 0 && now - deliver->discovered_ms[class] >= DISCOVER_MS) {
        deliver->discovered_ms[class] = now;
        queue_discover(deliver->queue, class, room, window_of(deliver), visit_ms(class));
    }
    return !list_empty(&deliver->hungry[class]) && room > 0;
}

static void pump(struct deliver *deliver)
{
    if (!deliver->running || !deliver->recordable)
        return;
    bool more = false;
    for (unsigned i = 0; i < QUEUE_CLASSES; i++)
        more |= pump_class(deliver, i);
    ring_timer_start(deliver->ring, &deliver->pump_timer, more ? PUMP_MS : DISCOVER_MS);
}

static void pump_timer_fired(struct ring_timer *timer)
{
    pump(CONTAINER_OF(timer, struct deliver, pump_timer));
}

void deliver_pump_soon(struct deliver *deliver)
{
    if (deliver->running && deliver->recordable)
        if (!ring_timer_running(&deliver->pump_timer) ||
            deliver->pump_timer.due_ms > ring_now_ms(deliver->ring) + PUMP_MS)
            ring_timer_start(deliver->ring, &deliver->pump_timer, PUMP_MS);
}

/* ---- the queue's events ---- */

static void on_leased(void *user, struct queue_partition *partition, struct slice name,
                      enum queue_class class, struct list *jobs, unsigned count, uint64_t waiting)
{
    struct deliver *deliver = user;
    struct destination *destination = destination_get(deliver, partition, name);
    struct list *node;
    destination->draining = false;
    destination->intake[class].queued = waiting;
    destination_ask(destination, class, 0);
    stat_add(&deliver->stats.leased, count);
    while ((node = list_pop_front(jobs)))
        delivery_create(destination, LIST_ENTRY(node, struct queue_job, node));
    destination_drain(destination);
    destination_refill(destination, class);
}

static void on_drained(void *user, struct queue_partition *partition, struct slice name,
                       enum queue_class class)
{
    struct deliver *deliver = user;
    (void)partition;
    struct destination *destination = map_get(&deliver->destinations, name);
    if (!destination)
        return;
    destination->intake[class].queued = 0;
    destination_ask(destination, class, 0);
}

static void on_recovered(void *user, struct queue_job *job, enum queue_recovery what, unsigned code)
{
    delivery_recovered(user, job, what, code);
}

static void on_recordable(void *user, bool yes)
{
    struct deliver *deliver = user;
    deliver->recordable = yes;
    log_info(deliver->options.log, "recordable", "%s",
             yes ? "outcomes can be recorded" : "outcomes can't be recorded now");
    if (!yes)
        return;
    size_t cursor = 0;
    struct map_entry *entry;
    while ((entry = map_next(&deliver->destinations, &cursor))) {
        struct destination *destination = entry->value;
        for (unsigned i = 0; i < QUEUE_CLASSES; i++) {
            destination_ask(destination, i, 0); /* what was asked before is void */
            destination_refill(destination, i);
        }
    }
    cursor = 0;
    while ((entry = map_next(&deliver->sites, &cursor)))
        site_drain_soon(entry->value);
    memset(deliver->discovered_ms, 0, sizeof deliver->discovered_ms);
    pump(deliver);
}

/* What waits goes back; transactions under way go on. */
static void partition_leave(struct deliver *deliver, const struct queue_partition *partition,
                            bool draining)
{
    size_t cursor = 0;
    struct map_entry *entry;
    while ((entry = map_next(&deliver->destinations, &cursor))) {
        struct destination *destination = entry->value;
        if (destination->partition != partition)
            continue;
        destination->draining = draining;
        for (unsigned i = 0; i < QUEUE_CLASSES; i++) {
            destination->intake[i].queued = 0;
            destination_ask(destination, i, 0);
        }
        destination_release_waiting(destination);
    }
}

static void on_lost(void *user, struct queue_partition *partition)
{
    partition_leave(user, partition, false);
}

static void on_draining(void *user, struct queue_partition *partition)
{
    partition_leave(user, partition, true);
}

static void on_changed(void *user)
{
    struct deliver *deliver = user;
    size_t cursor = 0;
    struct map_entry *entry;
    while ((entry = map_next(&deliver->destinations, &cursor)))
        if (destination_waiting(entry->value))
            destination_review(entry->value);
}

static void on_acked(void *user, unsigned count, int64_t lag_ms)
{
    struct deliver *deliver = user;
    for (unsigned i = 0; i < count; i++)
        histogram_record(&deliver->stats.ack, lag_ms * 1000);
}

const struct queue_events deliver_queue_events = {
    .leased = on_leased,
    .drained = on_drained,
    .recovered = on_recovered,
    .recordable = on_recordable,
    .lost = on_lost,
    .changed = on_changed,
    .draining = on_draining,
    .acked = on_acked,
};

/* ---- sweep ---- */

static void sweep_sites(struct deliver *deliver, int64_t before)
{
    size_t cursor = 0;
    struct map_entry *entry;
    while ((entry = map_next(&deliver->sites, &cursor))) {
        struct site *site = entry->value;
        if (site->used_ms < before && site_unused(site)) {
            site_free(site);
            cursor = 0; /* removal moves entries */
        }
    }
}

static void sweep_destinations(struct deliver *deliver, int64_t before)
{
    size_t cursor = 0;
    struct map_entry *entry;
    while ((entry = map_next(&deliver->destinations, &cursor))) {
        struct destination *destination = entry->value;
        if (destination->used_ms < before && destination->backoff_until_ms < before &&
            destination_unused(destination)) {
            destination_free(destination);
            cursor = 0;
        }
    }
}

static void sweep_fired(struct ring_timer *timer)
{
    struct deliver *deliver = CONTAINER_OF(timer, struct deliver, sweep_timer);
    int64_t before = ring_now_ms(deliver->ring) - UNUSED_MS;
    sweep_destinations(deliver, before);
    sweep_sites(deliver, before);
    __atomic_store_n(&deliver->stats.render_bytes, message_blocks_in_use(deliver->blocks),
                     __ATOMIC_RELAXED);
    ring_timer_start(deliver->ring, &deliver->sweep_timer, SWEEP_MS);
}

/* ---- life ---- */

static void stop_timed_out(struct ring_timer *timer);

bool deliver_create(struct deliver **out, struct ring *ring, struct dns_resolver *resolver,
                    const struct deliver_options *options, struct err *err)
{
    if (options->source_count == 0 || options->pool_count == 0 || options->retry_count == 0 ||
        options->policy_count == 0)
        return err_set(err, ERR_CONFIG,
                       "delivery needs at least one source, one pool, one policy and one retry "
                       "delay");
    struct deliver *deliver = mem_zalloc(sizeof *deliver);
    deliver->ring = ring;
    deliver->resolver = resolver;
    deliver->options = *options;
    deliver->blocks = message_blocks_create(
        options->signer ? SIGNED_BLOCK_BYTES : RENDER_BLOCK_BYTES, options->render_bytes_max);
    map_init(&deliver->submissions, rng_next(ring_rng(ring)));
    map_init(&deliver->destinations, rng_next(ring_rng(ring)));
    list_init(&deliver->idle);
    list_init(&deliver->crowded);
    map_init(&deliver->sites, rng_next(ring_rng(ring)));
    list_init(&deliver->submissions_lru);
    list_init(&deliver->free_deliveries);
    for (unsigned i = 0; i < QUEUE_CLASSES; i++)
        list_init(&deliver->hungry[i]);
    map_init(&deliver->pools, rng_next(ring_rng(ring)));
    map_init(&deliver->unknown_pools, rng_next(ring_rng(ring)));
    for (unsigned i = 0; i < options->pool_count; i++)
        map_put(&deliver->pools, slice_str(options->pools[i].name), (void *)&options->pools[i]);
    map_init(&deliver->tenants, rng_next(ring_rng(ring)));
    for (unsigned i = 0; i < options->rule_count; i++)
        for (unsigned k = 0; k < options->rules[i].tenant_count; k++)
            map_put(&deliver->tenants, slice_str(options->rules[i].tenants[k]),
                    (void *)options->rules[i].tenants[k]);
    ring_timer_init(&deliver->pump_timer, pump_timer_fired);
    ring_timer_init(&deliver->sweep_timer, sweep_fired);
    ring_timer_init(&deliver->stop_timer, stop_timed_out);
    *out = deliver;
    return true;
}

void deliver_attach(struct deliver *deliver, struct queue *queue)
{
    deliver->queue = queue;
}

void deliver_start(struct deliver *deliver)
{
    deliver->running = true;
    ring_timer_start(deliver->ring, &deliver->sweep_timer, SWEEP_MS);
    pump(deliver);
}

/* All that still refers to the ring or the resolver is gone. */
static bool deliver_quiet(const struct deliver *deliver)
{
    if (deliver->held > 0 || deliver->peers > 0)
        return false;
    size_t cursor = 0;
    struct map_entry *entry;
    while ((entry = map_next(&deliver->destinations, &cursor)))
        if (destination_asking(entry->value))
            return false;
    cursor = 0;
    while ((entry = map_next(&deliver->sites, &cursor)))
        if (((struct site *)entry->value)->lookups > 0)
            return false;
    return true;
}

void deliver_check_stopped(struct deliver *deliver)
{
    if (!deliver->stopping || !deliver->stopped || !deliver_quiet(deliver))
        return;
    void (*stopped)(void *) = deliver->stopped;
    deliver->stopped = NULL;
    ring_timer_stop(&deliver->stop_timer);
    stopped(deliver->stopped_user);
}

static void each_peer(struct deliver *deliver, void (*act)(struct peer *peer))
{
    size_t cursor = 0;
    struct map_entry *entry;
    while ((entry = map_next(&deliver->sites, &cursor))) {
        struct site *site = entry->value;
        struct list *lists[] = { &site->idle, &site->opening, &site->busy };
        for (size_t i = 0; i < ARRAY_LEN(lists); i++)
            list_for_each_safe (it, lists[i])
                act(LIST_ENTRY(it, struct peer, node));
    }
}

static void quit_unless_busy(struct peer *peer)
{
    if (list_empty(&peer->open))
        peer_quit(peer);
}

static void abort_peer(struct peer *peer)
{
    smtp_session_abort(peer->session, "the engine stops");
}

static void stop_timed_out(struct ring_timer *timer)
{
    each_peer(CONTAINER_OF(timer, struct deliver, stop_timer), abort_peer);
}

void deliver_stop(struct deliver *deliver, int64_t timeout_ms, void (*stopped)(void *user),
                  void *user)
{
    deliver->running = false;
    deliver->stopping = true;
    ring_timer_stop(&deliver->pump_timer);
    size_t cursor = 0;
    struct map_entry *entry;
    while ((entry = map_next(&deliver->destinations, &cursor))) {
        struct destination *destination = entry->value;
        destination_cancel(destination);
        destination_release_waiting(destination);
    }
    cursor = 0;
    while ((entry = map_next(&deliver->sites, &cursor))) {
        struct site *site = entry->value;
        for (unsigned i = 0; i < site->host_count; i++)
            if (site->hosts[i].asked) {
                dns_request_cancel(&site->hosts[i].request);
                dns_request_cancel(&site->hosts[i].tlsa_request);
                site->hosts[i].asked = false;
                site->lookups--;
            }
    }
    each_peer(deliver, quit_unless_busy);
    ring_timer_start(deliver->ring, &deliver->stop_timer, timeout_ms);
    deliver->stopped = stopped; /* not before: the loops above must not be left for it */
    deliver->stopped_user = user;
    deliver_check_stopped(deliver);
}

void deliver_destroy(struct deliver **out)
{
    struct deliver *deliver = *out;
    if (!deliver)
        return;
    ring_timer_stop(&deliver->pump_timer);
    ring_timer_stop(&deliver->sweep_timer);
    ring_timer_stop(&deliver->stop_timer);
    size_t cursor = 0;
    struct map_entry *entry;
    while ((entry = map_next(&deliver->unknown_pools, &cursor)))
        free(entry->value);
    map_free(&deliver->unknown_pools);
    map_free(&deliver->pools);
    map_free(&deliver->tenants);
    sweep_destinations(deliver, INT64_MAX);
    sweep_sites(deliver, INT64_MAX);
    map_free(&deliver->destinations);
    map_free(&deliver->sites);
    submissions_free(deliver);
    struct list *node;
    while ((node = list_pop_front(&deliver->free_deliveries)))
        free(LIST_ENTRY(node, struct delivery, node));
    message_blocks_destroy(&deliver->blocks);
    free(deliver);
    *out = NULL;
}

const struct deliver_stats *deliver_stats(const struct deliver *deliver)
{
    return &deliver->stats;
}
