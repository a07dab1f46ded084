#include "dns/answer.h"

/* The walk over records and compressed names is libresolv's: it bounds every name by the packet's
 * length, so that loops of compression pointers end. Here is only what the records mean. A packet
 * that is malformed anywhere is worth nothing as a whole: half a set of MX records would be a wrong
 * route, not a shorter one.
 *
 * The records of the question's name may hide behind CNAMEs (RFC 1034, 3.6.2), in any order: one
 * pass collects the CNAMEs, the chain is followed in that small table, a second pass takes the
 * records of the name at its end. */
#include <arpa/nameser.h>
#include <resolv.h>
#include <strings.h>

#define CNAMES_SEEN_MAX 16 /* CNAME records looked at; a chain of 8 and a few strays */
#define POINTERS_MAX 64    /* compression pointers in one name; each label could have one */
#define NAME_TEXT_MAX 256  /* names whose escapes make them longer than that aren't hosts */

struct cname {
    char owner[NAME_TEXT_MAX], target[NAME_TEXT_MAX];
    uint32_t ttl_s;
};

const char *dns_type_name(enum dns_type type)
{
    switch (type) {
    case DNS_TYPE_A:
        return "A";
    case DNS_TYPE_MX:
        return "MX";
    case DNS_TYPE_TXT:
        return "TXT";
    case DNS_TYPE_AAAA:
        return "AAAA";
    case DNS_TYPE_TLSA:
        return "TLSA";
    }
    return "?";
}

static void failed(struct dns_answer *out, const char *text)
{
    out->status = DNS_FAILED;
    out->text = text;
    out->count = 0;
    out->has_ttl = false;
    out->authenticated = false;
}

/* A TTL with its top bit set counts as zero (RFC 2181, 8). */
static uint32_t ttl_of(uint32_t ttl)
{
    return ttl > INT32_MAX ? 0 : ttl;
}

static void ttl_lower(struct dns_answer *out, uint32_t ttl)
{
    out->ttl_s = out->has_ttl ? MIN_OF(out->ttl_s, ttl) : ttl;
    out->has_ttl = true;
}

static bool name_is(const char *text, struct slice name)
{
    return strlen(text) == name.len && strncasecmp(text, name.ptr, name.len) == 0;
}

static const char *rcode_text(unsigned rcode)
{
    static const char *const texts[] = { "NOERROR",  "FORMERR", "SERVFAIL",
                                         "NXDOMAIN", "NOTIMP",  "REFUSED" };
    return rcode < ARRAY_LEN(texts) ? texts[rcode] : "unknown response code";
}

/* Whether the name at `at` is read in a few steps. libresolv ends loops, but only after as many
 * steps as the packet has bytes: a chain of 8,000 pointers with 3,000 records at its end would take
 * it a third of a second. */
static bool name_is_shallow(const ns_msg *msg, const u_char *at)
{
    const u_char *base = ns_msg_base(*msg), *end = ns_msg_end(*msg);
    for (unsigned pointers = 0, steps = 0; at < end && steps < NS_MAXCDNAME; steps++) {
        if (*at == 0)
            return true;
        if ((*at & NS_CMPRSFLGS) == 0) {
            at += 1 + *at;
            continue;
        }
        if ((*at & NS_CMPRSFLGS) != NS_CMPRSFLGS || end - at < 2 || ++pointers > POINTERS_MAX)
            return false;
        at = base + (ns_get16(at) & 0x3fff);
    }
    return false;
}

