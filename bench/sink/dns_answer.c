/* Names that misbehave are told by their first label: nx-…, nullmx-…, nomx-…, servfail-…, silent-…
 * and tc-… (bench/README.md). */
#include "bench/sink/dns_answer.h"

#include <netinet/in.h>
#include <stdio.h>

#define HEADER_BYTES 12
#define NAME_BYTES_MAX 255

enum { TYPE_A = 1, TYPE_SOA = 6, TYPE_MX = 15, TYPE_OPT = 41, TYPE_ANY = 255, CLASS_IN = 1 };
enum {
    RCODE_FORMERR = 1,
    RCODE_SERVFAIL = 2,
    RCODE_NXDOMAIN = 3,
    RCODE_NOTIMP = 4,
    RCODE_REFUSED = 5
};

struct question {
    char text[NAME_BYTES_MAX + 1]; /* lower case, dots between labels */
    struct slice name;
    size_t wire_end; /* behind type and class */
    unsigned type, class;
    bool edns;
    size_t udp_bytes_max;
};

struct answer {
    char *out;
    size_t len, max;
    bool truncated;
    unsigned answers, authorities;
};

static unsigned read_u16(struct slice s, size_t at)
{
    return (unsigned)(unsigned char)s.ptr[at] << 8 | (unsigned char)s.ptr[at + 1];
}

static void put_u16_at(char *to, unsigned value)
{
    to[0] = (char)(value >> 8);
    to[1] = (char)value;
}

/* Reads the question's name; queries have no use for compression, so a pointer is malformed. */
static bool question_read(struct slice query, struct question *question)
{
    size_t at = HEADER_BYTES, len = 0;
    for (;;) {
        if (at >= query.len)
            return false;
        size_t label = (unsigned char)query.ptr[at++];
        if (label == 0)
            break;
        if (label > 63 || at + label > query.len || len + label + 1 > NAME_BYTES_MAX)
            return false;
        if (len > 0)
            question->text[len++] = '.';
        for (size_t i = 0; i < label; i++)
            question->text[len++] = ascii_lower(query.ptr[at + i]);
        at += label;
    }
    if (at + 4 > query.len)
        return false;
    question->name = slice_of(question->text, len);
    question->type = read_u16(query, at);
    question->class = read_u16(query, at + 2);
    question->wire_end = at + 4;
    question->udp_bytes_max = 512;
    /* An OPT record is the only thing that a query has behind its question (RFC 6891). */
    at += 4;
    if (at + 11 <= query.len && query.ptr[at] == 0 && read_u16(query, at + 1) == TYPE_OPT) {
        unsigned offered = read_u16(query, at + 3);
        question->edns = true;
        offered = MAX_OF(offered, 512u);
        question->udp_bytes_max = MIN_OF(offered, (unsigned)DNS_UDP_BYTES_MAX);
    }
    return true;
}

static char *answer_reserve(struct answer *answer, size_t n)
{
    if (answer->truncated || answer->len + n > answer->max) {
        answer->truncated = true;
        return NULL;
    }
    char *at = answer->out + answer->len;
    answer->len += n;
    return at;
}

static bool put_bytes(struct answer *answer, const void *bytes, size_t n)
{
    char *to = answer_reserve(answer, n);
    if (to)
        memcpy(to, bytes, n);
    return to != NULL;
}

static bool put_u16(struct answer *answer, unsigned value)
{
    char bytes[2];
    put_u16_at(bytes, value);
    return put_bytes(answer, bytes, 2);
}

static bool put_u32(struct answer *answer, uint32_t value)
{
    return put_u16(answer, value >> 16) && put_u16(answer, value & 0xffff);
}

static bool put_name(struct answer *answer, struct slice name)
{
    while (name.len > 0) {
        struct slice label = slice_cut(&name, '.');
        char len = (char)label.len;
        if (!put_bytes(answer, &len, 1) || !put_bytes(answer, label.ptr, label.len))
            return false;
    }
    return put_bytes(answer, "", 1);
}

/* The owner's name is always the question's, and the answer starts a record up to its data's
 * length. */
static size_t record_begin(struct answer *answer, unsigned type, uint32_t ttl_seconds)
{
    put_u16(answer, 0xc000 | HEADER_BYTES);
    put_u16(answer, type);
    put_u16(answer, CLASS_IN);
    put_u32(answer, ttl_seconds);
    put_u16(answer, 0);
    return answer->len;
}

static void record_end(struct answer *answer, size_t data_at)
{
    if (!answer->truncated)
        put_u16_at(answer->out + data_at - 2, (unsigned)(answer->len - data_at));
}

static void put_mx(struct answer *answer, const struct dns_world *world, unsigned preference,
                   struct slice host)
{
    size_t at = record_begin(answer, TYPE_MX, world->ttl_seconds);
    put_u16(answer, preference);
    put_name(answer, host);
    record_end(answer, at);
    answer->answers++;
}

static void put_soa(struct answer *answer, const struct dns_world *world)
{
    put_name(answer, world->zone);
    put_u16(answer, TYPE_SOA);
    put_u16(answer, CLASS_IN);
    put_u32(answer, world->ttl_seconds);
    put_u16(answer, 0);
    size_t at = answer->len;
    put_name(answer, SLICE("ns.invalid"));
    put_name(answer, SLICE("hostmaster.invalid"));
    put_u32(answer, 1);
    put_u32(answer, 3600);
    put_u32(answer, 600);
    put_u32(answer, 86400);
    put_u32(answer, world->ttl_seconds); /* negative TTL: RFC 2308 */
    record_end(answer, at);
    answer->authorities++;
}

