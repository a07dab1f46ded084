/* Outcomes: queue_commit(), the fence, and queue_finish(), which collects what ack.lua records in
 * batches. A batch is kept until Redis has answered for it; when the answer is lost it's sent again
 * under the next epoch, where the script does nothing for what it did before. */
#include <stdio.h>
#include <stdlib.h>

#include "queue/internal.h"

static struct held_job *held_of(struct queue_job *job)
{
    return CONTAINER_OF(job, struct held_job, job);
}

int64_t partition_ack_oldest(const struct queue_partition *partition)
{
    return list_empty(&partition->acks)
               ? 0
               : LIST_ENTRY(partition->acks.next, struct ack_batch, node)->oldest_ms;
}

bool queue_commit(struct queue_job *job)
{
    struct held_job *held = held_of(job);
    struct queue_partition *partition = job->partition;
    struct queue *queue = partition->queue;
    int64_t now = ring_clock_us(queue->ring) /
                  1000; /* not the turn's: it may have been a long one, or a long sleep */
    int64_t oldest = partition_ack_oldest(partition);
    if (held->lost || job->held || job->suppressed || job->finished ||
        partition->state != PARTITION_OWNED || !partition_up(partition) ||
        held->epoch < partition->since || now >= partition->lease_until_ms - COMMIT_MARGIN_MS ||
        now >= job->deadline_ms || (oldest != 0 && now - oldest > ACK_AGE_MAX_MS))
        return false;
    if (!queue->options.journal)
        return true;
    if (job->journal_slot >=
        0) { /* of an attempt of the same lease that ended before its end-of-data */
        journal_free(queue->options.journal, job->journal_slot);
        job->journal_slot = -1;
    }
    job->journal_slot =
        journal_take(queue->options.journal, partition->index, job->id, held->epoch);
    return job->journal_slot >= 0;
}

/* ---- batches ---- */

static void ack_done(struct redis_call *call, const struct redis_value *reply);

static struct ack_batch *batch_filling(struct queue_partition *partition)
{
    struct queue *queue = partition->queue;
    if (!list_empty(&partition->acks)) {
        struct ack_batch *last = LIST_ENTRY(partition->acks.prev, struct ack_batch, node);
        if (!last->sealed)
            return last;
    }
    struct list *node = list_pop_front(&queue->free_batches);
    struct ack_batch *batch =
        node ? LIST_ENTRY(node, struct ack_batch, node) : mem_zalloc(sizeof *batch);
    struct buf text = batch->text;
    buf_clear(&text);
    *batch = (struct ack_batch){ .partition = partition,
                                 .call = { .done = ack_done, .durable = true },
                                 .text = text,
                                 .oldest_ms = ring_now_ms(queue->ring) };
    list_init(&batch->jobs);
    list_init(&batch->node);
    list_push_back(&partition->acks, &batch->node);
    return batch;
}

void ack_batch_free(struct ack_batch *batch)
{
    list_push_front(&batch->partition->queue->free_batches, &batch->node);
}

static const char *end_name(enum queue_end end)
{
    switch (end) {
    case QUEUE_DELIVERED:
        return "delivered";
    case QUEUE_BOUNCED:
        return "bounced";
    case QUEUE_EXPIRED:
        return "expired";
    case QUEUE_SUPPRESSED:
        return "suppressed";
    case QUEUE_CANCELLED:
        return "cancelled";
    case QUEUE_RETRY:
        return "retry";
    case QUEUE_RELEASE:
        return "release";
    }
    return NULL;
}

static void batch_send(struct ack_batch *batch)
{
    struct queue_partition *partition = batch->partition;
    struct queue *queue = partition->queue;
    struct slice *args = queue_args(queue, 7 + 7 * batch->count), text = buf_slice(&batch->text);
    buf_clear(&queue->numbers);
    buf_reserve(&queue->numbers, batch->count * 20 + 40);
    char ttl[12];
    snprintf(ttl, sizeof ttl, "%d", QUEUE_TOTALS_TTL_S);
    unsigned n = 0;
    args[n++] = SLICE("EVALSHA");
    args[n++] = script_sha(&partition->server->scripts, SCRIPT_ACK);
    args[n++] = SLICE("1");
    args[n++] = queue_key_slice(&partition->key_epoch);
    args[n++] = slice_str(partition->epoch_text);
    args[n++] = slice_str(queue->events_max_text);
    args[n++] = slice_str(ttl);
    list_for_each (node, &batch->jobs) {
        const struct held_job *held = LIST_ENTRY(node, struct held_job, job.lease_node);
        size_t at = queue->numbers.len;
        buf_append_u64(&queue->numbers, held->retry_at_ms > 0 ? (uint64_t)held->retry_at_ms : 0);
        args[n++] = held->job.id;
        args[n++] = held->job.submission;
        args[n++] = slice_str(end_name(held->end));
        args[n++] = held->unknown ? SLICE("1") : SLICE("0");
        args[n++] = slice_skip(buf_slice(&queue->numbers), at);
        args[n++] = slice_of(text.ptr + held->record_at, held->record_len);
        args[n++] = slice_of(text.ptr + held->event_at, held->event_len);
    }
    batch->sealed = batch->sent = true;
    STAT_ADD(queue->stats.acks, batch->count);
    redis_send(partition->server->redis, &batch->call, args, n);
}

