/* The epoll body, for kernels and containers that refuse io_uring. Each descriptor is registered
 * once, edge-triggered for everything; what an edge promised and wasn't used up is remembered in
 * the socket's flags, so pausing, resuming and waiting to send cost no system call. A flight is
 * tried right at the start of the next turn, and only EAGAIN waits for an edge. A receive that
 * didn't fill the buffer has emptied the socket (epoll(7)), unless a hang-up was announced with it.
 *
 * Rejected: level-triggered sockets, whose interest changes with each pause and each full send
 * buffer.
 */
#include "engine/ring/ring_body.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "engine/base/mem.h"

enum {
    EPOLL_EVENTS_MAX = 512,
    EPOLL_READS_MAX = 8, /* per socket and turn: one flood must not starve the others */
    EPOLL_WAIT_MAX_MS = 3600 * 1000,
    EPOLL_IOV_MAX = 1024, /* UIO_MAXIOV */
};
static const uint64_t epoll_poll_mark = 1ULL << 31; /* in the slot's half: it's a ring_poll */

struct ring_epoll {
    struct ring ring;
    int fd;
    int wake_fd;
    size_t buffer_bytes;
    char *buffer; /* one for all: the callee takes everything */
    struct epoll_event events[EPOLL_EVENTS_MAX];
};

static struct ring_epoll *epoll_of(struct ring *ring)
{
    return CONTAINER_OF(ring, struct ring_epoll, ring);
}

static uint64_t epoll_name(const struct ring *ring, uint32_t slot)
{
    return (uint64_t)ring->slots[slot].generation << 32 | slot;
}

/* ---- sockets ---- */

static void epoll_register(struct ring_socket *socket)
{
    struct epoll_event event = {
        .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
        .data.u64 = epoll_name(socket->ring, socket->slot),
    };
    int rc = epoll_ctl(epoll_of(socket->ring)->fd, EPOLL_CTL_ADD, socket->fd, &event);
    if (rc == 0)
        return;
    /* Memory, or fs.epoll.max_user_watches. */
    if (socket->state == SOCKET_CONNECTING) {
        socket->error = (uint16_t)errno;
        ring_work_add(socket, WORK_CONNECTED);
    } else { /* ends as soon as it's used */
        (void)shutdown(socket->fd, SHUT_RDWR);
        socket->flags |= SOCKET_READABLE | SOCKET_HANGUP;
    }
}

static void epoll_connect(struct ring_socket *socket, const struct sockaddr *peer,
                          socklen_t peer_len, const struct sockaddr *source, socklen_t source_len)
{
    int error = 0;
    socket->fd = ring_fd_open(peer, source, source_len, SOCK_NONBLOCK, &error);
    if (socket->fd >= 0 && connect(socket->fd, peer, peer_len) != 0 && errno != EINPROGRESS)
        error = errno;
    if (error != 0) {
        socket->error = (uint16_t)error;
        ring_work_add(socket, WORK_CONNECTED);
        return;
    }
    epoll_register(socket); /* one that is connected already shows as writable */
}

static void epoll_adopt(struct ring_socket *socket, int fd)
{
    socket->fd = fd;
    if (ring_fd_is_tcp(fd))
        socket->flags |= SOCKET_TCP;
    int flags = fcntl(fd, F_GETFL);
    if (flags >= 0)
        (void)fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    epoll_register(socket);
}

static void epoll_receive(struct ring_socket *socket)
{
    if ((socket->flags & SOCKET_RECEIVING) && (socket->flags & (SOCKET_READABLE | SOCKET_HANGUP)))
        ring_work_add(socket, WORK_RECEIVE);
}

/** Reads until the socket is empty, paused, closed, or has had its share of this turn. */
static void epoll_resume(struct ring_socket *socket)
{
    struct ring_epoll *self = epoll_of(socket->ring);
    for (int reads = 0; reads < EPOLL_READS_MAX; reads++) {
        if (socket->state != SOCKET_OPEN || (socket->flags & SOCKET_RECEIVING) == 0)
            return;
        ssize_t got = recv(socket->fd, self->buffer, self->buffer_bytes, MSG_DONTWAIT);
        RING_COUNT(socket->ring, completions);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno == EAGAIN) {
            socket->flags &= (uint16_t) ~(SOCKET_READABLE | SOCKET_HANGUP);
            return;
        }
        if (got <= 0) {
            ring_event_ended(socket, got < 0 ? errno : 0);
            return;
        }
        bool emptied = (size_t)got < self->buffer_bytes && (socket->flags & SOCKET_HANGUP) == 0;
        if (emptied)
            socket->flags &= (uint16_t)~SOCKET_READABLE;
        ring_event_received(socket, slice_of(self->buffer, (size_t)got));
        if (emptied)
            return;
    }
    if (socket->state == SOCKET_OPEN)
        ring_work_add(socket, WORK_RECEIVE);
}