/* All names that are going to be read: the owners, and what MX and CNAME records point to. */
static bool names_are_shallow(const ns_msg *msg)
{
    const u_char *at = ns_msg_base(*msg) + NS_HFIXEDSZ, *end = ns_msg_end(*msg);
    for (int section = ns_s_qd; section <= ns_s_ns; section++) {
        for (int i = 0; i < ns_msg_count(*msg, section); i++) {
            int len = ns_skiprr(at, end, (ns_sect)section, 1), owner = dn_skipname(at, end);
            if (len < 0 || owner < 0 || !name_is_shallow(msg, at))
                return false;
            if (section == ns_s_an && len >= owner + NS_RRFIXEDSZ) {
                unsigned type = ns_get16(at + owner);
                const u_char *rdata = at + owner + NS_RRFIXEDSZ;
                if ((type == ns_t_cname && !name_is_shallow(msg, rdata)) ||
                    (type == ns_t_mx && end - rdata > 2 && !name_is_shallow(msg, rdata + 2)))
                    return false;
            }
            at += len;
        }
    }
    return true;
}

/* The question that comes back has to be ours: a resolver answers the id, an attacker guesses it.
 */
static bool question_matches(ns_msg *msg, enum dns_type type, struct slice name)
{
    ns_rr rr;
    return ns_msg_count(*msg, ns_s_qd) == 1 && ns_parserr(msg, ns_s_qd, 0, &rr) == 0 &&
           (int)ns_rr_type(rr) == (int)type && ns_rr_class(rr) == ns_c_in &&
           name_is(ns_rr_name(rr), name);
}

static const char *cnames_collect(ns_msg *msg, struct cname *cnames, unsigned *count)
{
    *count = 0;
    for (int i = 0; i < ns_msg_count(*msg, ns_s_an); i++) {
        ns_rr rr;
        if (ns_parserr(msg, ns_s_an, i, &rr) != 0)
            return "malformed record";
        if (ns_rr_type(rr) != ns_t_cname || ns_rr_class(rr) != ns_c_in)
            continue;
        if (*count == CNAMES_SEEN_MAX)
            return "too many CNAME records";
        struct cname *cname = &cnames[*count];
        size_t len = strlen(ns_rr_name(rr));
        if (len >= sizeof cname->owner ||
            dn_expand(ns_msg_base(*msg), ns_msg_end(*msg), ns_rr_rdata(rr), cname->target,
                      sizeof cname->target) < 0)
            return "malformed CNAME record";
        memcpy(cname->owner, ns_rr_name(rr), len + 1);
        cname->ttl_s = ttl_of(ns_rr_ttl(rr));
        (*count)++;
    }
    return NULL;
}

/* Moves *name to the chain's end. */
static const char *cnames_follow(const struct cname *cnames, unsigned count, struct slice *name,
                                 struct dns_answer *out)
{
    for (unsigned steps = 0; steps <= DNS_CNAME_MAX; steps++) {
        const struct cname *next = NULL;
        for (unsigned i = 0; i < count && !next; i++)
            if (name_is(cnames[i].owner, *name))
                next = &cnames[i];
        if (!next)
            return NULL;
        *name = slice_str(next->target);
        ttl_lower(out, next->ttl_s);
    }
    return "CNAME loop or chain too long";
}

/* RFC 2308, 5: the smaller of the SOA's own TTL and its last field says how long "no" may be kept.
 */
static void negative_ttl(ns_msg *msg, struct dns_answer *out)
{
    for (int i = 0; i < ns_msg_count(*msg, ns_s_ns); i++) {
        ns_rr rr;
        if (ns_parserr(msg, ns_s_ns, i, &rr) != 0)
            return;
        if (ns_rr_type(rr) != ns_t_soa || ns_rr_class(rr) != ns_c_in)
            continue;
        const u_char *at = ns_rr_rdata(rr), *end = at + ns_rr_rdlen(rr);
        for (int names = 0; names < 2; names++) {
            int len = dn_skipname(at, end);
            if (len < 0)
                return;
            at += len;
        }
        if (end - at != 20) /* serial, refresh, retry, expire, minimum */
            return;
        ttl_lower(out, MIN_OF(ttl_of(ns_rr_ttl(rr)), ttl_of((uint32_t)ns_get32(at + 16))));
        return;
    }
    /* The CNAMEs' life says nothing about the name at their end. */
    out->has_ttl = false;
}

