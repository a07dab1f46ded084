/* Sets of servers against real ones: Sentinel, Cluster, TLS, replicas. */
#include "queue/redis_set.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/mem.h"
#include "queue/redis_topology.h"
#include "tests/support/check_main.h"
#include "tests/support/redis_group.h"

static struct test_group group;
static struct ring *ring;
static struct redis_set *set;
static struct log quiet = { .fd = 2, .level = LOG_ERROR + 1 };
static unsigned ups, downs, moves;
static bool stopped;
static unsigned wait_replicas, wait_ms = 10000, timeout_ms = 3000;

static void on_up(void *user, struct redis *server)
{
    (void)user;
    ups++;
    ck_assert(redis_up(server));
    unsigned *data = redis_set_data(server);
    (*data)++;
}

static void on_down(void *user, struct redis *server)
{
    (void)user;
    downs++;
    ck_assert_uint_gt(*(unsigned *)redis_set_data(server), 0);
}

static void on_moved(void *user)
{
    (void)user;
    moves++;
}

static void on_stopped(void *user)
{
    (void)user;
    stopped = true;
}

static const struct redis_set_events events = { .up = on_up,
                                                .down = on_down,
                                                .moved = on_moved,
                                                .stopped = on_stopped,
                                                .server_bytes = sizeof(unsigned) };

#define UNTIL(condition)                                                                           \
    do {                                                                                           \
        while (!(condition))                                                                       \
            ring_turn(ring, 20);                                                                   \
    } while (0)

static bool create(const char *url, struct err *err)
{
    struct ring_options ring_options = { .body = RING_BODY_EPOLL, .log = &quiet };
    if (getenv("EILPOST_TEST_LOG"))
        quiet.level = LOG_DEBUG;
    ck_assert_msg(ring_create(&ring, &ring_options, err), "%s", err->text);
    struct redis_options options = { .url = url,
                                     .timeout_ms = timeout_ms,
                                     .pause_ms_max = 100,
                                     .wait_replicas = wait_replicas,
                                     .wait_timeout_ms = wait_ms,
                                     .client_name = "test",
                                     .log = &quiet };
    if (redis_set_create(&set, ring, &options, &events, NULL, err))
        return true;
    ring_destroy(&ring);
    return false;
}

static void start(const char *url)
{
    struct err err;
    ups = downs = moves = 0;
    stopped = false;
    ck_assert_msg(create(url, &err), "%s", err.text);
    redis_set_start(set);
}

static void stop(void)
{
    redis_set_stop(set);
    ck_assert(!stopped);
    UNTIL(stopped);
    redis_set_destroy(&set);
    ring_destroy(&ring);
}

struct call {
    struct redis_call call;
    unsigned answers, lost;
    enum redis_value_type type;
    char text[200];
};

static void done(struct redis_call *it, const struct redis_value *reply)
{
    struct call *call = CONTAINER_OF(it, struct call, call);
    call->answers++;
    call->lost += reply == NULL;
    if (!reply)
        return;
    call->type = reply->type;
    if (reply->text.ptr)
        snprintf(call->text, sizeof call->text, "%.*s", SLICE_FMT(reply->text));
}

static struct redis *server_of(const char *key)
{
    return redis_set_server(set, slice_str(key));
}

/* Sets a key on its server; false when that was lost or refused. */
static bool write_key(const char *key, const char *value, bool durable)
{
    struct call call = { .call = { .done = done, .durable = durable } };
    struct redis *server = server_of(key);
    if (!server)
        return false;
    redis_send(server, &call.call,
               (struct slice[]){ SLICE("SET"), slice_str(key), slice_str(value) }, 3);
    UNTIL(call.answers);
    return !call.lost && call.type == VALUE_STATUS;
}

static int port_of(const char *key)
{
    struct redis *server = server_of(key);
    return server ? redis_host(server)->port : 0;
}

/* ---- slots ---- */

