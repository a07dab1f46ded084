#include <stdio.h>
#include <time.h>

#include "queue/inspect_internal.h"

enum { SCAN_ENTRIES = 500 };

bool inspection_open(struct inspection *inspection, struct producer *producer,
                     const struct order_watch *watch, struct err *err)
{
    *inspection = (struct inspection){ .watch = watch };
    admin_open(&inspection->admin, producer);
    return admin_now(&inspection->admin, &inspection->now_ms, err) &&
           order_holds_load(&inspection->admin, &inspection->holds, err);
}

void inspection_close(struct inspection *inspection)
{
    order_holds_free(&inspection->holds);
    admin_close(&inspection->admin);
}

bool submission_facts_read(struct inspection *inspection, unsigned partition, struct slice sid,
                           struct arena *arena, struct submission_facts *out, struct err *err)
{
    struct admin *admin = &inspection->admin;
    admin_reset(admin);
    struct slice key = admin_key(admin, partition, "g:", sid);
    const struct redis_value *v = ADMIN_ASK(
        admin, err, key, SLICE("HMGET"), key, SLICE("class"), SLICE("flow"), SLICE("windows"),
        SLICE("pool"), SLICE("at"), SLICE("expires"), SLICE("start"), SLICE("open"));
    if (!v)
        return false;
    struct slice class = admin_item(v, 0)->text;
    *out = (struct submission_facts){
        .known = class.len > 0,
        .class = class.len > 0 ? class.ptr[0] : 'b',
        .flow = arena_copy(arena, admin_item(v, 1)->text),
        .windows = arena_copy(arena, admin_item(v, 2)->text),
        .pool = arena_copy(arena, admin_item(v, 3)->text),
        .accepted_ms = admin_int(admin_item(v, 4)),
        .expires_ms = admin_int(admin_item(v, 5)),
        .start_ms = admin_int(admin_item(v, 6)),
        .open = admin_int(admin_item(v, 7)),
    };
    return true;
}

int64_t submission_opens(const struct submission_facts *facts, int64_t now_ms)
{
    int64_t at = MAX_OF(now_ms, facts->start_ms);
    struct slice rest = facts->windows;
    if (rest.len == 0)
        return at;
    while (rest.len > 0) {
        struct slice to = slice_cut(&rest, ' ');
        struct slice from = slice_cut(&to, '-');
        uint64_t opens, closes;
        if (slice_to_u64(from, &opens) && slice_to_u64(to, &closes) && (int64_t)closes > at)
            return MAX_OF(at, (int64_t)opens);
    }
    return facts->expires_ms;
}

bool inspect_scan_run(struct inspection *inspection, const struct inspect_scan *scan,
                      struct err *err)
{
    struct admin *admin = &inspection->admin;
    const struct order_watch *watch = inspection->watch;
    char cursor[24] = "0";
    for (uint64_t looked = 0; looked < INSPECT_SEARCH_MAX; looked += SCAN_ENTRIES) {
        if (watch && watch->stop && watch->stop(watch->user))
            return err_set(err, ERR_CANCELLED, "interrupted");
        admin_reset(admin);
        struct slice key = admin_key(admin, scan->partition, scan->key, SLICE(""));
        const struct redis_value *reply =
            ADMIN_ASK(admin, err, key, slice_str(scan->verb), key, slice_str(cursor),
                      SLICE("COUNT"), admin_number(admin, SCAN_ENTRIES), SLICE("MATCH"),
                      slice_str(scan->match ? scan->match : "*"));
        struct slice next = reply ? admin_item(reply, 0)->text : SLICE("");
        if (next.len == 0 || next.len >= sizeof cursor)
            return reply ? err_set(err, ERR_REDIS, "unexpected reply to a scan") : false;
        memcpy(cursor, next.ptr, next.len);
        cursor[next.len] = '\0';
        const struct redis_value *found = admin_item(reply, 1);
        for (size_t i = 0; i + 1 < found->count; i += 2)
            if (!scan->each(scan->user, admin_item(found, i)->text, admin_item(found, i + 1)->text))
                return true;
        if (strcmp(cursor, "0") == 0)
            break;
    }
    return true;
}

bool inspect_record(struct slice bytes, struct record *out)
{
    struct err err;
    return record_parse(bytes, out, NULL, 0, &err) || err.kind == ERR_LIMIT;
}

struct slice inspect_retry_record(struct slice member, struct slice *destination)
{
    *destination = slice_cut(&member, '\t');
    return member;
}

struct slice inspect_lease_record(struct slice value, struct slice *node, int64_t *deadline_ms,
                                  struct slice *destination)
{
    struct slice head = slice_cut(&value, '\t');
    uint64_t deadline = 0;
    slice_cut(&head, ' ');
    *node = slice_cut(&head, ' ');
    struct slice number = slice_cut(&head, ' ');
    *deadline_ms = slice_to_u64(number, &deadline) ? (int64_t)deadline : 0;
    *destination = head;
    return value;
}

bool inspect_hosts(struct inspection *inspection, unsigned partition, struct slice destination,
                   struct arena *arena, struct slice *hosts, struct err *err)
{
    struct admin *admin = &inspection->admin;
    admin_reset(admin);
    struct slice key = admin_key(admin, partition, "l", SLICE(""));
    const struct redis_value *reply = ADMIN_ASK(admin, err, key, SLICE("HGET"), key, destination);
    *hosts = reply ? arena_copy(arena, reply->text) : SLICE("");
    return reply != NULL;
}

struct slice inspect_class(char letter)
{
    return letter == 't'   ? SLICE("transactional")
           : letter == 'd' ? SLICE("deadline")
                           : SLICE("bulk");
}

void inspect_set_text(json_t *object, const char *name, struct slice text)
{
    if (text.len > 0)
        json_object_set_new(object, name, json_stringn(text.ptr, text.len));
}

void inspect_set_number(json_t *object, const char *name, int64_t number)
{
    json_object_set_new(object, name, json_integer(number));
}

struct slice inspect_time(int64_t ms, char out[24])
{
    time_t seconds = (time_t)(ms / 1000);
    struct tm parts;
    size_t len = gmtime_r(&seconds, &parts) ? strftime(out, 24, "%Y-%m-%d %H:%M:%SZ", &parts) : 0;
    return slice_of(out, len);
}
