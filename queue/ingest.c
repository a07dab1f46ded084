/* Stages of a batch: READ entries and parse them; STORE the objects of one-shot submissions, or
 * fetch those of streamed ones; ENQUEUE all parts; CONSUME the entries. A stage begins when all
 * replies of the one before are there. Whatever goes wrong on the way, the batch is dropped and
 * read again, as a new process would do: that the parts' markers make this harmless is the only
 * recovery there is. */
#include "queue/ingest.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/base/list.h"
#include "engine/base/map.h"
#include "engine/base/mem.h"
#include "queue/ingest_batch.h"
#include "queue/loader.h"
#include "queue/record.h"

enum {
    ENTRIES_MAX = 64,
    BATCH_BYTES = 4 << 20, /* more at once, and fewer entries are read next time */
    BLOCK_MS = 2000,
    CLAIM_MS = 30000,      /* between looks for entries that a dead consumer left */
    CLAIM_IDLE_MS = 60000, /* how long an entry must have been left */
    PAUSE_MS_MIN = 50,
    PAUSE_MS_MAX = 2000,
    MARKER_TTL_S = 7 * 86400,
    MARKER_DONE_TTL_S = 600,   /* a command of a lost connection may still come */
    SCHEMAS_MAX = ENTRIES_MAX, /* so those of one batch never push each other out */
    DEAD_LETTERS_MAX = 100000,
};

#define GROUP SLICE("eilpost")

struct schema {       /* of a submission that comes in chunks, from its stored object */
    struct list node; /* most recently used first */
    struct ingest_schema it;
    size_t id_len;
    char id[QUEUE_SUBMISSION_BYTES_MAX];
};

struct ingest_call { /* of a stage */
    struct redis_call call;
    struct ingest *ingest;
    struct ingest_work *work;
    struct ingest_part *part;
};

struct ingest {
    struct ring *ring;
    struct ingest_options options;
    const struct ingest_callbacks *callbacks;
    void *user;
    char *name_space;
    char consumer[64];
    struct redis *redis;
    struct script_loader scripts;
    struct queue_key key_submit, key_dead;
    struct redis_call loop_call; /* group, read, claim: one at a time */
    struct ring_timer pause;
    unsigned pause_ms;
    bool pending_read; /* reading what this consumer had before a crash */
    int64_t claimed_ms;
    unsigned entries_wanted;
    /* the batch at hand */
    struct arena arena;
    struct ingest_work works[ENTRIES_MAX];
    unsigned work_count;
    unsigned missing; /* replies of the stage */
    bool failed;
    void (*stage_next)(struct ingest *ingest);
    struct list schemas;
    unsigned schema_count;
    struct slice *args;
    unsigned args_room;
    void (*stopped)(void *user);
    void *stopped_user;
    struct ingest_stats stats;
};

#define STAT_ADD(field, value) __atomic_store_n(&(field), (field) + (value), __ATOMIC_RELAXED)

static void read_next(struct ingest *ingest);
static void group_create(struct ingest *ingest);

const struct ingest_stats *ingest_stats(const struct ingest *ingest)
{
    return &ingest->stats;
}

/* ---- schemas ---- */

static void schema_drop(struct ingest *ingest, struct schema *schema)
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

static bool schema_add(struct ingest *ingest, const char *id, const json_t *content,
                       struct err *err)
{
    struct ingest_schema it;
    if (!schema_open(ingest, content, &it, err))
        return false;
    if (ingest->schema_count == SCHEMAS_MAX)
        schema_drop(ingest, LIST_ENTRY(ingest->schemas.prev, struct schema, node));
    struct schema *schema = mem_zalloc(sizeof *schema);
    schema->it = it;
    schema->id_len = strlen(id);
    memcpy(schema->id, id, schema->id_len);
    list_push_front(&ingest->schemas, &schema->node);
    ingest->schema_count++;
    return true;
}

/* ---- the batch ---- */

static void batch_reset(struct ingest *ingest)
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
static void batch_pause(struct ingest *ingest)
{
    batch_reset(ingest);
    STAT_ADD(ingest->stats.pauses, 1);
    ring_timer_start(ingest->ring, &ingest->pause, ingest->pause_ms);
    ingest->pause_ms = MIN_OF(ingest->pause_ms * 2, (unsigned)PAUSE_MS_MAX);
}

static void pause_fired(struct ring_timer *timer)
{
    struct ingest *ingest = CONTAINER_OF(timer, struct ingest, pause);
    if (redis_up(ingest->redis))
        group_create(ingest);
}

static void stage_end(struct ingest *ingest)
{
    if (ingest->missing > 0)
        return;
    if (ingest->failed)
        batch_pause(ingest);
    else
        ingest->stage_next(ingest);
}

