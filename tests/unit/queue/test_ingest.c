/* From the submit stream into the partitions: exactly once, bad ones aside, whatever is
 * interrupted. */
#include "queue/ingest.h"

#include <stdio.h>
#include <stdlib.h>

#include "tests/unit/queue/ingest_bed.h"

static struct bed bed;
static struct bed_ingest ingest;

static void submit(const char *json)
{
    free(test_redis_command(&bed.redis, "XADD e:submit * json %s", json));
}

static void until_empty(void)
{
    while (test_redis_number(&bed.redis, "XLEN e:submit") > 0)
        ring_turn(bed.ring, 10);
}

static void until_dead(long long letters)
{
    while (test_redis_number(&bed.redis, "XLEN e:dead") < letters)
        ring_turn(bed.ring, 10);
    until_empty();
}

/* Leases everything that is queued. */
static void lease_all(struct bed_engine *engine, unsigned jobs)
{
    bed_engine_create(&bed, engine, "n1", false);
    bed_engine_start(&bed, engine);
    while (engine->job_count < jobs) {
        for (unsigned class = 0; class < QUEUE_CLASSES; class ++)
            queue_discover(engine->queue, class, 1000, 100, 1);
        ring_turn(bed.ring, 10);
    }
}

static void give_back(struct bed_engine *engine)
{
    while (engine->job_count > 0)
        queue_finish(bed_take(engine), &(struct queue_outcome){ .end = QUEUE_RELEASE });
    bed_engine_stop(&bed, engine);
}

START_TEST(a_one_shot_submission_is_stored_and_queued)
{
    bed_open(&bed, 4, NULL);
    submit("{\"from\":\"b@shop.example\",\"content\":{\"fields\":[\"name\",\"n\",\"ok\"]},"
           "\"recipients\":["
           "{\"to\":\"ada@A.example\",\"data\":{\"name\":\"Ad\\u00e4\",\"n\":7.5,\"ok\":true,"
           "\"unused\":1}},"
           "{\"to\":\"bob@a.example\",\"data\":{\"n\":-12}},{\"to\":\"cy@b.example\"}]}");
    bed_ingest_start(&bed, &ingest, "n1");
    until_empty();
    ck_assert_int_eq(bed_queued(&bed), 3);
    ck_assert_int_eq(bed_sum(&bed, "HGET", "n", "accepted"), 3);
    struct bed_engine engine;
    lease_all(&engine, 3);
    unsigned seen = 0;
    for (unsigned i = 0; i < 3; i++) {
        const struct queue_job *job = engine.jobs[i];
        ck_assert_int_eq(job->submission.ptr[0], 's');
        if (slice_eq(job->recipient, SLICE("ada@A.example"))) {
            ck_assert_uint_eq(job->value_count, 3);
            ck_assert(slice_eq(job->values[0], SLICE("Ad\xc3\xa4")));
            ck_assert(slice_eq(job->values[1], SLICE("7.5")));
            ck_assert(slice_eq(job->values[2], SLICE("true")));
            seen |= 1;
        } else if (slice_eq(job->recipient, SLICE("bob@a.example"))) {
            ck_assert_uint_eq(job->value_count, 2);
            ck_assert(slice_eq(job->values[0], SLICE("")));
            ck_assert(slice_eq(job->values[1], SLICE("-12")));
            seen |= 2;
        } else {
            ck_assert(slice_eq(job->recipient, SLICE("cy@b.example")));
            ck_assert_uint_eq(job->value_count, 0);
            seen |= 4;
        }
    }
    ck_assert_uint_eq(seen, 7);
    give_back(&engine);
    char *object = test_redis_command(&bed.redis, "EVAL %s 0",
                                      "return redis.call('GET', redis.call('KEYS', 'e:s:{*')[1])");
    struct submission_stored stored;
    struct err err;
    ck_assert_msg(submission_stored_parse(&stored, slice_str(object), &err), "%s", err.text);
    ck_assert_uint_gt(stored.entry.len, 0);
    submission_stored_free(&stored);
    free(object);
    bed_ingest_stop(&bed, &ingest);
    bed_close(&bed);
}
END_TEST

static void event_seen(void *user, struct slice json)
{
    (void)json;
    ++*(unsigned *)user;
}

