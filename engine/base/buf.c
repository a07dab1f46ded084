#include "engine/base/buf.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/base/mem.h"
#include "engine/base/utf8.h"

void buf_free(struct buf *buf)
{
    free(buf->data);
    *buf = (struct buf){ .bytes_max = buf->bytes_max };
}

char *buf_reserve(struct buf *buf, size_t n)
{
    size_t need = buf->len + n;
    if (need < n || need > PTRDIFF_MAX / 2 || (buf->bytes_max && need > buf->bytes_max))
        return NULL;
    if (!buf->data || buf->start + need > buf->room) {
        if (buf->start > 0 && need <= buf->room && buf->start >= buf->len) {
            memmove(buf->data, buf->data + buf->start, buf->len);
        } else {
            size_t room = buf->room ? buf->room : 256;
            while (room < need)
                room *= 2;
            char *data = mem_alloc(room);
            if (buf->len)
                memcpy(data, buf->data + buf->start, buf->len);
            free(buf->data);
            buf->data = data;
            buf->room = room;
        }
        buf->start = 0;
    }
    return buf->data + buf->start + buf->len;
}

bool buf_append(struct buf *buf, struct slice bytes)
{
    char *at = buf_reserve(buf, bytes.len);
    if (!at)
        return false;
    if (bytes.len)
        memcpy(at, bytes.ptr, bytes.len);
    buf->len += bytes.len;
    return true;
}

bool buf_append_char(struct buf *buf, char c)
{
    return buf_append(buf, slice_of(&c, 1));
}

bool buf_printf(struct buf *buf, const char *fmt, ...)
{
    char small[256];
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int n = vsnprintf(small, sizeof small, fmt, args);
    va_end(args);
    bool ok = n >= 0;
    if (ok && (size_t)n < sizeof small) {
        ok = buf_append(buf, slice_of(small, (size_t)n));
    } else if (ok) {
        size_t cap = buf->bytes_max;
        buf->bytes_max = cap ? cap + 1 : 0; /* the NUL isn't counted */
        char *at = buf_reserve(buf, (size_t)n + 1);
        buf->bytes_max = cap;
        ok = at != NULL;
        if (ok) {
            vsnprintf(at, (size_t)n + 1, fmt, again);
            buf->len += (size_t)n;
        }
    }
    va_end(again);
    return ok;
}

bool buf_append_u64(struct buf *buf, uint64_t value)
{
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    return buf_append(buf, slice_of(digits + at, sizeof digits - at));
}

/* The bytes at the front of `text` that a JSON string takes as they are. */
static size_t json_plain_len(struct slice text)
{
    size_t n = 0;
    while (n < text.len && (unsigned char)text.ptr[n] >= 0x20 &&
           (unsigned char)text.ptr[n] < 0x7f && text.ptr[n] != '"' && text.ptr[n] != '\\')
        n++;
    return n;
}

static bool append_json_control(struct buf *buf, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    return buf_append(buf, slice_of((char[]){ '\\', 'u', '0', '0', hex[c >> 4], hex[c & 15] }, 6));
}

/* One character that isn't plain; *width is what it takes of `text`. */
static bool append_json_special(struct buf *buf, struct slice text, size_t *width)
{
    unsigned char c = (unsigned char)text.ptr[0];
    *width = 1;
    if (c == '"' || c == '\\')
        return buf_append(buf, slice_of((char[]){ '\\', (char)c }, 2));
    if (c < 0x20 || c == 0x7f)
        return append_json_control(buf, c);
    size_t sequence = utf8_sequence_len(text);
    if (sequence == 0)
        return buf_append(buf, SLICE("\\ufffd"));
    *width = sequence;
    if (c == 0xc2 && (unsigned char)text.ptr[1] < 0xa0) /* U+0080…U+009F: terminals obey them */
        return append_json_control(buf, (unsigned char)text.ptr[1]);
    return buf_append(buf, slice_head(text, sequence));
}

bool buf_append_json(struct buf *buf, struct slice text)
{
    size_t len = buf->len;
    bool ok = buf_append_char(buf, '"');
    while (ok && text.len > 0) {
        size_t width = json_plain_len(text);
        if (width > 0)
            ok = buf_append(buf, slice_head(text, width));
        else
            ok = append_json_special(buf, text, &width);
        text = slice_skip(text, width);
    }
    ok = ok && buf_append_char(buf, '"');
    if (!ok)
        buf->len = len;
    return ok;
}

void buf_consume(struct buf *buf, size_t n)
{
    assert(n <= buf->len);
    buf->start += n;
    buf->len -= n;
    if (buf->len == 0)
        buf->start = 0;
}

const char *buf_cstr(struct buf *buf)
{
    size_t cap = buf->bytes_max;
    buf->bytes_max = 0;
    *buf_reserve(buf, 1) = '\0';
    buf->bytes_max = cap;
    return buf->data + buf->start;
}
