#pragma once
/* Host names as the resolver handles them everywhere inside: lower-case A-labels without the final
 * dot, so that two names are equal when their bytes are. The public way in is dns_name_normalise()
 * in resolver.h. */
#include "engine/base/slice.h"

#define DNS_NAME_MAX                                                                               \
    253 /* RFC 1035, 3.1: 255 on the wire are 253 characters without the final dot */

/** Whether the name is one that a host can have (RFC 1123, 2.1): labels of 1 to 63 letters, digits,
 * inner hyphens, and underscores (not allowed, but out there), in either case, at most 253
 * characters, and a last label that isn't a number: "127.0.0.1", "127.1" and "0x7f" are addresses
 * to somebody's inet_aton(). No final dot. */
bool dns_name_is_host(struct slice name);
