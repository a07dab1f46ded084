#include "engine/message/dkim.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/base/mem.h"
#include "engine/message/address.h"
#include "engine/message/dkim_canon.h"

enum {
    SHA256_BYTES = 32,
    SIGNATURE_BYTES_MAX = DKIM_RSA_BITS_MAX / 8,
    BASE64_MAX = (SIGNATURE_BYTES_MAX + 2) / 3 * 4 + 1,
    FIELDS_MAX = 40,       /* signed, of one message */
    TAGS_BYTES_MAX = 1400, /* of one signature, without d=, s= and b=: h= takes most of it */
    LINE_COLUMNS = 72,
};

/* What is signed, where it's there. Over-signed are those of which one more would change what a
 * reader sees (RFC 6376, 8.15). */
static const struct {
    struct slice name;
    bool over;
} signed_names[] = {
    { SLICE("From"), true },
    { SLICE("To"), true },
    { SLICE("Cc"), true },
    { SLICE("Subject"), true },
    { SLICE("Date"), true },
    { SLICE("Message-ID"), true },
    { SLICE("Reply-To"), true },
    { SLICE("MIME-Version"), true },
    { SLICE("Content-Type"), true },
    { SLICE("Content-Transfer-Encoding"), true },
    { SLICE("List-Unsubscribe"), true },
    { SLICE("List-Unsubscribe-Post"), true },
    { SLICE("List-Id"), false },
    { SLICE("In-Reply-To"), false },
    { SLICE("References"), false },
    { SLICE("Sender"), false },
    { SLICE("Feedback-ID"), false },
    { SLICE("Auto-Submitted"), false },
    { SLICE("TLS-Required"), false },
    { SLICE("TLS-Report-Domain"), false },
    { SLICE("TLS-Report-Submitter"), false },
};

struct key {
    struct slice domain, selector; /* heap */
    struct slice *tenants;
    unsigned tenant_count;
    int64_t from_s, until_s, expires_s;
    bool simple_body, ed25519;
    EVP_PKEY *pkey;
    EVP_PKEY_CTX *rsa; /* ready to sign digests; NULL: Ed25519 */
};

struct dkim_signer {
    struct key *keys;
    unsigned count;
    EVP_MD_CTX *digest, *pure;          /* SHA-256; Ed25519, whose context can't hash */
    struct buf header, canonical, line; /* of the message at hand */
};

/* ---- keys ---- */

static bool openssl_failed(struct err *err, const char *what, const char *name)
{
    unsigned long code = ERR_get_error();
    const char *reason = code ? ERR_reason_error_string(code) : NULL;
    ERR_clear_error();
    return err_set(err, ERR_CONFIG, "%s %s: %s", what, name, reason ? reason : "failed");
}

static EVP_PKEY *key_load(const char *file, struct err *err)
{
    FILE *in = fopen(file, "re");
    if (!in) {
        err_system(err, errno, "cannot read the key %s", file);
        return NULL;
    }
    EVP_PKEY *pkey = PEM_read_PrivateKey(in, NULL, NULL, (void *)(uintptr_t) "");
    fclose(in);
    if (!pkey) {
        openssl_failed(err, "no private key in PEM in", file);
        return NULL;
    }
    int bits = EVP_PKEY_get_bits(pkey);
    bool rsa = EVP_PKEY_is_a(pkey, "RSA");
    if (rsa ? bits >= DKIM_RSA_BITS_MIN && bits <= DKIM_RSA_BITS_MAX
            : EVP_PKEY_is_a(pkey, "ED25519"))
        return pkey;
    EVP_PKEY_free(pkey);
    if (rsa)
        err_set(err, ERR_CONFIG, "%s: an RSA key of %d bits; DKIM takes %d to %d", file, bits,
                DKIM_RSA_BITS_MIN, DKIM_RSA_BITS_MAX);
    else
        err_set(err, ERR_CONFIG, "%s: neither an RSA nor an Ed25519 key", file);
    return NULL;
}

