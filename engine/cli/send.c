/* eilpost send: a campaign, or one message, into the queue. Everything is checked before the first
 * recipient is submitted; delivery is the engine's, which needn't be running. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/cli/campaign.h"
#include "engine/cli/cli.h"
#include "engine/message/address.h"
#include "queue/producer.h"

#define PATIENCE_MS 3600000 /* for a queue that is full: an hour without room for one chunk */

struct send {
    const char *config, *list, *format, *to, *from, *template_path, *html, *raw;
    struct cli_texts settings;
    const char *tenant, *campaign, *class, *stream, *pool, *key, *send_at;
    struct cli_texts windows;
    struct buf windows_json;
    uint64_t weight;
    int64_t expires_in_s;
    bool dry_run, skip_bad, as_json, require_tls;
    bool show_progress;
    uint64_t total;
};

/* "mon-fri 09:00-18:00 Europe/Berlin" as a submission has it; what the words mean is checked with
 * the rest of it. */
static bool windows_read(const struct cli_texts *windows, struct buf *json, struct err *err)
{
    for (unsigned i = 0; i < windows->count; i++) {
        struct slice zone = slice_str(windows->items[i]);
        struct slice days = slice_cut(&zone, ' '), to = slice_cut(&zone, ' ');
        struct slice from = slice_cut(&to, '-');
        if (from.len == 0 || to.len == 0 || zone.len == 0)
            return err_set(err, ERR_USAGE,
                           "--window '%s': must be like \"mon-fri 09:00-18:00 Europe/Berlin\"",
                           windows->items[i]);
        const struct {
            const char *name;
            struct slice value;
        } members[] = { { "{\"days\":", days },
                        { ",\"from\":", from },
                        { ",\"to\":", to },
                        { ",\"zone\":", zone } };
        buf_append_char(json, i ? ',' : '[');
        for (size_t m = 0; m < ARRAY_LEN(members); m++) {
            buf_append(json, slice_str(members[m].name));
            buf_append_json(json, members[m].value);
        }
        buf_append_char(json, '}');
    }
    return windows->count == 0 || buf_append_char(json, ']');
}

static bool check_usage(struct send *send, struct err *err)
{
    if (!send->list == !send->to)
        return err_set(err, ERR_USAGE, "one of --list FILE and --to ADDRESS is needed");
    if (!send->template_path == !send->raw)
        return err_set(err, ERR_USAGE, "one of --template FILE and --raw FILE is needed");
    if (send->html && send->raw)
        return err_set(err, ERR_USAGE, "--html goes with --template, not with --raw");
    if (send->settings.count > 0 && !send->to)
        return err_set(err, ERR_USAGE,
                       "--set goes with --to; a list has its values in its columns");
    if (send->weight > 1000)
        return err_set(err, ERR_USAGE, "--weight is from 1 to 1000");
    if (!windows_read(&send->windows, &send->windows_json, err))
        return false;
    struct address address;
    if (!address_parse(slice_str(send->from), &address, err)) {
        err_prefix(err, "--from '%s'", send->from);
        err->kind = ERR_USAGE;
        return false;
    }
    return true;
}

static void report_row(void *user, const char *text)
{
    (void)user;
    fprintf(stderr, "%s\n", text);
}

static void show_submitted(void *user, uint64_t rows)
{
    const struct send *send = user;
    char done[28], total[28];
    fprintf(stderr, "\r%s of %s recipients submitted", cli_thousands(rows, done),
            cli_thousands(send->total, total));
}

static void print_result(const struct send *send, const struct campaign_result *result,
                         const struct campaign_counts *counts)
{
    char rows[28], bad[28];
    if (send->as_json) {
        printf("{\"submission\": \"%s\", \"recipients\": %llu, \"skipped\": %llu, "
               "\"repeated\": %s}\n",
               result->id, (unsigned long long)counts->rows, (unsigned long long)counts->bad,
               result->repeated ? "true" : "false");
        return;
    }
    printf("submission %s: %s recipients", result->id, cli_thousands(counts->rows, rows));
    if (counts->bad > 0)
        printf(", %s bad rows left out", cli_thousands(counts->bad, bad));
    printf("%s\n", result->repeated ? ", submitted before with this key" : "");
}

