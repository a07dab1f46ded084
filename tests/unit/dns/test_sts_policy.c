/* MTA-STS policies and records, TLS-RPT records: tables of texts. */
#include <stdio.h>
#include <stdlib.h>

#include "dns/rpt_record.h"
#include "dns/sts_policy.h"
#include "tests/support/check_main.h"

#define HEAD "version: STSv1\r\n"

static const struct {
    const char *text;
    enum sts_mode mode;
    uint32_t max_age_s;
    unsigned mx;
    const char *wrong; /* NULL: it's right */
} policies[] = {
    { HEAD "mode: enforce\r\nmx: a.test\r\nmx: *.b.test\r\nmax_age: 604800\r\n", STS_ENFORCE,
      604800, 2, NULL },
    { "version: STSv1\nmode: testing\nmx: a.test\nmax_age: 1", STS_TESTING, 1, 1, NULL },
    { HEAD "mode: none\r\nmax_age: 86400\r\n", STS_NONE, 86400, 0, NULL },
    { HEAD "mode:enforce  \r\nmx:\tA.Test \r\nmax_age: 99999999999\r\n", STS_ENFORCE, STS_AGE_MAX_S,
      1, NULL },
    { HEAD "mode: enforce\r\nfuture: x\r\nmode: none\r\nmx: a.test\r\nmax_age: 5\r\n", STS_ENFORCE,
      5, 1, NULL },
    { HEAD "mode: enforce\r\n\r\nmx: xn--bcher-kva.test\r\nmax_age: 5", STS_ENFORCE, 5, 1, NULL },
    { "", 0, 0, 0, "empty" },
    { "<html>", 0, 0, 0, "line 1 isn't \"key: value\"" },
    { "mode: enforce\r\nversion: STSv1\r\n", 0, 0, 0, "the first line isn't \"version: STSv1\"" },
    { "version: STSv2\r\nmode: none\r\nmax_age: 5", 0, 0, 0,
      "the first line isn't \"version: STSv1\"" },
    { HEAD "mode: strict\r\nmx: a.test\r\nmax_age: 5", 0, 0, 0,
      "'mode' isn't enforce, testing or none" },
    { HEAD "mode: enforce\r\nmx: a.test\r\n", 0, 0, 0, "'max_age' isn't a number of seconds" },
    { HEAD "mode: enforce\r\nmx: a.test\r\nmax_age: -1", 0, 0, 0,
      "'max_age' isn't a number of seconds" },
    { HEAD "mode: enforce\r\nmax_age: 5", 0, 0, 0, "no 'mx'" },
    { HEAD "mode: enforce\r\nmx: *\r\nmax_age: 5", 0, 0, 0,
      "mx '*' isn't a host name or \"*.\" and one" },
    { HEAD "mode: enforce\r\nmx: a.*.test\r\nmax_age: 5", 0, 0, 0,
      "mx 'a.*.test' isn't a host name or \"*.\" and one" },
    { HEAD "mode: enforce\r\nmx: 192.0.2.1\r\nmax_age: 5", 0, 0, 0,
      "mx '192.0.2.1' isn't a host name or \"*.\" and one" },
    { HEAD "no colon\r\n", 0, 0, 0, "line 2 isn't \"key: value\"" },
};

START_TEST(a_policy_is_read_or_refused_with_the_reason)
{
    struct err err;
    struct sts_policy *policy = sts_policy_parse(slice_str(policies[_i].text), &err);
    if (policies[_i].wrong) {
        ck_assert_ptr_null(policy);
        ck_assert_str_eq(err.text, policies[_i].wrong);
        return;
    }
    ck_assert_msg(policy, "%s", err.text);
    ck_assert_int_eq(policy->mode, policies[_i].mode);
    ck_assert_uint_eq(policy->max_age_s, policies[_i].max_age_s);
    ck_assert_uint_eq(policy->mx_count, policies[_i].mx);
    free(policy);
}
END_TEST

START_TEST(a_policy_of_any_size_is_bounded)
{
    struct err err;
    size_t len = STS_TEXT_MAX + 1;
    char *text = calloc(1, len + 1);
    memset(text, '\n', len);
    memcpy(text, HEAD, strlen(HEAD));
    ck_assert_ptr_null(sts_policy_parse(slice_of(text, len), &err));
    for (size_t at = strlen(HEAD); at + 8 < len; at += 8)
        memcpy(text + at, "mx: a.b\n", 8);
    ck_assert_ptr_null(sts_policy_parse(slice_of(text, STS_TEXT_MAX), &err));
    ck_assert_str_eq(err.text, "more than 100 mx patterns");
    free(text);
}
END_TEST

