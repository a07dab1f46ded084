/* Address lists. A range stands for "many mail exchangers": one process can be 200 of them. */
#include "bench/sink/endpoint.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>

#include "engine/base/mem.h"

static bool endpoint_append(struct endpoints *out, struct endpoint item, struct err *err)
{
    if (out->count == ENDPOINTS_MAX)
        return err_set(err, ERR_USAGE, "more than %d addresses", ENDPOINTS_MAX);
    out->items = mem_realloc(out->items, (out->count + 1) * sizeof out->items[0]);
    out->items[out->count++] = item;
    return true;
}

static bool address_text(struct slice text, char *out, size_t size, struct err *err)
{
    if (text.len == 0 || text.len >= size)
        return err_set(err, ERR_USAGE, "'%.*s' is not an address", SLICE_FMT(text));
    memcpy(out, text.ptr, text.len);
    out[text.len] = '\0';
    return true;
}

static bool ipv4_parse(struct slice text, uint32_t *out, struct err *err)
{
    char buffer[INET_ADDRSTRLEN];
    struct in_addr address;
    if (!address_text(text, buffer, sizeof buffer, err))
        return false;
    if (inet_pton(AF_INET, buffer, &address) != 1)
        return err_set(err, ERR_USAGE, "'%s' is not an IPv4 address", buffer);
    *out = ntohl(address.s_addr);
    if (*out >> 24 != 127)
        return err_set(err, ERR_USAGE, "'%s' is not a loopback address", buffer);
    return true;
}

static bool ipv6_append(struct slice text, uint16_t port, struct endpoints *out, struct err *err)
{
    char buffer[INET6_ADDRSTRLEN];
    if (!address_text(text, buffer, sizeof buffer, err))
        return false;
    struct endpoint item = { .length = sizeof(struct sockaddr_in6) };
    struct sockaddr_in6 *address = (struct sockaddr_in6 *)&item.address;
    address->sin6_family = AF_INET6;
    address->sin6_port = htons(port);
    if (inet_pton(AF_INET6, buffer, &address->sin6_addr) != 1)
        return err_set(err, ERR_USAGE, "'%s' is not an IPv6 address", buffer);
    if (!IN6_IS_ADDR_LOOPBACK(&address->sin6_addr))
        return err_set(err, ERR_USAGE, "'%s' is not a loopback address", buffer);
    return endpoint_append(out, item, err);
}

static bool ipv4_range_append(struct slice hosts, uint16_t port, struct endpoints *out,
                              struct err *err)
{
    uint32_t first, last;
    struct slice rest = hosts;
    struct slice from = slice_cut(&rest, '-');
    if (!ipv4_parse(from, &first, err))
        return false;
    last = first;
    if (from.len < hosts.len && !ipv4_parse(rest, &last, err))
        return false;
    if (last < first || last - first >= ENDPOINTS_MAX)
        return err_set(err, ERR_USAGE, "'%.*s' is not a range of up to %d addresses",
                       SLICE_FMT(hosts), ENDPOINTS_MAX);
    for (uint32_t host = first; host <= last; host++) {
        struct endpoint item = { .length = sizeof(struct sockaddr_in) };
        struct sockaddr_in *address = (struct sockaddr_in *)&item.address;
        address->sin_family = AF_INET;
        address->sin_port = htons(port);
        address->sin_addr.s_addr = htonl(host);
        if (!endpoint_append(out, item, err))
            return false;
    }
    return true;
}

static bool entry_parse(struct slice entry, struct endpoints *out, struct err *err)
{
    ptrdiff_t colon = -1;
    for (size_t i = 0; i < entry.len; i++)
        if (entry.ptr[i] == ':')
            colon = (ptrdiff_t)i;
    uint64_t port;
    if (colon < 0 || !slice_to_u64(slice_skip(entry, (size_t)colon + 1), &port) || port > 65535)
        return err_set(err, ERR_USAGE, "'%.*s' has no :PORT", SLICE_FMT(entry));
    struct slice hosts = slice_head(entry, (size_t)colon);
    if (hosts.len >= 2 && hosts.ptr[0] == '[' && hosts.ptr[hosts.len - 1] == ']')
        return ipv6_append(slice_of(hosts.ptr + 1, hosts.len - 2), (uint16_t)port, out, err);
    return ipv4_range_append(hosts, (uint16_t)port, out, err);
}

bool endpoints_parse(struct slice text, struct endpoints *out, struct err *err)
{
    size_t count_before = out->count;
    while (text.len > 0) {
        if (!entry_parse(slice_trim(slice_cut(&text, ',')), out, err)) {
            out->count = count_before;
            return false;
        }
    }
    if (out->count == count_before)
        return err_set(err, ERR_USAGE, "no address");
    return true;
}

void endpoints_free(struct endpoints *endpoints)
{
    free(endpoints->items);
    *endpoints = (struct endpoints){ 0 };
}

uint16_t endpoint_port(const struct endpoint *endpoint)
{
    if (endpoint->address.ss_family == AF_INET6)
        return ntohs(((const struct sockaddr_in6 *)&endpoint->address)->sin6_port);
    return ntohs(((const struct sockaddr_in *)&endpoint->address)->sin_port);
}

void endpoint_set_port(struct endpoint *endpoint, uint16_t port)
{
    if (endpoint->address.ss_family == AF_INET6)
        ((struct sockaddr_in6 *)&endpoint->address)->sin6_port = htons(port);
    else
        ((struct sockaddr_in *)&endpoint->address)->sin_port = htons(port);
}

void endpoint_host(const struct endpoint *endpoint, char *out, size_t size)
{
    const void *host =
        endpoint->address.ss_family == AF_INET6
            ? (const void *)&((const struct sockaddr_in6 *)&endpoint->address)->sin6_addr
            : &((const struct sockaddr_in *)&endpoint->address)->sin_addr;
    if (!inet_ntop(endpoint->address.ss_family, host, out, (socklen_t)size))
        out[0] = '\0';
}
