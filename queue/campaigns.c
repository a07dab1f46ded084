#include "queue/campaigns.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "engine/base/mem.h"
#include "queue/admin_io.h"
#include "queue/order_store.h"

enum {
    NAME_BYTES_MAX = 64,
    SAMPLE_MS_MIN = 1000, /* a shorter time tells no rate */
    SAMPLE_MS_MAX = 60000,
    BATCH_CAMPAIGNS = 64, /* whose counts are read at a time */
};

bool campaign_name_parse(const char *flow, char tenant[65], char campaign[65], struct err *err)
{
    struct slice rest = slice_str(flow);
    bool cut = slice_find(rest, '/') >= 0;
    struct slice first = slice_cut(&rest, '/');
    if (!cut || (first.len > 0 && !queue_name_valid(first, NAME_BYTES_MAX)) ||
        !queue_name_valid(rest, NAME_BYTES_MAX))
        return err_set(err, ERR_USAGE,
                       "'%s' isn't TENANT/CAMPAIGN (1–64 of A–Z a–z 0–9 . _ - each; /CAMPAIGN "
                       "without a tenant)",
                       flow);
    snprintf(tenant, NAME_BYTES_MAX + 1, "%.*s", SLICE_FMT(first));
    snprintf(campaign, NAME_BYTES_MAX + 1, "%.*s", SLICE_FMT(rest));
    return true;
}

/* ---- reading ---- */

static void totals_add(struct campaign_totals *totals, const struct redis_value *fields)
{
    const struct {
        struct slice name;
        uint64_t *count;
    } known[] = {
        { SLICE("accepted"), &totals->accepted },     { SLICE("delivered"), &totals->delivered },
        { SLICE("bounced"), &totals->bounced },       { SLICE("expired"), &totals->expired },
        { SLICE("suppressed"), &totals->suppressed }, { SLICE("cancelled"), &totals->cancelled },
        { SLICE("deferred"), &totals->deferred },     { SLICE("unknown"), &totals->unknown },
        { SLICE("repeated"), &totals->repeated },     { SLICE("rejected"), &totals->rejected },
    };
    for (size_t i = 0; i + 1 < fields->count; i += 2)
        for (size_t k = 0; k < ARRAY_LEN(known); k++)
            if (slice_eq(admin_item(fields, i)->text, known[k].name))
                *known[k].count += (uint64_t)admin_int(admin_item(fields, i + 1));
}

/* The counts of some campaigns, each the sum over the partitions. */
static bool totals_read(struct admin *admin, struct campaign_view *views, size_t count,
                        int64_t *now_ms, struct err *err)
{
    admin_reset(admin);
    struct producer_call **calls =
        arena_alloc(&admin->arena, count * admin->partitions * sizeof *calls + 1);
    for (size_t i = 0; i < count; i++)
        for (unsigned p = 0; p < admin->partitions; p++) {
            struct slice key = admin_key(admin, p, "c:", slice_str(views[i].flow));
            calls[i * admin->partitions + p] = ADMIN_COMMAND(admin, key, SLICE("HGETALL"), key);
        }
    if (!admin_now(admin, now_ms, err))
        return false;
    for (size_t i = 0; i < count; i++) {
        views[i].totals = (struct campaign_totals){ 0 };
        for (unsigned p = 0; p < admin->partitions; p++)
            totals_add(&views[i].totals, calls[i * admin->partitions + p]->reply);
    }
    return true;
}

/* The rate since a sample [ms, ended]; false when it tells nothing. */
static bool rate_since(struct campaign_view *view, int64_t sample_ms, uint64_t sample_ended,
                       int64_t now_ms)
{
    int64_t past_ms = now_ms - sample_ms;
    uint64_t ended = campaign_ended(&view->totals);
    if (past_ms < SAMPLE_MS_MIN || past_ms > SAMPLE_MS_MAX || ended < sample_ended)
        return false;
    view->per_second = (double)(ended - sample_ended) * 1000 / (double)past_ms;
    uint64_t open = campaign_open(&view->totals);
    view->eta_s = view->per_second > 0 ? (int64_t)((double)open / view->per_second + 0.5) : -1;
    return true;
}

static bool rate_from_sample(struct campaign_view *view, int64_t now_ms)
{
    const json_t *sample = json_object_get(view->object, "sample");
    view->per_second = 0;
    view->eta_s = campaign_open(&view->totals) == 0 ? 0 : -1;
    if (view->eta_s == 0)
        return true;
    if (json_array_size(sample) != 2)
        return false;
    return rate_since(view, json_integer_value(json_array_get(sample, 0)),
                      (uint64_t)json_integer_value(json_array_get(sample, 1)), now_ms);
}

