#include "bench/sink/tls.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdlib.h>

#include "engine/base/mem.h"

struct sink_tls_context {
    SSL_CTX *ssl;
};

struct sink_tls {
    SSL *ssl;
    BIO *in, *out;
};

static bool openssl_failed(struct err *err, const char *what)
{
    char text[160];
    ERR_error_string_n(ERR_get_error(), text, sizeof text);
    ERR_clear_error();
    return err_set(err, ERR_SYSTEM, "%s: %s", what, text);
}

static bool certificate_fill(X509 *certificate, EVP_PKEY *key, const char *hostname)
{
    X509_NAME *name = X509_get_subject_name(certificate);
    return X509_set_version(certificate, 2) == 1 &&
           ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1) == 1 &&
           X509_gmtime_adj(X509_getm_notBefore(certificate), -86400) != NULL &&
           X509_gmtime_adj(X509_getm_notAfter(certificate), 365L * 86400) != NULL &&
           X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)hostname,
                                      -1, -1, 0) == 1 &&
           X509_set_issuer_name(certificate, name) == 1 && X509_set_pubkey(certificate, key) == 1 &&
           X509_sign(certificate, key, EVP_sha256()) > 0;
}

static bool own_certificate(SSL_CTX *ssl, const char *hostname, struct err *err)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    bool made = key && certificate && certificate_fill(certificate, key, hostname) &&
                SSL_CTX_use_certificate(ssl, certificate) == 1 &&
                SSL_CTX_use_PrivateKey(ssl, key) == 1;
    X509_free(certificate);
    EVP_PKEY_free(key);
    return made || openssl_failed(err, "cannot make a certificate");
}

static bool given_certificate(SSL_CTX *ssl, const char *certificate_file, const char *key_file,
                              struct err *err)
{
    if (SSL_CTX_use_certificate_chain_file(ssl, certificate_file) != 1)
        return openssl_failed(err, certificate_file);
    const char *key = key_file ? key_file : certificate_file;
    if (SSL_CTX_use_PrivateKey_file(ssl, key, SSL_FILETYPE_PEM) != 1)
        return openssl_failed(err, key);
    return true;
}

bool sink_tls_context_create(const char *certificate_file, const char *key_file,
                             const char *hostname, struct sink_tls_context **out, struct err *err)
{
    SSL_CTX *ssl = SSL_CTX_new(TLS_server_method());
    if (!ssl)
        return openssl_failed(err, "cannot use OpenSSL");
    SSL_CTX_set_min_proto_version(ssl, TLS1_2_VERSION);
    SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS);
    bool made = certificate_file ? given_certificate(ssl, certificate_file, key_file, err)
                                 : own_certificate(ssl, hostname, err);
    if (!made) {
        SSL_CTX_free(ssl);
        return false;
    }
    *out = mem_zalloc(sizeof **out);
    (*out)->ssl = ssl;
    return true;
}

void sink_tls_context_destroy(struct sink_tls_context **context)
{
    if (!*context)
        return;
    SSL_CTX_free((*context)->ssl);
    free(*context);
    *context = NULL;
}

struct sink_tls *sink_tls_create(struct sink_tls_context *context)
{
    struct sink_tls *tls = mem_zalloc(sizeof *tls);
    tls->ssl = SSL_new(context->ssl);
    tls->in = BIO_new(BIO_s_mem());
    tls->out = BIO_new(BIO_s_mem());
    assert(tls->ssl && tls->in && tls->out);
    SSL_set_bio(tls->ssl, tls->in, tls->out);
    SSL_set_accept_state(tls->ssl);
    return tls;
}

void sink_tls_destroy(struct sink_tls **tls)
{
    if (!*tls)
        return;
    SSL_free((*tls)->ssl); /* and its BIOs */
    free(*tls);
    *tls = NULL;
}

void sink_tls_put_records(struct sink_tls *tls, struct slice records)
{
    int put = BIO_write(tls->in, records.ptr, (int)records.len);
    assert(put == (int)records.len);
}

enum sink_tls_read sink_tls_read(struct sink_tls *tls, char *out, size_t size, size_t *got)
{
    ERR_clear_error();
    int n = SSL_read(tls->ssl, out, (int)size);
    if (n > 0) {
        *got = (size_t)n;
        return SINK_TLS_BYTES;
    }
    switch (SSL_get_error(tls->ssl, n)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        return SINK_TLS_WANTS_MORE;
    case SSL_ERROR_ZERO_RETURN:
        return SINK_TLS_CLOSED;
    default:
        return SINK_TLS_FAILED;
    }
}

bool sink_tls_established(const struct sink_tls *tls)
{
    return SSL_is_init_finished(tls->ssl);
}

bool sink_tls_write(struct sink_tls *tls, struct slice plain)
{
    ERR_clear_error();
    return plain.len == 0 || SSL_write(tls->ssl, plain.ptr, (int)plain.len) == (int)plain.len;
}

void sink_tls_take_records(struct sink_tls *tls, struct buf *out)
{
    size_t pending = BIO_ctrl_pending(tls->out);
    if (pending == 0)
        return;
    char *to = buf_reserve(out, pending);
    int n = BIO_read(tls->out, to, (int)pending);
    assert(n == (int)pending);
    buf_grow(out, pending);
}
