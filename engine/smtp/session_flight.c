/* What goes out. A flight is one array of iovecs: stretches of the command buffer and the bodies'
 * own vectors, never a copy of a body. Each flight is composed by walking the open transactions in
 * order and letting each add what it may send now:
 *
 *   lock-step   one command, once nothing is due
 *   pipelined   RSET? MAIL RCPT… DATA; after 354 the body and its dot; behind that dot the next
 * transaction's envelope chunked     RSET? MAIL RCPT… BDAT n LAST and the body; then the next
 * transaction's, as many as are open
 *
 * The walk stops at the first transaction that has to wait, for its replies or for a flight of its
 * own. RFC 2920, 3.1 lets the content of a message be the first in a group, and RFC 3030 several
 * BDATs stand in one; DATA and QUIT end it.
 *
 * A message larger than a flight goes in several, each under the block time-out; `commit` is asked
 * before the one that holds its end. RSET stands in front of an envelope when the server may still
 * be in the middle of a transaction: after one that was refused before its end-of-data, and between
 * chunked ones in flight, whose fate isn't known yet (RFC 3030, 2). */
#include <stdlib.h>

#include "engine/base/mem.h"
#include "engine/smtp/command.h"
#include "engine/smtp/session_internal.h"

enum {
    FLIGHT_BYTES = 256 * 1024, /* of a body; more goes in several flights */
    FLIGHT_VECTORS =
        480, /* of a body; with another behind it, fewer than the kernel takes at once (1024) */
};

enum composed {
    COMPOSED_ALL,     /* all of it is sent or in this flight: the next one may follow */
    COMPOSED_BLOCKED, /* it waits; what follows must wait, too */
    COMPOSED_GONE,    /* it's finished, and its owner's */
    COMPOSED_STOP,    /* the session is ending */
};

/* ---- the shape ---- */

static bool pipelines(const struct smtp_session *session)
{
    return (session->capabilities.offered & SMTP_CAP_PIPELINING) && !session->options.no_pipelining;
}

bool session_chunks(const struct smtp_session *session)
{
    return pipelines(session) && (session->capabilities.offered & SMTP_CAP_CHUNKING) &&
           !session->options.no_chunking && !session->options.lmtp;
}

unsigned session_depth(const struct smtp_session *session)
{
    unsigned depth = session->options.depth ? session->options.depth : 1;
    if (!pipelines(session))
        return 1;
    return session_chunks(session) ? depth
                                   : MIN_OF(depth, 2U); /* DATA ends a group: there is no third */
}

/* ---- the iovecs ---- */

static struct iovec *push_vector(struct smtp_session *session)
{
    if (session->iov_count == session->iov_room) {
        session->iov_room = session->iov_room ? session->iov_room * 2 : 8;
        session->iov = mem_realloc(session->iov, session->iov_room * sizeof *session->iov);
    }
    return &session->iov[session->iov_count++];
}

/* Adds what was appended to the command buffer since it held `before` bytes. The buffer may still
 * move, so that the base is filled in by launch(): until then NULL stands for "the next bytes of
 * the command buffer". */
static void push_commands(struct smtp_session *session, size_t before)
{
    size_t bytes = session->commands.len - before;
    session->flight_bytes += bytes;
    struct iovec *last = session->iov_count ? &session->iov[session->iov_count - 1] : NULL;
    if (last && !last->iov_base)
        last->iov_len += bytes;
    else
        *push_vector(session) = (struct iovec){ .iov_len = bytes };
}

/* How much of what is left of the body goes into the next flight. */
static size_t next_piece(const struct smtp_body *body)
{
    if (body->bytes <= FLIGHT_BYTES && body->iov_count <= FLIGHT_VECTORS)
        return body->bytes;
    size_t bytes = 0;
    unsigned vectors = 0;
    for (unsigned i = 0; i < body->iov_count && vectors < FLIGHT_VECTORS && bytes < FLIGHT_BYTES;
         i++) {
        bytes += body->iov[i].iov_len;
        vectors += body->iov[i].iov_len > 0;
    }
    return MIN_OF(bytes, (size_t)FLIGHT_BYTES);
}