static json_t *object_of(struct slice text)
{
    json_t *object = text.len > 0 ? json_loadb(text.ptr, text.len, 0, NULL) : NULL;
    if (json_is_object(object))
        return object;
    json_decref(object);
    return json_object();
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct campaign_view *)a)->flow, ((const struct campaign_view *)b)->flow);
}

bool campaigns_list(struct producer *producer, struct campaign_view **views, size_t *count,
                    struct err *err)
{
    struct admin admin;
    int64_t now_ms = 0;
    admin_open(&admin, producer);
    *views = NULL;
    *count = 0;
    struct slice key = admin_key_global(&admin, "campaigns");
    const struct redis_value *all = ADMIN_ASK(&admin, err, key, SLICE("HGETALL"), key);
    bool ok = all != NULL;
    if (ok)
        *views = mem_array(all->count / 2 + 1, sizeof **views);
    for (size_t i = 0; ok && i + 1 < all->count; i += 2) {
        struct campaign_view *view = &(*views)[*count];
        if (admin_item(all, i)->text.len >= sizeof view->flow)
            continue;
        snprintf(view->flow, sizeof view->flow, "%.*s", SLICE_FMT(admin_item(all, i)->text));
        view->object = object_of(admin_item(all, i + 1)->text);
        ++*count;
    }
    if (*count > 1)
        qsort(*views, *count, sizeof **views, by_name);
    for (size_t i = 0; ok && i < *count; i += BATCH_CAMPAIGNS) {
        size_t n = MIN_OF(*count - i, (size_t)BATCH_CAMPAIGNS);
        ok = totals_read(&admin, *views + i, n, &now_ms, err);
        for (size_t k = i; ok && k < i + n; k++)
            (void)rate_from_sample(&(*views)[k], now_ms);
    }
    if (!ok)
        campaign_views_free(views, *count);
    admin_close(&admin);
    return ok;
}

void campaign_views_free(struct campaign_view **views, size_t count)
{
    for (size_t i = 0; *views && i < count; i++)
        json_decref((*views)[i].object);
    free(*views);
    *views = NULL;
}

bool campaign_view(struct producer *producer, const char *flow, int measure_ms,
                   struct campaign_view *out, struct err *err)
{
    struct admin admin;
    int64_t then_ms, now_ms;
    *out = (struct campaign_view){ .eta_s = -1 };
    snprintf(out->flow, sizeof out->flow, "%s", flow);
    admin_open(&admin, producer);
    struct slice key = admin_key_global(&admin, "campaigns");
    const struct redis_value *text =
        ADMIN_ASK(&admin, err, key, SLICE("HGET"), key, slice_str(flow));
    bool known = text && text->type == VALUE_STRING;
    if (text)
        out->object = object_of(text->text);
    bool ok = text && totals_read(&admin, out, 1, &then_ms, err);
    if (ok && !known && out->totals.accepted + out->totals.rejected == 0)
        ok = err_set(err, ERR_NOT_FOUND, "nothing is known of a campaign '%s'", flow);
    if (ok && !rate_from_sample(out, then_ms) && measure_ms > 0) {
        uint64_t ended = campaign_ended(&out->totals);
        nanosleep(&(struct timespec){ .tv_sec = measure_ms / 1000,
                                      .tv_nsec = (long)(measure_ms % 1000) * 1000000 },
                  NULL);
        ok = totals_read(&admin, out, 1, &now_ms, err);
        if (ok)
            (void)rate_since(out, then_ms, ended, now_ms);
    }
    if (!ok) {
        json_decref(out->object);
        out->object = NULL;
    }
    admin_close(&admin);
    return ok;
}

const char *campaign_state(const struct campaign_view *view)
{
    const char *state = json_string_value(json_object_get(view->object, "state"));
    return state ? state : "running";
}

/* ---- changing ---- */

/* Sets fields of the object; takes `fields`. */
static bool change(struct admin *admin, const char *flow, json_t *fields, bool make,
                   struct err *err)
{
    char *text = json_dumps(fields, JSON_COMPACT);
    json_decref(fields);
    admin_reset(admin);
    ADMIN_EVAL(admin, SCRIPT_CAMPAIGN, admin_key_global(admin, "campaigns"), slice_str(flow),
               slice_str(text), make ? SLICE("1") : SLICE("0"));
    free(text);
    return admin_run(admin, err);
}

