/* Peers: pooled SMTP sessions. A peer is in its site's list `opening` until it greeted us, then in
 * `busy` while it has open transactions, `idle` otherwise, and in none once it's ending. */
#include <arpa/inet.h>
#include <stdlib.h>

#include "engine/base/mem.h"
#include "engine/deliver/internal.h"

static void peer_count_state(struct deliver *deliver, struct list *list, const struct site *site,
                             bool enter)
{
    uint64_t *counter = list == &site->opening ? &deliver->stats.sessions_opening
                        : list == &site->busy  ? &deliver->stats.sessions_busy
                                               : &deliver->stats.sessions_idle;
    if (enter)
        stat_add(counter, 1);
    else
        stat_sub(counter, 1);
}

/* The list that the peer is in, by its state. */
static struct list *peer_list(struct peer *peer)
{
    if (peer->ending)
        return NULL;
    if (!peer->ready)
        return &peer->site->opening;
    return list_empty(&peer->open) ? &peer->site->idle : &peer->site->busy;
}

/* How many more transactions it could take. */
static unsigned peer_room(const struct peer *peer, enum queue_class class)
{
    unsigned max = peer->site->deliver->options.messages_per_session;
    if (peer->ending || peer->messages >= max)
        return 0;
    unsigned room = MIN_OF(smtp_session_room(peer->session), max - peer->messages);
    if (class == QUEUE_TRANSACTIONAL)
        return room;
    unsigned depth = site_bulk_depth(peer->site);
    depth -= MIN_OF(depth, peer->open_count);
    return MIN_OF(room, depth);
}

/* Moves the peer from `before` to the list that its state asks for now. Peers with room for bulk
 * stand in front of `busy`; of the idle ones the most recently used does, so that the others can
 * age out. */
static void peer_move(struct peer *peer, struct list *before)
{
    struct site *site = peer->site;
    struct list *now = peer_list(peer);
    if (before != now) {
        if (before)
            peer_count_state(site->deliver, before, site, false);
        if (now)
            peer_count_state(site->deliver, now, site, true);
        list_remove(&peer->idle_node);
        if (now == &site->idle)
            list_push_back(&site->deliver->idle, &peer->idle_node);
    }
    list_remove(&peer->node);
    if (!now)
        return;
    if (now == &site->busy && peer_room(peer, QUEUE_BULK) == 0)
        list_push_back(now, &peer->node);
    else
        list_push_front(now, &peer->node);
}

unsigned peer_depth(const struct peer *peer)
{
    const struct deliver_options *options = &peer->site->deliver->options;
    if (peer->site->in_order < options->pipeline_rank || options->pipeline_depth == 1)
        return 1;
    return options->pipeline_depth + 1; /* the last place is for transactional mail */
}

unsigned peer_source(const struct peer *peer)
{
    return peer->site->sources[peer->source].index;
}

bool peer_offer(struct peer *peer, enum queue_class class)
{
    if (peer_room(peer, class) == 0)
        return false;
    if (class == QUEUE_TRANSACTIONAL || peer->may_bulk)
        return true;
    struct site_source *source = &peer->site->sources[peer->source];
    peer->may_bulk = site_limit_take_bulk(source->limit, source->connections_bulk);
    return peer->may_bulk;
}

void peer_settle(struct peer *peer)
{
    if (!peer->may_bulk || peer->open_bulk > 0)
        return;
    site_limit_give_bulk(peer->site->sources[peer->source].limit);
    peer->may_bulk = false;
}

void peer_quit(struct peer *peer)
{
    if (peer->ending)
        return;
    struct list *before = peer_list(peer);
    peer->ending = true;
    ring_timer_stop(&peer->timer);
    peer_move(peer, before);
    if (!peer->ready)
        smtp_session_abort(peer->session, "not needed any more");
    else
        smtp_session_quit(peer->session);
}

static void peer_timer_fired(struct ring_timer *timer)
{
    struct peer *peer = CONTAINER_OF(timer, struct peer, timer);
    if (peer->ready)
        peer_quit(peer);
    else
        site_race(peer->site, peer);
}

