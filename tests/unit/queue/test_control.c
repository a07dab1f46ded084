/* Campaigns and orders in the engine, against a real Redis: rates, canaries, what was left to
 * finish, and tenants' weights. */
#include "queue/control.h"

#include <stdio.h>
#include <stdlib.h>

#include "tests/unit/queue/queue_bed.h"

enum { PARTITIONS = 2, LEASES_MAX = 20000 };

static struct bed bed;
static struct bed_engine engine, other;
static int64_t leased_ms[LEASES_MAX]; /* when each was leased; by the ring's clock */
static unsigned leased;

/* Two domains in different partitions. */
static const char *domains[PARTITIONS];

static void find_domains(void)
{
    static char names[PARTITIONS][16];
    for (unsigned found = 0, i = 0; found < PARTITIONS; i++) {
        char name[16];
        snprintf(name, sizeof name, "d%u.test", i);
        if (queue_partition_of(slice_str(name), PARTITIONS) != found)
            continue;
        strcpy(names[found], name);
        domains[found] = names[found];
        found++;
    }
}

static void open_bed(void)
{
    find_domains();
    leased = 0;
    bed_open(&bed, PARTITIONS, NULL);
}

static void set_campaign(const char *json)
{
    ck_assert_int_ge(test_redis_number(&bed.redis, "HSET e:campaigns acme/news %s", json), 0);
}

static char *campaign(void)
{
    return test_redis_command(&bed.redis, "HGET e:campaigns acme/news");
}

static bool campaign_has(const char *text)
{
    char *json = campaign();
    bool found = json && strstr(json, text);
    free(json);
    return found;
}

static long long counter(unsigned partition, const char *name)
{
    return test_redis_number(&bed.redis, "HGET e:{%u}:c:acme/news %s", partition, name);
}

/* Whether leases of the campaign are metered everywhere. */
static bool metered(bool yes)
{
    for (unsigned i = 0; i < PARTITIONS; i++)
        if ((test_redis_number(&bed.redis, "HEXISTS e:{%u}:c:acme/news metered", i) == 1) != yes)
            return false;
    return true;
}

#define TURN_UNTIL(condition)                                                                      \
    do {                                                                                           \
        while (!(condition))                                                                       \
            ring_turn(bed.ring, 20);                                                               \
    } while (0)

/* Looks for jobs, and ends each that comes as `end` says, by its number. */
static void work(struct bed_engine *of, enum queue_end (*end)(unsigned nth))
{
    queue_discover(of->queue, QUEUE_BULK, 500, 500, 1);
    ring_turn(bed.ring, 10);
    while (of->job_count > 0) {
        ck_assert_uint_lt(leased, LEASES_MAX);
        leased_ms[leased] = ring_now_ms(bed.ring);
        queue_finish(bed_take(of), &(struct queue_outcome){ .end = end(leased),
                                                            .code = 250,
                                                            .retry_at_ms = INT64_MAX / 2,
                                                            .text = SLICE("ok") });
        leased++;
    }
}

static enum queue_end deliver_all(unsigned nth)
{
    (void)nth;
    return QUEUE_DELIVERED;
}

static enum queue_end bounce_some(unsigned nth)
{
    return nth % 5 == 0 ? QUEUE_BOUNCED : QUEUE_DELIVERED;
}

static enum queue_end defer_all(unsigned nth)
{
    (void)nth;
    return QUEUE_RETRY;
}

/* The most that were leased within any second. */
static unsigned most_per_second(void)
{
    unsigned most = 0;
    for (unsigned first = 0, last = 0; last < leased; last++) {
        while (leased_ms[last] - leased_ms[first] >= 1000)
            first++;
        most = MAX_OF(most, last - first + 1);
    }
    return most;
}

/* What may be saved up at that rate. */
enum { RATE = 100, SAVED = RATE * 3 / 10 + 1 };

