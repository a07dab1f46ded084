/* Defaults, loading, checking. A file is read once into memory; config_yaml.c gives its texts by
 * row, and this file turns them into values and says what is wrong with them, with the line. */
#include "engine/app/config.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/app/config_table.h"
#include "engine/base/arena.h"
#include "engine/base/mem.h"

#define FILE_BYTES_MAX (1U << 20)

/* Enums are stored as unsigned numbers. */
static_assert(sizeof(enum log_level) == sizeof(unsigned), "enum size");
static_assert(sizeof(enum ring_body) == sizeof(unsigned), "enum size");
static_assert(sizeof(enum config_class) == sizeof(unsigned), "enum size");
static_assert(sizeof(enum config_family) == sizeof(unsigned), "enum size");
static_assert(sizeof(enum config_tls) == sizeof(unsigned), "enum size");

static void *member(void *structure, const struct setting *setting)
{
    return (char *)structure + setting->offset;
}

static struct arena *config_arena(struct config *config)
{
    return config->memory;
}

static const char *keep(struct config *config, const char *text)
{
    return arena_copy(config_arena(config), slice_str(text)).ptr;
}

/** A list is a pointer with a count right behind it. */
static void set_list(void *out, const void *list, unsigned count)
{
    *(const void **)out = list;
    *(unsigned *)((char *)out + sizeof list) = count;
}

/** Reads "300, 900" as it stands in the table: always good. */
static void default_numbers(struct config *config, const struct setting *setting, void *out)
{
    struct slice text = slice_str(setting->text);
    unsigned count = 1;
    for (size_t i = 0; i < text.len; i++)
        count += text.ptr[i] == ',';
    unsigned *numbers = arena_alloc(config_arena(config), count * sizeof *numbers);
    for (unsigned i = 0; i < count; i++) {
        uint64_t number;
        bool good = slice_to_u64(slice_trim(slice_cut(&text, ',')), &number);
        assert(good);
        numbers[i] = (unsigned)number;
    }
    set_list(out, numbers, count);
}

/** Reads "default, own" as it stands in the table; NULL or "": none. */
static void default_texts(struct config *config, const struct setting *setting, void *out)
{
    struct slice text = slice_str(setting->text);
    unsigned count = 0, most = 1;
    for (size_t i = 0; i < text.len; i++)
        most += text.ptr[i] == ',';
    const char **texts = arena_alloc(config_arena(config), most * sizeof *texts);
    while (text.len > 0)
        texts[count++] = arena_copy(config_arena(config), slice_trim(slice_cut(&text, ','))).ptr;
    set_list(out, texts, count);
}

/** `structure`: the configuration, or an entry of a table. */
static void set_default(struct config *config, const struct setting *setting, void *structure)
{
    void *out = member(structure, setting);
    switch (setting->kind) {
    case SETTING_TEXT:
        *(const char **)out = setting->text;
        return;
    case SETTING_UINT:
    case SETTING_CHOICE:
        *(unsigned *)out = setting->initial;
        return;
    case SETTING_BOOL:
        *(bool *)out = setting->initial != 0;
        return;
    case SETTING_UINTS:
        default_numbers(config, setting, out);
        return;
    case SETTING_TEXTS:
        default_texts(config, setting, out);
        return;
    case SETTING_TABLE:
        set_list(out, setting->table->initial, setting->table->initial_count);
        return;
    }
}

void config_defaults(struct config *config)
{
    *config = (struct config){ .path = "", .memory = mem_zalloc(sizeof(struct arena)) };
    size_t count;
    const struct setting *rows = settings(&count);
    for (size_t i = 0; i < count; i++)
        set_default(config, &rows[i], config);
}

void config_free(struct config *config)
{
    if (config->memory) {
        arena_free(config->memory);
        free(config->memory);
    }
    *config = (struct config){ 0 };
}

/* ---- from texts to values ---- */

