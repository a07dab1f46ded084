#pragma once
/* How mail for a domain would go, by the configuration and the DNS as they are now: everything that
 * delivery looks at, looked at in the same way. Needs no Redis. */
#include <jansson.h>

#include "engine/app/config.h"

struct explain_request {
    const char *domain, *tenant; /* tenant may be "" */
    bool connect;                /* go as far as EHLO and the handshake with each host */
    const struct log *log;
};

/** Blocks until all is known. `*out` is the caller's; keys are as the text names them: domain,
 * mx_status, secure, ttl_s, route, policy, relay, sources, mta_sts, hosts (each with addresses,
 * tlsa, tls, session). */
MUST_USE bool explain_domain(const struct config *config, const struct explain_request *request,
                             json_t **out, struct err *err);
