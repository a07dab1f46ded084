/* What comes in for transactions. Replies come in the order of their commands, and the transactions
 * are kept in that order, so that each reply belongs to the front one, whose state says to which of
 * its commands. replies_due counts what was sent and not answered: a reply when none is due is one
 * too many, whatever it says.
 *
 * A reply that makes the outcome certain before all of them have come (MAIL refused, all RCPT
 * refused, a chunk refused) becomes the transaction's verdict; the rest is counted and no more.
 * `done` comes with the last.
 *
 * Early replies. A flight's last command can't have been answered before the flight has left: the
 * kernel tells `sent` before anything that the peer could have caused by reading its last byte. A
 * success that comes before that is none (RFC 5321, 4.1.1.4); a refusal is believed, and the
 * session ended, since the peer reads no further. In a flight of several transactions the last
 * replies of those in front may well come while the rest is still leaving. They wait, unread, until
 * the flight has left: only then is it certain that what they answer has left, too. */
#include "engine/smtp/session_internal.h"

static void refuse(struct smtp_session *session, struct smtp_transaction *tx,
                   const struct smtp_reply *reply)
{
    assert(tx == session_front(session));
    if (tx->verdict != VERDICT_OPEN)
        return;
    tx->verdict = VERDICT_REFUSED;
    kept_reply_set(&session->refusal, reply);
}

/* ---- the end of a transaction ---- */

static void finish_by_verdict(struct smtp_session *session, struct smtp_transaction *tx)
{
    struct smtp_reply reply;
    switch ((enum transaction_verdict)tx->verdict) {
    case VERDICT_REFUSED:
        session_finish(session, tx, SMTP_TX_REFUSED, &session->refusal.reply);
        return;
    case VERDICT_NO_RECIPIENT:
        reply = smtp_reply_local(SMTP_PHASE_RCPT, 550, (struct smtp_enhanced){ 5, 1, 0 },
                                 SLICE("no recipient was accepted"));
        session_finish(session, tx, SMTP_TX_NO_RECIPIENT, &reply);
        return;
    case VERDICT_WITHHELD:
        reply = smtp_reply_local(SMTP_PHASE_BODY, 451, (struct smtp_enhanced){ 4, 3, 2 },
                                 SLICE("held back: its outcome couldn't be recorded"));
        session_finish(session, tx, SMTP_TX_UNSENT, &reply);
        return;
    case VERDICT_OPEN:
        break;
    }
    assert(!"a verdict");
}

/* Whether the server may still think that the transaction goes on. */
static bool left_open(const struct smtp_transaction *tx)
{
    return tx->chunked || (tx->mail_accepted && tx->state != TRANSACTION_DOT);
}

bool session_settle(struct smtp_session *session, struct smtp_transaction *tx)
{
    /* At GO a lone dot is owed. */
    if (tx->verdict == VERDICT_OPEN || tx->replies_due > 0 || tx->state == TRANSACTION_GO)
        return false;
    if (left_open(tx))
        session->needs_rset = true;
    finish_by_verdict(session, tx);
    return true;
}

void session_settle_at_end(struct smtp_session *session, struct smtp_transaction *tx)
{
    if (tx->verdict != VERDICT_OPEN)
        finish_by_verdict(session, tx);
    else
        session_finish(session, tx, tx->committed ? SMTP_TX_UNKNOWN : SMTP_TX_UNSENT,
                       &session->reason.reply);
}

/* A refusal says nothing if what it refused is then accepted: nobody knows what that server did. */
static void contradiction(struct smtp_session *session, struct smtp_transaction *tx)
{
    if (tx->committed)
        tx->verdict = VERDICT_OPEN;
    session_violation(session, "accepted in the middle of what was refused");
}

/* ---- one handler per awaited reply; a 421 never gets here ---- */

static void rset_reply(struct smtp_session *session, struct smtp_transaction *tx,
                       const struct smtp_reply *reply)
{
    if (reply->code / 100 != 2)
        session_violation(session, "RSET answered with code %u", reply->code);
    else
        transaction_set_state(tx, TRANSACTION_MAIL);
}

