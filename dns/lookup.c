#include "dns/internal.h"

/* Look-ups: which questions a name of a kind needs, and what their answers come to.
 *
 * A look-up for a route asks for MX and, when there is none, becomes a requester itself: of the
 * domain's addresses (RFC 5321, 5.1), which so end up in the cache for the delivery that follows. A
 * look-up for addresses asks for AAAA and A at once. TLSA and TXT are one question each.
 *
 * The callbacks of questions may run inside c-ares, which mustn't be called from there: they leave
 * the look-up in `answered`, and the resolver's task concludes it. Thread: the ring's. */
#include <stdlib.h>

#include "dns/prefix.h"
#include "engine/base/mem.h"

#define FAILURE_TTL_MS 5000
#define NEGATIVE_TTL_S 60 /* of a "no" without an SOA */
#define PARTIAL_TTL_S 60  /* of addresses when the other family failed */
#define PARTNER_WAIT_MS 2000

static struct slice name_slice(const struct lookup *lookup)
{
    return slice_of(lookup->key + 1, lookup->key_len - 1);
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
    case DNS_LOOP:
    case DNS_REFUSED:
        life = MIN_OF(life, (int64_t)options->ttl_max_s);
        break;
    }
    return MAX_OF(life, (int64_t)options->ttl_min_s) * 1000;
}

static int64_t answer_expires(const struct dns_resolver *resolver, const struct dns_answer *answer)
{
    return ring_now_ms(resolver->ring) +
           answer_life(resolver, answer->status, answer->has_ttl, answer->ttl_s);
}

static bool is_secure(const struct dns_resolver *resolver, const struct dns_answer *answer)
{
    return resolver->options.trusted && answer->authenticated;
}

/* All questions are answered, or as good as: the rest is for the task. */
static void lookup_answered(struct lookup *lookup)
{
    ring_timer_stop(&lookup->partner);
    list_push_back(&lookup->resolver->answered, &lookup->node);
    ring_task_queue(lookup->resolver->ring, &lookup->resolver->task);
}

/* ---- routes ---- */

static bool is_own(const struct dns_resolver *resolver, struct slice host)
{
    for (unsigned i = 0; i < resolver->options.own_name_count; i++)
        if (slice_eq(slice_str(resolver->options.own_names[i]), host))
            return true;
    return false;
}

/* How many of the mail exchangers are better than we are (RFC 5321, 5.1: the others would send the
 * mail back to us). */
static unsigned better_than_us(const struct dns_resolver *resolver, const struct dns_answer *answer)
{
    unsigned us = 0;
    while (us < answer->count &&
           !is_own(resolver, slice_of(answer->mx[us].name, answer->mx[us].len)))
        us++;
    if (us == answer->count)
        return us;
    unsigned better = 0;
    while (answer->mx[better].preference < answer->mx[us].preference)
        better++;
    return better;
}

static struct dns_route *route_of_loop(struct slice name, int64_t expires)
{
    return dns_route_none(DNS_LOOP, "we are its best mail exchanger ourselves", name, expires);
}

static void mx_answered(struct dns_query *query, const struct dns_answer *answer)
{
    struct lookup *lookup = CONTAINER_OF(query, struct lookup, queries[0]);
    struct dns_resolver *resolver = lookup->resolver;
    int64_t expires = answer_expires(resolver, answer);
    struct dns_route *route = NULL;
    lookup->open--;
    if (answer->status == DNS_NO_DATA) {
        lookup->no_mx_expires_ms = expires;
        lookup->no_mx_secure = is_secure(resolver, answer);
    } else if (answer->status == DNS_OK) {
        unsigned hosts = better_than_us(resolver, answer);
        route = hosts > 0 ? dns_route_from_answer(answer, hosts, expires)
                          : route_of_loop(name_slice(lookup), expires);
    } else {
        route = dns_route_none(answer->status, answer->text, name_slice(lookup), expires);
    }
    if (route)
        route->secure = is_secure(resolver, answer);
    lookup->result = route;
    lookup_answered(lookup);
}

static void implicit_found(struct dns_request *request, struct dns_addresses *addresses)
{
    struct lookup *lookup = CONTAINER_OF(request, struct lookup, address_request);
    int64_t expires = MIN_OF(lookup->no_mx_expires_ms, addresses->expires_ms);
    struct slice name = name_slice(lookup);
    struct dns_route *route;
    if (addresses->status == DNS_OK)
        route = is_own(lookup->resolver, name) ? route_of_loop(name, expires)
                                               : dns_route_implicit(name, expires);
    else if (addresses->status == DNS_REFUSED)
        route = dns_route_none(DNS_REFUSED, addresses->text, (struct slice){ 0 }, expires);
    else
        route = dns_route_none(addresses->status, "no MX, and no address either", name, expires);
    route->secure = lookup->no_mx_secure && addresses->secure;
    dns_addresses_release(addresses);
    dns_lookup_finish(lookup, route);
}

