/* Raw messages: what is repaired, what is refused, and that the dots are stuffed. */
#include "engine/base/buf.h"
#include "engine/message/content.h"
#include "tests/support/check_main.h"

static bool compile_raw_json(struct message_content **content, struct slice raw, struct err *err)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    struct buf json = BUF_EMPTY;
    uint32_t bits = 0;
    unsigned have = 0;
    buf_append(&json, SLICE("{\"raw_base64\": \""));
    for (size_t i = 0; i < raw.len; i++) {
        bits = bits << 8 | (unsigned char)raw.ptr[i];
        for (have += 8; have >= 6; have -= 6)
            buf_append_char(&json, digits[bits >> (have - 6) & 63]);
    }
    if (have)
        buf_append_char(&json, digits[bits << (6 - have) & 63]);
    buf_append(&json, SLICE("\"}"));
    bool ok = message_content_compile(content, buf_slice(&json), NULL, err);
    buf_free(&json);
    return ok;
}

static struct slice rendered(const struct message_content *content, enum message_transfer transfer,
                             struct buf *into)
{
    struct message_recipient recipient = { .address = SLICE("a@x.example") };
    struct message_stamp stamp = { 951782400000, SLICE("17"), SLICE("x.example") };
    struct message_blocks *pool = message_blocks_create(1024, 1 << 20);
    struct message_output out;
    struct err err;
    ck_assert_msg(message_render(content, &recipient, &stamp, transfer, pool, &out, &err), "%s",
                  err.text);
    buf_clear(into);
    for (unsigned i = 0; i < out.iov_count; i++)
        buf_append(into, slice_of(out.iov[i].iov_base, out.iov[i].iov_len));
    message_output_release(&out);
    message_blocks_destroy(&pool);
    return buf_slice(into);
}

#define STAMP "Date: Tue, 29 Feb 2000 00:00:00 +0000\r\nMessage-ID: <17@x.example>\r\n"

static const struct {
    struct slice raw;
    const char *chunk, *data; /* data NULL: the same */
} good[] = {
    { SLICE("From: a@b\nDate: x\nMessage-ID: <y>\n\nbody"),
      "From: a@b\r\nDate: x\r\nMessage-ID: <y>\r\n\r\nbody\r\n", NULL },
    { SLICE("From: a@b\r\n\r\nbody\r\n"), STAMP "From: a@b\r\n\r\nbody\r\n", NULL },
    { SLICE("From: a@b\r\n"), STAMP "From: a@b\r\n\r\n", NULL },
    { SLICE("from: a@b\ndate: x\n\n"), "Message-ID: <17@x.example>\r\nfrom: a@b\r\ndate: x\r\n\r\n",
      NULL },
    { SLICE("From: a@b\r\n\r\na\rb\nc\r\r\nd\n\re"),
      STAMP "From: a@b\r\n\r\na\r\nb\r\nc\r\n\r\nd\r\n\r\ne\r\n", NULL },
    { SLICE("From: a@b\n\n.\n..\n.a\nb.\n\n."),
      STAMP "From: a@b\r\n\r\n.\r\n..\r\n.a\r\nb.\r\n\r\n.\r\n",
      STAMP "From: a@b\r\n\r\n..\r\n...\r\n..a\r\nb.\r\n\r\n..\r\n" },
    { SLICE("From: a@b\n\na\r.\rb\n.\rc\r.\nd"),
      STAMP "From: a@b\r\n\r\na\r\n.\r\nb\r\n.\r\nc\r\n.\r\nd\r\n",
      STAMP "From: a@b\r\n\r\na\r\n..\r\nb\r\n..\r\nc\r\n..\r\nd\r\n" },
    { SLICE(".x: dot\nFrom: a@b\n\n"), STAMP ".x: dot\r\nFrom: a@b\r\n\r\n",
      STAMP "..x: dot\r\nFrom: a@b\r\n\r\n" },
    { SLICE("From: a@b\nBcc: c@d,\n e@f\nreturn-path: <x@y>\nSubject: s\n t\n\nBcc: stays\n"),
      STAMP "From: a@b\r\nSubject: s\r\n t\r\n\r\nBcc: stays\r\n", NULL },
    { SLICE("From: a@b\n\nFrom: c\nTo: d\n"), STAMP "From: a@b\r\n\r\nFrom: c\r\nTo: d\r\n", NULL },
};

