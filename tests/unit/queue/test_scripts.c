/* Each script alone: who may, what an unexpected state does, what at maxmemory. test_model.c has
 * what they do together. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "queue/scripts.h"
#include "tests/support/check_main.h"
#include "tests/support/redis.h"

static struct test_redis redis;

static void open_redis(void)
{
    test_redis_start(&redis, NULL);
}

static void close_redis(void)
{
    test_redis_stop(&redis);
}

/* EVAL of a script with the rest of the command as format. */
#define RUN(script, format, ...)                                                                   \
    test_redis_command(&redis, "EVAL %b " format, script_sources[script].text.ptr,                 \
                       script_sources[script].text.len __VA_OPT__(, ) __VA_ARGS__)

#define EXPECT(expected, call)                                                                     \
    do {                                                                                           \
        char *expect_got_ = (call);                                                                \
        ck_assert_str_eq(expect_got_, expected);                                                   \
        free(expect_got_);                                                                         \
    } while (0)

#define EXPECT_BEGIN(expected, call)                                                               \
    do {                                                                                           \
        char *expect_got_ = (call);                                                                \
        ck_assert_msg(strncmp(expect_got_, expected, strlen(expected)) == 0, "%s", expect_got_);   \
        free(expect_got_);                                                                         \
    } while (0)

static char *command(const char *text)
{
    return test_redis_command(&redis, text);
}

/* The epoch and since of an acquisition by NODE/0/INSTANCE; false when it's taken. */
static bool acquire(const char *node, const char *instance, char epoch[24], char since[24])
{
    char *reply =
        RUN(SCRIPT_ACQUIRE, "3 e:{0}:e e:{0}:o e:{0}:h %s %s/0/%s 100000", node, node, instance);
    bool ok = sscanf(reply, "OK\n%23s\n%23s", epoch, since) == 2;
    ck_assert(ok || strncmp(reply, "TAKEN\n", 6) == 0);
    free(reply);
    return ok;
}

START_TEST(acquire_respects_other_nodes_and_tells_an_unbroken_tenure)
{
    char e1[24], e2[24], e3[24], e4[24], since[24];
    ck_assert(acquire("n1", "a", e1, since));
    ck_assert_str_eq(since, e1);
    ck_assert(!acquire("n2", "b", e2, since));
    ck_assert(!acquire("n", "b", e2, since)); /* a prefix of the name is another name */
    ck_assert(acquire("n1", "a", e2, since)); /* the same process, after a lost connection */
    ck_assert_str_eq(since, e1);
    ck_assert_int_gt(strtoll(e2, NULL, 10), strtoll(e1, NULL, 10));
    ck_assert(acquire("n1", "later", e3, since)); /* the node's next process */
    ck_assert_str_eq(since, e3);
    free(command("DEL e:{0}:o"));
    ck_assert(acquire("n2", "b", e4, since));
    free(command("DEL e:{0}:o"));
    ck_assert(acquire("n1", "later", e4, since)); /* there was somebody else */
    ck_assert_str_eq(since, e4);
}
END_TEST

START_TEST(an_epoch_never_comes_back_when_redis_forgets)
{
    char before[24], after[24], since[24];
    ck_assert(acquire("n1", "a", before, since));
    free(command("FLUSHALL"));
    ck_assert(acquire("n1", "a", after, since));
    ck_assert_int_gt(strtoll(after, NULL, 10), strtoll(before, NULL, 10));
    ck_assert_str_eq(since, after);
    free(command("SET e:{0}:e 9000000000000000")); /* a clock that was wrong */
    ck_assert(acquire("n1", "a", after, since));
    ck_assert_str_eq(after, "9000000000000001");
}
END_TEST

START_TEST(renew_prolongs_takes_up_again_and_gives_up)
{
    char epoch[24], since[24];
    ck_assert(acquire("n1", "a", epoch, since));
    free(command("PEXPIRE e:{0}:o 50"));
    EXPECT("OK", RUN(SCRIPT_RENEW, "2 e:{0}:e e:{0}:o %s n1/0/a 100000", epoch));
    ck_assert_int_gt(test_redis_number(&redis, "PTTL e:{0}:o"), 50000);
    free(command("DEL e:{0}:o")); /* ran out, and nobody came */
    EXPECT("OK", RUN(SCRIPT_RENEW, "2 e:{0}:e e:{0}:o %s n1/0/a 100000", epoch));
    EXPECT("n1/0/a", command("GET e:{0}:o"));
    EXPECT("STALE", RUN(SCRIPT_RENEW, "2 e:{0}:e e:{0}:o 1 n1/0/a 100000"));
    EXPECT("STALE", RUN(SCRIPT_RENEW, "2 e:{0}:e e:{0}:o 1 n1/0/a 0"));
    EXPECT("OK", RUN(SCRIPT_RENEW, "2 e:{0}:e e:{0}:o %s n1/0/a 0", epoch));
    EXPECT("0", command("EXISTS e:{0}:o"));
}
END_TEST

