#pragma once
/* A TLS server played in the simulated world: OpenSSL over its own memory BIOs, so that it shares
 * nothing with what is tested but the library. A plan says what it presents and what it does; the
 * server writes down what it sees. */
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "engine/base/buf.h"
#include "engine/ring/sim.h"
#include "tests/support/check_main.h"

struct tls_server {
    /* the plan */
    const char *certificate, *key;
    int max_version;      /* 0: the newest */
    const char *greeting; /* encrypted, after the handshake */
    const char
        *clear_text; /* sent in clear when accepted; TLS starts after the client's next bytes */
    /* what it has seen of the last connection */
    SSL_CTX *context;
    struct ring_sim_peer *peer;
    SSL *ssl;
    BIO *in, *out;
    struct buf received;
    unsigned connections, records;
    size_t largest_record;
    bool clear_phase, established, resumed, close_notify, ended, failed;
    int reason; /* why it failed; OpenSSL's number */
    int alert;  /* the client's fatal alert, or 0 */
};

static inline void tls_server_flush(struct tls_server *server)
{
    char *bytes;
    long len = BIO_get_mem_data(server->out, &bytes);
    if (len > 0)
        ring_sim_peer_send(server->peer, slice_of(bytes, (size_t)len));
    (void)BIO_reset(server->out);
}

static inline void tls_server_write(struct tls_server *server, struct slice text)
{
    ck_assert_int_eq(SSL_write(server->ssl, text.ptr, (int)text.len), (int)text.len);
    tls_server_flush(server);
}

static inline void tls_server_handshake(struct tls_server *server)
{
    if (SSL_do_handshake(server->ssl) != 1)
        return;
    server->established = true;
    server->resumed = SSL_session_reused(server->ssl);
    if (server->greeting)
        tls_server_write(server, slice_str(server->greeting));
}

static inline void tls_server_step(struct tls_server *server)
{
    char record[20000];
    int n = 0;
    ERR_clear_error();
    if (!server->established)
        tls_server_handshake(server);
    while (server->established && (n = SSL_read(server->ssl, record, sizeof record)) > 0) {
        ck_assert(buf_append(&server->received, slice_of(record, (size_t)n)));
        server->records++;
        server->largest_record = MAX_OF(server->largest_record, (size_t)n);
    }
    server->close_notify = SSL_get_shutdown(server->ssl) & SSL_RECEIVED_SHUTDOWN;
    unsigned long error = ERR_peek_error();
    if (error && !server->failed) {
        server->failed = true;
        int reason = server->reason = ERR_GET_REASON(error);
        server->alert = reason > SSL_AD_REASON_OFFSET ? reason - SSL_AD_REASON_OFFSET : 0;
    }
    tls_server_flush(server);
}

static void tls_server_accepted(struct ring_sim_peer *peer)
{
    struct tls_server *server = ring_sim_peer_user(peer);
    SSL_free(server->ssl);
    buf_clear(&server->received);
    server->peer = peer;
    server->connections++;
    server->records = 0;
    server->established = server->resumed = server->close_notify = server->ended = server->failed =
        false;
    server->alert = 0;
    server->ssl = SSL_new(server->context);
    server->in = BIO_new(BIO_s_mem());
    server->out = BIO_new(BIO_s_mem());
    BIO_set_mem_eof_return(server->in, -1);
    SSL_set_bio(server->ssl, server->in, server->out);
    SSL_set_accept_state(server->ssl);
    server->clear_phase = server->clear_text != NULL;
    if (server->clear_phase)
        ring_sim_peer_send(peer, slice_str(server->clear_text));
}

static void tls_server_received(struct ring_sim_peer *peer, struct slice bytes)
{
    struct tls_server *server = ring_sim_peer_user(peer);
    if (server->clear_phase) {
        ck_assert(buf_append(&server->received, bytes));
        return; /* the test says when TLS starts */
    }
    BIO_write(server->in, bytes.ptr, (int)bytes.len);
    tls_server_step(server);
}

static void tls_server_ended(struct ring_sim_peer *peer, int error)
{
    (void)error;
    struct tls_server *server = ring_sim_peer_user(peer);
    server->ended = true;
}

static const struct ring_sim_handlers tls_server_handlers = { tls_server_accepted,
                                                              tls_server_received,
                                                              tls_server_ended };

/** After the plan is filled in; again to change it. */
static inline void tls_server_prepare(struct tls_server *server)
{
    SSL_CTX_free(server->context);
    server->context = SSL_CTX_new(TLS_server_method());
    ck_assert_int_eq(SSL_CTX_use_certificate_chain_file(server->context, server->certificate), 1);
    ck_assert_int_eq(SSL_CTX_use_PrivateKey_file(server->context, server->key, SSL_FILETYPE_PEM),
                     1);
    SSL_CTX_set_security_level(server->context, 0); /* TLS 1.1 needs SHA-1 */
    SSL_CTX_set_min_proto_version(server->context, TLS1_1_VERSION);
    SSL_CTX_set_max_proto_version(server->context, server->max_version);
    SSL_CTX_set_session_id_context(server->context, (const unsigned char *)"test", 4);
}

static inline void tls_server_free(struct tls_server *server)
{
    SSL_free(server->ssl);
    SSL_CTX_free(server->context);
    buf_free(&server->received);
}
