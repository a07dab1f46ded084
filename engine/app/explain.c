#include "engine/app/explain.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/app/explain_session.h"
#include "engine/app/resolver.h"
#include "engine/app/ways.h"
#include "engine/base/mem.h"

struct explanation {
    const struct config *config;
    const struct explain_request *request;
    struct ring *ring;
    struct dns_resolver *resolver;
    struct sts *sts;
    struct ways ways;
    char domain[256];
    /* the answer that is waited for: one of these */
    bool answered;
    struct dns_request dns;
    struct dns_route *route;
    struct dns_addresses *addresses;
    struct dns_tlsa *tlsa;
    struct sts_request sts_request;
    struct sts_policy *policy;
    const char *problem;
};

#define EXPLANATION(request_) CONTAINER_OF(request_, struct explanation, dns)

static void on_route(struct dns_request *request, struct dns_route *route)
{
    EXPLANATION(request)->route = route;
    EXPLANATION(request)->answered = true;
}

static void on_addresses(struct dns_request *request, struct dns_addresses *addresses)
{
    EXPLANATION(request)->addresses = addresses;
    EXPLANATION(request)->answered = true;
}

static void on_tlsa(struct dns_request *request, struct dns_tlsa *tlsa)
{
    EXPLANATION(request)->tlsa = tlsa;
    EXPLANATION(request)->answered = true;
}

static void on_policy(struct sts_request *request, struct sts_policy *policy, const char *problem)
{
    struct explanation *it = CONTAINER_OF(request, struct explanation, sts_request);
    it->policy = policy;
    it->problem = problem;
    it->answered = true;
}

static void await(struct explanation *it)
{
    while (!it->answered)
        ring_turn(it->ring, 1000);
    it->answered = false;
}

static void set_text(json_t *object, const char *name, struct slice text)
{
    json_object_set_new(object, name, json_stringn_nocheck(text.ptr, text.len));
}

static void set_life(const struct explanation *it, json_t *object, int64_t expires_ms)
{
    if (expires_ms != INT64_MAX)
        json_object_set_new(object, "ttl_s",
                            json_integer((expires_ms - ring_now_ms(it->ring) + 999) / 1000));
}

/* ---- a host ---- */

static json_t *addresses_json(const struct dns_addresses *addresses)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < addresses->count; i++) {
        char text[INET6_ADDRSTRLEN] = "";
        const struct sockaddr_storage *addr = &addresses->list[i].addr;
        const void *bytes = addr->ss_family == AF_INET6
                                ? (const void *)&((const struct sockaddr_in6 *)addr)->sin6_addr
                                : (const void *)&((const struct sockaddr_in *)addr)->sin_addr;
        inet_ntop(addr->ss_family, bytes, text, sizeof text);
        json_array_append_new(list, json_string(text));
    }
    return list;
}

static unsigned records_json(const struct dns_tlsa *tlsa, json_t *out)
{
    unsigned usable = 0;
    json_t *list = json_array();
    for (unsigned i = 0; i < tlsa->count; i++) {
        const struct dns_tlsa_record *record = &tlsa->records[i];
        struct tls_tlsa same = { record->usage, record->selector, record->matching, record->data };
        struct buf text = BUF_EMPTY;
        buf_printf(&text, "%u %u %u ", record->usage, record->selector, record->matching);
        for (size_t k = 0; k < record->data.len; k++)
            buf_printf(&text, "%02x", (unsigned char)record->data.ptr[k]);
        json_array_append_new(list, json_string(buf_cstr(&text)));
        buf_free(&text);
        usable += tls_tlsa_usable(&same, 1);
    }
    json_object_set_new(out, "records", list);
    json_object_set_new(out, "usable", json_integer(usable));
    return usable;
}

/* As engine/deliver/secure.c does it: at the end of the CNAMEs, then at the host's own name. */
static void find_records(struct explanation *it, struct slice host, unsigned port)
{
    for (unsigned own = 0; own < 2; own++) {
        char name[300];
        struct slice base = own ? host : it->addresses->canonical;
        int len = snprintf(name, sizeof name, "_%u._tcp.%.*s", port, SLICE_FMT(base));
        if (it->tlsa)
            dns_tlsa_release(it->tlsa);
        it->dns = (struct dns_request){ .tlsa_found = on_tlsa };
        dns_resolve_tlsa(it->resolver, &it->dns, slice_of(name, (size_t)len));
        await(it);
        if (it->tlsa->status == DNS_OK || slice_eq(host, it->addresses->canonical))
            return;
    }
}

