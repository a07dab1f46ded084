#pragma once
/* Addresses that get nothing: entered, lifted, looked up, listed. Blocking, for the command line.
 * An address lies in the partition of its domain, so that leasing checks it there. */
#include <jansson.h>

#include "engine/base/err.h"
#include "engine/base/slice.h"

struct producer;

enum { SUPPRESSIONS_BATCH = 500 };

struct suppression {
    struct slice address;     /* ASCII letters in lower case */
    struct slice destination; /* its domain as A-labels, lower case */
    const char *scope;        /* "g" (all), "t:TENANT" or "s:TENANT/STREAM" */
    const char *reason;       /* may be NULL */
    int64_t until_ms;         /* 0: for good */
};

/** Enters up to SUPPRESSIONS_BATCH in one round trip; engines heed them within a second. */
MUST_USE bool suppressions_add(struct producer *producer, const struct suppression *items,
                               size_t count, const char *by, struct err *err);
/** Lifts them; `lifted` is how many there were. */
MUST_USE bool suppressions_remove(struct producer *producer, const struct suppression *items,
                                  size_t count, uint64_t *lifted, struct err *err);
/** The scopes in which an address is suppressed, as a JSON object: scope -> {reason, until, at,
 * by}.
 */
MUST_USE bool suppressions_get(struct producer *producer, struct slice address,
                               struct slice destination, json_t **scopes, struct err *err);
/** Calls `each` for every address, in no order, until it returns false. */
MUST_USE bool suppressions_scan(struct producer *producer,
                                bool (*each)(void *user, struct slice address,
                                             const json_t *scopes),
                                void *user, struct err *err);
/** Writes into ns:log what was done to how many. */
MUST_USE bool suppressions_log(struct producer *producer, const char *by, const char *action,
                               struct slice address, const char *scope, uint64_t count,
                               struct err *err);
