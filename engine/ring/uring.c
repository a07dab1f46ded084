/* The io_uring body. One io_uring_enter per turn submits what the last turn's callbacks asked for,
 * waits, and brings completions; the timer wheel gives the wait its time-out (a time-out operation
 * per request would cost 720 ns). Receives are multishot into a shared ring of buffers, each
 * recycled as soon as its callback returns; sends carry MSG_WAITALL, so the kernel itself goes on
 * after a short one.
 *
 * Completions name a slot and its generation instead of an address, and an object is given back
 * only when `pending` is 0, so a late completion reaches nobody. Message headers and addresses are
 * needed until the kernel has consumed the submission entry (IORING_FEAT_SUBMIT_STABLE): they live
 * beside the entry, not in the socket. Cancellations go by name, which is one hash look-up; by
 * descriptor the kernel would walk over everything that is armed.
 *
 * Rejected, measured elsewhere as noise or worse: SQPOLL, zero-copy sends, send bundles, registered
 * descriptors, waiting for batches of completions.
 */
#include "engine/ring/ring_body.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/base/mem.h"

enum {
    URING_BUFFER_GROUP = 1,
    URING_IOV_MAX = 1024, /* UIO_MAXIOV */
    URING_SEND_MAX = 1 << 30,
    URING_OP_SHIFT = 28,      /* of a completion's name: 4 bits of operation above 28 of slot */
    URING_CMD_SETSOCKOPT = 3, /* SOCKET_URING_OP_SETSOCKOPT, newer than the header (Linux 6.7) */
    POLL_CANCELLING = 0x80,   /* in ring_poll.armed */
};

enum uring_op { OP_IGNORED, OP_WAKE, OP_CONNECT, OP_RECEIVE, OP_SEND, OP_POLL };

/** What a submission entry points to until it is consumed. */
union uring_extra {
    struct msghdr message;
    struct sockaddr_storage address;
};

struct ring_uring {
    struct ring ring;
    struct io_uring uring;
    union uring_extra *extras; /* one beside each submission entry */
    struct io_uring_buf_ring *buffers;
    size_t buffers_bytes; /* of the mapping: descriptors, then buffers */
    char *buffer_memory;
    unsigned buffer_count, buffer_bytes;
    int wake_fd;
    uint64_t wake_count;
    bool wake_armed;
    bool command_sockopt; /* setsockopt as an operation works */
};

static struct ring_uring *uring_of(struct ring *ring)
{
    return CONTAINER_OF(ring, struct ring_uring, ring);
}

static uint64_t uring_name(const struct ring *ring, enum uring_op op, uint32_t slot)
{
    assert(slot < 1U << URING_OP_SHIFT);
    return (uint64_t)ring->slots[slot].generation << 32 | (uint64_t)op << URING_OP_SHIFT | slot;
}

/* ---- submission ---- */

/** Keeps flights that wait for their submission from leaving late (see RING_STALL_MS): they fail
 * with EBADF, as on a socket that is gone. */
static void uring_hold_back(struct ring_uring *self)
{
    if (LIKELY(!ring_stalled(&self->ring)))
        return;
    struct io_uring_sq *sq = &self->uring.sq;
    for (unsigned at = sq->sqe_head; at != sq->sqe_tail; at++) {
        struct io_uring_sqe *entry = &sq->sqes[at & *sq->kring_mask];
        if ((entry->user_data >> URING_OP_SHIFT & 15) != OP_SEND)
            continue;
        uint32_t slot = (uint32_t)entry->user_data & ((1U << URING_OP_SHIFT) - 1);
        const struct ring_socket *socket = self->ring.slots[slot].object;
        if (socket && (socket->flags & SOCKET_TIMELY)) {
            entry->fd = -1;
            RING_COUNT(&self->ring, held_back);
        }
    }
}

/** A submission entry; when all are taken, the kernel gets them now and not at the end of the turn.
 */
static struct io_uring_sqe *uring_entry(struct ring_uring *self)
{
    struct io_uring_sqe *entry = io_uring_get_sqe(&self->uring);
    while (UNLIKELY(entry == NULL)) {
        RING_COUNT(&self->ring, submission_full);
        uring_hold_back(self);
        int rc = io_uring_submit(&self->uring);
        assert(rc >= 0 || rc == -EINTR || rc == -EAGAIN || rc == -EBUSY);
        entry = io_uring_get_sqe(&self->uring);
    }
    RING_COUNT(&self->ring, submits);
    return entry;
}

