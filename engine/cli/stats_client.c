#include "engine/cli/stats_client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/base/buf.h"

#define REPLY_BYTES_MAX ((size_t)16 << 20)
#define TIMEOUT_S 10

static int dial(const char *address)
{
    struct slice port = slice_str(address);
    struct slice host = slice_cut(&port, ':');
    uint64_t number = 0;
    char text[INET_ADDRSTRLEN] = "";
    struct sockaddr_in to = { .sin_family = AF_INET };
    if (host.len >= sizeof text || !slice_to_u64(port, &number) || number > 65535)
        return -1;
    memcpy(text, host.ptr, host.len);
    to.sin_port = htons((uint16_t)number);
    if (inet_pton(AF_INET, text, &to.sin_addr) != 1)
        return -1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval limit = { .tv_sec = TIMEOUT_S };
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0)
        return fd;
    close(fd);
    return -1;
}

/** The reply, headers and all, in `out`. */
static bool request(const char *address, const char *path, struct buf *out, struct err *err)
{
    int fd = dial(address);
    if (fd < 0)
        return err_system(err, errno, "no stats endpoint at %s", address);
    char text[256];
    int len = snprintf(text, sizeof text, "GET %s HTTP/1.0\r\nHost: %s\r\n\r\n", path, address);
    bool good = write(fd, text, (size_t)len) == len;
    out->bytes_max = REPLY_BYTES_MAX;
    for (ssize_t n = 1; good && n > 0;) {
        char *room = buf_reserve(out, 16384);
        n = room ? read(fd, room, 16384) : -1;
        good = n >= 0;
        buf_grow(out, n > 0 ? (size_t)n : 0);
    }
    close(fd);
    return good || err_set(err, ERR_PROTO, "the stats endpoint at %s broke off", address);
}

static bool is_ok(struct buf *reply)
{
    const char *text = buf_cstr(reply);
    return strncmp(text, "HTTP/1.", 7) == 0 && strncmp(text + 8, " 200 ", 5) == 0;
}

bool stats_healthy(const char *address)
{
    struct buf reply = BUF_EMPTY;
    bool good = request(address, "/healthz", &reply, NULL) && is_ok(&reply);
    buf_free(&reply);
    return good;
}

json_t *stats_fetch(const char *address, struct err *err)
{
    struct buf reply = BUF_EMPTY;
    json_t *root = NULL;
    if (request(address, "/v1/stats", &reply, err)) {
        const char *body = strstr(buf_cstr(&reply), "\r\n\r\n");
        root = is_ok(&reply) && body ? json_loads(body + 4, 0, NULL) : NULL;
        if (!root)
            err_set(err, ERR_PROTO, "what answers at %s isn't an engine's stats endpoint", address);
    }
    buf_free(&reply);
    return root;
}

double stats_number(const json_t *stats, const char *path)
{
    struct slice rest = slice_str(path);
    while (rest.len > 0 && stats) {
        char name[64];
        struct slice part = slice_cut(&rest, '.');
        size_t len = MIN_OF(part.len, sizeof name - 1);
        memcpy(name, part.ptr, len);
        name[len] = '\0';
        stats = json_object_get(stats, name);
    }
    return stats ? json_number_value(stats) : 0;
}
