/* Rules: which policy and which relay some mail gets. Pure functions over the configuration. */
#include "engine/deliver/internal.h"

/* "example.org", "*.example.org" (all below it) or "*". */
static bool name_fits(const char *pattern, struct slice name)
{
    if (pattern[0] != '*')
        return slice_eq(slice_str(pattern), name);
    struct slice tail = slice_str(pattern + 1); /* ".example.org" */
    return name.len > tail.len && slice_eq(slice_skip(name, name.len - tail.len), tail);
}

static bool any_fits(const char *const *patterns, unsigned count, struct slice name)
{
    for (unsigned i = 0; i < count; i++)
        if (name_fits(patterns[i], name))
            return true;
    return count == 0;
}

static bool tenant_fits(const struct deliver_rule *rule, struct slice tenant)
{
    for (unsigned i = 0; i < rule->tenant_count; i++)
        if (slice_eq(slice_str(rule->tenants[i]), tenant))
            return true;
    return rule->tenant_count == 0;
}

static bool site_fits(const struct deliver_rule *rule, const struct dns_route *route)
{
    for (unsigned i = 0; i < route->host_count; i++)
        if (any_fits(rule->sites, rule->site_count, route->hosts[i].name))
            return true;
    return false;
}

const struct deliver_rule *deliver_rule_find(const struct deliver_options *options,
                                             struct slice tenant, struct slice destination,
                                             const struct dns_route *route, bool *depends)
{
    *depends = false;
    for (unsigned i = 0; i < options->rule_count; i++) {
        const struct deliver_rule *rule = &options->rules[i];
        if (!tenant_fits(rule, tenant) ||
            !any_fits(rule->destinations, rule->destination_count, destination))
            continue;
        if (rule->site_count > 0 && !route) {
            *depends = true;
            return NULL;
        }
        if (rule->site_count == 0 || site_fits(rule, route))
            return rule;
    }
    return NULL;
}
