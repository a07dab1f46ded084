/* From YAML text to texts by row, through libcyaml, with errors that a person can act on.
 *
 * libcyaml's schema is made from the settings' table. All scalars are loaded as text: libcyaml
 * reads "010" as eight, keeps no line numbers, and has neither ranges nor defaults, so that numbers
 * are better read and judged in config.c. It reports through a log callback, the message first and
 * then a backtrace from the inside out; what the callback collects becomes one line. Where libcyaml
 * knows no line (or the wrong one), a walk over libyaml's events finds it.
 */
#include "engine/app/config_table.h"

#include <cyaml/cyaml.h>
#include <stdio.h>
#include <stdlib.h>
#include <yaml.h>

#include "engine/base/arena.h"

#define SECTION_DEPTH_MAX 16
#define KEY_BYTES_MAX 256

/* ---- where a key stands ---- */

struct frame {
    bool mapping, at_value;
    unsigned index;
    unsigned line;   /* of the key or entry at hand */
    size_t path_len; /* of what stands above */
};

struct walk {
    struct frame frames[SECTION_DEPTH_MAX];
    unsigned depth;
    char path[KEY_BYTES_MAX];
    size_t path_len;
};

static bool walk_append(struct walk *walk, const char *before, const char *part, const char *after)
{
    size_t room = sizeof walk->path - walk->path_len;
    int n = snprintf(walk->path + walk->path_len, room, "%s%s%s", before, part, after);
    if (n < 0 || (size_t)n >= room)
        return false;
    walk->path_len += (size_t)n;
    return true;
}

/** A node begins. Sets *is_value unless it's the key of a mapping. False: deeper or longer than any
 * setting. */
static bool walk_enter(struct walk *walk, const yaml_event_t *event, bool *is_value)
{
    *is_value = true;
    if (walk->depth == 0)
        return true;
    struct frame *frame = &walk->frames[walk->depth - 1];
    if (!frame->mapping || !frame->at_value)
        frame->line = (unsigned)event->start_mark.line + 1;
    if (!frame->mapping) {
        walk->path_len = frame->path_len;
        char index[16];
        snprintf(index, sizeof index, "%u", frame->index++);
        return walk_append(walk, "[", index, "]");
    }
    frame->at_value = !frame->at_value;
    if (!frame->at_value)
        return true;
    *is_value = false;
    walk->path_len = frame->path_len;
    return event->type == YAML_SCALAR_EVENT &&
           walk_append(walk, walk->path_len ? "." : "", (const char *)event->data.scalar.value, "");
}

/** Returns false when the walk is over. */
static bool walk_step(struct walk *walk, const yaml_event_t *event, const char *key, unsigned *nth,
                      unsigned *line)
{
    bool is_value = false;
    switch ((int)event->type) {
    case YAML_STREAM_END_EVENT:
    case YAML_DOCUMENT_END_EVENT:
        return false;
    case YAML_SCALAR_EVENT:
    case YAML_ALIAS_EVENT:
    case YAML_SEQUENCE_START_EVENT:
    case YAML_MAPPING_START_EVENT:
        if (!walk_enter(walk, event, &is_value))
            return false;
        break;
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        walk->depth--;
        walk->path_len = walk->frames[walk->depth].path_len;
        return true;
    default:
        return true;
    }
    walk->path[walk->path_len] = '\0';
    if (is_value && strcmp(walk->path, key) == 0 && --*nth == 0) {
        *line = walk->depth ? walk->frames[walk->depth - 1].line : 1;
        return false;
    }
    if (event->type == YAML_SEQUENCE_START_EVENT || event->type == YAML_MAPPING_START_EVENT) {
        if (walk->depth == SECTION_DEPTH_MAX)
            return false;
        walk->frames[walk->depth++] =
            (struct frame){ .mapping = event->type == YAML_MAPPING_START_EVENT,
                            .path_len = walk->path_len };
    }
    return true;
}

