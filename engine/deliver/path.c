/* Paths: where a destination's mail goes and how, by the rules and the DNS. A destination has one
 * path for all, and one more for each tenant that the rules name and that sends to it; the same
 * again for messages that demand something of TLS themselves.
 *
 * Rules may depend on the destination's mail exchangers: then those are looked up first, even if
 * they lead to a relay. */
#include <arpa/inet.h>
#include <stdlib.h>

#include "engine/base/mem.h"
#include "engine/deliver/internal.h"

static void path_route_found(struct dns_request *request, struct dns_route *route);
static void path_policy_found(struct sts_request *request, struct sts_policy *policy,
                              const char *problem);

struct path *path_of(struct destination *destination, struct slice tenant, enum tls_demand demand)
{
    const struct deliver *deliver = destination->deliver;
    if (deliver->tenants.count == 0 || !map_get(&deliver->tenants, tenant))
        tenant = SLICE("");
    list_for_each (it, &destination->paths) {
        struct path *path = LIST_ENTRY(it, struct path, node);
        if (path->demand == demand && slice_eq(slice_of(path->tenant, path->tenant_len), tenant))
            return path;
    }
    struct path *path = mem_zalloc(sizeof *path + tenant.len);
    path->destination = destination;
    path->demand = demand;
    path->request.route_found = path_route_found;
    path->sts.found = path_policy_found;
    path->tenant_len = tenant.len;
    if (tenant.len)
        memcpy(path->tenant, tenant.ptr, tenant.len);
    list_push_back(&destination->paths, &path->node);
    return path;
}

void path_free(struct path *path)
{
    assert(path->state != PATH_ASKED);
    path_forget(path);
    list_remove(&path->node);
    free(path->sts_text);
    free(path);
}

void path_cancel(struct path *path)
{
    if (path->state != PATH_ASKED)
        return;
    dns_request_cancel(&path->request);
    if (path->sts_asked) {
        sts_cancel(&path->sts);
        dns_route_release(path->route);
        path->route = NULL;
        path->sts_asked = false;
    }
    path->state = PATH_NONE;
}

void path_forget(struct path *path)
{
    list_for_each (it, &path->destination->lanes) {
        struct lane *lane = LIST_ENTRY(it, struct lane, node);
        if (lane->path == path)
            lane_leave_site(lane);
    }
    if (path->route)
        dns_route_release(path->route);
    path->route = NULL;
    path->state = PATH_NONE;
}

/* So that operators' orders can name the hosts. */
#define SITE_TEXT_MAX 400
static void tell_site(const struct path *path, const struct dns_route *route)
{
    char text[SITE_TEXT_MAX];
    size_t len = 0;
    for (unsigned i = 0; i < route->host_count; i++) {
        struct slice name = route->hosts[i].name;
        if (len + 1 + name.len > sizeof text)
            break;
        if (len > 0)
            text[len++] = ' ';
        memcpy(text + len, name.ptr, name.len);
        len += name.len;
    }
    queue_site(path->destination->partition, path->destination->name, slice_of(text, len));
}

static void path_end_waiting(struct path *path, const struct smtp_reply *reply)
{
    list_for_each (it, &path->destination->lanes) {
        struct lane *lane = LIST_ENTRY(it, struct lane, node);
        if (lane->path == path)
            lane_end_waiting(lane, reply, NULL);
    }
}

static struct smtp_reply reply_of_route(const struct path *path, const struct dns_route *route)
{
    struct slice text = slice_str(route->text);
    switch (route->status) {
    case DNS_NULL_MX:
        if (path->own_route)
            return smtp_reply_local(SMTP_PHASE_DNS, 556, (struct smtp_enhanced){ 5, 1, 10 }, text);
        break;
    case DNS_NXDOMAIN:
    case DNS_NO_DATA:
    case DNS_INVALID:
        if (path->own_route)
            return smtp_reply_local(SMTP_PHASE_DNS, 550, (struct smtp_enhanced){ 5, 1, 2 }, text);
        break;
    case DNS_LOOP:
        if (path->own_route)
            return smtp_reply_local(SMTP_PHASE_DNS, 550, (struct smtp_enhanced){ 5, 4, 6 }, text);
        break;
    case DNS_REFUSED:
        if (path->own_route)
            return smtp_reply_local(SMTP_PHASE_DNS, 550, (struct smtp_enhanced){ 5, 4, 4 }, text);
        break;
    case DNS_OK:
    case DNS_FAILED:
    case DNS_TIMEOUT:
        break;
    }
    /* A relay that can't be found is the operator's to mend: no message ends for it. */
    return smtp_reply_local(SMTP_PHASE_DNS, 451, (struct smtp_enhanced){ 4, 4, 3 }, text);
}

/* RFC 8689, 4.2.1: with REQUIRETLS it must be certain whose hosts these are. NULL: nothing is
 * against this way. */
static const char *path_objection(const struct path *path)
{
    const struct deliver_options *options = &path->destination->deliver->options;
    if (path->demand != TLS_NEEDED)
        return NULL;
    if (options->policies[path->way.policy].mode == DELIVER_TLS_OFF)
        return "REQUIRETLS: the configuration says to send without TLS";
    if (!path->way.secure && path->way.sts != STS_ENFORCE)
        return "REQUIRETLS: neither DNSSEC nor MTA-STS vouches for the domain's mail exchangers";
    return NULL;
}

