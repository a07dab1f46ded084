/* What an idle TLS session costs: OpenSSL's allocations are counted per thread, and the server
 * lives in another one. */
#include "engine/net/tls.h"

#include <openssl/ssl.h>
#include <pthread.h>
#include <sys/socket.h>

#include "tests/unit/engine/net/certs.h"
#include "tests/unit/engine/net/client.h"
#include "tests/unit/engine/ring/bodies.h"

static _Thread_local ptrdiff_t counted;

enum { HEAD = 16, MALLOC_OVERHEAD = 16 };

static void *count_malloc(size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    char *block = malloc(size + HEAD);
    if (!block)
        return NULL;
    memcpy(block, &size, sizeof size);
    counted += (ptrdiff_t)(size + MALLOC_OVERHEAD);
    return block + HEAD;
}

static void count_free(void *ptr, const char *file, int line)
{
    (void)file;
    (void)line;
    if (!ptr)
        return;
    char *block = (char *)ptr - HEAD;
    size_t size;
    memcpy(&size, block, sizeof size);
    counted -= (ptrdiff_t)(size + MALLOC_OVERHEAD);
    free(block);
}

static void *count_realloc(void *ptr, size_t size, const char *file, int line)
{
    size_t old = 0;
    if (ptr)
        memcpy(&old, (char *)ptr - HEAD, sizeof old);
    void *grown = count_malloc(size, file, line);
    if (grown && ptr)
        memcpy(grown, ptr, MIN_OF(old, size));
    if (grown)
        count_free(ptr, file, line);
    return grown;
}

/* Echoes over TLS until the peer is gone. */
struct echo {
    int fd;
    const char *certificate, *key;
};

static void *echo_serve(void *arg)
{
    const struct echo *echo = arg;
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    SSL_CTX_use_certificate_chain_file(context, echo->certificate);
    SSL_CTX_use_PrivateKey_file(context, echo->key, SSL_FILETYPE_PEM);
    SSL *ssl = SSL_new(context);
    SSL_set_fd(ssl, echo->fd);
    char bytes[20000];
    int n;
    if (SSL_accept(ssl) == 1)
        while ((n = SSL_read(ssl, bytes, sizeof bytes)) > 0)
            SSL_write(ssl, bytes, n);
    SSL_free(ssl);
    SSL_CTX_free(context);
    close(echo->fd);
    return NULL;
}

enum { SESSIONS = 8, BYTES = 60000, SESSION_BYTES_MAX = 22 * 1024 };

START_TEST(an_idle_session_costs_at_most_22_kib_within_openssl)
{
    struct certs certs;
    certs_make(&certs);
    ck_assert_int_eq(CRYPTO_set_mem_functions(count_malloc, count_realloc, count_free), 1);
    struct rig rig = rig_on(_i);
    struct err err;
    struct tls_context *context;
    struct tls_context_options options = { .verify = TLS_VERIFY_NAME, .ca_file = certs.ca };
    if (!tls_context_create(&context, &options, &err))
        ck_abort_msg("%s", err.text);
    static struct client clients[SESSIONS];
    static char text[BYTES];
    struct echo echoes[SESSIONS];
    pthread_t threads[SESSIONS];
    ptrdiff_t before = 0;
    for (unsigned i = 0; i < SESSIONS; i++) {
        if (i == 1)
            before = counted; /* the first one fetches the algorithms */
        struct client *client = &clients[i];
        int fds[2];
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
        echoes[i] = (struct echo){ fds[1], certs.mx, certs.mx_key };
        pthread_create(&threads[i], NULL, echo_serve, &echoes[i]);
        client_init(client, rig.ring);
        client->tls =
            (struct tls_client_options){ .context = context, .server_name = "mx.test.example" };
        stream_adopt(&client->stream, fds[0]);
        client_start_tls(client);
        TURN_UNTIL(rig.ring, client->heard[ON_SECURED]);
        client_send(client, (struct iovec[]){ { text, sizeof text } }, 1);
        TURN_UNTIL(rig.ring, client_text(client).len == sizeof text);
        buf_free(&client->received);
    }
    ptrdiff_t each = (counted - before) / (SESSIONS - 1);
    printf("tls: %td bytes of OpenSSL's per idle session on %s\n", each, ring_body_name(rig.ring));
    fflush(stdout);
    ck_assert_int_le(each, SESSION_BYTES_MAX);
    for (unsigned i = 0; i < SESSIONS; i++) {
        client_close(&clients[i], false);
        TURN_UNTIL(rig.ring, clients[i].closed);
        client_free(&clients[i]);
        pthread_join(threads[i], NULL);
    }
    tls_context_destroy(&context);
    rig_free(&rig);
    certs_remove(&certs);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tls memory");
    TCase *tcase = tcase_create("kernel");
    tcase_set_timeout(tcase, 0);
    CASE_LOOP(tcase, BODIES_REAL, an_idle_session_costs_at_most_22_kib_within_openssl);
    suite_add_tcase(suite, tcase);
    return check_main(suite);
}