/** Walks until `key`'s nth value; *problem and its line are set when the text isn't YAML. */
static unsigned yaml_walk(struct slice yaml, const char *key, unsigned nth, char *problem,
                          size_t problem_room)
{
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser))
        return 0;
    yaml_parser_set_input_string(&parser, (const unsigned char *)yaml.ptr, yaml.len);
    struct walk walk = { 0 };
    unsigned line = 0;
    for (bool more = true; more;) {
        yaml_event_t event;
        if (!yaml_parser_parse(&parser, &event)) {
            if (problem) {
                snprintf(problem, problem_room, "%s", parser.problem ? parser.problem : "not YAML");
                line = (unsigned)parser.problem_mark.line + 1;
            }
            break;
        }
        more = walk_step(&walk, &event, key, &nth, &line);
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    return line;
}

unsigned config_line_of(struct slice yaml, const char *key, unsigned nth)
{
    return yaml_walk(yaml, key, nth, NULL, 0);
}

/* ---- libcyaml's schema, from the table ---- */

/** What libcyaml fills: one block, by row. */
struct loaded {
    struct arena arena; /* of the schema */
    cyaml_schema_value_t schema;
    void *block; /* values, then counts */
};

static uint32_t value_at(size_t row)
{
    return (uint32_t)(row * sizeof(void *));
}

static cyaml_schema_value_t text_schema(void)
{
    return (cyaml_schema_value_t){ CYAML_VALUE_STRING(CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL,
                                                      char *, 0, SETTING_TEXT_MAX) };
}

static bool is_list(enum setting_kind kind)
{
    return kind == SETTING_UINTS || kind == SETTING_TEXTS || kind == SETTING_TABLE;
}

static cyaml_schema_value_t list_schema(struct arena *arena, const struct setting *setting);

/** A row's field; values of `count` rows stand before their counts. */
static cyaml_schema_field_t row_field(struct arena *arena, const struct setting *setting,
                                      const char *key, size_t row, size_t count)
{
    return (cyaml_schema_field_t){
        .key = key,
        .data_offset = value_at(row),
        .count_offset = (uint32_t)(value_at(count) + row * sizeof(unsigned)),
        .count_size = sizeof(unsigned),
        .value = is_list(setting->kind) ? list_schema(arena, setting) : text_schema(),
    };
}

static size_t entry_bytes(const struct setting_table *table)
{
    return value_at(table->count + (table->count + 1) / 2); /* two counts in the place of a value */
}

void *config_raw_cell(const struct setting_table *table, void *entries, unsigned entry, size_t row,
                      unsigned *count)
{
    char *at = (char *)entries + entry * entry_bytes(table);
    *count = ((unsigned *)(at + value_at(table->count)))[row];
    return *(void **)(at + value_at(row));
}

static const cyaml_schema_value_t *entry_schema(struct arena *arena,
                                                const struct setting_table *table)
{
    cyaml_schema_field_t *fields = arena_alloc(arena, (table->count + 1) * sizeof *fields);
    for (size_t i = 0; i < table->count; i++)
        fields[i] = row_field(arena, &table->rows[i], table->rows[i].key, i, table->count);
    fields[table->count] = (cyaml_schema_field_t)CYAML_FIELD_END;
    cyaml_schema_value_t *schema = arena_alloc(arena, sizeof *schema);
    *schema = (cyaml_schema_value_t){ .type = CYAML_MAPPING,
                                      .data_size = (uint32_t)entry_bytes(table),
                                      .mapping.fields = fields };
    return schema;
}

static cyaml_schema_value_t list_schema(struct arena *arena, const struct setting *setting)
{
    cyaml_schema_value_t *text = arena_alloc(arena, sizeof *text);
    *text = text_schema();
    bool table = setting->kind == SETTING_TABLE;
    bool may_be_empty = table || (setting->kind == SETTING_TEXTS && setting->text);
    const cyaml_schema_value_t *entry = table ? entry_schema(arena, setting->table) : text;
    return (cyaml_schema_value_t){
        .type = CYAML_SEQUENCE,
        .flags = (enum cyaml_flag)(CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL),
        .data_size = entry->data_size,
        .sequence = { .entry = entry, .min = !may_be_empty, .max = SETTING_LIST_MAX }
    };
}