START_TEST(slots_are_those_of_the_cluster_specification)
{
    ck_assert_uint_eq(redis_key_slot(SLICE("123456789")), 0x31c3);
    ck_assert_uint_eq(redis_key_slot(SLICE("foo")), 12182);
    ck_assert_uint_eq(redis_key_slot(SLICE("e:{12}:q:b:x")), redis_key_slot(SLICE("12")));
    ck_assert_uint_eq(redis_key_slot(SLICE("foo{}{bar}")), 8363); /* an empty tag is none */
    ck_assert_uint_eq(redis_key_slot(SLICE("foo{{bar}}zap")), redis_key_slot(SLICE("{bar")));
    ck_assert_uint_eq(redis_key_slot(SLICE("foo{bar")), redis_key_slot(SLICE("foo{bar")));
    ck_assert_uint_eq(redis_key_slot(SLICE("")), 0);
}
END_TEST

/* ---- one server ---- */

START_TEST(a_host_may_be_a_name)
{
    test_sentinel_start(&group, 1, 0);
    char url[64];
    snprintf(url, sizeof url, "redis://localhost:%d", group.nodes[0].port);
    start(url);
    UNTIL(ups == 1); /* ::1 may be tried first */
    stop();
    start("redis://no.such.host.invalid");
    UNTIL(redis_set_failure(set)[0]);
    ck_assert_uint_eq(ups, 0);
    stop();
    start("redis://no.such.host.invalid");
    ring_turn(ring, 5);
    stop(); /* while it looks the name up */
    test_group_stop(&group);
}
END_TEST

/* ---- Sentinel ---- */

START_TEST(sentinel_names_the_primary)
{
    test_sentinel_start(&group, 2, 3);
    start(group.url);
    UNTIL(ups == 1);
    ck_assert_uint_eq(redis_set_count(set), 1);
    ck_assert_int_eq(port_of("x"), group.nodes[0].port);
    ck_assert(write_key("x", "1", false));
    stop();
    test_group_stop(&group);
}
END_TEST

START_TEST(an_unreachable_sentinel_is_passed_over)
{
    test_sentinel_start(&group, 1, 1);
    char url[128];
    snprintf(url, sizeof url, "redis+sentinel://127.0.0.1:%d,127.0.0.1:%d/main", test_port(),
             group.sentinels[0].port);
    start(url);
    UNTIL(ups == 1);
    stop();
    snprintf(url, sizeof url, "redis+sentinel://127.0.0.1:%d/other", group.sentinels[0].port);
    start(url);
    UNTIL(redis_set_failure(set)[0]);
    ck_assert_ptr_nonnull(strstr(redis_set_failure(set), "doesn't say who the primary is"));
    stop();
    test_group_stop(&group);
}
END_TEST

static void sentinel_failover(bool pause)
{
    test_sentinel_start(&group, 3, 3);
    start(group.url);
    UNTIL(ups == 1);
    ck_assert(write_key("before", "1", false));
    if (pause)
        test_redis_pause(&group.nodes[0].redis);
    else
        test_redis_kill(&group.nodes[0].redis);
    int64_t promoted = 0;
    while (ups < 2 || port_of("x") == group.nodes[0].port) {
        ring_turn(ring, 10);
        for (unsigned i = 1; i < 3 && !promoted; i++) {
            char *role = test_redis_fresh(&group.nodes[i].redis, "ROLE");
            if (strncmp(role, "master", 6) == 0)
                promoted = ring_now_ms(ring);
            free(role);
        }
    }
    /* A sentinel tells of the new primary a little after the promotion. */
    ck_assert_int_lt(ring_now_ms(ring) - promoted, 3000);
    ck_assert_uint_eq(moves, 1);
    ck_assert_uint_eq(redis_set_count(set), 1);
    ck_assert(write_key("after", "1", false));
    /* The old one comes back, says that it's a primary for a while, and nobody believes it. */
    if (pause)
        test_redis_continue(&group.nodes[0].redis);
    else
        test_redis_restart(&group.nodes[0].redis);
    for (bool demoted = false; !demoted; ring_turn(ring, 10)) {
        ck_assert_int_ne(port_of("x"), group.nodes[0].port);
        char *role = test_redis_fresh(&group.nodes[0].redis, "ROLE");
        demoted = strncmp(role, "slave", 5) == 0;
        free(role);
    }
    ck_assert(write_key("later", "1", false));
    stop();
    test_group_stop(&group);
}

