/* A session's life: creation, what its owner asks for, what its stream and its timer say, and its
 * end.
 *
 * Nothing is sent from inside an owner's call or a reply's handler. Whatever changes the session
 * calls session_wake(), which queues one task, the pump; that looks at the session and sends all
 * that can be sent now as one flight. So an owner that submits three transactions in a row, or from
 * a task of its own that runs before the pump, gets them into one flight.
 *
 * There is one way out: session_end() keeps the reason and closes the stream; when the stream says
 * `closed`, and so nothing refers to the bodies any more, each open transaction gets its `done`,
 * then the owner `ended` and `closed`. Callbacks may therefore abort, quit or submit: none of it
 * takes anything away from the code that called them but the state, which is looked at after each.
 */
#include "engine/smtp/session.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/base/mem.h"
#include "engine/smtp/session_internal.h"

static struct smtp_session *session_of(struct stream *stream)
{
    return CONTAINER_OF(stream, struct smtp_session, stream);
}

/* ---- its end ---- */

void kept_reply_set(struct kept_reply *kept, const struct smtp_reply *reply)
{
    struct smtp_reply copy = *reply;
    buf_clear(&kept->text);
    buf_append(&kept->text, reply->text);
    copy.text = buf_slice(&kept->text);
    kept->reply = copy;
}

/* Whether something that was handed over must not reach the peer any more, as far as that can be
 * helped. */
static bool must_reset(const struct smtp_session *session, bool violation)
{
    const struct smtp_transaction *front = session_front(session);
    return violation || session->flight_active || (front && front->state != TRANSACTION_WAITING);
}

void session_end(struct smtp_session *session, const struct smtp_reply *reason, bool violation)
{
    if (session->state >= SESSION_CLOSING)
        return;
    kept_reply_set(&session->reason, reason);
    session->violation = violation;
    bool reset = must_reset(session, violation);
    session_set_state(session, SESSION_CLOSING);
    ring_timer_stop(&session->timer);
    ring_task_cancel(&session->pump);
    if (session->opened)
        stream_close(&session->stream, reset);
    else
        ring_task_queue(session->stream.socket.ring, &session->pump);
}

static void end_with_text(struct smtp_session *session, enum smtp_phase phase,
                          struct smtp_enhanced enhanced, bool violation, const char *fmt,
                          va_list args) PRINTF_LIKE(5, 0);
static void end_with_text(struct smtp_session *session, enum smtp_phase phase,
                          struct smtp_enhanced enhanced, bool violation, const char *fmt,
                          va_list args)
{
    char raw[320];
    vsnprintf(raw, sizeof raw, fmt, args);
    struct buf text = BUF_EMPTY;
    smtp_text_append_clean(&text, slice_str(raw));
    struct smtp_reply reply = smtp_reply_local(phase, 421, enhanced, buf_slice(&text));
    session_end(session, &reply, violation);
    buf_free(&text);
}

void session_end_local(struct smtp_session *session, enum smtp_phase phase,
                       struct smtp_enhanced enhanced, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    end_with_text(session, phase, enhanced, false, fmt, args);
    va_end(args);
}

void session_violation(struct smtp_session *session, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    end_with_text(session, session_phase(session), (struct smtp_enhanced){ 4, 5, 0 }, true, fmt,
                  args);
    va_end(args);
}

static void free_buffers(struct smtp_session *session)
{
    buf_free(&session->commands);
    free(session->iov);
    session->iov = NULL;
    session->iov_room = session->iov_count = 0;
    buf_free(&session->held_input);
    buf_free(&session->refusal.text);
    smtp_reply_parser_trim(&session->parser);
}

/* Nothing refers to the session's or the bodies' memory any more. */
static void session_over(struct smtp_session *session)
{
    session->flight_active = false;
    while (!list_empty(&session->open))
        session_settle_at_end(session, session_front(session));
    session_set_state(session, SESSION_CLOSED);
    session->events->ended(session, &session->reason.reply, session->violation);
    session->events->closed(session); /* may destroy the session */
}

