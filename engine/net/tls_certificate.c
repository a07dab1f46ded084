/* What a peer's certificate says, for people. */
#include <openssl/evp.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/buf.h"
#include "engine/base/mem.h"
#include "engine/net/tls_filter.h"

static char *text_of(BIO *bio)
{
    char *bytes;
    long len = BIO_get_mem_data(bio, &bytes);
    char *text = slice_dup(slice_of(bytes, len > 0 ? (size_t)len : 0));
    BIO_free(bio);
    return text;
}

static char *name_of(const X509_NAME *name)
{
    BIO *bio = BIO_new(BIO_s_mem());
    assert(bio); /* only without memory */
    X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253);
    return text_of(bio);
}

static int64_t time_of(const ASN1_TIME *time)
{
    struct tm tm;
    return ASN1_TIME_to_tm(time, &tm) ? (int64_t)timegm(&tm) : 0;
}

static void append_address(struct buf *out, const ASN1_OCTET_STRING *address)
{
    const unsigned char *bytes = ASN1_STRING_get0_data(address);
    int len = ASN1_STRING_length(address);
    for (int i = 0; i < len; i++)
        if (len == 4)
            buf_printf(out, "%s%u", i ? "." : "", bytes[i]);
        else
            buf_printf(out, "%s%02x", i && i % 2 == 0 ? ":" : "", bytes[i]);
}

static char *names_of(X509 *x509)
{
    struct buf out = BUF_EMPTY;
    GENERAL_NAMES *names = X509_get_ext_d2i(x509, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type != GEN_DNS && name->type != GEN_IPADD)
            continue;
        if (out.len > 0)
            buf_append_char(&out, ' ');
        if (name->type == GEN_DNS)
            buf_append(&out, slice_of((const char *)ASN1_STRING_get0_data(name->d.dNSName),
                                      (size_t)ASN1_STRING_length(name->d.dNSName)));
        else
            append_address(&out, name->d.iPAddress);
    }
    GENERAL_NAMES_free(names);
    char *text = slice_dup(buf_slice(&out));
    buf_free(&out);
    return text;
}

static void key_digest(X509 *x509, char out[65])
{
    unsigned char digest[EVP_MAX_MD_SIZE], *der = NULL;
    unsigned len = 0;
    int der_len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x509), &der);
    if (der_len <= 0 || !EVP_Digest(der, (size_t)der_len, digest, &len, EVP_sha256(), NULL))
        len = 0;
    OPENSSL_free(der);
    for (unsigned i = 0; i < len; i++)
        snprintf(out + 2 * i, 3, "%02x", digest[i]);
}

bool tls_filter_certificate(const struct tls_filter *filter, struct tls_certificate *out)
{
    X509 *x509 = SSL_get0_peer_certificate(filter->ssl);
    *out = (struct tls_certificate){ 0 };
    if (!x509)
        return false;
    out->subject = name_of(X509_get_subject_name(x509));
    out->issuer = name_of(X509_get_issuer_name(x509));
    out->names = names_of(x509);
    out->from_s = time_of(X509_get0_notBefore(x509));
    out->until_s = time_of(X509_get0_notAfter(x509));
    key_digest(x509, out->sha256);
    return true;
}

void tls_certificate_clear(struct tls_certificate *certificate)
{
    free(certificate->subject);
    free(certificate->issuer);
    free(certificate->names);
    *certificate = (struct tls_certificate){ 0 };
}
