/* What all stages of a batch need, and its last but one and its last: into the partitions, out of
 * the stream. */
#include <stdio.h>
#include <stdlib.h>

#include "queue/ingest_internal.h"

enum {
    MARKER_DONE_TTL_S = 600, /* a command of a lost connection may still come */
    DEAD_LETTERS_MAX = 100000,
    HEAD_ARGS_MAX = 36, /* of enqueue, before its jobs */
};

/* ---- the batch ---- */

void ingest_batch_reset(struct ingest *ingest)
{
    for (unsigned i = 0; i < ingest->work_count; i++) {
        struct ingest_work *work = &ingest->works[i];
        if (work->schema_open)
            ingest->callbacks->schema_close(ingest->user, &work->schema);
        submission_free(&work->submission);
        free(work->content);
    }
    ingest->work_count = 0;
    ingest->failed = false;
    arena_reset(&ingest->arena);
}

/* Drops the batch; it's read again after a pause. */
void ingest_batch_pause(struct ingest *ingest)
{
    ingest_batch_reset(ingest);
    STAT_ADD(ingest->stats.pauses, 1);
    ring_timer_start(ingest->ring, &ingest->pause, ingest->pause_ms);
    ingest->pause_ms = MIN_OF(ingest->pause_ms * 2, (unsigned)PAUSE_MS_MAX);
}

void ingest_stage_end(struct ingest *ingest)
{
    if (ingest->missing > 0)
        return;
    if (ingest->failed)
        ingest_batch_pause(ingest);
    else
        ingest->stage_next(ingest);
}

void ingest_stage_failed(struct ingest *ingest, const char *what, const struct redis_value *reply)
{
    if (!ingest->failed)
        log_warn(ingest->options.log, "ingest-waits", "%s: %.*s", what,
                 SLICE_FMT(reply->type == VALUE_ERROR ? reply->text : SLICE("unexpected reply")));
    ingest->failed = true;
}

struct ingest_call *ingest_call_create(struct ingest *ingest, struct ingest_work *work,
                                       void (*done)(struct redis_call *,
                                                    const struct redis_value *))
{
    struct ingest_call *call = arena_alloc(&ingest->arena, sizeof *call);
    *call = (struct ingest_call){ .ingest = ingest,
                                  .work = work,
                                  .call = { .done = done, .durable = true } };
    return call;
}

void ingest_call_send(struct ingest_call *it, const struct queue_key *key, const struct slice *args,
                      unsigned count)
{
    struct ingest *ingest = it->ingest;
    struct ingest_server *server = ingest_server(ingest, key);
    if (!server) {
        ingest->failed = true; /* who sends ends the stage afterwards */
        return;
    }
    ingest->missing++;
    redis_send(server->redis, &it->call, args, count);
}

void ingest_call_script(struct ingest_call *it, const struct queue_key *key, enum script script,
                        struct slice *args, unsigned count)
{
    const struct ingest_server *server = ingest_server(it->ingest, key);
    if (!server) {
        it->ingest->failed = true;
        return;
    }
    args[0] = SLICE("EVALSHA");
    args[1] = script_sha(&server->scripts, script);
    ingest_call_send(it, key, args, count);
}

bool ingest_call_reply(struct ingest_call *it, const struct redis_value *reply)
{
    struct ingest *ingest = it->ingest;
    ingest->missing--;
    if (reply)
        return true;
    ingest->failed = true; /* lost with its connection; that was logged */
    ingest_stage_end(ingest);
    return false;
}

void ingest_call_done(struct redis_call *call, const struct redis_value *reply)
{
    struct ingest_call *it = CONTAINER_OF(call, struct ingest_call, call);
    if (!ingest_call_reply(it, reply))
        return;
    if (reply->type == VALUE_ERROR)
        ingest_stage_failed(it->ingest, "a command on the way in", reply);
    ingest_stage_end(it->ingest);
}

/* ---- dead letters ---- */