static void key_free(struct key *key)
{
    for (unsigned i = 0; i < key->tenant_count; i++)
        free((char *)(uintptr_t)key->tenants[i].ptr);
    free(key->tenants);
    free((char *)(uintptr_t)key->domain.ptr);
    free((char *)(uintptr_t)key->selector.ptr);
    EVP_PKEY_CTX_free(key->rsa);
    EVP_PKEY_free(key->pkey);
}

static struct slice copy_of(const char *text)
{
    return slice_str(slice_dup(slice_str(text)));
}

static bool key_prepare(struct key *key, const struct dkim_key_options *from, struct err *err)
{
    *key = (struct key){ .domain = copy_of(from->domain),
                         .selector = copy_of(from->selector),
                         .from_s = from->from_s,
                         .until_s = from->until_s,
                         .expires_s = from->expires_s,
                         .simple_body = from->simple_body };
    if (from->tenant_count > 0)
        key->tenants = mem_array(from->tenant_count, sizeof *key->tenants);
    for (; key->tenant_count < from->tenant_count; key->tenant_count++)
        key->tenants[key->tenant_count] = copy_of(from->tenants[key->tenant_count]);
    key->pkey = key_load(from->file, err);
    if (!key->pkey)
        return false;
    key->ed25519 = EVP_PKEY_is_a(key->pkey, "ED25519");
    if (key->ed25519)
        return true;
    key->rsa = EVP_PKEY_CTX_new(key->pkey, NULL);
    if (key->rsa && EVP_PKEY_sign_init(key->rsa) == 1 &&
        EVP_PKEY_CTX_set_rsa_padding(key->rsa, RSA_PKCS1_PADDING) == 1 &&
        EVP_PKEY_CTX_set_signature_md(key->rsa, EVP_sha256()) == 1)
        return true;
    return openssl_failed(err, "cannot sign with", from->file);
}

bool dkim_signer_create(struct dkim_signer **out, const struct dkim_key_options *keys,
                        unsigned count, struct err *err)
{
    struct dkim_signer *signer = mem_zalloc(sizeof *signer);
    signer->digest = EVP_MD_CTX_new();
    signer->pure = EVP_MD_CTX_new();
    signer->keys = mem_array(count + 1, sizeof *signer->keys);
    bool good = signer->digest && signer->pure;
    while (good && signer->count < count) {
        good = key_prepare(&signer->keys[signer->count], &keys[signer->count], err);
        signer->count++;
    }
    if (!good)
        dkim_signer_destroy(&signer);
    *out = signer;
    return good;
}

void dkim_signer_destroy(struct dkim_signer **out)
{
    struct dkim_signer *signer = *out;
    if (!signer)
        return;
    for (unsigned i = 0; i < signer->count; i++)
        key_free(&signer->keys[i]);
    free(signer->keys);
    EVP_MD_CTX_free(signer->digest);
    EVP_MD_CTX_free(signer->pure);
    buf_free(&signer->header);
    buf_free(&signer->canonical);
    buf_free(&signer->line);
    free(signer);
    *out = NULL;
}

/* What a signature by the key takes at most. */
static size_t key_room(const struct key *key)
{
    size_t base64 = ((size_t)EVP_PKEY_get_size(key->pkey) + 2) / 3 * 4;
    /* Folded, with a blank, a tab and a line end for each line. */
    return TAGS_BYTES_MAX + key->domain.len + key->selector.len + base64 +
           base64 / LINE_COLUMNS * 4 + 8;
}

size_t dkim_signer_room(const struct dkim_signer *signer)
{
    size_t most = 0;
    for (unsigned i = 0; i < signer->count; i++)
        most = MAX_OF(most, key_room(&signer->keys[i]));
    return MIN_OF(signer->count, (unsigned)DKIM_SIGNATURES_MAX) * most;
}

/* ---- which keys ---- */

