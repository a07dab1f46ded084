/* eilpost queue suspend, cancel, purge, retry, move; resume, restore, finish. */
#include <stdio.h>

#include "engine/cli/operate.h"
#include "engine/cli/queue.h"
#include "queue/keys.h"

/* ---- giving ---- */

static const struct order_help {
    const char *command, *operands, *summary, *notes;
} helps[] = {
    [ORDER_SUSPEND] = { "queue suspend", NULL,
                        "Holds jobs: what matches isn't leased any more, also what comes later.",
                        "Expiry goes on: what expires while it's held ends as expired.\n\n"
                        "examples:\n"
                        "  eilpost queue suspend --destination example.org --reason 'asked us to'\n"
                        "  eilpost queue suspend --site '*.mail.example.net' --class bulk\n"
                        "  eilpost queue suspend --all --reason 'wrong template'\n" },
    [ORDER_CANCEL] = { "queue cancel", NULL,
                       "Ends the matching jobs that are there now, with an event for each.",
                       "`eilpost queue restore ORDER` brings them back while they're kept.\n\n"
                       "examples:\n"
                       "  eilpost queue cancel --submission 0k3v9x2m1q --dry-run\n"
                       "  eilpost queue cancel --campaign acme/june --older-than 2d --keep 72h\n" },
    [ORDER_PURGE] = { "queue purge", NULL,
                      "Ends the matching jobs that are there now, without events: counts only.",
                      "`eilpost queue restore ORDER` brings them back while they're kept.\n\n"
                      "example:\n"
                      "  eilpost queue purge --destination dead.example --reason 'domain is "
                      "gone'\n" },
    [ORDER_MOVE] = { "queue move", "POOL",
                     "Sends the matching jobs that are there now from another pool of sources.",
                     "`eilpost queue restore ORDER` takes it back for what wasn't sent yet.\n\n"
                     "example:\n"
                     "  eilpost queue move warm-2 --site '*.mail.example.net' --tenant acme\n" },
    [ORDER_RETRY] = { "queue retry", NULL,
                      "Makes retries due now, and offers destinations that are parked.",
                      "example:\n  eilpost queue retry --destination example.org\n" },
};

static json_t *counts_json(const struct order_counts *counts)
{
    json_t *json = json_object();
    json_object_set_new(json, "queued", json_integer((json_int_t)counts->queued));
    json_object_set_new(json, "retrying", json_integer((json_int_t)counts->retrying));
    json_object_set_new(json, "in_flight", json_integer((json_int_t)counts->in_flight));
    return json;
}

static void print_counts(const char *before, const struct order_counts *counts)
{
    char queued[28], retrying[28], in_flight[28];
    printf("%s%s queued, %s retrying, %s in flight\n", before,
           cli_thousands(counts->queued, queued), cli_thousands(counts->retrying, retrying),
           cli_thousands(counts->in_flight, in_flight));
}

static void show_found(void *user, const char *id, const struct order_counts *counts)
{
    struct operation *operation = user;
    if (operation->as_json)
        return;
    printf("order %s: ", id);
    print_counts("", counts);
    fflush(stdout);
}

static void print_acted(enum order_action action, const struct order_result *result)
{
    char jobs[28], left[28];
    cli_thousands(result->acted.queued + result->acted.retrying, jobs);
    cli_thousands(result->acted.in_flight, left);
    switch (action) {
    case ORDER_CANCEL:
    case ORDER_PURGE:
        printf("%s jobs %s\n", jobs, action == ORDER_CANCEL ? "cancelled" : "purged");
        break;
    case ORDER_SUSPEND:
        printf("held until: eilpost queue resume %s\n", result->id);
        break;
    case ORDER_RETRY:
        printf("%s retries are due now, %s queued jobs are offered\n",
               cli_thousands(result->acted.retrying, jobs),
               cli_thousands(result->acted.queued, left));
        return;
    case ORDER_MOVE:
        printf("moved; what is in flight goes on as it began\n");
        return;
    }
    if (result->acted.in_flight > 0)
        printf("%s are on the wire still: what doesn't end there is caught when it comes back\n",
               left);
}

