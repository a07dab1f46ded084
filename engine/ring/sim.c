/* The simulated body: a socket's descriptor is the number of its connection in the world. Waiting
 * is jumping the clock to the next event or deadline; a whole hour of a protocol's time-outs takes
 * microseconds, and the same seed gives the same run. */
#include "engine/ring/sim.h"

#include <errno.h>
#include <stdlib.h>

#include "engine/base/mem.h"
#include "engine/ring/sim_world.h"

/* 2025-01-01, so that what depends on the date is the same in each run. */
static const int64_t sim_epoch_wall_ms = 1735689600000;

struct ring_sim_body {
    struct ring ring;
    struct ring_sim *sim;
    struct list polls;
    struct sim_event *due; /* taken off the queue for this turn */
    size_t due_room;
};

static struct ring_sim_body *sim_of(const struct ring *ring)
{
    return CONTAINER_OF(ring, struct ring_sim_body, ring);
}

static struct ring_sim_peer *sim_peer_of(const struct ring_socket *socket)
{
    return sim_of(socket->ring)->sim->peers[socket->fd];
}

/* ---- sockets ---- */

static void sim_connect(struct ring_socket *socket, const struct sockaddr *address, socklen_t len,
                        const struct sockaddr *source, socklen_t source_len)
{
    struct ring_sim *sim = sim_of(socket->ring)->sim;
    struct ring_sim_peer *peer = sim_peer_new(sim);
    sim_address_copy(&peer->address, address, len);
    if (source != NULL)
        sim_address_copy(&peer->source, source, source_len);
    peer->socket = socket;
    socket->fd = peer->id;
    sim_event_push(sim, (struct sim_event){ .at_ms = sim->now_ms + peer->link.to_peer_ms,
                                            .kind = EVENT_SYN,
                                            .peer = peer });
}

static void sim_adopt(struct ring_socket *socket, int fd)
{
    struct ring_sim *sim = sim_of(socket->ring)->sim;
    assert((size_t)fd < sim->peer_count && sim->peers[fd]->socket == NULL && !sim->peers[fd]->gone);
    sim->peers[fd]->socket = socket;
    socket->fd = fd;
}

static void sim_receive(struct ring_socket *socket)
{
    struct ring_sim_peer *peer = sim_peer_of(socket);
    sim_pipe_kick(peer, &peer->to_ring);
}

static void sim_send(struct ring_socket *socket)
{
    ring_work_add(socket, WORK_SEND);
}

static void sim_quickack(struct ring_socket *socket)
{
    (void)socket;
}

static void sim_shutdown(struct ring_socket *socket)
{
    struct ring_sim_peer *peer = sim_peer_of(socket);
    sim_pipe_push(peer, &peer->to_peer, SEGMENT_FIN, (struct slice){ 0 });
}

static void sim_close(struct ring_socket *socket, bool reset)
{
    struct ring_sim_peer *peer = sim_peer_of(socket);
    peer->socket = NULL;
    peer->gone = true;
    if (reset)
        peer->to_peer.over = false; /* even behind a FIN */
    sim_pipe_push(peer, &peer->to_peer, reset ? SEGMENT_RST : SEGMENT_FIN, (struct slice){ 0 });
    sim_pipe_kick(peer, &peer->to_ring); /* what arrives for it gets a RST */
    socket->fd = -1;
}

static bool sim_local(const struct ring_socket *socket, struct sockaddr_storage *out,
                      socklen_t *len)
{
    const struct ring_sim_peer *peer = sim_peer_of(socket);
    sa_family_t family = peer->address.ss_family;
    in_port_t port = htons((uint16_t)(40000 + peer->id % 20000));
    *out = peer->source;
    out->ss_family = family;
    if (family == AF_INET) {
        struct sockaddr_in *in = (struct sockaddr_in *)out;
        if (peer->source.ss_family != AF_INET)
            in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        if (in->sin_port == 0)
            in->sin_port = port;
        *len = sizeof *in;
        return true;
    }
    if (family == AF_INET6) {
        struct sockaddr_in6 *in = (struct sockaddr_in6 *)out;
        if (peer->source.ss_family != AF_INET6)
            in->sin6_addr = in6addr_loopback;
        if (in->sin6_port == 0)
            in->sin6_port = port;
        *len = sizeof *in;
        return true;
    }
    return false;
}

/* ---- polls ---- */

static void sim_poll_open(struct ring_poll *poll)
{
    list_push_back(&sim_of(poll->ring)->polls, &poll->node);
}

static void sim_poll_want(struct ring_poll *poll)
{
    (void)poll; /* looked at each turn */
}

static void sim_poll_close(struct ring_poll *poll)
{
    list_remove(&poll->node);
}

static bool sim_poll_holds(const struct ring_sim_body *self, const struct ring_poll *poll)
{
    return (poll->wanted & sim_ready_of(self->sim, poll->fd)) != 0;
}

static bool sim_polls_hold(const struct ring_sim_body *self)
{
    list_for_each (node, &self->polls) {
        if (sim_poll_holds(self, LIST_ENTRY(node, struct ring_poll, node)))
            return true;
    }
    return false;
}

