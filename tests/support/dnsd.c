#include "tests/support/dnsd.h"

#include <arpa/inet.h>
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- packets ---- */

static void put16(uint8_t *at, unsigned value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static void put32(uint8_t *at, uint32_t value)
{
    put16(at, value >> 16);
    put16(at + 2, value & 0xffff);
}

static unsigned get16(const uint8_t *at)
{
    return (unsigned)at[0] << 8 | at[1];
}

size_t dnsd_name_put(uint8_t *at, const char *name)
{
    size_t len = 0;
    while (*name) {
        size_t label = strcspn(name, ".");
        assert(label < 64 && len + label + 2 <= 255);
        at[len++] = (uint8_t)label;
        memcpy(at + len, name, label);
        len += label;
        name += label + (name[label] == '.');
    }
    at[len++] = 0;
    return len;
}

void dnsd_packet_start(struct dnsd_packet *packet, uint16_t id, unsigned rcode, const char *name,
                       uint16_t type)
{
    memset(packet->bytes, 0, 12);
    put16(packet->bytes, id);
    put16(packet->bytes + 2, 0x8180 | rcode); /* QR, RD, RA */
    put16(packet->bytes + 4, 1);
    packet->len = 12;
    packet->len += dnsd_name_put(packet->bytes + packet->len, name);
    put16(packet->bytes + packet->len, type);
    put16(packet->bytes + packet->len + 2, 1);
    packet->len += 4;
}

void dnsd_packet_record(struct dnsd_packet *packet, enum dnsd_section section, const char *owner,
                        uint16_t type, uint32_t ttl, const void *rdata, size_t len)
{
    uint8_t wire[256];
    size_t wire_len = dnsd_name_put(wire, owner);
    bool is_question = memcmp(wire, packet->bytes + 12, wire_len) == 0;
    if (is_question) {
        put16(wire, 0xc00c);
        wire_len = 2;
    }
    if (packet->len + wire_len + 10 + len > sizeof packet->bytes)
        return;
    uint8_t *at = packet->bytes + packet->len;
    memcpy(at, wire, wire_len);
    at += wire_len;
    put16(at, type);
    put16(at + 2, 1);
    put32(at + 4, ttl);
    put16(at + 8, (unsigned)len);
    if (len > 0)
        memcpy(at + 10, rdata, len);
    packet->len += wire_len + 10 + len;
    uint8_t *count = packet->bytes + 6 + 2 * section;
    put16(count, get16(count) + 1);
}

void dnsd_packet_mx(struct dnsd_packet *packet, const char *owner, uint32_t ttl,
                    uint16_t preference, const char *target)
{
    uint8_t rdata[258];
    put16(rdata, preference);
    dnsd_packet_record(packet, DNSD_ANSWER, owner, DNSD_MX, ttl, rdata,
                       2 + dnsd_name_put(rdata + 2, target));
}

void dnsd_packet_address(struct dnsd_packet *packet, const char *owner, uint32_t ttl,
                         const char *address)
{
    uint8_t rdata[16];
    bool v6 = strchr(address, ':') != NULL;
    int ok = inet_pton(v6 ? AF_INET6 : AF_INET, address, rdata);
    assert(ok == 1);
    dnsd_packet_record(packet, DNSD_ANSWER, owner, v6 ? DNSD_AAAA : DNSD_A, ttl, rdata,
                       v6 ? 16 : 4);
}

void dnsd_packet_cname(struct dnsd_packet *packet, const char *owner, uint32_t ttl,
                       const char *target)
{
    uint8_t rdata[256];
    dnsd_packet_record(packet, DNSD_ANSWER, owner, DNSD_CNAME, ttl, rdata,
                       dnsd_name_put(rdata, target));
}

void dnsd_packet_soa(struct dnsd_packet *packet, const char *owner, uint32_t ttl, uint32_t minimum)
{
    uint8_t rdata[600];
    size_t len = dnsd_name_put(rdata, "ns.example");
    len += dnsd_name_put(rdata + len, "hostmaster.example");
    const uint32_t numbers[] = { 1, 3600, 600, 86400, minimum };
    for (int i = 0; i < 5; i++, len += 4)
        put32(rdata + len, numbers[i]);
    dnsd_packet_record(packet, DNSD_AUTHORITY, owner, DNSD_SOA, ttl, rdata, len);
}

/* ---- server ---- */

#define CONNECTIONS_MAX 32
#define ASKED_MAX 8192

struct asked {
    char name[256];
    uint16_t type;
    unsigned count;
};

struct connection {
    int fd;
    uint8_t in[4096];
    size_t len;
};

struct dnsd {
    dnsd_handler *handler;
    void *user;
    int udp, tcp, stop[2];
    char server[32];
    pthread_t thread;
    pthread_mutex_t lock; /* of what follows */
    struct asked asked[ASKED_MAX];
    unsigned asked_count, source_ports;
    bool port_seen[65536];
    struct connection connections[CONNECTIONS_MAX]; /* the thread's own */
    struct dnsd_packet reply;
};

static bool query_parse(const uint8_t *bytes, size_t len, struct dnsd_query *out)
{
    if (len < 17 || get16(bytes + 4) != 1)
        return false;
    size_t at = 12, text = 0;
    while (at < len && bytes[at] != 0) {
        size_t label = bytes[at];
        if (label > 63 || at + 1 + label >= len || text + label + 1 >= sizeof out->name)
            return false;
        memcpy(out->name + text, bytes + at + 1, label);
        text += label;
        out->name[text++] = '.';
        at += label + 1;
    }
    out->name[text ? text - 1 : 0] = '\0';
    if (at + 5 > len)
        return false;
    memcpy(out->asked, out->name, sizeof out->asked);
    for (char *c = out->name; *c; c++)
        *c = (char)tolower((unsigned char)*c);
    out->ad = bytes[3] & 0x20;
    out->dnssec_ok = get16(bytes + 10) == 1 && bytes[len - 4] & 0x80;
    out->id = (uint16_t)get16(bytes);
    out->type = (uint16_t)get16(bytes + at + 1);
    out->edns = get16(bytes + 10) == 1;
    return true;
}

static void query_count(struct dnsd *dnsd, struct dnsd_query *query)
{
    pthread_mutex_lock(&dnsd->lock);
    unsigned i = 0;
    while (i < dnsd->asked_count && (dnsd->asked[i].type != query->type ||
                                     strcasecmp(dnsd->asked[i].name, query->name) != 0))
        i++;
    assert(i < ASKED_MAX);
    if (i == dnsd->asked_count) {
        dnsd->asked_count++;
        dnsd->asked[i].type = query->type;
        memcpy(dnsd->asked[i].name, query->name, sizeof query->name);
    }
    query->seen = dnsd->asked[i].count++;
    pthread_mutex_unlock(&dnsd->lock);
}

/* A server gives the question back in the letters in which it came. */
static void letters_restore(struct dnsd_packet *reply, const struct dnsd_query *query)
{
    uint8_t wire[256];
    size_t len = dnsd_name_put(wire, query->name);
    if (reply->len < 12 + len || memcmp(reply->bytes + 12, wire, len) != 0)
        return;
    dnsd_name_put(reply->bytes + 12, query->asked);
}

static enum dnsd_action respond(struct dnsd *dnsd, const uint8_t *bytes, size_t len, bool tcp)
{
    struct dnsd_query query = { .tcp = tcp };
    if (!query_parse(bytes, len, &query))
        return DNSD_DROP;
    query_count(dnsd, &query);
    dnsd_packet_start(&dnsd->reply, query.id, DNSD_NOERROR, query.name, query.type);
    enum dnsd_action action = dnsd->handler(dnsd->user, &query, &dnsd->reply);
    if (action == DNSD_SEND)
        letters_restore(&dnsd->reply, &query);
    return action == DNSD_SEND_AS_IS ? DNSD_SEND : action;
}

static void serve_udp(struct dnsd *dnsd)
{
    uint8_t bytes[4096];
    struct sockaddr_in peer;
    socklen_t peer_len = sizeof peer;
    ssize_t len;
    while ((len = recvfrom(dnsd->udp, bytes, sizeof bytes, MSG_DONTWAIT, (struct sockaddr *)&peer,
                           &peer_len)) >= 0) {
        pthread_mutex_lock(&dnsd->lock);
        if (!dnsd->port_seen[ntohs(peer.sin_port)])
            dnsd->source_ports++;
        dnsd->port_seen[ntohs(peer.sin_port)] = true;
        pthread_mutex_unlock(&dnsd->lock);
        if (respond(dnsd, bytes, (size_t)len, false) == DNSD_SEND)
            sendto(dnsd->udp, dnsd->reply.bytes, dnsd->reply.len, 0, (struct sockaddr *)&peer,
                   peer_len);
    }
}

static bool send_all(int fd, const void *bytes, size_t len)
{
    for (size_t sent = 0; sent < len;) {
        ssize_t n = send(fd, (const char *)bytes + sent, len - sent, MSG_NOSIGNAL);
        if (n <= 0)
            return false;
        sent += (size_t)n;
    }
    return true;
}

/* One read, then all the whole queries in it. False when the connection is over. */
static bool serve_connection(struct dnsd *dnsd, struct connection *connection)
{
    ssize_t got = recv(connection->fd, connection->in + connection->len,
                       sizeof connection->in - connection->len, 0);
    if (got <= 0)
        return false;
    connection->len += (size_t)got;
    while (connection->len >= 2 && connection->len >= 2 + get16(connection->in)) {
        size_t len = get16(connection->in);
        enum dnsd_action action = respond(dnsd, connection->in + 2, len, true);
        if (action == DNSD_CLOSE)
            return false;
        uint8_t prefix[2];
        put16(prefix, (unsigned)dnsd->reply.len);
        if (action == DNSD_SEND && (!send_all(connection->fd, prefix, 2) ||
                                    !send_all(connection->fd, dnsd->reply.bytes, dnsd->reply.len)))
            return false;
        connection->len -= 2 + len;
        memmove(connection->in, connection->in + 2 + len, connection->len);
    }
    return true;
}

static void accept_one(struct dnsd *dnsd)
{
    int fd = accept4(dnsd->tcp, NULL, NULL, SOCK_CLOEXEC);
    for (int i = 0; fd >= 0 && i < CONNECTIONS_MAX; i++)
        if (dnsd->connections[i].fd < 0) {
            dnsd->connections[i].fd = fd;
            dnsd->connections[i].len = 0;
            return;
        }
    if (fd >= 0)
        close(fd);
}

static void *serve(void *arg)
{
    struct dnsd *dnsd = arg;
    for (;;) {
        struct pollfd fds[3 + CONNECTIONS_MAX] = { { dnsd->stop[0], POLLIN, 0 },
                                                   { dnsd->udp, POLLIN, 0 },
                                                   { dnsd->tcp, POLLIN, 0 } };
        for (int i = 0; i < CONNECTIONS_MAX; i++)
            fds[3 + i] = (struct pollfd){ dnsd->connections[i].fd, POLLIN, 0 };
        if (poll(fds, 3 + CONNECTIONS_MAX, -1) < 0 && errno == EINTR)
            continue;
        if (fds[0].revents)
            break;
        if (fds[1].revents)
            serve_udp(dnsd);
        for (int i = 0; i < CONNECTIONS_MAX; i++)
            if (fds[3 + i].revents && !serve_connection(dnsd, &dnsd->connections[i])) {
                close(dnsd->connections[i].fd);
                dnsd->connections[i].fd = -1;
            }
        if (fds[2].revents)
            accept_one(dnsd);
    }
    return NULL;
}

static bool listen_both(struct dnsd *dnsd, bool tcp)
{
    struct sockaddr_in addr = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof addr;
    dnsd->udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    dnsd->tcp = -1;
    if (bind(dnsd->udp, (struct sockaddr *)&addr, len) != 0 ||
        getsockname(dnsd->udp, (struct sockaddr *)&addr, &len) != 0)
        return false;
    snprintf(dnsd->server, sizeof dnsd->server, "127.0.0.1:%u", (unsigned)ntohs(addr.sin_port));
    if (!tcp)
        return true;
    dnsd->tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return bind(dnsd->tcp, (struct sockaddr *)&addr, len) == 0 && listen(dnsd->tcp, 16) == 0;
}

struct dnsd *dnsd_start(dnsd_handler *handler, void *user, bool tcp)
{
    struct dnsd *dnsd = calloc(1, sizeof *dnsd);
    assert(dnsd);
    dnsd->handler = handler;
    dnsd->user = user;
    for (int i = 0; i < CONNECTIONS_MAX; i++)
        dnsd->connections[i].fd = -1;
    pthread_mutex_init(&dnsd->lock, NULL);
    /* The TCP port of the same number may be somebody's: then another pair. */
    for (int tries = 0; !listen_both(dnsd, tcp); tries++) {
        assert(tries < 100);
        close(dnsd->udp);
        if (dnsd->tcp >= 0)
            close(dnsd->tcp);
    }
    int failed = pipe2(dnsd->stop, O_CLOEXEC) | pthread_create(&dnsd->thread, NULL, serve, dnsd);
    assert(failed == 0);
    return dnsd;
}

void dnsd_stop(struct dnsd *dnsd)
{
    close(dnsd->stop[1]);
    pthread_join(dnsd->thread, NULL);
    close(dnsd->stop[0]);
    close(dnsd->udp);
    if (dnsd->tcp >= 0)
        close(dnsd->tcp);
    for (int i = 0; i < CONNECTIONS_MAX; i++)
        if (dnsd->connections[i].fd >= 0)
            close(dnsd->connections[i].fd);
    pthread_mutex_destroy(&dnsd->lock);
    free(dnsd);
}

const char *dnsd_server(const struct dnsd *dnsd)
{
    return dnsd->server;
}

unsigned dnsd_asked(struct dnsd *dnsd, const char *name, uint16_t type)
{
    unsigned sum = 0;
    pthread_mutex_lock(&dnsd->lock);
    for (unsigned i = 0; i < dnsd->asked_count; i++)
        if ((type == 0 || type == dnsd->asked[i].type) &&
            (!name || strcasecmp(name, dnsd->asked[i].name) == 0))
            sum += dnsd->asked[i].count;
    pthread_mutex_unlock(&dnsd->lock);
    return sum;
}

unsigned dnsd_source_ports(struct dnsd *dnsd)
{
    pthread_mutex_lock(&dnsd->lock);
    unsigned count = dnsd->source_ports;
    pthread_mutex_unlock(&dnsd->lock);
    return count;
}
