#pragma once
/* For the tests of the resolver: a ring of each real body, a scripted server, and waiters that
 * remember what they got. */
#include "dns/resolver.h"

#include <arpa/inet.h>
#include <stdio.h>

#include "tests/support/check_main.h"
#include "tests/support/dnsd.h"

static const enum ring_body bodies[] = { RING_BODY_URING, RING_BODY_EPOLL };

static struct ring *ring;
static struct dnsd *dnsd;
static struct dns_resolver *resolver;
static struct dns_options options;
static bool closed;

struct waiter {
    struct dns_request request;
    struct dns_route *route;
    struct dns_addresses *addresses;
    struct dns_tlsa *tlsa;
    struct dns_text *text;
    unsigned calls;
};

static inline void route_found(struct dns_request *request, struct dns_route *route)
{
    struct waiter *waiter = CONTAINER_OF(request, struct waiter, request);
    waiter->route = route;
    waiter->calls++;
}

static inline void addresses_found(struct dns_request *request, struct dns_addresses *addresses)
{
    struct waiter *waiter = CONTAINER_OF(request, struct waiter, request);
    waiter->addresses = addresses;
    waiter->calls++;
}

static inline void tlsa_found(struct dns_request *request, struct dns_tlsa *tlsa)
{
    struct waiter *waiter = CONTAINER_OF(request, struct waiter, request);
    waiter->tlsa = tlsa;
    waiter->calls++;
}

static inline void text_found(struct dns_request *request, struct dns_text *text)
{
    struct waiter *waiter = CONTAINER_OF(request, struct waiter, request);
    waiter->text = text;
    waiter->calls++;
}

static inline void waiter_init(struct waiter *waiter)
{
    *waiter = (struct waiter){ .request.route_found = route_found,
                               .request.addresses_found = addresses_found,
                               .request.tlsa_found = tlsa_found,
                               .request.text_found = text_found };
}

static inline void waiter_done(struct waiter *waiter)
{
    dns_route_release(waiter->route);
    dns_addresses_release(waiter->addresses);
    dns_tlsa_release(waiter->tlsa);
    dns_text_release(waiter->text);
    waiter_init(waiter);
}

static inline struct waiter answer_of(void (*resolve)(struct dns_resolver *, struct dns_request *,
                                                      struct slice),
                                      const char *name)
{
    static struct waiter waiter;
    waiter_init(&waiter);
    resolve(resolver, &waiter.request, slice_str(name));
    ck_assert_uint_eq(waiter.calls, 0);
    while (waiter.calls == 0)
        ring_turn(ring, -1);
    return waiter;
}

static inline struct waiter route_of(const char *domain)
{
    return answer_of(dns_resolve_route, domain);
}

static inline struct waiter addresses_of(const char *host)
{
    return answer_of(dns_resolve_addresses, host);
}

static inline struct waiter tlsa_of(const char *name)
{
    return answer_of(dns_resolve_tlsa, name);
}

static inline struct waiter text_of(const char *name)
{
    return answer_of(dns_resolve_text, name);
}

static inline enum dns_status route_status(const char *domain)
{
    struct waiter waiter = route_of(domain);
    enum dns_status status = waiter.route->status;
    ck_assert_int_eq(status == DNS_OK, waiter.route->text[0] == '\0');
    ck_assert_int_eq(status == DNS_OK, waiter.route->host_count > 0);
    waiter_done(&waiter);
    return status;
}

/* The addresses as "2001:db8::1 192.0.2.1", or the status' name. */
static inline const char *addresses_text(const char *host)
{
    static char text[2000];
    struct waiter waiter = addresses_of(host);
    const struct dns_addresses *list = waiter.addresses;
    size_t len = 0;
    if (list->status != DNS_OK)
        len = (size_t)snprintf(text, sizeof text, "%s", dns_status_name(list->status));
    for (unsigned i = 0; i < list->count; i++) {
        char one[64];
        const struct sockaddr_storage *addr = &list->list[i].addr;
        const void *bytes = addr->ss_family == AF_INET6
                                ? (const void *)&((const struct sockaddr_in6 *)addr)->sin6_addr
                                : (const void *)&((const struct sockaddr_in *)addr)->sin_addr;
        inet_ntop(addr->ss_family, bytes, one, sizeof one);
        len += (size_t)snprintf(text + len, sizeof text - len, "%s%s", i ? " " : "", one);
    }
    waiter_done(&waiter);
    return text;
}

static inline void resolver_closed(void *user)
{
    ck_assert_ptr_eq(user, &closed);
    closed = true;
}

static inline void fixture_start(int body, dnsd_handler *handler, bool tcp)
{
    struct err err = { 0 };
    struct ring_options ring_options = { .body = bodies[body] };
    ck_assert_msg(ring_create(&ring, &ring_options, &err), "%s", err.text);
    dnsd = dnsd_start(handler, NULL, tcp);
    if (!options.servers)
        options.servers = dnsd_server(dnsd);
    ck_assert_msg(dns_resolver_create(&resolver, ring, &options, &err), "%s", err.text);
}

static inline void close_resolver(void)
{
    closed = false;
    dns_resolver_close(resolver, resolver_closed, &closed);
    ck_assert(!closed);
    while (!closed)
        ring_turn(ring, -1);
    resolver = NULL;
}

static inline void fixture_stop(void)
{
    if (resolver)
        close_resolver();
    ck_assert_uint_eq(ring_stats(ring)->stale, 0);
    ring_destroy(&ring);
    dnsd_stop(dnsd);
}

/* Each test once on each body. */
static inline Suite *fixture_suite(const char *name, const TTest *const *tests, size_t count)
{
    Suite *suite = suite_create(name);
    for (size_t i = 0; i < count; i++) {
        TCase *tcase = tcase_create(tests[i]->name);
        tcase_set_timeout(tcase, 0);
        tcase_add_loop_test(tcase, tests[i], 0, (int)ARRAY_LEN(bodies));
        suite_add_tcase(suite, tcase);
    }
    return suite;
}
