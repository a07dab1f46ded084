#include "dns/prefix.h"

/* Anybody can publish an MX record that points into our network, and our address is trusted there.
 * So addresses that no mail exchanger of the Internet has are never connected to: those that IANA's
 * registries of special-purpose addresses (RFC 6890) say aren't globally reachable, multicast, and
 * what wraps an IPv4 address into IPv6, since that may be any of the others. */
#include <arpa/inet.h>
#include <ifaddrs.h>

#include "engine/base/mem.h"

static const char *const defaults[] = {
    "0.0.0.0/8",       /* this network */
    "10.0.0.0/8",      /* private, RFC 1918 */
    "100.64.0.0/10",   /* shared by carriers, RFC 6598 */
    "127.0.0.0/8",     /* loopback */
    "169.254.0.0/16",  /* link-local, RFC 3927; metadata of clouds */
    "172.16.0.0/12",   /* private, RFC 1918 */
    "192.0.0.0/24",    /* protocol assignments, RFC 6890 */
    "192.0.2.0/24",    /* documentation, RFC 5737 */
    "192.88.99.0/24",  /* relays of 6to4, RFC 7526 */
    "192.168.0.0/16",  /* private, RFC 1918 */
    "198.18.0.0/15",   /* benchmarks, RFC 2544 */
    "198.51.100.0/24", /* documentation */
    "203.0.113.0/24",  /* documentation */
    "224.0.0.0/4",     /* multicast */
    "240.0.0.0/4",     /* reserved; broadcast */
    "::/127",          /* unspecified and loopback */
    "::/96",           /* IPv4-compatible, RFC 4291 */
    "::ffff:0:0/96",   /* IPv4-mapped */
    "::ffff:0:0:0/96", /* IPv4-translated, RFC 2765 */
    "64:ff9b::/96",    /* NAT64, RFC 6052 */
    "64:ff9b:1::/48",  /* NAT64 of one's own, RFC 8215 */
    "100::/64",        /* discarded, RFC 6666 */
    "2001::/32",       /* Teredo, RFC 4380 */
    "2001:2::/48",     /* benchmarks, RFC 5180 */
    "2001:10::/28",    /* ORCHID, RFC 4843 */
    "2001:20::/28",    /* ORCHIDv2, RFC 7343 */
    "2001:db8::/32",   /* documentation, RFC 3849 */
    "2002::/16",       /* 6to4, RFC 3056 */
    "3fff::/20",       /* documentation, RFC 9637 */
    "5f00::/16",       /* segment routing, RFC 9602 */
    "fc00::/7",        /* unique local, RFC 4193 */
    "fe80::/10",       /* link-local */
    "fec0::/10",       /* site-local, RFC 3879 */
    "ff00::/8",        /* multicast */
};

static bool refuse(struct slice text, struct err *err)
{
    return err_set(err, ERR_CONFIG,
                   "\"%.*s\" isn't an address or a prefix such as 10.0.0.0/8 or fd00::/8",
                   SLICE_FMT(text));
}

bool dns_prefix_parse(struct slice text, struct dns_prefix *out, struct err *err)
{
    struct slice rest = text, address = slice_cut(&rest, '/');
    char copy[INET6_ADDRSTRLEN];
    uint64_t bits;
    if (address.len >= sizeof copy || slice_find(address, '\0') >= 0)
        return refuse(text, err);
    memcpy(copy, address.ptr, address.len);
    copy[address.len] = '\0';
    *out = (struct dns_prefix){ .family = slice_find(address, ':') >= 0 ? AF_INET6 : AF_INET };
    unsigned most = out->family == AF_INET6 ? 128 : 32;
    if (inet_pton(out->family, copy, out->address) != 1)
        return refuse(text, err);
    bits = most;
    if (address.len < text.len && (!slice_to_u64(rest, &bits) || bits > most))
        return refuse(text, err);
    out->bits = (uint8_t)bits;
    for (unsigned i = out->bits; i < most; i++)
        if (out->address[i / 8] & (0x80 >> i % 8))
            return err_set(err, ERR_CONFIG, "\"%.*s\" has bits set behind the first %u",
                           SLICE_FMT(text), out->bits);
    return true;
}

unsigned dns_prefix_defaults(struct dns_prefix *out)
{
    struct err err;
    _Static_assert(ARRAY_LEN(defaults) == DNS_PREFIX_DEFAULTS, "the header says how many");
    for (unsigned i = 0; i < ARRAY_LEN(defaults); i++) {
        bool ok = dns_prefix_parse(slice_str(defaults[i]), &out[i], &err);
        assert(ok);
    }
    return ARRAY_LEN(defaults);
}

unsigned dns_prefix_own(struct dns_prefix *out, unsigned max)
{
    struct ifaddrs *all;
    unsigned count = 0;
    if (getifaddrs(&all) != 0)
        return 0;
    for (struct ifaddrs *it = all; it && count < max; it = it->ifa_next) {
        if (!it->ifa_addr)
            continue;
        if (it->ifa_addr->sa_family == AF_INET) {
            out[count] = (struct dns_prefix){ .family = AF_INET, .bits = 32 };
            memcpy(out[count++].address, &((const struct sockaddr_in *)it->ifa_addr)->sin_addr, 4);
        } else if (it->ifa_addr->sa_family == AF_INET6) {
            out[count] = (struct dns_prefix){ .family = AF_INET6, .bits = 128 };
            memcpy(out[count++].address, &((const struct sockaddr_in6 *)it->ifa_addr)->sin6_addr,
                   16);
        }
    }
    freeifaddrs(all);
    return count;
}

static bool covers(const struct dns_prefix *prefix, int family, const uint8_t *address)
{
    unsigned bytes = prefix->bits / 8, rest = prefix->bits % 8;
    if (prefix->family != family || memcmp(prefix->address, address, bytes) != 0)
        return false;
    return rest == 0 || ((prefix->address[bytes] ^ address[bytes]) & (0xff00 >> rest & 0xff)) == 0;
}

static const struct dns_prefix *find(const struct dns_prefix *prefixes, unsigned count, int family,
                                     const uint8_t *address)
{
    for (unsigned i = 0; i < count; i++)
        if (covers(&prefixes[i], family, address))
            return &prefixes[i];
    return NULL;
}

const struct dns_prefix *dns_prefix_find(const struct dns_prefix *prefixes, unsigned count,
                                         int family, const union dns_answer_address *address)
{
    static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
    static const uint8_t nat64[12] = { 0x00, 0x64, 0xff, 0x9b };
    if (family == AF_INET)
        return find(prefixes, count, AF_INET, (const uint8_t *)&address->v4);
    const uint8_t *bytes = (const uint8_t *)&address->v6;
    const struct dns_prefix *prefix = find(prefixes, count, AF_INET6, bytes);
    if (!prefix && (memcmp(bytes, mapped, 12) == 0 || memcmp(bytes, nat64, 12) == 0))
        prefix = find(prefixes, count, AF_INET, bytes + 12);
    return prefix;
}
