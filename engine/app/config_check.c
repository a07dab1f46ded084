/* What no single row of the settings can tell: names that must be there, be unique, or fit. */
#include <stdio.h>

#include "engine/app/config_table.h"
#include "engine/base/arena.h"
#include "engine/net/sasl.h"

static bool check_sources(struct reading *reading)
{
    const struct config *config = reading->config;
    for (unsigned i = 0; i < config->sources_count; i++) {
        char key[96];
        snprintf(key, sizeof key, "sources[%u]", i);
        if (!*config->sources[i].name)
            return config_refuse(reading, key, NULL, "needs a 'name'");
        for (unsigned before = 0; before < i; before++)
            if (strcmp(config->sources[before].name, config->sources[i].name) == 0)
                return config_refuse(reading, key, NULL, "has the name of an earlier source");
    }
    return true;
}

/** Reads "NAME" or "NAME:WEIGHT". Without `sources` there's one, called "default". */
static bool pool_member(struct reading *reading, const char *key, const char *text,
                        unsigned *member_index, unsigned *weight)
{
    const struct config *config = reading->config;
    struct slice rest = slice_str(text), name = slice_cut(&rest, ':');
    uint64_t number = 1;
    if (strchr(text, ':') && (!slice_to_u64(rest, &number) || number < 1 || number > 1000))
        return config_refuse(reading, key, text,
                             "the weight must be a whole number from 1 to 1000");
    *weight = (unsigned)number;
    *member_index = 0;
    if (config->sources_count == 0 && slice_eq(name, SLICE("default")))
        return true;
    for (; *member_index < config->sources_count; ++*member_index)
        if (slice_eq(name, slice_str(config->sources[*member_index].name)))
            return true;
    return config_refuse(reading, key, text, "no source in 'sources' has that name");
}

static bool check_pool(struct reading *reading, unsigned index)
{
    const struct config *config = reading->config;
    struct config_pool *pool = (struct config_pool *)&config->pools[index];
    char key[96];
    snprintf(key, sizeof key, "pools[%u]", index);
    if (!*pool->name)
        return config_refuse(reading, key, NULL, "needs a 'name'");
    for (unsigned before = 0; before < index; before++)
        if (strcmp(config->pools[before].name, pool->name) == 0)
            return config_refuse(reading, key, NULL, "has the name of an earlier pool");
    if (pool->texts_count == 0)
        return config_refuse(reading, key, NULL, "needs 'sources'");
    size_t bytes = pool->texts_count * sizeof(unsigned);
    unsigned *members = arena_alloc(reading->config->memory, bytes);
    unsigned *weights = arena_alloc(reading->config->memory, bytes);
    for (unsigned i = 0; i < pool->texts_count; i++) {
        snprintf(key, sizeof key, "pools[%u].sources[%u]", index, i);
        if (!pool_member(reading, key, pool->texts[i], &members[i], &weights[i]))
            return false;
        for (unsigned before = 0; before < i; before++)
            if (members[before] == members[i])
                return config_refuse(reading, key, pool->texts[i], "is in this pool already");
    }
    pool->members = members;
    pool->weights = weights;
    return true;
}

static bool check_tenants(struct reading *reading)
{
    const struct config *config = reading->config;
    for (unsigned i = 0; i < config->tenants_count; i++) {
        char key[96];
        snprintf(key, sizeof key, "tenants[%u]", i);
        if (!*config->tenants[i].name)
            return config_refuse(reading, key, NULL, "needs a 'name'");
        for (unsigned before = 0; before < i; before++)
            if (strcmp(config->tenants[before].name, config->tenants[i].name) == 0)
                return config_refuse(reading, key, NULL, "has the name of an earlier tenant");
    }
    return true;
}

static bool is_mode(const char *name)
{
    static const char *const modes[] = { "off", "opportunistic", "required", "verified", "dane" };
    for (size_t i = 0; i < ARRAY_LEN(modes); i++)
        if (strcmp(modes[i], name) == 0)
            return true;
    return false;
}

static bool check_tls_name(struct reading *reading, const char *key, const char *name)
{
    const struct config *config = reading->config;
    for (unsigned i = 0; i < config->policies_count; i++)
        if (strcmp(config->policies[i].name, name) == 0)
            return true;
    return is_mode(name) || config_refuse(reading, key, name,
                                          "neither a mode (off, opportunistic, required, "
                                          "verified, dane) nor a name of 'tls_policies'");
}

static bool check_key(struct reading *reading, const char *section,
                      const struct config_policy *policy)
{
    if (!*policy->cert_file == !*policy->key_file)
        return true;
    char key[96];
    snprintf(key, sizeof key, "%s.%s", section, *policy->cert_file ? "cert_file" : "key_file");
    return config_refuse(reading, key, NULL,
                         *policy->cert_file ? "needs a 'key_file' beside it"
                                            : "needs a 'cert_file' beside it");
}