START_TEST(a_failover_is_followed_when_the_primary_dies)
{
    sentinel_failover(false);
}
END_TEST

START_TEST(a_failover_is_followed_when_the_primary_hangs)
{
    timeout_ms = 60000; /* so that only the sentinels can tell */
    sentinel_failover(true);
}
END_TEST

START_TEST(a_primary_that_was_demoted_is_left)
{
    test_sentinel_start(&group, 2, 0);
    start(group.url);
    UNTIL(ups == 1);
    char *reply =
        test_redis_command(&group.nodes[0].redis, "REPLICAOF 127.0.0.1 %d", group.nodes[1].port);
    free(reply);
    ck_assert(!write_key("x", "1", false)); /* READONLY */
    UNTIL(downs == 1);
    stop();
    test_group_stop(&group);
}
END_TEST

/* ---- Cluster ---- */

static bool all_up(void)
{
    for (unsigned i = 0; i < redis_set_count(set); i++)
        if (!redis_up(redis_set_at(set, i)))
            return false;
    return redis_set_count(set) == 3;
}

static const char *key_of(unsigned i)
{
    static char key[32];
    snprintf(key, sizeof key, "e:{%u}:x", i);
    return key;
}

START_TEST(each_key_goes_to_its_primary)
{
    test_cluster_start(&group);
    start(group.url);
    UNTIL(all_up());
    for (unsigned i = 0; i < 200; i++)
        ck_assert(write_key(key_of(i), "1", false));
    unsigned sum = 0;
    for (unsigned i = 0; i < 3; i++)
        sum += (unsigned)test_redis_number(&group.nodes[i].redis, "DBSIZE");
    ck_assert_uint_eq(sum, 200);
    stop();
    test_group_stop(&group);
}
END_TEST

START_TEST(a_cluster_failover_moves_its_keys_only)
{
    test_cluster_start(&group);
    start(group.url);
    UNTIL(all_up());
    struct redis *others[2] = { NULL, NULL };
    unsigned other_count = 0;
    for (unsigned i = 0; i < 3; i++)
        if (redis_host(redis_set_at(set, i))->port != group.nodes[0].port)
            others[other_count++] = redis_set_at(set, i);
    test_redis_kill(&group.nodes[0].redis);
    UNTIL(downs == 1);
    for (unsigned i = 0; i < 200; i++) /* the rest goes on */
        if (test_cluster_owner(&group, redis_key_slot(slice_str(key_of(i)))) > 0)
            ck_assert(write_key(key_of(i), "1", false));
    UNTIL(all_up() && ups == 4);
    ck_assert_uint_eq(downs, 1);
    for (unsigned i = 0; i < 2; i++)
        ck_assert(redis_up(others[i]));
    for (unsigned i = 0; i < 200; i++)
        ck_assert(write_key(key_of(i), "2", false));
    test_redis_restart(&group.nodes[0].redis);
    test_redis_await(&group.nodes[0].redis, "myself,slave", "CLUSTER NODES");
    for (unsigned i = 0; i < 200; i++)
        ck_assert(write_key(key_of(i), "3", false));
    stop();
    test_group_stop(&group);
}
END_TEST

/* Gives a slot to another primary, as a resharding does at its end. */
static void slot_give(unsigned slot, unsigned to)
{
    char *id = test_redis_command(&group.nodes[to].redis, "CLUSTER MYID");
    for (unsigned i = 0; i < 3; i++)
        free(test_redis_command(&group.nodes[(to + i) % 3].redis, "CLUSTER SETSLOT %u NODE %s",
                                slot, id));
    free(id);
}

START_TEST(a_slot_that_moved_is_found_again)
{
    test_cluster_start(&group);
    start(group.url);
    UNTIL(all_up());
    unsigned slot = redis_key_slot(SLICE("{moving}"));
    int from = test_cluster_owner(&group, slot);
    unsigned to = (unsigned)(from + 1) % 3;
    ck_assert_int_eq(port_of("{moving}"), group.nodes[from].port);
    slot_give(slot, to);
    ck_assert(!write_key("{moving}", "1", false)); /* MOVED */
    UNTIL(port_of("{moving}") == group.nodes[to].port);
    ck_assert_uint_ge(moves, 1);
    ck_assert(write_key("{moving}", "1", false));
    ck_assert_uint_eq(downs, 0);
    stop();
    test_group_stop(&group);
}
END_TEST

