/* The world: events, connections, and the ends that a test plays. A pipe delivers one piece per
 * turn and connection, as separate packets would come, and only while its reader reads: the played
 * end unless it is stalled, the client while its socket receives. */
#include "engine/ring/sim_world.h"

#include <errno.h>
#include <stdlib.h>

#include "engine/base/mem.h"

/* ---- events: a binary heap by time and order ---- */

static bool sim_event_before(const struct sim_event *a, const struct sim_event *b)
{
    return a->at_ms != b->at_ms ? a->at_ms < b->at_ms : a->order < b->order;
}

void sim_event_push(struct ring_sim *sim, struct sim_event event)
{
    if (sim->event_count == sim->event_room) {
        sim->event_room = sim->event_room ? sim->event_room * 2 : 64;
        sim->events = mem_realloc(sim->events, sim->event_room * sizeof sim->events[0]);
    }
    event.order = sim->event_order++;
    size_t at = sim->event_count++;
    while (at > 0 && sim_event_before(&event, &sim->events[(at - 1) / 2])) {
        sim->events[at] = sim->events[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    sim->events[at] = event;
}

int64_t sim_event_next(const struct ring_sim *sim)
{
    return sim->event_count > 0 ? sim->events[0].at_ms : -1;
}

struct sim_event sim_event_pop(struct ring_sim *sim)
{
    assert(sim->event_count > 0);
    struct sim_event first = sim->events[0];
    struct sim_event last = sim->events[--sim->event_count];
    size_t at = 0;
    for (size_t child = 1; child < sim->event_count; child = at * 2 + 1) {
        if (child + 1 < sim->event_count &&
            sim_event_before(&sim->events[child + 1], &sim->events[child]))
            child++;
        if (!sim_event_before(&sim->events[child], &last))
            break;
        sim->events[at] = sim->events[child];
        at = child;
    }
    if (sim->event_count > 0)
        sim->events[at] = last;
    return first;
}

/* ---- the world ---- */

struct ring_sim *ring_sim_create(uint64_t seed)
{
    struct ring_sim *sim = mem_zalloc(sizeof *sim);
    sim->now_ms = 1;
    rng_seed(&sim->rng, seed);
    list_init(&sim->listeners);
    list_init(&sim->ready);
    return sim;
}

void ring_sim_destroy(struct ring_sim **sim)
{
    struct ring_sim *gone = *sim;
    if (gone == NULL)
        return;
    assert(gone->ring == NULL);
    *sim = NULL;
    for (size_t i = 0; i < gone->peer_count; i++) {
        sim_pipe_cut(&gone->peers[i]->to_peer);
        sim_pipe_cut(&gone->peers[i]->to_ring);
        free(gone->peers[i]);
    }
    struct list *node;
    while ((node = list_pop_front(&gone->listeners)) != NULL)
        free(LIST_ENTRY(node, struct sim_listener, node));
    while ((node = list_pop_front(&gone->ready)) != NULL)
        free(LIST_ENTRY(node, struct sim_ready, node));
    free(gone->peers);
    free(gone->events);
    free(gone);
}

void ring_sim_set_link(struct ring_sim *sim, const struct ring_sim_link *link)
{
    sim->link = *link;
}

int64_t ring_sim_now_ms(const struct ring_sim *sim)
{
    return sim->now_ms;
}

struct rng *ring_sim_rng(struct ring_sim *sim)
{
    return &sim->rng;
}

uint64_t ring_sim_digest(const struct ring_sim *sim)
{
    return sim->digest;
}

static void sim_digest_add(struct ring_sim *sim, const struct sim_event *event, struct slice bytes)
{
    const uint64_t facts[] = { sim->digest, (uint64_t)sim->now_ms, (uint64_t)event->kind,
                               event->peer != NULL ? (uint64_t)event->peer->id : 0,
                               slice_hash(bytes, (uint64_t)event->error) };
    sim->digest = slice_hash(slice_of(facts, sizeof facts), 0);
}

void ring_sim_at(struct ring_sim *sim, int64_t delay_ms, void (*run)(struct ring_sim *, void *),
                 void *user)
{
    assert(delay_ms >= 0);
    sim_event_push(
        sim, (struct sim_event){
                 .at_ms = sim->now_ms + delay_ms, .kind = EVENT_CALL, .run = run, .user = user });
}

/* ---- addresses ---- */

void sim_address_copy(struct sockaddr_storage *out, const struct sockaddr *address, socklen_t len)
{
    assert(len <= sizeof *out);
    memset(out, 0, sizeof *out);
    if (address->sa_family == AF_INET) { /* without padding, flow labels and scopes */
        const struct sockaddr_in *in = (const struct sockaddr_in *)address;
        *(struct sockaddr_in *)out = (struct sockaddr_in){ .sin_family = AF_INET,
                                                           .sin_port = in->sin_port,
                                                           .sin_addr = in->sin_addr };
    } else if (address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)address;
        *(struct sockaddr_in6 *)out = (struct sockaddr_in6){ .sin6_family = AF_INET6,
                                                             .sin6_port = in->sin6_port,
                                                             .sin6_addr = in->sin6_addr };
    } else {
        memcpy(out, address, len);
    }
}

struct sim_listener *sim_listener_find(struct ring_sim *sim, const struct sockaddr_storage *address)
{
    list_for_each (node, &sim->listeners) {
        struct sim_listener *listener = LIST_ENTRY(node, struct sim_listener, node);
        if (memcmp(&listener->address, address, sizeof *address) == 0)
            return listener;
    }
    return NULL;
}

static struct sim_listener *sim_listener_at(struct ring_sim *sim, const struct sockaddr *address,
                                            socklen_t len)
{
    struct sockaddr_storage copy;
    sim_address_copy(&copy, address, len);
    struct sim_listener *listener = sim_listener_find(sim, &copy);
    if (listener == NULL) {
        listener = mem_zalloc(sizeof *listener);
        listener->address = copy;
        list_init(&listener->node);
        list_push_back(&sim->listeners, &listener->node);
    }
    return listener;
}

void ring_sim_listen(struct ring_sim *sim, const struct sockaddr *address, socklen_t len,
                     const struct ring_sim_handlers *handlers, void *user)
{
    struct sim_listener *listener = sim_listener_at(sim, address, len);
    listener->handlers = handlers;
    listener->user = user;
}

void ring_sim_fail_connects(struct ring_sim *sim, const struct sockaddr *address, socklen_t len,
                            int error)
{
    struct sim_listener *listener = sim_listener_at(sim, address, len);
    listener->handlers = NULL;
    listener->error = error;
}

static struct sim_ready *sim_ready_find(const struct ring_sim *sim, int fd)
{
    list_for_each (node, &sim->ready) {
        struct sim_ready *ready = LIST_ENTRY(node, struct sim_ready, node);
        if (ready->fd == fd)
            return ready;
    }
    return NULL;
}

unsigned sim_ready_of(const struct ring_sim *sim, int fd)
{
    const struct sim_ready *ready = sim_ready_find(sim, fd);
    return ready != NULL ? ready->events : 0;
}

void ring_sim_set_ready(struct ring_sim *sim, int fd, bool readable, bool writable)
{
    struct sim_ready *ready = sim_ready_find(sim, fd);
    if (ready == NULL) {
        ready = mem_zalloc(sizeof *ready);
        ready->fd = fd;
        list_init(&ready->node);
        list_push_back(&sim->ready, &ready->node);
    }
    ready->events = (readable ? POLLIN : 0U) | (writable ? POLLOUT : 0U);
}

/* ---- pipes ---- */

static bool sim_pipe_readable(const struct ring_sim_peer *peer, const struct sim_pipe *pipe)
{
    if (pipe == &peer->to_peer)
        return !peer->stalled;
    return peer->gone || (peer->socket != NULL && peer->socket->state == SOCKET_OPEN &&
                          (peer->socket->flags & SOCKET_RECEIVING));
}

void sim_pipe_kick(struct ring_sim_peer *peer, struct sim_pipe *pipe)
{
    if (pipe->scheduled || list_empty(&pipe->segments) || !sim_pipe_readable(peer, pipe))
        return;
    const struct sim_segment *first = LIST_ENTRY(pipe->segments.next, struct sim_segment, node);
    pipe->scheduled = true;
    sim_event_push(peer->sim, (struct sim_event){
                                  .at_ms = MAX_OF(first->arrives_ms, peer->sim->now_ms),
                                  .kind = pipe == &peer->to_peer ? EVENT_TO_PEER : EVENT_TO_RING,
                                  .peer = peer,
                              });
}

void sim_pipe_push(struct ring_sim_peer *peer, struct sim_pipe *pipe, enum sim_segment_kind kind,
                   struct slice bytes)
{
    if (pipe->over || (kind == SEGMENT_DATA && bytes.len == 0))
        return;
    pipe->over = kind != SEGMENT_DATA;
    int64_t latency = pipe == &peer->to_peer ? peer->link.to_peer_ms : peer->link.to_ring_ms;
    struct sim_segment *segment = mem_alloc(sizeof *segment + bytes.len);
    *segment =
        (struct sim_segment){ .kind = kind,
                              .len = bytes.len,
                              .arrives_ms = MAX_OF(peer->sim->now_ms + latency, pipe->last_ms) };
    if (bytes.len > 0)
        memcpy(segment->bytes, bytes.ptr, bytes.len);
    list_init(&segment->node);
    list_push_back(&pipe->segments, &segment->node);
    pipe->last_ms = segment->arrives_ms;
    pipe->bytes += bytes.len;
    if (kind == SEGMENT_RST && pipe == &peer->to_ring)
        sim_event_push(
            peer->sim,
            (struct sim_event){ .at_ms = segment->arrives_ms, .kind = EVENT_BREAK, .peer = peer });
    sim_pipe_kick(peer, pipe);
}

void sim_pipe_cut(struct sim_pipe *pipe)
{
    struct list *node;
    while ((node = list_pop_front(&pipe->segments)) != NULL)
        free(LIST_ENTRY(node, struct sim_segment, node));
    pipe->bytes = 0;
    pipe->over = true;
}

/** The next piece of a data segment, as the link cuts it. */
static struct slice sim_segment_piece(struct ring_sim_peer *peer, struct sim_segment *segment)
{
    const struct ring_sim_link *link = &peer->link;
    size_t most = segment->len - segment->taken;
    if (link->piece_bytes > 0)
        most = MIN_OF(most, link->piece_bytes);
    if (link->random_pieces && most > 1)
        most = 1 + rng_below(&peer->sim->rng, most);
    struct slice piece = slice_of(segment->bytes + segment->taken, most);
    segment->taken += most;
    return piece;
}

static void sim_deliver_to_peer(struct ring_sim_peer *peer, enum sim_segment_kind kind,
                                struct slice bytes)
{
    if (peer->closed) { /* nobody is there any more */
        if (kind == SEGMENT_DATA) {
            peer->to_ring.over = false; /* even behind a FIN */
            sim_pipe_push(peer, &peer->to_ring, SEGMENT_RST, (struct slice){ 0 });
        }
        return;
    }
    if (kind == SEGMENT_DATA) {
        if (peer->handlers->received != NULL)
            peer->handlers->received(peer, bytes);
        return;
    }
    if (kind == SEGMENT_RST)
        sim_pipe_cut(&peer->to_ring);
    if (peer->ended)
        return;
    peer->ended = true;
    if (peer->handlers->ended != NULL)
        peer->handlers->ended(peer, kind == SEGMENT_RST ? ECONNRESET : 0);
}

static void sim_deliver_to_ring(struct ring_sim_peer *peer, enum sim_segment_kind kind,
                                struct slice bytes)
{
    if (peer->gone) {
        if (kind == SEGMENT_DATA && !peer->ended) {
            peer->to_peer.over = false;
            sim_pipe_push(peer, &peer->to_peer, SEGMENT_RST, (struct slice){ 0 });
        }
        return;
    }
    RING_COUNT(peer->sim->ring, completions);
    if (kind == SEGMENT_DATA)
        ring_event_received(peer->socket, bytes);
    else
        ring_event_ended(peer->socket, kind == SEGMENT_RST ? ECONNRESET : 0);
}

static void sim_pipe_deliver(struct ring_sim_peer *peer, struct sim_pipe *pipe,
                             const struct sim_event *event)
{
    pipe->scheduled = false;
    if (list_empty(&pipe->segments) || !sim_pipe_readable(peer, pipe))
        return; /* cut, paused or stalled since */
    struct sim_segment *first = LIST_ENTRY(pipe->segments.next, struct sim_segment, node);
    struct slice piece = sim_segment_piece(peer, first);
    pipe->bytes -= piece.len;
    bool whole = first->taken == first->len;
    if (whole)
        list_remove(&first->node);
    else /* a callback may cut the pipe: what it reads must outlive that */
        piece.ptr = memcpy(mem_alloc(piece.len), piece.ptr, piece.len);
    enum sim_segment_kind kind = first->kind;
    sim_digest_add(peer->sim, event, piece);
    sim_pipe_kick(peer, pipe);
    if (pipe == &peer->to_peer)
        sim_deliver_to_peer(peer, kind, piece);
    else
        sim_deliver_to_ring(peer, kind, piece);
    free(whole ? (void *)first : (void *)(uintptr_t)piece.ptr);
}

/* ---- what happens ---- */

void sim_flight_send(struct ring_sim_peer *peer)
{
    struct ring_socket *socket = peer->socket;
    if (socket == NULL || socket->state != SOCKET_OPEN || (socket->flags & SOCKET_SENDING) == 0 ||
        (socket->work & WORK_SENT))
        return;
    socket->error = peer->broken ? ECONNRESET : peer->to_peer.over ? EPIPE : 0;
    while (socket->error == 0 && socket->iov_count > 0) {
        size_t room = SIZE_MAX;
        if (peer->stalled)
            room = peer->link.window_bytes - MIN_OF(peer->link.window_bytes, peer->to_peer.bytes);
        size_t bytes = MIN_OF(room, socket->iov->iov_len);
        if (bytes == 0 && socket->iov->iov_len > 0) {
            RING_COUNT(socket->ring, short_sends);
            return; /* goes on when the peer reads again */
        }
        sim_pipe_push(peer, &peer->to_peer, SEGMENT_DATA, slice_of(socket->iov->iov_base, bytes));
        ring_flight_advance(socket, bytes);
    }
    RING_COUNT(socket->ring, submits);
    ring_work_add(socket, WORK_SENT);
}

/** A SYN arrives: the answer, if any, goes back. */
static void sim_syn(struct ring_sim_peer *peer)
{
    struct sim_listener *listener = sim_listener_find(peer->sim, &peer->address);
    struct sim_event answer = { .at_ms = peer->sim->now_ms + peer->link.to_ring_ms,
                                .kind = EVENT_CONNECTED,
                                .peer = peer };
    if (listener == NULL) {
        answer.error = ECONNREFUSED;
    } else if (listener->handlers == NULL) {
        answer.error = listener->error;
        if (answer.error == 0)
            return;
    }
    if (answer.error != 0)
        peer->closed = true;
    sim_event_push(peer->sim, answer);
    if (answer.error != 0 || peer->gone)
        return;
    peer->handlers = listener->handlers;
    peer->user = listener->user;
    peer->closed = false;
    if (peer->handlers->accepted != NULL)
        peer->handlers->accepted(peer);
}

void sim_event_run(struct ring_sim *sim, const struct sim_event *event)
{
    struct ring_sim_peer *peer = event->peer;
    if (event->kind != EVENT_TO_PEER && event->kind != EVENT_TO_RING)
        sim_digest_add(sim, event, (struct slice){ 0 });
    switch (event->kind) {
    case EVENT_CALL:
        event->run(sim, event->user);
        break;
    case EVENT_SYN:
        sim_syn(peer);
        break;
    case EVENT_CONNECTED:
        if (peer->socket != NULL) {
            ring_event_connected(peer->socket, event->error);
            sim_pipe_kick(peer, &peer->to_ring);
        }
        break;
    case EVENT_TO_PEER:
        sim_pipe_deliver(peer, &peer->to_peer, event);
        break;
    case EVENT_TO_RING:
        sim_pipe_deliver(peer, &peer->to_ring, event);
        break;
    case EVENT_BREAK:
        peer->broken = true;
        sim_flight_send(peer);
        break;
    }
}

/* ---- the played end ---- */

struct ring_sim_peer *sim_peer_new(struct ring_sim *sim)
{
    if (sim->peer_count == sim->peer_room) {
        sim->peer_room = sim->peer_room ? sim->peer_room * 2 : 16;
        sim->peers = mem_realloc(sim->peers, sim->peer_room * sizeof sim->peers[0]);
    }
    struct ring_sim_peer *peer = mem_zalloc(sizeof *peer);
    peer->sim = sim;
    peer->link = sim->link;
    peer->closed = true; /* until accepted */
    peer->id = (int)sim->peer_count;
    list_init(&peer->to_peer.segments);
    list_init(&peer->to_ring.segments);
    sim->peers[sim->peer_count++] = peer;
    return peer;
}

int ring_sim_pair(struct ring_sim *sim, const struct ring_sim_handlers *handlers, void *user,
                  struct ring_sim_peer **out)
{
    struct ring_sim_peer *peer = sim_peer_new(sim);
    peer->handlers = handlers;
    peer->user = user;
    peer->closed = false;
    if (out != NULL)
        *out = peer;
    return peer->id;
}

void *ring_sim_peer_user(const struct ring_sim_peer *peer)
{
    return peer->user;
}

void ring_sim_peer_set_user(struct ring_sim_peer *peer, void *user)
{
    peer->user = user;
}

struct ring_sim *ring_sim_peer_sim(const struct ring_sim_peer *peer)
{
    return peer->sim;
}

void ring_sim_peer_link(struct ring_sim_peer *peer, const struct ring_sim_link *link)
{
    peer->link = *link;
}

const struct sockaddr_storage *ring_sim_peer_address(const struct ring_sim_peer *peer)
{
    return &peer->address;
}

const struct sockaddr_storage *ring_sim_peer_source(const struct ring_sim_peer *peer)
{
    return &peer->source;
}

void ring_sim_peer_send(struct ring_sim_peer *peer, struct slice bytes)
{
    sim_pipe_push(peer, &peer->to_ring, SEGMENT_DATA, bytes);
}

void ring_sim_peer_shutdown(struct ring_sim_peer *peer)
{
    sim_pipe_push(peer, &peer->to_ring, SEGMENT_FIN, (struct slice){ 0 });
}

void ring_sim_peer_close(struct ring_sim_peer *peer, bool reset)
{
    if (peer->closed)
        return;
    peer->closed = true;
    if (reset)
        peer->to_ring.over = false; /* even behind a FIN */
    sim_pipe_push(peer, &peer->to_ring, reset ? SEGMENT_RST : SEGMENT_FIN, (struct slice){ 0 });
    ring_sim_peer_stall(peer, false);
}

void ring_sim_peer_stall(struct ring_sim_peer *peer, bool stalled)
{
    peer->stalled = stalled;
    if (stalled)
        return;
    sim_pipe_kick(peer, &peer->to_peer);
    if (peer->socket != NULL && peer->socket->state == SOCKET_OPEN &&
        (peer->socket->flags & SOCKET_SENDING))
        ring_work_add(peer->socket, WORK_SEND);
}