static const char *verdict_of(const struct explanation *it, const struct deliver_policy *policy,
                              bool secure, bool allowed, unsigned usable)
{
    bool records = it->tlsa && it->tlsa->status == DNS_OK && it->tlsa->secure;
    if (policy->mode == DELIVER_TLS_OFF)
        return "in clear: the policy says off";
    if (!allowed)
        return "not used: the domain's MTA-STS policy doesn't name it";
    if (policy->dane && secure && it->tlsa &&
        (it->tlsa->status == DNS_FAILED || it->tlsa->status == DNS_TIMEOUT))
        return "not used now: its TLSA records can't be looked up";
    if (policy->dane && records && usable > 0)
        return "TLS, and a TLSA record must fit (DANE)";
    if (policy->mode == DELIVER_TLS_DANE)
        return "not used: DANE is required, and there are no usable TLSA records";
    if (policy->dane && records)
        return "TLS, any certificate: there are TLSA records, but none that can be used";
    if (policy->mode == DELIVER_TLS_VERIFIED)
        return "TLS, and the certificate must be right: the policy says verified";
    if (it->policy && it->policy->mode == STS_ENFORCE && policy->sts)
        return "TLS, and the certificate must be right: the domain's MTA-STS policy is enforced";
    if (it->policy && it->policy->mode == STS_TESTING && policy->sts)
        return "TLS where it's offered; what MTA-STS would refuse is only told: it's being tested";
    return policy->mode == DELIVER_TLS_REQUIRED
               ? "TLS, any certificate: the policy says required"
               : "TLS where it's offered, any certificate; in clear when that fails";
}

static json_t *host_json(struct explanation *it, const struct dns_mx *mx, bool secure_route,
                         const struct deliver_policy *policy, const struct deliver_relay *relay)
{
    json_t *host = json_object();
    unsigned port = relay ? relay->port : it->config->smtp.port, usable = 0;
    set_text(host, "name", mx->name);
    json_object_set_new(host, "preference", json_integer(mx->preference));
    it->addresses = dns_addresses_literal(mx->name);
    if (!it->addresses) {
        it->dns = (struct dns_request){ .addresses_found = on_addresses };
        dns_resolve_addresses(it->resolver, &it->dns, mx->name);
        await(it);
    }
    if (relay)
        it->addresses = dns_addresses_allow(it->addresses);
    bool secure = secure_route && it->addresses->secure;
    json_object_set_new(host, "status", json_string(dns_status_name(it->addresses->status)));
    if (it->addresses->text[0])
        json_object_set_new(host, "text", json_string(it->addresses->text));
    json_object_set_new(host, "addresses", addresses_json(it->addresses));
    json_object_set_new(host, "secure", json_boolean(it->addresses->secure));
    set_life(it, host, it->addresses->expires_ms);
    if (policy->dane && secure) {
        json_t *tlsa = json_object();
        find_records(it, mx->name, port);
        json_object_set_new(tlsa, "status", json_string(dns_status_name(it->tlsa->status)));
        json_object_set_new(tlsa, "secure", json_boolean(it->tlsa->secure));
        usable = records_json(it->tlsa, tlsa);
        json_object_set_new(host, "tlsa", tlsa);
    }
    bool allowed = !it->policy || it->policy->mode != STS_ENFORCE || relay ||
                   sts_policy_allows(it->policy, mx->name);
    json_object_set_new(host, "tls", json_string(verdict_of(it, policy, secure, allowed, usable)));
    if (it->request->connect && it->addresses->count > 0)
        json_object_set_new(host, "session",
                            explain_session(it->ring, it->config, policy, relay, mx->name,
                                            it->addresses, usable > 0 ? it->tlsa : NULL));
    if (it->tlsa)
        dns_tlsa_release(it->tlsa);
    it->tlsa = NULL;
    dns_addresses_release(it->addresses);
    return host;
}

/* ---- the domain ---- */

static void find_route(struct explanation *it, struct slice domain)
{
    it->dns = (struct dns_request){ .route_found = on_route };
    dns_resolve_route(it->resolver, &it->dns, domain);
    await(it);
}

static json_t *policy_json(const struct explanation *it)
{
    json_t *json = json_object(), *mx = json_array();
    json_object_set_new(json, "mode",
                        json_string(it->policy ? sts_mode_name(it->policy->mode) : "none"));
    if (it->problem)
        json_object_set_new(json, "problem", json_string(it->problem));
    if (it->policy)
        json_object_set_new(json, "max_age_s", json_integer(it->policy->max_age_s));
    for (unsigned i = 0; it->policy && i < it->policy->mx_count; i++)
        json_array_append_new(mx, json_stringn(it->policy->mx[i].ptr, it->policy->mx[i].len));
    json_object_set_new(json, "mx", mx);
    return json;
}

static json_t *sources_json(const struct config *config)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < config->sources_count; i++)
        json_array_append_new(list, json_string(config->sources[i].name));
    if (config->sources_count == 0)
        json_array_append_new(list, json_string("default"));
    return list;
}

