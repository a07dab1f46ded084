/* A campaign's canary: only its first attempts are made, and what becomes of them decides on the
 * rest. An attempt has a result when its lease ended, other than by a release: delivered, bounced,
 * or neither, which is a deferral for this purpose (a job that waits for its retry, or whose
 * expiry came first). So a canary ends although its retries haven't. Shares are of all results. */
#include <math.h>
#include <stdio.h>

#include "queue/control_internal.h"

enum {
    CANARY_JOBS_MIN = 10,    /* of a canary given in percent */
    CANARY_RESULTS_MIN = 20, /* before a limit counts, unless the whole canary is smaller */
};

static double number_of(const json_t *json, const char *name, double otherwise)
{
    const json_t *value = json_object_get(json, name);
    return json_is_number(value) ? json_number_value(value) : otherwise;
}

static bool base_parse(const json_t *json, struct canary_counts *out)
{
    int64_t *const counts[] = { &out->leased, &out->answered, &out->delivered, &out->bounced };
    if (json_array_size(json) != ARRAY_LEN(counts))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(counts); i++)
        *counts[i] = (int64_t)json_number_value(json_array_get(json, i));
    return true;
}

void canary_parse(const json_t *json, struct canary *out)
{
    const char *state = json_string_value(json_object_get(json, "state"));
    *out = (struct canary){
        .running = state && strcmp(state, "running") == 0,
        .failed = state && strcmp(state, "failed") == 0,
        .jobs = number_of(json, "jobs", 0),
        .percent = number_of(json, "percent", 0),
        .bounce = number_of(json, "bounce", -1),
        .deferral = number_of(json, "deferral", -1),
    };
    out->begun = base_parse(json_object_get(json, "base"), &out->base);
    if (out->jobs < 1 && out->percent <= 0)
        out->running = false; /* of nothing */
}

/* The canary as it is, with another state; without where it began once that is over. */
static json_t *with_state(const struct campaign *campaign, const char *state)
{
    json_t *canary = json_deep_copy(json_object_get(campaign->object, "canary"));
    json_object_set_new(canary, "state", json_string(state));
    json_object_del(canary, "base");
    return canary;
}

static void begin(struct campaign *campaign, const struct meter_sums *sums)
{
    json_t *canary = with_state(campaign, "running"), *fields = json_object(), *base = json_array();
    const int64_t counts[] = { sums->leased, sums->answered, sums->delivered, sums->bounced };
    for (size_t i = 0; i < ARRAY_LEN(counts); i++)
        json_array_append_new(base, json_integer((json_int_t)counts[i]));
    json_object_set_new(canary, "base", base);
    json_object_set_new(fields, "canary", canary);
    (void)campaign_change(campaign, fields); /* or the next time */
}

static void pass(struct campaign *campaign)
{
    json_t *fields = json_object();
    json_object_set_new(fields, "canary", with_state(campaign, "passed"));
    if (campaign_change(campaign, fields))
        log_info(campaign->control->queue->options.log, "canary-passed", "campaign %s goes on",
                 campaign->flow);
}

static void fail(struct campaign *campaign, const char *what, double share, int64_t results,
                 double limit)
{
    char reason[160];
    snprintf(reason, sizeof reason, "canary: %.1f %% %s of %lld, limit %.1f %%", share, what,
             (long long)results, limit);
    json_t *fields = json_object();
    json_object_set_new(fields, "canary", with_state(campaign, "failed"));
    json_object_set_new(fields, "state", json_string("stopped"));
    json_object_set_new(fields, "reason", json_string(reason));
    if (campaign_change(campaign, fields))
        log_warn(campaign->control->queue->options.log, "canary-failed", "campaign %s stops: %s",
                 campaign->flow, reason);
}

static int64_t size_of(const struct canary *canary, int64_t accepted)
{
    if (canary->jobs >= 1)
        return (int64_t)MIN_OF(canary->jobs, 1e15);
    double part = ceil((double)accepted * MIN_OF(canary->percent, 100.0) / 100);
    return MAX_OF((int64_t)part, (int64_t)CANARY_JOBS_MIN);
}

bool canary_step(struct campaign *campaign, const struct meter_sums *sums, int64_t *room)
{
    const struct canary *canary = &campaign->canary;
    *room = INT64_MAX;
    if (!canary->running)
        return true;
    if (!sums->complete || campaign->changing)
        return false;
    if (!canary->begun) {
        begin(campaign, sums);
        return false;
    }
    int64_t size = size_of(canary, sums->accepted);
    int64_t results = sums->answered - canary->base.answered;
    int64_t bounced = sums->bounced - canary->base.bounced;
    int64_t delivered = sums->delivered - canary->base.delivered;
    if (results > 0 && results >= MIN_OF(size, (int64_t)CANARY_RESULTS_MIN)) {
        double bounce = 100.0 * (double)bounced / (double)results;
        double deferral = 100.0 * (double)(results - bounced - delivered) / (double)results;
        if (canary->bounce >= 0 && bounce > canary->bounce) {
            fail(campaign, "bounced", bounce, results, canary->bounce);
            return false;
        }
        if (canary->deferral >= 0 && deferral > canary->deferral) {
            fail(campaign, "deferred", deferral, results, canary->deferral);
            return false;
        }
    }
    if (results >= size) {
        pass(campaign);
        return false;
    }
    *room = canary->base.leased + size - sums->leased - sums->budget;
    return true;
}
