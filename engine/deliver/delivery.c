/* Deliveries: one leased job on its way through this worker, from the lease to queue_finish(). */
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/mem.h"
#include "engine/deliver/internal.h"
#include "engine/deliver/retry.h"

/* A session may fail this often under a job before its end-of-data, within one lease, before the
 * job waits for its retry time. */
#define RESTARTS_MAX 2

static struct deliver *deliver_of(const struct delivery *delivery)
{
    return delivery->lane->destination->deliver;
}

struct delivery *delivery_create(struct destination *destination, struct queue_job *job)
{
    struct deliver *deliver = destination->deliver;
    struct list *spare = list_pop_front(&deliver->free_deliveries);
    struct delivery *delivery =
        spare ? LIST_ENTRY(spare, struct delivery, node) : mem_alloc(sizeof *delivery);
    *delivery = (struct delivery){ .job = job };
    list_init(&delivery->node);
    list_init(&delivery->tx.node);
    delivery->submission = submission_hold(deliver, job->submission);
    delivery->leased_us = ring_clock_us(deliver->ring);
    job->user = delivery;
    lane_push(lane_of(destination, job), delivery, false);
    destination->intake[job->class].held++;
    deliver->held++;
    deliver->held_bulk += job->class != QUEUE_TRANSACTIONAL;
    stat_add(&deliver->stats.jobs_held[job->class], 1);
    return delivery;
}

/* Records the outcome and forgets the delivery. */
static void delivery_finish(struct delivery *delivery, const struct queue_outcome *outcome)
{
    struct destination *destination = delivery->lane->destination;
    struct deliver *deliver = destination->deliver;
    enum queue_class class = delivery->lane->class;
    assert(!list_linked(&delivery->node));
    delivery_body_done(delivery);
    queue_finish(delivery->job, outcome);
    submission_release(delivery->submission);
    free(delivery->refusal);
    list_push_front(&deliver->free_deliveries, &delivery->node);
    destination->intake[class].held--;
    deliver->held--;
    deliver->held_bulk -= class != QUEUE_TRANSACTIONAL;
    stat_sub(&deliver->stats.jobs_held[class], 1);
    destination_refill(destination, class);
    deliver_check_stopped(deliver);
}

void delivery_release(struct delivery *delivery)
{
    stat_add(&deliver_of(delivery)->stats.released, 1);
    delivery_finish(delivery, &(struct queue_outcome){ .end = QUEUE_RELEASE });
}

/* ---- outcomes ---- */

static int64_t retry_at(struct deliver *deliver, const struct delivery *delivery, int64_t pause_ms)
{
    int64_t at = ring_wall_ms(deliver->ring) + pause_ms;
    /* No later than the expiry, so that the terminal event comes on time. */
    int64_t expires = delivery->submission->expires_ms;
    return delivery->submission->state == SUBMISSION_READY && at > expires ? expires : at;
}

static int64_t pause_of(struct deliver *deliver, const struct queue_job *job,
                        const struct verdict *verdict)
{
    return retry_pause_ms(&deliver->options, ring_rng(deliver->ring),
                          &(struct retry_case){ .class = job->class,
                                                .category = verdict->category,
                                                .attempts = job->attempts,
                                                .asked_s = verdict->retry_after_s });
}

static void count_reply(struct deliver *deliver, const struct smtp_reply *reply)
{
    uint64_t *counter = reply->origin == SMTP_LOCAL ? &deliver->stats.reply_local
                        : reply->code < 400         ? &deliver->stats.reply_2xx
                        : reply->code < 500         ? &deliver->stats.reply_4xx
                                                    : &deliver->stats.reply_5xx;
    stat_add(counter, 1);
}

static void count_end(struct deliver *deliver, const struct queue_outcome *outcome)
{
    struct deliver_stats *stats = &deliver->stats;
    switch (outcome->end) {
    case QUEUE_DELIVERED:
        stat_add(&stats->delivered, 1);
        return;
    case QUEUE_BOUNCED:
        stat_add(&stats->bounced, 1);
        return;
    case QUEUE_EXPIRED:
        stat_add(&stats->expired, 1);
        return;
    case QUEUE_RETRY:
        stat_add(outcome->unknown ? &stats->unknown : &stats->deferred, 1);
        return;
    case QUEUE_SUPPRESSED:
    case QUEUE_CANCELLED:
    case QUEUE_RELEASE:
        return;
    }
}

/* Everything of an outcome that the reply and the session tell; `status` is room for the enhanced
 * code. */