static void stage_failed(struct ingest *ingest, const char *what, const struct redis_value *reply)
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
    *call = (struct ingest_call){ .ingest = ingest, .work = work, .call.done = done };
    ingest->missing++;
    return call;
}

/* What every stage's callback does first: false when there's nothing to look at. */
static bool stage_reply(struct ingest_call *it, const struct redis_value *reply)
{
    it->ingest->missing--;
    return reply != NULL; /* lost: `down` drops the batch */
}

/* ---- dead letters ---- */

static void dead_done(struct redis_call *call, const struct redis_value *reply)
{
    struct ingest_call *it = CONTAINER_OF(call, struct ingest_call, call);
    struct ingest *ingest = it->ingest;
    if (!stage_reply(it, reply))
        return;
    if (reply->type == VALUE_ERROR)
        stage_failed(ingest, "writing a dead letter", reply);
    stage_end(ingest);
}

static void dead_letter(struct ingest *ingest, struct ingest_work *work,
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
    redis_send(ingest->redis, &it->call, args, ARRAY_LEN(args));
}

/* The whole entry can't be taken. */
static void work_refuse(struct ingest *ingest, struct ingest_work *work,
                        const struct submission_problem *problem)
{
    char *text = work->submission.root ? json_dumps(work->submission.root, JSON_COMPACT) : NULL;
    log_warn(ingest->options.log, "submission-refused", "entry %.*s: %s%s%s",
             SLICE_FMT(work->entry), problem->path, problem->path[0] ? ": " : "", problem->reason);
    dead_letter(ingest, work, problem, slice_str(text));
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
    dead_letter(ingest, (struct ingest_work *)work, problem, slice_str(text));
    free(text);
}

/* ---- last stage: out of the stream ---- */

static void consumed_done(struct redis_call *call, const struct redis_value *reply)
{
    struct ingest_call *it = CONTAINER_OF(call, struct ingest_call, call);
    if (!stage_reply(it, reply))
        return;
    if (reply->type == VALUE_ERROR)
        stage_failed(it->ingest, "taking entries out of the stream", reply);
    stage_end(it->ingest);
}

static void batch_done(struct ingest *ingest)
{
    for (unsigned i = 0; i < ingest->work_count; i++) {
        STAT_ADD(ingest->stats.entries, 1);
        STAT_ADD(ingest->stats.recipients, ingest->works[i].jobs);
        STAT_ADD(ingest->stats.rejected, ingest->works[i].rejected);
    }
    ingest->pause_ms = PAUSE_MS_MIN;
    batch_reset(ingest);
    read_next(ingest);
}

static void consume(struct ingest *ingest)
{
    struct slice args[5 + ENTRIES_MAX] = { SLICE("EVALSHA"),
                                           script_sha(&ingest->scripts, SCRIPT_CONSUMED),
                                           SLICE("1"), queue_key_slice(&ingest->key_submit),
                                           GROUP };
    unsigned n = 5;
    char ttl[12];
    snprintf(ttl, sizeof ttl, "%d", MARKER_DONE_TTL_S);
    ingest->stage_next = batch_done;
    for (unsigned i = 0; i < ingest->work_count; i++)
        args[n++] = ingest->works[i].entry;
    struct ingest_call *it = stage_call(ingest, NULL, consumed_done);
    redis_send(ingest->redis, &it->call, args, n);
    for (unsigned i = 0; i < ingest->work_count; i++) {
        struct ingest_work *work = &ingest->works[i];
        for (unsigned p = 0; p < work->part_count; p++) {
            if (work->parts[p].number > 0)
                continue;
            struct queue_key marker = queue_key_partition(
                ingest->name_space, work->parts[p].partition, "m:", work->entry);
            it = stage_call(ingest, NULL, consumed_done);
            redis_send(
                ingest->redis, &it->call,
                (struct slice[]){ SLICE("EXPIRE"), queue_key_slice(&marker), slice_str(ttl) }, 3);
        }
    }
}

/* ---- into the partitions ---- */

static void enqueue_done(struct redis_call *call, const struct redis_value *reply)
{
    struct ingest_call *it = CONTAINER_OF(call, struct ingest_call, call);
    if (!stage_reply(it, reply))
        return;
    if (!redis_value_is(reply, "OK") && !redis_value_is(reply, "SEEN"))
        stage_failed(it->ingest, "queueing", reply);
    stage_end(it->ingest);
}

