/* What is taken for a submission, and what is said about the rest. The table submissions.json is
 * shared with tests/unit/test_submission_schema.py, where an independent validator judges it by the
 * published schema. */
#include "queue/submission.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "engine/base/mem.h"
#include "engine/base/rng.h"
#include "tests/support/check_main.h"

#define ACCEPTED_MS INT64_C(1767225600000) /* 2026-01-01 00:00 UTC */

/* ---- msgpack, written the plainest way ---- */

static void big_endian(struct buf *out, uint64_t value, unsigned bytes)
{
    while (bytes-- > 0)
        buf_append_char(out, (char)(value >> (8 * bytes)));
}

static void msgpack_length(struct buf *out, int short_tag, int short_max, int tag, size_t n)
{
    if (n < (size_t)short_max) {
        buf_append_char(out, (char)(short_tag | (int)n));
    } else {
        buf_append_char(out, (char)tag);
        big_endian(out, n, 4);
    }
}

static void msgpack_write(struct buf *out, const json_t *value)
{
    const char *key;
    json_t *item;
    size_t i;
    double real;
    uint64_t bits;
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        msgpack_length(out, 0x80, 16, 0xdf, json_object_size(value));
        json_object_foreach((json_t *)value, key, item)
        {
            msgpack_length(out, 0xa0, 32, 0xdb, strlen(key));
            buf_append(out, slice_str(key));
            msgpack_write(out, item);
        }
        break;
    case JSON_ARRAY:
        msgpack_length(out, 0x90, 16, 0xdd, json_array_size(value));
        json_array_foreach(value, i, item) msgpack_write(out, item);
        break;
    case JSON_STRING:
        msgpack_length(out, 0xa0, 32, 0xdb, json_string_length(value));
        buf_append(out, slice_of(json_string_value(value), json_string_length(value)));
        break;
    case JSON_INTEGER:
        buf_append_char(out, (char)0xd3);
        big_endian(out, (uint64_t)json_integer_value(value), 8);
        break;
    case JSON_REAL:
        real = json_real_value(value);
        memcpy(&bits, &real, sizeof bits);
        buf_append_char(out, (char)0xcb);
        big_endian(out, bits, 8);
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        buf_append_char(out, (char)(json_is_true(value) ? 0xc3 : 0xc2));
        break;
    case JSON_NULL:
        buf_append_char(out, (char)0xc0);
        break;
    }
}

/* ---- the table ---- */

static json_t *table;

static void table_load(void)
{
    json_error_t error;
    table = json_load_file(EILPOST_SOURCE_DIR "/tests/unit/queue/submissions.json", 0, &error);
    ck_assert_msg(json_array_size(table) > 100, "%s", error.text);
}

static void table_free(void)
{
    json_decref(table);
}

/* All that is checked of a submission before it's queued. */
static bool judge(struct slice bytes, bool msgpack, struct submission_problem *problem)
{
    struct submission submission;
    if (!(msgpack ? submission_parse_msgpack(&submission, bytes, problem)
                  : submission_parse(&submission, bytes, problem)))
        return false;
    bool ok = submission.chunk || submission_schedule(&submission, ACCEPTED_MS, 345600, problem);
    struct buf record = BUF_EMPTY;
    for (size_t i = 0; ok && i < json_array_size(submission.recipients); i++) {
        struct slice address, key;
        ok = submission_recipient_address(&submission, i, &address, &key, problem) &&
             submission_recipient_record(&submission, i, SLICE("s-0"), 0, NULL, 0, &record, problem);
    }
    buf_free(&record);
    submission_free(&submission);
    return ok;
}

