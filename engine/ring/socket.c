/* Sockets and polls as their owners see them: the states, and which callback may follow which. The
 * bodies below only move bytes; what they report is dropped here once the owner has closed. */
#include "engine/ring/ring_body.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <unistd.h>

/* ---- what the owner calls ---- */

void ring_socket_init(struct ring_socket *socket, struct ring *ring,
                      const struct ring_socket_events *events)
{
    *socket = (struct ring_socket){ .ring = ring, .events = events, .fd = -1 };
    list_init(&socket->node);
}

void ring_socket_connect(struct ring_socket *socket, const struct sockaddr *peer,
                         socklen_t peer_len, const struct sockaddr *source, socklen_t source_len)
{
    assert(socket->state == SOCKET_IDLE && peer_len <= sizeof(struct sockaddr_storage));
    socket->state = SOCKET_CONNECTING;
    if (peer->sa_family == AF_INET || peer->sa_family == AF_INET6)
        socket->flags |= SOCKET_TCP;
    socket->slot = ring_slot_take(socket->ring, socket);
    socket->ring->ops->connect(socket, peer, peer_len, source, source_len);
}

void ring_socket_adopt(struct ring_socket *socket, int fd)
{
    assert(socket->state == SOCKET_IDLE && fd >= 0);
    socket->state = SOCKET_OPEN;
    socket->slot = ring_slot_take(socket->ring, socket);
    socket->ring->ops->adopt(socket, fd);
}

void ring_socket_receive(struct ring_socket *socket)
{
    assert(socket->state != SOCKET_IDLE);
    if (socket->flags & (SOCKET_RECEIVING | SOCKET_ENDED))
        return;
    socket->flags |= SOCKET_RECEIVING;
    if (socket->state == SOCKET_OPEN)
        socket->ring->ops->receive(socket);
}

void ring_socket_pause(struct ring_socket *socket)
{
    if ((socket->flags & SOCKET_RECEIVING) == 0)
        return;
    socket->flags &= (uint16_t)~SOCKET_RECEIVING;
    if (socket->state == SOCKET_OPEN)
        socket->ring->ops->receive(socket);
}

void ring_socket_timely(struct ring_socket *socket)
{
    socket->flags |= SOCKET_TIMELY;
}

void ring_socket_send(struct ring_socket *socket, struct iovec *iov, unsigned count)
{
    assert(socket->state == SOCKET_OPEN && (socket->flags & SOCKET_SENDING) == 0 && count > 0);
    if (UNLIKELY(!socket->ring->in_turn)) /* nobody has read the clock, which a stall is told by */
        socket->ring->ops->clock(socket->ring);
    socket->iov = iov;
    socket->iov_count = count;
    socket->flags |= SOCKET_SENDING;
    socket->ring->ops->send(socket);
}

bool ring_socket_sending(const struct ring_socket *socket)
{
    return socket->flags & SOCKET_SENDING;
}

void ring_socket_quickack(struct ring_socket *socket)
{
    if (socket->state == SOCKET_OPEN && (socket->flags & SOCKET_TCP))
        ring_work_add(socket, WORK_ACK);
}

void ring_socket_shutdown(struct ring_socket *socket)
{
    if ((socket->flags & SOCKET_SENDING) || socket->state == SOCKET_CONNECTING)
        socket->flags |= SOCKET_FIN;
    else if (socket->state == SOCKET_OPEN)
        socket->ring->ops->shutdown(socket);
}

void ring_socket_close(struct ring_socket *socket, bool reset)
{
    if (socket->state == SOCKET_CLOSING)
        return;
    bool opened = socket->state != SOCKET_IDLE;
    socket->state = SOCKET_CLOSING;
    socket->work = 0; /* it may stay on the list */
    if (opened)
        socket->ring->ops->close(socket, reset);
    ring_event_socket_idle(socket);
}

bool ring_socket_local(const struct ring_socket *socket, struct sockaddr_storage *out,
                       socklen_t *len)
{
    return socket->state == SOCKET_OPEN && socket->ring->ops->local(socket, out, len);
}

/* ---- what the bodies report ---- */