static void path_known(struct path *path, struct dns_route *route)
{
    path->state = PATH_KNOWN;
    path->route = route;
    path->way.secure = route->secure || (!path->own_route && route->expires_ms == INT64_MAX);
    tell_site(path, route);
    const char *objection = path_objection(path);
    if (!objection)
        return;
    struct smtp_reply reply = smtp_reply_local(
        SMTP_PHASE_DNS, 550, (struct smtp_enhanced){ 5, 7, 30 }, slice_str(objection));
    path_forget(path);
    path_end_waiting(path, &reply);
}

static void path_failed(struct path *path, const struct dns_route *route)
{
    struct destination *destination = path->destination;
    struct smtp_reply reply = reply_of_route(path, route);
    path->state = PATH_NONE;
    if (reply.code < 500) {
        destination_path_failed(destination, path, &reply);
        return;
    }
    path_end_waiting(path, &reply);
}

/* Looks up what the way needs: the relay's hosts or the destination's. */
static void path_ask(struct path *path)
{
    struct deliver *deliver = path->destination->deliver;
    const struct deliver_relay *relay =
        path->way.relay == DELIVER_NO_RELAY ? NULL : &deliver->options.relays[path->way.relay];
    path->own_route = !relay;
    if (relay && !relay->mx)
        path_known(path, dns_route_to(slice_str(relay->host)));
    else
        dns_resolve_route(deliver->resolver, &path->request,
                          relay ? slice_str(relay->host) : path->destination->name);
}

/* Sets the way as the rules say; until the mail exchangers are known perhaps only for now. */
static void path_decide(struct path *path, const struct dns_route *route)
{
    const struct destination *destination = path->destination;
    bool depends;
    const struct deliver_rule *rule =
        deliver_rule_find(&destination->deliver->options, slice_of(path->tenant, path->tenant_len),
                          destination->name, route, &depends);
    path->way = rule ? (struct way){ .policy = rule->policy, .relay = rule->relay }
                     : (struct way){ .relay = DELIVER_NO_RELAY };
    path->way.demand = path->demand;
}

/* ---- MTA-STS ---- */

/* DNS and files tell more than the route: what a domain's policy wants comes on top (RFC 8461). */
static bool path_wants_sts(const struct path *path)
{
    const struct deliver_options *options = &path->destination->deliver->options;
    return options->sts && path->own_route && path->demand != TLS_WAIVED &&
           options->policies[path->way.policy].sts;
}

/* Leaves the hosts that the policy allows; none left: NULL. */
static struct dns_route *allowed_hosts(struct dns_route *route, const struct sts_policy *policy)
{
    bool keep[DNS_ROUTE_HOSTS_MAX];
    unsigned kept = 0;
    for (unsigned i = 0; i < route->host_count; i++)
        kept += keep[i] = sts_policy_allows(policy, route->hosts[i].name);
    if (kept == route->host_count)
        return dns_route_hold(route);
    return kept > 0 ? dns_route_pick(route, keep) : NULL;
}

static void path_policy_found(struct sts_request *request, struct sts_policy *policy,
                              const char *problem)
{
    struct path *path = CONTAINER_OF(request, struct path, sts);
    struct destination *destination = path->destination;
    struct dns_route *route = path->route;
    tell_sts_policy(path, policy && policy->mode != STS_NONE ? policy : NULL);
    tell_sts_problem(path, problem);
    path->sts_asked = false;
    path->route = NULL;
    path->way.sts = policy ? policy->mode : STS_NONE;
    struct dns_route *allowed =
        path->way.sts == STS_ENFORCE ? allowed_hosts(route, policy) : dns_route_hold(route);
    free(policy);
    dns_route_release(route);
    if (allowed) {
        path_known(path, allowed);
        destination_drain(destination);
        return;
    }
    struct smtp_reply reply =
        smtp_reply_local(SMTP_PHASE_DNS, 451, (struct smtp_enhanced){ 4, 7, 5 },
                         SLICE("the domain's MTA-STS policy allows none of its mail exchangers"));
    path->state = PATH_NONE;
    destination_path_failed(destination, path, &reply);
    deliver_check_stopped(destination->deliver);
}

static void path_route_found(struct dns_request *request, struct dns_route *route)
{
    struct path *path = CONTAINER_OF(request, struct path, request);
    struct destination *destination = path->destination;
    struct deliver *deliver = destination->deliver;
    histogram_record(&deliver->stats.dns, ring_clock_us(deliver->ring) - path->asked_us);
    if (path->own_route)
        path_decide(path, route);
    if (path->own_route && path->way.relay != DELIVER_NO_RELAY) {
        dns_route_release(route);
        path_ask(path);
    } else if (route->status == DNS_OK && path_wants_sts(path)) {
        path->route = route;
        path->sts_asked = true;
        sts_find(deliver->options.sts, &path->sts, deliver->resolver, deliver->ring,
                 destination->name);
        return;
    } else if (route->status == DNS_OK) {
        path_known(path, route);
    } else {
        path_failed(path, route);
        dns_route_release(route);
        deliver_check_stopped(deliver);
        return;
    }
    destination_drain(destination);
}

void path_find(struct path *path)
{
    struct deliver *deliver = path->destination->deliver;
    if (path->state == PATH_KNOWN && path->route->expires_ms <= ring_now_ms(deliver->ring))
        path_forget(path);
    if (path->state == PATH_KNOWN && path->own_route)
        dns_refresh_route(deliver->resolver, path->route, path->destination->name);
    if (path->state != PATH_NONE)
        return;
    path->state = PATH_ASKED;
    path->asked_us = ring_clock_us(deliver->ring);
    path_decide(path, NULL);
    path_ask(path);
}