static void answer_mx(struct answer *answer, const struct dns_world *world, struct slice name)
{
    for (unsigned i = 1; i <= world->hosts; i++) {
        char host[NAME_BYTES_MAX + 64];
        int len;
        if (world->sites > 0)
            len = snprintf(host, sizeof host, "mx%u.site%u%s%.*s", i,
                           (unsigned)(slice_hash(name, 0) % world->sites),
                           world->zone.len ? "." : "", SLICE_FMT(world->zone));
        else
            len = snprintf(host, sizeof host, "mx%u.%.*s", i, SLICE_FMT(name));
        if (len > NAME_BYTES_MAX - 2)
            return;
        put_mx(answer, world, i * 10, slice_of(host, (size_t)len));
    }
}

static void answer_a(struct answer *answer, const struct dns_world *world, struct slice name)
{
    size_t count = world->addresses->count;
    uint64_t start = slice_hash(name, 1);
    for (size_t i = 0; i < count; i++) {
        const struct endpoint *endpoint = &world->addresses->items[(start + i) % count];
        if (endpoint->address.ss_family != AF_INET)
            continue;
        const struct sockaddr_in *address = (const struct sockaddr_in *)&endpoint->address;
        size_t at = record_begin(answer, TYPE_A, world->ttl_seconds);
        put_bytes(answer, &address->sin_addr, 4);
        record_end(answer, at);
        answer->answers++;
        return;
    }
}

static bool in_zone(const struct dns_world *world, struct slice name)
{
    if (world->zone.len == 0 || slice_eq(name, world->zone))
        return true;
    return name.len > world->zone.len && slice_ends_with(name, world->zone) &&
           name.ptr[name.len - world->zone.len - 1] == '.';
}

/* Fills in the sections and returns the RCODE; `*silent` means that no answer is to be sent. */
static unsigned answer_fill(struct answer *answer, const struct dns_world *world,
                            const struct question *question, bool tcp, bool *silent)
{
    struct slice name = question->name;
    if (question->class != CLASS_IN || !in_zone(world, name))
        return RCODE_REFUSED;
    *silent = slice_starts_with(name, SLICE("silent-"));
    if (slice_starts_with(name, SLICE("servfail-")))
        return RCODE_SERVFAIL;
    if (slice_starts_with(name, SLICE("tc-")) && !tcp) {
        answer->truncated = true;
        return 0;
    }
    bool exists = !slice_starts_with(name, SLICE("nx-"));
    if (exists && (question->type == TYPE_MX || question->type == TYPE_ANY)) {
        if (slice_starts_with(name, SLICE("nullmx-")))
            put_mx(answer, world, 0, SLICE("")); /* RFC 7505 */
        else if (!slice_starts_with(name, SLICE("nomx-")))
            answer_mx(answer, world, name);
    }
    if (exists && (question->type == TYPE_A || question->type == TYPE_ANY))
        answer_a(answer, world, name);
    if (answer->answers == 0)
        put_soa(answer, world);
    return exists ? 0 : RCODE_NXDOMAIN;
}

static void put_header(char *out, struct slice query, unsigned flags, unsigned questions)
{
    memcpy(out, query.ptr, 2);
    unsigned opcode_and_rd = read_u16(query, 2) & 0x7900;
    put_u16_at(out + 2, 0x8000 | opcode_and_rd | flags);
    put_u16_at(out + 4, questions);
    memset(out + 6, 0, 6);
}

size_t dns_answer(const struct dns_world *world, struct slice query, bool tcp,
                  char out[static DNS_ANSWER_BYTES_MAX])
{
    const unsigned authoritative_recursive = 0x0480, tc = 0x0200;
    if (query.len < HEADER_BYTES || (read_u16(query, 2) & 0x8000))
        return 0;
    if ((read_u16(query, 2) >> 11 & 15) != 0) {
        put_header(out, query, RCODE_NOTIMP, 0);
        return HEADER_BYTES;
    }
    struct question question = { 0 };
    if (read_u16(query, 4) != 1 || !question_read(query, &question)) {
        put_header(out, query, RCODE_FORMERR, 0);
        return HEADER_BYTES;
    }
    size_t edns_bytes = question.edns ? 11 : 0;
    struct answer answer = {
        .out = out,
        .len = question.wire_end,
        .max = (tcp ? DNS_ANSWER_BYTES_MAX : question.udp_bytes_max) - edns_bytes,
    };
    bool silent = false;
    memcpy(out + HEADER_BYTES, query.ptr + HEADER_BYTES, question.wire_end - HEADER_BYTES);
    unsigned rcode = answer_fill(&answer, world, &question, tcp, &silent);
    if (silent)
        return 0;
    put_header(out, query, authoritative_recursive | rcode | (answer.truncated ? tc : 0), 1);
    if (answer.truncated) {
        answer.len = question.wire_end;
        answer.answers = answer.authorities = 0;
    }
    put_u16_at(out + 6, answer.answers);
    put_u16_at(out + 8, answer.authorities);
    if (question.edns) {
        static const char opt[11] = { 0, 0, TYPE_OPT, DNS_UDP_BYTES_MAX >> 8,
                                      DNS_UDP_BYTES_MAX & 255 };
        memcpy(out + answer.len, opt, sizeof opt);
        answer.len += sizeof opt;
        put_u16_at(out + 10, 1);
    }
    return answer.len;
}
