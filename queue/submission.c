#include "queue/submission.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/mem.h"
#include "queue/keys.h"
#include "queue/record.h"

enum { FIELDS_FEW = 32 }; /* held on the stack */

static bool problem_set(struct submission_problem *problem, const char *path, const char *format,
                        ...) PRINTF_LIKE(3, 4);

static bool problem_set(struct submission_problem *problem, const char *path, const char *format,
                        ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(problem->reason, sizeof problem->reason, format, args);
    va_end(args);
    snprintf(problem->path, sizeof problem->path, "%s", path);
    return false;
}

static struct slice json_slice(const json_t *text)
{
    return slice_of(json_string_value(text), json_string_length(text));
}

/* An unknown key is most often a misspelt one: refused, so that nothing that a producer meant is
 * silently left out. */
static bool keys_known(const json_t *object, const char *prefix, const char *const *known,
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

static bool integer_take(const json_t *root, const char *key, int64_t max, int64_t *out,
                         struct submission_problem *problem)
{
    const json_t *value = json_object_get(root, key);
    if (!value)
        return true;
    if (!json_is_integer(value) || json_integer_value(value) < 0 || json_integer_value(value) > max)
        return problem_set(problem, key, "must be an integer from 0 to %lld", (long long)max);
    *out = json_integer_value(value);
    return true;
}

static bool id_take(struct submission *out, const char *key, struct submission_problem *problem)
{
    const json_t *id = json_object_get(out->root, key);
    if (!id)
        return true;
    if (!json_is_string(id) || !queue_submission_id_valid(json_slice(id)))
        return problem_set(problem, key, "must be 1–%d letters, digits, '.', '_', '-'",
                           QUEUE_SUBMISSION_BYTES_MAX);
    out->id = json_slice(id);
    return true;
}

static bool whole_check(struct submission *out, struct submission_problem *problem)
{
    static const char *const known[] = {
        "id", "from", "content", "recipients", "expires_in_s", NULL
    };
    if (!keys_known(out->root, "", known, problem) || !id_take(out, "id", problem) ||
        !integer_take(out->root, "expires_in_s", SUBMISSION_EXPIRES_S_MAX, &out->expires_in_s,
                      problem))
        return false;
    const json_t *from = json_object_get(out->root, "from");
    if (!json_is_string(from) || json_string_length(from) == 0)
        return problem_set(problem, "from", "must be the sender's address");
    out->from = json_slice(from);
    if (!json_is_object(json_object_get(out->root, "content")))
        return problem_set(problem, "content", "must be an object");
    out->content = json_object_get(out->root, "content");
    return true;
}

static bool chunk_check(struct submission *out, struct submission_problem *problem)
{
    static const char *const known[] = { "submission", "first", "recipients", NULL };
    int64_t first = 0;
    if (!keys_known(out->root, "", known, problem) || !id_take(out, "submission", problem) ||
        !integer_take(out->root, "first", INT64_C(1) << 50, &first, problem))
        return false;
    out->first = (uint64_t)first;
    return true;
}

bool submission_parse(struct submission *out, struct slice text, struct submission_problem *problem)
{
    *out = (struct submission){ 0 };
    if (text.len > SUBMISSION_BYTES_MAX)
        return problem_set(problem, "", "%zu bytes are more than %d", text.len,
                           SUBMISSION_BYTES_MAX);
    json_error_t error;
    out->root = json_loadb(text.ptr, text.len, JSON_REJECT_DUPLICATES, &error);
    if (!out->root) {
        char path[64];
        snprintf(path, sizeof path, "line %d, column %d", error.line, error.column);
        return problem_set(problem, path, "not JSON: %s", error.text);
    }
    bool ok = json_is_object(out->root);
    if (!ok)
        problem_set(problem, "", "must be an object");
    else if (json_object_get(out->root, "submission"))
        ok = chunk_check(out, problem);
    else
        ok = whole_check(out, problem);
    if (ok) {
        out->recipients = json_object_get(out->root, "recipients");
        if (!json_is_array(out->recipients))
            ok = problem_set(problem, "recipients", "must be an array");
        else if (json_array_size(out->recipients) > SUBMISSION_RECIPIENTS_MAX)
            ok = problem_set(problem, "recipients", "more than %d in one entry",
                             SUBMISSION_RECIPIENTS_MAX);
    }
    if (!ok)
        submission_free(out);
    return ok;
}

void submission_free(struct submission *submission)
{
    json_decref(submission->root);
    *submission = (struct submission){ 0 };
}

bool submission_recipient_address(const struct submission *submission, size_t i,
                                  struct slice *address, struct submission_problem *problem)
{
    static const char *const known[] = { "to", "data", NULL };
    char prefix[48], path[64];
    snprintf(prefix, sizeof prefix, "recipients[%zu].", i);
    snprintf(path, sizeof path, "%sto", prefix);
    const json_t *recipient = json_array_get(submission->recipients, i);
    const json_t *to = json_object_get(recipient, "to");
    if (!json_is_object(recipient)) {
        path[strlen(prefix) - 1] = '\0';
        return problem_set(problem, path, "must be an object with \"to\"");
    }
    if (!keys_known(recipient, prefix, known, problem))
        return false;
    if (!json_is_string(to) || json_string_length(to) == 0)
        return problem_set(problem, path, "must be the recipient's address");
    if (json_string_length(to) > QUEUE_RECIPIENT_BYTES_MAX)
        return problem_set(problem, path, "longer than %d bytes", QUEUE_RECIPIENT_BYTES_MAX);
    *address = json_slice(to);
    return true;
}

/* A scalar as text: what a template puts into the message. Numbers are written into `text`. */
static bool value_text(const json_t *value, char text[40], struct slice *out)
{
    switch (json_typeof(value)) {
    case JSON_STRING:
        *out = json_slice(value);
        return true;
    case JSON_INTEGER:
        *out = slice_of(text,
                        (size_t)snprintf(text, 40, "%lld", (long long)json_integer_value(value)));
        return true;
    case JSON_REAL:
        *out = slice_of(text, (size_t)snprintf(text, 40, "%.15g", json_real_value(value)));
        return true;
    case JSON_TRUE:
        *out = SLICE("true");
        return true;
    case JSON_FALSE:
        *out = SLICE("false");
        return true;
    case JSON_OBJECT:
    case JSON_ARRAY:
    case JSON_NULL:
        return false;
    }
    return false;
}

static bool data_check(const json_t *data, size_t i, struct submission_problem *problem)
{
    char path[128], text[40];
    snprintf(path, sizeof path, "recipients[%zu].data", i);
    if (data && !json_is_object(data))
        return problem_set(problem, path, "must be an object");
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)data, key, value)
    {
        struct slice ignored;
        if (value_text(value, text, &ignored))
            continue;
        snprintf(path, sizeof path, "recipients[%zu].data.%.64s", i, key);
        return problem_set(problem, path, "must be a string, a number, true or false");
    }
    return true;
}

