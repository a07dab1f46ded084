/* eilpost campaign: list, show, pause, resume, cancel, rate, canary. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/cli/operate.h"
#include "queue/campaigns.h"

#define MEASURE_MS 2000

/* ---- showing ---- */

static void eta_text(const struct campaign_view *view, char out[32])
{
    int64_t s = view->eta_s;
    if (s < 0)
        snprintf(out, 32, "-");
    else if (s >= 86400)
        snprintf(out, 32, "%lld d %lld h", (long long)(s / 86400), (long long)(s % 86400 / 3600));
    else if (s >= 3600)
        snprintf(out, 32, "%lld h %lld min", (long long)(s / 3600), (long long)(s % 3600 / 60));
    else if (s >= 60)
        snprintf(out, 32, "%lld min", (long long)(s / 60));
    else
        snprintf(out, 32, "%lld s", (long long)s);
}

static json_t *view_json(const struct campaign_view *view)
{
    const struct campaign_totals *t = &view->totals;
    const struct {
        const char *name;
        uint64_t value;
    } counts[] = {
        { "accepted", t->accepted },     { "delivered", t->delivered },
        { "bounced", t->bounced },       { "expired", t->expired },
        { "suppressed", t->suppressed }, { "cancelled", t->cancelled },
        { "open", campaign_open(t) },    { "deferred", t->deferred },
        { "unknown", t->unknown },       { "repeated", t->repeated },
        { "rejected", t->rejected },
    };
    json_t *json = json_object(), *totals = json_object();
    json_object_set_new(json, "campaign", json_string(view->flow));
    json_object_set_new(json, "state", json_string(campaign_state(view)));
    for (size_t i = 0; i < ARRAY_LEN(counts); i++)
        json_object_set_new(totals, counts[i].name, json_integer((json_int_t)counts[i].value));
    json_object_set_new(json, "totals", totals);
    static const char *const settings[] = { "reason", "rate", "canary", "created" };
    for (size_t i = 0; i < ARRAY_LEN(settings); i++) /* a field that isn't there isn't set */
        json_object_set(json, settings[i], json_object_get(view->object, settings[i]));
    json_object_set_new(json, "per_second", json_real(view->per_second));
    json_object_set_new(json, "eta_s", view->eta_s < 0 ? json_null() : json_integer(view->eta_s));
    return json;
}

static void print_list(const struct campaign_view *views, size_t count)
{
    static const char *const titles[] = { "CAMPAIGN", "STATE",      "ACCEPTED", "DELIVERED",
                                          "BOUNCED",  "OTHER ENDS", "OPEN",     "PER SECOND",
                                          "ETA",      "REASON" };
    struct table table;
    if (count == 0) {
        printf("there are no campaigns\n");
        return;
    }
    table_begin(&table, titles, ARRAY_LEN(titles), "llrrrrrrll");
    for (size_t i = 0; i < count; i++) {
        const struct campaign_totals *t = &views[i].totals;
        char eta[32];
        eta_text(&views[i], eta);
        table_cell(&table, views[i].flow);
        table_cell(&table, campaign_state(&views[i]));
        table_number(&table, t->accepted);
        table_number(&table, t->delivered);
        table_number(&table, t->bounced);
        table_number(&table, t->expired + t->suppressed + t->cancelled);
        table_number(&table, campaign_open(t));
        table_number(&table, (uint64_t)(views[i].per_second + 0.5));
        table_cell(&table, eta);
        table_cell(&table, json_text(views[i].object, "reason"));
    }
    table_end(&table);
}

