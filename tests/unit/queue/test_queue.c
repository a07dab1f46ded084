/* The queue against a real Redis: leases, outcomes, the fence, and what is left when something
 * dies. */
#include "queue/queue.h"

#include <stdio.h>
#include <stdlib.h>

#include "tests/unit/queue/queue_bed.h"

static struct bed bed;

static void finish(struct queue_job *job, enum queue_end end)
{
    queue_finish(job, &(struct queue_outcome){
                          .end = end, .code = 250, .retry_at_ms = 1, .text = SLICE("ok") });
}

START_TEST(a_queued_job_is_leased_and_its_delivery_recorded)
{
    struct bed_engine engine;
    bed_open(&bed, 4, NULL);
    bed_enqueue(&bed, "s1", "a.example", 0, 3);
    bed_engine_create(&bed, &engine, "n1", true);
    bed_engine_start(&bed, &engine);
    while (engine.job_count < 3) {
        queue_discover(engine.queue, 100, 10, 1000);
        ring_turn(bed.ring, 100);
    }
    ck_assert_uint_eq(engine.waiting, 0);
    for (unsigned i = 0; i < 3; i++) {
        struct queue_job *job = bed_take(&engine);
        ck_assert_int_eq(job->submission.len, 2);
        ck_assert_uint_eq(job->value_count, 2);
        ck_assert(slice_eq(job->values[0], SLICE("Ada")));
        ck_assert(queue_commit(job));
        finish(job, QUEUE_DELIVERED);
    }
    BED_UNTIL(&bed, engine.acked == 3);
    unsigned p = queue_partition_of(SLICE("a.example"), 4);
    ck_assert_int_eq(test_redis_number(&bed.redis, "HGET e:{%u}:n delivered", p), 3);
    ck_assert_int_eq(test_redis_number(&bed.redis, "HGET e:{%u}:c:s1 delivered", p), 3);
    ck_assert_int_eq(test_redis_number(&bed.redis, "XLEN e:{%u}:ev", p), 3);
    ck_assert_int_eq(test_redis_number(&bed.redis, "HLEN e:{%u}:i", p), 0);
    ck_assert_uint_eq(journal_taken(queue_journal_worker(engine.journal, 0)), 0);
    bed_engine_stop(&bed, &engine);
    ck_assert_int_eq(test_redis_number(&bed.redis, "EXISTS e:{%u}:o", p), 0);
    bed_close(&bed);
}
END_TEST

int main(void)
{
    return check_main(SUITE_OF("queue", a_queued_job_is_leased_and_its_delivery_recorded));
}
