#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "bench/tls/handshakes.h"

enum { TICKETS_MAX = 64 };

static SSL_SESSION *tickets[TICKETS_MAX];
static unsigned ticket_count;

double handshakes_cpu_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static int keep_ticket(SSL *ssl, SSL_SESSION *session)
{
    (void)ssl;
    if (ticket_count == TICKETS_MAX)
        return 0;
    tickets[ticket_count++] = session;
    return 1;
}

static int connected_socket(uint16_t port)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                   .sin_port = htons(port) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    if (fd < 0)
        return -1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    close(fd);
    return -1;
}

static bool one(SSL_CTX *context, uint16_t port, bool resume, bool *resumed)
{
    int fd = connected_socket(port);
    SSL *ssl = fd >= 0 ? SSL_new(context) : NULL;
    if (!ssl || SSL_set_fd(ssl, fd) != 1)
        return false;
    if (resume && ticket_count > 0) {
        SSL_SESSION *ticket = tickets[--ticket_count];
        SSL_set_session(ssl, ticket);
        SSL_SESSION_free(ticket);
    }
    char byte;
    bool done = SSL_connect(ssl) == 1 && SSL_read(ssl, &byte, 1) == 1;
    *resumed = SSL_session_reused(ssl);
    SSL_shutdown(ssl);
    SSL_free(ssl);
    close(fd);
    return done;
}

bool handshakes_bare(uint16_t port, unsigned count, bool resume, struct handshakes *out,
                     struct err *err)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    if (!context)
        return err_set(err, ERR_SYSTEM, "cannot set up OpenSSL's client");
    if (resume) {
        SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
        SSL_CTX_sess_set_new_cb(context, keep_ticket);
    }
    *out = (struct handshakes){ 0 };
    double before = handshakes_cpu_s();
    bool good = true, resumed = false;
    for (; good && out->count < count; out->count++) {
        good = one(context, port, resume, &resumed);
        out->resumed += resumed;
    }
    out->cpu_s = handshakes_cpu_s() - before;
    while (ticket_count > 0)
        SSL_SESSION_free(tickets[--ticket_count]);
    SSL_CTX_free(context);
    return good || err_set(err, ERR_SYSTEM, "a handshake of OpenSSL's client failed");
}
