#include "dns/resolver.h"

/* The way of a request: cache, else a look-up (started, or joined when there's one for this name
 * already), else a place in the line when too many are in flight. A look-up for a route asks for MX
 * and, when there is none, becomes a requester itself: of the domain's addresses (RFC 5321, 5.1),
 * which so end up in the cache for the delivery that follows. A look-up for addresses asks for AAAA
 * and A at once.
 *
 * Two lists and one task take everything out of the callbacks below and above: `answered` holds
 * look-ups whose questions are all answered (c-ares mustn't be called from inside c-ares), `ready`
 * holds requests whose result is there (a caller must not be called from inside its own call).
 * Thread: the ring's. */
#include <stdlib.h>

#include "dns/cache.h"
#include "dns/channel.h"
#include "dns/result.h"
#include "engine/base/mem.h"

#define FAILURE_TTL_MS 5000
#define NEGATIVE_TTL_S 60 /* of a "no" without an SOA */
#define PARTIAL_TTL_S 60  /* of addresses when the other family failed */
#define PARTNER_WAIT_MS 2000
#define CACHE_ENTRY_BYTES                                                                          \
    512 /* planned per entry: a route of 3 hosts takes 300, addresses of 2 take 450 */

enum kind { KIND_ROUTE = 'r', KIND_ADDRESSES = 'a' };

struct lookup {
    struct dns_resolver *resolver;
    struct list node; /* in resolver->line or resolver->answered */
    struct list waiters;
    enum kind kind;
    bool started;
    unsigned open;               /* questions not answered yet */
    struct dns_query queries[2]; /* MX; or AAAA and A */
    struct ring_timer partner;   /* addresses: one family is there, the other may take this long */
    struct dns_route *route;     /* the MX answer, unless there's no MX */
    int64_t no_mx_expires_ms;
    struct dns_request address_request; /* route: of the implicit MX */
    struct dns_family families[2];      /* addresses: v6, v4 */
    size_t key_len;
    char key[260]; /* kind, then the name with a NUL behind */
};

struct dns_resolver {
    struct ring *ring;
    struct dns_channel *channel;
    struct dns_options options;
    struct dns_cache cache;
    struct map lookups; /* by key */
    struct list line;   /* look-ups waiting for a place */
    struct list answered;
    struct list ready, delivering; /* requests */
    struct ring_task task;
    unsigned active;
    bool closing;
    void (*closed)(void *user);
    void *user;
    struct dns_stats stats;
};

/* Other threads read the counters; this one is the only writer. */
static void stat_set(uint64_t *stat, uint64_t value)
{
    __atomic_store_n(stat, value, __ATOMIC_RELAXED);
}

static void stat_add(uint64_t *stat)
{
    stat_set(stat, *stat + 1);
}

static struct slice key_slice(const struct lookup *lookup)
{
    return slice_of(lookup->key, lookup->key_len);
}

static struct slice name_slice(const struct lookup *lookup)
{
    return slice_of(lookup->key + 1, lookup->key_len - 1);
}

static void result_release(enum kind kind, void *result)
{
    if (kind == KIND_ROUTE)
        dns_route_release(result);
    else
        dns_addresses_release(result);
}

static void *result_hold(enum kind kind, void *result)
{
    return kind == KIND_ROUTE ? (void *)dns_route_hold(result) : (void *)dns_addresses_hold(result);
}

static void cached_release(struct slice key, void *value)
{
    result_release((enum kind)key.ptr[0], value);
}

/* How long an answer may be believed, in milliseconds from now. */
static int64_t answer_life(const struct dns_resolver *resolver, enum dns_status status,
                           bool has_ttl, uint32_t ttl_s)
{
    const struct dns_options *options = &resolver->options;
    int64_t life = ttl_s;
    switch (status) {
    case DNS_FAILED:
    case DNS_TIMEOUT:
        return FAILURE_TTL_MS;
    case DNS_NXDOMAIN:
    case DNS_NO_DATA:
        life = has_ttl ? MIN_OF(life, (int64_t)options->negative_ttl_max_s) : NEGATIVE_TTL_S;
        break;
    case DNS_OK:
    case DNS_NULL_MX:
    case DNS_INVALID:
        life = MIN_OF(life, (int64_t)options->ttl_max_s);
        break;
    }
    return MAX_OF(life, (int64_t)options->ttl_min_s) * 1000;
}

/* ---- requests ---- */

