/* eilpost tls-report: what other domains are told about TLS to them, and sending it by hand. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "engine/app/reports.h"
#include "engine/cli/cli.h"

static bool day_read(const char *text, int64_t *day, struct err *err)
{
    struct tm tm = { 0 };
    const char *end = strptime(text, "%Y-%m-%d", &tm);
    if (!end || *end)
        return err_set(err, ERR_USAGE, "--day needs a date such as 2026-11-24, not '%s'", text);
    *day = (int64_t)timegm(&tm) / 86400;
    return true;
}

static void print_summary(const char *domain, const json_t *report)
{
    size_t i, k;
    json_t *policy, *failure;
    printf("%s\n", domain);
    json_array_foreach(json_object_get(report, "policies"), i, policy)
    {
        const json_t *summary = json_object_get(policy, "summary");
        printf(
            "  %s: %lld sessions went well, %lld failed\n",
            json_string_value(json_object_get(json_object_get(policy, "policy"), "policy-type")),
            (long long)json_integer_value(
                json_object_get(summary, "total-successful-session-count")),
            (long long)json_integer_value(json_object_get(summary, "total-failure-session-count")));
        json_array_foreach(json_object_get(policy, "failure-details"), k, failure)
        {
            const char *host = json_string_value(json_object_get(failure, "receiving-mx-hostname"));
            printf("    %lld %s%s%s\n",
                   (long long)json_integer_value(json_object_get(failure, "failed-session-count")),
                   json_string_value(json_object_get(failure, "result-type")), host ? " at " : "",
                   host ? host : "");
        }
    }
}

static bool show(struct reports *reports, int64_t day, bool as_json, struct err *err)
{
    const struct redis_value *set = tls_counts_domains(&reports->admin, day, err);
    if (!set)
        return false;
    if (set->count == 0 && !as_json)
        puts("nothing was counted for domains that ask for reports");
    for (size_t i = 0; i < set->count; i++) {
        char *domain = slice_dup(admin_item(set, i)->text);
        json_t *report = reports_read(reports, day, slice_str(domain), err);
        if (report && as_json)
            json_dumpf(report, stdout, JSON_COMPACT);
        else if (report)
            print_summary(domain, report);
        if (report && as_json)
            putchar('\n');
        json_decref(report);
        free(domain);
        if (!report)
            return false;
        /* What was read in between has taken the first reply's place. */
        admin_reset(&reports->admin);
        set = tls_counts_domains(&reports->admin, day, err);
        if (!set)
            return false;
    }
    return true;
}

static bool run(const struct config *config, int64_t day, bool send, bool as_json, struct err *err)
{
    struct producer *producer = NULL;
    struct reports reports;
    const struct log log = { .fd = 2, .level = LOG_WARN, .format = LOG_TEXT };
    unsigned sent = 0, failed = 0;
    if (send && !*config->tls_reports.from)
        return err_set(err, ERR_CONFIG, "tls_reports.from isn't set: reports need a sender");
    if (!cli_producer_open(&producer, config, err))
        return false;
    bool good = reports_open(&reports, config, &log, producer, err);
    if (good) {
        good = send ? reports_send(&reports, day, &sent, &failed, err)
                    : show(&reports, day, as_json, err);
        reports_close(&reports);
    }
    if (good && send)
        printf("%u sent, %u couldn't be\n", sent, failed);
    producer_close(&producer);
    return good;
}

int command_tls_report(int argc, char **argv)
{
    const char *path = NULL, *date = NULL;
    bool as_json = false, send = false;
    const struct cli_option options[] = {
        { "day", "DATE", "Of which day (UTC), as 2026-11-24; without it, yesterday.", CLI_TEXT,
          &date, false },
        { "send", NULL, "Send them now, and forget what was sent.", CLI_FLAG, &send, false },
        { "config", "FILE", "The configuration; without it /etc/eilpost/eilpost.yaml.", CLI_TEXT,
          &path, false },
        { "json", NULL, "The reports themselves, one a line.", CLI_FLAG, &as_json, false },
    };
    const struct cli_usage usage = {
        .command = "tls-report",
        .summary = "Shows what is reported to other domains about TLS to them (RFC 8460).",
        .notes = "The engine sends each day's reports by itself within four hours after it, when "
                 "tls_reports.from is set.\n\nexample:\n  eilpost tls-report --day 2026-11-24\n",
        .options = options,
        .option_count = ARRAY_LEN(options),
    };
    unsigned operands;
    enum cli_parsed parsed = cli_parse(&usage, argc, argv, &operands);
    if (parsed != CLI_PARSED)
        return parsed == CLI_HELP_SHOWN ? CLI_OK : CLI_USAGE;
    struct err err = { 0 };
    struct config config;
    int64_t day = reports_today() - 1;
    if (operands > 0 && !err_set(&err, ERR_USAGE, "takes no operands"))
        return cli_fail("tls-report", &err);
    if (date && !day_read(date, &day, &err))
        return cli_fail("tls-report", &err);
    if (!cli_config_load(path, &config, &err))
        return cli_fail("tls-report", &err);
    bool good = run(&config, day, send, as_json, &err);
    config_free(&config);
    return good ? CLI_OK : cli_fail("tls-report", &err);
}
