#include "engine/cli/operate.h"

#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "dns/resolver.h"
#include "engine/base/utf8.h"
#include "queue/keys.h"
#include "queue/producer.h"

enum { NOTE_BYTES_MAX = 200, NAME_BYTES_MAX = 64 };

/* ---- an operation ---- */

bool note_valid(const char *option, const char *text, struct err *err)
{
    struct slice rest = slice_str(text);
    if (rest.len > NOTE_BYTES_MAX)
        return err_set(err, ERR_USAGE, "--%s is longer than %d bytes", option, NOTE_BYTES_MAX);
    bool good = utf8_valid(rest);
    for (size_t i = 0; good && i < rest.len; i++)
        good = (unsigned char)rest.ptr[i] >= ' ' && rest.ptr[i] != 0x7f;
    return good || err_set(err, ERR_USAGE, "--%s must be one line of UTF-8", option);
}

/* The person who logged in, also behind sudo. */
static void login_name(char out[64])
{
    const struct passwd *user;
    if (getlogin_r(out, 64) == 0 && out[0])
        return;
    user = getpwuid(getuid());
    if (user)
        snprintf(out, 64, "%s", user->pw_name);
    else
        snprintf(out, 64, "uid %u", (unsigned)getuid());
}

bool operation_begin(struct operation *operation, const struct cli_usage *usage, int argc,
                     char **argv, unsigned *operands, int *code)
{
    operation->command = usage->command;
    operation->signals = -1;
    enum cli_parsed parsed = cli_parse(usage, argc, argv, operands);
    if (parsed != CLI_PARSED) {
        *code = parsed == CLI_HELP_SHOWN ? CLI_OK : CLI_USAGE;
        return false;
    }
    struct err err = { 0 };
    if (!operation->by) {
        login_name(operation->login);
        operation->by = operation->login;
    }
    if (!note_valid("by", operation->by, &err) ||
        (operation->reason && !note_valid("reason", operation->reason, &err)) ||
        !cli_config_load(operation->config_path, &operation->config, &err)) {
        *code = cli_fail(usage->command, &err);
        return false;
    }
    if (!cli_producer_open(&operation->producer, &operation->config, &err)) {
        *code = operation_end(operation, false, &err);
        return false;
    }
    return true;
}

int operation_end(struct operation *operation, bool good, const struct err *err)
{
    operation_progress_end(operation);
    if (operation->producer)
        producer_close(&operation->producer);
    if (operation->signals >= 0)
        close(operation->signals);
    config_free(&operation->config);
    return good ? CLI_OK : cli_fail(operation->command, err);
}

static void show_progress(void *user, uint64_t jobs)
{
    struct operation *operation = user;
    char digits[28];
    if (operation->quiet)
        return;
    operation->progress_shown = true;
    fprintf(stderr, "\r%s jobs", cli_thousands(jobs, digits));
}

void operation_progress_end(struct operation *operation)
{
    if (operation->progress_shown)
        fputc('\n', stderr);
    operation->progress_shown = false;
}

static bool interrupted(void *user)
{
    const struct operation *operation = user;
    struct pollfd wait = { .fd = operation->signals, .events = POLLIN };
    return poll(&wait, 1, 0) == 1;
}

struct order_watch operation_watch(struct operation *operation)
{
    sigset_t stop;
    sigemptyset(&stop);
    sigaddset(&stop, SIGINT);
    sigaddset(&stop, SIGTERM);
    sigprocmask(SIG_BLOCK, &stop, NULL);
    if (operation->signals < 0)
        operation->signals = signalfd(-1, &stop, SFD_CLOEXEC);
    operation->quiet = !isatty(STDERR_FILENO);
    return (
        struct order_watch){ .progress = show_progress, .stop = interrupted, .user = operation };
}

