/* TLS between two memories, by OpenSSL over a BIO of our own.
 *
 * OpenSSL's memory BIO was rejected: it copies what arrives once more, zeroes as it grows, and its
 * bytes move under a send that is under way. Ours reads straight from the ring's receive buffer
 * (OpenSSL keeps the beginning of a record itself, so nothing is left over) and writes into
 * `output`, which whoever sends it takes away as a whole.
 *
 * Callbacks of OpenSSL run inside its calls, where the connection must not be touched: tickets are
 * therefore only collected there and handed over by stream.c afterwards.
 */
#include "engine/net/tls_filter.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/mem.h"

static int bio_read(BIO *bio, char *to, int room)
{
    struct tls_filter *filter = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (room <= 0)
        return 0;
    if (filter->input.len == 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    size_t n = MIN_OF((size_t)room, filter->input.len);
    memcpy(to, filter->input.ptr, n);
    filter->input = slice_skip(filter->input, n);
    return (int)n;
}

static int bio_write(BIO *bio, const char *from, int len)
{
    struct tls_filter *filter = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (len <= 0)
        return 0;
    if (buf_append(&filter->output, slice_of(from, (size_t)len)))
        return len;
    filter->overflowed = true;
    return -1;
}

static long bio_control(BIO *bio, int command, long number, void *ptr)
{
    (void)bio;
    (void)number;
    (void)ptr;
    return command == BIO_CTRL_FLUSH || command == BIO_CTRL_DUP;
}

BIO_METHOD *tls_filter_bio_method(void)
{
    /* The type only has to differ from OpenSSL's own; BIO_get_new_index() would run out after 127
     * contexts. */
    BIO_METHOD *method = BIO_meth_new(BIO_TYPE_SOURCE_SINK | BIO_TYPE_START, "eilpost");
    if (method && (!BIO_meth_set_read(method, bio_read) || !BIO_meth_set_write(method, bio_write) ||
                   !BIO_meth_set_ctrl(method, bio_control))) {
        BIO_meth_free(method);
        return NULL;
    }
    return method;
}

static void collect_ticket(struct tls_filter *filter, const SSL_SESSION *session)
{
    /* A copy: the original is the live connection's, and an alert there would make it unusable
     * here. */
    SSL_SESSION *copy = SSL_SESSION_dup(session);
    if (!copy)
        return;
    size_t name_bytes = strlen(filter->name) + 1;
    struct tls_ticket *ticket = mem_alloc(sizeof *ticket + name_bytes);
    ticket->session = copy;
    ticket->verify = filter->context->verify;
    ticket->records = filter->records;
    memcpy(ticket->name, filter->name, name_bytes);
    filter->tickets[filter->ticket_count++] = ticket;
}

int tls_filter_new_session(SSL *ssl, SSL_SESSION *session)
{
    struct tls_filter *filter = SSL_get_app_data(ssl);
    filter->lazy_buffers = true;
    if (filter->wants_tickets && filter->ticket_count < TLS_TICKETS_MAX)
        collect_ticket(filter, session);
    return 0; /* OpenSSL's reference stays OpenSSL's */
}

struct tls_ticket *tls_filter_take_ticket(struct tls_filter *filter)
{
    struct tls_ticket *first = filter->tickets[0];
    if (filter->ticket_count == 0)
        return NULL;
    filter->ticket_count--;
    memmove(&filter->tickets[0], &filter->tickets[1], filter->ticket_count * sizeof first);
    return first;
}

/* What OpenSSL calls a reason, said so that an operator knows whose fault it is. */
static const struct reason {
    int code;
    const char *text;
    bool handshake; /* means something else later */
} reasons[] = {
    { SSL_R_TLSV1_ALERT_PROTOCOL_VERSION,
      "the peer offers no TLS version from the allowed minimum on", false },
    { SSL_R_UNSUPPORTED_PROTOCOL, "the peer offers no TLS version from the allowed minimum on",
      false },
    { SSL_R_WRONG_SSL_VERSION, "the peer offers no TLS version from the allowed minimum on",
      false },
    { SSL_R_WRONG_VERSION_NUMBER, "the peer's answer isn't TLS", false },
    { SSL_R_PACKET_LENGTH_TOO_LONG, "the peer's answer isn't TLS", false },
    { SSL_R_HTTP_REQUEST, "the peer's answer isn't TLS", false },
    { SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE, "the peer accepts none of the offered ciphers or keys",
      true },
    { SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC, "a record was damaged on the way", false },
    { SSL_R_EXCESSIVE_MESSAGE_SIZE, "the peer's certificate chain or message is too large", false },
};

static enum tls_problem problem_of(long verdict)
{
    switch (verdict) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
    case X509_V_ERR_CERT_NOT_YET_VALID:
        return TLS_PROBLEM_EXPIRED;
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        return TLS_PROBLEM_HOST_MISMATCH;
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_CERT_UNTRUSTED:
    case X509_V_ERR_CERT_REVOKED:
    case X509_V_ERR_INVALID_CA:
        return TLS_PROBLEM_NOT_TRUSTED;
    default:
        return TLS_PROBLEM_VALIDATION;
    }
}