/* Takes over one reference to `result`. */
static void request_ready(struct dns_resolver *resolver, struct dns_request *request,
                          enum kind kind, void *result)
{
    request->kind = (uint8_t)kind;
    request->pending = result;
    list_push_back(&resolver->ready, &request->node);
    ring_task_queue(resolver->ring, &resolver->task);
}

static bool request_is_waiting(const struct dns_request *request)
{
    return request->kind == 0;
}

void dns_request_cancel(struct dns_request *request)
{
    if (!request->pending)
        return;
    list_remove(&request->node);
    if (!request_is_waiting(request))
        result_release((enum kind)request->kind, request->pending);
    request->pending = NULL;
}

static void deliver_ready(struct dns_resolver *resolver)
{
    /* One round: what the callbacks ask for now is next in line. */
    while (!list_empty(&resolver->ready))
        list_push_back(&resolver->delivering, list_pop_front(&resolver->ready));
    for (struct list *node; (node = list_pop_front(&resolver->delivering)) != NULL;) {
        struct dns_request *request = LIST_ENTRY(node, struct dns_request, node);
        void *result = request->pending;
        request->pending = NULL;
        if (request->kind == KIND_ROUTE)
            request->route_found(request, result);
        else
            request->addresses_found(request, result);
    }
}

/* ---- look-ups ---- */

static void task_queue(struct dns_resolver *resolver)
{
    ring_task_queue(resolver->ring, &resolver->task);
}

static void lookup_free(struct lookup *lookup)
{
    ring_timer_stop(&lookup->partner);
    dns_channel_cancel(&lookup->queries[0]);
    dns_channel_cancel(&lookup->queries[1]);
    dns_route_release(lookup->route);
    list_remove(&lookup->node);
    free(lookup);
}

/* Gives the result to all who wait and to the cache; the look-up is gone. Takes over the reference.
 */
static void lookup_finish(struct lookup *lookup, void *result, enum dns_status status, size_t bytes,
                          int64_t expires_ms)
{
    struct dns_resolver *resolver = lookup->resolver;
    if (status == DNS_FAILED)
        stat_add(&resolver->stats.failures);
    if (status == DNS_TIMEOUT)
        stat_add(&resolver->stats.timeouts);
    for (struct list *node; (node = list_pop_front(&lookup->waiters)) != NULL;)
        request_ready(resolver, LIST_ENTRY(node, struct dns_request, node), lookup->kind,
                      result_hold(lookup->kind, result));
    map_remove(&resolver->lookups, key_slice(lookup));
    dns_cache_put(&resolver->cache, key_slice(lookup), result, bytes, expires_ms,
                  ring_now_ms(resolver->ring));
    stat_set(&resolver->stats.cached, dns_cache_count(&resolver->cache));
    lookup_free(lookup);
}

static void route_finish(struct lookup *lookup, struct dns_route *route)
{
    lookup_finish(lookup, route, route->status, dns_route_bytes(route), route->expires_ms);
}

/* All questions are answered, or as good as: the rest is for the task. */
static void lookup_answered(struct lookup *lookup)
{
    ring_timer_stop(&lookup->partner);
    list_push_back(&lookup->resolver->answered, &lookup->node);
    task_queue(lookup->resolver);
}

static void mx_answered(struct dns_query *query, const struct dns_answer *answer)
{
    struct lookup *lookup = CONTAINER_OF(query, struct lookup, queries[0]);
    int64_t expires = ring_now_ms(lookup->resolver->ring) +
                      answer_life(lookup->resolver, answer->status, answer->has_ttl, answer->ttl_s);
    lookup->open--;
    if (answer->status == DNS_OK)
        lookup->route = dns_route_from_answer(answer, expires);
    else if (answer->status == DNS_NO_DATA)
        lookup->no_mx_expires_ms = expires;
    else
        lookup->route = dns_route_none(answer->status, answer->text, name_slice(lookup), expires);
    lookup_answered(lookup);
}

static void family_answered(struct lookup *lookup, struct dns_family *family,
                            const struct dns_answer *answer)
{
    family->status = answer->status;
    family->has_ttl = answer->has_ttl;
    family->ttl_s = answer->ttl_s;
    family->text = answer->text;
    family->count = answer->count;
    memcpy(family->list, answer->address, answer->count * sizeof family->list[0]);
    if (--lookup->open == 0)
        lookup_answered(lookup);
    else if (family->count > 0)
        ring_timer_start(lookup->resolver->ring, &lookup->partner, PARTNER_WAIT_MS);
}

