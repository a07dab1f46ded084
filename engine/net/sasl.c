/* SASL mechanisms, see sasl.h. Each is one function per step; which step is next is one enum. */
#include "engine/net/sasl.h"

#include <stdlib.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <openssl/sha.h>

#include "engine/base/mem.h"
#include "engine/base/utf8.h"

enum {
    HASH_BYTES = SHA256_DIGEST_LENGTH,
    NONCE_BYTES = 18,      /* 24 characters */
    NONCE_CHARS_MAX = 512, /* of both sides together */
    ERROR_CHARS_MAX = 200,
};

/* What is awaited from the server. */
enum step {
    STEP_NOTHING_SAID,   /* the first response hasn't been given */
    STEP_LOGIN_USER,     /* the challenge that asks for the name */
    STEP_LOGIN_PASSWORD, /* … for the password */
    STEP_OUTCOME,        /* yes or no; under OAuth perhaps a challenge that explains the no */
    STEP_SCRAM_FIRST,    /* server-first-message */
    STEP_SCRAM_FINAL,    /* server-final-message */
    STEP_REFUSED,        /* no: whatever comes now isn't a yes */
};

struct sasl {
    enum sasl_mechanism mechanism;
    enum step step;
    struct sasl_identity identity;
    struct buf first_bare; /* SCRAM: client-first-message-bare, later the whole AuthMessage */
    char nonce[64];        /* SCRAM: ours */
    uint8_t server_signature[HASH_BYTES];
    char error[ERROR_CHARS_MAX];
    size_t error_len;
};

/* ---- names and sets ---- */

static const char *const names[SASL_MECHANISMS] = {
    [SASL_SCRAM_SHA_256] = "SCRAM-SHA-256",
    [SASL_OAUTHBEARER] = "OAUTHBEARER",
    [SASL_XOAUTH2] = "XOAUTH2",
    [SASL_PLAIN] = "PLAIN",
    [SASL_LOGIN] = "LOGIN",
};

const char *sasl_mechanism_name(enum sasl_mechanism mechanism)
{
    assert(mechanism < SASL_MECHANISMS);
    return names[mechanism];
}

unsigned sasl_set_parse(struct slice list)
{
    unsigned set = 0;
    while (list.len > 0) {
        struct slice name = slice_trim(slice_cut(&list, ' '));
        for (unsigned i = 0; i < SASL_MECHANISMS; i++)
            if (slice_eq_nocase(name, slice_str(names[i])))
                set |= SASL_SET(i);
    }
    return set;
}

bool sasl_set_strongest(unsigned set, enum sasl_mechanism *out)
{
    for (unsigned i = 0; i < SASL_MECHANISMS; i++) {
        if (!(set & SASL_SET(i)))
            continue;
        *out = (enum sasl_mechanism)i;
        return true;
    }
    return false;
}

/* ---- Base64 ---- */

void sasl_encode(struct buf *out, struct slice bytes)
{
    if (bytes.len == 0)
        return;
    size_t chars = (bytes.len + 2) / 3 * 4;
    char *at = buf_reserve(out, chars + 1); /* EVP_EncodeBlock ends with a NUL */
    assert(at);
    EVP_EncodeBlock((unsigned char *)at, (const unsigned char *)bytes.ptr, (int)bytes.len);
    buf_grow(out, chars);
}

static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool sasl_decode(struct buf *out, struct slice text)
{
    if (text.len % 4 != 0)
        return false;
    size_t padding = 0;
    while (padding < 2 && padding < text.len && text.ptr[text.len - 1 - padding] == '=')
        padding++;
    size_t chars = text.len - padding;
    for (size_t i = 0; i < chars; i++)
        if (base64_value(text.ptr[i]) < 0)
            return false;
    /* Bits that stand for no byte must be 0: one text per meaning. */
    if (padding > 0 && base64_value(text.ptr[chars - 1]) & (padding == 1 ? 3 : 15))
        return false;
    char *at = text.len ? buf_reserve(out, text.len / 4 * 3) : NULL;
    if (text.len && !at)
        return false;
    uint32_t bits = 0;
    size_t bytes = 0;
    for (size_t i = 0; i < chars; i++) {
        bits = bits << 6 | (uint32_t)base64_value(text.ptr[i]);
        if (i % 4 == 0)
            continue;
        at[bytes++] = (char)(bits >> (6 - 2 * (i % 4)));
    }
    if (bytes)
        buf_grow(out, bytes);
    return true;
}

void sasl_wipe(struct buf *buf)
{
    if (buf->data)
        OPENSSL_cleanse(buf->data, buf->room);
    buf_clear(buf);
}

