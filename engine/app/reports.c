#include "engine/app/reports.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "dns/rpt_record.h"
#include "engine/app/resolver.h"
#include "engine/base/mem.h"
#include "engine/report/post.h"

enum { AT_ONCE = 64 /* look-ups */, NAME_BYTES_MAX = 300 };

static struct tls_reporter reporter_of(const struct config *config)
{
    const char *from = config->tls_reports.from, *at = strrchr(from, '@');
    const char *organization = config->tls_reports.organization,
               *contact = config->tls_reports.contact;
    return (struct tls_reporter){ .from = from,
                                  .organization = *organization ? organization
                                                  : at          ? at + 1
                                                                : from,
                                  .contact = *contact ? contact : from };
}

int64_t reports_today(void)
{
    return (int64_t)time(NULL) / 86400;
}

bool reports_open(struct reports *reports, const struct config *config, const struct log *log,
                  struct producer *producer, struct err *err)
{
    *reports = (struct reports){ .config = config, .log = log, .producer = producer };
    if (!ring_create(&reports->ring, &(struct ring_options){ .body = RING_BODY_EPOLL }, err))
        return false;
    if (!app_resolver_create(&reports->resolver, reports->ring, config, err)) {
        ring_destroy(&reports->ring);
        return false;
    }
    admin_open(&reports->admin, producer);
    return true;
}

static void on_closed(void *user)
{
    *(bool *)user = true;
}

void reports_close(struct reports *reports)
{
    bool closed = false;
    admin_close(&reports->admin);
    dns_resolver_close(reports->resolver, on_closed, &closed);
    while (!closed)
        ring_turn(reports->ring, 1000);
    ring_destroy(&reports->ring);
}

/* ---- records ---- */

struct question {
    struct dns_request request;
    struct dns_text *text;
    struct dns_addresses *addresses;
    unsigned *left;
};

static void on_text(struct dns_request *request, struct dns_text *text)
{
    struct question *question = CONTAINER_OF(request, struct question, request);
    question->text = text;
    --*question->left;
}

static void on_addresses(struct dns_request *request, struct dns_addresses *addresses)
{
    struct question *question = CONTAINER_OF(request, struct question, request);
    question->addresses = addresses;
    --*question->left;
}

static void ask_record(struct reports *reports, struct question *question, struct slice domain)
{
    char name[NAME_BYTES_MAX];
    int len = snprintf(name, sizeof name, "_smtp._tls.%.*s", SLICE_FMT(domain));
    question->request = (struct dns_request){ .text_found = on_text };
    dns_resolve_text(reports->resolver, &question->request,
                     slice_of(name, (size_t)MIN_OF(len, NAME_BYTES_MAX - 1)));
}

/* RFC 8460, 3: exactly one record, or none. */
static bool record_of(const struct dns_text *text, struct rpt_record *out)
{
    struct rpt_record record;
    unsigned found = 0;
    for (unsigned i = 0; text->status == DNS_OK && i < text->count; i++)
        if (rpt_record_parse(text->records[i], &record)) {
            *out = record;
            found++;
        }
    return found == 1;
}

void reports_wanted(struct reports *reports, struct tls_tally_row *const *rows, size_t count,
                    bool *wanted)
{
    for (size_t first = 0, end; first < count; first = end) {
        struct question questions[AT_ONCE];
        size_t asked_for[AT_ONCE];
        unsigned left = 0, asked = 0;
        for (end = first; end < count; end++) {
            if (end > first && slice_eq(rows[end]->domain, rows[end - 1]->domain))
                continue;
            if (asked == AT_ONCE)
                break;
            asked_for[asked] = end;
            questions[asked].left = &left;
            left++;
            ask_record(reports, &questions[asked++], rows[end]->domain);
        }
        while (left > 0)
            ring_turn(reports->ring, 1000);
        for (unsigned i = 0; i < asked; i++) {
            struct rpt_record record;
            bool wants = record_of(questions[i].text, &record);
            /* It may be there, and can't be looked up now: the counts wait for their day's end. */
            wants |=
                questions[i].text->status == DNS_FAILED || questions[i].text->status == DNS_TIMEOUT;
            dns_text_release(questions[i].text);
            for (size_t k = asked_for[i]; k < (i + 1 < asked ? asked_for[i + 1] : end); k++)
                wanted[k] = wants;
        }
    }
}

