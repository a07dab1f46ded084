#include "engine/app/ways.h"

#include <stdlib.h>

#include "engine/base/mem.h"

/* The names under which modes are policies. */
static const char *const mode_names[] = { "off", "opportunistic", "required", "verified", "dane" };

static_assert((unsigned)CONFIG_TLS_OFF == DELIVER_TLS_OFF &&
                  (unsigned)CONFIG_TLS_OPPORTUNISTIC == DELIVER_TLS_OPPORTUNISTIC &&
                  (unsigned)CONFIG_TLS_REQUIRED == DELIVER_TLS_REQUIRED &&
                  (unsigned)CONFIG_TLS_VERIFIED == DELIVER_TLS_VERIFIED &&
                  (unsigned)CONFIG_TLS_DANE == DELIVER_TLS_DANE &&
                  ARRAY_LEN(mode_names) == DELIVER_TLS_DANE + 1,
              "modes are passed on as they are");

static const char *or_null(const char *text)
{
    return *text ? text : NULL;
}

/* An empty setting is the one of `tls:`. */
static const char *own_or(const char *own, const char *common)
{
    return or_null(*own ? own : common);
}

static bool policy_add(struct ways *ways, const char *name, enum deliver_tls_mode mode,
                       const struct config_policy *own, const struct config *config,
                       struct err *err)
{
    const struct config_policy *common = &config->tls;
    struct deliver_policy *policy = &ways->policies[ways->policy_count++];
    *policy = (struct deliver_policy){ .name = name, .mode = mode };
    if (mode == DELIVER_TLS_OFF)
        return true;
    struct tls_context_options options = {
        .verify = mode == DELIVER_TLS_VERIFIED ? TLS_VERIFY_NAME : TLS_VERIFY_NONE,
        .min_version = own_or(own->min_version, common->min_version),
        .ciphers = own_or(own->ciphers, common->ciphers),
        .suites = own_or(own->suites, common->suites),
        .ca_file = own_or(own->ca_file, common->ca_file),
        .cert_file = own_or(own->cert_file, common->cert_file),
        .key_file = own_or(own->key_file, common->key_file),
    };
    bool ok = tls_context_create(&policy->context, &options, err);
    /* Who asks for names to be verified has said what counts. */
    if (ok && config->dns.trusted && mode != DELIVER_TLS_VERIFIED &&
        (config->dane || mode == DELIVER_TLS_DANE)) {
        options.verify = TLS_VERIFY_DANE;
        ok = tls_context_create(&policy->dane, &options, err);
    }
    if (ok && config->mta_sts &&
        (mode == DELIVER_TLS_OPPORTUNISTIC || mode == DELIVER_TLS_REQUIRED)) {
        options.verify = TLS_VERIFY_NAME;
        ok = tls_context_create(&policy->named, &options, err);
    }
    return ok || err_prefix(err, "policy '%s'", *name ? name : "smtp.tls");
}

/* Where the name stands among the policies; the configuration was checked. */
static unsigned policy_named(const struct ways *ways, const char *name)
{
    unsigned index = ways->policy_count - 1;
    while (index > 0 && strcmp(ways->policies[index].name, name) != 0)
        index--;
    return index;
}

static bool policies_create(struct ways *ways, const struct config *config, struct err *err)
{
    const struct config_policy *common = &config->tls;
    ways->policies =
        mem_array(1 + ARRAY_LEN(mode_names) + config->policies_count, sizeof *ways->policies);
    if (!policy_add(ways, "", (enum deliver_tls_mode)config->smtp.tls, common, config, err))
        return false;
    for (unsigned mode = 0; mode < ARRAY_LEN(mode_names); mode++)
        if (!policy_add(ways, mode_names[mode], mode, common, config, err))
            return false;
    for (unsigned i = 0; i < config->policies_count; i++) {
        const struct config_policy *own = &config->policies[i];
        if (!policy_add(ways, own->name, (enum deliver_tls_mode)own->mode, own, config, err))
            return false;
    }
    return true;
}

bool ways_create(struct ways *ways, const struct config *config, struct err *err)
{
    *ways = (struct ways){ 0 };
    if (!policies_create(ways, config, err))
        return false;
    ways->relays = mem_array(config->relays_count, sizeof *ways->relays);
    for (unsigned i = 0; i < config->relays_count; i++) {
        const struct config_relay *from = &config->relays[i];
        ways->relays[i] = (struct deliver_relay){
            .name = from->name,
            .host = from->host,
            .port = from->port,
            .mx = from->mx,
            .implicit_tls = from->implicit_tls,
            .policy = policy_named(ways, from->tls),
        };
    }
    ways->rules = mem_array(config->routes_count, sizeof *ways->rules);
    for (unsigned i = 0; i < config->routes_count; i++) {
        const struct config_route *from = &config->routes[i];
        unsigned relay = DELIVER_NO_RELAY;
        for (unsigned k = 0; k < config->relays_count && *from->relay; k++)
            if (strcmp(config->relays[k].name, from->relay) == 0)
                relay = k;
        ways->rules[i] = (struct deliver_rule){
            .destinations = from->destinations,
            .destination_count = from->destinations_count,
            .sites = from->sites,
            .site_count = from->sites_count,
            .tenants = from->tenants,
            .tenant_count = from->tenants_count,
            .policy = *from->tls                  ? policy_named(ways, from->tls)
                      : relay != DELIVER_NO_RELAY ? ways->relays[relay].policy
                                                  : 0,
            .relay = relay,
        };
    }
    return true;
}

void ways_free(struct ways *ways)
{
    for (unsigned i = 0; i < ways->policy_count; i++) {
        tls_context_destroy(&ways->policies[i].context);
        tls_context_destroy(&ways->policies[i].dane);
        tls_context_destroy(&ways->policies[i].named);
    }
    free(ways->policies);
    free(ways->relays);
    free(ways->rules);
    *ways = (struct ways){ 0 };
}
