/* Raw messages. Line ends become CRLF once, before anything reads the message: whatever a bare CR
 * or LF could be taken for by some receiver, it is a line end for all of them and for us. What
 * can't be repaired without changing what the message says is refused: NUL, lines above 998 octets,
 * malformed header lines, doubled header fields. Bcc and Return-Path are taken out, since they must
 * not be sent. */
#include "engine/message/compiled.h"

#include <stdlib.h>

#include "engine/base/mem.h"
#include "engine/base/utf8.h"

struct raw_state {
    struct buf out;
    size_t line; /* number of the line being read, from 1 */
    bool in_header;
    bool any_field; /* a field to continue */
    bool dropping;  /* inside a field that is taken out */
    bool has_from, has_date, has_id;
    bool has_dot;  /* a line begins with a dot */
    uint32_t seen; /* fields that may be there once, by their place in the list below */
};

static const char *const unique_fields[] = { "From",    "Sender",    "Reply-To",   "To",
                                             "Cc",      "Date",      "References", "In-Reply-To",
                                             "Subject", "Message-ID" };

static size_t field_name_len(struct slice line)
{
    size_t len = 0;
    while (len < line.len && line.ptr[len] > ' ' && line.ptr[len] < 0x7f && line.ptr[len] != ':')
        len++;
    return len < line.len && line.ptr[len] == ':' ? len : 0;
}

static bool check_field(struct raw_state *state, struct slice line, struct err *err)
{
    struct slice name = slice_head(line, field_name_len(line));
    if (name.len == 0)
        return err_set(err, ERR_INPUT,
                       "raw, line %zu: not a header field (\"Name: value\"), and no blank line yet",
                       state->line);
    for (size_t i = 0; i < ARRAY_LEN(unique_fields); i++) {
        if (!slice_eq_nocase(name, slice_str(unique_fields[i])))
            continue;
        if (state->seen & 1u << i)
            return err_set(err, ERR_INPUT, "raw, line %zu: a second header %s", state->line,
                           unique_fields[i]);
        state->seen |= 1u << i;
    }
    state->any_field = true;
    state->has_from |= slice_eq_nocase(name, SLICE("From"));
    state->has_date |= slice_eq_nocase(name, SLICE("Date"));
    state->has_id |= slice_eq_nocase(name, SLICE("Message-ID"));
    state->dropping = slice_eq_nocase(name, SLICE("Bcc")) ||
                      slice_eq_nocase(name, SLICE("Resent-Bcc")) ||
                      slice_eq_nocase(name, SLICE("Return-Path"));
    return true;
}

static bool check_header_line(struct raw_state *state, struct slice line, struct err *err)
{
    if (line.len == 0) {
        state->in_header = state->dropping = false;
        return true;
    }
    if (!utf8_valid(line))
        return err_set(err, ERR_INPUT, "raw, line %zu: a header with bytes that are not UTF-8",
                       state->line);
    if (line.ptr[0] != ' ' && line.ptr[0] != '\t')
        return check_field(state, line, err);
    if (!state->any_field || slice_trim(line).len == 0)
        return err_set(err, ERR_INPUT, "raw, line %zu: %s", state->line,
                       state->any_field ? "a header line of blanks only" : "begins with a blank");
    return true;
}

static bool take_line(struct message_content *content, struct raw_state *state, struct slice line,
                      struct err *err)
{
    if (line.len > HEADER_LINE_BYTES_MAX)
        return err_set(err, ERR_INPUT, "raw, line %zu: longer than %d octets", state->line,
                       HEADER_LINE_BYTES_MAX);
    if (slice_find(line, '\0') >= 0)
        return err_set(err, ERR_INPUT, "raw, line %zu: a NUL character", state->line);
    if (state->in_header && !check_header_line(state, line, err))
        return false;
    if (!state->dropping) {
        bool high = !ascii_only(line);
        content->is_8bit |= high;
        content->utf8_headers |= high && state->in_header;
        state->has_dot |= line.len > 0 && line.ptr[0] == '.';
        bool ok = buf_append(&state->out, line) && buf_append(&state->out, SLICE("\r\n"));
        assert(ok);
    }
    state->line++;
    return true;
}

static bool take_lines(struct message_content *content, struct raw_state *state, struct slice raw,
                       struct err *err)
{
    while (raw.len > 0) {
        size_t len = 0;
        while (len < raw.len && raw.ptr[len] != '\r' && raw.ptr[len] != '\n')
            len++;
        if (!take_line(content, state, slice_head(raw, len), err))
            return false;
        raw = slice_skip(raw, len);
        bool crlf = raw.len > 1 && raw.ptr[0] == '\r' && raw.ptr[1] == '\n';
        raw = slice_skip(raw, MIN_OF(raw.len, (size_t)(crlf ? 2 : 1)));
    }
    return true;
}

/* A copy with every line's leading dot doubled (RFC 5321, 4.5.2). */
static struct slice dot_stuff(struct slice raw)
{
    size_t dots = 0;
    for (size_t i = 0; i < raw.len; i++)
        dots += raw.ptr[i] == '.' && (i == 0 || raw.ptr[i - 1] == '\n');
    char *out = mem_alloc(raw.len + dots);
    size_t len = 0;
    while (raw.len > 0) {
        ptrdiff_t end = slice_find(raw, '\n');
        size_t line = end < 0 ? raw.len : (size_t)end + 1;
        if (raw.ptr[0] == '.')
            out[len++] = '.';
        memcpy(out + len, raw.ptr, line);
        len += line;
        raw = slice_skip(raw, line);
    }
    return slice_of(out, len);
}

bool raw_compile(struct message_content *content, struct slice raw, struct err *err)
{
    struct raw_state state = { .line = 1, .in_header = true };
    char *room = buf_reserve(&state.out, raw.len + raw.len / 32 + 16);
    assert(room);
    bool ok = take_lines(content, &state, raw, err);
    if (ok && !state.has_from)
        ok = err_set(err, ERR_INPUT, "raw: no header From");
    if (!ok) {
        buf_free(&state.out);
        return false;
    }
    if (state.in_header)
        ok =
            buf_append(&state.out, SLICE("\r\n")); /* headers only: the blank line that ends them */
    assert(ok);
    content->raw_bytes = state.out.data;
    content->raw[MESSAGE_CHUNK] = content->raw[MESSAGE_DATA] = buf_slice(&state.out);
    if (state.has_dot) {
        content->raw[MESSAGE_DATA] = dot_stuff(content->raw[MESSAGE_CHUNK]);
        content->raw_stuffed = (char *)(uintptr_t)content->raw[MESSAGE_DATA].ptr;
    }
    if (!state.has_date)
        content_segment_add(content, SEGMENT_DATE);
    if (!state.has_id)
        content_segment_add(content, SEGMENT_ID);
    content_segment_add(content, SEGMENT_RAW);
    return true;
}
