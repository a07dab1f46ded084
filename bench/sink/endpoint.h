#pragma once
/* Loopback addresses with ports, as the command lines of sink and blaster give them. */
#include <sys/socket.h>

#include "engine/base/err.h"
#include "engine/base/slice.h"

#define ENDPOINTS_MAX 4096

struct endpoint {
    struct sockaddr_storage address;
    socklen_t length;
};

struct endpoints {
    struct endpoint *items;
    size_t count;
};

/**
 * Parses "127.0.0.1:2525", "127.0.0.1-127.0.0.200:2525" (a range, ends included), "[::1]:2525", and
 * lists of these with commas; appends to `out`. Only loopback addresses: these tools never talk to
 * the world. On false `out` is as it was.
 */
MUST_USE bool endpoints_parse(struct slice text, struct endpoints *out, struct err *err);
void endpoints_free(struct endpoints *endpoints);

uint16_t endpoint_port(const struct endpoint *endpoint);
void endpoint_set_port(struct endpoint *endpoint, uint16_t port);
/** "127.0.0.1" or "::1", without the port; always NUL-terminated. */
void endpoint_host(const struct endpoint *endpoint, char *out, size_t size);
