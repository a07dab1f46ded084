/* Submitting from the command line. A list of any length goes in chunks: the object first, then
 * entries of the submit stream. Each chunk is taken once, whatever is repeated, so a connection
 * lost in between is waited for, and a program that was interrupted can be started again with the
 * same key. */
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/mem.h"
#include "engine/base/rng.h"
#include "queue/content.h"
#include "queue/ingest_batch.h"
#include "queue/keys.h"
#include "queue/producer_internal.h"
#include "queue/submission.h"

enum {
    BACKLOG_ENTRIES_MAX = 200, /* in the submit stream; then producer_append() waits */
    WAIT_STEP_MS = 20,
    EXPIRES_DEFAULT_S = 4 * 86400,
    IDEMPOTENCY_DEFAULT_S = 2 * 86400,
};

/* ---- the object ---- */

/* 'c', the time in base 36, and 51 random bits: not guessable by accident, and in order of time. */
static void fresh_id(char id[25])
{
    char digits[13];
    size_t n = 0, len = queue_base36((uint64_t)producer_wall_ms(), digits);
    id[n++] = 'c';
    memcpy(id + n, digits, len);
    n += len;
    len = queue_base36(rng_system_seed() >> 13, digits);
    memcpy(id + n, digits, len);
    id[n + len] = '\0';
}

/* As a one-shot submission without recipients, so that one parser says what is wrong. */
static void submission_text(const struct producer_submission *it, struct buf *out)
{
    const struct {
        const char *name;
        struct slice value;
    } texts[] = { { "tenant", it->tenant }, { "campaign", it->campaign }, { "class", it->class },
                  { "stream", it->stream }, { "pool", it->pool },         { "key", it->key } };
    uint64_t ms;
    buf_append(out, SLICE("{\"from\":"));
    buf_append_json(out, it->from);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        if (texts[i].value.len > 0) {
            buf_printf(out, ",\"%s\":", texts[i].name);
            buf_append_json(out, texts[i].value);
        }
    if (it->send_at.len > 0)
        buf_append(out, SLICE(",\"send_at\":"));
    if (slice_to_u64(it->send_at, &ms))
        buf_append_u64(out, ms);
    else if (it->send_at.len > 0)
        buf_append_json(out, it->send_at);
    if (it->windows.len > 0)
        buf_printf(out, ",\"windows\":%.*s", SLICE_FMT(it->windows));
    if (it->require_tls)
        buf_append(out, SLICE(",\"require_tls\":true"));
    if (it->weight > 0)
        buf_printf(out, ",\"weight\":%u", it->weight);
    if (it->expires_in_s > 0)
        buf_printf(out, ",\"expires_in_s\":%lld", (long long)it->expires_in_s);
    buf_append(out, SLICE(",\"recipients\":[],\"content\":"));
    buf_append(out, it->content);
    buf_append_char(out, '}');
}

static bool problem_err(const struct submission_problem *problem, struct err *err)
{
    return err_set(err, ERR_INPUT, "%s%s%s", problem->path, problem->path[0] ? ": " : "",
                   problem->reason);
}

/* NX: one with the same key may have stored it before. */
static bool object_store(struct producer *producer, const struct submission_terms *terms,
                         struct slice content, const char *id, struct err *err)
{
    struct buf object = BUF_EMPTY, packed = BUF_EMPTY;
    struct queue_key key = queue_key_submission(producer->name_space, "s:", slice_str(id));
    char expiry[24];
    snprintf(expiry, sizeof expiry, "%lld",
             (long long)(terms->expires_ms / 1000 + QUEUE_OBJECT_GRACE_S));
    submission_object(SLICE(""), terms, content, &object);
    struct slice stored = content_pack(buf_slice(&object), &packed);
    bool ok = producer_reply_good(producer,
                                  PRODUCER_WRITE(producer, err, queue_key_slice(&key), SLICE("SET"),
                                                 queue_key_slice(&key), stored, SLICE("NX"),
                                                 SLICE("EXAT"), slice_str(expiry)),
                                  err);
    buf_free(&object);
    buf_free(&packed);
    return ok;
}

/* ---- keys ---- */

