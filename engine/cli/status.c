/* eilpost status: what the queue holds, or how far submissions are. */
#include <jansson.h>
#include <stdio.h>

#include "engine/cli/cli.h"
#include "queue/producer.h"

struct field {
    const char *name;
    uint64_t value;
};

static void print_text(const char *title, const struct field *fields, size_t count)
{
    char digits[28];
    printf("%s\n", title);
    for (size_t i = 0; i < count; i++)
        printf("  %-24s %14s\n", fields[i].name, cli_thousands(fields[i].value, digits));
}

static json_t *to_json(const struct field *fields, size_t count)
{
    json_t *object = json_object();
    for (size_t i = 0; i < count; i++)
        json_object_set_new(object, fields[i].name, json_integer((json_int_t)fields[i].value));
    return object;
}

#define TOTALS_FIELDS 10

static void totals_fields(const struct producer_totals *totals, struct field out[TOTALS_FIELDS])
{
    const struct field fields[TOTALS_FIELDS] = {
        { "open", producer_totals_open(totals) }, { "accepted", totals->accepted },
        { "rejected", totals->rejected },         { "delivered", totals->delivered },
        { "bounced", totals->bounced },           { "expired", totals->expired },
        { "suppressed", totals->suppressed },     { "cancelled", totals->cancelled },
        { "deferred", totals->deferred },         { "unknown", totals->unknown },
    };
    memcpy(out, fields, sizeof fields);
}

static bool show_queue(struct producer *producer, json_t *root, struct err *err)
{
    struct producer_totals totals;
    struct producer_depth depth;
    if (!producer_totals(producer, NULL, &totals, err) || !producer_depth(producer, &depth, err))
        return false;
    const struct field now[] = {
        { "submit_entries", depth.submit_entries },
        { "in_flight", depth.in_flight },
        { "retrying", depth.retrying },
        { "destinations", depth.destinations },
        { "dead_letters", depth.dead_letters },
    };
    struct field fields[TOTALS_FIELDS];
    totals_fields(&totals, fields);
    if (root) {
        json_object_set_new(root, "now", to_json(now, ARRAY_LEN(now)));
        json_object_set_new(root, "totals", to_json(fields, TOTALS_FIELDS));
    } else {
        print_text("now", now, ARRAY_LEN(now));
        print_text("totals (deferred and unknown count attempts)", fields, TOTALS_FIELDS);
    }
    return true;
}

static bool show_submissions(struct producer *producer, char **ids, unsigned count, json_t *root,
                             struct err *err)
{
    json_t *all = json_object();
    bool good = true;
    for (unsigned i = 0; i < count && good; i++) {
        struct producer_totals totals;
        struct field fields[TOTALS_FIELDS];
        good = producer_totals(producer, ids[i], &totals, err);
        if (good && totals.accepted + totals.rejected == 0)
            good = err_set(err, ERR_NOT_FOUND, "nothing is known of a submission '%s'", ids[i]);
        if (!good)
            break;
        totals_fields(&totals, fields);
        if (root)
            json_object_set_new(all, ids[i], to_json(fields, TOTALS_FIELDS));
        else
            print_text(ids[i], fields, TOTALS_FIELDS);
    }
    if (root)
        json_object_set_new(root, "submissions", all);
    else
        json_decref(all);
    return good;
}

int command_status(int argc, char **argv)
{
    const char *path = NULL;
    bool as_json = false;
    const struct cli_option options[] = {
        { "config", "FILE", "The configuration; without it /etc/eilpost/eilpost.yaml.", CLI_TEXT,
          &path, false },
        { "json", NULL, "JSON in place of a table.", CLI_FLAG, &as_json, false },
    };
    const struct cli_usage usage = {
        .command = "status",
        .operands = "[SUBMISSION…]",
        .summary = "Shows the queue's totals, or those of the submissions named.",
        .notes = "examples:\n  eilpost status --config eilpost.yaml\n"
                 "  eilpost status --config eilpost.yaml --json 0k3v9x2m1q\n",
        .options = options,
        .option_count = ARRAY_LEN(options),
    };
    unsigned operands;
    enum cli_parsed parsed = cli_parse(&usage, argc, argv, &operands);
    if (parsed != CLI_PARSED)
        return parsed == CLI_HELP_SHOWN ? CLI_OK : CLI_USAGE;

    struct config config;
    struct producer *producer = NULL;
    struct err err = { 0 };
    if (!cli_config_load(path, &config, &err))
        return cli_fail("status", &err);
    json_t *root = as_json ? json_object() : NULL;
    bool good = cli_producer_open(&producer, &config, &err) &&
                (operands ? show_submissions(producer, argv + 1, operands, root, &err)
                          : show_queue(producer, root, &err));
    if (good && root) {
        json_dumpf(root, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
        putchar('\n');
    }
    json_decref(root);
    if (producer)
        producer_close(&producer);
    config_free(&config);
    return good ? CLI_OK : cli_fail("status", &err);
}
