/* eilpost suppression: addresses that get nothing. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "engine/base/arena.h"
#include "engine/base/mem.h"
#include "engine/cli/operate.h"
#include "engine/message/address.h"
#include "engine/message/list.h"
#include "queue/keys.h"
#include "queue/suppressions.h"

enum { BAD_ROWS_SHOWN = 20 };

/* ---- one entry ---- */

/* "global", "tenant:T", "stream:T/S" as Redis has it: g, t:T, s:T/S. */
static bool scope_make(struct slice text, char out[140], struct err *err)
{
    struct slice rest = text, kind = slice_cut(&rest, ':'), stream = rest;
    if (text.len == 0 || slice_eq(text, SLICE("global"))) {
        snprintf(out, 140, "g");
        return true;
    }
    if (slice_eq(kind, SLICE("tenant")) && queue_name_valid(rest, 64)) {
        snprintf(out, 140, "t:%.*s", SLICE_FMT(rest));
        return true;
    }
    struct slice tenant = slice_cut(&stream, '/');
    if (slice_eq(kind, SLICE("stream")) && (tenant.len == 0 || queue_name_valid(tenant, 64)) &&
        queue_name_valid(stream, 64)) {
        snprintf(out, 140, "s:%.*s", SLICE_FMT(rest));
        return true;
    }
    return err_set(err, ERR_USAGE, "scope '%.*s': global, tenant:TENANT or stream:TENANT/STREAM",
                   SLICE_FMT(text));
}

static void scope_show(const char *scope, char out[144])
{
    if (scope[0] == 't' || scope[0] == 's')
        snprintf(out, 144, "%s%s", scope[0] == 't' ? "tenant" : "stream", scope + 1);
    else
        snprintf(out, 144, "global");
}

/* "2026-12-31", "2026-12-31T18:00:00Z", ms since 1970; empty: for good. */
static bool until_make(struct slice text, int64_t *out, struct err *err)
{
    static const char *const forms[] = { "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%MZ", "%Y-%m-%d" };
    char copy[40];
    uint64_t ms;
    *out = 0;
    if (text.len == 0)
        return true;
    if (slice_to_u64(text, &ms) && ms > 0 && ms < INT64_MAX / 1000) {
        *out = (int64_t)ms;
        return true;
    }
    snprintf(copy, sizeof copy, "%.*s", SLICE_FMT(text));
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        struct tm parts = { 0 };
        const char *end = strptime(copy, forms[i], &parts);
        if (end && !*end) {
            *out = (int64_t)timegm(&parts) * 1000;
            return true;
        }
    }
    return err_set(err, ERR_USAGE, "until '%s': such as 2026-12-31 or 2026-12-31T18:00:00Z (UTC)",
                   copy);
}

/* An address as recipients' addresses are compared: in lower case, with its domain as it's written
 * and, when that differs, as A-labels. */
struct keys {
    struct slice address[2], destination;
    unsigned count;
};

static bool keys_make(struct slice text, struct arena *arena, struct keys *out, struct err *err)
{
    struct address address;
    char domain[256], *lower;
    if (!address_parse(text, &address, err))
        return err_prefix(err, "'%.*s'", SLICE_FMT(text));
    size_t len = address_domain_ascii(address.domain, domain);
    if (len == 0)
        return err_set(err, ERR_INPUT, "'%.*s': the domain can't be one", SLICE_FMT(text));
    out->destination = arena_copy(arena, slice_of(domain, len));
    lower = arena_alloc(arena, text.len + 1);
    for (size_t i = 0; i < text.len; i++)
        lower[i] = ascii_lower(text.ptr[i]);
    out->address[0] = slice_of(lower, text.len);
    out->count = 1;
    if (slice_ends_with(out->address[0], out->destination))
        return true;
    size_t local = address.local.len + 1;
    char *ascii = arena_alloc(arena, local + len);
    memcpy(ascii, lower, local);
    memcpy(ascii + local, domain, len);
    out->address[out->count++] = slice_of(ascii, local + len);
    return true;
}

/* ---- many of them, in batches ---- */

struct batch {
    struct operation *operation;
    struct arena arena;
    struct suppression items[SUPPRESSIONS_BATCH];
    size_t count;
    uint64_t done;
};

static bool batch_flush(struct batch *batch, struct err *err)
{
    bool ok = batch->count == 0 || suppressions_add(batch->operation->producer, batch->items,
                                                    batch->count, batch->operation->by, err);
    batch->count = 0;
    arena_reset(&batch->arena);
    return ok;
}

