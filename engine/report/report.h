#pragma once
/* TLS reports as text (RFC 8460): the JSON (4.4), compressed, and the message that carries it
 * (5.3). No I/O. */
#include <jansson.h>

#include "engine/base/buf.h"

/** Who reports. */
struct tls_reporter {
    const char *organization;
    const char *contact; /* address */
    const char *from;    /* address that report mails come from; its domain is the submitter */
};

struct tls_report_count {
    struct slice policy;  /* JSON object */
    struct slice failure; /* likewise; empty: sessions that went well */
    uint64_t sessions;
};

/** "DAY.DOMAIN@SUBMITTER": the same whenever a report is made; DAY as 2026-11-24. */
void tls_report_id(const struct tls_reporter *reporter, int64_t day, struct slice domain,
                   struct buf *out);
/** The report of a day (UTC, since 1970) about a domain; the caller's. Counts whose policy isn't a
 * JSON object are left out. */
json_t *tls_report_json(const struct tls_reporter *reporter, int64_t day, struct slice domain,
                        const struct tls_report_count *counts, size_t count);
/** Appends `text` as a gzip file (RFC 1952). */
void tls_report_gzip(struct slice text, struct buf *out);
/** Appends the message to one address; `file` is the gzip file. */
void tls_report_message(const struct tls_reporter *reporter, int64_t day, struct slice domain,
                        struct slice to, struct slice file, struct buf *out);
