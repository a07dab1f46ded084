/* The queue against a real Redis: leases, outcomes, the fence, and what is left when something
 * dies. */
#include "queue/queue.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/queue/queue_bed.h"

static struct bed bed;
static struct bed_engine engine;

static const char *const durable[] = { "--appendonly", "yes", "--appendfsync", "always", NULL };

static void finish(struct queue_job *job, enum queue_end end)
{
    queue_finish(job, &(struct queue_outcome){
                          .end = end, .code = 250, .retry_at_ms = 1, .text = SLICE("ok") });
}

static void lease(struct bed_engine *of, unsigned jobs)
{
    while (of->job_count < jobs) {
        queue_discover(of->queue, QUEUE_BULK, 1000, 1000, 1);
        ring_turn(bed.ring, 10);
    }
    ck_assert_uint_eq(of->job_count, jobs);
}

static long long count_of(const char *verb, const char *key)
{
    return test_redis_number(&bed.redis, "%s e:{0}:%s", verb, key);
}

static long long total(const char *name)
{
    return test_redis_number(&bed.redis, "HGET e:{0}:n %s", name);
}

static void open_one(unsigned jobs, bool journal)
{
    bed_open(&bed, 1, NULL);
    bed_enqueue(&bed, "s1", "a.example", 0, jobs);
    bed_engine_create(&bed, &engine, "n1", journal);
    bed_engine_start(&bed, &engine);
}

static void close_one(void)
{
    bed_engine_stop(&bed, &engine);
    bed_close(&bed);
}

START_TEST(a_queued_job_is_leased_and_its_delivery_recorded)
{
    open_one(3, true);
    lease(&engine, 3);
    ck_assert_uint_eq(engine.waiting, 0);
    for (unsigned i = 0; i < 3; i++) {
        struct queue_job *job = bed_take(&engine);
        ck_assert(slice_eq(job->submission, SLICE("s1")));
        ck_assert_uint_eq(job->value_count, 2);
        ck_assert(slice_eq(job->values[0], SLICE("Ada")));
        ck_assert(queue_commit(job));
        finish(job, QUEUE_DELIVERED);
    }
    BED_UNTIL(&bed, engine.acked == 3);
    ck_assert_int_eq(total("delivered"), 3);
    ck_assert_int_eq(test_redis_number(&bed.redis, "HGET e:{0}:g:s1 delivered"), 3);
    ck_assert_int_gt(count_of("TTL", "g:s1"), 86400);
    ck_assert_int_eq(count_of("XLEN", "ev"), 3);
    ck_assert_int_eq(count_of("HLEN", "i"), 0);
    ck_assert_uint_eq(journal_taken(queue_journal_worker(engine.journal, 0)), 0);
    close_one();
}
END_TEST

START_TEST(a_stop_gives_the_partitions_up)
{
    open_one(0, false);
    ck_assert_int_eq(count_of("EXISTS", "o"), 1);
    bed_engine_stop(&bed, &engine);
    ck_assert_int_eq(count_of("EXISTS", "o"), 0);
    bed_close(&bed);
}
END_TEST

START_TEST(a_lease_by_name_takes_as_many_as_asked_and_says_when_there_are_none)
{
    open_one(5, false);
    lease(&engine, 5); /* learn the partition */
    while (engine.job_count > 0)
        finish(bed_take(&engine), QUEUE_RELEASE);
    BED_UNTIL(&bed, engine.acked == 5);
    struct queue_partition *partition = engine.partition;
    queue_lease(partition, SLICE("a.example"), QUEUE_BULK, 2, 1000);
    BED_UNTIL(&bed, engine.job_count == 2);
    ck_assert_uint_eq(engine.waiting, 3);
    queue_lease(partition, SLICE("a.example"), QUEUE_BULK, 10, 1000);
    BED_UNTIL(&bed, engine.job_count == 5);
    ck_assert_uint_eq(engine.drained, 0);
    queue_lease(partition, SLICE("a.example"), QUEUE_BULK, 10, 1000);
    BED_UNTIL(&bed, engine.drained == 1);
    while (engine.job_count > 0)
        finish(bed_take(&engine), QUEUE_RELEASE);
    close_one();
}
END_TEST

