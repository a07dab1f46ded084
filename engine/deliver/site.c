/* Sites: the sessions to the MX hosts that serve one or many destinations, from one pool of
 * sources. Which host is next, and what is known of each, is host.c's.
 *
 * site_drain() looks at a site and does whatever is possible now: gives waiting deliveries to
 * sessions that have room, opens sessions while there is more to do than they can take and the
 * limits allow, asks for addresses where there are none yet. It runs as a task at the end of a
 * turn, once for all that happened in the turn.
 */
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/mem.h"
#include "engine/deliver/internal.h"

#define PATIENCE_US                                                                                \
    200000 /* a backlog that the open sessions can send within this needs no more of them */
#define BACKLOG_LANES_MAX 64
#define TRANSACTIONS_KNOWN 4
#define TURNS_PER_TRANSACTION 3 /* to send, to answer, to send the body */
/* A message that somebody waits for isn't put behind more of others on a session than this takes.
 */
#define AHEAD_US_MAX 500000
#define PEERS_LOOKED_AT 16 /* for one that may carry bulk */
#define RETRY_MS 100       /* to ask for what other workers have */

/* ---- creation ---- */

static int compare_mx(const void *a, const void *b)
{
    const struct dns_mx *x = *(const struct dns_mx *const *)a,
                        *y = *(const struct dns_mx *const *)b;
    if (x->preference != y->preference)
        return x->preference < y->preference ? -1 : 1;
    size_t len = MIN_OF(x->name.len, y->name.len);
    int order = memcmp(x->name.ptr, y->name.ptr, len);
    return order ? order : (x->name.len > y->name.len) - (x->name.len < y->name.len);
}

static void site_drain(struct ring_task *task);
static void site_retry(struct ring_timer *timer);

static struct site *site_create(struct deliver *deliver, const struct dns_mx *const *sorted,
                                unsigned count, struct slice id, size_t key_len,
                                const struct way *way, unsigned pool)
{
    size_t names = 0;
    for (unsigned i = 0; i < count; i++)
        names += sorted[i]->name.len + 1;
    struct site *site = mem_zalloc(sizeof *site + count * sizeof site->hosts[0] + names + id.len);
    char *text = (char *)&site->hosts[count];
    site->deliver = deliver;
    site->host_count = count;
    for (unsigned i = 0; i < count; i++) {
        struct site_host *host = &site->hosts[i];
        host->site = site;
        host->preference = sorted[i]->preference;
        memcpy(text, sorted[i]->name.ptr, sorted[i]->name.len);
        host->name = slice_of(text, sorted[i]->name.len);
        text += sorted[i]->name.len + 1; /* NUL-terminated, for SNI */
        host->request.addresses_found = host_addresses_found;
        host->tlsa_request.tlsa_found = host_records_found;
    }
    memcpy(text, id.ptr, id.len);
    site->id = slice_of(text, id.len);
    site->key = slice_of(text, key_len);
    site->way = *way;
    site->pool = pool;
    for (unsigned i = 0; i < QUEUE_CLASSES; i++)
        list_init(&site->ready[i]);
    list_init(&site->idle);
    list_init(&site->busy);
    list_init(&site->opening);
    list_init(&site->crowded_node);
    ring_task_init(&site->drain, site_drain);
    ring_timer_init(&site->retry, site_retry);
    site_sources_create(site);
    map_put(&deliver->sites, site->id, site);
    stat_add(&deliver->stats.sites, 1);
    return site;
}

struct site *site_get(struct deliver *deliver, const struct dns_route *route, const struct way *way,
                      unsigned pool)
{
    /* The key: host names by preference, a comma within a preference, a semicolon between, so that
     * two domains with the same hosts in the same ranks share sessions whatever their numbers are.
     * The id: the key, then what else sets sites apart. */
    const struct dns_mx **sorted = mem_array(route->host_count, sizeof *sorted);
    for (unsigned i = 0; i < route->host_count; i++)
        sorted[i] = &route->hosts[i];
    qsort(sorted, route->host_count, sizeof *sorted, compare_mx);
    char rest[64];
    size_t rest_len =
        (size_t)snprintf(rest, sizeof rest, " %u/%u/%x%s/%u/%u", pool, way->policy, way->relay,
                         way->secure ? "s" : "", (unsigned)way->sts, (unsigned)way->demand);
    size_t room = rest_len, len = 0;
    for (unsigned i = 0; i < route->host_count; i++)
        room += sorted[i]->name.len + 1;
    char *id = mem_alloc(room);
    for (unsigned i = 0; i < route->host_count; i++) {
        if (i > 0)
            id[len++] = sorted[i]->preference == sorted[i - 1]->preference ? ',' : ';';
        memcpy(id + len, sorted[i]->name.ptr, sorted[i]->name.len);
        len += sorted[i]->name.len;
    }
    size_t key_len = len;
    memcpy(id + len, rest, rest_len);
    len += rest_len;
    struct site *site = map_get(&deliver->sites, slice_of(id, len));
    if (!site)
        site =
            site_create(deliver, sorted, route->host_count, slice_of(id, len), key_len, way, pool);
    site->used_ms = ring_now_ms(deliver->ring);
    free(id);
    free(sorted);
    return site;
}

