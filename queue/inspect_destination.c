/* eilpost queue show DEST: one destination in its partition. */
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/mem.h"
#include "queue/inspect_internal.h"

struct view {
    struct inspection inspection;
    struct arena arena;
    struct slice destination, hosts;
    unsigned partition;
    uint64_t queued, retrying, in_flight, queues;
    struct slice sids[INSPECT_QUEUES_SHOWN];
    int64_t next_retry_ms;
    struct slice last_reply;
    json_t *root;
};

/* ---- scans ---- */

/* "DEST SID" */
static bool on_queue(void *user, struct slice member, struct slice score)
{
    struct view *view = user;
    (void)score;
    slice_cut(&member, ' ');
    if (view->queues < INSPECT_QUEUES_SHOWN)
        view->sids[view->queues] = arena_copy(&view->arena, member);
    view->queues++;
    return true;
}

static bool on_retry(void *user, struct slice member, struct slice score)
{
    struct view *view = user;
    struct slice destination;
    struct record record;
    uint64_t due;
    struct slice bytes = inspect_retry_record(member, &destination);
    view->retrying++;
    if (slice_to_u64(score, &due) &&
        (view->next_retry_ms == 0 || (int64_t)due < view->next_retry_ms)) {
        view->next_retry_ms = (int64_t)due;
        if (inspect_record(bytes, &record))
            view->last_reply = arena_copy(&view->arena, record.last_reply);
    }
    return true;
}

static bool on_lease(void *user, struct slice id, struct slice value)
{
    struct view *view = user;
    struct slice node, destination;
    int64_t deadline_ms;
    (void)id;
    (void)inspect_lease_record(value, &node, &deadline_ms, &destination);
    view->in_flight += slice_eq(destination, view->destination);
    return true;
}

static bool scan_all(struct view *view, struct err *err)
{
    char queues[QUEUE_DESTINATION_BYTES_MAX + 8], retries[QUEUE_DESTINATION_BYTES_MAX + 8];
    snprintf(queues, sizeof queues, "%.*s *", SLICE_FMT(view->destination));
    snprintf(retries, sizeof retries, "%.*s\t*", SLICE_FMT(view->destination));
    const struct inspect_scan scans[] = {
        { "ZSCAN", view->partition, "x", queues, on_queue, view },
        { "ZSCAN", view->partition, "t", retries, on_retry, view },
        { "HSCAN", view->partition, "i", NULL, on_lease, view },
    };
    for (size_t i = 0; i < ARRAY_LEN(scans); i++)
        if (!inspect_scan_run(&view->inspection, &scans[i], err))
            return false;
    return true;
}

/* ---- details ---- */

static struct slice joined(struct arena *arena, const char *name, struct slice a, struct slice b)
{
    size_t room = strlen(name) + a.len + b.len + 2;
    char *text = arena_alloc(arena, room);
    int len = snprintf(text, room, "%s%.*s %.*s", name, SLICE_FMT(a), SLICE_FMT(b));
    return slice_of(text, (size_t)len);
}

static bool queue_json(struct view *view, struct slice sid, json_t *queues, struct err *err)
{
    struct admin *admin = &view->inspection.admin;
    struct submission_facts facts;
    int64_t now_ms = view->inspection.now_ms;
    if (!submission_facts_read(&view->inspection, view->partition, sid, &view->arena, &facts, err))
        return false;
    struct slice key =
        admin_key(admin, view->partition, "q:", joined(&view->arena, "", view->destination, sid));
    const struct redis_value *jobs = ADMIN_ASK(admin, err, key, SLICE("LLEN"), key);
    if (!jobs)
        return false;
    const struct order_subject subject = { .destination = view->destination,
                                           .submission = sid,
                                           .flow = facts.flow,
                                           .hosts = view->hosts,
                                           .class = facts.class,
                                           .accepted_ms = facts.accepted_ms };
    const struct order_hold *hold = order_holding(&view->inspection.holds, &subject);
    json_t *json = json_object();
    inspect_set_text(json, "submission", sid);
    inspect_set_text(json, "class", inspect_class(facts.class));
    inspect_set_text(json, "flow", facts.flow);
    inspect_set_text(json, "pool", facts.pool);
    inspect_set_number(json, "jobs", admin_int(jobs));
    inspect_set_number(json, "accepted_ms", facts.accepted_ms);
    inspect_set_number(json, "expires_ms", facts.expires_ms);
    if (submission_opens(&facts, now_ms) > now_ms)
        inspect_set_number(json, "opens_ms", submission_opens(&facts, now_ms));
    if (hold)
        inspect_set_text(json, "held_by", slice_str(hold->id));
    json_array_append_new(queues, json);
    return true;
}

