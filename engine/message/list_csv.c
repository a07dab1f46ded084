/* CSV (RFC 4180). A row ends at the first line break with an even number of quotation marks in
 * front of it; that is exact for well-formed rows and needs no look at the cells. Only a whole row
 * is taken apart, strictly.
 *
 * A quotation mark that was forgotten swallows the lines behind it. So when a row that spans lines
 * turns out malformed, or longer than the cap, only its first line counts as bad and reading goes
 * on with the second. */
#include <stdlib.h>

#include "engine/base/mem.h"
#include "engine/base/utf8.h"
#include "engine/message/list_private.h"

/* Length of the row at the front of `in`, its line end included, or 0: longer than the cap, or none
 * left. */
static size_t find_row(struct recipient_list *list, bool *too_long, struct err *err)
{
    bool quoted = false;
    *too_long = false;
    for (size_t at = 0;; at++) {
        if (at >= list->options.row_bytes_max) {
            *too_long = true;
            return 0;
        }
        if (at == list->in.len && !recipient_list_fill(list, at + 1, err))
            return list->failed ? 0 : at;
        char c = list->in.data[list->in.start + at];
        if (c == '"')
            quoted = !quoted;
        else if (c == '\n' && !quoted)
            return at + 1;
    }
}

/* Length of the first line, its line end included, reading on if it must be. What is longer than
 * the cap is dropped as it is read, all but its last byte. */
static size_t first_line_len(struct recipient_list *list, struct err *err)
{
    for (;;) {
        ptrdiff_t end = slice_find(buf_slice(&list->in), '\n');
        if (end >= 0)
            return (size_t)end + 1;
        if (list->in.len > list->options.row_bytes_max)
            buf_consume(&list->in, list->in.len - 1);
        if (!recipient_list_fill(list, list->in.len + 1, err))
            return list->in.len;
    }
}

/* A quoted cell, `*row` behind its opening mark; doubled marks stay doubled. */
static bool take_quoted(struct slice *row, char separator, struct slice *cell, struct err *err)
{
    size_t at = 0;
    for (;; at += 2) {
        ptrdiff_t mark = slice_find(slice_skip(*row, at), '"');
        if (mark < 0)
            return err_set(err, ERR_INPUT, "a quotation mark that isn't closed");
        at += (size_t)mark;
        if (at + 1 >= row->len || row->ptr[at + 1] != '"')
            break;
    }
    *cell = slice_head(*row, at);
    *row = slice_skip(*row, at + 1);
    if (row->len > 0 && row->ptr[0] != separator)
        return err_set(err, ERR_INPUT, "text behind a closing quotation mark");
    return true;
}

/* Makes doubled marks single, in place. Only for a row that is well-formed: a malformed one is read
 * again from its second line. Outside quoted cells there are no marks. */
static void undouble(struct slice *cell)
{
    char *bytes = (char *)(uintptr_t)cell->ptr;
    ptrdiff_t first = slice_find(*cell, '"');
    if (first < 0)
        return;
    size_t to = (size_t)first;
    for (size_t from = to; from < cell->len; from++) {
        bytes[to++] = bytes[from];
        from += bytes[from] == '"';
    }
    cell->len = to;
}

static bool take_cell(struct slice *row, char separator, struct slice *cell, struct err *err)
{
    if (row->len > 0 && row->ptr[0] == '"') {
        *row = slice_skip(*row, 1);
        return take_quoted(row, separator, cell, err);
    }
    ptrdiff_t end = slice_find(*row, separator);
    *cell = slice_head(*row, end < 0 ? row->len : (size_t)end);
    *row = slice_skip(*row, cell->len);
    if (slice_find(*cell, '"') >= 0)
        return err_set(err, ERR_INPUT,
                       "a quotation mark inside a cell that doesn't begin with one");
    if (slice_find(*cell, '\r') >= 0)
        return err_set(err, ERR_INPUT, "a bare carriage return");
    return true;
}

/* Quoted rows are changed in place, so a row is taken apart once: `*malformed` tells the two kinds
 * of bad rows apart. */
static bool take_cells(struct slice row, char separator, struct slice *cells, size_t room,
                       size_t *count, bool *malformed, struct err *err)
{
    *count = 0;
    *malformed = false;
    for (bool more = true; more;) {
        struct slice cell;
        if (!take_cell(&row, separator, &cell, err)) {
            *malformed = true;
            return false;
        }
        if (*count < room)
            cells[*count] = cell;
        ++*count;
        more = row.len > 0;
        if (more)
            row = slice_skip(row, 1); /* the separator */
    }
    for (size_t i = 0; i < MIN_OF(*count, room); i++)
        undouble(&cells[i]);
    return true;
}

static struct slice without_line_end(struct slice row)
{
    if (row.len > 0 && row.ptr[row.len - 1] == '\n')
        row.len--;
    if (row.len > 0 && row.ptr[row.len - 1] == '\r')
        row.len--;
    return row;
}

static bool check_text(struct slice name, struct slice cell, struct err *err)
{
    if (!utf8_valid(cell))
        return err_set(err, ERR_INPUT, "column \"%.*s\" is not UTF-8", SLICE_FMT(name));
    if (slice_find(cell, '\0') >= 0)
        return err_set(err, ERR_INPUT, "column \"%.*s\" has a NUL character", SLICE_FMT(name));
    return true;
}

