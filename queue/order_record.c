#include "queue/order_record.h"

#include <string.h>

static const char *const actions[] = {
    [ORDER_SUSPEND] = "suspend", [ORDER_CANCEL] = "cancel", [ORDER_PURGE] = "purge",
    [ORDER_MOVE] = "move",       [ORDER_RETRY] = "retry",
};

static const struct {
    char letter;
    const char *name;
} classes[] = { { 't', "transactional" }, { 'd', "deadline" }, { 'b', "bulk" } };

const char *order_action_name(enum order_action action)
{
    return actions[action];
}

bool order_filter_empty(const struct order_filter *filter)
{
    return !filter->destination && !filter->site && !filter->tenant && !filter->campaign &&
           !filter->submission && !filter->class && filter->older_than_s == 0;
}

static void set_text(json_t *object, const char *name, const char *text)
{
    if (text)
        json_object_set_new(object, name, json_string(text));
}

static const char *get_text(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

json_t *order_filter_json(const struct order_filter *filter)
{
    json_t *json = json_object();
    set_text(json, "destination", filter->destination);
    set_text(json, "site", filter->site);
    set_text(json, "tenant", filter->tenant);
    set_text(json, "campaign", filter->campaign);
    set_text(json, "submission", filter->submission);
    for (size_t i = 0; i < ARRAY_LEN(classes); i++)
        if (filter->class == classes[i].letter)
            set_text(json, "class", classes[i].name);
    if (filter->older_than_s > 0)
        json_object_set_new(json, "older_than_s", json_integer(filter->older_than_s));
    return json;
}

bool order_filter_parse(const json_t *json, struct order_filter *out)
{
    *out = (struct order_filter){ .destination = get_text(json, "destination"),
                                  .site = get_text(json, "site"),
                                  .tenant = get_text(json, "tenant"),
                                  .campaign = get_text(json, "campaign"),
                                  .submission = get_text(json, "submission") };
    const char *class = get_text(json, "class");
    for (size_t i = 0; class && i < ARRAY_LEN(classes); i++)
        if (strcmp(class, classes[i].name) == 0)
            out->class = classes[i].letter;
    out->older_than_s = json_integer_value(json_object_get(json, "older_than_s"));
    return json_is_object(json) && (!class || out->class);
}

/* ---- records ---- */

json_t *order_record_create(const struct order_request *request, const char *id, int64_t now_ms)
{
    json_t *record = json_object();
    set_text(record, "id", id);
    set_text(record, "action", actions[request->action]);
    set_text(record, "by", request->by);
    set_text(record, "reason", request->reason);
    set_text(record, "pool", request->action == ORDER_MOVE ? request->pool : NULL);
    json_object_set_new(record, "at", json_integer(now_ms));
    json_object_set_new(record, "filter", order_filter_json(&request->filter));
    if (request->action == ORDER_CANCEL || request->action == ORDER_PURGE)
        json_object_set_new(record, "keep_s", json_integer(request->keep_s));
    set_text(record, "state", "entering");
    return record;
}

/* A suspension concerns what comes later, too, and so does a campaign's cancellation; all else is
 * for what was accepted before. */
static int64_t accepted_before(const json_t *record, const struct order_filter *filter)
{
    int64_t at = json_integer_value(json_object_get(record, "at"));
    bool lasting = order_record_action(record) == ORDER_SUSPEND ||
                   strncmp(order_record_id(record), "c:", 2) == 0;
    if (filter->older_than_s > 0)
        return at - filter->older_than_s * 1000;
    return lasting ? 0 : at;
}

char *order_record_entry(const json_t *record)
{
    struct order_filter filter;
    if (!order_filter_parse(json_object_get(record, "filter"), &filter))
        filter = (struct order_filter){ .submission = "" }; /* nothing has an empty one */
    json_t *entry = json_object();
    int64_t before = accepted_before(record, &filter);
    set_text(entry, "id", order_record_id(record));
    set_text(entry, "action", actions[order_record_action(record)]);
    set_text(entry, "destination", filter.destination);
    set_text(entry, "site", filter.site);
    set_text(entry, "tenant", filter.tenant);
    set_text(entry, "campaign", filter.campaign);
    set_text(entry, "submission", filter.submission);
    set_text(entry, "class", filter.class ? (char[]){ filter.class, '\0' } : NULL);
    set_text(entry, "pool", get_text(record, "pool"));
    set_text(entry, "reason", get_text(record, "reason"));
    json_object_set(entry, "at", json_object_get(record, "at"));
    json_object_set(entry, "keep_s", json_object_get(record, "keep_s")); /* for who walks again */
    if (before > 0)
        json_object_set_new(entry, "before", json_integer(before));
    char *text = json_dumps(entry, JSON_COMPACT);
    json_decref(entry);
    return text;
}

enum order_action order_record_action(const json_t *record)
{
    const char *name = get_text(record, "action");
    for (size_t i = 0; name && i < ARRAY_LEN(actions); i++)
        if (strcmp(name, actions[i]) == 0)
            return (enum order_action)i;
    return ORDER_RETRY; /* the one that holds nothing */
}

const char *order_record_id(const json_t *record)
{
    const char *id = get_text(record, "id");
    return id ? id : "";
}

const char *order_record_state(const json_t *record)
{
    const char *state = get_text(record, "state");
    return state ? state : "";
}

void order_record_set_state(json_t *record, const char *state)
{
    set_text(record, "state", state);
}

bool order_record_in_force(const json_t *record)
{
    static const char *const over[] = { "done", "resumed", "restored", "resuming", "restoring" };
    for (size_t i = 0; i < ARRAY_LEN(over); i++)
        if (strcmp(order_record_state(record), over[i]) == 0)
            return false;
    return order_record_action(record) != ORDER_RETRY;
}

void order_record_set_counts(json_t *record, const char *name, const struct order_counts *counts)
{
    json_t *json = json_object();
    json_object_set_new(json, "queued", json_integer((json_int_t)counts->queued));
    json_object_set_new(json, "retrying", json_integer((json_int_t)counts->retrying));
    json_object_set_new(json, "in_flight", json_integer((json_int_t)counts->in_flight));
    json_object_set_new(record, name, json);
}

static uint64_t get_count(const json_t *object, const char *name)
{
    json_int_t number = json_integer_value(json_object_get(object, name));
    return number > 0 ? (uint64_t)number : 0;
}

void order_record_counts(const json_t *record, const char *name, struct order_counts *out)
{
    const json_t *json = json_object_get(record, name);
    *out = (struct order_counts){ .queued = get_count(json, "queued"),
                                  .retrying = get_count(json, "retrying"),
                                  .in_flight = get_count(json, "in_flight") };
}
