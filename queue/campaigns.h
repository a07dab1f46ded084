#pragma once
/* Campaigns as objects: their state in ns:campaigns, their counts in all partitions, and what an
 * operator does with them. Blocking, for the command line. A campaign is named by its flow,
 * "TENANT/CAMPAIGN". */
#include <jansson.h>

#include "queue/orders.h"

struct admin;

struct campaign_totals {
    uint64_t accepted, delivered, bounced, expired, suppressed, cancelled; /* jobs */
    uint64_t deferred, unknown;                                            /* attempts */
    uint64_t repeated, rejected;                                           /* never accepted */
};
static inline uint64_t campaign_ended(const struct campaign_totals *totals)
{
    return totals->delivered + totals->bounced + totals->expired + totals->suppressed +
           totals->cancelled;
}
/** Still queued, retrying or in flight: what makes the sum exact. */
static inline uint64_t campaign_open(const struct campaign_totals *totals)
{
    uint64_t ended = campaign_ended(totals);
    return totals->accepted > ended ? totals->accepted - ended : 0;
}

struct campaign_view {
    char flow[160];
    json_t *object; /* of ns:campaigns; never NULL */
    struct campaign_totals totals;
    double per_second; /* ended, as observed; 0: nothing ends */
    int64_t eta_s;     /* -1: unknown */
};

/** "TENANT/CAMPAIGN" into tenant and campaign (1–64 of A–Z a–z 0–9 . _ -; the tenant may be empty).
 */
MUST_USE bool campaign_name_parse(const char *flow, char tenant[65], char campaign[65],
                                  struct err *err);

/** All campaigns, by name; the views and their objects are the caller's: campaign_views_free(). The
 * rate comes from the sample that engines leave; where there's none, it's 0. */
MUST_USE bool campaigns_list(struct producer *producer, struct campaign_view **views, size_t *count,
                             struct err *err);
void campaign_views_free(struct campaign_view **views, size_t count);
/** One campaign. Without a fresh sample it takes two readings, `measure_ms` apart, if that's above
 * 0. ERR_NOT_FOUND when nothing is known of it. */
MUST_USE bool campaign_view(struct producer *producer, const char *flow, int measure_ms,
                            struct campaign_view *out, struct err *err);
const char *campaign_state(const struct campaign_view *view);

struct campaign_command {
    const char *flow, *by, *reason;
    const struct order_watch *watch;
};
/** Holds a campaign. Once it returns, nothing more of it leaves, but what `out->acted.in_flight`
 * counts. */
MUST_USE bool campaign_pause(struct producer *producer, const struct campaign_command *command,
                             struct order_result *out, struct err *err);
/** Lets it go on, also after a canary stopped it, or after a cancellation was interrupted. */
MUST_USE bool campaign_resume(struct producer *producer, const struct campaign_command *command,
                              struct order_result *out, struct err *err);
/** Ends all that is queued of it and all that still comes. orders_restore("c:" flow) takes it back.
 */
MUST_USE bool campaign_cancel(struct producer *producer, const struct campaign_command *command,
                              int64_t keep_s, struct order_result *out, struct err *err);
/** Jobs per second over all nodes; 0: as fast as it goes. */
MUST_USE bool campaign_set_rate(struct producer *producer, const struct campaign_command *command,
                                uint64_t per_second, struct err *err);

struct campaign_canary {
    uint64_t first;          /* jobs, or 0: */
    double percent;          /* of the jobs accepted */
    double bounce, deferral; /* largest shares, %; below 0: no limit */
};
/** Sends the first part and goes on only if the shares are in their limits. NULL: no canary. */
MUST_USE bool campaign_set_canary(struct producer *producer, const struct campaign_command *command,
                                  const struct campaign_canary *canary, struct err *err);

/** An order is being taken back: if it was a campaign's, the campaign runs. */
MUST_USE bool campaign_order_ended(struct admin *admin, const char *order_id, struct err *err);
