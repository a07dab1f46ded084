/* The epoll body, for kernels and containers that refuse io_uring: level-triggered, one read buffer
 * per worker. */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/sink/worker.h"
#include "engine/base/mem.h"

#define EVENTS_MAX 512
#define READ_BYTES 65536

struct epoll {
    int fd;
    struct list ended; /* sessions to be freed when the turn refers to them no more */
    struct epoll_event events[EVENTS_MAX];
    char bytes[READ_BYTES];
};

/* What an event belongs to: a session, or (low bit set) a listener; NULL is the wake-up. */
static void *tag_listener(struct listener *listener)
{
    return (char *)listener + 1;
}

static bool watch(int epoll_fd, int operation, int fd, uint32_t events, void *owner)
{
    struct epoll_event event = { .events = events, .data.ptr = owner };
    return epoll_ctl(epoll_fd, operation, fd, &event) == 0;
}

static bool epoll_open(struct worker *worker, struct err *err)
{
    struct epoll *epoll = mem_alloc(sizeof *epoll);
    epoll->fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll->fd < 0) {
        free(epoll);
        return err_system(err, errno, "cannot set up epoll");
    }
    list_init(&epoll->ended);
    bool watched = watch(epoll->fd, EPOLL_CTL_ADD, worker->wake_fd, EPOLLIN, NULL);
    for (size_t i = 0; i < worker->listeners_count; i++)
        watched &= watch(epoll->fd, EPOLL_CTL_ADD, worker->listeners[i].fd, EPOLLIN,
                         tag_listener(&worker->listeners[i]));
    if (!watched) {
        err_system(err, errno, "cannot watch a listener");
        close(epoll->fd);
        free(epoll);
        return false;
    }
    worker->io = epoll;
    return true;
}

static void epoll_start(struct worker *worker, struct session *session)
{
    struct epoll *epoll = worker->io;
    if (!watch(epoll->fd, EPOLL_CTL_ADD, session->fd, EPOLLIN, session))
        session_drop(session, true);
}

static void epoll_send(struct worker *worker, struct session *session)
{
    struct epoll *epoll = worker->io;
    struct slice rest = slice_skip(buf_slice(&session->sending), session->sent);
    ssize_t n = send(session->fd, rest.ptr, rest.len, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n >= 0)
        session_sent(session, (size_t)n);
    else if (errno == EAGAIN)
        watch(epoll->fd, EPOLL_CTL_MOD, session->fd, EPOLLIN | EPOLLOUT, session);
    else
        session_drop(session, false);
}

static void epoll_end(struct worker *worker, struct session *session, bool reset)
{
    struct epoll *epoll = worker->io;
    if (reset) {
        struct linger at_once = { .l_onoff = 1 };
        setsockopt(session->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    }
    close(session->fd);
    session->fd = -1;
    list_remove(&session->all);
    list_push_back(&epoll->ended, &session->all);
}

static void accept_all(struct worker *worker, struct listener *listener)
{
    for (;;) {
        int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            session_accept(worker, listener, fd);
            continue;
        }
        if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
            counter_add(&worker->counters.accept_failures, 1);
        return;
    }
}

static void receive(struct epoll *epoll, struct session *session)
{
    ssize_t n = recv(session->fd, epoll->bytes, READ_BYTES, MSG_DONTWAIT);
    if (n > 0)
        session_receive(session, slice_of(epoll->bytes, (size_t)n));
    else if (n == 0 || (errno != EAGAIN && errno != EINTR))
        session_drop(session, false);
}

static void free_ended(struct epoll *epoll)
{
    struct list *node;
    while ((node = list_pop_front(&epoll->ended)) != NULL)
        session_free(LIST_ENTRY(node, struct session, all));
}

static void epoll_turn(struct worker *worker, int64_t timeout_us)
{
    struct epoll *epoll = worker->io;
    free_ended(epoll);
    int timeout_ms = timeout_us < 0 ? -1 : (int)((timeout_us + 999) / 1000);
    int count = epoll_wait(epoll->fd, epoll->events, EVENTS_MAX, timeout_ms);
    worker_clock(worker);
    for (int i = 0; i < count; i++) {
        uintptr_t owner = (uintptr_t)epoll->events[i].data.ptr;
        if (owner == 0)
            continue; /* only to look at worker->stop */
        if (owner & 1) {
            accept_all(worker, (struct listener *)(owner - 1));
            continue;
        }
        struct session *session = (struct session *)owner;
        if ((epoll->events[i].events & EPOLLOUT) && !session->ending) {
            watch(epoll->fd, EPOLL_CTL_MOD, session->fd, EPOLLIN, session);
            if (session->send_busy)
                epoll_send(worker, session);
        }
        if ((epoll->events[i].events & ~(uint32_t)EPOLLOUT) && !session->ending)
            receive(epoll, session);
    }
}

static void epoll_close(struct worker *worker)
{
    struct epoll *epoll = worker->io;
    list_for_each_safe (node, &worker->sessions)
        session_drop(LIST_ENTRY(node, struct session, all), false);
    free_ended(epoll);
    close(epoll->fd);
    free(epoll);
}

const struct io_body io_body_epoll = {
    .name = "epoll",
    .open = epoll_open,
    .close = epoll_close,
    .turn = epoll_turn,
    .start = epoll_start,
    .send = epoll_send,
    .end = epoll_end,
};
