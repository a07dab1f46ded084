#pragma once
/* The one seam for all I/O (DESIGN, decision 3). A ring is a worker's event loop: sockets, timers,
 * tasks, polls of foreign descriptors and a mailbox, with three bodies behind it: io_uring, epoll,
 * and a simulated one with virtual time. Everything above is a state machine fed by the callbacks
 * declared here.
 *
 * Rules that all bodies keep, and that tests check on each of them:
 *  - No callback ever fires inside a call of this header other than ring_run() and ring_turn():
 * completions are queued, then run.
 *  - All structures (socket, timer, task, poll) are the caller's memory, usually inside its own
 * object. A socket or poll is given back by its `closed` callback, and not before; timers and tasks
 * when stopped or fired.
 *  - One thread owns a ring. Only ring_post() and ring_stop() may be called from another.
 *  - Time is read once per turn: ring_now_ms() doesn't change within one callback.
 */
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "engine/base/err.h"
#include "engine/base/list.h"
#include "engine/base/log.h"
#include "engine/base/rng.h"
#include "engine/base/slice.h"

struct ring;
struct ring_sim; /* a simulated world, see engine/ring/sim.h */

enum ring_body {
    RING_BODY_AUTO, /* io_uring, or epoll with a warning when the kernel or the container refuses it
                     */
    RING_BODY_URING, /* fail when it's refused */
    RING_BODY_EPOLL,
    RING_BODY_SIM,
};

struct ring_options {
    enum ring_body body;
    unsigned submission_entries;   /* 0: 4096; io_uring only */
    unsigned receive_buffers;      /* power of two; 0: 1024 */
    unsigned receive_buffer_bytes; /* 0: 2048 */
    bool plain_taskrun; /* don't ask for SINGLE_ISSUER|DEFER_TASKRUN even where they are (tests the
                           fall-back) */
    const struct log *log; /* for the warning of RING_BODY_AUTO; may be NULL */
    uint64_t seed;         /* of ring_rng(); 0: from the system */
    struct ring_sim *sim;  /* RING_BODY_SIM only */
};

/** Creates a ring owned by the calling thread. The thread that calls ring_run() must be this one.
 */
MUST_USE bool ring_create(struct ring **out, const struct ring_options *options, struct err *err);
/** All sockets and polls must be closed, i.e. their `closed` has fired. Sets *ring to NULL. */
void ring_destroy(struct ring **ring);

/** Runs until ring_stop(). */
void ring_run(struct ring *ring);
/** One turn: waits at most `wait_ms` (-1: until something happens) and runs what is due. For tests
 * and shutdown. */
void ring_turn(struct ring *ring, int wait_ms);
/** Makes ring_run() return after the turn at hand. Any thread. */
void ring_stop(struct ring *ring);

/** Monotonic milliseconds (never 0), as of this turn. */
int64_t ring_now_ms(const struct ring *ring);
/** Monotonic microseconds, read from the clock at each call (virtual in the simulation): for
 * measuring. */
int64_t ring_clock_us(const struct ring *ring);
/** Wall clock, milliseconds since 1970, as of this turn: for headers and schedules, never for
 * time-outs. */
int64_t ring_wall_ms(const struct ring *ring);
struct rng *ring_rng(struct ring *ring);
/** The body actually in use: "io_uring", "epoll" or "simulation". */
const char *ring_body_name(const struct ring *ring);

struct ring_stats {
    uint64_t turns, submits, completions;
    uint64_t short_sends, no_buffers, rearmed, submission_full, completion_overflows;
    uint64_t held_back; /* flights that would have left too late, see RING_STALL_MS */
    uint64_t stale; /* completions for something that is no more; must stay 0 */
};
/** Counters since creation; the pointer stays valid, other threads may read it with relaxed
 * atomics. */
const struct ring_stats *ring_stats(const struct ring *ring);

/* ---- timers: a wheel, 1 ms ticks, O(1) to start and stop, 100,000 and more at once ---- */

struct ring_timer {
    struct list node; /* private */
    int64_t due_ms;   /* private; monotonic */
    void (*fired)(struct ring_timer *timer);
};

/** Prepares a timer (once, before its first start). */
void ring_timer_init(struct ring_timer *timer, void (*fired)(struct ring_timer *timer));
/** (Re)starts it to fire once, not before delay_ms (≥ 0) from now and at most 1 ms plus one turn
 * later. */
void ring_timer_start(struct ring *ring, struct ring_timer *timer, int64_t delay_ms);
/** Stops it if it runs. It won't fire after this call. */
void ring_timer_stop(struct ring_timer *timer);
static inline bool ring_timer_running(const struct ring_timer *timer)
{
    return list_linked(&timer->node);
}

/* ---- tasks: "do this once, later in this turn" ---- */

struct ring_task {
    struct list node; /* private */
    void (*run)(struct ring_task *task);
};

void ring_task_init(struct ring_task *task, void (*run)(struct ring_task *task));
/** Runs the task after the callbacks of this turn's completions and before sending; no effect if
 * already queued. A task queued by a task runs in the same turn, up to a bound per turn. */
void ring_task_queue(struct ring *ring, struct ring_task *task);
void ring_task_cancel(struct ring_task *task);

/* ---- sockets: connected streams, TCP or Unix ---- */

struct ring_socket;