static void epoll_sent(struct ring_socket *socket, int error)
{
    socket->error = (uint16_t)error;
    ring_work_add(socket, WORK_SENT);
}

static void epoll_send_now(struct ring_socket *socket)
{
    if ((socket->flags & SOCKET_SENDING) == 0)
        return;
    for (;;) {
        struct msghdr message = { .msg_iov = socket->iov,
                                  .msg_iovlen =
                                      MIN_OF(socket->iov_count, (uint32_t)EPOLL_IOV_MAX) };
        ssize_t sent = sendmsg(socket->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        RING_COUNT(socket->ring, submits);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && errno == EAGAIN) {
            socket->flags &= (uint16_t)~SOCKET_WRITABLE;
            return;
        }
        if (sent < 0) {
            epoll_sent(socket, errno);
            return;
        }
        if (ring_flight_advance(socket, (size_t)sent)) {
            epoll_sent(socket, 0);
            return;
        }
        RING_COUNT(socket->ring, short_sends);
    }
}

static void epoll_send(struct ring_socket *socket)
{
    socket->flags |= SOCKET_WRITABLE; /* worth a try */
    ring_work_add(socket, WORK_SEND);
}

static void epoll_quickack(struct ring_socket *socket)
{
    ring_fd_quickack(socket->fd);
}

static void epoll_shutdown(struct ring_socket *socket)
{
    (void)shutdown(socket->fd, SHUT_WR);
}

static void epoll_close(struct ring_socket *socket, bool reset)
{
    if (socket->fd < 0)
        return;
    if (reset)
        ring_fd_reset(socket->fd);
    close(
        socket
            ->fd); /* leaves the epoll set; events fetched before find no slot, or a closing one */
    socket->fd = -1;
}

static bool epoll_local(const struct ring_socket *socket, struct sockaddr_storage *out,
                        socklen_t *len)
{
    return ring_fd_local(socket->fd, out, len);
}

