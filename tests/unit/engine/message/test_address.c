#include "engine/message/address.h"

#include "tests/support/check_main.h"

#define TEN "aaaaaaaaaa"
#define SIXTY TEN TEN TEN TEN TEN TEN

static const struct {
    const char *text, *local, *domain;
    bool utf8;
} good[] = {
    { "anna@example.org", "anna", "example.org", false },
    { "Anna.Lena@Example.ORG", "Anna.Lena", "Example.ORG", false },
    { "a!#$&'*+-/=?^_`{|}~b@x.example", "a!#$&'*+-/=?^_`{|}~b", "x.example", false },
    { "a@b", "a", "b", false },
    { "1@1.de", "1", "1.de", false },
    { "a@xn--bcher-kva.example", "a", "xn--bcher-kva.example", false },
    { "a@b\xc3\xbc"
      "cher.example",
      "a",
      "b\xc3\xbc"
      "cher.example",
      false },
    { "j\xc3\xb6rg@example.org", "j\xc3\xb6rg", "example.org", true },
    { "\xe7\x94\xa8\xe6\x88\xb7@\xe4\xbe\x8b\xe5\xad\x90.\xe5\xb9\xbf\xe5\x91\x8a",
      "\xe7\x94\xa8\xe6\x88\xb7", "\xe4\xbe\x8b\xe5\xad\x90.\xe5\xb9\xbf\xe5\x91\x8a", true },
    { "\"a@b\"@c", "\"a@b\"", "c", false },
    { "\"a@b.example\"@real.example", "\"a@b.example\"", "real.example", false },
    { "\"a\\\"@evil.example\\\"b\"@real.example", "\"a\\\"@evil.example\\\"b\"", "real.example",
      false },
    { "\"a..b\"@c.example", "\"a..b\"", "c.example", false },
    { "\"\"@c.example", "\"\"", "c.example", false },
    { SIXTY "aaaa@c.example", SIXTY "aaaa", "c.example", false },
    { "a@" SIXTY "aaa.example", "a", SIXTY "aaa.example", false },
};

START_TEST(a_good_address_is_split_at_the_right_at_sign)
{
    struct address address;
    struct err err;
    bool ok = address_parse(slice_str(good[_i].text), &address, &err);
    ck_assert_msg(ok, "%s: %s", good[_i].text, err.text);
    ck_assert(slice_eq(address.local, slice_str(good[_i].local)));
    ck_assert(slice_eq(address.domain, slice_str(good[_i].domain)));
    ck_assert_int_eq(address.utf8, good[_i].utf8);
}
END_TEST

#define BAD(literal, words)                                                                        \
    {                                                                                              \
        { "" literal, sizeof(literal) - 1 }, words                                                 \
    }
static const struct {
    struct slice text;
    const char *words;
} bad[] = {
    BAD("", "empty"),
    BAD("anna", "no '@'"),
    BAD("@example.org", "nothing before"),
    BAD("anna@", "no domain"),
    BAD("a@b@c.example", "more than one '@'"),
    BAD("a b@c.example", "blank"),
    BAD(" a@c.example", "blank"),
    BAD("a@c.example ", "blank"),
    BAD("a\t@c.example", "blank"),
    BAD("\"a b\"@c.example", "blank"),
    BAD("a@c.example\r\nRCPT TO:<x@y>", "line break"),
    BAD("a\n@c.example", "line break"),
    BAD("\"a\r\"@c.example", "line break"),
    BAD("a\0@c.example", "control character"),
    BAD("\"a\0\"@c.example", "control character"),
    BAD("a\x7f@c.example", "control character"),
    BAD("<a@c.example>", "'<'"),
    BAD("a@c.example>", "'>'"),
    BAD("\"<\"@c.example", "'<'"),
    BAD("a..b@c.example", "two dots"),
    BAD(".a@c.example", "begins with a dot"),
    BAD("a.@c.example", "ends in a dot"),
    BAD("a,b@c.example", "','"),
    BAD("a(comment)@c.example", "'('"),
    BAD("a\\b@c.example", "'\\'"),
    BAD("a\"b@c.example", "'\"'"),
    BAD("a%b@c.example", "routing"),
    BAD("@relay.example:a@c.example", "source routes"),
    BAD("\"a@c.example", "isn't closed"),
    BAD("\"a\\\"@c.example", "isn't closed"),
    BAD("\"a\"b@c.example", "behind the quoted"),
    BAD("\"a\"", "behind the quoted"),
    BAD("a@[10.0.0.1]", "IP addresses"),
    BAD("a@[IPv6:::1]", "IP addresses"),
    BAD("a@10.0.0.1", "top-level"),
    BAD("a@c.example:25", "port"),
    BAD("a@c..example", "empty part"),
    BAD("a@.example", "empty part"),
    BAD("a@c.example.", "empty part"),
    BAD("a@-c.example", "'-'"),
    BAD("a@c-.example", "'-'"),
    BAD("a@c_d.example", "'_'"),
    BAD("a@c.exa;mple", "';'"),
    BAD("a@" SIXTY "aaaa.example", "63"),
    BAD(SIXTY "aaaaa@c.example", "64"),
    BAD("a@" SIXTY "." SIXTY "." SIXTY "." SIXTY "." TEN, "254"),
    BAD("\xff@c.example", "UTF-8"),
    BAD("a@c\xc3.example", "UTF-8"),
    BAD("a\xe2\x80\x8b@c.example", "invisible"),
    BAD("a\xc2\xa0@c.example", "invisible"),
    BAD("a\xc2\x85@c.example", "invisible"),
    BAD("\xef\xbb\xbf"
        "a@c.example",
        "invisible"),
    BAD("a@c\xe2\x80\xae.example", "invisible"),
    BAD("a@b\xef\xbc\xa0"
        "c.example",
        "internationalised"), /* a full-width '@' */
    BAD("a@\xe2\x98\xa3-.example", "'-'"),
};

START_TEST(a_bad_address_is_refused_in_words)
{
    struct address address = { .local = SLICE("untouched") };
    struct err err = { 0 };
    ck_assert_msg(!address_parse(bad[_i].text, &address, &err), "accepted: %.*s",
                  SLICE_FMT(bad[_i].text));
    ck_assert_int_eq(err.kind, ERR_INPUT);
    ck_assert_msg(strstr(err.text, bad[_i].words) != NULL, "case %d: %s", _i, err.text);
    ck_assert(slice_eq(address.local, SLICE("untouched")));
}
END_TEST

START_TEST(a_domain_becomes_lower_case_a_labels)
{
    char out[256];
    size_t len = address_domain_ascii(SLICE("B\xc3\x9c"
                                            "CHER.Example"),
                                      out);
    ck_assert(slice_eq(slice_of(out, len), SLICE("xn--bcher-kva.example")));
    len = address_domain_ascii(SLICE("Example.ORG"), out);
    ck_assert(slice_eq(slice_of(out, len), SLICE("example.org")));
    ck_assert_uint_eq(address_domain_ascii(SLICE(""), out), 0);
    ck_assert_uint_eq(address_domain_ascii(SLICE("\xff.example"), out), 0);
}
END_TEST

int main(void)
{
    Suite *suite = SUITE_OF("address", a_domain_becomes_lower_case_a_labels);
    TCase *table = tcase_create("tables");
    tcase_set_timeout(table, 0);
    tcase_add_loop_test(table, a_good_address_is_split_at_the_right_at_sign, 0, ARRAY_LEN(good));
    tcase_add_loop_test(table, a_bad_address_is_refused_in_words, 0, ARRAY_LEN(bad));
    suite_add_tcase(suite, table);
    return check_main(suite);
}
