#pragma once
/* Which DNS servers to ask. */
#include <ares.h>

#include "engine/base/err.h"

#define DNS_SERVERS_MAX 8

struct dns_servers {
    struct ares_addr_port_node list[DNS_SERVERS_MAX]; /* `next` isn't used */
    unsigned count;
};

/** Reads "127.0.0.1:5353,[::1]:53,::1"; NULL or "": those of /etc/resolv.conf, 127.0.0.1 if it
 * names none. */
MUST_USE bool dns_servers_read(const char *text, struct dns_servers *out, struct err *err);
