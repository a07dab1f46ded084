/* The io_uring body: multishot accept, multishot receive into one ring of provided buffers, one
 * send per session and turn. 256 buffers of 16 KiB were measured best: they stay in the L2 cache;
 * plain descriptors are as good as registered ones. */
#include <errno.h>
#include <liburing.h>
#include <linux/time_types.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "bench/sink/worker.h"
#include "engine/base/mem.h"

#define SQ_ENTRIES 1024
#define CQ_ENTRIES 32768
#define BUFFERS 256 /* a power of two */
#define BUFFER_BYTES 16384
#define BUFFER_GROUP 1
#define STOP_TURNS_MAX 200

enum operation { OP_ACCEPT, OP_RECEIVE, OP_SEND, OP_WAKE, OP_NONE };
#define OP_MASK 7u

struct uring {
    struct io_uring ring;
    struct io_uring_buf_ring *buffers; /* the ring's head, then … */
    char *memory;                      /* … the buffers themselves */
    uint64_t wake_value;
    int recycled; /* buffers put back but not yet shown to the kernel */
    bool stopping;
    struct session **starved; /* receives that found no buffer */
    size_t starved_count, starved_room;
};

static struct io_uring_sqe *uring_sqe(struct uring *uring)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&uring->ring);
    while (!sqe) { /* a full queue is normal: hand it over and go on */
        io_uring_submit(&uring->ring);
        sqe = io_uring_get_sqe(&uring->ring);
    }
    return sqe;
}

static void sqe_tag(struct io_uring_sqe *sqe, void *owner, enum operation operation)
{
    io_uring_sqe_set_data64(sqe, (uintptr_t)owner | operation);
}

static void arm_accept(struct uring *uring, struct listener *listener)
{
    struct io_uring_sqe *sqe = uring_sqe(uring);
    io_uring_prep_multishot_accept(sqe, listener->fd, NULL, NULL, SOCK_CLOEXEC);
    sqe_tag(sqe, listener, OP_ACCEPT);
}

