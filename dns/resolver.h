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
    DNS_FAILED,  /* SERVFAIL (also of what fails DNSSEC), REFUSED, malformed answers, no server: try
                    later */
    DNS_TIMEOUT, /* try later */
    DNS_LOOP,    /* of the mail exchangers we are the best ourselves (RFC 5321, 5.1): permanent,
                    5.4.6 */
    DNS_REFUSED, /* all addresses are in ranges that mail isn't sent to: permanent, 5.4.4 */
};
const char *dns_status_name(enum dns_status status);

/** A range of addresses. */
struct dns_prefix {
    sa_family_t family;
    uint8_t bits;
    uint8_t address[16]; /* of IPv4 the first 4 */
};
/** Reads "10.0.0.0/8", "fd00::/8", or an address. */
MUST_USE bool dns_prefix_parse(struct slice text, struct dns_prefix *out, struct err *err);
#define DNS_PREFIX_DEFAULTS 34
/** Writes the ranges in which no mail exchanger of the Internet is: loopback, private, link-local,
 * multicast, documentation and so on, and IPv6 that stands for IPv4. Returns DNS_PREFIX_DEFAULTS.
 */
unsigned dns_prefix_defaults(struct dns_prefix *out);
/** Writes the addresses that this host's interfaces have now; returns their number. */
unsigned dns_prefix_own(struct dns_prefix *out, unsigned max);

struct dns_options {
    const char *servers;           /* "127.0.0.1:5353,[::1]:53"; NULL or "": /etc/resolv.conf */
    unsigned timeout_ms;           /* per try; 0: 3000 */
    unsigned tries;                /* 0: 3 */
    unsigned ttl_min_s, ttl_max_s; /* clamp; 0: 1 and 86400 */
    unsigned negative_ttl_max_s;   /* 0: 900; answers without an SOA are kept 60 s, failures 5 s */
    unsigned cache_entries_max;    /* 0: 200000; least recently used go first */
    unsigned lookups_max;          /* in flight at once; others wait; 0: 1000 */
    bool ipv4_only, ipv6_only;
    /* The servers validate DNSSEC and nobody is between them and us: their AD bit is believed
     * (RFC 6698, A.3). Otherwise nothing is secure. */
    bool trusted;
    unsigned stale_max_s;        /* while a name can't be looked up, what was known of it is used so
                                    long past its end (RFC 8767); 0: not at all */
    unsigned lookups_per_second; /* questions sent; 0: no limit. A name is asked for once at a time
                                    and not again before its answer's end */
    /* Names of ours, in lower case: where they are mail exchangers, they and those behind them are
     * left out. Copied. */
    const char *const *own_names;
    unsigned own_name_count;
    /* Addresses that are left out, whatever the DNS says. Copied. */
    const struct dns_prefix *refused;
    unsigned refused_count;
};

struct dns_mx {
    struct slice name; /* lower-case A-label without the final dot */
    uint16_t preference;
};
/* All results are shared and counted, and never change, with two exceptions: expires_ms moves on
 * while one is used past its end because there's no newer one, and refresh_ms once that is asked
 * for. Times are monotonic. `secure`: each answer that it was made of, also a "no", was validated
 * by a trusted server. `text` is for people: what failed; empty for DNS_OK. */

/** The mail route of a domain. At most 100 hosts, by preference, DNS order among equals. */
struct dns_route {
    unsigned references; /* private */
    enum dns_status status;
    bool secure;
    bool implicit; /* no MX: the domain itself (RFC 5321, 5.1) */
    int64_t expires_ms;
    int64_t
        refresh_ms; /* from now on dns_refresh_route() is worth it, if there's still use for it */
    char text[128];
    unsigned host_count;
    struct dns_mx hosts[];
};

struct dns_address {
    struct sockaddr_storage addr; /* port 0 */
    socklen_t len;
};
/** A host's addresses. At most 20. */
struct dns_addresses {
    unsigned references;
    enum dns_status status;
    bool secure; /* a family that couldn't be asked for has no part in it */
    int64_t expires_ms, refresh_ms;
    char text[128];
    struct slice canonical; /* the name at the end of the CNAMEs: the first base of TLSA records
                               (RFC 7672, 2.2.2); with a NUL behind */
    unsigned count;
    unsigned refused_count; /* more, behind the others, that are only for dns_addresses_allow() */
    struct dns_address list[];
};

