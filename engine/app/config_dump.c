/* The configuration as YAML with its documentation, and remarks on settings that are legal but
 * rarely meant. */
#include <stdio.h>
#include <unistd.h>

#include "engine/app/config_table.h"

#define COLUMNS 100

static void indent(struct buf *out, size_t depth)
{
    for (size_t i = 0; i < depth; i++)
        buf_append(out, SLICE("  "));
}

/** Words of `text` as comment lines of at most COLUMNS. */
static void comment(struct buf *out, size_t depth, const char *text)
{
    size_t column = 0;
    struct slice rest = slice_str(text);
    while (rest.len > 0) {
        struct slice word = slice_cut(&rest, ' ');
        if (column == 0 || column + 1 + word.len > COLUMNS) {
            if (column > 0)
                buf_append_char(out, '\n');
            indent(out, depth);
            buf_append_char(out, '#');
            column = 2 * depth + 1;
        }
        buf_append_char(out, ' ');
        buf_append(out, word);
        column += 1 + word.len;
    }
    buf_append_char(out, '\n');
}

static const char *choice_name(const struct setting *setting, unsigned value)
{
    for (const struct setting_choice *choice = setting->choices; choice->name; choice++)
        if (choice->value == value)
            return choice->name;
    return "";
}

/** "One of a, b. Default: b." or "1 to 9 seconds. Default: 3." */
static void describe_range(struct buf *out, const struct setting *setting)
{
    const char *unit_gap = setting->unit ? " " : "", *unit = setting->unit ? setting->unit : "";
    switch (setting->kind) {
    case SETTING_TEXT:
        if (setting->text[0])
            buf_printf(out, " Default: %s", setting->text);
        return;
    case SETTING_UINT:
        buf_printf(out, " %u to %u%s%s. Default: %u.", setting->min, setting->max, unit_gap, unit,
                   setting->initial);
        return;
    case SETTING_BOOL:
        buf_printf(out, " Default: %s.", setting->initial ? "true" : "false");
        return;
    case SETTING_CHOICE:
        buf_append(out, SLICE(" One of "));
        for (const struct setting_choice *choice = setting->choices; choice->name; choice++)
            buf_printf(out, "%s%s", choice == setting->choices ? "" : ", ", choice->name);
        buf_printf(out, ". Default: %s.", choice_name(setting, setting->initial));
        return;
    case SETTING_UINTS:
        buf_printf(out, " Each %u to %u%s%s. Default: [%s].", setting->min, setting->max, unit_gap,
                   unit, setting->text);
        return;
    case SETTING_TEXTS:
        if (setting->text && setting->text[0])
            buf_printf(out, " Default: [%s].", setting->text);
        return;
    case SETTING_TABLE:
        return;
    }
}

/** YAML's double-quoted style takes what JSON takes. */
static void quote(struct buf *out, const char *text)
{
    buf_append_json(out, slice_str(text));
}

static void dump_list(const struct setting *setting, const void *at, struct buf *out)
{
    const void *list = *(const void *const *)at;
    unsigned count = *(const unsigned *)((const char *)at + sizeof list);
    buf_append_char(out, '[');
    for (unsigned i = 0; i < count; i++) {
        buf_append(out, slice_str(i ? ", " : ""));
        if (setting->kind == SETTING_UINTS)
            buf_printf(out, "%u", ((const unsigned *)list)[i]);
        else
            quote(out, ((const char *const *)list)[i]);
    }
    buf_append_char(out, ']');
}

/** The value at `at`, on the line of its key. */
static void dump_value(const struct setting *setting, const void *at, struct buf *out)
{
    switch (setting->kind) {
    case SETTING_TEXT:
        quote(out, *(const char *const *)at);
        return;
    case SETTING_UINT:
        buf_printf(out, "%u", *(const unsigned *)at);
        return;
    case SETTING_BOOL:
        buf_printf(out, "%s", *(const bool *)at ? "true" : "false");
        return;
    case SETTING_CHOICE:
        buf_printf(out, "%s", choice_name(setting, *(const unsigned *)at));
        return;
    case SETTING_UINTS:
    case SETTING_TEXTS:
        dump_list(setting, at, out);
        return;
    case SETTING_TABLE:
        return;
    }
}