static void part_send(struct ingest *ingest, struct ingest_work *work, struct ingest_part *part)
{
    char number[12], marker_ttl[12], totals_ttl[12], rejected[24];
    snprintf(number, sizeof number, "%u", part->number);
    snprintf(marker_ttl, sizeof marker_ttl, "%d", MARKER_TTL_S);
    snprintf(totals_ttl, sizeof totals_ttl, "%d", QUEUE_TOTALS_TTL_S);
    snprintf(rejected, sizeof rejected, "%llu", (unsigned long long)part->rejected);
    struct queue_key marker =
        queue_key_partition(ingest->name_space, part->partition, "m:", work->entry);
    struct queue_key counters =
        queue_key_partition(ingest->name_space, part->partition, "n", SLICE(""));
    if (part->arg_count + 10 > ingest->args_room) {
        ingest->args_room = part->arg_count + 10;
        ingest->args = mem_realloc(ingest->args, ingest->args_room * sizeof *ingest->args);
    }
    struct slice *args = ingest->args;
    unsigned n = 0;
    args[n++] = SLICE("EVALSHA");
    args[n++] = script_sha(&ingest->scripts, SCRIPT_ENQUEUE);
    args[n++] = SLICE("2");
    args[n++] = queue_key_slice(&marker);
    args[n++] = queue_key_slice(&counters);
    args[n++] = slice_str(number);
    args[n++] = slice_str(marker_ttl);
    args[n++] = slice_str(work->id);
    args[n++] = slice_str(totals_ttl);
    args[n++] = slice_str(rejected);
    for (unsigned i = 0; i < part->arg_count; i++)
        args[n++] = part->args[i];
    struct ingest_call *it = stage_call(ingest, work, enqueue_done);
    redis_send(ingest->redis, &it->call, args, n);
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
        }
        ingest_work_encode(work, schema, ingest->options.partitions, ingest->callbacks,
                           ingest->user, &reject, &ingest->arena);
        for (unsigned p = 0; p < work->part_count; p++)
            part_send(ingest, work, &work->parts[p]);
    }
    stage_end(ingest);
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
        stage_failed(ingest, "reading a submission", reply);
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
    } else if (!schema_find(ingest, work->id) &&
               !schema_add(ingest, work->id, stored.content, &err)) {
        problem_of(&problem, "content", &err);
        work_refuse(ingest, work, &problem);
    }
    json_decref(stored.root);
    stage_end(ingest);
}

static void fetch(struct ingest *ingest, struct ingest_work *work)
{
    struct queue_key key = queue_key_global(ingest->name_space, "s:", slice_str(work->id));
    struct ingest_call *it = stage_call(ingest, work, fetch_done);
    redis_send(ingest->redis, &it->call, (struct slice[]){ SLICE("GET"), queue_key_slice(&key) },
               2);
}

static void store_done(struct redis_call *call, const struct redis_value *reply)
{
    struct ingest_call *it = CONTAINER_OF(call, struct ingest_call, call);
    if (!stage_reply(it, reply))
        return;
    if (reply->type == VALUE_NIL)
        fetch(it->ingest, it->work);
    else if (!redis_value_is(reply, "OK"))
        stage_failed(it->ingest, "storing a submission", reply);
    stage_end(it->ingest);
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
    struct queue_key key = queue_key_global(ingest->name_space, "s:", slice_str(work->id));
    struct ingest_call *it = stage_call(ingest, work, store_done);
    struct slice args[6] = { SLICE("SET"), queue_key_slice(&key), slice_str(object),
                             SLICE("NX"),  SLICE("EXAT"),         slice_str(expiry) };
    redis_send(ingest->redis, &it->call, args, 6);
    free(object);
}

static void store(struct ingest *ingest)
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
    stage_end(ingest);
}

/* ---- reading ---- */

/* One entry of the stream: [id, [field, value, …]]; the value of "json" is the submission. */
static void entry_take(struct ingest *ingest, const struct redis_value *entry, size_t *bytes)
{
    struct ingest_work *work = &ingest->works[ingest->work_count++];
    *work = (struct ingest_work){ .entry = arena_copy(&ingest->arena, entry->items[0].text) };
    struct submission_problem problem = { .reason = "entry without a field \"json\"" };
    struct slice json = { 0 };
    const struct redis_value *fields = &entry->items[1];
    for (size_t i = 0; fields->type == VALUE_ARRAY && i + 1 < fields->count; i += 2)
        if (slice_eq(fields->items[i].text, SLICE("json")))
            json = fields->items[i + 1].text;
    *bytes += json.len;
    if (fields->type == VALUE_NIL) { /* deleted, but still pending */
        work->done = true;
        return;
    }
    if (!ingest_submission_id(work->entry, work->id, &work->accepted_ms) || !json.ptr ||
        !submission_parse(&work->submission, json, &problem)) {
        log_warn(ingest->options.log, "submission-refused", "entry %.*s: %s%s%s",
                 SLICE_FMT(work->entry), problem.path, problem.path[0] ? ": " : "", problem.reason);
        work->id[0] = '\0';
        dead_letter(ingest, work, &problem, json);
        work->done = true;
        STAT_ADD(ingest->stats.refused, 1);
        return;
    }
    if (work->submission.id.len > 0) {
        memcpy(work->id, work->submission.id.ptr, work->submission.id.len);
        work->id[work->submission.id.len] = '\0';
    }
}