struct dns_tlsa_record {
    uint8_t usage, selector, matching;
    struct slice data; /* not empty */
};
/** The TLSA records of a name (RFC 6698). At most 64. DNS_FAILED and DNS_TIMEOUT don't mean that
 * there are none (RFC 7672, 2.1). */
struct dns_tlsa {
    unsigned references;
    enum dns_status status;
    bool secure;
    int64_t expires_ms, refresh_ms;
    char text[128];
    unsigned count;
    struct dns_tlsa_record records[];
};

/** The TXT records of a name, the strings of each joined. At most 64; the bytes may be any. */
struct dns_text {
    unsigned references;
    enum dns_status status;
    bool secure;
    int64_t expires_ms, refresh_ms;
    char text[128];
    unsigned count;
    struct slice records[];
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
    void (*tlsa_found)(struct dns_request *request, struct dns_tlsa *tlsa);
    void (*text_found)(struct dns_request *request, struct dns_text *text);
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
/** The TLSA records of "_25._tcp.mx.example.org". CNAMEs are followed. */
void dns_resolve_tlsa(struct dns_resolver *resolver, struct dns_request *request,
                      struct slice name);
/** The TXT records of "_mta-sts.example.org". CNAMEs are followed. */
void dns_resolve_text(struct dns_resolver *resolver, struct dns_request *request,
                      struct slice name);
/** No callback fires after this. A request that isn't under way (its callback has fired, or all
 * zeroes) may be cancelled, too. */
void dns_request_cancel(struct dns_request *request);
/** Immediate look in the cache: a counted reference or NULL. */
struct dns_route *dns_cached_route(struct dns_resolver *resolver, struct slice domain);

/** For a route or addresses still in use at their refresh_ms: looks the name up again in the
 * background, unless that's done, under way, or others wait for a place. */
void dns_refresh_route(struct dns_resolver *resolver, struct dns_route *route, struct slice domain);
void dns_refresh_addresses(struct dns_resolver *resolver, struct dns_addresses *addresses,
                           struct slice host);

/** A route to one host, without a look-up; it never gets old. */
struct dns_route *dns_route_to(struct slice host);
#define DNS_ROUTE_HOSTS_MAX 100
/** The same with those hosts only (at least one) for which `keep` is true; a new reference. */
struct dns_route *dns_route_pick(const struct dns_route *route, const bool *keep);
struct dns_route *dns_route_hold(struct dns_route *route);
void dns_route_release(struct dns_route *route);
/** The one address that the text is (IPv4, or IPv6 without brackets), without a look-up; it never
 * gets old. NULL: it isn't one. */
struct dns_addresses *dns_addresses_literal(struct slice text);
struct dns_addresses *dns_addresses_hold(struct dns_addresses *addresses);
void dns_addresses_release(struct dns_addresses *addresses);
/** For hosts that the operator has named: the same with those that are refused. Takes over the
 * reference and gives one. */
struct dns_addresses *dns_addresses_allow(struct dns_addresses *addresses);
struct dns_tlsa *dns_tlsa_hold(struct dns_tlsa *tlsa);
void dns_tlsa_release(struct dns_tlsa *tlsa);
struct dns_text *dns_text_hold(struct dns_text *text);
void dns_text_release(struct dns_text *text);

/** The order in which to try hosts now: by preference, shuffled among equals (RFC 5321, 5.1).
 * `order` has room for host_count. */
void dns_route_shuffle(const struct dns_route *route, struct rng *rng, uint16_t *order);

struct dns_stats {
    uint64_t requests, cache_hits, lookups, failures, timeouts, coalesced;
    uint64_t in_flight, cached;
    uint64_t stale;     /* answers used past their end */
    uint64_t refreshed; /* looked up before their end */
    uint64_t refused;   /* answers with addresses that are refused */
    uint64_t secure;    /* results that are secure */
};
const struct dns_stats *dns_resolver_stats(const struct dns_resolver *resolver);

/** Lower-case A-label form of a domain for routing ("Bücher.Example." → "xn--bcher-kva.example");
 * false if it isn't a valid host name. `out` has room for 256 bytes. */
MUST_USE bool dns_name_normalise(struct slice domain, char out[256], size_t *len);