static bool dry_run(const struct campaign *campaign, const struct campaign_counts *counts,
                    bool as_json, struct err *err)
{
    struct buf message = BUF_EMPTY;
    bool good = campaign_render(campaign, NULL, &message, err);
    if (good && as_json) {
        struct buf text = BUF_EMPTY;
        buf_append_json(&text, buf_slice(&message));
        printf("{\"recipients\": %llu, \"skipped\": %llu, \"first_message\": %s}\n",
               (unsigned long long)counts->rows, (unsigned long long)counts->bad, buf_cstr(&text));
        buf_free(&text);
    } else if (good) {
        char rows[28];
        fwrite(message.data, 1, message.len, stdout);
        fprintf(stderr, "%s recipients; nothing was submitted (--dry-run)\n",
                cli_thousands(counts->rows, rows));
    }
    buf_free(&message);
    return good;
}

static int64_t expires_default(const struct send *send, const struct config *config)
{
    if (send->class && strcmp(send->class, "deadline") == 0)
        return 0; /* must be given */
    bool transactional =
        send->class ? strcmp(send->class, "transactional") == 0 : send->to && !send->campaign;
    return transactional ? config->retry.expire_transactional_s : config->retry.expire_s;
}

static bool submit(const struct send *send, const struct campaign *campaign,
                   const struct config *config, const struct campaign_counts *counts,
                   struct err *err)
{
    struct producer *producer = NULL;
    if (!cli_producer_open(&producer, config, err))
        return false;
    const struct producer_submission terms = {
        .expires_in_s = send->expires_in_s ? send->expires_in_s : expires_default(send, config),
        .tenant = slice_str(send->tenant),
        .campaign = slice_str(send->campaign),
        .class = send->class  ? slice_str(send->class)
                 : send->list ? SLICE("bulk")
                              : SLICE(""),
        .stream = slice_str(send->stream),
        .pool = slice_str(send->pool),
        .send_at = slice_str(send->send_at),
        .windows = buf_slice(&send->windows_json),
        .weight = (unsigned)send->weight,
        .require_tls = send->require_tls,
        .key = slice_str(send->key),
        .fingerprint = slice_str(counts->fingerprint),
        .idempotency_s = config->queue.idempotency_s,
    };
    struct campaign_result result;
    struct campaign_progress progress = { .submitted = send->show_progress ? show_submitted : NULL,
                                          .user = (void *)(uintptr_t)send,
                                          .patience_ms = PATIENCE_MS };
    bool good = campaign_submit(campaign, producer, &terms, &progress, &result, err);
    producer_close(&producer);
    if (send->show_progress && result.done > 0)
        fputc('\n', stderr);
    if (good)
        print_result(send, &result, counts);
    else if (result.done > 0)
        err_prefix(err, "only the first %llu recipients were submitted, as %s",
                   (unsigned long long)result.done, result.id);
    return good;
}

static bool send_campaign(struct send *send, struct err *err)
{
    struct config config = { 0 };
    if (!check_usage(send, err) || (!send->dry_run && !cli_config_load(send->config, &config, err)))
        return false;
    struct campaign_content content = { 0 };
    struct campaign campaign = { .content = &content,
                                 .from = slice_str(send->from),
                                 .keyed = send->key != NULL,
                                 .skip_bad = send->skip_bad };
    struct campaign_counts counts;
    bool good = campaign_content_load(&content, send->template_path, send->html, send->raw, err) &&
                (send->list ? campaign_list_open(&campaign, send->list, send->format, err)
                            : campaign_list_single(&campaign, send->to, send->settings.items,
                                                   send->settings.count, err)) &&
                campaign_check(&campaign, report_row, NULL, &counts, err);
    if (good) {
        send->total = counts.rows;
        good = send->dry_run ? dry_run(&campaign, &counts, send->as_json, err)
                             : submit(send, &campaign, &config, &counts, err);
    }
    campaign_list_close(&campaign);
    campaign_content_free(&content);
    buf_free(&send->windows_json);
    config_free(&config);
    return good;
}

static const char notes[] =
    "The list is CSV with a header row, or JSON lines; the address is in `email` (or `to`), the "
    "other\n"
    "columns are the template's {{fields}}. It's checked as a whole first: with bad rows, each is "
    "reported\n"
    "by its line and nothing is submitted. It may have any length.\n"
    "A template is header lines, an empty line, and the text.\n"
    "With --key the command may be repeated when it was interrupted, or by mistake: what was "
    "submitted\n"
    "before isn't submitted again, and the first submission's id is printed.\n\n"
    "examples:\n"
    "  eilpost send --config eilpost.yaml --from news@shop.example --list list.csv \\\n"
    "      --template news.txt --html news.html\n"
    "  eilpost send --config eilpost.yaml --from me@shop.example --to you@example.org \\\n"
    "      --template hello.txt --set name=Ann\n"
    "  eilpost send … --list list.csv --dry-run     shows the first message\n"
    "  eilpost send … --list list.csv --tenant shop --campaign june --key june-1 \\\n"
    "      --send-at 2026-06-01T09:00:00+02:00 --window 'mon-fri 09:00-18:00 Europe/Berlin'\n";

