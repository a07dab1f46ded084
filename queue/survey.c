#include "queue/survey.h"

#include <stdlib.h>

#include "engine/base/map.h"
#include "engine/base/mem.h"
#include "engine/base/rng.h"
#include "queue/order_match.h"
#include "queue/order_walk.h"

enum { HELD_BY_MAX = 4 /* orders named per group */ };

struct group {
    struct slice name;
    struct order_counts counts;
    uint64_t held;
    const struct order_hold *held_by[HELD_BY_MAX];
};

struct survey {
    enum survey_by by;
    const struct order_filter *filter;
    int64_t before_ms;
    struct order_holds holds;
    struct map groups;
    struct arena arena; /* of groups; the admin's is reset with each slice */
    struct order_counts total;
    uint64_t held;
};

static struct slice group_name(const struct survey *survey, const struct order_subject *subject)
{
    struct slice rest = subject->flow;
    switch (survey->by) {
    case SURVEY_DESTINATION:
        return subject->destination;
    case SURVEY_TENANT:
        return slice_cut(&rest, '/');
    case SURVEY_CAMPAIGN:
        return subject->flow;
    case SURVEY_CLASS:
        return subject->class == 't'   ? SLICE("transactional")
               : subject->class == 'd' ? SLICE("deadline")
                                       : SLICE("bulk");
    case SURVEY_SITE:
        return subject->hosts;
    case SURVEY_SUBMISSION:
        return subject->submission;
    }
    return SLICE("");
}

static struct group *group_of(struct survey *survey, struct slice name)
{
    struct group *group = map_get(&survey->groups, name);
    if (!group) {
        group = arena_alloc(&survey->arena, sizeof *group);
        *group = (struct group){ .name = arena_copy(&survey->arena, name) };
        map_put(&survey->groups, group->name, group);
    }
    return group;
}

static void counts_add(struct order_counts *counts, char phase, uint64_t jobs)
{
    *(phase == 't'   ? &counts->retrying
      : phase == 'x' ? &counts->queued
                     : &counts->in_flight) += jobs;
}

static void take(struct survey *survey, const struct order_subject *subject, char phase,
                 uint64_t jobs)
{
    if (!order_filter_matches(survey->filter, survey->before_ms, subject))
        return;
    struct group *group = group_of(survey, group_name(survey, subject));
    counts_add(&group->counts, phase, jobs);
    counts_add(&survey->total, phase, jobs);
    const struct order_hold *hold = phase == 'x' ? order_holding(&survey->holds, subject) : NULL;
    if (!hold)
        return;
    group->held += jobs;
    survey->held += jobs;
    unsigned i = 0;
    while (i < HELD_BY_MAX && group->held_by[i] && group->held_by[i] != hold)
        i++;
    if (i < HELD_BY_MAX)
        group->held_by[i] = hold;
}

/* Rows of `width` values, by the first of them. */
static void index_rows(struct map *map, const struct redis_value *list, size_t width)
{
    map_init(map, rng_system_seed());
    for (size_t i = 0; i + width <= list->count; i += width)
        map_put(map, admin_item(list, i)->text, (void *)(uintptr_t)admin_item(list, i));
}

static bool took(void *user, unsigned partition, const char *phase, const struct redis_value *reply,
                 struct err *err)
{
    (void)partition;
    (void)err;
    struct survey *survey = user;
    struct map submissions, sites;
    const struct redis_value *held = admin_item(reply, 1);
    index_rows(&submissions, admin_item(reply, 2), 4);
    index_rows(&sites, admin_item(reply, 3), 2);
    for (size_t i = 0; i + 2 < held->count; i += 3) {
        struct order_subject subject = { .destination = admin_item(held, i)->text,
                                         .submission = admin_item(held, i + 1)->text,
                                         .flow = SLICE("/"),
                                         .class = 'b' };
        const struct redis_value *about = map_get(&submissions, subject.submission);
        const struct redis_value *site = map_get(&sites, subject.destination);
        if (about && about[1].text.len > 0) {
            subject.class = about[1].text.ptr[0];
            subject.flow = about[2].text;
            subject.accepted_ms = admin_int(&about[3]);
        }
        if (site)
            subject.hosts = site[1].text;
        int64_t jobs = admin_int(admin_item(held, i + 2));
        take(survey, &subject, phase[0], (uint64_t)MAX_OF(jobs, INT64_C(0)));
    }
    map_free(&submissions);
    map_free(&sites);
    return true;
}

static struct producer_call *slice_call(void *user, struct admin *admin, unsigned partition,
                                        const char *phase, struct slice cursor, unsigned entries)
{
    (void)user;
    return ADMIN_EVAL(admin, SCRIPT_SURVEY, admin_key(admin, partition, "e", SLICE("")),
                      slice_str(phase), cursor, admin_number(admin, entries));
}

/* ---- the result ---- */

static int largest_first(const void *a, const void *b)
{
    const struct group *x = *(struct group *const *)a, *y = *(struct group *const *)b;
    uint64_t i = x->counts.queued + x->counts.retrying + x->counts.in_flight;
    uint64_t j = y->counts.queued + y->counts.retrying + y->counts.in_flight;
    if (i != j)
        return i > j ? -1 : 1;
    int order = memcmp(x->name.ptr, y->name.ptr, MIN_OF(x->name.len, y->name.len));
    return order != 0 ? order : x->name.len < y->name.len ? -1 : x->name.len > y->name.len;
}

