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

/* Letters and digits and what RFC 2047, 5 (3) leaves: fit in a phrase as well as in text. */
static bool is_q_plain(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '!' ||
           c == '*' || c == '+' || c == '-' || c == '/';
}

static void append(struct buf *out, const void *bytes, size_t len)
{
    bool ok = buf_append(out, slice_of(bytes, len));
    assert(ok); /* header output has no cap: its input has */
}

static void base64_append(struct buf *out, struct slice in)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (; in.len > 0; in = slice_skip(in, MIN_OF(in.len, (size_t)3))) {
        const unsigned char *u = (const unsigned char *)in.ptr;
        uint32_t bits = (uint32_t)u[0] << 16;
        if (in.len > 1)
            bits |= (uint32_t)u[1] << 8;
        if (in.len > 2)
            bits |= u[2];
        char four[4] = { digits[bits >> 18], digits[bits >> 12 & 63],
                         in.len > 1 ? digits[bits >> 6 & 63] : '=',
                         in.len > 2 ? digits[bits & 63] : '=' };
        append(out, four, 4);
    }
}

static void q_append(struct buf *out, struct slice in)
{
    for (size_t i = 0; i < in.len; i++) {
        char c = in.ptr[i];
        if (is_q_plain(c)) {
            append(out, &c, 1);
        } else if (c == ' ') {
            append(out, "_", 1);
        } else {
            char unit[3];
            append(out, unit, put_hex(unit, &c, 1));
        }
    }
}

static size_t q_width(char c)
{
    return is_q_plain(c) || c == ' ' ? 1 : 3;
}

/* As many whole characters from the front as fit into `room` encoded bytes. */
static size_t word_take(struct slice text, bool base64, size_t room)
{
    size_t taken = 0, width = 0;
    while (taken < text.len) {
        size_t len = utf8_sequence_len(slice_skip(text, taken)), more = 0;
        assert(len > 0);
        for (size_t i = 0; i < len; i++)
            more += q_width(text.ptr[taken + i]);
        size_t then = base64 ? (taken + len + 2) / 3 * 4 : width + more;
        if (then > room)
            break;
        width = then;
        taken += len;
    }
    return taken;
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
        append(out, fold ? "\r\n " : " ", fold ? 3 : 1);
        *column = fold ? 1 : *column + 1;
        size_t room = MIN_OF(HEADER_COLUMNS - *column, (size_t)ENCODED_WORD_BYTES_MAX) - FRAME;
        size_t taken = word_take(text, base64, room);
        size_t before = out->len;
        append(out, base64 ? "=?utf-8?b?" : "=?utf-8?q?", 10);
        if (base64)
            base64_append(out, slice_head(text, taken));
        else
            q_append(out, slice_head(text, taken));
        append(out, "?=", 2);
        *column += out->len - before;
        text = slice_skip(text, taken);
    }
}

void fold_append(struct buf *out, size_t *column, struct slice piece)
{
    bool behind_name = out->len > 0 && out->data[out->start + out->len - 1] == ':';
    if (*column + 1 + piece.len > HEADER_COLUMNS && !behind_name) {
        append(out, "\r\n ", 3);
        *column = 1;
    } else {
        append(out, " ", 1);
        *column += 1;
    }
    append(out, piece.ptr, piece.len);
    *column += piece.len;
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
