#pragma once
/* The resolver of one worker: c-ares on the ring, with a cache that honours TTLs, one look-up in
 * flight per name however many wait for it, and every outcome told apart. Thread: the ring's. */
#include "engine/ring/ring.h"

struct dns_resolver;

enum dns_status {
    DNS_OK,
    DNS_NXDOMAIN, /* the name doesn't exist: permanent */
    DNS_NO_DATA,  /* it exists, but without what was asked: for mail with neither MX nor address:
                     permanent */
    DNS_NULL_MX,  /* RFC 7505: takes no mail: permanent, 5.1.10 */
    DNS_INVALID, /* not a host name that can be asked for (IDNA error, label too long, …): permanent
                  */
    DNS_FAILED,  /* SERVFAIL, REFUSED, malformed answers, no server: try later */
    DNS_TIMEOUT, /* try later */
};
const char *dns_status_name(enum dns_status status);

struct dns_options {
    const char *servers;           /* "127.0.0.1:5353,[::1]:53"; NULL or "": /etc/resolv.conf */
    unsigned timeout_ms;           /* per try; 0: 3000 */
    unsigned tries;                /* 0: 3 */
    unsigned ttl_min_s, ttl_max_s; /* clamp; 0: 1 and 86400 */
    unsigned negative_ttl_max_s;   /* 0: 900; answers without an SOA are kept 60 s, failures 5 s */
    unsigned cache_entries_max;    /* 0: 200000; least recently used go first */
    unsigned lookups_max;          /* in flight at once; others wait; 0: 1000 */
    bool ipv4_only, ipv6_only;
};

struct dns_mx {
    struct slice name; /* lower-case A-label without the final dot */
    uint16_t preference;
};
/** The mail route of a domain: immutable, shared, counted. At most 100 hosts, by preference, DNS
 * order among equals. */
struct dns_route {
    unsigned references; /* private */
    enum dns_status status;
    bool implicit;      /* no MX: the domain itself (RFC 5321, 5.1) */
    int64_t expires_ms; /* monotonic */
    char text[128];     /* for people: what failed; empty for DNS_OK */
    unsigned host_count;
    struct dns_mx hosts[];
};

struct dns_address {
    struct sockaddr_storage addr; /* port 0 */
    socklen_t len;
};
/** A host's addresses: immutable, shared, counted. At most 20. */
struct dns_addresses {
    unsigned references;
    enum dns_status status;
    int64_t expires_ms;
    char text[128];
    unsigned count;
    struct dns_address list[];
};

MUST_USE bool dns_resolver_create(struct dns_resolver **out, struct ring *ring,
                                  const struct dns_options *options, struct err *err);
/** Cancels all requests without callbacks. Must be followed by ring turns until `closed` (may be
 * NULL) fires; then the memory is gone. */
void dns_resolver_close(struct dns_resolver *resolver, void (*closed)(void *user), void *user);

/** A request is the caller's memory until its callback or dns_request_cancel(). */
struct dns_request {
    struct list node; /* private */
    void (*route_found)(struct dns_request *request, struct dns_route *route);
    void (*addresses_found)(struct dns_request *request, struct dns_addresses *addresses);
    void *pending; /* private; NULL: not under way */
    uint8_t kind;  /* private */
};

/** Finds the mail hosts of a domain (U- or A-labels, any case). The callback fires in a later task,
 * also on a cache hit. It gets one reference, to be given back with dns_route_release(). */
void dns_resolve_route(struct dns_resolver *resolver, struct dns_request *request,
                       struct slice domain);
/** The addresses of a host (A and AAAA, both families asked at once): the families in turn, IPv6
 * first, each in the order of its answer. One family is enough: the other one may fail, or be 2 s
 * late, at the price of a short life. */
void dns_resolve_addresses(struct dns_resolver *resolver, struct dns_request *request,
                           struct slice host);
/** No callback fires after this. A request that isn't under way (its callback has fired, or all
 * zeroes) may be cancelled, too. */
void dns_request_cancel(struct dns_request *request);
/** Immediate look in the cache: a counted reference or NULL. */
struct dns_route *dns_cached_route(struct dns_resolver *resolver, struct slice domain);

/** A route to one host, without a look-up; it never gets old. */
struct dns_route *dns_route_to(struct slice host);
struct dns_route *dns_route_hold(struct dns_route *route);
void dns_route_release(struct dns_route *route);
/** The one address that the text is (IPv4, or IPv6 without brackets), without a look-up; it never
 * gets old. NULL: it isn't one. */
struct dns_addresses *dns_addresses_literal(struct slice text);
struct dns_addresses *dns_addresses_hold(struct dns_addresses *addresses);
void dns_addresses_release(struct dns_addresses *addresses);

/** The order in which to try hosts now: by preference, shuffled among equals (RFC 5321, 5.1).
 * `order` has room for host_count. */
void dns_route_shuffle(const struct dns_route *route, struct rng *rng, uint16_t *order);

struct dns_stats {
    uint64_t requests, cache_hits, lookups, failures, timeouts, coalesced;
    uint64_t in_flight, cached;
};
const struct dns_stats *dns_resolver_stats(const struct dns_resolver *resolver);

/** Lower-case A-label form of a domain for routing ("Bücher.Example." → "xn--bcher-kva.example");
 * false if it isn't a valid host name. `out` has room for 256 bytes. */
MUST_USE bool dns_name_normalise(struct slice domain, char out[256], size_t *len);