/* ---- reports ---- */

json_t *reports_read(struct reports *reports, int64_t day, struct slice domain, struct err *err)
{
    struct tls_report_count *counts;
    size_t count;
    struct tls_reporter reporter = reporter_of(reports->config);
    if (!tls_counts_read(&reports->admin, day, domain, &counts, &count, err))
        return NULL;
    json_t *report = tls_report_json(&reporter, day, domain, counts, count);
    free(counts);
    return report;
}

/* ---- by mail ---- */

/* "mailto:tls%2Dreports@example.org?subject=x" → tls-reports@example.org */
static void mail_address(struct slice uri, struct buf *out)
{
    struct slice address = slice_skip(uri, SLICE("mailto:").len);
    address = slice_cut(&address, '?');
    for (size_t i = 0; i < address.len; i++) {
        unsigned code;
        char digits[3] = { 0 };
        if (address.ptr[i] == '%' && i + 2 < address.len) {
            memcpy(digits, address.ptr + i + 1, 2);
            if (sscanf(digits, "%2x", &code) == 1 && code > ' ' && code < 0x7f) {
                buf_append_char(out, (char)code);
                i += 2;
                continue;
            }
        }
        buf_append_char(out, address.ptr[i]);
    }
}

static bool mail_report(struct reports *reports, int64_t day, struct slice domain, struct slice uri,
                        struct slice file, struct err *err)
{
    struct tls_reporter reporter = reporter_of(reports->config);
    struct buf to = BUF_EMPTY, message = BUF_EMPTY, text = BUF_EMPTY, key = BUF_EMPTY;
    char id[25];
    mail_address(uri, &to);
    tls_report_message(&reporter, day, domain, buf_slice(&to), file, &message);
    buf_printf(&key, "tlsrpt %lld %.*s", (long long)day, SLICE_FMT(domain));
    key.len = MIN_OF(key.len, (size_t)120);
    buf_append(&text, SLICE("{\"key\":"));
    buf_append_json(&text, buf_slice(&key));
    buf_append(&text, SLICE(",\"class\":\"bulk\",\"stream\":\"tlsrpt\",\"from\":"));
    buf_append_json(&text, slice_str(reporter.from));
    buf_append(&text, SLICE(",\"content\":{\"raw\":"));
    buf_append_json(&text, buf_slice(&message));
    buf_append(&text, SLICE("},\"recipients\":[{\"to\":"));
    buf_append_json(&text, buf_slice(&to));
    buf_append(&text, SLICE("}]}"));
    bool good = producer_submit(reports->producer, buf_slice(&text), id, err);
    buf_free(&to);
    buf_free(&message);
    buf_free(&text);
    buf_free(&key);
    return good;
}

/* ---- by HTTPS ---- */

/* The names are looked up here, so that addresses that are refused stay so. */
static bool addresses_of(struct reports *reports, const char *host, const char *port,
                         struct buf *out)
{
    unsigned left = 1;
    struct question question = { .left = &left };
    question.request = (struct dns_request){ .addresses_found = on_addresses };
    dns_resolve_addresses(reports->resolver, &question.request, slice_str(host));
    while (left > 0)
        ring_turn(reports->ring, 1000);
    const struct dns_addresses *found = question.addresses;
    buf_printf(out, "%s:%s:", host, port);
    for (unsigned i = 0; i < found->count; i++) {
        char address[INET6_ADDRSTRLEN];
        const struct sockaddr_storage *addr = &found->list[i].addr;
        bool v6 = addr->ss_family == AF_INET6;
        const void *bytes = v6 ? (const void *)&((const struct sockaddr_in6 *)addr)->sin6_addr
                               : (const void *)&((const struct sockaddr_in *)addr)->sin_addr;
        inet_ntop(addr->ss_family, bytes, address, sizeof address);
        buf_printf(out, "%s%s%s%s", i ? "," : "", v6 ? "[" : "", address, v6 ? "]" : "");
    }
    bool any = found->count > 0;
    dns_addresses_release(question.addresses);
    return any;
}

