#include "engine/report/report.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <zlib.h>

#include "engine/base/mem.h"

enum { DAY_S = 86400, LINE_BYTES = 57 /* 76 characters in base64 */ };

static struct tm day_of(int64_t day)
{
    time_t begin = (time_t)(day * DAY_S);
    struct tm tm;
    gmtime_r(&begin, &tm);
    return tm;
}

static const char *submitter(const struct tls_reporter *reporter)
{
    const char *at = strrchr(reporter->from, '@');
    return at ? at + 1 : reporter->from;
}

static void append_day(struct buf *out, int64_t day)
{
    struct tm tm = day_of(day);
    buf_printf(out, "%04d-%02d-%02d", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday);
}

void tls_report_id(const struct tls_reporter *reporter, int64_t day, struct slice domain,
                   struct buf *out)
{
    append_day(out, day);
    buf_printf(out, ".%.*s@%s", SLICE_FMT(domain), submitter(reporter));
}

/* ---- JSON ---- */

static json_t *date_range(int64_t day)
{
    struct buf first = BUF_EMPTY, last = BUF_EMPTY;
    append_day(&first, day);
    append_day(&last, day);
    buf_append(&first, SLICE("T00:00:00Z"));
    buf_append(&last, SLICE("T23:59:59Z"));
    json_t *range = json_pack("{s:s, s:s}", "start-datetime", buf_cstr(&first), "end-datetime",
                              buf_cstr(&last));
    buf_free(&first);
    buf_free(&last);
    return range;
}

static json_t *object_of(struct slice text)
{
    json_error_t error;
    json_t *object = json_loadb(text.ptr, text.len, 0, &error);
    if (json_is_object(object))
        return object;
    json_decref(object);
    return NULL;
}

static int by_policy(const void *a, const void *b)
{
    const struct tls_report_count *x = a, *y = b;
    int order = memcmp(x->policy.ptr, y->policy.ptr, MIN_OF(x->policy.len, y->policy.len));
    return order ? order : (x->policy.len > y->policy.len) - (x->policy.len < y->policy.len);
}

/* counts[0 … count) are of one policy. */
static json_t *policy_json(const struct tls_report_count *counts, size_t count)
{
    json_t *policy = object_of(counts[0].policy), *details = json_array();
    json_int_t good = 0, bad = 0;
    for (size_t i = 0; i < count; i++) {
        if (counts[i].failure.len == 0) {
            good += (json_int_t)counts[i].sessions;
            continue;
        }
        json_t *failure = object_of(counts[i].failure);
        bad += (json_int_t)counts[i].sessions;
        if (!failure)
            continue;
        json_object_set_new(failure, "failed-session-count",
                            json_integer((json_int_t)counts[i].sessions));
        json_array_append_new(details, failure);
    }
    json_t *out = policy ? json_pack("{s:o, s:{s:I, s:I}}", "policy", policy, "summary",
                                     "total-successful-session-count", good,
                                     "total-failure-session-count", bad)
                         : NULL;
    if (out && json_array_size(details) > 0)
        json_object_set(out, "failure-details", details);
    json_decref(details);
    return out;
}

json_t *tls_report_json(const struct tls_reporter *reporter, int64_t day, struct slice domain,
                        const struct tls_report_count *counts, size_t count)
{
    struct tls_report_count *sorted = mem_array(count + 1, sizeof *sorted);
    json_t *policies = json_array();
    if (count > 0)
        memcpy(sorted, counts, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, by_policy);
    for (size_t first = 0, end; first < count; first = end) {
        for (end = first + 1; end < count && by_policy(&sorted[first], &sorted[end]) == 0; end++)
            continue;
        json_t *policy = policy_json(&sorted[first], end - first);
        if (policy)
            json_array_append_new(policies, policy);
    }
    free(sorted);
    struct buf id = BUF_EMPTY;
    tls_report_id(reporter, day, domain, &id);
    json_t *report =
        json_pack("{s:s, s:o, s:s, s:s, s:o}", "organization-name", reporter->organization,
                  "date-range", date_range(day), "contact-info", reporter->contact, "report-id",
                  buf_cstr(&id), "policies", policies);
    buf_free(&id);
    return report;
}