static json_t *counts_json(const struct order_counts *counts, uint64_t held)
{
    json_t *json = json_object();
    json_object_set_new(json, "queued", json_integer((json_int_t)counts->queued));
    json_object_set_new(json, "retrying", json_integer((json_int_t)counts->retrying));
    json_object_set_new(json, "in_flight", json_integer((json_int_t)counts->in_flight));
    json_object_set_new(json, "held", json_integer((json_int_t)held));
    return json;
}

static json_t *row_json(const struct group *group)
{
    json_t *row = json_object(), *held_by = json_array(), *counts;
    json_object_set_new(row, "name", json_stringn(group->name.ptr, group->name.len));
    counts = counts_json(&group->counts, group->held);
    json_object_update(row, counts);
    json_decref(counts);
    for (unsigned i = 0; i < HELD_BY_MAX && group->held_by[i]; i++)
        json_array_append_new(held_by, json_string(group->held_by[i]->id));
    json_object_set_new(row, "held_by", held_by);
    return row;
}

/* When a destination is offered next: the earliest of its classes. */
static bool add_times(struct admin *admin, json_t *rows, struct err *err)
{
    static const char *const ready[] = { "r:t", "r:d", "r:b" };
    size_t i, count = json_array_size(rows);
    json_t *row;
    admin_reset(admin);
    struct producer_call *(*calls)[4] = arena_alloc(&admin->arena, (count + 1) * sizeof *calls);
    json_array_foreach(rows, i, row)
    {
        struct slice name = slice_str(json_string_value(json_object_get(row, "name")));
        unsigned p = queue_partition_of(name, admin->partitions);
        for (size_t r = 0; r < ARRAY_LEN(ready); r++) {
            struct slice key = admin_key(admin, p, ready[r], SLICE(""));
            calls[i][r] = ADMIN_COMMAND(admin, key, SLICE("ZSCORE"), key, name);
        }
        struct slice key = admin_key(admin, p, "k", SLICE(""));
        calls[i][3] = ADMIN_COMMAND(admin, key, SLICE("HGET"), key, name);
    }
    if (!admin_run(admin, err))
        return false;
    json_array_foreach(rows, i, row)
    {
        int64_t next = 0;
        for (size_t r = 0; r < ARRAY_LEN(ready); r++) {
            int64_t at = admin_int(calls[i][r]->reply);
            next = at > 0 && (next == 0 || at < next) ? at : next;
        }
        if (next > 0)
            json_object_set_new(row, "next_ms", json_integer(next));
        if (admin_int(calls[i][3]->reply) > 0)
            json_object_set_new(row, "parked_until_ms",
                                json_integer(admin_int(calls[i][3]->reply)));
    }
    return true;
}

static json_t *rows_json(struct survey *survey, unsigned limit)
{
    struct group **sorted = mem_array(survey->groups.count + 1, sizeof *sorted);
    size_t count = 0, cursor = 0;
    for (struct map_entry *it; (it = map_next(&survey->groups, &cursor));)
        sorted[count++] = it->value;
    qsort(sorted, count, sizeof *sorted, largest_first);
    json_t *rows = json_array();
    for (size_t i = 0; i < count && i < limit; i++)
        json_array_append_new(rows, row_json(sorted[i]));
    free(sorted);
    return rows;
}

bool survey_run(struct producer *producer, enum survey_by by, const struct order_filter *filter,
                unsigned limit, const struct order_watch *watch, json_t **out, struct err *err)
{
    struct admin admin;
    int64_t now_ms;
    struct survey survey = { .by = by, .filter = filter, .arena = { .block_bytes = 1 << 16 } };
    const struct walk walk = { .script = "survey",
                               .phases = WALK_ALL,
                               .slice = slice_call,
                               .took = took,
                               .user = &survey,
                               .watch = watch };
    admin_open(&admin, producer);
    map_init(&survey.groups, rng_system_seed());
    bool ok = admin_now(&admin, &now_ms, err) && order_holds_load(&admin, &survey.holds, err);
    if (ok) {
        survey.before_ms = filter->older_than_s ? now_ms - filter->older_than_s * 1000 : 0;
        ok = walk_run(&admin, &walk, err);
    }
    if (ok) {
        json_t *rows = rows_json(&survey, limit);
        ok = by != SURVEY_DESTINATION || add_times(&admin, rows, err);
        *out = json_object();
        json_object_set_new(*out, "now_ms", json_integer(now_ms));
        json_object_set_new(*out, "groups", json_integer((json_int_t)survey.groups.count));
        json_object_set_new(*out, "total", counts_json(&survey.total, survey.held));
        json_object_set_new(*out, "rows", rows);
        if (!ok) {
            json_decref(*out);
            *out = NULL;
        }
    }
    order_holds_free(&survey.holds);
    map_free(&survey.groups);
    arena_free(&survey.arena);
    admin_close(&admin);
    return ok;
}