static void batch_begin(struct ingest *ingest, const struct redis_value *entries)
{
    size_t bytes = 0;
    for (size_t i = 0; i < entries->count && ingest->work_count < ENTRIES_MAX; i++)
        if (entries->items[i].type == VALUE_ARRAY && entries->items[i].count == 2)
            entry_take(ingest, &entries->items[i], &bytes);
    ingest->entries_wanted = bytes > BATCH_BYTES
                                 ? MAX_OF(ingest->entries_wanted / 2, 1u)
                                 : MIN_OF(ingest->entries_wanted * 2, (unsigned)ENTRIES_MAX);
    if (ingest->missing > 0)
        ingest->stage_next = store; /* dead letters first */
    else
        store(ingest);
}

static void read_done(struct redis_call *call, const struct redis_value *reply)
{
    struct ingest *ingest = CONTAINER_OF(call, struct ingest, loop_call);
    if (!reply)
        return;
    const struct redis_value *entries = NULL;
    if (reply->type == VALUE_ERROR) {
        stage_failed(ingest, "reading the submit stream", reply);
        batch_pause(ingest);
        return;
    }
    if (reply->type == VALUE_ARRAY && reply->count == 1 && reply->items[0].type == VALUE_ARRAY &&
        reply->items[0].count == 2 && reply->items[0].items[1].type == VALUE_ARRAY)
        entries = &reply->items[0].items[1];
    if (entries && entries->count > 0) {
        batch_begin(ingest, entries);
        return;
    }
    ingest->pending_read = false;
    read_next(ingest);
}

static void claim_done(struct redis_call *call, const struct redis_value *reply)
{
    struct ingest *ingest = CONTAINER_OF(call, struct ingest, loop_call);
    if (!reply)
        return;
    /* [cursor, [id…], …]: what was claimed is this consumer's now, and is read as such. */
    if (reply->type == VALUE_ARRAY && reply->count >= 2 && reply->items[1].count > 0)
        ingest->pending_read = true;
    read_next(ingest);
}

static void loop_send(struct ingest *ingest,
                      void (*done)(struct redis_call *, const struct redis_value *),
                      const struct slice *args, unsigned count, unsigned extra_ms)
{
    ingest->loop_call = (struct redis_call){ .done = done, .extra_ms = extra_ms };
    redis_send(ingest->redis, &ingest->loop_call, args, count);
}

static void claim(struct ingest *ingest)
{
    char idle[12], count[12];
    snprintf(idle, sizeof idle, "%d", CLAIM_IDLE_MS);
    snprintf(count, sizeof count, "%d", ENTRIES_MAX);
    ingest->claimed_ms = ring_now_ms(ingest->ring);
    struct slice args[] = { SLICE("XAUTOCLAIM"),
                            queue_key_slice(&ingest->key_submit),
                            GROUP,
                            slice_str(ingest->consumer),
                            slice_str(idle),
                            SLICE("0-0"),
                            SLICE("COUNT"),
                            slice_str(count),
                            SLICE("JUSTID") };
    loop_send(ingest, claim_done, args, ARRAY_LEN(args), 0);
}

static void read_next(struct ingest *ingest)
{
    if (!redis_up(ingest->redis))
        return; /* `up` begins again */
    if (!ingest->pending_read && ring_now_ms(ingest->ring) - ingest->claimed_ms >= CLAIM_MS) {
        claim(ingest);
        return;
    }
    char count[12], block[12];
    snprintf(count, sizeof count, "%u", ingest->entries_wanted);
    snprintf(block, sizeof block, "%d", BLOCK_MS);
    struct slice args[] = { SLICE("XREADGROUP"),
                            SLICE("GROUP"),
                            GROUP,
                            slice_str(ingest->consumer),
                            SLICE("COUNT"),
                            slice_str(count),
                            SLICE("BLOCK"),
                            slice_str(block),
                            SLICE("STREAMS"),
                            queue_key_slice(&ingest->key_submit),
                            ingest->pending_read ? SLICE("0") : SLICE(">") };
    loop_send(ingest, read_done, args, ARRAY_LEN(args), BLOCK_MS);
}

