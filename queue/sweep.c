/* Taking back: after each acquisition, every entry of the in-flight hash that nobody here holds
 * belongs to a lease whose reply was lost or whose holder died. The journal says what an earlier
 * process of this node knew; of another node's nothing is known here, so its jobs go back with a
 * mark. */
#include <stdio.h>
#include <stdlib.h>

#include "queue/internal.h"

struct inflight_entry { /* "EPOCH NODE DEADLINE DESTINATION\tRECORD" */
    uint64_t epoch;
    struct slice node, destination, record;
};

static bool inflight_parse(struct slice value, struct inflight_entry *out)
{
    ptrdiff_t tab = slice_find(value, '\t');
    if (tab < 0)
        return false;
    out->record = slice_skip(value, (size_t)tab + 1);
    struct slice epoch = slice_cut(&value, ' ');
    out->node = slice_cut(&value, ' ');
    slice_cut(&value, ' ');
    out->destination = slice_cut(&value, '\t');
    return slice_to_u64(epoch, &out->epoch);
}

static void take_back(struct queue_partition *partition, struct slice id, struct slice value)
{
    struct queue *queue = partition->queue;
    struct inflight_entry entry;
    if (map_get(&partition->held, id))
        return;
    struct held_job *held = NULL;
    if (inflight_parse(value, &entry))
        held =
            held_job_create(partition, entry.record,
                            &(struct job_group){ .destination = entry.destination }, entry.epoch);
    if (!held || !slice_eq(held->job.id, id)) {
        log_error(queue->options.log, "inflight-malformed",
                  "partition %u: what is in flight as '%.*s' can't be read", partition->index,
                  SLICE_FMT(id));
        if (held) {
            held->lost = true;
            held_job_end(held);
        }
        return;
    }
    map_put(&partition->held, held->job.id, held);
    STAT_ADD(queue->stats.leased, 1);
    struct journal_entry found;
    bool ours = slice_eq(entry.node, slice_str(queue->node));
    if (ours && queue->options.journal &&
        journal_claim(queue->options.journal, id, entry.epoch, &found)) {
        held->job.journal_slot = found.slot;
        queue->events->recovered(queue->user, &held->job,
                                 found.state == JOURNAL_REPLIED ? QUEUE_RECOVERED_REPLIED
                                                                : QUEUE_RECOVERED_UNKNOWN,
                                 found.code);
        return;
    }
    /* Ours of an earlier tenure in this process: what became of it is forgotten, as with another
     * node's. */
    if (!ours || (entry.epoch < partition->since && partition->tenures > 1)) {
        held->job.flags |= QUEUE_JOB_MAYBE_DUPLICATE;
        held->rewrite = true;
    }
    queue_finish(&held->job, &(struct queue_outcome){ .end = QUEUE_RELEASE });
}

static void sweep_send(struct queue_partition *partition, struct slice cursor);

static void sweep_done(struct redis_call *call, const struct redis_value *reply)
{
    struct queue_partition *partition = CONTAINER_OF(call, struct queue_partition, sweep_call);
    struct queue *queue = partition->queue;
    if (!reply || partition->state != PARTITION_OWNED)
        return; /* the next acquisition begins anew */
    if (reply->type != VALUE_ARRAY || reply->count != 2 || reply->items[1].type != VALUE_ARRAY) {
        partition_fault(partition, "looking for jobs in flight", reply);
        return;
    }
    const struct redis_value *entries = &reply->items[1];
    for (size_t i = 0; i + 1 < entries->count; i += 2)
        take_back(partition, entries->items[i].text, entries->items[i + 1].text);
    if (!slice_eq(reply->items[0].text, SLICE("0"))) {
        sweep_send(partition, reply->items[0].text);
        return;
    }
    if (queue->options.journal)
        journal_forget(queue->options.journal, partition->index);
}

static void sweep_send(struct queue_partition *partition, struct slice cursor)
{
    char count[12];
    snprintf(count, sizeof count, "%d", SWEEP_COUNT);
    partition->sweep_call = (struct redis_call){ .done = sweep_done };
    struct slice args[5] = { SLICE("HSCAN"), queue_key_slice(&partition->key_inflight), cursor,
                             SLICE("COUNT"), slice_str(count) };
    redis_send(partition->server->redis, &partition->sweep_call, args, 5);
}

void partition_sweep(struct queue_partition *partition)
{
    sweep_send(partition, SLICE("0"));
}