static int campaign_list(int argc, char **argv)
{
    struct operation operation = { 0 };
    const struct cli_option options[] = { OPERATION_OPTIONS(&operation) };
    const struct cli_usage usage = {
        .command = "campaign list",
        .summary = "Shows all campaigns with their counts.",
        .notes = "accepted = delivered + bounced + other ends (expired, suppressed, cancelled) + "
                 "open.\n",
        .options = options,
        .option_count = ARRAY_LEN(options),
    };
    unsigned operands;
    int code;
    struct err err = { 0 };
    struct campaign_view *views = NULL;
    size_t count = 0;
    if (!operation_begin(&operation, &usage, argc, argv, &operands, &code))
        return code;
    bool good = campaigns_list(operation.producer, &views, &count, &err);
    if (good && operation.as_json) {
        json_t *list = json_array();
        for (size_t i = 0; i < count; i++)
            json_array_append_new(list, view_json(&views[i]));
        operation_print(list);
    } else if (good) {
        print_list(views, count);
    }
    campaign_views_free(&views, count);
    return operation_end(&operation, good, &err);
}

static void print_canary(const json_t *canary)
{
    if (!canary)
        return;
    printf("  %-14s%s: ", "canary", json_text(canary, "state"));
    if (json_object_get(canary, "jobs"))
        printf("first %llu jobs", (unsigned long long)json_count(canary, "jobs"));
    else
        printf("%g %% of the jobs", json_number_value(json_object_get(canary, "percent")));
    if (json_object_get(canary, "bounce"))
        printf(", at most %g %% bounced", json_number_value(json_object_get(canary, "bounce")));
    if (json_object_get(canary, "deferral"))
        printf(", at most %g %% deferred", json_number_value(json_object_get(canary, "deferral")));
    printf("\n");
}

static void print_view(const struct campaign_view *view, const struct order_counts *deep)
{
    const struct campaign_totals *t = &view->totals;
    const struct {
        const char *name;
        uint64_t value;
    } rows[] = {
        { "accepted", t->accepted },     { "delivered", t->delivered },
        { "bounced", t->bounced },       { "expired", t->expired },
        { "suppressed", t->suppressed }, { "cancelled", t->cancelled },
        { "open", campaign_open(t) },
    };
    char digits[28], eta[32];
    const char *reason = json_text(view->object, "reason");
    printf("%s is %s%s%s\n", view->flow, campaign_state(view), reason[0] ? ": " : "", reason);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        printf("  %-14s%14s\n", rows[i].name, cli_thousands(rows[i].value, digits));
    if (deep) {
        char a[28], b[28], c[28];
        printf("  %-14s%s queued, %s retrying, %s in flight\n", "of these open",
               cli_thousands(deep->queued, a), cli_thousands(deep->retrying, b),
               cli_thousands(deep->in_flight, c));
    }
    eta_text(view, eta);
    printf("  %-14s%.1f ended per second, done in: %s\n", "speed", view->per_second, eta);
    if (json_object_get(view->object, "rate"))
        printf("  %-14sat most %llu per second\n", "rate",
               (unsigned long long)json_count(view->object, "rate"));
    print_canary(json_object_get(view->object, "canary"));
}

static bool count_deep(struct operation *operation, const char *flow, struct order_counts *out,
                       struct err *err)
{
    char tenant[65], campaign[65];
    struct order_watch watch = operation_watch(operation);
    if (!campaign_name_parse(flow, tenant, campaign, err))
        return false;
    const struct order_filter filter = { .tenant = tenant, .campaign = campaign };
    bool ok = orders_count(operation->producer, &filter, &watch, out, err);
    operation_progress_end(operation);
    return ok;
}

static void show_json(const struct campaign_view *view, const struct order_counts *deep)
{
    json_t *json = view_json(view);
    if (deep) {
        json_t *split = json_object();
        json_object_set_new(split, "queued", json_integer((json_int_t)deep->queued));
        json_object_set_new(split, "retrying", json_integer((json_int_t)deep->retrying));
        json_object_set_new(split, "in_flight", json_integer((json_int_t)deep->in_flight));
        json_object_set_new(json, "open", split);
    }
    operation_print(json);
}