static void mx_remove(struct dns_answer *out, unsigned at)
{
    memmove(&out->mx[at], &out->mx[at + 1], (out->count - at - 1) * sizeof out->mx[0]);
    out->count--;
}

/* Keeps the list sorted, stable among equals, each name once with its best preference, and within
 * its bound. */
static void mx_insert(struct dns_answer *out, uint16_t preference, struct slice name)
{
    for (unsigned i = 0; i < out->count; i++) {
        if (!slice_eq(slice_of(out->mx[i].name, out->mx[i].len), name))
            continue;
        if (out->mx[i].preference <= preference)
            return;
        mx_remove(out, i);
        break;
    }
    unsigned at = out->count;
    while (at > 0 && out->mx[at - 1].preference > preference)
        at--;
    if (at == DNS_MX_MAX)
        return;
    unsigned behind = MIN_OF(out->count, DNS_MX_MAX - 1u) - at;
    memmove(&out->mx[at + 1], &out->mx[at], behind * sizeof out->mx[0]);
    struct dns_answer_mx *mx = &out->mx[at];
    mx->preference = preference;
    mx->len = (uint8_t)name.len;
    memcpy(mx->name, name.ptr, name.len);
    mx->name[name.len] = '\0';
    out->count = at + behind + 1;
}

/* RFC 6761, 6.3: names of whoever asks, not of a mail exchanger. */
static bool is_localhost(struct slice host)
{
    return slice_eq(host, SLICE("localhost")) || slice_ends_with(host, SLICE(".localhost")) ||
           slice_eq(host, SLICE("localhost.localdomain"));
}

/* `nulls` counts targets that are the root: alone it is the null MX (RFC 7505, 3), whatever its
 * preference. */
static bool mx_take(ns_msg *msg, const ns_rr *rr, struct dns_answer *out, unsigned *nulls)
{
    char target[NS_MAXDNAME], host[256];
    size_t len = 0;
    if (ns_rr_rdlen(*rr) < 3)
        return false;
    int used =
        dn_expand(ns_msg_base(*msg), ns_msg_end(*msg), ns_rr_rdata(*rr) + 2, target, sizeof target);
    if (used < 0 || used != ns_rr_rdlen(*rr) - 2)
        return false;
    if (target[0] == '\0')
        (*nulls)++;
    if (!dns_name_is_host(slice_str(target)) ||
        !dns_name_normalise(slice_str(target), host, &len) || is_localhost(slice_of(host, len))) {
        out->dropped++;
        return true;
    }
    mx_insert(out, ns_get16(ns_rr_rdata(*rr)), slice_of(host, len));
    return true;
}

static bool address_take(const ns_rr *rr, enum dns_type type, struct dns_answer *out)
{
    size_t bytes = type == DNS_TYPE_A ? sizeof(struct in_addr) : sizeof(struct in6_addr);
    if (ns_rr_rdlen(*rr) != bytes)
        return false;
    if (out->count < DNS_ADDRESS_MAX)
        memcpy(&out->address[out->count++], ns_rr_rdata(*rr), bytes);
    return true;
}

/* RFC 1035, 3.3.14: strings, each with a byte for its length. */
static bool text_is_well_formed(struct slice data)
{
    if (data.len == 0)
        return false;
    while (data.len > 0) {
        size_t len = (unsigned char)data.ptr[0];
        if (len + 1 > data.len)
            return false;
        data = slice_skip(data, len + 1);
    }
    return true;
}

static bool record_take(const ns_rr *rr, enum dns_type type, struct dns_answer *out)
{
    struct slice data = slice_of(ns_rr_rdata(*rr), ns_rr_rdlen(*rr));
    /* RFC 6698, 2.1: three numbers, and what the certificate is compared with. */
    if (type == DNS_TYPE_TLSA ? data.len < 4 : !text_is_well_formed(data))
        return false;
    if (out->count < DNS_RECORD_MAX)
        out->record[out->count++] = data;
    return true;
}

