#include "engine/message/template_file.h"

#include <jansson.h>
#include <stdlib.h>

#include "engine/base/utf8.h"

/* The line at the front without its end (LF or CRLF); `*text` is moved behind it. */
static struct slice take_line(struct slice *text)
{
    struct slice line = slice_cut(text, '\n');
    if (line.len > 0 && line.ptr[line.len - 1] == '\r')
        line.len--;
    return line;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* A header field with its continuation lines. */
static bool take_header(struct slice *text, size_t *line_number, json_t *headers, struct err *err)
{
    size_t first = *line_number;
    struct slice line = take_line(text);
    ++*line_number;
    ptrdiff_t colon = slice_find(line, ':');
    if (is_blank(line.ptr[0]))
        return err_set(err, ERR_INPUT, "line %zu: a header can't begin with a blank", first);
    if (colon <= 0)
        return err_set(
            err, ERR_INPUT,
            "line %zu: not a header (\"Name: value\"); the text begins behind an empty line",
            first);
    struct buf value = BUF_EMPTY;
    bool ok = buf_append(&value, slice_trim(slice_skip(line, (size_t)colon + 1)));
    while (text->len > 0 && is_blank(text->ptr[0])) {
        ok = buf_append_char(&value, ' ') && buf_append(&value, slice_trim(take_line(text)));
        ++*line_number;
    }
    assert(ok);
    struct slice name = slice_head(line, (size_t)colon), joined = slice_trim(buf_slice(&value));
    json_t *pair = json_pack("[s%s%]", name.ptr, (int)name.len, joined.ptr, (int)joined.len);
    buf_free(&value);
    if (!pair)
        return err_set(err, ERR_INPUT, "line %zu: a NUL character", first);
    json_array_append_new(headers, pair);
    return true;
}

static bool take_headers(struct slice *text, json_t *headers, struct err *err)
{
    size_t line_number = 1;
    while (text->len > 0 && text->ptr[0] != '\n' && !slice_starts_with(*text, SLICE("\r\n")))
        if (!take_header(text, &line_number, headers, err))
            return false;
    take_line(text); /* the empty one */
    return true;
}

static bool check_encoding(struct slice text, const char *which, struct err *err)
{
    size_t line = 1;
    for (size_t at = 0; at < text.len;) {
        size_t width = utf8_sequence_len(slice_skip(text, at));
        if (width == 0 || text.ptr[at] == '\0')
            return err_set(err, ERR_INPUT, "%s, line %zu: %s", which, line,
                           width ? "a NUL character" : "not valid UTF-8");
        line += text.ptr[at] == '\n';
        at += width;
    }
    return true;
}

bool template_file_content(struct slice text, struct slice html, struct buf *json, struct err *err)
{
    if (!check_encoding(text, "template", err) || !check_encoding(html, "html", err))
        return false;
    if (slice_starts_with(text, SLICE("\xef\xbb\xbf")))
        text = slice_skip(text, 3);
    json_t *headers = json_array(), *content = json_object();
    json_object_set_new(content, "headers", headers);
    bool ok = take_headers(&text, headers, err) || err_prefix(err, "template");
    if (ok) {
        if (!html.ptr || slice_trim(text).len > 0)
            json_object_set_new(content, "text", json_stringn(text.ptr ? text.ptr : "", text.len));
        if (html.ptr)
            json_object_set_new(content, "html", json_stringn(html.ptr, html.len));
        char *dump = json_dumps(content, JSON_COMPACT);
        ok = buf_append(json, slice_str(dump)) ||
             err_set(err, ERR_INPUT, "the content is larger than the limit allows");
        free(dump);
    }
    json_decref(content);
    return ok;
}
