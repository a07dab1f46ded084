#pragma once
/* TLS contexts and tickets. One context per worker and policy; nothing here is shared between
 * threads. */
#include "engine/base/err.h"
#include "engine/base/slice.h"

struct tls_context; /* SSL_CTX with our settings, and the worker's scratch memory */
struct tls_ticket;  /* a resumable session */

enum tls_verify {
    TLS_VERIFY_NONE, /* opportunistic: encrypt, believe anyone (RFC 7435) */
    TLS_VERIFY_NAME, /* chain and host name must be right */
    TLS_VERIFY_DANE, /* the server's TLSA records must fit (RFC 7672) */
};

/** What is wrong with a peer's TLS, as reports tell it (RFC 8460, 4.3). */
enum tls_problem {
    TLS_PROBLEM_NONE,
    TLS_PROBLEM_EXPIRED,       /* "certificate-expired", not valid yet, too */
    TLS_PROBLEM_HOST_MISMATCH, /* "certificate-host-mismatch" */
    TLS_PROBLEM_NOT_TRUSTED,   /* "certificate-not-trusted" */
    TLS_PROBLEM_VALIDATION,    /* "validation-failure": all else */
};
/** "" for none. */
const char *tls_problem_name(enum tls_problem problem);

/** A TLSA record (RFC 6698, 2.1). */
struct tls_tlsa {
    uint8_t usage, selector, matching;
    struct slice data;
};
/** How many of them SMTP can use (RFC 7672, 3.1): usages 2 and 3, known selectors and matchings,
 * data of the right length. */
unsigned tls_tlsa_usable(const struct tls_tlsa *records, unsigned count);

struct tls_context_options {
    enum tls_verify verify;
    const char *ca_file;     /* PEM; NULL: the system's store. Read under TLS_VERIFY_NAME only */
    const char *cert_file;   /* PEM with our certificate and its chain; NULL: none */
    const char *key_file;    /* PEM with its key, in clear */
    const char *min_version; /* "1.2" (default when NULL) or "1.3" */
    const char *ciphers;     /* of TLS 1.2, OpenSSL's list; NULL: ours */
    const char *suites;      /* of TLS 1.3, likewise */
};

/** TLS ≥ 1.2 always; TLS_AES_128_GCM_SHA256 first (LIMITS 3), unless told otherwise. On false `err`
 * says why. */
MUST_USE bool tls_context_create(struct tls_context **out,
                                 const struct tls_context_options *options, struct err *err);
/** Gives up the caller's hold; streams that use the context keep it alive until they're closed. */
void tls_context_destroy(struct tls_context **context);

struct tls_client_options {
    struct tls_context *context;
    /** SNI, and the name checked under TLS_VERIFY_NAME (which fails without one); ASCII, a final
     * dot is dropped. An IP address is checked as such and not sent as SNI. Copied. */
    const char *server_name;
    /** Under TLS_VERIFY_DANE: at least one must be usable. `domain` (may be NULL): another name
     * that a certificate below a trust anchor may be for. Both are copied. */
    const struct tls_tlsa *tlsa;
    unsigned tlsa_count;
    const char *domain;
    /** Resumption: a ticket to offer (consumed; may be NULL), and where a new one is handed over
     * (may be NULL), after `secured` or later, several times per connection. The callee of `ticket`
     * owns it and may close the stream. A ticket is for one connection (RFC 8446, C.4); one that
     * was got without verification, for another name, or by other TLSA records, isn't offered where
     * these count. Under TLS 1.2 a resumed connection hands its ticket back. */
    struct tls_ticket *resume;
    void (*ticket)(void *user, struct tls_ticket *ticket);
    void *ticket_user;
};

/** NULL is fine. */
void tls_ticket_free(struct tls_ticket *ticket);

struct tls_facts {       /* of an established connection, for logs and events */
    const char *version; /* "TLSv1.3" */
    const char *cipher;
    bool resumed, verified; /* verified: by name or TLSA records, as the context says */
};

/** The certificate that the peer showed. All text is heap, free with tls_certificate_clear(). */
struct tls_certificate {
    char *subject, *issuer;
    char *names;             /* DNS names and addresses, blanks between; may be empty */
    int64_t from_s, until_s; /* since 1970 */
    char sha256[65];         /* of its public key, in hexadecimal: what a TLSA record "3 1 1" has */
};
struct stream;
/** False when there's none. */
bool stream_tls_certificate(const struct stream *stream, struct tls_certificate *out);
void tls_certificate_clear(struct tls_certificate *certificate);
/** False while the stream isn't secure. The strings are constants. */
bool stream_tls_facts(const struct stream *stream, struct tls_facts *out);
