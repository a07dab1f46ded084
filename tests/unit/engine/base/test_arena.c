#include "engine/base/arena.h"

#include "tests/support/check_main.h"
#include "tests/unit/engine/base/random.h"

START_TEST(pieces_are_aligned_and_never_overlap)
{
    struct rng rng;
    rng_seed(&rng, test_seed("arena"));
    struct arena arena = { .block_bytes = 512 };
    enum { PIECES = 500 };
    struct {
        unsigned char *at;
        size_t size;
    } pieces[PIECES];
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < PIECES; i++) {
            pieces[i].size = rng_below(&rng, 10) ? rng_below(&rng, 100) : rng_below(&rng, 3000);
            pieces[i].at = arena_alloc(&arena, pieces[i].size);
            ck_assert_uint_eq((uintptr_t)pieces[i].at % 16, 0);
            memset(pieces[i].at, (int)(i & 255), pieces[i].size);
        }
        for (unsigned i = 0; i < PIECES; i++)
            for (size_t at = 0; at < pieces[i].size; at++)
                ck_assert_uint_eq(pieces[i].at[at], i & 255);
        arena_reset(&arena);
        ck_assert_uint_eq(arena.used_bytes, 0);
    }
    arena_free(&arena);
}
END_TEST

START_TEST(a_reset_keeps_the_first_block_for_the_next_use)
{
    struct arena arena = { .block_bytes = 256 };
    void *first = arena_alloc(&arena, 10);
    arena_alloc(&arena, 10000);
    arena_reset(&arena);
    ck_assert_ptr_eq(arena_alloc(&arena, 100), first);
    arena_free(&arena);
    ck_assert_ptr_null(arena.blocks);
}
END_TEST

START_TEST(a_large_piece_doesnt_waste_the_block_at_hand)
{
    struct arena arena = { .block_bytes = 1024 };
    char *first = arena_alloc(&arena, 16);
    arena_alloc(&arena, 5000);
    ck_assert_ptr_eq(arena_alloc(&arena, 16), first + 16);
    arena_free(&arena);
}
END_TEST

START_TEST(a_huge_first_piece_isnt_kept_over_a_reset)
{
    struct arena arena = { .block_bytes = 256 };
    arena_alloc(&arena, 1 << 20);
    void *small = arena_alloc(&arena, 16);
    arena_reset(&arena);
    ck_assert_ptr_eq(arena_alloc(&arena, 16), small);
    arena_free(&arena);
}
END_TEST

START_TEST(a_copy_ends_in_a_nul_that_isnt_counted)
{
    struct arena arena = { 0 };
    struct slice copy = arena_copy(&arena, slice_of("a\0b", 3));
    ck_assert(slice_eq(copy, slice_of("a\0b", 3)));
    ck_assert_int_eq(copy.ptr[3], '\0');
    copy = arena_copy(&arena, (struct slice){ 0 });
    ck_assert_str_eq(copy.ptr, "");
    arena_free(&arena);
}
END_TEST

START_TEST(a_size_that_cannot_exist_ends_the_process)
{
    struct arena arena = { 0 };
    arena_alloc(&arena, SIZE_MAX - 7);
}
END_TEST

int main(void)
{
    Suite *suite =
        SUITE_OF("arena", pieces_are_aligned_and_never_overlap,
                 a_reset_keeps_the_first_block_for_the_next_use,
                 a_large_piece_doesnt_waste_the_block_at_hand,
                 a_huge_first_piece_isnt_kept_over_a_reset, a_copy_ends_in_a_nul_that_isnt_counted);
    TCase *fatal = tcase_create("fatal");
    tcase_set_timeout(fatal, 0);
    tcase_add_test_raise_signal(fatal, a_size_that_cannot_exist_ends_the_process, 6 /* SIGABRT */);
    suite_add_tcase(suite, fatal);
    return check_main(suite);
}
