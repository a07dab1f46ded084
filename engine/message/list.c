#include "engine/message/list.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>

#include "engine/base/mem.h"
#include "engine/message/address.h"
#include "engine/message/list_private.h"

enum { ROW_BYTES_DEFAULT = 1 << 20, COLUMNS_DEFAULT = 256, READ_BYTES = 65536 };

ssize_t recipient_list_read_file(void *context, char *at, size_t room)
{
    FILE *file = context;
    errno = 0;
    size_t got = fread(at, 1, room, file);
    if (got == 0 && ferror(file)) {
        errno = errno ? errno : EIO;
        return -1;
    }
    return (ssize_t)got;
}

struct recipient_list *recipient_list_create(const struct recipient_list_options *options,
                                             recipient_list_read *read, void *context)
{
    struct recipient_list *list = mem_zalloc(sizeof *list);
    list->options = *options;
    list->options.separator = options->separator ? options->separator : ',';
    list->options.row_bytes_max =
        options->row_bytes_max ? options->row_bytes_max : ROW_BYTES_DEFAULT;
    list->options.columns_max = options->columns_max ? options->columns_max : COLUMNS_DEFAULT;
    list->read = read;
    list->context = context;
    list->line = 1;
    return list;
}

void recipient_list_destroy(struct recipient_list **list)
{
    struct recipient_list *it = *list;
    if (!it)
        return;
    buf_free(&it->in);
    arena_free(&it->header_arena);
    arena_free(&it->row_arena);
    json_decref(it->object);
    free(it->columns);
    free(it->cells);
    free(it->names);
    free(it->values);
    free(it);
    *list = NULL;
}

bool recipient_list_fill(struct recipient_list *list, size_t need, struct err *err)
{
    while (list->in.len < need) {
        if (list->at_end || list->failed)
            return false;
        char *at = buf_reserve(&list->in, READ_BYTES);
        ssize_t got = list->read(list->context, at, READ_BYTES);
        if (got < 0) {
            list->failed = true;
            return err_system(err, errno, "reading the list");
        }
        list->at_end = got == 0;
        buf_grow(&list->in, (size_t)got);
    }
    return true;
}

void recipient_list_reserve(struct recipient_list *list, size_t count)
{
    if (count <= list->room)
        return;
    list->room = count;
    list->names = mem_realloc(list->names, count * sizeof *list->names);
    list->values = mem_realloc(list->values, count * sizeof *list->values);
}

void recipient_list_consume(struct recipient_list *list, size_t bytes)
{
    assert(list->done == 0);
    struct slice row = slice_head(buf_slice(&list->in), bytes);
    for (ptrdiff_t at; (at = slice_find(row, '\n')) >= 0; row = slice_skip(row, (size_t)at + 1))
        list->done_lines++;
    list->done = bytes;
}

enum recipient_list_result recipient_list_bad(struct err *err, uint64_t line)
{
    err_prefix(err, "line %llu", (unsigned long long)line);
    return RECIPIENT_LIST_BAD;
}

bool recipient_list_address(struct slice text, struct slice *out, struct err *err)
{
    struct address address;
    *out = slice_trim(text);
    if (address_parse(*out, &address, err))
        return true;
    struct slice shown = slice_head(*out, MIN_OF(out->len, (size_t)80));
    return shown.len > 0 ? err_prefix(err, "\"%.*s\"", SLICE_FMT(shown)) : false;
}

static bool start(struct recipient_list *list, struct err *err)
{
    list->started = true;
    if (!recipient_list_fill(list, 3, err) && list->failed)
        return false;
    if (slice_starts_with(buf_slice(&list->in), SLICE("\xef\xbb\xbf")))
        buf_consume(&list->in, 3);
    return true;
}

enum recipient_list_result recipient_list_next(struct recipient_list *list,
                                               struct recipient_row *row, struct err *err)
{
    if (list->done > 0) {
        buf_consume(&list->in, list->done);
        list->line += list->done_lines;
        list->done = list->done_lines = 0;
    }
    if (list->failed || (!list->started && !start(list, err)))
        return RECIPIENT_LIST_FAILED;
    return list->options.format == RECIPIENT_LIST_CSV ? list_csv_next(list, row, err)
                                                      : list_json_next(list, row, err);
}

const struct slice *recipient_list_columns(const struct recipient_list *list, size_t *count)
{
    *count = list->column_count > 0 ? list->column_count - 1 : 0;
    return list->names;
}

struct slice recipient_row_value(const struct recipient_row *row, struct slice name)
{
    if (slice_eq(name, SLICE("email")))
        return row->address;
    for (size_t i = 0; i < row->count; i++)
        if (slice_eq(row->names[i], name))
            return row->values[i];
    return (struct slice){ 0 };
}