/* ---- life ---- */

static bool is_token(enum sasl_mechanism mechanism)
{
    return SASL_SET(mechanism) & SASL_SET_TOKEN;
}

/* Control characters are nothing that SASLprep lets through, and in XOAUTH2 they are syntax. */
static bool clean(struct slice text)
{
    for (size_t i = 0; i < text.len; i++)
        if ((unsigned char)text.ptr[i] < 0x20 || text.ptr[i] == 0x7f)
            return false;
    return utf8_valid(text);
}

/* b64token of RFC 6750, 2.1, and anything else that is visible ASCII. */
static bool clean_token(struct slice text)
{
    for (size_t i = 0; i < text.len; i++)
        if ((unsigned char)text.ptr[i] <= 0x20 || (unsigned char)text.ptr[i] >= 0x7f)
            return false;
    return true;
}

static bool identity_fits(enum sasl_mechanism mechanism, const struct sasl_identity *identity,
                          struct err *err)
{
    struct slice user = slice_str(identity->user), secret = slice_str(identity->secret);
    size_t secret_max = is_token(mechanism) ? SASL_TOKEN_BYTES_MAX : SASL_PASSWORD_BYTES_MAX;
    if (user.len == 0 || user.len > SASL_USER_BYTES_MAX || !clean(user))
        return err_set(err, ERR_CONFIG,
                       "a user name of 1 to %d bytes without control characters "
                       "is needed",
                       SASL_USER_BYTES_MAX);
    if (secret.len == 0 || secret.len > secret_max ||
        !(is_token(mechanism) ? clean_token(secret) : clean(secret)))
        return err_set(err, ERR_CONFIG,
                       "a %s of 1 to %zu bytes without control characters "
                       "is needed",
                       is_token(mechanism) ? "token" : "password", secret_max);
    return true;
}

static bool make_nonce(struct sasl *sasl, struct err *err)
{
    if (sasl->identity.nonce) {
        struct slice given = slice_str(sasl->identity.nonce);
        assert(given.len > 0 && given.len < sizeof sasl->nonce && slice_find(given, ',') < 0);
        memcpy(sasl->nonce, given.ptr, given.len + 1);
        return true;
    }
    unsigned char random[NONCE_BYTES];
    if (RAND_bytes(random, sizeof random) != 1)
        return err_set(err, ERR_SYSTEM, "no random numbers for a nonce");
    EVP_EncodeBlock((unsigned char *)sasl->nonce, random, sizeof random);
    return true;
}

bool sasl_start(struct sasl **out, enum sasl_mechanism mechanism,
                const struct sasl_identity *identity, struct err *err)
{
    if (!identity_fits(mechanism, identity, err))
        return false;
    struct sasl *sasl = mem_zalloc(sizeof *sasl);
    sasl->mechanism = mechanism;
    sasl->identity = *identity;
    sasl->step = mechanism == SASL_LOGIN ? STEP_LOGIN_USER : STEP_NOTHING_SAID;
    if (mechanism == SASL_SCRAM_SHA_256 && !make_nonce(sasl, err)) {
        free(sasl);
        return false;
    }
    *out = sasl;
    return true;
}

void sasl_destroy(struct sasl **sasl)
{
    struct sasl *old = *sasl;
    if (!old)
        return;
    sasl_wipe(&old->first_bare);
    buf_free(&old->first_bare);
    OPENSSL_cleanse(old, sizeof *old);
    free(old);
    *sasl = NULL;
}

enum sasl_mechanism sasl_mechanism(const struct sasl *sasl)
{
    return sasl->mechanism;
}

struct slice sasl_error(const struct sasl *sasl)
{
    return slice_of(sasl->error, sasl->error_len);
}

/* ---- PLAIN, XOAUTH2, OAUTHBEARER ---- */

/* RFC 4616, 2: no authorisation identity. */
static void plain_initial(struct sasl *sasl, struct buf *response)
{
    buf_append_char(response, '\0');
    buf_append(response, slice_str(sasl->identity.user));
    buf_append_char(response, '\0');
    buf_append(response, slice_str(sasl->identity.secret));
    sasl->step = STEP_OUTCOME;
}

static void xoauth2_initial(struct sasl *sasl, struct buf *response)
{
    buf_append(response, SLICE("user="));
    buf_append(response, slice_str(sasl->identity.user));
    buf_append(response, SLICE("\x01"
                               "auth=Bearer "));
    buf_append(response, slice_str(sasl->identity.secret));
    buf_append(response, SLICE("\x01\x01"));
    sasl->step = STEP_OUTCOME;
}