void ingest_dead_letter(struct ingest *ingest, struct ingest_work *work,
                        const struct submission_problem *problem, struct slice original)
{
    struct ingest_call *it = ingest_call_create(ingest, work, ingest_call_done);
    char max[12];
    snprintf(max, sizeof max, "%d", DEAD_LETTERS_MAX);
    struct slice args[] = {
        SLICE("XADD"),       queue_key_slice(&ingest->key_dead),
        SLICE("MAXLEN"),     SLICE("~"),
        slice_str(max),      SLICE("*"),
        SLICE("reason"),     slice_str(problem->reason),
        SLICE("path"),       slice_str(problem->path),
        SLICE("entry"),      work->entry,
        SLICE("submission"), slice_str(work->id),
        SLICE("original"),   original,
    };
    ingest_call_send(it, &ingest->key_dead, args, ARRAY_LEN(args));
}

/* ---- last stage: out of the stream ---- */

static void batch_done(struct ingest *ingest)
{
    for (unsigned i = 0; i < ingest->work_count; i++) {
        STAT_ADD(ingest->stats.entries, 1);
        STAT_ADD(ingest->stats.recipients, ingest->works[i].jobs);
        STAT_ADD(ingest->stats.rejected, ingest->works[i].rejected);
    }
    ingest->pause_ms = PAUSE_MS_MIN;
    ingest_batch_reset(ingest);
    ingest_read_next(ingest);
}

void ingest_stage_consume(struct ingest *ingest)
{
    struct slice args[5 + ENTRIES_MAX] = {
        [2] = SLICE("1"), [3] = queue_key_slice(&ingest->key_submit), [4] = GROUP
    };
    unsigned n = 5;
    char ttl[12];
    snprintf(ttl, sizeof ttl, "%d", MARKER_DONE_TTL_S);
    ingest->stage_next = batch_done;
    for (unsigned i = 0; i < ingest->work_count; i++)
        args[n++] = ingest->works[i].entry;
    ingest_call_script(ingest_call_create(ingest, NULL, ingest_call_done), &ingest->key_submit,
                       SCRIPT_CONSUMED, args, n);
    for (unsigned i = 0; i < ingest->work_count; i++) {
        struct ingest_work *work = &ingest->works[i];
        for (unsigned p = 0; p < work->part_count; p++) {
            if (work->parts[p].number > 0)
                continue;
            struct queue_key marker = queue_key_partition(
                ingest->name_space, work->parts[p].partition, "m:", work->entry);
            ingest_call_send(
                ingest_call_create(ingest, NULL, ingest_call_done), &marker,
                (struct slice[]){ SLICE("EXPIRE"), queue_key_slice(&marker), slice_str(ttl) }, 3);
        }
    }
    ingest_stage_end(ingest);
}

/* ---- into the partitions ---- */

static void enqueue_done(struct redis_call *call, const struct redis_value *reply)
{
    struct ingest_call *it = CONTAINER_OF(call, struct ingest_call, call);
    struct ingest *ingest = it->ingest;
    if (!ingest_call_reply(it, reply))
        return;
    if (reply->type == VALUE_ARRAY && reply->count == 3 && redis_value_is(&reply->items[0], "OK")) {
        STAT_ADD(ingest->stats.repeated, redis_value_u64(&reply->items[1]));
        STAT_ADD(ingest->stats.suppressed, redis_value_u64(&reply->items[2]));
    } else if (reply->type != VALUE_ARRAY || reply->count != 1 ||
               !redis_value_is(&reply->items[0], "SEEN")) {
        ingest_stage_failed(ingest, "queueing", reply);
    }
    ingest_stage_end(ingest);
}

static struct slice number_text(struct arena *arena, long long n)
{
    char digits[24];
    int len = snprintf(digits, sizeof digits, "%lld", n);
    return arena_copy(arena, slice_of(digits, (size_t)len));
}