START_TEST(a_visited_or_parked_destination_is_not_offered)
{
    open_one(3, false);
    bed_enqueue(&bed, "s2", "b.example", 0, 1);
    while (engine.leased_calls < 2) {
        queue_discover(engine.queue, QUEUE_BULK, 100, 1, 1000000);
        ring_turn(bed.ring, 10);
    }
    ck_assert_uint_eq(engine.job_count, 2); /* one of each, though a.example has more */
    struct queue_partition *partition = engine.partition;
    queue_park(partition, SLICE("b.example"), ring_wall_ms(bed.ring) + 1000000);
    while (engine.job_count > 0)
        finish(bed_take(&engine), QUEUE_RELEASE);
    BED_UNTIL(&bed, engine.acked == 2);
    unsigned calls = engine.leased_calls;
    for (unsigned i = 0; i < 20; i++) {
        queue_discover(engine.queue, QUEUE_BULK, 100, 10, 1000000);
        ring_turn(bed.ring, 5);
    }
    ck_assert_uint_eq(engine.leased_calls, calls);
    queue_park(partition, SLICE("b.example"), 1);
    while (engine.job_count == 0) {
        queue_discover(engine.queue, QUEUE_BULK, 100, 10, 1000000);
        ring_turn(bed.ring, 5);
    }
    ck_assert(slice_eq(engine.jobs[0]->submission, SLICE("s2")));
    finish(bed_take(&engine), QUEUE_RELEASE);
    close_one();
}
END_TEST

START_TEST(a_retry_comes_back_with_its_history)
{
    open_one(1, true);
    lease(&engine, 1);
    struct queue_job *job = bed_take(&engine);
    ck_assert(queue_commit(job));
    queue_finish(job, &(struct queue_outcome){ .end = QUEUE_RETRY,
                                               .retry_at_ms = 1,
                                               .unknown = true,
                                               .code = 451,
                                               .text = SLICE("4.3.0 later") });
    BED_UNTIL(&bed, engine.acked == 1);
    lease(&engine, 1);
    job = bed_take(&engine);
    ck_assert_uint_eq(job->attempts, 1);
    ck_assert_uint_eq(job->flags, QUEUE_JOB_MAYBE_DUPLICATE);
    ck_assert(slice_eq(job->last_reply, SLICE("451 4.3.0 later")));
    ck_assert(slice_eq(job->values[0], SLICE("Ada")));
    finish(job, QUEUE_DELIVERED);
    BED_UNTIL(&bed, engine.acked == 2);
    ck_assert_int_eq(total("deferred"), 1);
    ck_assert_int_eq(total("unknown"), 1);
    ck_assert_int_eq(total("delivered"), 1);
    char *events = test_redis_command(&bed.redis, "XRANGE e:{0}:ev - +");
    ck_assert_ptr_nonnull(
        strstr(events, "\"type\":\"unknown\",\"job\":\"s1-0\",\"submission\":\"s1\""));
    ck_assert_ptr_nonnull(strstr(events, "\"attempt\":2"));
    ck_assert_ptr_nonnull(strstr(events, "\"maybe_duplicate\":true"));
    free(events);
    close_one();
}
END_TEST

START_TEST(a_retry_that_is_not_due_stays_away)
{
    open_one(1, false);
    lease(&engine, 1);
    queue_finish(bed_take(&engine),
                 &(struct queue_outcome){ .end = QUEUE_RETRY,
                                          .retry_at_ms = ring_wall_ms(bed.ring) + 100000,
                                          .code = 450 });
    BED_UNTIL(&bed, engine.acked == 1);
    for (unsigned i = 0; i < 20; i++) {
        queue_discover(engine.queue, QUEUE_BULK, 100, 10, 1);
        ring_turn(bed.ring, 5);
    }
    ck_assert_uint_eq(engine.job_count, 0);
    ck_assert_int_eq(count_of("ZCARD", "t"), 1);
    close_one();
}
END_TEST

struct load {
    struct queue_load load;
    unsigned calls;
    bool found;
};

