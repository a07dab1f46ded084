#pragma once
/* What is queued, by whatever operators want it by: `eilpost queue list`. Blocking. */
#include <jansson.h>

#include "queue/orders.h"

enum survey_by {
    SURVEY_DESTINATION,
    SURVEY_TENANT,
    SURVEY_CAMPAIGN, /* TENANT/CAMPAIGN */
    SURVEY_CLASS,
    SURVEY_SITE, /* the hosts of a destination, as they were last seen */
    SURVEY_SUBMISSION,
};

/** Looks at all that `filter` matches and groups it. `out` is
 *  {"now_ms", "groups": number, "total": {counts}, "rows": the `limit` largest, largest first:
 *   [{"name", "queued", "retrying", "in_flight", "held", "held_by": [ids], and by destination also
 *     "next_ms": when it's offered next, "parked_until_ms"}]}
 * where `held` are those of the queued jobs that an order holds. */
MUST_USE bool survey_run(struct producer *producer, enum survey_by by,
                         const struct order_filter *filter, unsigned limit,
                         const struct order_watch *watch, json_t **out, struct err *err);
