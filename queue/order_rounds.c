/* A walk looks at what is in flight first, then at retries, then at queues: in this order nothing
 * escapes it, since jobs only move on that way while the order keeps them from being leased. So a
 * whole walk that finds nothing means that nothing is left; and if the order is only for what was
 * accepted before it, and none of that waits in the submit stream any more, the order is over.
 *
 * One call is under way per worker, and after each there's a pause of four times as long as it
 * took: walking costs Redis little even when all workers do it. */
#include "queue/order_rounds.h"

#include <stdio.h>
#include <stdlib.h>

#include "queue/internal.h"

enum {
    ROUND_MS = 30000,       /* between walks, see queue_options.orders_walk_ms */
    ROUNDS_BEFORE_OVER = 2, /* an order isn't over before it's that old */
    KEEP_S = 86400,         /* of an order that doesn't say for how long it can be restored */
    SLICE_ENTRIES = 200,    /* that one call looks at */
    SLICE_JOBS = 400,       /* that one call ends */
    PAUSE_MS_MIN = 5,
    PAUSE_MS_MAX = 500,
    LOOK_MS_MAX = 1000, /* between looks for what is due */
};

enum walk_phase { PHASE_IN_FLIGHT, PHASE_RETRIES, PHASE_QUEUES, PHASES };

/** An order that is walked, or that ends by itself. */
struct order_round {
    struct list node; /* in partition.rounds */
    char *id, *text;  /* as in ns:{p}:a */
    char action[12];
    bool ends_jobs;
    int64_t at_ms, before_ms, until_ms; /* wall clock; 0: none */
    int64_t keep_s;
    int64_t next_ms; /* monotonic */
    bool heard;
};

struct order_rounds {
    struct queue *queue;
    struct ring_timer timer;
    int64_t round_ms;
    /* the walk at hand: */
    struct queue_partition *partition;
    struct order_round *round; /* NULL: none, or it was taken back */
    enum walk_phase phase;
    char cursor[24];
    int64_t found;
    struct redis_call call;
    bool busy;
    int64_t sent_us;
};

static int64_t wall_ms(const struct order_rounds *rounds)
{
    return ring_wall_ms(rounds->queue->ring);
}

/* ---- which orders there are ---- */

static void round_free(struct queue_partition *partition, struct order_round *round)
{
    struct order_rounds *rounds = partition->queue->rounds;
    if (rounds->round == round)
        rounds->round = NULL;
    list_remove(&round->node);
    free(round->id);
    free(round->text);
    free(round);
}

void order_rounds_forget(struct queue_partition *partition)
{
    list_for_each_safe (node, &partition->rounds)
        round_free(partition, LIST_ENTRY(node, struct order_round, node));
}

static struct order_round *round_find(struct queue_partition *partition, struct slice text)
{
    list_for_each (node, &partition->rounds) {
        struct order_round *round = LIST_ENTRY(node, struct order_round, node);
        if (slice_eq(slice_str(round->text), text))
            return round;
    }
    return NULL;
}

static int64_t number_of(const json_t *root, const char *key)
{
    return (int64_t)json_number_value(json_object_get(root, key));
}

/* NULL when there's nothing to do for it. */
static struct order_round *round_create(struct order_rounds *rounds, struct slice text)
{
    json_t *root = json_loadb(text.ptr, text.len, 0, NULL);
    const char *id = json_string_value(json_object_get(root, "id"));
    const char *action = json_string_value(json_object_get(root, "action"));
    bool ends = action && (strcmp(action, "cancel") == 0 || strcmp(action, "purge") == 0) &&
                !json_is_true(json_object_get(root, "done"));
    int64_t until_ms = number_of(root, "until");
    struct order_round *round = NULL;
    if (id && action && (ends || until_ms > 0)) {
        round = mem_zalloc(sizeof *round);
        round->id = slice_dup(slice_str(id));
        round->text = slice_dup(text);
        snprintf(round->action, sizeof round->action, "%s", action);
        round->ends_jobs = ends;
        round->at_ms = number_of(root, "at");
        round->before_ms = number_of(root, "before");
        round->until_ms = until_ms;
        round->keep_s = number_of(root, "keep_s");
        round->keep_s = round->keep_s > 0 ? round->keep_s : KEEP_S;
        round->next_ms = ring_now_ms(rounds->queue->ring) + rounds->round_ms;
        list_init(&round->node);
    }
    json_decref(root);
    return round;
}

void order_rounds_heard(struct queue_partition *partition, const struct redis_value *texts)
{
    list_for_each (node, &partition->rounds)
        LIST_ENTRY(node, struct order_round, node)->heard = false;
    for (size_t i = 0; i < texts->count; i++) {
        struct order_round *round = round_find(partition, texts->items[i].text);
        if (!round && (round = round_create(partition->queue->rounds, texts->items[i].text)))
            list_push_back(&partition->rounds, &round->node);
        if (round)
            round->heard = true;
    }
    list_for_each_safe (node, &partition->rounds) {
        struct order_round *round = LIST_ENTRY(node, struct order_round, node);
        if (!round->heard)
            round_free(partition, round);
    }
}