/** The fields of the section `prefix` ("" or "smtp." …): the rows first…first+count-1. */
static const cyaml_schema_field_t *section_schema(struct arena *arena, const char *prefix,
                                                  size_t first, size_t end)
{
    size_t rows_count;
    const struct setting *rows = settings(&rows_count);
    cyaml_schema_field_t *fields = arena_alloc(arena, (end - first + 1) * sizeof *fields);
    size_t n = 0, at = first;
    while (at < end) {
        const char *rest = rows[at].key + strlen(prefix);
        const char *dot = strchr(rest, '.');
        if (!dot) {
            fields[n++] = row_field(arena, &rows[at], rest, at, rows_count);
            at++;
            continue;
        }
        const char *inner =
            arena_copy(arena, slice_of(rows[at].key, (size_t)(dot + 1 - rows[at].key))).ptr;
        size_t to = at;
        while (to < end && strncmp(rows[to].key, inner, strlen(inner)) == 0)
            to++;
        fields[n++] = (cyaml_schema_field_t){
            .key = arena_copy(arena, slice_of(rest, (size_t)(dot - rest))).ptr,
            .value = { .type = CYAML_MAPPING,
                       .flags = CYAML_FLAG_OPTIONAL,
                       .data_size =
                           (uint32_t)(value_at(rows_count) + rows_count * sizeof(unsigned)),
                       .mapping.fields = section_schema(arena, inner, at, to) },
        };
        at = to;
    }
    fields[n] = (cyaml_schema_field_t)CYAML_FIELD_END;
    return fields;
}

static void schema_build(struct loaded *loaded)
{
    size_t count;
    settings(&count);
    loaded->schema = (cyaml_schema_value_t){
        .type = CYAML_MAPPING,
        .flags = CYAML_FLAG_POINTER,
        .data_size = (uint32_t)(value_at(count) + count * sizeof(unsigned)),
        .mapping.fields = section_schema(&loaded->arena, "", 0, count),
    };
}

/* ---- what libcyaml says, as one line ---- */

struct report {
    char message[256]; /* the first error, without "Load: " */
    struct buf path;   /* of the innermost key, e.g. "smtp.timeouts" */
    unsigned line;
};

static void report_backtrace(struct report *report, char *line)
{
    char *mark = strstr(line, "(line: ");
    if (!mark)
        return;
    if (report->line == 0)
        report->line = (unsigned)strtoul(mark + strlen("(line: "), NULL, 10);
    char *name = strchr(line, '\'');
    char *end = name ? strchr(name + 1, '\'') : NULL;
    if (!end || end > mark)
        return;
    *end = '\0';
    name++;
    struct buf path = { .bytes_max = KEY_BYTES_MAX };
    if (!strstr(line, "sequence entry"))
        buf_printf(&path, "%s", name);
    else if (strcmp(name, "0") != 0) /* counted from 1; 0 means the list */
        buf_printf(&path, "[%lu]", strtoul(name, NULL, 10) - 1);
    if (report->path.len > 0 && buf_slice(&report->path).ptr[0] != '[')
        buf_append_char(&path, '.');
    buf_append(&path, buf_slice(&report->path));
    buf_free(&report->path);
    report->path = path;
}

static void report_log(cyaml_log_t level, void *context, const char *fmt, va_list args)
{
    struct report *report = context;
    char line[512];
    if (level < CYAML_LOG_WARNING || vsnprintf(line, sizeof line, fmt, args) < 0)
        return;
    line[strcspn(line, "\n")] = '\0';
    if (strncmp(line, "  in ", 5) == 0) {
        report_backtrace(report, line);
        return;
    }
    const char *text = strncmp(line, "Load: ", 6) == 0 ? line + 6 : line;
    if (!report->message[0] && strcmp(text, "Backtrace:") != 0)
        snprintf(report->message, sizeof report->message, "%.255s", text);
}