static void v6_answered(struct dns_query *query, const struct dns_answer *answer)
{
    struct lookup *lookup = CONTAINER_OF(query, struct lookup, queries[0]);
    family_answered(lookup, &lookup->families[0], answer);
}

static void v4_answered(struct dns_query *query, const struct dns_answer *answer)
{
    struct lookup *lookup = CONTAINER_OF(query, struct lookup, queries[1]);
    family_answered(lookup, &lookup->families[1], answer);
}

static void partner_late(struct ring_timer *timer)
{
    struct lookup *lookup = CONTAINER_OF(timer, struct lookup, partner);
    for (int i = 0; i < 2; i++) {
        if (lookup->families[i].count == 0) {
            dns_channel_cancel(&lookup->queries[i]);
            lookup->families[i].status = DNS_TIMEOUT;
        }
    }
    lookup->open = 0;
    lookup_answered(lookup);
}

static void lookup_start(struct lookup *lookup)
{
    struct dns_resolver *resolver = lookup->resolver;
    bool v6 = !resolver->options.ipv4_only, v4 = !resolver->options.ipv6_only;
    lookup->started = true;
    resolver->active++;
    stat_add(&resolver->stats.lookups);
    for (int i = 0; i < 2; i++)
        lookup->queries[i].name = lookup->key + 1;
    if (lookup->kind == KIND_ROUTE) {
        lookup->queries[0].type = DNS_TYPE_MX;
        lookup->queries[0].answered = mx_answered;
        lookup->open = 1;
        dns_channel_send(resolver->channel, &lookup->queries[0]);
        return;
    }
    /* A family that isn't wanted counts as answered: nothing there, for as long as the other one
     * says. */
    lookup->open = (unsigned)v6 + (unsigned)v4;
    lookup->families[0].status = lookup->families[1].status = DNS_NO_DATA;
    lookup->queries[0].type = DNS_TYPE_AAAA;
    lookup->queries[0].answered = v6_answered;
    lookup->queries[1].type = DNS_TYPE_A;
    lookup->queries[1].answered = v4_answered;
    if (v6)
        dns_channel_send(resolver->channel, &lookup->queries[0]);
    if (v4)
        dns_channel_send(resolver->channel, &lookup->queries[1]);
}

static void line_advance(struct dns_resolver *resolver)
{
    while (resolver->active < resolver->options.lookups_max) {
        struct list *node = list_pop_front(&resolver->line);
        if (!node)
            break;
        struct lookup *lookup = LIST_ENTRY(node, struct lookup, node);
        if (list_empty(&lookup->waiters)) { /* all have cancelled */
            map_remove(&resolver->lookups, key_slice(lookup));
            lookup_free(lookup);
        } else {
            lookup_start(lookup);
        }
    }
    stat_set(&resolver->stats.in_flight, resolver->active);
}

/* `key` is kind and normalised name, with a NUL behind. With `urgent` it goes to the front of the
 * line: a look-up that is already under way depends on it. */
static void resolve(struct dns_resolver *resolver, struct dns_request *request, const char *key,
                    size_t key_len, bool urgent)
{
    struct slice wanted = slice_of(key, key_len);
    enum kind kind = (enum kind)key[0];
    void *cached = dns_cache_get(&resolver->cache, wanted, ring_now_ms(resolver->ring));
    if (cached) {
        stat_add(&resolver->stats.cache_hits);
        request_ready(resolver, request, kind, result_hold(kind, cached));
        return;
    }
    struct lookup *lookup = map_get(&resolver->lookups, wanted);
    if (lookup) {
        stat_add(&resolver->stats.coalesced);
    } else {
        lookup = mem_zalloc(sizeof *lookup);
        lookup->resolver = resolver;
        lookup->kind = kind;
        lookup->key_len = key_len;
        memcpy(lookup->key, key, key_len + 1);
        list_init(&lookup->waiters);
        list_init(&lookup->node);
        list_init(&lookup->queries[0].node);
        list_init(&lookup->queries[1].node);
        ring_timer_init(&lookup->partner, partner_late);
        map_put(&resolver->lookups, key_slice(lookup), lookup);
        if (urgent)
            list_push_front(&resolver->line, &lookup->node);
        else
            list_push_back(&resolver->line, &lookup->node);
    }
    request->kind = 0;
    request->pending = lookup;
    list_push_back(&lookup->waiters, &request->node);
    line_advance(resolver);
}

