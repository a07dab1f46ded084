/* Encoders. The quoted-printable one runs per value at render time, so it copies runs of plain
 * bytes and looks at single ones only where something must be done; it works in pieces, because an
 * output block may end anywhere. */
#include "engine/message/encode.h"

#include "engine/base/utf8.h"

enum byte_class {
    BYTE_PLAIN,
    BYTE_BLANK,
    BYTE_HTML,  /* plain in text */
    BYTE_START, /* plain but for the start of a line */
    BYTE_ENCODE,
    BYTE_NEWLINE,
    BYTE_HIGH,
    BYTE_NUL,
};

/* clang-format off */
static const uint8_t byte_classes[256] = {
    [0] = BYTE_NUL, [1 ... 8] = BYTE_ENCODE, ['\t'] = BYTE_BLANK, ['\n'] = BYTE_NEWLINE,
    [11 ... 12] = BYTE_ENCODE, ['\r'] = BYTE_NEWLINE, [14 ... 31] = BYTE_ENCODE, [' '] = BYTE_BLANK,
    ['"'] = BYTE_HTML, ['&'] = BYTE_HTML, ['\''] = BYTE_HTML, ['<'] = BYTE_HTML, ['>'] = BYTE_HTML,
    ['.'] = BYTE_START, ['F'] = BYTE_START, ['='] = BYTE_ENCODE, [127] = BYTE_ENCODE,
    [128 ... 255] = BYTE_HIGH,
};
/* clang-format on */

static const char hex_digits[] = "0123456789ABCDEF";

static unsigned class_of(char c)
{
    return byte_classes[(unsigned char)c];
}

/* Plain bytes and blanks at the front, without a blank that ends a line; the first is never one of
 * BYTE_START at a line's start, which the caller has checked. */
static size_t plain_run(struct slice in, size_t limit, enum qp_escape escape)
{
    unsigned last_plain = escape == QP_TEXT ? BYTE_HTML : BYTE_BLANK;
    size_t n = 0;
    limit = MIN_OF(limit, in.len);
    while (n < limit) {
        unsigned class = class_of(in.ptr[n]);
        if (class > last_plain && class != BYTE_START)
            break;
        n++;
    }
    if (n > 0 && n < in.len && class_of(in.ptr[n]) == BYTE_NEWLINE &&
        class_of(in.ptr[n - 1]) == BYTE_BLANK)
        n--;
    return n;
}

static size_t put_hex(char *out, const char *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        unsigned char c = (unsigned char)bytes[i];
        out[i * 3] = '=';
        out[i * 3 + 1] = hex_digits[c >> 4];
        out[i * 3 + 2] = hex_digits[c & 15];
    }
    return count * 3;
}

static size_t put_reference(char *out, char c)
{
    const char *name = c == '&'   ? "&amp;"
                       : c == '<' ? "&lt;"
                       : c == '>' ? "&gt;"
                       : c == '"' ? "&#34;"
                                  : "&#39;";
    size_t len = strlen(name);
    memcpy(out, name, len);
    return len;
}

/* A line that begins "From " would be quoted by mbox writers. A shorter start may be continued by
 * the next run. */
static bool may_begin_from(struct slice in)
{
    size_t len = MIN_OF(in.len, (size_t)5);
    return memcmp(in.ptr, "From ", len) == 0;
}

/* One character that isn't a line end into `unit`; returns the bytes written, and in *used those
 * taken. */
static size_t encode_unit(struct slice in, bool at_start, enum qp_escape escape, char unit[12],
                          size_t *used)
{
    *used = 1;
    switch ((enum byte_class)class_of(in.ptr[0])) {
    case BYTE_START:
        if (at_start && (in.ptr[0] == '.' || may_begin_from(in)))
            return put_hex(unit, in.ptr, 1);
        break;
    case BYTE_HTML:
        if (escape == QP_HTML)
            return put_reference(unit, in.ptr[0]);
        break;
    case BYTE_BLANK:
        if (in.len > 1 && class_of(in.ptr[1]) == BYTE_NEWLINE)
            return put_hex(unit, in.ptr, 1);
        break;
    case BYTE_ENCODE:
        return put_hex(unit, in.ptr, 1);
    case BYTE_HIGH:
        *used = utf8_sequence_len(in);
        if (*used > 0)
            return put_hex(unit, in.ptr, *used);
        *used = 1;
        return put_hex(unit, "\xef\xbf\xbd", 3);
    case BYTE_NUL:
        return put_hex(unit, "\xef\xbf\xbd", 3);
    case BYTE_PLAIN:
    case BYTE_NEWLINE:
        break;
    }
    unit[0] = in.ptr[0];
    return 1;
}

