#pragma once
/* A submission as a producer writes it (queue/README.md, "Submissions";
 * queue/submission.schema.json), from JSON text to job records. No I/O here: what is right or wrong
 * with a text doesn't depend on Redis. */
#include <jansson.h>

#include "engine/base/buf.h"
#include "engine/base/err.h"
#include "engine/base/slice.h"

/** Why a submission or one of its recipients can't be taken, and where ("recipients[3].data.name").
 */
struct submission_problem {
    char reason[256];
    char path[128];
};

struct submission {
    json_t *root;
    json_t *content;    /* NULL: a chunk, whose object was stored before */
    json_t *recipients; /* an array, perhaps empty */
    struct slice id;    /* one-shot: as given, or empty; chunk: the submission's */
    struct slice from;
    uint64_t first;       /* number of the first recipient */
    int64_t expires_in_s; /* 0: not given */
};

enum {
    SUBMISSION_BYTES_MAX = 64 << 20,
    SUBMISSION_RECIPIENTS_MAX = 1000000,
    SUBMISSION_EXPIRES_S_MAX = 30 * 86400
};

/** Parses and checks everything but the recipients and the content's inside. On false `problem`
 * says what and where; nothing to free. */
MUST_USE bool submission_parse(struct submission *out, struct slice text,
                               struct submission_problem *problem);
void submission_free(struct submission *submission);

/** The address of recipient i; false with a problem when there's none. */
MUST_USE bool submission_recipient_address(const struct submission *submission, size_t i,
                                           struct slice *address,
                                           struct submission_problem *problem);
/** Appends the job record of recipient i with its values in the order of `fields`: unknown data is
 * dropped, missing is empty. On false nothing was appended. */
MUST_USE bool submission_recipient_record(const struct submission *submission, size_t i,
                                          struct slice job_id, const struct slice *fields,
                                          size_t field_count, struct buf *out,
                                          struct submission_problem *problem);

/** The object that is stored as ns:s:SID, compact JSON; the caller frees it. `entry`: the stream
 * entry it came from, NULL for none. */
char *submission_object(const char *entry, struct slice from, const json_t *content,
                        int64_t accepted_ms, int64_t expires_ms);
/** What an object says; `content` is a new reference. */
struct submission_stored {
    json_t *root, *content;
    const char *entry; /* may be NULL */
    int64_t accepted_ms, expires_ms;
};
MUST_USE bool submission_stored_parse(struct submission_stored *out, struct slice json,
                                      struct err *err);
