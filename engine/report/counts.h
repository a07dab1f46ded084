#pragma once
/* The counts of TLS sessions in Redis, of all nodes (README.md has the keys). Blocking. */
#include "engine/report/report.h"
#include "engine/report/tally.h"
#include "queue/admin_io.h"

/** Adds rows. After false some may have been added. */
MUST_USE bool tls_counts_add(struct admin *admin, struct tls_tally_row *const *rows, size_t count,
                             struct err *err);
/** The days that there is something of. NULL with `err` when Redis fails; valid until
 * admin_reset(), as all that is returned here. */
const struct redis_value *tls_counts_days(struct admin *admin, struct err *err);
const struct redis_value *tls_counts_domains(struct admin *admin, int64_t day, struct err *err);
/** Those of a day and domain; `count` of them, the caller's list. */
MUST_USE bool tls_counts_read(struct admin *admin, int64_t day, struct slice domain,
                              struct tls_report_count **out, size_t *count, struct err *err);
/** A report is away: forgets its counts. */
MUST_USE bool tls_counts_done(struct admin *admin, int64_t day, struct slice domain,
                              struct err *err);
/** Whether this node may send now: one does at a time. The right ends by itself after an hour. */
MUST_USE bool tls_counts_lock(struct admin *admin, const char *node, bool *mine, struct err *err);
MUST_USE bool tls_counts_unlock(struct admin *admin, struct err *err);
