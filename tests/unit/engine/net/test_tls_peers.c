/* TLS over real sockets, on each real body, against peers that know nothing of us: `openssl
 * s_server`, and a blocking server in a thread for bulk data and for bytes that arrive one by one.
 */
#include "engine/net/tls.h"

#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "engine/base/mem.h"
#include "tests/unit/engine/net/certs.h"
#include "tests/unit/engine/net/client.h"
#include "tests/unit/engine/ring/bodies.h"

static struct certs certs;
static pid_t server_pid;
static struct sockaddr_in server_address;

static void make_certs(void)
{
    certs_make(&certs);
}

static void remove_certs(void)
{
    certs_remove(&certs);
}

/* ---- openssl s_server ---- */

static const char *const *server_arguments(const char *version, const char **out)
{
    const char *const fixed[] = { "openssl",    "s_server", "-accept",       "127.0.0.1:0",
                                  "-rev",       "-cert",    certs.mx,        "-key",
                                  certs.mx_key, "-cipher",  "ALL@SECLEVEL=0" };
    size_t n = 0;
    for (; n < ARRAY_LEN(fixed); n++)
        out[n] = fixed[n];
    out[n++] = version;
    out[n] = NULL;
    return out;
}

/* Starts it on a port of the kernel's choice, which it prints. It answers each line with the line
 * backwards. */
static void server_start(const char *version)
{
    int fds[2];
    ck_assert_int_eq(pipe(fds), 0);
    server_pid = fork();
    ck_assert_int_ge(server_pid, 0);
    if (server_pid == 0) {
        const char *arguments[16];
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(fds[1], STDOUT_FILENO);
        dup2(fds[1], STDERR_FILENO);
        execvp("openssl", (char **)(uintptr_t)server_arguments(version, arguments));
        _exit(127);
    }
    close(fds[1]);
    FILE *output = fdopen(fds[0], "r");
    char line[256];
    unsigned port = 0;
    while (port == 0 && fgets(line, sizeof line, output))
        if (sscanf(line, "ACCEPT 127.0.0.1:%u", &port) != 1)
            port = 0;
    ck_assert_msg(port != 0, "openssl s_server doesn't start");
    server_address = loopback((uint16_t)port);
    /* `output` stays open: the server writes more */
}

static void server_stop(void)
{
    if (server_pid > 0) {
        kill(server_pid, SIGKILL);
        waitpid(server_pid, NULL, 0);
    }
    server_pid = 0;
}

/* ---- our side ---- */

static struct rig rig;
static struct client client;

static void start(int body, enum tls_verify verify)
{
    struct tls_context_options options = { .verify = verify, .ca_file = certs.ca };
    struct err err;
    rig = rig_on(body);
    client_init(&client, rig.ring);
    if (!tls_context_create(&client.tls.context, &options, &err))
        ck_abort_msg("%s", err.text);
}

static void connect_as(const char *name, struct tls_ticket *ticket)
{
    struct tls_context *context = client.tls.context;
    client.tls = (struct tls_client_options){ .context = context,
                                              .server_name = name,
                                              .resume = ticket,
                                              .ticket = client_on_ticket,
                                              .ticket_user = &client };
    client.tls_at_once = true;
    client_connect(&client, &server_address, sizeof server_address);
}

static void await_secured(void)
{
    TURN_UNTIL(rig.ring, client.heard[ON_SECURED] || client.heard[ON_ENDED]);
    ck_assert_msg(client.heard[ON_SECURED], "%s", client.failure.text);
}

static void await_failed(const char *text)
{
    TURN_UNTIL(rig.ring, client.heard[ON_ENDED]);
    ck_assert_int_eq(client.failure.end, STREAM_END_TLS_FAILED);
    ck_assert_str_eq(client.failure.text, text);
}

static void close_client(void)
{
    client_close(&client, false);
    TURN_UNTIL(rig.ring, client.closed);
}

