#include "queue/nodes.h"

#include <stdlib.h>

#include "queue/admin_io.h"

static int by_name(const void *a, const void *b)
{
    const json_t *x = *(json_t *const *)a, *y = *(json_t *const *)b;
    const char *p = json_string_value(json_object_get(x, "node"));
    const char *q = json_string_value(json_object_get(y, "node"));
    int order = strcmp(p ? p : "", q ? q : "");
    json_int_t i = json_integer_value(json_object_get(x, "worker"));
    json_int_t j = json_integer_value(json_object_get(y, "worker"));
    return order != 0 ? order : i < j ? -1 : i > j;
}

bool nodes_list(struct producer *producer, json_t **nodes, struct err *err)
{
    struct admin admin;
    int64_t now_ms;
    admin_open(&admin, producer);
    *nodes = NULL;
    struct slice key = admin_key_global(&admin, "nodes");
    const struct redis_value *all = ADMIN_ASK(&admin, err, key, SLICE("HVALS"), key);
    bool ok = all && admin_now(&admin, &now_ms, err);
    if (ok) {
        json_t **found = arena_alloc(&admin.arena, (all->count + 1) * sizeof *found);
        size_t count = 0;
        for (size_t i = 0; i < all->count; i++) {
            struct slice text = admin_item(all, i)->text;
            json_t *node = json_loadb(text.ptr, text.len, 0, NULL);
            if (!json_is_object(node)) {
                json_decref(node);
                continue;
            }
            int64_t silent = now_ms - json_integer_value(json_object_get(node, "seen_ms"));
            json_object_set_new(node, "silent_ms", json_integer(MAX_OF(silent, INT64_C(0))));
            json_object_set_new(node, "state",
                                json_string(silent > NODE_GONE_MS ? "gone" : "live"));
            found[count++] = node;
        }
        qsort(found, count, sizeof *found, by_name);
        *nodes = json_array();
        for (size_t i = 0; i < count; i++)
            json_array_append_new(*nodes, found[i]);
    }
    admin_close(&admin);
    return ok;
}
