#pragma once
/* Shared by the targets of both list formats, which define LIST_FORMAT. A list read in pieces of
 * any size gives the same rows, and every row is one that could be sent to. */
#include <stdlib.h>

#include "engine/base/buf.h"
#include "engine/base/utf8.h"
#include "engine/message/address.h"
#include "engine/message/list.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct source {
    struct slice rest;
    size_t step;
};

static void check(bool ok)
{
    if (!ok)
        abort();
}

static ssize_t read_some(void *context, char *at, size_t room)
{
    struct source *source = context;
    size_t most = MIN_OF(source->step, room), n = MIN_OF(most, source->rest.len);
    if (n > 0)
        memcpy(at, source->rest.ptr, n);
    source->rest = slice_skip(source->rest, n);
    return (ssize_t)n;
}

static void check_row(const struct recipient_row *row)
{
    struct address address;
    check(address_parse(row->address, &address, NULL));
    for (size_t i = 0; i < row->count; i++) {
        check(utf8_valid(row->values[i]) && slice_find(row->values[i], '\0') < 0);
        check(utf8_valid(row->names[i]));
    }
}

static void transcribe(struct slice text, size_t step, struct buf *out)
{
    const struct recipient_list_options options = {
        .format = LIST_FORMAT,
        .row_bytes_max = 200,
        .columns_max = 8,
    };
    struct source source = { text, step };
    struct recipient_list *list = recipient_list_create(&options, read_some, &source);
    struct recipient_row row;
    struct err err;
    enum recipient_list_result result;
    uint64_t line = 0;
    while ((result = recipient_list_next(list, &row, &err)) == RECIPIENT_LIST_ROW ||
           result == RECIPIENT_LIST_BAD) {
        if (result == RECIPIENT_LIST_BAD) {
            buf_append(out, slice_str(err.text));
            continue;
        }
        check_row(&row);
        check(row.line > line);
        line = row.line;
        buf_printf(out, "%llu %.*s", (unsigned long long)row.line, SLICE_FMT(row.address));
        for (size_t i = 0; i < row.count; i++)
            buf_append(out, row.values[i]);
    }
    buf_append(out, result == RECIPIENT_LIST_FAILED ? slice_str(err.text) : SLICE("end"));
    recipient_list_destroy(&list);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf whole = BUF_EMPTY, cut = BUF_EMPTY;
    struct slice text = slice_of(data, size);
    transcribe(text, 1 << 20, &whole);
    transcribe(text, size > 0 ? 1 + data[size - 1] % 9 : 1, &cut);
    check(slice_eq(buf_slice(&whole), buf_slice(&cut)));
    buf_free(&whole);
    buf_free(&cut);
    return 0;
}