static bool batch_add(struct batch *batch, struct slice address, struct slice scope_text,
                      struct slice reason, struct slice until, struct err *err)
{
    struct keys keys;
    char scope[140];
    int64_t until_ms;
    if (batch->count + ARRAY_LEN(keys.address) > SUPPRESSIONS_BATCH && !batch_flush(batch, err))
        return false;
    if (!keys_make(address, &batch->arena, &keys, err) || !scope_make(scope_text, scope, err) ||
        !until_make(until, &until_ms, err))
        return false;
    struct slice scope_copy = arena_copy(&batch->arena, slice_str(scope));
    struct slice why = arena_copy(&batch->arena, reason);
    if (why.len > 0 && !note_valid("reason", why.ptr, err))
        return false;
    for (unsigned i = 0; i < keys.count; i++)
        batch->items[batch->count++] = (struct suppression){
            .address = keys.address[i],
            .destination = keys.destination,
            .scope = scope_copy.ptr,
            .reason = why.len > 0 ? why.ptr : NULL,
            .until_ms = until_ms,
        };
    batch->done++;
    return true;
}

/* ---- add, remove, show ---- */

static bool add(struct operation *operation, const char *address, const char *scope,
                const char *until, struct err *err)
{
    struct batch *batch = mem_zalloc(sizeof *batch);
    char stored[140];
    batch->operation = operation;
    bool ok = batch_add(batch, slice_str(address), slice_str(scope), slice_str(operation->reason),
                        slice_str(until), err) &&
              batch_flush(batch, err) && scope_make(slice_str(scope), stored, err) &&
              suppressions_log(operation->producer, operation->by, "suppress", slice_str(address),
                               stored, 1, err);
    arena_free(&batch->arena);
    free(batch);
    if (ok && operation->as_json)
        operation_print(json_pack("{s:s, s:s}", "suppressed", address, "scope", scope));
    else if (ok)
        printf("%s is suppressed (%s)\n", address, scope);
    return ok;
}

static bool lift(struct operation *operation, const char *address, const char *scope,
                 const char *until, struct err *err)
{
    struct arena arena = { 0 };
    struct keys keys;
    char stored[140];
    uint64_t lifted = 0;
    (void)until;
    bool ok = keys_make(slice_str(address), &arena, &keys, err) &&
              scope_make(slice_str(scope), stored, err);
    if (ok) {
        struct suppression items[ARRAY_LEN(keys.address)];
        for (unsigned i = 0; i < keys.count; i++)
            items[i] = (struct suppression){ .address = keys.address[i],
                                             .destination = keys.destination,
                                             .scope = stored };
        ok = suppressions_remove(operation->producer, items, keys.count, &lifted, err);
    }
    arena_free(&arena);
    if (ok && lifted == 0)
        return err_set(err, ERR_NOT_FOUND, "%s isn't suppressed in the scope %s", address, scope);
    ok = ok && suppressions_log(operation->producer, operation->by, "lift suppression",
                                slice_str(address), stored, 1, err);
    if (ok && operation->as_json)
        operation_print(json_pack("{s:s, s:s}", "lifted", address, "scope", scope));
    else if (ok)
        printf("%s isn't suppressed any more (%s)\n", address, scope);
    return ok;
}

static json_t *row_json(const char *address, const char *scope, const json_t *entry)
{
    char shown[144], until[24];
    json_t *row = json_object();
    scope_show(scope, shown);
    json_object_set_new(row, "email", json_string(address));
    json_object_set_new(row, "scope", json_string(shown));
    json_object_set(row, "reason", json_object_get(entry, "reason"));
    int64_t until_ms = (int64_t)json_number_value(json_object_get(entry, "until"));
    if (until_ms > 0) {
        operation_time(until_ms, until);
        until[10] = 'T'; /* RFC 3339 */
        json_object_set_new(row, "until", json_string(until));
    }
    json_object_set_new(row, "at",
                        json_integer((json_int_t)json_number_value(json_object_get(entry, "at"))));
    json_object_set(row, "by", json_object_get(entry, "by"));
    return row;
}

static void print_rows(const json_t *rows)
{
    static const char *const titles[] = { "ADDRESS", "SCOPE", "SINCE", "UNTIL", "BY", "REASON" };
    struct table table;
    size_t i;
    json_t *row;
    table_begin(&table, titles, ARRAY_LEN(titles), "llllll");
    json_array_foreach(rows, i, row)
    {
        char at[24];
        const char *until = json_text(row, "until");
        table_cell(&table, json_text(row, "email"));
        table_cell(&table, json_text(row, "scope"));
        table_cell(&table, operation_time((int64_t)json_count(row, "at"), at));
        table_cell(&table, until[0] ? until : "-");
        table_cell(&table, json_text(row, "by"));
        table_cell(&table, json_text(row, "reason"));
    }
    table_end(&table);
}

