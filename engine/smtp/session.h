#pragma once
/* One SMTP client session (RFC 5321), or LMTP's (RFC 2033): greeting, EHLO or HELO, STARTTLS, AUTH
 * (RFC 4954), then any number of transactions, each MAIL, RCPT…, DATA or BDAT, up to its end; QUIT.
 * A state machine fed by a stream; it knows nothing of queues, pools or DNS.
 *
 * What it promises:
 *  - Each submitted transaction gets exactly one `done`, whatever the peer does, before `ended`.
 *  - SMTP_TX_ACCEPTED only for a 2xx that came after the end-of-data was wholly sent, in its place,
 * on a session that has answered one reply per command (RFC 5321 4.1.1.4; W7, W16–W18 in the
 * reliability list).
 *  - `commit` is called right before the flight that holds a transaction's end-of-data goes to the
 * kernel; when it returns false nothing of that end-of-data is sent and the transaction ends as
 * SMTP_TX_UNSENT.
 *  - A success that comes before the end-of-data was wholly sent is none; a refusal then is
 * believed, and ends the session.
 *  - 421 ends the session wherever it comes: the transaction that it answers is SMTP_TX_REFUSED by
 * it, those behind it are UNKNOWN if their end-of-data was sent, else UNSENT.
 *  - A surplus, missing, early or malformed reply makes every outcome still open on the session
 * SMTP_TX_UNKNOWN if its end-of-data was sent, else SMTP_TX_UNSENT, and ends the session;
 * `violation` is set in the `ended` reason.
 *  - Per-phase time-outs cover whole replies, not bytes. One that expires ends the session with
 * 421 4.4.2 (4.4.1 while connecting).
 *  - Callbacks may submit, quit and abort. A callback fires only from the ring, never inside a call
 * of this header.
 *
 * Shapes (DESIGN, decision 9), chosen from the peer's capabilities and the options:
 *   lock-step   without PIPELINING: one command, one reply
 *   pipelined   MAIL RCPT… DATA | body and dot
 *   chunked     MAIL RCPT… BDAT n LAST and body in one flight (CHUNKING)
 *   depth > 1   the next transaction's envelope (pipelined), or whole transactions with RSET
 * between them (chunked), follow in the same flight, up to `depth` transactions open at once. QUIT
 * never follows an end-of-data.
 */
#include "engine/net/stream.h"
#include "engine/smtp/capabilities.h"
#include "engine/smtp/reply.h"

struct smtp_session;

struct smtp_timeouts { /* milliseconds; 0 takes the default: RFC 5321, 4.5.3.2 */
    unsigned connect;  /* 30 s */
    unsigned greeting; /* 5 min */
    unsigned ehlo;     /* 5 min */
    unsigned starttls; /* 60 s, handshake included */
    unsigned auth;     /* 60 s for each reply */
    unsigned mail;     /* 5 min */
    unsigned rcpt;     /* 5 min */
    unsigned data;     /* 2 min */
    unsigned block;    /* 3 min for each flight of the body */
    unsigned dot;  /* 10 min; the only one that must not be shortened: its expiry leaves an outcome
                      unknown */
    unsigned rset; /* 20 s */
    unsigned quit; /* 5 s */
};

enum smtp_tls_mode {
    SMTP_TLS_OFF,
    SMTP_TLS_OPPORTUNISTIC, /* when offered; a failed handshake ends the session with SMTP_PHASE_TLS
                             */
    SMTP_TLS_REQUIRED,      /* not offered: ends with a local 4.7.10 reply, phase STARTTLS */
    SMTP_TLS_IMPLICIT,      /* at once after connecting (port 465) */
};

/** Logging in (RFC 4954). Of the mechanisms that the peer offers and that are allowed here the
 * strongest is tried, once. Nothing is sent to a peer without TLS, unless `in_clear`. Whatever goes
 * wrong ends the session with SMTP_PHASE_AUTH: 535 and the like are about this server and our
 * password, never about a message. TLS alone doesn't say whose server it is: secrets should go
 * under TLS_VERIFY_NAME or TLS_VERIFY_DANE only, which is the owner's to choose. */
struct smtp_auth {
    struct sasl_identity identity; /* its strings outlive the session */
    unsigned mechanisms;           /* SASL_SET(…) of those allowed; 0: SASL_SET_PASSWORD */
    bool in_clear;
};