int command_send(int argc, char **argv)
{
    struct send send = { 0 };
    const struct cli_option options[] = {
        { "config", "FILE", "The configuration; without it /etc/eilpost/eilpost.yaml.", CLI_TEXT,
          &send.config, false },
        { "from", "ADDRESS", "The envelope sender: where bounces go.", CLI_TEXT, &send.from, true },
        { "list", "FILE", "The recipients; - reads stdin.", CLI_TEXT, &send.list, false },
        { "format", "csv|jsonl", "Of the list, when its name doesn't tell.", CLI_TEXT, &send.format,
          false },
        { "to", "ADDRESS", "One recipient in place of a list.", CLI_TEXT, &send.to, false },
        { "set", "NAME=VALUE", "A field's value for --to; may be repeated.", CLI_TEXTS,
          &send.settings, false },
        { "template", "FILE", "Headers and text.", CLI_TEXT, &send.template_path, false },
        { "html", "FILE", "The HTML part beside the template's text.", CLI_TEXT, &send.html,
          false },
        { "raw", "FILE", "A whole message (RFC 5322) in place of a template, the same for all.",
          CLI_TEXT, &send.raw, false },
        { "expires-in", "TIME", "Give up after 90s, 15m, 4h, 2d …; without it, retry.expire_s.",
          CLI_DURATION, &send.expires_in_s, false },
        { "tenant", "NAME", "Whose mail it is; shares and limits go by it.", CLI_TEXT, &send.tenant,
          false },
        { "campaign", "NAME", "What it belongs to; can be watched, paused and cancelled as one.",
          CLI_TEXT, &send.campaign, false },
        { "weight", "N", "The campaign's share among its tenant's, 1 to 1000; without it, 1.",
          CLI_COUNT, &send.weight, false },
        { "class", "NAME",
          "transactional, deadline or bulk; without it, bulk for a list or a campaign.", CLI_TEXT,
          &send.class, false },
        { "stream", "NAME", "Kind of mail, for suppressions that concern only that.", CLI_TEXT,
          &send.stream, false },
        { "pool", "NAME", "The pool of sources it leaves from.", CLI_TEXT, &send.pool, false },
        { "require-tls", NULL,
          "Only over verified TLS, on its whole way (REQUIRETLS, RFC 8689); else it bounces.",
          CLI_FLAG, &send.require_tls, false },
        { "send-at", "TIME", "Not before 2026-06-01T09:00:00+02:00, up to 30 days ahead.", CLI_TEXT,
          &send.send_at, false },
        { "window", "DAYS FROM-TO ZONE",
          "Only then, e.g. 'mon-fri 09:00-18:00 Europe/Berlin'; may be repeated.", CLI_TEXTS,
          &send.windows, false },
        { "key", "TEXT", "Submits once, however often it's called with the same key and mail.",
          CLI_TEXT, &send.key, false },
        { "skip-bad", NULL, "Leave bad rows out and submit the rest.", CLI_FLAG, &send.skip_bad,
          false },
        { "dry-run", NULL, "Check all, print the first message, submit nothing.", CLI_FLAG,
          &send.dry_run, false },
        { "json", NULL, "Print the result as JSON.", CLI_FLAG, &send.as_json, false },
    };
    const struct cli_usage usage = {
        .command = "send",
        .summary = "Submits a campaign from a list and a template, or one message.",
        .notes = notes,
        .options = options,
        .option_count = ARRAY_LEN(options),
    };
    unsigned operands;
    enum cli_parsed parsed = cli_parse(&usage, argc, argv, &operands);
    if (parsed != CLI_PARSED)
        return parsed == CLI_HELP_SHOWN ? CLI_OK : CLI_USAGE;
    send.show_progress = isatty(STDERR_FILENO);
    struct err err = { 0 };
    return send_campaign(&send, &err) ? CLI_OK : cli_fail("send", &err);
}
