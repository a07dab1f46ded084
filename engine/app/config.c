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

/** Reads "300, 900" as it stands in the table: always good. */
static void default_numbers(struct config *config, const struct setting *setting)
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
    *(unsigned **)member(config, setting) = numbers;
    *(unsigned *)((char *)member(config, setting) + sizeof(unsigned *)) = count;
}

static void set_default(struct config *config, const struct setting *setting)
{
    switch (setting->kind) {
    case SETTING_TEXT:
        *(const char **)member(config, setting) = setting->text;
        return;
    case SETTING_UINT:
    case SETTING_CHOICE:
        *(unsigned *)member(config, setting) = setting->initial;
        return;
    case SETTING_BOOL:
        *(bool *)member(config, setting) = setting->initial != 0;
        return;
    case SETTING_UINTS:
        default_numbers(config, setting);
        return;
    case SETTING_SOURCES:
        return;
    }
}

void config_defaults(struct config *config)
{
    *config = (struct config){ .path = "", .memory = mem_zalloc(sizeof(struct arena)) };
    size_t count;
    const struct setting *rows = settings(&count);
    for (size_t i = 0; i < count; i++)
        set_default(config, &rows[i]);
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

/** A value being read: what its messages need. */
struct reading {
    struct config *config;
    struct slice yaml;
    struct err *err;
};

/** What the file says, for a message of one line. */
static void shown(const char *value, char *out, size_t room)
{
    snprintf(out, room, "%s", value);
    for (char *c = out; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
}

static bool refuse(struct reading *reading, const char *key, const char *value, const char *must)
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
    return refuse(reading, key, text, must);
}

static bool read_bool(struct reading *reading, const struct setting *setting, const char *text,
                      bool *out)
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
    return refuse(reading, setting->key, text, "must be true or false");
}

static bool read_choice(struct reading *reading, const struct setting *setting, const char *text,
                        unsigned *out)
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
    return refuse(reading, setting->key, text, must);
}

static bool read_text(struct reading *reading, const struct setting *setting, const char *key,
                      const char *text, const char **out)
{
    const char *wrong = setting->check ? setting->check(text) : NULL;
    if (wrong)
        return refuse(reading, key, setting->secret ? NULL : text, wrong);
    *out = keep(reading->config, text);
    return true;
}

static bool read_numbers(struct reading *reading, const struct setting *setting, char **texts,
                         unsigned count)
{
    unsigned *numbers = arena_alloc(config_arena(reading->config), count * sizeof *numbers);
    for (unsigned i = 0; i < count; i++) {
        char key[96];
        snprintf(key, sizeof key, "%s[%u]", setting->key, i);
        if (!read_uint(reading, setting, key, texts[i], &numbers[i]))
            return false;
    }
    *(unsigned **)member(reading->config, setting) = numbers;
    *(unsigned *)((char *)member(reading->config, setting) + sizeof(unsigned *)) = count;
    return true;
}

static bool read_sources(struct reading *reading, char **texts, unsigned count)
{
    size_t parts;
    const struct setting *rows = source_settings(&parts);
    struct config *config = reading->config;
    config->sources = arena_alloc(config_arena(config), (count + 1) * sizeof *config->sources);
    for (unsigned i = 0; i < count; i++) {
        struct config_source *source = &config->sources[i];
        char key[96];
        for (size_t part = 0; part < parts; part++) {
            const char *text = texts[i * parts + part];
            snprintf(key, sizeof key, "sources[%u].%s", i, rows[part].key);
            *(const char **)member(source, &rows[part]) = rows[part].text;
            if (text && !read_text(reading, &rows[part], key, text, member(source, &rows[part])))
                return false;
        }
        snprintf(key, sizeof key, "sources[%u]", i);
        if (!*source->name)
            return refuse(reading, key, NULL, "needs a 'name'");
        for (unsigned before = 0; before < i; before++)
            if (strcmp(config->sources[before].name, source->name) == 0)
                return refuse(reading, key, NULL, "has the name of an earlier source");
    }
    config->sources_count = count;
    return true;
}

static bool read_row(struct reading *reading, const struct setting *setting, void *value,
                     unsigned count)
{
    void *out = member(reading->config, setting);
    switch (setting->kind) {
    case SETTING_TEXT:
        return read_text(reading, setting, setting->key, value, out);
    case SETTING_UINT:
        return read_uint(reading, setting, setting->key, value, out);
    case SETTING_BOOL:
        return read_bool(reading, setting, value, out);
    case SETTING_CHOICE:
        return read_choice(reading, setting, value, out);
    case SETTING_UINTS:
        return read_numbers(reading, setting, value, count);
    case SETTING_SOURCES:
        return read_sources(reading, value, count);
    }
    return false;
}

/** What no single row can tell. */
static bool check_together(struct reading *reading)
{
    const struct config *config = reading->config;
    if (!config->dns.ipv4 && !config->dns.ipv6)
        return refuse(reading, "dns.ipv4", NULL, "and 'dns.ipv6' can't both be off");
    if (config->queue.per_destination > config->queue.jobs_in_flight) {
        bool lower = config_line_of(reading->yaml, "queue.per_destination", 1) != 0;
        return refuse(reading, lower ? "queue.per_destination" : "queue.jobs_in_flight", NULL,
                      "makes queue.per_destination exceed queue.jobs_in_flight");
    }
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

static bool load(struct reading *reading)
{
    struct config_raw raw;
    if (!config_raw_load(reading->config->path, reading->yaml, &raw, reading->err))
        return false;
    size_t count;
    const struct setting *rows = settings(&count);
    bool good = true;
    for (size_t i = 0; i < count && good && raw.values; i++)
        if (raw.values[i])
            good = read_row(reading, &rows[i], raw.values[i], raw.counts[i]);
    config_raw_free(&raw);
    return good && check_together(reading);
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