static void peer_end_race(struct peer *peer)
{
    if (!peer->rival)
        return;
    peer->rival->rival = NULL;
    peer->rival = NULL;
}

/* After a transaction ended: the peer is used up, wanted elsewhere, or stays for more. */
static void peer_rest(struct peer *peer)
{
    struct deliver *deliver = peer->site->deliver;
    if (!list_empty(&peer->open))
        return;
    if (deliver->stopping || peer->messages >= deliver->options.messages_per_session) {
        peer_quit(peer);
        return;
    }
    if (!site_has_ready(peer->site) && site_limit_wanted(peer->site->sources[peer->source].limit)) {
        peer_quit(peer);
        return;
    }
    if (!room_yield(peer))
        ring_timer_start(deliver->ring, &peer->timer, deliver->options.idle_ms);
}

/* ---- the session's events ---- */

static void on_connected(struct smtp_session *session)
{
    struct peer *peer = smtp_session_user(session), *rival = peer->rival;
    peer->connected = true;
    ring_timer_stop(&peer->timer);
    site_connected(peer->site, peer);
    peer_end_race(peer);
    if (rival)
        peer_quit(rival);
}

static void on_ready(struct smtp_session *session)
{
    struct peer *peer = smtp_session_user(session);
    struct site *site = peer->site;
    int64_t took_us = ring_clock_us(site->deliver->ring) - peer->opened_us;
    histogram_record(&site->deliver->stats.connect, took_us);
    average_add(&site->connect_us, took_us);
    struct tls_facts facts;
    if (stream_tls_facts(smtp_session_stream(session), &facts)) {
        histogram_record(&site->deliver->stats.tls, smtp_session_tls_us(session));
        stat_add(&site->deliver->stats.tls_resumed, facts.resumed);
    }
    struct list *before = peer_list(peer);
    peer->ready = true;
    site->opening_count--;
    peer_move(peer, before);
    site_host_worked(site, peer);
    smtp_session_set_depth(session, peer_depth(peer));
    stat_add(&site->deliver->stats.sessions_opened, 1);
    peer_rest(peer);
    if (!peer->ending)
        site_drain_soon(site);
}

static void on_writable(struct smtp_session *session)
{
    struct peer *peer = smtp_session_user(session);
    if (peer->ending)
        return;
    peer_move(peer, peer_list(peer));
    site_drain_soon(peer->site);
}

static bool on_body(struct smtp_session *session, struct smtp_transaction *tx, bool chunked,
                    struct smtp_body *body, struct smtp_reply *reply)
{
    (void)session;
    return delivery_body(CONTAINER_OF(tx, struct delivery, tx), chunked, body, reply);
}

static void on_body_sent(struct smtp_session *session, struct smtp_transaction *tx)
{
    (void)session;
    delivery_body_done(CONTAINER_OF(tx, struct delivery, tx));
}

static bool on_commit(struct smtp_session *session, struct smtp_transaction *tx)
{
    (void)session;
    struct delivery *delivery = CONTAINER_OF(tx, struct delivery, tx);
    bool ok = queue_commit(delivery->job);
    delivery->fenced = !ok;
    return ok;
}

static void on_recipient(struct smtp_session *session, struct smtp_transaction *tx, unsigned index,
                         const struct smtp_reply *reply)
{
    (void)session;
    assert(index == 0);
    delivery_recipient_refused(CONTAINER_OF(tx, struct delivery, tx), reply);
}