/* A campaign may be paused, throttled or given a canary before its first mail is there. */
static bool change_or_make(struct admin *admin, const char *flow, json_t *fields, struct err *err)
{
    int64_t now_ms;
    admin_reset(admin);
    if (!admin_now(admin, &now_ms, err)) {
        json_decref(fields);
        return false;
    }
    struct slice key = admin_key_global(admin, "campaigns");
    char fresh[80];
    snprintf(fresh, sizeof fresh, "{\"state\":\"running\",\"created\":%lld}", (long long)now_ms);
    if (!ADMIN_ASK(admin, err, key, SLICE("HSETNX"), key, slice_str(flow), slice_str(fresh))) {
        json_decref(fields);
        return false;
    }
    return change(admin, flow, fields, true, err);
}

static json_t *state_fields(const char *state, const char *reason)
{
    json_t *fields = json_object();
    json_object_set_new(fields, "state", json_string(state));
    json_object_set_new(fields, "reason", reason ? json_string(reason) : json_null());
    return fields;
}

static bool set_state(struct producer *producer, const char *flow, json_t *fields, struct err *err)
{
    struct admin admin;
    admin_open(&admin, producer);
    bool ok = change_or_make(&admin, flow, fields, err);
    admin_close(&admin);
    return ok;
}

struct campaign_order {
    char id[160], tenant[65], campaign[65];
};

static bool order_for(const char *flow, struct campaign_order *out, struct err *err)
{
    snprintf(out->id, sizeof out->id, "c:%s", flow);
    return campaign_name_parse(flow, out->tenant, out->campaign, err);
}

static bool give(struct producer *producer, const struct campaign_command *command,
                 enum order_action action, int64_t keep_s, struct order_result *out,
                 struct err *err)
{
    struct campaign_order order;
    if (!order_for(command->flow, &order, err))
        return false;
    const struct order_request request = {
        .action = action,
        .filter = { .tenant = order.tenant, .campaign = order.campaign },
        .id = order.id,
        .reason = command->reason,
        .by = command->by,
        .keep_s = keep_s,
    };
    return orders_give(producer, &request, command->watch, out, err);
}

static bool view_now(struct producer *producer, const char *flow, char state[16], struct err *err)
{
    struct campaign_view view;
    if (!campaign_view(producer, flow, 0, &view, err))
        return false;
    snprintf(state, 16, "%s", campaign_state(&view));
    json_decref(view.object);
    return true;
}

bool campaign_pause(struct producer *producer, const struct campaign_command *command,
                    struct order_result *out, struct err *err)
{
    char state[16];
    if (!view_now(producer, command->flow, state, err))
        return false;
    if (strcmp(state, "cancelled") == 0)
        return err_set(err, ERR_USAGE, "campaign %s is cancelled", command->flow);
    return set_state(producer, command->flow, state_fields("paused", command->reason), err) &&
           give(producer, command, ORDER_SUSPEND, 0, out, err);
}

bool campaign_cancel(struct producer *producer, const struct campaign_command *command,
                     int64_t keep_s, struct order_result *out, struct err *err)
{
    char state[16];
    return view_now(producer, command->flow, state, err) &&
           set_state(producer, command->flow, state_fields("cancelled", command->reason), err) &&
           give(producer, command, ORDER_CANCEL, keep_s, out, err);
}

/* Running again; a canary that failed is overruled: the operator has seen what it said. */
static bool set_running(struct producer *producer, const struct campaign_view *view,
                        struct err *err)
{
    json_t *canary = json_deep_copy(json_object_get(view->object, "canary"));
    json_t *fields = state_fields("running", NULL);
    const char *said = json_string_value(json_object_get(canary, "state"));
    if (said && strcmp(said, "failed") == 0) {
        json_object_set_new(canary, "state", json_string("passed"));
        json_object_set(fields, "canary", canary);
    }
    json_decref(canary);
    return set_state(producer, view->flow, fields, err);
}

/* What stopped without an order, e.g. when the operator's pause was interrupted between two steps.
 */
static bool resume_unordered(struct producer *producer, const struct campaign_command *command,
                             struct order_result *out, struct err *err)
{
    if (!give(producer, command, ORDER_SUSPEND, 0, out, err))
        return false;
    char id[sizeof out->id];
    memcpy(id, out->id, sizeof id); /* `out` is written anew */
    return orders_resume(producer, id, command->by, command->reason, command->watch, out, err);
}