static struct queue_outcome outcome_of(const struct delivery *delivery,
                                       const struct smtp_reply *reply, const struct site_host *host,
                                       char status[16])
{
    const struct deliver *deliver = deliver_of(delivery);
    struct queue_outcome outcome = {
        .code = reply->code,
        .local = reply->origin == SMTP_LOCAL,
        .text = reply->text,
        .phase = smtp_phase_name(reply->phase),
    };
    if (reply->enhanced.klass) {
        int len = snprintf(status, 16, "%u.%u.%u", reply->enhanced.klass, reply->enhanced.subject,
                           reply->enhanced.detail);
        outcome.status = slice_of(status, (size_t)MIN_OF(len, 15));
    }
    if (delivery->peer) {
        const struct peer *peer = delivery->peer;
        struct tls_facts facts;
        host = &peer->site->hosts[peer->host];
        outcome.site = peer->site->key;
        outcome.address = slice_str(peer->text);
        outcome.source = slice_str(deliver->options.sources[peer_source(peer)].name);
        if (stream_tls_facts(smtp_session_stream(peer->session), &facts))
            outcome.tls = facts.version;
        outcome.duration_ms = (ring_clock_us(deliver->ring) - delivery->submitted_us) / 1000;
    }
    if (host)
        outcome.host = host->name;
    return outcome;
}

static enum classify_scope scope_of(enum smtp_phase phase)
{
    switch (phase) {
    case SMTP_PHASE_DNS:
        return CLASSIFY_DNS;
    case SMTP_PHASE_RCPT:
        return CLASSIFY_RECIPIENT;
    case SMTP_PHASE_MAIL:
    case SMTP_PHASE_DATA:
    case SMTP_PHASE_BODY:
    case SMTP_PHASE_DOT:
        return CLASSIFY_MESSAGE;
    case SMTP_PHASE_CONNECT:
    case SMTP_PHASE_GREETING:
    case SMTP_PHASE_EHLO:
    case SMTP_PHASE_STARTTLS:
    case SMTP_PHASE_TLS:
    case SMTP_PHASE_AUTH:
    case SMTP_PHASE_RSET:
    case SMTP_PHASE_IDLE:
    case SMTP_PHASE_QUIT:
        break;
    }
    return CLASSIFY_HOST;
}

void delivery_end_by_reply(struct delivery *delivery, const struct smtp_reply *reply,
                           const struct site_host *host)
{
    struct deliver *deliver = deliver_of(delivery);
    char status[16];
    struct queue_outcome outcome = outcome_of(delivery, reply, host, status);
    struct verdict verdict = classify_verdict(&(struct classify_reply){
        .code = reply->code,
        .enhanced_class = reply->enhanced.klass,
        .enhanced_subject = reply->enhanced.subject,
        .enhanced_detail = reply->enhanced.detail,
        .local = reply->origin == SMTP_LOCAL,
        .scope = scope_of(reply->phase),
        .text = reply->text,
    });
    outcome.category = verdict.category;
    switch (verdict.action) {
    case VERDICT_DELIVERED:
        outcome.end = QUEUE_DELIVERED;
        break;
    case VERDICT_BOUNCE:
        outcome.end = QUEUE_BOUNCED;
        break;
    case VERDICT_RETRY:
        outcome.end = QUEUE_RETRY;
        outcome.retry_at_ms =
            retry_at(deliver, delivery, pause_of(deliver, delivery->job, &verdict));
        break;
    }
    count_reply(deliver, reply);
    count_end(deliver, &outcome);
    if (outcome.end == QUEUE_DELIVERED && delivery->submission->accepted_ms)
        histogram_record(&deliver->stats.total,
                         (ring_wall_ms(deliver->ring) - delivery->submission->accepted_ms) * 1000);
    delivery_finish(delivery, &outcome);
}

static void delivery_unknown(struct delivery *delivery, const struct smtp_reply *reply)
{
    struct deliver *deliver = deliver_of(delivery);
    char status[16];
    struct queue_outcome outcome = outcome_of(delivery, reply, NULL, status);
    outcome.end = QUEUE_RETRY;
    outcome.unknown = true;
    outcome.category = "network";
    outcome.retry_at_ms = retry_at(deliver, delivery,
                                   retry_jitter_ms(&deliver->options, ring_rng(deliver->ring),
                                                   deliver->options.unknown_delay_s));
    count_reply(deliver, reply);
    count_end(deliver, &outcome);
    delivery_finish(delivery, &outcome);
}

/* The session failed before the end-of-data: nothing was delivered. Another session may try at
 * once, a few times. */
static void delivery_restart(struct delivery *delivery, const struct smtp_reply *reply)
{
    struct destination *destination = delivery->lane->destination;
    if (delivery->fenced || destination->deliver->stopping || destination->draining) {
        delivery_release(delivery);
        return;
    }
    if (delivery->restarts++ >= RESTARTS_MAX) {
        delivery_end_by_reply(delivery, reply, NULL);
        return;
    }
    delivery_body_done(delivery);
    delivery->peer = NULL;
    lane_push(lane_of(destination, delivery->job), delivery, true);
    destination_drain(destination);
}

