#pragma once
/* Private to the session's files: session.c (life, the stream's events, its end), session_state.c
 * (the tables), session_opening.c (greeting to TLS), session_auth.c (AUTH), session_flight.c (what
 * goes out), session_answer.c (what comes in for transactions). */
#include "engine/smtp/session.h"

enum session_state {
    SESSION_NEW,
    SESSION_CONNECTING,
    SESSION_HANDSHAKE,
    SESSION_GREETING,
    SESSION_EHLO,
    SESSION_HELO,
    SESSION_STARTTLS,
    SESSION_AUTH,
    SESSION_READY, /* idle, or with transactions: their states say the rest */
    SESSION_QUIT,
    SESSION_CLOSING, /* the stream is closing; then come each open `done`, `ended`, `closed` */
    SESSION_CLOSED,
};

/** Which reply a transaction waits for (whether its command was sent is another matter:
 * replies_due). */
enum transaction_state {
    TRANSACTION_WAITING, /* submitted, nothing sent */
    TRANSACTION_RSET,
    TRANSACTION_MAIL,
    TRANSACTION_RCPT,
    TRANSACTION_DATA,
    TRANSACTION_GO,   /* 354 has come: the body is to be sent, no reply is due */
    TRANSACTION_BODY, /* the body is being sent, its end isn't; BDAT: a chunk's reply but the last's
                       */
    TRANSACTION_DOT,  /* the reply to end-of-data, or to BDAT LAST */
    TRANSACTION_FINISHED,
};

/** What a transaction has to send next. */
enum transaction_step { STEP_START, STEP_MAIL, STEP_RCPT, STEP_DATA, STEP_BODY, STEP_END };

/** An outcome that is certain before all replies have come; the rest of them is only counted. */
enum transaction_verdict {
    VERDICT_OPEN,
    VERDICT_REFUSED,      /* by the reply kept in session->refusal; only the front transaction */
    VERDICT_NO_RECIPIENT, /* each RCPT was refused */
    VERDICT_WITHHELD,     /* `commit` said no before the last chunk */
};

struct kept_reply { /* a reply with a text of its own */
    struct smtp_reply reply;
    struct buf text;
};

struct smtp_session {
    struct stream stream;
    const struct smtp_session_events *events;
    void *user;
    struct smtp_session_options options; /* tls.server_name is ours */
    uint8_t state; /* enum session_state; assigned by session_set_state() only */
    bool opened;   /* the stream was used: it must be closed */
    bool quit_wanted;
    bool needs_rset;     /* the server may still be in the middle of a transaction that is over */
    bool room_told;      /* `writable` was called, and nothing has changed since */
    bool violation;      /* with `reason` */
    uint8_t tls_problem; /* enum tls_problem */
    bool auth_cancelled; /* "*" was sent; why is in `refusal` */
    bool flight_active;  /* handed to the stream, `sent` hasn't come */
    bool flight_body;    /* it holds a part of a body: under the block time-out */
    struct smtp_transaction *flight_last; /* whose command or bytes end the flight */
    struct smtp_capabilities capabilities,
        offered;      /* `offered`: of the EHLO reply that is coming in */
    struct list open; /* transactions, in the order of submission, which is that of their replies */
    unsigned open_count;
    struct smtp_reply_parser parser;
    struct ring_task pump;
    struct ring_timer timer;
    int64_t tls_us;       /* the handshake's start, then its duration; 0: none */
    int64_t deadline_ms;  /* 0: none */
    int64_t timer_due_ms; /* may be before the deadline; the timer is restarted then */
    struct buf commands;  /* of the flight */
    struct iovec *iov;    /* of the flight */
    unsigned iov_count, iov_room;
    size_t flight_bytes;
    struct buf held_input;     /* bytes that wait for `sent`, see session_must_hold() */
    struct sasl *sasl;         /* while in SESSION_AUTH */
    struct kept_reply refusal; /* of the front transaction with VERDICT_REFUSED, or LMTP's last
                                  acceptance of it */
    struct kept_reply reason;  /* why the session ended */
};

