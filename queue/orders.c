/* Giving orders and taking them back. Each step can be repeated: the record in ns:orders says how
 * far an order has come, and orders_finish() does the rest. */
#include "queue/orders.h"

#include <stdio.h>
#include <stdlib.h>

#include "queue/admin_io.h"
#include "queue/campaigns.h"
#include "queue/order_record.h"
#include "queue/order_store.h"
#include "queue/order_walk.h"

enum {
    RESTORE_JOBS = 200, /* per call */
    RELEASE_MS = 3000,  /* engines let go of what they hold within a second */
};

/* ---- orders in the partitions ---- */

static bool enter(struct admin *admin, const json_t *record, struct err *err)
{
    char *entry = order_record_entry(record);
    admin_reset(admin);
    for (unsigned p = 0; p < admin->partitions; p++) {
        struct slice key = admin_key(admin, p, "a", SLICE(""));
        ADMIN_COMMAND(admin, key, SLICE("HSET"), key, slice_str(order_record_id(record)),
                      slice_str(entry));
    }
    free(entry);
    return admin_run(admin, err);
}

static bool leave(struct admin *admin, const char *id, struct err *err)
{
    admin_reset(admin);
    for (unsigned p = 0; p < admin->partitions; p++) {
        struct slice key = admin_key(admin, p, "a", SLICE(""));
        ADMIN_COMMAND(admin, key, SLICE("HDEL"), key, slice_str(id));
    }
    return admin_run(admin, err);
}

static bool walk_record(struct admin *admin, const json_t *record, const char *action,
                        unsigned phases, const struct order_watch *watch, struct order_counts *out,
                        struct err *err)
{
    char *entry = order_record_entry(record);
    const struct order_walk walk = {
        .action = action,
        .order = entry,
        .phases = phases,
        .keep_s = MAX_OF(json_integer_value(json_object_get(record, "keep_s")), (json_int_t)60),
        .watch = watch,
    };
    bool ok = order_walk_run(admin, &walk, out, err);
    free(entry);
    return ok;
}

static bool settled(struct admin *admin, const json_t *record, const struct order_watch *watch,
                    uint64_t *left, struct err *err)
{
    char *entry = order_record_entry(record);
    bool ok = order_walk_settled(admin, entry, watch, RELEASE_MS, left, err);
    free(entry);
    return ok;
}

/* ---- carrying out ---- */

/* Ends what matches. Something that was in flight when the order had entered may have come back
 * behind the walk: then once more. */
static bool end_jobs(struct admin *admin, const json_t *record, const struct order_watch *watch,
                     struct order_result *out, struct err *err)
{
    const char *action = order_action_name(order_record_action(record));
    const unsigned phases = WALK_RETRIES | WALK_QUEUES;
    if (!walk_record(admin, record, action, phases, watch, &out->acted, err))
        return false;
    if (out->found.in_flight == 0)
        return true;
    return settled(admin, record, watch, &out->acted.in_flight, err) &&
           walk_record(admin, record, action, phases, watch, &out->acted, err);
}

/* An order whose partitions all know it. */
static bool carry_out(struct admin *admin, const json_t *record, const struct order_watch *watch,
                      struct order_result *out, struct err *err)
{
    struct order_watch quiet = watch ? *watch : (struct order_watch){ 0 };
    quiet.progress = NULL;
    switch (order_record_action(record)) {
    case ORDER_CANCEL:
    case ORDER_PURGE:
        return end_jobs(admin, record, watch, out, err);
    case ORDER_RETRY:
        return walk_record(admin, record, "retry", WALK_RETRIES | WALK_QUEUES, watch, &out->acted,
                           err);
    case ORDER_SUSPEND:
        out->acted = out->found;
        return settled(admin, record, &quiet, &out->acted.in_flight, err);
    case ORDER_MOVE:
        out->acted = out->found;
        return true;
    }
    return false;
}

static bool count_and_carry_out(struct admin *admin, json_t *record,
                                const struct order_watch *watch, struct order_result *out,
                                struct err *err)
{
    struct order_watch quiet = watch ? *watch : (struct order_watch){ 0 };
    quiet.progress = NULL;
    out->found = out->acted = (struct order_counts){ 0 };
    if (!walk_record(admin, record, "count", WALK_ALL, &quiet, &out->found, err))
        return false;
    if (watch && watch->found)
        watch->found(watch->user, out->id, &out->found);
    order_record_set_counts(record, "found", &out->found);
    if (!order_store_put(admin, record, err))
        return false;
    return carry_out(admin, record, watch, out, err);
}