struct smtp_session_options {
    const struct smtp_timeouts *timeouts;   /* outlives the session */
    const struct smtp_reply_limits *limits; /* NULL: defaults; outlives the session */
    const char *ehlo_name;                  /* outlives the session */
    enum smtp_tls_mode tls_mode;
    struct tls_client_options tls; /* unless SMTP_TLS_OFF */
    const struct smtp_auth *auth;  /* NULL: don't log in; outlives the session */
    bool lmtp;                     /* RFC 2033: LHLO, and a reply per recipient at the end */
    /** RFC 8689: REQUIRETLS with each MAIL. A session that has no TLS, or whose peer doesn't offer
     * it, ends with a local 550 5.7.30 in phase EHLO; that the certificate or the MX was verified
     * is the owner's to see to. */
    bool requiretls;
    bool no_pipelining, no_chunking; /* don't use them even when offered */
    unsigned depth;                  /* transactions open at once; 0 is 1; may be changed later */
};

enum smtp_tx_outcome {
    SMTP_TX_ACCEPTED, /* 2xx after end-of-data: the accepted recipients are delivered; reply is the
                         peer's. LMTP: those that are settled with 2xx, at least one; reply is the
                         last of theirs */
    SMTP_TX_REFUSED, /* a 4xx/5xx of the peer's to MAIL, DATA, the body or end-of-data (reply->phase
                        tells), or a 421 to any command; holds for all recipients without a verdict
                        of their own. Also SIZE exceeded, SMTPUTF8 or 8BITMIME needed and not
                        offered (local reply 5.3.4, 5.6.7, 5.6.3), and a body that `body` couldn't
                        make */
    SMTP_TX_NO_RECIPIENT, /* every recipient was refused (LMTP: here or after the end-of-data);
                             each had its `recipient` callback */
    SMTP_TX_UNSENT, /* the session failed before the end-of-data was sent: safe to retry; reply says
                       why */
    SMTP_TX_UNKNOWN, /* end-of-data was handed to the kernel (`commit` said yes), no valid final
                        reply */
};

struct smtp_recipient {
    struct slice address; /* mailbox without <>; already checked: no CR, LF, NUL, <, > or blank
                             outside quotes */
    uint16_t code;        /* the RCPT reply's code, set by the session; 0 while there's none.
                             LMTP: later that of its reply to the end-of-data */
    /** This recipient's own outcome is known, whatever that of the transaction says: `code` is a
     * refusal, or with LMTP its reply to the end-of-data (2xx: delivered). */
    bool settled;
};

struct smtp_body {
    struct iovec *iov; /* body with CRLF line ends, ending in CRLF, dot-stuffed unless `chunked`;
                          the session may change the array's entries; array and bytes stay valid
                          until `body_sent` or `done`, whichever is first */
    unsigned iov_count;
    size_t bytes;
};

/** The caller's memory; stays valid from submit to `done`. */
struct smtp_transaction {
    struct list node;    /* the session's while submitted */
    struct slice sender; /* reverse-path without <>; empty: null sender */
    struct smtp_recipient *recipients;
    unsigned recipient_count;
    size_t size_estimate; /* for SIZE= and the check against the peer's limit; 0: unknown */
    bool body_8bit;       /* BODY=8BITMIME where offered (REFUSED with 5.6.3 where it isn't) */
    bool needs_smtputf8;
    /* private to the session */
    uint8_t state, step, verdict;
    bool chunked, committed, in_flight, body_held, mail_accepted;
    unsigned replies_due, recipients_sent, recipients_answered, recipients_accepted;
    unsigned recipients_ended, recipients_delivered; /* LMTP: answered after the end-of-data */
    unsigned chunks_sent, chunks_answered;
    struct smtp_body body; /* what of it hasn't been sent yet */
};