static bool take(ns_msg *msg, const ns_rr *rr, enum dns_type type, struct dns_answer *out,
                 unsigned *nulls)
{
    switch (type) {
    case DNS_TYPE_MX:
        return mx_take(msg, rr, out, nulls);
    case DNS_TYPE_A:
    case DNS_TYPE_AAAA:
        return address_take(rr, type, out);
    case DNS_TYPE_TLSA:
    case DNS_TYPE_TXT:
        return record_take(rr, type, out);
    }
    return false;
}

static const char *records_take(ns_msg *msg, enum dns_type type, struct slice name,
                                struct dns_answer *out, unsigned *nulls)
{
    for (int i = 0; i < ns_msg_count(*msg, ns_s_an); i++) {
        ns_rr rr;
        if (ns_parserr(msg, ns_s_an, i, &rr) != 0)
            return "malformed record";
        if ((int)ns_rr_type(rr) != (int)type || ns_rr_class(rr) != ns_c_in ||
            !name_is(ns_rr_name(rr), name))
            continue;
        if (!take(msg, &rr, type, out, nulls))
            return "malformed record";
        ttl_lower(out, ttl_of(ns_rr_ttl(rr)));
    }
    return NULL;
}

static void negative(ns_msg *msg, enum dns_status status, const char *text, struct dns_answer *out)
{
    out->status = status;
    out->text = text;
    negative_ttl(msg, out);
}

void dns_answer_parse(struct slice packet, enum dns_type type, struct slice name,
                      struct dns_answer *out)
{
    struct cname cnames[CNAMES_SEEN_MAX];
    unsigned cname_count = 0, nulls = 0;
    const struct slice asked = name;
    size_t canonical_len;
    ns_msg msg;
    out->status = DNS_OK;
    out->has_ttl = false;
    out->ttl_s = 0;
    out->text = "";
    out->count = out->dropped = 0;
    out->authenticated = false;
    out->canonical[0] = '\0';

    if (packet.len > NS_MAXMSG ||
        ns_initparse((const u_char *)packet.ptr, (int)packet.len, &msg) != 0)
        return failed(out, "malformed answer");
    if (!names_are_shallow(&msg))
        return failed(out, "malformed name");
    if (!ns_msg_getflag(msg, ns_f_qr) || ns_msg_getflag(msg, ns_f_opcode) != ns_o_query ||
        !question_matches(&msg, type, name))
        return failed(out, "answer to another question");
    unsigned rcode = (unsigned)ns_msg_getflag(msg, ns_f_rcode);
    if (rcode != ns_r_noerror && rcode != ns_r_nxdomain)
        return failed(out, rcode_text(rcode));
    if (ns_msg_getflag(msg, ns_f_tc))
        return failed(out, "truncated answer");

    const char *wrong = cnames_collect(&msg, cnames, &cname_count);
    if (!wrong)
        wrong = cnames_follow(cnames, cname_count, &name, out);
    if (wrong)
        return failed(out, wrong);
    out->authenticated = ns_msg_getflag(msg, ns_f_ad) != 0;
    if (name.ptr != asked.ptr && !dns_name_normalise(name, out->canonical, &canonical_len))
        out->canonical[0] = '\0';
    if (rcode == ns_r_nxdomain)
        return negative(&msg, DNS_NXDOMAIN, "NXDOMAIN", out);
    wrong = records_take(&msg, type, name, out, &nulls);
    if (wrong)
        return failed(out, wrong);
    if (out->count > 0)
        return;
    if (out->dropped == 0)
        return negative(&msg, DNS_NO_DATA, "no such record", out);
    out->status = out->dropped == 1 && nulls == 1 ? DNS_NULL_MX : DNS_INVALID;
    out->text = out->status == DNS_NULL_MX ? "null MX" : "no MX record names a host";
}
