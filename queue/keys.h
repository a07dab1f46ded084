#pragma once
/* The names of all keys, and which partition a destination belongs to (queue/README.md, "Keys").
 * All keys of a partition share the hash tag {p}, so that a script may touch any of them on a
 * cluster, too. */
#include "engine/base/buf.h"
#include "engine/base/err.h"
#include "engine/base/slice.h"

enum {
    QUEUE_LAYOUT_VERSION =
        2, /* "version" in ns:meta: a change of keys or records that old engines can't read */
    QUEUE_PARTITIONS_MAX = 4096,
    QUEUE_ID_BYTES_MAX = 38, /* a job's id; it must fit a journal slot */
    QUEUE_SUBMISSION_BYTES_MAX = 24,
    QUEUE_DESTINATION_BYTES_MAX = 255,
    QUEUE_NODE_BYTES_MAX = 40,
    QUEUE_NAME_SPACE_BYTES_MAX = 32,
    QUEUE_NAME_BYTES_MAX = 64, /* of a tenant, campaign, stream or pool */
    QUEUE_KEY_BYTES_MAX =
        256, /* of all keys that the engine names itself; scripts build the others */
    QUEUE_TOTALS_TTL_S = 7 * 86400,   /* a submission's counters outlive its last job by this */
    QUEUE_OBJECT_GRACE_S = 7 * 86400, /* a submission's object outlives its expiry by this */
};

/** A key on the stack. */
struct queue_key {
    char text[QUEUE_KEY_BYTES_MAX];
    size_t len;
};

static inline struct slice queue_key_slice(const struct queue_key *key)
{
    return (struct slice){ key->text, key->len };
}

/** "ns:{p}:NAME", or "ns:{p}:NAME" followed by `rest`. */
struct queue_key queue_key_partition(const char *name_space, unsigned partition, const char *name,
                                     struct slice rest);
/** "ns:NAME" followed by `rest`. */
struct queue_key queue_key_global(const char *name_space, const char *name, struct slice rest);
/** "ns:NAME{SUBMISSION}": keys of one submission share a hash tag, so that a script may touch them
 * together. */
struct queue_key queue_key_submission(const char *name_space, const char *name,
                                      struct slice submission);

/** "ns:y:TENANT/KEY": what a submission's idempotency key was used for. `tenant` ≤
 * QUEUE_NAME_BYTES_MAX, `key` ≤ 128 bytes. */
struct queue_key queue_key_idempotency(const char *name_space, struct slice tenant,
                                       struct slice key);

/** The partition of a destination: CRC-32 (IEEE 802.3, as zlib's) of its lower-case name modulo
 * `partitions`. Producers that queue directly use the same; it can't change while anything is
 * queued. */
unsigned queue_partition_of(struct slice destination, unsigned partitions);

/** Whether `text` may be a submission's id: 1–24 of A–Z a–z 0–9 . _ - */
bool queue_submission_id_valid(struct slice text);
/** Whether `text` may name a node or a name space: 1–`max` of A–Z a–z 0–9 . _ - */
bool queue_name_valid(struct slice text, size_t max);

/** Writes n in base 36 (at most 13 digits); returns their number. */
size_t queue_base36(uint64_t n, char out[13]);
/** Writes "SUBMISSION-n36" into out; returns its length (≤ QUEUE_ID_BYTES_MAX). */
size_t queue_job_id(struct slice submission, uint64_t n, char out[QUEUE_ID_BYTES_MAX]);