static void mail_reply(struct smtp_session *session, struct smtp_transaction *tx,
                       const struct smtp_reply *reply)
{
    if (reply->code / 100 == 3) {
        session_violation(session, "MAIL answered with code %u", reply->code);
        return;
    }
    tx->mail_accepted = reply->code < 300;
    if (!tx->mail_accepted)
        refuse(session, tx, reply);
    transaction_set_state(tx, TRANSACTION_RCPT);
}

/* After the last RCPT's reply: what comes next depends on what was sent. */
static void recipients_done(struct smtp_transaction *tx)
{
    if (tx->recipients_accepted == 0 && tx->verdict == VERDICT_OPEN)
        tx->verdict = VERDICT_NO_RECIPIENT;
    if (!tx->chunked)
        transaction_set_state(tx, TRANSACTION_DATA);
    else
        transaction_set_state(tx, tx->step == STEP_END && tx->chunks_sent == 1 ? TRANSACTION_DOT
                                                                               : TRANSACTION_BODY);
}

static void rcpt_reply(struct smtp_session *session, struct smtp_transaction *tx,
                       const struct smtp_reply *reply)
{
    unsigned index = tx->recipients_answered++;
    if (reply->code / 100 == 3) {
        session_violation(session, "RCPT answered with code %u", reply->code);
        return;
    }
    if (!tx->mail_accepted) {
        if (reply->code < 300) {
            contradiction(session, tx);
            return;
        }
    } else {
        tx->recipients[index].code = reply->code;
        tx->recipients[index].settled = reply->code >= 400;
        if (reply->code < 300)
            tx->recipients_accepted++;
        else
            session->events->recipient(session, tx, index, reply);
        if (session->state != SESSION_READY)
            return;
    }
    if (tx->recipients_answered == tx->recipient_count)
        recipients_done(tx);
}

static void data_reply(struct smtp_session *session, struct smtp_transaction *tx,
                       const struct smtp_reply *reply)
{
    if (reply->code / 100 == 2) {
        session_violation(session, "DATA answered with code %u", reply->code);
    } else if (reply->code / 100 == 3 && session->options.lmtp && tx->verdict != VERDICT_OPEN) {
        /* RFC 2033, 4.2: without a recipient DATA must fail; how many replies a dot would get is
         * anybody's guess. */
        session_violation(session, "DATA accepted without a recipient");
    } else if (reply->code / 100 == 3) {
        transaction_set_state(tx, TRANSACTION_GO);
        session->room_told = false;
    } else {
        refuse(session, tx, reply);
    }
}

/* BDAT without LAST. */
static void chunk_reply(struct smtp_session *session, struct smtp_transaction *tx,
                        const struct smtp_reply *reply)
{
    tx->chunks_answered++;
    if (reply->code / 100 == 3) {
        session_violation(session, "BDAT answered with code %u", reply->code);
        return;
    }
    if (reply->code >= 400)
        refuse(session, tx, reply);
    if (tx->step == STEP_END && tx->chunks_answered + 1 == tx->chunks_sent)
        transaction_set_state(tx, TRANSACTION_DOT);
}

static void dot_reply(struct smtp_session *session, struct smtp_transaction *tx,
                      const struct smtp_reply *reply)
{
    if (reply->code / 100 == 3) {
        session_violation(session, "the end of data answered with code %u", reply->code);
    } else if (tx->verdict == VERDICT_REFUSED && tx->chunked && reply->code < 300) {
        contradiction(session, tx);
    } else if (tx->verdict != VERDICT_OPEN) {
        return; /* session_settle() says it */
    } else if (reply->code >= 400) {
        session->needs_rset = session->needs_rset || left_open(tx);
        session_finish(session, tx, SMTP_TX_REFUSED, reply);
    } else {
        assert(tx->committed && !tx->in_flight && tx->replies_due == 0 &&
               tx->recipients_accepted > 0);
        session_finish(session, tx, SMTP_TX_ACCEPTED, reply);
    }
}

/* LMTP: one of the replies to the end of data, each for one accepted recipient in their order (RFC
 * 2033, 4.2). The last one ends the transaction; when the session is lost before, those that have
 * had theirs are settled, and only the others' outcome is unknown. */