/* Moves the next `bytes` of the body into the flight. */
static void push_body(struct smtp_session *session, struct smtp_transaction *tx, size_t bytes)
{
    struct smtp_body *body = &tx->body;
    body->bytes -= bytes;
    session->flight_bytes += bytes;
    session->flight_body = true;
    while (bytes > 0) {
        assert(body->iov_count > 0);
        size_t take = MIN_OF(bytes, body->iov->iov_len);
        if (take > 0) {
            assert(body->iov->iov_base);
            *push_vector(session) = (struct iovec){ body->iov->iov_base, take };
        }
        bytes -= take;
        if (take < body->iov->iov_len) {
            body->iov->iov_base = (char *)body->iov->iov_base + take;
            body->iov->iov_len -= take;
        } else {
            body->iov++;
            body->iov_count--;
        }
    }
}

static void in_flight(struct smtp_session *session, struct smtp_transaction *tx, unsigned replies)
{
    tx->in_flight = true;
    tx->replies_due += replies;
    session->flight_last = tx;
}

static void flight_start(struct smtp_session *session)
{
    assert(!session->flight_active);
    buf_clear(&session->commands);
    session->iov_count = 0;
    session->flight_bytes = 0;
    session->flight_body = false;
    session->flight_last = NULL;
}

static void flight_launch(struct smtp_session *session)
{
    char *at = session->commands.data;
    for (unsigned i = 0; i < session->iov_count; i++) {
        if (session->iov[i].iov_base)
            continue;
        session->iov[i].iov_base = at;
        at += session->iov[i].iov_len;
    }
    session->flight_active = true;
    stream_send(&session->stream, session->iov, session->iov_count);
}

/* ---- envelopes ---- */

static void add_rset(struct smtp_session *session)
{
    smtp_command_plain(&session->commands, SLICE("RSET"));
    session->needs_rset = false;
}

static void add_mail(struct smtp_session *session, const struct smtp_transaction *tx)
{
    unsigned offered = session->capabilities.offered;
    smtp_command_mail(&session->commands, tx->sender,
                      &(struct smtp_mail_parameters){
                          .size = (offered & SMTP_CAP_SIZE) ? tx->size_estimate : 0,
                          .body_8bit = tx->body_8bit,
                          .smtputf8 = tx->needs_smtputf8,
                          .requiretls = session->options.requiretls,
                      });
}

/* What the peer's capabilities rule out, before anything is sent (RFC 1870, 6152, 6531). */
static bool allowed(const struct smtp_session *session, const struct smtp_transaction *tx,
                    struct smtp_reply *reply)
{
    unsigned offered = session->capabilities.offered;
    uint64_t limit = session->capabilities.size_limit;
    if (limit > 0 && tx->size_estimate > limit)
        *reply = smtp_reply_local(SMTP_PHASE_MAIL, 552, (struct smtp_enhanced){ 5, 3, 4 },
                                  SLICE("the message is larger than the server takes"));
    else if (tx->needs_smtputf8 && !(offered & SMTP_CAP_SMTPUTF8))
        *reply =
            smtp_reply_local(SMTP_PHASE_MAIL, 550, (struct smtp_enhanced){ 5, 6, 7 },
                             SLICE("the server doesn't offer SMTPUTF8, which an address needs"));
    else if (tx->body_8bit && !(offered & SMTP_CAP_8BITMIME))
        *reply =
            smtp_reply_local(SMTP_PHASE_MAIL, 554, (struct smtp_enhanced){ 5, 6, 3 },
                             SLICE("the server doesn't offer 8BITMIME, which the message needs"));
    else
        return true;
    return false;
}

static bool rset_first(const struct smtp_session *session, const struct smtp_transaction *tx)
{
    return session->needs_rset || (tx->chunked && tx->node.prev != &session->open);
}