/** Each poll moves aside before its callback, which may close this one or any other. */
static void sim_polls_fire(struct ring_sim_body *self)
{
    struct list seen;
    list_init(&seen);
    struct list *node;
    while ((node = list_pop_front(&self->polls)) != NULL) {
        struct ring_poll *poll = LIST_ENTRY(node, struct ring_poll, node);
        list_push_back(&seen, node);
        if (sim_poll_holds(self, poll))
            ring_event_ready(poll, sim_ready_of(self->sim, poll->fd));
    }
    while ((node = list_pop_front(&seen)) != NULL)
        list_push_back(&self->polls, node);
}

/* ---- time ---- */

static void sim_clock(struct ring *ring)
{
    ring->now_ms = sim_of(ring)->sim->now_ms;
    ring->wall_ms = sim_epoch_wall_ms + ring->now_ms;
}

static int64_t sim_clock_us(const struct ring *ring)
{
    return sim_of(ring)->sim->now_ms * 1000;
}

static bool sim_idle(struct ring *ring)
{
    struct ring_sim_body *self = sim_of(ring);
    return !ring_busy(ring) && self->sim->event_count == 0 && wheel_next(&ring->wheel) < 0 &&
           !sim_polls_hold(self);
}

static bool sim_something_due(struct ring_sim_body *self)
{
    int64_t next = sim_event_next(self->sim);
    return (next >= 0 && next <= self->sim->now_ms) || !list_empty(&self->ring.wheel.expired) ||
           ring_busy(&self->ring) || sim_polls_hold(self);
}

/** Jumps to the next thing that happens, at most to `limit`. The wheel may only say "not before",
 * so in steps. */
static void sim_jump(struct ring_sim_body *self, int64_t limit)
{
    struct ring_sim *sim = self->sim;
    wheel_advance(&self->ring.wheel, sim->now_ms);
    while (!sim_something_due(self)) {
        int64_t event = sim_event_next(sim);
        int64_t timer = wheel_next(&self->ring.wheel);
        int64_t next = event < 0 || (timer >= 0 && timer < event) ? timer : event;
        if (next < 0 || next > limit) {
            if (limit < INT64_MAX)
                sim->now_ms = limit;
            return;
        }
        sim->now_ms = next;
        wheel_advance(&self->ring.wheel, next);
    }
}

static void sim_flush(struct ring_socket *socket)
{
    sim_flight_send(sim_peer_of(socket));
}

static void sim_wait(struct ring *ring, int64_t wait_ms)
{
    struct ring_sim_body *self = sim_of(ring);
    struct ring_sim *sim = self->sim;
    ring_work_start(ring);
    sim_jump(self, wait_ms < 0 ? INT64_MAX : sim->now_ms + wait_ms);
    sim_clock(ring);
    /* What these cause at once is for the next turn, as on a real ring. */
    size_t count = 0;
    for (int64_t next; (next = sim_event_next(sim)) >= 0 && next <= sim->now_ms; count++) {
        if (count == self->due_room) {
            self->due_room = self->due_room ? self->due_room * 2 : 64;
            self->due = mem_realloc(self->due, self->due_room * sizeof self->due[0]);
        }
        self->due[count] = sim_event_pop(sim);
    }
    for (size_t i = 0; i < count; i++)
        sim_event_run(sim, &self->due[i]);
    sim_polls_fire(self);
}

static void sim_wake(struct ring *ring)
{
    (void)ring; /* the mailbox is looked at each turn */
}

bool ring_sim_run_until(struct ring *ring, bool (*done)(void *user), void *user)
{
    assert(ring->ops->idle != NULL);
    for (;;) {
        if (done != NULL && done(user))
            return true;
        if (ring->ops->idle(ring))
            return false;
        ring_turn(ring, -1);
    }
}

/* ---- setting up ---- */

static void sim_destroy(struct ring *ring)
{
    struct ring_sim_body *self = sim_of(ring);
    self->sim->ring = NULL;
    ring_deinit(ring);
    free(self->due);
    free(self);
}

static const struct ring_ops sim_ops = {
    .name = "simulation",
    .destroy = sim_destroy,
    .wait = sim_wait,
    .wake = sim_wake,
    .clock = sim_clock,
    .clock_us = sim_clock_us,
    .idle = sim_idle,
    .connect = sim_connect,
    .adopt = sim_adopt,
    .receive = sim_receive,
    .send = sim_send,
    .flush = sim_flush,
    .quickack = sim_quickack,
    .shutdown = sim_shutdown,
    .close = sim_close,
    .local = sim_local,
    .poll_open = sim_poll_open,
    .poll_want = sim_poll_want,
    .poll_close = sim_poll_close,
};

bool ring_sim_body_create(struct ring **out, const struct ring_options *options, struct err *err)
{
    (void)err;
    assert(options->sim != NULL && options->sim->ring == NULL);
    struct ring_sim_body *self = mem_zalloc(sizeof *self);
    self->sim = options->sim;
    list_init(&self->polls);
    struct ring_options seeded = *options;
    if (seeded.seed == 0)
        seeded.seed = rng_next(&options->sim->rng);
    ring_init(&self->ring, &sim_ops, &seeded);
    self->ring.grain_ms = 0; /* virtual time is in whole milliseconds */
    options->sim->ring = &self->ring;
    *out = &self->ring;
    return true;
}
