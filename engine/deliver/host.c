/* The MX hosts of a site: which one is next, what is known of its addresses, and its health.
 *
 * Hosts are tried by preference, shuffled among equals, an address that failed is skipped until the
 * host worked again or its pause is over. Only when no host is left and no session lives has the
 * site failed, and then so have its destinations.
 */
#include "engine/deliver/internal.h"

#define HOST_DOWN_MS_MAX 60000
#define FAMILY_MS 600000 /* an address family that worked is preferred for so long */

static int64_t host_down_ms(const struct deliver *deliver)
{
    return MIN_OF((int64_t)deliver->options.retry_schedule_s[0] * 1000, (int64_t)HOST_DOWN_MS_MAX);
}

void host_addresses_found(struct dns_request *request, struct dns_addresses *addresses)
{
    struct site_host *host = CONTAINER_OF(request, struct site_host, request);
    struct site *site = host->site;
    host->asked = false;
    site->lookups--;
    if (host->addresses)
        dns_addresses_release(host->addresses);
    if (site->way.relay != DELIVER_NO_RELAY) /* the operator's own choice */
        addresses = dns_addresses_allow(addresses);
    host->addresses = addresses;
    host->address_down = 0;
    if (addresses->status != DNS_OK) {
        log_info(site->deliver->options.log, "host-unresolved", "%.*s: %s", SLICE_FMT(host->name),
                 addresses->text);
        host->down_until_ms = ring_now_ms(site->deliver->ring) + host_down_ms(site->deliver);
    }
    site_drain_soon(site);
    deliver_check_stopped(site->deliver);
}

/* A bit per address that some source of the pool can reach. */
static uint32_t host_reachable(const struct site_host *host)
{
    uint32_t mask = 0;
    for (unsigned i = 0; host->addresses && i < host->addresses->count; i++)
        if (host->addresses->list[i].addr.ss_family == AF_INET6 ? host->site->ipv6
                                                                : host->site->ipv4)
            mask |= 1u << i;
    return mask;
}

/* Those of the addresses that are of a family. */
static uint32_t host_family(const struct site_host *host, uint32_t addresses, sa_family_t family)
{
    uint32_t mask = 0;
    for (unsigned i = 0; i < host->addresses->count; i++)
        if (host->addresses->list[i].addr.ss_family == family)
            mask |= 1u << i;
    return addresses & mask;
}

static unsigned pick_bit(uint32_t bits, struct rng *rng)
{
    for (uint64_t skip = rng_below(rng, (unsigned)__builtin_popcount(bits)); skip > 0; skip--)
        bits &= bits - 1;
    return (unsigned)__builtin_ctz(bits);
}

/* The family to try first: the one that worked last, or as configured. */
static sa_family_t site_family(const struct site *site, int64_t now)
{
    return site->family != AF_UNSPEC && site->family_until_ms > now ? site->family
                                                                    : site->deliver->options.family;
}

/* Whether the host can be connected to now; asks for its addresses when they're missing or too old.
 */
static enum host_choice host_try(struct site_host *host, struct rng *rng, int64_t now,
                                 unsigned *address)
{
    struct deliver *deliver = host->site->deliver;
    if (host->asked)
        return HOST_CHOICE_WAIT;
    if (host->down_until_ms > now)
        return HOST_CHOICE_NONE;
    if (!host->addresses && host->site->way.relay != DELIVER_NO_RELAY)
        host->addresses = dns_addresses_literal(host->name);
    if (!host->addresses || host->addresses->expires_ms <= now) {
        host->asked = true;
        host->site->lookups++;
        dns_resolve_addresses(deliver->resolver, &host->request, host->name);
        return HOST_CHOICE_WAIT;
    }
    dns_refresh_addresses(deliver->resolver, host->addresses, host->name);
    uint32_t reachable = host_reachable(host);
    if (host->addresses->status != DNS_OK || reachable == 0)
        return HOST_CHOICE_NONE;
    switch (host_secure(host, now, &host->why)) {
    case HOST_SECURED:
        host->why = NULL;
        break;
    case HOST_WAIT:
        return HOST_CHOICE_WAIT;
    case HOST_UNUSABLE:
        tell_host_unusable(host, host->why);
        host->down_until_ms = now + host_down_ms(deliver);
        return HOST_CHOICE_NONE;
    }
    if ((reachable & ~host->address_down) == 0) /* the pause is over: all get another chance */
        host->address_down = 0;
    uint32_t up = reachable & ~host->address_down;
    uint32_t better = host_family(host, up, site_family(host->site, now));
    *address = pick_bit(better ? better : up, rng);
    return HOST_CHOICE_FOUND;
}