void session_finish(struct smtp_session *session, struct smtp_transaction *tx,
                    enum smtp_tx_outcome outcome, const struct smtp_reply *reply)
{
    assert(!tx->in_flight || session->state == SESSION_CLOSING);
    list_remove(&tx->node);
    session->open_count--;
    session->room_told = false;
    transaction_set_state(tx, TRANSACTION_FINISHED);
    if (tx->body_held) {
        tx->body_held = false;
        session->events->body_sent(session, tx);
    }
    session->events->done(session, tx, outcome, reply);
}

/* ---- the pump ---- */

/* Room is offered when a transaction submitted now could leave at once: all idle, or the last one's
 * end-of-data is on its way or about to be, so that the next envelope can go in the same flight. */
static bool may_offer_room(const struct smtp_session *session)
{
    if (session->room_told || smtp_session_room(session) == 0)
        return false;
    if (session->open_count == 0)
        return true;
    const struct smtp_transaction *last =
        LIST_ENTRY(session->open.prev, struct smtp_transaction, node);
    if (session_chunks(session))
        return last->step != STEP_BODY;
    return last->state >= TRANSACTION_GO;
}

static void offer_room(struct smtp_session *session)
{
    while (may_offer_room(session)) {
        session->room_told = true;
        session->events->writable(session); /* smtp_session_submit() takes room_told back */
    }
}

void session_wake(struct smtp_session *session)
{
    if (session->state != SESSION_READY)
        return;
    offer_room(session);
    if (session->state == SESSION_READY)
        ring_task_queue(session->stream.socket.ring, &session->pump);
}

static void session_pump(struct ring_task *task)
{
    struct smtp_session *session = CONTAINER_OF(task, struct smtp_session, pump);
    if (session->state == SESSION_CLOSING &&
        !session->opened) { /* there is no stream to wait for */
        session_over(session);
        return;
    }
    if (session->state != SESSION_READY)
        return;
    session_flight_next(session);
    if (session->state != SESSION_READY)
        return;
    offer_room(session);
    if (session->state != SESSION_READY || session->open_count > 0 || session->flight_active)
        return;
    if (session->quit_wanted) {
        session_set_state(session, SESSION_QUIT);
        session_flight_plain(session, SLICE("QUIT"));
        return;
    }
    session->deadline_ms = 0;
    free_buffers(session);
}

/* ---- the stream's events ---- */

static void on_connected(struct stream *stream)
{
    struct smtp_session *session = session_of(stream);
    if (session->state == SESSION_CONNECTING)
        session_opening_connected(session);
}

static void on_secured(struct stream *stream)
{
    struct smtp_session *session = session_of(stream);
    if (session->state == SESSION_HANDSHAKE)
        session_opening_secured(session);
}

static void take_reply(struct smtp_session *session, struct smtp_reply *reply, bool more)
{
    reply->phase = session_phase(session);
    switch ((enum session_state)session->state) {
    case SESSION_READY:
        session_answer(session, reply);
        return;
    case SESSION_QUIT:
        session_end(session, reply, false);
        return;
    case SESSION_GREETING:
    case SESSION_EHLO:
    case SESSION_HELO:
    case SESSION_STARTTLS:
    case SESSION_AUTH:
        session_opening_reply(session, reply, more);
        return;
    case SESSION_NEW:
    case SESSION_CONNECTING:
    case SESSION_HANDSHAKE:
    case SESSION_CLOSING:
    case SESSION_CLOSED:
        session_violation(session, "a reply nobody asked for");
        return;
    }
}

static void hold_input(struct smtp_session *session, struct slice bytes)
{
    if (session->held_input.len + bytes.len > session->parser.limits->total_bytes_max)
        session_violation(session, "too many replies before the message was taken");
    else
        buf_append(&session->held_input, bytes);
}

/* Takes all of `bytes`, reply by reply. */
static void take_input(struct smtp_session *session, struct slice bytes)
{
    bool replied = false;
    while (bytes.len > 0 && session->state < SESSION_CLOSING) {
        if (session_must_hold(session)) {
            hold_input(session, bytes);
            break;
        }
        struct smtp_reply reply;
        struct err err;
        switch (smtp_reply_parser_feed(&session->parser, &bytes, &reply, &err)) {
        case SMTP_PARSED_MORE:
            break;
        case SMTP_PARSED_BAD:
            session_violation(session, "%s", err.text);
            break;
        case SMTP_PARSED_REPLY:
            replied = true;
            take_reply(session, &reply, bytes.len > 0);
            break;
        }
    }
    if (!replied || session->state >= SESSION_CLOSING)
        return;
    smtp_reply_parser_trim(&session->parser);
    /* The handshake shares the time of STARTTLS; replies that come while a body is on its way must
     * not prolong its time. */
    if (session->state != SESSION_HANDSHAKE && !(session->flight_active && session->flight_body))
        session_arm(session);
    session_wake(session);
}

