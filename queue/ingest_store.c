/* The submissions' objects: a one-shot's is stored, that of chunks was stored by their producer and
 * is fetched, once. What an object says about its submission's mail is known behind this stage, and
 * so are the parts: the partitions that get some are noted before they get them, so that the
 * content can't be dropped as long as any of them has an open job. */
#include <stdio.h>
#include <stdlib.h>

#include "queue/content.h"
#include "queue/ingest_internal.h"

enum { SCHEMAS_MAX = ENTRIES_MAX /* so those of one batch never push each other out */ };

/* ---- of chunks: what was learnt from their objects ---- */

void ingest_schema_drop(struct ingest *ingest, struct schema *schema)
{
    list_remove(&schema->node);
    ingest->schema_count--;
    ingest->callbacks->schema_close(ingest->user, &schema->it);
    submission_stored_free(&schema->stored);
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

/* Takes `stored` over when it returns true. */
static bool schema_add(struct ingest *ingest, const char *id, struct submission_stored *stored,
                       struct err *err)
{
    struct ingest_schema it;
    char *content = json_dumps(stored->content, JSON_COMPACT);
    assert(content); /* it was valid before */
    bool ok = ingest_schema_open(ingest, slice_str(content), &it, err);
    free(content);
    if (!ok)
        return false;
    if (ingest->schema_count == SCHEMAS_MAX)
        ingest_schema_drop(ingest, LIST_ENTRY(ingest->schemas.prev, struct schema, node));
    struct schema *schema = mem_zalloc(sizeof *schema);
    schema->it = it;
    schema->stored = *stored;
    json_object_del(schema->stored.root, "content");
    schema->stored.content = NULL;
    schema->id_len = strlen(id);
    memcpy(schema->id, id, schema->id_len);
    list_push_front(&ingest->schemas, &schema->node);
    ingest->schema_count++;
    return true;
}

/* ---- storing ---- */

static void recipient_rejected(void *user, const struct ingest_work *work,
                               const struct submission_problem *problem, const json_t *original)
{
    struct ingest *ingest = user;
    char *text = json_dumps(original, JSON_COMPACT | JSON_ENCODE_ANY);
    ingest_dead_letter(ingest, (struct ingest_work *)work, problem, slice_str(text));
    free(text);
}

static void work_encode(struct ingest *ingest, struct ingest_work *work,
                        const struct ingest_schema *schema)
{
    const struct ingest_reject reject = { recipient_rejected, ingest };
    ingest_work_encode(work, schema, ingest->options.partitions, ingest->callbacks, ingest->user,
                       &reject, &ingest->arena, &ingest->records);
}

/* The campaign is known before its first job is queued. */
static void campaign_register(struct ingest *ingest, struct ingest_work *work)
{
    const struct submission_terms *terms = work->terms;
    char flow[2 * QUEUE_NAME_BYTES_MAX + 2], text[64];
    if (terms->campaign.len == 0)
        return;
    snprintf(flow, sizeof flow, "%.*s/%.*s", SLICE_FMT(terms->tenant), SLICE_FMT(terms->campaign));
    snprintf(text, sizeof text, "{\"created\":%lld,\"state\":\"running\"}",
             (long long)terms->accepted_ms);
    struct slice args[] = { SLICE("HSETNX"), queue_key_slice(&ingest->key_campaigns),
                            slice_str(flow), slice_str(text) };
    ingest_call_send(ingest_call_create(ingest, work, ingest_call_done), &ingest->key_campaigns,
                     args, ARRAY_LEN(args));
}

/* An object was there before: by an attempt of this very entry, or a chunked submission's that has
 * this id, too. */
static void object_found(struct ingest *ingest, struct ingest_work *work, struct slice packed)
{
    struct submission_stored stored;
    struct submission_problem problem = { .path = "id", .reason = "names another submission" };
    struct slice text;
    struct err err;
    bool own = content_unpack(packed, &ingest->packed, &text, &err) &&
               submission_stored_parse(&stored, text, &err);
    if (own) {
        own = slice_eq(stored.entry, work->entry);
        submission_stored_free(&stored);
    }
    if (!own)
        ingest_work_refuse(ingest, work, &problem);
}

static void store_done(struct redis_call *call, const struct redis_value *reply)
{
    struct ingest_call *it = CONTAINER_OF(call, struct ingest_call, call);
    if (!ingest_call_reply(it, reply))
        return;
    if (reply->type == VALUE_ARRAY && reply->count == 1)
        object_found(it->ingest, it->work, reply->items[0].text);
    else if (!redis_value_is(reply, "OK"))
        ingest_stage_failed(it->ingest, "storing a submission", reply);
    ingest_stage_end(it->ingest);
}

/* `object` is empty when it's there already. */
static void store(struct ingest *ingest, struct ingest_work *work, struct slice object)
{
    struct queue_key open = queue_key_submission(ingest->name_space, "o:", slice_str(work->id));
    struct queue_key key = queue_key_submission(ingest->name_space, "s:", slice_str(work->id));
    char expiry[24];
    snprintf(expiry, sizeof expiry, "%lld",
             (long long)(work->terms->expires_ms / 1000 + QUEUE_OBJECT_GRACE_S));
    struct slice *args = arena_alloc(&ingest->arena, (7 + work->part_count) * sizeof *args);
    unsigned n = 2;
    args[n++] = SLICE("2");
    args[n++] = queue_key_slice(&open);
    args[n++] = queue_key_slice(&key);
    args[n++] = object;
    args[n++] = slice_str(expiry);
    for (unsigned i = 0; i < work->part_count; i++) {
        char digits[12];
        int len = snprintf(digits, sizeof digits, "%u", work->parts[i].partition);
        if (work->parts[i].number == 0)
            args[n++] = arena_copy(&ingest->arena, slice_of(digits, (size_t)len));
    }
    ingest_call_script(ingest_call_create(ingest, work, store_done), &open, SCRIPT_STORE, args, n);
}

static void whole_store(struct ingest *ingest, struct ingest_work *work)
{
    work_encode(ingest, work, &work->schema);
    ingest->callbacks->schema_close(ingest->user, &work->schema);
    work->schema_open = false;
    campaign_register(ingest, work);
    buf_clear(&ingest->object);
    submission_object(work->entry, work->terms, slice_str(work->content), &ingest->object);
    free(work->content);
    work->content = NULL;
    store(ingest, work, content_pack(buf_slice(&ingest->object), &ingest->packed));
}

static void chunk_store(struct ingest *ingest, struct ingest_work *work, struct schema *schema)
{
    work->terms = &schema->stored.terms;
    work_encode(ingest, work, &schema->it);
    if (!schema->registered)
        campaign_register(ingest, work);
    schema->registered = true;
    store(ingest, work, SLICE(""));
}

/* ---- fetching ---- */

/* A chunk that can't be taken gives its numbers back. */
static void chunk_refuse(struct ingest *ingest, struct ingest_work *work,
                         const struct submission_problem *problem)
{
    struct queue_key key = queue_key_submission(ingest->name_space, "c:", slice_str(work->id));
    char first[24];
    snprintf(first, sizeof first, "%llu", (unsigned long long)work->submission.first);
    struct slice args[] = { SLICE("HDEL"), queue_key_slice(&key), slice_str(first) };
    ingest_call_send(ingest_call_create(ingest, work, ingest_call_done), &key, args, 3);
    ingest_work_refuse(ingest, work, problem);
}

/* The first chunk of a submission brings its object; further ones in the batch find it in the
 * cache. */
static void fetch_done(struct redis_call *call, const struct redis_value *reply)
{
    struct ingest_call *it = CONTAINER_OF(call, struct ingest_call, call);
    struct ingest *ingest = it->ingest;
    struct ingest_work *work = it->work;
    struct submission_problem problem = { .path = "submission", .reason = "unknown or expired" };
    struct submission_stored stored = { 0 };
    struct slice text;
    struct err err = { 0 };
    if (!ingest_call_reply(it, reply))
        return;
    struct schema *schema = schema_find(ingest, work->id);
    if (schema) {
        chunk_store(ingest, work, schema);
    } else if (reply->type == VALUE_ERROR) {
        ingest_stage_failed(ingest, "reading a submission", reply);
    } else if (reply->type != VALUE_STRING) {
        chunk_refuse(ingest, work, &problem);
    } else {
        bool ok = content_unpack(reply->text, &ingest->packed, &text, &err) &&
                  submission_stored_parse(&stored, text, &err);
        snprintf(problem.path, sizeof problem.path, ok ? "content" : "submission");
        ok = ok && schema_add(ingest, work->id, &stored, &err);
        if (ok) {
            chunk_store(ingest, work, schema_find(ingest, work->id));
        } else {
            submission_stored_free(&stored);
            snprintf(problem.reason, sizeof problem.reason, "%.255s", err.text);
            chunk_refuse(ingest, work, &problem);
        }
    }
    ingest_stage_end(ingest);
}

static void fetch(struct ingest *ingest, struct ingest_work *work)
{
    struct queue_key key = queue_key_submission(ingest->name_space, "s:", slice_str(work->id));
    ingest_call_send(ingest_call_create(ingest, work, fetch_done), &key,
                     (struct slice[]){ SLICE("GET"), queue_key_slice(&key) }, 2);
}

/* Large ones aren't kept. */
static void buffer_trim(struct buf *buf)
{
    if (buf->room > BUFFER_BYTES)
        buf_free(buf);
}

void ingest_stage_store(struct ingest *ingest)
{
    ingest->stage_next = ingest_stage_enqueue;
    for (unsigned i = 0; i < ingest->work_count; i++) {
        struct ingest_work *work = &ingest->works[i];
        if (work->done || work->queued)
            continue;
        struct schema *schema = work->submission.chunk ? schema_find(ingest, work->id) : NULL;
        if (!work->submission.chunk)
            whole_store(ingest, work);
        else if (schema)
            chunk_store(ingest, work, schema);
        else
            fetch(ingest, work);
    }
    buffer_trim(&ingest->object);
    buffer_trim(&ingest->packed);
    ingest_stage_end(ingest);
}