void ring_event_connected(struct ring_socket *socket, int error)
{
    if (socket->state != SOCKET_CONNECTING)
        return;
    socket->state = error ? SOCKET_FAILED : SOCKET_OPEN;
    if (error == 0 && (socket->flags & SOCKET_RECEIVING))
        socket->ring->ops->receive(socket);
    if (error == 0 && (socket->flags & SOCKET_FIN))
        socket->ring->ops->shutdown(socket);
    socket->events->connected(socket, error);
}

void ring_event_received(struct ring_socket *socket, struct slice bytes)
{
    if (socket->state == SOCKET_OPEN && (socket->flags & SOCKET_ENDED) == 0)
        socket->events->received(socket, bytes);
}

void ring_event_ended(struct ring_socket *socket, int error)
{
    if (socket->state != SOCKET_OPEN || (socket->flags & SOCKET_ENDED))
        return;
    socket->flags |= SOCKET_ENDED;
    socket->flags &= (uint16_t)~SOCKET_RECEIVING;
    socket->events->ended(socket, error);
}

void ring_event_sent(struct ring_socket *socket, int error)
{
    if (socket->state != SOCKET_OPEN)
        return;
    socket->flags &= (uint16_t)~SOCKET_SENDING;
    if (socket->flags & SOCKET_FIN) {
        socket->flags &= (uint16_t)~SOCKET_FIN;
        socket->ring->ops->shutdown(socket);
    }
    socket->events->sent(socket, error);
}

void ring_event_socket_idle(struct ring_socket *socket)
{
    if (socket->state == SOCKET_CLOSING && socket->pending == 0)
        ring_work_add(socket, WORK_CLOSED);
}

bool ring_flight_advance(struct ring_socket *socket, size_t bytes)
{
    while (socket->iov_count > 0 && bytes >= socket->iov->iov_len) {
        bytes -= socket->iov->iov_len;
        socket->iov++;
        socket->iov_count--;
    }
    if (bytes > 0) {
        assert(socket->iov_count > 0);
        socket->iov->iov_base = (char *)socket->iov->iov_base + bytes;
        socket->iov->iov_len -= bytes;
    }
    return socket->iov_count == 0;
}

/* ---- work that waits for the turn ---- */

void ring_work_add(struct ring_socket *socket, enum socket_work work)
{
    socket->work |= (uint8_t)work;
    if (!list_linked(&socket->node))
        list_push_back(&socket->ring->working, &socket->node);
}

void ring_work_start(struct ring *ring)
{
    bool stalled = !list_empty(&ring->working) && ring_stalled(ring);
    list_for_each_safe (node, &ring->working) {
        struct ring_socket *socket = LIST_ENTRY(node, struct ring_socket, node);
        unsigned work = socket->work;
        socket->work &= (uint8_t) ~(WORK_SEND | WORK_ACK);
        if ((work & WORK_ACK) && (socket->flags & SOCKET_SENDING) == 0)
            ring->ops->quickack(socket);
        if ((work & WORK_SEND) && stalled && (socket->flags & SOCKET_SENDING) &&
            (socket->flags & SOCKET_TIMELY)) {
            RING_COUNT(ring, held_back);
            socket->error = EBADF;
            socket->work |= WORK_SENT;
        } else if (work & WORK_SEND) {
            ring->ops->flush(socket);
        }
        if (socket->work == 0)
            list_remove(node);
    }
}

static void ring_socket_finish(struct ring_socket *socket)
{
    if (socket->slot != 0)
        ring_slot_release(socket->ring, socket->slot);
    ring_socket_init(socket, socket->ring, socket->events);
    if (socket->events->closed != NULL)
        socket->events->closed(socket);
}

/** The owner may close within any callback, which clears `work`, but the memory stays until
 * `closed`. */
static void ring_work_one(struct ring_socket *socket)
{
    unsigned work = socket->work;
    socket->work &= WORK_SEND | WORK_ACK;
    if (work & WORK_CONNECTED)
        ring_event_connected(socket, socket->error);
    if (work & WORK_SENT)
        ring_event_sent(socket, socket->error);
    if ((work & WORK_RECEIVE) && socket->state == SOCKET_OPEN)
        socket->ring->ops->resume(socket);
    if (work & WORK_CLOSED)
        ring_socket_finish(socket);
    else if (socket->work != 0)
        ring_work_add(socket, socket->work);
}

