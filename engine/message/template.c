#include "engine/message/template.h"

#include <stdlib.h>

#include "engine/base/mem.h"
#include "engine/base/utf8.h"

enum { FIELD_NAME_BYTES_MAX = 255 };

void template_fields_init(struct template_fields *fields, struct arena *arena, size_t count_max)
{
    *fields = (struct template_fields){ .arena = arena, .count_max = count_max };
    map_init(&fields->index, 0); /* an author's own names: no one gains by colliding them */
}

void template_fields_deinit(struct template_fields *fields)
{
    map_free(&fields->index);
    free(fields->names);
    fields->names = NULL;
    fields->count = 0;
}

const struct slice *template_fields_names(const struct template_fields *fields)
{
    struct slice *names = arena_alloc(fields->arena, (fields->count + 1) * sizeof *names);
    if (fields->count)
        memcpy(names, fields->names, fields->count * sizeof *names);
    return names;
}

bool template_err(struct err *err, const char *part, struct slice text, size_t at, const char *what)
{
    size_t line = 1, column = 1;
    for (size_t i = 0; i < at && i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if (c == '\n' || (c == '\r' && (i + 1 == text.len || text.ptr[i + 1] != '\n'))) {
            line++;
            column = 1;
        } else if ((c & 0xc0) != 0x80) {
            column++;
        }
    }
    return err_set(err, ERR_INPUT, "%s, line %zu, column %zu: %s", part, line, column, what);
}

static bool field_index(struct template_fields *fields, struct slice name, uint32_t *out)
{
    if (slice_eq(name, SLICE("email"))) {
        *out = TEMPLATE_FIELD_EMAIL;
        return true;
    }
    void *known = map_get(&fields->index, name);
    if (known) {
        *out = (uint32_t)((uintptr_t)known - 1);
        return true;
    }
    if (fields->count == fields->count_max)
        return false;
    if (fields->count == fields->room) {
        fields->room = fields->room ? fields->room * 2 : 16;
        fields->names = mem_realloc(fields->names, fields->room * sizeof *fields->names);
    }
    *out = (uint32_t)fields->count;
    struct slice copy = arena_copy(fields->arena, name);
    fields->names[fields->count++] = copy;
    map_put(&fields->index, copy, (void *)(uintptr_t)fields->count);
    return true;
}

static bool is_name_start(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static size_t name_len(struct slice s)
{
    size_t n = 0;
    if (s.len == 0 || !is_name_start(s.ptr[0]))
        return 0;
    while (n < s.len && (is_name_start(s.ptr[n]) || (s.ptr[n] >= '0' && s.ptr[n] <= '9') ||
                         s.ptr[n] == '.' || s.ptr[n] == '-'))
        n++;
    return n;
}

static struct slice skip_blanks(struct slice s)
{
    while (s.len > 0 && (s.ptr[0] == ' ' || s.ptr[0] == '\t'))
        s = slice_skip(s, 1);
    return s;
}

/* The tag at the front of `rest` ("{{…"): its name and its length, or what is wrong with it. */
static const char *tag_parse(struct slice rest, struct slice *name, size_t *len)
{
    struct slice s = slice_skip(rest, 2);
    if (s.len > 0 && s.ptr[0] == '{')
        return "'{{{' is not supported: write {{field}}";
    if (s.len > 0 && s.ptr[0] != '}' && strchr("#^/>&!=$<*%", s.ptr[0]))
        return "only {{field}} is supported: no sections, partials, comments or helpers";
    s = skip_blanks(s);
    size_t n = name_len(s);
    *name = slice_head(s, n);
    s = skip_blanks(slice_skip(s, n));
    if (s.len >= 2 && s.ptr[0] == '}' && s.ptr[1] == '}') {
        *len = rest.len - s.len + 2;
        if (n == 0)
            return "'{{}}' without a field name";
        return n > FIELD_NAME_BYTES_MAX ? "the field name is too long" : NULL;
    }
    if (!memmem(rest.ptr, rest.len, "}}", 2))
        return "'{{' without '}}'";
    return "not a field name between '{{' and '}}' (a letter or '_', then letters, digits, '_', "
           "'.', '-')";
}

struct piece_array {
    struct template_piece *list;
    size_t count, room;
};

static void piece_add(struct piece_array *array, struct template_piece piece)
{
    if (array->count == array->room) {
        array->room = array->room ? array->room * 2 : 8;
        array->list = mem_realloc(array->list, array->room * sizeof *array->list);
    }
    array->list[array->count++] = piece;
}

static bool cut(struct slice text, const char *part, struct template_fields *fields,
                struct piece_array *pieces, struct err *err)
{
    size_t at = 0;
    while (at < text.len) {
        struct slice rest = slice_skip(text, at);
        const char *tag = memmem(rest.ptr, rest.len, "{{", 2);
        size_t plain = tag ? (size_t)(tag - rest.ptr) : rest.len;
        if (plain > 0)
            piece_add(pieces, (struct template_piece){ .text = slice_head(rest, plain), .at = at });
        at += plain;
        if (!tag)
            break;
        struct slice name;
        size_t len = 0;
        uint32_t field;
        const char *wrong = tag_parse(slice_skip(text, at), &name, &len);
        if (wrong)
            return template_err(err, part, text, at, wrong);
        if (!field_index(fields, name, &field))
            return template_err(err, part, text, at, "more different fields than the limit allows");
        piece_add(pieces, (struct template_piece){ .field = field, .at = at });
        at += len;
    }
    return true;
}

/* Where the text stops being UTF-8, or its first NUL; text.len if it is fine. */
static size_t first_bad_byte(struct slice text)
{
    size_t at = 0;
    while (at < text.len) {
        size_t width = utf8_sequence_len(slice_skip(text, at));
        if (width == 0 || text.ptr[at] == '\0')
            break;
        at += width;
    }
    return at;
}

bool template_parse(struct slice text, const char *part, struct template_fields *fields,
                    struct template_pieces *out, struct err *err)
{
    size_t bad = first_bad_byte(text);
    if (bad < text.len)
        return template_err(err, part, text, bad,
                            text.ptr[bad] == '\0' ? "a NUL character" : "not valid UTF-8");
    struct piece_array pieces = { 0 };
    bool ok = cut(text, part, fields, &pieces, err);
    if (ok) {
        out->count = pieces.count;
        out->list = arena_alloc(fields->arena, (pieces.count + 1) * sizeof *out->list);
        if (pieces.count)
            memcpy(out->list, pieces.list, pieces.count * sizeof *out->list);
    }
    free(pieces.list);
    return ok;
}

bool template_has_fields(const struct template_pieces *pieces)
{
    for (size_t i = 0; i < pieces->count; i++)
        if (!pieces->list[i].text.ptr)
            return true;
    return false;
}
