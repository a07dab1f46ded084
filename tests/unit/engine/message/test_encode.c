#include "engine/message/encode.h"

#include <stdlib.h>

#include "tests/support/check_main.h"

static const struct {
    struct slice in;
    enum qp_escape escape;
    const char *out;
} qp[] = {
    { SLICE(""), QP_TEXT, "" },
    { SLICE("plain text"), QP_TEXT, "plain text" },
    { SLICE("a=b"), QP_TEXT, "a=3Db" },
    { SLICE("gr\xc3\xbc\xc3\x9f"), QP_TEXT, "gr=C3=BC=C3=9F" },
    { SLICE("a\nb\r\nc\rd"), QP_TEXT, "a\r\nb\r\nc\r\nd" },
    { SLICE("a \nb\t\r\n"), QP_TEXT, "a=20\r\nb=09\r\n" },
    { SLICE(".a\n.\n..b"), QP_TEXT, "=2Ea\r\n=2E\r\n=2E.b" },
    { SLICE("From here\nFrom"), QP_TEXT, "=46rom here\r\n=46rom" },
    { SLICE("Frau\nFor"), QP_TEXT, "Frau\r\nFor" },
    { SLICE("<a href=\"x\">&'</a>"), QP_TEXT, "<a href=3D\"x\">&'</a>" },
    { SLICE("<a href=\"x\">&'</a>"), QP_HTML, "&lt;a href=3D&#34;x&#34;&gt;&amp;&#39;&lt;/a&gt;" },
    { SLICE("a\0b\x1b\x7f"), QP_TEXT, "a=EF=BF=BDb=1B=7F" },
    { SLICE("\xff\xc3 \xed\xa0\x80"), QP_TEXT, "=EF=BF=BD=EF=BF=BD =EF=BF=BD=EF=BF=BD=EF=BF=BD" },
};

START_TEST(quoted_printable_is_as_the_table_says)
{
    char out[512];
    struct qp_state state = { 0 };
    struct slice in = qp[_i].in;
    size_t len = qp_encode(&state, &in, out, sizeof out, qp[_i].escape);
    ck_assert_uint_eq(in.len, 0);
    ck_assert_msg(slice_eq(slice_of(out, len), slice_str(qp[_i].out)), "%.*s", (int)len, out);
    ck_assert_uint_le(len, qp_bytes_max(qp[_i].in));
}
END_TEST

static void check_lines(struct slice text, size_t columns)
{
    while (text.len > 0) {
        ptrdiff_t end = slice_find(text, '\n');
        size_t len = end < 0 ? text.len : (size_t)end - 1;
        ck_assert_msg(len <= columns, "a line of %zu: %.*s", len, (int)len, text.ptr);
        ck_assert(len == 0 || (text.ptr[0] != '.' && text.ptr[len - 1] != ' '));
        text = slice_skip(text, end < 0 ? text.len : (size_t)end + 1);
    }
}

START_TEST(no_line_is_longer_than_76_wherever_the_output_is_cut)
{
    static const char *const units[] = { "a", ".",    " ", "F",    "\xc3\xbc", "\xf0\x9f\x8e\x89",
                                         "=", "\xff", "&", "word " };
    for (size_t u = 0; u < ARRAY_LEN(units); u++) {
        struct buf text = BUF_EMPTY, whole = BUF_EMPTY;
        for (int i = 0; i < 400; i++)
            buf_append(&text, slice_str(units[u]));
        for (size_t room = QP_ROOM_MIN; room < 200; room += 13) {
            struct qp_state state = { 0 };
            struct slice in = buf_slice(&text);
            buf_clear(&whole);
            while (in.len > 0) {
                char *at = buf_reserve(&whole, room);
                buf_grow(&whole, qp_encode(&state, &in, at, room, QP_HTML));
            }
            struct slice made = buf_slice(&whole);
            while (state.blank && made.len > 0 && made.ptr[made.len - 1] == ' ')
                made.len--; /* who ends this line adds a soft break */
            check_lines(made, 76);
            ck_assert_uint_le(whole.len, qp_bytes_max(buf_slice(&text)));
        }
        buf_free(&text);
        buf_free(&whole);
    }
}
END_TEST

