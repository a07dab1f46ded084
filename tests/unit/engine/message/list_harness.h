#pragma once
/* Reads a whole list given as text and writes down what came out, one line per row:
 *   "3: anna@x.example name=Anna\n"  or  "4! line 4: …\n"  or  "failed: …\n" */
#include <check.h>

#include "engine/base/buf.h"
#include "engine/message/list.h"

struct list_source {
    struct slice rest;
    size_t step; /* bytes per read */
};

static ssize_t list_source_read(void *context, char *at, size_t room)
{
    struct list_source *source = context;
    size_t most = MIN_OF(source->step, room), n = MIN_OF(most, source->rest.len);
    memcpy(at, source->rest.ptr, n);
    source->rest = slice_skip(source->rest, n);
    return (ssize_t)n;
}

static void list_transcribe(const struct recipient_list_options *options, struct slice text,
                            size_t step, struct buf *out)
{
    struct list_source source = { text, step };
    struct recipient_list *list = recipient_list_create(options, list_source_read, &source);
    struct recipient_row row;
    struct err err;
    enum recipient_list_result result;
    buf_clear(out);
    while ((result = recipient_list_next(list, &row, &err)) == RECIPIENT_LIST_ROW ||
           result == RECIPIENT_LIST_BAD) {
        if (result == RECIPIENT_LIST_BAD) {
            buf_printf(out, "! %s\n", err.text);
            continue;
        }
        buf_printf(out, "%llu: %.*s", (unsigned long long)row.line, SLICE_FMT(row.address));
        for (size_t i = 0; i < row.count; i++)
            buf_printf(out, " %.*s=%.*s", SLICE_FMT(row.names[i]), SLICE_FMT(row.values[i]));
        buf_append_char(out, '\n');
    }
    if (result == RECIPIENT_LIST_FAILED) {
        buf_printf(out, "failed: %s\n", err.text);
        ck_assert_int_eq(recipient_list_next(list, &row, &err), RECIPIENT_LIST_FAILED);
    } else {
        ck_assert_int_eq(recipient_list_next(list, &row, &err), RECIPIENT_LIST_END);
    }
    recipient_list_destroy(&list);
    ck_assert_ptr_null(list);
}