/* ---- the task ---- */

static void implicit_found(struct dns_request *request, struct dns_addresses *addresses)
{
    struct lookup *lookup = CONTAINER_OF(request, struct lookup, address_request);
    int64_t expires = MIN_OF(lookup->no_mx_expires_ms, addresses->expires_ms);
    struct slice name = name_slice(lookup);
    struct dns_route *route =
        addresses->status == DNS_OK
            ? dns_route_implicit(name, expires)
            : dns_route_none(addresses->status, "no MX, and no address either", name, expires);
    dns_addresses_release(addresses);
    route_finish(lookup, route);
}

static void route_conclude(struct lookup *lookup)
{
    if (lookup->route) {
        struct dns_route *route = lookup->route;
        lookup->route = NULL;
        route_finish(lookup, route);
        return;
    }
    char key[260];
    memcpy(key, lookup->key, lookup->key_len + 1);
    key[0] = KIND_ADDRESSES;
    lookup->address_request.addresses_found = implicit_found;
    resolve(lookup->resolver, &lookup->address_request, key, lookup->key_len, true);
}

/* Neither family has an address: which of the two answers counts? A temporary one, since there may
 * be addresses. */
static const struct dns_family *family_of_failure(const struct lookup *lookup)
{
    const struct dns_family *v6 = &lookup->families[0], *v4 = &lookup->families[1];
    if (v4->status == DNS_FAILED || v4->status == DNS_TIMEOUT)
        return v4;
    if (v6->status == DNS_FAILED || v6->status == DNS_TIMEOUT)
        return v6;
    if (lookup->resolver->options.ipv6_only)
        return v6;
    return v4; /* NXDOMAIN or no data: both should say the same */
}

static void addresses_conclude(struct lookup *lookup)
{
    struct dns_resolver *resolver = lookup->resolver;
    const struct dns_family *v6 = &lookup->families[0], *v4 = &lookup->families[1];
    int64_t now = ring_now_ms(resolver->ring), life = INT64_MAX;
    struct dns_addresses *addresses = NULL;
    if (v6->count + v4->count > 0) {
        for (int i = 0; i < 2; i++) {
            const struct dns_family *family = &lookup->families[i];
            if (family->count > 0)
                life = MIN_OF(life, answer_life(resolver, DNS_OK, true, family->ttl_s));
            else if (family->status == DNS_FAILED || family->status == DNS_TIMEOUT)
                life = MIN_OF(life, PARTIAL_TTL_S * (int64_t)1000);
        }
        addresses = dns_addresses_merge(v6, v4, now + life);
    } else {
        const struct dns_family *family = family_of_failure(lookup);
        life = answer_life(resolver, family->status, family->has_ttl, family->ttl_s);
        addresses =
            dns_addresses_none(family->status, family->text, name_slice(lookup), now + life);
    }
    lookup_finish(lookup, addresses, addresses->status, dns_addresses_bytes(addresses),
                  addresses->expires_ms);
}

static void task_run(struct ring_task *task)
{
    struct dns_resolver *resolver = CONTAINER_OF(task, struct dns_resolver, task);
    for (struct list *node; (node = list_pop_front(&resolver->answered)) != NULL;) {
        struct lookup *lookup = LIST_ENTRY(node, struct lookup, node);
        resolver->active--;
        if (lookup->kind == KIND_ROUTE)
            route_conclude(lookup);
        else
            addresses_conclude(lookup);
    }
    line_advance(resolver);
    deliver_ready(resolver);
}

/* ---- the interface ---- */

static void key_make(char key[260], enum kind kind, const char *name, size_t len)
{
    key[0] = (char)kind;
    memcpy(key + 1, name, len + 1);
}

static void request_start(struct dns_resolver *resolver, struct dns_request *request,
                          enum kind kind, struct slice text)
{
    char name[256], key[260];
    size_t len = 0;
    assert(!resolver->closing);
    stat_add(&resolver->stats.requests);
    if (!dns_name_normalise(text, name, &len)) {
        /* The text isn't repeated: it may be any bytes. */
        const char *why = "not a host name";
        const struct slice nothing = { 0 };
        int64_t now = ring_now_ms(resolver->ring);
        void *result = NULL;
        if (kind == KIND_ROUTE)
            result = dns_route_none(DNS_INVALID, why, nothing, now);
        else
            result = dns_addresses_none(DNS_INVALID, why, nothing, now);
        request_ready(resolver, request, kind, result);
        return;
    }
    key_make(key, kind, name, len);
    resolve(resolver, request, key, len + 1, false);
}