static void recipient_ended(struct smtp_session *session, struct smtp_transaction *tx,
                            const struct smtp_reply *reply)
{
    if (reply->code / 100 == 3) {
        session_violation(session, "the end of data answered with code %u", reply->code);
        return;
    }
    unsigned index = tx->recipients_ended;
    while (index < tx->recipient_count && tx->recipients[index].settled)
        index++;
    assert(index < tx->recipient_count);
    tx->recipients_ended = index + 1;
    tx->recipients[index].code = reply->code;
    tx->recipients[index].settled = true;
    if (reply->code < 300) {
        tx->recipients_delivered++;
        kept_reply_set(&session->refusal, reply);
    } else {
        session->events->recipient(session, tx, index, reply);
        if (session->state != SESSION_READY)
            return;
    }
    if (tx->replies_due > 0)
        return;
    if (tx->recipients_delivered > 0) {
        session_finish(session, tx, SMTP_TX_ACCEPTED, &session->refusal.reply);
    } else {
        tx->verdict = VERDICT_NO_RECIPIENT;
        finish_by_verdict(session, tx);
    }
}

/* Whether the replies still due to it are to its end-of-data, one per recipient. */
static bool awaits_each(const struct smtp_session *session, const struct smtp_transaction *tx)
{
    return session->options.lmtp && tx->step == STEP_END && tx->replies_due > 0;
}

/* ---- all replies ---- */

/* Nothing was asked. */
static void unasked(struct smtp_session *session, struct smtp_transaction *front,
                    const struct smtp_reply *reply)
{
    bool in_body = front && (front->state == TRANSACTION_GO || front->state == TRANSACTION_BODY);
    if (in_body && reply->code >= 400) {
        refuse(session, front, reply);
        session_end(session, reply, false);
    } else if (reply->code == 421) {
        session_end(session, reply, false);
    } else {
        session_violation(session, "a reply nobody asked for: %u %.*s", reply->code,
                          SLICE_FMT(reply->text));
    }
}

/* The reply to the last command of a flight that hasn't left. */
static void early(struct smtp_session *session, struct smtp_transaction *tx,
                  const struct smtp_reply *reply)
{
    if (reply->code < 400) {
        session_violation(session, "answered with %u before all of it was sent", reply->code);
        return;
    }
    if (!awaits_each(session, tx) || tx->replies_due == 1)
        refuse(session, tx, reply);
    session_end(session, reply, false);
}

static bool is_early(const struct smtp_session *session, const struct smtp_transaction *tx)
{
    return session->flight_active && tx == session->flight_last &&
           (tx->replies_due == 1 || awaits_each(session, tx));
}

bool session_must_hold(const struct smtp_session *session)
{
    const struct smtp_transaction *front = session_front(session);
    return session->state == SESSION_READY && session->flight_active && front && front->in_flight &&
           front != session->flight_last && front->step == STEP_END &&
           (front->replies_due == 1 || awaits_each(session, front));
}

void session_answer(struct smtp_session *session, const struct smtp_reply *reply)
{
    struct smtp_transaction *tx = session_front(session);
    if (!tx || tx->replies_due == 0) {
        unasked(session, tx, reply);
        return;
    }
    if (is_early(session, tx)) {
        early(session, tx, reply);
        return;
    }
    bool each = awaits_each(session, tx);
    tx->replies_due--;
    if (each) { /* 421 answers one recipient like any refusal, and then ends the session */
        recipient_ended(session, tx, reply);
        if (reply->code == 421)
            session_end(session, reply, false);
        return;
    }
    if (reply->code == 421) {
        refuse(session, tx, reply);
        session_end(session, reply, false);
        return;
    }
    enum transaction_state state = (enum transaction_state)tx->state;
    switch (state) {
    case TRANSACTION_RSET:
        rset_reply(session, tx, reply);
        break;
    case TRANSACTION_MAIL:
        mail_reply(session, tx, reply);
        break;
    case TRANSACTION_RCPT:
        rcpt_reply(session, tx, reply);
        break;
    case TRANSACTION_DATA:
        data_reply(session, tx, reply);
        break;
    case TRANSACTION_BODY:
        chunk_reply(session, tx, reply);
        break;
    case TRANSACTION_DOT:
        dot_reply(session, tx, reply);
        break;
    case TRANSACTION_WAITING:
    case TRANSACTION_GO:
    case TRANSACTION_FINISHED:
        session_violation(session, "a reply nobody asked for");
        return;
    }
    /* After a final reply tx may be its owner's again. */
    if (session->state == SESSION_READY && session_front(session) == tx)
        session_settle(session, tx);
}
