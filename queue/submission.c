/* A submission's members, as a whole or as a chunk; its recipients are in submission_recipient.c,
 * its schedule in submission_schedule.c, what is stored of it in submission_object.c. */
#include "queue/submission.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "queue/keys.h"
#include "queue/queue.h"
#include "queue/submission_internal.h"

/* ---- members ---- */

bool problem_set(struct submission_problem *problem, const char *path, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(problem->reason, sizeof problem->reason, format, args);
    va_end(args);
    snprintf(problem->path, sizeof problem->path, "%s", path);
    return false;
}

bool keys_known(const json_t *object, const char *prefix, const char *const *known,
                struct submission_problem *problem)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value)
    {
        const char *const *it = known;
        while (*it && strcmp(*it, key) != 0)
            it++;
        char path[100];
        snprintf(path, sizeof path, "%s%.60s", prefix, key);
        if (!*it)
            return problem_set(problem, path, "unknown key");
    }
    return true;
}

bool integer_take(const json_t *object, const char *key, int64_t min, int64_t max, int64_t *out,
                  struct submission_problem *problem)
{
    const json_t *value = json_object_get(object, key);
    if (!value)
        return true;
    if (!json_is_integer(value) || json_integer_value(value) < min ||
        json_integer_value(value) > max)
        return problem_set(problem, key, "must be an integer from %lld to %lld", (long long)min,
                           (long long)max);
    *out = json_integer_value(value);
    return true;
}

bool name_take(const json_t *object, const char *key, size_t max, struct slice *out,
               struct submission_problem *problem)
{
    const json_t *name = json_object_get(object, key);
    if (!name)
        return true;
    if (!json_is_string(name) || !queue_name_valid(json_slice(name), max))
        return problem_set(problem, key, "must be 1–%zu letters, digits, '.', '_', '-'", max);
    *out = json_slice(name);
    return true;
}

bool key_take(const json_t *object, const char *path, struct slice *out,
              struct submission_problem *problem)
{
    const json_t *key = json_object_get(object, "key");
    if (!key)
        return true;
    struct slice text = json_is_string(key) ? json_slice(key) : SLICE("");
    bool ok = text.len > 0 && text.len <= SUBMISSION_KEY_BYTES_MAX;
    for (size_t i = 0; ok && i < text.len; i++)
        ok = (uint8_t)text.ptr[i] >= 0x20 && text.ptr[i] != 0x7f;
    if (!ok)
        return problem_set(problem, path, "must be 1–%d bytes of text without control characters",
                           SUBMISSION_KEY_BYTES_MAX);
    *out = text;
    return true;
}

static const struct {
    struct slice name;
    char class;
} classes[] = { { { "transactional", 13 }, 't' },
                { { "deadline", 8 }, 'd' },
                { { "bulk", 4 }, 'b' } };

char submission_class(struct slice name)
{
    for (size_t i = 0; i < ARRAY_LEN(classes); i++)
        if (slice_eq(classes[i].name, name))
            return classes[i].class;
    return 0;
}

/* RFC 8689, 5: the message itself says that what its recipients' domains publish needn't be kept.
 */
static bool header_waives_tls(const char *name, const json_t *value)
{
    return strcasecmp(name, "TLS-Required") == 0 && json_is_string(value) &&
           slice_eq_nocase(slice_trim(json_slice(value)), SLICE("No"));
}

/* Of a whole message, unless it's in base64: the header's lines, as far as the empty one. */
static bool raw_waives_tls(struct slice message)
{
    while (message.len > 0) {
        struct slice line = slice_cut(&message, '\n');
        struct slice name = slice_cut(&line, ':');
        if (slice_trim(name).len == 0)
            return false;
        if (slice_eq_nocase(name, SLICE("TLS-Required")))
            return slice_eq_nocase(slice_trim(line), SLICE("No"));
    }
    return false;
}

static bool content_waives_tls(const json_t *content)
{
    const json_t *raw = json_object_get(content, "raw");
    if (json_is_string(raw))
        return raw_waives_tls(json_slice(raw));
    json_t *headers = json_object_get(content, "headers"), *value;
    const char *name;
    size_t i;
    json_object_foreach(headers, name, value) if (header_waives_tls(name, value)) return true;
    json_array_foreach(headers, i, value)
    {
        const json_t *key = json_array_get(value, 0);
        if (json_is_string(key) &&
            header_waives_tls(json_string_value(key), json_array_get(value, 1)))
            return true;
    }
    return false;
}

static bool tls_take(const json_t *object, uint32_t *flags, struct submission_problem *problem)
{
    const json_t *required = json_object_get(object, "require_tls");
    if (required && !json_is_boolean(required))
        return problem_set(problem, "require_tls", "must be true or false");
    if (json_is_true(required)) /* then the header is ignored (RFC 8689, 5) */
        *flags |= QUEUE_JOB_REQUIRE_TLS;
    else if (content_waives_tls(json_object_get(object, "content")))
        *flags |= QUEUE_JOB_WAIVE_TLS;
    return true;
}

