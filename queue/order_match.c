#include "queue/order_match.h"

#include <stdlib.h>

#include "engine/base/mem.h"
#include "queue/order_record.h"
#include "queue/order_store.h"

/* "*.example.org" is any name below example.org; names are words of `text`. */
static bool names(const char *pattern, struct slice text)
{
    struct slice wanted = slice_str(pattern);
    bool below = slice_starts_with(wanted, SLICE("*"));
    if (below)
        wanted = slice_skip(wanted, 1);
    while (text.len > 0) {
        struct slice word = slice_cut(&text, ' ');
        if (below ? slice_ends_with(word, wanted) : slice_eq(word, wanted))
            return true;
    }
    return false;
}

static bool is(const char *wanted, struct slice text)
{
    return !wanted || slice_eq(slice_str(wanted), text);
}

bool order_filter_matches(const struct order_filter *filter, int64_t before_ms,
                          const struct order_subject *subject)
{
    struct slice campaign = subject->flow;
    struct slice tenant = slice_cut(&campaign, '/');
    return (!filter->class || filter->class == subject->class) && is(filter->tenant, tenant) &&
           is(filter->campaign, campaign) && is(filter->submission, subject->submission) &&
           (before_ms == 0 || subject->accepted_ms < before_ms) &&
           (!filter->destination || names(filter->destination, subject->destination)) &&
           (!filter->site || names(filter->site, subject->hosts));
}

static int64_t entry_before(const json_t *record)
{
    char *text = order_record_entry(record);
    json_t *entry = json_loads(text, 0, NULL);
    int64_t before = json_integer_value(json_object_get(entry, "before"));
    json_decref(entry);
    free(text);
    return before;
}

bool order_holds_load(struct admin *admin, struct order_holds *out, struct err *err)
{
    *out = (struct order_holds){ 0 };
    if (!order_store_all(admin, &out->records, err) ||
        !order_store_reconcile(admin, out->records, err))
        return false;
    out->items = mem_array(json_array_size(out->records) + 1, sizeof *out->items);
    size_t i;
    json_t *record;
    json_array_foreach(out->records, i, record)
    {
        enum order_action action = order_record_action(record);
        struct order_hold *hold = &out->items[out->count];
        if (!order_record_in_force(record) || action == ORDER_MOVE ||
            !order_filter_parse(json_object_get(record, "filter"), &hold->filter))
            continue;
        hold->id = order_record_id(record);
        hold->action = order_action_name(action);
        hold->before_ms = entry_before(record);
        out->count++;
    }
    return true;
}

void order_holds_free(struct order_holds *holds)
{
    json_decref(holds->records);
    free(holds->items);
    *holds = (struct order_holds){ 0 };
}

const struct order_hold *order_holding(const struct order_holds *holds,
                                       const struct order_subject *subject)
{
    for (size_t i = 0; i < holds->count; i++)
        if (order_filter_matches(&holds->items[i].filter, holds->items[i].before_ms, subject))
            return &holds->items[i];
    return NULL;
}
