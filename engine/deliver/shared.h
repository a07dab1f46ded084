#pragma once
/* What the workers of a process share: how many connections each (site, source) has, and how many
 * of them carry other mail than transactional. Providers limit per sending address, and an address
 * belongs to the node, so the limit is the node's (DESIGN, decision 10). Counters are atomics; the
 * table has a lock that is taken only when a site comes or goes. */
#include "engine/base/slice.h"

struct deliver_shared;
struct site_limit;

struct deliver_shared *deliver_shared_create(void);
void deliver_shared_destroy(struct deliver_shared **shared);

/** The counter of a (site, source); counted references. */
struct site_limit *site_limit_hold(struct deliver_shared *shared, struct slice site,
                                   unsigned source);
void site_limit_release(struct deliver_shared *shared, struct site_limit *limit);
/** Takes one of `max` connections; on false a wish is left behind, see site_limit_wanted(). */
MUST_USE bool site_limit_take(struct site_limit *limit, unsigned max);
void site_limit_give(struct site_limit *limit);
/** Whether another worker waits for a connection here: an idle session should then be closed rather
 * than kept. */
bool site_limit_wanted(const struct site_limit *limit);

/** Allows one more connection to carry bulk, if fewer than `max` do. */
MUST_USE bool site_limit_take_bulk(struct site_limit *limit, unsigned max);
void site_limit_give_bulk(struct site_limit *limit);
