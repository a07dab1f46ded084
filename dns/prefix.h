#pragma once
/* Address ranges that mail isn't sent to; the parser and the lists are in resolver.h. */
#include "dns/answer.h"

/** The first of the prefixes in which the address lies, or NULL. An IPv4 address inside an IPv6 one
 * (mapped, or translated by the well-known prefix of NAT64) is looked up as what it is, too. */
const struct dns_prefix *dns_prefix_find(const struct dns_prefix *prefixes, unsigned count,
                                         int family, const union dns_answer_address *address);
