#pragma once
/* Shared by list.c (reading rows), list_csv.c and list_json.c (taking them apart). */
#include "engine/base/arena.h"
#include "engine/base/buf.h"
#include "engine/message/list.h"

struct json_t;

struct recipient_list {
    struct recipient_list_options options;
    recipient_list_read *read;
    void *context;
    struct buf in; /* what was read and isn't done with */
    bool at_end, failed;
    uint64_t line; /* of the first byte in `in` */
    bool started;
    bool skipping; /* inside a line that was too long */
    size_t done;   /* bytes at the front that belong to the row handed out last */
    uint64_t done_lines;

    struct slice *names, *values;
    size_t room;

    /* CSV */
    struct arena header_arena;
    struct slice *columns; /* all of them; the names without the address are in `names` */
    size_t column_count, address_column;
    struct slice *cells;

    /* JSON lines */
    struct json_t *object; /* the row handed out last: its strings */
    struct arena row_arena;
};

/** Reads until `need` bytes are there. False at the end or on failure (`list->failed` and `err`).
 */
bool recipient_list_fill(struct recipient_list *list, size_t need, struct err *err);
/** Room for `count` names and values. */
void recipient_list_reserve(struct recipient_list *list, size_t count);
/** Marks the first `bytes` as the row being handed out; the next call drops them. */
void recipient_list_consume(struct recipient_list *list, size_t bytes);
/** Puts "line N: " in front of `err`; returns RECIPIENT_LIST_BAD. */
enum recipient_list_result recipient_list_bad(struct err *err, uint64_t line);
/** Checks an address that comes from a list; blanks around it are taken off. */
bool recipient_list_address(struct slice text, struct slice *out, struct err *err);

enum recipient_list_result list_csv_next(struct recipient_list *list, struct recipient_row *row,
                                         struct err *err);
enum recipient_list_result list_json_next(struct recipient_list *list, struct recipient_row *row,
                                          struct err *err);
