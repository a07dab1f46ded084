// module: dns
/* The first byte chooses the record type; the rest is the packet, asked about the name in its own
 * question or, when that isn't one, about "example.com". Whatever it says, the answer keeps its own
 * promises. */
#include <arpa/nameser.h>
#include <resolv.h>
#include <stdlib.h>

#include "dns/answer.h"

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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum dns_type types[] = { DNS_TYPE_MX, DNS_TYPE_A, DNS_TYPE_AAAA };
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
    if (type == DNS_TYPE_MX)
        check_mx(&answer);
    else
        assert(answer.count <= DNS_ADDRESS_MAX);
    return 0;
}
