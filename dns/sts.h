#pragma once
/* MTA-STS (RFC 8461): finds a recipient domain's policy. Policies are a node's: fetched over HTTPS
 * in a thread of their own (libcurl), kept for max_age in memory and in files, so that neither a
 * restart nor an attacker who blocks the way makes a known one go away.
 *
 *   worker   TXT record ──► known, and its id is the same? ──► answer
 *              └─► addresses of mta-sts.DOMAIN ──► thread ──► letter ──► answer
 */
#include "dns/resolver.h"
#include "dns/sts_policy.h"
#include "engine/base/log.h"

struct sts;

struct sts_options {
    const char *folder;  /* of the files; made if it isn't there */
    const char *ca_file; /* PEM; NULL: the system's */
    unsigned port;       /* of the policies' servers; 443 */
    const struct log *log;
};

MUST_USE bool sts_create(struct sts **out, const struct sts_options *options, struct err *err);
/** No request may be under way. */
void sts_destroy(struct sts **sts);

/** The caller's memory until `found`, or sts_cancel(). */
struct sts_request {
    /** `policy` is one block for free(); NULL: the domain has none, or none that could be had.
     * `problem`: why not, by its name in reports (RFC 8460, 4.3.2.2), or NULL. */
    void (*found)(struct sts_request *request, struct sts_policy *policy, const char *problem);
    /* private */
    struct sts *sts;
    struct ring *ring;
    struct dns_resolver *resolver;
    struct dns_request dns;
    struct sts_waiter *waiter;
    char id[STS_ID_MAX + 1];
    char domain[256];
};

/** Finds the policy of a domain (normalised). Thread: the resolver's. */
void sts_find(struct sts *sts, struct sts_request *request, struct dns_resolver *resolver,
              struct ring *ring, struct slice domain);
/** No callback fires after this. Harmless on one that isn't under way. */
void sts_cancel(struct sts_request *request);
