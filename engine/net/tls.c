/* TLS contexts and tickets: what we accept and offer, in one place.
 *
 * Three policies (RFC 7435): under TLS_VERIFY_NONE any encryption beats clear text, which is what a
 * peer would get otherwise, so the certificate isn't looked at, and short keys (security level 1)
 * and servers without RFC 5746 pass: we never renegotiate. Under TLS_VERIFY_NAME a failure means
 * that nothing is sent, so everything is checked at OpenSSL's defaults.
 *
 * A worker owns its contexts: hence the plain counter of users, and the scratch memory inside.
 */
#include "engine/net/tls.h"

#include <openssl/err.h>
#include <openssl/x509_vfy.h>
#include <stdlib.h>

#include "engine/base/mem.h"
#include "engine/net/tls_filter.h"

#define TLS13_SUITES "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
#define TLS12_SUITES                                                                               \
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE+AESGCM:ECDHE+CHACHA20:"       \
    "DHE+AESGCM:HIGH:!aNULL:!eNULL:!PSK:!SRP:!MD5"

/* The chain isn't built at all where nobody believes it; the result must never read as verified,
 * though. */
static int accept_any_certificate(X509_STORE_CTX *store, void *arg)
{
    (void)arg;
    X509_STORE_CTX_set_error(store, X509_V_ERR_UNSPECIFIED);
    return 1;
}

static bool set_version(SSL_CTX *ssl, const char *min_version, struct err *err)
{
    int version = TLS1_2_VERSION;
    if (min_version && strcmp(min_version, "1.3") == 0)
        version = TLS1_3_VERSION;
    else if (min_version && strcmp(min_version, "1.2") != 0)
        return err_set(err, ERR_CONFIG, "TLS version \"%s\" is neither 1.2 nor 1.3", min_version);
    if (!SSL_CTX_set_min_proto_version(ssl, version) || !SSL_CTX_set_max_proto_version(ssl, 0))
        return err_set(err, ERR_SYSTEM, "OpenSSL doesn't offer TLS %s",
                       min_version ? min_version : "1.2");
    return true;
}

static const char *file_failure(void)
{
    unsigned long error =
        ERR_peek_error(); /* the first cause; what follows only says where it was met */
    const char *reason = ERR_SYSTEM_ERROR(error) ? strerrordesc_np(ERR_GET_REASON(error))
                                                 : ERR_reason_error_string(error);
    return reason ? reason : "not readable";
}

/* Also keeps a key with a passphrase from being asked for at the terminal. */
static int no_passphrase(char *out, int room, int writing, void *user)
{
    (void)out, (void)room, (void)writing, (void)user;
    return -1;
}

static bool set_trust(SSL_CTX *ssl, const char *ca_file, struct err *err)
{
    SSL_CTX_set_verify(ssl, SSL_VERIFY_PEER, NULL);
    int ok =
        ca_file ? SSL_CTX_load_verify_file(ssl, ca_file) : SSL_CTX_set_default_verify_paths(ssl);
    if (ok)
        return true;
    return err_set(err, ERR_CONFIG, "certificates of %s can't be used: %s",
                   ca_file ? ca_file : "the system's store", file_failure());
}

/* Who we are, for servers that ask. */
static bool set_identity(SSL_CTX *ssl, const struct tls_context_options *options, struct err *err)
{
    if (!options->cert_file)
        return true;
    if (SSL_CTX_use_certificate_chain_file(ssl, options->cert_file) <= 0)
        return err_set(err, ERR_CONFIG, "certificate %s can't be used: %s", options->cert_file,
                       file_failure());
    if (!options->key_file ||
        SSL_CTX_use_PrivateKey_file(ssl, options->key_file, SSL_FILETYPE_PEM) <= 0)
        return err_set(err, ERR_CONFIG, "key %s can't be used: %s",
                       options->key_file ? options->key_file : "(none)", file_failure());
    return true; /* that they belong together was checked with the key */
}

