/* The tables of the state machine: which states there are, which may follow which, and how long
 * each may last. Two machines run one inside the other: the session's, and within SESSION_READY
 * that of each open transaction, of which the front one gets the replies. */
#include "engine/smtp/session_internal.h"

#define TO(state) (1u << (state))

static const struct {
    enum smtp_phase phase;
    unsigned next; /* TO(…), besides SESSION_CLOSING, which may follow any */
} session_states[] = {
    [SESSION_NEW] = { SMTP_PHASE_CONNECT, TO(SESSION_CONNECTING) },
    [SESSION_CONNECTING] = { SMTP_PHASE_CONNECT, TO(SESSION_GREETING) | TO(SESSION_HANDSHAKE) },
    [SESSION_HANDSHAKE] = { SMTP_PHASE_TLS, TO(SESSION_GREETING) | TO(SESSION_EHLO) },
    [SESSION_GREETING] = { SMTP_PHASE_GREETING, TO(SESSION_EHLO) },
    [SESSION_EHLO] = { SMTP_PHASE_EHLO, TO(SESSION_HELO) | TO(SESSION_STARTTLS) | TO(SESSION_AUTH) |
                                            TO(SESSION_READY) },
    [SESSION_HELO] = { SMTP_PHASE_EHLO, TO(SESSION_READY) },
    [SESSION_STARTTLS] = { SMTP_PHASE_STARTTLS,
                           TO(SESSION_HANDSHAKE) | TO(SESSION_AUTH) | TO(SESSION_READY) },
    [SESSION_AUTH] = { SMTP_PHASE_AUTH, TO(SESSION_READY) },
    [SESSION_READY] = { SMTP_PHASE_IDLE, TO(SESSION_QUIT) },
    [SESSION_QUIT] = { SMTP_PHASE_QUIT, 0 },
    [SESSION_CLOSING] = { SMTP_PHASE_QUIT, TO(SESSION_CLOSED) },
    [SESSION_CLOSED] = { SMTP_PHASE_QUIT, 0 },
};

static const struct {
    enum smtp_phase phase;
    unsigned next; /* TO(…), besides TRANSACTION_FINISHED */
} transaction_states[] = {
    [TRANSACTION_WAITING] = { SMTP_PHASE_IDLE, TO(TRANSACTION_RSET) | TO(TRANSACTION_MAIL) },
    [TRANSACTION_RSET] = { SMTP_PHASE_RSET, TO(TRANSACTION_MAIL) },
    [TRANSACTION_MAIL] = { SMTP_PHASE_MAIL, TO(TRANSACTION_RCPT) },
    [TRANSACTION_RCPT] = { SMTP_PHASE_RCPT,
                           TO(TRANSACTION_DATA) | TO(TRANSACTION_BODY) | TO(TRANSACTION_DOT) },
    [TRANSACTION_DATA] = { SMTP_PHASE_DATA, TO(TRANSACTION_GO) },
    [TRANSACTION_GO] = { SMTP_PHASE_BODY, TO(TRANSACTION_BODY) | TO(TRANSACTION_DOT) },
    [TRANSACTION_BODY] = { SMTP_PHASE_BODY, TO(TRANSACTION_DOT) },
    [TRANSACTION_DOT] = { SMTP_PHASE_DOT, 0 },
    [TRANSACTION_FINISHED] = { SMTP_PHASE_IDLE, 0 },
};

void session_set_state(struct smtp_session *session, enum session_state next)
{
    assert((session_states[session->state].next & TO(next)) ||
           (next == SESSION_CLOSING && session->state < SESSION_CLOSING));
    session->state = (uint8_t)next;
}

void transaction_set_state(struct smtp_transaction *tx, enum transaction_state next)
{
    assert((transaction_states[tx->state].next & TO(next)) ||
           (next == TRANSACTION_FINISHED && tx->state != TRANSACTION_FINISHED));
    tx->state = (uint8_t)next;
}

enum smtp_phase session_phase(const struct smtp_session *session)
{
    const struct smtp_transaction *front = session_front(session);
    if (session->state != SESSION_READY || !front)
        return session_states[session->state].phase;
    /* The reply to a body that hasn't left can't be waited for yet. */
    if (session->flight_active && session->flight_body && front->in_flight &&
        front->state == TRANSACTION_DOT)
        return SMTP_PHASE_BODY;
    return transaction_states[front->state].phase;
}