static void loaded(struct queue_load *it, struct slice json)
{
    struct load *load = CONTAINER_OF(it, struct load, load);
    load->calls++;
    load->found = json.ptr && slice_eq(json, SLICE("{\"x\":1}"));
}

START_TEST(a_stored_submission_is_loaded)
{
    open_one(0, false);
    free(test_redis_command(&bed.redis, "SET e:s:{here} {\"x\":1}"));
    struct load here = { .load.loaded = loaded }, gone = { .load.loaded = loaded };
    queue_load_submission(engine.queue, &here.load, SLICE("here"));
    queue_load_submission(engine.queue, &gone.load, SLICE("gone"));
    ck_assert_uint_eq(here.calls, 0);
    BED_UNTIL(&bed, here.calls && gone.calls);
    ck_assert(here.found);
    ck_assert(!gone.found);
    close_one();
}
END_TEST

START_TEST(another_number_of_partitions_is_refused)
{
    bed_open(&bed, 1, NULL);
    free(test_redis_command(&bed.redis, "HSET e:meta version 1 partitions 7"));
    bed.log.level = LOG_ERROR + 1;
    bed_engine_create(&bed, &engine, "n1", false);
    queue_start(engine.queue);
    for (unsigned i = 0; i < 20; i++)
        ring_turn(bed.ring, 10);
    ck_assert(!engine.recordable);
    ck_assert_int_eq(count_of("EXISTS", "o"), 0);
    close_one();
}
END_TEST

/* ---- the fence ---- */

START_TEST(nothing_is_committed_while_redis_is_away)
{
    bed_open(&bed, 1, durable);
    bed_enqueue(&bed, "s1", "a.example", 0, 2);
    bed_engine_create(&bed, &engine, "n1", true);
    bed_engine_start(&bed, &engine);
    lease(&engine, 2);
    ck_assert(queue_commit(engine.jobs[0]));
    test_redis_kill(&bed.redis);
    BED_UNTIL(&bed, !engine.recordable);
    ck_assert(!queue_commit(engine.jobs[1]));
    finish(engine.jobs[0], QUEUE_DELIVERED); /* its reply came meanwhile */
    test_redis_restart(&bed.redis);
    BED_UNTIL(&bed, engine.acked == 1);
    BED_UNTIL(&bed, engine.recordable);
    ck_assert(queue_commit(engine.jobs[1])); /* still ours: nobody else was there */
    finish(engine.jobs[1], QUEUE_DELIVERED);
    BED_UNTIL(&bed, engine.acked == 2);
    ck_assert_int_eq(total("delivered"), 2);
    close_one();
}
END_TEST

START_TEST(a_paused_redis_ends_the_fence_before_the_lease)
{
    open_one(1, true);
    lease(&engine, 1);
    test_redis_pause(&bed.redis);
    int64_t begin = ring_now_ms(bed.ring), refused = 0;
    while (refused == 0) {
        ring_turn(bed.ring, 50);
        if (!queue_commit(engine.jobs[0]))
            refused = ring_now_ms(bed.ring);
    }
    ck_assert_int_le(refused - begin, 4000 - 1500 + 100 + 1000);
    test_redis_continue(&bed.redis);
    BED_UNTIL(&bed, queue_commit(engine.jobs[0])); /* still ours */
    finish(engine.jobs[0], QUEUE_DELIVERED);
    BED_UNTIL(&bed, engine.acked == 1);
    ck_assert_int_eq(total("delivered"), 1);
    close_one();
}
END_TEST

/* A connection that nobody gives up for a minute: what ends the fence is the owner's lease of 4 s
 * alone. */
START_TEST(a_lease_that_was_not_renewed_ends_the_fence_with_a_margin)
{
    bed_open(&bed, 1, NULL);
    bed.redis_timeout_ms = 60000;
    bed_enqueue(&bed, "s1", "a.example", 0, 1);
    bed_engine_create(&bed, &engine, "n1", true);
    bed_engine_start(&bed, &engine);
    lease(&engine, 1);
    test_redis_pause(&bed.redis);
    int64_t begin = ring_now_ms(bed.ring);
    while (queue_commit(engine.jobs[0]))
        ring_turn(bed.ring, 50);
    ck_assert_int_le(ring_now_ms(bed.ring) - begin, 4000 - 1500 + 500);
    ck_assert(engine.recordable); /* nobody knows better */
    test_redis_continue(&bed.redis);
    BED_UNTIL(&bed, queue_commit(engine.jobs[0]));
    finish(engine.jobs[0], QUEUE_RELEASE);
    close_one();
}
END_TEST