/* ---- the end of an order ---- */

static void next_step(struct order_rounds *rounds, int64_t pause_ms)
{
    ring_timer_start(rounds->queue->ring, &rounds->timer, pause_ms);
}

static void pause_after_call(struct order_rounds *rounds)
{
    int64_t took_ms = (ring_clock_us(rounds->queue->ring) - rounds->sent_us) / 1000;
    int64_t pause_ms = MAX_OF(4 * took_ms, (int64_t)PAUSE_MS_MIN);
    next_step(rounds, MIN_OF(pause_ms, (int64_t)PAUSE_MS_MAX));
}

static void call_send(struct order_rounds *rounds, struct redis *redis,
                      void (*done)(struct redis_call *, const struct redis_value *),
                      const struct slice *args, unsigned count)
{
    rounds->busy = true;
    rounds->sent_us = ring_clock_us(rounds->queue->ring);
    rounds->call = (struct redis_call){ .done = done };
    redis_send(redis, &rounds->call, args, count);
}

/* A walk is over, or given up. */
static void walk_leave(struct order_rounds *rounds)
{
    if (rounds->round)
        rounds->round->next_ms = ring_now_ms(rounds->queue->ring) + rounds->round_ms;
    rounds->round = NULL;
}

static void conclude_done(struct redis_call *call, const struct redis_value *reply)
{
    struct order_rounds *rounds = CONTAINER_OF(call, struct order_rounds, call);
    rounds->busy = false;
    if (rounds->round && reply && reply->type == VALUE_INTEGER && reply->integer == 1)
        log_info(rounds->queue->options.log, "order-over", "order %s is over in partition %u",
                 rounds->round->id, rounds->partition->index);
    walk_leave(rounds);
    pause_after_call(rounds);
}

static void conclude_send(struct order_rounds *rounds)
{
    struct queue_partition *partition = rounds->partition;
    struct queue_key key =
        queue_key_partition(rounds->queue->name_space, partition->index, "a", SLICE(""));
    struct slice args[6] = {
        SLICE("EVALSHA"),
        script_sha(&partition->server->scripts, SCRIPT_CONCLUDE),
        SLICE("1"),
        queue_key_slice(&key),
        slice_str(rounds->round->id),
        slice_str(rounds->round->text),
    };
    call_send(rounds, partition->server->redis, conclude_done, args, 6);
}

static bool walkable(const struct queue_partition *partition)
{
    return partition && partition->state == PARTITION_OWNED && partition_up(partition);
}

static void stream_done(struct redis_call *call, const struct redis_value *reply)
{
    struct order_rounds *rounds = CONTAINER_OF(call, struct order_rounds, call);
    rounds->busy = false;
    if (rounds->round && walkable(rounds->partition) && reply && reply->type == VALUE_ARRAY &&
        reply->count == 0) {
        conclude_send(rounds);
        return;
    }
    walk_leave(rounds);
    pause_after_call(rounds);
}

/* Nothing is left of what an order is for. Unless something is still on its way into the
 * partitions, it's over. */
static bool stream_look(struct order_rounds *rounds)
{
    const struct order_round *round = rounds->round;
    struct queue_key key = queue_key_global(rounds->queue->name_space, "submit", SLICE(""));
    struct redis *redis = redis_set_server(rounds->queue->redis, queue_key_slice(&key));
    if (round->before_ms == 0 || !redis || !redis_up(redis) ||
        wall_ms(rounds) - round->at_ms < ROUNDS_BEFORE_OVER * rounds->round_ms)
        return false;
    char last[24];
    snprintf(last, sizeof last, "%lld", (long long)round->before_ms);
    struct slice args[6] = { SLICE("XRANGE"), queue_key_slice(&key), SLICE("-"),
                             slice_str(last), SLICE("COUNT"),        SLICE("1") };
    call_send(rounds, redis, stream_done, args, 6);
    return true;
}

/* ---- walking ---- */

static void phase_next(struct order_rounds *rounds)
{
    snprintf(rounds->cursor, sizeof rounds->cursor, "0");
    if (++rounds->phase < PHASES) {
        pause_after_call(rounds);
        return;
    }
    if (rounds->found > 0)
        log_info(rounds->queue->options.log, "order-walked",
                 "order %s still found %lld jobs in partition %u", rounds->round->id,
                 (long long)rounds->found, rounds->partition->index);
    else if (stream_look(rounds))
        return;
    walk_leave(rounds);
    pause_after_call(rounds);
}