static size_t newline_len(struct slice in)
{
    return in.ptr[0] == '\r' && in.len > 1 && in.ptr[1] == '\n' ? 2 : 1;
}

size_t qp_encode(struct qp_state *state, struct slice *in, char *out, size_t room,
                 enum qp_escape escape)
{
    char *at = out;
    while (in->len > 0 && room - (size_t)(at - out) >= QP_ROOM_MIN) {
        size_t left = room - (size_t)(at - out);
        if (state->column < QP_COLUMNS_MAX &&
            (state->column > 0 || class_of(in->ptr[0]) != BYTE_START)) {
            size_t n =
                plain_run(*in, MIN_OF(left, (size_t)(QP_COLUMNS_MAX - state->column)), escape);
            if (n > 0) {
                memcpy(at, in->ptr, n);
                at += n;
                state->column += (unsigned)n;
                state->blank = class_of(at[-1]) == BYTE_BLANK;
                *in = slice_skip(*in, n);
                continue;
            }
        }
        if (class_of(in->ptr[0]) == BYTE_NEWLINE) {
            if (state->blank)
                *at++ = '=', *at++ = '\r', *at++ = '\n';
            *at++ = '\r', *at++ = '\n';
            *in = slice_skip(*in, newline_len(*in));
            *state = (struct qp_state){ 0 };
            continue;
        }
        char unit[12];
        size_t used, len = encode_unit(*in, state->column == 0, escape, unit, &used);
        if (state->column + len > QP_COLUMNS_MAX) {
            *at++ = '=', *at++ = '\r', *at++ = '\n';
            *state = (struct qp_state){ 0 };
            continue; /* the same character again, now at the start of a line */
        }
        memcpy(at, unit, len);
        at += len;
        state->column += (unsigned)len;
        state->blank = len == 1 && class_of(unit[0]) == BYTE_BLANK;
        *in = slice_skip(*in, used);
    }
    return (size_t)(at - out);
}

size_t qp_bytes_max(struct slice text)
{
    static const uint8_t weights[] = {
        [BYTE_PLAIN] = 1,  [BYTE_BLANK] = 4,   [BYTE_HTML] = 5, [BYTE_START] = 3,
        [BYTE_ENCODE] = 3, [BYTE_NEWLINE] = 5, [BYTE_HIGH] = 3, [BYTE_NUL] = 9,
    };
    size_t bytes = 0;
    bool high = false;
    for (size_t i = 0; i < text.len; i++) {
        unsigned class = class_of(text.ptr[i]);
        bytes += weights[class];
        high |= class == BYTE_HIGH;
    }
    if (high && !utf8_valid(text))
        bytes *= 3;
    return bytes + bytes / 60 * 3 + 6; /* a line breaks 11 bytes early at worst */
}

/* Letters and digits and what RFC 2047, 5 (3) leaves stand for themselves in the "Q" encoding, so
 * that a word fits into a phrase as well as into text; a blank is written "_". */
/* clang-format off */
static const bool q_plain[256] = {
    ['a' ... 'z'] = true, ['A' ... 'Z'] = true, ['0' ... '9'] = true, [' '] = true,
    ['!'] = true, ['*'] = true, ['+'] = true, ['-'] = true, ['/'] = true,
};
/* clang-format on */

static size_t q_width(char c)
{
    return q_plain[(unsigned char)c] ? 1 : 3;
}

static size_t put_q(char *out, struct slice in)
{
    char *at = out;
    for (size_t i = 0; i < in.len; i++) {
        if (q_width(in.ptr[i]) == 3)
            at += put_hex(at, in.ptr + i, 1);
        else
            *at++ = in.ptr[i] == ' ' ? '_' : in.ptr[i];
    }
    return (size_t)(at - out);
}

static size_t put_base64(char *out, struct slice in)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *u = (const unsigned char *)in.ptr;
    char *at = out;
    for (size_t i = 0; i < in.len; i += 3) {
        size_t have = in.len - i;
        uint32_t bits = (uint32_t)u[i] << 16 | (have > 1 ? (uint32_t)u[i + 1] << 8 : 0) |
                        (have > 2 ? u[i + 2] : 0);
        *at++ = digits[bits >> 18];
        *at++ = digits[bits >> 12 & 63];
        *at++ = have > 1 ? digits[bits >> 6 & 63] : '=';
        *at++ = have > 2 ? digits[bits & 63] : '=';
    }
    return (size_t)(at - out);
}