void partition_acks_send(struct queue_partition *partition, bool all)
{
    if (partition->state != PARTITION_OWNED || !partition_up(partition))
        return;
    list_for_each (node, &partition->acks) {
        struct ack_batch *batch = LIST_ENTRY(node, struct ack_batch, node);
        if (!batch->sent && (all || batch->sealed))
            batch_send(batch);
    }
}

/* Ends the batch's jobs for good. */
static void batch_end(struct ack_batch *batch)
{
    struct queue *queue = batch->partition->queue;
    STAT_SET(queue->stats.acks_pending, queue->stats.acks_pending - batch->count);
    struct list *node;
    while ((node = list_pop_front(&batch->jobs)) != NULL)
        held_job_end(LIST_ENTRY(node, struct held_job, job.lease_node));
    list_remove(&batch->node);
    ack_batch_free(batch);
}

void partition_acks_drop(struct queue_partition *partition)
{
    struct list *node;
    while ((node = list_pop_front(&partition->acks)) != NULL)
        batch_end(LIST_ENTRY(node, struct ack_batch, node));
}

static void ack_done(struct redis_call *call, const struct redis_value *reply)
{
    struct ack_batch *batch = CONTAINER_OF(call, struct ack_batch, call);
    struct queue_partition *partition = batch->partition;
    struct queue *queue = partition->queue;
    batch->sent = false;
    if (!reply)
        return;
    if (redis_value_is(reply, "STALE")) {
        partition_stale(partition);
        return;
    }
    if (reply->type != VALUE_ARRAY || reply->count == 0) {
        partition_fault(partition, "recording outcomes", reply);
        return;
    }
    for (size_t i = 1; i < reply->count; i++)
        queue_release_content(partition, reply->items[i].text);
    unsigned count = batch->count;
    int64_t lag_ms = ring_now_ms(queue->ring) - batch->oldest_ms;
    batch_end(batch);
    if (queue->events->acked)
        queue->events->acked(queue->user, count, lag_ms);
    if (queue->stopping)
        queue_stop_drain(queue);
    else if (partition->draining)
        shares_balance(queue);
}

/* ---- an outcome ---- */

static void json_text(struct buf *out, const char *name, struct slice value)
{
    if (value.len == 0)
        return;
    buf_printf(out, ",\"%s\":", name);
    buf_append_json(out, value);
}

static void json_number(struct buf *out, const char *name, int64_t value)
{
    buf_append_char(out, ',');
    buf_append_char(out, '"');
    buf_append(out, slice_str(name));
    buf_append(out, SLICE("\":"));
    buf_append_u64(out, value > 0 ? (uint64_t)value : 0);
}

static const char *event_type(const struct queue_outcome *outcome)
{
    if (outcome->end != QUEUE_RETRY)
        return end_name(outcome->end);
    return outcome->unknown ? "unknown" : "deferred";
}

