/* What compiles and what doesn't, with the words of the refusal. */
#include "engine/message/content.h"

#include "engine/base/buf.h"
#include "tests/support/check_main.h"

#define FROM "\"From\": \"news@shop.example\""

static const struct {
    const char *json, *words;
} refused[] = {
    { "", "JSON" },
    { "[]", "not a JSON object" },
    { "{\"headers\": {", "JSON, line 1" },
    { "{\"headers\": {" FROM "}}", "neither \"text\" nor \"html\"" },
    { "{\"headers\": {" FROM "}, \"txt\": \"\"}", "unknown key \"txt\"" },
    { "{\"text\": \"\"}", "\"headers\" is not" },
    { "{\"headers\": \"From: x\", \"text\": \"\"}", "\"headers\" is not" },
    { "{\"headers\": [[\"From\"]], \"text\": \"\"}", "header 1 is not" },
    { "{\"headers\": {\"Subject\": \"x\"}, \"text\": \"\"}", "no header From" },
    { "{\"headers\": {" FROM "}, \"text\": 1}", "\"text\" is not a string" },
    { "{\"headers\": {" FROM ", \"Subject\": 1}, \"text\": \"\"}",
      "header Subject: the value is not a string" },
    { "{\"headers\": {" FROM ", \"from\": \"a@b.example\"}, \"text\": \"\"}",
      "header from is there twice" },
    { "{\"headers\": [[\"Subject\", \"a\"], [\"SUBJECT\", \"b\"]], \"text\": \"\"}",
      "SUBJECT is there twice" },
    { "{\"headers\": {" FROM ", \"Message-ID\": \"<1@x>\"}, \"text\": \"\"}",
      "header Message-ID can't be given" },
    { "{\"headers\": {" FROM ", \"mime-version\": \"1.0\"}, \"text\": \"\"}", "can't be given" },
    { "{\"headers\": {" FROM ", \"Content-Type\": \"text/x\"}, \"text\": \"\"}", "can't be given" },
    { "{\"headers\": {" FROM ", \"Content-Transfer-Encoding\": \"8bit\"}, \"text\": \"\"}",
      "can't be given" },
    { "{\"headers\": {" FROM ", \"Bcc\": \"a@b.example\"}, \"text\": \"\"}",
      "header Bcc can't be given" },
    { "{\"headers\": {" FROM ", \"Return-Path\": \"<>\"}, \"text\": \"\"}", "can't be given" },
    { "{\"headers\": {" FROM ", \"\": \"x\"}, \"text\": \"\"}", "without a name" },
    { "{\"headers\": {" FROM ", \"X Y\": \"x\"}, \"text\": \"\"}",
      "a header's name has a character" },
    { "{\"headers\": {" FROM ", \".X\": \"x\"}, \"text\": \"\"}", "can't begin with a dot" },
    { "{\"headers\": {" FROM ", \"X:\": \"x\"}, \"text\": \"\"}",
      "a header's name has a character" },
    { "{\"headers\": {" FROM ", \"X\\r\\nBcc\": \"x\"}, \"text\": \"\"}",
      "a header's name has a character" },
    { "{\"headers\": {" FROM ", \"X-\xc3\xbc\": \"x\"}, \"text\": \"\"}",
      "a header's name has a character" },
    { "{\"headers\": {" FROM ", \"Subject\": \"a\\r\\nBcc: x@y.example\"}, \"text\": \"\"}",
      "header Subject, line 1, column 2: a line break" },
    { "{\"headers\": {" FROM ", \"Subject\": \"a\\n\"}, \"text\": \"\"}",
      "header Subject, line 1, column 2" },
    { "{\"headers\": {" FROM ", \"Subject\": \"a\\r{{x}}\"}, \"text\": \"\"}",
      "header Subject, line 1, column 2" },
    { "{\"headers\": {" FROM ", \"Subject\": \"a\\u0007\"}, \"text\": \"\"}",
      "a control character" },
    { "{\"headers\": {" FROM ", \"Subject\": \"\xc3\xbc {{x\"}, \"text\": \"\"}",
      "header Subject, line 1, column 3: '{{' without '}}'" },
    { "{\"headers\": {" FROM ", \"List-Id\": \"\xc3\xbc <x.example>\"}, \"text\": \"\"}",
      "must be plain ASCII" },
    { "{\"headers\": {\"From\": \"\"}, \"text\": \"\"}", "header From: an address is missing" },
    { "{\"headers\": {\"From\": \"Shop <news@shop.example\"}, \"text\": \"\"}", "'<' without '>'" },
    { "{\"headers\": {\"From\": \"Shop news@shop.example\"}, \"text\": \"\"}", "blank" },
    { "{\"headers\": {\"From\": \"\\\"Shop <news@shop.example>\"}, \"text\": \"\"}",
      "quotation mark" },
    { "{\"headers\": {\"From\": \"a@b.example,,c@d.example\"}, \"text\": \"\"}",
      "an address is missing" },
    { "{\"headers\": {\"From\": \"<a@b.example> x\"}, \"text\": \"\"}", "behind '>'" },
    { "{\"headers\": {\"From\": \"(x) a@b.example\"}, \"text\": \"\"}", "comments" },
    { "{\"headers\": {\"From\": \"group: a@b.example;\"}, \"text\": \"\"}", "':' outside" },
    { "{\"headers\": {\"From\": \"none:;\"}, \"text\": \"\"}", "':' outside" },
    { "{\"headers\": {\"From\": \"Shop <news@>\"}, \"text\": \"\"}",
      "header From: \"news@\": no domain" },
    { "{\"headers\": {" FROM ", \"Sender\": \"a@b.example, c@d.example\"}, \"text\": \"\"}",
      "only one address" },
    { "{\"headers\": {" FROM "}, \"text\": \"a\\nb\\r\\n  {{#if}}\"}",
      "text, line 3, column 3: only {{field}}" },
    { "{\"headers\": {" FROM "}, \"text\": \"\xf0\x9f\x8e\x89{{}}\"}",
      "text, line 1, column 2: '{{}}' without" },
    { "{\"headers\": {" FROM "}, \"html\": \"{{>x}}\"}", "html, line 1, column 1: only {{field}}" },
    { "{\"headers\": {" FROM "}, \"html\": \"{{{x}}}\"}", "'{{{' is not supported" },
    { "{\"headers\": {" FROM "}, \"html\": \"{{a b}}\"}", "not a field name" },
    { "{\"headers\": {" FROM "}, \"html\": \"{{1a}}\"}", "not a field name" },
    { "{\"headers\": {" FROM "}, \"html\": \"{{\xc3\xbc}}\"}", "not a field name" },
    { "{\"headers\": {" FROM "}, \"html\": \"{{a}\"}", "'{{' without '}}'" },
    { "{\"headers\": {" FROM "}, \"html\": \"{{\"}", "'{{' without '}}'" },
    { "{\"raw\": \"From: a@b.example\\n\\nx\", \"text\": \"\"}", "unknown key \"text\"" },
    { "{\"raw\": \"x\", \"raw_base64\": \"eA==\"}", "both" },
    { "{\"raw_base64\": \"*\"}", "not base64" },
    { "{\"raw\": 5}", "not a string" },
};

