#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/tls/handshakes.h"

enum { THREADS = 8 };

static int listener;
static SSL_CTX *context;

static bool certificate_use(SSL_CTX *ssl)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    bool made =
        key && certificate && X509_set_version(certificate, 2) == 1 &&
        X509_gmtime_adj(X509_getm_notBefore(certificate), -86400) != NULL &&
        X509_gmtime_adj(X509_getm_notAfter(certificate), 86400) != NULL &&
        X509_set_pubkey(certificate, key) == 1 && X509_sign(certificate, key, EVP_sha256()) > 0 &&
        SSL_CTX_use_certificate(ssl, certificate) == 1 && SSL_CTX_use_PrivateKey(ssl, key) == 1;
    X509_free(certificate);
    EVP_PKEY_free(key);
    return made;
}

static void serve(int fd)
{
    SSL *ssl = SSL_new(context);
    char byte = 'x';
    int on = 1; /* or the byte waits for the acknowledgement of the tickets before it */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (ssl && SSL_set_fd(ssl, fd) == 1 && SSL_accept(ssl) == 1 && SSL_write(ssl, &byte, 1) == 1)
        while (SSL_read(ssl, &byte, 1) > 0)
            continue;
    SSL_free(ssl);
    close(fd);
}

static void *serve_forever(void *unused)
{
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        if (fd >= 0)
            serve(fd);
    }
    return unused;
}

static void run(void)
{
    pthread_t thread;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPIPE, SIG_IGN);
    for (int i = 1; i < THREADS; i++)
        if (pthread_create(&thread, NULL, serve_forever, NULL) != 0)
            _exit(1);
    serve_forever(NULL);
}

bool handshake_server_start(uint16_t *port, struct err *err)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof address;
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, len) != 0 ||
        listen(listener, 1024) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &len) != 0)
        return err_set(err, ERR_SYSTEM, "cannot listen: %s", strerror(errno));
    context = SSL_CTX_new(TLS_server_method());
    if (!context || !certificate_use(context) ||
        SSL_CTX_set_session_id_context(context, (const unsigned char *)"bench", 5) != 1)
        return err_set(err, ERR_SYSTEM, "cannot set up OpenSSL's server");
    pid_t child = fork();
    if (child < 0)
        return err_set(err, ERR_SYSTEM, "cannot fork: %s", strerror(errno));
    if (child == 0)
        run();
    close(listener);
    SSL_CTX_free(context);
    *port = ntohs(address.sin_port);
    return true;
}
