/* The recipients of a submission: their addresses, keys and merge data, and the records made of
 * them. */
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/mem.h"
#include "queue/record.h"
#include "queue/submission_internal.h"

enum { FIELDS_FEW = 32 }; /* held on the stack */

bool submission_recipient_address(const struct submission *submission, size_t i,
                                  struct slice *address, struct slice *key,
                                  struct submission_problem *problem)
{
    static const char *const known[] = { "to", "data", "key", NULL };
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
    if (memchr(json_string_value(to), '\t', json_string_length(to)))
        return problem_set(problem, path, "must be the recipient's address"); /* parts a record */
    *address = json_slice(to);
    *key = SLICE("");
    snprintf(path, sizeof path, "%skey", prefix);
    return key_take(recipient, path, key, problem);
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
                                 uint32_t flags, const struct slice *fields, size_t field_count,
                                 struct buf *out, struct submission_problem *problem)
{
    const json_t *recipient = json_array_get(submission->recipients, i);
    const json_t *data = json_object_get(recipient, "data");
    assert(field_count <= QUEUE_RECORD_VALUES_MAX);
    if (!data_check(data, i, problem))
        return false;
    struct record record = { .id = job_id,
                             .flags = flags,
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
