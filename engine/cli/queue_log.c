/* eilpost queue orders, log: what is in force, and what was done. */
#include <stdio.h>
#include <stdlib.h>

#include "engine/cli/operate.h"
#include "engine/cli/queue.h"

static void counts_cell(struct table *table, const json_t *counts)
{
    char text[96], a[28], b[28], c[28];
    if (!counts) {
        table_cell(table, "-");
        return;
    }
    snprintf(text, sizeof text, "%s+%s+%s", cli_thousands(json_count(counts, "queued"), a),
             cli_thousands(json_count(counts, "retrying"), b),
             cli_thousands(json_count(counts, "in_flight"), c));
    table_cell(table, text);
}

static void print_orders(const json_t *records)
{
    static const char *const titles[] = { "ORDER", "ACTION", "STATE", "GIVEN", "BY",
                                          "FOUND", "FILTER", "POOL",  "REASON" };
    struct table table;
    size_t i;
    json_t *record;
    if (json_array_size(records) == 0) {
        printf("no orders are in force\n");
        return;
    }
    table_begin(&table, titles, ARRAY_LEN(titles), "lllllrlll");
    json_array_foreach(records, i, record)
    {
        struct buf filter = BUF_EMPTY;
        char given[24];
        filter_text(json_object_get(record, "filter"), &filter);
        table_cell(&table, json_text(record, "id"));
        table_cell(&table, json_text(record, "action"));
        table_cell(&table, json_text(record, "state"));
        table_cell(&table,
                   operation_time(json_integer_value(json_object_get(record, "at")), given));
        table_cell(&table, json_text(record, "by"));
        counts_cell(&table, json_object_get(record, "found"));
        table_cell(&table, buf_cstr(&filter));
        table_cell(&table, json_text(record, "pool"));
        table_cell(&table, json_text(record, "reason"));
        buf_free(&filter);
    }
    table_end(&table);
}

int command_queue_orders(int argc, char **argv)
{
    struct operation operation = { 0 };
    bool all = false;
    const struct cli_option options[] = {
        { "all", NULL, "Also those that are over.", CLI_FLAG, &all, false },
        OPERATION_OPTIONS(&operation),
    };
    const struct cli_usage usage = {
        .command = "queue orders",
        .summary = "Shows the orders in force.",
        .notes = "FOUND is how many jobs an order found when it was given: queued, retrying, in "
                 "flight.\nThe state `under_way` is an order that was interrupted: `eilpost queue "
                 "finish ORDER`.\n",
        .options = options,
        .option_count = ARRAY_LEN(options),
    };
    unsigned operands;
    int code;
    struct err err = { 0 };
    json_t *records = NULL;
    if (!operation_begin(&operation, &usage, argc, argv, &operands, &code))
        return code;
    bool good = orders_list(operation.producer, all, &records, &err);
    if (good && operation.as_json)
        operation_print(json_incref(records));
    else if (good)
        print_orders(records);
    json_decref(records);
    return operation_end(&operation, good, &err);
}

/* What an entry was about: a filter, a campaign's setting, or addresses. */
static void what_cell(struct table *table, const json_t *entry)
{
    struct buf text = BUF_EMPTY;
    const json_t *value = json_object_get(entry, "value");
    if (json_object_get(entry, "filter"))
        filter_text(json_object_get(entry, "filter"), &text);
    else if (json_object_get(entry, "campaign"))
        buf_printf(&text, "campaign=%s", json_text(entry, "campaign"));
    else
        buf_printf(&text, "%s %s", json_text(entry, "address"), json_text(entry, "scope"));
    if (value) {
        char *shown = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
        buf_printf(&text, " %s", shown);
        free(shown);
    }
    table_cell(table, buf_cstr(&text));
    buf_free(&text);
}

static void print_log(const json_t *entries)
{
    static const char *const titles[] = {
        "WHEN", "BY", "ACTION", "ORDER", "JOBS", "WHAT", "REASON"
    };
    struct table table;
    size_t i;
    json_t *entry;
    table_begin(&table, titles, ARRAY_LEN(titles), "llllrll");
    json_array_foreach(entries, i, entry)
    {
        const json_t *jobs = json_object_get(entry, "jobs");
        char when[24];
        table_cell(&table, operation_time(json_integer_value(json_object_get(entry, "at")), when));
        table_cell(&table, json_text(entry, "by"));
        table_cell(&table, json_text(entry, "action"));
        table_cell(&table, json_text(entry, "order"));
        if (jobs)
            table_number(&table, json_count(jobs, "queued") + json_count(jobs, "retrying"));
        else if (json_object_get(entry, "count"))
            table_number(&table, json_count(entry, "count"));
        else
            table_cell(&table, "");
        what_cell(&table, entry);
        table_cell(&table, json_text(entry, "reason"));
    }
    table_end(&table);
}

int command_queue_log(int argc, char **argv)
{
    struct operation operation = { 0 };
    uint64_t limit = 50;
    const struct cli_option options[] = {
        { "limit", "N", "The newest N; without it 50.", CLI_COUNT, &limit, false },
        OPERATION_OPTIONS(&operation),
    };
    const struct cli_usage usage = {
        .command = "queue log",
        .summary = "Shows what operators did: when, who, what, to how many jobs, why.",
        .notes = "About the last 100,000 entries are kept.\n",
        .options = options,
        .option_count = ARRAY_LEN(options),
    };
    unsigned operands;
    int code;
    struct err err = { 0 };
    json_t *entries = NULL;
    if (!operation_begin(&operation, &usage, argc, argv, &operands, &code))
        return code;
    bool good =
        orders_log(operation.producer, (unsigned)MIN_OF(limit, UINT64_C(100000)), &entries, &err);
    if (good && operation.as_json)
        operation_print(json_incref(entries));
    else if (good)
        print_log(entries);
    json_decref(entries);
    return operation_end(&operation, good, &err);
}
