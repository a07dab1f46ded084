#include "dns/result.h"

/* A result is one block of memory, never changed after it's made, shared by the cache and all who
 * asked, and counted: the cache may drop it while a delivery still walks its hosts. The counts
 * aren't atomic: one resolver, one thread. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/mem.h"

static void text_set(char *text, size_t room, const char *why, const char *what, struct slice name)
{
    if (name.len > 0)
        snprintf(text, room, "%s (%s of %.*s)", why, what, SLICE_FMT(name));
    else
        snprintf(text, room, "%s", why);
}

static struct dns_route *route_create(unsigned hosts, size_t names_bytes, int64_t expires_ms)
{
    struct dns_route *route =
        mem_zalloc(sizeof *route + hosts * sizeof route->hosts[0] + names_bytes);
    route->references = 1;
    route->host_count = hosts;
    route->expires_ms = expires_ms;
    return route;
}

struct dns_route *dns_route_from_answer(const struct dns_answer *answer, int64_t expires_ms)
{
    assert(answer->status == DNS_OK && answer->count > 0);
    size_t bytes = 0;
    for (unsigned i = 0; i < answer->count; i++)
        bytes += answer->mx[i].len + 1u;
    struct dns_route *route = route_create(answer->count, bytes, expires_ms);
    char *at = (char *)&route->hosts[answer->count];
    for (unsigned i = 0; i < answer->count; i++) {
        const struct dns_answer_mx *mx = &answer->mx[i];
        memcpy(at, mx->name, mx->len + 1u);
        route->hosts[i] = (struct dns_mx){ slice_of(at, mx->len), mx->preference };
        at += mx->len + 1;
    }
    return route;
}

struct dns_route *dns_route_implicit(struct slice domain, int64_t expires_ms)
{
    struct dns_route *route = route_create(1, domain.len + 1, expires_ms);
    char *at = (char *)&route->hosts[1];
    memcpy(at, domain.ptr, domain.len);
    route->hosts[0] = (struct dns_mx){ slice_of(at, domain.len), 0 };
    route->implicit = true;
    return route;
}

struct dns_route *dns_route_to(struct slice host)
{
    return dns_route_implicit(host, INT64_MAX);
}

struct dns_route *dns_route_none(enum dns_status status, const char *why, struct slice domain,
                                 int64_t expires_ms)
{
    assert(status != DNS_OK);
    struct dns_route *route = route_create(0, 0, expires_ms);
    route->status = status;
    text_set(route->text, sizeof route->text, why, "MX", domain);
    return route;
}

size_t dns_route_bytes(const struct dns_route *route)
{
    size_t bytes = sizeof *route + route->host_count * sizeof route->hosts[0];
    for (unsigned i = 0; i < route->host_count; i++)
        bytes += route->hosts[i].name.len + 1;
    return bytes;
}

struct dns_route *dns_route_hold(struct dns_route *route)
{
    assert(route->references > 0);
    route->references++;
    return route;
}

void dns_route_release(struct dns_route *route)
{
    if (!route)
        return;
    assert(route->references > 0);
    if (--route->references == 0)
        free(route);
}

static struct dns_addresses *addresses_create(unsigned count, int64_t expires_ms)
{
    struct dns_addresses *addresses =
        mem_zalloc(sizeof *addresses + count * sizeof addresses->list[0]);
    addresses->references = 1;
    addresses->count = count;
    addresses->expires_ms = expires_ms;
    return addresses;
}

static void address_fill(struct dns_address *out, const union dns_answer_address *from, int family)
{
    if (family == AF_INET6) {
        struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&out->addr;
        in6->sin6_family = AF_INET6;
        in6->sin6_addr = from->v6;
        out->len = sizeof *in6;
    } else {
        struct sockaddr_in *in = (struct sockaddr_in *)&out->addr;
        in->sin_family = AF_INET;
        in->sin_addr = from->v4;
        out->len = sizeof *in;
    }
}

struct dns_addresses *dns_addresses_merge(const struct dns_family *v6, const struct dns_family *v4,
                                          int64_t expires_ms)
{
    unsigned count = MIN_OF(v6->count + v4->count, DNS_ADDRESS_MAX + 0u), used6 = 0, used4 = 0;
    assert(count > 0);
    struct dns_addresses *addresses = addresses_create(count, expires_ms);
    for (unsigned i = 0; i < count; i++) {
        bool take6 = used6 < v6->count && (used6 <= used4 || used4 == v4->count);
        if (take6)
            address_fill(&addresses->list[i], &v6->list[used6++], AF_INET6);
        else
            address_fill(&addresses->list[i], &v4->list[used4++], AF_INET);
    }
    return addresses;
}

struct dns_addresses *dns_addresses_literal(struct slice text)
{
    char copy[INET6_ADDRSTRLEN];
    union dns_answer_address address;
    if (text.len >= sizeof copy)
        return NULL;
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    int family = memchr(copy, ':', text.len) ? AF_INET6 : AF_INET;
    if (inet_pton(family, copy, &address) != 1)
        return NULL;
    struct dns_addresses *addresses = addresses_create(1, INT64_MAX);
    address_fill(&addresses->list[0], &address, family);
    return addresses;
}

struct dns_addresses *dns_addresses_none(enum dns_status status, const char *why, struct slice host,
                                         int64_t expires_ms)
{
    assert(status != DNS_OK);
    struct dns_addresses *addresses = addresses_create(0, expires_ms);
    addresses->status = status;
    text_set(addresses->text, sizeof addresses->text, why, "address", host);
    return addresses;
}

size_t dns_addresses_bytes(const struct dns_addresses *addresses)
{
    return sizeof *addresses + addresses->count * sizeof addresses->list[0];
}

struct dns_addresses *dns_addresses_hold(struct dns_addresses *addresses)
{
    assert(addresses->references > 0);
    addresses->references++;
    return addresses;
}

void dns_addresses_release(struct dns_addresses *addresses)
{
    if (!addresses)
        return;
    assert(addresses->references > 0);
    if (--addresses->references == 0)
        free(addresses);
}

void dns_route_shuffle(const struct dns_route *route, struct rng *rng, uint16_t *order)
{
    for (unsigned i = 0; i < route->host_count; i++)
        order[i] = (uint16_t)i;
    for (unsigned start = 0, end; start < route->host_count; start = end) {
        for (end = start + 1; end < route->host_count &&
                              route->hosts[end].preference == route->hosts[start].preference;
             end++)
            ;
        for (unsigned left = end - start; left > 1;
             left--) { /* Fisher and Yates, within the equals */
            unsigned pick = start + (unsigned)rng_below(rng, left);
            uint16_t swap = order[start + left - 1];
            order[start + left - 1] = order[pick];
            order[pick] = swap;
        }
    }
}

const char *dns_status_name(enum dns_status status)
{
    switch (status) {
    case DNS_OK:
        return "ok";
    case DNS_NXDOMAIN:
        return "nxdomain";
    case DNS_NO_DATA:
        return "no-data";
    case DNS_NULL_MX:
        return "null-mx";
    case DNS_INVALID:
        return "invalid";
    case DNS_FAILED:
        return "failed";
    case DNS_TIMEOUT:
        return "timeout";
    }
    return "?";
}