static void stop(void)
{
    struct tls_context *context = client.tls.context;
    close_client();
    client_free(&client);
    tls_context_destroy(&context);
    rig_free(&rig);
}

static struct tls_facts facts(void)
{
    struct tls_facts out;
    ck_assert(stream_tls_facts(&client.stream, &out));
    return out;
}

static const char *const versions[] = { "-tls1_3", "-tls1_2" };

START_TEST(s_server_is_verified_and_answers)
{
    server_start(versions[_i / BODIES_REAL]);
    start(_i % BODIES_REAL, TLS_VERIFY_NAME);
    client.greeting = vector("hello\n");
    connect_as("mx.test.example", NULL);
    TURN_UNTIL(rig.ring, client_text(&client).len == 6 || client.heard[ON_ENDED]);
    ck_assert(client_got(&client, "olleh\n"));
    ck_assert(facts().verified);
    stop();
}
END_TEST

START_TEST(s_server_resumes_by_ticket)
{
    server_start(versions[_i / BODIES_REAL]);
    start(_i % BODIES_REAL, TLS_VERIFY_NAME);
    struct tls_context *context = client.tls.context;
    struct tls_ticket *ticket = NULL;
    for (unsigned round = 0; round < 4; round++) {
        client.greeting = vector("hello\n");
        client.tls.context = context;
        connect_as("mx.test.example", ticket);
        await_secured();
        ck_assert(facts().resumed == (round > 0) && facts().verified);
        TURN_UNTIL(rig.ring, client.ticket && client_text(&client).len == 6);
        ticket = client.ticket;
        client.ticket = NULL;
        close_client();
        client_free(&client);
        client_init(&client, rig.ring);
    }
    tls_ticket_free(ticket);
    tls_context_destroy(&context);
    rig_free(&rig);
}
END_TEST

START_TEST(s_server_with_another_name_is_refused)
{
    server_start("-tls1_3");
    start(_i, TLS_VERIFY_NAME);
    connect_as("other.example", NULL);
    await_failed("TLS handshake failed: certificate verify failed: it isn't for other.example");
    stop();
}
END_TEST

START_TEST(s_server_with_tls_1_1_only_is_refused)
{
    server_start("-tls1_1");
    start(_i, TLS_VERIFY_NONE);
    connect_as("mx.test.example", NULL);
    await_failed(
        "TLS handshake failed: the peer offers no TLS version from the allowed minimum on");
    stop();
}
END_TEST

START_TEST(an_unknown_authority_is_refused)
{
    server_start("-tls1_3");
    struct tls_context_options options = { .verify = TLS_VERIFY_NAME }; /* the system's store */
    struct err err;
    rig = rig_on(_i);
    client_init(&client, rig.ring);
    if (!tls_context_create(&client.tls.context, &options, &err))
        ck_abort_msg("%s", err.text);
    connect_as("mx.test.example", NULL);
    await_failed(
        "TLS handshake failed: certificate verify failed: unable to get local issuer certificate");
    stop();
}
END_TEST

/* ---- a server in a thread ---- */

enum { BULK_BYTES = 5 << 20 };

struct threaded {
    pthread_t thread;
    int listener;
    SSL_CTX *context;
    struct buf received;
    bool drip; /* sends each byte of ciphertext by itself */
    bool close_notify;
};

/* Sends what TLS has produced. */
static void threaded_flush(const struct threaded *server, int fd, BIO *out)
{
    char *bytes;
    long len = BIO_get_mem_data(out, &bytes);
    size_t step = server->drip ? 1 : (size_t)len;
    for (size_t at = 0; at < (size_t)len; at += step)
        if (send(fd, bytes + at, step, MSG_NOSIGNAL) < 0)
            break;
    (void)BIO_reset(out);
}

