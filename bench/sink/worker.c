/* Sessions and the turn of a worker. A turn handles all that happened, which fills outboxes; then
 * writes the ledger, once for all; and only then lets replies leave. So a reply that a client has
 * read is never ahead of the ledger, and many of them share one write. */
#include "bench/sink/worker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/mem.h"

#define DUE_GRID_US 1000        /* delayed replies leave on this grid, many in one turn */
#define PAUSED_TIMEOUT_US 10000 /* when accepts failed for want of descriptors */

static int64_t clock_us(clockid_t id)
{
    struct timespec now;
    clock_gettime(id, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void peak_raise64(_Atomic uint64_t *peak, uint64_t value)
{
    uint64_t seen = atomic_load_explicit(peak, memory_order_relaxed);
    while (seen < value && !atomic_compare_exchange_weak(peak, &seen, value)) {
    }
}

static void peak_raise32(_Atomic uint32_t *peak, uint32_t value)
{
    uint32_t seen = atomic_load_explicit(peak, memory_order_relaxed);
    while (seen < value && !atomic_compare_exchange_weak(peak, &seen, value)) {
    }
}

static void session_touch(struct session *session)
{
    if (!list_linked(&session->dirty))
        list_push_back(&session->worker->dirty, &session->dirty);
}

void session_accept(struct worker *worker, const struct listener *listener, int fd)
{
    struct sink *sink = worker->sink;
    struct sink_address *address = &sink->addresses[listener->address];
    struct session *session = mem_zalloc(sizeof *session);
    session->worker = worker;
    session->fd = fd;
    session->address = listener->address;
    session->due_us = INT64_MAX;
    list_init(&session->dirty);
    list_init(&session->all);
    list_push_back(&worker->sessions, &session->all);
    counter_add(&worker->counters.sessions, 1);
    peak_raise64(&sink->peak, atomic_fetch_add(&sink->open, 1) + 1);
    peak_raise32(&address->peak, atomic_fetch_add(&address->open, 1) + 1);
    dialogue_init(&session->dialogue, &worker->env, &session->outbox, slice_str(address->host));
    worker->body->start(worker, session);
    session_touch(session);
}

void session_free(struct session *session)
{
    struct worker *worker = session->worker;
    heap_set(worker, session, INT64_MAX);
    list_remove(&session->all);
    list_remove(&session->dirty);
    atomic_fetch_sub(&worker->sink->open, 1);
    atomic_fetch_sub(&worker->sink->addresses[session->address].open, 1);
    if (session->dialogue.messages >
        atomic_load_explicit(&worker->session_messages_max, memory_order_relaxed))
        atomic_store_explicit(&worker->session_messages_max, session->dialogue.messages,
                              memory_order_relaxed);
    dialogue_deinit(&session->dialogue);
    outbox_free(&session->outbox);
    sink_tls_destroy(&session->tls);
    buf_free(&session->sending);
    free(session);
}

void session_drop(struct session *session, bool reset)
{
    if (session->ending)
        return;
    session->ending = true;
    heap_set(session->worker, session, INT64_MAX);
    list_remove(&session->dirty);
    session->worker->body->end(session->worker, session, reset);
}

/* ---- input ---- */

static void tls_failed(struct session *session)
{
    counter_add(&session->worker->counters.tls_failures, 1);
    session_drop(session, false);
}

static void receive_records(struct session *session, struct slice records)
{
    struct worker *worker = session->worker;
    sink_tls_put_records(session->tls, records);
    for (;;) {
        size_t got = 0;
        enum sink_tls_read result =
            sink_tls_read(session->tls, worker->scratch, WORKER_SCRATCH_BYTES, &got);
        if (!session->dialogue.tls && sink_tls_established(session->tls)) {
            counter_add(&worker->counters.tls, 1);
            dialogue_tls_started(&session->dialogue);
        }
        if (result == SINK_TLS_BYTES) {
            dialogue_feed(&session->dialogue, slice_of(worker->scratch, got));
            continue;
        }
        if (result == SINK_TLS_WANTS_MORE)
            session_touch(session);
        else if (result == SINK_TLS_FAILED)
            tls_failed(session);
        else
            session_drop(session, false);
        return;
    }
}

void session_receive(struct session *session, struct slice bytes)
{
    if (session->ending)
        return;
    counter_add(&session->worker->counters.receives, 1);
    if (session->dialogue.tls_wanted && !session->tls) {
        if (session->outbox.bytes.len > 0) { /* the handshake came before our 220 */
            tls_failed(session);
            return;
        }
        session->tls = sink_tls_create(session->worker->sink->tls);
    }
    if (session->tls) {
        receive_records(session, bytes);
    } else {
        dialogue_feed(&session->dialogue, bytes);
        session_touch(session);
    }
    if (session->outbox.bytes.len > SESSION_OUTBOX_BYTES_MAX) {
        counter_add(&session->worker->counters.protocol_errors, 1);
        session_drop(session, true);
    }
}

/* ---- output ---- */

/* Moves what may leave into session->sending; true if that has bytes. */
static bool session_fill(struct session *session)
{
    struct outbox *outbox = &session->outbox;
    struct slice ready = slice_head(buf_slice(&outbox->bytes), outbox->ready_bytes);
    assert(session->sending.len == 0);
    session->sent = 0;
    if (session->tls) {
        if (ready.len > 0 && !sink_tls_write(session->tls, ready)) {
            tls_failed(session);
            return false;
        }
        sink_tls_take_records(session->tls, &session->sending);
        buf_consume(&outbox->bytes, ready.len);
    } else if (ready.len == outbox->bytes.len) {
        struct buf empty = session->sending;
        session->sending = outbox->bytes;
        outbox->bytes = empty;
        buf_clear(&outbox->bytes);
    } else {
        buf_append(&session->sending, ready);
        buf_consume(&outbox->bytes, ready.len);
    }
    outbox->ready_bytes = 0;
    return session->sending.len > 0;
}

/* Does whatever is now possible for a session with something to say. */
static void session_drain(struct session *session)
{
    struct worker *worker = session->worker;
    struct outbox *outbox = &session->outbox;
    outbox_release(outbox, worker->env.now_us);
    int64_t due_us = outbox_next_due(outbox);
    if (due_us != INT64_MAX)
        due_us = (due_us + DUE_GRID_US - 1) / DUE_GRID_US * DUE_GRID_US;
    heap_set(worker, session, due_us);
    if (session->send_busy)
        return;
    if (session_fill(session)) {
        session->send_busy = true;
        counter_add(&worker->counters.sends, 1);
        worker->body->send(worker, session);
    } else if (outbox->then != OUTBOX_KEEP && !session->ending) {
        session_drop(session, outbox->then == OUTBOX_RESET);
    }
}

void session_sent(struct session *session, size_t n)
{
    session->sent += n;
    if (session->sent < session->sending.len) {
        session->worker->body->send(session->worker, session);
        return;
    }
    buf_clear(&session->sending);
    session->send_busy = false;
    if (!session->ending &&
        (session->outbox.ready_bytes > 0 || session->outbox.then != OUTBOX_KEEP || session->tls))
        session_touch(session);
}

/* ---- the turn ---- */

static int64_t next_timeout_us(const struct worker *worker)
{
    int64_t timeout_us = -1;
    if (worker->heap_count > 0)
        timeout_us = MAX_OF(worker->heap[0]->due_us - clock_us(CLOCK_MONOTONIC), (int64_t)0);
    if (worker->listeners_paused > 0 && (timeout_us < 0 || timeout_us > PAUSED_TIMEOUT_US))
        timeout_us = PAUSED_TIMEOUT_US;
    return timeout_us;
}

static void touch_due(struct worker *worker)
{
    while (worker->heap_count > 0 && worker->heap[0]->due_us <= worker->env.now_us) {
        struct session *session = worker->heap[0];
        heap_set(worker, session, INT64_MAX);
        session_touch(session);
    }
}

static void worker_flush(struct worker *worker)
{
    struct err err;
    if (ledger_flush(&worker->ledger, &err))
        return;
    /* A judge that can't keep its record must not go on as if it could. */
    fprintf(stderr, "sink: %s\n", err.text);
    _exit(EXIT_FAILURE);
}

void worker_clock(struct worker *worker)
{
    worker->env.now_us = clock_us(CLOCK_MONOTONIC);
    worker->env.unix_us = clock_us(CLOCK_REALTIME);
}

static void worker_loop(struct worker *worker)
{
    while (!atomic_load(&worker->stop)) {
        worker->body->turn(worker, next_timeout_us(worker));
        touch_due(worker);
        worker_flush(worker);
        struct list *node;
        while ((node = list_pop_front(&worker->dirty)) != NULL)
            session_drain(LIST_ENTRY(node, struct session, dirty));
    }
}

void *worker_main(void *argument)
{
    struct worker *worker = argument;
    list_init(&worker->sessions);
    list_init(&worker->dirty);
    worker->scratch = mem_alloc(WORKER_SCRATCH_BYTES);
    worker_clock(worker);
    worker->opened = worker->body->open(worker, &worker->err);
    bool opened = worker->opened;
    pthread_barrier_wait(worker->ready);
    if (opened) {
        worker_loop(worker);
        worker_flush(worker);
        worker->body->close(worker);
    }
    list_for_each_safe (node, &worker->sessions)
        session_free(LIST_ENTRY(node, struct session, all));
    free(worker->heap);
    free(worker->scratch);
    return NULL;
}
