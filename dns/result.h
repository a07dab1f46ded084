#pragma once
/* Results of look-ups, made from what was answered. */
#include "dns/answer.h"

/** What a look-up is for; the first byte of its key. */
enum dns_kind {
    DNS_KIND_ROUTE = 'r',
    DNS_KIND_ADDRESSES = 'a',
    DNS_KIND_TLSA = 't',
    DNS_KIND_TEXT = 'x',
};

/** All of these give the caller the first reference. The first `hosts` of the answer's records. */
struct dns_route *dns_route_from_answer(const struct dns_answer *answer, unsigned hosts,
                                        int64_t expires_ms);
struct dns_route *dns_route_implicit(struct slice domain, int64_t expires_ms);
/** Without hosts: `why` and what was asked for (unless empty) become its text. */
struct dns_route *dns_route_none(enum dns_status status, const char *why, struct slice domain,
                                 int64_t expires_ms);

/** The addresses of one family. */
struct dns_family {
    enum dns_status status;
    bool asked, secure, has_ttl;
    uint32_t ttl_s;
    const char *text;
    unsigned count, refused_count;
    union dns_answer_address list[DNS_ADDRESS_MAX], refused[DNS_ADDRESS_MAX];
    char canonical[256];
};

/** Merges both families, taking turns, IPv6 first. There's an address, or a refused one. */
struct dns_addresses *dns_addresses_merge(const struct dns_family *v6, const struct dns_family *v4,
                                          struct slice host, int64_t expires_ms);
struct dns_addresses *dns_addresses_none(enum dns_status status, const char *why, struct slice host,
                                         int64_t expires_ms);

/** These take any answer. */
struct dns_tlsa *dns_tlsa_create(const struct dns_answer *answer, struct slice name,
                                 int64_t expires_ms);
struct dns_text *dns_text_create(const struct dns_answer *answer, struct slice name,
                                 int64_t expires_ms);

/** The members that results of all kinds have. */
struct dns_result {
    unsigned *references;
    enum dns_status status;
    bool secure;
    int64_t *expires_ms, *refresh_ms;
};
struct dns_result dns_result_of(enum dns_kind kind, void *result);
/** What it costs in memory. */
size_t dns_result_bytes(enum dns_kind kind, const void *result);
/** A failure of a kind; of DNS_INVALID the name may be empty. */
void *dns_result_none(enum dns_kind kind, enum dns_status status, const char *why,
                      struct slice name, int64_t expires_ms);
void *dns_result_hold(enum dns_kind kind, void *result);
void dns_result_release(enum dns_kind kind, void *result);