void operation_print(json_t *json)
{
    json_dumpf(json, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
    putchar('\n');
    json_decref(json);
}

uint64_t json_count(const json_t *object, const char *name)
{
    json_int_t number = json_integer_value(json_object_get(object, name));
    return number > 0 ? (uint64_t)number : 0;
}

const char *json_text(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text ? text : "";
}

/* ---- tables ---- */

void table_begin(struct table *table, const char *const *titles, unsigned columns,
                 const char *kinds)
{
    *table = (struct table){ .titles = titles, .columns = columns, .kinds = kinds };
}

void table_cell(struct table *table, const char *text)
{
    buf_append(&table->cells, slice_of(text, strlen(text) + 1));
    table->count++;
}

void table_number(struct table *table, uint64_t number)
{
    char digits[28];
    table_cell(table, cli_thousands(number, digits));
}

void table_time(struct table *table, int64_t ms, int64_t now_ms)
{
    static const struct {
        int64_t ms;
        const char *unit;
    } units[] = { { 86400000, "d" }, { 3600000, "h" }, { 60000, "min" }, { 1000, "s" } };
    char text[40] = "now";
    int64_t away = ms > now_ms ? ms - now_ms : now_ms - ms;
    if (ms == 0) {
        table_cell(table, "-");
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(units); i++)
        if (away >= units[i].ms) {
            snprintf(text, sizeof text, ms > now_ms ? "in %lld %s" : "%lld %s ago",
                     (long long)(away / units[i].ms), units[i].unit);
            break;
        }
    table_cell(table, text);
}

/* Characters, not bytes: what isn't the later byte of a UTF-8 sequence. */
static int width_of(const char *text)
{
    int width = 0;
    for (; *text; text++)
        width += ((unsigned char)*text & 0xc0) != 0x80;
    return width;
}

static void print_cell(const struct table *table, unsigned column, const char *text, int width)
{
    int pad = width - width_of(text);
    bool last = column + 1 == table->columns;
    if (table->kinds[column] == 'r')
        printf("%*s%s", pad, "", text);
    else
        printf("%s%*s", text, last ? 0 : pad, "");
    fputs(last ? "\n" : "  ", stdout);
}

void table_end(struct table *table)
{
    int widths[16] = { 0 };
    assert(table->columns <= ARRAY_LEN(widths) && table->count % table->columns == 0);
    const char *cell = buf_cstr(&table->cells);
    for (unsigned c = 0; c < table->columns; c++)
        widths[c] = width_of(table->titles[c]);
    for (size_t i = 0; i < table->count; i++, cell += strlen(cell) + 1)
        widths[i % table->columns] = MAX_OF(widths[i % table->columns], width_of(cell));
    for (unsigned c = 0; c < table->columns; c++)
        print_cell(table, c, table->titles[c], widths[c]);
    cell = buf_cstr(&table->cells);
    for (size_t i = 0; i < table->count; i++, cell += strlen(cell) + 1) {
        unsigned column = (unsigned)(i % table->columns);
        print_cell(table, column, cell, widths[column]);
    }
    buf_free(&table->cells);
}

const char *operation_time(int64_t ms, char out[24])
{
    time_t seconds = (time_t)(ms / 1000);
    struct tm parts;
    if (ms <= 0 || !gmtime_r(&seconds, &parts) || !strftime(out, 24, "%Y-%m-%d %H:%M:%SZ", &parts))
        snprintf(out, 24, "-");
    return out;
}

/* ---- commands below a command ---- */

static void print_subcommands(FILE *to, const char *command, const char *summary,
                              const struct subcommand *table, size_t count)
{
    fprintf(to, "%s\n\nusage: eilpost %s COMMAND [OPTION…]\n\ncommands:\n", summary, command);
    for (size_t i = 0; i < count; i++)
        fprintf(to, "  %-10s%s\n", table[i].name, table[i].summary);
    fprintf(to, "\n`eilpost %s COMMAND --help` tells more.\n", command);
}

int subcommand_run(const char *command, const char *summary, const struct subcommand *table,
                   size_t count, int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        print_subcommands(stdout, command, summary, table, count);
        return CLI_OK;
    }
    for (size_t i = 0; i < count; i++)
        if (strcmp(table[i].name, name) == 0)
            return table[i].run(argc - 1, argv + 1);
    if (name[0])
        fprintf(stderr, "eilpost %s: there is no command '%s' (see eilpost %s --help)\n", command,
                name, command);
    else
        print_subcommands(stderr, command, summary, table, count);
    return CLI_USAGE;
}

/* ---- filters ---- */

