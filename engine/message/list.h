#pragma once
/* Recipient lists: CSV or JSON lines, read as a stream in memory bounded by one row. A bad row is
 * reported with its line number and reading goes on behind it, so that one pass finds every bad row
 * of a list. */
#include <stdio.h>
#include <sys/types.h>

#include "engine/base/err.h"
#include "engine/base/slice.h"

/** As read(2): up to `room` bytes to `at`; 0 at the end, -1 with errno on failure. */
typedef ssize_t recipient_list_read(void *context, char *at, size_t room);
/** A reader for a FILE* given as context. */
recipient_list_read recipient_list_read_file;

enum recipient_list_format { RECIPIENT_LIST_CSV, RECIPIENT_LIST_JSON };

struct recipient_list_options {
    enum recipient_list_format format;
    char separator;       /* CSV; 0: ',' */
    size_t row_bytes_max; /* 0: 1 MiB */
    size_t columns_max;   /* 0: 256 */
};

struct recipient_row {
    uint64_t line;        /* where the row begins, from 1 */
    struct slice address; /* valid (address_parse) */
    size_t count;         /* fields, without the address */
    const struct slice *names;
    const struct slice *values; /* UTF-8 without NUL */
};

enum recipient_list_result {
    RECIPIENT_LIST_ROW, /* `row` is filled, valid until the next call */
    RECIPIENT_LIST_BAD, /* `err` says which line and what is wrong; go on */
    RECIPIENT_LIST_END,
    RECIPIENT_LIST_FAILED, /* `err`: reading failed or the header row is unusable; no more rows */
};

struct recipient_list;

/** `context` must outlive the list. Nothing is read yet. */
struct recipient_list *recipient_list_create(const struct recipient_list_options *options,
                                             recipient_list_read *read, void *context);
void recipient_list_destroy(struct recipient_list **list);

/**
 * The next row. CSV is RFC 4180 (quotes, line breaks in quotes, CRLF or LF, a byte order mark, one
 * header row with the names); the address is in the column "email", or else "to", whatever their
 * case. JSON lines are objects with "email" or "to", and the fields beside it or in an object
 * "data"; numbers and booleans become text, null is empty.
 */
enum recipient_list_result recipient_list_next(struct recipient_list *list,
                                               struct recipient_row *row, struct err *err);

/** CSV: the names of the columns but for the address, known after the first recipient_list_next;
 * else count 0. */
const struct slice *recipient_list_columns(const struct recipient_list *list, size_t *count);

/** The row's value for `name`, ptr NULL if it has none. "email" is the address. */
struct slice recipient_row_value(const struct recipient_row *row, struct slice name);