static bool show(struct operation *operation, const char *address, const char *scope,
                 const char *until, struct err *err)
{
    struct arena arena = { 0 };
    struct keys keys;
    json_t *rows = json_array(), *scopes = NULL, *entry;
    const char *name;
    (void)scope;
    (void)until;
    bool ok = keys_make(slice_str(address), &arena, &keys, err);
    for (unsigned i = 0; ok && i < keys.count; i++) {
        ok = suppressions_get(operation->producer, keys.address[i], keys.destination, &scopes, err);
        if (!ok)
            break;
        char *text = slice_dup(keys.address[i]);
        json_object_foreach(scopes, name, entry)
            json_array_append_new(rows, row_json(text, name, entry));
        free(text);
        json_decref(scopes);
    }
    arena_free(&arena);
    if (ok && operation->as_json)
        operation_print(json_incref(rows));
    else if (ok && json_array_size(rows) > 0)
        print_rows(rows);
    else if (ok)
        printf("%s isn't suppressed\n", address);
    json_decref(rows);
    return ok;
}

struct address_command {
    struct cli_usage usage;
    bool scoped, dated, why;
    bool (*act)(struct operation *, const char *address, const char *scope, const char *until,
                struct err *);
};

static int on_address(const struct address_command *command, int argc, char **argv)
{
    struct operation operation = { 0 };
    const char *scope = "global", *until = NULL;
    struct cli_option options[6];
    size_t count = 0;
    const struct cli_option common[] = { OPERATION_OPTIONS(&operation) };
    const struct cli_option why[] = { OPERATION_WHY_OPTIONS(&operation) };
    if (command->scoped)
        options[count++] = (struct cli_option){
            "scope",  "SCOPE", "global (if not given), tenant:TENANT or stream:TENANT/STREAM.",
            CLI_TEXT, &scope,  false
        };
    if (command->dated)
        options[count++] = (struct cli_option){
            "until",  "TIME", "2026-12-31 or 2026-12-31T18:00:00Z (UTC); without it for good.",
            CLI_TEXT, &until, false
        };
    for (size_t i = 0; command->why && i < ARRAY_LEN(why); i++)
        options[count++] = why[i];
    for (size_t i = 0; i < ARRAY_LEN(common); i++)
        options[count++] = common[i];
    struct cli_usage usage = command->usage;
    usage.operands = "ADDRESS";
    usage.options = options;
    usage.option_count = count;
    unsigned operands;
    int code;
    struct err err = { 0 };
    if (!operation_begin(&operation, &usage, argc, argv, &operands, &code))
        return code;
    bool good = operands == 1 || err_set(&err, ERR_USAGE, "one ADDRESS is needed");
    good = good && command->act(&operation, argv[1], scope, until, &err);
    return operation_end(&operation, good, &err);
}

static int suppression_add(int argc, char **argv)
{
    const struct address_command command = {
        .usage = { .command = "suppression add",
                   .summary = "Suppresses an address: nothing is sent to it any more.",
                   .notes = "Engines heed it within a second. What is queued for it ends as "
                            "suppressed when its turn comes.\n\n"
                            "example:\n  eilpost suppression add ada@example.org --reason 'asked "
                            "by phone' --scope tenant:acme\n" },
        .scoped = true,
        .dated = true,
        .why = true,
        .act = add,
    };
    return on_address(&command, argc, argv);
}

static int suppression_remove(int argc, char **argv)
{
    const struct address_command command = {
        .usage = { .command = "suppression remove",
                   .summary = "Lifts the suppression of an address in a scope.",
                   .notes = "example:\n  eilpost suppression remove ada@example.org --scope "
                            "tenant:acme\n" },
        .scoped = true,
        .why = true,
        .act = lift,
    };
    return on_address(&command, argc, argv);
}

static int suppression_show(int argc, char **argv)
{
    const struct address_command command = {
        .usage = { .command = "suppression show",
                   .summary = "Shows in which scopes an address is suppressed, and why.",
                   .notes = "example:\n  eilpost suppression show ada@example.org\n" },
        .act = show,
    };
    return on_address(&command, argc, argv);
}

/* ---- list, export ---- */

struct listing {
    json_t *rows; /* NULL: JSON lines to stdout at once */
    uint64_t limit, count;
    const char *scope; /* as stored; NULL: all */
};