static void meter_two_partitions(void)
{
    open_bed();
    set_campaign("{\"state\":\"running\",\"rate\":100}");
    bed_engine_create(&bed, &engine, "n1", false);
    bed_engine_start(&bed, &engine);
    TURN_UNTIL(metered(true));
    bed_enqueue(&bed, "s1", domains[0], 0, 900);
    bed_enqueue(&bed, "s2", domains[1], 0, 100);
}

START_TEST(a_rate_holds_over_all_partitions)
{
    meter_two_partitions();
    while (leased < 4 * RATE)
        work(&engine, deliver_all);
    int64_t took_ms = leased_ms[leased - 1] - leased_ms[0];
    printf("rate %d: %u jobs in %lld ms, at most %u in a second\n", RATE, leased,
           (long long)took_ms, most_per_second());
    ck_assert_uint_le(most_per_second(), RATE + SAVED);
    ck_assert_int_le(took_ms, 4 * 4 * 1000); /* a fourth of the rate, however busy the machine */
    TURN_UNTIL(engine.acked == leased);
    ck_assert_int_gt(counter(0, "delivered"), counter(1, "delivered")); /* it has more */
    ck_assert_int_gt(counter(1, "delivered"), 0);
    set_campaign("{\"state\":\"running\"}");
    while (leased < 1000)
        work(&engine, deliver_all);
    ck_assert(metered(false));
    bed_engine_stop(&bed, &engine);
    bed_close(&bed);
}
END_TEST

/* Here something waits at every turn, with each answer: nothing but what was paid holds the rate.
 */
START_TEST(a_rate_holds_over_many_destinations)
{
    open_bed();
    set_campaign("{\"state\":\"running\",\"rate\":100}");
    bed_engine_create(&bed, &engine, "n1", false);
    bed_engine_start(&bed, &engine);
    TURN_UNTIL(metered(true));
    for (unsigned i = 0; i < 500; i++) {
        char domain[16];
        snprintf(domain, sizeof domain, "d%u.test", i);
        bed_enqueue(&bed, "s1", domain, i, 1);
    }
    while (leased < 4 * RATE)
        work(&engine, deliver_all);
    int64_t took_ms = leased_ms[leased - 1] - leased_ms[0];
    ck_assert_uint_le(most_per_second(), RATE + SAVED);
    ck_assert_int_ge(took_ms,
                     (4 * RATE - SAVED) * 1000 / RATE - 100); /* a turn's worth may be so early */
    bed_engine_stop(&bed, &engine);
    bed_close(&bed);
}
END_TEST

START_TEST(a_rate_holds_when_another_worker_takes_over)
{
    meter_two_partitions();
    bed_engine_create(&bed, &other, "n2", false);
    queue_start(other.queue);
    while (leased < RATE) {
        work(&engine, deliver_all);
        work(&other, deliver_all);
    }
    bed_engine_stop(&bed, &engine);
    while (leased < 4 * RATE)
        work(&other, deliver_all);
    ck_assert_uint_le(most_per_second(), RATE + 2 * SAVED);
    bed_engine_stop(&bed, &other);
    bed_close(&bed);
}
END_TEST

START_TEST(a_paused_campaign_gets_no_grants)
{
    meter_two_partitions();
    while (leased < RATE)
        work(&engine, deliver_all);
    set_campaign("{\"state\":\"paused\",\"rate\":100}");
    int64_t since = ring_now_ms(bed.ring);
    while (ring_now_ms(bed.ring) - since < 500) /* heard by then, what was granted is used up */
        work(&engine, deliver_all);
    unsigned then = leased;
    while (ring_now_ms(bed.ring) - since < 1500)
        work(&engine, deliver_all);
    ck_assert_uint_eq(leased, then);
    bed_engine_stop(&bed, &engine);
    bed_close(&bed);
}
END_TEST

static void start_canary(const char *json)
{
    open_bed();
    set_campaign(json);
    bed_engine_create(&bed, &engine, "n1", false);
    bed_engine_start(&bed, &engine);
    TURN_UNTIL(metered(true) && campaign_has("\"base\""));
    bed_enqueue(&bed, "s1", domains[0], 0, 200);
    bed_enqueue(&bed, "s2", domains[1], 0, 200);
}