bool terms_take(const json_t *object, struct submission_terms *terms,
                struct submission_problem *problem)
{
    const struct {
        const char *key;
        struct slice *out;
    } names[] = { { "tenant", &terms->tenant },
                  { "campaign", &terms->campaign },
                  { "stream", &terms->stream },
                  { "pool", &terms->pool } };
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (!name_take(object, names[i].key, QUEUE_NAME_BYTES_MAX, names[i].out, problem))
            return false;
    const json_t *class = json_object_get(object, "class");
    if (class && json_is_string(class))
        terms->class = submission_class(json_slice(class));
    if (class && !terms->class)
        return problem_set(problem, "class", "must be transactional, deadline or bulk");
    if (!tls_take(object, &terms->flags, problem))
        return false;
    int64_t weight = 0;
    if (!integer_take(object, "weight", 1, SUBMISSION_WEIGHT_MAX, &weight, problem))
        return false;
    if (weight > 0 && terms->campaign.len == 0)
        return problem_set(problem, "weight",
                           "is a campaign's share of its tenant's: needs a campaign");
    terms->weight = (unsigned)weight;
    const json_t *from = json_object_get(object, "from");
    if (!json_is_string(from) || json_string_length(from) == 0 ||
        json_string_length(from) > SUBMISSION_SENDER_BYTES_MAX)
        return problem_set(problem, "from", "must be the sender's address");
    terms->from = json_slice(from);
    return true;
}

/* ---- a whole one, a chunk ---- */

static bool whole_check(struct submission *out, struct submission_problem *problem)
{
    static const char *const known[] = { "id",      "key",          "tenant",      "campaign",
                                         "class",   "stream",       "pool",        "weight",
                                         "from",    "content",      "recipients",  "send_at",
                                         "windows", "expires_in_s", "require_tls", NULL };
    if (!keys_known(out->root, "", known, problem) ||
        !name_take(out->root, "id", QUEUE_SUBMISSION_BYTES_MAX, &out->id, problem) ||
        !key_take(out->root, "key", &out->key, problem) ||
        !terms_take(out->root, &out->terms, problem) ||
        !integer_take(out->root, "expires_in_s", 0, SUBMISSION_EXPIRES_S_MAX, &out->expires_in_s,
                      problem) ||
        !schedule_take(out, problem))
        return false;
    if (out->terms.class == 'd' && out->expires_in_s == 0)
        return problem_set(problem, "expires_in_s", "a deadline is needed for the class deadline");
    out->content = json_object_get(out->root, "content");
    if (!json_is_object(out->content))
        return problem_set(problem, "content", "must be an object");
    return true;
}

static bool chunk_check(struct submission *out, struct submission_problem *problem)
{
    static const char *const known[] = { "submission", "first", "recipients", "last", NULL };
    int64_t first = 0;
    if (!keys_known(out->root, "", known, problem) ||
        !name_take(out->root, "submission", QUEUE_SUBMISSION_BYTES_MAX, &out->id, problem) ||
        !integer_take(out->root, "first", 0, INT64_C(1) << 50, &first, problem))
        return false;
    const json_t *last = json_object_get(out->root, "last");
    if (last && !json_is_boolean(last))
        return problem_set(problem, "last", "must be true or false");
    out->chunk = true;
    out->first = (uint64_t)first;
    out->last = json_is_true(last);
    return true;
}

static bool recipients_check(struct submission *out, struct submission_problem *problem)
{
    out->recipients = json_object_get(out->root, "recipients");
    size_t count = json_array_size(out->recipients);
    if (!json_is_array(out->recipients))
        return problem_set(problem, "recipients", "must be an array");
    if (count > SUBMISSION_RECIPIENTS_MAX)
        return problem_set(problem, "recipients", "more than %d in one entry",
                           SUBMISSION_RECIPIENTS_MAX);
    if (!out->terms.class)
        out->terms.class = count > 1 || out->terms.campaign.len > 0 ? 'b' : 't';
    return true;
}

/* Takes the tree over. */
static bool tree_check(struct submission *out, json_t *root, struct submission_problem *problem)
{
    bool ok = json_is_object(root);
    out->root = root;
    if (!ok)
        problem_set(problem, "", "must be an object");
    else if (json_object_get(root, "submission"))
        ok = chunk_check(out, problem);
    else
        ok = whole_check(out, problem);
    ok = ok && recipients_check(out, problem);
    if (!ok)
        submission_free(out);
    return ok;
}

static bool size_check(size_t bytes, struct submission_problem *problem)
{
    return bytes <= SUBMISSION_BYTES_MAX ||
           problem_set(problem, "", "%zu bytes are more than %d", bytes, SUBMISSION_BYTES_MAX);
}

bool submission_parse(struct submission *out, struct slice text, struct submission_problem *problem)
{
    *out = (struct submission){ 0 };
    if (!size_check(text.len, problem))
        return false;
    json_error_t error;
    json_t *root = json_loadb(text.ptr, text.len, JSON_REJECT_DUPLICATES, &error);
    if (!root) {
        char path[64];
        snprintf(path, sizeof path, "line %d, column %d", error.line, error.column);
        return problem_set(problem, path, "not JSON: %s", error.text);
    }
    return tree_check(out, root, problem);
}

bool submission_parse_msgpack(struct submission *out, struct slice bytes,
                              struct submission_problem *problem)
{
    *out = (struct submission){ 0 };
    if (!size_check(bytes.len, problem))
        return false;
    json_t *root = msgpack_tree(bytes, problem);
    return root && tree_check(out, root, problem);
}

void submission_free(struct submission *submission)
{
    submission_terms_free(&submission->terms);
    json_decref(submission->root);
    *submission = (struct submission){ 0 };
}
