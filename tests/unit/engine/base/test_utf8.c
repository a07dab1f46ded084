#include "engine/base/utf8.h"

#include "tests/support/check_main.h"

static const struct sequence {
    struct slice bytes;
    size_t len;
} sequences[] = {
    { { "", 0 }, 0 },
    { { "\0", 1 }, 1 },
    { { "\x7f", 1 }, 1 },
    { { "\x80", 1 }, 0 },
    { { "\xbf", 1 }, 0 },
    { { "\xc0\x80", 2 }, 0 },
    { { "\xc1\xbf", 2 }, 0 },
    { { "\xc2\x80", 2 }, 2 },
    { { "\xc2", 1 }, 0 },
    { { "\xc2\x7f", 2 }, 0 },
    { { "\xc2\xc0", 2 }, 0 },
    { { "\xdf\xbf", 2 }, 2 },
    { { "\xe0\x9f\xbf", 3 }, 0 },
    { { "\xe0\xa0\x80", 3 }, 3 },
    { { "\xe0\xa0", 2 }, 0 },
    { { "\xed\x9f\xbf", 3 }, 3 },
    { { "\xed\xa0\x80", 3 }, 0 },
    { { "\xef\xbf\xbf", 3 }, 3 },
    { { "\xf0\x8f\xbf\xbf", 4 }, 0 },
    { { "\xf0\x90\x80\x80", 4 }, 4 },
    { { "\xf4\x8f\xbf\xbf", 4 }, 4 },
    { { "\xf4\x90\x80\x80", 4 }, 0 },
    { { "\xf5\x80\x80\x80", 4 }, 0 },
    { { "\xff", 1 }, 0 },
};

START_TEST(a_sequence_is_measured_as_rfc_3629_says)
{
    struct sequence s = sequences[_i];
    ck_assert_uint_eq(utf8_sequence_len(s.bytes), s.len);
    ck_assert(utf8_valid(s.bytes) == (s.len == s.bytes.len));
}
END_TEST

START_TEST(each_code_point_is_valid_unless_it_is_a_surrogate)
{
    for (unsigned c = 0; c <= 0x10ffff; c++) {
        char out[4];
        size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
        static const unsigned char lead[] = { 0, 0, 0xc0, 0xe0, 0xf0 };
        for (size_t i = n; i-- > 1;)
            out[i] = (char)(0x80 | ((c >> (6 * (n - 1 - i))) & 0x3f));
        out[0] = (char)(lead[n] | (c >> (6 * (n - 1))));
        bool surrogate = c >= 0xd800 && c <= 0xdfff;
        ck_assert_msg(utf8_sequence_len(slice_of(out, n)) == (surrogate ? 0 : n), "U+%04X", c);
    }
}
END_TEST

START_TEST(text_is_valid_only_as_a_whole)
{
    ck_assert(utf8_valid(SLICE("gr\xc3\xbc\xc3\x9f"
                               "e")));
    ck_assert(!utf8_valid(SLICE("gr\xc3\xbc\xc3")));
    ck_assert(!utf8_valid(SLICE("gr\xfc"
                                "e")));
    ck_assert(ascii_only(SLICE("abc\x7f")) && !ascii_only(SLICE("ab\x80")) &&
              ascii_only(SLICE("")));
}
END_TEST

int main(void)
{
    Suite *suite = SUITE_OF("utf8", each_code_point_is_valid_unless_it_is_a_surrogate,
                            text_is_valid_only_as_a_whole);
    TCase *table = tcase_create("table");
    tcase_set_timeout(table, 0);
    tcase_add_loop_test(table, a_sequence_is_measured_as_rfc_3629_says, 0, ARRAY_LEN(sequences));
    suite_add_tcase(suite, table);
    return check_main(suite);
}