/* As many whole characters from the front as fit into `room` encoded bytes. */
static size_t word_take(struct slice text, bool base64, size_t room)
{
    size_t taken = 0, width = 0;
    while (taken < text.len) {
        size_t len = 1, more = q_width(text.ptr[taken]);
        while (taken + len < text.len && ((unsigned char)text.ptr[taken + len] & 0xc0) == 0x80)
            more += q_width(text.ptr[taken + len++]);
        size_t then = base64 ? (taken + len + 2) / 3 * 4 : width + more;
        if (then > room)
            break;
        width = then;
        taken += len;
    }
    assert(taken > 0);
    return taken;
}

/* Room at the end of a header's output, which has no cap: its input has. */
static char *room_for(struct buf *out, size_t bytes)
{
    char *at = buf_reserve(out, bytes);
    assert(at);
    return at;
}

void encoded_words_append(struct buf *out, size_t *column, struct slice text)
{
    enum { FRAME = 12, ROOM_MIN = 16 };
    size_t q_len = 0;
    for (size_t i = 0; i < text.len; i++)
        q_len += q_width(text.ptr[i]);
    bool base64 = (text.len + 2) / 3 * 4 < q_len;
    for (bool first = true; text.len > 0; first = false) {
        bool fold = !first || *column + 1 + FRAME + ROOM_MIN > HEADER_COLUMNS;
        char *begin = room_for(out, 3 + ENCODED_WORD_BYTES_MAX), *at = begin;
        memcpy(at, fold ? "\r\n " : " ", fold ? 3 : 1);
        at += fold ? 3 : 1;
        *column = fold ? 1 : *column + 1;
        size_t room = MIN_OF(HEADER_COLUMNS - *column, (size_t)ENCODED_WORD_BYTES_MAX) - FRAME;
        struct slice word = slice_head(text, word_take(text, base64, room));
        memcpy(at, base64 ? "=?utf-8?b?" : "=?utf-8?q?", 10);
        size_t len = base64 ? put_base64(at + 10, word) : put_q(at + 10, word);
        memcpy(at + 10 + len, "?=", 2);
        at += FRAME + len;
        *column += FRAME + len;
        buf_grow(out, (size_t)(at - begin));
        text = slice_skip(text, word.len);
    }
}

void fold_append(struct buf *out, size_t *column, struct slice piece)
{
    bool behind_name = out->len > 0 && out->data[out->start + out->len - 1] == ':';
    bool fold = *column + 1 + piece.len > HEADER_COLUMNS && !behind_name;
    char *at = room_for(out, 3 + piece.len);
    memcpy(at, fold ? "\r\n " : " ", fold ? 3 : 1);
    memcpy(at + (fold ? 3 : 1), piece.ptr, piece.len);
    buf_grow(out, (fold ? 3 : 1) + piece.len);
    *column = (fold ? 1 : *column + 1) + piece.len;
}

bool clean_text_append(struct buf *out, struct slice in)
{
    while (in.len > 0) {
        size_t plain = 0;
        while (plain < in.len && (unsigned char)in.ptr[plain] >= ' ' &&
               (unsigned char)in.ptr[plain] < 0x7f)
            plain++;
        if (!buf_append(out, slice_head(in, plain)))
            return false;
        in = slice_skip(in, plain);
        if (in.len == 0)
            break;
        size_t width = utf8_sequence_len(in);
        struct slice piece = width == 0 ? SLICE("\xef\xbf\xbd") : slice_head(in, width);
        if (width == 1)
            piece = SLICE(" ");
        if (!buf_append(out, piece))
            return false;
        in = slice_skip(in, width ? width : 1);
    }
    return true;
}

static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool base64_decode(struct slice in, struct buf *out)
{
    uint32_t bits = 0;
    size_t digits = 0, padding = 0;
    for (size_t i = 0; i < in.len; i++) {
        char c = in.ptr[i];
        if (c == ' ' || c == '\t' || c == '\r' || c == '\n')
            continue;
        if (c == '=') {
            padding++;
            continue;
        }
        int value = base64_value(c);
        if (value < 0 || padding > 0)
            return false;
        bits = bits << 6 | (uint32_t)value;
        digits++;
        if (digits % 4 != 1) {
            unsigned shift = (unsigned)(6 - 2 * ((digits - 1) % 4));
            if (!buf_append_char(out, (char)(bits >> shift)))
                return false;
        }
    }
    size_t rest = digits % 4;
    return rest != 1 && padding <= 2 && (padding == 0 || (digits + padding) % 4 == 0);
}
