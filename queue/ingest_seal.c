/* When all recipients of a submission are queued it is sealed: from then on its content goes as
 * soon as its last job has ended. Those that ended before were told to nobody, so every partition
 * is asked once, behind the sealing: either the one who ended the last job there finds the seal, or
 * this does find no open job. */
#include <stdio.h>

#include "queue/ingest_internal.h"

/* ---- dropping ---- */

static void release_done(struct redis_call *call, const struct redis_value *reply)
{
    struct ingest_call *it = CONTAINER_OF(call, struct ingest_call, call);
    if (!ingest_call_reply(it, reply))
        return;
    if (reply->type != VALUE_INTEGER)
        ingest_stage_failed(it->ingest, "dropping a content", reply);
    else
        STAT_ADD(it->ingest->stats.dropped, (uint64_t)reply->integer);
    ingest_stage_end(it->ingest);
}

static void release(struct ingest *ingest)
{
    ingest->stage_next = ingest_stage_consume;
    for (unsigned i = 0; i < ingest->work_count; i++) {
        struct ingest_work *work = &ingest->works[i];
        if (!work->sealed)
            continue;
        struct queue_key open = queue_key_submission(ingest->name_space, "o:", slice_str(work->id));
        struct queue_key object =
            queue_key_submission(ingest->name_space, "s:", slice_str(work->id));
        struct slice *args = arena_alloc(&ingest->arena, (5 + work->open_count) * sizeof *args);
        unsigned n = 2;
        args[n++] = SLICE("2");
        args[n++] = queue_key_slice(&open);
        args[n++] = queue_key_slice(&object);
        for (unsigned p = 0; p < work->open_count; p++)
            if (work->open[p].len > 0)
                args[n++] = work->open[p];
        if (n > 5 || work->open_count == 0)
            ingest_call_script(ingest_call_create(ingest, work, release_done), &open,
                               SCRIPT_RELEASE, args, n);
    }
    ingest_stage_end(ingest);
}

/* ---- asking ---- */

/* [open, kept]; a partition with one of them leaves the list of those to release. */
static void ask_done(struct redis_call *call, const struct redis_value *reply)
{
    struct ingest_call *it = CONTAINER_OF(call, struct ingest_call, call);
    if (!ingest_call_reply(it, reply))
        return;
    if (reply->type != VALUE_ARRAY || reply->count != 2)
        ingest_stage_failed(it->ingest, "asking for open jobs", reply);
    else if (redis_value_u64(&reply->items[0]) > 0 || redis_value_u64(&reply->items[1]) > 0)
        it->work->open[it->index].len = 0;
    ingest_stage_end(it->ingest);
}

static void ask(struct ingest *ingest)
{
    ingest->stage_next = release;
    for (unsigned i = 0; i < ingest->work_count; i++) {
        struct ingest_work *work = &ingest->works[i];
        for (unsigned p = 0; p < work->open_count; p++) {
            uint64_t partition;
            if (!slice_to_u64(work->open[p], &partition) || partition >= QUEUE_PARTITIONS_MAX) {
                work->open[p].len = 0;
                continue;
            }
            struct queue_key key = queue_key_partition(ingest->name_space, (unsigned)partition,
                                                       "g:", slice_str(work->id));
            struct ingest_call *it = ingest_call_create(ingest, work, ask_done);
            it->index = p;
            struct slice args[] = { SLICE("HMGET"), queue_key_slice(&key), SLICE("open"),
                                    SLICE("kept") };
            ingest_call_send(it, &key, args, ARRAY_LEN(args));
        }
    }
    ingest_stage_end(ingest);
}

/* ---- sealing ---- */

static void seal_done(struct redis_call *call, const struct redis_value *reply)
{
    struct ingest_call *it = CONTAINER_OF(call, struct ingest_call, call);
    struct ingest *ingest = it->ingest;
    struct ingest_work *work = it->work;
    if (!ingest_call_reply(it, reply))
        return;
    if (reply->type == VALUE_ARRAY) {
        work->sealed = true;
        work->open = arena_alloc(&ingest->arena, (reply->count + 1) * sizeof *work->open);
        for (size_t i = 0; i < reply->count; i++)
            work->open[work->open_count++] = arena_copy(&ingest->arena, reply->items[i].text);
    } else if (reply->type != VALUE_NIL) {
        ingest_stage_failed(ingest, "sealing a submission", reply);
    }
    ingest_stage_end(ingest);
}

void ingest_stage_seal(struct ingest *ingest)
{
    ingest->stage_next = ask;
    for (unsigned i = 0; i < ingest->work_count; i++) {
        struct ingest_work *work = &ingest->works[i];
        const struct submission *submission = &work->submission;
        if (work->done)
            continue;
        struct queue_key open = queue_key_submission(ingest->name_space, "o:", slice_str(work->id));
        struct queue_key chunks =
            queue_key_submission(ingest->name_space, "c:", slice_str(work->id));
        char first[24] = "", count[24], ttl[24];
        if (submission->chunk)
            snprintf(first, sizeof first, "%llu", (unsigned long long)submission->first);
        snprintf(count, sizeof count, "%zu", json_array_size(submission->recipients));
        snprintf(ttl, sizeof ttl, "%lld", (long long)ingest->options.idempotency_s);
        struct slice args[] = { SLICE(""),
                                SLICE(""),
                                SLICE("2"),
                                queue_key_slice(&open),
                                queue_key_slice(&chunks),
                                slice_str(ttl),
                                slice_str(first),
                                work->entry,
                                slice_str(count),
                                submission->last ? SLICE("1") : SLICE("0") };
        ingest_call_script(ingest_call_create(ingest, work, seal_done), &open, SCRIPT_SEAL, args,
                           ARRAY_LEN(args));
    }
    ingest_stage_end(ingest);
}