/* RSET? MAIL RCPT…, and the state that its first reply asks for. Returns the number of commands. */
static unsigned add_envelope(struct smtp_session *session, struct smtp_transaction *tx)
{
    bool rset = rset_first(session, tx);
    if (rset)
        add_rset(session);
    add_mail(session, tx);
    for (unsigned i = 0; i < tx->recipient_count; i++)
        smtp_command_rcpt(&session->commands, tx->recipients[i].address);
    tx->recipients_sent = tx->recipient_count;
    transaction_set_state(tx, rset ? TRANSACTION_RSET : TRANSACTION_MAIL);
    return rset + 1 + tx->recipient_count;
}

/* The next command of a lock-step envelope. */
static enum composed compose_command(struct smtp_session *session, struct smtp_transaction *tx)
{
    if (tx->replies_due > 0)
        return COMPOSED_BLOCKED;
    size_t before = session->commands.len;
    switch ((enum transaction_step)tx->step) {
    case STEP_START:
        if (rset_first(session, tx)) {
            transaction_set_state(tx, TRANSACTION_RSET);
            add_rset(session);
            tx->step = STEP_MAIL;
            break;
        }
        transaction_set_state(tx, TRANSACTION_MAIL);
        __attribute__((fallthrough));
    case STEP_MAIL:
        add_mail(session, tx);
        tx->step = STEP_RCPT;
        break;
    case STEP_RCPT:
        smtp_command_rcpt(&session->commands, tx->recipients[tx->recipients_sent++].address);
        if (tx->recipients_sent == tx->recipient_count)
            tx->step = STEP_DATA;
        break;
    case STEP_DATA:
        smtp_command_plain(&session->commands, SLICE("DATA"));
        tx->step = STEP_BODY;
        break;
    case STEP_BODY:
    case STEP_END:
        return COMPOSED_BLOCKED;
    }
    push_commands(session, before);
    in_flight(session, tx, 1);
    return COMPOSED_BLOCKED;
}

static enum composed compose_envelope(struct smtp_session *session, struct smtp_transaction *tx)
{
    size_t before = session->commands.len;
    unsigned commands = add_envelope(session, tx);
    smtp_command_plain(&session->commands, SLICE("DATA"));
    tx->step = STEP_BODY;
    push_commands(session, before);
    in_flight(session, tx, commands + 1);
    return COMPOSED_BLOCKED;
}

/* ---- bodies ---- */

static struct smtp_reply cannot_be_made(void)
{
    return smtp_reply_local(SMTP_PHASE_BODY, 451, (struct smtp_enhanced){ 4, 3, 0 },
                            SLICE("the message can't be made"));
}

/* Asks the owner for the body. On false the transaction is finished, if the session isn't ending.
 */
static bool fetch_body(struct smtp_session *session, struct smtp_transaction *tx)
{
    struct smtp_reply refusal = cannot_be_made();
    bool ok = session->events->body(session, tx, tx->chunked, &tx->body, &refusal);
    tx->body_held = ok;
    if (session->state != SESSION_READY)
        return false;
    if (!ok)
        session_finish(session, tx, SMTP_TX_REFUSED, &refusal);
    return ok;
}

static bool ask_commit(struct smtp_session *session, struct smtp_transaction *tx)
{
    tx->committed = session->events->commit(session, tx);
    return tx->committed;
}

static struct smtp_reply withheld(void)
{
    return smtp_reply_local(SMTP_PHASE_BODY, 451, (struct smtp_enhanced){ 4, 3, 2 },
                            SLICE("held back: its outcome couldn't be recorded"));
}

/* After 354 there is no way back but closing before the dot. */
static enum composed give_up_data(struct smtp_session *session, const struct smtp_reply *reason)
{
    session_end(session, reason, false);
    return COMPOSED_STOP;
}

/* 354 has come though nobody is to get the message: a lone dot, whose reply says nothing (RFC
 * 2920, 3.1). */
