#pragma once
/* A growable byte buffer with a cap: reading end at `start`, writing end at `start + len`. */
#include <stdarg.h>

#include "engine/base/slice.h"

struct buf {
    char *data;
    size_t start, len, room;
    size_t bytes_max; /* 0: no cap */
};

#define BUF_EMPTY ((struct buf){ 0 })

void buf_free(struct buf *buf);
/** Empties it; keeps the memory. */
static inline void buf_clear(struct buf *buf)
{
    buf->start = buf->len = 0;
}

static inline struct slice buf_slice(const struct buf *buf)
{
    return (struct slice){ buf->data ? buf->data + buf->start : "", buf->len };
}

/** Room for `n` more bytes at the returned place, or NULL when that would pass bytes_max (or what can exist). Commit with
 *  buf_grow. */
char *buf_reserve(struct buf *buf, size_t n);
static inline void buf_grow(struct buf *buf, size_t n)
{
    assert(buf->start + buf->len + n <= buf->room);
    buf->len += n;
}

/** Appends; false (and nothing appended) when bytes_max would be passed. */
bool buf_append(struct buf *buf, struct slice bytes);
bool buf_append_char(struct buf *buf, char c);
bool buf_printf(struct buf *buf, const char *fmt, ...) PRINTF_LIKE(2, 3);
bool buf_append_u64(struct buf *buf, uint64_t value);
/** Appends `text` as a JSON string with quotes, or nothing; control characters (C1 too) become \u escapes, invalid UTF-8
 *  U+FFFD. */
bool buf_append_json(struct buf *buf, struct slice text);
/** Drops n bytes at the front. */
void buf_consume(struct buf *buf, size_t n);
/** The content with a NUL behind it (the NUL isn't counted). */
const char *buf_cstr(struct buf *buf);
