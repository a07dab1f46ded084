#include "engine/base/slice.h"

#include <stdlib.h>

#include "tests/support/check_main.h"

START_TEST(a_slice_without_memory_behaves_like_an_empty_one)
{
    struct slice none = { 0 }, empty = SLICE("");
    ck_assert(slice_eq(none, empty));
    ck_assert(slice_starts_with(none, empty) && slice_ends_with(none, none));
    ck_assert_int_eq(slice_find(none, 'x'), -1);
    ck_assert_uint_eq(slice_trim(none).len, 0);
    ck_assert_uint_eq(slice_cut(&none, ',').len, 0);
    ck_assert_uint_eq(slice_skip(none, 0).len, 0);
    ck_assert_uint_eq(slice_str(NULL).len, 0);
    ck_assert_uint_eq(slice_hash(none, 7), slice_hash(empty, 7));
    char *copy = slice_dup(none);
    ck_assert_str_eq(copy, "");
    free(copy);
}
END_TEST

START_TEST(comparison_without_case_folds_ascii_letters_only)
{
    ck_assert(slice_eq_nocase(SLICE("STARTTLS"), SLICE("StartTls")));
    ck_assert(!slice_eq_nocase(SLICE("a"), SLICE("ab")));
    ck_assert(!slice_eq_nocase(SLICE("["), SLICE("{")));
    ck_assert(!slice_eq_nocase(SLICE("\xc3\x84"), SLICE("\xc3\xa4")));
    ck_assert(slice_starts_with_nocase(SLICE("Size 100"), SLICE("SIZE")));
    ck_assert(!slice_starts_with_nocase(SLICE("SIZ"), SLICE("SIZE")));
}
END_TEST

START_TEST(prefix_and_suffix_are_compared_whole)
{
    ck_assert(slice_starts_with(SLICE("250-OK"), SLICE("250")));
    ck_assert(!slice_starts_with(SLICE("25"), SLICE("250")));
    ck_assert(slice_ends_with(SLICE("a\r\n"), SLICE("\r\n")));
    ck_assert(!slice_ends_with(SLICE("\n"), SLICE("\r\n")));
}
END_TEST

START_TEST(trim_takes_blanks_from_both_ends_only)
{
    ck_assert(slice_eq(slice_trim(SLICE(" \t a b\r\n")), SLICE("a b")));
    ck_assert(slice_eq(slice_trim(SLICE("\r\n\t ")), SLICE("")));
    ck_assert(slice_eq(slice_trim(slice_of("\0a\0", 3)), slice_of("\0a\0", 3)));
}
END_TEST

START_TEST(cut_consumes_one_separator_and_then_the_rest)
{
    struct slice rest = SLICE("a,,b");
    ck_assert(slice_eq(slice_cut(&rest, ','), SLICE("a")));
    ck_assert(slice_eq(slice_cut(&rest, ','), SLICE("")));
    ck_assert(slice_eq(slice_cut(&rest, ','), SLICE("b")));
    ck_assert_uint_eq(rest.len, 0);
    ck_assert(slice_eq(slice_cut(&rest, ','), SLICE("")));
}
END_TEST

START_TEST(taking_digits_leaves_everything_untouched_on_failure)
{
    unsigned code = 7;
    struct slice line = SLICE("25x");
    ck_assert(!slice_take_digits(&line, 3, &code));
    ck_assert_uint_eq(code, 7);
    ck_assert(slice_eq(line, SLICE("25x")));
    line = SLICE("12");
    ck_assert(!slice_take_digits(&line, 3, &code));
    line = SLICE("2507");
    ck_assert(slice_take_digits(&line, 3, &code));
    ck_assert_uint_eq(code, 250);
    ck_assert(slice_eq(line, SLICE("7")));
}
END_TEST

static const struct number {
    const char *text;
    bool ok;
    uint64_t value;
} numbers[] = {
    { "0", true, 0 },
    { "007", true, 7 },
    { "18446744073709551615", true, UINT64_MAX },
    { "18446744073709551616", false, 0 },
    { "99999999999999999999999", false, 0 },
    { "", false, 0 },
    { "-1", false, 0 },
    { "+1", false, 0 },
    { " 1", false, 0 },
    { "1 ", false, 0 },
    { "0x10", false, 0 },
};

START_TEST(a_number_is_digits_that_fit_and_nothing_else)
{
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        uint64_t value = 42;
        bool ok = slice_to_u64(slice_str(numbers[i].text), &value);
        ck_assert_msg(ok == numbers[i].ok, "\"%s\"", numbers[i].text);
        ck_assert_msg(value == (ok ? numbers[i].value : 42), "\"%s\"", numbers[i].text);
    }
}
END_TEST

START_TEST(hash_depends_on_each_byte_the_length_and_the_seed)
{
    char text[40] = { 0 };
    uint64_t plain = slice_hash(slice_of(text, sizeof text), 1);
    for (size_t i = 0; i < sizeof text; i++) {
        text[i] = 1;
        ck_assert_uint_ne(slice_hash(slice_of(text, sizeof text), 1), plain);
        text[i] = 0;
        ck_assert_uint_ne(slice_hash(slice_of(text, i), 1), plain);
    }
    ck_assert_uint_ne(slice_hash(slice_of(text, sizeof text), 2), plain);
}
END_TEST

int main(void)
{
    return check_main(SUITE_OF(
        "slice", a_slice_without_memory_behaves_like_an_empty_one,
        comparison_without_case_folds_ascii_letters_only, prefix_and_suffix_are_compared_whole,
        trim_takes_blanks_from_both_ends_only, cut_consumes_one_separator_and_then_the_rest,
        taking_digits_leaves_everything_untouched_on_failure,
        a_number_is_digits_that_fit_and_nothing_else,
        hash_depends_on_each_byte_the_length_and_the_seed));
}