void ring_work_run(struct ring *ring)
{
    if (list_empty(&ring->working))
        return;
    struct list now;
    now = ring->working;
    now.next->prev = now.prev->next = &now;
    list_init(&ring->working);
    struct list *node;
    while ((node = list_pop_front(&now)) != NULL)
        ring_work_one(LIST_ENTRY(node, struct ring_socket, node));
}

/* ---- polls ---- */

void ring_poll_open(struct ring_poll *poll, struct ring *ring, int fd,
                    void (*ready)(struct ring_poll *, bool readable, bool writable),
                    void (*closed)(struct ring_poll *))
{
    *poll = (struct ring_poll){
        .ring = ring, .fd = fd, .ready = ready, .closed = closed, .state = POLL_OPEN
    };
    list_init(&poll->node);
    poll->slot = ring_slot_take(ring, poll);
    ring->ops->poll_open(poll);
}

void ring_poll_want(struct ring_poll *poll, bool readable, bool writable)
{
    assert(poll->state == POLL_OPEN);
    uint8_t wanted = (uint8_t)((readable ? POLLIN : 0) | (writable ? POLLOUT : 0));
    if (poll->wanted == wanted)
        return;
    poll->wanted = wanted;
    poll->ring->ops->poll_want(poll);
}

void ring_poll_close(struct ring_poll *poll)
{
    if (poll->state != POLL_OPEN)
        return;
    poll->state = POLL_CLOSING;
    poll->wanted = 0;
    poll->ring->ops->poll_close(poll);
    ring_event_poll_idle(poll);
}

void ring_event_poll_idle(struct ring_poll *poll)
{
    if (poll->state == POLL_CLOSING && poll->pending == 0 && !list_linked(&poll->node))
        list_push_back(&poll->ring->closing, &poll->node);
}

void ring_event_ready(struct ring_poll *poll, unsigned revents)
{
    if (poll->state != POLL_OPEN)
        return;
    if (revents & (POLLERR | POLLHUP | POLLNVAL)) /* let whoever looks find the error */
        revents |= POLLIN | POLLOUT;
    revents &= poll->wanted;
    if (revents != 0)
        poll->ready(poll, revents & POLLIN, revents & POLLOUT);
}

void ring_polls_run(struct ring *ring)
{
    struct list *node;
    while ((node = list_pop_front(&ring->closing)) != NULL) {
        struct ring_poll *poll = LIST_ENTRY(node, struct ring_poll, node);
        poll->state = POLL_IDLE;
        ring_slot_release(ring, poll->slot);
        if (poll->closed != NULL)
            poll->closed(poll);
    }
}

/* ---- descriptors ---- */

int ring_fd_open(const struct sockaddr *peer, const struct sockaddr *source, socklen_t source_len,
                 int type_flags, int *error)
{
    static const int on = 1;
    int fd = socket(peer->sa_family, SOCK_STREAM | SOCK_CLOEXEC | type_flags, 0);
    if (fd < 0) {
        *error = errno;
        return -1;
    }
    bool inet = peer->sa_family == AF_INET || peer->sa_family == AF_INET6;
    bool fine = !inet || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0;
    if (fine && source != NULL) {
        if (inet) /* a port is chosen with the peer known: 28,000 per peer, not in all; best effort
                   */
            (void)setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
        fine = bind(fd, source, source_len) == 0;
    }
    if (fine)
        return fd;
    *error = errno;
    close(fd);
    return -1;
}

bool ring_fd_local(int fd, struct sockaddr_storage *out, socklen_t *len)
{
    *len = sizeof *out;
    return fd >= 0 && getsockname(fd, (struct sockaddr *)out, len) == 0;
}

void ring_fd_quickack(int fd)
{
    static const int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof on);
}

void ring_fd_reset(int fd)
{
    static const struct linger drop = { .l_onoff = 1, .l_linger = 0 };
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &drop, sizeof drop);
}

bool ring_fd_is_tcp(int fd)
{
    int protocol = 0;
    socklen_t len = sizeof protocol;
    return getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &len) == 0 && protocol == IPPROTO_TCP;
}