static union uring_extra *uring_extra_of(struct ring_uring *self, const struct io_uring_sqe *entry)
{
    return &self->extras[entry - self->uring.sq.sqes];
}

/** For what nobody waits for: no completion unless it fails, and then it's ignored. */
static void uring_detach(struct io_uring_sqe *entry)
{
    entry->flags |= IOSQE_CQE_SKIP_SUCCESS;
    io_uring_sqe_set_data64(entry, (uint64_t)OP_IGNORED << URING_OP_SHIFT);
}

static void uring_cancel(struct ring *ring, enum uring_op op, uint32_t slot)
{
    struct io_uring_sqe *entry = uring_entry(uring_of(ring));
    io_uring_prep_cancel64(entry, uring_name(ring, op, slot), 0);
    uring_detach(entry);
}

/** setsockopt(fd, level, name, 1) as an operation; filled in by hand, since the header doesn't know
 * it yet. */
static void uring_prep_sockopt(struct io_uring_sqe *entry, int fd, int level, int name)
{
    static const int on = 1;
    memset(entry, 0, sizeof *entry);
    entry->opcode = IORING_OP_URING_CMD;
    entry->fd = fd;
    entry->cmd_op = URING_CMD_SETSOCKOPT;
    entry->addr = (uint32_t)level | (uint64_t)(uint32_t)name << 32;
    entry->file_index = sizeof on; /* its length */
    entry->addr3 = (uintptr_t)&on;
}

static void uring_arm_wake(struct ring_uring *self)
{
    struct io_uring_sqe *entry = uring_entry(self);
    io_uring_prep_read(entry, self->wake_fd, &self->wake_count, sizeof self->wake_count, 0);
    io_uring_sqe_set_data64(entry, (uint64_t)OP_WAKE << URING_OP_SHIFT);
    self->wake_armed = true;
}

/* ---- sockets ---- */

static void uring_arm_receive(struct ring_socket *socket)
{
    struct io_uring_sqe *entry = uring_entry(uring_of(socket->ring));
    io_uring_prep_recv_multishot(entry, socket->fd, NULL, 0, 0);
    entry->flags |= IOSQE_BUFFER_SELECT;
    entry->buf_group = URING_BUFFER_GROUP;
    io_uring_sqe_set_data64(entry, uring_name(socket->ring, OP_RECEIVE, socket->slot));
    socket->flags |= SOCKET_ARMED;
    socket->pending++;
}

static void uring_arm_send(struct ring_socket *socket)
{
    struct ring_uring *self = uring_of(socket->ring);
    struct io_uring_sqe *entry = uring_entry(self);
    if (socket->iov_count == 1) {
        size_t bytes = MIN_OF(socket->iov->iov_len, (size_t)URING_SEND_MAX);
        io_uring_prep_send(entry, socket->fd, socket->iov->iov_base, bytes,
                           MSG_NOSIGNAL | MSG_WAITALL);
    } else {
        struct msghdr *message = &uring_extra_of(self, entry)->message;
        *message =
            (struct msghdr){ .msg_iov = socket->iov,
                             .msg_iovlen = MIN_OF(socket->iov_count, (uint32_t)URING_IOV_MAX) };
        io_uring_prep_sendmsg(entry, socket->fd, message, MSG_NOSIGNAL | MSG_WAITALL);
    }
    io_uring_sqe_set_data64(entry, uring_name(socket->ring, OP_SEND, socket->slot));
    socket->flags |= SOCKET_SEND_ARMED;
    socket->pending++;
}

static void uring_connect(struct ring_socket *socket, const struct sockaddr *peer,
                          socklen_t peer_len, const struct sockaddr *source, socklen_t source_len)
{
    struct ring_uring *self = uring_of(socket->ring);
    int error = 0;
    socket->fd = ring_fd_open(peer, source, source_len, 0, &error);
    if (socket->fd < 0) {
        socket->error = (uint16_t)error;
        ring_work_add(socket, WORK_CONNECTED);
        return;
    }
    struct io_uring_sqe *entry = uring_entry(self);
    struct sockaddr_storage *address = &uring_extra_of(self, entry)->address;
    memcpy(address, peer, peer_len);
    io_uring_prep_connect(entry, socket->fd, (struct sockaddr *)address, peer_len);
    io_uring_sqe_set_data64(entry, uring_name(socket->ring, OP_CONNECT, socket->slot));
    socket->pending++;
}