struct smtp_session_events {
    /** The connection is there, nothing has been said yet. May be NULL. */
    void (*connected)(struct smtp_session *session);
    /** Greeted (and secured): transactions may be submitted now. Once per session. */
    void (*ready)(struct smtp_session *session);
    /** Room for one more transaction (fewer than `depth` open and an end-of-data on its way, or
     * about to be, or all idle). The callee may submit, now or from a task that it queues now: what
     * is sent next goes by a task of the session's, queued after this call. If it doesn't, it isn't
     * asked again before something changes; it may submit whenever there is room. */
    void (*writable)(struct smtp_session *session);
    /** The session needs the transaction's body now (merge late): fill `body`. `chunked` says
     * whether it'll go by BDAT (no dot-stuffing). False with *reply filled (local, 4xx/5xx): the
     * transaction ends REFUSED with it. Unless `chunked`, the session ends with it, too: after 354
     * there is no other way back. */
    bool (*body)(struct smtp_session *session, struct smtp_transaction *tx, bool chunked,
                 struct smtp_body *body, struct smtp_reply *reply);
    /** The body's memory isn't needed any more (may come long before `done`). Also called before a
     * `done` of a tx whose body was fetched. */
    void (*body_sent)(struct smtp_session *session, struct smtp_transaction *tx);
    /** The fence, see above. From here on the transaction can end UNKNOWN. */
    bool (*commit)(struct smtp_session *session, struct smtp_transaction *tx);
    /** A recipient was refused (code ≥ 400), at RCPT or with LMTP after the end-of-data
     * (reply->phase tells); accepted ones have no callback of their own. 452 and
     * 552 mean too many recipients (RFC 5321, 4.5.3.1.10): telling that from a full mailbox is the
     * classifier's business. */
    void (*recipient)(struct smtp_session *session, struct smtp_transaction *tx, unsigned index,
                      const struct smtp_reply *reply);
    void (*done)(struct smtp_session *session, struct smtp_transaction *tx,
                 enum smtp_tx_outcome outcome, const struct smtp_reply *reply);
    /** The session can't be used any more: failed to open, 421, closed by the peer while idle,
     * violation, or quit complete. All transactions had their `done`. `violation`: the peer broke
     * the protocol (the site loses its rank). The session closes itself; `closed` follows. Also
     * fires after smtp_session_quit() and smtp_session_abort(). */
    void (*ended)(struct smtp_session *session, const struct smtp_reply *reason, bool violation);
    /** The structure is the caller's again. */
    void (*closed)(struct smtp_session *session);
};

/** As small as it can be: 5,000 of them at once is normal (≤ 1 KiB, no buffers while nothing is
 * under way). */
struct smtp_session *smtp_session_create(struct ring *ring,
                                         const struct smtp_session_events *events,
                                         const struct smtp_session_options *options, void *user);
/** Only from `closed` on, or before open. */
void smtp_session_destroy(struct smtp_session **session);
void *smtp_session_user(const struct smtp_session *session);

/** Connects and greets. `peer_name` is for messages only; copied. */
void smtp_session_open(struct smtp_session *session, const struct sockaddr *peer,
                       socklen_t peer_len, const struct sockaddr *source, socklen_t source_len);
/** Hands over a transaction; allowed in `ready`, `writable`, or whenever smtp_session_room() > 0.
 */
void smtp_session_submit(struct smtp_session *session, struct smtp_transaction *tx);
/** How many transactions may be submitted now: 0 while opening, ending, or at depth. */
unsigned smtp_session_room(const struct smtp_session *session);
/** Open transactions. */
unsigned smtp_session_open_count(const struct smtp_session *session);
void smtp_session_set_depth(struct smtp_session *session, unsigned depth);
/** QUIT when idle (no open transaction), then close. */
void smtp_session_quit(struct smtp_session *session);
/** Ends at once in any state: committed transactions become UNKNOWN, others UNSENT. */
void smtp_session_abort(struct smtp_session *session, const char *why);

unsigned smtp_session_capabilities(const struct smtp_session *session);
uint64_t smtp_session_size_limit(const struct smtp_session *session); /* 0: none announced */
const struct stream *smtp_session_stream(const struct smtp_session *session);
enum smtp_phase smtp_session_phase(const struct smtp_session *session);
/** How long the TLS handshake took, in µs; 0 in clear, or while it isn't over. */
int64_t smtp_session_tls_us(const struct smtp_session *session);
/** After the end in phase TLS: what was wrong, as RFC 8460, 4.3 sorts it; TLS_PROBLEM_NONE if
 * nothing was. */
enum tls_problem smtp_session_tls_problem(const struct smtp_session *session);
