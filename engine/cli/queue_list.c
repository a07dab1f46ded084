/* eilpost queue list: what is queued, grouped. */
#include <stdio.h>

#include "engine/cli/operate.h"
#include "engine/cli/queue.h"
#include "queue/survey.h"

static const char *const groupings[] = {
    [SURVEY_DESTINATION] = "destination",
    [SURVEY_TENANT] = "tenant",
    [SURVEY_CAMPAIGN] = "campaign",
    [SURVEY_CLASS] = "class",
    [SURVEY_SITE] = "site",
    [SURVEY_SUBMISSION] = "submission",
};

static bool grouping_find(const char *name, enum survey_by *out, struct err *err)
{
    for (size_t i = 0; i < ARRAY_LEN(groupings); i++)
        if (strcmp(groupings[i], name) == 0) {
            *out = (enum survey_by)i;
            return true;
        }
    return err_set(err, ERR_USAGE,
                   "--by '%s': destination, tenant, campaign, class, site or submission", name);
}

/* "2,000 by o-mfx2k1p0 c:acme/june", or all of them. */
static void held_cell(struct table *table, const json_t *row)
{
    struct buf text = BUF_EMPTY;
    char digits[28];
    uint64_t held = json_count(row, "held");
    const json_t *ids = json_object_get(row, "held_by");
    size_t i;
    json_t *id;
    if (held > 0)
        buf_printf(&text, "%s by",
                   held == json_count(row, "queued") ? "all" : cli_thousands(held, digits));
    json_array_foreach(ids, i, id) buf_printf(&text, " %s", json_string_value(id));
    table_cell(table, buf_cstr(&text));
    buf_free(&text);
}

static void counts_cells(struct table *table, const json_t *counts)
{
    table_number(table, json_count(counts, "queued"));
    table_number(table, json_count(counts, "retrying"));
    table_number(table, json_count(counts, "in_flight"));
}

static void print_survey(enum survey_by by, const json_t *survey)
{
    static const char *const titles[] = { "NAME", "QUEUED", "RETRYING", "IN FLIGHT",
                                          "HELD", "NEXT",   "PARKED" };
    bool timed = by == SURVEY_DESTINATION;
    struct table table;
    size_t i;
    json_t *row;
    const json_t *rows = json_object_get(survey, "rows");
    int64_t now_ms = json_integer_value(json_object_get(survey, "now_ms"));
    table_begin(&table, titles, timed ? 7 : 5, "lrrrlll");
    json_array_foreach(rows, i, row)
    {
        const char *name = json_text(row, "name");
        table_cell(&table, name[0] ? name : "(none)");
        counts_cells(&table, row);
        held_cell(&table, row);
        if (timed) {
            table_time(&table, json_integer_value(json_object_get(row, "next_ms")), now_ms);
            table_time(&table, json_integer_value(json_object_get(row, "parked_until_ms")), now_ms);
        }
    }
    const json_t *total = json_object_get(survey, "total");
    char groups[48], digits[28];
    snprintf(groups, sizeof groups, "all %s", cli_thousands(json_count(survey, "groups"), digits));
    table_cell(&table, groups);
    counts_cells(&table, total);
    table_number(&table, json_count(total, "held"));
    for (unsigned c = 5; timed && c < 7; c++)
        table_cell(&table, "");
    table_end(&table);
}

int command_queue_list(int argc, char **argv)
{
    struct operation operation = { 0 };
    struct filter_options filter_options = { 0 };
    struct order_filter filter;
    const char *by_name = "destination";
    uint64_t limit = 20;
    const struct cli_option options[] = {
        { "by", "WHAT", "destination (if not given), tenant, campaign, class, site, submission.",
          CLI_TEXT, &by_name, false },
        { "limit", "N", "The N largest; without it 20.", CLI_COUNT, &limit, false },
        FILTER_OPTIONS(&filter_options),
        OPERATION_OPTIONS(&operation),
    };
    const struct cli_usage usage = {
        .command = "queue list",
        .summary = "Shows what is queued: the largest destinations, tenants, campaigns …",
        .notes = "HELD is how many of the queued jobs an order holds, and which. NEXT is when a "
                 "destination is\noffered to an engine, PARKED until when it's left alone because "
                 "it doesn't answer.\n\n"
                 "examples:\n  eilpost queue list --config eilpost.yaml\n"
                 "  eilpost queue list --by campaign --tenant acme --json\n",
        .options = options,
        .option_count = ARRAY_LEN(options),
    };
    unsigned operands;
    int code;
    enum survey_by by = SURVEY_DESTINATION;
    struct err err = { 0 };
    json_t *survey = NULL;
    if (!operation_begin(&operation, &usage, argc, argv, &operands, &code))
        return code;
    struct order_watch watch = operation_watch(&operation);
    bool good = grouping_find(by_name, &by, &err) &&
                filter_make(&filter_options, false, &filter, &err) &&
                survey_run(operation.producer, by, &filter,
                           (unsigned)MIN_OF(limit, UINT64_C(10000000)), &watch, &survey, &err);
    if (good && operation.as_json)
        operation_print(json_incref(survey));
    else if (good)
        print_survey(by, survey);
    json_decref(survey);
    return operation_end(&operation, good, &err);
}
