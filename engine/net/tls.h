#pragma once
/* TLS contexts and sessions. One context per worker and policy; nothing here is shared between threads. */
#include "engine/base/err.h"
#include "engine/base/slice.h"

struct tls_context; /* SSL_CTX with our settings */
struct tls_filter;  /* one connection's SSL and BIOs, private to stream.c and tls.c */
struct tls_ticket;  /* a resumable session */

enum tls_verify {
    TLS_VERIFY_NONE, /* opportunistic: encrypt, believe anyone (RFC 7435) */
    TLS_VERIFY_NAME, /* chain and host name must be right */
};

struct tls_context_options {
    enum tls_verify verify;
    const char *ca_file;  /* NULL: the system's store */
    const char *min_version; /* "1.2" (default when NULL) or "1.3" */
};

/** TLS ≥ 1.2 always; TLS_AES_128_GCM_SHA256 first (LIMITS 3). */
MUST_USE bool tls_context_create(struct tls_context **out, const struct tls_context_options *options, struct err *err);
void tls_context_destroy(struct tls_context **context);

struct tls_client_options {
    struct tls_context *context;
    const char *server_name; /* SNI, and the name checked under TLS_VERIFY_NAME; copied */
    /** Resumption: a session to offer (consumed; may be NULL), and where a new one is handed over (may be NULL). The callee of
     *  `ticket` owns it. Single use, see LIMITS 3. */
    struct tls_ticket *resume;
    void (*ticket)(void *user, struct tls_ticket *ticket);
    void *ticket_user;
};

void tls_ticket_free(struct tls_ticket *ticket);

struct tls_facts { /* of an established connection, for logs and events */
    const char *version; /* "TLSv1.3" */
    const char *cipher;
    bool resumed, verified;
};
struct stream;
bool stream_tls_facts(const struct stream *stream, struct tls_facts *out);
