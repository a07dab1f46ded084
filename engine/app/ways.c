#include "engine/app/ways.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

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

/** How to log in at a relay. Secrets that were replaced stay: sessions may be using them. */
struct login {
    struct smtp_auth auth;
    struct sasl_salted salted;
    struct timespec changed; /* of the file */
    struct list secrets;
};

struct secret {
    struct list node;
    char text[SASL_TOKEN_BYTES_MAX + 1];
};

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
    policy->sts = config->mta_sts &&
                  (mode == DELIVER_TLS_OPPORTUNISTIC || mode == DELIVER_TLS_REQUIRED);
    if (ok && mode != DELIVER_TLS_VERIFIED) {
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

/* ---- logging in ---- */

static bool secret_read(struct login *login, const char *path, struct err *err)
{
    struct secret *secret = mem_zalloc(sizeof *secret);
    struct stat info;
    FILE *file = fopen(path, "re");
    bool good =
        file && fstat(fileno(file), &info) == 0 && fgets(secret->text, sizeof secret->text, file);
    int error = errno;
    if (file)
        fclose(file);
    secret->text[strcspn(secret->text, "\r\n")] = '\0';
    if (!good || !secret->text[0]) {
        free(secret);
        return good || !error ? err_set(err, ERR_CONFIG, "%s: its first line is empty", path)
                              : err_set(err, ERR_CONFIG, "%s: %s", path, strerror(error));
    }
    login->changed = info.st_mtim;
    login->auth.identity.secret = secret->text;
    login->salted.valid = false;
    list_push_back(&login->secrets, &secret->node);
    return true;
}

static bool login_create(struct login *login, const struct config_relay *from, struct err *err)
{
    if (!*from->user)
        return true;
    for (unsigned i = 0; i < from->auth_count; i++)
        login->auth.mechanisms |= sasl_set_parse(slice_str(from->auth[i]));
    login->auth.in_clear = from->auth_in_clear;
    login->auth.identity = (struct sasl_identity){
        .user = from->user, .host = from->host, .port = from->port, .salted = &login->salted
    };
    return secret_read(login, from->secret_file, err) || err_prefix(err, "relay '%s'", from->name);
}

void ways_refresh(struct ways *ways, const struct log *log)
{
    for (unsigned i = 0; i < ways->config->relays_count; i++) {
        const struct config_relay *from = &ways->config->relays[i];
        struct login *login = &ways->logins[i];
        struct stat info;
        struct err err;
        if (!*from->user || stat(from->secret_file, &info) != 0 ||
            (info.st_mtim.tv_sec == login->changed.tv_sec &&
             info.st_mtim.tv_nsec == login->changed.tv_nsec))
            continue;
        if (secret_read(login, from->secret_file, &err))
            log_info(log, "relay-secret", "relay '%s': a new one was read", from->name);
    }
}

bool ways_create(struct ways *ways, const struct config *config, struct err *err)
{
    *ways = (struct ways){ .config = config };
    ways->logins = mem_array(config->relays_count, sizeof *ways->logins);
    for (unsigned i = 0; i < config->relays_count; i++)
        list_init(&ways->logins[i].secrets);
    for (unsigned i = 0; i < config->relays_count; i++)
        if (!login_create(&ways->logins[i], &config->relays[i], err))
            return false;
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
            .lmtp = from->lmtp,
            .auth = *from->user ? &ways->logins[i].auth : NULL,
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
    for (unsigned i = 0; ways->config && i < ways->config->relays_count; i++) {
        struct list *node;
        while ((node = list_pop_front(&ways->logins[i].secrets)))
            free(LIST_ENTRY(node, struct secret, node));
    }
    free(ways->logins);
    free(ways->policies);
    free(ways->relays);
    free(ways->rules);
    *ways = (struct ways){ 0 };
}