static void explain_verdict(const struct tls_filter *filter, char *text, size_t size)
{
    long verdict = SSL_get_verify_result(filter->ssl);
    if (verdict == X509_V_ERR_HOSTNAME_MISMATCH || verdict == X509_V_ERR_IP_ADDRESS_MISMATCH)
        snprintf(text, size, "certificate verify failed: it isn't for %s", filter->name);
    else
        snprintf(text, size, "certificate verify failed: %s",
                 X509_verify_cert_error_string(verdict));
}

static bool is_verdict(unsigned long error)
{
    return ERR_GET_LIB(error) == ERR_LIB_SSL &&
           ERR_GET_REASON(error) == SSL_R_CERTIFICATE_VERIFY_FAILED;
}

static void explain_reason(const struct tls_filter *filter, char *text, size_t size)
{
    unsigned long error = ERR_peek_error();
    int reason = ERR_GET_LIB(error) == ERR_LIB_SSL ? ERR_GET_REASON(error) : 0;
    for (size_t i = 0; i < ARRAY_LEN(reasons); i++)
        if (reasons[i].code == reason && (!reasons[i].handshake || !filter->established)) {
            snprintf(text, size, "%s", reasons[i].text);
            return;
        }
    const char *name = ERR_reason_error_string(error);
    const char *alert = reason > SSL_AD_REASON_OFFSET && name ? strstr(name, " alert ") : NULL;
    if (filter->overflowed)
        snprintf(text, size, "the peer provokes answers without reading them");
    else if (is_verdict(error))
        explain_verdict(filter, text, size);
    else if (alert) /* "tlsv13 alert certificate required" */
        snprintf(text, size, "the peer refused: %s", alert + strlen(" alert "));
    else
        snprintf(text, size, "%s", name ? name : "unknown error");
}

static enum tls_status broken(struct tls_filter *filter, char *text, size_t size)
{
    filter->broken = true;
    filter->problem = is_verdict(ERR_peek_error()) ? problem_of(SSL_get_verify_result(filter->ssl))
                                                   : TLS_PROBLEM_VALIDATION;
    size_t at = (size_t)snprintf(
        text, size, "%s: ", filter->established ? "TLS failed" : "TLS handshake failed");
    if (at < size)
        explain_reason(filter, text + at, size - at);
    ERR_clear_error();
    return TLS_BROKEN;
}

static uint64_t records_hash(uint64_t hash, const struct tls_tlsa *record)
{
    const uint8_t head[] = { record->usage, record->selector, record->matching };
    hash = hash ? hash : 0xcbf29ce484222325;
    for (size_t i = 0; i < sizeof head + record->data.len; i++) {
        uint8_t byte = i < sizeof head ? head[i] : (uint8_t)record->data.ptr[i - sizeof head];
        hash = (hash ^ byte) * 0x100000001b3; /* FNV-1a */
    }
    return hash;
}

static bool is_address(const char *name)
{
    struct in6_addr scratch;
    return inet_pton(AF_INET, name, &scratch) == 1 || inet_pton(AF_INET6, name, &scratch) == 1;
}

static bool set_name(struct tls_filter *filter, char *text, size_t text_size)
{
    bool verify = filter->context->verify == TLS_VERIFY_NAME;
    const char *name = filter->name;
    if (!*name) {
        snprintf(text, text_size,
                 "TLS handshake failed: no name to verify the certificate against");
        return !verify;
    }
    X509_VERIFY_PARAM *param = SSL_get0_param(filter->ssl);
    bool ok;
    if (is_address(name)) {
        ok = !verify || X509_VERIFY_PARAM_set1_ip_asc(param, name);
    } else {
        ok = SSL_set_tlsext_host_name(filter->ssl, name);
        X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
        ok = ok && (!verify || X509_VERIFY_PARAM_set1_host(param, name, 0));
    }
    if (!ok)
        snprintf(text, text_size, "TLS handshake failed: %.80s can't be a server's name", name);
    return ok;
}