enum host_choice site_choose(struct site *site, unsigned *host, unsigned *address)
{
    struct rng *rng = ring_rng(site->deliver->ring);
    int64_t now = ring_now_ms(site->deliver->ring);
    for (unsigned first = 0; first < site->host_count;) {
        unsigned end = first;
        while (end < site->host_count &&
               site->hosts[end].preference == site->hosts[first].preference)
            end++;
        unsigned count = end - first, start = (unsigned)rng_below(rng, count);
        bool waiting = false;
        for (unsigned i = 0; i < count; i++) {
            unsigned index = first + (start + i) % count;
            enum host_choice choice = host_try(&site->hosts[index], rng, now, address);
            *host = index;
            if (choice == HOST_CHOICE_FOUND)
                return HOST_CHOICE_FOUND;
            waiting |= choice == HOST_CHOICE_WAIT;
        }
        if (waiting)
            return HOST_CHOICE_WAIT;
        first = end;
    }
    return HOST_CHOICE_NONE;
}

void site_host_worked(struct site *site, struct peer *peer)
{
    struct site_host *host = &site->hosts[peer->host];
    host->down_until_ms = 0;
    host->address_down &= ~(1u << peer->address);
    site->opening_blocked_ms = 0;
    site->hosts_tried = site->addresses_tried = 0;
}

void site_connected(struct site *site, struct peer *peer)
{
    /* Not extended while it works: the preferred family gets another chance now and then. */
    int64_t now = ring_now_ms(site->deliver->ring);
    sa_family_t family = peer->family;
    if (family == site->family && site->family_until_ms > now)
        return;
    site->family = family;
    site->family_until_ms = now + FAMILY_MS;
}

void site_race(struct site *site, struct peer *peer)
{
    struct deliver *deliver = site->deliver;
    struct site_host *host = &site->hosts[peer->host];
    sa_family_t other = peer->family == AF_INET6 ? AF_INET : AF_INET6;
    unsigned source;
    if (deliver->stopping || peer->rival || !room_left(deliver, QUEUE_BULK) ||
        peer->address >= host->addresses->count)
        return;
    uint32_t up = host_family(host, host_reachable(host) & ~host->address_down, other);
    if (up == 0 || !site_source_take(site, QUEUE_BULK, other, &source))
        return;
    struct peer *rival = peer_open(site, peer->host, pick_bit(up, ring_rng(deliver->ring)), source);
    rival->rival = peer;
    peer->rival = rival;
}

/* What the next message finds is up to it. */
static void site_hosts_reset(struct site *site)
{
    for (unsigned i = 0; i < site->host_count; i++) {
        site->hosts[i].down_until_ms = 0;
        site->hosts[i].address_down = 0;
    }
}

void site_failed(struct site *site, const struct smtp_reply *reason, const struct site_host *host)
{
    struct list *node;
    struct smtp_reply end;
    bool ends = host && tls_demand_failed(site, reason, &end);
    site->hosts_tried = site->addresses_tried = 0;
    if (ends)
        site_hosts_reset(site);
    for (unsigned i = 0; i < QUEUE_CLASSES; i++)
        while ((node = list_pop_front(&site->ready[i])))
            if (ends)
                lane_end_waiting(LIST_ENTRY(node, struct lane, site_node), &end, host);
            else
                destination_failed(LIST_ENTRY(node, struct lane, site_node)->destination, site,
                                   reason, host);
}

/* Counts an address that failed; whether that makes as many as may be tried in a row. */
static bool site_tried_enough(struct site *site, unsigned host)
{
    const struct deliver_options *options = &site->deliver->options;
    if (site->addresses_tried++ == 0 || site->host_tried != host)
        site->hosts_tried++;
    site->host_tried = host;
    return site->hosts_tried >= options->hosts_per_round ||
           site->addresses_tried >= options->addresses_per_round;
}

void site_host_failed(struct site *site, struct peer *peer, const struct smtp_reply *reason)
{
    struct deliver *deliver = site->deliver;
    struct site_host *host = &site->hosts[peer->host];
    int64_t now = ring_now_ms(deliver->ring);
    stat_add(&deliver->stats.sessions_failed, 1);
    tell_session_failed(peer, reason);
    if (host_tls_failed(host, peer, reason)) {
        site_drain_soon(site);
        return;
    }
    log_info(deliver->options.log, "session-failed", "%.*s [%s] %s: %u %.*s", SLICE_FMT(host->name),
             peer->text, smtp_phase_name(reason->phase), reason->code, SLICE_FMT(reason->text));
    host->address_down |= 1u << peer->address;
    if ((host_reachable(host) & ~host->address_down) == 0)
        host->down_until_ms = now + host_down_ms(deliver);
    bool enough = site_tried_enough(site, peer->host);
    bool alive = !list_empty(&site->idle) || !list_empty(&site->busy);
    if (alive) {
        /* It takes no more sessions than these: don't knock at once again. */
        site->opening_blocked_ms = now + host_down_ms(deliver);
        ring_timer_start(deliver->ring, &site->retry, host_down_ms(deliver));
    } else if (site->opening_count == 0) {
        unsigned unused_host, unused_address;
        if (enough || site_choose(site, &unused_host, &unused_address) == HOST_CHOICE_NONE)
            site_failed(site, reason, host);
    }
    site_drain_soon(site);
}
