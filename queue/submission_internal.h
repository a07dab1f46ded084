#pragma once
/* What the submission*.c share: reading members of a JSON object, with a problem that names the
 * path. `prefix` is the path of the object with a dot behind, or empty. */
#include "queue/submission.h"

bool problem_set(struct submission_problem *problem, const char *path, const char *format, ...)
    PRINTF_LIKE(3, 4);

static inline struct slice json_slice(const json_t *text)
{
    return slice_of(json_string_value(text), json_string_length(text));
}

/** An unknown key is most often a misspelt one: refused, so that nothing that a producer meant is
 * silently left out. `known` ends with NULL. */
MUST_USE bool keys_known(const json_t *object, const char *prefix, const char *const *known,
                         struct submission_problem *problem);
/** Each leaves `out` alone when the key isn't there. */
MUST_USE bool integer_take(const json_t *object, const char *key, int64_t min, int64_t max,
                           int64_t *out, struct submission_problem *problem);
/** 1–`max` letters, digits, '.', '_', '-'. */
MUST_USE bool name_take(const json_t *object, const char *key, size_t max, struct slice *out,
                        struct submission_problem *problem);
/** 1–128 bytes without control characters; `path` is that of the key. */
MUST_USE bool key_take(const json_t *object, const char *path, struct slice *out,
                       struct submission_problem *problem);

/** tenant, campaign, stream, pool, class, require_tls, weight: those of a submission and of a stored object. The
 * class stays 0 when it isn't given. */
MUST_USE bool terms_take(const json_t *object, struct submission_terms *terms,
                         struct submission_problem *problem);
/** send_at and windows (submission_schedule.c). */
MUST_USE bool schedule_take(struct submission *submission, struct submission_problem *problem);
/** msgpack to the same tree that JSON gives (submission_msgpack.c); NULL with a problem. */
json_t *msgpack_tree(struct slice bytes, struct submission_problem *problem);
