#include "engine/message/template_file.h"

#include "engine/message/content.h"
#include "tests/support/check_main.h"

static const struct {
    struct slice text, html;
    const char *json;
} good[] = {
    { SLICE("From: a@x.example\nSubject: Hi {{name}}\n\nDear {{name}},\n\nbye\n"),
      { 0 },
      "{\"headers\":[[\"From\",\"a@x.example\"],[\"Subject\",\"Hi {{name}}\"]],\"text\":\"Dear "
      "{{name}},\\n\\nbye\\n\"}" },
    { SLICE("From: a@x.example\r\nSubject: a\r\n  b\r\n\tc\r\n\r\nx\r\n"),
      { 0 },
      "{\"headers\":[[\"From\",\"a@x.example\"],[\"Subject\",\"a b c\"]],\"text\":\"x\\r\\n\"}" },
    { SLICE("\xef\xbb\xbf"
            "From: a@x.example\n\n"),
      { 0 },
      "{\"headers\":[[\"From\",\"a@x.example\"]],\"text\":\"\"}" },
    { SLICE("From: a@x.example"),
      { 0 },
      "{\"headers\":[[\"From\",\"a@x.example\"]],\"text\":\"\"}" },
    { SLICE("From: a@x.example\n\n \n"), SLICE("<p>"),
      "{\"headers\":[[\"From\",\"a@x.example\"]],\"html\":\"<p>\"}" },
    { SLICE("From: a@x.example\n\nx"), SLICE(""),
      "{\"headers\":[[\"From\",\"a@x.example\"]],\"text\":\"x\",\"html\":\"\"}" },
    { SLICE("From: a@x.example\nX-Empty:\n\nx"),
      { 0 },
      "{\"headers\":[[\"From\",\"a@x.example\"],[\"X-Empty\",\"\"]],\"text\":\"x\"}" },
};

START_TEST(a_template_file_becomes_a_content_that_compiles)
{
    struct buf json = BUF_EMPTY;
    struct err err;
    ck_assert_msg(template_file_content(good[_i].text, good[_i].html, &json, &err), "%s", err.text);
    ck_assert_str_eq(buf_cstr(&json), good[_i].json);
    struct message_content *content;
    ck_assert_msg(message_content_compile(&content, buf_slice(&json), NULL, &err), "%s", err.text);
    message_content_destroy(&content);
    buf_free(&json);
}
END_TEST

static const struct {
    struct slice text, html;
    const char *words;
} bad[] = {
    { SLICE("Hello,\nthis is no header\n"), { 0 }, "template: line 1: not a header" },
    { SLICE("From: a@x.example\n folded\nHello\n"), { 0 }, "template: line 3: not a header" },
    { SLICE(" From: a@x.example\n"), { 0 }, "template: line 1: a header can't begin with a blank" },
    { SLICE(": a@x.example\n"), { 0 }, "template: line 1: not a header" },
    { SLICE("From: a@x.example\n\n\xff"), { 0 }, "template, line 3: not valid UTF-8" },
    { SLICE("From: a\0\n\n"), { 0 }, "template, line 1: a NUL" },
    { SLICE("From: a\n\n"), SLICE("\n\xc3"), "html, line 2: not valid UTF-8" },
};

START_TEST(a_bad_template_file_is_refused_with_the_line)
{
    struct buf json = BUF_EMPTY;
    struct err err = { 0 };
    ck_assert(!template_file_content(bad[_i].text, bad[_i].html, &json, &err));
    ck_assert_msg(strstr(err.text, bad[_i].words) != NULL, "%s", err.text);
    ck_assert_uint_eq(json.len, 0);
    buf_free(&json);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("template_file");
    TCase *table = tcase_create("tables");
    tcase_set_timeout(table, 0);
    tcase_add_loop_test(table, a_template_file_becomes_a_content_that_compiles, 0, ARRAY_LEN(good));
    tcase_add_loop_test(table, a_bad_template_file_is_refused_with_the_line, 0, ARRAY_LEN(bad));
    suite_add_tcase(suite, table);
    return check_main(suite);
}
