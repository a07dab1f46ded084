#include "dns/resolver.h"

/* The way of a request: cache, else a look-up (started, or joined when there's one for this name
 * already), else a place in the line when too many are in flight.
 *
 * A look-up that fails doesn't end what was known: an answer past its end goes on being used for a
 * while (RFC 8767), for 30 s at a time, but only if it said where mail goes. A "no" that is past
 * its end would bounce mail because a server is down. And an answer that is still in use near its
 * end is asked for again in the background, so that nobody waits.
 *
 * Two lists and one task take everything out of the callbacks below and above: `answered` holds
 * look-ups whose questions are all answered (c-ares mustn't be called from inside c-ares), `ready`
 * holds requests whose result is there (a caller must not be called from inside its own call).
 * Thread: the ring's. */
#include <stdlib.h>

#include "dns/internal.h"
#include "engine/base/mem.h"

#define STALE_LIFE_MS 30000 /* RFC 8767, 5 */
#define REFRESH_SHARE 10    /* the last tenth of an answer's life */
#define CACHE_ENTRY_BYTES                                                                          \
    512 /* planned per entry: a route of 3 hosts takes 300, addresses of 2 take 500 */

void dns_stat_set(uint64_t *stat, uint64_t value)
{
    __atomic_store_n(stat, value, __ATOMIC_RELAXED);
}

void dns_stat_add(uint64_t *stat)
{
    dns_stat_set(stat, *stat + 1);
}

static struct slice key_slice(const struct lookup *lookup)
{
    return slice_of(lookup->key, lookup->key_len);
}

static void cached_release(struct slice key, void *value)
{
    dns_result_release((enum dns_kind)key.ptr[0], value);
}

/* ---- requests ---- */

/* Takes over one reference to `result`. */
static void request_ready(struct dns_resolver *resolver, struct dns_request *request,
                          enum dns_kind kind, void *result)
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
        dns_result_release((enum dns_kind)request->kind, request->pending);
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
        switch ((enum dns_kind)request->kind) {
        case DNS_KIND_ROUTE:
            request->route_found(request, result);
            break;
        case DNS_KIND_ADDRESSES:
            request->addresses_found(request, result);
            break;
        case DNS_KIND_TLSA:
            request->tlsa_found(request, result);
            break;
        case DNS_KIND_TEXT:
            request->text_found(request, result);
            break;
        }
    }
}

/* ---- look-ups ---- */

/* What there is instead of a failure: what the cache has still, or has kept. One reference. */
static void *known_instead(struct lookup *lookup, int64_t now)
{
    struct dns_resolver *resolver = lookup->resolver;
    struct slice key = key_slice(lookup);
    void *known = dns_cache_get(&resolver->cache, key, now);
    if (known)
        return dns_result_hold(lookup->kind, known);
    known = dns_cache_stale(&resolver->cache, key, now);
    if (!known || dns_result_of(lookup->kind, known).status != DNS_OK)
        return NULL;
    dns_stat_add(&resolver->stats.stale);
    dns_cache_extend(&resolver->cache, key, now + STALE_LIFE_MS);
    const struct dns_result view = dns_result_of(lookup->kind, known);
    *view.expires_ms = now + STALE_LIFE_MS;
    *view.refresh_ms = *view.expires_ms - STALE_LIFE_MS / REFRESH_SHARE;
    return dns_result_hold(lookup->kind, known);
}

static void result_store(struct lookup *lookup, void *result, int64_t now)
{
    struct dns_resolver *resolver = lookup->resolver;
    struct dns_result view = dns_result_of(lookup->kind, result);
    if (view.status == DNS_OK)
        *view.refresh_ms = *view.expires_ms - (*view.expires_ms - now) / REFRESH_SHARE;
    if (view.secure)
        dns_stat_add(&resolver->stats.secure);
    dns_cache_put(&resolver->cache, key_slice(lookup), dns_result_hold(lookup->kind, result),
                  dns_result_bytes(lookup->kind, result), *view.expires_ms, now);
    dns_stat_set(&resolver->stats.cached, dns_cache_count(&resolver->cache));
}