/* "SUBMISSION STATE HASH", as ingest writes it, with "-" (begun) or "+" (ended) for the entry. */
static bool key_write(struct producer *producer, const struct producer_submission *submission,
                      const char *id, char state, const char *hash, bool *taken, struct err *err)
{
    char value[128], ttl[24];
    struct queue_key key =
        queue_key_idempotency(producer->name_space, submission->tenant, submission->key);
    snprintf(value, sizeof value, "%s %c %s", id, state, hash);
    snprintf(
        ttl, sizeof ttl, "%lld",
        (long long)(submission->idempotency_s ? submission->idempotency_s : IDEMPOTENCY_DEFAULT_S));
    const struct redis_value *reply = PRODUCER_WRITE(
        producer, err, queue_key_slice(&key), SLICE("SET"), queue_key_slice(&key), slice_str(value),
        SLICE("EX"), slice_str(ttl), state == '-' ? SLICE("NX") : SLICE("XX"));
    if (!producer_reply_good(producer, reply, err))
        return false;
    *taken = reply->type != VALUE_NIL;
    return true;
}

static void key_hash(const struct producer_submission *submission, struct slice text, char hash[65])
{
    struct buf all = BUF_EMPTY;
    content_hash(text, hash);
    buf_append(&all, slice_of(hash, 64));
    buf_append(&all, submission->fingerprint);
    content_hash(buf_slice(&all), hash);
    buf_free(&all);
}

/* Whose key it is; `id` becomes the first one's. */
static bool key_holder(struct producer *producer, const struct producer_submission *submission,
                       const char *hash, char id[25], enum producer_begun *begun, struct err *err)
{
    struct queue_key key =
        queue_key_idempotency(producer->name_space, submission->tenant, submission->key);
    const struct redis_value *reply =
        PRODUCER_COMMAND(producer, err, queue_key_slice(&key), SLICE("GET"), queue_key_slice(&key));
    if (!producer_reply_good(producer, reply, err))
        return false;
    struct slice found = reply->text;
    struct slice first = slice_cut(&found, ' '), state = slice_cut(&found, ' ');
    if (reply->type != VALUE_STRING || !queue_submission_id_valid(first))
        return err_set(err, ERR_REDIS, "the key '%.*s' can't be read", SLICE_FMT(submission->key));
    if (!slice_eq(found, slice_str(hash)))
        return err_set(err, ERR_INPUT, "key: '%.*s' was used for another submission, %.*s",
                       SLICE_FMT(submission->key), SLICE_FMT(first));
    snprintf(id, 25, "%.*s", SLICE_FMT(first));
    *begun = slice_eq(state, SLICE("-")) ? PRODUCER_UNFINISHED : PRODUCER_REPEATED;
    return true;
}

static bool key_claim(struct producer *producer, const struct producer_submission *submission,
                      struct slice text, char id[25], enum producer_begun *begun, struct err *err)
{
    char hash[65];
    bool taken;
    key_hash(submission, text, hash);
    return key_write(producer, submission, id, '-', hash, &taken, err) &&
           (taken || key_holder(producer, submission, hash, id, begun, err));
}

/* ---- begin, append, end ---- */

bool producer_begin(struct producer *producer, const struct producer_submission *submission,
                    char id[25], enum producer_begun *begun, struct err *err)
{
    struct buf text = BUF_EMPTY;
    struct submission parsed;
    struct submission_problem problem;
    *begun = PRODUCER_FRESH;
    fresh_id(id);
    submission_text(submission, &text);
    if (!submission_parse(&parsed, buf_slice(&text), &problem)) {
        buf_free(&text);
        return problem_err(&problem, err);
    }
    bool ok = submission_schedule(&parsed, producer_wall_ms(), EXPIRES_DEFAULT_S, &problem) ||
              problem_err(&problem, err);
    if (ok && submission->key.len > 0)
        ok = key_claim(producer, submission, buf_slice(&text), id, begun, err);
    if (ok && *begun != PRODUCER_REPEATED)
        ok = object_store(producer, &parsed.terms, submission->content, id, err);
    submission_free(&parsed);
    buf_free(&text);
    return ok;
}

bool producer_end(struct producer *producer, const struct producer_submission *submission,
                  const char *id, struct err *err)
{
    if (submission->key.len == 0)
        return true;
    struct buf text = BUF_EMPTY;
    char hash[65];
    bool taken;
    submission_text(submission, &text);
    key_hash(submission, buf_slice(&text), hash);
    buf_free(&text);
    return key_write(producer, submission, id, '+', hash, &taken, err);
}

/* Waits while the stream is long: the jobs are smaller in their queues, and nothing is gained by
 * being far ahead. */
