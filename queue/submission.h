#pragma once
/* A submission as a producer writes it (queue/README.md, "Submissions";
 * queue/submission.schema.json), from JSON text or msgpack to job records. No I/O here: what is
 * right or wrong with a text doesn't depend on Redis. */
#include <jansson.h>

#include "engine/base/buf.h"
#include "engine/base/err.h"
#include "engine/base/slice.h"
#include "queue/windows.h"

/** Why a submission or one of its recipients can't be taken, and where ("recipients[3].data.name").
 */
struct submission_problem {
    char reason[256];
    char path[128];
};

enum {
    SUBMISSION_BYTES_MAX = 80 << 20, /* a body of 50 MiB in base64, with its line ends escaped */
    SUBMISSION_RECIPIENTS_MAX = 1000000,
    SUBMISSION_EXPIRES_S_MAX = 30 * 86400, /* counted from send_at */
    SUBMISSION_AHEAD_S_MAX = 30 * 86400,   /* send_at */
    SUBMISSION_SENDER_BYTES_MAX = 254,
    SUBMISSION_KEY_BYTES_MAX = 128,
    SUBMISSION_WEIGHT_MAX = 1000,
    SUBMISSION_OBJECT_BYTES_MAX = SUBMISSION_BYTES_MAX + (64 << 10), /* what is stored of one */
};

/** What a submission asks of the queue, besides its content. Slices live as long as what they were
 * read from. */
struct submission_terms {
    struct slice from;
    char class;                                  /* 't' transactional, 'd' deadline, 'b' bulk */
    struct slice tenant, campaign, stream, pool; /* may be empty */
    unsigned weight;                             /* of the campaign; 0: not given */
    uint32_t flags;                              /* queue_flags of each of its jobs */
    int64_t accepted_ms, start_ms, expires_ms;   /* ms since 1970; nothing leaves before start_ms */
    struct window_interval *intervals;           /* when it may leave; NULL: always */
    size_t interval_count;
};
void submission_terms_free(struct submission_terms *terms);
/** "open-close open-close …" in ms, as the scripts read it. */
void submission_terms_windows(const struct submission_terms *terms, struct buf *out);

/** "transactional" → 't' …; 0: no such class. */
char submission_class(struct slice name);

struct submission {
    json_t *root;
    bool chunk;         /* more recipients of a submission whose object was stored before */
    json_t *content;    /* one-shot only */
    json_t *recipients; /* an array, perhaps empty */
    struct slice id;    /* one-shot: as given, or empty; chunk: the submission's */
    struct slice key;   /* idempotency key, or empty */
    uint64_t first;     /* chunk: number of the first recipient */
    bool last;          /* chunk: none comes behind it */
    /* one-shot only: */
    struct submission_terms terms; /* without times and intervals, see submission_schedule() */
    int64_t expires_in_s;          /* 0: not given */
    int64_t send_at_ms;            /* 0: not given */
    struct window windows[WINDOWS_MAX];
    size_t window_count;
};

/** Parses and checks everything but the recipients and the content's inside. On false `problem`
 * says what and where; nothing to free. */
MUST_USE bool submission_parse(struct submission *out, struct slice text,
                               struct submission_problem *problem);
/** The same from msgpack. */
MUST_USE bool submission_parse_msgpack(struct submission *out, struct slice bytes,
                                       struct submission_problem *problem);
void submission_free(struct submission *submission);

/** A time as RFC 3339 writes it, in ms since 1970. */
MUST_USE bool submission_time_parse(struct slice text, int64_t *ms);
/** Fills in the terms' times and intervals for a one-shot submission accepted at `accepted_ms`; the
 * same ones whenever it's called. False with a problem when it could never be sent. */
MUST_USE bool submission_schedule(struct submission *submission, int64_t accepted_ms,
                                  int64_t expires_default_s, struct submission_problem *problem);

/** The address of recipient i; false with a problem when there's none. `key` is its idempotency
 * key, or empty. */
MUST_USE bool submission_recipient_address(const struct submission *submission, size_t i,
                                           struct slice *address, struct slice *key,
                                           struct submission_problem *problem);
/** Appends the job record of recipient i with its values in the order of `fields`: unknown data is
 * dropped, missing is empty. `flags`: of its terms. On false nothing was appended. */
MUST_USE bool submission_recipient_record(const struct submission *submission, size_t i,
                                          struct slice job_id, uint32_t flags,
                                          const struct slice *fields,
                                          size_t field_count, struct buf *out,
                                          struct submission_problem *problem);

/** Appends the object that is stored as ns:s:{SID} (before content_pack()), compact JSON; `content`
 * is the content's JSON text. `entry`: the stream entry it came from, empty for none. */
void submission_object(struct slice entry, const struct submission_terms *terms,
                       struct slice content, struct buf *out);
/** What an object says. */
struct submission_stored {
    json_t *root;       /* holds everything; the caller's */
    json_t *content;    /* belongs to root */
    struct slice entry; /* may be empty */
    struct submission_terms terms;
};
/** Parses and checks an object, unpacked. On false nothing is to be freed. */
MUST_USE bool submission_stored_parse(struct submission_stored *out, struct slice json,
                                      struct err *err);
void submission_stored_free(struct submission_stored *stored);
