#pragma once
/* What looking at a destination and looking at a job share. */
#include "queue/inspect.h"
#include "queue/order_match.h"
#include "queue/record.h"

struct inspection {
    struct admin admin;
    struct order_holds holds;
    const struct order_watch *watch;
    int64_t now_ms;
};
MUST_USE bool inspection_open(struct inspection *inspection, struct producer *producer,
                              const struct order_watch *watch, struct err *err);
void inspection_close(struct inspection *inspection);

/** What a partition knows of a submission; text in the caller's arena. */
struct submission_facts {
    bool known;
    char class;
    struct slice flow, windows, pool;
    int64_t accepted_ms, expires_ms, start_ms, open;
};
MUST_USE bool submission_facts_read(struct inspection *inspection, unsigned partition,
                                    struct slice sid, struct arena *arena,
                                    struct submission_facts *out, struct err *err);
/** When its mail may leave: now (then `now_ms`) or later. */
int64_t submission_opens(const struct submission_facts *facts, int64_t now_ms);

/** Scans a zset or hash (ZSCAN, HSCAN); `each` gets member and score, or field and value, and ends
 * the scan with false. Looks at no more than INSPECT_SEARCH_MAX entries. */
struct inspect_scan {
    const char *verb;
    unsigned partition;
    const char *key;   /* "x", "t", "i" */
    const char *match; /* a glob; NULL: all */
    bool (*each)(void *user, struct slice member, struct slice value);
    void *user;
};
MUST_USE bool inspect_scan_run(struct inspection *inspection, const struct inspect_scan *scan,
                               struct err *err);

/** Reads a record's fields; the values aren't needed here. */
bool inspect_record(struct slice bytes, struct record *out);
/** "DEST TAB record" of a retry, "EPOCH NODE DEADLINE DEST TAB record" of a lease. */
struct slice inspect_retry_record(struct slice member, struct slice *destination);
struct slice inspect_lease_record(struct slice value, struct slice *node, int64_t *deadline_ms,
                                  struct slice *destination);

/** The hosts that serve a destination, in the caller's arena. */
MUST_USE bool inspect_hosts(struct inspection *inspection, unsigned partition,
                            struct slice destination, struct arena *arena, struct slice *hosts,
                            struct err *err);

/** "transactional", "deadline", "bulk" */
struct slice inspect_class(char letter);
void inspect_set_text(json_t *object, const char *name, struct slice text);
void inspect_set_number(json_t *object, const char *name, int64_t number);
/** "2026-11-23 14:05:09Z" */
struct slice inspect_time(int64_t ms, char out[24]);