START_TEST(encoded_words_are_short_and_hold_whole_characters)
{
    struct buf text = BUF_EMPTY, out = BUF_EMPTY;
    for (int i = 0; i < 200; i++)
        buf_append(&text, i % 3 ? SLICE("\xf0\x9f\x8e\x89") : SLICE("x y"));
    for (size_t start = 1; start < 80; start++) {
        size_t column = start;
        buf_clear(&out);
        encoded_words_append(&out, &column, buf_slice(&text));
        struct slice rest = buf_slice(&out);
        for (size_t at = start; rest.len > 0; at = 0) {
            ptrdiff_t end = slice_find(rest, '\n');
            size_t len = end < 0 ? rest.len : (size_t)end - 1;
            ck_assert(len == 0 || at + len <= 76);
            struct slice word = slice_trim(slice_head(rest, len));
            ck_assert_uint_le(word.len, ENCODED_WORD_BYTES_MAX);
            if (slice_starts_with(
                    word, SLICE("=?utf-8?b?"))) { /* whole characters: no word begins inside one */
                struct buf raw = BUF_EMPTY;
                ck_assert(base64_decode(slice_of(word.ptr + 10, word.len - 12), &raw));
                ck_assert_int_ne((unsigned char)raw.data[0] & 0xc0, 0x80);
                buf_free(&raw);
            }
            rest = slice_skip(rest, end < 0 ? rest.len : (size_t)end + 1);
        }
    }
    buf_free(&text);
    buf_free(&out);
}
END_TEST

START_TEST(mostly_ascii_is_readable_and_the_rest_is_base64)
{
    struct buf out = BUF_EMPTY;
    size_t column = 10;
    encoded_words_append(&out, &column,
                         SLICE("Gr\xc3\xbc\xc3\x9f"
                               "e aus Berlin, Hauptbahnhof"));
    ck_assert(slice_starts_with(buf_slice(&out), SLICE(" =?utf-8?q?Gr=C3=BC=C3=9Fe_aus_Berlin")));
    ck_assert_uint_eq(column, 10 + out.len);
    buf_clear(&out);
    column = 10;
    encoded_words_append(&out, &column, SLICE("\xe4\xbd\xa0\xe5\xa5\xbd"));
    ck_assert(slice_eq(buf_slice(&out), SLICE(" =?utf-8?b?5L2g5aW9?=")));
    buf_free(&out);
}
END_TEST

static const struct {
    const char *in, *out; /* out NULL: refused */
} base64[] = {
    { "", "" },
    { "YQ==", "a" },
    { "YWI=", "ab" },
    { "YWJj", "abc" },
    { "YW\r\nJj\n", "abc" },
    { "YQ", "a" },
    { "YWI", "ab" },
    { "Y", NULL },
    { "Y===", NULL },
    { "YQ=a", NULL },
    { "Y-Jj", NULL },
    { "YWJj=", NULL },
    { "YWJjZGVmZ2g=", "abcdefgh" },
};

START_TEST(base64_is_decoded_or_refused)
{
    struct buf out = BUF_EMPTY;
    bool ok = base64_decode(slice_str(base64[_i].in), &out);
    ck_assert_int_eq(ok, base64[_i].out != NULL);
    if (ok)
        ck_assert(slice_eq(buf_slice(&out), slice_str(base64[_i].out)));
    buf_free(&out);
}
END_TEST

START_TEST(clean_text_has_no_controls_and_is_utf8)
{
    struct buf out = BUF_EMPTY;
    ck_assert(clean_text_append(&out, SLICE("a\r\nb\0c\x7f\xff\xc3\xbc.")));
    ck_assert(slice_eq(buf_slice(&out), SLICE("a  b c \xef\xbf\xbd\xc3\xbc.")));
    out.bytes_max = 16;
    ck_assert(!clean_text_append(&out, SLICE("too long for what is left")));
    buf_free(&out);
}
END_TEST

int main(void)
{
    Suite *suite = SUITE_OF("encode", no_line_is_longer_than_76_wherever_the_output_is_cut,
                            encoded_words_are_short_and_hold_whole_characters,
                            mostly_ascii_is_readable_and_the_rest_is_base64,
                            clean_text_has_no_controls_and_is_utf8);
    TCase *table = tcase_create("tables");
    tcase_set_timeout(table, 0);
    tcase_add_loop_test(table, quoted_printable_is_as_the_table_says, 0, ARRAY_LEN(qp));
    tcase_add_loop_test(table, base64_is_decoded_or_refused, 0, ARRAY_LEN(base64));
    suite_add_tcase(suite, table);
    return check_main(suite);
}