static void *threaded_serve(void *arg)
{
    struct threaded *server = arg;
    int fd = accept(server->listener, NULL, NULL), one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    SSL *ssl = SSL_new(server->context);
    BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
    SSL_set_bio(ssl, in, out);
    SSL_set_accept_state(ssl);
    char bytes[20000];
    ssize_t got;
    while ((got = recv(fd, bytes, sizeof bytes, 0)) > 0) {
        BIO_write(in, bytes, (int)got);
        int n;
        while ((n = SSL_read(ssl, bytes, sizeof bytes)) > 0)
            buf_append(&server->received, slice_of(bytes, (size_t)n));
        if (server->received.len == BULK_BYTES)
            SSL_write(ssl, "thank you", 9);
        threaded_flush(server, fd, out);
    }
    server->close_notify = SSL_get_shutdown(ssl) & SSL_RECEIVED_SHUTDOWN;
    close(fd);
    SSL_free(ssl);
    return NULL;
}

static void threaded_start(struct threaded *server)
{
    server->context = SSL_CTX_new(TLS_server_method());
    ck_assert_int_eq(SSL_CTX_use_certificate_chain_file(server->context, certs.mx), 1);
    ck_assert_int_eq(SSL_CTX_use_PrivateKey_file(server->context, certs.mx_key, SSL_FILETYPE_PEM),
                     1);
    server->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    socklen_t len = sizeof server_address;
    server_address = loopback(0);
    ck_assert_int_eq(bind(server->listener, (struct sockaddr *)&server_address, len), 0);
    ck_assert_int_eq(listen(server->listener, 1), 0);
    ck_assert_int_eq(getsockname(server->listener, (struct sockaddr *)&server_address, &len), 0);
    ck_assert_int_eq(pthread_create(&server->thread, NULL, threaded_serve, server), 0);
}

/* After our side has closed; the received bytes are still there. */
static void threaded_join(struct threaded *server)
{
    pthread_join(server->thread, NULL);
    close(server->listener);
    SSL_CTX_free(server->context);
}

START_TEST(five_mebibytes_arrive_as_they_were_and_so_does_the_answer)
{
    struct threaded server = { .drip = _i / BODIES_REAL };
    threaded_start(&server);
    start(_i % BODIES_REAL, TLS_VERIFY_NAME);
    connect_as("127.0.0.1", NULL);
    await_secured();
    char *text = mem_alloc(BULK_BYTES);
    struct rng rng;
    rng_seed(&rng, 1);
    for (size_t i = 0; i < BULK_BYTES; i++)
        text[i] = (char)rng_next(&rng);
    struct iovec iov[] = { { text, 100 },
                           { text + 100, 70000 },
                           { text + 70100, BULK_BYTES - 70100 } };
    client_send(&client, iov, ARRAY_LEN(iov));
    TURN_UNTIL(rig.ring, client_text(&client).len >= 9);
    ck_assert(client_got(&client, "thank you"));
    ck_assert_uint_eq(client.heard[ON_SENT], 1);
    stop();
    threaded_join(&server);
    ck_assert(slice_eq(buf_slice(&server.received), slice_of(text, BULK_BYTES)));
    ck_assert(server.close_notify);
    buf_free(&server.received);
    free(text);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tls peers");
    TCase *tcase = tcase_create("kernel");
    tcase_add_unchecked_fixture(tcase, make_certs, remove_certs);
    tcase_add_checked_fixture(tcase, NULL, server_stop);
    tcase_set_timeout(tcase, 0);
    CASE_LOOP(tcase, BODIES_REAL * 2, s_server_is_verified_and_answers, s_server_resumes_by_ticket,
              five_mebibytes_arrive_as_they_were_and_so_does_the_answer);
    CASE_LOOP(tcase, BODIES_REAL, s_server_with_another_name_is_refused,
              s_server_with_tls_1_1_only_is_refused, an_unknown_authority_is_refused);
    suite_add_tcase(suite, tcase);
    return check_main(suite);
}
