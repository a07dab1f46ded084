#pragma once
/* One destination, or one job, looked at closely: `eilpost queue show` and `explain`. Blocking. */
#include <jansson.h>

#include "queue/orders.h"

enum {
    INSPECT_QUEUES_SHOWN = 20,
    INSPECT_SEARCH_MAX = 2000000, /* entries that a search for a job looks at */
};

/** {"now_ms", "destination", "partition", "owner", "hosts", "parked_until_ms",
 *   "queued", "retrying", "in_flight",
 *   "classes": [{"class", "next_ms", "flows": [{"flow", "submissions", "budget"?}]}],
 *   "queues": [{"submission", "class", "flow", "jobs", "accepted_ms", "expires_ms", "opens_ms"?,
 *               "held_by"?}] (some), "queues_total",
 *   "next_retry_ms", "last_reply"} */
MUST_USE bool inspect_destination(struct producer *producer, const char *destination,
                                  const struct order_watch *watch, json_t **out, struct err *err);

/** Where a job is, and why it's still there:
 *  {"now_ms", "job", "submission", "state": queued | retrying | in_flight | ended | unknown,
 *   "destination", "partition", "why": [sentences], … what the state has to tell}.
 *  ERR_NOT_FOUND when nothing is known of its submission. */
MUST_USE bool inspect_job(struct producer *producer, const char *job,
                          const struct order_watch *watch, json_t **out, struct err *err);
/** The same for a submission: its counts, and what holds its queues. */
MUST_USE bool inspect_submission(struct producer *producer, const char *submission,
                                 const struct order_watch *watch, json_t **out, struct err *err);