START_TEST(a_raw_message_is_repaired_and_stuffed)
{
    struct message_content *content;
    struct err err;
    struct buf into = BUF_EMPTY;
    ck_assert_msg(compile_raw_json(&content, good[_i].raw, &err), "%s", err.text);
    rendered(content, MESSAGE_CHUNK, &into);
    ck_assert_str_eq(buf_cstr(&into), good[_i].chunk);
    rendered(content, MESSAGE_DATA, &into);
    ck_assert_str_eq(buf_cstr(&into), good[_i].data ? good[_i].data : good[_i].chunk);
    size_t fields;
    message_content_fields(content, &fields);
    ck_assert_uint_eq(fields, 0);
    message_content_destroy(&content);
    buf_free(&into);
}
END_TEST

#define NINE "123456789"
#define NINETY NINE NINE NINE NINE NINE NINE NINE NINE NINE NINE
#define NINE_HUNDRED NINETY NINETY NINETY NINETY NINETY NINETY NINETY NINETY NINETY NINETY

static const struct {
    struct slice raw;
    const char *words;
} bad[] = {
    { SLICE(""), "no header From" },
    { SLICE("Subject: x\n\nFrom: a@b\n"), "no header From" },
    { SLICE("From: a@b\n\nx\0y"), "raw, line 3: a NUL" },
    { SLICE("From: a@b\0\n\n"), "raw, line 1: a NUL" },
    { SLICE("From: a@b\nno header\n\n"), "raw, line 2: not a header field" },
    { SLICE("From a@b Mon Jan 1\nFrom: a@b\n\n"), "raw, line 1: not a header field" },
    { SLICE("From: a@b\nSubject : x\n\n"), "raw, line 2: not a header field" },
    { SLICE("From: a@b\n: x\n\n"), "raw, line 2: not a header field" },
    { SLICE(" From: a@b\n\n"), "raw, line 1: begins with a blank" },
    { SLICE("From: a@b\n  \n\n"), "raw, line 2: a header line of blanks" },
    { SLICE("From: a@b\nfrom: c@d\n\n"), "raw, line 2: a second header From" },
    { SLICE("From: a@b\nMessage-ID: <1>\nmessage-id: <2>\n\n"),
      "raw, line 3: a second header Message-ID" },
    { SLICE("From: a@b\nSubject: \xfc\n\n"),
      "raw, line 2: a header with bytes that are not UTF-8" },
    { SLICE("From: a@b\n\n\n" NINE_HUNDRED NINETY NINE), "raw, line 4: longer than 998" },
};

START_TEST(what_cant_be_repaired_is_refused_with_the_line)
{
    struct message_content *content;
    struct err err = { 0 };
    ck_assert(!compile_raw_json(&content, bad[_i].raw, &err));
    ck_assert_msg(strstr(err.text, bad[_i].words) != NULL, "%s", err.text);
}
END_TEST

START_TEST(eight_bit_and_utf8_headers_are_noticed)
{
    static const struct {
        const char *raw;
        bool is_8bit, utf8;
    } cases[] = {
        { "From: a@b\n\nx", false, false },
        { "From: a@b\n\n\xfc", true, false },
        { "From: a@b\nSubject: \xc3\xbc\n\nx", true, true },
        { "From: a@b\nBcc: \xc3\xbc\n\nx", false, false },
    };
    struct message_recipient recipient = { .address = SLICE("a@x.example") };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct message_content *content;
        struct err err;
        ck_assert(compile_raw_json(&content, slice_str(cases[i].raw), &err));
        ck_assert_int_eq(message_is_8bit(content), cases[i].is_8bit);
        ck_assert_int_eq(message_needs_smtputf8(content, &recipient), cases[i].utf8);
        message_content_destroy(&content);
    }
}
END_TEST

START_TEST(a_line_of_998_octets_passes)
{
    struct message_content *content;
    struct err err;
    ck_assert(compile_raw_json(&content, SLICE("From: a@b\n\n" NINE_HUNDRED NINETY "12345678\r\n"),
                               &err));
    message_content_destroy(&content);
}
END_TEST

int main(void)
{
    Suite *suite =
        SUITE_OF("raw", eight_bit_and_utf8_headers_are_noticed, a_line_of_998_octets_passes);
    TCase *table = tcase_create("tables");
    tcase_set_timeout(table, 0);
    tcase_add_loop_test(table, a_raw_message_is_repaired_and_stuffed, 0, ARRAY_LEN(good));
    tcase_add_loop_test(table, what_cant_be_repaired_is_refused_with_the_line, 0, ARRAY_LEN(bad));
    suite_add_tcase(suite, table);
    return check_main(suite);
}