/* saslname (RFC 5802, 5.1): a comma and an equals sign are syntax. */
static void append_saslname(struct buf *out, struct slice name)
{
    for (size_t i = 0; i < name.len; i++) {
        if (name.ptr[i] == ',')
            buf_append(out, SLICE("=2C"));
        else if (name.ptr[i] == '=')
            buf_append(out, SLICE("=3D"));
        else
            buf_append_char(out, name.ptr[i]);
    }
}

/* RFC 7628, 3.1. The user goes into the GS2 header: without it a token for several mailboxes
 * wouldn't say which. */
static void bearer_initial(struct sasl *sasl, struct buf *response)
{
    buf_append(response, SLICE("n,a="));
    append_saslname(response, slice_str(sasl->identity.user));
    buf_append(response, SLICE(",\x01"));
    if (sasl->identity.host)
        buf_printf(response, "host=%s\x01", sasl->identity.host);
    if (sasl->identity.port)
        buf_printf(response, "port=%u\x01", sasl->identity.port);
    buf_append(response, SLICE("auth=Bearer "));
    buf_append(response, slice_str(sasl->identity.secret));
    buf_append(response, SLICE("\x01\x01"));
    sasl->step = STEP_OUTCOME;
}

/* The server explains its no in a challenge, which wants a dummy answer before the no itself comes
 * (RFC 7628, 3.2.3). */
static void oauth_refused(struct sasl *sasl, struct slice challenge, struct buf *response)
{
    sasl->error_len = MIN_OF(challenge.len, sizeof sasl->error);
    for (size_t i = 0; i < sasl->error_len; i++) {
        char c = challenge.ptr[i];
        sasl->error[i] = c >= 0x20 && c < 0x7f ? c : '?';
    }
    if (sasl->mechanism == SASL_OAUTHBEARER)
        buf_append_char(response, '\x01');
    sasl->step = STEP_REFUSED;
}

/* ---- SCRAM-SHA-256 (RFC 5802, RFC 7677) ---- */

static void hmac(const uint8_t key[HASH_BYTES], struct slice text, uint8_t out[HASH_BYTES])
{
    unsigned len = HASH_BYTES;
    bool ok =
        HMAC(EVP_sha256(), key, HASH_BYTES, (const unsigned char *)text.ptr, text.len, out, &len);
    assert(ok && len == HASH_BYTES);
}

static void scram_initial(struct sasl *sasl, struct buf *response)
{
    buf_append(&sasl->first_bare, SLICE("n="));
    append_saslname(&sasl->first_bare, slice_str(sasl->identity.user));
    buf_printf(&sasl->first_bare, ",r=%s", sasl->nonce);
    buf_append(response, SLICE("n,,"));
    buf_append(response, buf_slice(&sasl->first_bare));
    sasl->step = STEP_SCRAM_FIRST;
}

/* Takes "X=value" and its comma off the front. */
static bool take_attribute(struct slice *message, char name, struct slice *value)
{
    struct slice attribute = slice_cut(message, ',');
    if (attribute.len < 2 || attribute.ptr[0] != name || attribute.ptr[1] != '=')
        return false;
    *value = slice_skip(attribute, 2);
    return true;
}

static bool nonce_fits(const struct sasl *sasl, struct slice nonce)
{
    struct slice ours = slice_str(sasl->nonce);
    if (nonce.len <= ours.len || nonce.len > NONCE_CHARS_MAX || !slice_starts_with(nonce, ours))
        return false;
    for (size_t i = 0; i < nonce.len; i++)
        if ((unsigned char)nonce.ptr[i] <= 0x20 || (unsigned char)nonce.ptr[i] >= 0x7f)
            return false;
    return true;
}

/* SaltedPassword: hundreds of milliseconds, if the server wants it so. */
static bool salted_password(const struct sasl *sasl, struct slice salt, unsigned iterations,
                            uint8_t out[HASH_BYTES])
{
    struct sasl_salted *kept = sasl->identity.salted;
    struct slice secret = slice_str(sasl->identity.secret);
    uint8_t of[HASH_BYTES];
    SHA256((const unsigned char *)secret.ptr, secret.len, of);
    if (kept && kept->valid && kept->iterations == iterations &&
        memcmp(kept->of, of, HASH_BYTES) == 0 &&
        slice_eq(salt, slice_of(kept->salt, kept->salt_len))) {
        memcpy(out, kept->key, HASH_BYTES);
        return true;
    }
    if (PKCS5_PBKDF2_HMAC(secret.ptr, (int)secret.len, (const unsigned char *)salt.ptr,
                          (int)salt.len, (int)iterations, EVP_sha256(), HASH_BYTES, out) != 1)
        return false;
    if (kept && salt.len <= sizeof kept->salt) {
        kept->valid = true;
        kept->iterations = iterations;
        kept->salt_len = (uint8_t)salt.len;
        memcpy(kept->salt, salt.ptr, salt.len);
        memcpy(kept->of, of, HASH_BYTES);
        memcpy(kept->key, out, HASH_BYTES);
    }
    return true;
}