bool submission_recipient_record(const struct submission *submission, size_t i, struct slice job_id,
                                 const struct slice *fields, size_t field_count, struct buf *out,
                                 struct submission_problem *problem)
{
    const json_t *recipient = json_array_get(submission->recipients, i);
    const json_t *data = json_object_get(recipient, "data");
    assert(field_count <= QUEUE_RECORD_VALUES_MAX);
    if (!data_check(data, i, problem))
        return false;
    struct record record = { .id = job_id,
                             .recipient = json_slice(json_object_get(recipient, "to")) };
    struct slice few[FIELDS_FEW];
    char few_numbers[FIELDS_FEW][40];
    bool many = field_count > FIELDS_FEW;
    struct slice *values = many ? mem_array(field_count, sizeof *values) : few;
    char(*numbers)[40] = many ? mem_array(field_count, sizeof *numbers) : few_numbers;
    size_t bytes = 0;
    for (size_t f = 0; f < field_count; f++) {
        const json_t *value = json_object_getn(data, fields[f].ptr, fields[f].len);
        values[f] = SLICE("");
        if (value && value_text(value, numbers[f], &values[f]))
            record.value_count = (uint32_t)f + 1; /* empty ones at the end are left out */
        bytes += values[f].len;
    }
    record.values = values;
    bool ok = bytes <= QUEUE_RECORD_BYTES_MAX && record_write(out, &record);
    if (many) {
        free(numbers);
        free(values);
    }
    if (ok)
        return true;
    char path[64];
    snprintf(path, sizeof path, "recipients[%zu].data", i);
    return problem_set(problem, path, "more than %d bytes", QUEUE_RECORD_BYTES_MAX);
}

char *submission_object(const char *entry, struct slice from, const json_t *content,
                        int64_t accepted_ms, int64_t expires_ms)
{
    json_t *object = json_object();
    if (entry)
        json_object_set_new(object, "entry", json_string(entry));
    json_object_set_new(object, "from", json_stringn(from.ptr, from.len));
    json_object_set(object, "content", (json_t *)content);
    json_object_set_new(object, "accepted_at", json_integer(accepted_ms));
    json_object_set_new(object, "expires_at", json_integer(expires_ms));
    char *text = json_dumps(object, JSON_COMPACT);
    json_decref(object);
    assert(text); /* all of it was valid JSON before, or is ours */
    return text;
}

bool submission_stored_parse(struct submission_stored *out, struct slice json, struct err *err)
{
    json_error_t error;
    *out = (struct submission_stored){ .root = json_loadb(json.ptr, json.len, 0, &error) };
    if (!out->root)
        return err_set(err, ERR_INPUT, "stored submission isn't JSON: %s", error.text);
    out->content = json_object_get(out->root, "content");
    out->entry = json_string_value(json_object_get(out->root, "entry"));
    out->accepted_ms = json_integer_value(json_object_get(out->root, "accepted_at"));
    out->expires_ms = json_integer_value(json_object_get(out->root, "expires_at"));
    if (json_is_object(out->content))
        return true;
    json_decref(out->root);
    return err_set(err, ERR_INPUT, "stored submission without content");
}