START_TEST(outcomes_that_are_not_recorded_in_time_stop_new_commits)
{
    open_one(2, true);
    lease(&engine, 2);
    test_redis_pause(&bed.redis);
    finish(bed_take(&engine), QUEUE_DELIVERED);
    int64_t begin = ring_now_ms(bed.ring);
    while (queue_commit(engine.jobs[0]))
        ring_turn(bed.ring, 50);
    ck_assert_int_lt(ring_now_ms(bed.ring) - begin, 4000);
    test_redis_continue(&bed.redis);
    BED_UNTIL(&bed, engine.acked == 1);
    finish(bed_take(&engine), QUEUE_RELEASE);
    close_one();
}
END_TEST

/* A command that was sent before the connection was given up runs when Redis wakes up, and must not
 * count twice. */
START_TEST(a_ghost_of_a_command_does_nothing_twice)
{
    open_one(20, true);
    lease(&engine, 20);
    test_redis_pause(&bed.redis);
    while (engine.job_count > 0)
        finish(bed_take(&engine), engine.job_count % 2 ? QUEUE_DELIVERED : QUEUE_RETRY);
    queue_discover(engine.queue, QUEUE_BULK, 10, 10, 1);
    BED_UNTIL(
        &bed,
        !engine.recordable); /* timed out, the connection dropped; everything lies in the socket */
    test_redis_continue(&bed.redis);
    BED_UNTIL(&bed, engine.recordable && engine.acked == 20);
    ck_assert_int_eq(total("delivered"), 10);
    ck_assert_int_eq(total("deferred"), 10);
    ck_assert_int_eq(count_of("XLEN", "ev"), 20);
    lease(&engine, 10);
    while (engine.job_count > 0)
        finish(bed_take(&engine), QUEUE_DELIVERED);
    BED_UNTIL(&bed, engine.acked == 30);
    ck_assert_int_eq(total("delivered"), 20);
    ck_assert_int_eq(count_of("HLEN", "i"), 0);
    close_one();
}
END_TEST

/* ---- several nodes ---- */

START_TEST(a_partition_of_a_live_node_is_left_alone)
{
    open_one(1, true);
    struct bed_engine other;
    bed_engine_create(&bed, &other, "n2", false);
    queue_start(other.queue);
    for (unsigned i = 0; i < 30; i++)
        ring_turn(bed.ring, 10);
    ck_assert(!other.recordable);
    lease(&engine, 1);
    finish(bed_take(&engine), QUEUE_RELEASE);
    bed_engine_stop(&bed, &engine);
    BED_UNTIL(&bed, other.recordable); /* given up, so it's the other's */
    lease(&other, 1);
    ck_assert_uint_eq(other.jobs[0]->flags, 0);
    finish(bed_take(&other), QUEUE_RELEASE);
    bed_engine_stop(&bed, &other);
    bed_close(&bed);
}
END_TEST