/* ClientProof for `auth_message`, and the signature that the server must show. */
static void scram_sign(struct sasl *sasl, const uint8_t salted[HASH_BYTES],
                       struct slice auth_message, uint8_t proof[HASH_BYTES])
{
    uint8_t client_key[HASH_BYTES], stored_key[HASH_BYTES], signature[HASH_BYTES];
    uint8_t server_key[HASH_BYTES];
    hmac(salted, SLICE("Client Key"), client_key);
    SHA256(client_key, HASH_BYTES, stored_key);
    hmac(stored_key, auth_message, signature);
    for (size_t i = 0; i < HASH_BYTES; i++)
        proof[i] = client_key[i] ^ signature[i];
    hmac(salted, SLICE("Server Key"), server_key);
    hmac(server_key, auth_message, sasl->server_signature);
    OPENSSL_cleanse(client_key, sizeof client_key);
    OPENSSL_cleanse(server_key, sizeof server_key);
}

static bool scram_prove(struct sasl *sasl, struct slice server_first, struct slice nonce,
                        struct slice salt, unsigned iterations, struct buf *response)
{
    uint8_t salted[HASH_BYTES], proof[HASH_BYTES];
    if (!salted_password(sasl, salt, iterations, salted))
        return false;
    struct buf without_proof = BUF_EMPTY;
    buf_append(&without_proof, SLICE("c=biws,r=")); /* biws: "n,," */
    buf_append(&without_proof, nonce);
    struct buf *auth_message = &sasl->first_bare;
    buf_append_char(auth_message, ',');
    buf_append(auth_message, server_first);
    buf_append_char(auth_message, ',');
    buf_append(auth_message, buf_slice(&without_proof));
    scram_sign(sasl, salted, buf_slice(auth_message), proof);
    buf_append(response, buf_slice(&without_proof));
    buf_append(response, SLICE(",p="));
    sasl_encode(response, slice_of(proof, sizeof proof));
    buf_free(&without_proof);
    OPENSSL_cleanse(salted, sizeof salted);
    sasl->step = STEP_SCRAM_FINAL;
    return true;
}

static bool scram_first(struct sasl *sasl, struct slice challenge, struct buf *response,
                        struct err *err)
{
    struct slice rest = challenge, nonce, salt_text, count;
    if (slice_starts_with(challenge, SLICE("m=")))
        return err_set(err, ERR_PROTO, "SCRAM: the server demands an extension");
    if (!take_attribute(&rest, 'r', &nonce) || !take_attribute(&rest, 's', &salt_text) ||
        !take_attribute(&rest, 'i', &count))
        return err_set(err, ERR_PROTO, "SCRAM: the server's first message can't be read");
    if (!nonce_fits(sasl, nonce))
        return err_set(err, ERR_PROTO, "SCRAM: the server's nonce doesn't continue ours");
    uint64_t iterations;
    if (!slice_to_u64(count, &iterations) || iterations < SASL_ITERATIONS_MIN ||
        iterations > SASL_ITERATIONS_MAX)
        return err_set(err, ERR_PROTO,
                       "SCRAM: %d to %d iterations are allowed, the server wants "
                       "%.*s",
                       SASL_ITERATIONS_MIN, SASL_ITERATIONS_MAX, (int)MIN_OF(count.len, (size_t)20),
                       count.ptr);
    struct buf salt = BUF_EMPTY;
    bool ok = sasl_decode(&salt, salt_text) && salt.len > 0
                  ? scram_prove(sasl, challenge, nonce, buf_slice(&salt), (unsigned)iterations,
                                response) ||
                        err_set(err, ERR_SYSTEM, "SCRAM: the password can't be hashed")
                  : err_set(err, ERR_PROTO, "SCRAM: the salt isn't Base64");
    buf_free(&salt);
    return ok;
}