START_TEST(a_canary_that_passes_lets_the_rest_go)
{
    start_canary("{\"state\":\"running\",\"canary\":{\"jobs\":40,\"bounce\":10,\"deferral\":50,"
                 "\"state\":\"running\"}}");
    bool passed = false;
    while (!passed) {
        work(&engine, deliver_all);
        passed = campaign_has("\"passed\"");
        ck_assert(passed || leased <= 40);
    }
    while (leased < 400)
        work(&engine, deliver_all);
    ck_assert(metered(false) && campaign_has("\"state\":\"running\""));
    bed_engine_stop(&bed, &engine);
    bed_close(&bed);
}
END_TEST

static void canary_fails(enum queue_end (*end)(unsigned nth), const char *reason)
{
    start_canary("{\"state\":\"running\",\"canary\":{\"jobs\":40,\"bounce\":10,\"deferral\":50,"
                 "\"state\":\"running\"}}");
    while (!campaign_has("\"failed\""))
        work(&engine, end);
    ck_assert_uint_le(leased, 40);
    ck_assert(campaign_has("\"state\":\"stopped\""));
    ck_assert_msg(campaign_has(reason), "%s", campaign());
    for (unsigned i = 0; i < PARTITIONS; i++)
        TURN_UNTIL(test_redis_number(&bed.redis, "HEXISTS e:{%u}:a c:acme/news", i) == 1);
    TURN_UNTIL(metered(false)); /* the order holds it now */
    unsigned then = leased;
    int64_t since = ring_now_ms(bed.ring);
    while (ring_now_ms(bed.ring) - since < 500)
        work(&engine, end);
    ck_assert_uint_eq(leased, then);
    ck_assert_int_ge(test_redis_number(&bed.redis, "XLEN e:log"), 1);
    bed_engine_stop(&bed, &engine);
    bed_close(&bed);
}

START_TEST(a_canary_that_bounces_stops_the_campaign)
{
    canary_fails(bounce_some, "% bounced of ");
}
END_TEST

START_TEST(a_canary_that_is_deferred_stops_the_campaign)
{
    canary_fails(defer_all, "canary: 100.0 % deferred of ");
}
END_TEST

START_TEST(a_canary_in_percent_has_ten_at_least)
{
    start_canary("{\"state\":\"running\",\"canary\":{\"percent\":1,\"bounce\":10,\"deferral\":50,"
                 "\"state\":\"running\"}}");
    bool passed = false;
    while (!passed) {
        work(&engine, deliver_all);
        passed = campaign_has("\"passed\"");
        ck_assert(passed || leased <= 10);
    }
    bed_engine_stop(&bed, &engine);
    bed_close(&bed);
}
END_TEST

START_TEST(campaigns_with_open_jobs_are_sampled)
{
    open_bed();
    set_campaign("{\"state\":\"running\"}");
    bed_enqueue(&bed, "s1", domains[0], 0, 10);
    bed_engine_create(&bed, &engine, "n1", false);
    bed_engine_start(&bed, &engine);
    TURN_UNTIL(campaign_has("\"sample\":["));
    bed_engine_stop(&bed, &engine);
    bed_close(&bed);
}
END_TEST

static void enter_order(unsigned partition, const char *id, const char *text)
{
    ck_assert_int_eq(test_redis_number(&bed.redis, "HSET e:{%u}:a %s %s", partition, id, text), 1);
}

START_TEST(an_interrupted_cancellation_is_finished_and_then_over)
{
    open_bed();
    bed_enqueue(&bed, "s1", domains[0], 0, 1000);
    bed.orders_walk_ms = 200;
    enter_order(0, "o1",
                "{\"id\":\"o1\",\"action\":\"cancel\",\"tenant\":\"acme\",\"at\":1000,"
                "\"before\":1000,\"keep_s\":600}");
    bed_engine_create(&bed, &engine, "n1", false);
    bed_engine_start(&bed, &engine);
    TURN_UNTIL(test_redis_number(&bed.redis, "HEXISTS e:{0}:a o1") == 0);
    ck_assert_int_eq(counter(0, "cancelled"), 1000);
    ck_assert_int_eq(test_redis_number(&bed.redis, "LLEN e:{0}:z:o1"), 1000);
    bed_engine_stop(&bed, &engine);
    bed_close(&bed);
}
END_TEST

