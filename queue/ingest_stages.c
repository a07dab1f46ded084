/* What happens to a batch of entries between reading and reading on; see ingest.c. */
#include <stdio.h>
#include <stdlib.h>

#include "queue/ingest_internal.h"
#include "queue/record.h"

enum {
    MARKER_TTL_S = 7 * 86400,
    RECIPIENT_KEYS_TTL_S = 2 * 86400,
    MARKER_DONE_TTL_S = 600,   /* a command of a lost connection may still come */
    SCHEMAS_MAX = ENTRIES_MAX, /* so those of one batch never push each other out */
    DEAD_LETTERS_MAX = 100000,
};

/* ---- schemas ---- */

void ingest_schema_drop(struct ingest *ingest, struct schema *schema)
{
    list_remove(&schema->node);
    ingest->schema_count--;
    ingest->callbacks->schema_close(ingest->user, &schema->it);
    free(schema);
}

static struct schema *schema_find(struct ingest *ingest, const char *id)
{
    list_for_each (node, &ingest->schemas) {
        struct schema *schema = LIST_ENTRY(node, struct schema, node);
        if (!slice_eq(slice_of(schema->id, schema->id_len), slice_str(id)))
            continue;
        list_remove(node);
        list_push_front(&ingest->schemas, node);
        return schema;
    }
    return NULL;
}

static bool schema_open(struct ingest *ingest, const json_t *content, struct ingest_schema *out,
                        struct err *err)
{
    char *text = json_dumps(content, JSON_COMPACT);
    *out = (struct ingest_schema){ 0 };
    bool ok = ingest->callbacks->schema_open(ingest->user, slice_str(text), out, err);
    free(text);
    if (ok && out->count > QUEUE_RECORD_VALUES_MAX) {
        ingest->callbacks->schema_close(ingest->user, out);
        return err_set(err, ERR_INPUT, "more than %d fields", QUEUE_RECORD_VALUES_MAX);
    }
    return ok;
}

static bool schema_add(struct ingest *ingest, const char *id,
                       const struct submission_stored *stored, struct err *err)
{
    struct ingest_schema it;
    if (!schema_open(ingest, stored->content, &it, err))
        return false;
    if (ingest->schema_count == SCHEMAS_MAX)
        ingest_schema_drop(ingest, LIST_ENTRY(ingest->schemas.prev, struct schema, node));
    struct schema *schema = mem_zalloc(sizeof *schema);
    schema->it = it;
    schema->accepted_ms = stored->accepted_ms;
    schema->expires_ms = stored->expires_ms;
    schema->id_len = strlen(id);
    memcpy(schema->id, id, schema->id_len);
    list_push_front(&ingest->schemas, &schema->node);
    ingest->schema_count++;
    return true;
}

/* ---- the batch ---- */

