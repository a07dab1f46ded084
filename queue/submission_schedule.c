/* When a submission's mail may leave: not before send_at, only within its windows, not after it has
 * expired. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "engine/base/mem.h"
#include "queue/submission_internal.h"

enum { PAST_S_MAX = 86400 }; /* of send_at: clocks differ; more is a mistake in the unit */

/* ---- send_at ---- */

/* ".5" to 500: digits beyond milliseconds are read and dropped. */
static bool fraction_take(struct slice *text, int64_t *ms)
{
    *ms = 0;
    if (text->len == 0 || text->ptr[0] != '.')
        return true;
    size_t n = 1;
    for (int scale = 100; n < text->len && text->ptr[n] >= '0' && text->ptr[n] <= '9'; n++) {
        *ms += (text->ptr[n] - '0') * scale;
        scale /= 10;
    }
    *text = slice_skip(*text, n);
    return n > 1;
}

/* "Z", "+02:00": seconds east of Greenwich. */
static bool offset_take(struct slice text, int64_t *offset_s)
{
    unsigned hours, minutes;
    *offset_s = 0;
    if (text.len == 1 && (text.ptr[0] == 'Z' || text.ptr[0] == 'z'))
        return true;
    if (text.len != 6 || (text.ptr[0] != '+' && text.ptr[0] != '-') || text.ptr[3] != ':')
        return false;
    int sign = text.ptr[0] == '+' ? 1 : -1;
    text = slice_skip(text, 1);
    if (!slice_take_digits(&text, 2, &hours))
        return false;
    text = slice_skip(text, 1);
    if (!slice_take_digits(&text, 2, &minutes) || hours > 23 || minutes > 59)
        return false;
    *offset_s = (int64_t)sign * (hours * 3600 + minutes * 60);
    return true;
}

bool submission_time_parse(struct slice text, int64_t *ms)
{
    /* RFC 3339, 5.6: fields of digits, each with what stands behind it */
    static const struct {
        unsigned digits;
        const char *behind;
    } fields[] = { { 4, "-" }, { 2, "-" }, { 2, "Tt " }, { 2, ":" }, { 2, ":" }, { 2, "" } };
    unsigned v[6];
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        if (!slice_take_digits(&text, fields[i].digits, &v[i]))
            return false;
        if (!fields[i].behind[0])
            break;
        if (text.len == 0 || text.ptr[0] == '\0' || !strchr(fields[i].behind, text.ptr[0]))
            return false;
        text = slice_skip(text, 1);
    }
    int64_t fraction, offset;
    if (!fraction_take(&text, &fraction) || !offset_take(text, &offset) || v[0] < 1970 ||
        v[1] < 1 || v[1] > 12 || v[2] < 1 || v[3] > 23 || v[4] > 59 || v[5] > 60)
        return false;
    struct tm tm = { .tm_year = (int)v[0] - 1900,
                     .tm_mon = (int)v[1] - 1,
                     .tm_mday = (int)v[2],
                     .tm_hour = (int)v[3],
                     .tm_min = (int)v[4] };
    time_t seconds = timegm(&tm);
    if (tm.tm_mday != (int)v[2]) /* no such day in that month */
        return false;
    *ms = ((int64_t)seconds + v[5] - offset) * 1000 + fraction;
    return true;
}

static bool send_at_take(struct submission *submission, struct submission_problem *problem)
{
    const json_t *at = json_object_get(submission->root, "send_at");
    if (!at)
        return true;
    if (json_is_integer(at) && json_integer_value(at) > 0 &&
        json_integer_value(at) < INT64_C(1) << 50)
        submission->send_at_ms = json_integer_value(at);
    else if (!json_is_string(at) ||
             !submission_time_parse(json_slice(at), &submission->send_at_ms) ||
             submission->send_at_ms <= 0)
        return problem_set(problem, "send_at",
                           "must be milliseconds since 1970 or a time like "
                           "\"2026-03-01T09:00:00+01:00\"");
    return true;
}

/* ---- windows ---- */

/* "mon-fri", or ["mon", "wed"]. */
static bool days_take(const json_t *days, unsigned *out)
{
    *out = WINDOW_EVERY_DAY;
    if (!days)
        return true;
    if (json_is_string(days))
        return window_days_parse(json_slice(days), out);
    *out = 0;
    for (size_t i = 0; i < json_array_size(days); i++) {
        const json_t *day = json_array_get(days, i);
        unsigned found;
        if (!json_is_string(day) || !window_days_parse(json_slice(day), &found))
            return false;
        *out |= found;
    }
    return *out != 0;
}

