#include "engine/app/resolver.h"

#include <stdlib.h>

#include "engine/base/mem.h"

#define OWN_ADDRESSES_MAX 256 /* of the host's interfaces */

/* The ranges that the words and prefixes in the configuration stand for; for free(). */
static struct dns_prefix *refused_read(const struct config *config, unsigned *count)
{
    unsigned most = config->dns.refused_count + DNS_PREFIX_DEFAULTS + OWN_ADDRESSES_MAX;
    struct dns_prefix *prefixes = mem_array(most, sizeof *prefixes);
    bool defaults = false, own = false;
    struct err err;
    *count = 0;
    for (unsigned i = 0; i < config->dns.refused_count; i++) {
        const char *text = config->dns.refused[i];
        defaults |= strcmp(text, "default") == 0;
        own |= strcmp(text, "own") == 0;
        *count += dns_prefix_parse(slice_str(text), &prefixes[*count], &err); /* else it's a word */
    }
    if (defaults)
        *count += dns_prefix_defaults(&prefixes[*count]);
    if (own)
        *count += dns_prefix_own(&prefixes[*count], OWN_ADDRESSES_MAX);
    return prefixes;
}

bool app_resolver_create(struct dns_resolver **out, struct ring *ring, const struct config *config,
                         struct err *err)
{
    struct dns_options options = {
        .servers = config->dns.servers,
        .timeout_ms = config->dns.timeout_ms,
        .tries = config->dns.tries,
        .cache_entries_max = config->dns.cache_entries,
        .ipv4_only = !config->dns.ipv6,
        .ipv6_only = !config->dns.ipv4,
        .trusted = config->dns.trusted,
        .stale_max_s = config->dns.stale_s,
        .lookups_per_second = config->dns.lookups_per_second,
        .own_names = config->dns.own_names,
        .own_name_count = config->dns.own_names_count,
    };
    struct dns_prefix *refused = refused_read(config, &options.refused_count);
    options.refused = refused;
    bool good = dns_resolver_create(out, ring, &options, err);
    free(refused);
    return good;
}
