/* eilpost queue show, explain: one destination, one job, one submission. */
#include <stdio.h>

#include "engine/cli/operate.h"
#include "engine/cli/queue.h"
#include "queue/inspect.h"

static void print_time(const char *label, const json_t *object, const char *name)
{
    char when[24];
    int64_t ms = json_integer_value(json_object_get(object, name));
    if (ms > 0)
        printf("  %-14s%s\n", label, operation_time(ms, when));
}

static void print_text(const char *label, const json_t *object, const char *name)
{
    if (json_text(object, name)[0])
        printf("  %-14s%s\n", label, json_text(object, name));
}

static void print_number(const char *label, const json_t *object, const char *name)
{
    char digits[28];
    if (json_object_get(object, name))
        printf("  %-14s%s\n", label, cli_thousands(json_count(object, name), digits));
}

static void print_flows(const json_t *classes)
{
    static const char *const titles[] = { "CLASS", "NEXT OFFER", "FLOW", "SUBMISSIONS", "BUDGET" };
    struct table table;
    size_t i, k;
    json_t *class, *flow;
    table_begin(&table, titles, ARRAY_LEN(titles), "lllrr");
    json_array_foreach(classes, i, class)
        json_array_foreach(json_object_get(class, "flows"), k, flow)
    {
        char when[24];
        int64_t next = json_integer_value(json_object_get(class, "next_ms"));
        table_cell(&table, json_text(class, "class"));
        table_cell(&table, operation_time(next, when));
        table_cell(&table, json_text(flow, "flow"));
        table_number(&table, json_count(flow, "submissions"));
        if (json_object_get(flow, "budget"))
            table_number(&table, json_count(flow, "budget"));
        else
            table_cell(&table, "-");
    }
    if (table.count > 0)
        printf("\nwhat can be leased:\n");
    if (table.count > 0)
        table_end(&table);
    else
        buf_free(&table.cells);
}

static void print_queues(const json_t *root)
{
    static const char *const titles[] = { "SUBMISSION", "CLASS",   "FLOW",   "JOBS",
                                          "ACCEPTED",   "EXPIRES", "HELD BY" };
    const json_t *queues = json_object_get(root, "queues");
    struct table table;
    size_t i;
    json_t *queue;
    char accepted[24], expires[24], digits[28];
    if (json_array_size(queues) == 0)
        return;
    printf("\nqueues (%zu of %s):\n", json_array_size(queues),
           cli_thousands(json_count(root, "queues_total"), digits));
    table_begin(&table, titles, ARRAY_LEN(titles), "lllrlll");
    json_array_foreach(queues, i, queue)
    {
        table_cell(&table, json_text(queue, "submission"));
        table_cell(&table, json_text(queue, "class"));
        table_cell(&table, json_text(queue, "flow"));
        table_number(&table, json_count(queue, "jobs"));
        table_cell(&table, operation_time((int64_t)json_count(queue, "accepted_ms"), accepted));
        table_cell(&table, operation_time((int64_t)json_count(queue, "expires_ms"), expires));
        table_cell(&table, json_text(queue, "held_by"));
    }
    table_end(&table);
}

static void print_destination(const json_t *root)
{
    printf("%s\n", json_text(root, "destination"));
    print_number("partition", root, "partition");
    printf("  %-14s%s\n", "engine",
           json_text(root, "owner")[0] ? json_text(root, "owner") : "none has the partition");
    print_text("hosts", root, "hosts");
    print_number("queued", root, "queued");
    print_number("retrying", root, "retrying");
    print_number("in flight", root, "in_flight");
    print_time("parked until", root, "parked_until_ms");
    print_time("next retry", root, "next_retry_ms");
    print_text("last reply", root, "last_reply");
    print_flows(json_object_get(root, "classes"));
    print_queues(root);
}

static bool show(struct operation *operation, const char *name, struct err *err)
{
    struct filter_options options = { .destination = name };
    struct order_filter filter;
    json_t *root = NULL;
    struct order_watch watch = operation_watch(operation);
    if (!filter_make(&options, true, &filter, err))
        return false;
    if (filter.destination[0] == '*')
        return err_set(err, ERR_USAGE, "one domain, not a pattern, is needed");
    watch.progress = NULL;
    if (!inspect_destination(operation->producer, filter.destination, &watch, &root, err))
        return false;
    if (operation->as_json)
        operation_print(root);
    else {
        print_destination(root);
        json_decref(root);
    }
    return true;
}

static void print_explanation(const json_t *root)
{
    size_t i;
    json_t *sentence;
    const char *job = json_text(root, "job");
    printf("%s is %s\n", job[0] ? job : json_text(root, "submission"), json_text(root, "state"));
    print_text("recipient", root, "recipient");
    print_text("destination", root, "destination");
    print_text("flow", root, "flow");
    print_number("attempts", root, "attempts");
    print_number("open jobs", root, "open");
    print_text("last reply", root, "last_reply");
    print_text("node", root, "node");
    print_time("accepted", root, "accepted_ms");
    print_time("expires", root, "expires_ms");
    json_array_foreach(json_object_get(root, "why"), i, sentence)
        printf("- %s\n", json_string_value(sentence));
    const json_t *event = json_object_get(root, "last_event");
    if (event) {
        char when[24];
        printf("- its last event: %s at %s %s\n", json_text(event, "type"),
               operation_time((int64_t)json_count(event, "at"), when), json_text(event, "text"));
    }
}

static bool explain(struct operation *operation, const char *id, struct err *err)
{
    json_t *root = NULL;
    struct order_watch watch = operation_watch(operation);
    bool is_job = strchr(id, '-') != NULL;
    bool ok = is_job && inspect_job(operation->producer, id, &watch, &root, err);
    /* A submission's own id may have a dash, too. */
    if (!ok && (!is_job || err->kind == ERR_NOT_FOUND || err->kind == ERR_USAGE))
        ok = inspect_submission(operation->producer, id, &watch, &root, err);
    if (!ok)
        return false;
    if (operation->as_json)
        operation_print(root);
    else {
        print_explanation(root);
        json_decref(root);
    }
    return true;
}

static int on_one(const char *command, const char *operand, const char *summary, const char *notes,
                  bool (*act)(struct operation *, const char *, struct err *), int argc,
                  char **argv)
{
    struct operation operation = { 0 };
    const struct cli_option options[] = { OPERATION_OPTIONS(&operation) };
    const struct cli_usage usage = {
        .command = command,
        .operands = operand,
        .summary = summary,
        .notes = notes,
        .options = options,
        .option_count = ARRAY_LEN(options),
    };
    unsigned operands;
    int code;
    struct err err = { 0 };
    if (!operation_begin(&operation, &usage, argc, argv, &operands, &code))
        return code;
    bool good = operands == 1 || err_set(&err, ERR_USAGE, "one %s is needed", operand);
    good = good && act(&operation, argv[1], &err);
    return operation_end(&operation, good, &err);
}

int command_queue_show(int argc, char **argv)
{
    return on_one("queue show", "DOMAIN",
                  "Shows one destination: what waits there, when it's offered, who holds it.",
                  "example:\n  eilpost queue show example.org\n", show, argc, argv);
}

int command_queue_explain(int argc, char **argv)
{
    return on_one("queue explain", "JOB|SUBMISSION", "Tells why a job hasn't ended yet.",
                  "Ids of jobs are in the events (SUBMISSION-N). The search is bounded: it looks "
                  "at no more than\n2,000,000 entries of each partition, and 20,000 events.\n\n"
                  "example:\n  eilpost queue explain 0k3v9x2m1q-2s\n",
                  explain, argc, argv);
}
