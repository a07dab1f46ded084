/* JSON lines: one object a line. A line longer than the cap is dropped as it is read. */
#include <jansson.h>
#include <stdlib.h>

#include "engine/base/utf8.h"
#include "engine/message/list_private.h"

/* Length of the line at the front, its end included; what passes the cap is dropped, and
 * `*too_long` set. */
static size_t find_line(struct recipient_list *list, bool *too_long, struct err *err)
{
    size_t scanned = 0;
    *too_long = false;
    for (;;) {
        ptrdiff_t end = slice_find(slice_skip(buf_slice(&list->in), scanned), '\n');
        if (end >= 0) {
            size_t len = scanned + (size_t)end + 1;
            *too_long |= len > list->options.row_bytes_max;
            return len;
        }
        scanned = list->in.len;
        if (scanned > list->options.row_bytes_max) {
            *too_long = true;
            buf_consume(&list->in, scanned - 1);
            scanned = 1;
        }
        if (!recipient_list_fill(list, scanned + 1, err))
            return list->in.len;
    }
}

static bool text_of(struct recipient_list *list, const char *name, const json_t *value,
                    struct slice *out, struct err *err)
{
    char *text;
    switch (json_typeof(value)) {
    case JSON_STRING:
        *out = slice_of(json_string_value(value), json_string_length(value));
        return true;
    case JSON_NULL:
        *out = SLICE("");
        return true;
    case JSON_TRUE:
        *out = SLICE("true");
        return true;
    case JSON_FALSE:
        *out = SLICE("false");
        return true;
    case JSON_INTEGER:
    case JSON_REAL:
        text = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
        *out = text ? arena_copy(&list->row_arena, slice_str(text)) : SLICE("");
        free(text);
        return true;
    case JSON_OBJECT:
    case JSON_ARRAY:
        break;
    }
    return err_set(err, ERR_INPUT, "field \"%.64s\" is %s", name,
                   json_is_array(value) ? "a list" : "an object");
}

static bool add_fields(struct recipient_list *list, json_t *object, const char *skip, size_t *count,
                       struct err *err)
{
    const char *name;
    json_t *value;
    json_object_foreach(object, name, value)
    {
        if (skip && strcmp(name, skip) == 0)
            continue;
        if (*count == list->options.columns_max)
            return err_set(err, ERR_INPUT, "more than %zu fields", list->options.columns_max);
        recipient_list_reserve(list, list->options.columns_max);
        list->names[*count] = slice_str(name);
        if (!text_of(list, name, value, &list->values[*count], err))
            return false;
        ++*count;
    }
    return true;
}

static bool take_object(struct recipient_list *list, struct recipient_row *row, struct err *err)
{
    json_t *object = list->object;
    if (!json_is_object(object))
        return err_set(err, ERR_INPUT, "not a JSON object");
    const char *key = json_object_get(object, "email") ? "email" : "to";
    json_t *address = json_object_get(object, key), *data = json_object_get(object, "data");
    if (!address)
        return err_set(err, ERR_INPUT, "no \"email\" or \"to\"");
    if (!json_is_string(address))
        return err_set(err, ERR_INPUT, "\"%s\" is not a string", key);
    size_t count = 0;
    if (json_is_object(data)) {
        if (json_object_size(object) != 2)
            return err_set(err, ERR_INPUT, "fields both in \"data\" and beside it");
        if (!add_fields(list, data, NULL, &count, err))
            return false;
    } else if (!add_fields(list, object, key, &count, err)) {
        return false;
    }
    *row = (struct recipient_row){ list->line, SLICE(""), count, list->names, list->values };
    return recipient_list_address(slice_of(json_string_value(address), json_string_length(address)),
                                  &row->address, err);
}

enum recipient_list_result list_json_next(struct recipient_list *list, struct recipient_row *row,
                                          struct err *err)
{
    json_decref(list->object);
    list->object = NULL;
    arena_reset(&list->row_arena);
    for (;;) {
        bool too_long;
        size_t len = find_line(list, &too_long, err);
        if (list->failed)
            return RECIPIENT_LIST_FAILED;
        if (len == 0)
            return RECIPIENT_LIST_END;
        struct slice line = slice_trim(slice_head(buf_slice(&list->in), len));
        if (line.len == 0 && !too_long) {
            buf_consume(&list->in, len);
            list->line++;
            continue;
        }
        recipient_list_consume(list, len);
        if (too_long) {
            err_set(err, ERR_INPUT, "longer than %zu bytes", list->options.row_bytes_max);
            return recipient_list_bad(err, list->line);
        }
        json_error_t where;
        list->object = json_loadb(line.ptr, line.len, JSON_REJECT_DUPLICATES, &where);
        if (!list->object)
            err_set(err, ERR_INPUT, "JSON, column %d: %s", where.column, where.text);
        if (!list->object || !take_object(list, row, err))
            return recipient_list_bad(err, list->line);
        return RECIPIENT_LIST_ROW;
    }
}
