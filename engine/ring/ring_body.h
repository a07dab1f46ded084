#pragma once
/* What the three bodies share, private to this folder. A body embeds `struct ring` as its first
 * member and fills in the table of operations. The common code (ring.c, socket.c) keeps each
 * object's state and calls the owner's callbacks; a body moves bytes and reports through the
 * ring_event_…() functions, from its `wait` only. */
#include <pthread.h>
#include <poll.h>

#include "engine/ring/ring.h"
#include "engine/ring/wheel.h"

struct ring_ops {
    const char *name;
    void (*destroy)(struct ring *ring);
    /** Starts what was asked for since the last turn, waits at most ring_wait_ms(ring, wait_ms),
     * brings the clock up to date and reports completions. */
    void (*wait)(struct ring *ring, int64_t wait_ms);
    /** Interrupts `wait`; any thread. */
    void (*wake)(struct ring *ring);
    /** Reads the clocks into ring->now_ms and ring->wall_ms. */
    void (*clock)(struct ring *ring);
    int64_t (*clock_us)(const struct ring *ring);
    /** Nothing will happen any more unless the caller starts something; NULL: never so. */
    bool (*idle)(struct ring *ring);

    void (*connect)(struct ring_socket *socket, const struct sockaddr *peer, socklen_t peer_len,
                    const struct sockaddr *source, socklen_t source_len);
    void (*adopt)(struct ring_socket *socket, int fd);
    /** SOCKET_RECEIVING was set or cleared on an open socket. */
    void (*receive)(struct ring_socket *socket);
    /** socket->iov is to be sent. */
    void (*send)(struct ring_socket *socket);
    /** socket->work had WORK_SEND: try it; may be NULL. */
    void (*flush)(struct ring_socket *socket);
    void (*quickack)(struct ring_socket *socket);
    /** FIN, now: nothing is being sent. */
    void (*shutdown)(struct ring_socket *socket);
    /** Stops all operations; `pending` falls to 0 in time. Closes the descriptor then or now. */
    void (*close)(struct ring_socket *socket, bool reset);
    bool (*local)(const struct ring_socket *socket, struct sockaddr_storage *out, socklen_t *len);
    /** socket->work has WORK_RECEIVE: go on reading; may be NULL. */
    void (*resume)(struct ring_socket *socket);

    void (*poll_open)(struct ring_poll *poll);
    /** poll->wanted has changed. */
    void (*poll_want)(struct ring_poll *poll);
    void (*poll_close)(struct ring_poll *poll);
};

enum socket_state {
    SOCKET_IDLE, /* initialised, or closed again */
    SOCKET_CONNECTING,
    SOCKET_OPEN,
    SOCKET_FAILED, /* couldn't connect */
    SOCKET_CLOSING,
};

enum socket_flag {
    SOCKET_RECEIVING = 1 << 0, /* the owner wants bytes */
    SOCKET_SENDING = 1 << 1,   /* from ring_socket_send() to `sent` */
    SOCKET_ENDED = 1 << 2,     /* `ended` was called */
    SOCKET_FIN = 1 << 3,       /* shut down after the flight */
    SOCKET_TCP = 1 << 4,
    SOCKET_RESET = 1 << 5,
    SOCKET_TIMELY = 1 << 6, /* its flights leave in time or not at all */
    /* the bodies' own */
    SOCKET_ARMED = 1 << 8,      /* io_uring: a multishot receive is under way */
    SOCKET_CANCELLING = 1 << 9, /* io_uring: … and is being cancelled */
    SOCKET_SEND_ARMED = 1 << 13,
    SOCKET_READABLE = 1 << 10, /* epoll: an edge was seen and not used up */
    SOCKET_HANGUP = 1 << 11,   /* epoll: read on until the end */
    SOCKET_WRITABLE = 1 << 12,
};

/** What a socket on ring->working waits to have done. */
enum socket_work {
    WORK_SEND = 1 << 0,    /* epoll: try to send */
    WORK_RECEIVE = 1 << 1, /* epoll: try to receive */
    WORK_CONNECTED = 1 << 2,
    WORK_SENT = 1 << 3,
    WORK_CLOSED = 1 << 4,
    WORK_ACK = 1 << 5,
};

enum poll_state { POLL_IDLE, POLL_OPEN, POLL_CLOSING };

/** Names an object towards the kernel, so that a late completion can't reach its memory's next
 * tenant. */