struct ring_socket_events {
    /** The connection is up (error 0) or failed (errno). Only after ring_socket_connect(). */
    void (*connected)(struct ring_socket *socket, int error);
    /** Bytes arrived; they're valid during the call only. The callee takes all of them. */
    void (*received)(struct ring_socket *socket, struct slice bytes);
    /** Nothing more will be received: the peer's FIN (error 0) or a failure (errno, e.g.
     * ECONNRESET). Once. */
    void (*ended)(struct ring_socket *socket, int error);
    /** The flight of ring_socket_send() is wholly in the kernel (0), or sending failed (errno).
     * Comes before the `received` of an answer to the whole flight. */
    void (*sent)(struct ring_socket *socket, int error);
    /** After ring_socket_close(): nothing refers to the structure any more. The last callback; may
     * be NULL. */
    void (*closed)(struct ring_socket *socket);
};

struct ring_socket {
    struct ring *ring;
    const struct ring_socket_events *events;
    /* private: one cache line in all */
    struct list node;  /* among those with something to do, see `work` */
    struct iovec *iov; /* of the flight under way: what is left of it */
    uint32_t iov_count;
    int fd;
    uint32_t slot; /* names the socket and its generation to the kernel */
    uint16_t flags;
    uint16_t pending; /* operations whose completion is outstanding */
    uint16_t error;   /* of the event that waits in `work` */
    uint8_t state;
    uint8_t work;
};

/** Prepares the structure; needs no close as long as nothing else is called. */
void ring_socket_init(struct ring_socket *socket, struct ring *ring,
                      const struct ring_socket_events *events);
/** Starts connecting (TCP_NODELAY set for TCP). `source` (may be NULL) is bound first, port 0 with
 * IP_BIND_ADDRESS_NO_PORT. The addresses are copied. A failure to create or bind the socket arrives
 * through `connected`, too. */
void ring_socket_connect(struct ring_socket *socket, const struct sockaddr *peer,
                         socklen_t peer_len, const struct sockaddr *source, socklen_t source_len);
/** Takes over a connected descriptor (accepted, or one end of a socketpair). The ring closes it. */
void ring_socket_adopt(struct ring_socket *socket, int fd);
/** Starts receiving (multishot where there is one) until the end, a close, or ring_socket_pause().
 */
void ring_socket_receive(struct ring_socket *socket);
/** Stops receiving, for back-pressure; up to one turn's worth may still arrive.
 * ring_socket_receive() goes on. */
void ring_socket_pause(struct ring_socket *socket);
/** A flight of a timely socket that would leave later than this after its turn began isn't sent but
 * fails: whoever decided to send it (queue_commit(), whose margin is wider) couldn't know. */
#define RING_STALL_MS 1400
/** Makes it one, until it's closed. */
void ring_socket_timely(struct ring_socket *socket);

/** Sends all of the vectors as one flight; at most one flight at a time (see ring_socket_sending).
 * The iovec array and what it points to belong to the caller and must stay as they are until
 * `sent`; the ring may change the array's entries. It leaves at the end of the turn, or, on a
 * timely socket, fails when that took longer than RING_STALL_MS. */
void ring_socket_send(struct ring_socket *socket, struct iovec *iov, unsigned count);
bool ring_socket_sending(const struct ring_socket *socket);
/** Acknowledge at once what was just received (TCP_QUICKACK, not sticky; LIMITS 2.6). Cheap, best
 * effort. */
void ring_socket_quickack(struct ring_socket *socket);
/** Sends FIN after what is being sent; receiving goes on. */
void ring_socket_shutdown(struct ring_socket *socket);
/** Closes in any state; no callback but `closed` follows. With `reset`, pending data is dropped and
 * RST sent (aborts). */
void ring_socket_close(struct ring_socket *socket, bool reset);
/** Local address of a connected socket, e.g. for an EHLO literal; false if unknown. */
bool ring_socket_local(const struct ring_socket *socket, struct sockaddr_storage *out,
                       socklen_t *len);

/* ---- polls: readiness of a descriptor that a library owns (c-ares) ---- */

struct ring_poll {
    struct ring *ring;
    int fd;
    void (*ready)(struct ring_poll *poll, bool readable, bool writable);
    /** After ring_poll_close(): the structure is the caller's again. */
    void (*closed)(struct ring_poll *poll);
    /* private */
    struct list node;
    uint32_t slot;
    uint8_t wanted, armed; /* POLLIN, POLLOUT */
    uint8_t state, pending;
};

/** Level-triggered; `ready` fires again as long as the condition holds and it's wanted. */
void ring_poll_open(struct ring_poll *poll, struct ring *ring, int fd,
                    void (*ready)(struct ring_poll *, bool readable, bool writable),
                    void (*closed)(struct ring_poll *));
void ring_poll_want(struct ring_poll *poll, bool readable, bool writable);
/** Must be called before the descriptor is closed; `ready` doesn't fire any more. */
void ring_poll_close(struct ring_poll *poll);

/* ---- mailbox: what other threads have to say ---- */

struct ring_letter {
    struct ring_letter *next; /* private */
    void (*deliver)(
        struct ring_letter *letter); /* runs on the ring's thread, which then owns the letter */
};

/** Any thread, never blocks. Letters of one sender arrive in order. */
void ring_post(struct ring *ring, struct ring_letter *letter);