static void interrupted_hint(const struct order_result *result, struct err *err)
{
    size_t len = strlen(err->text);
    if (result->id[0])
        snprintf(err->text + len, sizeof err->text - len,
                 "; order %s stands: `eilpost queue finish %s` goes on", result->id, result->id);
}

static bool count_only(struct operation *operation, enum order_action action,
                       const struct order_filter *filter, struct err *err)
{
    struct order_watch watch = operation_watch(operation);
    struct order_counts counts;
    if (!orders_count(operation->producer, filter, &watch, &counts, err))
        return false;
    operation_progress_end(operation);
    if (operation->as_json) {
        json_t *root = json_object();
        json_object_set_new(root, "action", json_string(order_action_name(action)));
        json_object_set_new(root, "dry_run", json_true());
        json_object_set_new(root, "found", counts_json(&counts));
        operation_print(root);
    } else {
        print_counts("", &counts);
        printf("nothing was done (--dry-run)\n");
    }
    return true;
}

static void print_result(struct operation *operation, const char *action,
                         const struct order_result *result)
{
    json_t *root = json_object();
    (void)operation;
    json_object_set_new(root, "action", json_string(action));
    json_object_set_new(root, "order", json_string(result->id));
    json_object_set_new(root, "found", counts_json(&result->found));
    json_object_set_new(root, "acted", counts_json(&result->acted));
    operation_print(root);
}

static bool give(struct operation *operation, const struct order_request *request, struct err *err)
{
    struct order_watch watch = operation_watch(operation);
    struct order_result result;
    watch.found = show_found;
    if (!orders_give(operation->producer, request, &watch, &result, err)) {
        interrupted_hint(&result, err);
        return false;
    }
    operation_progress_end(operation);
    if (operation->as_json)
        print_result(operation, order_action_name(request->action), &result);
    else
        print_acted(request->action, &result);
    return true;
}

static int order_command(enum order_action action, int argc, char **argv)
{
    struct operation operation = { 0 };
    struct filter_options filter = { 0 };
    struct order_request request = { .action = action, .keep_s = ORDER_KEEP_S };
    bool dry_run = false;
    const struct cli_option options[] = {
        FILTER_OPTIONS(&filter),
        { "all", NULL, "All jobs, in place of a filter.", CLI_FLAG, &filter.all, false },
        { "dry-run", NULL, "Only count what matches.", CLI_FLAG, &dry_run, false },
        OPERATION_WHY_OPTIONS(&operation),
        OPERATION_OPTIONS(&operation),
        { "keep", "TIME", "How long it can be restored; without it 24h.", CLI_DURATION,
          &request.keep_s, false },
    };
    bool ends = action == ORDER_CANCEL || action == ORDER_PURGE;
    const struct cli_usage usage = {
        .command = helps[action].command,
        .operands = helps[action].operands,
        .summary = helps[action].summary,
        .notes = helps[action].notes,
        .options = options,
        .option_count = ARRAY_LEN(options) - !ends,
    };
    unsigned operands;
    int code;
    struct err err = { 0 };
    if (!operation_begin(&operation, &usage, argc, argv, &operands, &code))
        return code;
    bool good = filter_make(&filter, true, &request.filter, &err);
    if (good && action == ORDER_MOVE) {
        request.pool = operands == 1 ? argv[1] : "";
        good =
            queue_name_valid(slice_str(request.pool), 64) ||
            err_set(&err, ERR_USAGE, "one POOL is needed: a name of `pools` in the configuration");
    }
    request.by = operation.by;
    request.reason = operation.reason;
    if (good)
        good = dry_run ? count_only(&operation, action, &request.filter, &err)
                       : give(&operation, &request, &err);
    return operation_end(&operation, good, &err);
}

int command_queue_suspend(int argc, char **argv)
{
    return order_command(ORDER_SUSPEND, argc, argv);
}

int command_queue_cancel(int argc, char **argv)
{
    return order_command(ORDER_CANCEL, argc, argv);
}

int command_queue_purge(int argc, char **argv)
{
    return order_command(ORDER_PURGE, argc, argv);
}

int command_queue_retry(int argc, char **argv)
{
    return order_command(ORDER_RETRY, argc, argv);
}