START_TEST(a_cancellation_of_all_that_comes_stays_in_force)
{
    open_bed();
    bed.orders_walk_ms = 100;
    enter_order(0, "c:acme/news",
                "{\"id\":\"c:acme/news\",\"action\":\"cancel\",\"tenant\":\"acme\","
                "\"campaign\":\"news\",\"at\":1000,\"keep_s\":600}");
    bed_engine_create(&bed, &engine, "n1", false);
    bed_engine_start(&bed, &engine);
    int64_t since = ring_now_ms(bed.ring);
    TURN_UNTIL(ring_now_ms(bed.ring) - since > 1000);
    bed_enqueue(&bed, "s1", domains[0], 0, 20);
    TURN_UNTIL(counter(0, "cancelled") == 20);
    ck_assert_int_eq(test_redis_number(&bed.redis, "HLEN e:{0}:a"), 1);
    bed_engine_stop(&bed, &engine);
    bed_close(&bed);
}
END_TEST

START_TEST(an_order_past_its_time_is_taken_out)
{
    open_bed();
    bed.orders_walk_ms = 200;
    enter_order(1, "o1", "{\"id\":\"o1\",\"action\":\"suspend\",\"tenant\":\"acme\",\"until\":1}");
    enter_order(1, "o2", "{\"id\":\"o2\",\"action\":\"suspend\",\"tenant\":\"acme\"}");
    bed_engine_create(&bed, &engine, "n1", false);
    bed_engine_start(&bed, &engine);
    TURN_UNTIL(test_redis_number(&bed.redis, "HLEN e:{1}:a") == 1);
    ck_assert_int_eq(test_redis_number(&bed.redis, "HEXISTS e:{1}:a o2"), 1);
    bed_engine_stop(&bed, &engine);
    bed_close(&bed);
}
END_TEST

START_TEST(tenants_have_the_weights_that_are_configured)
{
    static const struct queue_tenant tenants[] = { { "acme", 3 }, { "bob", 7 } };
    open_bed();
    bed.tenants = tenants;
    bed.tenant_count = ARRAY_LEN(tenants);
    for (unsigned i = 0; i < PARTITIONS; i++)
        ck_assert_int_eq(test_redis_number(&bed.redis, "HSET e:{%u}:v old 5 acme 9", i), 2);
    bed_engine_create(&bed, &engine, "n1", false);
    bed_engine_start(&bed, &engine);
    for (unsigned i = 0; i < PARTITIONS; i++) {
        TURN_UNTIL(test_redis_number(&bed.redis, "HGET e:{%u}:v acme", i) == 3);
        ck_assert_int_eq(test_redis_number(&bed.redis, "HGET e:{%u}:v bob", i), 7);
        ck_assert_int_eq(test_redis_number(&bed.redis, "HLEN e:{%u}:v", i), 2);
    }
    bed_engine_stop(&bed, &engine);
    bed_close(&bed);
}
END_TEST

int main(void)
{
    return check_main(SUITE_OF(
        "control", a_rate_holds_over_all_partitions, a_rate_holds_over_many_destinations,
        a_rate_holds_when_another_worker_takes_over, a_paused_campaign_gets_no_grants,
        a_canary_that_passes_lets_the_rest_go, a_canary_that_bounces_stops_the_campaign,
        a_canary_that_is_deferred_stops_the_campaign, a_canary_in_percent_has_ten_at_least,
        campaigns_with_open_jobs_are_sampled, an_interrupted_cancellation_is_finished_and_then_over,
        a_cancellation_of_all_that_comes_stays_in_force, an_order_past_its_time_is_taken_out,
        tenants_have_the_weights_that_are_configured));
}