static void uring_adopt(struct ring_socket *socket, int fd)
{
    socket->fd = fd;
    if (ring_fd_is_tcp(fd))
        socket->flags |= SOCKET_TCP;
    int flags = fcntl(fd, F_GETFL);
    if (flags >= 0 && (flags & O_NONBLOCK)) /* the kernel would answer EAGAIN instead of waiting */
        (void)fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
}

static void uring_receive(struct ring_socket *socket)
{
    bool wanted = socket->flags & SOCKET_RECEIVING;
    if (wanted && (socket->flags & SOCKET_ARMED) == 0) {
        uring_arm_receive(socket);
    } else if (!wanted && (socket->flags & (SOCKET_ARMED | SOCKET_CANCELLING)) == SOCKET_ARMED) {
        socket->flags |=
            SOCKET_CANCELLING; /* wanted again meanwhile: its last completion arms it anew */
        uring_cancel(socket->ring, OP_RECEIVE, socket->slot);
    }
}

static void uring_quickack(struct ring_socket *socket)
{
    struct ring_uring *self = uring_of(socket->ring);
    if (!self->command_sockopt) {
        ring_fd_quickack(socket->fd);
        return;
    }
    struct io_uring_sqe *entry = uring_entry(self);
    uring_prep_sockopt(entry, socket->fd, IPPROTO_TCP, TCP_QUICKACK);
    uring_detach(entry);
}

static void uring_shutdown(struct ring_socket *socket)
{
    (void)shutdown(socket->fd, SHUT_WR);
}

/** Gives back the descriptor and, with it, the socket, once nothing is under way. */
static void uring_close_idle(struct ring_socket *socket)
{
    if (socket->pending > 0)
        return;
    if (socket->fd >= 0) {
        struct io_uring_sqe *entry = uring_entry(uring_of(socket->ring));
        io_uring_prep_close(entry, socket->fd);
        uring_detach(entry);
        socket->fd = -1;
    }
    ring_event_socket_idle(socket);
}

static void uring_close(struct ring_socket *socket, bool reset)
{
    if (reset && socket->fd >= 0)
        ring_fd_reset(socket->fd);
    unsigned others = socket->pending;
    if (socket->flags & SOCKET_ARMED) {
        others--;
        if ((socket->flags & SOCKET_CANCELLING) == 0)
            uring_cancel(socket->ring, OP_RECEIVE, socket->slot);
    }
    if (socket->flags & SOCKET_SEND_ARMED) {
        others--;
        uring_cancel(socket->ring, OP_SEND, socket->slot);
    }
    if (others > 0)
        uring_cancel(socket->ring, OP_CONNECT, socket->slot);
    uring_close_idle(socket);
}

static bool uring_local(const struct ring_socket *socket, struct sockaddr_storage *out,
                        socklen_t *len)
{
    return ring_fd_local(socket->fd, out, len);
}

/* ---- polls ---- */

static void uring_poll_want(struct ring_poll *poll)
{
    if (poll->pending == 0 && poll->wanted != 0) {
        struct io_uring_sqe *entry = uring_entry(uring_of(poll->ring));
        io_uring_prep_poll_add(entry, poll->fd, poll->wanted);
        io_uring_sqe_set_data64(entry, uring_name(poll->ring, OP_POLL, poll->slot));
        poll->armed = poll->wanted;
        poll->pending = 1;
    } else if (poll->pending > 0 && poll->armed != poll->wanted &&
               (poll->armed & POLL_CANCELLING) == 0) {
        poll->armed |= POLL_CANCELLING; /* its completion arms it anew, with what is wanted then */
        uring_cancel(poll->ring, OP_POLL, poll->slot);
    }
}

static void uring_poll_open(struct ring_poll *poll)
{
    (void)poll; /* nothing is wanted yet */
}

static void uring_poll_done(struct ring_poll *poll, int result)
{
    bool cancelled = poll->armed & POLL_CANCELLING;
    poll->pending = 0;
    poll->armed = 0;
    if (result > 0)
        ring_event_ready(poll, (unsigned)result);
    else if (result != -ECANCELED || !cancelled)
        ring_event_ready(poll, POLLERR);
    if (poll->state == POLL_OPEN)
        uring_poll_want(poll);
    else
        ring_event_poll_idle(poll);
}