bool site_unused(const struct site *site)
{
    return site->lanes == 0 && site->peer_count == 0 && site->lookups == 0;
}

void site_free(struct site *site)
{
    struct deliver *deliver = site->deliver;
    assert(site_unused(site));
    ring_task_cancel(&site->drain);
    ring_timer_stop(&site->retry);
    room_await(site, false);
    for (unsigned i = 0; i < site->host_count; i++) {
        if (site->hosts[i].addresses)
            dns_addresses_release(site->hosts[i].addresses);
        if (site->hosts[i].tlsa)
            dns_tlsa_release(site->hosts[i].tlsa);
    }
    for (unsigned i = 0; i < site->ticket_count; i++)
        tls_ticket_free(site->tickets[i].ticket);
    site_sources_destroy(site);
    map_remove(&deliver->sites, site->id);
    stat_sub(&deliver->stats.sites, 1);
    free(site);
}

/* ---- the pool ---- */

static void site_retry(struct ring_timer *timer)
{
    site_drain_soon(CONTAINER_OF(timer, struct site, retry));
}

void site_drain_soon(struct site *site)
{
    ring_task_queue(site->deliver->ring, &site->drain);
}

bool site_has_ready(const struct site *site)
{
    for (unsigned i = 0; i < QUEUE_CLASSES; i++)
        if (!list_empty(&site->ready[i]))
            return true;
    return false;
}

void site_timed(struct site *site, int64_t took_us, unsigned ahead)
{
    site->transactions++;
    low_average_add(&site->transaction_us, took_us);
    if (ahead == 0) {
        low_average_add(&site->alone_us, took_us);
        site->behind_us -= site->behind_us / 64; /* so that a flat pipeline is tried again */
        return;
    }
    /* On a long line transactions behind each other overlap and lose nothing; a slow server takes
     * them one by one. */
    int64_t waited_us = took_us - site->alone_us - TURNS_PER_TRANSACTION * site->deliver->turn_us;
    site->behind_us += (MAX_OF(waited_us, (int64_t)0) / ahead - site->behind_us) / 8;
}

unsigned site_bulk_depth(const struct site *site)
{
    const struct deliver_options *options = &site->deliver->options;
    unsigned depth = site->in_order >= options->pipeline_rank ? options->pipeline_depth : 1;
    if (site->behind_us * (int64_t)(depth - 1) <= AHEAD_US_MAX)
        return depth;
    return 1 + (unsigned)(AHEAD_US_MAX / site->behind_us);
}

/* The session on which a transactional message leaves soonest: an idle one, or the one with the
 * fewest before it. */
static struct peer *site_pick_soonest(struct site *site)
{
    if (!list_empty(&site->idle)) {
        struct peer *peer = LIST_ENTRY(site->idle.next, struct peer, node);
        if (peer_offer(peer, QUEUE_TRANSACTIONAL))
            return peer;
    }
    struct peer *best = NULL;
    unsigned looked = 0;
    list_for_each (it, &site->busy) {
        struct peer *peer = LIST_ENTRY(it, struct peer, node);
        if (peer_offer(peer, QUEUE_TRANSACTIONAL) && (!best || peer->open_count < best->open_count))
            best = peer;
        if (++looked == PEERS_LOOKED_AT && best)
            break;
    }
    return best;
}

/* A session that may carry bulk: an idle one first, then one whose pipeline isn't full (those stand
 * in front). */
static struct peer *site_pick_bulk(struct site *site, enum queue_class class)
{
    struct list *lists[] = { &site->idle, &site->busy };
    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        unsigned looked = 0;
        list_for_each (it, lists[i]) {
            struct peer *peer = LIST_ENTRY(it, struct peer, node);
            if (peer_offer(peer, class))
                return peer;
            if (++looked == PEERS_LOOKED_AT)
                break;
        }
    }
    return NULL;
}