static void arm_receive(struct uring *uring, struct session *session)
{
    struct io_uring_sqe *sqe = uring_sqe(uring);
    io_uring_prep_recv_multishot(sqe, session->fd, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = BUFFER_GROUP;
    sqe_tag(sqe, session, OP_RECEIVE);
    session->operations++;
}

static void arm_wake(struct worker *worker, struct uring *uring)
{
    struct io_uring_sqe *sqe = uring_sqe(uring);
    io_uring_prep_read(sqe, worker->wake_fd, &uring->wake_value, sizeof uring->wake_value, 0);
    sqe_tag(sqe, NULL, OP_WAKE);
}

static char *buffer_at(const struct uring *uring, unsigned id)
{
    return uring->memory + (size_t)id * BUFFER_BYTES;
}

static void buffer_recycle(struct uring *uring, unsigned id)
{
    io_uring_buf_ring_add(uring->buffers, buffer_at(uring, id), BUFFER_BYTES, (unsigned short)id,
                          io_uring_buf_ring_mask(BUFFERS), uring->recycled++);
}

static void buffers_show(struct uring *uring)
{
    if (uring->recycled > 0)
        io_uring_buf_ring_advance(uring->buffers, uring->recycled);
    uring->recycled = 0;
}

static void *map_memory(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

static bool buffers_open(struct uring *uring, struct err *err)
{
    size_t ring_bytes = BUFFERS * sizeof(struct io_uring_buf);
    uring->buffers = map_memory(ring_bytes);
    uring->memory = map_memory((size_t)BUFFERS * BUFFER_BYTES);
    if (!uring->buffers || !uring->memory)
        return err_system(err, ENOMEM, "cannot map receive buffers");
    struct io_uring_buf_reg reg = {
        .ring_addr = (uintptr_t)uring->buffers,
        .ring_entries = BUFFERS,
        .bgid = BUFFER_GROUP,
    };
    int result = io_uring_register_buf_ring(&uring->ring, &reg, 0);
    if (result < 0)
        return err_system(err, -result, "cannot register receive buffers");
    io_uring_buf_ring_init(uring->buffers);
    for (unsigned id = 0; id < BUFFERS; id++)
        buffer_recycle(uring, id);
    buffers_show(uring);
    return true;
}

static void uring_free(struct uring *uring)
{
    if (uring->buffers)
        munmap(uring->buffers, BUFFERS * sizeof(struct io_uring_buf));
    if (uring->memory)
        munmap(uring->memory, (size_t)BUFFERS * BUFFER_BYTES);
    free(uring->starved);
    free(uring);
}

static int ring_init(struct io_uring *ring)
{
    struct io_uring_params params = {
        .flags = IORING_SETUP_CQSIZE | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                 IORING_SETUP_COOP_TASKRUN,
        .cq_entries = CQ_ENTRIES,
    };
    int result = io_uring_queue_init_params(SQ_ENTRIES, ring, &params);
    if (result != -EINVAL)
        return result;
    params = (struct io_uring_params){ .flags = IORING_SETUP_CQSIZE, .cq_entries = CQ_ENTRIES };
    return io_uring_queue_init_params(SQ_ENTRIES, ring, &params); /* kernels before 6.1 */
}

static bool uring_open(struct worker *worker, struct err *err)
{
    struct uring *uring = mem_zalloc(sizeof *uring);
    int result = ring_init(&uring->ring);
    if (result < 0) {
        uring_free(uring);
        return err_system(err, -result, "cannot set up io_uring");
    }
    if (!buffers_open(uring, err)) {
        io_uring_queue_exit(&uring->ring);
        uring_free(uring);
        return false;
    }
    worker->io = uring;
    for (size_t i = 0; i < worker->listeners_count; i++)
        arm_accept(uring, &worker->listeners[i]);
    arm_wake(worker, uring);
    return true;
}

static void uring_start(struct worker *worker, struct session *session)
{
    arm_receive(worker->io, session);
}

static void uring_send(struct worker *worker, struct session *session)
{
    struct slice rest = slice_skip(buf_slice(&session->sending), session->sent);
    struct io_uring_sqe *sqe = uring_sqe(worker->io);
    io_uring_prep_send(sqe, session->fd, rest.ptr, rest.len, MSG_NOSIGNAL | MSG_WAITALL);
    sqe_tag(sqe, session, OP_SEND);
    session->operations++;
}

static void session_settle(struct worker *worker, struct session *session)
{
    if (!session->ending || session->operations > 0)
        return;
    struct io_uring_sqe *sqe = uring_sqe(worker->io);
    io_uring_prep_close(sqe, session->fd);
    sqe_tag(sqe, NULL, OP_NONE);
    session_free(session);
}

/* A pending receive holds the socket open whoever closes it; shutting it down ends the receive
 * first. */
static void uring_end(struct worker *worker, struct session *session, bool reset)
{
    if (reset) {
        struct sockaddr unspecified = { .sa_family = AF_UNSPEC };
        connect(session->fd, &unspecified, sizeof unspecified); /* sends RST and ends the receive */
    }
    shutdown(session->fd, SHUT_RDWR);
    /* Nothing may be pending: then no completion will come, and an empty one stands in for it. */
    struct io_uring_sqe *sqe = uring_sqe(worker->io);
    io_uring_prep_nop(sqe);
    sqe_tag(sqe, session, OP_SEND);
    session->operations++;
}

static void starve(struct uring *uring, struct session *session)
{
    if (uring->starved_count == uring->starved_room) {
        uring->starved_room = uring->starved_room ? uring->starved_room * 2 : 64;
        uring->starved = mem_realloc(uring->starved, uring->starved_room * sizeof session);
    }
    uring->starved[uring->starved_count++] = session;
    session->operations++; /* keeps it until it is armed again */
}

static void on_receive(struct worker *worker, struct session *session,
                       const struct io_uring_cqe *cqe)
{
    struct uring *uring = worker->io;
    if (cqe->res > 0) {
        unsigned id = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
        session_receive(session, slice_of(buffer_at(uring, id), (size_t)cqe->res));
        buffer_recycle(uring, id);
    }
    if (cqe->flags & IORING_CQE_F_MORE)
        return;
    session->operations--;
    if (cqe->res == -ENOBUFS) {
        counter_add(&worker->counters.no_buffers, 1);
        starve(uring, session);
    } else if (cqe->res <= 0) {
        session_drop(session, false);
    } else if (!session->ending) {
        arm_receive(uring, session); /* the kernel ends multishots now and then */
    }
    session_settle(worker, session);
}

static void on_send(struct worker *worker, struct session *session, int result)
{
    session->operations--;
    if (!session->ending) {
        if (result > 0)
            session_sent(session, (size_t)result);
        else
            session_drop(session, false);
    }
    session_settle(worker, session);
}

static void on_accept(struct worker *worker, struct listener *listener,
                      const struct io_uring_cqe *cqe)
{
    struct uring *uring = worker->io;
    if (cqe->res >= 0) {
        if (uring->stopping)
            close(cqe->res);
        else
            session_accept(worker, listener, cqe->res);
    }
    if ((cqe->flags & IORING_CQE_F_MORE) || uring->stopping)
        return;
    if (cqe->res >= 0) {
        arm_accept(uring, listener);
        return;
    }
    counter_add(&worker->counters.accept_failures, 1);
    listener->paused = true;
    worker->listeners_paused++;
}

static void handle(struct worker *worker, const struct io_uring_cqe *cqe)
{
    void *owner = (void *)(uintptr_t)(cqe->user_data & ~(uint64_t)OP_MASK);
    switch ((enum operation)(cqe->user_data & OP_MASK)) {
    case OP_ACCEPT:
        on_accept(worker, owner, cqe);
        break;
    case OP_RECEIVE:
        on_receive(worker, owner, cqe);
        break;
    case OP_SEND:
        on_send(worker, owner, cqe->res);
        break;
    case OP_WAKE: /* only to look at worker->stop */
    case OP_NONE:
        break;
    }
}

static void resume_listeners(struct worker *worker)
{
    for (size_t i = 0; worker->listeners_paused > 0 && i < worker->listeners_count; i++) {
        struct listener *listener = &worker->listeners[i];
        if (!listener->paused)
            continue;
        listener->paused = false;
        worker->listeners_paused--;
        arm_accept(worker->io, listener);
    }
}

static void rearm_starved(struct worker *worker)
{
    struct uring *uring = worker->io;
    for (size_t i = 0; i < uring->starved_count; i++) {
        struct session *session = uring->starved[i];
        session->operations--;
        if (!session->ending)
            arm_receive(uring, session);
        session_settle(worker, session);
    }
    uring->starved_count = 0;
}

static void uring_turn(struct worker *worker, int64_t timeout_us)
{
    struct uring *uring = worker->io;
    struct io_uring_cqe *cqe;
    struct __kernel_timespec timeout = { timeout_us / 1000000, timeout_us % 1000000 * 1000 };
    int result = io_uring_submit_and_wait_timeout(&uring->ring, &cqe, 1,
                                                  timeout_us < 0 ? NULL : &timeout, NULL);
    assert(result >= 0 || result == -ETIME || result == -EINTR || result == -EAGAIN ||
           result == -EBUSY);
    worker_clock(worker);
    if (!uring->stopping)
        resume_listeners(worker);
    unsigned head, handled = 0;
    io_uring_for_each_cqe(&uring->ring, head, cqe)
    {
        handle(worker, cqe);
        handled++;
    }
    io_uring_cq_advance(&uring->ring, handled);
    buffers_show(uring);
    rearm_starved(worker);
}

static void uring_close(struct worker *worker)
{
    struct uring *uring = worker->io;
    uring->stopping = true;
    list_for_each_safe (node, &worker->sessions)
        session_drop(LIST_ENTRY(node, struct session, all), false);
    for (int turns = 0; !list_empty(&worker->sessions) && turns < STOP_TURNS_MAX; turns++)
        uring_turn(worker, 10000);
    io_uring_queue_exit(&uring->ring);
    if (list_empty(&worker->sessions)) {
        uring_free(uring);
        return;
    }
    /* The kernel may still write into the buffers of these: leave them mapped. */
    list_for_each (node, &worker->sessions)
        close(LIST_ENTRY(node, struct session, all)->fd);
}

const struct io_body io_body_uring = {
    .name = "io_uring",
    .open = uring_open,
    .close = uring_close,
    .turn = uring_turn,
    .start = uring_start,
    .send = uring_send,
    .end = uring_end,
};
