#include "queue/order_store.h"

#include <stdio.h>
#include <stdlib.h>

#include "queue/order_record.h"

enum {
    LOG_ENTRIES_MAX = 100000,
    RECORDS_MAX = 1000,        /* then old ones are forgotten */
    RECORD_KEEP_S = 7 * 86400, /* at least */
};

/* NULL when it isn't a JSON object. */
static json_t *parse(const struct redis_value *value)
{
    json_t *json =
        value->type == VALUE_STRING ? json_loadb(value->text.ptr, value->text.len, 0, NULL) : NULL;
    if (json_is_object(json))
        return json;
    json_decref(json);
    return NULL;
}

bool order_store_put(struct admin *admin, const json_t *record, struct err *err)
{
    char *text = json_dumps(record, JSON_COMPACT);
    admin_reset(admin);
    struct slice key = admin_key_global(admin, "orders");
    bool ok = ADMIN_ASK(admin, err, key, SLICE("HSET"), key, slice_str(order_record_id(record)),
                        slice_str(text)) != NULL;
    free(text);
    return ok;
}

static bool put_new(struct admin *admin, const json_t *record, bool *stored, struct err *err)
{
    char *text = json_dumps(record, JSON_COMPACT);
    admin_reset(admin);
    struct slice key = admin_key_global(admin, "orders");
    const struct redis_value *reply = ADMIN_ASK(
        admin, err, key, SLICE("HSETNX"), key, slice_str(order_record_id(record)), slice_str(text));
    free(text);
    *stored = reply && admin_int(reply) == 1;
    return reply != NULL;
}

bool order_store_create(struct admin *admin, const struct order_request *request, json_t **record,
                        struct err *err)
{
    int64_t now_ms;
    if (!admin_now(admin, &now_ms, err))
        return false;
    if (request->id) {
        *record = order_record_create(request, request->id, now_ms);
        return order_store_put(admin, *record, err);
    }
    for (bool stored = false; !stored; now_ms++) { /* another may be given in the same ms */
        char id[20] = "o-";
        size_t len = queue_base36((uint64_t)now_ms, id + 2);
        id[2 + len] = '\0';
        json_decref(*record);
        *record = order_record_create(request, id, now_ms);
        if (!put_new(admin, *record, &stored, err))
            return false;
    }
    return true;
}

bool order_store_get(struct admin *admin, const char *id, json_t **record, struct err *err)
{
    admin_reset(admin);
    struct slice key = admin_key_global(admin, "orders");
    const struct redis_value *reply = ADMIN_ASK(admin, err, key, SLICE("HGET"), key, slice_str(id));
    if (!reply)
        return false;
    *record = parse(reply);
    return *record || err_set(err, ERR_NOT_FOUND, "there is no order '%s'", id);
}

static int by_age(const void *a, const void *b)
{
    json_int_t x = json_integer_value(json_object_get(*(json_t *const *)a, "at"));
    json_int_t y = json_integer_value(json_object_get(*(json_t *const *)b, "at"));
    return x < y ? -1 : x > y;
}

bool order_store_all(struct admin *admin, json_t **records, struct err *err)
{
    admin_reset(admin);
    struct slice key = admin_key_global(admin, "orders");
    const struct redis_value *reply = ADMIN_ASK(admin, err, key, SLICE("HVALS"), key);
    if (!reply)
        return false;
    json_t **found = arena_alloc(&admin->arena, (reply->count + 1) * sizeof *found);
    size_t count = 0;
    for (size_t i = 0; i < reply->count; i++)
        if ((found[count] = parse(admin_item(reply, i))))
            count++;
    qsort(found, count, sizeof *found, by_age);
    *records = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(*records, found[i]);
    return true;
}

/* ---- the log ---- */

bool order_store_log_entry(struct admin *admin, json_t *entry, struct err *err)
{
    int64_t now_ms;
    admin_reset(admin);
    bool ok = admin_now(admin, &now_ms, err);
    if (ok) {
        json_object_set_new(entry, "at", json_integer(now_ms));
        char *text = json_dumps(entry, JSON_COMPACT);
        struct slice key = admin_key_global(admin, "log");
        ok = ADMIN_ASK(admin, err, key, SLICE("XADD"), key, SLICE("MAXLEN"), SLICE("~"),
                       admin_number(admin, LOG_ENTRIES_MAX), SLICE("*"), SLICE("e"),
                       slice_str(text)) != NULL;
        free(text);
    }
    json_decref(entry);
    return ok;
}

bool order_store_log(struct admin *admin, const json_t *record, const char *what, const char *by,
                     const char *reason, const struct order_counts *counts, struct err *err)
{
    json_t *entry = json_object();
    json_object_set_new(entry, "by", json_string(by));
    json_object_set_new(entry, "action", json_string(what));
    json_object_set(entry, "order", json_object_get(record, "id"));
    json_object_set(entry, "filter", json_object_get(record, "filter"));
    json_object_set(entry, "pool", json_object_get(record, "pool"));
    if (reason)
        json_object_set_new(entry, "reason", json_string(reason));
    order_record_set_counts(entry, "jobs", counts);
    return order_store_log_entry(admin, entry, err);
}