START_TEST(a_cluster_is_found_through_any_seed)
{
    test_cluster_start(&group);
    char url[128];
    snprintf(url, sizeof url, "redis+cluster://127.0.0.1:%d,127.0.0.1:%d", test_port(),
             group.nodes[4].port); /* nobody, then a replica */
    start(url);
    UNTIL(all_up());
    stop();
    test_group_stop(&group);
}
END_TEST

/* ---- TLS ---- */

static const struct {
    bool clients, good;
    const char *parameters, *failure; /* %s: the folder */
} handshakes[] = {
    { false, true, "?ca=%s/ca.pem&name=redis.test", "" },
    { false, false, "?ca=%s/other.pem&name=redis.test", "certificate" },
    { false, false, "", "certificate" }, /* the system's store doesn't know it */
    { false, false, "?ca=%s/ca.pem", "certificate" },
    { false, false, "?ca=%s/ca.pem&name=other.test", "certificate" },
    { false, true, "?verify=no", "" },
    { true, true, "?ca=%s/ca.pem&name=redis.test&cert=%s/client.pem&key=%s/client.key", "" },
    { true, false, "?ca=%s/ca.pem&name=redis.test", "" },
};

START_TEST(tls_is_verified_unless_told_otherwise)
{
    const char *f = group.folder;
    test_tls_start(&group, handshakes[_i].clients);
    char url[600];
    size_t n = (size_t)snprintf(url, sizeof url, "%s", group.url);
    for (const char *at = handshakes[_i].parameters; *at; at++) {
        if (at[0] == '%' && at[1] == 's')
            n += (size_t)snprintf(url + n, sizeof url - n, "%s", f), at++;
        else
            url[n++] = *at;
    }
    url[n] = '\0';
    start(url);
    UNTIL(ups == 1 || redis_set_failure(set)[0]);
    ck_assert_msg((ups == 1) == handshakes[_i].good, "%s: %s", url, redis_set_failure(set));
    ck_assert_ptr_nonnull(strstr(redis_set_failure(set), handshakes[_i].failure));
    if (ups == 1) {
        char *large = mem_zalloc(300001);
        memset(large, 'x', 300000);
        ck_assert(write_key("large", large, false));
        ck_assert_int_eq(test_redis_number(&group.nodes[0].redis, "STRLEN large"), 300000);
        free(large);
    }
    stop();
    test_group_stop(&group);
}
END_TEST

START_TEST(sentinels_have_tls_and_a_password_of_their_own)
{
    test_tls_start(&group, false);
    test_tls_sentinel_add(&group, "s3cret");
    char url[700];
    snprintf(url, sizeof url, "%s?ca=%s/ca.pem&name=redis.test&sentinel_password=s3cret", group.url,
             group.folder);
    start(url);
    UNTIL(ups == 1);
    ck_assert(write_key("x", "1", false));
    stop();
    snprintf(url, sizeof url, "%s?ca=%s/ca.pem&name=redis.test", group.url, group.folder);
    start(url);
    UNTIL(redis_set_failure(set)[0]);
    ck_assert_ptr_nonnull(strstr(redis_set_failure(set), "NOAUTH"));
    stop();
    test_group_stop(&group);
}
END_TEST

START_TEST(certificates_that_cannot_be_used_are_refused_at_the_start)
{
    static const char *const urls[] = { "rediss://h?ca=/no/such/file",
                                        "rediss://h?cert=/no/such/file&key=/no/such/file",
                                        "rediss+cluster://h?ca=/dev/null" };
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        struct err err = { 0 };
        ck_assert_msg(!create(urls[i], &err), "%s", urls[i]);
        ck_assert_int_eq(err.kind, ERR_CONFIG);
    }
}
END_TEST

/* ---- replicas ---- */