void dns_resolve_route(struct dns_resolver *resolver, struct dns_request *request,
                       struct slice domain)
{
    request_start(resolver, request, KIND_ROUTE, domain);
}

void dns_resolve_addresses(struct dns_resolver *resolver, struct dns_request *request,
                           struct slice host)
{
    request_start(resolver, request, KIND_ADDRESSES, host);
}

struct dns_route *dns_cached_route(struct dns_resolver *resolver, struct slice domain)
{
    char name[256], key[260];
    size_t len = 0;
    if (!dns_name_normalise(domain, name, &len))
        return NULL;
    key_make(key, KIND_ROUTE, name, len);
    struct dns_route *route =
        dns_cache_get(&resolver->cache, slice_of(key, len + 1), ring_now_ms(resolver->ring));
    if (!route)
        return NULL;
    stat_add(&resolver->stats.cache_hits);
    return dns_route_hold(route);
}

const struct dns_stats *dns_resolver_stats(const struct dns_resolver *resolver)
{
    return &resolver->stats;
}

static unsigned or_default(unsigned value, unsigned standard)
{
    return value ? value : standard;
}

bool dns_resolver_create(struct dns_resolver **out, struct ring *ring,
                         const struct dns_options *options, struct err *err)
{
    struct dns_options o = *options;
    o.timeout_ms = or_default(o.timeout_ms, 3000);
    o.tries = or_default(o.tries, 3);
    o.ttl_min_s = or_default(o.ttl_min_s, 1);
    o.ttl_max_s = or_default(o.ttl_max_s, 86400);
    o.negative_ttl_max_s = or_default(o.negative_ttl_max_s, 900);
    o.cache_entries_max = or_default(o.cache_entries_max, 200000);
    o.lookups_max = or_default(o.lookups_max, 1000);
    if (o.ipv4_only && o.ipv6_only)
        return err_set(err, ERR_CONFIG, "DNS: ipv4_only and ipv6_only exclude each other");
    if (o.ttl_min_s > o.ttl_max_s)
        return err_set(err, ERR_CONFIG, "DNS: the shortest TTL is longer than the longest");

    struct dns_resolver *resolver = mem_zalloc(sizeof *resolver);
    const struct dns_channel_options channel_options = { options->servers, o.timeout_ms, o.tries };
    if (!dns_channel_create(&resolver->channel, ring, &channel_options, err)) {
        free(resolver);
        return false;
    }
    o.servers = NULL; /* the caller's memory */
    resolver->options = o;
    resolver->ring = ring;
    dns_cache_init(&resolver->cache, o.cache_entries_max,
                   (size_t)o.cache_entries_max * CACHE_ENTRY_BYTES, rng_next(ring_rng(ring)),
                   cached_release);
    map_init(&resolver->lookups, rng_next(ring_rng(ring)));
    list_init(&resolver->line);
    list_init(&resolver->answered);
    list_init(&resolver->ready);
    list_init(&resolver->delivering);
    ring_task_init(&resolver->task, task_run);
    *out = resolver;
    return true;
}

static void requests_cancel(struct list *requests)
{
    while (!list_empty(requests))
        dns_request_cancel(LIST_ENTRY(requests->next, struct dns_request, node));
}

static void channel_closed(void *user)
{
    struct dns_resolver *resolver = user;
    void (*closed)(void *user) = resolver->closed;
    user = resolver->user;
    free(resolver);
    if (closed)
        closed(user);
}

void dns_resolver_close(struct dns_resolver *resolver, void (*closed)(void *user), void *user)
{
    size_t cursor = 0;
    assert(!resolver->closing);
    resolver->closing = true;
    resolver->closed = closed;
    resolver->user = user;
    /* First all requests, since those of one look-up may lie inside another. */
    for (struct map_entry *entry; (entry = map_next(&resolver->lookups, &cursor)) != NULL;)
        requests_cancel(&((struct lookup *)entry->value)->waiters);
    requests_cancel(&resolver->ready);
    requests_cancel(&resolver->delivering);
    cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&resolver->lookups, &cursor)) != NULL;)
        lookup_free(entry->value);
    map_free(&resolver->lookups);
    dns_cache_free(&resolver->cache);
    ring_task_cancel(&resolver->task);
    dns_channel_close(resolver->channel, channel_closed, resolver);
}