START_TEST(a_streamed_submission_is_counted_per_submission)
{
    enum { CHUNKS = 20, CHUNK = 100 };
    bed_open(&bed, 4, NULL);
    bed_ingest_start(&bed, &ingest, "n1");
    struct producer *producer;
    struct err err;
    ck_assert_msg(producer_open(&producer, bed.redis.url, "e", 4, &err), "%s", err.text);
    struct producer_submission whole = { .from = SLICE("b@shop.example"),
                                         .content = SLICE("{\"fields\":[\"name\"]}") };
    char id[25];
    enum producer_begun begun;
    ck_assert_msg(producer_begin(producer, &whole, id, &begun, &err), "%s", err.text);
    struct buf json = BUF_EMPTY;
    for (unsigned chunk = 0; chunk < CHUNKS; chunk++) {
        buf_clear(&json);
        for (unsigned i = 0; i < CHUNK; i++)
            buf_printf(&json, "%c{\"to\":\"u%u@d%u.example\",\"data\":{\"name\":\"N%u\"}}",
                       i ? ',' : '[', chunk * CHUNK + i, i % 7, i);
        buf_append_char(&json, ']');
        ck_assert_msg(producer_append(producer, id, chunk * CHUNK, buf_slice(&json),
                                      chunk == CHUNKS - 1, 1000, &err),
                      "%s", err.text);
    }
    buf_free(&json);
    until_empty();
    struct producer_totals totals;
    ck_assert_msg(producer_totals(producer, id, &totals, &err), "%s", err.text);
    ck_assert_uint_eq(totals.accepted, CHUNKS * CHUNK);
    ck_assert_uint_eq(producer_totals_open(&totals), CHUNKS * CHUNK);
    struct bed_engine engine;
    lease_all(&engine, CHUNKS * CHUNK);
    ck_assert_uint_eq(engine.job_count, CHUNKS * CHUNK);
    unsigned events = 0;
    ck_assert(producer_events(producer, false, 0, event_seen, &events, &err));
    queue_finish(
        bed_take(&engine),
        &(struct queue_outcome){ .end = QUEUE_BOUNCED, .code = 550, .text = SLICE("no \"x\"") });
    BED_UNTIL(&bed, engine.acked == 1);
    ck_assert(producer_events(producer, false, 1000, event_seen, &events, &err));
    ck_assert_uint_eq(events, 1);
    ck_assert(producer_totals(producer, id, &totals, &err));
    ck_assert_uint_eq(totals.bounced, 1);
    struct producer_depth depth;
    ck_assert(producer_depth(producer, &depth, &err));
    ck_assert_uint_eq(depth.in_flight, CHUNKS * CHUNK - 1);
    give_back(&engine);
    ck_assert_int_eq(bed_queued(&bed), CHUNKS * CHUNK - 1);
    producer_close(&producer);
    bed_ingest_stop(&bed, &ingest);
    bed_close(&bed);
}
END_TEST

/* Text of a submission, and the path that the dead letter names. */
static const struct {
    const char *json, *path;
} bad[] = {
    { "{\"from\"", "line 1, column 7" },
    { "[]", "" },
    { "{\"from\":\"b@x\",\"content\":{\"fields\":[]}}", "recipients" },
    { "{\"from\":\"b@x\",\"content\":{\"fields\":[]},\"recipients\":{}}", "recipients" },
    { "{\"from\":\"b@x\",\"content\":7,\"recipients\":[]}", "content" },
    { "{\"from\":\"b@x\",\"content\":{},\"recipients\":[]}", "content" },
    { "{\"from\":\"nobody\",\"content\":{\"fields\":[]},\"recipients\":[]}", "from" },
    { "{\"content\":{\"fields\":[]},\"recipients\":[]}", "from" },
    { "{\"from\":\"b@x\",\"content\":{\"fields\":[]},\"recipients\":[],\"form\":1}", "form" },
    { "{\"from\":\"b@x\",\"id\":\"a b\",\"content\":{\"fields\":[]},\"recipients\":[]}", "id" },
    { "{\"from\":\"b@x\",\"expires_in_s\":-1,\"content\":{\"fields\":[]},\"recipients\":[]}",
      "expires_in_s" },
    { "{\"submission\":\"unheard-of\",\"recipients\":[]}", "submission" },
    { "{\"submission\":\"x\",\"first\":\"1\",\"recipients\":[]}", "first" },
};

START_TEST(a_bad_submission_becomes_a_dead_letter_with_its_path)
{
    bed_open(&bed, 2, NULL);
    bed_ingest_start(&bed, &ingest, "n1");
    submit(bad[_i].json);
    until_dead(1);
    char *letter = test_redis_command(&bed.redis, "XRANGE e:dead - +");
    char expected[128];
    snprintf(expected, sizeof expected, "\npath\n%s\n", bad[_i].path);
    ck_assert_msg(strstr(letter, expected) != NULL, "%s", letter);
    free(letter);
    ck_assert_int_eq(bed_queued(&bed), 0);
    bed_ingest_stop(&bed, &ingest);
    bed_close(&bed);
}
END_TEST