START_TEST(a_lapsed_partition_goes_to_another_node_and_old_outcomes_change_nothing)
{
    open_one(3, true);
    lease(&engine, 3);
    ck_assert(queue_commit(engine.jobs[0]));
    free(test_redis_command(&bed.redis, "DEL e:{0}:o")); /* as if its time had run out */
    struct bed_engine other;
    bed_engine_create(&bed, &other, "n4", false); /* to whom the one partition falls */
    bed_engine_start(&bed, &other);
    lease(&other, 3);
    ck_assert_uint_eq(other.acked, 3); /* back in the queue first */
    for (unsigned i = 0; i < 3; i++)
        ck_assert_uint_eq(other.jobs[i]->flags, QUEUE_JOB_MAYBE_DUPLICATE);
    finish(engine.jobs[0], QUEUE_DELIVERED); /* doesn't know yet */
    BED_UNTIL(&bed, engine.lost == 1);
    ck_assert(!queue_commit(engine.jobs[1]));
    ck_assert_int_eq(count_of("EXISTS", "n"), 1);
    ck_assert_int_eq(total("delivered"), 0);
    ck_assert_int_eq(count_of("HLEN", "i"), 3);
    finish(engine.jobs[1], QUEUE_DELIVERED);
    finish(engine.jobs[2], QUEUE_RETRY);
    while (other.job_count > 0)
        finish(bed_take(&other), QUEUE_DELIVERED);
    BED_UNTIL(&bed, other.acked == 6);
    ck_assert_int_eq(total("delivered"), 3);
    ck_assert_int_eq(total("deferred"), 0);
    ck_assert_uint_eq(journal_taken(queue_journal_worker(engine.journal, 0)), 0);
    bed_engine_stop(&bed, &other);
    BED_UNTIL(&bed, engine.recordable); /* and back */
    close_one();
}
END_TEST

/* Another node came and went while nobody looked: what it did with the jobs can't be known. */
START_TEST(a_broken_tenure_is_noticed_even_when_the_partition_is_free_again)
{
    open_one(2, true);
    lease(&engine, 2);
    ck_assert(queue_commit(engine.jobs[0]));
    const struct script_source *source = &script_sources[SCRIPT_ACQUIRE];
    free(test_redis_command(&bed.redis, "DEL e:{0}:o"));
    free(test_redis_command(&bed.redis, "EVAL %b 3 e:{0}:e e:{0}:o e:{0}:h n2 n2/0/x 1000",
                            source->text.ptr, source->text.len));
    free(test_redis_command(&bed.redis, "DEL e:{0}:o"));
    free(test_redis_command(&bed.redis, "CLIENT KILL TYPE normal SKIPME yes"));
    BED_UNTIL(&bed, engine.lost == 1);
    BED_UNTIL(&bed, engine.recordable);
    ck_assert(!queue_commit(engine.jobs[1]));
    finish(bed_take(&engine), QUEUE_DELIVERED);
    finish(bed_take(&engine), QUEUE_DELIVERED);
    lease(&engine, 2);
    ck_assert_int_eq(count_of("EXISTS", "n") && total("delivered"), 0);
    for (unsigned i = 0; i < 2; i++)
        ck_assert_uint_eq(engine.jobs[i]->flags, QUEUE_JOB_MAYBE_DUPLICATE);
    while (engine.job_count > 0)
        finish(bed_take(&engine), QUEUE_DELIVERED);
    BED_UNTIL(&bed, queue_stats(engine.queue)->acks_pending == 0);
    ck_assert_int_eq(total("delivered"), 2);
    close_one();
}
END_TEST

/* ---- death and recovery ---- */

/* Runs `body` in a process of its own that dies without a word. */
static void die_in_child(void (*body)(void))
{
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        bed.redis.context = NULL;
        bed_engine_create(&bed, &engine, "n1", true);
        bed_engine_start(&bed, &engine);
        body();
        _exit(42);
    }
    int status;
    waitpid(pid, &status, 0);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 42);
}

static void leave_one_of_each(void)
{
    lease(&engine, 4);
    for (unsigned i = 0; i < 4; i++) {
        bool first_two = slice_eq(engine.jobs[i]->id, SLICE("s1-0")) ||
                         slice_eq(engine.jobs[i]->id, SLICE("s1-1"));
        if (!first_two)
            continue; /* two are leased, nothing sent */
        if (!queue_commit(engine.jobs[i]))
            _exit(1);
        if (slice_eq(engine.jobs[i]->id,
                     SLICE("s1-1"))) /* replied, not recorded: it dies before the turn ends */
            queue_finish(engine.jobs[i],
                         &(struct queue_outcome){ .end = QUEUE_DELIVERED, .code = 251 });
    }
}

