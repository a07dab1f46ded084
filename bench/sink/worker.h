#pragma once
/* The inside of a running sink: what its files share. A worker is a thread with its own listeners,
 * sessions and counters; it runs on one of two I/O bodies, io_uring or epoll, which only move
 * bytes. */
#include <pthread.h>

#include "bench/sink/dialogue.h"
#include "bench/sink/endpoint.h"
#include "bench/sink/sink.h"
#include "bench/sink/tls.h"
#include "engine/base/list.h"

#define SESSION_OUTBOX_BYTES_MAX (1u << 20) /* a peer that never reads its replies is cut off */

struct sink_address {
    char host[64];
    _Atomic uint32_t open, peak;
};

struct side;

struct sink {
    struct sink_options options;
    char *hostname, *ledger_file, *zone;
    struct dialogue_features features;
    struct script *script;
    struct ledger ledger;
    struct sink_tls_context *tls;
    struct endpoints endpoints;
    struct sink_address *addresses; /* one per endpoint */
    struct worker *workers;
    unsigned workers_count;
    struct side *side; /* DNS and statistics; NULL: neither */
    struct sink_counters side_counters;
    _Atomic uint64_t open, peak;
    int64_t started_us;
};

struct session {
    struct list all, dirty;
    struct worker *worker;
    int fd;
    size_t address; /* index into the sink's */
    struct dialogue dialogue;
    struct outbox outbox;
    struct sink_tls *tls;
    struct buf sending; /* given to the kernel; not touched while send_busy */
    size_t sent;
    unsigned operations; /* io_uring: that will still complete */
    bool send_busy, ending;
    int64_t due_us; /* INT64_MAX: not in the heap */
    size_t heap_at;
};

struct listener {
    int fd;
    size_t address;
    bool paused;
};

struct worker;

struct io_body {
    const char *name;
    MUST_USE bool (*open)(struct worker *worker, struct err *err);
    void (*close)(struct worker *worker);
    /** Waits up to `timeout_us` (-1: for ever), then handles what happened. */
    void (*turn)(struct worker *worker, int64_t timeout_us);
    void (*start)(struct worker *worker, struct session *session); /* begins to receive */
    void (*send)(struct worker *worker, struct session *session); /* session->sending from ->sent */
    void (*end)(struct worker *worker, struct session *session,
                bool reset); /* leads to session_free */
};

extern const struct io_body io_body_uring, io_body_epoll;

struct worker {
    struct sink *sink;
    unsigned index;
    pthread_t thread;
    const struct io_body *body;
    void *io; /* the body's own */
    struct listener *listeners;
    size_t listeners_count;
    size_t listeners_paused; /* accepts failed; tried again at the next turn */
    int wake_fd;
    _Atomic bool stop;
    struct dialogue_env env;
    struct ledger_batch ledger;
    struct sink_counters counters;
    struct histogram latency;
    _Atomic uint64_t session_messages_max;
    struct list sessions, dirty;
    struct session **heap; /* of sessions with replies that fall due later, earliest first */
    size_t heap_count, heap_room;
    char *scratch; /* plain bytes of one TLS read */
    pthread_barrier_t *ready;
    bool opened;
    struct err err;
};

#define WORKER_SCRATCH_BYTES 16384

/** The thread's body; meets the starter at worker->ready with `opened` and perhaps `err` set. */
void *worker_main(void *worker);

/** Reads the clocks; the body calls it in each turn, between waiting and handling. */
void worker_clock(struct worker *worker);

/** A connection came to listener `listener`: greets it. */
void session_accept(struct worker *worker, const struct listener *listener, int fd);
void session_receive(struct session *session, struct slice bytes);
/** The kernel took n bytes of session->sending. */
void session_sent(struct session *session, size_t n);
/** End of input, an error, or our own wish: no more input; freed when the body is done with it. */
void session_drop(struct session *session, bool reset);
/** By the I/O body, when nothing refers to it any more; closes nothing. */
void session_free(struct session *session);

/* Heap of delayed replies. */
void heap_set(struct worker *worker, struct session *session, int64_t due_us);
