#pragma once
/* TLS reports on their way out (RFC 8460): who wants them, and sending them. Blocking; for a thread
 * of its own or a command. */
#include <jansson.h>

#include "dns/resolver.h"
#include "engine/app/config.h"
#include "engine/report/counts.h"

struct reports {
    const struct config *config;
    const struct log *log;
    struct producer *producer;
    struct admin admin;
    struct ring *ring;
    struct dns_resolver *resolver;
};

/** Opens a ring and a resolver beside the producer, which stays the caller's. */
MUST_USE bool reports_open(struct reports *reports, const struct config *config,
                           const struct log *log, struct producer *producer, struct err *err);
void reports_close(struct reports *reports);

/** Today, UTC, in days since 1970. */
int64_t reports_today(void);
/** Looks up which domains have a TLS-RPT record: wanted[i] for row i. Rows are in order. */
void reports_wanted(struct reports *reports, struct tls_tally_row *const *rows, size_t count,
                    bool *wanted);
/** The report about a day and domain as it stands; NULL with `err`. */
json_t *reports_read(struct reports *reports, int64_t day, struct slice domain, struct err *err);
/** Sends the reports of a day to whoever wants them, and forgets what was sent. What couldn't be
 * sent stays; false when Redis failed. */
MUST_USE bool reports_send(struct reports *reports, int64_t day, unsigned *sent, unsigned *failed,
                           struct err *err);
