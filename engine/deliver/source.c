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

/* The source, of those that the mask allows, that has the fewest sessions for its weight; the one
 * behind the last choice first among equals. */
static bool source_choose(const struct site *site, sa_family_t family, const bool *refused,
                          unsigned *choice)
{
    bool found = false;
    for (unsigned i = 0; i < site->source_count; i++) {
        unsigned at = (site->next_source + i) % site->source_count;
        const struct site_source *source = &site->sources[at];
        sa_family_t own = site->deliver->options.sources[source->index].address.ss_family;
        if (refused[at] || (own != AF_UNSPEC && own != family))
            continue;
        const struct site_source *best = &site->sources[*choice];
        if (found && (uint64_t)(source->peers + 1) * best->weight >=
                         (uint64_t)(best->peers + 1) * source->weight)
            continue;
        *choice = at;
        found = true;
    }
    return found;
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
        site->next_source = *source + 1;
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