/** What the file says, for a message of one line. */
static void shown(const char *value, char *out, size_t room)
{
    snprintf(out, room, "%s", value);
    for (char *c = out; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
}

bool config_refuse(struct reading *reading, const char *key, const char *value, const char *must)
{
    const char *path = reading->config->path;
    unsigned line = config_line_of(reading->yaml, key, 1);
    if (!value)
        return err_set(reading->err, ERR_CONFIG, "%s:%u: '%s' %s", path, line, key, must);
    char text[100];
    shown(value, text, sizeof text);
    return err_set(reading->err, ERR_CONFIG, "%s:%u: '%s' is '%s': %s", path, line, key, text,
                   must);
}

static bool read_uint(struct reading *reading, const struct setting *setting, const char *key,
                      const char *text, unsigned *out)
{
    uint64_t number;
    if (slice_to_u64(slice_str(text), &number) && number >= setting->min &&
        number <= setting->max) {
        *out = (unsigned)number;
        return true;
    }
    char must[96];
    snprintf(must, sizeof must, "must be a whole number from %u to %u%s%s", setting->min,
             setting->max, setting->unit ? " " : "", setting->unit ? setting->unit : "");
    return config_refuse(reading, key, text, must);
}

static bool read_bool(struct reading *reading, const char *key, const char *text, bool *out)
{
    static const char *const yes[] = { "true", "yes", "on" }, *const no[] = { "false", "no",
                                                                              "off" };
    for (size_t i = 0; i < ARRAY_LEN(yes); i++) {
        bool is_yes = strcmp(text, yes[i]) == 0;
        if (is_yes || strcmp(text, no[i]) == 0) {
            *out = is_yes;
            return true;
        }
    }
    return config_refuse(reading, key, text, "must be true or false");
}

static bool read_choice(struct reading *reading, const struct setting *setting, const char *key,
                        const char *text, unsigned *out)
{
    char must[128] = "must be ";
    size_t len = strlen(must);
    for (const struct setting_choice *choice = setting->choices; choice->name; choice++) {
        if (strcmp(text, choice->name) == 0) {
            *out = choice->value;
            return true;
        }
        const char *joint = choice == setting->choices ? "" : choice[1].name ? ", " : " or ";
        len += (size_t)snprintf(must + len, sizeof must - len, "%s%s", joint, choice->name);
        assert(len < sizeof must);
    }
    return config_refuse(reading, key, text, must);
}

static bool read_text(struct reading *reading, const struct setting *setting, const char *key,
                      const char *text, const char **out)
{
    const char *wrong = setting->check ? setting->check(text) : NULL;
    if (wrong)
        return config_refuse(reading, key, setting->secret ? NULL : text, wrong);
    *out = keep(reading->config, text);
    return true;
}

static bool read_list(struct reading *reading, const struct setting *setting, const char *key,
                      char **texts, unsigned count, void *out)
{
    bool numbers = setting->kind == SETTING_UINTS;
    size_t each = numbers ? sizeof(unsigned) : sizeof(const char *);
    char *list = arena_alloc(config_arena(reading->config), (count + 1) * each);
    for (unsigned i = 0; i < count; i++) {
        char entry_key[128];
        snprintf(entry_key, sizeof entry_key, "%s[%u]", key, i);
        void *to = list + i * each;
        if (numbers ? !read_uint(reading, setting, entry_key, texts[i], to)
                    : !read_text(reading, setting, entry_key, texts[i], to))
            return false;
    }
    set_list(out, list, count);
    return true;
}

static bool read_table(struct reading *reading, const struct setting *setting, void *entries,
                       unsigned count);

/** `structure`: the configuration, or an entry of a table. */
static bool read_row(struct reading *reading, const struct setting *setting, const char *key,
                     void *value, unsigned count, void *structure)
{
    void *out = member(structure, setting);
    switch (setting->kind) {
    case SETTING_TEXT:
        return read_text(reading, setting, key, value, out);
    case SETTING_UINT:
        return read_uint(reading, setting, key, value, out);
    case SETTING_BOOL:
        return read_bool(reading, key, value, out);
    case SETTING_CHOICE:
        return read_choice(reading, setting, key, value, out);
    case SETTING_UINTS:
    case SETTING_TEXTS:
        return read_list(reading, setting, key, value, count, out);
    case SETTING_TABLE:
        return read_table(reading, setting, value, count);
    }
    return false;
}

static bool read_table(struct reading *reading, const struct setting *setting, void *entries,
                       unsigned count)
{
    const struct setting_table *table = setting->table;
    struct config *config = reading->config;
    char *list = arena_alloc(config_arena(config), (count + 1) * table->entry_bytes);
    memset(list, 0, (count + 1) * table->entry_bytes);
    for (unsigned i = 0; i < count; i++)
        for (size_t row = 0; row < table->count; row++) {
            char key[96];
            unsigned cells;
            char *entry = list + i * table->entry_bytes;
            void *cell = config_raw_cell(table, entries, i, row, &cells);
            snprintf(key, sizeof key, "%s[%u].%s", setting->key, i, table->rows[row].key);
            if (!cell)
                set_default(config, &table->rows[row], entry);
            else if (!read_row(reading, &table->rows[row], key, cell, cells, entry))
                return false;
        }
    set_list(member(config, setting), list, count);
    return true;
}

static bool read_file(const char *path, struct buf *out, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set(err, ERR_CONFIG, "%s: %s", path, strerror(errno));
    struct stat info;
    bool good = fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
    if (!good)
        err_set(err, ERR_CONFIG, "%s: not a file", path);
    out->bytes_max = FILE_BYTES_MAX;
    ssize_t n = 1;
    while (good && n > 0) {
        char *room = buf_reserve(out, 65536);
        if (!room) {
            good = err_set(err, ERR_CONFIG, "%s: larger than %u bytes", path, FILE_BYTES_MAX);
            break;
        }
        do
            n = read(fd, room, 65536);
        while (n < 0 && errno == EINTR);
        if (n < 0)
            good = err_set(err, ERR_CONFIG, "%s: %s", path, strerror(errno));
        else
            buf_grow(out, (size_t)n);
    }
    close(fd);
    return good;
}

/** Who only gives pauses of his own means them for all. */
static void drop_built_in_schedules(struct reading *reading)
{
    if (config_line_of(reading->yaml, "retry.schedule_s", 1) == 0 ||
        config_line_of(reading->yaml, "retry.schedules", 1) != 0)
        return;
    reading->config->retry.schedules = NULL;
    reading->config->retry.schedules_count = 0;
}

static bool load(struct reading *reading)
{
    struct config_raw raw;
    if (!config_raw_load(reading->config->path, reading->yaml, &raw, reading->err))
        return false;
    size_t count;
    const struct setting *rows = settings(&count);
    bool good = true;
    for (size_t i = 0; i < count && good && raw.values; i++) {
        /* libcyaml gives nothing for an empty list, which isn't the same as none. */
        bool empty = (rows[i].kind == SETTING_TABLE || rows[i].kind == SETTING_TEXTS) &&
                     !raw.values[i] && config_line_of(reading->yaml, rows[i].key, 1) != 0;
        if (raw.values[i] || empty)
            good = read_row(reading, &rows[i], rows[i].key, raw.values[i], raw.counts[i],
                            reading->config);
    }
    config_raw_free(&raw);
    drop_built_in_schedules(reading);
    return good && config_check(reading);
}

bool config_load(const char *path, struct config *config, struct err *err)
{
    *config = (struct config){ 0 };
    struct buf text = BUF_EMPTY;
    bool good = read_file(path, &text, err);
    if (good) {
        config_defaults(config);
        config->path = keep(config, path);
        struct reading reading = { .config = config, .yaml = buf_slice(&text), .err = err };
        good = load(&reading);
        if (!good)
            config_free(config);
    }
    buf_free(&text);
    return good;
}