/** Levenshtein's distance, for names up to 31 bytes. */
static unsigned edit_distance(const char *a, const char *b)
{
    size_t la = strlen(a), lb = strlen(b);
    if (la > 31 || lb > 31)
        return 99;
    unsigned row[32];
    for (unsigned j = 0; j <= lb; j++)
        row[j] = j;
    for (unsigned i = 1; i <= la; i++) {
        unsigned diagonal = row[0];
        row[0] = i;
        for (unsigned j = 1; j <= lb; j++) {
            unsigned replace = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            unsigned step = MIN_OF(row[j], row[j - 1]) + 1;
            row[j] = MIN_OF(replace, step);
        }
    }
    return row[lb];
}

/** The table that the entry at `path` ("retry.schedules[2]") is of, or NULL. */
static const struct setting_table *table_at(const char *path)
{
    char key[64];
    snprintf(key, sizeof key, "%.*s", (int)MIN_OF(strcspn(path, "["), sizeof key - 1), path);
    const struct setting *setting = strchr(path, '[') ? setting_find(key) : NULL;
    return setting ? setting->table : NULL;
}

/** Where that key belongs if it's spelled right but in the wrong section, else the nearest one in
 * this section. */
static void suggest(const char *path, const char *name, char *out, size_t room)
{
    out[0] = '\0';
    size_t count;
    const struct setting_table *table = table_at(path);
    const struct setting *rows = settings(&count);
    if (table) {
        rows = table->rows;
        count = table->count;
    }
    for (size_t i = 0; i < count && !table; i++)
        if (strcmp(setting_leaf(&rows[i]), name) == 0) {
            snprintf(out, room, " (it's '%s')", rows[i].key);
            return;
        }
    size_t prefix_len = table || !*path ? 0 : strlen(path) + 1;
    unsigned best = (unsigned)MIN_OF((size_t)3, strlen(name) / 2 + 1);
    for (size_t i = 0; i < count; i++) {
        if (prefix_len > 0 &&
            (strncmp(rows[i].key, path, prefix_len - 1) != 0 || rows[i].key[prefix_len - 1] != '.'))
            continue;
        char part[64];
        const char *rest = rows[i].key + prefix_len;
        snprintf(part, sizeof part, "%.*s", (int)strcspn(rest, "."), rest);
        unsigned distance = edit_distance(part, name);
        if (distance < best) {
            best = distance;
            snprintf(out, room, " (did you mean '%s'?)", part);
        }
    }
}

static const char *expectation(const char *message)
{
    if (strncmp(message, "Expecting MAPPING", 17) == 0)
        return "must have keys of its own below it";
    if (strncmp(message, "Expecting SEQUENCE", 18) == 0)
        return "must be a list, such as [1, 2]";
    if (strncmp(message, "Expecting STRING", 16) == 0)
        return "must be one value, not a list or a section";
    return NULL;
}