static void on_done(struct smtp_session *session, struct smtp_transaction *tx,
                    enum smtp_tx_outcome outcome, const struct smtp_reply *reply)
{
    struct peer *peer = smtp_session_user(session);
    struct delivery *delivery = CONTAINER_OF(tx, struct delivery, tx);
    struct site *site = peer->site;
    struct list *before = peer_list(peer);
    list_remove(&delivery->node);
    peer->open_count--;
    peer->open_bulk -= delivery->lane->class != QUEUE_TRANSACTIONAL;
    peer_settle(peer);
    int64_t took_us = ring_clock_us(site->deliver->ring) - delivery->submitted_us;
    site_timed(site, took_us, delivery->ahead);
    peer_move(peer, before);
    if (outcome == SMTP_TX_ACCEPTED && ++site->in_order == site->deliver->options.pipeline_rank)
        log_debug(site->deliver->options.log, "site-ranked", "%.*s: depth %u from here on",
                  SLICE_FMT(site->key), site->deliver->options.pipeline_depth);
    if (!peer->ending)
        smtp_session_set_depth(session, peer_depth(peer));
    delivery_done(delivery, outcome, reply);
    if (!peer->ending)
        peer_rest(peer);
    site_drain_soon(site);
}

static void on_ended(struct smtp_session *session, const struct smtp_reply *reason, bool violation)
{
    struct peer *peer = smtp_session_user(session);
    struct site *site = peer->site;
    struct deliver *deliver = site->deliver;
    bool was_ready = peer->ready, was_ending = peer->ending;
    struct list *before = peer_list(peer);
    peer->ending = true;
    ring_timer_stop(&peer->timer);
    peer_end_race(peer);
    peer_move(peer, before);
    if (!was_ready)
        site->opening_count--;
    if (violation) {
        stat_add(&deliver->stats.violations, 1);
        site->in_order = 0;
        log_warn(deliver->options.log, "protocol-violation", "%.*s [%s]: %.*s",
                 SLICE_FMT(site->hosts[peer->host].name), peer->text, SLICE_FMT(reason->text));
    }
    if (!was_ready && !was_ending)
        site_host_failed(site, peer, reason);
    else if (!was_ending && reason->origin == SMTP_PEER && reason->code == 421)
        site->opening_blocked_ms = ring_now_ms(deliver->ring) + 1000; /* it asks for less */
    if (site->opening_blocked_ms > ring_now_ms(deliver->ring))
        ring_timer_start(deliver->ring, &site->retry,
                         site->opening_blocked_ms - ring_now_ms(deliver->ring));
    site_drain_soon(site);
}

static void on_closed(struct smtp_session *session)
{
    struct peer *peer = smtp_session_user(session);
    struct site *site = peer->site;
    struct deliver *deliver = site->deliver;
    assert(list_empty(&peer->open));
    smtp_session_destroy(&peer->session);
    host_session_clear(&peer->security);
    peer_settle(peer);
    site_source_give(site, peer->source);
    site->peer_count--;
    deliver->peers--;
    deliver->evicted -= peer->evicted;
    free(peer);
    site_drain_soon(site);
    room_offer(deliver);
    deliver_check_stopped(deliver);
}

static const struct smtp_session_events session_events = {
    .connected = on_connected,
    .ready = on_ready,
    .writable = on_writable,
    .body = on_body,
    .body_sent = on_body_sent,
    .commit = on_commit,
    .recipient = on_recipient,
    .done = on_done,
    .ended = on_ended,
    .closed = on_closed,
};

/* ---- opening and using ---- */

static struct tls_ticket *ticket_take(struct site *site, unsigned index)
{
    struct tls_ticket *ticket = site->tickets[index].ticket;
    site->ticket_count--;
    memmove(&site->tickets[index], &site->tickets[index + 1],
            (site->ticket_count - index) * sizeof site->tickets[0]);
    return ticket;
}

static void peer_ticket(void *user, struct tls_ticket *ticket)
{
    struct peer *peer = user;
    struct site *site = peer->site;
    while (site->ticket_count >= MIN_OF(site->peer_count, (unsigned)SITE_TICKETS_MAX))
        tls_ticket_free(ticket_take(site, 0));
    site->tickets[site->ticket_count++] = (struct site_ticket){ ticket, peer->host };
}

/* The newest ticket of a host; NULL: there's none. */
static struct tls_ticket *ticket_for(struct site *site, unsigned host)
{
    for (unsigned i = site->ticket_count; i > 0; i--)
        if (site->tickets[i - 1].host == host)
            return ticket_take(site, i - 1);
    return NULL;
}