bool campaign_resume(struct producer *producer, const struct campaign_command *command,
                     struct order_result *out, struct err *err)
{
    struct campaign_order order;
    struct campaign_view view;
    json_t *record = NULL;
    *out = (struct order_result){ 0 };
    if (!order_for(command->flow, &order, err) ||
        !campaign_view(producer, command->flow, 0, &view, err))
        return false;
    bool running = strcmp(campaign_state(&view), "running") == 0;
    bool ok = strcmp(campaign_state(&view), "cancelled") != 0 ||
              err_set(err, ERR_USAGE,
                      "campaign %s is cancelled: `eilpost queue restore %s` brings it back",
                      command->flow, order.id);
    ok = ok && set_running(producer, &view, err);
    if (ok && !orders_get(producer, order.id, &record, err)) {
        ok = err->kind == ERR_NOT_FOUND && resume_unordered(producer, command, out, err);
    } else if (ok) {
        const char *state = json_string_value(json_object_get(record, "state"));
        if (state && strcmp(state, "resumed") == 0)
            ok = running || resume_unordered(producer, command, out, err);
        else
            ok = orders_resume(producer, order.id, command->by, command->reason, command->watch,
                               out, err);
    }
    json_decref(record);
    json_decref(view.object);
    return ok;
}

static bool log_setting(struct admin *admin, const struct campaign_command *command,
                        const char *what, json_t *value, struct err *err)
{
    json_t *entry = json_object();
    json_object_set_new(entry, "by", json_string(command->by));
    json_object_set_new(entry, "action", json_string(what));
    json_object_set_new(entry, "campaign", json_string(command->flow));
    json_object_set_new(entry, "value", value);
    if (command->reason)
        json_object_set_new(entry, "reason", json_string(command->reason));
    return order_store_log_entry(admin, entry, err);
}

/* From its answer on nothing of it is leased but what is granted: an engine would begin with that a
 * little later. */
static bool meter(struct admin *admin, const char *flow, struct err *err)
{
    admin_reset(admin);
    for (unsigned p = 0; p < admin->partitions; p++)
        ADMIN_EVAL(admin, SCRIPT_GRANT, admin_key(admin, p, "e", SLICE("")), slice_str(flow),
                   SLICE("on"), SLICE("0"), SLICE("0"), SLICE("0"));
    return admin_run(admin, err);
}

static bool set_field(struct producer *producer, const struct campaign_command *command,
                      const char *name, json_t *value, struct err *err)
{
    struct admin admin;
    struct campaign_order order;
    if (!order_for(command->flow, &order, err)) {
        json_decref(value);
        return false;
    }
    admin_open(&admin, producer);
    json_t *fields = json_object();
    json_object_set(fields, name, value);
    bool ok = change_or_make(&admin, command->flow, fields, err);
    if (ok && !json_is_null(value))
        ok = meter(&admin, command->flow, err);
    if (ok)
        ok = log_setting(&admin, command, name, value, err);
    else
        json_decref(value);
    admin_close(&admin);
    return ok;
}

bool campaign_set_rate(struct producer *producer, const struct campaign_command *command,
                       uint64_t per_second, struct err *err)
{
    return set_field(producer, command, "rate",
                     per_second > 0 ? json_integer((json_int_t)per_second) : json_null(), err);
}

bool campaign_set_canary(struct producer *producer, const struct campaign_command *command,
                         const struct campaign_canary *canary, struct err *err)
{
    if (!canary)
        return set_field(producer, command, "canary", json_null(), err);
    json_t *value = json_object();
    if (canary->first > 0)
        json_object_set_new(value, "jobs", json_integer((json_int_t)canary->first));
    else
        json_object_set_new(value, "percent", json_real(canary->percent));
    if (canary->bounce >= 0)
        json_object_set_new(value, "bounce", json_real(canary->bounce));
    if (canary->deferral >= 0)
        json_object_set_new(value, "deferral", json_real(canary->deferral));
    json_object_set_new(value, "state", json_string("running"));
    return set_field(producer, command, "canary", value, err);
}

bool campaign_order_ended(struct admin *admin, const char *order_id, struct err *err)
{
    if (strncmp(order_id, "c:", 2) != 0)
        return true;
    return change(admin, order_id + 2, state_fields("running", NULL), false, err);
}
