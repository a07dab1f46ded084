/* What came before is not done again. A one-shot submission claims its key and its id, if it has
 * them, before anything is stored for it; a chunk claims its number. A claim names the stream
 * entry, so an entry that is read again after a crash finds its own claims and goes on; another
 * entry with the same text is the same submission again, with another text a mistake.
 *
 * The value of a claimed key is "SUBMISSION ENTRY HASH". */
#include <stdio.h>

#include "queue/ingest_internal.h"

enum { CLAIM_KEY, CLAIM_ID };

static void work_repeated(struct ingest *ingest, struct ingest_work *work, struct slice first)
{
    log_info(ingest->options.log, "submission-repeated", "entry %.*s repeats %.*s: nothing is sent",
             SLICE_FMT(work->entry), SLICE_FMT(first));
    if (!work->done)
        STAT_ADD(ingest->stats.repeated, 1);
    work->done = true;
}

/* ---- keys and ids ---- */

static struct queue_key claim_key(const struct ingest *ingest, const struct ingest_work *work,
                                  unsigned claim)
{
    return claim == CLAIM_KEY
               ? queue_key_idempotency(ingest->name_space, work->submission.terms.tenant,
                                       work->submission.key)
               : queue_key_submission(ingest->name_space, "i:", slice_str(work->id));
}

/* Who has the key. */
static void holder_done(struct redis_call *call, const struct redis_value *reply)
{
    struct ingest_call *it = CONTAINER_OF(call, struct ingest_call, call);
    struct ingest *ingest = it->ingest;
    struct ingest_work *work = it->work;
    if (!ingest_call_reply(it, reply))
        return;
    if (reply->type != VALUE_STRING) { /* it went meanwhile: claimed with the next attempt */
        ingest_stage_failed(ingest, "reading a key's claim", reply);
    } else if (!work->done) {
        struct slice hash = reply->text;
        struct slice id = slice_cut(&hash, ' '), entry = slice_cut(&hash, ' ');
        struct submission_problem problem;
        snprintf(problem.path, sizeof problem.path, "%s", it->index == CLAIM_KEY ? "key" : "id");
        snprintf(problem.reason, sizeof problem.reason, "%s was used for another submission (%.*s)",
                 problem.path, (int)MIN_OF(id.len, (size_t)QUEUE_SUBMISSION_BYTES_MAX), id.ptr);
        if (!slice_eq(hash, slice_str(work->hash)))
            ingest_work_refuse(ingest, work, &problem);
        else if (!slice_eq(entry, work->entry))
            work_repeated(ingest, work, id);
    }
    ingest_stage_end(ingest);
}

static void claim_done(struct redis_call *call, const struct redis_value *reply)
{
    struct ingest_call *it = CONTAINER_OF(call, struct ingest_call, call);
    struct ingest *ingest = it->ingest;
    if (!ingest_call_reply(it, reply))
        return;
    if (reply->type == VALUE_NIL) {
        struct queue_key key = claim_key(ingest, it->work, it->index);
        struct ingest_call *get = ingest_call_create(ingest, it->work, holder_done);
        get->index = it->index;
        ingest_call_send(get, &key, (struct slice[]){ SLICE("GET"), queue_key_slice(&key) }, 2);
    } else if (!redis_value_is(reply, "OK")) {
        ingest_stage_failed(ingest, "claiming a key", reply);
    }
    ingest_stage_end(ingest);
}

static void claim_send(struct ingest *ingest, struct ingest_work *work, unsigned claim)
{
    char value[160], ttl[24];
    snprintf(value, sizeof value, "%s %.*s %s", work->id, SLICE_FMT(work->entry), work->hash);
    snprintf(ttl, sizeof ttl, "%lld", (long long)ingest->options.idempotency_s);
    struct queue_key key = claim_key(ingest, work, claim);
    struct ingest_call *it = ingest_call_create(ingest, work, claim_done);
    it->index = claim;
    struct slice args[] = { SLICE("SET"), queue_key_slice(&key), slice_str(value),
                            SLICE("NX"),  SLICE("EX"),           slice_str(ttl) };
    ingest_call_send(it, &key, args, ARRAY_LEN(args));
}

/* ---- chunks ---- */

static void chunk_done(struct redis_call *call, const struct redis_value *reply)
{
    struct ingest_call *it = CONTAINER_OF(call, struct ingest_call, call);
    struct ingest *ingest = it->ingest;
    if (!ingest_call_reply(it, reply))
        return;
    if (redis_value_is(reply, "QUEUED"))
        it->work->queued = true;
    else if (redis_value_is(reply, "OTHER"))
        work_repeated(ingest, it->work, slice_str(it->work->id));
    else if (!redis_value_is(reply, "MINE"))
        ingest_stage_failed(ingest, "claiming a chunk", reply);
    ingest_stage_end(ingest);
}

static void chunk_send(struct ingest *ingest, struct ingest_work *work)
{
    struct queue_key key = queue_key_submission(ingest->name_space, "c:", slice_str(work->id));
    char first[24], ttl[12];
    snprintf(first, sizeof first, "%llu", (unsigned long long)work->submission.first);
    snprintf(ttl, sizeof ttl, "%d", CHUNKS_TTL_S);
    struct slice args[] = { SLICE(""),        SLICE(""),   SLICE("1"),    queue_key_slice(&key),
                            slice_str(first), work->entry, slice_str(ttl) };
    ingest_call_script(ingest_call_create(ingest, work, chunk_done), &key, SCRIPT_CHUNK, args,
                       ARRAY_LEN(args));
}

void ingest_stage_claim(struct ingest *ingest)
{
    ingest->stage_next = ingest_stage_store;
    for (unsigned i = 0; i < ingest->work_count; i++) {
        struct ingest_work *work = &ingest->works[i];
        if (work->done)
            continue;
        if (work->submission.chunk) {
            chunk_send(ingest, work);
            continue;
        }
        if (work->submission.key.len > 0)
            claim_send(ingest, work, CLAIM_KEY);
        if (work->submission.id.len > 0)
            claim_send(ingest, work, CLAIM_ID);
    }
    ingest_stage_end(ingest);
}