/* A domain, or "*." and a domain, in lower case as A-labels. */
static bool domain_make(const char *option, const char *text, char out[260], struct err *err)
{
    struct slice domain = slice_str(text);
    size_t at = 0;
    if (slice_starts_with(domain, SLICE("*."))) {
        domain = slice_skip(domain, 2);
        out[at++] = '*';
        out[at++] = '.';
    }
    size_t len;
    if (!dns_name_normalise(domain, out + at, &len))
        return err_set(err, ERR_USAGE, "--%s '%s' isn't a domain", option, text);
    out[at + len] = '\0';
    return true;
}

static bool name_check(const char *option, const char *text, struct err *err)
{
    return !text || !text[0] || queue_name_valid(slice_str(text), NAME_BYTES_MAX) ||
           err_set(err, ERR_USAGE, "--%s '%s': 1–%d of A–Z a–z 0–9 . _ -", option, text,
                   NAME_BYTES_MAX);
}

/* TENANT/CAMPAIGN names both. */
static bool campaign_split(struct filter_options *options, struct err *err)
{
    struct slice rest = slice_str(options->campaign);
    if (slice_find(rest, '/') < 0)
        return true;
    struct slice tenant = slice_cut(&rest, '/');
    if (options->tenant)
        return err_set(err, ERR_USAGE, "--campaign '%s' names the tenant already",
                       options->campaign);
    if (tenant.len > NAME_BYTES_MAX || rest.len > NAME_BYTES_MAX)
        return err_set(err, ERR_USAGE, "--campaign '%s' is too long", options->campaign);
    snprintf(options->owner, sizeof options->owner, "%.*s", SLICE_FMT(tenant));
    snprintf(options->name, sizeof options->name, "%.*s", SLICE_FMT(rest));
    options->tenant = options->owner;
    options->campaign = options->name;
    return true;
}

static bool class_make(const char *text, char *out, struct err *err)
{
    static const char *const classes[] = { "transactional", "deadline", "bulk" };
    for (size_t i = 0; text && i < ARRAY_LEN(classes); i++)
        if (strcmp(text, classes[i]) == 0)
            *out = classes[i][0];
    return !text || *out ||
           err_set(err, ERR_USAGE, "--class '%s': transactional, deadline or bulk", text);
}

bool filter_make(struct filter_options *options, bool needed, struct order_filter *out,
                 struct err *err)
{
    *out = (struct order_filter){ .older_than_s = options->older_than_s };
    if ((options->destination &&
         !domain_make("destination", options->destination, options->domain, err)) ||
        (options->site && !domain_make("site", options->site, options->host, err)) ||
        (options->campaign && !campaign_split(options, err)) ||
        !name_check("tenant", options->tenant, err) ||
        !name_check("campaign", options->campaign, err) ||
        !class_make(options->class, &out->class, err))
        return false;
    if (options->submission && !queue_submission_id_valid(slice_str(options->submission)))
        return err_set(err, ERR_USAGE, "--submission '%s' isn't a submission's id",
                       options->submission);
    out->destination = options->destination ? options->domain : NULL;
    out->site = options->site ? options->host : NULL;
    out->tenant = options->tenant;
    out->campaign = options->campaign;
    out->submission = options->submission;
    bool empty = order_filter_empty(out);
    if (needed && empty && !options->all)
        return err_set(err, ERR_USAGE,
                       "which jobs? Give a filter such as --destination or "
                       "--tenant, or --all for all of them");
    if (options->all && !empty)
        return err_set(err, ERR_USAGE, "--all and a filter exclude each other");
    return true;
}

void filter_text(const json_t *filter, struct buf *out)
{
    const char *name;
    json_t *value;
    size_t start = out->len;
    json_object_foreach((json_t *)(uintptr_t)filter, name, value)
    {
        if (out->len > start)
            buf_append_char(out, ' ');
        if (strcmp(name, "older_than_s") == 0)
            buf_printf(out, "older-than=%llds", (long long)json_integer_value(value));
        else
            buf_printf(out, "%s=%s", name,
                       json_string_value(value) ? json_string_value(value) : "");
    }
    if (out->len == start)
        buf_append(out, SLICE("everything"));
}