static bool context_set_up(SSL_CTX *ssl, const struct tls_context_options *options, struct err *err)
{
    if (!set_version(ssl, options->min_version, err))
        return false;
    if (!SSL_CTX_set_ciphersuites(ssl, options->suites ? options->suites : TLS13_SUITES) ||
        !SSL_CTX_set_cipher_list(ssl, options->ciphers ? options->ciphers : TLS12_SUITES))
        return err_set(err, ERR_CONFIG, "OpenSSL knows none of the ciphers \"%s%s%s\"",
                       options->suites ? options->suites : "",
                       options->suites && options->ciphers ? "\", \"" : "",
                       options->ciphers ? options->ciphers : "");
    SSL_CTX_set_options(ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS); /* idle sessions are the many */
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(ssl, tls_filter_new_session);
    SSL_CTX_set_default_passwd_cb(ssl, no_passphrase);
    if (!set_identity(ssl, options, err))
        return false;
    if (options->verify == TLS_VERIFY_NAME)
        return set_trust(ssl, options->ca_file, err);
    if (options->verify == TLS_VERIFY_DANE) {
        SSL_CTX_set_verify(ssl, SSL_VERIFY_PEER, NULL);
        return SSL_CTX_dane_enable(ssl) > 0 || err_set(err, ERR_SYSTEM, "OpenSSL can't do DANE");
    }
    SSL_CTX_set_verify(ssl, SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_cert_verify_callback(ssl, accept_any_certificate, NULL);
    SSL_CTX_set_security_level(ssl, 1);
    SSL_CTX_set_options(ssl, SSL_OP_LEGACY_SERVER_CONNECT);
    return true;
}

bool tls_context_create(struct tls_context **out, const struct tls_context_options *options,
                        struct err *err)
{
    ERR_clear_error();
    struct tls_context *context = mem_zalloc(sizeof *context);
    context->users = 1;
    context->verify = options->verify;
    context->ssl = SSL_CTX_new(TLS_client_method());
    context->bio = tls_filter_bio_method();
    bool ok = context->ssl && context->bio
                  ? context_set_up(context->ssl, options, err)
                  : err_set(err, ERR_SYSTEM, "OpenSSL can't be used: %s",
                            ERR_reason_error_string(ERR_peek_last_error()));
    ERR_clear_error();
    if (!ok) {
        tls_context_destroy(&context);
        return false;
    }
    *out = context;
    return true;
}

void tls_context_release(struct tls_context *context)
{
    assert(context->users > 0);
    if (--context->users > 0)
        return;
    SSL_CTX_free(context->ssl);
    BIO_meth_free(context->bio);
    free(context);
}

void tls_context_destroy(struct tls_context **context)
{
    if (*context)
        tls_context_release(*context);
    *context = NULL;
}

const char *tls_problem_name(enum tls_problem problem)
{
    static const char *const names[] = { "", "certificate-expired", "certificate-host-mismatch",
                                         "certificate-not-trusted", "validation-failure" };
    return names[problem];
}

/* RFC 7672, 3.1.1 to 3.1.3, and RFC 6698, 2.1. */
static bool tlsa_usable(const struct tls_tlsa *record)
{
    enum { DANE_TA = 2, DANE_EE = 3, FULL_CERTIFICATE = 0, PUBLIC_KEY = 1 };
    if ((record->usage != DANE_TA && record->usage != DANE_EE) || record->selector > PUBLIC_KEY)
        return false;
    const unsigned char *at = (const unsigned char *)record->data.ptr;
    X509 *certificate = NULL;
    EVP_PKEY *key = NULL;
    switch (record->matching) {
    case 1:
        return record->data.len == 32;
    case 2:
        return record->data.len == 64;
    case 0:
        if (record->data.len == 0 || record->data.len > UINT16_MAX)
            return false;
        if (record->selector == FULL_CERTIFICATE)
            certificate = d2i_X509(NULL, &at, (long)record->data.len);
        else
            key = d2i_PUBKEY(NULL, &at, (long)record->data.len);
        X509_free(certificate);
        EVP_PKEY_free(key);
        ERR_clear_error();
        return certificate || key;
    default:
        return false;
    }
}

unsigned tls_tlsa_usable(const struct tls_tlsa *records, unsigned count)
{
    unsigned usable = 0;
    for (unsigned i = 0; i < count; i++)
        usable += tlsa_usable(&records[i]);
    return usable;
}

void tls_ticket_free(struct tls_ticket *ticket)
{
    if (!ticket)
        return;
    SSL_SESSION_free(ticket->session);
    free(ticket);
}