static void group_done(struct redis_call *call, const struct redis_value *reply)
{
    struct ingest *ingest = CONTAINER_OF(call, struct ingest, loop_call);
    if (!reply)
        return;
    if (reply->type == VALUE_ERROR && !slice_starts_with(reply->text, SLICE("BUSYGROUP"))) {
        stage_failed(ingest, "creating the consumer group", reply);
        batch_pause(ingest);
        return;
    }
    ingest->pending_read = true;
    read_next(ingest);
}

static void group_create(struct ingest *ingest)
{
    struct slice args[] = { SLICE("XGROUP"), SLICE("CREATE"), queue_key_slice(&ingest->key_submit),
                            GROUP,           SLICE("0"),      SLICE("MKSTREAM") };
    loop_send(ingest, group_done, args, ARRAY_LEN(args), 0);
}

/* ---- life ---- */

static void scripts_ready(struct script_loader *loader)
{
    group_create(CONTAINER_OF(loader, struct ingest, scripts));
}

static void on_up(void *user)
{
    script_loader_start(&((struct ingest *)user)->scripts);
}

static void on_down(void *user)
{
    struct ingest *ingest = user;
    ring_timer_stop(&ingest->pause);
    assert(ingest->missing == 0); /* each call was answered, with NULL at last */
    batch_reset(ingest);
}

static void on_stopped(void *user)
{
    struct ingest *ingest = user;
    ring_timer_stop(&ingest->pause);
    ingest->stopped(ingest->stopped_user);
}

static const struct redis_events redis_handlers = { .up = on_up,
                                                    .down = on_down,
                                                    .stopped = on_stopped };

bool ingest_create(struct ingest **out, struct ring *ring, const struct ingest_options *options,
                   const struct ingest_callbacks *callbacks, void *user, struct err *err)
{
    if (!queue_name_valid(slice_str(options->node), QUEUE_NODE_BYTES_MAX) ||
        !queue_name_valid(slice_str(options->name_space), QUEUE_NAME_SPACE_BYTES_MAX) ||
        options->partitions == 0 || options->partitions > QUEUE_PARTITIONS_MAX)
        return err_set(err, ERR_CONFIG,
                       "ingest: node, name space or number of partitions is wrong");
    struct ingest *ingest = mem_zalloc(sizeof *ingest);
    struct redis_options redis = { .url = options->url,
                                   .timeout_ms = options->redis_timeout_ms,
                                   .client_name = "eilpost-ingest",
                                   .log = options->log };
    if (!redis_create(&ingest->redis, ring, &redis, &redis_handlers, ingest, err)) {
        free(ingest);
        return false;
    }
    ingest->ring = ring;
    ingest->options = *options;
    ingest->options.expires_s = options->expires_s ? options->expires_s : 4 * 86400;
    ingest->options.url = NULL; /* may hold a password, and isn't ours */
    ingest->callbacks = callbacks;
    ingest->user = user;
    ingest->name_space = slice_dup(slice_str(options->name_space));
    snprintf(ingest->consumer, sizeof ingest->consumer, "%s/%u", options->node, options->worker);
    ingest->options.node = ingest->options.name_space = NULL;
    ingest->scripts = (struct script_loader){ .redis = ingest->redis, .ready = scripts_ready };
    ingest->key_submit = queue_key_global(ingest->name_space, "submit", SLICE(""));
    ingest->key_dead = queue_key_global(ingest->name_space, "dead", SLICE(""));
    ingest->pause_ms = PAUSE_MS_MIN;
    ingest->claimed_ms = -CLAIM_MS;
    ingest->entries_wanted = 8;
    ingest->arena.block_bytes = 256 << 10;
    list_init(&ingest->schemas);
    ring_timer_init(&ingest->pause, pause_fired);
    *out = ingest;
    return true;
}

void ingest_start(struct ingest *ingest)
{
    redis_start(ingest->redis);
}

void ingest_stop(struct ingest *ingest, void (*stopped)(void *user), void *user)
{
    ingest->stopped = stopped;
    ingest->stopped_user = user;
    redis_stop(ingest->redis);
}

void ingest_destroy(struct ingest **ingest)
{
    struct ingest *it = *ingest;
    if (!it)
        return;
    redis_destroy(&it->redis);
    batch_reset(it);
    while (!list_empty(&it->schemas))
        schema_drop(it, LIST_ENTRY(it->schemas.next, struct schema, node));
    arena_free(&it->arena);
    free(it->args);
    free(it->name_space);
    free(it);
    *ingest = NULL;
}