static void table_judge(bool msgpack)
{
    size_t i;
    json_t *row;
    json_array_foreach(table, i, row)
    {
        const char *name = json_string_value(json_object_get(row, "name"));
        const char *refused = json_string_value(json_object_get(row, "refused"));
        const json_t *value = json_object_get(row, "submission");
        struct submission_problem problem = { 0 };
        struct buf bytes = BUF_EMPTY;
        char *json = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
        msgpack_write(&bytes, value);
        struct slice text = msgpack ? buf_slice(&bytes) : slice_str(json);
        bool ok = judge(text, msgpack, &problem);
        if (!refused)
            ck_assert_msg(ok, "%s: %s: %s", name, problem.path, problem.reason);
        else if (json_is_object(value)) {
            ck_assert_msg(!ok && strcmp(problem.path, refused) == 0, "%s: %s: %s", name,
                          problem.path, problem.reason);
            ck_assert_msg(problem.reason[0], "%s", name);
        } else {
            ck_assert_msg(!ok, "%s", name);
        }
        buf_free(&bytes);
        free(json);
    }
}

START_TEST(each_submission_of_the_table_is_taken_or_refused_with_its_path)
{
    table_judge(false);
}
END_TEST

START_TEST(msgpack_is_judged_as_json_is)
{
    table_judge(true);
}
END_TEST

/* ---- msgpack's forms ---- */

#define BYTES(text)                                                                                \
    {                                                                                              \
        text, sizeof(text) - 1                                                                     \
    }

/* Each is the value of "send_at", an integer in one of the forms, or what is refused. */
static const struct {
    struct slice value;
    int64_t integer; /* 0: refused */
} forms[] = {
    { BYTES("\x07"), 7 },
    { BYTES("\xcc\xff"), 255 },
    { BYTES("\xcd\x01\x00"), 256 },
    { BYTES("\xce\xff\xff\xff\xff"), 0xffffffff },
    { BYTES("\xcf\x00\x00\x01\x00\x00\x00\x00\x00"), INT64_C(1) << 40 },
    { BYTES("\xd0\x7f"), 127 },
    { BYTES("\xd1\x01\x00"), 256 },
    { BYTES("\xd2\x00\x01\x00\x00"), 65536 },
    { BYTES("\xd3\x00\x00\x01\x00\x00\x00\x00\x00"), INT64_C(1) << 40 },
    { BYTES("\xff"), 0 },                                 /* −1 */
    { BYTES("\xd0\x80"), 0 },                             /* −128 */
    { BYTES("\xcf\xff\xff\xff\xff\xff\xff\xff\xff"), 0 }, /* above 2^63 */
    { BYTES("\xca\x7f\x80\x00\x00"), 0 },                 /* infinity */
    { BYTES("\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00"), 0 }, /* not a number */
    { BYTES("\xd6\xff\x00\x00\x00\x00"), 0 },             /* an extension: a time stamp */
    { BYTES("\xc1"), 0 },                                 /* never used */
    { BYTES("\xc4\x02\xc3\x28"), 0 },                     /* binary, not UTF-8 */
    { BYTES("\xa2\xc3\x28"), 0 },                         /* a string, not UTF-8 */
    { BYTES("\xa1\x00"), 0 },                             /* NUL */
    { BYTES("\xd9\x05zero"), 0 },                         /* ends within a string */
    { BYTES("\xdd\xff\xff\xff\xff"), 0 },                 /* 4,294,967,295 elements to come */
    { BYTES("\xdf\xff\xff\xff\xff"), 0 },
    { BYTES("\xdb\xff\xff\xff\xff"), 0 },
    { BYTES("\xc6\xff\xff\xff\xff"), 0 },
    { BYTES("\x81\x07\x07"), 0 }, /* a key that isn't a string */
    { BYTES("\x82\xa1"
            "a\x07\xa1"
            "a\x07"),
      0 },                    /* a key twice */
    { BYTES("\x07\x07"), 0 }, /* something behind */
};