static bool find_address_column(struct recipient_list *list, struct err *err)
{
    static const char *const names[] = { "email", "to" };
    for (size_t n = 0; n < ARRAY_LEN(names); n++)
        for (size_t i = 0; i < list->column_count; i++)
            if (slice_eq_nocase(list->columns[i], slice_str(names[n]))) {
                list->address_column = i;
                return true;
            }
    return err_set(err, ERR_INPUT, "no column \"email\" or \"to\" in the header row");
}

static bool check_columns(const struct recipient_list *list, struct err *err)
{
    for (size_t i = 0; i < list->column_count; i++) {
        struct slice name = list->columns[i];
        if (name.len == 0)
            return err_set(err, ERR_INPUT, "column %zu has no name", i + 1);
        if (name.len > 255)
            return err_set(err, ERR_INPUT, "the name of column %zu is too long", i + 1);
        if (!check_text(SLICE("(name)"), name, err))
            return false;
        for (size_t j = 0; j < i; j++)
            if (slice_eq(name, list->columns[j]))
                return err_set(err, ERR_INPUT, "two columns have the name \"%.*s\"",
                               SLICE_FMT(name));
    }
    return true;
}

static bool take_header(struct recipient_list *list, struct slice row, struct err *err)
{
    bool malformed;
    size_t room = list->options.columns_max;
    list->cells = mem_array(room, sizeof *list->cells);
    if (!take_cells(row, list->options.separator, list->cells, room, &list->column_count,
                    &malformed, err))
        return false;
    if (list->column_count > room)
        return err_set(err, ERR_INPUT, "more than %zu columns", room);
    list->columns = mem_array(list->column_count, sizeof *list->columns);
    for (size_t i = 0; i < list->column_count; i++)
        list->columns[i] = arena_copy(&list->header_arena, slice_trim(list->cells[i]));
    if (!check_columns(list, err) || !find_address_column(list, err))
        return false;
    recipient_list_reserve(list, list->column_count);
    size_t at = 0;
    for (size_t i = 0; i < list->column_count; i++)
        if (i != list->address_column)
            list->names[at++] = list->columns[i];
    return true;
}

static enum recipient_list_result take_row(struct recipient_list *list, struct slice cells_of,
                                           struct recipient_row *row, bool *malformed,
                                           struct err *err)
{
    size_t count, at = 0;
    uint64_t line = list->line;
    if (!take_cells(cells_of, list->options.separator, list->cells, list->column_count, &count,
                    malformed, err))
        return recipient_list_bad(err, line);
    if (count != list->column_count) {
        err_set(err, ERR_INPUT, "%zu columns, but the header row has %zu", count,
                list->column_count);
        return recipient_list_bad(err, line);
    }
    *row = (struct recipient_row){ line, SLICE(""), count - 1, list->names, list->values };
    for (size_t i = 0; i < count; i++) {
        if (!check_text(list->columns[i], list->cells[i], err))
            return recipient_list_bad(err, line);
        if (i != list->address_column)
            list->values[at++] = list->cells[i];
    }
    if (!recipient_list_address(list->cells[list->address_column], &row->address, err))
        return recipient_list_bad(err, line);
    return RECIPIENT_LIST_ROW;
}

static enum recipient_list_result give_up(struct recipient_list *list, struct err *err)
{
    list->failed = true;
    recipient_list_bad(err, list->line);
    return RECIPIENT_LIST_FAILED;
}

static enum recipient_list_result row_too_long(struct recipient_list *list, struct err *err)
{
    size_t line_len = first_line_len(list, err);
    if (list->failed)
        return RECIPIENT_LIST_FAILED;
    err_set(err, ERR_INPUT, "a row longer than %zu bytes (a quotation mark that isn't closed?)",
            list->options.row_bytes_max);
    if (!list->columns)
        return give_up(list, err);
    recipient_list_consume(list, line_len);
    return recipient_list_bad(err, list->line);
}

enum recipient_list_result list_csv_next(struct recipient_list *list, struct recipient_row *row,
                                         struct err *err)
{
    for (;;) {
        bool too_long, malformed = false;
        size_t len = find_row(list, &too_long, err);
        if (list->failed)
            return RECIPIENT_LIST_FAILED;
        if (too_long)
            return row_too_long(list, err);
        struct slice line = slice_head(buf_slice(&list->in), len);
        size_t first = (size_t)slice_find(line, '\n') + 1; /* 0 without a line end */
        struct slice cells = without_line_end(line);
        if (len == 0 && list->columns)
            return RECIPIENT_LIST_END;
        if (cells.len == 0 && len > 0) { /* an empty line */
            buf_consume(&list->in, len);
            list->line++;
            continue;
        }
        if (!list->columns) {
            if (len == 0)
                err_set(err, ERR_INPUT, "the list is empty: no header row");
            if (len == 0 || !take_header(list, cells, err))
                return give_up(list, err);
            recipient_list_consume(list, len);
            buf_consume(&list->in, list->done);
            list->line += list->done_lines;
            list->done = list->done_lines = 0;
            continue;
        }
        enum recipient_list_result result = take_row(list, cells, row, &malformed, err);
        recipient_list_consume(list, malformed && first > 0 ? first : len);
        return result;
    }
}