START_TEST(a_bad_content_is_refused_with_the_place_and_the_reason)
{
    struct message_content *content;
    struct err err = { 0 };
    ck_assert(!message_content_compile(&content, slice_str(refused[_i].json), NULL, &err));
    ck_assert_ptr_null(content);
    ck_assert_int_eq(err.kind, ERR_INPUT);
    ck_assert_msg(strstr(err.text, refused[_i].words) != NULL, "case %d: %s", _i, err.text);
}
END_TEST

START_TEST(fields_are_listed_in_order_of_first_appearance_without_email)
{
    struct message_content *content;
    struct err err;
    struct slice json =
        SLICE("{\"html\": \"{{z}} {{b}}\", \"text\": \"{{ c }}{{a}}{{email}}{{\\td.e-f_1}}\", "
              "\"headers\": "
              "{\"To\": \"{{name}} <{{email}}>\", \"From\": \"{{b}} <x@y.example>\"}}");
    ck_assert_msg(message_content_compile(&content, json, NULL, &err), "%s", err.text);
    size_t count;
    const struct slice *names = message_content_fields(content, &count);
    static const char *const expected[] = { "name", "b", "c", "a", "d.e-f_1", "z" };
    ck_assert_uint_eq(count, ARRAY_LEN(expected));
    for (size_t i = 0; i < count; i++)
        ck_assert(slice_eq(names[i], slice_str(expected[i])));
    message_content_destroy(&content);
    ck_assert_ptr_null(content);
}
END_TEST

START_TEST(limits_are_kept)
{
    struct message_content *content;
    struct err err;
    struct slice json = SLICE("{\"headers\": {" FROM "}, \"text\": \"{{a}}{{b}}{{c}}\"}");
    ck_assert(!message_content_compile(&content, json, &(struct message_limits){ .fields_max = 2 },
                                       &err));
    ck_assert(strstr(err.text, "text, line 1, column 11"));
    ck_assert(!message_content_compile(&content, json,
                                       &(struct message_limits){ .content_bytes_max = 20 }, &err));
    ck_assert(strstr(err.text, "more than the 20 allowed"));
    ck_assert(
        message_content_compile(&content, json, &(struct message_limits){ .fields_max = 3 }, &err));
    message_content_destroy(&content);
}
END_TEST

START_TEST(thousands_of_different_fields_are_counted_once_each)
{
    struct buf json = BUF_EMPTY;
    buf_append(&json, SLICE("{\"headers\": {" FROM "}, \"text\": \""));
    for (int i = 0; i < 6000; i++)
        buf_printf(&json, "{{f%d}}", i % 3000);
    buf_append(&json, SLICE("\"}"));
    struct message_content *content;
    struct err err;
    ck_assert(message_content_compile(&content, buf_slice(&json),
                                      &(struct message_limits){ .fields_max = 3000 }, &err));
    size_t count;
    const struct slice *names = message_content_fields(content, &count);
    ck_assert_uint_eq(count, 3000);
    ck_assert(slice_eq(names[2999], SLICE("f2999")));
    message_content_destroy(&content);
    buf_free(&json);
}
END_TEST

int main(void)
{
    Suite *suite = SUITE_OF("content", fields_are_listed_in_order_of_first_appearance_without_email,
                            limits_are_kept, thousands_of_different_fields_are_counted_once_each);
    TCase *table = tcase_create("tables");
    tcase_set_timeout(table, 0);
    tcase_add_loop_test(table, a_bad_content_is_refused_with_the_place_and_the_reason, 0,
                        ARRAY_LEN(refused));
    suite_add_tcase(suite, table);
    return check_main(suite);
}