START_TEST(durable_calls_wait_for_the_replicas)
{
    enum { COUNT = 1500 };
    test_sentinel_start(&group, 2, 0);
    wait_replicas = 1;
    start(group.url);
    UNTIL(ups == 1);
    struct call *calls = mem_array(COUNT, sizeof *calls);
    for (unsigned i = 0; i < COUNT; i++) {
        calls[i].call = (struct redis_call){ .done = done, .durable = i % 3 == 0 };
        redis_send(server_of("x"), &calls[i].call,
                   (struct slice[]){ SLICE("RPUSH"), SLICE("list"), SLICE("x") }, 3);
    }
    UNTIL(calls[COUNT - 1].answers);
    for (unsigned i = 0; i < COUNT; i++)
        ck_assert(calls[i].answers == 1 && !calls[i].lost && calls[i].type == VALUE_INTEGER);
    ck_assert_int_eq(test_redis_number(&group.nodes[1].redis, "LLEN list"), COUNT);
    ck_assert_uint_lt(redis_set_commands(set), COUNT + 10); /* a WAIT for each flight only */
    free(calls);
    stop();
    test_group_stop(&group);
}
END_TEST

START_TEST(too_few_replicas_cost_the_connection)
{
    test_sentinel_start(&group, 2, 0);
    wait_replicas = 1;
    wait_ms = 300;
    start(group.url);
    UNTIL(ups == 1);
    test_redis_pause(&group.nodes[1].redis);
    struct call plain = { .call = { .done = done } },
                durable = { .call = { .done = done, .durable = true } },
                behind = { .call = { .done = done } };
    struct slice ping[] = { SLICE("PING") };
    redis_send(server_of("x"), &plain.call, ping, 1);
    redis_send(server_of("x"), &durable.call,
               (struct slice[]){ SLICE("SET"), SLICE("x"), SLICE("1") }, 3);
    redis_send(server_of("x"), &behind.call, ping, 1);
    UNTIL(downs == 1);
    ck_assert(plain.answers == 1 && plain.lost == 0);
    ck_assert(durable.answers == 1 && durable.lost == 1);
    ck_assert(behind.answers == 1 && behind.lost == 1);
    ck_assert_ptr_nonnull(strstr(redis_set_failure(set), "0 of 1 replicas"));
    test_redis_continue(&group.nodes[1].redis);
    while (!write_key("x", "2", true)) /* until it has caught up */
        ring_turn(ring, 20);
    stop();
    test_group_stop(&group);
}
END_TEST

static void case_add(Suite *suite, const char *name, const TTest *const *tests, size_t count)
{
    TCase *it = tcase_create(name); /* CK_RUN_CASE picks one */
    tcase_set_timeout(it, 0);
    for (size_t i = 0; i < count; i++)
        tcase_add_test(it, tests[i]);
    suite_add_tcase(suite, it);
}

#define CASE(suite, name, ...)                                                                     \
    case_add(suite, name, (const TTest *const[]){ __VA_ARGS__ },                                   \
             sizeof((const TTest *const[]){ __VA_ARGS__ }) / sizeof(const TTest *))

int main(void)
{
    Suite *suite =
        SUITE_OF("redis_set", slots_are_those_of_the_cluster_specification, a_host_may_be_a_name,
                 certificates_that_cannot_be_used_are_refused_at_the_start);
    CASE(suite, "sentinel", sentinel_names_the_primary, an_unreachable_sentinel_is_passed_over,
         a_failover_is_followed_when_the_primary_dies,
         a_failover_is_followed_when_the_primary_hangs, a_primary_that_was_demoted_is_left,
         sentinels_have_tls_and_a_password_of_their_own);
    CASE(suite, "cluster", each_key_goes_to_its_primary, a_cluster_failover_moves_its_keys_only,
         a_slot_that_moved_is_found_again, a_cluster_is_found_through_any_seed);
    CASE(suite, "replicas", durable_calls_wait_for_the_replicas,
         too_few_replicas_cost_the_connection);
    TCase *table = tcase_create("tls");
    tcase_set_timeout(table, 0);
    tcase_add_loop_test(table, tls_is_verified_unless_told_otherwise, 0,
                        (int)(sizeof handshakes / sizeof *handshakes));
    suite_add_tcase(suite, table);
    return check_main(suite);
}