void ingest_batch_reset(struct ingest *ingest)
{
    for (unsigned i = 0; i < ingest->work_count; i++) {
        struct ingest_work *work = &ingest->works[i];
        if (work->schema_open)
            ingest->callbacks->schema_close(ingest->user, &work->schema);
        submission_free(&work->submission);
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

static struct ingest_call *stage_call(struct ingest *ingest, struct ingest_work *work,
                                      void (*done)(struct redis_call *, const struct redis_value *))
{
    struct ingest_call *call = arena_alloc(&ingest->arena, sizeof *call);
    *call = (struct ingest_call){ .ingest = ingest, .work = work, .call = { .done = done, .durable = true } };
    return call;
}

/* A command of the stage to the server of `key`. Without one the batch has failed. */
static void stage_send(struct ingest_call *it, const struct queue_key *key,
                       const struct slice *args, unsigned count)
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

/* What every stage's callback does first: false when there's nothing to look at. */
static bool stage_reply(struct ingest_call *it, const struct redis_value *reply)
{
    struct ingest *ingest = it->ingest;
    ingest->missing--;
    if (reply)
        return true;
    ingest->failed = true; /* lost with its connection; that was logged */
    ingest_stage_end(ingest);
    return false;
}

/* ---- dead letters ---- */

static void dead_done(struct redis_call *call, const struct redis_value *reply)
{
    struct ingest_call *it = CONTAINER_OF(call, struct ingest_call, call);
    struct ingest *ingest = it->ingest;
    if (!stage_reply(it, reply))
        return;
    if (reply->type == VALUE_ERROR)
        ingest_stage_failed(ingest, "writing a dead letter", reply);
    ingest_stage_end(ingest);
}

void ingest_dead_letter(struct ingest *ingest, struct ingest_work *work,
                        const struct submission_problem *problem, struct slice original)
{
    struct ingest_call *it = stage_call(ingest, work, dead_done);
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
    stage_send(it, &ingest->key_dead, args, ARRAY_LEN(args));
}

/* The whole entry can't be taken. */
static void work_refuse(struct ingest *ingest, struct ingest_work *work,
                        const struct submission_problem *problem)
{
    char *text = work->submission.root ? json_dumps(work->submission.root, JSON_COMPACT) : NULL;
    log_warn(ingest->options.log, "submission-refused", "entry %.*s: %s%s%s",
             SLICE_FMT(work->entry), problem->path, problem->path[0] ? ": " : "", problem->reason);
    ingest_dead_letter(ingest, work, problem, slice_str(text));
    free(text);
    submission_free(&work->submission);
    work->done = true;
    STAT_ADD(ingest->stats.refused, 1);
}

static void recipient_rejected(void *user, const struct ingest_work *work,
                               const struct submission_problem *problem, const json_t *original)
{
    struct ingest *ingest = user;
    char *text = json_dumps(original, JSON_COMPACT | JSON_ENCODE_ANY);
    ingest_dead_letter(ingest, (struct ingest_work *)work, problem, slice_str(text));
    free(text);
}

/* ---- last stage: out of the stream ---- */

static void consumed_done(struct redis_call *call, const struct redis_value *reply)
{
    struct ingest_call *it = CONTAINER_OF(call, struct ingest_call, call);
    if (!stage_reply(it, reply))
        return;
    if (reply->type == VALUE_ERROR)
        ingest_stage_failed(it->ingest, "taking entries out of the stream", reply);
    ingest_stage_end(it->ingest);
}

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

static void consume(struct ingest *ingest)
{
    const struct ingest_server *server = ingest_server(ingest, &ingest->key_submit);
    if (!server) {
        ingest->failed = true;
        ingest_stage_end(ingest);
        return;
    }
    struct slice args[5 + ENTRIES_MAX] = { SLICE("EVALSHA"),
                                           script_sha(&server->scripts, SCRIPT_CONSUMED),
                                           SLICE("1"), queue_key_slice(&ingest->key_submit),
                                           GROUP };
    unsigned n = 5;
    char ttl[12];
    snprintf(ttl, sizeof ttl, "%d", MARKER_DONE_TTL_S);
    ingest->stage_next = batch_done;
    for (unsigned i = 0; i < ingest->work_count; i++)
        args[n++] = ingest->works[i].entry;
    struct ingest_call *it = stage_call(ingest, NULL, consumed_done);
    stage_send(it, &ingest->key_submit, args, n);
    for (unsigned i = 0; i < ingest->work_count; i++) {
        struct ingest_work *work = &ingest->works[i];
        for (unsigned p = 0; p < work->part_count; p++) {
            if (work->parts[p].number > 0)
                continue;
            struct queue_key marker = queue_key_partition(
                ingest->name_space, work->parts[p].partition, "m:", work->entry);
            it = stage_call(ingest, NULL, consumed_done);
            stage_send(
                it, &marker,
                (struct slice[]){ SLICE("EXPIRE"), queue_key_slice(&marker), slice_str(ttl) }, 3);
        }
    }
    ingest_stage_end(ingest);
}

/* ---- into the partitions ---- */

static void enqueue_done(struct redis_call *call, const struct redis_value *reply)
{
    struct ingest_call *it = CONTAINER_OF(call, struct ingest_call, call);
    if (!stage_reply(it, reply))
        return;
    bool taken =
        reply->type == VALUE_ARRAY && reply->count > 0 &&
        (redis_value_is(&reply->items[0], "OK") || redis_value_is(&reply->items[0], "SEEN"));
    if (!taken)
        ingest_stage_failed(it->ingest, "queueing", reply);
    ingest_stage_end(it->ingest);
}

static void part_send(struct ingest *ingest, struct ingest_work *work, struct ingest_part *part)
{
    char number[12], marker_ttl[12], totals_ttl[12], keys_ttl[12], rejected[24], accepted[24],
        expires[24];
    snprintf(number, sizeof number, "%u", part->number);
    snprintf(marker_ttl, sizeof marker_ttl, "%d", MARKER_TTL_S);
    snprintf(totals_ttl, sizeof totals_ttl, "%d", QUEUE_TOTALS_TTL_S);
    snprintf(keys_ttl, sizeof keys_ttl, "%d", RECIPIENT_KEYS_TTL_S);
    snprintf(rejected, sizeof rejected, "%llu", (unsigned long long)part->rejected);
    snprintf(accepted, sizeof accepted, "%lld", (long long)work->accepted_ms);
    snprintf(expires, sizeof expires, "%lld", (long long)work->expires_ms);
    struct queue_key epoch =
        queue_key_partition(ingest->name_space, part->partition, "e", SLICE(""));
    const struct ingest_server *server = ingest_server(ingest, &epoch);
    if (!server) {
        ingest->failed = true;
        return;
    }
    if (part->arg_count + 24 > ingest->args_room) {
        ingest->args_room = part->arg_count + 24;
        ingest->args = mem_realloc(ingest->args, ingest->args_room * sizeof *ingest->args);
    }
    const struct slice head[] = {
        SLICE("EVALSHA"),
        script_sha(&server->scripts, SCRIPT_ENQUEUE),
        SLICE("1"),
        queue_key_slice(&epoch),
        work->entry,
        slice_str(number),
        slice_str(marker_ttl),
        slice_str(totals_ttl),
        slice_str(keys_ttl),
        slice_str(work->id),
        slice_str(rejected),
        SLICE("8"),
        SLICE("class"),
        SLICE("b"),
        SLICE("flow"),
        SLICE("/"),
        SLICE("accepted"),
        slice_str(accepted),
        SLICE("expires"),
        slice_str(expires),
        SLICE(""),
    };
    struct slice *args = ingest->args;
    unsigned n = 0;
    for (; n < ARRAY_LEN(head); n++)
        args[n] = head[n];
    for (unsigned i = 0; i < part->arg_count; i++)
        args[n++] = part->args[i];
    stage_send(stage_call(ingest, work, enqueue_done), &epoch, args, n);
}

static void enqueue(struct ingest *ingest)
{
    const struct ingest_reject reject = { recipient_rejected, ingest };
    ingest->stage_next = consume;
    for (unsigned i = 0; i < ingest->work_count; i++) {
        struct ingest_work *work = &ingest->works[i];
        if (work->done)
            continue;
        const struct ingest_schema *schema = &work->schema;
        if (!work->schema_open) {
            struct schema *cached = schema_find(ingest, work->id);
            assert(cached); /* the stage before saw to it */
            schema = &cached->it;
            work->accepted_ms = cached->accepted_ms;
            work->expires_ms = cached->expires_ms;
        }
        ingest_work_encode(work, schema, ingest->options.partitions, ingest->callbacks,
                           ingest->user, &reject, &ingest->arena, &ingest->records);
        for (unsigned p = 0; p < work->part_count; p++)
            part_send(ingest, work, &work->parts[p]);
    }
    ingest_stage_end(ingest);
}

/* ---- the submissions' objects ---- */

static void problem_of(struct submission_problem *problem, const char *path, const struct err *err)
{
    snprintf(problem->path, sizeof problem->path, "%s", path);
    snprintf(problem->reason, sizeof problem->reason, "%.255s", err->text);
}

/* A chunk's object, or that of another entry with the same id. */
static void fetch_done(struct redis_call *call, const struct redis_value *reply)
{
    struct ingest_call *it = CONTAINER_OF(call, struct ingest_call, call);
    struct ingest *ingest = it->ingest;
    struct ingest_work *work = it->work;
    struct submission_problem problem = { .path = "submission", .reason = "unknown or expired" };
    struct submission_stored stored = { 0 };
    struct err err;
    if (!stage_reply(it, reply))
        return;
    if (reply->type == VALUE_ERROR) {
        ingest_stage_failed(ingest, "reading a submission", reply);
    } else if (reply->type != VALUE_STRING) {
        work_refuse(ingest, work, &problem);
    } else if (!submission_stored_parse(&stored, reply->text, &err)) {
        problem_of(&problem, "submission", &err);
        work_refuse(ingest, work, &problem);
    } else if (work->submission.content) {
        /* The object was there before: by an attempt of this very entry, or the producer says the
         * same thing again. */
        bool own = stored.entry && slice_eq(slice_str(stored.entry), work->entry);
        if (!own)
            log_info(ingest->options.log, "submission-repeated",
                     "%s came again, as entry %.*s: ignored", work->id, SLICE_FMT(work->entry));
        work->done = work->done || !own;
    } else if (!schema_find(ingest, work->id) && !schema_add(ingest, work->id, &stored, &err)) {
        problem_of(&problem, "content", &err);
        work_refuse(ingest, work, &problem);
    }
    json_decref(stored.root);
    ingest_stage_end(ingest);
}

static void fetch(struct ingest *ingest, struct ingest_work *work)
{
    struct queue_key key = queue_key_submission(ingest->name_space, "s:", slice_str(work->id));
    struct ingest_call *it = stage_call(ingest, work, fetch_done);
    stage_send(it, &key, (struct slice[]){ SLICE("GET"), queue_key_slice(&key) }, 2);
}

static void store_done(struct redis_call *call, const struct redis_value *reply)
{
    struct ingest_call *it = CONTAINER_OF(call, struct ingest_call, call);
    if (!stage_reply(it, reply))
        return;
    if (reply->type == VALUE_NIL)
        fetch(it->ingest, it->work);
    else if (!redis_value_is(reply, "OK"))
        ingest_stage_failed(it->ingest, "storing a submission", reply);
    ingest_stage_end(it->ingest);
}

static void store_whole(struct ingest *ingest, struct ingest_work *work)
{
    struct submission_problem problem;
    struct err err;
    char destination[256], expiry[24];
    size_t len;
    if (!ingest->callbacks->destination(ingest->user, work->submission.from, destination, &len,
                                        &err)) {
        problem_of(&problem, "from", &err);
        work_refuse(ingest, work, &problem);
        return;
    }
    work->schema_open = schema_open(ingest, work->submission.content, &work->schema, &err);
    if (!work->schema_open) {
        problem_of(&problem, "content", &err);
        work_refuse(ingest, work, &problem);
        return;
    }
    int64_t expires_s =
        work->submission.expires_in_s ? work->submission.expires_in_s : ingest->options.expires_s;
    work->expires_ms = work->accepted_ms + expires_s * 1000;
    char *entry = slice_dup(work->entry);
    char *object = submission_object(entry, work->submission.from, work->submission.content,
                                     work->accepted_ms, work->expires_ms);
    free(entry);
    snprintf(expiry, sizeof expiry, "%lld",
             (long long)(work->expires_ms / 1000 + QUEUE_OBJECT_GRACE_S));
    struct queue_key key = queue_key_submission(ingest->name_space, "s:", slice_str(work->id));
    struct ingest_call *it = stage_call(ingest, work, store_done);
    struct slice args[6] = { SLICE("SET"), queue_key_slice(&key), slice_str(object),
                             SLICE("NX"),  SLICE("EXAT"),         slice_str(expiry) };
    stage_send(it, &key, args, 6);
    free(object);
}

void ingest_stage_store(struct ingest *ingest)
{
    ingest->stage_next = enqueue;
    for (unsigned i = 0; i < ingest->work_count; i++) {
        struct ingest_work *work = &ingest->works[i];
        if (work->done)
            continue;
        if (work->submission.content)
            store_whole(ingest, work);
        else if (!schema_find(ingest, work->id))
            fetch(ingest, work);
    }
    ingest_stage_end(ingest);
}