void dns_lookup_finish(struct lookup *lookup, void *result)
{
    struct dns_resolver *resolver = lookup->resolver;
    int64_t now = ring_now_ms(resolver->ring);
    enum dns_status status = dns_result_of(lookup->kind, result).status;
    void *instead = NULL;
    if (status == DNS_FAILED)
        dns_stat_add(&resolver->stats.failures);
    if (status == DNS_TIMEOUT)
        dns_stat_add(&resolver->stats.timeouts);
    if (status == DNS_FAILED || status == DNS_TIMEOUT)
        instead = known_instead(lookup, now);
    if (instead) {
        dns_result_release(lookup->kind, result);
        result = instead;
    } else {
        result_store(lookup, result, now);
    }
    for (struct list *node; (node = list_pop_front(&lookup->waiters)) != NULL;)
        request_ready(resolver, LIST_ENTRY(node, struct dns_request, node), lookup->kind,
                      dns_result_hold(lookup->kind, result));
    dns_result_release(lookup->kind, result);
    map_remove(&resolver->lookups, key_slice(lookup));
    dns_lookup_free(lookup);
}

static void line_advance(struct dns_resolver *resolver)
{
    while (resolver->active < resolver->options.lookups_max) {
        struct list *node = list_pop_front(&resolver->line);
        if (!node)
            break;
        struct lookup *lookup = LIST_ENTRY(node, struct lookup, node);
        if (list_empty(&lookup->waiters) && !lookup->background) { /* all have cancelled */
            map_remove(&resolver->lookups, key_slice(lookup));
            dns_lookup_free(lookup);
        } else {
            resolver->active++;
            dns_stat_add(&resolver->stats.lookups);
            dns_lookup_start(lookup);
        }
    }
    dns_stat_set(&resolver->stats.in_flight, resolver->active);
}

static struct lookup *lookup_add(struct dns_resolver *resolver, struct slice key)
{
    struct lookup *lookup = dns_lookup_create(resolver, key.ptr, key.len);
    map_put(&resolver->lookups, key_slice(lookup), lookup);
    return lookup;
}

/* `key` has a NUL behind. */
static void refresh(struct dns_resolver *resolver, struct slice key, void *result)
{
    int64_t *refresh_ms = dns_result_of((enum dns_kind)key.ptr[0], result).refresh_ms;
    int64_t now = ring_now_ms(resolver->ring);
    if (*refresh_ms > now || !list_empty(&resolver->line))
        return;
    *refresh_ms = INT64_MAX;
    void *cached = dns_cache_get(&resolver->cache, key, now);
    if ((cached && cached != result) || map_get(&resolver->lookups, key))
        return;
    struct lookup *lookup = lookup_add(resolver, key);
    lookup->background = true;
    dns_stat_add(&resolver->stats.refreshed);
    list_push_back(&resolver->line, &lookup->node);
    line_advance(resolver);
}

static void *cached_get(struct dns_resolver *resolver, struct slice key)
{
    void *cached = dns_cache_get(&resolver->cache, key, ring_now_ms(resolver->ring));
    if (!cached)
        return NULL;
    dns_stat_add(&resolver->stats.cache_hits);
    cached = dns_result_hold((enum dns_kind)key.ptr[0], cached);
    refresh(resolver, key, cached);
    return cached;
}