bool orders_log(struct producer *producer, unsigned max, json_t **entries, struct err *err)
{
    struct admin admin;
    admin_open(&admin, producer);
    struct slice key = admin_key_global(&admin, "log");
    const struct redis_value *reply =
        ADMIN_ASK(&admin, err, key, SLICE("XREVRANGE"), key, SLICE("+"), SLICE("-"), SLICE("COUNT"),
                  admin_number(&admin, max));
    *entries = reply ? json_array() : NULL;
    for (size_t i = reply ? reply->count : 0; i-- > 0;) {
        json_t *entry = parse(admin_item(admin_item(admin_item(reply, i), 1), 1));
        if (entry)
            json_array_append_new(*entries, entry);
    }
    admin_close(&admin);
    return reply != NULL;
}

/* ---- how many ---- */

static bool forget_old(struct admin *admin, json_t *records, int64_t now_ms, struct err *err)
{
    size_t i;
    json_t *record;
    admin_reset(admin);
    struct slice key = admin_key_global(admin, "orders");
    json_array_foreach(records, i, record)
    {
        int64_t keep_s = MAX_OF(json_integer_value(json_object_get(record, "keep_s")),
                                (json_int_t)RECORD_KEEP_S);
        const char *state = order_record_state(record);
        bool over = strcmp(state, "done") == 0 || strcmp(state, "resumed") == 0 ||
                    strcmp(state, "restored") == 0;
        if (over && json_integer_value(json_object_get(record, "at")) + 1000 * keep_s < now_ms)
            ADMIN_COMMAND(admin, key, SLICE("HDEL"), key, slice_str(order_record_id(record)));
    }
    return admin_run(admin, err);
}

/* Orders for one campaign cost nothing where others are leased. */
static bool limited(const json_t *record)
{
    return order_record_in_force(record) && strncmp(order_record_id(record), "c:", 2) != 0;
}

/* Whether any partition has the order, by the keys of all. */
static bool anywhere(struct producer_call *const *keys, unsigned partitions, const char *id)
{
    for (unsigned p = 0; p < partitions; p++)
        for (size_t i = 0; i < keys[p]->reply->count; i++)
            if (slice_eq(admin_item(keys[p]->reply, i)->text, slice_str(id)))
                return true;
    return false;
}

bool order_store_reconcile(struct admin *admin, const json_t *records, struct err *err)
{
    size_t i;
    json_t *record;
    admin_reset(admin);
    struct producer_call **keys = arena_alloc(&admin->arena, admin->partitions * sizeof *keys);
    for (unsigned p = 0; p < admin->partitions; p++) {
        struct slice key = admin_key(admin, p, "a", SLICE(""));
        keys[p] = ADMIN_COMMAND(admin, key, SLICE("HKEYS"), key);
    }
    if (!admin_run(admin, err))
        return false;
    json_t *ended = json_array();
    json_array_foreach(records, i, record)
    {
        bool settled = strcmp(order_record_state(record), "in_force") == 0 &&
                       order_record_action(record) != ORDER_SUSPEND;
        if (settled && !anywhere(keys, admin->partitions, order_record_id(record))) {
            order_record_set_state(record, "done");
            json_array_append(ended, record);
        }
    }
    bool ok = true;
    json_array_foreach(ended, i, record) ok = ok && order_store_put(admin, record, err);
    json_decref(ended);
    return ok;
}

bool orders_make_room(struct admin *admin, struct err *err)
{
    json_t *records, *record;
    int64_t now_ms;
    if (!admin_now(admin, &now_ms, err) || !order_store_all(admin, &records, err))
        return false;
    bool ok = order_store_reconcile(admin, records, err);
    size_t i, in_force = 0;
    json_array_foreach(records, i, record) in_force += limited(record);
    if (ok && json_array_size(records) > RECORDS_MAX)
        ok = forget_old(admin, records, now_ms, err);
    json_decref(records);
    if (ok && in_force >= ORDERS_IN_FORCE_MAX)
        return err_set(err, ERR_LIMIT,
                       "%zu orders are in force, which is the most: end one first (eilpost queue "
                       "orders lists them)",
                       in_force);
    return ok;
}

/* ---- for the command line ---- */

bool orders_get(struct producer *producer, const char *id, json_t **record, struct err *err)
{
    struct admin admin;
    admin_open(&admin, producer);
    bool ok = order_store_get(&admin, id, record, err);
    admin_close(&admin);
    return ok;
}

bool orders_list(struct producer *producer, bool all, json_t **records, struct err *err)
{
    struct admin admin;
    admin_open(&admin, producer);
    bool ok = order_store_all(&admin, records, err);
    if (ok && !order_store_reconcile(&admin, *records, err)) {
        json_decref(*records);
        *records = NULL;
        ok = false;
    }
    for (size_t i = ok ? json_array_size(*records) : 0; i-- > 0 && !all;) {
        const json_t *record = json_array_get(*records, i);
        const char *state = order_record_state(record);
        bool open = order_record_in_force(record) || strcmp(state, "under_way") == 0 ||
                    strcmp(state, "resuming") == 0 || strcmp(state, "restoring") == 0;
        if (!open)
            json_array_remove(*records, i);
    }
    admin_close(&admin);
    return ok;
}

bool orders_matching(struct producer *producer, const struct order_filter *filter, json_t **ids,
                     struct err *err)
{
    json_t *records, *record, *wanted = order_filter_json(filter);
    size_t i;
    bool ok = orders_list(producer, false, &records, err);
    if (ok) {
        *ids = json_array();
        json_array_foreach(records, i,
                           record) if (order_record_action(record) == ORDER_SUSPEND &&
                                       json_equal(json_object_get(record, "filter"), wanted))
            json_array_append(*ids, json_object_get(record, "id"));
        json_decref(records);
    }
    json_decref(wanted);
    return ok;
}