static bool list_one(void *user, struct slice address, const json_t *scopes)
{
    struct listing *listing = user;
    const char *scope;
    json_t *entry;
    char *text = slice_dup(address);
    json_object_foreach((json_t *)(uintptr_t)scopes, scope, entry)
    {
        if ((listing->scope && strcmp(scope, listing->scope) != 0) ||
            listing->count == listing->limit)
            continue;
        json_t *row = row_json(text, scope, entry);
        listing->count++;
        if (listing->rows) {
            json_array_append_new(listing->rows, row);
            continue;
        }
        json_dumpf(row, stdout, JSON_COMPACT | JSON_PRESERVE_ORDER);
        putchar('\n');
        json_decref(row);
    }
    free(text);
    return listing->count < listing->limit;
}

static bool list_all(struct operation *operation, struct listing *listing, const char *scope,
                     struct err *err)
{
    char stored[140];
    if (scope && !scope_make(slice_str(scope), stored, err))
        return false;
    listing->scope = scope ? stored : NULL;
    return suppressions_scan(operation->producer, list_one, listing, err);
}

static int suppression_list(int argc, char **argv)
{
    struct operation operation = { 0 };
    const char *scope = NULL;
    struct listing listing = { .limit = 100 };
    const struct cli_option options[] = {
        { "scope", "SCOPE", "Only global, tenant:TENANT or stream:TENANT/STREAM.", CLI_TEXT, &scope,
          false },
        { "limit", "N", "At most N; without it 100.", CLI_COUNT, &listing.limit, false },
        OPERATION_OPTIONS(&operation),
    };
    const struct cli_usage usage = {
        .command = "suppression list",
        .summary = "Lists suppressed addresses, in no order.",
        .notes = "`eilpost suppression export` writes all of them.\n",
        .options = options,
        .option_count = ARRAY_LEN(options),
    };
    unsigned operands;
    int code;
    struct err err = { 0 };
    if (!operation_begin(&operation, &usage, argc, argv, &operands, &code))
        return code;
    listing.rows = json_array();
    bool good = list_all(&operation, &listing, scope, &err);
    if (good && operation.as_json)
        operation_print(json_incref(listing.rows));
    else if (good && json_array_size(listing.rows) == 0)
        printf("nothing is suppressed%s\n", scope ? " in this scope" : "");
    else if (good)
        print_rows(listing.rows);
    json_decref(listing.rows);
    return operation_end(&operation, good, &err);
}

static int suppression_export(int argc, char **argv)
{
    struct operation operation = { 0 };
    const char *scope = NULL;
    struct listing listing = { .limit = UINT64_MAX };
    const struct cli_option options[] = {
        { "scope", "SCOPE", "Only global, tenant:TENANT or stream:TENANT/STREAM.", CLI_TEXT, &scope,
          false },
        OPERATION_OPTIONS(&operation),
    };
    const struct cli_usage usage = {
        .command = "suppression export",
        .summary = "Writes all suppressions as JSON lines, which import reads.",
        .notes = "example:\n  eilpost suppression export > suppressed.jsonl\n",
        .options = options,
        .option_count = ARRAY_LEN(options),
    };
    unsigned operands;
    int code;
    struct err err = { 0 };
    if (!operation_begin(&operation, &usage, argc, argv, &operands, &code))
        return code;
    bool good = list_all(&operation, &listing, scope, &err);
    return operation_end(&operation, good, &err);
}

/* ---- import ---- */

struct import {
    struct operation *operation;
    struct batch *batch;
    const char *scope;
    uint64_t bad;
};

static void report_bad(struct import *import, const struct err *err)
{
    if (import->bad++ < BAD_ROWS_SHOWN)
        fprintf(stderr, "%s\n", err->text);
}

static struct slice value_or(const struct recipient_row *row, struct slice name, const char *other)
{
    struct slice value = recipient_row_value(row, name);
    return value.len > 0 ? value : slice_str(other);
}

/* What can be taken is taken: it's better to suppress too many than to wait for a clean list. */
static bool import_rows(struct import *import, struct recipient_list *list, struct err *err)
{
    for (;;) {
        struct recipient_row row;
        struct err bad = { 0 };
        switch (recipient_list_next(list, &row, &bad)) {
        case RECIPIENT_LIST_END:
            return batch_flush(import->batch, err);
        case RECIPIENT_LIST_FAILED:
            *err = bad;
            return false;
        case RECIPIENT_LIST_BAD:
            report_bad(import, &bad);
            continue;
        case RECIPIENT_LIST_ROW:
            break;
        }
        if (batch_add(import->batch, row.address, value_or(&row, SLICE("scope"), import->scope),
                      value_or(&row, SLICE("reason"), import->operation->reason),
                      recipient_row_value(&row, SLICE("until")), &bad))
            continue;
        if (bad.kind == ERR_REDIS) {
            *err = bad;
            return false;
        }
        err_prefix(&bad, "line %llu", (unsigned long long)row.line);
        report_bad(import, &bad);
    }
}

