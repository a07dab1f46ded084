/* From a stream entry to a submission that could be queued: parsed, checked, its content compiled.
 * What is wrong with it is found here, before anything is claimed or stored for it. */
#include <stdio.h>
#include <stdlib.h>

#include "queue/content.h"
#include "queue/ingest_internal.h"
#include "queue/record.h"

/* ---- refusing ---- */

static void log_refused(struct ingest *ingest, const struct ingest_work *work,
                        const struct submission_problem *problem)
{
    log_warn(ingest->options.log, "submission-refused", "entry %.*s: %s%s%s",
             SLICE_FMT(work->entry), problem->path, problem->path[0] ? ": " : "", problem->reason);
}

void ingest_work_refuse(struct ingest *ingest, struct ingest_work *work,
                        const struct submission_problem *problem)
{
    struct buf original = BUF_EMPTY;
    if (work->submission.root) {
        char *text = json_dumps(work->submission.root, JSON_COMPACT);
        struct slice rest = slice_str(text);
        if (work->content) { /* was taken out of the tree */
            buf_append(&original, SLICE("{\"content\":"));
            buf_append(&original, slice_str(work->content));
            buf_append_char(&original, ',');
            rest = slice_skip(rest, 1);
        }
        buf_append(&original, rest);
        free(text);
    }
    log_refused(ingest, work, problem);
    ingest_dead_letter(ingest, work, problem, buf_slice(&original));
    buf_free(&original);
    work->done = true;
    STAT_ADD(ingest->stats.refused, 1);
}

/* ---- checking ---- */

bool ingest_schema_open(struct ingest *ingest, struct slice content, struct ingest_schema *out,
                        struct err *err)
{
    *out = (struct ingest_schema){ 0 };
    bool ok = ingest->callbacks->schema_open(ingest->user, content, out, err);
    if (ok && out->count > QUEUE_RECORD_VALUES_MAX) {
        ingest->callbacks->schema_close(ingest->user, out);
        return err_set(err, ERR_INPUT, "more than %d fields", QUEUE_RECORD_VALUES_MAX);
    }
    return ok;
}

static bool problem_of(struct submission_problem *problem, const char *path, const struct err *err)
{
    snprintf(problem->path, sizeof problem->path, "%s", path);
    snprintf(problem->reason, sizeof problem->reason, "%.255s", err->text);
    return false;
}

/* A one-shot submission's sender, times and content. The content leaves the tree as text: it may be
 * large, and is needed as text from here on. */
static bool whole_check(struct ingest *ingest, struct ingest_work *work,
                        struct submission_problem *problem)
{
    struct submission *submission = &work->submission;
    char destination[256];
    size_t len;
    struct err err;
    work->terms = &submission->terms;
    if (!ingest->callbacks->destination(ingest->user, submission->terms.from, destination, &len,
                                        &err))
        return problem_of(problem, "from", &err);
    int64_t expires_s = submission->terms.class == 't' ? ingest->options.expires_transactional_s
                                                       : ingest->options.expires_s;
    if (!submission_schedule(submission, work->accepted_ms, expires_s, problem))
        return false;
    work->content = json_dumps(submission->content, JSON_COMPACT);
    assert(work->content); /* it was valid before */
    json_object_del(submission->root, "content");
    submission->content = NULL;
    work->schema_open = ingest_schema_open(ingest, slice_str(work->content), &work->schema, &err);
    return work->schema_open || problem_of(problem, "content", &err);
}

/* ---- an entry ---- */

/* The value of "json" or "msgpack"; NULL without one of them. */
static struct slice entry_text(const struct redis_value *fields, bool *msgpack)
{
    struct slice text = { 0 };
    for (size_t i = 0; fields->type == VALUE_ARRAY && i + 1 < fields->count; i += 2) {
        struct slice name = fields->items[i].text;
        if (!slice_eq(name, SLICE("json")) && !slice_eq(name, SLICE("msgpack")))
            continue;
        *msgpack = name.len == 7;
        text = fields->items[i + 1].text;
    }
    return text;
}

void ingest_take(struct ingest *ingest, const struct redis_value *entry)
{
    struct ingest_work *work = &ingest->works[ingest->work_count++];
    *work = (struct ingest_work){ .entry = arena_copy(&ingest->arena, entry->items[0].text) };
    if (entry->items[1].type == VALUE_NIL) { /* deleted, but still pending */
        work->done = true;
        return;
    }
    struct submission_problem problem = { .reason =
                                              "entry without a field \"json\" or \"msgpack\"" };
    struct submission *submission = &work->submission;
    bool msgpack = false;
    struct slice text = entry_text(&entry->items[1], &msgpack);
    bool ok = ingest_submission_id(work->entry, work->id, &work->accepted_ms) && text.ptr &&
              (msgpack ? submission_parse_msgpack(submission, text, &problem)
                       : submission_parse(submission, text, &problem));
    if (!ok) {
        work->id[0] = '\0';
    } else {
        if (submission->id.len > 0)
            snprintf(work->id, sizeof work->id, "%.*s", SLICE_FMT(submission->id));
        if (submission->key.len > 0 || (submission->id.len > 0 && !submission->chunk))
            content_hash(text, work->hash);
        ok = submission->chunk || whole_check(ingest, work, &problem);
    }
    if (ok)
        return;
    log_refused(ingest, work, &problem);
    ingest_dead_letter(ingest, work, &problem, text);
    work->done = true;
    STAT_ADD(ingest->stats.refused, 1);
}
