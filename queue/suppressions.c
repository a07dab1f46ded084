#include "queue/suppressions.h"

#include <stdlib.h>

#include "queue/admin_io.h"
#include "queue/order_store.h"

enum { SCAN_ADDRESSES = 500 };

static char *entry_text(const struct suppression *item, const char *by, int64_t now_ms)
{
    json_t *entry = json_object();
    if (item->reason)
        json_object_set_new(entry, "reason", json_string(item->reason));
    if (item->until_ms > 0)
        json_object_set_new(entry, "until", json_integer(item->until_ms));
    json_object_set_new(entry, "at", json_integer(now_ms));
    json_object_set_new(entry, "by", json_string(by));
    char *text = json_dumps(entry, JSON_COMPACT);
    json_decref(entry);
    return text;
}

static struct producer_call *add_call(struct admin *admin, const struct suppression *item,
                                      struct slice entry)
{
    unsigned p = queue_partition_of(item->destination, admin->partitions);
    return ADMIN_EVAL(admin, SCRIPT_SUPPRESS, admin_key(admin, p, "e", SLICE("")), item->address,
                      slice_str(item->scope), entry);
}

bool suppressions_add(struct producer *producer, const struct suppression *items, size_t count,
                      const char *by, struct err *err)
{
    struct admin admin;
    int64_t now_ms;
    admin_open(&admin, producer);
    bool ok = admin_now(&admin, &now_ms, err);
    for (size_t i = 0; ok && i < count; i++) {
        char *text = entry_text(&items[i], by, now_ms);
        (void)add_call(&admin, &items[i], slice_str(text));
        free(text);
    }
    ok = ok && admin_run(&admin, err);
    admin_close(&admin);
    return ok;
}

bool suppressions_remove(struct producer *producer, const struct suppression *items, size_t count,
                         uint64_t *lifted, struct err *err)
{
    struct admin admin;
    admin_open(&admin, producer);
    *lifted = 0;
    struct producer_call **calls = arena_alloc(&admin.arena, count * sizeof *calls + 1);
    for (size_t i = 0; i < count; i++)
        calls[i] = add_call(&admin, &items[i], SLICE(""));
    bool ok = admin_run(&admin, err);
    for (size_t i = 0; ok && i < count; i++)
        *lifted += (uint64_t)admin_int(calls[i]->reply);
    admin_close(&admin);
    return ok;
}

bool suppressions_get(struct producer *producer, struct slice address, struct slice destination,
                      json_t **scopes, struct err *err)
{
    struct admin admin;
    admin_open(&admin, producer);
    struct slice key =
        admin_key(&admin, queue_partition_of(destination, admin.partitions), "u", SLICE(""));
    const struct redis_value *text = ADMIN_ASK(&admin, err, key, SLICE("HGET"), key, address);
    *scopes = NULL;
    if (text) {
        *scopes = json_loadb(text->text.ptr, text->text.len, 0, NULL);
        if (!json_is_object(*scopes)) {
            json_decref(*scopes);
            *scopes = json_object();
        }
    }
    admin_close(&admin);
    return text != NULL;
}

/* One slice of a partition's addresses; false when `each` has enough. */
static bool scan_take(const struct redis_value *pairs,
                      bool (*each)(void *user, struct slice address, const json_t *scopes),
                      void *user)
{
    bool more = true;
    for (size_t i = 0; more && i + 1 < pairs->count; i += 2) {
        struct slice text = admin_item(pairs, i + 1)->text;
        json_t *scopes = json_loadb(text.ptr, text.len, 0, NULL);
        if (json_is_object(scopes))
            more = each(user, admin_item(pairs, i)->text, scopes);
        json_decref(scopes);
    }
    return more;
}

bool suppressions_scan(struct producer *producer,
                       bool (*each)(void *user, struct slice address, const json_t *scopes),
                       void *user, struct err *err)
{
    struct admin admin;
    admin_open(&admin, producer);
    bool ok = true, more = true;
    for (unsigned p = 0; ok && more && p < admin.partitions; p++) {
        char cursor[24] = "0";
        do {
            admin_reset(&admin);
            struct slice key = admin_key(&admin, p, "u", SLICE(""));
            const struct redis_value *reply =
                ADMIN_ASK(&admin, err, key, SLICE("HSCAN"), key, slice_str(cursor), SLICE("COUNT"),
                          admin_number(&admin, SCAN_ADDRESSES));
            struct slice next = reply ? admin_item(reply, 0)->text : SLICE("");
            ok = next.len > 0 && next.len < sizeof cursor;
            if (!ok)
                break;
            memcpy(cursor, next.ptr, next.len);
            cursor[next.len] = '\0';
            more = scan_take(admin_item(reply, 1), each, user);
        } while (more && strcmp(cursor, "0") != 0);
    }
    admin_close(&admin);
    return ok;
}

bool suppressions_log(struct producer *producer, const char *by, const char *action,
                      struct slice address, const char *scope, uint64_t count, struct err *err)
{
    struct admin admin;
    admin_open(&admin, producer);
    json_t *entry = json_object();
    json_object_set_new(entry, "by", json_string(by));
    json_object_set_new(entry, "action", json_string(action));
    if (address.len > 0)
        json_object_set_new(entry, "address", json_stringn(address.ptr, address.len));
    if (scope)
        json_object_set_new(entry, "scope", json_string(scope));
    json_object_set_new(entry, "count", json_integer((json_int_t)count));
    bool ok = order_store_log_entry(&admin, entry, err);
    admin_close(&admin);
    return ok;
}
