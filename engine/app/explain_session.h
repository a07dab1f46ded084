#pragma once
/* Private to explain.c: one session, as far as it gets without a message. */
#include <jansson.h>

#include "engine/app/config.h"
#include "engine/deliver/deliver.h"

/** Connects to the first address, says EHLO, starts TLS as the policy wants, and leaves. Blocks. */
json_t *explain_session(struct ring *ring, const struct config *config,
                        const struct deliver_policy *policy, const struct deliver_relay *relay,
                        struct slice host, const struct dns_addresses *addresses,
                        const struct dns_tlsa *tlsa);
