/* eilpost queue explain: where a job is, and why it's still there. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/mem.h"
#include "queue/inspect_internal.h"

enum {
    LIST_SLICE = 500, /* records read at a time */
    EVENTS_SLICE = 500,
    EVENTS_MAX = 20000,  /* newest ones, in each partition */
    QUEUES_MAX = 100000, /* of one submission in one partition */
};

enum place { PLACE_NOWHERE, PLACE_QUEUE, PLACE_RETRY, PLACE_FLIGHT };

struct search {
    struct inspection inspection;
    struct arena arena;
    struct slice job, sid;
    enum place place;
    unsigned partition;
    struct submission_facts
        facts; /* of the partition that has the job, or the last that knows it */
    struct slice destination, hosts, node;
    int64_t due_ms, deadline_ms, position;
    uint32_t attempts;
    struct slice last_reply, recipient;
    struct slice *queues; /* members of x */
    size_t queue_count, queue_room;
    bool known; /* some partition knows the submission */
    json_t *root, *why;
};

static void say(struct search *search, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void say(struct search *search, const char *fmt, ...)
{
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    json_array_append_new(search->why, json_string(text));
}

static void take_record(struct search *search, struct slice bytes)
{
    struct record record;
    if (!inspect_record(bytes, &record))
        return;
    search->attempts = record.attempts;
    search->last_reply = arena_copy(&search->arena, record.last_reply);
    search->recipient = arena_copy(&search->arena, record.recipient);
}

/* ---- looking for it ---- */

static bool look_in_flight(struct search *search, unsigned partition, struct err *err)
{
    struct admin *admin = &search->inspection.admin;
    struct slice node, destination;
    admin_reset(admin);
    struct slice key = admin_key(admin, partition, "i", SLICE(""));
    const struct redis_value *value = ADMIN_ASK(admin, err, key, SLICE("HGET"), key, search->job);
    if (!value)
        return false;
    if (value->text.len == 0)
        return true;
    search->place = PLACE_FLIGHT;
    take_record(search,
                inspect_lease_record(value->text, &node, &search->deadline_ms, &destination));
    search->node = arena_copy(&search->arena, node);
    search->destination = arena_copy(&search->arena, destination);
    return true;
}

static bool on_retry(void *user, struct slice member, struct slice score)
{
    struct search *search = user;
    struct slice destination, rest = inspect_retry_record(member, &destination), id = rest;
    uint64_t due = 0;
    if (!slice_eq(slice_cut(&id, '\t'), search->job))
        return true;
    search->place = PLACE_RETRY;
    search->due_ms = slice_to_u64(score, &due) ? (int64_t)due : 0;
    search->destination = arena_copy(&search->arena, destination);
    take_record(search, rest);
    return false;
}

static bool on_queue(void *user, struct slice member, struct slice score)
{
    struct search *search = user;
    (void)score;
    if (search->queue_count == search->queue_room) {
        search->queue_room = MAX_OF(2 * search->queue_room, (size_t)64);
        search->queues = mem_realloc(search->queues, search->queue_room * sizeof *search->queues);
    }
    search->queues[search->queue_count++] = arena_copy(&search->arena, member);
    return search->queue_count < QUEUES_MAX;
}

static bool look_in_list(struct search *search, unsigned partition, struct slice member,
                         struct err *err)
{
    struct admin *admin = &search->inspection.admin;
    for (int64_t at = 0; at < INSPECT_SEARCH_MAX; at += LIST_SLICE) {
        admin_reset(admin);
        struct slice key = admin_key(admin, partition, "q:", member);
        const struct redis_value *records =
            ADMIN_ASK(admin, err, key, SLICE("LRANGE"), key, admin_number(admin, at),
                      admin_number(admin, at + LIST_SLICE - 1));
        if (!records)
            return false;
        for (size_t i = 0; i < records->count; i++) {
            struct slice bytes = admin_item(records, i)->text, id = bytes;
            if (!slice_eq(slice_cut(&id, '\t'), search->job))
                continue;
            search->place = PLACE_QUEUE;
            search->position = at + (int64_t)i;
            search->destination = slice_cut(&member, ' ');
            take_record(search, bytes);
            return true;
        }
        if (records->count < LIST_SLICE)
            break;
    }
    return true;
}

static bool list_queues(struct search *search, unsigned partition, struct err *err)
{
    char match[QUEUE_SUBMISSION_BYTES_MAX + 8];
    snprintf(match, sizeof match, "* %.*s", SLICE_FMT(search->sid));
    const struct inspect_scan scan = { "ZSCAN", partition, "x", match, on_queue, search };
    search->queue_count = 0;
    return inspect_scan_run(&search->inspection, &scan, err);
}

static bool look_in_partition(struct search *search, unsigned partition, struct err *err)
{
    char match[QUEUE_ID_BYTES_MAX + 8];
    snprintf(match, sizeof match, "*\t%.*s\t*", SLICE_FMT(search->job));
    const struct inspect_scan retries = { "ZSCAN", partition, "t", match, on_retry, search };
    if (!look_in_flight(search, partition, err) ||
        (!search->place && !inspect_scan_run(&search->inspection, &retries, err)) ||
        (!search->place && !list_queues(search, partition, err)))
        return false;
    for (size_t i = 0; i < search->queue_count && !search->place; i++)
        if (!look_in_list(search, partition, search->queues[i], err))
            return false;
    return true;
}

static bool look(struct search *search, struct err *err)
{
    for (unsigned p = 0; p < search->inspection.admin.partitions && !search->place; p++) {
        struct submission_facts facts;
        if (!submission_facts_read(&search->inspection, p, search->sid, &search->arena, &facts,
                                   err))
            return false;
        if (!facts.known)
            continue;
        search->known = true;
        search->facts = facts;
        search->partition = p;
        if (!look_in_partition(search, p, err))
            return false;
    }
    return true;
}

/* ---- why ---- */

static const struct order_hold *held(struct search *search)
{
    const struct order_subject subject = { .destination = search->destination,
                                           .submission = search->sid,
                                           .flow = search->facts.flow,
                                           .hosts = search->hosts,
                                           .class = search->facts.class,
                                           .accepted_ms = search->facts.accepted_ms };
    return order_holding(&search->inspection.holds, &subject);
}

/* What the partition's index has to say about a destination and flow. */
static bool why_from_index(struct search *search, struct err *err)
{
    struct admin *admin = &search->inspection.admin;
    const int64_t now_ms = search->inspection.now_ms;
    char name[8], when[24];
    admin_reset(admin);
    struct slice parked = admin_key(admin, search->partition, "k", SLICE(""));
    struct slice sums = admin_key(admin, search->partition, "c:", search->facts.flow);
    struct slice owner = admin_key(admin, search->partition, "o", SLICE(""));
    snprintf(name, sizeof name, "r:%c", search->facts.class);
    struct slice ready = admin_key(admin, search->partition, name, SLICE(""));
    snprintf(name, sizeof name, "d:%c:", search->facts.class);
    struct slice flows = admin_key(admin, search->partition, name, search->destination);
    struct producer_call *until =
        ADMIN_COMMAND(admin, parked, SLICE("HGET"), parked, search->destination);
    struct producer_call *meter =
        ADMIN_COMMAND(admin, sums, SLICE("HMGET"), sums, SLICE("metered"), SLICE("budget"));
    struct producer_call *who = ADMIN_COMMAND(admin, owner, SLICE("GET"), owner);
    struct producer_call *next =
        ADMIN_COMMAND(admin, ready, SLICE("ZSCORE"), ready, search->destination);
    struct producer_call *shares = ADMIN_COMMAND(admin, flows, SLICE("ZCARD"), flows);
    if (!admin_run(admin, err))
        return false;
    if (admin_int(until->reply) > now_ms)
        say(search, "%.*s is left alone until %.*s: it didn't answer, or said to wait",
            SLICE_FMT(search->destination), SLICE_FMT(inspect_time(admin_int(until->reply), when)));
    if (admin_int(admin_item(meter->reply, 0)) == 1 && admin_int(admin_item(meter->reply, 1)) == 0)
        say(search, "its campaign is throttled (rate or canary), and nothing is granted just now");
    if (who->reply->text.len == 0)
        say(search, "no engine has partition %u now: is one running?", search->partition);
    if (admin_int(shares->reply) > 1)
        say(search, "%lld campaigns share the destination", (long long)admin_int(shares->reply));
    if (admin_int(next->reply) > now_ms)
        say(search, "the destination is offered to its engine next at %.*s, unless that asks first",
            SLICE_FMT(inspect_time(admin_int(next->reply), when)));
    return true;
}

static bool why_queued(struct search *search, struct err *err)
{
    const int64_t now_ms = search->inspection.now_ms;
    char when[24];
    const struct order_hold *hold = held(search);
    int64_t opens = submission_opens(&search->facts, now_ms);
    if (search->facts.expires_ms <= now_ms)
        say(search, "it has expired, and is about to end so");
    if (hold)
        say(search, "order %s (%s) holds it: see `eilpost queue orders`", hold->id, hold->action);
    if (opens > now_ms)
        say(search, "it may not leave before %.*s (%s)", SLICE_FMT(inspect_time(opens, when)),
            opens == search->facts.start_ms ? "send_at" : "its sending window opens then");
    if (search->position > 0)
        say(search, "%lld jobs of its submission are ahead of it for this destination",
            (long long)search->position);
    return why_from_index(search, err);
}

static bool why(struct search *search, struct err *err)
{
    char when[24];
    if (!inspect_hosts(&search->inspection, search->partition, search->destination, &search->arena,
                       &search->hosts, err))
        return false;
    switch (search->place) {
    case PLACE_QUEUE:
        return why_queued(search, err);
    case PLACE_RETRY:
        say(search, "attempt %u is due at %.*s", search->attempts + 1,
            SLICE_FMT(inspect_time(search->due_ms, when)));
        if (held(search))
            say(search, "then order %s holds it", held(search)->id);
        return true;
    case PLACE_FLIGHT:
        say(search, "node %.*s has it: it waits for its turn there, or is on the wire",
            SLICE_FMT(search->node));
        return true;
    case PLACE_NOWHERE:
        break;
    }
    return true;
}

/* ---- it's not there ---- */

/* The newest event of the job, among the newest of each partition. */
static bool find_event(struct search *search, struct err *err)
{
    struct admin *admin = &search->inspection.admin;
    char mark[QUEUE_ID_BYTES_MAX + 16];
    int len = snprintf(mark, sizeof mark, "\"job\":\"%.*s\"", SLICE_FMT(search->job));
    for (unsigned p = 0; p < admin->partitions; p++) {
        char before[48] = "+";
        for (unsigned looked = 0; looked < EVENTS_MAX; looked += EVENTS_SLICE) {
            admin_reset(admin);
            struct slice key = admin_key(admin, p, "ev", SLICE(""));
            const struct redis_value *events =
                ADMIN_ASK(admin, err, key, SLICE("XREVRANGE"), key, slice_str(before), SLICE("-"),
                          SLICE("COUNT"), admin_number(admin, EVENTS_SLICE));
            if (!events)
                return false;
            for (size_t i = 0; i < events->count; i++) {
                struct slice text = admin_item(admin_item(admin_item(events, i), 1), 1)->text;
                if (!memmem(text.ptr, text.len, mark, (size_t)len))
                    continue;
                json_t *event = json_loadb(text.ptr, text.len, 0, NULL);
                if (event)
                    json_object_set_new(search->root, "last_event", event);
                return true;
            }
            if (events->count < EVENTS_SLICE)
                break;
            struct slice last = admin_item(admin_item(events, events->count - 1), 0)->text;
            snprintf(before, sizeof before, "(%.*s", SLICE_FMT(last));
        }
    }
    return true;
}

static const char *state_of(const struct search *search)
{
    static const char *const states[] = { NULL, "queued", "retrying", "in_flight" };
    if (search->place)
        return states[search->place];
    const json_t *event = json_object_get(search->root, "last_event");
    const char *type = json_string_value(json_object_get(event, "type"));
    return type && strcmp(type, "deferred") != 0 && strcmp(type, "unknown") != 0 &&
                   strcmp(type, "restored") != 0
               ? "ended"
               : "unknown";
}

static void describe(struct search *search)
{
    json_t *root = search->root;
    inspect_set_text(root, "state", slice_str(state_of(search)));
    if (search->place) {
        inspect_set_text(root, "recipient", search->recipient);
        inspect_set_text(root, "destination", search->destination);
        inspect_set_number(root, "partition", search->partition);
        inspect_set_number(root, "attempts", search->attempts);
        inspect_set_text(root, "last_reply", search->last_reply);
        inspect_set_number(root, "accepted_ms", search->facts.accepted_ms);
        inspect_set_number(root, "expires_ms", search->facts.expires_ms);
        inspect_set_text(root, "class", inspect_class(search->facts.class));
        inspect_set_text(root, "flow", search->facts.flow);
        inspect_set_text(root, "pool", search->facts.pool);
    }
    if (search->place == PLACE_QUEUE)
        inspect_set_number(root, "position", search->position);
    if (search->place == PLACE_RETRY)
        inspect_set_number(root, "due_ms", search->due_ms);
    if (search->place == PLACE_FLIGHT)
        inspect_set_text(root, "node", search->node);
    json_object_set(root, "why", search->why);
}

static bool search_open(struct search *search, struct producer *producer, const char *sid,
                        size_t sid_len, const struct order_watch *watch, struct err *err)
{
    *search = (struct search){ .root = json_object(), .why = json_array() };
    search->sid = slice_of(sid, sid_len);
    return inspection_open(&search->inspection, producer, watch, err);
}

/* Gives `root` away if all went well. */
static bool search_close(struct search *search, bool ok, json_t **out)
{
    inspection_close(&search->inspection);
    arena_free(&search->arena);
    free(search->queues);
    json_decref(search->why);
    *out = ok ? search->root : NULL;
    if (!ok)
        json_decref(search->root);
    return ok;
}

bool inspect_job(struct producer *producer, const char *job, const struct order_watch *watch,
                 json_t **out, struct err *err)
{
    struct search search;
    const char *dash = strrchr(job, '-');
    bool valid = dash && strlen(job) <= QUEUE_ID_BYTES_MAX &&
                 queue_submission_id_valid(slice_of(job, (size_t)(dash - job)));
    bool ok = search_open(&search, producer, job, valid ? (size_t)(dash - job) : 0, watch, err) &&
              (valid || err_set(err, ERR_USAGE, "'%s' isn't a job's id", job));
    search.job = slice_str(job);
    ok = ok && look(&search, err);
    if (ok && !search.known)
        ok = err_set(err, ERR_NOT_FOUND,
                     "nothing is known of submission '%.*s': wrong id, not taken in yet, or "
                     "forgotten",
                     SLICE_FMT(search.sid));
    ok = ok && (search.place ? why(&search, err) : find_event(&search, err));
    if (ok) {
        inspect_set_number(search.root, "now_ms", search.inspection.now_ms);
        inspect_set_text(search.root, "job", search.job);
        inspect_set_text(search.root, "submission", search.sid);
        if (!search.place)
            say(&search, "it isn't queued any more, or never was");
        describe(&search);
    }
    return search_close(&search, ok, out);
}

/* ---- submissions ---- */

/* One sentence per order, so that a thousand queues don't say the same. */
static void say_once(struct search *search, const char *text)
{
    size_t i;
    json_t *said;
    json_array_foreach(search->why, i, said) if (strcmp(json_string_value(said), text) == 0) return;
    json_array_append_new(search->why, json_string(text));
}

static bool explain_partition(struct search *search, unsigned partition, struct err *err)
{
    const int64_t now_ms = search->inspection.now_ms;
    char when[24], text[256];
    search->partition = partition;
    if (!list_queues(search, partition, err))
        return false;
    int64_t opens = submission_opens(&search->facts, now_ms);
    if (search->queue_count > 0 && opens > now_ms) {
        snprintf(text, sizeof text, "it may not leave before %.*s",
                 SLICE_FMT(inspect_time(opens, when)));
        say_once(search, text);
    }
    for (size_t i = 0; i < search->queue_count; i++) {
        struct slice member = search->queues[i];
        search->destination = slice_cut(&member, ' ');
        if (!inspect_hosts(&search->inspection, partition, search->destination, &search->arena,
                           &search->hosts, err))
            return false;
        const struct order_hold *hold = held(search);
        if (hold) {
            snprintf(text, sizeof text, "order %s holds some of it: see `eilpost queue orders`",
                     hold->id);
            say_once(search, text);
        }
        if (i >= INSPECT_QUEUES_SHOWN && !hold)
            break;
    }
    return true;
}

bool inspect_submission(struct producer *producer, const char *submission,
                        const struct order_watch *watch, json_t **out, struct err *err)
{
    struct search search;
    uint64_t open = 0, queues = 0;
    bool ok = search_open(&search, producer, submission, strlen(submission), watch, err) &&
              (queue_submission_id_valid(search.sid) ||
               err_set(err, ERR_USAGE, "'%s' isn't a submission's id", submission));
    unsigned partitions = search.inspection.admin.partitions;
    for (unsigned p = 0; ok && p < partitions; p++) {
        struct submission_facts facts;
        ok = submission_facts_read(&search.inspection, p, search.sid, &search.arena, &facts, err);
        if (!ok || !facts.known)
            continue;
        search.known = true;
        search.facts = facts;
        open += (uint64_t)facts.open;
        ok = explain_partition(&search, p, err);
        queues += search.queue_count;
    }
    if (ok && !search.known)
        ok = err_set(err, ERR_NOT_FOUND, "nothing is known of submission '%s'", submission);
    if (ok) {
        inspect_set_number(search.root, "now_ms", search.inspection.now_ms);
        inspect_set_text(search.root, "submission", search.sid);
        inspect_set_text(search.root, "state", open > 0 ? SLICE("open") : SLICE("ended"));
        inspect_set_number(search.root, "open", (int64_t)open);
        inspect_set_number(search.root, "queues", (int64_t)queues);
        inspect_set_text(search.root, "flow", search.facts.flow);
        inspect_set_text(search.root, "class", inspect_class(search.facts.class));
        inspect_set_number(search.root, "accepted_ms", search.facts.accepted_ms);
        inspect_set_number(search.root, "expires_ms", search.facts.expires_ms);
        json_object_set(search.root, "why", search.why);
    }
    return search_close(&search, ok, out);
}