static void implicit_ask(struct lookup *lookup)
{
    char key[DNS_KEY_MAX];
    memcpy(key, lookup->key, lookup->key_len + 1);
    key[0] = DNS_KIND_ADDRESSES;
    lookup->address_request.addresses_found = implicit_found;
    dns_resolve(lookup->resolver, &lookup->address_request, key, lookup->key_len, true);
}

/* ---- addresses ---- */

static bool family_failed(const struct dns_family *family)
{
    return family->status == DNS_FAILED || family->status == DNS_TIMEOUT;
}

static void family_answered(struct lookup *lookup, int index, const struct dns_answer *answer)
{
    struct dns_family *family = &lookup->families[index];
    const struct dns_options *options = &lookup->resolver->options;
    family->asked = true;
    family->status = answer->status;
    family->secure = is_secure(lookup->resolver, answer);
    family->has_ttl = answer->has_ttl;
    family->ttl_s = answer->ttl_s;
    family->text = answer->text;
    family->count = family->refused_count = 0;
    memcpy(family->canonical, answer->canonical, strlen(answer->canonical) + 1);
    for (unsigned i = 0; i < answer->count; i++) {
        const struct dns_prefix *prefix =
            dns_prefix_find(options->refused, options->refused_count,
                            index == 0 ? AF_INET6 : AF_INET, &answer->address[i]);
        if (!prefix)
            family->list[family->count++] = answer->address[i];
        else
            family->refused[family->refused_count++] = answer->address[i];
    }
    if (family->refused_count > 0)
        dns_stat_add(&lookup->resolver->stats.refused);
    if (--lookup->open == 0)
        lookup_answered(lookup);
    else if (family->count > 0)
        ring_timer_start(lookup->resolver->ring, &lookup->partner, PARTNER_WAIT_MS);
}

static void v6_answered(struct dns_query *query, const struct dns_answer *answer)
{
    family_answered(CONTAINER_OF(query, struct lookup, queries[0]), 0, answer);
}

static void v4_answered(struct dns_query *query, const struct dns_answer *answer)
{
    family_answered(CONTAINER_OF(query, struct lookup, queries[1]), 1, answer);
}

static void partner_late(struct ring_timer *timer)
{
    struct lookup *lookup = CONTAINER_OF(timer, struct lookup, partner);
    for (int i = 0; i < 2; i++) {
        if (lookup->families[i].count == 0) {
            dns_channel_cancel(&lookup->queries[i]);
            lookup->families[i].status = DNS_TIMEOUT;
            lookup->families[i].refused_count = 0;
        }
    }
    lookup->open = 0;
    lookup_answered(lookup);
}

/* Neither family has an address: which of the two answers counts? A temporary one, since there may
 * be addresses. */
static const struct dns_family *family_of_failure(const struct lookup *lookup)
{
    const struct dns_family *v6 = &lookup->families[0], *v4 = &lookup->families[1];
    if (family_failed(v4))
        return v4;
    if (family_failed(v6))
        return v6;
    if (lookup->resolver->options.ipv6_only)
        return v6;
    return v4; /* NXDOMAIN or no data: both should say the same */
}

/* Every answer that there is has to be validated; one that is missing adds no address, and to take
 * it for a "no" would let whoever holds it back switch DANE off. */
static bool families_secure(const struct lookup *lookup)
{
    bool secure = true, any = false;
    for (int i = 0; i < 2; i++) {
        const struct dns_family *family = &lookup->families[i];
        if (!family->asked || family_failed(family))
            continue;
        any = true;
        secure &= family->secure;
    }
    return any && secure;
}

