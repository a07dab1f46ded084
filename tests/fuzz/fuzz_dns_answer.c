// module: dns
/* The first byte chooses the record type; the rest is the packet, asked about the name in its own
 * question or, when that isn't one, about "example.com". Whatever it says, the answer keeps its own
 * promises. */
#include <arpa/nameser.h>
#include <resolv.h>
#include <stdlib.h>

#include "dns/result.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_mx(const struct dns_answer *answer)
{
    assert(answer->count <= DNS_MX_MAX);
    for (unsigned i = 0; i < answer->count; i++) {
        const struct dns_answer_mx *mx = &answer->mx[i];
        assert(mx->len == strlen(mx->name) && dns_name_is_host(slice_str(mx->name)));
        assert(i == 0 || answer->mx[i - 1].preference <= mx->preference);
    }
}

static void check_tlsa(const struct dns_answer *answer, struct slice name)
{
    struct dns_tlsa *tlsa = dns_tlsa_create(answer, name, 1);
    assert(tlsa->count <= DNS_RECORD_MAX && (tlsa->count > 0) == (tlsa->status == DNS_OK));
    for (unsigned i = 0; i < tlsa->count; i++)
        assert(tlsa->records[i].data.len > 0);
    dns_tlsa_release(tlsa);
}

static void check_text(const struct dns_answer *answer, struct slice name)
{
    struct dns_text *text = dns_text_create(answer, name, 1);
    assert(text->count <= DNS_RECORD_MAX && (text->count > 0) == (text->status == DNS_OK));
    for (unsigned i = 0; i < text->count; i++)
        assert(text->records[i].len < answer->record[i].len);
    dns_text_release(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum dns_type types[] = { DNS_TYPE_MX, DNS_TYPE_A, DNS_TYPE_AAAA, DNS_TYPE_TLSA,
                                           DNS_TYPE_TXT };
    if (size < 1)
        return 0;
    enum dns_type type = types[data[0] % ARRAY_LEN(types)];
    data++, size--;
    char name[256] = "example.com";
    if (size > 12 && dn_expand(data, data + size, data + 12, name, sizeof name) < 0)
        strcpy(name, "example.com");

    struct dns_answer answer;
    dns_answer_parse(slice_of(data, size), type, slice_str(name), &answer);
    assert(answer.text != NULL);
    assert((answer.status == DNS_OK) == (answer.count > 0));
    assert((answer.status == DNS_OK) == (answer.text[0] == '\0'));
    assert(answer.status != DNS_OK || answer.has_ttl);
    assert(!answer.has_ttl || answer.ttl_s <= INT32_MAX);
    assert(answer.status != DNS_TIMEOUT);
    assert(type == DNS_TYPE_MX || (answer.status != DNS_NULL_MX && answer.status != DNS_INVALID));
    assert(answer.status != DNS_FAILED || !answer.authenticated);
    if (answer.canonical[0])
        assert(dns_name_is_host(slice_str(answer.canonical)));
    switch (type) {
    case DNS_TYPE_MX:
        check_mx(&answer);
        break;
    case DNS_TYPE_A:
    case DNS_TYPE_AAAA:
        assert(answer.count <= DNS_ADDRESS_MAX);
        break;
    case DNS_TYPE_TLSA:
        check_tlsa(&answer, slice_str(name));
        break;
    case DNS_TYPE_TXT:
        check_text(&answer, slice_str(name));
        break;
    }
    return 0;
}