static bool backlog_wait(struct producer *producer, int64_t deadline, bool *lost, struct err *err)
{
    if (producer->entries_since_look++ < BACKLOG_ENTRIES_MAX / 4)
        return true;
    struct queue_key stream = queue_key_global(producer->name_space, "submit", SLICE(""));
    for (;;) {
        const struct redis_value *reply = PRODUCER_COMMAND(producer, err, queue_key_slice(&stream),
                                                           SLICE("XLEN"), queue_key_slice(&stream));
        *lost = !reply;
        if (!producer_reply_good(producer, reply, err))
            return false;
        if (reply->integer < BACKLOG_ENTRIES_MAX)
            break;
        if (producer_wall_ms() >= deadline)
            return err_set(err, ERR_LIMIT,
                           "the engine doesn't take submissions in: %d wait in '%s'",
                           BACKLOG_ENTRIES_MAX, stream.text);
        producer_pause_ms(WAIT_STEP_MS);
    }
    producer->entries_since_look = 0;
    return true;
}

/* Adds one entry, whose id is written to `entry`; waits while Redis says that it's full or not able
 * to. `lost`: there was no answer, perhaps it is stored. */
static bool entry_add(struct producer *producer, struct slice json, int64_t deadline,
                      char entry[EVENT_ID_BYTES], bool *lost, struct err *err)
{
    struct queue_key stream = queue_key_global(producer->name_space, "submit", SLICE(""));
    for (;;) {
        const struct redis_value *reply =
            PRODUCER_WRITE(producer, err, queue_key_slice(&stream), SLICE("XADD"),
                           queue_key_slice(&stream), SLICE("*"), SLICE("json"), json);
        *lost = !reply;
        if (!reply)
            return false;
        if (reply->type == VALUE_STRING) {
            snprintf(entry, EVENT_ID_BYTES, "%.*s", SLICE_FMT(reply->text));
            return true;
        }
        bool later = redis_value_fails(reply, "OOM") || redis_value_fails(reply, "MISCONF") ||
                     redis_value_fails(reply, "BUSY");
        if (!later)
            return producer_reply_good(producer, reply, err) &&
                   err_set(err, ERR_REDIS, "unexpected reply");
        if (producer_wall_ms() >= deadline)
            return err_set(err, ERR_LIMIT, "Redis at %s takes nothing more, try later: %.200s",
                           producer->place, reply->text.ptr);
        producer_pause_ms(WAIT_STEP_MS);
    }
}

bool producer_append(struct producer *producer, const char *id, uint64_t first,
                     struct slice recipients, bool last, int64_t patience_ms, struct err *err)
{
    int64_t deadline = producer_wall_ms() + patience_ms;
    char entry[EVENT_ID_BYTES];
    struct buf json = BUF_EMPTY;
    buf_printf(&json, "{\"submission\":\"%s\",\"first\":%llu,%s\"recipients\":", id,
               (unsigned long long)first, last ? "\"last\":true," : "");
    buf_append(&json, recipients);
    buf_append_char(&json, '}');
    bool ok, lost = false;
    do {
        /* Lost on the way: stored or not, a second one does no harm. */
        ok = (!lost || producer_io_connected(producer, err)) &&
             backlog_wait(producer, deadline, &lost, err) &&
             entry_add(producer, buf_slice(&json), deadline, entry, &lost, err);
    } while (!ok && lost && producer_wall_ms() < deadline);
    buf_free(&json);
    return ok;
}

bool producer_submit(struct producer *producer, struct slice submission_json, char id[25],
                     struct err *err)
{
    struct submission submission;
    struct submission_problem problem;
    if (!submission_parse(&submission, submission_json, &problem))
        return problem_err(&problem, err);
    bool whole = !submission.chunk;
    struct slice given = submission.id;
    if (given.len > 0)
        snprintf(id, 25, "%.*s", SLICE_FMT(given));
    bool named = given.len > 0;
    submission_free(&submission);
    if (!whole)
        return err_set(err, ERR_INPUT, "a submission needs \"content\"");
    char entry[EVENT_ID_BYTES];
    bool lost;
    if (!entry_add(producer, submission_json, producer_wall_ms(), entry, &lost, err))
        return false;
    int64_t ms;
    if (!named && !ingest_submission_id(slice_str(entry), id, &ms))
        return err_set(err, ERR_REDIS, "unexpected entry id %s", entry);
    return true;
}
