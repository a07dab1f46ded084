#pragma once
/* DNS packets made by hand, and a DNS server on UDP and TCP that answers as a test's script says,
 * in a thread of its own. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- packets ---- */

enum {
    DNSD_A = 1,
    DNSD_CNAME = 5,
    DNSD_SOA = 6,
    DNSD_MX = 15,
    DNSD_TXT = 16,
    DNSD_AAAA = 28,
    DNSD_TLSA = 52,
};
enum { DNSD_NOERROR, DNSD_FORMERR, DNSD_SERVFAIL, DNSD_NXDOMAIN, DNSD_NOTIMP, DNSD_REFUSED };
enum dnsd_section { DNSD_ANSWER, DNSD_AUTHORITY, DNSD_ADDITIONAL };

struct dnsd_packet {
    uint8_t bytes[65535];
    size_t len;
};

/** A response with this question and nothing else; names in dotted form, "" is the root, no
 * escapes. */
void dnsd_packet_start(struct dnsd_packet *packet, uint16_t id, unsigned rcode, const char *name,
                       uint16_t type);
/** Sections in order: answers first. Records that don't fit are left out, as their count is. An
 * owner equal to the question's name becomes a compression pointer. */
void dnsd_packet_record(struct dnsd_packet *packet, enum dnsd_section section, const char *owner,
                        uint16_t type, uint32_t ttl, const void *rdata, size_t len);
void dnsd_packet_mx(struct dnsd_packet *packet, const char *owner, uint32_t ttl,
                    uint16_t preference, const char *target);
/** `address` as text, IPv4 or IPv6. */
void dnsd_packet_address(struct dnsd_packet *packet, const char *owner, uint32_t ttl,
                         const char *address);
void dnsd_packet_cname(struct dnsd_packet *packet, const char *owner, uint32_t ttl,
                       const char *target);
/** In the authority section. */
void dnsd_packet_soa(struct dnsd_packet *packet, const char *owner, uint32_t ttl, uint32_t minimum);
/** Writes a name in wire form; returns its length. */
size_t dnsd_name_put(uint8_t *at, const char *name);

/* ---- server ---- */

struct dnsd;

struct dnsd_query {
    uint16_t id, type;
    char name[256];  /* dotted, in lower case */
    char asked[256]; /* as it came */
    bool tcp, edns;
    bool ad, dnssec_ok; /* flags of the question */
    unsigned seen;      /* queries of this name and type before this one */
};

enum dnsd_action {
    DNSD_SEND, /* with the question as it came, if it's the one that was asked */
    DNSD_SEND_AS_IS,
    DNSD_DROP,  /* no answer */
    DNSD_CLOSE, /* TCP: close the connection; UDP: no answer */
};

/** Runs on the server's thread. `reply` has been started with NOERROR and the question. */
typedef enum dnsd_action dnsd_handler(void *user, const struct dnsd_query *query,
                                      struct dnsd_packet *reply);

/** Listens on 127.0.0.1, on one port chosen by the kernel for both UDP and TCP (with `tcp`). */
struct dnsd *dnsd_start(dnsd_handler *handler, void *user, bool tcp);
void dnsd_stop(struct dnsd *dnsd);
/** "127.0.0.1:PORT" */
const char *dnsd_server(const struct dnsd *dnsd);
/** Queries so far, of one name and type (type 0: any; name NULL: all), over UDP and TCP together.
 */
unsigned dnsd_asked(struct dnsd *dnsd, const char *name, uint16_t type);
/** Different source ports seen over UDP. */
unsigned dnsd_source_ports(struct dnsd *dnsd);