START_TEST(every_form_of_msgpack_is_read_or_refused)
{
    static const char head[] = "\x84\xa4"
                               "from\xa3"
                               "a@b\xa7"
                               "content\x80\xaa"
                               "recipients\x90\xa7"
                               "send_at";
    struct buf bytes = BUF_EMPTY;
    struct submission submission;
    struct submission_problem problem = { 0 };
    buf_append(&bytes, slice_of(head, sizeof head - 1));
    buf_append(&bytes, forms[_i].value);
    bool ok = submission_parse_msgpack(&submission, buf_slice(&bytes), &problem);
    ck_assert_msg(ok == (forms[_i].integer > 0), "%s: %s", problem.path, problem.reason);
    if (ok) {
        ck_assert_int_eq(submission.send_at_ms, forms[_i].integer);
        submission_free(&submission);
    }
    /* Cut anywhere, it's refused. */
    for (size_t len = 0; len < (ok ? bytes.len : sizeof head); len++)
        ck_assert(!submission_parse_msgpack(&submission, slice_head(buf_slice(&bytes), len),
                                            &problem));
    buf_free(&bytes);
}
END_TEST

START_TEST(binary_that_is_utf8_is_text)
{
    struct slice bytes = BYTES("\x83\xc4\x04"
                               "from\xa3"
                               "a@b\xa7"
                               "content\x80\xaa"
                               "recipients\x90");
    struct submission submission;
    struct submission_problem problem;
    ck_assert_msg(submission_parse_msgpack(&submission, bytes, &problem), "%s", problem.reason);
    ck_assert(slice_eq(submission.terms.from, SLICE("a@b")));
    submission_free(&submission);
}
END_TEST

START_TEST(nesting_without_end_is_refused)
{
    char deep[4096];
    memset(deep, '\x91', sizeof deep); /* arrays of one element */
    struct submission submission;
    struct submission_problem problem;
    ck_assert(!submission_parse_msgpack(&submission, slice_of(deep, sizeof deep), &problem));
    ck_assert_ptr_nonnull(strstr(problem.reason, "nested"));
    memset(deep, '[', sizeof deep);
    ck_assert(!submission_parse(&submission, slice_of(deep, sizeof deep), &problem));
}
END_TEST

/* ---- times ---- */

START_TEST(times_are_read_as_rfc_3339_writes_them)
{
    const struct {
        const char *text;
        int64_t ms;
    } times[] = {
        { "1970-01-01T00:00:00Z", 0 },
        { "2026-01-01T00:00:00Z", ACCEPTED_MS },
        { "2026-01-01T01:00:00+01:00", ACCEPTED_MS },
        { "2025-12-31T18:30:00-05:30", ACCEPTED_MS },
        { "2026-01-01T00:00:00.25Z", ACCEPTED_MS + 250 },
        { "2026-01-01T00:00:00.0019999Z", ACCEPTED_MS + 1 },
        { "2024-02-29T12:00:00Z", 1709208000000 },
        { "2025-12-31T23:59:60Z", ACCEPTED_MS },
    };
    for (size_t i = 0; i < ARRAY_LEN(times); i++) {
        int64_t ms = -1;
        ck_assert_msg(submission_time_parse(slice_str(times[i].text), &ms), "%s", times[i].text);
        ck_assert_int_eq(ms, times[i].ms);
    }
}
END_TEST

/* A minimal submission with some members more. */
static bool parse_with(const char *members, struct submission *out,
                       struct submission_problem *problem)
{
    struct buf text = BUF_EMPTY;
    buf_printf(&text, "{\"from\":\"a@b\",\"content\":{},\"recipients\":[],%s}", members);
    bool ok = submission_parse(out, buf_slice(&text), problem);
    buf_free(&text);
    return ok;
}

