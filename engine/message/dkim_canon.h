#pragma once
/* Private to DKIM: what is hashed (RFC 6376, 3.4). Pure but for the digest that is fed. */
#include <openssl/evp.h>
#include <sys/uio.h>

#include "engine/base/buf.h"
#include "engine/base/slice.h"

/** Copies a message's header, without the empty line, to `out`; where the body begins: iovec and
 * offset. */
void dkim_header_take(const struct iovec *message, unsigned count, struct buf *out,
                      unsigned *body_iov, size_t *body_at);
/** Cuts the next field off, with its line end; its name, and the value from behind the colon. */
struct slice dkim_field_take(struct slice *header, struct slice *name, struct slice *value);
/** Appends a field in relaxed form, without its line end (3.4.2). */
void dkim_field_append(struct buf *out, struct slice name, struct slice value);

/** A body on its way into a digest, in pieces (3.4.3, 3.4.4). */
struct dkim_body {
    EVP_MD_CTX *digest;
    bool relaxed;
    bool blank;       /* relaxed: blanks whose line goes on, or not */
    bool cr;          /* a CR that may be a line end's */
    bool any;         /* something was fed */
    size_t line_ends; /* held back: only what stands before text counts */
    char out[4096];
    size_t len;
};
void dkim_body_begin(struct dkim_body *body, EVP_MD_CTX *digest, bool relaxed);
void dkim_body_feed(struct dkim_body *body, struct slice bytes);
void dkim_body_end(struct dkim_body *body);