static bool conclude(struct admin *admin, json_t *record, const struct order_result *result,
                     struct err *err)
{
    struct order_counts before;
    order_record_counts(record, "acted", &before);
    enum order_action action = order_record_action(record);
    struct order_counts acted = result->acted;
    if (action == ORDER_CANCEL || action == ORDER_PURGE) { /* in rounds, perhaps */
        acted.queued += before.queued;
        acted.retrying += before.retrying;
    }
    order_record_set_counts(record, "acted", &acted);
    order_record_set_state(record, action == ORDER_RETRY ? "done" : "in_force");
    return order_store_put(admin, record, err);
}

/* After the record was stored: everything that may have to be done again. */
static bool proceed(struct admin *admin, json_t *record, const struct order_watch *watch,
                    struct order_result *out, struct err *err)
{
    snprintf(out->id, sizeof out->id, "%s", order_record_id(record));
    enum order_action action = order_record_action(record);
    if (action != ORDER_RETRY && !enter(admin, record, err))
        return false;
    order_record_set_state(record, "under_way");
    bool ok = count_and_carry_out(admin, record, watch, out, err);
    if (ok)
        return conclude(admin, record, out, err);
    /* What was done until now counts, whoever goes on. */
    struct err ignored = { 0 };
    if (err->kind == ERR_CANCELLED && conclude(admin, record, out, &ignored)) {
        order_record_set_state(record, "under_way");
        (void)!order_store_put(admin, record, &ignored);
    }
    return false;
}

bool orders_count(struct producer *producer, const struct order_filter *filter,
                  const struct order_watch *watch, struct order_counts *out, struct err *err)
{
    struct admin admin;
    int64_t now_ms;
    *out = (struct order_counts){ 0 };
    admin_open(&admin, producer);
    bool ok = admin_now(&admin, &now_ms, err);
    if (ok) {
        const struct order_request request = { .action = ORDER_RETRY, .filter = *filter, .by = "" };
        json_t *record = order_record_create(&request, "", now_ms);
        ok = walk_record(&admin, record, "count", WALK_ALL, watch, out, err);
        json_decref(record);
    }
    admin_close(&admin);
    return ok;
}

bool orders_count_of(struct producer *producer, const json_t *record,
                     const struct order_watch *watch, struct order_counts *out, struct err *err)
{
    struct admin admin;
    *out = (struct order_counts){ 0 };
    admin_open(&admin, producer);
    bool ok = walk_record(&admin, record, "count", WALK_ALL, watch, out, err);
    admin_close(&admin);
    return ok;
}

bool orders_give(struct producer *producer, const struct order_request *request,
                 const struct order_watch *watch, struct order_result *out, struct err *err)
{
    struct admin admin;
    json_t *record = NULL;
    *out = (struct order_result){ 0 };
    admin_open(&admin, producer);
    bool limited = request->action != ORDER_RETRY && !request->id;
    bool ok = (!limited || orders_make_room(&admin, err)) &&
              order_store_create(&admin, request, &record, err);
    if (ok) {
        ok = proceed(&admin, record, watch, out, err);
        struct err ignored = { 0 };
        ok = order_store_log(&admin, record, order_action_name(request->action), request->by,
                             request->reason, &out->acted, ok ? err : &ignored) &&
             ok;
    }
    json_decref(record);
    admin_close(&admin);
    return ok;
}

/* ---- resumed, restored ---- */

static bool resume(struct admin *admin, json_t *record, const struct order_watch *watch,
                   struct order_result *out, struct err *err)
{
    const char *id = order_record_id(record);
    snprintf(out->id, sizeof out->id, "%s", id);
    order_record_set_state(record, "resuming");
    if (!order_store_put(admin, record, err) || !leave(admin, id, err) ||
        !campaign_order_ended(admin, id, err) ||
        !walk_record(admin, record, "link", WALK_QUEUES, watch, &out->acted, err))
        return false;
    order_record_set_state(record, "resumed");
    return order_store_put(admin, record, err);
}

/* Empties an order's trash, partition after partition. */
static bool bring_back(struct admin *admin, const char *id, const struct order_watch *watch,
                       struct order_result *out, uint64_t *forgotten, struct err *err)
{
    for (unsigned p = 0; p < admin->partitions; p++)
        for (int64_t left = 1; left > 0;) {
            if (watch && watch->stop && watch->stop(watch->user))
                return err_set(err, ERR_CANCELLED, "interrupted");
            admin_reset(admin);
            struct producer_call *call = ADMIN_EVAL(
                admin, SCRIPT_RESTORE, admin_key(admin, p, "e", SLICE("")), slice_str(id),
                admin_number(admin, RESTORE_JOBS), admin_number(admin, QUEUE_TOTALS_TTL_S));
            if (!admin_run(admin, err))
                return false;
            out->acted.queued += (uint64_t)admin_int(admin_item(call->reply, 0));
            *forgotten += (uint64_t)admin_int(admin_item(call->reply, 1));
            left = admin_int(admin_item(call->reply, 2));
            if (watch && watch->progress)
                watch->progress(watch->user, out->acted.queued);
        }
    return true;
}

