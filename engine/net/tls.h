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
};

struct tls_context_options {
    enum tls_verify verify;
    const char *ca_file;     /* PEM; NULL: the system's store. Read under TLS_VERIFY_NAME only */
    const char *cert_file;   /* PEM with our certificate and its chain; NULL: none */
    const char *key_file;    /* PEM with its key, in clear */
    const char *min_version; /* "1.2" (default when NULL) or "1.3" */
};

/** TLS ≥ 1.2 always; TLS_AES_128_GCM_SHA256 first (LIMITS 3). On false `err` says why. */
MUST_USE bool tls_context_create(struct tls_context **out,
                                 const struct tls_context_options *options, struct err *err);
/** Gives up the caller's hold; streams that use the context keep it alive until they're closed. */
void tls_context_destroy(struct tls_context **context);

struct tls_client_options {
    struct tls_context *context;
    /** SNI, and the name checked under TLS_VERIFY_NAME (which fails without one); ASCII, a final
     * dot is dropped. An IP address is checked as such and not sent as SNI. Copied. */
    const char *server_name;
    /** Resumption: a ticket to offer (consumed; may be NULL), and where a new one is handed over
     * (may be NULL), after `secured` or later, several times per connection. The callee of `ticket`
     * owns it and may close the stream. A ticket is for one connection (RFC 8446, C.4); one that
     * was got without verification, or for another name, isn't offered where the name must be
     * verified. Under TLS 1.2 a resumed connection hands its ticket back. */
    struct tls_ticket *resume;
    void (*ticket)(void *user, struct tls_ticket *ticket);
    void *ticket_user;
};

/** NULL is fine. */
void tls_ticket_free(struct tls_ticket *ticket);

struct tls_facts {       /* of an established connection, for logs and events */
    const char *version; /* "TLSv1.3" */
    const char *cipher;
    bool resumed, verified;
};
struct stream;
/** False while the stream isn't secure. The strings are constants. */
bool stream_tls_facts(const struct stream *stream, struct tls_facts *out);
