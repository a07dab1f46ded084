#pragma once
/* The sink's server side of TLS: OpenSSL between two memory BIOs, so that it never sees a socket.
 */
#include "engine/base/buf.h"
#include "engine/base/err.h"

struct sink_tls_context;
struct sink_tls;

/** With `certificate_file` NULL makes a P-256 key and a certificate signed by itself for
 * `hostname`. */
MUST_USE bool sink_tls_context_create(const char *certificate_file, const char *key_file,
                                      const char *hostname, struct sink_tls_context **out,
                                      struct err *err);
void sink_tls_context_destroy(struct sink_tls_context **context);

struct sink_tls *sink_tls_create(struct sink_tls_context *context);
void sink_tls_destroy(struct sink_tls **tls);

/** Records as received. */
void sink_tls_put_records(struct sink_tls *tls, struct slice records);
enum sink_tls_read { SINK_TLS_BYTES, SINK_TLS_WANTS_MORE, SINK_TLS_CLOSED, SINK_TLS_FAILED };
/** Plain bytes into `out`; goes on with the handshake as long as that isn't done. */
enum sink_tls_read sink_tls_read(struct sink_tls *tls, char *out, size_t size, size_t *got);
bool sink_tls_established(const struct sink_tls *tls);
/** Encrypts; only once established. */
bool sink_tls_write(struct sink_tls *tls, struct slice plain);
/** Moves records that must be sent to the end of `out`. */
void sink_tls_take_records(struct sink_tls *tls, struct buf *out);