void delivery_done(struct delivery *delivery, enum smtp_tx_outcome outcome,
                   const struct smtp_reply *reply)
{
    struct destination *destination = delivery->lane->destination;
    struct deliver *deliver = destination->deliver;
    histogram_record(&deliver->stats.transaction,
                     ring_clock_us(deliver->ring) - delivery->submitted_us);
    switch (outcome) {
    case SMTP_TX_ACCEPTED:
        destination_succeeded(destination);
        delivery->peer->site->accepted_ms = ring_now_ms(deliver->ring);
        delivery_end_by_reply(delivery, reply, NULL);
        return;
    case SMTP_TX_REFUSED:
        delivery_end_by_reply(delivery, reply, NULL);
        return;
    case SMTP_TX_NO_RECIPIENT:
        destination_succeeded(
            destination); /* the host answers, whatever it thinks of the mailbox */
        delivery_end_by_reply(delivery, delivery->refusal ? &delivery->refusal->reply : reply,
                              NULL);
        return;
    case SMTP_TX_UNSENT:
        delivery_restart(delivery, reply);
        return;
    case SMTP_TX_UNKNOWN:
        delivery_unknown(delivery, reply);
        return;
    }
}

void delivery_recipient_refused(struct delivery *delivery, const struct smtp_reply *reply)
{
    free(delivery->refusal);
    struct refusal *refusal = mem_alloc(sizeof *refusal + reply->text.len);
    refusal->reply = *reply;
    if (reply->text.len)
        memcpy(refusal->text, reply->text.ptr, reply->text.len);
    refusal->reply.text.ptr = refusal->text;
    delivery->refusal = refusal;
}

/* ---- before the transaction ---- */

static struct message_recipient recipient_of(const struct delivery *delivery)
{
    return (struct message_recipient){
        .address = delivery->job->recipient,
        .values = delivery->job->values,
        .value_count = delivery->job->value_count,
    };
}

static bool delivery_expired(const struct delivery *delivery)
{
    return delivery->submission->expires_ms <= ring_wall_ms(deliver_of(delivery)->ring);
}

static void delivery_expire(struct delivery *delivery)
{
    struct deliver *deliver = deliver_of(delivery);
    struct queue_outcome outcome = {
        .end = QUEUE_EXPIRED,
        .local = true,
        .code = 554,
        .status = SLICE("5.4.7"),
        .category = "expired",
        .text = delivery->job->last_reply.len ? delivery->job->last_reply
                                              : SLICE("expired before it could be sent"),
    };
    count_end(deliver, &outcome);
    delivery_finish(delivery, &outcome);
}

void delivery_suppress(struct delivery *delivery)
{
    delivery_finish(delivery, &(struct queue_outcome){
                                  .end = QUEUE_SUPPRESSED,
                                  .local = true,
                                  .code = 550,
                                  .status = SLICE("5.7.1"),
                                  .category = "suppressed",
                                  .text = SLICE("the address is suppressed"),
                              });
}

/* Ends or releases what can't be sent now; the submission is loaded. */
static bool delivery_stopped(struct delivery *delivery)
{
    const struct submission *submission = delivery->submission;
    if (submission->state == SUBMISSION_BROKEN) {
        struct smtp_reply reply =
            smtp_reply_local(SMTP_PHASE_BODY, 554, (struct smtp_enhanced){ 5, 6, 0 },
                             slice_str(submission->err.text));
        delivery_end_by_reply(delivery, &reply, NULL);
        return true;
    }
    if (delivery_expired(delivery)) {
        delivery_expire(delivery);
        return true;
    }
    if (!submission_may_leave(submission, ring_wall_ms(deliver_of(delivery)->ring))) {
        delivery_release(delivery); /* the queue keeps it until the next window opens */
        return true;
    }
    return false;
}

static void count_wait(struct delivery *delivery)
{
    struct deliver *deliver = deliver_of(delivery);
    if (delivery->looked_at)
        return;
    delivery->looked_at = true;
    int64_t wait_us = (ring_wall_ms(deliver->ring) - delivery->submission->accepted_ms) * 1000 -
                      (ring_clock_us(deliver->ring) - delivery->leased_us);
    histogram_record(&deliver->stats.queue_wait, MAX_OF(wait_us, (int64_t)0));
    if (delivery->lane->class == QUEUE_TRANSACTIONAL)
        histogram_record(&deliver->stats.queue_wait_transactional, MAX_OF(wait_us, (int64_t)0));
}