/* ---- completions ---- */

static void uring_recycle(struct ring_uring *self, unsigned id)
{
    io_uring_buf_ring_add(self->buffers, self->buffer_memory + (size_t)id * self->buffer_bytes,
                          self->buffer_bytes, (unsigned short)id,
                          io_uring_buf_ring_mask(self->buffer_count), 0);
    io_uring_buf_ring_advance(self->buffers, 1);
}

/** The multishot receive is over: why, and whether to start another. */
static void uring_receive_over(struct ring_socket *socket, int result)
{
    socket->flags &= (uint16_t) ~(SOCKET_ARMED | SOCKET_CANCELLING);
    socket->pending--;
    if (socket->state == SOCKET_CLOSING) {
        uring_close_idle(socket);
        return;
    }
    if (result == -ENOBUFS) {
        RING_COUNT(socket->ring, no_buffers);
    } else if (result > 0) {
        RING_COUNT(socket->ring, rearmed);
    } else if (result != -ECANCELED && result != -EINTR && result != -EAGAIN) {
        ring_event_ended(socket, -result);
        return;
    }
    /* Buffers are recycled by the time this is submitted. */
    if (socket->flags & SOCKET_RECEIVING)
        uring_arm_receive(socket);
}

static void uring_received(struct ring_uring *self, struct ring_socket *socket,
                           const struct io_uring_cqe *cqe)
{
    if (cqe->flags & IORING_CQE_F_BUFFER) {
        unsigned id = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
        const char *bytes = self->buffer_memory + (size_t)id * self->buffer_bytes;
        if (socket != NULL && cqe->res > 0)
            ring_event_received(socket, slice_of(bytes, (size_t)cqe->res));
        uring_recycle(self, id);
    }
    if (socket != NULL && (cqe->flags & IORING_CQE_F_MORE) == 0)
        uring_receive_over(socket, cqe->res);
}

static void uring_sent(struct ring_socket *socket, int result)
{
    socket->flags &= (uint16_t)~SOCKET_SEND_ARMED;
    socket->pending--;
    if (socket->state == SOCKET_CLOSING) {
        uring_close_idle(socket);
        return;
    }
    if (result < 0 && result != -EINTR && result != -EAGAIN) {
        ring_event_sent(socket, -result);
        return;
    }
    if (ring_flight_advance(socket, (size_t)MAX_OF(result, 0))) {
        ring_event_sent(socket, 0);
        return;
    }
    RING_COUNT(socket->ring, short_sends);
    uring_arm_send(socket);
}

static void uring_connected(struct ring_socket *socket, int result)
{
    socket->pending--;
    if (socket->state == SOCKET_CLOSING)
        uring_close_idle(socket);
    else
        ring_event_connected(socket, -result);
}

static void uring_complete(struct ring_uring *self, const struct io_uring_cqe *cqe)
{
    enum uring_op op = (cqe->user_data >> URING_OP_SHIFT) & 15;
    uint32_t slot = (uint32_t)cqe->user_data & ((1U << URING_OP_SHIFT) - 1);
    void *object = NULL;
    if (op >= OP_CONNECT) {
        object = ring_slot_object(&self->ring, slot, (uint32_t)(cqe->user_data >> 32));
        if (UNLIKELY(object == NULL)) {
            RING_COUNT(&self->ring, stale);
            if (op != OP_RECEIVE) /* which has a buffer to give back */
                return;
        }
    }
    switch (op) {
    case OP_IGNORED:
        break;
    case OP_WAKE:
        self->wake_armed = false;
        uring_arm_wake(self);
        break;
    case OP_CONNECT:
        uring_connected(object, cqe->res);
        break;
    case OP_RECEIVE:
        uring_received(self, object, cqe);
        break;
    case OP_SEND:
        uring_sent(object, cqe->res);
        break;
    case OP_POLL:
        uring_poll_done(object, cqe->res);
        break;
    }
}