void dns_resolve(struct dns_resolver *resolver, struct dns_request *request, const char *key,
                 size_t key_len, bool urgent)
{
    struct slice wanted = slice_of(key, key_len);
    void *cached = cached_get(resolver, wanted);
    if (cached) {
        request_ready(resolver, request, (enum dns_kind)key[0], cached);
        return;
    }
    struct lookup *lookup = map_get(&resolver->lookups, wanted);
    if (lookup) {
        dns_stat_add(&resolver->stats.coalesced);
    } else {
        lookup = lookup_add(resolver, wanted);
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

static void task_run(struct ring_task *task)
{
    struct dns_resolver *resolver = CONTAINER_OF(task, struct dns_resolver, task);
    for (struct list *node; (node = list_pop_front(&resolver->answered)) != NULL;) {
        resolver->active--;
        dns_lookup_conclude(LIST_ENTRY(node, struct lookup, node));
    }
    line_advance(resolver);
    deliver_ready(resolver);
}

/* ---- the interface ---- */

/* Returns the key's length, or 0 if the text is no name. */
static size_t key_make(char key[DNS_KEY_MAX], enum dns_kind kind, struct slice text)
{
    char name[256];
    size_t len = 0;
    if (!dns_name_normalise(text, name, &len))
        return 0;
    key[0] = (char)kind;
    memcpy(key + 1, name, len + 1);
    return len + 1;
}

static void request_start(struct dns_resolver *resolver, struct dns_request *request,
                          enum dns_kind kind, struct slice text)
{
    char key[DNS_KEY_MAX];
    size_t key_len = key_make(key, kind, text);
    assert(!resolver->closing);
    dns_stat_add(&resolver->stats.requests);
    if (key_len > 0) {
        dns_resolve(resolver, request, key, key_len, false);
        return;
    }
    /* The text isn't repeated: it may be any bytes. */
    request_ready(resolver, request, kind,
                  dns_result_none(kind, DNS_INVALID, "not a host name", (struct slice){ 0 },
                                  ring_now_ms(resolver->ring)));
}

void dns_resolve_route(struct dns_resolver *resolver, struct dns_request *request,
                       struct slice domain)
{
    request_start(resolver, request, DNS_KIND_ROUTE, domain);
}

void dns_resolve_addresses(struct dns_resolver *resolver, struct dns_request *request,
                           struct slice host)
{
    request_start(resolver, request, DNS_KIND_ADDRESSES, host);
}

void dns_resolve_tlsa(struct dns_resolver *resolver, struct dns_request *request, struct slice name)
{
    request_start(resolver, request, DNS_KIND_TLSA, name);
}

void dns_resolve_text(struct dns_resolver *resolver, struct dns_request *request, struct slice name)
{
    request_start(resolver, request, DNS_KIND_TEXT, name);
}

struct dns_route *dns_cached_route(struct dns_resolver *resolver, struct slice domain)
{
    char key[DNS_KEY_MAX];
    size_t key_len = key_make(key, DNS_KIND_ROUTE, domain);
    return key_len > 0 ? cached_get(resolver, slice_of(key, key_len)) : NULL;
}

static void refresh_named(struct dns_resolver *resolver, enum dns_kind kind, void *result,
                          struct slice name)
{
    char key[DNS_KEY_MAX];
    size_t key_len = key_make(key, kind, name);
    if (key_len > 0)
        refresh(resolver, slice_of(key, key_len), result);
}

void dns_refresh_route(struct dns_resolver *resolver, struct dns_route *route, struct slice domain)
{
    if (route->refresh_ms <= ring_now_ms(resolver->ring))
        refresh_named(resolver, DNS_KIND_ROUTE, route, domain);
}

void dns_refresh_addresses(struct dns_resolver *resolver, struct dns_addresses *addresses,
                           struct slice host)
{
    if (addresses->refresh_ms <= ring_now_ms(resolver->ring))
        refresh_named(resolver, DNS_KIND_ADDRESSES, addresses, host);
}

const struct dns_stats *dns_resolver_stats(const struct dns_resolver *resolver)
{
    return &resolver->stats;
}

static unsigned or_default(unsigned value, unsigned standard)
{
    return value ? value : standard;
}

/* What the caller need not keep. */
static void options_copy(struct dns_options *out, const struct dns_options *options)
{
    size_t bytes = 0;
    for (unsigned i = 0; i < options->own_name_count; i++)
        bytes += strlen(options->own_names[i]) + 1;
    const char **names = mem_alloc(options->own_name_count * sizeof *names + bytes + 1);
    char *at = (char *)&names[options->own_name_count];
    for (unsigned i = 0; i < options->own_name_count; i++) {
        size_t len = strlen(options->own_names[i]) + 1;
        names[i] = memcpy(at, options->own_names[i], len);
        at += len;
    }
    out->own_names = names;
    struct dns_prefix *refused = mem_array(options->refused_count + 1, sizeof *refused);
    if (options->refused_count > 0)
        memcpy(refused, options->refused, options->refused_count * sizeof *refused);
    out->refused = refused;
}

static void options_free(struct dns_options *options)
{
    free((void *)options->own_names);
    free((void *)options->refused);
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
    const struct dns_channel_options channel_options = { .servers = options->servers,
                                                         .timeout_ms = o.timeout_ms,
                                                         .tries = o.tries,
                                                         .per_second = o.lookups_per_second,
                                                         .validated = o.trusted };
    if (!dns_channel_create(&resolver->channel, ring, &channel_options, err)) {
        free(resolver);
        return false;
    }
    o.servers = NULL; /* the caller's memory */
    options_copy(&o, options);
    resolver->options = o;
    resolver->ring = ring;
    dns_cache_init(&resolver->cache, o.cache_entries_max,
                   (size_t)o.cache_entries_max * CACHE_ENTRY_BYTES, rng_next(ring_rng(ring)),
                   cached_release);
    resolver->cache.keep_ms = o.stale_max_s * (int64_t)1000;
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
    options_free(&resolver->options);
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
        dns_lookup_free(entry->value);
    map_free(&resolver->lookups);
    dns_cache_free(&resolver->cache);
    ring_task_cancel(&resolver->task);
    dns_channel_close(resolver->channel, channel_closed, resolver);
}
