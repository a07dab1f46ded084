/* What is stored of a submission: its content, once, whatever the number of its recipients, and its
 * terms. Producers that send in chunks write it themselves, so reading it checks everything. */
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/mem.h"
#include "queue/queue.h"
#include "queue/submission_internal.h"

static const char *class_name(char class)
{
    return class == 't' ? "transactional" : class == 'd' ? "deadline" : "bulk";
}

void submission_object(struct slice entry, const struct submission_terms *terms,
                       struct slice content, struct buf *out)
{
    const struct {
        const char *key;
        struct slice value;
    } names[] = { { "entry", entry },
                  { "from", terms->from },
                  { "class", slice_str(class_name(terms->class)) },
                  { "tenant", terms->tenant },
                  { "campaign", terms->campaign },
                  { "stream", terms->stream },
                  { "pool", terms->pool } };
    char separator = '{';
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (names[i].value.len == 0)
            continue;
        buf_printf(out, "%c\"%s\":", separator, names[i].key);
        buf_append_json(out, names[i].value);
        separator = ',';
    }
    if (terms->flags & QUEUE_JOB_REQUIRE_TLS)
        buf_append(out, SLICE(",\"require_tls\":true"));
    if (terms->weight > 0)
        buf_printf(out, ",\"weight\":%u", terms->weight);
    buf_printf(out, ",\"accepted_at\":%lld,\"send_at\":%lld,\"expires_at\":%lld",
               (long long)terms->accepted_ms, (long long)terms->start_ms,
               (long long)terms->expires_ms);
    for (size_t i = 0; i < terms->interval_count; i++)
        buf_printf(out, "%s[%lld,%lld]", i ? "," : ",\"windows\":[",
                   (long long)terms->intervals[i].open_ms, (long long)terms->intervals[i].close_ms);
    buf_printf(out, "%s,\"content\":", terms->interval_count ? "]" : "");
    buf_append(out, content);
    buf_append_char(out, '}');
}

static bool intervals_read(const json_t *windows, struct submission_terms *terms,
                           struct submission_problem *problem)
{
    size_t count = json_array_size(windows);
    if (!json_is_array(windows) || count == 0 || count > WINDOW_INTERVALS_MAX)
        return problem_set(problem, "windows", "must be an array of 1–%d pairs [open, close]",
                           WINDOW_INTERVALS_MAX);
    terms->intervals = mem_array(count, sizeof *terms->intervals);
    terms->interval_count = count;
    int64_t before = 0;
    for (size_t i = 0; i < count; i++) {
        const json_t *pair = json_array_get(windows, i);
        const json_t *open = json_array_get(pair, 0), *close = json_array_get(pair, 1);
        if (json_array_size(pair) != 2 || !json_is_integer(open) || !json_is_integer(close) ||
            json_integer_value(open) < before ||
            json_integer_value(close) <= json_integer_value(open) ||
            json_integer_value(close) >= INT64_C(1) << 50)
            return problem_set(problem, "windows",
                               "must be pairs [open, close] in ms since 1970, in order");
        before = json_integer_value(close);
        terms->intervals[i] = (struct window_interval){ json_integer_value(open), before };
    }
    return true;
}

static bool stored_read(struct submission_stored *out, struct submission_problem *problem)
{
    struct submission_terms *terms = &out->terms;
    const int64_t max = INT64_C(1) << 50;
    if (!json_is_object(out->root))
        return problem_set(problem, "", "must be an object");
    if (!terms_take(out->root, terms, problem) ||
        !integer_take(out->root, "accepted_at", 0, max, &terms->accepted_ms, problem) ||
        !integer_take(out->root, "send_at", 0, max, &terms->start_ms, problem) ||
        !integer_take(out->root, "expires_at", 0, max, &terms->expires_ms, problem))
        return false;
    if (!terms->class)
        terms->class = 'b';
    terms->start_ms = MAX_OF(terms->start_ms, terms->accepted_ms);
    if (terms->expires_ms <= terms->start_ms || terms->accepted_ms == 0)
        return problem_set(problem, "expires_at", "must be after accepted_at and send_at");
    const json_t *windows = json_object_get(out->root, "windows");
    if (windows && !intervals_read(windows, terms, problem))
        return false;
    const json_t *entry = json_object_get(out->root, "entry");
    out->entry = json_is_string(entry) ? json_slice(entry) : SLICE("");
    out->content = json_object_get(out->root, "content");
    return json_is_object(out->content) || problem_set(problem, "content", "must be an object");
}

bool submission_stored_parse(struct submission_stored *out, struct slice json, struct err *err)
{
    json_error_t error;
    struct submission_problem problem;
    *out = (struct submission_stored){ .root = json_loadb(json.ptr, json.len, 0, &error) };
    if (!out->root)
        return err_set(err, ERR_INPUT, "stored submission isn't JSON: %s", error.text);
    if (stored_read(out, &problem))
        return true;
    submission_stored_free(out);
    return err_set(err, ERR_INPUT, "stored submission: %s%s%.200s", problem.path,
                   problem.path[0] ? ": " : "", problem.reason);
}

void submission_stored_free(struct submission_stored *stored)
{
    submission_terms_free(&stored->terms);
    json_decref(stored->root);
    *stored = (struct submission_stored){ 0 };
}