static void uring_enter(struct ring_uring *self, int64_t wait_ms)
{
    struct io_uring_cqe *cqe = NULL;
    int rc;
    if (wait_ms == 0) {
        rc = io_uring_submit_and_get_events(&self->uring);
    } else {
        struct __kernel_timespec limit = { .tv_sec = wait_ms / 1000,
                                           .tv_nsec = wait_ms % 1000 * 1000000 };
        rc = io_uring_submit_and_wait_timeout(&self->uring, &cqe, 1, wait_ms < 0 ? NULL : &limit,
                                              NULL);
    }
    /* Memory for requests may be short, and overflown completions must be reaped first: both pass.
     */
    assert(rc >= 0 || rc == -ETIME || rc == -EINTR || rc == -EAGAIN || rc == -EBUSY);
}

static void uring_wait(struct ring *ring, int64_t wait_ms)
{
    struct ring_uring *self = uring_of(ring);
    ring_work_start(ring);
    uring_hold_back(self);
    uring_enter(self, ring_wait_ms(ring, wait_ms));
    ring_system_clock(ring);
    if (UNLIKELY(IO_URING_READ_ONCE(*self->uring.sq.kflags) & IORING_SQ_CQ_OVERFLOW))
        RING_COUNT(
            ring,
            completion_overflows); /* the kernel keeps them and brings them with the next enter */
    unsigned ready = io_uring_cq_ready(&self->uring);
    RING_ADD(ring, completions, ready);
    while (ready-- > 0) {
        struct io_uring_cqe *cqe;
        int rc = io_uring_peek_cqe(&self->uring, &cqe);
        assert(rc == 0);
        uring_complete(self, cqe);
        io_uring_cqe_seen(&self->uring, cqe);
    }
}

static void uring_wake(struct ring *ring)
{
    const uint64_t one = 1;
    (void)!write(uring_of(ring)->wake_fd, &one, sizeof one);
}

/* ---- setting up ---- */

static bool uring_setup_ring(struct ring_uring *self, const struct ring_options *options,
                             struct err *err)
{
    /* From what Linux 6.1 and later have down to what 6.0 has. */
    static const unsigned modes[] = {
        IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
        IORING_SETUP_COOP_TASKRUN,
        0,
    };
    unsigned entries = options->submission_entries ? options->submission_entries : 4096;
    int rc = -EINVAL;
    for (size_t i = options->plain_taskrun ? 1 : 0; i < ARRAY_LEN(modes) && rc == -EINVAL; i++) {
        /* Each multishot receive posts completions nobody submitted for. */
        struct io_uring_params params = { .cq_entries = MAX_OF(entries * 4, 1024U) };
        params.flags =
            modes[i] | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | IORING_SETUP_SUBMIT_ALL;
        rc = io_uring_queue_init_params(entries, &self->uring, &params);
    }
    if (rc < 0) {
        self->uring.ring_fd = -1;
        return err_system(err, -rc, "io_uring_setup");
    }
    static const unsigned needed =
        IORING_FEAT_EXT_ARG | IORING_FEAT_NODROP | IORING_FEAT_SUBMIT_STABLE | IORING_FEAT_CQE_SKIP;
    if ((self->uring.features & needed) != needed)
        return err_set(err, ERR_SYSTEM, "io_uring: this kernel's lacks features of Linux 6.0");
    (void)io_uring_register_ring_fd(&self->uring); /* saves a look-up per enter, where it works */
    self->extras = mem_array(self->uring.sq.ring_entries, sizeof self->extras[0]);
    return true;
}

