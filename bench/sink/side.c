/* One poll loop over a UDP socket, two listeners and up to CLIENTS_MAX short-lived TCP clients.
 * Answers are small, so a client that doesn't take one at once is closed. */
#include "bench/sink/side.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "engine/base/mem.h"

#define CLIENTS_MAX 64
#define CLIENT_BYTES_MAX 8192
#define UDP_BATCH 64

enum place { PLACE_WAKE, PLACE_UDP, PLACE_DNS, PLACE_STATS, PLACE_CLIENTS };

struct client {
    bool dns;
    struct buf in;
};

struct side {
    struct side_options options;
    pthread_t thread;
    _Atomic bool stop;
    uint16_t dns_port, stats_port;
    struct pollfd fds[PLACE_CLIENTS + CLIENTS_MAX]; /* fd −1: unused, which poll skips */
    struct client clients[CLIENTS_MAX];
    char udp[4096], answer[2 + DNS_ANSWER_BYTES_MAX];
};

static bool one_endpoint(const char *text, struct endpoint *out, struct err *err)
{
    struct endpoints list = { 0 };
    if (!endpoints_parse(slice_str(text), &list, err))
        return false;
    bool one = list.count == 1;
    *out = list.items[0];
    endpoints_free(&list);
    return one || err_set(err, ERR_USAGE, "'%s' is more than one address", text);
}

static int socket_bound(struct endpoint *endpoint, int type)
{
    int fd = socket(endpoint->address.ss_family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), on = 1;
    if (fd < 0)
        return -1;
    socklen_t length = sizeof endpoint->address;
    if ((type == SOCK_STREAM && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0) ||
        bind(fd, (struct sockaddr *)&endpoint->address, endpoint->length) != 0 ||
        (type == SOCK_STREAM && listen(fd, 128) != 0) ||
        getsockname(fd, (struct sockaddr *)&endpoint->address, &length) != 0) {
        int errnum = errno;
        close(fd);
        errno = errnum;
        return -1;
    }
    return fd;
}

/* UDP and TCP have to share a port; where any will do, a few are tried until one is free for both.
 */
static bool dns_listen(struct side *side, struct err *err)
{
    struct endpoint wanted;
    if (!one_endpoint(side->options.dns_listen, &wanted, err))
        return false;
    for (int tries = endpoint_port(&wanted) == 0 ? 16 : 1; tries > 0; tries--) {
        struct endpoint endpoint = wanted;
        int udp = socket_bound(&endpoint, SOCK_DGRAM);
        int tcp = udp >= 0 ? socket_bound(&endpoint, SOCK_STREAM) : -1;
        if (tcp >= 0) {
            side->fds[PLACE_UDP].fd = udp;
            side->fds[PLACE_DNS].fd = tcp;
            side->dns_port = endpoint_port(&endpoint);
            return true;
        }
        int errnum = errno;
        if (udp >= 0)
            close(udp);
        errno = errnum;
    }
    return err_system(err, errno, "cannot answer DNS on %s", side->options.dns_listen);
}

static bool stats_listen(struct side *side, struct err *err)
{
    struct endpoint endpoint;
    if (!one_endpoint(side->options.stats_listen, &endpoint, err))
        return false;
    side->fds[PLACE_STATS].fd = socket_bound(&endpoint, SOCK_STREAM);
    if (side->fds[PLACE_STATS].fd < 0)
        return err_system(err, errno, "cannot serve statistics on %s", side->options.stats_listen);
    side->stats_port = endpoint_port(&endpoint);
    return true;
}

static void on_udp(struct side *side)
{
    for (int i = 0; i < UDP_BATCH; i++) {
        struct sockaddr_storage from;
        socklen_t from_len = sizeof from;
        int fd = side->fds[PLACE_UDP].fd;
        ssize_t n =
            recvfrom(fd, side->udp, sizeof side->udp, 0, (struct sockaddr *)&from, &from_len);
        if (n < 0)
            return;
        size_t len =
            dns_answer(&side->options.world, slice_of(side->udp, (size_t)n), false, side->answer);
        counter_add(&side->options.counters->dns_queries, 1);
        if (len > 0)
            sendto(fd, side->answer, len, MSG_NOSIGNAL, (struct sockaddr *)&from, from_len);
    }
}

