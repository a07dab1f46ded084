/* One frame per object, with its size and a checksum in it: the size bounds the memory before
 * anything is unpacked, so that a frame that would grow without end (a "bomb") is refused unread.
 */
#include "queue/content.h"

#include <glib.h>
#include <zstd.h>

enum {
    LEVEL = 3,
    LEVEL_LARGE = 1, /* a worker does nothing else meanwhile: 50 MiB in a quarter of a second */
    LARGE_BYTES = 1 << 20,
};

static bool is_frame(struct slice stored)
{
    static const char magic[4] = { '\x28', '\xb5', '\x2f', '\xfd' };
    return slice_starts_with(stored, slice_of(magic, sizeof magic));
}

struct slice content_pack(struct slice text, struct buf *room)
{
    if (text.len < CONTENT_PACK_BYTES_MIN)
        return text;
    size_t bound = ZSTD_compressBound(text.len), packed = 0;
    ZSTD_CCtx *context = ZSTD_createCCtx();
    buf_clear(room);
    char *at = context ? buf_reserve(room, bound) : NULL;
    bool ok = at != NULL;
    if (ok) {
        int level = text.len < LARGE_BYTES ? LEVEL : LEVEL_LARGE;
        ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, level);
        ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);
        packed = ZSTD_compress2(context, at, bound, text.ptr, text.len);
        ok = !ZSTD_isError(packed) && packed < text.len - text.len / 16;
    }
    ZSTD_freeCCtx(context);
    if (!ok)
        return text;
    buf_grow(room, packed);
    return buf_slice(room);
}

void content_hash(struct slice text, char hex[65])
{
    char *sum = g_compute_checksum_for_data(G_CHECKSUM_SHA256, (const guchar *)text.ptr, text.len);
    memcpy(hex, sum, 65);
    g_free(sum);
}

bool content_unpack(struct slice stored, struct buf *room, struct slice *text, struct err *err)
{
    if (!is_frame(stored)) {
        *text = stored;
        return true;
    }
    unsigned long long bytes = ZSTD_getFrameContentSize(stored.ptr, stored.len);
    if (bytes == ZSTD_CONTENTSIZE_ERROR || bytes == ZSTD_CONTENTSIZE_UNKNOWN)
        return err_set(err, ERR_INPUT, "stored submission: packed without its size");
    if (bytes > CONTENT_BYTES_MAX)
        return err_set(err, ERR_LIMIT, "stored submission: %llu bytes unpacked, %d are allowed",
                       bytes, CONTENT_BYTES_MAX);
    if (ZSTD_findFrameCompressedSize(stored.ptr, stored.len) != stored.len)
        return err_set(err, ERR_INPUT, "stored submission: cut off, or more than one frame");
    buf_clear(room);
    char *at = buf_reserve(room, (size_t)bytes + 1);
    if (!at)
        return err_set(err, ERR_LIMIT, "stored submission: no room for %llu bytes", bytes);
    size_t n = ZSTD_decompress(at, (size_t)bytes, stored.ptr, stored.len);
    if (ZSTD_isError(n) || n != bytes)
        return err_set(err, ERR_INPUT, "stored submission: damaged (%s)",
                       ZSTD_isError(n) ? ZSTD_getErrorName(n) : "wrong size");
    buf_grow(room, n);
    *text = buf_slice(room);
    return true;
}