static bool import_file(struct import *import, const char *path, const char *format,
                        struct err *err)
{
    struct recipient_list_options options = { .format = RECIPIENT_LIST_CSV };
    struct slice name = slice_str(path);
    if (format && strcmp(format, "csv") != 0 && strcmp(format, "jsonl") != 0)
        return err_set(err, ERR_USAGE, "--format '%s': csv or jsonl", format);
    if (format ? strcmp(format, "jsonl") == 0
               : slice_ends_with(name, SLICE(".jsonl")) || slice_ends_with(name, SLICE(".json")))
        options.format = RECIPIENT_LIST_JSON;
    FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
    if (!file)
        return err_system(err, errno, "%s", path);
    struct recipient_list *list = recipient_list_create(&options, recipient_list_read_file, file);
    bool ok = import_rows(import, list, err);
    recipient_list_destroy(&list);
    if (file != stdin)
        fclose(file);
    return ok;
}

static bool import_conclude(struct import *import, struct err *err)
{
    char done[28], bad[28];
    const struct batch *batch = import->batch;
    if (!suppressions_log(import->operation->producer, import->operation->by, "import suppressions",
                          SLICE(""), NULL, batch->done, err))
        return false;
    if (import->operation->as_json)
        operation_print(json_pack("{s:I, s:I}", "imported", (json_int_t)batch->done, "bad",
                                  (json_int_t)import->bad));
    else
        printf("%s addresses are suppressed\n", cli_thousands(batch->done, done));
    return import->bad == 0 || err_set(err, ERR_INPUT, "%s rows were bad and left out",
                                       cli_thousands(import->bad, bad));
}

static int suppression_import(int argc, char **argv)
{
    struct operation operation = { 0 };
    const char *format = NULL, *scope = "global";
    char stored[140];
    const struct cli_option options[] = {
        { "scope", "SCOPE", "Of rows without one: global, tenant:TENANT, stream:TENANT/STREAM.",
          CLI_TEXT, &scope, false },
        { "format", "csv|jsonl", "When the file's name doesn't tell.", CLI_TEXT, &format, false },
        OPERATION_WHY_OPTIONS(&operation),
        OPERATION_OPTIONS(&operation),
    };
    const struct cli_usage usage = {
        .command = "suppression import",
        .operands = "FILE",
        .summary = "Suppresses the addresses of a list; - reads stdin.",
        .notes =
            "The list is CSV with a header row, or JSON lines: `email`, and if wanted `scope`, "
            "`reason`,\n`until`. Bad rows are reported and left out, the others are taken; "
            "it may be repeated.\n\n"
            "examples:\n  eilpost suppression import bounced.csv --reason 'moved from the old "
            "system'\n"
            "  eilpost suppression export | eilpost suppression import --config other.yaml "
            "--format jsonl -\n",
        .options = options,
        .option_count = ARRAY_LEN(options),
    };
    unsigned operands;
    int code;
    struct err err = { 0 };
    if (!operation_begin(&operation, &usage, argc, argv, &operands, &code))
        return code;
    struct import import = { .operation = &operation, .scope = scope };
    import.batch = mem_zalloc(sizeof *import.batch);
    import.batch->operation = &operation;
    bool good = operands == 1 || err_set(&err, ERR_USAGE, "one FILE is needed");
    good = good && scope_make(slice_str(scope), stored, &err) &&
           import_file(&import, argv[1], format, &err) && import_conclude(&import, &err);
    arena_free(&import.batch->arena);
    free(import.batch);
    return operation_end(&operation, good, &err);
}

int command_suppression(int argc, char **argv)
{
    static const struct subcommand commands[] = {
        { "add", "Suppress an address.", suppression_add },
        { "remove", "Lift a suppression.", suppression_remove },
        { "show", "Show why an address is suppressed.", suppression_show },
        { "list", "List suppressed addresses.", suppression_list },
        { "import", "Suppress the addresses of a list.", suppression_import },
        { "export", "Write all suppressions as JSON lines.", suppression_export },
    };
    return subcommand_run("suppression", "Keeps the addresses that get nothing.", commands,
                          ARRAY_LEN(commands), argc, argv);
}
