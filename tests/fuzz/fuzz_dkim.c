// module: message
/* DKIM's canonical forms: a body has one, however it's cut into pieces, and it's the same when it's
 * made canonical again; header fields neither grow nor keep line ends. The first byte says where to
 * cut. */
#include <stdlib.h>

#include "engine/base/mem.h"
#include "engine/message/dkim_canon.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok)
        abort();
}

static void hash(struct slice body, size_t cut, bool relaxed, unsigned char out[32])
{
    EVP_MD_CTX *digest = EVP_MD_CTX_new();
    struct dkim_body state;
    check(EVP_DigestInit_ex(digest, EVP_sha256(), NULL) == 1);
    dkim_body_begin(&state, digest, relaxed);
    for (size_t at = 0; at < body.len; at += cut)
        dkim_body_feed(&state, slice_of(body.ptr + at, MIN_OF(cut, body.len - at)));
    dkim_body_end(&state);
    check(EVP_DigestFinal_ex(digest, out, NULL) == 1);
    EVP_MD_CTX_free(digest);
}

static void fields(struct slice header)
{
    struct slice name, value;
    struct buf out = BUF_EMPTY;
    while (header.len > 0) {
        struct slice field = dkim_field_take(&header, &name, &value);
        check(field.len > 0);
        buf_clear(&out);
        dkim_field_append(&out, name, value);
        check(out.len <= field.len + 1);
        size_t value_at = name.len + 1;
        check(!memchr(out.data + value_at, '\n', out.len - value_at));
        check(out.len == value_at || out.data[value_at] != ' ');
        check(out.data[out.len - 1] != ' ' || out.len == value_at);
    }
    buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    struct slice message = slice_of(data + 1, size - 1);
    size_t cut = data[0] % 8 + 1, body_at;
    unsigned char whole[32], pieces[32];
    for (int relaxed = 0; relaxed < 2; relaxed++) {
        hash(message, message.len + 1, relaxed, whole);
        hash(message, cut, relaxed, pieces);
        check(memcmp(whole, pieces, sizeof whole) == 0);
    }
    struct iovec parts[9];
    unsigned count = 0, body_iov;
    for (size_t at = 0; at < message.len; at += parts[count++].iov_len) {
        size_t left = message.len - at;
        parts[count] = (struct iovec){ (void *)(uintptr_t)(message.ptr + at),
                                       count < 8 ? MIN_OF(cut, left) : left };
    }
    struct buf header = BUF_EMPTY;
    dkim_header_take(parts, count, &header, &body_iov, &body_at);
    check(body_iov <= count && header.len <= message.len);
    fields(buf_slice(&header));
    buf_free(&header);
    return 0;
}