/* `sole`: it has the only submission there. */
static bool flow_json(struct view *view, const char *class, struct slice flow, bool sole,
                      json_t *flows, struct err *err)
{
    struct admin *admin = &view->inspection.admin;
    admin_reset(admin);
    char name[8];
    snprintf(name, sizeof name, "f:%s:", class);
    struct slice of =
        admin_key(admin, view->partition, name, joined(&view->arena, "", view->destination, flow));
    struct slice sums = admin_key(admin, view->partition, "c:", flow);
    struct producer_call *count = ADMIN_COMMAND(admin, of, SLICE("ZCARD"), of);
    struct producer_call *meter = ADMIN_COMMAND(admin, sums, SLICE("HMGET"), sums, SLICE("metered"),
                                                SLICE("budget"), SLICE("weight"));
    if (!admin_run(admin, err))
        return false;
    json_t *json = json_object();
    inspect_set_text(json, "flow", flow);
    inspect_set_number(json, "submissions", sole ? 1 : admin_int(count->reply));
    if (admin_int(admin_item(meter->reply, 0)) == 1)
        inspect_set_number(json, "budget", admin_int(admin_item(meter->reply, 1)));
    if (admin_int(admin_item(meter->reply, 2)) > 0)
        inspect_set_number(json, "weight", admin_int(admin_item(meter->reply, 2)));
    json_array_append_new(flows, json);
    return true;
}

/* The flow of a submission; empty when it's forgotten. */
static bool flow_of(struct view *view, struct slice submission, struct slice *flow, struct err *err)
{
    struct admin *admin = &view->inspection.admin;
    admin_reset(admin);
    struct slice known = admin_key(admin, view->partition, "g:", submission);
    struct producer_call *its = ADMIN_COMMAND(admin, known, SLICE("HGET"), known, SLICE("flow"));
    if (!admin_run(admin, err))
        return false;
    *flow = arena_copy(&view->arena, its->reply->text);
    return true;
}

/* When the destination is offered in a class, and which flows have something to lease there. */
static bool class_json(struct view *view, const char *class, const char *name, json_t *classes,
                       struct err *err)
{
    struct admin *admin = &view->inspection.admin;
    char ready_name[8], flows_name[8], sole_name[8];
    snprintf(sole_name, sizeof sole_name, "s:%s", class);
    snprintf(ready_name, sizeof ready_name, "r:%s", class);
    snprintf(flows_name, sizeof flows_name, "d:%s:", class);
    admin_reset(admin);
    struct slice ready = admin_key(admin, view->partition, ready_name, SLICE(""));
    struct slice flows = admin_key(admin, view->partition, flows_name, view->destination);
    struct slice soles = admin_key(admin, view->partition, sole_name, SLICE(""));
    struct producer_call *next =
        ADMIN_COMMAND(admin, ready, SLICE("ZSCORE"), ready, view->destination);
    struct producer_call *list =
        ADMIN_COMMAND(admin, flows, SLICE("ZRANGE"), flows, SLICE("0"), SLICE("19"));
    struct producer_call *only =
        ADMIN_COMMAND(admin, soles, SLICE("HGET"), soles, view->destination);
    if (!admin_run(admin, err))
        return false;
    struct slice sole = arena_copy(&view->arena, only->reply->text);
    if (sole.len == 0 && admin_int(next->reply) == 0)
        return true;
    json_t *json = json_object(), *array = json_array();
    inspect_set_text(json, "class", slice_str(name));
    inspect_set_number(json, "next_ms", admin_int(next->reply));
    size_t count = list->reply->count;
    struct slice *names = arena_alloc(&view->arena, (count + 1) * sizeof *names);
    for (size_t i = 0; i < count; i++)
        names[i] = arena_copy(&view->arena, admin_item(list->reply, i)->text);
    bool ok = true, alone = sole.len > 0 && !slice_eq(sole, SLICE("*"));
    if (alone) {
        ok = flow_of(view, sole, &names[0], err);
        count = 1;
    }
    for (size_t i = 0; ok && i < count; i++)
        ok = flow_json(view, class, names[i], alone, array, err);
    json_object_set_new(json, "flows", array);
    json_array_append_new(classes, json);
    return ok;
}

