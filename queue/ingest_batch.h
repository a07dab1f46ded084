#pragma once
/* A batch of stream entries on its way into the partitions: what ingest.c sends and batch.c
 * computes. */
#include <jansson.h>

#include "engine/base/arena.h"
#include "queue/ingest.h"
#include "queue/keys.h"
#include "queue/submission.h"

enum {
    /* What one call queues, which bounds the time that Redis is busy with it: jobs, and the first
     * one of a destination counts as so many more. */
    PART_COST_MAX = 500,
    PART_DESTINATION_COST = 4,
};

/** One call of enqueue.lua. */
struct ingest_part {
    unsigned partition, number; /* number: of this entry in this partition */
    uint64_t rejected;
    struct slice *args; /* destination, n, keyed, n records (keyed: each behind its key), … */
    unsigned arg_count;
    unsigned jobs;
};

struct ingest_work {    /* one stream entry */
    struct slice entry; /* its id */
    struct submission submission;
    char id[QUEUE_SUBMISSION_BYTES_MAX + 1]; /* the submission's */
    int64_t accepted_ms;                     /* the entry's time */
    char hash[65];               /* of the entry's text, when it has to be compared; else empty */
    char *content;               /* one-shot: the content's JSON text */
    struct ingest_schema schema; /* one-shot, until its parts are computed */
    bool schema_open;
    const struct submission_terms *terms;
    bool done;   /* nothing is left but to take it out of the stream */
    bool queued; /* a chunk that was wholly queued before: only sealing is left */
    struct ingest_part *parts;
    unsigned part_count;
    uint64_t jobs, rejected;
    struct slice *open; /* sealed: partitions that may have open jobs */
    unsigned open_count;
    bool sealed;
};

/** Called for each recipient that can't be taken. */
struct ingest_reject {
    void (*rejected)(void *user, const struct ingest_work *work,
                     const struct submission_problem *problem, const json_t *original);
    void *user;
};

/** The id of a submission that came as entry "MS-SEQ": 's', MS in base 36, SEQ in base 36; the same
 * at each attempt. False when the entry's id isn't one. */
MUST_USE bool ingest_submission_id(struct slice entry, char out[QUEUE_SUBMISSION_BYTES_MAX + 1],
                                   int64_t *ms);

/** Computes the parts of an entry: always the same ones for the same text, fields and partitions.
 * All memory is the arena's;
 *  `records` is scratch. */
void ingest_work_encode(struct ingest_work *work, const struct ingest_schema *schema,
                        unsigned partitions, const struct ingest_callbacks *callbacks, void *user,
                        const struct ingest_reject *reject, struct arena *arena,
                        struct buf *records);
