#pragma once
/* The queue as a command-line program sees it: blocking. Never on a worker's ring. */
#include "engine/base/buf.h"
#include "engine/base/err.h"
#include "engine/base/log.h"
#include "engine/base/slice.h"

struct producer;

struct producer_options {
    const char *url; /* queue/url.h */
    const char *name_space;
    unsigned partitions;      /* used when no engine was there yet; 0: fail then */
    unsigned wait_replicas;   /* that must have what is submitted; 0: none */
    unsigned wait_timeout_ms; /* how long it may take them; 0: 1000 */
};

/** Connects (within 5 s), checks that what answers is a Redis with our layout, and learns the
 * number of partitions. */
MUST_USE bool producer_open_with(struct producer **out, const struct producer_options *options,
                                 struct err *err);
/** The same without waiting for replicas. */
MUST_USE bool producer_open(struct producer **out, const char *url, const char *name_space,
                            unsigned partitions, struct err *err);
/** Waits for the connection after a failure, 5 s; the place in the events is kept. After false only
 * this, or producer_close(), may be called. */
MUST_USE bool producer_reopen(struct producer *producer, const char *url, struct err *err);
void producer_close(struct producer **producer);
unsigned producer_partitions(const struct producer *producer);

/* ---- submitting ---- */

/** A submission whose recipients follow. Empty slices: not given. */
struct producer_submission {
    struct slice from;
    struct slice content; /* JSON object */
    int64_t expires_in_s; /* 0: 345,600 (4 days) */
    /* The members of the same names of a one-shot submission (queue/README.md): */
    struct slice tenant, campaign, class, stream, pool;
    struct slice send_at; /* ms since 1970, or RFC 3339 */
    struct slice windows; /* JSON array */
    unsigned weight;      /* 0: not given */
    bool require_tls;     /* REQUIRETLS (RFC 8689) */
    struct slice key;
    /* With a key: */
    struct slice fingerprint; /* of the recipients to come: the same key with others is an error */
    int64_t idempotency_s;    /* how long the key is remembered; 0: 172,800 */
};

enum producer_begun {
    PRODUCER_FRESH,
    PRODUCER_UNFINISHED, /* its key was used by one that was interrupted: all of its chunks may be
                            appended again, those that arrived are ignored */
    PRODUCER_REPEATED,   /* its key was used by one that is wholly there: append nothing */
};

/** Stores a submission's object under a fresh id, which is written to `id` (NUL-terminated); that
 * of the first one if the key was used before. Its recipients follow with producer_append(), then
 * comes producer_end(). ERR_INPUT with the path when the submission makes no sense, or its key was
 * used for another one. */
MUST_USE bool producer_begin(struct producer *producer,
                             const struct producer_submission *submission, char id[25],
                             enum producer_begun *begun, struct err *err);
/** Appends recipients as one entry of the submit stream: `recipients` is a JSON array of {"to",
 * "data", "key"}, `first` the number of its first one, `last` tells that none come behind. Up to
 * 1,000 at a time serve best. Waits while the engine is far behind (so that a list of any length
 * needs little memory in Redis), and while Redis is away or at maxmemory, up to `patience_ms`; then
 * ERR_LIMIT. The entry is stored when this returns true; the same `first` is only ever taken once,
 * so it may be called again. */
MUST_USE bool producer_append(struct producer *producer, const char *id, uint64_t first,
                              struct slice recipients, bool last, int64_t patience_ms,
                              struct err *err);
/** All recipients are appended: from now on the key stands for the whole submission. */
MUST_USE bool producer_end(struct producer *producer, const struct producer_submission *submission,
                           const char *id, struct err *err);
/** Appends a whole submission (one-shot, queue/README.md) as one entry; `entry` (may be NULL) gets
 * the stream entry's id, `id` the submission's. */
MUST_USE bool producer_submit(struct producer *producer, struct slice submission_json, char id[25],
                              struct err *err);

/* ---- watching ---- */

struct producer_totals {
    uint64_t accepted, rejected, delivered, bounced, expired, suppressed, cancelled, deferred,
        unknown;
};
/** Jobs that reached no terminal state yet. */
static inline uint64_t producer_totals_open(const struct producer_totals *totals)
{
    uint64_t ended = totals->delivered + totals->bounced + totals->expired + totals->suppressed +
                     totals->cancelled;
    return totals->accepted > ended ? totals->accepted - ended : 0;
}
/** The totals of a submission, or of the whole queue (id NULL), summed over the partitions. */
MUST_USE bool producer_totals(struct producer *producer, const char *id,
                              struct producer_totals *out, struct err *err);

struct producer_depth {
    uint64_t submit_entries; /* in the submit stream, not yet queued */
    uint64_t dead_letters;
    uint64_t retrying, in_flight;
    uint64_t destinations; /* with jobs waiting */
};
MUST_USE bool producer_depth(struct producer *producer, struct producer_depth *out,
                             struct err *err);

/** Reads events of all partitions: at first from `from_start` or only new ones; waits up to
 * `wait_ms` for the first. The callback gets each event's JSON; the order is right within a
 * partition only. False on failure; true also when none came. */
MUST_USE bool producer_events(struct producer *producer, bool from_start, int wait_ms,
                              void (*event)(void *user, struct slice json), void *user,
                              struct err *err);
/** Reads the dead-letter stream from its start, oldest first. */
struct producer_dead_letter {
    struct slice reason, path, submission, original;
};
MUST_USE bool producer_dead_letters(struct producer *producer, size_t max,
                                    void (*letter)(void *user,
                                                   const struct producer_dead_letter *letter),
                                    void *user, struct err *err);

/* ---- what the engine checks before it starts ---- */

/** Whether a Redis is there and fit: too old a version (before 6.2) or another number of partitions
 * is an error; what makes promises weaker on any of its primaries (maxmemory-policy, appendonly,
 * appendfsync, no-appendfsync-on-rewrite, too few replicas, a cluster that isn't whole) is a
 * warning to the log. */
MUST_USE bool queue_check(const struct producer_options *options, const struct log *log,
                          struct err *err);