/* The next delivery of a site's lanes of a class; those that have to wait leave the line. */
static struct delivery *site_next(struct site *site, enum queue_class class)
{
    while (!list_empty(&site->ready[class])) {
        struct lane *lane = LIST_ENTRY(site->ready[class].next, struct lane, site_node);
        struct delivery *delivery = delivery_next(lane);
        list_remove(&lane->site_node); /* to the back: lanes of a site take turns */
        if (!delivery)
            continue;
        if (!list_empty(&lane->waiting))
            list_push_back(&site->ready[class], &lane->site_node);
        return delivery;
    }
    return NULL;
}

/* ---- opening ---- */

/* Jobs up to a class that wait for a session here, and those behind them in Redis. Counts only some
 * lanes: enough to know that there's plenty. */
static uint64_t site_backlog(const struct site *site, enum queue_class last, unsigned *waiting)
{
    uint64_t backlog = 0;
    unsigned looked = 0;
    *waiting = 0;
    for (unsigned i = 0; i <= (unsigned)last; i++)
        list_for_each (it, &site->ready[i]) {
            const struct lane *lane = LIST_ENTRY(it, struct lane, site_node);
            *waiting += lane->waiting_count;
            backlog += lane->waiting_count + lane->destination->intake[i].queued;
            if (++looked == BACKLOG_LANES_MAX)
                return backlog;
        }
    return backlog;
}

/* How many more sessions to open now for the classes up to `last`. A session costs as much as
 * several messages, for us and for the peer, so another one is opened only when those that there
 * are would need longer for the backlog than it takes to get it going. */
static unsigned site_sessions_wanted(struct site *site, enum queue_class last)
{
    const struct deliver_options *options = &site->deliver->options;
    unsigned waiting;
    uint64_t backlog = site_backlog(site, last, &waiting);
    unsigned room =
        options->connecting_per_site - MIN_OF(options->connecting_per_site, site->opening_count);
    unsigned new_here = waiting - MIN_OF(waiting, site->opening_count);
    room = MIN_OF(room, new_here);
    if (site->peer_count == 0)
        return MIN_OF(room, 1u);
    if (site->transactions < TRANSACTIONS_KNOWN) {
        /* The first ones say more about the start than about the site. */
        bool more = last == QUEUE_TRANSACTIONAL ? site->opening_count == 0 : site->peer_count < 2;
        return more ? MIN_OF(room, 1u) : 0;
    }
    unsigned depth = site->in_order >= options->pipeline_rank ? options->pipeline_depth : 1;
    /* Without the turns of our own loop that its answers waited for: a busy loop isn't helped by
     * more sessions. */
    int64_t its_us =
        MAX_OF(site->transaction_us - TURNS_PER_TRANSACTION * site->deliver->turn_us, (int64_t)1);
    uint64_t patience_us = (uint64_t)MAX_OF(site->connect_us, (int64_t)PATIENCE_US);
    uint64_t enough = backlog * (uint64_t)its_us / depth / patience_us + 1;
    uint64_t missing = enough > site->peer_count ? enough - site->peer_count : 0;
    return (unsigned)MIN_OF(missing, (uint64_t)room);
}

/* Why none of the hosts can be used. */
static struct smtp_reply reply_of_hosts(const struct site *site)
{
    for (unsigned i = 0; i < site->host_count; i++)
        if (site->hosts[i].why)
            return smtp_reply_local(SMTP_PHASE_TLS, 451, (struct smtp_enhanced){ 4, 7, 5 },
                                    slice_str(site->hosts[i].why));
    return smtp_reply_local(SMTP_PHASE_CONNECT, 451, (struct smtp_enhanced){ 4, 4, 1 },
                            SLICE("no host of the destination can be reached"));
}

/* No host that the DNS names may be sent to: that won't change by waiting. */
static bool site_refused(const struct site *site)
{
    for (unsigned i = 0; i < site->host_count; i++)
        if (!site->hosts[i].addresses || site->hosts[i].addresses->status != DNS_REFUSED)
            return false;
    return true;
}

static void site_end_refused(struct site *site)
{
    struct smtp_reply reply =
        smtp_reply_local(SMTP_PHASE_DNS, 550, (struct smtp_enhanced){ 5, 4, 4 },
                         slice_str(site->hosts[0].addresses->text));
    struct list *node;
    for (unsigned i = 0; i < QUEUE_CLASSES; i++)
        while ((node = list_pop_front(&site->ready[i])))
            lane_end_waiting(LIST_ENTRY(node, struct lane, site_node), &reply, NULL);
}