static bool partition_json(struct view *view, struct err *err)
{
    struct admin *admin = &view->inspection.admin;
    admin_reset(admin);
    struct slice owner = admin_key(admin, view->partition, "o", SLICE(""));
    struct slice parked = admin_key(admin, view->partition, "k", SLICE(""));
    struct producer_call *who = ADMIN_COMMAND(admin, owner, SLICE("GET"), owner);
    struct producer_call *until =
        ADMIN_COMMAND(admin, parked, SLICE("HGET"), parked, view->destination);
    if (!admin_run(admin, err))
        return false;
    inspect_set_text(view->root, "owner", who->reply->text);
    if (admin_int(until->reply) > view->inspection.now_ms)
        inspect_set_number(view->root, "parked_until_ms", admin_int(until->reply));
    return inspect_hosts(&view->inspection, view->partition, view->destination, &view->arena,
                         &view->hosts, err);
}

/* Exact, by the script that orders count with. */
static bool queued_count(struct view *view, struct producer *producer, struct err *err)
{
    char text[QUEUE_DESTINATION_BYTES_MAX + 1];
    struct order_counts counts;
    snprintf(text, sizeof text, "%.*s", SLICE_FMT(view->destination));
    const struct order_filter filter = { .destination = text };
    if (!orders_count(producer, &filter, view->inspection.watch, &counts, err))
        return false;
    view->queued = counts.queued;
    return true;
}

static bool view_fill(struct view *view, struct producer *producer, struct err *err)
{
    static const char *const classes[][2] = { { "t", "transactional" },
                                              { "d", "deadline" },
                                              { "b", "bulk" } };
    json_t *list = json_array(), *queues = json_array();
    inspect_set_number(view->root, "now_ms", view->inspection.now_ms);
    inspect_set_text(view->root, "destination", view->destination);
    inspect_set_number(view->root, "partition", view->partition);
    bool ok = partition_json(view, err) && scan_all(view, err);
    for (size_t i = 0; ok && i < ARRAY_LEN(classes); i++)
        ok = class_json(view, classes[i][0], classes[i][1], list, err);
    for (uint64_t i = 0; ok && i < MIN_OF(view->queues, (uint64_t)INSPECT_QUEUES_SHOWN); i++)
        ok = queue_json(view, view->sids[i], queues, err);
    ok = ok && queued_count(view, producer, err);
    inspect_set_text(view->root, "hosts", view->hosts);
    inspect_set_number(view->root, "queued", (int64_t)view->queued);
    inspect_set_number(view->root, "retrying", (int64_t)view->retrying);
    inspect_set_number(view->root, "in_flight", (int64_t)view->in_flight);
    inspect_set_number(view->root, "queues_total", (int64_t)view->queues);
    if (view->next_retry_ms > 0)
        inspect_set_number(view->root, "next_retry_ms", view->next_retry_ms);
    inspect_set_text(view->root, "last_reply", view->last_reply);
    json_object_set_new(view->root, "classes", list);
    json_object_set_new(view->root, "queues", queues);
    return ok;
}

bool inspect_destination(struct producer *producer, const char *destination,
                         const struct order_watch *watch, json_t **out, struct err *err)
{
    struct view view = { .root = json_object(), .destination = slice_str(destination) };
    bool ok = inspection_open(&view.inspection, producer, watch, err);
    view.partition = queue_partition_of(view.destination, view.inspection.admin.partitions);
    ok = ok && view_fill(&view, producer, err);
    inspection_close(&view.inspection);
    arena_free(&view.arena);
    *out = ok ? view.root : NULL;
    if (!ok)
        json_decref(view.root);
    return ok;
}