/** Behind its help: the help of each part, then the entries, or an example of some. */
static void dump_table(const struct config *config, const struct setting *setting, size_t depth,
                       struct buf *out)
{
    const struct setting_table *table = setting->table;
    for (size_t row = 0; row < table->count; row++) {
        struct buf help = BUF_EMPTY;
        buf_printf(&help, "  %s: %s", table->rows[row].key, table->rows[row].help);
        comment(out, depth, buf_cstr(&help));
        buf_free(&help);
    }
    const char *entry = *(const char *const *)((const char *)config + setting->offset);
    unsigned count =
        *(const unsigned *)((const char *)config + setting->offset + sizeof(const void *));
    if (count == 0) {
        comment(out, depth, "For example:");
        struct slice lines = slice_str(table->example);
        while (lines.len > 0) {
            struct slice line = slice_cut(&lines, '\n');
            indent(out, depth);
            buf_printf(out, "# %.*s\n", SLICE_FMT(line));
        }
    }
    indent(out, depth);
    buf_printf(out, "%s:%s\n", setting_leaf(setting), count ? "" : " []");
    for (unsigned i = 0; i < count; i++, entry += table->entry_bytes)
        for (size_t row = 0; row < table->count; row++) {
            indent(out, depth + 1);
            buf_printf(out, "%c %s: ", row == 0 ? '-' : ' ', table->rows[row].key);
            dump_value(&table->rows[row], entry + table->rows[row].offset, out);
            buf_append_char(out, '\n');
        }
}

/** Opens the sections of `key` that the key before it wasn't in; returns their number. */
static size_t open_sections(struct buf *out, const char *before, const char *key)
{
    size_t depth = 0;
    const char *part = key;
    for (const char *dot; (dot = strchr(part, '.')); part = dot + 1, depth++) {
        size_t len = (size_t)(dot + 1 - key);
        if (strncmp(before, key, len) == 0)
            continue;
        if (depth == 0)
            buf_append_char(out, '\n');
        indent(out, depth);
        buf_printf(out, "%.*s:\n", (int)(dot - part), part);
    }
    return depth;
}

void config_dump(const struct config *config, struct buf *out)
{
    size_t count;
    const struct setting *rows = settings(&count);
    const char *before = "";
    for (size_t i = 0; i < count; i++) {
        const struct setting *setting = &rows[i];
        size_t depth = open_sections(out, before, setting->key);
        if (depth == 0 && i > 0)
            buf_append_char(out, '\n');
        struct buf help = BUF_EMPTY;
        buf_append(&help, slice_str(setting->help));
        describe_range(&help, setting);
        comment(out, depth, buf_cstr(&help));
        buf_free(&help);
        if (setting->kind == SETTING_TABLE) {
            dump_table(config, setting, depth, out);
        } else {
            indent(out, depth);
            buf_printf(out, "%s: ", setting_leaf(setting));
            dump_value(setting, (const char *)config + setting->offset, out);
            buf_append_char(out, '\n');
        }
        before = setting->key;
    }
}

static bool in_a_pool(const struct config *config, unsigned source)
{
    for (unsigned i = 0; i < config->pools_count; i++)
        for (unsigned j = 0; j < config->pools[i].texts_count; j++)
            if (config->pools[i].members[j] == source)
                return true;
    return false;
}

unsigned config_lint(const struct config *config, void (*warn)(void *user, const char *text),
                     void *user)
{
    char host[256] = "", text[384];
    gethostname(host, sizeof host - 1);
    const char *ehlo = *config->smtp.ehlo_name ? config->smtp.ehlo_name : host;
    unsigned warnings = 0;
    if (ehlo[0] != '[' && (!strchr(ehlo, '.') || strncmp(ehlo, "localhost", 9) == 0)) {
        snprintf(text, sizeof text,
                 "smtp.ehlo_name: '%s' is not a full host name; many servers refuse mail from such "
                 "a sender",
                 ehlo);
        warn(user, text);
        warnings++;
    }
    if (config->smtp.port != 25) {
        snprintf(text, sizeof text, "smtp.port: mail exchangers listen on port 25, not %u",
                 config->smtp.port);
        warn(user, text);
        warnings++;
    }
    if (config->retry.expire_s < config->retry.schedule_s[0]) {
        warn(user,
             "retry.expire_s: shorter than the first pause: temporary failures are never retried");
        warnings++;
    }
    if (config->smtp.timeouts.dot_s < 600) {
        warn(user, "smtp.timeouts.dot_s: below the 600 s of RFC 5321, 4.5.3.2.6: slow receivers "
                   "get messages twice");
        warnings++;
    }
    if (!*config->redis.url && config->state_dir[0] != '/') {
        warn(user, "state_dir: a relative path; the queue's data depends on the folder the engine "
                   "is started in");
        warnings++;
    }
    for (unsigned i = 0; i < config->sources_count && config->pools_count > 0; i++) {
        if (in_a_pool(config, i))
            continue;
        snprintf(text, sizeof text, "sources[%u]: '%s' is in no pool, so nothing is sent from it",
                 i, config->sources[i].name);
        warn(user, text);
        warnings++;
    }
    bool loopback =
        strncmp(config->api.listen, "127.", 4) == 0 || strncmp(config->api.listen, "[::1]", 5) == 0;
    if (config->api.enabled && !loopback) {
        warn(user, "api.listen: reachable from outside this host, and it has no access control");
        warnings++;
    }
    return warnings;
}