START_TEST(a_dead_engines_jobs_are_taken_back_by_what_the_journal_says)
{
    bed_open(&bed, 1, NULL);
    bed_enqueue(&bed, "s1", "a.example", 0, 4);
    die_in_child(leave_one_of_each);
    ck_assert_int_eq(count_of("HLEN", "i"), 4);
    bed_engine_create(&bed, &engine, "n1", true);
    bed_engine_start(&bed, &engine);
    BED_UNTIL(&bed, engine.acked == 4); /* two released, one retried, one delivered */
    ck_assert_uint_eq(engine.recovered_unknown, 1);
    ck_assert_uint_eq(engine.recovered_replied, 1);
    ck_assert_int_eq(total("delivered"), 1);
    ck_assert_int_eq(total("unknown"), 1);
    char *events = test_redis_command(&bed.redis, "XRANGE e:{0}:ev - +");
    ck_assert_ptr_nonnull(strstr(events, "\"type\":\"unknown\",\"job\":\"s1-0\""));
    ck_assert_ptr_nonnull(strstr(events, "\"type\":\"delivered\",\"job\":\"s1-1\""));
    free(events);
    lease(&engine, 3);
    for (unsigned i = 0; i < 3; i++) /* only the unknown one is marked */
        ck_assert_uint_eq(engine.jobs[i]->flags, slice_eq(engine.jobs[i]->id, SLICE("s1-0")));
    while (engine.job_count > 0)
        finish(bed_take(&engine), QUEUE_DELIVERED);
    BED_UNTIL(&bed, engine.acked == 7);
    ck_assert_uint_eq(journal_taken(queue_journal_worker(engine.journal, 0)), 0);
    close_one();
}
END_TEST

static void recover_and_die(void)
{
    /* The recovered outcomes are finished in the sweep's callback; it dies before they're recorded.
     */
    _exit(engine.recovered_unknown == 1 && engine.recovered_replied == 1 && engine.acked == 0 ? 42
                                                                                              : 1);
}

START_TEST(a_death_during_recovery_recovers_again)
{
    bed_open(&bed, 1, NULL);
    bed_enqueue(&bed, "s1", "a.example", 0, 4);
    die_in_child(leave_one_of_each);
    pid_t pid = fork();
    if (pid == 0) {
        bed.redis.context = NULL;
        bed_engine_create(&bed, &engine, "n1", true);
        queue_start(engine.queue);
        while (engine.recovered_unknown + engine.recovered_replied < 2)
            ring_turn(bed.ring, 10);
        recover_and_die();
    }
    int status;
    waitpid(pid, &status, 0);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 42);
    bed_engine_create(&bed, &engine, "n1", true);
    bed_engine_start(&bed, &engine);
    BED_UNTIL(&bed, engine.acked == 4);
    ck_assert_uint_eq(engine.recovered_unknown, 1);
    ck_assert_uint_eq(engine.recovered_replied, 1);
    ck_assert_int_eq(total("delivered"), 1);
    close_one();
}
END_TEST

/* The lease ran, its reply never came: nobody holds the jobs. */
START_TEST(a_lost_lease_reply_leaves_no_job_behind)
{
    open_one(10, true);
    char *epoch = test_redis_command(&bed.redis, "GET e:{0}:e");
    const struct script_source *source = &script_sources[SCRIPT_LEASE];
    free(test_redis_command(&bed.redis, "EVAL %b 1 e:{0}:e %s n1 100000 1000 0 0 1 b 10 10 1",
                            source->text.ptr, source->text.len, epoch));
    free(epoch);
    ck_assert_int_eq(count_of("HLEN", "i"), 10);
    free(test_redis_command(&bed.redis, "CLIENT KILL TYPE normal SKIPME yes"));
    BED_UNTIL(&bed, engine.acked == 10); /* released */
    ck_assert_int_eq(count_of("LLEN", "q:a.example s1"), 10);
    lease(&engine, 10);
    for (unsigned i = 0; i < 10; i++)
        ck_assert_uint_eq(engine.jobs[i]->flags, 0);
    while (engine.job_count > 0)
        finish(bed_take(&engine), QUEUE_RELEASE);
    close_one();
}
END_TEST

