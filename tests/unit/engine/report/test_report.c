/* Counts become reports, and reports messages. The whole, as a receiver sees it, is in
 * scenario/test_tls_reports.py. */
#include "engine/report/report.h"

#include <stdlib.h>
#include <zlib.h>

#include "engine/report/tally.h"
#include "tests/support/check_main.h"

static const struct tls_reporter reporter = { .organization = "Engine \"Inc\"",
                                              .contact = "tls@engine.test",
                                              .from = "reports@engine.test" };
#define DAY 20781 /* 2026-11-24 */
#define STS SLICE("{\"policy-type\":\"sts\",\"policy-domain\":\"a.test\"}")
#define NONE SLICE("{\"policy-type\":\"no-policy-found\",\"policy-domain\":\"a.test\"}")
#define EXPIRED SLICE("{\"result-type\":\"certificate-expired\"}")
#define BARE SLICE("{\"result-type\":\"starttls-not-supported\"}")

START_TEST(policies_are_summed_up)
{
    const struct tls_report_count counts[] = {
        { STS, EXPIRED, 3 }, { NONE, SLICE(""), 7 },         { STS, SLICE(""), 40 },
        { STS, BARE, 2 },    { SLICE("nonsense"), BARE, 9 },
    };
    json_t *report = tls_report_json(&reporter, DAY, SLICE("a.test"), counts, ARRAY_LEN(counts));
    char *text = json_dumps(report, JSON_COMPACT);
    ck_assert_str_eq(
        text,
        "{\"organization-name\":\"Engine \\\"Inc\\\"\",\"date-range\":{\"start-datetime\":"
        "\"2026-11-24T00:00:00Z\",\"end-datetime\":\"2026-11-24T23:59:59Z\"},\"contact-info\":"
        "\"tls@engine.test\",\"report-id\":\"2026-11-24.a.test@engine.test\",\"policies\":["
        "{\"policy\":{\"policy-type\":\"no-policy-found\",\"policy-domain\":\"a.test\"},"
        "\"summary\":"
        "{\"total-successful-session-count\":7,\"total-failure-session-count\":0}},"
        "{\"policy\":{\"policy-type\":\"sts\",\"policy-domain\":\"a.test\"},\"summary\":"
        "{\"total-successful-session-count\":40,\"total-failure-session-count\":5},"
        "\"failure-details\":[{\"result-type\":\"certificate-expired\",\"failed-session-count\":3},"
        "{\"result-type\":\"starttls-not-supported\",\"failed-session-count\":2}]}]}");
    free(text);
    json_decref(report);
}
END_TEST

START_TEST(gzip_gives_back_what_went_in)
{
    struct buf text = BUF_EMPTY, file = BUF_EMPTY;
    char back[60000];
    for (int i = 0; i < 2000; i++)
        buf_printf(&text, "%d sessions\n", i * i);
    tls_report_gzip(buf_slice(&text), &file);
    z_stream stream = { 0 };
    ck_assert_int_eq(inflateInit2(&stream, MAX_WBITS + 16), Z_OK);
    stream.next_in = (Bytef *)(uintptr_t)buf_slice(&file).ptr;
    stream.avail_in = (uInt)file.len;
    stream.next_out = (Bytef *)back;
    stream.avail_out = sizeof back;
    ck_assert_int_eq(inflate(&stream, Z_FINISH), Z_STREAM_END);
    ck_assert_uint_eq(stream.total_out, text.len);
    ck_assert_mem_eq(back, buf_slice(&text).ptr, text.len);
    inflateEnd(&stream);
    buf_free(&text);
    buf_free(&file);
}
END_TEST

START_TEST(lines_of_a_message_are_short)
{
    struct buf file = BUF_EMPTY, message = BUF_EMPTY;
    for (int i = 0; i < 1000; i++)
        buf_append_char(&file, (char)(i * 7));
    tls_report_message(&reporter, DAY, SLICE("a.test"), SLICE("to@a.test"), buf_slice(&file),
                       &message);
    struct slice rest = buf_slice(&message);
    while (rest.len > 0) {
        struct slice line = slice_cut(&rest, '\n');
        ck_assert_uint_le(line.len, 200);
        ck_assert(line.len > 0 && line.ptr[line.len - 1] == '\r');
    }
    buf_free(&file);
    buf_free(&message);
}
END_TEST

START_TEST(equal_rows_are_counted_together)
{
    struct tls_tally *tally = tls_tally_create();
    const struct slice domains[] = { SLICE("b.test"), SLICE("a.test"), SLICE("b.test") };
    for (unsigned round = 0; round < 2; round++)
        for (size_t i = 0; i < ARRAY_LEN(domains); i++)
            tls_tally_add(tally, &(struct tls_tally_row){ .day = DAY + (i == 2),
                                                          .count = i + 1,
                                                          .domain = domains[i],
                                                          .policy = NONE,
                                                          .failure = i ? BARE : SLICE("") });
    size_t count;
    struct tls_tally_row **rows = tls_tally_take(tally, &count);
    ck_assert_uint_eq(count, 3);
    static const struct {
        const char *domain;
        int64_t day;
        uint64_t count;
    } expected[] = { { "a.test", DAY, 4 }, { "b.test", DAY, 2 }, { "b.test", DAY + 1, 6 } };
    for (size_t i = 0; i < count; i++) {
        ck_assert(slice_eq(rows[i]->domain, slice_str(expected[i].domain)));
        ck_assert_int_eq(rows[i]->day, expected[i].day);
        ck_assert_uint_eq(rows[i]->count, expected[i].count);
        free(rows[i]);
    }
    free(rows);
    ck_assert_ptr_null(tls_tally_take(tally, &count));
    tls_tally_destroy(&tally);
}
END_TEST

int main(void)
{
    return check_main(SUITE_OF("report", policies_are_summed_up, gzip_gives_back_what_went_in,
                               lines_of_a_message_are_short, equal_rows_are_counted_together));
}