static enum composed compose_lone_dot(struct smtp_session *session, struct smtp_transaction *tx)
{
    size_t before = session->commands.len;
    smtp_command_plain(&session->commands, SLICE("."));
    push_commands(session, before);
    transaction_set_state(tx, TRANSACTION_DOT);
    tx->step = STEP_END;
    in_flight(session, tx, 1);
    return COMPOSED_ALL;
}

/* After 354: the body, or its next piece. */
static enum composed compose_data(struct smtp_session *session, struct smtp_transaction *tx)
{
    if (tx->verdict != VERDICT_OPEN)
        return compose_lone_dot(session, tx);
    if (!tx->body_held && !fetch_body(session, tx)) {
        struct smtp_reply reason = cannot_be_made();
        return give_up_data(session, &reason);
    }
    size_t piece = next_piece(&tx->body);
    bool last = piece == tx->body.bytes;
    if (last && !ask_commit(session, tx)) {
        struct smtp_reply reason = withheld();
        return give_up_data(session, &reason);
    }
    if (session->state != SESSION_READY)
        return COMPOSED_STOP;
    push_body(session, tx, piece);
    session->flight_body = true;
    if (!last) {
        if (tx->state == TRANSACTION_GO)
            transaction_set_state(tx, TRANSACTION_BODY);
        in_flight(session, tx, 0);
        return COMPOSED_BLOCKED;
    }
    size_t before = session->commands.len;
    smtp_command_plain(&session->commands, SLICE("."));
    push_commands(session, before);
    transaction_set_state(tx, TRANSACTION_DOT);
    tx->step = STEP_END;
    in_flight(session, tx, session->options.lmtp ? tx->recipients_accepted : 1);
    return COMPOSED_ALL;
}

static enum composed add_chunk(struct smtp_session *session, struct smtp_transaction *tx,
                               size_t piece, bool last, size_t before, unsigned commands)
{
    smtp_command_bdat(&session->commands, piece, last);
    push_commands(session, before);
    push_body(session, tx, piece);
    session->flight_body = true;
    tx->chunks_sent++;
    tx->step = last ? STEP_END : STEP_BODY;
    in_flight(session, tx, commands + 1);
    return last ? COMPOSED_ALL : COMPOSED_BLOCKED;
}

/* The whole transaction, or with a large message all up to its first chunk. */
static enum composed compose_chunked(struct smtp_session *session, struct smtp_transaction *tx)
{
    if (!fetch_body(session, tx))
        return session->state == SESSION_READY ? COMPOSED_GONE : COMPOSED_STOP;
    size_t piece = next_piece(&tx->body);
    bool last = piece == tx->body.bytes;
    bool committed = !last || ask_commit(session, tx);
    if (session->state != SESSION_READY)
        return COMPOSED_STOP;
    if (!committed) {
        struct smtp_reply reply = withheld();
        session_finish(session, tx, SMTP_TX_UNSENT, &reply);
        return session->state == SESSION_READY ? COMPOSED_GONE : COMPOSED_STOP;
    }
    size_t before = session->commands.len;
    unsigned commands = add_envelope(session, tx);
    return add_chunk(session, tx, piece, last, before, commands);
}

/* A large message's next chunk, once its envelope was accepted. */
static enum composed compose_chunk(struct smtp_session *session, struct smtp_transaction *tx)
{
    if (tx->verdict != VERDICT_OPEN || tx->state != TRANSACTION_BODY)
        return COMPOSED_BLOCKED;
    size_t piece = next_piece(&tx->body);
    bool last = piece == tx->body.bytes;
    if (last && !ask_commit(session, tx)) {
        if (session->state != SESSION_READY)
            return COMPOSED_STOP;
        tx->verdict = VERDICT_WITHHELD;
        if (session_settle(session, tx))
            return session->state == SESSION_READY ? COMPOSED_GONE : COMPOSED_STOP;
        return COMPOSED_BLOCKED;
    }
    if (session->state != SESSION_READY)
        return COMPOSED_STOP;
    if (last && tx->replies_due == 0)
        transaction_set_state(tx, TRANSACTION_DOT);
    return add_chunk(session, tx, piece, last, session->commands.len, 0);
}