/* Leases and delivers until nothing is left while `fault` strikes; every job must end once, and be
 * handed out once. */
static void deliver_through(unsigned jobs, unsigned faults, void (*fault)(void))
{
    bed_open(&bed, 4, durable);
    for (unsigned d = 0; d < 8; d++) {
        char name[32];
        snprintf(name, sizeof name, "d%u.example", d);
        bed_enqueue(&bed, "s1", name, d * jobs / 8, jobs / 8);
    }
    bed_engine_create(&bed, &engine, "n1", true);
    bed_engine_start(&bed, &engine);
    unsigned *delivered = mem_array(jobs, sizeof *delivered), done = 0, struck = 0, turns = 0;
    while (done < jobs || queue_stats(engine.queue)->acks_pending > 0) {
        queue_discover(engine.queue, QUEUE_BULK, 40, 5, 1);
        ring_turn(bed.ring, 5);
        for (unsigned i = 0; i < engine.job_count;) {
            struct queue_job *job = engine.jobs[i];
            if (!queue_commit(job)) {
                i++;
                continue;
            }
            struct slice n = slice_skip(job->id, job->submission.len + 1);
            delivered[strtoul(n.ptr, NULL, 36)]++;
            done++;
            finish(job, QUEUE_DELIVERED);
            engine.jobs[i] = engine.jobs[--engine.job_count];
        }
        if (++turns % 15 == 0 && struck < faults) {
            struck++;
            fault();
        }
    }
    ck_assert_uint_eq(struck, faults);
    for (unsigned i = 0; i < jobs; i++)
        ck_assert_msg(delivered[i] == 1, "job %u was handed out %u times", i, delivered[i]);
    free(delivered);
    long long sum = 0, left = 0, events = 0;
    for (unsigned p = 0; p < 4; p++) {
        sum += test_redis_number(&bed.redis, "HGET e:{%u}:n delivered", p);
        left += test_redis_number(&bed.redis, "HLEN e:{%u}:i", p);
        events += test_redis_number(&bed.redis, "XLEN e:{%u}:ev", p);
    }
    ck_assert_int_eq(sum, jobs);
    ck_assert_int_eq(events, jobs);
    ck_assert_int_eq(left, 0);
    close_one();
}

static void kill_redis(void)
{
    test_redis_kill(&bed.redis);
    ring_turn(bed.ring, 5);
    test_redis_restart(&bed.redis);
}

static void kill_connections(void)
{
    free(test_redis_command(&bed.redis, "CLIENT KILL TYPE normal SKIPME yes"));
}

START_TEST(killing_redis_loses_and_doubles_nothing)
{
    deliver_through(1600, 15, kill_redis);
}
END_TEST

START_TEST(killing_connections_loses_and_doubles_nothing)
{
    deliver_through(1600, 12, kill_connections);
}
END_TEST

int main(void)
{
    return check_main(SUITE_OF(
        "queue", a_queued_job_is_leased_and_its_delivery_recorded, a_stop_gives_the_partitions_up,
        a_lease_by_name_takes_as_many_as_asked_and_says_when_there_are_none,
        a_visited_or_parked_destination_is_not_offered, a_retry_comes_back_with_its_history,
        a_retry_that_is_not_due_stays_away, a_stored_submission_is_loaded,
        another_number_of_partitions_is_refused, nothing_is_committed_while_redis_is_away,
        a_paused_redis_ends_the_fence_before_the_lease,
        a_lease_that_was_not_renewed_ends_the_fence_with_a_margin,
        a_broken_tenure_is_noticed_even_when_the_partition_is_free_again,
        outcomes_that_are_not_recorded_in_time_stop_new_commits,
        a_ghost_of_a_command_does_nothing_twice, a_partition_of_a_live_node_is_left_alone,
        a_lapsed_partition_goes_to_another_node_and_old_outcomes_change_nothing,
        a_dead_engines_jobs_are_taken_back_by_what_the_journal_says,
        a_death_during_recovery_recovers_again, a_lost_lease_reply_leaves_no_job_behind,
        killing_redis_loses_and_doubles_nothing, killing_connections_loses_and_doubles_nothing));
}
