/* A site's sources: those of its pool, each with the node-wide counter of its connections to the
 * hosts. Sites of several pools with the same hosts share the counters.
 *
 * The heaviest source of a pool may have all of connections_per_site, a lighter one as much less as
 * it weighs less: when all are at their limits the shares still hold. Some connections are kept for
 * transactional mail: others neither open the last ones nor occupy more than the rest at once. */
#include <stdlib.h>

#include "engine/base/mem.h"
#include "engine/deliver/internal.h"

static void site_source_init(struct site *site, unsigned at, unsigned heaviest)
{
    struct deliver *deliver = site->deliver;
    const struct deliver_options *options = &deliver->options;
    const struct deliver_pool *pool = &options->pools[site->pool];
    struct site_source *source = &site->sources[at];
    source->index = pool->sources[at];
    source->weight = pool->weights[at];
    source->limit = site_limit_hold(options->shared, site->key, source->index);
    uint64_t share = (uint64_t)options->connections_per_site * source->weight;
    source->connections_max = (unsigned)((share + heaviest - 1) / heaviest);
    source->connections_bulk = source->connections_max > options->reserved_per_site
                                   ? source->connections_max - options->reserved_per_site
                                   : 1;
    sa_family_t family = options->sources[source->index].address.ss_family;
    site->ipv4 |= family != AF_INET6;
    site->ipv6 |= family != AF_INET;
}

void site_sources_create(struct site *site)
{
    const struct deliver_pool *pool = &site->deliver->options.pools[site->pool];
    unsigned heaviest = 1;
    for (unsigned i = 0; i < pool->source_count; i++)
        heaviest = MAX_OF(heaviest, pool->weights[i]);
    site->source_count = pool->source_count;
    site->sources = mem_array(pool->source_count, sizeof *site->sources);
    for (unsigned i = 0; i < pool->source_count; i++)
        site_source_init(site, i, heaviest);
}

void site_sources_destroy(struct site *site)
{
    for (unsigned i = 0; i < site->source_count; i++)
        site_limit_release(site->deliver->options.shared, site->sources[i].limit);
    free(site->sources);
}

static bool source_may(const struct site *site, unsigned at, sa_family_t family,
                       const bool *refused)
{
    const struct site_source *source = &site->sources[at];
    sa_family_t own = site->deliver->options.sources[source->index].address.ss_family;
    return !refused[at] && (own == AF_UNSPEC || own == family);
}

/* The source whose turn it is, of those that may: each gains its weight, the one with the most pays
 * for all. So a pool's sessions are spread by weight over time, however few are open at once. */
static bool source_choose(const struct site *site, sa_family_t family, const bool *refused,
                          unsigned *choice)
{
    bool found = false;
    for (unsigned i = 0; i < site->source_count; i++) {
        const struct site_source *source = &site->sources[i], *best = &site->sources[*choice];
        if (!source_may(site, i, family, refused))
            continue;
        if (!found || source->credit + source->weight > best->credit + best->weight)
            *choice = i;
        found = true;
    }
    return found;
}

static void source_pay(struct site *site, unsigned choice, sa_family_t family, const bool *refused)
{
    for (unsigned i = 0; i < site->source_count; i++)
        if (source_may(site, i, family, refused)) {
            site->sources[i].credit += site->sources[i].weight;
            site->sources[choice].credit -= site->sources[i].weight;
        }
}

bool site_source_take(struct site *site, enum queue_class class, sa_family_t family,
                      unsigned *source)
{
    bool few[16] = { 0 };
    bool *refused =
        site->source_count <= ARRAY_LEN(few) ? few : mem_array(site->source_count, sizeof *refused);
    bool taken = false;
    *source = 0;
    while (!taken && source_choose(site, family, refused, source)) {
        struct site_source *it = &site->sources[*source];
        taken = site_limit_take(it->limit, class == QUEUE_TRANSACTIONAL ? it->connections_max
                                                                        : it->connections_bulk);
        refused[*source] = !taken;
    }
    if (taken) {
        site->sources[*source].peers++;
        source_pay(site, *source, family, refused);
    }
    if (refused != few)
        free(refused);
    return taken;
}

void site_source_give(struct site *site, unsigned source)
{
    site_limit_give(site->sources[source].limit);
    site->sources[source].peers--;
}
