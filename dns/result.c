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
    route->refresh_ms = INT64_MAX;
    return route;
}

struct dns_route *dns_route_from_answer(const struct dns_answer *answer, unsigned hosts,
                                        int64_t expires_ms)
{
    assert(answer->status == DNS_OK && hosts > 0 && hosts <= answer->count);
    size_t bytes = 0;
    for (unsigned i = 0; i < hosts; i++)
        bytes += answer->mx[i].len + 1u;
    struct dns_route *route = route_create(hosts, bytes, expires_ms);
    char *at = (char *)&route->hosts[hosts];
    for (unsigned i = 0; i < hosts; i++) {
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

struct dns_route *dns_route_pick(const struct dns_route *route, const bool *keep)
{
    unsigned count = 0;
    size_t bytes = 0;
    for (unsigned i = 0; i < route->host_count; i++) {
        count += keep[i];
        bytes += keep[i] ? route->hosts[i].name.len + 1 : 0;
    }
    assert(count > 0);
    struct dns_route *picked = route_create(count, bytes, route->expires_ms);
    char *at = (char *)&picked->hosts[count];
    picked->secure = route->secure;
    picked->implicit = route->implicit;
    count = 0;
    for (unsigned i = 0; i < route->host_count; i++) {
        if (!keep[i])
            continue;
        struct slice name = route->hosts[i].name;
        memcpy(at, name.ptr, name.len);
        picked->hosts[count++] =
            (struct dns_mx){ slice_of(at, name.len), route->hosts[i].preference };
        at += name.len + 1;
    }
    return picked;
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

/* The canonical name lies behind the list. */
static struct dns_addresses *addresses_create(unsigned count, struct slice canonical,
                                              int64_t expires_ms)
{
    struct dns_addresses *addresses =
        mem_zalloc(sizeof *addresses + count * sizeof addresses->list[0] + canonical.len + 1);
    char *at = (char *)&addresses->list[count];
    addresses->references = 1;
    addresses->expires_ms = expires_ms;
    addresses->refresh_ms = INT64_MAX;
    if (canonical.len > 0)
        memcpy(at, canonical.ptr, canonical.len);
    addresses->canonical = slice_of(at, canonical.len);
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

/* Both families agree on it, or the DNS changes just now: then DANE's records are looked for at the
 * name that was asked for. */
static struct slice canonical_of(const struct dns_family *v6, const struct dns_family *v4,
                                 struct slice host)
{
    const struct dns_family *one = v6->count > 0 ? v6 : v4;
    if (one->canonical[0] == '\0' ||
        (v6->count > 0 && v4->count > 0 && strcmp(v6->canonical, v4->canonical) != 0))
        return host;
    return slice_str(one->canonical);
}

/* The range that says no may be an operator's own, so the address is what is named. */
static void refused_text(struct dns_addresses *addresses, struct slice host)
{
    char text[INET6_ADDRSTRLEN];
    const struct sockaddr_storage *addr = &addresses->list[0].addr;
    const void *bytes = addr->ss_family == AF_INET6
                            ? (const void *)&((const struct sockaddr_in6 *)addr)->sin6_addr
                            : (const void *)&((const struct sockaddr_in *)addr)->sin_addr;
    inet_ntop(addr->ss_family, bytes, text, sizeof text);
    snprintf(addresses->text, sizeof addresses->text, "mail isn't sent to %s (address of %.*s)",
             text, SLICE_FMT(host));
}

struct dns_addresses *dns_addresses_merge(const struct dns_family *v6, const struct dns_family *v4,
                                          struct slice host, int64_t expires_ms)
{
    unsigned count = MIN_OF(v6->count + v4->count, DNS_ADDRESS_MAX + 0u), used6 = 0, used4 = 0;
    unsigned refused = v6->refused_count + v4->refused_count;
    assert(count + refused > 0);
    refused = MIN_OF(refused, DNS_ADDRESS_MAX - count);
    struct dns_addresses *addresses =
        addresses_create(count + refused, canonical_of(v6, v4, host), expires_ms);
    for (unsigned i = 0; i < count; i++) {
        bool take6 = used6 < v6->count && (used6 <= used4 || used4 == v4->count);
        if (take6)
            address_fill(&addresses->list[i], &v6->list[used6++], AF_INET6);
        else
            address_fill(&addresses->list[i], &v4->list[used4++], AF_INET);
    }
    for (unsigned i = 0; i < refused; i++) {
        bool is6 = i < v6->refused_count;
        address_fill(&addresses->list[count + i],
                     is6 ? &v6->refused[i] : &v4->refused[i - v6->refused_count],
                     is6 ? AF_INET6 : AF_INET);
    }
    addresses->count = count;
    addresses->refused_count = refused;
    if (count == 0) {
        addresses->status = DNS_REFUSED;
        refused_text(addresses, host);
    }
    return addresses;
}

struct dns_addresses *dns_addresses_allow(struct dns_addresses *addresses)
{
    unsigned count = addresses->count + addresses->refused_count;
    if (addresses->refused_count == 0)
        return addresses;
    struct dns_addresses *all =
        addresses_create(count, addresses->canonical, addresses->expires_ms);
    memcpy(all->list, addresses->list, count * sizeof all->list[0]);
    all->count = count;
    all->secure = addresses->secure;
    all->refresh_ms = addresses->refresh_ms;
    dns_addresses_release(addresses);
    return all;
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
    struct dns_addresses *addresses = addresses_create(1, text, INT64_MAX);
    addresses->count = 1;
    address_fill(&addresses->list[0], &address, family);
    return addresses;
}

struct dns_addresses *dns_addresses_none(enum dns_status status, const char *why, struct slice host,
                                         int64_t expires_ms)
{
    assert(status != DNS_OK);
    struct dns_addresses *addresses = addresses_create(0, host, expires_ms);
    addresses->status = status;
    text_set(addresses->text, sizeof addresses->text, why, "address", host);
    return addresses;
}

/* ---- TLSA and TXT ---- */

struct dns_tlsa *dns_tlsa_create(const struct dns_answer *answer, struct slice name,
                                 int64_t expires_ms)
{
    unsigned count = answer->status == DNS_OK ? answer->count : 0;
    size_t bytes = 0;
    for (unsigned i = 0; i < count; i++)
        bytes += answer->record[i].len - 3;
    struct dns_tlsa *tlsa = mem_zalloc(sizeof *tlsa + count * sizeof tlsa->records[0] + bytes);
    char *at = (char *)&tlsa->records[count];
    tlsa->references = 1;
    tlsa->status = answer->status;
    tlsa->expires_ms = expires_ms;
    tlsa->refresh_ms = INT64_MAX;
    tlsa->count = count;
    if (tlsa->status != DNS_OK)
        text_set(tlsa->text, sizeof tlsa->text, answer->text, "TLSA", name);
    for (unsigned i = 0; i < count; i++) {
        struct slice record = answer->record[i], data = slice_skip(record, 3);
        memcpy(at, data.ptr, data.len);
        tlsa->records[i] = (struct dns_tlsa_record){ .usage = (uint8_t)record.ptr[0],
                                                     .selector = (uint8_t)record.ptr[1],
                                                     .matching = (uint8_t)record.ptr[2],
                                                     .data = slice_of(at, data.len) };
        at += data.len;
    }
    return tlsa;
}

struct dns_text *dns_text_create(const struct dns_answer *answer, struct slice name,
                                 int64_t expires_ms)
{
    unsigned count = answer->status == DNS_OK ? answer->count : 0;
    size_t bytes = 0;
    for (unsigned i = 0; i < count; i++)
        bytes += answer->record[i].len; /* more than enough: with the strings' lengths */
    struct dns_text *text = mem_zalloc(sizeof *text + count * sizeof text->records[0] + bytes);
    char *at = (char *)&text->records[count];
    text->references = 1;
    text->status = answer->status;
    text->expires_ms = expires_ms;
    text->refresh_ms = INT64_MAX;
    text->count = count;
    if (text->status != DNS_OK)
        text_set(text->text, sizeof text->text, answer->text, "TXT", name);
    for (unsigned i = 0; i < count; i++) {
        const char *start = at;
        for (struct slice rest = answer->record[i]; rest.len > 0;) {
            size_t len = (unsigned char)rest.ptr[0];
            memcpy(at, rest.ptr + 1, len);
            at += len;
            rest = slice_skip(rest, len + 1);
        }
        text->records[i] = slice_of(start, (size_t)(at - start));
    }
    return text;
}

/* ---- all kinds ---- */

static size_t route_bytes(const struct dns_route *route)
{
    size_t bytes = sizeof *route + route->host_count * sizeof route->hosts[0];
    for (unsigned i = 0; i < route->host_count; i++)
        bytes += route->hosts[i].name.len + 1;
    return bytes;
}

static size_t addresses_bytes(const struct dns_addresses *addresses)
{
    size_t count = addresses->count + addresses->refused_count;
    return sizeof *addresses + count * sizeof addresses->list[0] + addresses->canonical.len + 1;
}

static size_t tlsa_bytes(const struct dns_tlsa *tlsa)
{
    size_t bytes = sizeof *tlsa + tlsa->count * sizeof tlsa->records[0];
    for (unsigned i = 0; i < tlsa->count; i++)
        bytes += tlsa->records[i].data.len;
    return bytes;
}

static size_t text_bytes(const struct dns_text *text)
{
    size_t bytes = sizeof *text + text->count * sizeof text->records[0];
    for (unsigned i = 0; i < text->count; i++)
        bytes += text->records[i].len + 1 + text->records[i].len / 255;
    return bytes;
}

size_t dns_result_bytes(enum dns_kind kind, const void *result)
{
    switch (kind) {
    case DNS_KIND_ROUTE:
        return route_bytes(result);
    case DNS_KIND_ADDRESSES:
        return addresses_bytes(result);
    case DNS_KIND_TLSA:
        return tlsa_bytes(result);
    case DNS_KIND_TEXT:
        break;
    }
    return text_bytes(result);
}

#define RESULT(of)                                                                                 \
    (struct dns_result)                                                                            \
    {                                                                                              \
        &(of)->references, (of)->status, (of)->secure, &(of)->expires_ms, &(of)->refresh_ms        \
    }

struct dns_result dns_result_of(enum dns_kind kind, void *result)
{
    struct dns_route *route = result;
    struct dns_addresses *addresses = result;
    struct dns_tlsa *tlsa = result;
    struct dns_text *text = result;
    switch (kind) {
    case DNS_KIND_ROUTE:
        return RESULT(route);
    case DNS_KIND_ADDRESSES:
        return RESULT(addresses);
    case DNS_KIND_TLSA:
        return RESULT(tlsa);
    case DNS_KIND_TEXT:
        break;
    }
    return RESULT(text);
}

void *dns_result_none(enum dns_kind kind, enum dns_status status, const char *why,
                      struct slice name, int64_t expires_ms)
{
    const struct dns_answer answer = { .status = status, .text = why };
    switch (kind) {
    case DNS_KIND_ROUTE:
        return dns_route_none(status, why, name, expires_ms);
    case DNS_KIND_ADDRESSES:
        break;
    case DNS_KIND_TLSA:
        return dns_tlsa_create(&answer, name, expires_ms);
    case DNS_KIND_TEXT:
        return dns_text_create(&answer, name, expires_ms);
    }
    return dns_addresses_none(status, why, name, expires_ms);
}

void *dns_result_hold(enum dns_kind kind, void *result)
{
    unsigned *references = dns_result_of(kind, result).references;
    assert(*references > 0);
    ++*references;
    return result;
}

void dns_result_release(enum dns_kind kind, void *result)
{
    if (!result)
        return;
    unsigned *references = dns_result_of(kind, result).references;
    assert(*references > 0);
    if (--*references == 0)
        free(result);
}

struct dns_route *dns_route_hold(struct dns_route *route)
{
    return dns_result_hold(DNS_KIND_ROUTE, route);
}

void dns_route_release(struct dns_route *route)
{
    dns_result_release(DNS_KIND_ROUTE, route);
}

struct dns_addresses *dns_addresses_hold(struct dns_addresses *addresses)
{
    return dns_result_hold(DNS_KIND_ADDRESSES, addresses);
}

void dns_addresses_release(struct dns_addresses *addresses)
{
    dns_result_release(DNS_KIND_ADDRESSES, addresses);
}

struct dns_tlsa *dns_tlsa_hold(struct dns_tlsa *tlsa)
{
    return dns_result_hold(DNS_KIND_TLSA, tlsa);
}

void dns_tlsa_release(struct dns_tlsa *tlsa)
{
    dns_result_release(DNS_KIND_TLSA, tlsa);
}

struct dns_text *dns_text_hold(struct dns_text *text)
{
    return dns_result_hold(DNS_KIND_TEXT, text);
}

void dns_text_release(struct dns_text *text)
{
    dns_result_release(DNS_KIND_TEXT, text);
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
    case DNS_LOOP:
        return "loop";
    case DNS_REFUSED:
        return "refused";
    }
    return "?";
}