/* What all parts of an entry say before their jobs: args[0 … count), the part's own left open. */
struct enqueue_head {
    struct slice args[HEAD_ARGS_MAX];
    unsigned count;
};
enum { HEAD_EPOCH = 3, HEAD_PART = 5, HEAD_REJECTED = 10, HEAD_FIELDS = 11 };

static void head_fill(struct ingest *ingest, const struct ingest_work *work,
                      struct enqueue_head *head)
{
    struct arena *arena = &ingest->arena;
    const struct submission_terms *terms = work->terms;
    struct buf flow = BUF_EMPTY, windows = BUF_EMPTY;
    buf_printf(&flow, "%.*s/%.*s", SLICE_FMT(terms->tenant), SLICE_FMT(terms->campaign));
    submission_terms_windows(terms, &windows);
    const struct {
        const char *name;
        struct slice value;
    } fields[] = {
        { "class", slice_of(&terms->class, 1) },
        { "flow", arena_copy(arena, buf_slice(&flow)) },
        { "accepted", number_text(arena, terms->accepted_ms) },
        { "expires", number_text(arena, terms->expires_ms) },
        { "start",
          terms->start_ms > terms->accepted_ms ? number_text(arena, terms->start_ms) : SLICE("") },
        { "windows", arena_copy(arena, buf_slice(&windows)) },
        { "pool", terms->pool },
        { "stream", terms->stream },
    };
    const struct slice first[] = {
        [2] = SLICE("1"),
        [4] = work->entry,
        [6] = number_text(arena, MARKER_TTL_S),
        [7] = number_text(arena, QUEUE_TOTALS_TTL_S),
        [8] = number_text(arena, ingest->options.idempotency_s),
        [9] = slice_str(work->id),
        [HEAD_FIELDS] = SLICE(""),
    };
    memcpy(head->args, first, sizeof first);
    head->count = ARRAY_LEN(first);
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        if (fields[i].value.len == 0)
            continue;
        head->args[head->count++] = slice_str(fields[i].name);
        head->args[head->count++] = fields[i].value;
    }
    head->args[HEAD_FIELDS] = number_text(arena, head->count - HEAD_FIELDS - 1);
    head->args[head->count++] = terms->weight > 0 ? number_text(arena, terms->weight) : SLICE("");
    assert(head->count <= HEAD_ARGS_MAX);
    buf_free(&flow);
    buf_free(&windows);
}

static void part_send(struct ingest *ingest, struct ingest_work *work,
                      const struct ingest_part *part, struct enqueue_head *head)
{
    char number[12], rejected[24];
    snprintf(number, sizeof number, "%u", part->number);
    snprintf(rejected, sizeof rejected, "%llu", (unsigned long long)part->rejected);
    struct queue_key epoch =
        queue_key_partition(ingest->name_space, part->partition, "e", SLICE(""));
    head->args[HEAD_EPOCH] = queue_key_slice(&epoch);
    head->args[HEAD_PART] = slice_str(number);
    head->args[HEAD_REJECTED] = slice_str(rejected);
    unsigned count = head->count + part->arg_count;
    if (count > ingest->args_room) {
        ingest->args_room = count;
        ingest->args = mem_realloc(ingest->args, count * sizeof *ingest->args);
    }
    memcpy(ingest->args, head->args, head->count * sizeof *head->args);
    if (part->arg_count > 0)
        memcpy(ingest->args + head->count, part->args, part->arg_count * sizeof *part->args);
    ingest_call_script(ingest_call_create(ingest, work, enqueue_done), &epoch, SCRIPT_ENQUEUE,
                       ingest->args, count);
}

void ingest_stage_enqueue(struct ingest *ingest)
{
    ingest->stage_next = ingest_stage_seal;
    for (unsigned i = 0; i < ingest->work_count; i++) {
        struct ingest_work *work = &ingest->works[i];
        if (work->done || work->queued)
            continue;
        struct enqueue_head head;
        head_fill(ingest, work, &head);
        for (unsigned p = 0; p < work->part_count; p++)
            part_send(ingest, work, &work->parts[p], &head);
    }
    ingest_stage_end(ingest);
}
