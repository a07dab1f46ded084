#include "engine/cli/demo_verdict.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/mem.h"
#include "engine/base/rng.h"
#include "engine/cli/demo_world.h"

#define COMPLAINTS_MAX 10

enum demo_end { DEMO_DELIVERED, DEMO_BOUNCED };

struct demo_expectation {
    enum demo_end end;
    bool deferral;  /* a temporary failure first */
    bool by_server; /* the bounce is a server's, not ours */
    bool deferred;
    unsigned ends[2], other_ends, received; /* what was seen */
    char address[];
};

bool demo_verdict_expect(struct demo_verdict *verdict, struct slice address)
{
    if (!verdict->recipients.seed)
        map_init(&verdict->recipients, rng_system_seed() | 1);
    if (map_get(&verdict->recipients, address))
        return false;
    struct demo_expectation *it = arena_alloc(&verdict->arena, sizeof *it + address.len);
    *it = (struct demo_expectation){ 0 };
    memcpy(it->address, address.ptr, address.len);
    struct slice domain = address;
    slice_cut(&domain, '@');
    bool gone = slice_starts_with(address, SLICE(DEMO_GONE));
    it->end =
        gone || slice_starts_with(domain, SLICE(DEMO_NO_DOMAIN)) ? DEMO_BOUNCED : DEMO_DELIVERED;
    it->by_server = !slice_starts_with(domain, SLICE(DEMO_NO_DOMAIN));
    it->deferral = it->end == DEMO_DELIVERED && slice_starts_with(address, SLICE(DEMO_LATER));
    verdict->expected_delivered += it->end == DEMO_DELIVERED;
    verdict->expected_bounced += it->end == DEMO_BOUNCED;
    verdict->expected_deferred += it->deferral;
    map_put(&verdict->recipients, slice_of(it->address, address.len), it);
    return true;
}

static void complain(struct demo_verdict *verdict, struct slice address, const char *what)
{
    verdict->wrong++;
    if (verdict->complaint_count++ < COMPLAINTS_MAX)
        buf_printf(&verdict->complaints, "%.*s: %s\n", SLICE_FMT(address), what);
}

static void take_event(struct demo_verdict *verdict, struct demo_expectation *it,
                       const json_t *event, struct slice address)
{
    const char *type = json_string_value(json_object_get(event, "type"));
    bool local = json_is_true(json_object_get(event, "local"));
    if (strcmp(type, "deferred") == 0) {
        verdict->deferred += !it->deferred;
        it->deferred = true;
    } else if (strcmp(type, "delivered") == 0) {
        it->ends[DEMO_DELIVERED]++;
        verdict->delivered++;
    } else if (strcmp(type, "bounced") == 0) {
        it->ends[DEMO_BOUNCED]++;
        verdict->bounced++;
        if (it->end == DEMO_BOUNCED && local == it->by_server)
            complain(verdict, address,
                     local ? "bounced without a server's word" : "bounced by a server");
    } else {
        it->other_ends++;
        verdict->other++;
    }
}

void demo_verdict_event(struct demo_verdict *verdict, struct slice json)
{
    json_t *event = json_loadb(json.ptr, json.len, 0, NULL);
    const char *to = json_string_value(json_object_get(event, "to"));
    const char *type = json_string_value(json_object_get(event, "type"));
    struct demo_expectation *it = to && type ? map_get(&verdict->recipients, slice_str(to)) : NULL;
    if (it)
        take_event(verdict, it, event, slice_str(to));
    else
        complain(verdict, slice_str(to ? to : "?"), "an event nobody waits for");
    json_decref(event);
}

static int compare_times(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return left < right ? -1 : left > right;
}

/** Messages per second between the first and the last tenth. Sorts. */
static double middle_rate(uint64_t *times_us, size_t count)
{
    if (count < 10)
        return 0;
    qsort(times_us, count, sizeof *times_us, compare_times);
    size_t from = count / 10, to = count - 1 - count / 10;
    uint64_t us = times_us[to] - times_us[from];
    return us > 0 ? (double)(to - from) * 1e6 / (double)us : 0;
}

bool demo_verdict_ledger(struct demo_verdict *verdict, const char *path, struct err *err)
{
    FILE *file = fopen(path, "re");
    if (!file)
        return err_system(err, errno, "%s", path);
    char *line = NULL;
    size_t room = 0, times_room = verdict->recipients.count, times = 0;
    uint64_t *times_us = mem_array(times_room + 1, sizeof *times_us);
    for (ssize_t n; (n = getline(&line, &room, file)) > 0;) {
        /* time, recipient, Message-ID, digest, first time or again */
        struct slice rest = slice_of(line, (size_t)n);
        struct slice time = slice_cut(&rest, '\t');
        times += times < times_room && slice_to_u64(time, &times_us[times]);
        struct slice address = slice_cut(&rest, '\t');
        struct demo_expectation *it = map_get(&verdict->recipients, address);
        verdict->received++;
        if (!it)
            complain(verdict, address, "received by the sink, but in no list");
        else
            verdict->received_again += it->received++ > 0;
    }
    free(line);
    verdict->received_per_second = middle_rate(times_us, times);
    free(times_us);
    bool good = !ferror(file);
    fclose(file);
    return good || err_system(err, errno, "%s", path);
}

static const char *fault(const struct demo_expectation *it)
{
    unsigned ends = it->ends[0] + it->ends[1] + it->other_ends;
    if (ends == 0)
        return "never ended";
    if (ends > 1)
        return "ended more than once";
    if (it->ends[it->end] == 0)
        return it->end == DEMO_DELIVERED ? "should have been delivered" : "should have bounced";
    if (it->deferral && !it->deferred)
        return "should have been deferred first";
    if (it->received > 1)
        return "was received more than once";
    if (it->received != (it->end == DEMO_DELIVERED))
        return it->received ? "bounced, but the sink has it"
                            : "delivered, but the sink doesn't have it";
    return NULL;
}

bool demo_verdict_close(struct demo_verdict *verdict)
{
    size_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&verdict->recipients, &cursor));) {
        const char *what = fault(entry->value);
        if (what)
            complain(verdict, entry->key, what);
    }
    return verdict->wrong == 0;
}

void demo_verdict_free(struct demo_verdict *verdict)
{
    map_free(&verdict->recipients);
    arena_free(&verdict->arena);
    buf_free(&verdict->complaints);
    *verdict = (struct demo_verdict){ 0 };
}