static bool show(struct operation *operation, const char *flow, bool deep, int measure_ms,
                 struct err *err)
{
    struct campaign_view view;
    struct order_counts counts = { 0 };
    char tenant[65], campaign[65];
    if (!campaign_name_parse(flow, tenant, campaign, err) ||
        !campaign_view(operation->producer, flow, measure_ms, &view, err))
        return false;
    bool ok = !deep || count_deep(operation, flow, &counts, err);
    if (ok && operation->as_json)
        show_json(&view, deep ? &counts : NULL);
    else if (ok)
        print_view(&view, deep ? &counts : NULL);
    json_decref(view.object);
    return ok;
}

static bool one_operand(unsigned operands, struct err *err)
{
    return operands == 1 || err_set(err, ERR_USAGE, "one TENANT/CAMPAIGN is needed");
}

static int campaign_show(int argc, char **argv)
{
    struct operation operation = { 0 };
    bool deep = false;
    const struct cli_option options[] = {
        { "deep", NULL, "Also split what is open into queued, retrying, in flight (walks all).",
          CLI_FLAG, &deep, false },
        OPERATION_OPTIONS(&operation),
    };
    const struct cli_usage usage = {
        .command = "campaign show",
        .operands = "TENANT/CAMPAIGN",
        .summary = "Shows a campaign: its state, its counts, its speed and when it will be done.",
        .notes = "accepted = delivered + bounced + expired + suppressed + cancelled + open. A "
                 "campaign without\na tenant is /CAMPAIGN.\n\n"
                 "example:\n  eilpost campaign show acme/june --deep\n",
        .options = options,
        .option_count = ARRAY_LEN(options),
    };
    unsigned operands;
    int code;
    struct err err = { 0 };
    if (!operation_begin(&operation, &usage, argc, argv, &operands, &code))
        return code;
    bool good = one_operand(operands, &err) && show(&operation, argv[1], deep, MEASURE_MS, &err);
    return operation_end(&operation, good, &err);
}

/* ---- changing ---- */

static struct campaign_command command_of(struct operation *operation, const char *flow,
                                          const struct order_watch *watch)
{
    return (struct campaign_command){
        .flow = flow, .by = operation->by, .reason = operation->reason, .watch = watch
    };
}

enum change { CHANGE_PAUSE, CHANGE_RESUME, CHANGE_CANCEL };

static bool change(struct operation *operation, enum change what, const char *flow, int64_t keep_s,
                   struct err *err)
{
    struct order_watch watch = operation_watch(operation);
    const struct campaign_command command = command_of(operation, flow, &watch);
    struct order_result result;
    bool ok = what == CHANGE_PAUSE ? campaign_pause(operation->producer, &command, &result, err)
              : what == CHANGE_RESUME
                  ? campaign_resume(operation->producer, &command, &result, err)
                  : campaign_cancel(operation->producer, &command, keep_s, &result, err);
    operation_progress_end(operation);
    if (!ok && err->kind == ERR_CANCELLED) {
        size_t len = strlen(err->text);
        snprintf(err->text + len, sizeof err->text - len, "; `eilpost queue finish c:%s` goes on",
                 flow);
    }
    return ok && show(operation, flow, what != CHANGE_RESUME, 0, err);
}

static int change_command(enum change what, const struct cli_usage *about, int argc, char **argv)
{
    struct operation operation = { 0 };
    int64_t keep_s = ORDER_KEEP_S;
    const struct cli_option options[] = {
        OPERATION_WHY_OPTIONS(&operation),
        OPERATION_OPTIONS(&operation),
        { "keep", "TIME", "How long it can be restored; without it 24h.", CLI_DURATION, &keep_s,
          false },
    };
    struct cli_usage usage = *about;
    usage.operands = "TENANT/CAMPAIGN";
    usage.options = options;
    usage.option_count = ARRAY_LEN(options) - (what != CHANGE_CANCEL);
    unsigned operands;
    int code;
    char tenant[65], campaign[65];
    struct err err = { 0 };
    if (!operation_begin(&operation, &usage, argc, argv, &operands, &code))
        return code;
    bool good = one_operand(operands, &err) &&
                campaign_name_parse(argv[1], tenant, campaign, &err) &&
                change(&operation, what, argv[1], keep_s, &err);
    return operation_end(&operation, good, &err);
}