const char *session_phase_awaits(enum smtp_phase phase)
{
    static const char *const names[] = {
        [SMTP_PHASE_DNS] = "the DNS answer",
        [SMTP_PHASE_CONNECT] = "the connection",
        [SMTP_PHASE_GREETING] = "the greeting",
        [SMTP_PHASE_EHLO] = "the reply to EHLO",
        [SMTP_PHASE_STARTTLS] = "the reply to STARTTLS",
        [SMTP_PHASE_TLS] = "the TLS handshake",
        [SMTP_PHASE_AUTH] = "the reply to AUTH",
        [SMTP_PHASE_MAIL] = "the reply to MAIL",
        [SMTP_PHASE_RCPT] = "the reply to RCPT",
        [SMTP_PHASE_DATA] = "the reply to DATA",
        [SMTP_PHASE_BODY] = "the message to be taken",
        [SMTP_PHASE_DOT] = "the reply to the end of data",
        [SMTP_PHASE_RSET] = "the reply to RSET",
        [SMTP_PHASE_IDLE] = "nothing",
        [SMTP_PHASE_QUIT] = "the reply to QUIT",
    };
    assert((size_t)phase < ARRAY_LEN(names));
    return names[phase];
}

/* RFC 5321, 4.5.3.2; what it doesn't list from experience (see session.h). */
static unsigned timeout_ms(const struct smtp_timeouts *timeouts, enum smtp_phase phase)
{
    switch (phase) {
    case SMTP_PHASE_CONNECT:
        return timeouts->connect ? timeouts->connect : 30 * 1000;
    case SMTP_PHASE_GREETING:
        return timeouts->greeting ? timeouts->greeting : 300 * 1000;
    case SMTP_PHASE_EHLO:
        return timeouts->ehlo ? timeouts->ehlo : 300 * 1000;
    case SMTP_PHASE_STARTTLS:
    case SMTP_PHASE_TLS:
        return timeouts->starttls ? timeouts->starttls : 60 * 1000;
    case SMTP_PHASE_AUTH:
        return timeouts->auth ? timeouts->auth : 60 * 1000;
    case SMTP_PHASE_MAIL:
        return timeouts->mail ? timeouts->mail : 300 * 1000;
    case SMTP_PHASE_RCPT:
        return timeouts->rcpt ? timeouts->rcpt : 300 * 1000;
    case SMTP_PHASE_DATA:
        return timeouts->data ? timeouts->data : 120 * 1000;
    case SMTP_PHASE_BODY:
        return timeouts->block ? timeouts->block : 180 * 1000;
    case SMTP_PHASE_DOT:
        return timeouts->dot ? timeouts->dot : 600 * 1000;
    case SMTP_PHASE_RSET:
        return timeouts->rset ? timeouts->rset : 20 * 1000;
    case SMTP_PHASE_QUIT:
        return timeouts->quit ? timeouts->quit : 5 * 1000;
    case SMTP_PHASE_DNS:
    case SMTP_PHASE_IDLE:
        return 0;
    }
    return 0;
}

/* The phase whose time-out runs: a body on its way is under its own, whatever reply comes first. */
static enum smtp_phase clock_phase(const struct smtp_session *session)
{
    if (session->state == SESSION_READY && session->flight_active && session->flight_body)
        return SMTP_PHASE_BODY;
    return session_phase(session);
}

void session_arm(struct smtp_session *session)
{
    if (session->state >= SESSION_CLOSING)
        return;
    static const struct smtp_timeouts defaults = { 0 };
    const struct smtp_timeouts *timeouts =
        session->options.timeouts ? session->options.timeouts : &defaults;
    int64_t ms = timeout_ms(timeouts, clock_phase(session));
    if (ms == 0) {
        session->deadline_ms = 0;
        return;
    }
    struct ring *ring = session->stream.socket.ring;
    session->deadline_ms = ring_now_ms(ring) + ms;
    /* A deadline that only moves away needs no timer operation: the timer looks at it when it
     * fires. */
    if (!ring_timer_running(&session->timer) || session->timer_due_ms > session->deadline_ms) {
        session->timer_due_ms = session->deadline_ms;
        ring_timer_start(ring, &session->timer, ms);
    }
}