static void on_received(struct stream *stream, struct slice bytes)
{
    struct smtp_session *session = session_of(stream);
    if (session->state >= SESSION_CLOSING)
        return;
    if (session->held_input.len > 0) {
        hold_input(session, bytes);
        return;
    }
    take_input(session, bytes);
    /* A server that answers MAIL and RCPT in one segment and the chunk in another holds the second
     * back until the first is acknowledged (Nagle); without this, for 40 ms of delayed
     * acknowledgement. */
    const struct smtp_transaction *front = session_front(session);
    if (session->state == SESSION_READY && front && front->chunked && front->replies_due > 0)
        stream_quickack(stream);
}

static void on_sent(struct stream *stream)
{
    struct smtp_session *session = session_of(stream);
    if (session->state >= SESSION_CLOSING)
        return;
    session_flight_sent(session);
    if (session->state >= SESSION_CLOSING)
        return;
    session_arm(session);
    if (session->held_input.len > 0) {
        struct buf held = session->held_input;
        session->held_input = BUF_EMPTY;
        take_input(session, buf_slice(&held));
        buf_free(&held);
    }
    session_wake(session);
}

static void on_ended(struct stream *stream, const struct stream_failure *failure)
{
    struct smtp_session *session = session_of(stream);
    enum smtp_phase phase = session_phase(session);
    switch (failure->end) {
    case STREAM_END_CONNECT_FAILED:
        session_end_local(session, phase, (struct smtp_enhanced){ 4, 4, 1 }, "%s", failure->text);
        return;
    case STREAM_END_TLS_FAILED:
        session->tls_problem = (uint8_t)failure->problem;
        session_end_local(session, phase, (struct smtp_enhanced){ 4, 7, 5 }, "%s", failure->text);
        return;
    case STREAM_END_EOF:
    case STREAM_END_RESET:
        session_end_local(session, phase, (struct smtp_enhanced){ 4, 4, 2 },
                          "%s while waiting for %s", failure->text, session_phase_awaits(phase));
        return;
    }
}

static void on_closed(struct stream *stream)
{
    session_over(session_of(stream));
}

static const struct stream_events stream_events = {
    .connected = on_connected,
    .secured = on_secured,
    .received = on_received,
    .sent = on_sent,
    .ended = on_ended,
    .closed = on_closed,
};

static void on_timer(struct ring_timer *timer)
{
    struct smtp_session *session = CONTAINER_OF(timer, struct smtp_session, timer);
    struct ring *ring = session->stream.socket.ring;
    if (session->deadline_ms == 0)
        return;
    int64_t left_ms = session->deadline_ms - ring_now_ms(ring);
    if (left_ms > 0) {
        session->timer_due_ms = session->deadline_ms;
        ring_timer_start(ring, timer, left_ms);
        return;
    }
    enum smtp_phase phase = session_phase(session);
    bool block = session->state == SESSION_READY && session->flight_active && session->flight_body;
    session_end_local(session, phase,
                      phase == SMTP_PHASE_CONNECT ? (struct smtp_enhanced){ 4, 4, 1 }
                                                  : (struct smtp_enhanced){ 4, 4, 2 },
                      "timed out waiting for %s",
                      session_phase_awaits(block ? SMTP_PHASE_BODY : phase));
}

/* Shown each line of an EHLO reply; the first holds the server's name, not a keyword. */
static void on_reply_line(struct smtp_reply_parser *parser, struct slice text, unsigned number)
{
    struct smtp_session *session = CONTAINER_OF(parser, struct smtp_session, parser);
    if (session->state == SESSION_EHLO && number > 0)
        smtp_capabilities_add(&session->offered, text);
}

/* ---- the owner's calls ---- */