/* Of "Name <local@domain>" or "local@domain": what stands behind the last @. */
static size_t from_domain(struct slice header, char out[256])
{
    struct slice name, value, domain = SLICE("");
    while (header.len > 0) {
        dkim_field_take(&header, &name, &value);
        if (!slice_eq_nocase(name, SLICE("From")))
            continue;
        for (size_t i = value.len; i > 0 && domain.len == 0; i--)
            if (value.ptr[i - 1] == '@')
                domain = slice_skip(value, i);
        size_t len = 0;
        while (len < domain.len && !strchr("> \t\r\n,;()", domain.ptr[len]))
            len++;
        return address_domain_ascii(slice_of(domain.ptr, len), out);
    }
    return 0;
}

static bool is_at_or_below(struct slice name, struct slice domain)
{
    if (name.len == domain.len)
        return slice_eq(name, domain);
    return name.len > domain.len && name.ptr[name.len - domain.len - 1] == '.' &&
           slice_eq(slice_skip(name, name.len - domain.len), domain);
}

static bool key_serves(const struct key *key, struct slice tenant, int64_t now_s)
{
    if ((key->from_s && now_s < key->from_s) || (key->until_s && now_s >= key->until_s))
        return false;
    for (unsigned i = 0; i < key->tenant_count; i++)
        if (slice_eq(key->tenants[i], tenant))
            return true;
    return key->tenant_count == 0;
}

static unsigned keys_find(struct dkim_signer *signer, struct slice domain, struct slice tenant,
                          int64_t now_s, struct key *found[DKIM_SIGNATURES_MAX])
{
    unsigned count = 0;
    size_t longest = 0;
    for (unsigned i = 0; i < signer->count; i++) {
        struct key *key = &signer->keys[i];
        if (!is_at_or_below(domain, key->domain) || !key_serves(key, tenant, now_s) ||
            key->domain.len < longest)
            continue;
        if (key->domain.len > longest)
            count = 0;
        longest = key->domain.len;
        if (count < DKIM_SIGNATURES_MAX)
            found[count++] = key;
    }
    return count;
}

/* ---- what is signed ---- */

struct field {
    struct slice name, value;
};

/* The names for h=, and the fields in relaxed form, in the order in which they're hashed: of
 * several with a name, the last one first (5.4.2). */
static void fields_choose(struct dkim_signer *signer, struct slice names[FIELDS_MAX],
                          unsigned *name_count)
{
    struct field fields[FIELDS_MAX];
    unsigned count = 0;
    struct slice header = buf_slice(&signer->header);
    while (header.len > 0 && count < FIELDS_MAX) {
        dkim_field_take(&header, &fields[count].name, &fields[count].value);
        bool wanted = false;
        for (size_t i = 0; i < ARRAY_LEN(signed_names) && !wanted; i++)
            wanted = slice_eq_nocase(fields[count].name, signed_names[i].name);
        count += wanted;
    }
    buf_clear(&signer->canonical);
    *name_count = 0;
    for (size_t i = 0; i < ARRAY_LEN(signed_names); i++) {
        for (unsigned k = count; k > 0 && *name_count < FIELDS_MAX - 1; k--) {
            if (!slice_eq_nocase(fields[k - 1].name, signed_names[i].name))
                continue;
            dkim_field_append(&signer->canonical, fields[k - 1].name, fields[k - 1].value);
            buf_append(&signer->canonical, SLICE("\r\n"));
            names[(*name_count)++] = signed_names[i].name;
        }
        if (signed_names[i].over && *name_count < FIELDS_MAX)
            names[(*name_count)++] = signed_names[i].name;
    }
}

static bool body_hash(struct dkim_signer *signer, const struct iovec *message, unsigned count,
                      unsigned first, size_t at, bool simple, unsigned char out[SHA256_BYTES])
{
    struct dkim_body body;
    if (EVP_DigestInit_ex(signer->digest, EVP_sha256(), NULL) != 1)
        return false;
    dkim_body_begin(&body, signer->digest, !simple);
    for (unsigned i = first; i < count; i++) {
        struct slice bytes = slice_of(message[i].iov_base, message[i].iov_len);
        dkim_body_feed(&body, i == first ? slice_skip(bytes, at) : bytes);
    }
    dkim_body_end(&body);
    return EVP_DigestFinal_ex(signer->digest, out, NULL) == 1;
}

