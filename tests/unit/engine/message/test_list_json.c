#include "engine/message/list.h"

#include "tests/support/check_main.h"
#include "tests/unit/engine/message/list_harness.h"

static const struct {
    struct slice in;
    const char *out;
} cases[] = {
    { SLICE(""), "" },
    { SLICE("{\"email\": \"a@x.example\"}\n{\"to\": \"b@x.example\", \"n\": \"1\"}"),
      "1: a@x.example\n2: b@x.example n=1\n" },
    { SLICE("\xef\xbb\xbf{\"email\": \"a@x.example\"}\r\n\r\n  \n{\"to\": \"b@x.example\"}\r\n"),
      "1: a@x.example\n4: b@x.example\n" },
    { SLICE("{\"email\": \"a@x.example\", \"data\": {\"n\": \"1\", \"m\": 2}}\n"),
      "1: a@x.example n=1 m=2\n" },
    { SLICE("{\"email\": \"a@x.example\", \"data\": \"x\"}\n"), "1: a@x.example data=x\n" },
    { SLICE("{\"email\":\"a@x.example\",\"i\":-5,\"r\":0.25,\"t\":true,\"f\":false,\"z\":null}\n"),
      "1: a@x.example i=-5 r=0.25 t=true f=false z=\n" },
    { SLICE("{\"email\": \"a@x.example\", \"n\": \"\\u00fc\\n\"}\n"),
      "1: a@x.example n=\xc3\xbc\n\n" },
    { SLICE("{\"email\": \"a@x.example\", \"to\": \"t\"}\n"), "1: a@x.example to=t\n" },
    { SLICE("{\"n\": 1}\n{\"email\": 5}\n[]\n5\n{\"email\": \"a@x.example\"}\n"),
      "! line 1: no \"email\" or \"to\"\n! line 2: \"email\" is not a string\n! line 3: not a JSON "
      "object\n"
      "! line 4: JSON, column 1: '[' or '{' expected near '5'\n5: a@x.example\n" },
    { SLICE("{\"email\": \"a@x.example\", \"n\": []}\n{\"email\": \"a@x.example\", \"n\": {}}\n"),
      "! line 1: field \"n\" is a list\n! line 2: field \"n\" is an object\n" },
    { SLICE("{\"email\": \"a@x.example\", \"data\": {}, \"n\": 1}\n"),
      "! line 1: fields both in \"data\" and beside it\n" },
    { SLICE("{\"email\": \"a x@x.example\"}\n"),
      "! line 1: \"a x@x.example\": an address can't have a blank\n" },
    { SLICE("{\"a\":1,\"a\":2}\n{\"email\": \"a@x.example\"}\n"),
      "! line 1: JSON, column 10: duplicate object key near '\"a\"'\n2: a@x.example\n" },
    { SLICE("{\"email\": \"a@x.example\", \"n\": "
            "\"1234567890123456789012345678901234567890\"}\n{\"to\":\"b@x.example\"}\n"),
      "! line 1: longer than 64 bytes\n2: b@x.example\n" },
    { SLICE("{\"to\":\"b@x.example\",\"a\":1,\"b\":1,\"c\":1,\"d\":1,\"e\":1}\n"),
      "! line 1: more than 4 fields\n" },
};

START_TEST(rows_and_bad_rows_come_out_the_same_however_the_input_is_cut)
{
    struct buf out = BUF_EMPTY;
    const struct recipient_list_options options = {
        .format = RECIPIENT_LIST_JSON,
        .row_bytes_max = 64,
        .columns_max = 4,
    };
    const struct recipient_list_options wide = { .format = RECIPIENT_LIST_JSON };
    static const size_t steps[] = { 100000, 1, 2, 3, 7, 16 };
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        bool narrow = strstr(cases[_i].out, "longer") || strstr(cases[_i].out, "more than");
        list_transcribe(narrow ? &options : &wide, cases[_i].in, steps[i], &out);
        ck_assert_msg(slice_eq(buf_slice(&out), slice_str(cases[_i].out)), "case %d, step %zu:\n%s",
                      _i, steps[i], buf_cstr(&out));
    }
    buf_free(&out);
}
END_TEST

START_TEST(broken_utf8_and_nul_make_a_bad_row)
{
    struct buf out = BUF_EMPTY;
    list_transcribe(
        &(struct recipient_list_options){ .format = RECIPIENT_LIST_JSON },
        SLICE(
            "{\"to\":\"b@x.example\",\"a\":\"\xff\"}\n{\"to\":\"b@x.example\",\"a\":\"\\u0000\"}\n"
            "{\"to\":\"c@x.example\"}\n"),
        9, &out);
    const char *text = buf_cstr(&out);
    ck_assert_msg(strncmp(text, "! line 1: JSON", 14) == 0 && strstr(text, "! line 2: JSON") &&
                      strstr(text, "\n3: c@x.example\n"),
                  "%s", text);
    buf_free(&out);
}
END_TEST

int main(void)
{
    Suite *suite = SUITE_OF("list_json", broken_utf8_and_nul_make_a_bad_row);
    TCase *table = tcase_create("tables");
    tcase_set_timeout(table, 0);
    tcase_add_loop_test(table, rows_and_bad_rows_come_out_the_same_however_the_input_is_cut, 0,
                        ARRAY_LEN(cases));
    suite_add_tcase(suite, table);
    return check_main(suite);
}
