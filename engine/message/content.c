/* Compiles a submission's content: reads the JSON, then headers, body or raw message into segments.
 * Everything static ends up in one run of bytes, and a header without fields is rendered here, with
 * the code that renders the others. */
#include "engine/message/content.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/mem.h"
#include "engine/message/compiled.h"

#define CONTENT_BYTES_DEFAULT ((size_t)80 << 20) /* a body of 50 MiB in base64, and some */
#define CONTENT_BYTES_MOST                                                                         \
    ((size_t)512 << 20) /* encoded, it must stay below 4 GiB: segments count in 32 bits */
enum { FIELDS_DEFAULT = 256, HEADERS_MAX = 1000 };

struct segment *content_segment_add(struct message_content *content, enum segment_kind kind)
{
    if (content->segment_count == content->segment_room) {
        content->segment_room = content->segment_room ? content->segment_room * 2 : 16;
        content->segments =
            mem_realloc(content->segments, content->segment_room * sizeof *content->segments);
    }
    struct segment *segment = &content->segments[content->segment_count++];
    *segment = (struct segment){ .kind = (uint8_t)kind };
    return segment;
}

void content_bytes_add(struct message_content *content, struct slice bytes)
{
    struct segment *last =
        content->segment_count ? &content->segments[content->segment_count - 1] : NULL;
    if (!last || last->kind != SEGMENT_BYTES) {
        last = content_segment_add(content, SEGMENT_BYTES);
        last->at = (uint32_t)content->bytes.len;
    }
    last->len += (uint32_t)bytes.len;
    bool ok = buf_append(&content->bytes, bytes);
    assert(ok);
}

struct header_compiler {
    struct message_content *content;
    struct template_fields *fields;
    struct header_field *all; /* room for one each */
    size_t count, dynamic;
    struct buf scratch, line;
};

static struct slice json_slice(const json_t *string)
{
    return slice_of(json_string_value(string), json_string_length(string));
}

static bool given_twice(const struct header_compiler *compiler, struct slice name)
{
    for (size_t i = 0; i < compiler->count; i++)
        if (slice_eq_nocase(compiler->all[i].name, name))
            return true;
    return false;
}

static bool add_header(struct header_compiler *compiler, struct slice name, const json_t *value,
                       struct err *err)
{
    struct message_content *content = compiler->content;
    struct header_field *field = &compiler->all[compiler->count];
    const struct merge_values none = { .email = SLICE("") };
    if (!json_is_string(value))
        return err_set(
            err, ERR_INPUT, "header %.*s: the value is not a string",
            SLICE_FMT(slice_head(name, MIN_OF(name.len, (size_t)HEADER_NAME_BYTES_MAX))));
    if (!header_name_check(name, err))
        return false;
    if (header_is_unique(name) && given_twice(compiler, name))
        return err_set(err, ERR_INPUT, "header %.*s is there twice", SLICE_FMT(name));
    if (!header_compile(arena_copy(&content->arena, name), json_slice(value), compiler->fields,
                        field, err))
        return false;
    compiler->count++;
    if (header_has_fields(field)) {
        content->headers[content->header_count] = *field;
        content_segment_add(content, SEGMENT_HEADER)->field = (uint32_t)content->header_count++;
        return true;
    }
    buf_clear(&compiler->line);
    if (!header_render(field, &none, &compiler->scratch, &compiler->line, err))
        return false;
    content->utf8_headers |= header_needs_utf8(field, &none);
    content_bytes_add(content, buf_slice(&compiler->line));
    return true;
}

static bool add_given_headers(struct header_compiler *compiler, json_t *headers, struct err *err)
{
    const char *name;
    json_t *value;
    size_t i;
    if (json_is_object(headers)) {
        json_object_foreach(headers, name, value) if (!add_header(compiler, slice_str(name), value,
                                                                  err)) return false;
        return true;
    }
    json_array_foreach(headers, i, value)
    {
        json_t *first = json_array_get(value, 0);
        if (json_array_size(value) != 2 || !json_is_string(first))
            return err_set(err, ERR_INPUT, "content: header %zu is not [\"Name\", \"value\"]",
                           i + 1);
        if (!add_header(compiler, json_slice(first), json_array_get(value, 1), err))
            return false;
    }
    return true;
}

static bool add_missing_headers(struct header_compiler *compiler, struct err *err)
{
    bool ok = true;
    if (!given_twice(compiler, SLICE("From")))
        return err_set(err, ERR_INPUT, "content: no header From");
    if (!given_twice(compiler, SLICE("To"))) {
        json_t *to = json_string("{{email}}");
        ok = add_header(compiler, SLICE("To"), to, err);
        json_decref(to);
    }
    if (!given_twice(compiler, SLICE("Date")))
        content_segment_add(compiler->content, SEGMENT_DATE);
    content_segment_add(compiler->content, SEGMENT_ID);
    return ok;
}

static bool compile_headers(struct message_content *content, json_t *headers,
                            struct template_fields *fields, struct err *err)
{
    size_t room =
        (json_is_object(headers) ? json_object_size(headers) : json_array_size(headers)) + 1;
    if (!json_is_object(headers) && !json_is_array(headers))
        return err_set(err, ERR_INPUT, "content: \"headers\" is not an object or a list of pairs");
    if (room > HEADERS_MAX)
        return err_set(err, ERR_INPUT, "content: more than %d headers", HEADERS_MAX);
    content->headers = arena_alloc(&content->arena, room * sizeof *content->headers);
    struct header_compiler compiler = { .content = content, .fields = fields };
    compiler.all = arena_alloc(&content->arena, room * sizeof *compiler.all);
    bool ok = add_given_headers(&compiler, headers, err) && add_missing_headers(&compiler, err);
    buf_free(&compiler.scratch);
    buf_free(&compiler.line);
    return ok;
}