struct delivery *delivery_next(struct lane *lane)
{
    while (!list_empty(&lane->waiting)) {
        struct delivery *delivery = LIST_ENTRY(lane->waiting.next, struct delivery, node);
        struct submission *submission = delivery->submission;
        if (submission->state == SUBMISSION_LOADING) {
            list_remove(&lane->content_node);
            list_push_back(&submission->lanes, &lane->content_node);
            return NULL;
        }
        lane_take(lane, delivery);
        if (delivery->job->held) {
            delivery_release(delivery);
            continue;
        }
        if (delivery->job->suppressed) {
            delivery_suppress(delivery);
            continue;
        }
        if (delivery_stopped(delivery))
            continue;
        count_wait(delivery);
        const struct dkim_signer *signer = deliver_of(delivery)->options.signer;
        struct message_recipient recipient = recipient_of(delivery);
        delivery->recipient = (struct smtp_recipient){ .address = delivery->job->recipient };
        delivery->tx = (struct smtp_transaction){
            .sender = submission->sender,
            .recipients = &delivery->recipient,
            .recipient_count = 1,
            .size_estimate = message_size_estimate(submission->content, &recipient) +
                             (signer ? dkim_signer_room(signer) : 0),
            .body_8bit = message_is_8bit(submission->content),
            .needs_smtputf8 = message_needs_smtputf8(submission->content, &recipient),
        };
        list_init(&delivery->tx.node);
        return delivery;
    }
    return NULL;
}

bool delivery_body(struct delivery *delivery, bool chunked, struct smtp_body *body,
                   struct smtp_reply *reply)
{
    struct deliver *deliver = deliver_of(delivery);
    struct message_recipient recipient = recipient_of(delivery);
    struct slice domain = delivery->submission->sender;
    ptrdiff_t at = slice_find(domain, '@');
    const struct message_signing signing = {
        .signer = deliver->options.signer,
        .tenant = delivery->job->tenant,
        .now_s = ring_wall_ms(deliver->ring) / 1000,
    };
    struct message_stamp stamp = {
        .signing = signing.signer ? &signing : NULL,
        .date_ms = delivery->submission->accepted_ms,
        .id = delivery->job->id,
        .id_domain =
            at >= 0 ? slice_skip(domain, (size_t)at + 1)
                    : slice_str(deliver->options.sources[peer_source(delivery->peer)].ehlo_name),
    };
    struct err err;
    assert(!delivery->has_output);
    if (!message_render(delivery->submission->content, &recipient, &stamp,
                        chunked ? MESSAGE_CHUNK : MESSAGE_DATA, deliver->blocks, &delivery->output,
                        &err)) {
        bool later = err.kind == ERR_LIMIT;
        *reply = smtp_reply_local(
            SMTP_PHASE_BODY, later ? 451 : 554,
            later ? (struct smtp_enhanced){ 4, 3, 1 } : (struct smtp_enhanced){ 5, 6, 0 },
            later ? SLICE("the message can't be rendered or signed now")
                  : SLICE("the message can't be made from this recipient's data"));
        log_warn(deliver->options.log, "render-failed", "job %.*s: %s",
                 SLICE_FMT(delivery->job->id), err.text);
        return false;
    }
    delivery->has_output = true;
    *body = (struct smtp_body){ delivery->output.iov, delivery->output.iov_count,
                                delivery->output.bytes };
    return true;
}

void delivery_body_done(struct delivery *delivery)
{
    if (!delivery->has_output)
        return;
    message_output_release(&delivery->output);
    delivery->has_output = false;
}

/* ---- after a crash ---- */

void delivery_recovered(struct deliver *deliver, struct queue_job *job, enum queue_recovery what,
                        unsigned code)
{
    struct queue_outcome outcome = { .code = code, .phase = smtp_phase_name(SMTP_PHASE_DOT) };
    int64_t wall = ring_wall_ms(deliver->ring);
    if (what == QUEUE_RECOVERED_UNKNOWN) {
        outcome.end = QUEUE_RETRY;
        outcome.unknown = true;
        outcome.local = true;
        outcome.code = 451;
        outcome.text = SLICE("the engine was lost between end-of-data and its reply");
        outcome.retry_at_ms = wall + (int64_t)deliver->options.unknown_delay_s * 1000;
    } else {
        outcome.text = SLICE("recovered from the journal");
        struct verdict verdict =
            classify_verdict(&(struct classify_reply){ .code = code, .scope = CLASSIFY_MESSAGE });
        outcome.category = verdict.category;
        outcome.end = verdict.action == VERDICT_DELIVERED ? QUEUE_DELIVERED
                      : verdict.action == VERDICT_BOUNCE  ? QUEUE_BOUNCED
                                                          : QUEUE_RETRY;
        outcome.retry_at_ms = wall + pause_of(deliver, job, &verdict);
    }
    count_end(deliver, &outcome);
    queue_finish(job, &outcome);
}