static void event_write(struct buf *out, const struct queue_job *job,
                        const struct queue_outcome *outcome, int64_t now_ms)
{
    bool attempted = outcome->end == QUEUE_DELIVERED || outcome->end == QUEUE_BOUNCED ||
                     outcome->end == QUEUE_RETRY;
    buf_append(out, SLICE("{\"type\":\""));
    buf_append(out, slice_str(event_type(outcome)));
    buf_append(out, SLICE("\",\"job\":\""));
    buf_append(out, job->id); /* letters, digits, '.', '_' and '-' only */
    buf_append(out, SLICE("\",\"submission\":\""));
    buf_append(out, job->submission);
    buf_append_char(out, '"');
    json_text(out, "tenant", job->tenant);
    json_text(out, "campaign", job->campaign);
    json_text(out, "to", job->recipient);
    json_number(out, "at", now_ms);
    json_number(out, "attempt", job->attempts + (attempted ? 1 : 0));
    if (outcome->code)
        json_number(out, "code", outcome->code);
    if (outcome->local)
        buf_append(out, SLICE(",\"local\":true"));
    json_text(out, "status", outcome->status);
    json_text(out, "text", outcome->text);
    json_text(out, "phase", slice_str(outcome->phase));
    json_text(out, "category", slice_str(outcome->category));
    json_text(out, "site", outcome->site);
    json_text(out, "host", outcome->host);
    json_text(out, "address", outcome->address);
    json_text(out, "source", outcome->source);
    json_text(out, "tls", slice_str(outcome->tls));
    if (outcome->duration_ms)
        json_number(out, "ms", outcome->duration_ms);
    if (outcome->end == QUEUE_RETRY)
        json_number(out, "retry_at", outcome->retry_at_ms);
    if (outcome->unknown)
        buf_append(out, SLICE(",\"unknown\":true"));
    if (job->flags & QUEUE_JOB_MAYBE_DUPLICATE)
        buf_append(out, SLICE(",\"maybe_duplicate\":true"));
    buf_append_char(out, '}');
}

/* The record of the next lease: one attempt more, and what the server said, for people. */
static void record_rewrite(struct buf *out, const struct queue_job *job,
                           const struct queue_outcome *outcome)
{
    char reply[QUEUE_RECORD_REPLY_BYTES_MAX + 8];
    struct slice last = job->last_reply;
    bool retry = outcome->end == QUEUE_RETRY;
    if (retry) {
        size_t text_len = MIN_OF(outcome->text.len, (size_t)QUEUE_RECORD_REPLY_BYTES_MAX);
        int n = snprintf(reply, sizeof reply, "%03u ", outcome->code % 1000);
        n = outcome->code ? n : 0;
        text_len = MIN_OF(text_len, sizeof reply - (size_t)n);
        if (text_len)
            memcpy(reply + n, outcome->text.ptr, text_len);
        last = slice_of(reply, (size_t)n + text_len);
    }
    struct record record = {
        .id = job->id,
        .recipient = job->recipient,
        .last_reply = last,
        .attempts = job->attempts + (retry ? 1 : 0),
        .flags = job->flags | (retry && outcome->unknown ? QUEUE_JOB_MAYBE_DUPLICATE : 0),
        .value_count = job->value_count,
        .values = job->values,
    };
    bool ok = record_write(out, &record);
    assert(ok); /* the batch's text has no cap */
}

void queue_finish(struct queue_job *job, const struct queue_outcome *outcome)
{
    struct held_job *held = held_of(job);
    struct queue_partition *partition = job->partition;
    struct queue *queue = partition->queue;
    assert(!job->finished);
    job->finished = true;
    if (held->lost) {
        held_job_end(held);
        return;
    }
    if (job->journal_slot >= 0 && !outcome->unknown && outcome->end != QUEUE_RELEASE)
        journal_replied(queue->options.journal, job->journal_slot, outcome->code);
    struct ack_batch *batch = batch_filling(partition);
    held->end = outcome->end;
    held->unknown = outcome->unknown && outcome->end != QUEUE_RELEASE;
    held->retry_at_ms = outcome->retry_at_ms;
    held->record_at = (uint32_t)batch->text.len;
    if (outcome->end == QUEUE_RETRY || (outcome->end == QUEUE_RELEASE && held->rewrite))
        record_rewrite(&batch->text, job, outcome);
    held->event_at = (uint32_t)batch->text.len;
    held->record_len = held->event_at - held->record_at;
    if (outcome->end != QUEUE_RELEASE)
        event_write(&batch->text, job, outcome, ring_wall_ms(queue->ring));
    held->event_len = (uint32_t)batch->text.len - held->event_at;
    list_remove(&job->lease_node);
    list_push_back(&batch->jobs, &job->lease_node);
    STAT_ADD(queue->stats.acks_pending, 1);
    if (++batch->count >= queue->options.ack_batch_max || batch->text.len > 1 << 20) {
        batch->sealed = true;
        queue_flush_later(queue);
    } else if (!ring_timer_running(&queue->ack_timer)) {
        ring_timer_start(queue->ring, &queue->ack_timer, queue->options.ack_delay_ms);
    }
}
