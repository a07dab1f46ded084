/* The queue from end to end on a cluster and behind Sentinel: what happens to accepted jobs when a
 * primary dies or a slot is on its way to another one. */
#include <stdio.h>
#include <stdlib.h>

#include "queue/producer_internal.h"
#include "queue/redis_topology.h"
#include "tests/support/redis_group.h"
#include "tests/unit/queue/ingest_bed.h"

enum { PARTITIONS = 16, ENTRIES = 20, RECIPIENTS = 20, JOBS = ENTRIES * RECIPIENTS };

static struct test_group group;
static struct bed bed;
static struct bed_engine engine;
static struct bed_ingest ingest;
static struct producer *producer;
static unsigned delivered[JOBS];
static unsigned done;
static int kept = -1; /* a partition whose jobs are held, not ended */

static void open_all(void)
{
    bed = (struct bed){ .partitions = PARTITIONS, .wait_replicas = 1, .redis_timeout_ms = 1000 };
    bed.log =
        (struct log){ .fd = 2, .level = getenv("EILPOST_TEST_LOG") ? LOG_DEBUG : LOG_ERROR + 1 };
    ck_assert_uint_lt(strlen(group.url), sizeof bed.redis.url);
    memcpy(bed.redis.url, group.url, strlen(group.url) + 1);
    struct ring_options options = { .body = RING_BODY_EPOLL,
                                    .log = &bed.log,
                                    .receive_buffer_bytes = 65536 };
    struct err err;
    ck_assert_msg(ring_create(&bed.ring, &options, &err), "%s", err.text);
    const struct producer_options produce = {
        .url = group.url, .name_space = "e", .partitions = PARTITIONS, .wait_replicas = 1
    };
    ck_assert_msg(producer_open_with(&producer, &produce, &err), "%s", err.text);
    bed_engine_create(&bed, &engine, "n1", false);
    bed_engine_start(&bed, &engine);
    bed_ingest_start(&bed, &ingest, "n1");
}

static void close_all(void)
{
    producer_close(&producer);
    bed_ingest_stop(&bed, &ingest);
    bed_engine_stop(&bed, &engine);
    ring_destroy(&bed.ring);
    test_group_stop(&group);
}

/* Submission "cN" holds the recipients N * RECIPIENTS …, each in a destination of its own. */
static void submit(unsigned n)
{
    char id[25];
    struct err err;
    struct buf json = BUF_EMPTY;
    buf_printf(&json,
               "{\"id\":\"c%u\",\"from\":\"a@b.example\",\"content\":{\"fields\":[]},"
               "\"recipients\":[",
               n);
    for (unsigned i = 0; i < RECIPIENTS; i++)
        buf_printf(&json, "%s{\"to\":\"u@d%u.example\"}", i ? "," : "", n * RECIPIENTS + i);
    buf_printf(&json, "]}");
    /* What was lost on the way may be said again, since it has an id. */
    while (!producer_submit(producer, buf_slice(&json), id, &err))
        ck_assert_msg(err.kind == ERR_REDIS, "%s", err.text);
    buf_free(&json);
}

static unsigned number_of(const struct queue_job *job)
{
    struct slice recipient = job->recipient; /* u@dN.example */
    slice_cut(&recipient, 'd');
    uint64_t n;
    ck_assert(slice_to_u64(slice_cut(&recipient, '.'), &n) && n < JOBS);
    return (unsigned)n;
}

/* One turn of leasing and delivering. */
static void work(void)
{
    queue_discover(engine.queue, QUEUE_BULK, 40, 5, 1);
    ring_turn(bed.ring, 5);
    for (unsigned i = 0; i < engine.job_count;) {
        struct queue_job *job = engine.jobs[i];
        if ((int)queue_partition_index(job->partition) == kept || !queue_commit(job)) {
            i++;
            continue;
        }
        delivered[number_of(job)]++;
        done++;
        queue_finish(job, &(struct queue_outcome){ .end = QUEUE_DELIVERED, .code = 250 });
        engine.jobs[i] = engine.jobs[--engine.job_count];
    }
}

static void work_to_the_end(void)
{
    while (done < JOBS || queue_stats(engine.queue)->acks_pending > 0)
        work();
}

static void all_ended_once(void)
{
    struct err err;
    struct producer_totals totals;
    ck_assert_msg(producer_totals(producer, NULL, &totals, &err), "%s", err.text);
    ck_assert_uint_eq(totals.accepted, JOBS);
    ck_assert_uint_eq(totals.delivered, JOBS);
    for (unsigned i = 0; i < JOBS; i++)
        ck_assert_msg(delivered[i] == 1, "job %u was handed out %u times", i, delivered[i]);
    struct producer_depth depth;
    ck_assert_msg(producer_depth(producer, &depth, &err), "%s", err.text);
    ck_assert_uint_eq(depth.in_flight, 0);
    ck_assert_uint_eq(depth.dead_letters, 0);
}

