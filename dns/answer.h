#pragma once
/* What one DNS answer says to one question: a pure function over the packet's bytes, because
 * c-ares 1.18 shows no TTL of an MX record and no SOA of a negative answer. */
#include <netinet/in.h>

#include "dns/name.h"
#include "dns/resolver.h"

#define DNS_MX_MAX 100     /* of more, the most preferred are kept */
#define DNS_ADDRESS_MAX 20 /* of more, the first */
#define DNS_RECORD_MAX 64  /* TLSA or TXT records; of more, the first */
#define DNS_CNAME_MAX 8    /* length of a chain */

enum dns_type {
    DNS_TYPE_A = 1,
    DNS_TYPE_MX = 15,
    DNS_TYPE_TXT = 16,
    DNS_TYPE_AAAA = 28,
    DNS_TYPE_TLSA = 52,
};
/** "A", "MX", … */
const char *dns_type_name(enum dns_type type);

struct dns_answer_mx {
    uint16_t preference;
    uint8_t len;
    char name[DNS_NAME_MAX + 1]; /* normalised */
};

union dns_answer_address {
    struct in_addr v4;
    struct in6_addr v6;
};

struct dns_answer {
    /* OK: at least one record. NO_DATA: the name exists. NULL_MX and INVALID (no MX names a host):
     * MX only. FAILED: SERVFAIL and such, or not an answer to this question. */
    enum dns_status status;
    bool has_ttl; /* false: a negative answer without an SOA, or a failure */
    uint32_t
        ttl_s; /* smallest of the records used, CNAMEs included; RFC 2308's for a negative answer */
    bool authenticated;      /* the AD bit: the server says that it has validated all of this */
    const char *text;        /* why it isn't OK; a constant */
    char canonical[256];     /* the name at the end of the CNAMEs, normalised; "" if it's the one
                                asked for, or none that a host can have */
    unsigned count, dropped; /* records below; MX records that name no host */
    union {
        struct dns_answer_mx
            mx[DNS_MX_MAX]; /* by preference, the answer's order among equals, each name once */
        union dns_answer_address address[DNS_ADDRESS_MAX];
        /* TLSA, TXT: the records' data, within the packet. Of TLSA at least 4 bytes; of TXT one or
         * more strings, each with its length in front, and nothing behind. */
        struct slice record[DNS_RECORD_MAX];
    };
};

/** Reads the answer to "`type` of `name`" (normalised). Any bytes are allowed; allocates nothing. A
 * truncated packet (TC) is refused: c-ares has gone to TCP by then. */
void dns_answer_parse(struct slice packet, enum dns_type type, struct slice name,
                      struct dns_answer *out);