/* RFC 7672: the records alone decide about what usage 3 names; below a trust anchor (usage 2) the
 * name counts, the server's or the domain's. */
static bool set_records(struct tls_filter *filter, const struct tls_client_options *options,
                        char *text, size_t text_size)
{
    unsigned usable = 0;
    if (SSL_dane_enable(filter->ssl, filter->name) <= 0) {
        snprintf(text, text_size, "TLS handshake failed: %.80s can't be a server's name",
                 filter->name);
        return false;
    }
    SSL_dane_set_flags(filter->ssl, DANE_FLAG_NO_DANE_EE_NAMECHECKS);
    SSL_set_hostflags(filter->ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (options->domain && *options->domain)
        SSL_add1_host(filter->ssl, options->domain);
    for (unsigned i = 0; i < options->tlsa_count; i++) {
        const struct tls_tlsa *record = &options->tlsa[i];
        if (tls_tlsa_usable(record, 1) == 0)
            continue;
        usable += SSL_dane_tlsa_add(filter->ssl, record->usage, record->selector, record->matching,
                                    (const unsigned char *)record->data.ptr, record->data.len) > 0;
        filter->records = records_hash(filter->records, record);
    }
    ERR_clear_error();
    if (usable == 0)
        snprintf(text, text_size, "TLS handshake failed: no usable TLSA record");
    return usable > 0;
}

/* The check of a certificate isn't repeated on a resumed connection, so the ticket must come from
 * one like it. */
static bool ticket_fits(const struct tls_filter *filter, const struct tls_ticket *ticket)
{
    if (filter->context->verify == TLS_VERIFY_NONE)
        return true;
    return ticket->verify == filter->context->verify && ticket->records == filter->records &&
           strcasecmp(ticket->name, filter->name) == 0;
}

bool tls_filter_init(struct tls_filter *filter, const struct tls_client_options *options,
                     char *text, size_t text_size)
{
    struct slice name = slice_str(options->server_name);
    if (name.len > 0 && name.ptr[name.len - 1] == '.')
        name.len--;
    *filter = (struct tls_filter){
        .context = options->context,
        .output = { .bytes_max = TLS_OUTPUT_BYTES_MAX },
        .wants_tickets = options->ticket != NULL,
        .name = slice_dup(name),
    };
    ERR_clear_error();
    filter->context->users++;
    filter->ssl = SSL_new(filter->context->ssl);
    BIO *bio = BIO_new(filter->context->bio);
    assert(filter->ssl && bio); /* only without memory */
    BIO_set_data(bio, filter);
    BIO_set_init(bio, 1);
    SSL_set_bio(filter->ssl, bio, bio);
    SSL_set_app_data(filter->ssl, filter);
    SSL_set_connect_state(filter->ssl);
    bool dane = filter->context->verify == TLS_VERIFY_DANE;
    bool good =
        dane ? set_records(filter, options, text, text_size) : set_name(filter, text, text_size);
    struct tls_ticket *ticket = options->resume;
    if (good && ticket && ticket_fits(filter, ticket) && SSL_SESSION_is_resumable(ticket->session))
        SSL_set_session(filter->ssl, ticket->session);
    tls_ticket_free(ticket);
    filter->broken = !good;
    return good;
}

void tls_filter_deinit(struct tls_filter *filter)
{
    for (unsigned i = 0; i < filter->ticket_count; i++)
        tls_ticket_free(filter->tickets[i]);
    /* Without this OpenSSL would take the session for cut off, and mark what is shared with it as
     * not resumable. */
    SSL_set_shutdown(filter->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(filter->ssl);
    buf_free(&filter->output);
    free(filter->name);
    tls_context_release(filter->context);
}

static void established(struct tls_filter *filter)
{
    filter->established = true;
    filter->resumed = SSL_session_reused(filter->ssl);
    filter->verified = filter->context->verify != TLS_VERIFY_NONE &&
                       SSL_get_verify_result(filter->ssl) == X509_V_OK;
    /* TLS 1.2 servers issue no new ticket on resumption; the old one stays good. */
    if (filter->resumed && filter->wants_tickets && SSL_version(filter->ssl) == TLS1_2_VERSION)
        collect_ticket(filter, SSL_get0_session(filter->ssl));
}

enum tls_status tls_filter_handshake(struct tls_filter *filter, char *text, size_t text_size)
{
    ERR_clear_error();
    int result = SSL_do_handshake(filter->ssl);
    if (result == 1) {
        established(filter);
        return TLS_DONE;
    }
    if (SSL_get_error(filter->ssl, result) == SSL_ERROR_WANT_READ)
        return TLS_WANTS_INPUT;
    return broken(filter, text, text_size);
}

/* 16 KiB per idle session. Only between records: OpenSSL before 3.0.14 would free a half-read one
 * (CVE-2024-4741). */
static void release_buffers(struct tls_filter *filter)
{
    if (strcmp(SSL_rstate_string(filter->ssl), "RH") == 0 && SSL_free_buffers(filter->ssl))
        filter->lazy_buffers = false;
}

enum tls_status tls_filter_read(struct tls_filter *filter, struct slice *plain, char *text,
                                size_t text_size)
{
    ERR_clear_error();
    int result = SSL_read(filter->ssl, filter->context->plain, TLS_RECORD_BYTES);
    if (result > 0) {
        *plain = slice_of(filter->context->plain, (size_t)result);
        return TLS_DONE;
    }
    switch (SSL_get_error(filter->ssl, result)) {
    case SSL_ERROR_WANT_READ:
        if (filter->lazy_buffers)
            release_buffers(filter);
        return TLS_WANTS_INPUT;
    case SSL_ERROR_ZERO_RETURN:
        return TLS_CLOSED;
    default: /* OpenSSL's list is open */
        return broken(filter, text, text_size);
    }
}

static void advance(struct iovec **iov, unsigned *count, size_t n)
{
    (*iov)->iov_base = (char *)(*iov)->iov_base + n;
    (*iov)->iov_len -= n;
    while (*count > 0 && (*iov)->iov_len == 0) {
        (*iov)++;
        (*count)--;
    }
}

/* The next record's plaintext: in place where a vector fills it, else gathered from several. */
static struct slice next_record(char *gather, struct iovec **iov, unsigned *count)
{
    size_t first = (*iov)->iov_len;
    if (*count == 1 || first >= TLS_RECORD_BYTES) {
        struct slice record = slice_of((*iov)->iov_base, MIN_OF(first, (size_t)TLS_RECORD_BYTES));
        advance(iov, count, record.len);
        return record;
    }
    size_t used = 0;
    while (*count > 0 && used < TLS_RECORD_BYTES) {
        size_t n = MIN_OF((*iov)->iov_len, TLS_RECORD_BYTES - used);
        memcpy(gather + used, (*iov)->iov_base, n);
        used += n;
        advance(iov, count, n);
    }
    return slice_of(gather, used);
}

static size_t vectors_bytes(const struct iovec *iov, unsigned count, size_t bytes_max)
{
    size_t bytes = 0;
    for (unsigned i = 0; i < count && bytes < bytes_max; i++)
        bytes += MIN_OF(iov[i].iov_len, bytes_max);
    return MIN_OF(bytes, bytes_max);
}

bool tls_filter_write(struct tls_filter *filter, struct iovec **iov, unsigned *count, char *text,
                      size_t text_size)
{
    if (*count > 0)
        advance(iov, count, 0); /* past empty vectors */
    size_t bytes = vectors_bytes(*iov, *count, TLS_FLIGHT_BYTES);
    if (bytes == 0)
        return true;
    size_t extra = (bytes / TLS_RECORD_BYTES + 1) * TLS_RECORD_EXTRA_BYTES;
    if (filter->output.len == 0)
        buf_reserve(&filter->output, bytes + extra); /* once, instead of growing record by record */
    while (bytes > 0) {
        struct slice record = next_record(filter->context->gather, iov, count);
        bytes -= MIN_OF(bytes, record.len);
        ERR_clear_error();
        /* The BIO takes everything, so a write is whole or fatal. */
        if (SSL_write(filter->ssl, record.ptr, (int)record.len) != (int)record.len) {
            broken(filter, text, text_size);
            return false;
        }
    }
    return true;
}

void tls_filter_close_notify(struct tls_filter *filter)
{
    if (filter->broken || !filter->established)
        return;
    ERR_clear_error();
    SSL_shutdown(filter->ssl);
    ERR_clear_error();
}
