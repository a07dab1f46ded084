#pragma once
/* From the submit stream into the partitions: one consumer of the group per worker. Exactly once:
 * each part of an entry carries a marker that is set in the same step as the jobs are queued; an
 * entry leaves the stream when all its parts are in. What a crash, a lost connection or a full
 * Redis interrupts is simply read and done again.
 *
 * What the queue can't know (what a content's fields are, what an address is) comes from callbacks,
 * so that it needs no message module. */
#include "engine/ring/ring.h"

struct ingest;

struct ingest_schema {
    const struct slice
        *fields; /* the merge fields, in the order in which jobs carry their values; ≤ 1024 */
    size_t count;
    void *compiled; /* the callee's */
};

struct ingest_callbacks {
    /** Compiles a submission's "content" (JSON text) to learn its fields; false with a reason for
     * the producer. Called once per submission as long as it is in use; `fields` live until
     * schema_close(). */
    bool (*schema_open)(void *user, struct slice content, struct ingest_schema *out,
                        struct err *err);
    void (*schema_close)(void *user, struct ingest_schema *schema);
    /** The destination of an address: its domain in lower case, A-labels; false with a reason.
     * `len` ≤ 255. Also asked about "from". */
    bool (*destination)(void *user, struct slice address, char out[256], size_t *len,
                        struct err *err);
};

struct ingest_options {
    const char *url, *name_space;
    unsigned partitions;
    const char *node;
    unsigned worker;
    int64_t expires_s;               /* of submissions that don't say; 0: 345,600 (4 days) */
    int64_t expires_transactional_s; /* of transactional ones; 0: expires_s */
    int64_t idempotency_s;     /* how long keys are remembered; 0: 172,800 (2 days); ≥ 86,400 */
    unsigned redis_timeout_ms; /* 0: 3000 */
    unsigned wait_replicas;    /* that must have what is taken in; 0: none */
    unsigned wait_timeout_ms;  /* how long it may take them; 0: 1000 */
    const struct log *log;
};

MUST_USE bool ingest_create(struct ingest **out, struct ring *ring,
                            const struct ingest_options *options,
                            const struct ingest_callbacks *callbacks, void *user, struct err *err);
void ingest_start(struct ingest *ingest);
/** Stops at once; what was under way is done again at the next start, without harm. Then `stopped`.
 */
void ingest_stop(struct ingest *ingest, void (*stopped)(void *user), void *user);
/** Only when never started, or after `stopped`. */
void ingest_destroy(struct ingest **ingest);

struct ingest_stats {    /* of this process; other threads may read with relaxed atomics */
    uint64_t entries;    /* taken out of the stream */
    uint64_t recipients; /* queued */
    uint64_t rejected;   /* recipients in the dead-letter stream */
    uint64_t refused;    /* whole entries there */
    uint64_t repeated;   /* entries, and recipients of others, whose key was used before */
    uint64_t suppressed; /* recipients whose address was suppressed when they were queued */
    uint64_t dropped;    /* contents dropped here because no job was open any more */
    uint64_t pauses;     /* waits because Redis refused, e.g. at maxmemory */
};
const struct ingest_stats *ingest_stats(const struct ingest *ingest);