static bool check_policies(struct reading *reading)
{
    const struct config *config = reading->config;
    for (unsigned i = 0; i < config->policies_count; i++) {
        char key[96];
        snprintf(key, sizeof key, "tls_policies[%u]", i);
        if (!*config->policies[i].name)
            return config_refuse(reading, key, NULL, "needs a 'name'");
        for (unsigned before = 0; before < i; before++)
            if (strcmp(config->policies[before].name, config->policies[i].name) == 0)
                return config_refuse(reading, key, NULL, "has the name of an earlier policy");
        if (!check_key(reading, key, &config->policies[i]))
            return false;
    }
    return check_key(reading, "tls", &config->tls);
}

static bool check_login(struct reading *reading, unsigned index)
{
    const struct config_relay *relay = &reading->config->relays[index];
    char key[96];
    unsigned mechanisms = 0;
    for (unsigned i = 0; i < relay->auth_count; i++)
        mechanisms |= sasl_set_parse(slice_str(relay->auth[i]));
    snprintf(key, sizeof key, "relays[%u].%s", index, *relay->user ? "user" : "secret_file");
    if (!*relay->user != !*relay->secret_file)
        return config_refuse(reading, key, NULL,
                             *relay->user ? "needs a 'secret_file' beside it"
                                          : "needs a 'user' beside it");
    snprintf(key, sizeof key, "relays[%u].auth", index);
    if ((mechanisms & SASL_SET_PASSWORD) && (mechanisms & SASL_SET_TOKEN))
        return config_refuse(reading, key, NULL,
                             "mixes ways for passwords with ways for tokens: one file has one "
                             "secret");
    bool in_clear = strcmp(relay->tls, "off") == 0;
    snprintf(key, sizeof key, "relays[%u].tls", index);
    if (*relay->user && in_clear && !relay->auth_in_clear)
        return config_refuse(reading, key, "off",
                             "would send the password in clear: 'auth_in_clear: true' says that "
                             "this is meant");
    return true;
}

static bool check_relays(struct reading *reading)
{
    const struct config *config = reading->config;
    for (unsigned i = 0; i < config->relays_count; i++) {
        const struct config_relay *relay = &config->relays[i];
        char key[96];
        snprintf(key, sizeof key, "relays[%u]", i);
        if (!*relay->name || !*relay->host)
            return config_refuse(reading, key, NULL,
                                 *relay->name ? "needs a 'host'" : "needs a 'name'");
        for (unsigned before = 0; before < i; before++)
            if (strcmp(config->relays[before].name, relay->name) == 0)
                return config_refuse(reading, key, NULL, "has the name of an earlier relay");
        snprintf(key, sizeof key, "relays[%u].tls", i);
        if (!check_tls_name(reading, key, relay->tls) || !check_login(reading, i))
            return false;
    }
    return true;
}

static bool check_routes(struct reading *reading)
{
    const struct config *config = reading->config;
    for (unsigned i = 0; i < config->routes_count; i++) {
        const struct config_route *route = &config->routes[i];
        char key[96];
        snprintf(key, sizeof key, "routes[%u].tls", i);
        if (*route->tls && !check_tls_name(reading, key, route->tls))
            return false;
        bool found = !*route->relay;
        for (unsigned k = 0; k < config->relays_count; k++)
            found |= strcmp(config->relays[k].name, route->relay) == 0;
        snprintf(key, sizeof key, "routes[%u].relay", i);
        if (!found)
            return config_refuse(reading, key, route->relay, "no relay in 'relays' has that name");
    }
    return true;
}

bool config_check(struct reading *reading)
{
    const struct config *config = reading->config;
    if (!config->dns.ipv4 && !config->dns.ipv6)
        return config_refuse(reading, "dns.ipv4", NULL, "and 'dns.ipv6' can't both be off");
    if (config->queue.per_destination > config->queue.jobs_in_flight) {
        bool lower = config_line_of(reading->yaml, "queue.per_destination", 1) != 0;
        return config_refuse(reading, lower ? "queue.per_destination" : "queue.jobs_in_flight",
                             NULL, "makes queue.per_destination exceed queue.jobs_in_flight");
    }
    if (!check_sources(reading))
        return false;
    for (unsigned i = 0; i < config->pools_count; i++)
        if (!check_pool(reading, i))
            return false;
    if (config->smtp.tls == CONFIG_TLS_DANE && !config->dns.trusted)
        return config_refuse(reading, "smtp.tls", "dane",
                             "needs servers that validate DNSSEC: dns.trusted");
    return check_tenants(reading) && check_policies(reading) && check_relays(reading) &&
           check_routes(reading);
}