START_TEST(a_bad_recipient_does_not_take_the_others_down)
{
    bed_open(&bed, 2, NULL);
    submit("{\"from\":\"b@x\",\"id\":\"camp\",\"content\":{\"fields\":[\"a\"]},\"recipients\":[{"
           "\"to\":\"u1@a.example\"},"
           "{\"to\":\"nowhere\"},{\"to\":\"u2@a.example\",\"data\":{\"a\":[1]}},{\"to\":\"u3@b."
           "example\"},7,"
           "{\"to\":\"u4@b.example\",\"date\":{}}]}");
    bed_ingest_start(&bed, &ingest, "n1");
    until_dead(4);
    ck_assert_int_eq(bed_queued(&bed), 2);
    ck_assert_int_eq(bed_sum(&bed, "HGET", "g:camp", "accepted"), 2);
    ck_assert_int_eq(bed_sum(&bed, "HGET", "g:camp", "rejected"), 4);
    char *letters = test_redis_command(&bed.redis, "XRANGE e:dead - +");
    const char *const paths[] = { "recipients[1].to", "recipients[2].data.a", "recipients[4]",
                                  "recipients[5].date" };
    for (size_t i = 0; i < ARRAY_LEN(paths); i++)
        ck_assert_msg(strstr(letters, paths[i]) != NULL, "%s", letters);
    ck_assert_ptr_nonnull(strstr(letters, "{\"to\":\"nowhere\"}"));
    free(letters);
    bed_ingest_stop(&bed, &ingest);
    bed_close(&bed);
}
END_TEST

START_TEST(a_submission_with_only_bad_recipients_is_counted)
{
    bed_open(&bed, 4, NULL);
    submit("{\"from\":\"b@x\",\"id\":\"camp\",\"content\":{\"fields\":[]},\"recipients\":[{\"to\":"
           "\"x\"}]}");
    bed_ingest_start(&bed, &ingest, "n1");
    until_dead(1);
    ck_assert_int_eq(bed_sum(&bed, "HGET", "g:camp", "rejected"), 1);
    bed_ingest_stop(&bed, &ingest);
    bed_close(&bed);
}
END_TEST

START_TEST(a_repeated_id_is_ignored)
{
    bed_open(&bed, 2, NULL);
    const char *json = "{\"from\":\"b@x\",\"id\":\"camp\",\"content\":{\"fields\":[]},"
                       "\"recipients\":[{\"to\":\"u@a.example\"}]}";
    submit(json);
    submit(json);
    bed_ingest_start(&bed, &ingest, "n1");
    until_empty();
    submit(json);
    until_empty();
    ck_assert_int_eq(bed_queued(&bed), 1);
    ck_assert_int_eq(bed_sum(&bed, "HGET", "n", "accepted"), 1);
    bed_ingest_stop(&bed, &ingest);
    bed_close(&bed);
}
END_TEST

/* 2,000 recipients over all partitions, in several parts each. */
static void submit_many(void)
{
    struct buf json = BUF_EMPTY;
    buf_printf(&json, "{\"from\":\"b@x\",\"content\":{\"fields\":[]},\"recipients\":");
    for (unsigned i = 0; i < 2000; i++)
        buf_printf(&json, "%c{\"to\":\"u%u@d%u.example\"}", i ? ',' : '[', i, i % 13);
    buf_printf(&json, "]}");
    submit(buf_cstr(&json));
    buf_free(&json);
}

/* Whatever was queued, each recipient is there once. */
static void assert_each_once(unsigned count)
{
    ck_assert_int_eq(bed_queued(&bed), count);
    ck_assert_int_eq(bed_sum(&bed, "HGET", "n", "accepted"), count);
    struct bed_engine engine;
    lease_all(&engine, count);
    bool *seen = mem_array(count, sizeof *seen);
    for (unsigned i = 0; i < count; i++) {
        uint64_t n;
        struct slice name = slice_skip(engine.jobs[i]->recipient, 1);
        ck_assert(slice_to_u64(slice_cut(&name, '@'), &n) && n < count && !seen[n]);
        seen[n] = true;
    }
    free(seen);
    give_back(&engine);
}

/* The connection goes after some of the parts: the consumer is stopped wherever it is, after 1, 2,
 * 3 … turns of its ring. */
START_TEST(an_interrupted_entry_is_queued_exactly_once)
{
    bed_open(&bed, 4, NULL);
    submit_many();
    for (int turns = 1; test_redis_number(&bed.redis, "XLEN e:submit") > 0; turns++) {
        bed_ingest_start(&bed, &ingest, "n1");
        for (int i = 0; i < turns; i++)
            ring_turn(bed.ring, 10);
        bed_ingest_stop(&bed, &ingest);
    }
    assert_each_once(2000);
    bed_close(&bed);
}
END_TEST