START_TEST(the_expiry_counts_from_send_at)
{
    struct submission it;
    struct submission_problem problem;
    ck_assert(
        parse_with("\"send_at\":\"2026-01-03T00:00:00Z\",\"expires_in_s\":60", &it, &problem));
    ck_assert(submission_schedule(&it, ACCEPTED_MS, 345600, &problem));
    ck_assert_int_eq(it.terms.start_ms, ACCEPTED_MS + 2 * 86400000);
    ck_assert_int_eq(it.terms.expires_ms, it.terms.start_ms + 60000);
    submission_free(&it);
    /* A time that is past is now. */
    ck_assert(parse_with("\"send_at\":\"2025-12-31T23:00:00Z\"", &it, &problem));
    ck_assert(submission_schedule(&it, ACCEPTED_MS, 345600, &problem));
    ck_assert_int_eq(it.terms.start_ms, ACCEPTED_MS);
    ck_assert_int_eq(it.terms.expires_ms, ACCEPTED_MS + 345600000);
    submission_free(&it);
}
END_TEST

START_TEST(a_schedule_that_makes_no_sense_is_refused_with_its_path)
{
    const struct {
        const char *members, *path;
    } bad[] = {
        { "\"send_at\":\"2026-02-01T00:00:00Z\"", "send_at" }, /* 31 days */
        { "\"send_at\":1767225600", "send_at" },               /* seconds */
        { "\"send_at\":\"2025-01-01T00:00:00Z\"", "send_at" },
        { "\"expires_in_s\":3600,"
          "\"windows\":[{\"from\":\"09:00\",\"to\":\"10:00\",\"zone\":\"UTC\"}]",
          "windows" },
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct submission it;
        struct submission_problem problem;
        ck_assert_msg(parse_with(bad[i].members, &it, &problem), "%s", problem.reason);
        ck_assert(!submission_schedule(&it, ACCEPTED_MS, 345600, &problem));
        ck_assert_str_eq(problem.path, bad[i].path);
        submission_free(&it);
    }
}
END_TEST

START_TEST(a_class_that_is_not_given_follows_from_the_rest)
{
    const struct {
        const char *json;
        char class;
    } cases[] = {
        { "{\"from\":\"a@b\",\"content\":{},\"recipients\":[{\"to\":\"a@b\"}]}", 't' },
        { "{\"from\":\"a@b\",\"content\":{},\"recipients\":[{\"to\":\"a@b\"},{\"to\":\"c@b\"}]}",
          'b' },
        { "{\"from\":\"a@b\",\"content\":{},\"campaign\":\"x\",\"recipients\":[{\"to\":\"a@b\"}]}",
          'b' },
        { "{\"from\":\"a@b\",\"content\":{},\"campaign\":\"x\",\"class\":\"transactional\","
          "\"recipients\":[{\"to\":\"a@b\"},{\"to\":\"c@b\"}]}",
          't' },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct submission it;
        struct submission_problem problem;
        ck_assert(submission_parse(&it, slice_str(cases[i].json), &problem));
        ck_assert_int_eq(it.terms.class, cases[i].class);
        submission_free(&it);
    }
}
END_TEST

/* ---- the object ---- */

START_TEST(what_is_stored_comes_back)
{
    struct submission it;
    struct submission_problem problem;
    struct submission_stored stored;
    struct err err;
    struct buf object = BUF_EMPTY, windows = BUF_EMPTY;
    ck_assert(
        parse_with("\"tenant\":\"shop\",\"campaign\":\"june\",\"class\":\"deadline\","
                   "\"stream\":\"news\",\"pool\":\"main\",\"weight\":7,\"expires_in_s\":86400,"
                   "\"windows\":[{\"from\":\"09:00\",\"to\":\"10:00\",\"zone\":\"UTC\"},"
                   "{\"from\":\"12:00\",\"to\":\"13:00\",\"zone\":\"UTC\"}]",
                   &it, &problem));
    ck_assert(submission_schedule(&it, ACCEPTED_MS, 1, &problem));
    submission_object(SLICE("1-0"), &it.terms, SLICE("{\"text\":\"x\"}"), &object);
    ck_assert_msg(submission_stored_parse(&stored, buf_slice(&object), &err), "%s", err.text);
    ck_assert(slice_eq(stored.entry, SLICE("1-0")));
    ck_assert(slice_eq(stored.terms.from, SLICE("a@b")));
    ck_assert(slice_eq(stored.terms.tenant, SLICE("shop")));
    ck_assert(slice_eq(stored.terms.campaign, SLICE("june")));
    ck_assert(slice_eq(stored.terms.stream, SLICE("news")));
    ck_assert(slice_eq(stored.terms.pool, SLICE("main")));
    ck_assert_int_eq(stored.terms.class, 'd');
    ck_assert_uint_eq(stored.terms.weight, 7);
    ck_assert_int_eq(stored.terms.expires_ms, ACCEPTED_MS + 86400000);
    ck_assert_str_eq(json_string_value(json_object_get(stored.content, "text")), "x");
    submission_terms_windows(&stored.terms, &windows);
    ck_assert_str_eq(buf_cstr(&windows), "1767258000000-1767261600000 1767268800000-1767272400000");
    submission_stored_free(&stored);
    buf_free(&windows);
    buf_free(&object);
    submission_free(&it);
}
END_TEST