static bool time_take(const json_t *window, const char *prefix, const char *key, unsigned *out,
                      struct submission_problem *problem)
{
    const json_t *time = json_object_get(window, key);
    char path[64];
    snprintf(path, sizeof path, "%s%s", prefix, key);
    return (json_is_string(time) && window_time_parse(json_slice(time), out)) ||
           problem_set(problem, path, "must be a time of day like \"09:00\"");
}

static bool window_take(const json_t *it, const char *prefix, struct window *out,
                        struct submission_problem *problem)
{
    static const char *const known[] = { "days", "from", "to", "zone", NULL };
    char path[64];
    if (!json_is_object(it)) {
        snprintf(path, sizeof path, "%.*s", (int)strlen(prefix) - 1, prefix);
        return problem_set(problem, path, "must be an object");
    }
    if (!keys_known(it, prefix, known, problem))
        return false;
    snprintf(path, sizeof path, "%sdays", prefix);
    if (!days_take(json_object_get(it, "days"), &out->days))
        return problem_set(problem, path, "must be days like \"mon-fri\" or [\"sat\", \"sun\"]");
    if (!time_take(it, prefix, "from", &out->from_min, problem) ||
        !time_take(it, prefix, "to", &out->to_min, problem))
        return false;
    snprintf(path, sizeof path, "%sto", prefix);
    if (out->from_min == 1440 || out->to_min == out->from_min)
        return problem_set(problem, path, "must differ from \"from\"; a whole day is 00:00–24:00");
    snprintf(path, sizeof path, "%szone", prefix);
    const json_t *zone = json_object_get(it, "zone");
    if (!json_is_string(zone) || !window_zone_known(json_slice(zone)))
        return problem_set(problem, path, "%s%.48s%s",
                           json_is_string(zone) ? "no time zone '" : "must be a time zone like ",
                           json_is_string(zone) ? json_string_value(zone) : "\"Europe/Berlin\"",
                           json_is_string(zone) ? "' is known here" : "");
    snprintf(out->zone, sizeof out->zone, "%s", json_string_value(zone));
    return true;
}

bool schedule_take(struct submission *submission, struct submission_problem *problem)
{
    if (!send_at_take(submission, problem))
        return false;
    const json_t *windows = json_object_get(submission->root, "windows");
    if (!windows)
        return true;
    size_t count = json_array_size(windows);
    if (!json_is_array(windows) || count == 0 || count > WINDOWS_MAX)
        return problem_set(problem, "windows", "must be an array of 1–%d windows", WINDOWS_MAX);
    for (size_t i = 0; i < count; i++) {
        char prefix[32];
        snprintf(prefix, sizeof prefix, "windows[%zu].", i);
        if (!window_take(json_array_get(windows, i), prefix, &submission->windows[i], problem))
            return false;
    }
    submission->window_count = count;
    return true;
}

/* ---- times ---- */

bool submission_schedule(struct submission *submission, int64_t accepted_ms,
                         int64_t expires_default_s, struct submission_problem *problem)
{
    struct submission_terms *terms = &submission->terms;
    int64_t send_at = submission->send_at_ms;
    if (send_at > accepted_ms + INT64_C(1000) * SUBMISSION_AHEAD_S_MAX)
        return problem_set(problem, "send_at", "more than %d days ahead",
                           SUBMISSION_AHEAD_S_MAX / 86400);
    if (send_at > 0 && send_at < accepted_ms - INT64_C(1000) * PAST_S_MAX)
        return problem_set(problem, "send_at", "in the past; numbers are milliseconds since 1970");
    terms->accepted_ms = accepted_ms;
    terms->start_ms = MAX_OF(accepted_ms, send_at);
    terms->expires_ms =
        terms->start_ms +
        1000 * (submission->expires_in_s ? submission->expires_in_s : expires_default_s);
    submission_terms_free(terms);
    if (submission->window_count == 0)
        return true;
    struct window_interval found[WINDOW_INTERVALS_MAX];
    size_t n = windows_intervals(submission->windows, submission->window_count, terms->start_ms,
                                 terms->expires_ms, found, WINDOW_INTERVALS_MAX);
    if (n == 0)
        return problem_set(problem, "windows", "none opens before the submission expires");
    terms->intervals = mem_array(n, sizeof *terms->intervals);
    memcpy(terms->intervals, found, n * sizeof *terms->intervals);
    terms->interval_count = n;
    return true;
}

void submission_terms_free(struct submission_terms *terms)
{
    free(terms->intervals);
    terms->intervals = NULL;
    terms->interval_count = 0;
}

void submission_terms_windows(const struct submission_terms *terms, struct buf *out)
{
    for (size_t i = 0; i < terms->interval_count; i++)
        buf_printf(out, "%s%lld-%lld", i ? " " : "", (long long)terms->intervals[i].open_ms,
                   (long long)terms->intervals[i].close_ms);
}