/* Some partitions have their parts, others don't: as after a crash between two of them. */
START_TEST(an_entry_half_queued_by_a_dead_consumer_is_completed)
{
    bed_open(&bed, 4, NULL);
    submit_many();
    /* Two of the partitions can't be touched, so that the first consumer fails half way, each time.
     */
    char *set = test_redis_command(
        &bed.redis, "ACL SETUSER default resetkeys ~e:submit ~e:dead ~e:meta ~e:s:{* ~e:o:{* ~e:i:{* ~e:c:{* ~e:{0}:* "
                    "~e:{1}:*");
    ck_assert_str_eq(set, "OK");
    free(set);
    bed_ingest_start(&bed, &ingest, "dead");
    BED_UNTIL(&bed, ingest_stats(ingest.ingest)->pauses >= 2);
    bed_ingest_stop(&bed, &ingest);
    free(test_redis_command(&bed.redis, "ACL SETUSER default allkeys"));
    long long before = bed_queued(&bed);
    ck_assert_int_gt(before, 0);
    ck_assert_int_lt(before, 2000);
    ck_assert_int_eq(test_redis_number(&bed.redis, "XLEN e:submit"), 1);
    /* Its entry is another consumer's pending one; as old as it would be after a minute. */
    free(test_redis_command(
        &bed.redis, "EVAL %s 1 e:submit",
        "local p = redis.call('XPENDING', KEYS[1], 'eilpost', '-', '+', 10) "
        "return redis.call('XCLAIM', KEYS[1], 'eilpost', 'dead/0', 0, p[1][1], 'IDLE', 100000)"));
    bed_ingest_start(&bed, &ingest, "heir");
    until_empty();
    bed_ingest_stop(&bed, &ingest);
    assert_each_once(2000);
    bed_close(&bed);
}
END_TEST

START_TEST(at_maxmemory_nothing_is_taken_and_nothing_is_lost)
{
    bed_open(&bed, 2, NULL);
    submit_many();
    free(test_redis_command(&bed.redis, "CONFIG SET maxmemory 1"));
    bed_ingest_start(&bed, &ingest, "n1");
    BED_UNTIL(&bed, ingest_stats(ingest.ingest)->pauses >= 2);
    ck_assert_int_eq(bed_queued(&bed), 0);
    struct producer *producer;
    struct err err;
    char id[25];
    ck_assert(producer_open(&producer, bed.redis.url, "e", 0, &err) == false);
    free(test_redis_command(&bed.redis, "CONFIG SET maxmemory 0"));
    until_empty();
    ck_assert_int_eq(bed_queued(&bed), 2000);
    ck_assert_msg(producer_open(&producer, bed.redis.url, "e", 2, &err), "%s", err.text);
    free(test_redis_command(&bed.redis, "CONFIG SET maxmemory 1"));
    const char *json = "{\"from\":\"b@x\",\"content\":{\"fields\":[]},\"recipients\":[]}";
    ck_assert(!producer_submit(producer, slice_str(json), id, &err));
    ck_assert_int_eq(err.kind, ERR_LIMIT);
    free(test_redis_command(&bed.redis, "CONFIG SET maxmemory 0"));
    producer_close(&producer);
    bed_ingest_stop(&bed, &ingest);
    bed_close(&bed);
}
END_TEST

START_TEST(a_lost_redis_is_waited_for)
{
    static const char *const options[] = { "--appendonly", "yes", "--appendfsync", "always", NULL };
    bed_open(&bed, 4, options);
    bed_ingest_start(&bed, &ingest, "n1");
    for (unsigned round = 0; round < 3; round++) {
        submit_many();
        for (unsigned i = 0; i < 3 + round; i++)
            ring_turn(bed.ring, 1);
        test_redis_kill(&bed.redis);
        ring_turn(bed.ring, 100);
        test_redis_restart(&bed.redis);
    }
    until_empty();
    ck_assert_int_eq(bed_queued(&bed), 6000);
    ck_assert_int_eq(bed_sum(&bed, "HGET", "n", "accepted"), 6000);
    bed_ingest_stop(&bed, &ingest);
    bed_close(&bed);
}
END_TEST

int main(void)
{
    Suite *suite =
        SUITE_OF("ingest", a_one_shot_submission_is_stored_and_queued,
                 a_streamed_submission_is_counted_per_submission,
                 a_bad_recipient_does_not_take_the_others_down,
                 a_submission_with_only_bad_recipients_is_counted, a_repeated_id_is_ignored,
                 an_interrupted_entry_is_queued_exactly_once,
                 an_entry_half_queued_by_a_dead_consumer_is_completed,
                 at_maxmemory_nothing_is_taken_and_nothing_is_lost, a_lost_redis_is_waited_for);
    TCase *table = tcase_create("bad");
    tcase_set_timeout(table, 0);
    tcase_add_loop_test(table, a_bad_submission_becomes_a_dead_letter_with_its_path, 0,
                        (int)ARRAY_LEN(bad));
    suite_add_tcase(suite, table);
    return check_main(suite);
}
