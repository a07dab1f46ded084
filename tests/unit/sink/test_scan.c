#include "bench/sink/scan.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/base/mem.h"
#include "engine/base/rng.h"
#include "tests/support/check_main.h"

typedef size_t scan_function(struct scan *scan, struct slice in, bool *found);

/* The oracle: searches the whole text, with the CRLF before it that the DATA command stands for. */
static size_t expected_end(struct slice text)
{
    char *whole = mem_alloc(text.len + 2);
    memcpy(whole, "\r\n", 2);
    memcpy(whole + 2, text.ptr, text.len);
    const char *hit = memmem(whole, text.len + 2, "\r\n.\r\n", 5);
    size_t end = hit ? (size_t)(hit - whole) + 3 : 0;
    free(whole);
    return end; /* 0: not in it */
}

/* Feeds copies of exact size, so that ASan sees any read beyond a piece. */
static size_t scan_pieces(scan_function *function, struct slice text, const size_t *cuts,
                          size_t cuts_count)
{
    struct scan scan = SCAN_START;
    size_t at = 0;
    for (size_t i = 0; i <= cuts_count; i++) {
        size_t end = i < cuts_count ? cuts[i] : text.len;
        char *piece = mem_alloc(end - at);
        memcpy(piece, text.ptr + at, end - at);
        bool found;
        size_t len = function(&scan, slice_of(piece, end - at), &found);
        free(piece);
        ck_assert_uint_le(len, end - at);
        if (found)
            return at + len;
        ck_assert_uint_eq(len, end - at);
        at = end;
    }
    return 0;
}

static const char *const endings[] = {
    ".\r\n",
    "text\r\n.\r\nMAIL FROM:<a@b>\r\n",
    "\r\n.\r\n",
    "\r\r\n.\r\n",
    "\r\n..\r\n.\r\n",
    "\r\n.\r\r\n.\r\n",
    "\r\n.\r\n.\r\n",
    "\n.\n\r\n.\r.\r\n\r\n.\r\n",
    "..\r\n.x\r\n\r\n\r\n.\r\n",
    "nothing ends here \r\n.\r",
    ".\r",
};

START_TEST(the_terminator_is_found_at_every_split)
{
    struct slice text = slice_str(endings[_i]);
    size_t expected = expected_end(text);
    for (size_t first = 0; first <= text.len; first++) {
        for (size_t second = first; second <= text.len; second++) {
            size_t cuts[] = { first, second };
            ck_assert_uint_eq(scan_pieces(scan_end_of_data, text, cuts, 2), expected);
            ck_assert_uint_eq(scan_pieces(scan_end_of_data_scalar, text, cuts, 2), expected);
        }
    }
}
END_TEST

START_TEST(the_terminator_is_found_at_every_place_of_a_vector_block)
{
    char text[400];
    for (size_t at = 0; at + 5 <= sizeof text; at++) {
        memset(text, 'x', sizeof text);
        memcpy(text + at, "\r\n.\r\n", 5);
        for (size_t cut = 0; cut <= sizeof text; cut++)
            ck_assert_uint_eq(scan_pieces(scan_end_of_data, slice_of(text, sizeof text), &cut, 1),
                              at + 5);
    }
}
END_TEST

START_TEST(vector_and_scalar_scan_agree_on_random_text)
{
    const char *given = getenv("EILPOST_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 0) : rng_system_seed();
    printf("EILPOST_SEED=%llu\n", (unsigned long long)seed);
    struct rng rng;
    rng_seed(&rng, seed);
    static const char alphabet[] = "\r\n.\r\n.x";
    for (int round = 0; round < 20000; round++) {
        char text[300];
        size_t len = rng_below(&rng, sizeof text);
        for (size_t i = 0; i < len; i++)
            text[i] =
                rng_below(&rng, 100) < 30 ? 'y' : alphabet[rng_below(&rng, sizeof alphabet - 1)];
        size_t cut = rng_below(&rng, len + 1);
        size_t expected = expected_end(slice_of(text, len));
        ck_assert_uint_eq(scan_pieces(scan_end_of_data, slice_of(text, len), &cut, 1), expected);
        ck_assert_uint_eq(scan_pieces(scan_end_of_data_scalar, slice_of(text, len), &cut, 1),
                          expected);
    }
}
END_TEST

int main(void)
{
    Suite *suite = SUITE_OF("scan", the_terminator_is_found_at_every_place_of_a_vector_block,
                            vector_and_scalar_scan_agree_on_random_text);
    TCase *splits = tcase_create("splits");
    tcase_set_timeout(splits, 0);
    tcase_add_loop_test(splits, the_terminator_is_found_at_every_split, 0, (int)ARRAY_LEN(endings));
    suite_add_tcase(suite, splits);
    return check_main(suite);
}