/* ---- a signature ---- */

static void append_names(struct buf *out, const struct slice *names, unsigned count)
{
    size_t column = LINE_COLUMNS; /* the first one begins a line */
    for (unsigned i = 0; i < count; i++) {
        size_t len = names[i].len + 1;
        if (i > 0)
            buf_append_char(out, ':');
        if (column + len > LINE_COLUMNS && i > 0) {
            buf_append(out, SLICE("\r\n\t "));
            column = 2;
        } else if (i == 0) {
            column = 3;
        }
        buf_append(out, names[i]);
        column += len;
    }
}

static void append_tags(struct buf *out, const struct key *key, int64_t now_s,
                        const struct slice *names, unsigned name_count,
                        const unsigned char hash[SHA256_BYTES])
{
    unsigned char base64[48];
    buf_printf(out, " v=1; a=%s-sha256; c=relaxed/%s; d=%.*s;\r\n\ts=%.*s; t=%lld;",
               key->ed25519 ? "ed25519" : "rsa", key->simple_body ? "simple" : "relaxed",
               SLICE_FMT(key->domain), SLICE_FMT(key->selector), (long long)now_s);
    if (key->expires_s)
        buf_printf(out, " x=%lld;", (long long)(now_s + key->expires_s));
    EVP_EncodeBlock(base64, hash, SHA256_BYTES);
    buf_append(out, SLICE("\r\n\th="));
    append_names(out, names, name_count);
    buf_printf(out, ";\r\n\tbh=%s;\r\n\tb=", (const char *)base64);
}

/* RFC 6376, 3.3.1; RFC 8463, 3: Ed25519 signs the digest as its message. */
static bool digest_sign(const struct dkim_signer *signer, const struct key *key,
                        const unsigned char digest[SHA256_BYTES],
                        unsigned char signature[SIGNATURE_BYTES_MAX], size_t *len)
{
    *len = SIGNATURE_BYTES_MAX;
    if (!key->ed25519)
        return EVP_PKEY_sign(key->rsa, signature, len, digest, SHA256_BYTES) == 1;
    EVP_MD_CTX_reset(signer->pure);
    return EVP_DigestSignInit(signer->pure, NULL, NULL, NULL, key->pkey) == 1 &&
           EVP_DigestSign(signer->pure, signature, len, digest, SHA256_BYTES) == 1;
}

/* signer->canonical holds the fields; the signature's own comes behind them, for this key only. */
static bool signature_append(struct dkim_signer *signer, const struct key *key, int64_t now_s,
                             const struct slice *names, unsigned name_count,
                             const unsigned char hash[SHA256_BYTES], char *out, size_t *len)
{
    static const char header_name[] = "DKIM-Signature";
    struct buf *line = &signer->line;
    size_t before = signer->canonical.len, signature_len;
    unsigned char digest[SHA256_BYTES], signature[SIGNATURE_BYTES_MAX], base64[BASE64_MAX];
    buf_clear(line);
    append_tags(line, key, now_s, names, name_count, hash);
    dkim_field_append(&signer->canonical, slice_str(header_name), buf_slice(line));
    struct slice all = buf_slice(&signer->canonical);
    bool good = EVP_DigestInit_ex(signer->digest, EVP_sha256(), NULL) == 1 &&
                EVP_DigestUpdate(signer->digest, all.ptr, all.len) == 1 &&
                EVP_DigestFinal_ex(signer->digest, digest, NULL) == 1;
    signer->canonical.len = before;
    if (!good || !digest_sign(signer, key, digest, signature, &signature_len))
        return false;
    int digits = EVP_EncodeBlock(base64, signature, (int)signature_len);
    for (int i = 0; i < digits; i += LINE_COLUMNS)
        buf_printf(line, "%s%.*s", i ? "\r\n\t " : "", MIN_OF(digits - i, (int)LINE_COLUMNS),
                   (const char *)base64 + i);
    struct slice value = buf_slice(line);
    assert(sizeof header_name + value.len + 2 <= key_room(key));
    memcpy(out + *len, header_name, sizeof header_name - 1);
    *len += sizeof header_name - 1;
    out[(*len)++] = ':';
    memcpy(out + *len, value.ptr, value.len);
    *len += value.len;
    memcpy(out + *len, "\r\n", 2);
    *len += 2;
    return true;
}