/* RFC 8461, 4.1: a wildcard stands for one label, on the left. */
static const struct {
    const char *host;
    bool allowed;
} hosts[] = {
    { "mx.example.test", true },    { "a.wild.test", true },   { "wild.test", false },
    { "a.b.wild.test", false },     { "example.test", false }, { "amx.example.test", false },
    { "mx.example.test.x", false }, { "xwild.test", false },
};

START_TEST(patterns_fit_whole_names)
{
    struct err err;
    struct sts_policy *policy = sts_policy_parse(
        SLICE(HEAD "mode: enforce\nmx: MX.example.test\nmx: *.wild.test\nmax_age: 9"), &err);
    ck_assert_ptr_nonnull(policy);
    ck_assert(sts_policy_allows(policy, slice_str(hosts[_i].host)) == hosts[_i].allowed);
    free(policy);
}
END_TEST

static const struct {
    const char *text, *id; /* NULL: not a record */
} records[] = {
    { "v=STSv1; id=20160831085700Z;", "20160831085700Z" },
    { "v=STSv1;id=1", "1" },
    { "v=STSv1 ; future=x; id=abc ;", "abc" },
    { "v=STSv1; id=", NULL },
    { "v=STSv1; id=a b;", NULL },
    { "v=STSv1; id=a-b;", NULL },
    { "v=STSv1;", NULL },
    { "v=STSv1; id=1; id=2", NULL },
    { "v=STSv11; id=1", NULL },
    { "id=1; v=STSv1", NULL },
    { "v=spf1 -all", NULL },
    { "v=STSv1; id=123456789012345678901234567890123", NULL },
};

START_TEST(a_record_has_one_id)
{
    char id[STS_ID_MAX + 1] = "";
    bool found = sts_record_parse(slice_str(records[_i].text), id);
    ck_assert(found == (records[_i].id != NULL));
    if (found)
        ck_assert_str_eq(id, records[_i].id);
}
END_TEST

static const struct {
    const char *text;
    const char *uris; /* joined by blanks */
} reports[] = {
    { "v=TLSRPTv1; rua=mailto:reports@example.com", "mailto:reports@example.com" },
    { "v=TLSRPTv1;rua=https://r.example.com/v1, mailto:a@b.test;",
      "https://r.example.com/v1 mailto:a@b.test" },
    { "v=TLSRPTv1; rua=ftp://x, mailto:a@b.test", "mailto:a@b.test" },
    { "v=TLSRPTv1; rua=mailto:", "" },
    { "v=TLSRPTv1; rua=http://r.test/", "" },
    { "v=TLSRPTv1; rua=mailto:a@b.test\r\nX: y", "" },
    { "v=TLSRPTv1; rua=mailto:a@b; rua=mailto:c@d", "" },
    { "v=TLSRPTv2; rua=mailto:a@b.test", "" },
    { "v=TLSRPTv1", "" },
};

START_TEST(a_report_record_has_addresses)
{
    struct rpt_record record;
    bool found = rpt_record_parse(slice_str(reports[_i].text), &record);
    char uris[256] = "";
    for (unsigned i = 0; found && i < record.count; i++)
        snprintf(uris + strlen(uris), sizeof uris - strlen(uris), "%s%.*s", i ? " " : "",
                 SLICE_FMT(record.uris[i]));
    ck_assert_str_eq(uris, reports[_i].uris);
}
END_TEST

int main(void)
{
    Suite *suite = SUITE_OF("sts_policy", a_policy_of_any_size_is_bounded);
    TCase *tcase = tcase_create("tables");
    tcase_add_loop_test(tcase, a_policy_is_read_or_refused_with_the_reason, 0,
                        (int)ARRAY_LEN(policies));
    tcase_add_loop_test(tcase, patterns_fit_whole_names, 0, (int)ARRAY_LEN(hosts));
    tcase_add_loop_test(tcase, a_record_has_one_id, 0, (int)ARRAY_LEN(records));
    tcase_add_loop_test(tcase, a_report_record_has_addresses, 0, (int)ARRAY_LEN(reports));
    suite_add_tcase(suite, tcase);
    return check_main(suite);
}