/* What mail to a site is kept to. */
static json_t *shaping_json(const struct config *config)
{
    return json_pack("{s:i, s:i, s:i, s:i, s:i, s:i}", "connections_per_site",
                     (int)config->pool.connections_per_site, "reserved_per_site",
                     (int)config->pool.reserved_per_site, "connect_concurrency_per_site",
                     (int)config->pool.connect_concurrency_per_site, "messages_per_session",
                     (int)config->pool.messages_per_session, "pipeline_depth",
                     (int)config->smtp.pipeline_depth, "pipeline_rank",
                     (int)config->smtp.pipeline_rank);
}

static void explain_way(struct explanation *it, json_t *root)
{
    struct deliver_options options = { .rules = it->ways.rules,
                                       .rule_count = it->config->routes_count };
    struct slice domain = slice_str(it->domain);
    bool depends;
    find_route(it, domain);
    json_object_set_new(root, "mx_status", json_string(dns_status_name(it->route->status)));
    if (it->route->text[0])
        json_object_set_new(root, "text", json_string(it->route->text));
    const struct deliver_rule *rule =
        deliver_rule_find(&options, slice_str(it->request->tenant), domain, it->route, &depends);
    const struct deliver_policy *policy = &it->ways.policies[rule ? rule->policy : 0];
    const struct deliver_relay *relay =
        rule && rule->relay != DELIVER_NO_RELAY ? &it->ways.relays[rule->relay] : NULL;
    json_object_set_new(root, "route", rule ? json_integer(rule - it->ways.rules) : json_null());
    json_object_set_new(root, "policy", json_string(*policy->name ? policy->name : "smtp.tls"));
    json_object_set_new(root, "relay", relay ? json_string(relay->name) : json_null());
    json_object_set_new(root, "sources", sources_json(it->config));
    json_object_set_new(root, "shaping", shaping_json(it->config));
    if (it->sts && policy->sts && !relay) {
        it->sts_request = (struct sts_request){ .found = on_policy };
        sts_find(it->sts, &it->sts_request, it->resolver, it->ring, domain);
        await(it);
        json_object_set_new(root, "mta_sts", policy_json(it));
    }
    if (relay) {
        dns_route_release(it->route);
        if (relay->mx)
            find_route(it, slice_str(relay->host));
        else
            it->route = dns_route_to(slice_str(relay->host));
    }
    bool secure = it->route->secure || (relay && !relay->mx);
    json_object_set_new(root, "implicit", json_boolean(it->route->implicit));
    json_object_set_new(root, "secure", json_boolean(it->route->secure));
    set_life(it, root, it->route->expires_ms);
    json_t *hosts = json_array();
    for (unsigned i = 0; i < it->route->host_count; i++)
        json_array_append_new(hosts, host_json(it, &it->route->hosts[i], secure, policy, relay));
    json_object_set_new(root, "hosts", hosts);
    dns_route_release(it->route);
    free(it->policy);
}

static void on_closed(void *user)
{
    ((struct explanation *)user)->answered = true;
}

static bool prepare(struct explanation *it, struct err *err)
{
    const struct config *config = it->config;
    size_t len;
    char folder[4096];
    if (!dns_name_normalise(slice_str(it->request->domain), it->domain, &len))
        return err_set(err, ERR_USAGE, "'%s' isn't a domain", it->request->domain);
    it->domain[len] = '\0';
    struct ring_options ring = { .body = config->io, .log = it->request->log };
    if (!ring_create(&it->ring, &ring, err) ||
        !app_resolver_create(&it->resolver, it->ring, config, err) ||
        !ways_create(&it->ways, config, err))
        return false;
    snprintf(folder, sizeof folder, "%s/mta-sts", config->state_dir);
    const struct sts_options sts = {
        .folder = folder,
        .ca_file = *config->tls.ca_file ? config->tls.ca_file : NULL,
        .port = config->mta_sts_port,
        .log = it->request->log,
    };
    return !config->mta_sts || sts_create(&it->sts, &sts, err);
}

bool explain_domain(const struct config *config, const struct explain_request *request,
                    json_t **out, struct err *err)
{
    struct explanation it = { .config = config, .request = request };
    bool ok = prepare(&it, err);
    if (ok) {
        *out = json_object();
        json_object_set_new(*out, "domain", json_string(it.domain));
        explain_way(&it, *out);
    }
    sts_destroy(&it.sts);
    ways_free(&it.ways);
    if (it.resolver) {
        dns_resolver_close(it.resolver, on_closed, &it);
        await(&it);
    }
    if (it.ring)
        ring_destroy(&it.ring);
    return ok;
}