bool dkim_sign(struct dkim_signer *signer, struct slice tenant, int64_t now_s,
               const struct iovec *message, unsigned count, struct dkim_body_hash *cache, char *out,
               size_t *len, struct err *err)
{
    unsigned body_iov, name_count;
    size_t body_at;
    char domain[256];
    struct key *keys[DKIM_SIGNATURES_MAX];
    struct slice names[FIELDS_MAX];
    struct dkim_body_hash fresh = { 0 }, *hashes = cache ? cache : &fresh;
    *len = 0;
    buf_clear(&signer->header);
    dkim_header_take(message, count, &signer->header, &body_iov, &body_at);
    size_t domain_len = from_domain(buf_slice(&signer->header), domain);
    unsigned key_count = keys_find(signer, slice_of(domain, domain_len), tenant, now_s, keys);
    if (domain_len == 0 || key_count == 0)
        return true;
    fields_choose(signer, names, &name_count);
    for (unsigned i = 0; i < key_count; i++) {
        bool simple = keys[i]->simple_body;
        bool good = hashes->known[simple] || body_hash(signer, message, count, body_iov, body_at,
                                                       simple, hashes->sha256[simple]);
        hashes->known[simple] = good;
        if (!good || !signature_append(signer, keys[i], now_s, names, name_count,
                                       hashes->sha256[simple], out, len)) {
            domain[domain_len] = '\0';
            openssl_failed(err, "cannot sign for", domain);
            err->kind = ERR_LIMIT;
            return false;
        }
    }
    return true;
}

/* ---- for people ---- */

bool dkim_record(const char *file, char out[1000], struct err *err)
{
    unsigned char *der = NULL, raw[SHA256_BYTES], *base64;
    size_t raw_len = sizeof raw;
    EVP_PKEY *pkey = key_load(file, err);
    if (!pkey)
        return false;
    bool ed25519 = EVP_PKEY_is_a(pkey, "ED25519");
    int len = ed25519 ? EVP_PKEY_get_raw_public_key(pkey, raw, &raw_len) == 1 ? (int)raw_len : -1
                      : i2d_PUBKEY(pkey, &der);
    EVP_PKEY_free(pkey);
    if (len <= 0)
        return openssl_failed(err, "no public key in", file);
    base64 = mem_alloc((size_t)len * 2);
    EVP_EncodeBlock(base64, ed25519 ? raw : der, len);
    snprintf(out, 1000, "v=DKIM1; k=%s; p=%s", ed25519 ? "ed25519" : "rsa", (char *)base64);
    free(base64);
    OPENSSL_free(der);
    return true;
}

bool dkim_key_make(const char *file, unsigned bits, struct err *err)
{
    if (bits && (bits < DKIM_RSA_BITS_MIN || bits > DKIM_RSA_BITS_MAX))
        return err_set(err, ERR_USAGE, "an RSA key for DKIM has %d to %d bits", DKIM_RSA_BITS_MIN,
                       DKIM_RSA_BITS_MAX);
    int fd = open(file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    FILE *out = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (!out)
        return err_system(err, errno, "cannot write a new key to %s", file);
    EVP_PKEY *pkey = bits ? EVP_RSA_gen(bits) : EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    bool good = pkey && PEM_write_PrivateKey(out, pkey, NULL, NULL, 0, NULL, NULL) == 1;
    EVP_PKEY_free(pkey);
    good = fclose(out) == 0 && good;
    return good || openssl_failed(err, "cannot make the key", file);
}
