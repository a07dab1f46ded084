#pragma once
/* SASL's client side (RFC 4422): what is said to log in, whatever protocol carries it. A pure state
 * machine: raw challenges go in, raw responses come out; SMTP, IMAP and POP3 put them into lines
 * (sasl_encode, sasl_decode: all three use Base64).
 *
 *     sasl_start → sasl_initial? → (sasl_challenge → response)… → the server says yes →
 * sasl_success
 *
 * A "yes" of the server's counts only if sasl_success() agrees: under SCRAM the server must have
 * proved that it knows the password, too. No channel binding, no authorisation identity.
 */
#include "engine/base/buf.h"
#include "engine/base/err.h"
#include "engine/base/slice.h"

/** Strongest first: of those that both sides allow, the first is taken. */
enum sasl_mechanism {
    SASL_SCRAM_SHA_256, /* RFC 5802, 7677; the password isn't sent */
    SASL_OAUTHBEARER,   /* RFC 7628; the secret is an access token */
    SASL_XOAUTH2,       /* the same, as Google and Microsoft do it */
    SASL_PLAIN,         /* RFC 4616 */
    SASL_LOGIN,         /* draft-murchison-sasl-login, obsolete and everywhere */
    SASL_MECHANISMS,    /* how many */
};

/* Sets of mechanisms. A token must not be sent as a password nor the other way round. */
#define SASL_SET(mechanism) (1u << (mechanism))
#define SASL_SET_PASSWORD                                                                          \
    (SASL_SET(SASL_SCRAM_SHA_256) | SASL_SET(SASL_PLAIN) | SASL_SET(SASL_LOGIN))
#define SASL_SET_TOKEN (SASL_SET(SASL_OAUTHBEARER) | SASL_SET(SASL_XOAUTH2))

enum {
    SASL_USER_BYTES_MAX = 255,
    SASL_PASSWORD_BYTES_MAX = 1024,
    SASL_TOKEN_BYTES_MAX = 8192,     /* encoded it fits in the line of 12,288 (RFC 4954, 4) */
    SASL_CHALLENGE_BYTES_MAX = 9216, /* decoded: the same line */
    SASL_ITERATIONS_MIN = 4096,      /* RFC 7677, 4; fewer would make the password easy to guess */
    SASL_ITERATIONS_MAX = 600000,    /* a server can ask for CPU time; see struct sasl_salted */
};

/** "SCRAM-SHA-256". */
const char *sasl_mechanism_name(enum sasl_mechanism mechanism);
/** The mechanisms that are named in a list separated by blanks, as a set; unknown ones are left
 * out, letter case doesn't matter. */
unsigned sasl_set_parse(struct slice names);
/** Whether the set isn't empty; then `out` is its strongest. */
MUST_USE bool sasl_set_strongest(unsigned set, enum sasl_mechanism *out);

/** What SCRAM's many iterations gave, to spare them next time (RFC 5802, 5.1): the caller's, one
 * per user, password and server, zeroed before the first use. It is as secret as the password. */
struct sasl_salted {
    bool valid;
    unsigned iterations;
    uint8_t salt[64], salt_len;
    uint8_t of[32]; /* hash of the password, so that another one's key is never taken */
    uint8_t key[32];
};

/** All strings outlive the exchange. */
struct sasl_identity {
    const char *user;           /* UTF-8; ASCII or already prepared by SASLprep (RFC 4013) */
    const char *secret;         /* password, or access token */
    const char *host;           /* OAUTHBEARER's host; NULL: left out */
    unsigned port;              /* … and port; 0: left out */
    struct sasl_salted *salted; /* may be NULL */
    const char *nonce;          /* for tests; NULL: random */
};

struct sasl;

/** Begins an exchange. False: user or secret are missing, too long, or hold what the mechanism
 * can't carry (control characters). */
MUST_USE bool sasl_start(struct sasl **out, enum sasl_mechanism mechanism,
                         const struct sasl_identity *identity, struct err *err);
/** Wipes what it knew; NULL is fine. */
void sasl_destroy(struct sasl **sasl);
enum sasl_mechanism sasl_mechanism(const struct sasl *sasl);

/** Whether the mechanism lets the client speak first. */
bool sasl_speaks_first(const struct sasl *sasl);
/** How many bytes sasl_initial() would append, or somewhat more. */
size_t sasl_initial_bytes(const struct sasl *sasl);
/** Appends the first response, once, if sasl_speaks_first(): with the command that starts the
 * exchange, or where that has no room to the server's empty first challenge. */
void sasl_initial(struct sasl *sasl, struct buf *response);
/** Answers a challenge: appends the response (which may be empty). False: there is no answer, the
 * exchange must be cancelled; `err` says why. */
MUST_USE bool sasl_challenge(struct sasl *sasl, struct slice challenge, struct buf *response,
                             struct err *err);
/** The server says that it's done. False: it may not be believed; `err` says why. */
MUST_USE bool sasl_success(struct sasl *sasl, struct err *err);
/** What the server said in an error challenge ({"status":"401"…}), printable ASCII; empty: none.
 * Valid until sasl_destroy(). */
struct slice sasl_error(const struct sasl *sasl);

/** Base64 (RFC 4648, 4), appended. */
void sasl_encode(struct buf *out, struct slice bytes);
/** Strict: padding is asked for, nothing else than the alphabet is taken. On false nothing was
 * appended. */
MUST_USE bool sasl_decode(struct buf *out, struct slice text);
/** Overwrites what a buffer holds and empties it: for buffers that held a secret. */
void sasl_wipe(struct buf *buf);