#define ENQUEUE(marker, part, destination, record)                                                 \
    RUN(SCRIPT_ENQUEUE, "2 e:{0}:m:" marker " e:{0}:n " part " 100 s 1000 0 " destination " 1 %s", \
        record)

START_TEST(enqueue_takes_each_part_once_and_in_order)
{
    EXPECT("GAP", ENQUEUE("1", "1", "d", "s-1\tx"));
    EXPECT("OK", ENQUEUE("1", "0", "d", "s-0\tx"));
    EXPECT("SEEN", ENQUEUE("1", "0", "d", "s-0\tx"));
    EXPECT("OK", ENQUEUE("1", "1", "d", "s-1\tx"));
    EXPECT("SEEN", ENQUEUE("1", "0", "d", "s-0\tx"));
    EXPECT("s-0\tx\ns-1\tx", command("LRANGE e:{0}:q:b:d 0 -1"));
    EXPECT("2", command("HGET e:{0}:n accepted"));
    EXPECT("2", command("HGET e:{0}:c:s accepted"));
}
END_TEST

START_TEST(enqueue_leaves_a_parked_destination_parked)
{
    free(command("ZADD e:{0}:r:b 9000000000000 d"));
    EXPECT("OK", ENQUEUE("1", "0", "d", "s-0\tx"));
    EXPECT("9000000000000", command("ZSCORE e:{0}:r:b d"));
}
END_TEST

START_TEST(enqueue_writes_nothing_when_a_key_has_a_wrong_type)
{
    free(command("SET e:{0}:q:b:bad 1"));
    char *reply = RUN(SCRIPT_ENQUEUE, "2 e:{0}:m:1 e:{0}:n 0 100 s 1000 0 good 1 s-0 bad 1 s-1");
    ck_assert_msg(strstr(reply, "WRONGTYPE") != NULL, "%s", reply);
    free(reply);
    EXPECT("0", command("EXISTS e:{0}:q:b:good e:{0}:m:1 e:{0}:n e:{0}:r:b"));
}
END_TEST

#define LEASE(epoch, discover, requests)                                                           \
    RUN(SCRIPT_LEASE, "1 e:{0}:e " epoch " n1 100000 100 " discover " 10 1000 " requests)

START_TEST(lease_writes_nothing_when_a_key_has_a_wrong_type)
{
    free(command("SET e:{0}:e 7"));
    EXPECT("OK", ENQUEUE("1", "0", "d", "s-0\tx"));
    free(command("SET e:{0}:i wrong"));
    char *reply = LEASE("7", "10", "0");
    ck_assert_msg(strstr(reply, "WRONGTYPE") != NULL, "%s", reply);
    free(reply);
    EXPECT("1", command("LLEN e:{0}:q:b:d"));
}
END_TEST

START_TEST(lease_records_who_and_until_when)
{
    free(command("SET e:{0}:e 7"));
    EXPECT("OK", ENQUEUE("1", "0", "d", "s-0\tx"));
    free(LEASE("7", "0", "1 d 5 1000"));
    char *value = command("HGET e:{0}:i s-0");
    long long deadline;
    int at = 0;
    ck_assert_int_eq(sscanf(value, "7 n1 %lld %n", &deadline, &at), 1);
    ck_assert_str_eq(value + at, "d\ts-0\tx");
    long long now = test_redis_number(&redis, "TIME") * 1000;
    ck_assert_int_le(deadline, now + 102000);
    ck_assert_int_ge(deadline, now + 98000);
    free(value);
}
END_TEST

START_TEST(lease_brings_back_due_retries_to_the_head_the_oldest_first)
{
    free(command("SET e:{0}:e 7"));
    EXPECT("OK", ENQUEUE("1", "0", "d", "s-0\tx"));
    free(test_redis_command(&redis, "ZADD e:{0}:t 2 %s 1 %s 9000000000000 %s", "d\ts-2\ty",
                            "d\ts-9\ty", "d\ts-3\ty"));
    free(LEASE("7", "0", "0"));
    EXPECT("s-9\ty\ns-2\ty\ns-0\tx", command("LRANGE e:{0}:q:b:d 0 -1"));
    EXPECT("1", command("ZCARD e:{0}:t"));
}
END_TEST

START_TEST(lease_takes_a_destination_that_is_empty_off_the_ready_set)
{
    free(command("SET e:{0}:e 7"));
    free(command("ZADD e:{0}:r:b 1 gone"));
    char *reply = LEASE("7", "10", "0");
    ck_assert_ptr_nonnull(strstr(reply, "\ngone\n0\n0"));
    free(reply);
    EXPECT("0", command("EXISTS e:{0}:r:b"));
}
END_TEST