/* ---- the flight ---- */

static enum composed compose_start(struct smtp_session *session, struct smtp_transaction *tx)
{
    struct smtp_reply refusal;
    if (!allowed(session, tx, &refusal)) {
        session_finish(session, tx, SMTP_TX_REFUSED, &refusal);
        return session->state == SESSION_READY ? COMPOSED_GONE : COMPOSED_STOP;
    }
    if (!pipelines(session))
        return compose_command(session, tx);
    tx->chunked = session_chunks(session);
    return tx->chunked ? compose_chunked(session, tx) : compose_envelope(session, tx);
}

static enum composed compose(struct smtp_session *session, struct smtp_transaction *tx)
{
    switch ((enum transaction_step)tx->step) {
    case STEP_START:
        return compose_start(session, tx);
    case STEP_MAIL:
    case STEP_RCPT:
    case STEP_DATA:
        return compose_command(session, tx);
    case STEP_BODY:
        if (tx->chunked)
            return compose_chunk(session, tx);
        if (tx->state == TRANSACTION_GO || tx->state == TRANSACTION_BODY)
            return compose_data(session, tx);
        return COMPOSED_BLOCKED;
    case STEP_END:
        return COMPOSED_ALL;
    }
    return COMPOSED_BLOCKED;
}

void session_flight_next(struct smtp_session *session)
{
    if (session->flight_active)
        return;
    const struct smtp_transaction *front = session_front(session);
    if (front && front->state == TRANSACTION_WAITING && !smtp_reply_parser_idle(&session->parser)) {
        session_violation(session, "the start of a reply nobody asked for");
        return;
    }
    flight_start(session);
    struct list *it = session->open.next;
    while (it != &session->open && session->flight_bytes < FLIGHT_BYTES &&
           session->iov_count < FLIGHT_VECTORS) {
        struct list *before = it->prev;
        switch (compose(session, LIST_ENTRY(it, struct smtp_transaction, node))) {
        case COMPOSED_ALL:
            it = it->next;
            break;
        case COMPOSED_GONE:
            it = before->next;
            break;
        case COMPOSED_BLOCKED:
            it = &session->open;
            break;
        case COMPOSED_STOP:
            return;
        }
    }
    if (session->iov_count == 0)
        return;
    flight_launch(session);
    session_arm(session);
}

void session_flight_hello(struct smtp_session *session, struct slice verb)
{
    flight_start(session);
    smtp_command_hello(&session->commands, verb, session->options.ehlo_name);
    push_commands(session, 0);
    flight_launch(session);
}

void session_flight_auth(struct smtp_session *session, const char *mechanism,
                         const struct slice *initial)
{
    flight_start(session);
    smtp_command_auth(&session->commands, mechanism, initial);
    push_commands(session, 0);
    flight_launch(session);
}

void session_flight_response(struct smtp_session *session, struct slice response)
{
    flight_start(session);
    smtp_command_response(&session->commands, response);
    push_commands(session, 0);
    flight_launch(session);
}

void session_flight_plain(struct smtp_session *session, struct slice verb)
{
    flight_start(session);
    smtp_command_plain(&session->commands, verb);
    push_commands(session, 0);
    flight_launch(session);
    session_arm(session);
}

void session_flight_sent(struct smtp_session *session)
{
    session->flight_active = false;
    if (session->state == SESSION_AUTH)
        sasl_wipe(&session->commands);
    list_for_each_safe (it, &session->open) {
        struct smtp_transaction *tx = LIST_ENTRY(it, struct smtp_transaction, node);
        if (!tx->in_flight)
            continue;
        tx->in_flight = false;
        if (tx->body_held && tx->step == STEP_END) {
            tx->body_held = false;
            session->events->body_sent(session, tx);
            if (session->state >= SESSION_CLOSING)
                return;
        }
    }
}
