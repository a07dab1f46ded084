#pragma once
/* Routes and addresses, made from what was answered. */
#include "dns/answer.h"

/** All of these give the caller the first reference. */
struct dns_route *dns_route_from_answer(const struct dns_answer *answer, int64_t expires_ms);
struct dns_route *dns_route_implicit(struct slice domain, int64_t expires_ms);
/** Without hosts: `why` and what was asked for (unless empty) become its text. */
struct dns_route *dns_route_none(enum dns_status status, const char *why, struct slice domain,
                                 int64_t expires_ms);
/** What it costs in memory. */
size_t dns_route_bytes(const struct dns_route *route);

/** The addresses of one family. */
struct dns_family {
    enum dns_status status;
    bool has_ttl;
    uint32_t ttl_s;
    const char *text;
    unsigned count;
    union dns_answer_address list[DNS_ADDRESS_MAX];
};

/** Merges both families, taking turns, IPv6 first. */
struct dns_addresses *dns_addresses_merge(const struct dns_family *v6, const struct dns_family *v4,
                                          int64_t expires_ms);
struct dns_addresses *dns_addresses_none(enum dns_status status, const char *why, struct slice host,
                                         int64_t expires_ms);
size_t dns_addresses_bytes(const struct dns_addresses *addresses);