static int campaign_pause_command(int argc, char **argv)
{
    return change_command(
        CHANGE_PAUSE,
        &(struct cli_usage){ .command = "campaign pause",
                             .summary = "Holds a campaign: nothing more of it leaves.",
                             .notes = "What it shows is where the campaign stands: with 0 in "
                                      "flight the counts stay so.\n\n"
                                      "example:\n  eilpost campaign pause acme/june --reason "
                                      "'wrong price in it'\n" },
        argc, argv);
}

static int campaign_resume_command(int argc, char **argv)
{
    return change_command(
        CHANGE_RESUME,
        &(struct cli_usage){ .command = "campaign resume",
                             .summary = "Lets a paused campaign go on, or one that its canary "
                                        "stopped.",
                             .notes = "example:\n  eilpost campaign resume acme/june\n" },
        argc, argv);
}

static int campaign_cancel_command(int argc, char **argv)
{
    return change_command(
        CHANGE_CANCEL,
        &(struct cli_usage){ .command = "campaign cancel",
                             .summary = "Ends a campaign: what is queued of it, and what still "
                                        "comes.",
                             .notes =
                                 "`eilpost queue restore c:TENANT/CAMPAIGN` brings it back "
                                 "while it's kept.\n\n"
                                 "example:\n  eilpost campaign cancel acme/june --keep 72h\n" },
        argc, argv);
}

static bool rate_parse(const char *text, uint64_t *out, struct err *err)
{
    *out = 0;
    if (strcmp(text, "off") == 0)
        return true;
    if (slice_to_u64(slice_str(text), out) && *out > 0 && *out <= 1000000)
        return true;
    return err_set(err, ERR_USAGE, "'%s' is no rate: jobs per second, 1 to 1000000, or off", text);
}

static int campaign_rate(int argc, char **argv)
{
    struct operation operation = { 0 };
    const struct cli_option options[] = { OPERATION_WHY_OPTIONS(&operation),
                                          OPERATION_OPTIONS(&operation) };
    const struct cli_usage usage = {
        .command = "campaign rate",
        .operands = "TENANT/CAMPAIGN N|off",
        .summary = "Limits a campaign to N messages per second over all nodes.",
        .notes = "examples:\n  eilpost campaign rate acme/june 200\n"
                 "  eilpost campaign rate acme/june off\n",
        .options = options,
        .option_count = ARRAY_LEN(options),
    };
    unsigned operands;
    int code;
    uint64_t rate;
    char tenant[65], campaign[65];
    struct err err = { 0 };
    if (!operation_begin(&operation, &usage, argc, argv, &operands, &code))
        return code;
    bool good = operands == 2 || err_set(&err, ERR_USAGE, "TENANT/CAMPAIGN and N are needed");
    good = good && campaign_name_parse(argv[1], tenant, campaign, &err) &&
           rate_parse(argv[2], &rate, &err);
    if (good) {
        const struct campaign_command command = command_of(&operation, argv[1], NULL);
        good = campaign_set_rate(operation.producer, &command, rate, &err) &&
               show(&operation, argv[1], false, 0, &err);
    }
    return operation_end(&operation, good, &err);
}

/* "5", "0.5", "5%" */
static bool percent_parse(const char *option, const char *text, double *out, struct err *err)
{
    if (!text)
        return true;
    char *end;
    double value = strtod(text, &end);
    if (end > text && strcmp(end, "%") == 0)
        end++;
    if (end == text || *end || !isfinite(value) || value < 0 || value > 100)
        return err_set(err, ERR_USAGE, "--%s '%s': a share such as 5%% or 0.5%%", option, text);
    *out = value;
    return true;
}