int command_queue_move(int argc, char **argv)
{
    return order_command(ORDER_MOVE, argc, argv);
}

/* ---- taking back ---- */

static bool resume_one(struct operation *operation, const char *id, json_t *done, struct err *err)
{
    struct order_watch watch = operation_watch(operation);
    struct order_result result;
    if (!orders_resume(operation->producer, id, operation->by, operation->reason, &watch, &result,
                       err)) {
        interrupted_hint(&result, err);
        return false;
    }
    operation_progress_end(operation);
    json_t *row = json_object();
    json_object_set_new(row, "order", json_string(result.id));
    json_object_set_new(row, "jobs", json_integer((json_int_t)result.acted.queued));
    json_array_append_new(done, row);
    if (!operation->as_json) {
        char jobs[28];
        printf("order %s is resumed: %s queued jobs go on\n", result.id,
               cli_thousands(result.acted.queued, jobs));
    }
    return true;
}

static bool resume_preview(struct operation *operation, const char *id, json_t *done,
                           struct err *err)
{
    json_t *record;
    struct order_counts counts;
    struct order_watch watch = operation_watch(operation);
    if (!orders_get(operation->producer, id, &record, err))
        return false;
    bool ok = orders_count_of(operation->producer, record, &watch, &counts, err);
    json_decref(record);
    if (!ok)
        return false;
    operation_progress_end(operation);
    json_t *row = json_object();
    json_object_set_new(row, "order", json_string(id));
    json_object_set_new(row, "found", counts_json(&counts));
    json_array_append_new(done, row);
    if (!operation->as_json) {
        printf("order %s: ", id);
        print_counts("", &counts);
    }
    return true;
}

static bool ids_by_filter(struct operation *operation, struct filter_options *options, json_t **ids,
                          struct err *err)
{
    struct order_filter filter;
    if (!filter_make(options, true, &filter, err) ||
        !orders_matching(operation->producer, &filter, ids, err))
        return false;
    if (json_array_size(*ids) > 0)
        return true;
    json_decref(*ids);
    *ids = NULL;
    return err_set(err, ERR_NOT_FOUND,
                   "no suspension has just this filter (eilpost queue orders lists them)");
}

static json_t *ids_given(char **argv, unsigned count)
{
    json_t *ids = json_array();
    for (unsigned i = 0; i < count; i++)
        json_array_append_new(ids, json_string(argv[i]));
    return ids;
}

int command_queue_resume(int argc, char **argv)
{
    struct operation operation = { 0 };
    struct filter_options filter = { 0 };
    bool dry_run = false;
    const struct cli_option options[] = {
        FILTER_OPTIONS(&filter),
        { "all", NULL, "What was suspended with --all.", CLI_FLAG, &filter.all, false },
        { "dry-run", NULL, "Only count what would go on.", CLI_FLAG, &dry_run, false },
        OPERATION_WHY_OPTIONS(&operation),
        OPERATION_OPTIONS(&operation),
    };
    const struct cli_usage usage = {
        .command = "queue resume",
        .operands = "[ORDER…]",
        .summary = "Ends suspensions: those named, or those that were given with the same filter.",
        .notes = "examples:\n  eilpost queue resume o-mfx2k1p0\n"
                 "  eilpost queue resume --destination example.org\n",
        .options = options,
        .option_count = ARRAY_LEN(options),
    };
    unsigned operands;
    int code;
    struct err err = { 0 };
    if (!operation_begin(&operation, &usage, argc, argv, &operands, &code))
        return code;
    json_t *ids = operands > 0 ? ids_given(argv + 1, operands) : NULL, *id, *done = json_array();
    bool good = ids || ids_by_filter(&operation, &filter, &ids, &err);
    size_t i;
    json_array_foreach(ids, i, id) good =
        good &&
        (dry_run ? resume_preview : resume_one)(&operation, json_string_value(id), done, &err);
    json_decref(ids);
    if (good && operation.as_json) {
        json_t *root = json_object();
        json_object_set_new(root, "action", json_string("resume"));
        json_object_set_new(root, "dry_run", json_boolean(dry_run));
        json_object_set_new(root, "orders", done);
        operation_print(root);
    } else {
        json_decref(done);
    }
    return operation_end(&operation, good, &err);
}