static inline struct smtp_transaction *session_front(const struct smtp_session *session)
{
    if (list_empty(&session->open))
        return NULL;
    return LIST_ENTRY(session->open.next, struct smtp_transaction, node);
}

/* ---- session_state.c ---- */

/** Asserts that the arrow is in the table. */
void session_set_state(struct smtp_session *session, enum session_state next);
void transaction_set_state(struct smtp_transaction *tx, enum transaction_state next);
/** The phase that the session is in, by its own state, its flight and its front transaction. */
enum smtp_phase session_phase(const struct smtp_session *session);
/** Sets the deadline for what is waited for now; to be called after each whole reply and each
 * flight. */
void session_arm(struct smtp_session *session);
/** "the greeting", "the reply to MAIL", for messages. */
const char *session_phase_awaits(enum smtp_phase phase);

/* ---- session.c ---- */

void kept_reply_set(struct kept_reply *kept, const struct smtp_reply *reply);
/** Ends the session: closes the stream; `done`s, `ended` and `closed` follow. No effect if it's
 * ending already. */
void session_end(struct smtp_session *session, const struct smtp_reply *reason, bool violation);
/** As session_end with a local reply, "421 4.x.y TEXT". */
void session_end_local(struct smtp_session *session, enum smtp_phase phase,
                       struct smtp_enhanced enhanced, const char *fmt, ...) PRINTF_LIKE(4, 5);
/** The peer broke the protocol: 421 4.5.0. */
void session_violation(struct smtp_session *session, const char *fmt, ...) PRINTF_LIKE(2, 3);
/** Something changed: offers room, and queues the pump, which sends what can be sent now. */
void session_wake(struct smtp_session *session);
/** Takes the transaction out and tells its owner, in whose hands it is from then on. */
void session_finish(struct smtp_session *session, struct smtp_transaction *tx,
                    enum smtp_tx_outcome outcome, const struct smtp_reply *reply);

/* ---- session_opening.c ---- */

/** A reply in any state before SESSION_READY. `more`: bytes follow it. */
void session_opening_reply(struct smtp_session *session, const struct smtp_reply *reply, bool more);
void session_opening_connected(struct smtp_session *session);
void session_opening_secured(struct smtp_session *session);
/** Greeted, secured, logged in: the owner's turn. */
void session_opening_ready(struct smtp_session *session);

/* ---- session_auth.c ---- */

/** Logs in, if that's asked for; else the session is ready. */
void session_auth_start(struct smtp_session *session);
/** A reply in SESSION_AUTH. */
void session_auth_reply(struct smtp_session *session, const struct smtp_reply *reply);
void session_auth_end(struct smtp_session *session);

/* ---- session_flight.c ---- */

/** Composes and sends a flight if there is anything to send and none under way. */
void session_flight_next(struct smtp_session *session);
/** One command of the session's own as a flight. */
void session_flight_hello(struct smtp_session *session, struct slice verb);
/** "AUTH MECHANISM" with or without the first response, and a response. */
void session_flight_auth(struct smtp_session *session, const char *mechanism,
                         const struct slice *initial);
void session_flight_response(struct smtp_session *session, struct slice response);
void session_flight_plain(struct smtp_session *session, struct slice verb);
/** The stream has sent it. */
void session_flight_sent(struct smtp_session *session);
/** How many transactions may be open: the depth that the peer's capabilities allow. */
unsigned session_depth(const struct smtp_session *session);
/** Whether transactions go by BDAT. */
bool session_chunks(const struct smtp_session *session);

/* ---- session_answer.c ---- */

/** A reply in SESSION_READY. */
void session_answer(struct smtp_session *session, const struct smtp_reply *reply);
/** Whether the next reply must wait until the flight has left, see there. */
bool session_must_hold(const struct smtp_session *session);
/** The transaction's outcome now that the session is over. */
void session_settle_at_end(struct smtp_session *session, struct smtp_transaction *tx);
/** Finishes the transaction with its verdict, if it has one and no reply is due. */
bool session_settle(struct smtp_session *session, struct smtp_transaction *tx);