struct smtp_session *smtp_session_create(struct ring *ring,
                                         const struct smtp_session_events *events,
                                         const struct smtp_session_options *options, void *user)
{
    struct smtp_session *session = mem_zalloc(sizeof *session);
    session->events = events;
    session->user = user;
    session->options = *options;
    if (options->tls.server_name)
        session->options.tls.server_name = slice_dup(slice_str(options->tls.server_name));
    list_init(&session->open);
    smtp_reply_parser_init(&session->parser, options->limits);
    session->parser.line = on_reply_line;
    stream_init(&session->stream, ring, &stream_events);
    stream_timely(&session->stream); /* for the fence: see `commit` */
    ring_task_init(&session->pump, session_pump);
    ring_timer_init(&session->timer, on_timer);
    return session;
}

void smtp_session_destroy(struct smtp_session **session)
{
    struct smtp_session *old = *session;
    if (!old)
        return;
    assert(old->state == SESSION_NEW || old->state == SESSION_CLOSED);
    assert(list_empty(&old->open));
    session_auth_end(old);
    free_buffers(old);
    buf_free(&old->reason.text);
    smtp_reply_parser_deinit(&old->parser);
    if (old->options.tls.resume)
        tls_ticket_free(old->options.tls.resume);
    free((char *)old->options.tls.server_name);
    free(old);
    *session = NULL;
}

void *smtp_session_user(const struct smtp_session *session)
{
    return session->user;
}

void smtp_session_open(struct smtp_session *session, const struct sockaddr *peer,
                       socklen_t peer_len, const struct sockaddr *source, socklen_t source_len)
{
    session_set_state(session, SESSION_CONNECTING);
    session->opened = true;
    stream_connect(&session->stream, peer, peer_len, source, source_len);
    session_arm(session);
}

void smtp_session_submit(struct smtp_session *session, struct smtp_transaction *tx)
{
    assert(smtp_session_room(session) > 0);
    assert(tx->recipient_count > 0);
    tx->state = TRANSACTION_WAITING;
    tx->step = STEP_START;
    tx->verdict = VERDICT_OPEN;
    tx->chunked = tx->committed = tx->in_flight = tx->body_held = tx->mail_accepted = false;
    tx->replies_due = tx->recipients_sent = tx->recipients_answered = tx->recipients_accepted = 0;
    tx->recipients_ended = tx->recipients_delivered = 0;
    tx->chunks_sent = tx->chunks_answered = 0;
    tx->body = (struct smtp_body){ 0 };
    for (unsigned i = 0; i < tx->recipient_count; i++) {
        tx->recipients[i].code = 0;
        tx->recipients[i].settled = false;
    }
    list_push_back(&session->open, &tx->node);
    session->open_count++;
    session->room_told = false;
    ring_task_queue(session->stream.socket.ring, &session->pump);
}

unsigned smtp_session_room(const struct smtp_session *session)
{
    if (session->state != SESSION_READY || session->quit_wanted)
        return 0;
    unsigned depth = session_depth(session);
    return depth > session->open_count ? depth - session->open_count : 0;
}

unsigned smtp_session_open_count(const struct smtp_session *session)
{
    return session->open_count;
}

void smtp_session_set_depth(struct smtp_session *session, unsigned depth)
{
    session->options.depth = depth;
}

void smtp_session_quit(struct smtp_session *session)
{
    session->quit_wanted = true;
    if (session->state < SESSION_READY)
        smtp_session_abort(session, "given up before it was ready");
    else if (session->state == SESSION_READY)
        ring_task_queue(session->stream.socket.ring, &session->pump);
}

void smtp_session_abort(struct smtp_session *session, const char *why)
{
    session_end_local(session, session_phase(session), (struct smtp_enhanced){ 4, 3, 2 }, "%s",
                      why);
}

int64_t smtp_session_tls_us(const struct smtp_session *session)
{
    return stream_secure(&session->stream) ? session->tls_us : 0;
}

unsigned smtp_session_capabilities(const struct smtp_session *session)
{
    return session->capabilities.offered;
}

uint64_t smtp_session_size_limit(const struct smtp_session *session)
{
    return session->capabilities.size_limit;
}

const struct stream *smtp_session_stream(const struct smtp_session *session)
{
    return &session->stream;
}

enum smtp_phase smtp_session_phase(const struct smtp_session *session)
{
    return session_phase(session);
}

enum tls_problem smtp_session_tls_problem(const struct smtp_session *session)
{
    return (enum tls_problem)session->tls_problem;
}