struct canary_options {
    const char *percent, *bounce, *deferral;
    uint64_t first;
    bool off;
};

static bool canary_make(const struct canary_options *options, struct campaign_canary *out,
                        struct err *err)
{
    *out = (struct campaign_canary){ .first = options->first, .bounce = -1, .deferral = -1 };
    if (!percent_parse("percent", options->percent, &out->percent, err) ||
        !percent_parse("max-bounce", options->bounce, &out->bounce, err) ||
        !percent_parse("max-deferral", options->deferral, &out->deferral, err))
        return false;
    bool limits = options->bounce || options->deferral;
    if (options->off)
        return (!limits && !options->percent && !options->first) ||
               err_set(err, ERR_USAGE, "--off goes alone");
    if (!options->percent == !options->first)
        return err_set(err, ERR_USAGE, "one of --first N and --percent X is needed");
    if (options->percent && out->percent <= 0)
        return err_set(err, ERR_USAGE, "--percent must be above 0");
    return limits || err_set(err, ERR_USAGE, "--max-bounce or --max-deferral, or both, is needed");
}

static int campaign_canary(int argc, char **argv)
{
    struct operation operation = { 0 };
    struct canary_options given = { 0 };
    const struct cli_option options[] = {
        { "first", "N", "How many jobs go out first.", CLI_COUNT, &given.first, false },
        { "percent", "X%", "The same as a share of the jobs accepted.", CLI_TEXT, &given.percent,
          false },
        { "max-bounce", "Y%", "Stop if more of them bounced.", CLI_TEXT, &given.bounce, false },
        { "max-deferral", "Z%", "Stop if more of them were deferred.", CLI_TEXT, &given.deferral,
          false },
        { "off", NULL, "No canary any more: all may go.", CLI_FLAG, &given.off, false },
        OPERATION_WHY_OPTIONS(&operation),
        OPERATION_OPTIONS(&operation),
    };
    const struct cli_usage usage = {
        .command = "campaign canary",
        .operands = "TENANT/CAMPAIGN",
        .summary = "Sends a first part, and the rest only if that went well.",
        .notes = "It may be set before the campaign is submitted. When a share passes its limit "
                 "the campaign is\nstopped with the reason; `eilpost campaign resume` overrules "
                 "that.\n\n"
                 "example:\n  eilpost campaign canary acme/june --first 1000 --max-bounce 5% "
                 "--max-deferral 20%\n",
        .options = options,
        .option_count = ARRAY_LEN(options),
    };
    unsigned operands;
    int code;
    char tenant[65], campaign[65];
    struct campaign_canary canary;
    struct err err = { 0 };
    if (!operation_begin(&operation, &usage, argc, argv, &operands, &code))
        return code;
    bool good = one_operand(operands, &err) &&
                campaign_name_parse(argv[1], tenant, campaign, &err) &&
                canary_make(&given, &canary, &err);
    if (good) {
        const struct campaign_command command = command_of(&operation, argv[1], NULL);
        good =
            campaign_set_canary(operation.producer, &command, given.off ? NULL : &canary, &err) &&
            show(&operation, argv[1], false, 0, &err);
    }
    return operation_end(&operation, good, &err);
}

int command_campaign(int argc, char **argv)
{
    static const struct subcommand commands[] = {
        { "list", "Show all campaigns.", campaign_list },
        { "show", "Show one: state, counts, speed, ETA.", campaign_show },
        { "pause", "Hold it.", campaign_pause_command },
        { "resume", "Let it go on.", campaign_resume_command },
        { "cancel", "End it.", campaign_cancel_command },
        { "rate", "Limit it to so many messages per second.", campaign_rate },
        { "canary", "Send a first part, and the rest only if that went well.", campaign_canary },
    };
    return subcommand_run("campaign", "Shows campaigns, and decides how they go on.", commands,
                          ARRAY_LEN(commands), argc, argv);
}