START_TEST(at_maxmemory_the_queue_is_drained_but_not_filled)
{
    free(command("SET e:{0}:e 7"));
    EXPECT("OK", ENQUEUE("1", "0", "d", "s-0\tx"));
    EXPECT("OK", ENQUEUE("2", "0", "d", "s-1\tx"));
    EXPECT("OK", ENQUEUE("3", "0", "d", "s-2\tx"));
    free(command("XADD e:submit 1-1 json x"));
    free(command("XGROUP CREATE e:submit eilpost 0"));
    free(command("CONFIG SET maxmemory 1"));
    EXPECT_BEGIN("OOM", ENQUEUE("4", "0", "d", "s-3\tx"));
    char *reply = LEASE("7", "10", "0");
    ck_assert_ptr_nonnull(strstr(reply, "s-2\tx"));
    free(reply);
    EXPECT("3",
           RUN(SCRIPT_ACK,
               "1 e:{0}:e 7 1000 1000 s-0 s delivered 0 0 %s {} s-1 s retry 0 9000000000000 %s {} "
               "s-2 s release 0 0 %s %s",
               "", "s-1\ty", "", ""));
    EXPECT("2", command("XLEN e:{0}:ev"));
    EXPECT("1", RUN(SCRIPT_CONSUMED, "1 e:submit eilpost 1-1"));
}
END_TEST

START_TEST(ack_ends_only_what_is_in_flight)
{
    free(command("SET e:{0}:e 7"));
    EXPECT("OK", ENQUEUE("1", "0", "d", "s-0\tx"));
    free(LEASE("7", "10", "0"));
    EXPECT("STALE", RUN(SCRIPT_ACK, "1 e:{0}:e 6 1000 1000 s-0 s delivered 0 0 %s {}", ""));
    EXPECT("1", RUN(SCRIPT_ACK,
                    "1 e:{0}:e 7 1000 1000 s-0 s bounced 1 0 %s {1} s-0 s delivered 0 0 %s {2} "
                    "s-1 s delivered 0 0 %s {3}",
                    "", "", ""));
    EXPECT("0", RUN(SCRIPT_ACK, "1 e:{0}:e 7 1000 1000 s-0 s delivered 0 0 %s {}", ""));
    EXPECT("1", command("HGET e:{0}:n bounced"));
    EXPECT("1", command("HGET e:{0}:c:s unknown"));
    EXPECT("(nil)", command("HGET e:{0}:n delivered"));
    EXPECT("1", command("XLEN e:{0}:ev"));
}
END_TEST

START_TEST(ack_keeps_about_as_many_events_as_asked)
{
    free(command("SET e:{0}:e 7"));
    for (unsigned i = 0; i < 500; i++) {
        free(test_redis_command(&redis, "HSET e:{0}:i s-%u %s", i, "7 n1 1 d\ts\tx"));
        EXPECT("1", RUN(SCRIPT_ACK, "1 e:{0}:e 7 100 1000 s-%u s delivered 0 0 %s {}", i, ""));
    }
    long long events = test_redis_number(&redis, "XLEN e:{0}:ev");
    ck_assert_int_ge(events, 100);
    ck_assert_int_le(events, 300);
    EXPECT("500", command("HGET e:{0}:n delivered"));
}
END_TEST

START_TEST(consumed_takes_entries_out_of_group_and_stream)
{
    free(command("XADD e:submit 1-1 json x"));
    free(command("XADD e:submit 1-2 json x"));
    free(command("XADD e:submit 1-3 json x"));
    free(command("XGROUP CREATE e:submit eilpost 0"));
    free(command("XREADGROUP GROUP eilpost c STREAMS e:submit >"));
    EXPECT("2", RUN(SCRIPT_CONSUMED, "1 e:submit eilpost 1-1 1-3"));
    EXPECT("1", command("XLEN e:submit"));
    EXPECT_BEGIN("1\n1-2\n1-2", command("XPENDING e:submit eilpost"));
    EXPECT("0", RUN(SCRIPT_CONSUMED, "1 e:submit eilpost 1-1"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("scripts");
    TCase *tests = tcase_create("scripts");
    tcase_set_timeout(tests, 0);
    tcase_add_checked_fixture(tests, open_redis, close_redis);
    tcase_add_test(tests, acquire_respects_other_nodes_and_tells_an_unbroken_tenure);
    tcase_add_test(tests, an_epoch_never_comes_back_when_redis_forgets);
    tcase_add_test(tests, renew_prolongs_takes_up_again_and_gives_up);
    tcase_add_test(tests, enqueue_takes_each_part_once_and_in_order);
    tcase_add_test(tests, enqueue_leaves_a_parked_destination_parked);
    tcase_add_test(tests, enqueue_writes_nothing_when_a_key_has_a_wrong_type);
    tcase_add_test(tests, lease_writes_nothing_when_a_key_has_a_wrong_type);
    tcase_add_test(tests, lease_records_who_and_until_when);
    tcase_add_test(tests, lease_brings_back_due_retries_to_the_head_the_oldest_first);
    tcase_add_test(tests, lease_takes_a_destination_that_is_empty_off_the_ready_set);
    tcase_add_test(tests, at_maxmemory_the_queue_is_drained_but_not_filled);
    tcase_add_test(tests, ack_ends_only_what_is_in_flight);
    tcase_add_test(tests, ack_keeps_about_as_many_events_as_asked);
    tcase_add_test(tests, consumed_takes_entries_out_of_group_and_stream);
    suite_add_tcase(suite, tests);
    return check_main(suite);
}
