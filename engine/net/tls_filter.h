#pragma once
/* Private to engine/net: TLS as a filter between two memories. Ciphertext is put in and taken out,
 * plaintext likewise; sockets are stream.c's business, so nothing in here waits or calls back (but
 * for tickets, which are collected, see below).
 */
#include <openssl/ssl.h>
#include <sys/uio.h>

#include "engine/base/buf.h"
#include "engine/net/tls.h"

enum {
    TLS_RECORD_BYTES = 16384,    /* most plaintext in a record (RFC 8446, 5.1) */
    TLS_RECORD_EXTRA_BYTES = 64, /* more than any cipher's header, nonce, padding and tag */
    TLS_FLIGHT_BYTES =
        3 *
        16384, /* plaintext encrypted ahead of the socket; with its records' extras below 64 KiB */
    TLS_OUTPUT_BYTES_MAX =
        131072, /* a peer that provokes more answers than that without reading them is cut off */
    TLS_TICKETS_MAX = 4, /* kept per SSL call; servers send one or two */
};

struct tls_context {
    SSL_CTX *ssl;
    BIO_METHOD *bio;
    enum tls_verify verify;
    unsigned users;                /* the creator and each filter */
    char plain[TLS_RECORD_BYTES];  /* what was just decrypted, until the next read */
    char gather[TLS_RECORD_BYTES]; /* small vectors on their way into one record */
};

struct tls_ticket {
    SSL_SESSION *session;   /* nobody else refers to it */
    enum tls_verify verify; /* how the peer was checked when it was issued */
    uint64_t records;       /* TLS_VERIFY_DANE: of the TLSA records, see filter.records */
    char name[];            /* NUL-terminated, may be empty */
};

struct tls_filter {
    SSL *ssl;
    struct tls_context *context;
    struct slice input; /* ciphertext at hand; wholly taken once a call wants more */
    struct buf output;  /* ciphertext that nobody has taken yet */
    struct tls_ticket *tickets[TLS_TICKETS_MAX];
    uint8_t ticket_count;
    bool wants_tickets;
    bool lazy_buffers; /* a ticket has made OpenSSL set up buffers that it only releases after the
                          next write */
    bool overflowed;   /* output would have passed TLS_OUTPUT_BYTES_MAX */
    bool broken;       /* OpenSSL refuses anything further, a close_notify too */
    bool established, resumed, verified;
    enum tls_problem problem; /* TLS_BROKEN: with the certificate */
    uint64_t records;         /* a hash of the TLSA records */
    char *name;               /* heap; "" when there's none */
};

enum tls_status {
    TLS_WANTS_INPUT, /* all input is taken, nothing to report */
    TLS_DONE,        /* handshake: complete; read: there is plaintext */
    TLS_CLOSED,      /* close_notify has arrived */
    TLS_BROKEN,      /* `text` says why; output may hold an alert */
};

/** Prepares for a handshake with these options; consumes options->resume. False: `text` says why.
 */
MUST_USE bool tls_filter_init(struct tls_filter *filter, const struct tls_client_options *options,
                              char *text, size_t text_size);
void tls_filter_deinit(struct tls_filter *filter);
/** Goes on with the handshake as far as the input allows. */
enum tls_status tls_filter_handshake(struct tls_filter *filter, char *text, size_t text_size);
/** Decrypts the next record into *plain, valid until the next call for any filter of the context.
 */
enum tls_status tls_filter_read(struct tls_filter *filter, struct slice *plain, char *text,
                                size_t text_size);
/** Encrypts up to TLS_FLIGHT_BYTES from the front of the vectors, in records as large as possible,
 * and moves *iov and *count behind them. False: `text` says why. */
MUST_USE bool tls_filter_write(struct tls_filter *filter, struct iovec **iov, unsigned *count,
                               char *text, size_t text_size);
/** The ciphers' side of the filter's memory, for the context; NULL when OpenSSL has no memory. */
BIO_METHOD *tls_filter_bio_method(void);
/** OpenSSL's callback for new sessions. */
int tls_filter_new_session(SSL *ssl, SSL_SESSION *session);
/** Gives up one use; the last one frees. */
void tls_context_release(struct tls_context *context);
/** The oldest ticket collected, now the caller's; NULL when there's none. */
struct tls_ticket *tls_filter_take_ticket(struct tls_filter *filter);
/** See stream_tls_certificate(). */
bool tls_filter_certificate(const struct tls_filter *filter, struct tls_certificate *out);
/** Puts a close_notify into the output where that is still allowed. */
void tls_filter_close_notify(struct tls_filter *filter);
