#include "engine/base/buf.h"

#include "tests/support/check_main.h"
#include "tests/unit/engine/base/random.h"

START_TEST(appending_nothing_to_an_empty_buffer_succeeds)
{
    struct buf buf = BUF_EMPTY;
    ck_assert(buf_append(&buf, SLICE("")));
    ck_assert(buf_append(&buf, (struct slice){ 0 }));
    ck_assert(buf_printf(&buf, "%s", ""));
    ck_assert_ptr_nonnull(buf_reserve(&buf, 0));
    ck_assert_uint_eq(buf_slice(&buf).len, 0);
    ck_assert_str_eq(buf_cstr(&buf), "");
    buf_free(&buf);
}
END_TEST

START_TEST(a_cap_is_met_exactly_and_never_passed)
{
    struct buf buf = { .bytes_max = 5 };
    ck_assert(buf_append(&buf, SLICE("abc")));
    ck_assert(!buf_append(&buf, SLICE("def")));
    ck_assert_str_eq(buf_cstr(&buf), "abc");
    ck_assert(buf_append(&buf, SLICE("de")));
    ck_assert(!buf_append_char(&buf, 'f'));
    ck_assert(buf_append(&buf, SLICE("")));
    ck_assert_str_eq(buf_cstr(&buf), "abcde");
    buf_free(&buf);
    ck_assert_uint_eq(buf.bytes_max, 5);
}
END_TEST

START_TEST(printf_meets_the_cap_exactly_for_short_and_long_texts)
{
    static const int widths[] = { 1, 255, 256, 257, 1000 };
    for (size_t i = 0; i < ARRAY_LEN(widths); i++) {
        struct buf buf = { .bytes_max = (size_t)widths[i] };
        ck_assert(!buf_printf(&buf, "%*d", widths[i] + 1, 7));
        ck_assert_uint_eq(buf.len, 0);
        ck_assert(buf_printf(&buf, "%*d", widths[i], 7));
        ck_assert_uint_eq(buf.len, widths[i]);
        ck_assert_int_eq(buf_slice(&buf).ptr[widths[i] - 1], '7');
        buf_free(&buf);
    }
}
END_TEST

START_TEST(a_size_that_cannot_exist_is_refused)
{
    struct buf buf = BUF_EMPTY;
    ck_assert_ptr_null(buf_reserve(&buf, SIZE_MAX));
    ck_assert_ptr_null(buf_reserve(&buf, SIZE_MAX / 2 + 2));
    ck_assert(buf_append(&buf, SLICE("abc")));
    ck_assert_ptr_null(buf_reserve(&buf, SIZE_MAX));
    ck_assert_str_eq(buf_cstr(&buf), "abc");
    buf_free(&buf);
}
END_TEST

START_TEST(numbers_are_appended_in_full_range)
{
    struct buf buf = BUF_EMPTY;
    ck_assert(buf_append_u64(&buf, 0) && buf_append_char(&buf, ' '));
    ck_assert(buf_append_u64(&buf, 1000) && buf_append_char(&buf, ' '));
    ck_assert(buf_append_u64(&buf, UINT64_MAX));
    ck_assert_str_eq(buf_cstr(&buf), "0 1000 18446744073709551615");
    buf_free(&buf);
}
END_TEST

static const struct json_case {
    struct slice in;
    const char *out;
} json_cases[] = {
    { { "", 0 }, "\"\"" },
    { { "plain", 5 }, "\"plain\"" },
    { { "a\"b\\c/", 6 }, "\"a\\\"b\\\\c/\"" },
    { { "\r\n\t\0\x1f\x7f", 6 }, "\"\\u000d\\u000a\\u0009\\u0000\\u001f\\u007f\"" },
    { { "\xc3\xa4\xe2\x82\xac\xf0\x9f\x93\xac", 9 }, "\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x93\xac\"" },
    { { "\x80", 1 }, "\"\\ufffd\"" },
    { { "\xc3", 1 }, "\"\\ufffd\"" },                                  /* cut off */
    { { "\xc0\xaf", 2 }, "\"\\ufffd\\ufffd\"" },                       /* overlong */
    { { "\xed\xa0\x80", 3 }, "\"\\ufffd\\ufffd\\ufffd\"" },            /* surrogate */
    { { "\xf4\x90\x80\x80", 4 }, "\"\\ufffd\\ufffd\\ufffd\\ufffd\"" }, /* beyond U+10FFFF */
    { { "\xc2\x9b\xc2\xa0", 4 }, "\"\\u009b\xc2\xa0\"" },              /* C1: a terminal's escape */
};

START_TEST(json_strings_are_well_formed_whatever_goes_in)
{
    struct json_case c = json_cases[_i];
    struct buf buf = BUF_EMPTY;
    ck_assert(buf_append_json(&buf, c.in));
    ck_assert_str_eq(buf_cstr(&buf), c.out);
    size_t whole = buf.len;
    buf_free(&buf);
    for (size_t cap = 1; cap < whole; cap++) { /* all of it, or nothing */
        struct buf small = { .bytes_max = cap };
        ck_assert(!buf_append_json(&small, c.in));
        ck_assert_uint_eq(small.len, 0);
        buf_free(&small);
    }
}
END_TEST

/* The model is one flat array. */
START_TEST(any_course_of_appends_and_consumes_keeps_the_bytes_in_order)
{
    struct rng rng;
    rng_seed(&rng, test_seed("buf"));
    enum { CAP = 3000 };
    char model[CAP];
    size_t len = 0;
    struct buf buf = { .bytes_max = CAP };
    for (unsigned step = 0; step < 20000; step++) {
        char bytes[700];
        size_t n = rng_below(&rng, sizeof bytes);
        if (rng_below(&rng, 2)) {
            for (size_t i = 0; i < n; i++)
                bytes[i] = (char)rng_next(&rng);
            bool fits = len + n <= CAP;
            ck_assert(buf_append(&buf, slice_of(bytes, n)) == fits);
            if (fits) {
                memcpy(model + len, bytes, n);
                len += n;
            }
        } else {
            n = MIN_OF(n, len);
            buf_consume(&buf, n);
            memmove(model, model + n, len - n);
            len -= n;
        }
        ck_assert(slice_eq(buf_slice(&buf), slice_of(model, len)));
        ck_assert_uint_le(buf.room, 8192);
    }
    buf_free(&buf);
}
END_TEST

int main(void)
{
    Suite *suite = SUITE_OF("buf", appending_nothing_to_an_empty_buffer_succeeds,
                            a_cap_is_met_exactly_and_never_passed,
                            printf_meets_the_cap_exactly_for_short_and_long_texts,
                            a_size_that_cannot_exist_is_refused, numbers_are_appended_in_full_range,
                            any_course_of_appends_and_consumes_keeps_the_bytes_in_order);
    TCase *json = tcase_create("json");
    tcase_set_timeout(json, 0);
    tcase_add_loop_test(json, json_strings_are_well_formed_whatever_goes_in, 0,
                        ARRAY_LEN(json_cases));
    suite_add_tcase(suite, json);
    return check_main(suite);
}