/* Every key of the object must be known: a misspelt "html" would send a message without it. */
static bool check_keys(json_t *object, const char *const *known, struct err *err)
{
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value)
    {
        size_t i = 0;
        while (known[i] && strcmp(known[i], key) != 0)
            i++;
        if (!known[i])
            return err_set(err, ERR_INPUT, "content: unknown key \"%.64s\"", key);
    }
    return true;
}

static bool get_text(json_t *object, const char *key, struct slice *out, struct err *err)
{
    json_t *value = json_object_get(object, key);
    *out = (struct slice){ 0 };
    if (!value)
        return true;
    if (!json_is_string(value))
        return err_set(err, ERR_INPUT, "content: \"%s\" is not a string", key);
    *out = json_slice(value);
    return true;
}

static bool compile_parts(struct message_content *content, json_t *object, struct slice json,
                          const struct message_limits *limits, struct err *err)
{
    static const char *const known[] = { "headers", "text", "html", NULL };
    struct slice text, html;
    if (!check_keys(object, known, err) || !get_text(object, "text", &text, err) ||
        !get_text(object, "html", &html, err))
        return false;
    if (!text.ptr && !html.ptr)
        return err_set(err, ERR_INPUT, "content: neither \"text\" nor \"html\"");
    char boundary[17];
    snprintf(boundary, sizeof boundary, "%016llx", (unsigned long long)slice_hash(json, 0));
    struct template_fields fields;
    template_fields_init(&fields, &content->arena,
                         limits && limits->fields_max ? limits->fields_max : FIELDS_DEFAULT);
    bool ok = compile_headers(content, json_object_get(object, "headers"), &fields, err) &&
              body_compile(content, text, html, boundary, &fields, err);
    content->fields = template_fields_names(&fields);
    content->field_count = fields.count;
    template_fields_deinit(&fields);
    return ok;
}

static bool compile_raw(struct message_content *content, json_t *object, struct err *err)
{
    static const char *const known[] = { "raw", "raw_base64", NULL };
    struct slice raw, encoded;
    if (!check_keys(object, known, err) || !get_text(object, "raw", &raw, err) ||
        !get_text(object, "raw_base64", &encoded, err))
        return false;
    if (raw.ptr && encoded.ptr)
        return err_set(err, ERR_INPUT, "content: both \"raw\" and \"raw_base64\"");
    if (raw.ptr)
        return raw_compile(content, raw, err);
    struct buf decoded = BUF_EMPTY;
    bool ok = base64_decode(encoded, &decoded)
                  ? raw_compile(content, buf_slice(&decoded), err)
                  : err_set(err, ERR_INPUT, "content: \"raw_base64\" is not base64");
    buf_free(&decoded);
    return ok;
}

/* Whether all recipients get the same body. */
static bool body_is_common(const struct message_content *content)
{
    for (size_t i = 0; i < content->segment_count; i++)
        if (content->segments[i].kind == SEGMENT_TEXT || content->segments[i].kind == SEGMENT_HTML)
            return false;
    return true;
}

bool message_content_compile(struct message_content **out, struct slice json,
                             const struct message_limits *limits, struct err *err)
{
    size_t bytes_max =
        limits && limits->content_bytes_max ? limits->content_bytes_max : CONTENT_BYTES_DEFAULT;
    bytes_max = MIN_OF(bytes_max, CONTENT_BYTES_MOST);
    *out = NULL;
    if (json.len > bytes_max)
        return err_set(err, ERR_INPUT, "content: %zu bytes are more than the %zu allowed", json.len,
                       bytes_max);
    json_error_t where;
    json_t *object = json_loadb(json.ptr ? json.ptr : "", json.len, JSON_REJECT_DUPLICATES, &where);
    if (!object)
        return err_set(err, ERR_INPUT, "content: JSON, line %d, column %d: %s", where.line,
                       where.column, where.text);
    struct message_content *content = mem_zalloc(sizeof *content);
    bool ok = json_is_object(object) || err_set(err, ERR_INPUT, "content: not a JSON object");
    if (ok)
        ok = json_object_get(object, "raw") || json_object_get(object, "raw_base64")
                 ? compile_raw(content, object, err)
                 : compile_parts(content, object, json, limits, err);
    json_decref(object);
    if (ok && body_is_common(content)) {
        content->body_hash = arena_alloc(&content->arena, sizeof *content->body_hash);
        *content->body_hash = (struct dkim_body_hash){ 0 };
    }
    if (ok)
        *out = content;
    else
        message_content_destroy(&content);
    return ok;
}

void message_content_destroy(struct message_content **content)
{
    struct message_content *it = *content;
    if (!it)
        return;
    arena_free(&it->arena);
    buf_free(&it->bytes);
    free(it->segments);
    free(it->raw_bytes);
    free(it->raw_stuffed);
    free(it);
    *content = NULL;
}

const struct slice *message_content_fields(const struct message_content *content, size_t *count)
{
    *count = content->field_count;
    return content->fields;
}