/* Opens one session, false if there can't be more now. */
static bool site_open_one(struct site *site, enum queue_class class)
{
    unsigned host, address, source;
    switch (site_choose(site, &host, &address)) {
    case HOST_CHOICE_WAIT:
        return false;
    case HOST_CHOICE_NONE:
        if (site->peer_count == 0 && site_refused(site)) {
            site_end_refused(site);
        } else if (site->peer_count == 0) {
            struct smtp_reply reply = reply_of_hosts(site);
            site_failed(site, &reply, NULL);
        }
        return false;
    case HOST_CHOICE_FOUND:
        break;
    }
    sa_family_t family = site->hosts[host].addresses->list[address].addr.ss_family;
    if (!site_source_take(site, class, family, &source))
        return false; /* other workers have them all */
    peer_open(site, host, address, source);
    return true;
}

/* Sessions for the classes up to `last`, as many as are wanted and possible; whether the worker has
 * no room for more. */
static bool site_open_for(struct site *site, enum queue_class last)
{
    for (unsigned wanted = site_sessions_wanted(site, last); wanted > 0; wanted--)
        if (!room_left(site->deliver, last))
            return true;
        else if (!site_open_one(site, last))
            return false;
    return false;
}

/* First for those who are waited for, of all that there may be; then for all, of what isn't kept.
 */
static void site_open_more(struct site *site)
{
    bool crowded = false;
    if (site->opening_blocked_ms <= ring_now_ms(site->deliver->ring)) {
        if (!list_empty(&site->ready[QUEUE_TRANSACTIONAL]))
            crowded = site_open_for(site, QUEUE_TRANSACTIONAL);
        if (site_has_ready(site)) /* else it has failed */
            crowded |= site_open_for(site, QUEUE_BULK);
    }
    room_await(site, crowded);
}

static bool budget_take(struct deliver *deliver, enum queue_class class)
{
    uint64_t turn = ring_stats(deliver->ring)->turns;
    if (deliver->budget_turn != turn) {
        deliver->budget_turn = turn;
        deliver->budget[0] = deliver->budget[1] = DELIVER_TURN_MESSAGES;
    }
    unsigned *budget = &deliver->budget[class != QUEUE_TRANSACTIONAL];
    if (*budget == 0)
        return false;
    --*budget;
    return true;
}

/* Gives deliveries of a class to sessions, as many as possible now. */
static void site_fill(struct site *site, enum queue_class class)
{
    struct deliver *deliver = site->deliver;
    while (!list_empty(&site->ready[class])) {
        struct peer *peer =
            class == QUEUE_TRANSACTIONAL ? site_pick_soonest(site) : site_pick_bulk(site, class);
        if (!peer)
            return;
        if (!budget_take(deliver, class)) {
            peer_settle(peer);
            ring_timer_start(deliver->ring, &site->retry, 0); /* the next turn */
            return;
        }
        struct delivery *delivery = site_next(site, class);
        if (delivery)
            peer_submit(peer, delivery);
        else
            peer_settle(peer);
    }
}

/* Something waits: if nothing of ours is under way that would tell when to go on (it's others who
 * have the connections, or the right to carry bulk), a timer does. */
static void site_look_again(struct site *site)
{
    struct ring *ring = site->deliver->ring;
    if (ring_timer_running(&site->retry) || !list_empty(&site->busy) || site->opening_count > 0 ||
        list_linked(&site->crowded_node))
        return;
    int64_t blocked_ms = site->opening_blocked_ms - ring_now_ms(ring);
    bool idle = !list_empty(&site->idle);
    ring_timer_start(ring, &site->retry, idle ? RETRY_MS : MAX_OF(blocked_ms, (int64_t)RETRY_MS));
}

static void site_do(struct site *site)
{
    struct deliver *deliver = site->deliver;
    site->used_ms = ring_now_ms(deliver->ring);
    average_add(&deliver->turn_us, ring_clock_us(deliver->ring) - site->used_ms * 1000);
    for (unsigned i = 0; i < QUEUE_CLASSES; i++)
        site_fill(site, i);
    if (!site_has_ready(site)) {
        room_await(site, false);
        return;
    }
    site_open_more(site);
    if (site_has_ready(site))
        site_look_again(site);
}

static void site_drain(struct ring_task *task)
{
    struct site *site = CONTAINER_OF(task, struct site, drain);
    struct deliver *deliver = site->deliver;
    if (deliver->recordable && !deliver->stopping)
        site_do(site);
    room_offer(deliver);
}