static struct dns_addresses *addresses_conclude(struct lookup *lookup)
{
    struct dns_resolver *resolver = lookup->resolver;
    const struct dns_family *v6 = &lookup->families[0], *v4 = &lookup->families[1];
    int64_t now = ring_now_ms(resolver->ring), life = INT64_MAX;
    unsigned refused = v6->refused_count + v4->refused_count;
    struct dns_addresses *addresses = NULL;
    if (v6->count + v4->count + refused > 0) {
        for (int i = 0; i < 2; i++) {
            const struct dns_family *family = &lookup->families[i];
            if (family->count + family->refused_count > 0)
                life = MIN_OF(life, answer_life(resolver, DNS_OK, true, family->ttl_s));
            else if (family_failed(family))
                life = MIN_OF(life, PARTIAL_TTL_S * (int64_t)1000);
        }
        addresses = dns_addresses_merge(v6, v4, name_slice(lookup), now + life);
    } else {
        const struct dns_family *family = family_of_failure(lookup);
        life = answer_life(resolver, family->status, family->has_ttl, family->ttl_s);
        addresses =
            dns_addresses_none(family->status, family->text, name_slice(lookup), now + life);
    }
    addresses->secure = families_secure(lookup);
    return addresses;
}

/* ---- TLSA and TXT ---- */

static void tlsa_answered(struct dns_query *query, const struct dns_answer *answer)
{
    struct lookup *lookup = CONTAINER_OF(query, struct lookup, queries[0]);
    struct dns_tlsa *tlsa =
        dns_tlsa_create(answer, name_slice(lookup), answer_expires(lookup->resolver, answer));
    tlsa->secure = is_secure(lookup->resolver, answer);
    lookup->result = tlsa;
    lookup_answered(lookup);
}

static void text_answered(struct dns_query *query, const struct dns_answer *answer)
{
    struct lookup *lookup = CONTAINER_OF(query, struct lookup, queries[0]);
    struct dns_text *text =
        dns_text_create(answer, name_slice(lookup), answer_expires(lookup->resolver, answer));
    text->secure = is_secure(lookup->resolver, answer);
    lookup->result = text;
    lookup_answered(lookup);
}

/* ---- all ---- */

struct lookup *dns_lookup_create(struct dns_resolver *resolver, const char *key, size_t key_len)
{
    struct lookup *lookup = mem_zalloc(sizeof *lookup);
    lookup->resolver = resolver;
    lookup->kind = (enum dns_kind)key[0];
    lookup->key_len = key_len;
    memcpy(lookup->key, key, key_len + 1);
    list_init(&lookup->waiters);
    list_init(&lookup->node);
    for (int i = 0; i < 2; i++) {
        list_init(&lookup->queries[i].node);
        lookup->queries[i].name = lookup->key + 1;
    }
    ring_timer_init(&lookup->partner, partner_late);
    return lookup;
}

static void lookup_ask(struct lookup *lookup, int index, enum dns_type type,
                       void (*answered)(struct dns_query *, const struct dns_answer *))
{
    lookup->queries[index].type = type;
    lookup->queries[index].answered = answered;
    dns_channel_send(lookup->resolver->channel, &lookup->queries[index]);
}

void dns_lookup_start(struct lookup *lookup)
{
    struct dns_resolver *resolver = lookup->resolver;
    bool v6 = !resolver->options.ipv4_only, v4 = !resolver->options.ipv6_only;
    lookup->started = true;
    lookup->open = 1;
    switch (lookup->kind) {
    case DNS_KIND_ROUTE:
        lookup_ask(lookup, 0, DNS_TYPE_MX, mx_answered);
        break;
    case DNS_KIND_TLSA:
        lookup_ask(lookup, 0, DNS_TYPE_TLSA, tlsa_answered);
        break;
    case DNS_KIND_TEXT:
        lookup_ask(lookup, 0, DNS_TYPE_TXT, text_answered);
        break;
    case DNS_KIND_ADDRESSES:
        /* A family that isn't wanted counts as answered: nothing there, for as long as the other
         * one says. */
        lookup->open = (unsigned)v6 + (unsigned)v4;
        lookup->families[0].status = lookup->families[1].status = DNS_NO_DATA;
        if (v6)
            lookup_ask(lookup, 0, DNS_TYPE_AAAA, v6_answered);
        if (v4)
            lookup_ask(lookup, 1, DNS_TYPE_A, v4_answered);
        break;
    }
}

void dns_lookup_conclude(struct lookup *lookup)
{
    if (lookup->kind == DNS_KIND_ADDRESSES) {
        lookup->result = addresses_conclude(lookup);
    } else if (!lookup->result) {
        implicit_ask(lookup);
        return;
    }
    void *result = lookup->result;
    lookup->result = NULL;
    dns_lookup_finish(lookup, result);
}

void dns_lookup_free(struct lookup *lookup)
{
    ring_timer_stop(&lookup->partner);
    dns_channel_cancel(&lookup->queries[0]);
    dns_channel_cancel(&lookup->queries[1]);
    if (lookup->result)
        dns_result_release(lookup->kind, lookup->result);
    list_remove(&lookup->node);
    free(lookup);
}