struct ring_slot {
    void *object; /* NULL: free */
    uint32_t generation;
    uint32_t next_free;
};

struct ring {
    const struct ring_ops *ops;
    int64_t now_ms, wall_ms;
    int64_t grain_ms; /* added to delays, because now_ms is rounded down */
    struct wheel wheel;
    struct list tasks;
    struct list working; /* sockets with `work` */
    struct list closing; /* polls whose `closed` is due */
    struct ring_slot *slots;
    uint32_t slot_count, slot_free; /* slot 0 stays unused */
    uint32_t live;                  /* open sockets and polls */
    bool in_turn;
    pthread_t thread;
    struct ring_stats stats;
    struct rng rng;
    /* touched by other threads */
    struct ring_letter *letters; /* newest first */
    bool stopped;
};

/** Counters are read by other threads: no lock, but whole values. */
#define RING_COUNT(ring, field) RING_ADD(ring, field, 1)
#define RING_ADD(ring, field, n)                                                                   \
    __atomic_store_n(&(ring)->stats.field, (ring)->stats.field + (n), __ATOMIC_RELAXED)

bool ring_uring_create(struct ring **out, const struct ring_options *options, struct err *err);
bool ring_epoll_create(struct ring **out, const struct ring_options *options, struct err *err);
bool ring_sim_body_create(struct ring **out, const struct ring_options *options, struct err *err);

/** For a body's constructor and destructor. */
void ring_init(struct ring *ring, const struct ring_ops *ops, const struct ring_options *options);
void ring_deinit(struct ring *ring);
/** The system's clocks, for `clock` and `clock_us`. */
void ring_system_clock(struct ring *ring);
int64_t ring_system_clock_us(const struct ring *ring);
/** Work is waiting that must not wait for the kernel. */
bool ring_busy(const struct ring *ring);
/** How long `wait` may wait: not at all, until the next timer may be due, or as long as the caller
 * allows. */
int64_t ring_wait_ms(struct ring *ring, int64_t wait_ms);

uint32_t ring_slot_take(struct ring *ring, void *object);
void ring_slot_release(struct ring *ring, uint32_t slot);
/** The object of a slot if it's still that generation's, else NULL. */
static inline void *ring_slot_object(const struct ring *ring, uint32_t slot, uint32_t generation)
{
    if (UNLIKELY(slot >= ring->slot_count || ring->slots[slot].generation != generation))
        return NULL;
    return ring->slots[slot].object;
}

/** Whether the turn took so long (the process was stopped, the machine slept) that what it wanted
 * sent may rest on things that aren't so any more, such as a lease. */
static inline bool ring_stalled(const struct ring *ring)
{
    return ring->ops->clock_us(ring) / 1000 - ring->now_ms > RING_STALL_MS;
}

/** Puts the socket on the list of those with work. */
void ring_work_add(struct ring_socket *socket, enum socket_work work);
/** Starts, before the turn waits, what was asked for since the last: flights (through ops->flush)
 * and acknowledgements, unless a flight carries them. */
void ring_work_start(struct ring *ring);
/** Runs what sockets on the list wait for; what they add is for the next turn. */
void ring_work_run(struct ring *ring);
void ring_polls_run(struct ring *ring);

/** Reports from `wait` to the owner. All but `closing` do nothing for a socket that is closing. */
void ring_event_connected(struct ring_socket *socket, int error);
void ring_event_received(struct ring_socket *socket, struct slice bytes);
void ring_event_ended(struct ring_socket *socket, int error);
void ring_event_sent(struct ring_socket *socket, int error);
/** An operation of a closing socket or poll has completed: see whether it was the last. */
void ring_event_socket_idle(struct ring_socket *socket);
void ring_event_poll_idle(struct ring_poll *poll);
void ring_event_ready(struct ring_poll *poll, unsigned revents);

/** Takes `bytes` off the front of the flight under way; true when nothing is left. */
bool ring_flight_advance(struct ring_socket *socket, size_t bytes);
/** A socket towards `peer`, bound to `source` if any; -1 and errno in *error. */
int ring_fd_open(const struct sockaddr *peer, const struct sockaddr *source, socklen_t source_len,
                 int type_flags, int *error);
bool ring_fd_local(int fd, struct sockaddr_storage *out, socklen_t *len);
void ring_fd_quickack(int fd);
/** Makes close() drop pending data and send RST. */
void ring_fd_reset(int fd);
bool ring_fd_is_tcp(int fd);