static void address_text(const struct sockaddr_storage *addr, char out[64])
{
    out[0] = '\0';
    if (addr->ss_family == AF_INET)
        inet_ntop(AF_INET, &((const struct sockaddr_in *)addr)->sin_addr, out, 64);
    else if (addr->ss_family == AF_INET6)
        inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)addr)->sin6_addr, out, 64);
}

struct peer *peer_open(struct site *site, unsigned host_index, unsigned address,
                       unsigned source_index)
{
    struct deliver *deliver = site->deliver;
    const struct deliver_source *source =
        &deliver->options.sources[site->sources[source_index].index];
    struct site_host *host = &site->hosts[host_index];
    struct peer *peer = mem_zalloc(sizeof *peer);
    peer->site = site;
    peer->host = host_index;
    peer->address = address;
    peer->source = source_index;
    peer->opened_us = ring_clock_us(deliver->ring);
    list_init(&peer->node);
    list_init(&peer->idle_node);
    list_init(&peer->open);
    ring_timer_init(&peer->timer, peer_timer_fired);

    const struct deliver_relay *relay = site_relay(site);
    uint16_t port = (uint16_t)(relay ? relay->port : deliver->options.port);
    struct sockaddr_storage addr = host->addresses->list[address].addr;
    if (addr.ss_family == AF_INET)
        ((struct sockaddr_in *)&addr)->sin_port = htons(port);
    else
        ((struct sockaddr_in6 *)&addr)->sin6_port = htons(port);
    peer->family = addr.ss_family;
    address_text(&addr, peer->text);

    struct host_session *security = &peer->security;
    host_session_security(host, security);
    struct smtp_session_options options = {
        .timeouts = &deliver->options.timeouts,
        .ehlo_name = source->ehlo_name,
        .tls_mode = security->mode,
        .tls = { .context = security->context,
                 .server_name = security->server_name,
                 .tlsa = security->records,
                 .tlsa_count = security->record_count,
                 .domain = host->name.ptr,
                 .resume = security->mode == SMTP_TLS_OFF ? NULL : ticket_for(site, host_index),
                 .ticket = peer_ticket,
                 .ticket_user = peer },
        .requiretls = site->way.demand == TLS_NEEDED,
        .auth = relay ? relay->auth : NULL,
        .lmtp = relay && relay->lmtp,
        .no_pipelining = deliver->options.no_pipelining,
        .no_chunking = deliver->options.no_chunking,
        .depth = peer_depth(peer),
    };
    peer->session = smtp_session_create(deliver->ring, &session_events, &options, peer);
    list_push_back(&site->opening, &peer->node);
    peer_count_state(deliver, &site->opening, site, true);
    site->opening_count++;
    site->peer_count++;
    deliver->peers++;
    bool bound = source->address.ss_family == addr.ss_family;
    smtp_session_open(peer->session, (struct sockaddr *)&addr, host->addresses->list[address].len,
                      bound ? (const struct sockaddr *)&source->address : NULL,
                      bound ? sizeof source->address : 0);
    if (deliver->options.race_ms > 0)
        ring_timer_start(deliver->ring, &peer->timer, deliver->options.race_ms);
    return peer;
}

void peer_submit(struct peer *peer, struct delivery *delivery)
{
    struct deliver *deliver = peer->site->deliver;
    struct list *before = peer_list(peer);
    ring_timer_stop(&peer->timer);
    if (peer->messages++ > 0)
        stat_add(&deliver->stats.sessions_reused, 1);
    stat_add(&deliver->stats.attempts, 1);
    list_push_back(&peer->open, &delivery->node);
    delivery->peer = peer;
    delivery->ahead = peer->open_count++;
    peer->open_bulk += delivery->lane->class != QUEUE_TRANSACTIONAL;
    delivery->fenced = false;
    tell_session_used(peer, delivery->lane->path);
    delivery->submitted_us = ring_clock_us(deliver->ring);
    histogram_record(&deliver->stats.session_wait, delivery->submitted_us - delivery->leased_us);
    smtp_session_submit(peer->session, &delivery->tx);
    peer_move(peer, before);
}