START_TEST(an_object_that_a_producer_wrote_wrongly_is_refused)
{
#define OBJECT(members)                                                                            \
    "{\"from\":\"a@b\",\"content\":{},\"accepted_at\":1000,\"expires_at\":2000" members "}"
    const char *const good[] = { OBJECT(""), OBJECT(",\"windows\":[[1000,1500]]"),
                                 OBJECT(",\"send_at\":1500,\"class\":\"transactional\"") };
    const char *const bad[] = {
        "",
        "[]",
        "{\"from\":\"a@b\",\"content\":{},\"accepted_at\":1000}",
        "{\"from\":\"a@b\",\"content\":{},\"expires_at\":1000}",
        "{\"from\":\"a@b\",\"accepted_at\":1000,\"expires_at\":2000}",
        OBJECT(",\"tenant\":\"a/b\""),
        OBJECT(",\"tenant\":7"),
        OBJECT(",\"class\":\"b\""),
        OBJECT(",\"send_at\":2000"),
        OBJECT(",\"windows\":[]"),
        OBJECT(",\"windows\":[[1,2],[1,3]]"),
        OBJECT(",\"windows\":[[2,2]]"),
        OBJECT(",\"windows\":[[1,\"2\"]]"),
        OBJECT(",\"windows\":[[1,2,3]]"),
        OBJECT(",\"windows\":\"1-2\""),
        OBJECT(",\"windows\":[7]"),
    };
    struct submission_stored stored;
    struct err err;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        ck_assert_msg(submission_stored_parse(&stored, slice_str(good[i]), &err), "%s", err.text);
        submission_stored_free(&stored);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        ck_assert_msg(!submission_stored_parse(&stored, slice_str(bad[i]), &err), "%s", bad[i]);
}
END_TEST

int main(void)
{
    Suite *suite =
        SUITE_OF("submission", binary_that_is_utf8_is_text, nesting_without_end_is_refused,
                 times_are_read_as_rfc_3339_writes_them, the_expiry_counts_from_send_at,
                 a_schedule_that_makes_no_sense_is_refused_with_its_path,
                 a_class_that_is_not_given_follows_from_the_rest, what_is_stored_comes_back,
                 an_object_that_a_producer_wrote_wrongly_is_refused);
    TCase *judged = tcase_create("table");
    tcase_set_timeout(judged, 0);
    tcase_add_checked_fixture(judged, table_load, table_free);
    tcase_add_test(judged, each_submission_of_the_table_is_taken_or_refused_with_its_path);
    tcase_add_test(judged, msgpack_is_judged_as_json_is);
    suite_add_tcase(suite, judged);
    TCase *each = tcase_create("forms");
    tcase_set_timeout(each, 0);
    tcase_add_loop_test(each, every_form_of_msgpack_is_read_or_refused, 0, (int)ARRAY_LEN(forms));
    suite_add_tcase(suite, each);
    return check_main(suite);
}