START_TEST(a_primary_that_dies_costs_no_job)
{
    if (_i == 0)
        test_cluster_start(&group);
    else
        test_sentinel_start(&group, 3, 3);
    open_all();
    for (unsigned n = 0; n < ENTRIES; n++) {
        submit(n);
        work();
        if (n == ENTRIES / 2) {
            test_redis_kill(&group.nodes[0].redis);
            work();
        }
        if (n == ENTRIES / 2 + 1 && _i == 0) { /* its replica, promoted, needs one itself */
            while (test_cluster_owner(&group, 0) != 3)
                work();
            test_redis_restart(&group.nodes[0].redis);
        }
    }
    work_to_the_end();
    all_ended_once();
    close_all();
}
END_TEST

/* ---- a slot on its way ---- */

static void slot_state(unsigned node, unsigned slot, const char *state, unsigned other)
{
    char *id = test_redis_command(&group.nodes[other].redis, "CLUSTER MYID");
    char *reply =
        test_redis_command(&group.nodes[node].redis, "CLUSTER SETSLOT %u %s %s", slot, state, id);
    ck_assert_str_eq(reply, "OK");
    free(reply);
    free(id);
}

static void key_move(unsigned from, unsigned to, const char *key)
{
    char *reply = test_redis_command(&group.nodes[from].redis, "MIGRATE 127.0.0.1 %d %s 0 5000",
                                     group.nodes[to].port, key);
    ck_assert_msg(strcmp(reply, "OK") == 0, "%s: %s", key, reply);
    free(reply);
}

/* Moves one of the slot's keys, if there's any left. */
static bool any_key_move(unsigned from, unsigned to, unsigned slot)
{
    char *key = test_redis_command(&group.nodes[from].redis, "CLUSTER GETKEYSINSLOT %u 1", slot);
    bool there = key[0] != '\0';
    if (there)
        key_move(from, to, key);
    free(key);
    return there;
}

START_TEST(a_slot_on_its_way_waits_and_loses_nothing)
{
    test_cluster_start(&group);
    open_all();
    const unsigned partition = 5, slot = redis_key_slot(SLICE("5"));
    kept = (int)partition;
    for (unsigned n = 0; n < ENTRIES / 2; n++) {
        submit(n);
        work();
    }
    while (done + engine.job_count < JOBS / 2)
        work();
    ck_assert_uint_gt(engine.job_count, 0);
    int owner = test_cluster_owner(&group, slot);
    ck_assert_int_ge(owner, 0);
    unsigned from = (unsigned)owner, to = (from + 1) % 3;
    slot_state(to, slot, "IMPORTING", from);
    slot_state(from, slot, "MIGRATING", to);
    uint64_t reconnects = queue_stats(engine.queue)->redis_reconnects;
    /* The counters are gone, the jobs in flight still here: half of an outcome could be recorded.
     */
    key_move(from, to, "e:{5}:n");
    kept = -1;
    for (unsigned i = 0; i < 200; i++)
        work();
    ck_assert_uint_gt(queue_stats(engine.queue)->acks_pending, 0);
    while (any_key_move(from, to, slot)) /* one at a time, while everybody goes on working */
        for (unsigned i = 0; i < 10; i++)
            work();
    while (done + queue_stats(engine.queue)->acks_pending < JOBS / 2) /* the others go on */
        work();
    for (unsigned n = ENTRIES / 2; n < ENTRIES; n++) {
        submit(n);
        work();
    }
    ck_assert_uint_lt(done, JOBS);
    ck_assert_uint_eq(queue_stats(engine.queue)->redis_reconnects, reconnects);
    for (unsigned i = 0; i < 3; i++)
        slot_state((to + i) % 3, slot, "NODE", to);
    work_to_the_end();
    all_ended_once();
    ck_assert_int_gt(
        test_redis_number(&group.nodes[to].redis, "HGET e:{%u}:n delivered", partition), 0);
    close_all();
}
END_TEST

/* ---- the blocking client ---- */

START_TEST(a_command_follows_a_key_that_is_on_its_way)
{
    test_cluster_start(&group);
    struct err err;
    ck_assert_msg(producer_open(&producer, group.url, "e", PARTITIONS, &err), "%s", err.text);
    const struct slice key = SLICE("{moving}x");
    ck_assert_ptr_nonnull(PRODUCER_WRITE(producer, &err, key, SLICE("SET"), key, SLICE("1")));
    unsigned slot = redis_key_slot(key);
    unsigned from = (unsigned)test_cluster_owner(&group, slot), to = (from + 1) % 3;
    slot_state(to, slot, "IMPORTING", from);
    slot_state(from, slot, "MIGRATING", to);
    ck_assert(any_key_move(from, to, slot));
    const struct redis_value *reply =
        PRODUCER_COMMAND(producer, &err, key, SLICE("GET"), key); /* ASK */
    ck_assert_msg(reply && redis_value_is(reply, "1"), "%s", err.text);
    for (unsigned i = 0; i < 3; i++)
        slot_state((to + i) % 3, slot, "NODE", to);
    reply = PRODUCER_COMMAND(producer, &err, key, SLICE("GET"), key); /* MOVED */
    ck_assert_msg(reply && redis_value_is(reply, "1"), "%s", err.text);
    producer_close(&producer);
    test_group_stop(&group);
}
END_TEST