static bool post_report(struct reports *reports, struct slice uri, struct slice file,
                        struct err *err)
{
    char *url = slice_dup(uri), host[256], port[8];
    struct buf resolve = BUF_EMPTY;
    bool good = tls_report_url(url, host, port, err) &&
                (addresses_of(reports, host, port, &resolve) ||
                 err_set(err, ERR_SYSTEM, "%s has no address that may be used", host)) &&
                tls_report_post(url, buf_cstr(&resolve), file, err);
    buf_free(&resolve);
    free(url);
    return good;
}

/* ---- a day ---- */

enum sending { SENT, UNWANTED, KEPT };

static bool deliver_file(struct reports *reports, int64_t day, struct slice domain,
                         const struct rpt_record *record, struct slice file)
{
    bool good = true;
    for (unsigned i = 0; i < record->count; i++) {
        struct slice uri = record->uris[i];
        struct err err;
        bool mail = slice_starts_with_nocase(uri, SLICE("mailto:"));
        bool sent = mail ? mail_report(reports, day, domain, uri, file, &err)
                         : post_report(reports, uri, file, &err);
        if (sent)
            log_info(reports->log, "tls-report", "%.*s: to %.*s", SLICE_FMT(domain),
                     SLICE_FMT(uri));
        else
            log_warn(reports->log, "tls-report", "%.*s: not to %.*s: %s", SLICE_FMT(domain),
                     SLICE_FMT(uri), err.text);
        good = good && sent;
    }
    return good;
}

static enum sending send_one(struct reports *reports, int64_t day, struct slice domain)
{
    unsigned left = 1;
    struct question question = { .left = &left };
    struct rpt_record record;
    struct err err;
    enum sending sending = UNWANTED;
    ask_record(reports, &question, domain);
    while (left > 0)
        ring_turn(reports->ring, 1000);
    if (question.text->status == DNS_FAILED || question.text->status == DNS_TIMEOUT) {
        sending = KEPT;
    } else if (record_of(question.text, &record)) {
        json_t *report = reports_read(reports, day, domain, &err);
        char *text = report ? json_dumps(report, JSON_COMPACT) : NULL;
        struct buf file = BUF_EMPTY;
        if (text)
            tls_report_gzip(slice_str(text), &file);
        sending =
            text && deliver_file(reports, day, domain, &record, buf_slice(&file)) ? SENT : KEPT;
        buf_free(&file);
        free(text);
        json_decref(report);
    }
    dns_text_release(question.text);
    return sending;
}

bool reports_send(struct reports *reports, int64_t day, unsigned *sent, unsigned *failed,
                  struct err *err)
{
    *sent = *failed = 0;
    admin_reset(&reports->admin);
    const struct redis_value *set = tls_counts_domains(&reports->admin, day, err);
    if (!set)
        return false;
    /* What is read next takes the reply's place. */
    size_t count = set->count;
    char **domains = mem_array(count + 1, sizeof *domains);
    for (size_t i = 0; i < count; i++)
        domains[i] = slice_dup(admin_item(set, i)->text);
    bool good = true;
    for (size_t i = 0; i < count; i++) {
        struct slice domain = slice_str(domains[i]);
        admin_reset(&reports->admin);
        enum sending sending = good ? send_one(reports, day, domain) : KEPT;
        admin_reset(&reports->admin);
        *sent += sending == SENT;
        *failed += sending == KEPT;
        if (sending != KEPT)
            good = tls_counts_done(&reports->admin, day, domain, err);
        free(domains[i]);
    }
    free(domains);
    return good;
}