static void slice_done(struct redis_call *call, const struct redis_value *reply)
{
    struct order_rounds *rounds = CONTAINER_OF(call, struct order_rounds, call);
    rounds->busy = false;
    bool good = reply && reply->type == VALUE_ARRAY && reply->count == 3 &&
                reply->items[0].text.len > 0 && reply->items[0].text.len < sizeof rounds->cursor &&
                reply->items[1].integer >= 0;
    if (reply && reply->type == VALUE_ERROR)
        log_error(rounds->queue->options.log, "order-walk", "partition %u: %.*s",
                  rounds->partition->index, SLICE_FMT(reply->text));
    if (!rounds->round || !good) {
        walk_leave(rounds);
        pause_after_call(rounds);
        return;
    }
    rounds->found += reply->items[1].integer;
    snprintf(rounds->cursor, sizeof rounds->cursor, "%.*s", SLICE_FMT(reply->items[0].text));
    if (slice_eq(reply->items[0].text, SLICE("0")))
        phase_next(rounds);
    else
        pause_after_call(rounds);
}

static void slice_send(struct order_rounds *rounds)
{
    static const char *const phases[PHASES] = { "i", "t", "x" };
    struct queue_partition *partition = rounds->partition;
    const struct order_round *round = rounds->round;
    char entries[12], jobs[12], keep[24], totals[12];
    snprintf(entries, sizeof entries, "%d", SLICE_ENTRIES);
    snprintf(jobs, sizeof jobs, "%d", SLICE_JOBS);
    snprintf(keep, sizeof keep, "%lld", (long long)round->keep_s);
    snprintf(totals, sizeof totals, "%d", QUEUE_TOTALS_TTL_S);
    struct slice args[13] = {
        SLICE("EVALSHA"),
        script_sha(&partition->server->scripts, SCRIPT_WALK),
        SLICE("1"),
        queue_key_slice(&partition->key_epoch),
        slice_str(round->action),
        slice_str(round->text),
        slice_str(phases[rounds->phase]),
        slice_str(rounds->cursor),
        slice_str(entries),
        slice_str(jobs),
        slice_str(keep),
        slice_str(totals),
        SLICE("1"),
    };
    call_send(rounds, partition->server->redis, slice_done, args, 13);
}

/* The order whose turn it is; false: none is due. */
static bool choose(struct order_rounds *rounds)
{
    struct queue *queue = rounds->queue;
    int64_t earliest = ring_now_ms(queue->ring);
    for (unsigned i = 0; i < queue->count; i++) {
        struct queue_partition *partition = &queue->partitions[i];
        if (!walkable(partition))
            continue;
        list_for_each (node, &partition->rounds) {
            struct order_round *round = LIST_ENTRY(node, struct order_round, node);
            bool over = round->until_ms > 0 && wall_ms(rounds) >= round->until_ms;
            bool due = (round->ends_jobs && round->next_ms <= earliest) || over;
            if (!due)
                continue;
            rounds->partition = partition;
            rounds->round = round;
            if (over)
                return true;
            earliest = round->next_ms;
        }
    }
    rounds->phase = PHASE_IN_FLIGHT;
    rounds->found = 0;
    snprintf(rounds->cursor, sizeof rounds->cursor, "0");
    return rounds->round != NULL;
}

static void timer_fired(struct ring_timer *timer)
{
    struct order_rounds *rounds = CONTAINER_OF(timer, struct order_rounds, timer);
    if (rounds->busy)
        return; /* the answer goes on */
    if (rounds->round && !walkable(rounds->partition))
        walk_leave(rounds);
    if (rounds->queue->stopping || (!rounds->round && !choose(rounds))) {
        next_step(rounds, MIN_OF(rounds->round_ms / 4, (int64_t)LOOK_MS_MAX));
        return;
    }
    if (rounds->round->until_ms > 0 && wall_ms(rounds) >= rounds->round->until_ms)
        conclude_send(rounds);
    else
        slice_send(rounds);
}

struct order_rounds *order_rounds_create(struct queue *queue)
{
    struct order_rounds *rounds = mem_zalloc(sizeof *rounds);
    rounds->queue = queue;
    rounds->round_ms = queue->options.orders_walk_ms ? queue->options.orders_walk_ms : ROUND_MS;
    ring_timer_init(&rounds->timer, timer_fired);
    return rounds;
}

void order_rounds_start(struct order_rounds *rounds)
{
    next_step(rounds, MIN_OF(rounds->round_ms, (int64_t)LOOK_MS_MAX));
}

void order_rounds_stop(struct order_rounds *rounds)
{
    ring_timer_stop(&rounds->timer);
}

void order_rounds_destroy(struct order_rounds **rounds)
{
    free(*rounds);
    *rounds = NULL;
}