/** Turns what was collected into `err`. */
static void report_err(struct report *report, cyaml_err_t code, const char *path, struct slice yaml,
                       struct err *err)
{
    static const char unexpected[] = "Unexpected key: ", twice[] = "Mapping field already seen: ";
    char problem[160], hint[128];
    const char *at = buf_cstr(&report->path);
    const char *must = expectation(report->message);
    unsigned line = report->line;
    struct buf text = BUF_EMPTY;
    if (code == CYAML_ERR_LIBYAML_PARSER) {
        line = yaml_walk(yaml, "", 0, problem, sizeof problem);
        buf_printf(&text, "%s", problem);
    } else if (strncmp(report->message, unexpected, strlen(unexpected)) == 0) {
        const char *name = report->message + strlen(unexpected);
        suggest(at, name, hint, sizeof hint);
        buf_printf(&report->path, "%s%s", *at ? "." : "", name);
        at = buf_cstr(&report->path);
        unsigned key_line = config_line_of(yaml, at, 1);
        line = key_line ? key_line : line; /* libcyaml's may be that of a neighbour */
        buf_printf(&text, "unknown key '%s'%s", at, hint);
    } else if (strncmp(report->message, twice, strlen(twice)) == 0) {
        line = config_line_of(yaml, at, 2);
        buf_printf(&text, "key '%s' is given twice (first on line %u)", at,
                   config_line_of(yaml, at, 1));
    } else if (must && *at) {
        buf_printf(&text, "'%s' %s", at, must);
    } else if (must) {
        buf_printf(&text,
                   "the file must hold keys and values, such as 'state_dir: /var/lib/eilpost'");
    } else if (code == CYAML_ERR_INTERNAL_ERROR) { /* what libcyaml calls a key that is a list or a
                                                      section */
        buf_printf(&text, "a key must be a plain word");
    } else if (code == CYAML_ERR_ALIAS) {
        buf_printf(&text, "aliases (*name) aren't supported");
    } else if (code == CYAML_ERR_STRING_LENGTH_MAX) {
        buf_printf(&text, "'%s' is longer than %d bytes", at, SETTING_TEXT_MAX);
    } else if (code == CYAML_ERR_SEQUENCE_ENTRIES_MIN) {
        buf_printf(&text, "'%s' must have at least one entry", at);
    } else if (code == CYAML_ERR_SEQUENCE_ENTRIES_MAX) {
        buf_printf(&text, "'%s' has more than %d entries", at, SETTING_LIST_MAX);
    } else {
        buf_printf(&text, "%s", report->message[0] ? report->message : cyaml_strerror(code));
    }
    if (line)
        err_set(err, ERR_CONFIG, "%s:%u: %s", path, line, buf_cstr(&text));
    else
        err_set(err, ERR_CONFIG, "%s: %s", path, buf_cstr(&text));
    buf_free(&text);
}

static cyaml_config_t cyaml_settings(struct report *report)
{
    return (cyaml_config_t){ .log_fn = report ? report_log : NULL,
                             .log_ctx = report,
                             .mem_fn = cyaml_mem,
                             .log_level = CYAML_LOG_WARNING,
                             .flags = CYAML_CFG_NO_ALIAS };
}

bool config_raw_load(const char *path, struct slice yaml, struct config_raw *raw, struct err *err)
{
    struct loaded *loaded = calloc(1, sizeof *loaded);
    if (!loaded)
        return err_set(err, ERR_SYSTEM, "out of memory");
    *raw = (struct config_raw){ .loaded = loaded };
    schema_build(loaded);
    struct report report = { 0 };
    cyaml_config_t config = cyaml_settings(&report);
    cyaml_err_t code = cyaml_load_data((const uint8_t *)yaml.ptr, yaml.len, &config,
                                       &loaded->schema, &loaded->block, NULL);
    bool good = code == CYAML_OK;
    if (!good) {
        report_err(&report, code, path, yaml, err);
    } else if (report.message[0]) { /* the one warning that there is: a second document would be
                                       ignored */
        good = false;
        err_set(err, ERR_CONFIG, "%s: more than one YAML document ('---')", path);
    }
    buf_free(&report.path);
    if (!good) {
        config_raw_free(raw);
        return false;
    }
    if (loaded->block) { /* else an empty file */
        size_t count;
        settings(&count);
        raw->values = loaded->block;
        raw->counts = (unsigned *)((char *)loaded->block + value_at(count));
    }
    return true;
}

void config_raw_free(struct config_raw *raw)
{
    struct loaded *loaded = raw->loaded;
    if (!loaded)
        return;
    cyaml_config_t config = cyaml_settings(NULL);
    cyaml_free(&config, &loaded->schema, loaded->block, 0);
    arena_free(&loaded->arena);
    free(loaded);
    *raw = (struct config_raw){ 0 };
}
