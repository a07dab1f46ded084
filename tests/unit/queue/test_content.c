/* A submission's object, packed and unpacked. */
#include "queue/content.h"

#include <stdlib.h>

#include "engine/base/mem.h"
#include "engine/base/rng.h"
#include "tests/support/check_main.h"

static char *letter(size_t bytes)
{
    char *text = mem_alloc(bytes);
    for (size_t i = 0; i < bytes; i++)
        text[i] = "{\"text\":\"Dear reader, \"}"[i % 24];
    return text;
}

START_TEST(a_text_comes_back_whatever_its_size)
{
    const size_t sizes[] = { 0,      1,      CONTENT_PACK_BYTES_MIN - 1, CONTENT_PACK_BYTES_MIN,
                             100000, 3 << 20 };
    struct buf packed = BUF_EMPTY, room = BUF_EMPTY;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        char *text = letter(sizes[i]);
        struct slice stored = content_pack(slice_of(text, sizes[i]), &packed), back;
        struct err err;
        ck_assert_msg(content_unpack(stored, &room, &back, &err), "%s", err.text);
        ck_assert(slice_eq(back, slice_of(text, sizes[i])));
        if (sizes[i] < CONTENT_PACK_BYTES_MIN)
            ck_assert_ptr_eq(stored.ptr, text);
        else
            ck_assert_uint_lt(stored.len, sizes[i] / 10);
        free(text);
    }
    buf_free(&packed);
    buf_free(&room);
}
END_TEST

START_TEST(what_does_not_shrink_stays_as_it_is)
{
    enum { BYTES = 50000 };
    char *noise = mem_alloc(BYTES);
    struct rng rng;
    rng_seed(&rng, 7);
    for (size_t i = 0; i < BYTES; i++)
        noise[i] = (char)rng_next(&rng);
    noise[0] = '{';
    struct buf packed = BUF_EMPTY;
    ck_assert_ptr_eq(content_pack(slice_of(noise, BYTES), &packed).ptr, noise);
    buf_free(&packed);
    free(noise);
}
END_TEST

START_TEST(a_damaged_frame_is_refused)
{
    char *text = letter(20000), *copy = mem_alloc(20000);
    struct buf packed = BUF_EMPTY, room = BUF_EMPTY;
    struct slice stored = content_pack(slice_of(text, 20000), &packed), out;
    struct err err;
    memcpy(copy, stored.ptr, stored.len);
    for (size_t i = 4; i < stored.len; i++) {
        copy[i] ^= 1;
        ck_assert_msg(!content_unpack(slice_of(copy, stored.len), &room, &out, &err) ||
                          slice_eq(out, slice_of(text, 20000)),
                      "byte %zu", i);
        copy[i] ^= 1;
        ck_assert(!content_unpack(slice_of(copy, i), &room, &out, &err));
    }
    memcpy(copy + stored.len, stored.ptr, stored.len); /* a second frame */
    ck_assert(!content_unpack(slice_of(copy, 2 * stored.len), &room, &out, &err));
    buf_free(&packed);
    buf_free(&room);
    free(copy);
    free(text);
}
END_TEST

/* Frames whose header says how much they unpack to: 4 bytes of size. */
START_TEST(a_bomb_is_refused_before_it_is_unpacked)
{
    char frame[] = "\x28\xb5\x2f\xfd\xa0\xff\xff\xff\x7f\x03\x00\x00"; /* 2 GiB, one raw block */
    struct buf room = BUF_EMPTY;
    struct slice out;
    struct err err;
    ck_assert(!content_unpack(slice_of(frame, sizeof frame - 1), &room, &out, &err));
    ck_assert_int_eq(err.kind, ERR_LIMIT);
    ck_assert_uint_eq(room.room, 0);
    char unsized[] = "\x28\xb5\x2f\xfd\x00\x58\x03\x00\x00"; /* doesn't say */
    ck_assert(!content_unpack(slice_of(unsized, sizeof unsized - 1), &room, &out, &err));
    buf_free(&room);
}
END_TEST

int main(void)
{
    return check_main(SUITE_OF("content", a_text_comes_back_whatever_its_size,
                               what_does_not_shrink_stays_as_it_is, a_damaged_frame_is_refused,
                               a_bomb_is_refused_before_it_is_unpacked));
}