/* ---- file and message ---- */

void tls_report_gzip(struct slice text, struct buf *out)
{
    z_stream stream = { .next_in = (Bytef *)(uintptr_t)text.ptr, .avail_in = (uInt)text.len };
    int done = deflateInit2(&stream, Z_BEST_COMPRESSION, Z_DEFLATED, MAX_WBITS + 16, 8,
                            Z_DEFAULT_STRATEGY); /* 16: gzip's frame */
    assert(done == Z_OK);                        /* else there's no memory */
    size_t room = deflateBound(&stream, text.len);
    stream.next_out = (Bytef *)buf_reserve(out, room);
    stream.avail_out = (uInt)room;
    done = deflate(&stream, Z_FINISH);
    assert(done == Z_STREAM_END);
    buf_grow(out, stream.total_out);
    deflateEnd(&stream);
}

static void append_base64(struct buf *out, struct slice bytes)
{
    for (size_t i = 0; i < bytes.len; i += LINE_BYTES) {
        unsigned char line[LINE_BYTES / 3 * 4 + 1];
        size_t len = MIN_OF(bytes.len - i, (size_t)LINE_BYTES);
        int n = EVP_EncodeBlock(line, (const unsigned char *)bytes.ptr + i, (int)len);
        buf_printf(out, "%.*s\r\n", n, (const char *)line);
    }
}

/* The day after, when the report could be made first: so the message is the same each time. */
static void append_date(struct buf *out, int64_t day)
{
    char text[64];
    struct tm tm = day_of(day + 1);
    strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S +0000", &tm);
    buf_printf(out, "Date: %s\r\n", text);
}

void tls_report_message(const struct tls_reporter *reporter, int64_t day, struct slice domain,
                        struct slice to, struct slice file, struct buf *out)
{
    static const char boundary[] = "report-of-tls-sessions";
    struct buf id = BUF_EMPTY;
    const char *who = submitter(reporter);
    tls_report_id(reporter, day, domain, &id);
    buf_printf(out, "From: %s\r\nTo: %.*s\r\n", reporter->from, SLICE_FMT(to));
    append_date(out, day);
    buf_printf(out, "Subject: Report Domain: %.*s Submitter: %s Report-ID: <%s>\r\n",
               SLICE_FMT(domain), who, buf_cstr(&id));
    buf_printf(out, "Message-ID: <tlsrpt.%s>\r\n", buf_cstr(&id));
    buf_printf(out,
               "TLS-Report-Domain: %.*s\r\nTLS-Report-Submitter: %s\r\nTLS-Required: No\r\n"
               "Auto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n"
               "Content-Type: multipart/report; report-type=\"tlsrpt\"; boundary=\"%s\"\r\n\r\n",
               SLICE_FMT(domain), who, boundary);
    buf_printf(out,
               "--%s\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n"
               "This is a report about TLS sessions to mail exchangers of %.*s,\r\n"
               "as its TLS-RPT record asks for (RFC 8460). It comes from %s; contact: %s\r\n\r\n",
               boundary, SLICE_FMT(domain), who, reporter->contact);
    buf_printf(
        out,
        "--%s\r\nContent-Type: application/tlsrpt+gzip\r\n"
        "Content-Transfer-Encoding: base64\r\n"
        "Content-Disposition: attachment;\r\n filename=\"%s!%.*s!%lld!%lld.json.gz\"\r\n\r\n",
        boundary, who, SLICE_FMT(domain), (long long)day * DAY_S,
        (long long)day * DAY_S + DAY_S - 1);
    append_base64(out, file);
    buf_printf(out, "--%s--\r\n", boundary);
    buf_free(&id);
}