static bool scram_final(struct sasl *sasl, struct slice challenge, struct err *err)
{
    struct slice rest = challenge, value;
    if (take_attribute(&rest, 'e', &value))
        return err_set(err, ERR_PROTO, "SCRAM: refused: %.*s", (int)MIN_OF(value.len, (size_t)80),
                       value.ptr);
    rest = challenge;
    struct buf signature = BUF_EMPTY;
    bool ok = take_attribute(&rest, 'v', &value) && sasl_decode(&signature, value) &&
              signature.len == HASH_BYTES &&
              CRYPTO_memcmp(buf_slice(&signature).ptr, sasl->server_signature, HASH_BYTES) == 0;
    buf_free(&signature);
    if (!ok)
        return err_set(err, ERR_PROTO, "SCRAM: the server didn't prove that it knows the password");
    sasl->step = STEP_OUTCOME;
    return true;
}

/* ---- the steps ---- */

bool sasl_speaks_first(const struct sasl *sasl)
{
    return sasl->mechanism != SASL_LOGIN;
}

size_t sasl_initial_bytes(const struct sasl *sasl)
{
    const struct sasl_identity *identity = &sasl->identity;
    size_t user = strlen(identity->user);
    switch (sasl->mechanism) {
    case SASL_SCRAM_SHA_256:
        return strlen("n,,n=,r=") + 3 * user + strlen(sasl->nonce);
    case SASL_OAUTHBEARER:
        return strlen("n,a=,?host=?port=65535?auth=Bearer ??") + 3 * user +
               (identity->host ? strlen(identity->host) : 0) + strlen(identity->secret);
    case SASL_XOAUTH2:
        return strlen("user=?auth=Bearer ??") + user + strlen(identity->secret);
    case SASL_PLAIN:
        return 2 + user + strlen(identity->secret);
    case SASL_LOGIN:
    case SASL_MECHANISMS:
        break;
    }
    return 0;
}

void sasl_initial(struct sasl *sasl, struct buf *response)
{
    assert(sasl->step == STEP_NOTHING_SAID);
    switch (sasl->mechanism) {
    case SASL_SCRAM_SHA_256:
        scram_initial(sasl, response);
        return;
    case SASL_OAUTHBEARER:
        bearer_initial(sasl, response);
        return;
    case SASL_XOAUTH2:
        xoauth2_initial(sasl, response);
        return;
    case SASL_PLAIN:
        plain_initial(sasl, response);
        return;
    case SASL_LOGIN:
    case SASL_MECHANISMS:
        break;
    }
    assert(!"a mechanism that lets the client speak first");
}

/* Where the first response wasn't sent with the command, an empty challenge asks for it. */
static bool first_asked(struct sasl *sasl, struct slice challenge, struct buf *response,
                        struct err *err)
{
    if (challenge.len > 0)
        return err_set(err, ERR_PROTO, "a challenge though the client speaks first");
    sasl_initial(sasl, response);
    return true;
}

bool sasl_challenge(struct sasl *sasl, struct slice challenge, struct buf *response,
                    struct err *err)
{
    if (challenge.len > SASL_CHALLENGE_BYTES_MAX)
        return err_set(err, ERR_LIMIT, "a challenge of %zu bytes", challenge.len);
    switch (sasl->step) {
    case STEP_NOTHING_SAID:
        return first_asked(sasl, challenge, response, err);
    case STEP_LOGIN_USER: /* whatever the prompt says: it's "Username:" in every language */
        buf_append(response, slice_str(sasl->identity.user));
        sasl->step = STEP_LOGIN_PASSWORD;
        return true;
    case STEP_LOGIN_PASSWORD:
        buf_append(response, slice_str(sasl->identity.secret));
        sasl->step = STEP_OUTCOME;
        return true;
    case STEP_SCRAM_FIRST:
        return scram_first(sasl, challenge, response, err);
    case STEP_SCRAM_FINAL:
        return scram_final(sasl, challenge, err);
    case STEP_OUTCOME:
        if (is_token(sasl->mechanism)) {
            oauth_refused(sasl, challenge, response);
            return true;
        }
        break;
    case STEP_REFUSED:
        break;
    }
    return err_set(err, ERR_PROTO, "%s: one challenge too many", names[sasl->mechanism]);
}

bool sasl_success(struct sasl *sasl, struct err *err)
{
    if (sasl->step == STEP_OUTCOME)
        return true;
    if (sasl->step == STEP_SCRAM_FIRST || sasl->step == STEP_SCRAM_FINAL)
        return err_set(err, ERR_PROTO, "SCRAM: the server didn't prove that it knows the password");
    return err_set(err, ERR_PROTO, "%s: accepted before the exchange was over",
                   names[sasl->mechanism]);
}
