// module: dns
/* The text of an MTA-STS policy and of the TXT records around it. Whatever is accepted keeps its
 * promises. */
#include <stdlib.h>

#include "dns/name.h"
#include "dns/rpt_record.h"
#include "dns/sts_policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_policy(struct slice text)
{
    struct err err;
    struct sts_policy *policy = sts_policy_parse(text, &err);
    if (!policy)
        return;
    assert(policy->mode <= STS_ENFORCE && policy->max_age_s <= STS_AGE_MAX_S);
    assert(policy->mx_count <= STS_MX_MAX && (policy->mode == STS_NONE || policy->mx_count > 0));
    for (unsigned i = 0; i < policy->mx_count; i++) {
        struct slice name = policy->mx[i];
        bool wild = name.ptr[0] == '*';
        assert(dns_name_is_host(slice_skip(name, wild ? 2 : 0)));
        assert(wild || sts_policy_allows(policy, name));
    }
    free(policy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = slice_of((const char *)data, size);
    char id[STS_ID_MAX + 1];
    struct rpt_record record;
    check_policy(text);
    if (sts_record_parse(text, id))
        assert(strlen(id) > 0 && strlen(id) <= STS_ID_MAX);
    if (rpt_record_parse(text, &record))
        for (unsigned i = 0; i < record.count; i++)
            assert(record.uris[i].len > 7 && slice_find(record.uris[i], '\n') < 0);
    return 0;
}
