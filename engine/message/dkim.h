#pragma once
/* DKIM signatures (RFC 6376, with RFC 8301's algorithms and RFC 8463's Ed25519): headers relaxed,
 * bodies relaxed or simple. Keys are parsed once; a signer is one worker's. */
#include <openssl/types.h>
#include <sys/uio.h>

#include "engine/base/err.h"
#include "engine/base/slice.h"

enum {
    DKIM_KEYS_MAX = 1000,
    DKIM_SIGNATURES_MAX = 3,  /* of one message */
    DKIM_RSA_BITS_MIN = 1024, /* RFC 8301, 3.2 */
    DKIM_RSA_BITS_MAX = 4096,
};

struct dkim_key_options {
    const char *domain;         /* d=; in lower case, A-labels */
    const char *selector;       /* s= */
    const char *file;           /* PEM: RSA or Ed25519 */
    const char *const *tenants; /* whose mail; none: everyone's */
    unsigned tenant_count;
    int64_t from_s, until_s; /* used from (0: always) until before (0: for ever), since 1970 */
    int64_t expires_s;       /* x= so long after t=; 0: none */
    bool simple_body;
};

struct dkim_signer;
/** Reads the keys. On false `err` says which and why. */
MUST_USE bool dkim_signer_create(struct dkim_signer **out, const struct dkim_key_options *keys,
                                 unsigned count, struct err *err);
void dkim_signer_destroy(struct dkim_signer **signer);
/** Bytes that the signatures of any message take at most. */
size_t dkim_signer_room(const struct dkim_signer *signer);

/** Hash of a body, computed once where bodies are the same for all recipients. */
struct dkim_body_hash {
    bool known[2]; /* by simple_body */
    unsigned char sha256[2][32];
};

/** Writes the header fields that sign a message, each ending in CRLF, into `out`
 * (dkim_signer_room() bytes); `len` 0 when no key is for it. Keys are those of the From header's
 * domain, or of the longest one above it, that the tenant may use now; an RSA and an Ed25519 key of
 * the same domain sign both. `message` is the whole message with CRLF, not dot-stuffed. `cache` is
 * NULL when the body is only this recipient's. False with ERR_LIMIT when OpenSSL has failed. */
MUST_USE bool dkim_sign(struct dkim_signer *signer, struct slice tenant, int64_t now_s,
                        const struct iovec *message, unsigned count, struct dkim_body_hash *cache,
                        char *out, size_t *len, struct err *err);

/** The TXT record of a private key's public half ("v=DKIM1; k=rsa; p=…"), for
 * SELECTOR._domainkey.DOMAIN. `out` has room for 1,000 bytes. */
MUST_USE bool dkim_record(const char *file, char out[1000], struct err *err);
/** Makes a key and writes it, PEM, to a new file that only its owner may read. `bits` 0: Ed25519.
 */
MUST_USE bool dkim_key_make(const char *file, unsigned bits, struct err *err);