START_TEST(many_commands_go_to_all_servers_at_once_and_answers_keep_their_order)
{
    test_cluster_start(&group);
    struct err err;
    ck_assert_msg(producer_open(&producer, group.url, "e", 4096, &err), "%s", err.text);
    producer_pipeline_begin(producer);
    for (unsigned p = 0; p < 4096; p++) {
        struct queue_key key = queue_key_partition("e", p, "x", SLICE(""));
        char number[12];
        snprintf(number, sizeof number, "%u", p);
        PRODUCER_ADD(producer, queue_key_slice(&key), SLICE("GETSET"), queue_key_slice(&key),
                     slice_str(number));
        PRODUCER_ADD(producer, queue_key_slice(&key), SLICE("GET"), queue_key_slice(&key));
    }
    ck_assert_msg(producer_pipeline_run(producer, &err), "%s", err.text);
    unsigned n = 0;
    for (const struct producer_call *call = producer_pipeline_first(producer); call;
         call = producer_pipeline_next(producer, call), n++) {
        if (n % 2 == 0)
            ck_assert_int_eq(call->reply->type, VALUE_NIL);
        else
            ck_assert_uint_eq(redis_value_u64(call->reply), n / 2);
    }
    ck_assert_uint_eq(n, 2 * 4096);
    struct producer_totals totals;
    ck_assert_msg(producer_totals(producer, NULL, &totals, &err), "%s", err.text);
    producer_close(&producer);
    test_group_stop(&group);
}
END_TEST

static void count_event(void *user, struct slice json)
{
    (void)json;
    (*(unsigned *)user)++;
}

START_TEST(events_of_all_servers_are_read)
{
    test_cluster_start(&group);
    open_all();
    for (unsigned n = 0; n < ENTRIES; n++)
        submit(n);
    work_to_the_end();
    unsigned events = 0;
    struct err err;
    while (events < JOBS)
        ck_assert_msg(producer_events(producer, true, 50, count_event, &events, &err), "%s",
                      err.text);
    ck_assert(producer_events(producer, true, 50, count_event, &events, &err));
    ck_assert_uint_eq(events, JOBS);
    close_all();
}
END_TEST

/* The rights that queue/README.md calls enough. */
START_TEST(a_user_with_few_rights_is_enough)
{
    test_cluster_start(&group);
    for (unsigned i = 0; i < 6; i++) {
        char *reply = test_redis_command(
            &group.nodes[i].redis, "ACL SETUSER me on >p@ss ~e:* +@all -@dangerous +info +role "
                                   "+config|get +cluster|slots +cluster|info");
        ck_assert_str_eq(reply, "OK");
        free(reply);
    }
    char hosts[512];
    snprintf(hosts, sizeof hosts, "%s", strstr(group.url, "://") + 3);
    snprintf(group.url, sizeof group.url, "redis+cluster://me:p%%40ss@%.400s", hosts);
    open_all();
    for (unsigned n = 0; n < ENTRIES; n++)
        submit(n);
    work_to_the_end();
    all_ended_once();
    const struct producer_options options = { .url = group.url,
                                              .name_space = "e",
                                              .partitions = PARTITIONS };
    struct log log = { .fd = 2, .level = LOG_ERROR };
    struct err err;
    ck_assert_msg(queue_check(&options, &log, &err), "%s", err.text);
    close_all();
}
END_TEST

START_TEST(scripts_that_were_flushed_are_loaded_again)
{
    test_sentinel_start(&group, 1, 0);
    struct err err;
    ck_assert_msg(producer_open(&producer, group.url, "e", 4, &err), "%s", err.text);
    const struct slice keys[3] = { SLICE("e:{0}:e"), SLICE("e:{0}:o"), SLICE("e:{0}:h") };
    const struct slice args[3] = { SLICE("n1"), SLICE("n1/0/x"), SLICE("1000") };
    for (unsigned i = 0; i < 3; i++) {
        const struct redis_value *reply =
            producer_eval(producer, &err, SCRIPT_ACQUIRE, keys, 3, args, 3);
        ck_assert_msg(reply && reply->type == VALUE_ARRAY && redis_value_is(&reply->items[0], "OK"),
                      "%s", err.text);
        free(test_redis_command(&group.nodes[0].redis, "SCRIPT FLUSH"));
    }
    producer_close(&producer);
    test_group_stop(&group);
}
END_TEST

int main(void)
{
    Suite *suite = SUITE_OF("queue_cluster", a_slot_on_its_way_waits_and_loses_nothing,
                            a_command_follows_a_key_that_is_on_its_way,
                            many_commands_go_to_all_servers_at_once_and_answers_keep_their_order,
                            events_of_all_servers_are_read, a_user_with_few_rights_is_enough,
                            scripts_that_were_flushed_are_loaded_again);
    TCase *both = tcase_create("failover"); /* of a cluster, of Sentinel */
    tcase_set_timeout(both, 0);
    tcase_add_loop_test(both, a_primary_that_dies_costs_no_job, 0, 2);
    suite_add_tcase(suite, both);
    return check_main(suite);
}