static bool uring_setup_buffers(struct ring_uring *self, const struct ring_options *options,
                                struct err *err)
{
    self->buffer_count = options->receive_buffers ? options->receive_buffers : 1024;
    self->buffer_bytes = options->receive_buffer_bytes ? options->receive_buffer_bytes : 2048;
    assert((self->buffer_count & (self->buffer_count - 1)) == 0 && self->buffer_count <= 32768);
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t head = self->buffer_count * sizeof(struct io_uring_buf);
    head = (head + page - 1) / page * page;
    self->buffers_bytes = head + (size_t)self->buffer_count * self->buffer_bytes;
    void *memory =
        mmap(NULL, self->buffers_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return err_system(err, errno, "mapping %zu bytes of receive buffers", self->buffers_bytes);
    self->buffers = memory;
    self->buffer_memory = (char *)memory + head;
    struct io_uring_buf_reg reg = { .ring_addr = (uintptr_t)memory,
                                    .ring_entries = self->buffer_count,
                                    .bgid = URING_BUFFER_GROUP };
    int rc = io_uring_register_buf_ring(&self->uring, &reg, 0);
    if (rc < 0)
        return err_system(err, -rc, "io_uring: registering receive buffers");
    io_uring_buf_ring_init(self->buffers);
    for (unsigned id = 0; id < self->buffer_count; id++)
        uring_recycle(self, id);
    return true;
}

/** Multishot receives came with Linux 6.0, as did zero-copy sends, which can be asked for. */
static bool uring_check_operations(struct ring_uring *self, struct err *err)
{
    struct io_uring_probe *probe = io_uring_get_probe_ring(&self->uring);
    bool fine = probe != NULL && io_uring_opcode_supported(probe, IORING_OP_SEND_ZC);
    io_uring_free_probe(probe);
    return fine || err_set(err, ERR_SYSTEM, "io_uring: no multishot receive (Linux 6.0)");
}

/** Tries setsockopt as an operation once, on a socket of its own. */
static bool uring_try_sockopt(struct ring_uring *self)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    struct io_uring_sqe *entry = uring_entry(self);
    uring_prep_sockopt(entry, fd, IPPROTO_TCP, TCP_QUICKACK);
    io_uring_sqe_set_data64(entry, (uint64_t)OP_IGNORED << URING_OP_SHIFT);
    struct io_uring_cqe *cqe = NULL;
    bool works = io_uring_submit_and_wait(&self->uring, 1) >= 0 &&
                 io_uring_peek_cqe(&self->uring, &cqe) == 0 && cqe->res == 0;
    if (cqe != NULL)
        io_uring_cqe_seen(&self->uring, cqe);
    close(fd);
    return works;
}

/** The pending read of the eventfd writes into `self`: let it complete, and the closes that are
 * still queued. */
static void uring_drain(struct ring_uring *self)
{
    uring_wake(&self->ring);
    while (self->wake_armed) {
        struct io_uring_cqe *cqe;
        int rc = io_uring_submit_and_wait(&self->uring, 1);
        assert(rc >= 0 || rc == -EINTR || rc == -EAGAIN || rc == -EBUSY);
        while (io_uring_peek_cqe(&self->uring, &cqe) == 0) {
            if (cqe->user_data >> URING_OP_SHIFT == OP_WAKE)
                self->wake_armed = false;
            io_uring_cqe_seen(&self->uring, cqe);
        }
    }
}

static void uring_destroy(struct ring *ring)
{
    struct ring_uring *self = uring_of(ring);
    if (self->wake_armed)
        uring_drain(self);
    if (self->uring.ring_fd >= 0)
        io_uring_queue_exit(&self->uring);
    if (self->buffers != NULL)
        munmap(self->buffers, self->buffers_bytes);
    if (self->wake_fd >= 0)
        close(self->wake_fd);
    free(self->extras);
    ring_deinit(ring);
    free(self);
}

static const struct ring_ops uring_ops = {
    .name = "io_uring",
    .destroy = uring_destroy,
    .wait = uring_wait,
    .wake = uring_wake,
    .clock = ring_system_clock,
    .clock_us = ring_system_clock_us,
    .connect = uring_connect,
    .adopt = uring_adopt,
    .receive = uring_receive,
    .send = uring_arm_send,
    .quickack = uring_quickack,
    .shutdown = uring_shutdown,
    .close = uring_close,
    .local = uring_local,
    .poll_open = uring_poll_open,
    .poll_want = uring_poll_want,
    .poll_close = uring_poll_want,
};

bool ring_uring_create(struct ring **out, const struct ring_options *options, struct err *err)
{
    struct ring_uring *self = mem_zalloc(sizeof *self);
    self->wake_fd = -1;
    self->uring.ring_fd = -1;
    ring_init(&self->ring, &uring_ops, options);
    bool fine = uring_setup_ring(self, options, err) && uring_check_operations(self, err) &&
                uring_setup_buffers(self, options, err);
    if (fine) {
        self->wake_fd = eventfd(0, EFD_CLOEXEC);
        fine = self->wake_fd >= 0 || err_system(err, errno, "eventfd");
    }
    if (!fine) {
        uring_destroy(&self->ring);
        return false;
    }
    self->command_sockopt = uring_try_sockopt(self);
    uring_arm_wake(self);
    *out = &self->ring;
    return true;
}