static bool restore(struct admin *admin, json_t *record, const struct order_watch *watch,
                    struct order_result *out, uint64_t *forgotten, struct err *err)
{
    const char *id = order_record_id(record);
    snprintf(out->id, sizeof out->id, "%s", id);
    order_record_set_state(record, "restoring");
    if (!order_store_put(admin, record, err) || !leave(admin, id, err) ||
        !campaign_order_ended(admin, id, err))
        return false;
    bool moved = order_record_action(record) == ORDER_MOVE;
    if (!moved &&
        (!bring_back(admin, id, watch, out, forgotten, err) ||
         !walk_record(admin, record, "link", WALK_QUEUES, watch, &(struct order_counts){ 0 }, err)))
        return false;
    order_record_set_state(record, "restored");
    return order_store_put(admin, record, err);
}

static bool refuse(const json_t *record, const char *what, struct err *err)
{
    return err_set(err, ERR_USAGE, "order %s is a %s (%s): it can't be %s", order_record_id(record),
                   order_action_name(order_record_action(record)), order_record_state(record),
                   what);
}

bool orders_resume(struct producer *producer, const char *id, const char *by, const char *reason,
                   const struct order_watch *watch, struct order_result *out, struct err *err)
{
    struct admin admin;
    json_t *record = NULL;
    *out = (struct order_result){ 0 };
    admin_open(&admin, producer);
    bool ok = order_store_get(&admin, id, &record, err);
    if (ok && (order_record_action(record) != ORDER_SUSPEND ||
               strcmp(order_record_state(record), "resumed") == 0))
        ok = refuse(record, "resumed", err);
    ok = ok && resume(&admin, record, watch, out, err) &&
         order_store_log(&admin, record, "resume", by, reason, &out->acted, err);
    json_decref(record);
    admin_close(&admin);
    return ok;
}

bool orders_restore(struct producer *producer, const char *id, const char *by, const char *reason,
                    const struct order_watch *watch, struct order_result *out, uint64_t *forgotten,
                    struct err *err)
{
    struct admin admin;
    json_t *record = NULL;
    *out = (struct order_result){ 0 };
    *forgotten = 0;
    admin_open(&admin, producer);
    bool ok = order_store_get(&admin, id, &record, err);
    enum order_action action = ok ? order_record_action(record) : ORDER_RETRY;
    if (ok && action != ORDER_CANCEL && action != ORDER_PURGE && action != ORDER_MOVE)
        ok = refuse(record, "restored", err);
    ok = ok && restore(&admin, record, watch, out, forgotten, err) &&
         order_store_log(&admin, record, "restore", by, reason, &out->acted, err);
    json_decref(record);
    admin_close(&admin);
    return ok;
}

bool orders_finish(struct producer *producer, const char *id, const struct order_watch *watch,
                   struct order_result *out, struct err *err)
{
    struct admin admin;
    json_t *record = NULL;
    uint64_t forgotten = 0;
    *out = (struct order_result){ 0 };
    admin_open(&admin, producer);
    bool ok = order_store_get(&admin, id, &record, err);
    const char *state = ok ? order_record_state(record) : "";
    if (ok && strcmp(state, "resuming") == 0)
        ok = resume(&admin, record, watch, out, err);
    else if (ok && strcmp(state, "restoring") == 0)
        ok = restore(&admin, record, watch, out, &forgotten, err);
    else if (ok && !order_record_in_force(record) && strcmp(state, "under_way") != 0 &&
             strcmp(state, "entering") != 0)
        ok = refuse(record, "finished: nothing is left to do", err);
    else if (ok)
        ok = proceed(&admin, record, watch, out, err);
    json_decref(record);
    admin_close(&admin);
    return ok;
}

bool orders_kept(struct producer *producer, const char *id, uint64_t *jobs, struct err *err)
{
    struct admin admin;
    admin_open(&admin, producer);
    *jobs = 0;
    struct producer_call **calls = arena_alloc(&admin.arena, admin.partitions * sizeof *calls);
    for (unsigned p = 0; p < admin.partitions; p++) {
        struct slice key = admin_key(&admin, p, "z:", slice_str(id));
        calls[p] = ADMIN_COMMAND(&admin, key, SLICE("LLEN"), key);
    }
    bool ok = admin_run(&admin, err);
    for (unsigned p = 0; ok && p < admin.partitions; p++)
        *jobs += (uint64_t)admin_int(calls[p]->reply);
    admin_close(&admin);
    return ok;
}
