#include "dns/servers.h"

/* The list from the configuration is parsed here: c-ares skips what it can't read, and an
 * operator's typing error would become "all servers but one". */
#include <arpa/inet.h>

#include "engine/base/slice.h"

#define PORT_DEFAULT 53

static bool server_refuse(struct slice text, struct err *err)
{
    return err_set(err, ERR_CONFIG,
                   "DNS server \"%.*s\" isn't ADDRESS, ADDRESS:PORT or [ADDRESS]:PORT",
                   SLICE_FMT(text));
}

/* Cuts "host" and "port" (empty if there is none) out of one entry. */
static bool server_split(struct slice text, struct slice *host, struct slice *port)
{
    *port = (struct slice){ 0 };
    *host = text;
    if (text.len > 0 && text.ptr[0] == '[') {
        ptrdiff_t end = slice_find(text, ']');
        if (end < 0)
            return false;
        *host = slice_of(text.ptr + 1, (size_t)end - 1);
        *port = slice_skip(text, (size_t)end + 1);
        if (port->len == 0)
            return true;
        if (port->ptr[0] != ':' || port->len == 1)
            return false;
        *port = slice_skip(*port, 1);
        return true;
    }
    ptrdiff_t colon = slice_find(text, ':');
    if (colon < 0 || slice_find(slice_skip(text, (size_t)colon + 1), ':') >= 0)
        return true; /* plain IPv4, or plain IPv6 with its several colons */
    *host = slice_head(text, (size_t)colon);
    *port = slice_skip(text, (size_t)colon + 1);
    return port->len > 0;
}

static bool server_parse(struct slice text, struct ares_addr_port_node *out, struct err *err)
{
    struct slice host, port_text;
    uint64_t port = PORT_DEFAULT;
    char address[INET6_ADDRSTRLEN];
    if (!server_split(text, &host, &port_text) || host.len >= sizeof address)
        return server_refuse(text, err);
    if (port_text.len > 0 && (!slice_to_u64(port_text, &port) || port == 0 || port > 65535))
        return server_refuse(text, err);
    memcpy(address, host.ptr, host.len);
    address[host.len] = '\0';
    *out = (struct ares_addr_port_node){ .udp_port = (int)port, .tcp_port = (int)port };
    if (inet_pton(AF_INET, address, &out->addr.addr4) == 1)
        out->family = AF_INET;
    else if (inet_pton(AF_INET6, address, &out->addr.addr6) == 1)
        out->family = AF_INET6;
    else
        return server_refuse(text, err);
    return true;
}

static bool servers_of_system(struct dns_servers *out, struct err *err)
{
    ares_channel channel;
    struct ares_addr_port_node *nodes = NULL;
    int status = ares_init(&channel);
    if (status != ARES_SUCCESS)
        return err_set(err, ERR_SYSTEM, "reading the system's DNS servers: %s",
                       ares_strerror(status));
    status = ares_get_servers_ports(channel, &nodes);
    for (struct ares_addr_port_node *node = nodes; node && out->count < DNS_SERVERS_MAX;
         node = node->next)
        out->list[out->count++] = *node;
    if (nodes)
        ares_free_data(nodes);
    ares_destroy(channel);
    if (status != ARES_SUCCESS || out->count == 0)
        return err_set(err, ERR_CONFIG, "the system names no DNS server");
    return true;
}

bool dns_servers_read(const char *text, struct dns_servers *out, struct err *err)
{
    out->count = 0;
    struct slice rest = slice_trim(slice_str(text));
    if (rest.len == 0)
        return servers_of_system(out, err);
    while (rest.len > 0) {
        struct slice entry = slice_trim(slice_cut(&rest, ','));
        if (out->count == DNS_SERVERS_MAX)
            return err_set(err, ERR_CONFIG, "more than %d DNS servers", DNS_SERVERS_MAX);
        if (!server_parse(entry, &out->list[out->count], err))
            return false;
        out->count++;
    }
    return true;
}
