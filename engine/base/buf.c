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
    if (need < n || (buf->bytes_max && need > buf->bytes_max))
        return NULL;
    if (buf->start + need > buf->room) {
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
        char *at = buf_reserve(buf, (size_t)n + 1);
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

bool buf_append_json(struct buf *buf, struct slice text)
{
    static const char hex[] = "0123456789abcdef";
    if (!buf_append_char(buf, '"'))
        return false;
    while (text.len > 0) {
        size_t plain = 0;
        while (plain < text.len && (unsigned char)text.ptr[plain] >= 0x20 && text.ptr[plain] != '"' &&
               text.ptr[plain] != '\\' && (unsigned char)text.ptr[plain] < 0x7f)
            plain++;
        if (!buf_append(buf, slice_head(text, plain)))
            return false;
        text = slice_skip(text, plain);
        if (text.len == 0)
            break;
        unsigned char c = (unsigned char)text.ptr[0];
        size_t width = 1;
        bool ok;
        if (c == '"' || c == '\\') {
            ok = buf_append(buf, slice_of((char[]){ '\\', (char)c }, 2));
        } else if (c < 0x20 || c == 0x7f) {
            ok = buf_append(buf, slice_of((char[]){ '\\', 'u', '0', '0', hex[c >> 4], hex[c & 15] }, 6));
        } else {
            width = utf8_sequence_len(text);
            ok = width ? buf_append(buf, slice_head(text, width)) : buf_append(buf, SLICE("\\ufffd"));
            width = width ? width : 1;
        }
        if (!ok)
            return false;
        text = slice_skip(text, width);
    }
    return buf_append_char(buf, '"');
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
