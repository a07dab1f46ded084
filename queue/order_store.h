#pragma once
/* Where orders are kept: the hash ns:orders of records, and the stream ns:log of what was done. */
#include "queue/admin_io.h"
#include "queue/orders.h"

/** Stores a fresh record; `*record` is the caller's. A given id takes the place of an older order
 * of that id. */
MUST_USE bool order_store_create(struct admin *admin, const struct order_request *request,
                                 json_t **record, struct err *err);
MUST_USE bool order_store_put(struct admin *admin, const json_t *record, struct err *err);
/** ERR_NOT_FOUND when there's none. */
MUST_USE bool order_store_get(struct admin *admin, const char *id, json_t **record,
                              struct err *err);
/** All records, oldest first. */
MUST_USE bool order_store_all(struct admin *admin, json_t **records, struct err *err);
/** Adds to ns:log that `by` did `what`. */
MUST_USE bool order_store_log(struct admin *admin, const json_t *record, const char *what,
                              const char *by, const char *reason, const struct order_counts *counts,
                              struct err *err);
/** The same for what has no order. The entry gets its time here; it's the callee's to free. */
MUST_USE bool order_store_log_entry(struct admin *admin, json_t *entry, struct err *err);

/** Notes which orders have ended: engines take those that end jobs out of the partitions once
 * nothing is left for them. */
MUST_USE bool order_store_reconcile(struct admin *admin, const json_t *records, struct err *err);
/** Makes sure that one more order may be in force, and forgets records of long ago. ERR_LIMIT when
 * too many are in force. */
MUST_USE bool orders_make_room(struct admin *admin, struct err *err);