static void on_accept(struct side *side, enum place place)
{
    int fd = accept4(side->fds[place].fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return;
    for (size_t i = 0; i < CLIENTS_MAX; i++) {
        if (side->fds[PLACE_CLIENTS + i].fd >= 0)
            continue;
        side->fds[PLACE_CLIENTS + i] = (struct pollfd){ .fd = fd, .events = POLLIN };
        side->clients[i].dns = place == PLACE_DNS;
        buf_clear(&side->clients[i].in);
        return;
    }
    close(fd);
}

/* Answers the whole queries received, each with its length in front (RFC 1035, 4.2.2). False: done
 * with it. */
static bool answer_dns(struct side *side, struct client *client, int fd)
{
    for (;;) {
        struct slice in = buf_slice(&client->in);
        if (in.len < 2)
            return true;
        size_t len = (size_t)(unsigned char)in.ptr[0] << 8 | (unsigned char)in.ptr[1];
        if (in.len < 2 + len)
            return true;
        size_t answer_len =
            dns_answer(&side->options.world, slice_of(in.ptr + 2, len), true, side->answer + 2);
        counter_add(&side->options.counters->dns_queries, 1);
        buf_consume(&client->in, 2 + len);
        side->answer[0] = (char)(answer_len >> 8);
        side->answer[1] = (char)answer_len;
        if (answer_len > 0 &&
            send(fd, side->answer, answer_len + 2, MSG_NOSIGNAL) != (ssize_t)answer_len + 2)
            return false;
    }
}

static bool answer_http(struct side *side, struct client *client, int fd)
{
    struct slice in = buf_slice(&client->in);
    if (!memmem(in.ptr, in.len, "\r\n\r\n", 4))
        return true;
    struct buf body = BUF_EMPTY, out = BUF_EMPTY;
    bool found =
        slice_starts_with(in, SLICE("GET / ")) || slice_starts_with(in, SLICE("GET /report "));
    if (found)
        sink_report(side->options.sink, &body);
    buf_printf(&out,
               "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: "
               "%zu\r\nConnection: close\r\n\r\n",
               found ? "200 OK" : "404 Not Found", body.len);
    buf_append(&out, buf_slice(&body));
    ssize_t sent = send(fd, buf_slice(&out).ptr, out.len, MSG_NOSIGNAL);
    (void)sent; /* a client that doesn't take a few KiB has lost interest */
    buf_free(&body);
    buf_free(&out);
    return false;
}

static void on_client(struct side *side, size_t i)
{
    struct pollfd *poll_fd = &side->fds[PLACE_CLIENTS + i];
    struct client *client = &side->clients[i];
    char *to = buf_reserve(&client->in, CLIENT_BYTES_MAX);
    ssize_t n = recv(poll_fd->fd, to, CLIENT_BYTES_MAX, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    bool keep = n > 0;
    if (keep) {
        buf_grow(&client->in, (size_t)n);
        keep = client->dns ? answer_dns(side, client, poll_fd->fd)
                           : answer_http(side, client, poll_fd->fd);
    }
    if (keep && client->in.len < (size_t)CLIENT_BYTES_MAX * 16)
        return;
    close(poll_fd->fd);
    poll_fd->fd = -1;
}

static void *side_main(void *argument)
{
    struct side *side = argument;
    while (!atomic_load(&side->stop)) {
        if (poll(side->fds, ARRAY_LEN(side->fds), -1) < 0)
            continue;
        if (side->fds[PLACE_UDP].revents)
            on_udp(side);
        for (size_t i = 0; i < CLIENTS_MAX; i++)
            if (side->fds[PLACE_CLIENTS + i].revents && side->fds[PLACE_CLIENTS + i].fd >= 0)
                on_client(side, i);
        if (side->fds[PLACE_DNS].revents)
            on_accept(side, PLACE_DNS);
        if (side->fds[PLACE_STATS].revents)
            on_accept(side, PLACE_STATS);
    }
    return NULL;
}

static void side_free(struct side *side)
{
    for (size_t i = 0; i < ARRAY_LEN(side->fds); i++)
        if (side->fds[i].fd >= 0)
            close(side->fds[i].fd);
    for (size_t i = 0; i < CLIENTS_MAX; i++)
        buf_free(&side->clients[i].in);
    free(side);
}

bool side_start(const struct side_options *options, struct side **out, struct err *err)
{
    struct side *side = mem_zalloc(sizeof *side);
    side->options = *options;
    for (size_t i = 0; i < ARRAY_LEN(side->fds); i++)
        side->fds[i] = (struct pollfd){ .fd = -1, .events = POLLIN };
    side->fds[PLACE_WAKE].fd = eventfd(0, EFD_CLOEXEC);
    bool started =
        (side->fds[PLACE_WAKE].fd >= 0 || err_system(err, errno, "cannot make an eventfd")) &&
        (!options->dns_listen || dns_listen(side, err)) &&
        (!options->stats_listen || stats_listen(side, err));
    if (started) {
        int errnum = pthread_create(&side->thread, NULL, side_main, side);
        started = errnum == 0 || err_system(err, errnum, "cannot start a thread");
    }
    if (!started) {
        side_free(side);
        return false;
    }
    *out = side;
    return true;
}

void side_stop(struct side **side)
{
    if (!*side)
        return;
    atomic_store(&(*side)->stop, true);
    eventfd_write((*side)->fds[PLACE_WAKE].fd, 1);
    pthread_join((*side)->thread, NULL);
    side_free(*side);
    *side = NULL;
}

uint16_t side_dns_port(const struct side *side)
{
    return side->dns_port;
}

uint16_t side_stats_port(const struct side *side)
{
    return side->stats_port;
}