static void epoll_socket_event(struct ring_socket *socket, uint32_t events)
{
    if (socket->state == SOCKET_CONNECTING) {
        if ((events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) == 0)
            return;
        int error = 0;
        socklen_t len = sizeof error;
        if (getsockopt(socket->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
            error = errno;
        socket->flags |= SOCKET_WRITABLE;
        if (events & (EPOLLIN | EPOLLRDHUP))
            socket->flags |= SOCKET_READABLE;
        if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
            socket->flags |= SOCKET_HANGUP;
        ring_event_connected(socket, error);
        return;
    }
    if (socket->state != SOCKET_OPEN)
        return;
    bool was_full = (socket->flags & (SOCKET_SENDING | SOCKET_WRITABLE)) == SOCKET_SENDING;
    if (events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) {
        socket->flags |= SOCKET_WRITABLE;
        if (was_full)
            epoll_send_now(socket);
    }
    /* An answer mustn't be seen before the end of the flight that it answers. */
    if (socket->work & WORK_SENT) {
        socket->work &= (uint8_t)~WORK_SENT;
        ring_event_sent(socket, socket->error);
        if (socket->state != SOCKET_OPEN)
            return;
    }
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        socket->flags |= SOCKET_HANGUP;
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
        socket->flags |= SOCKET_READABLE;
        epoll_resume(socket);
    }
}

/* ---- polls: level-triggered, for libraries that count on it ---- */

static void epoll_poll_control(struct ring_poll *poll, int op)
{
    struct epoll_event event = {
        .events = (poll->wanted & POLLIN ? EPOLLIN : 0U) | (poll->wanted & POLLOUT ? EPOLLOUT : 0U),
        .data.u64 = epoll_name(poll->ring, poll->slot) | epoll_poll_mark,
    };
    int rc = epoll_ctl(epoll_of(poll->ring)->fd, op, poll->fd, &event);
    assert(rc == 0 || errno == ENOMEM || errno == ENOSPC);
}

/* Registered only while something is wanted: a hang-up can't be masked and would spin. */
static void epoll_poll_want(struct ring_poll *poll)
{
    if (poll->wanted == poll->armed)
        return;
    if (poll->wanted == 0)
        epoll_poll_control(poll, EPOLL_CTL_DEL);
    else
        epoll_poll_control(poll, poll->armed == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD);
    poll->armed = poll->wanted;
}

static void epoll_poll_open(struct ring_poll *poll)
{
    (void)poll; /* nothing is wanted yet */
}

/* ---- the loop ---- */

static void epoll_drop_wake(struct ring_epoll *self)
{
    uint64_t count;
    (void)!read(self->wake_fd, &count, sizeof count);
}

static void epoll_wait_turn(struct ring *ring, int64_t wait_ms)
{
    struct ring_epoll *self = epoll_of(ring);
    ring_work_start(ring);
    wait_ms = MIN_OF(ring_wait_ms(ring, wait_ms), (int64_t)EPOLL_WAIT_MAX_MS);
    int count = epoll_wait(self->fd, self->events, EPOLL_EVENTS_MAX, (int)wait_ms);
    assert(count >= 0 || errno == EINTR);
    ring_system_clock(ring);
    for (int i = 0; i < count; i++) {
        const struct epoll_event *event = &self->events[i];
        if (event->data.u64 == 0) {
            epoll_drop_wake(self);
            continue;
        }
        bool is_poll = event->data.u64 & epoll_poll_mark;
        uint32_t slot = (uint32_t)(event->data.u64 & ~epoll_poll_mark);
        void *object = ring_slot_object(ring, slot, (uint32_t)(event->data.u64 >> 32));
        if (object == NULL)
            RING_COUNT(ring, stale);
        else if (is_poll)
            ring_event_ready(object, event->events); /* EPOLLIN… equal POLLIN… */
        else
            epoll_socket_event(object, event->events);
    }
}

static void epoll_wake(struct ring *ring)
{
    const uint64_t one = 1;
    (void)!write(epoll_of(ring)->wake_fd, &one, sizeof one);
}

static void epoll_destroy(struct ring *ring)
{
    struct ring_epoll *self = epoll_of(ring);
    if (self->wake_fd >= 0)
        close(self->wake_fd);
    if (self->fd >= 0)
        close(self->fd);
    ring_deinit(ring);
    free(self->buffer);
    free(self);
}

static const struct ring_ops epoll_ops = {
    .name = "epoll",
    .destroy = epoll_destroy,
    .wait = epoll_wait_turn,
    .wake = epoll_wake,
    .clock = ring_system_clock,
    .clock_us = ring_system_clock_us,
    .connect = epoll_connect,
    .adopt = epoll_adopt,
    .receive = epoll_receive,
    .send = epoll_send,
    .flush = epoll_send_now,
    .quickack = epoll_quickack,
    .shutdown = epoll_shutdown,
    .close = epoll_close,
    .local = epoll_local,
    .resume = epoll_resume,
    .poll_open = epoll_poll_open,
    .poll_want = epoll_poll_want,
    .poll_close = epoll_poll_want,
};

bool ring_epoll_create(struct ring **out, const struct ring_options *options, struct err *err)
{
    struct ring_epoll *self = mem_zalloc(sizeof *self);
    ring_init(&self->ring, &epoll_ops, options);
    /* The kernel buffers for all sockets here, so one piece may be larger than one of io_uring's
     * buffers. */
    size_t buffers = options->receive_buffers ? MIN_OF(options->receive_buffers, 16U) : 16;
    self->buffer_bytes =
        buffers * (options->receive_buffer_bytes ? options->receive_buffer_bytes : 2048);
    self->buffer = mem_alloc(self->buffer_bytes);
    self->fd = epoll_create1(EPOLL_CLOEXEC);
    self->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event event = { .events = EPOLLIN, .data.u64 = 0 };
    if (self->fd >= 0 && self->wake_fd >= 0 &&
        epoll_ctl(self->fd, EPOLL_CTL_ADD, self->wake_fd, &event) == 0) {
        *out = &self->ring;
        return true;
    }
    err_system(err, errno, "epoll");
    epoll_destroy(&self->ring);
    return false;
}