static bool restore(struct operation *operation, const char *id, bool dry_run, struct err *err)
{
    struct order_watch watch = operation_watch(operation);
    struct order_result result = { 0 };
    uint64_t jobs, forgotten = 0;
    if (dry_run && !orders_kept(operation->producer, id, &jobs, err))
        return false;
    if (!dry_run) {
        if (!orders_restore(operation->producer, id, operation->by, operation->reason, &watch,
                            &result, &forgotten, err)) {
            interrupted_hint(&result, err);
            return false;
        }
        jobs = result.acted.queued;
    }
    operation_progress_end(operation);
    char digits[28], lost[28];
    if (operation->as_json) {
        json_t *root = json_object();
        json_object_set_new(root, "action", json_string("restore"));
        json_object_set_new(root, "dry_run", json_boolean(dry_run));
        json_object_set_new(root, "order", json_string(id));
        json_object_set_new(root, "jobs", json_integer((json_int_t)jobs));
        json_object_set_new(root, "forgotten", json_integer((json_int_t)forgotten));
        operation_print(root);
        return true;
    }
    printf("order %s: %s jobs %s\n", id, cli_thousands(jobs, digits),
           dry_run ? "can be brought back" : "are back");
    if (forgotten > 0)
        printf("%s jobs are lost: their submission isn't known any more\n",
               cli_thousands(forgotten, lost));
    return true;
}

static int on_one_order(const struct cli_usage *usage, struct operation *operation,
                        bool (*act)(struct operation *, const char *, bool, struct err *),
                        const bool *dry_run, int argc, char **argv)
{
    unsigned operands;
    int code;
    struct err err = { 0 };
    if (!operation_begin(operation, usage, argc, argv, &operands, &code))
        return code;
    bool good = operands == 1 || err_set(&err, ERR_USAGE, "one ORDER is needed");
    good = good && act(operation, argv[1], *dry_run, &err);
    return operation_end(operation, good, &err);
}

int command_queue_restore(int argc, char **argv)
{
    struct operation operation = { 0 };
    bool dry_run = false;
    const struct cli_option options[] = {
        { "dry-run", NULL, "Only count what can be brought back.", CLI_FLAG, &dry_run, false },
        OPERATION_WHY_OPTIONS(&operation),
        OPERATION_OPTIONS(&operation),
    };
    const struct cli_usage usage = {
        .command = "queue restore",
        .operands = "ORDER",
        .summary = "Brings back what an order cancelled or purged, or takes a move back.",
        .notes = "Jobs that have expired meanwhile end at once, as expired.\n\n"
                 "examples:\n  eilpost queue restore o-mfx2k1p0\n"
                 "  eilpost queue restore c:acme/june      a cancelled campaign\n",
        .options = options,
        .option_count = ARRAY_LEN(options),
    };
    return on_one_order(&usage, &operation, restore, &dry_run, argc, argv);
}

static bool finish(struct operation *operation, const char *id, bool dry_run, struct err *err)
{
    (void)dry_run;
    struct order_watch watch = operation_watch(operation);
    struct order_result result;
    watch.found = show_found;
    if (!orders_finish(operation->producer, id, &watch, &result, err)) {
        if (err->kind == ERR_CANCELLED)
            interrupted_hint(&result, err);
        return false;
    }
    operation_progress_end(operation);
    if (operation->as_json)
        print_result(operation, "finish", &result);
    else
        print_counts("done with ", &result.acted);
    return true;
}

int command_queue_finish(int argc, char **argv)
{
    struct operation operation = { 0 };
    bool no = false;
    const struct cli_option options[] = { OPERATION_OPTIONS(&operation) };
    const struct cli_usage usage = {
        .command = "queue finish",
        .operands = "ORDER",
        .summary = "Goes on with an order that was interrupted, or catches what came back since.",
        .notes = "example:\n  eilpost queue finish o-mfx2k1p0\n",
        .options = options,
        .option_count = ARRAY_LEN(options),
    };
    return on_one_order(&usage, &operation, finish, &no, argc, argv);
}
