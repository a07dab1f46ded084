/* What is said before the engine starts about a Redis that can't keep all promises. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "queue/producer.h"
#include "tests/support/check_main.h"
#include "tests/support/redis_group.h"

static struct test_group group;
static char said[16384];

/* Checks; what was logged is in `said`. */
static bool check(const char *url, unsigned wait_replicas, struct err *err)
{
    int fd = memfd_create("log", 0);
    struct log log = { .fd = fd, .level = LOG_WARN };
    const struct producer_options options = {
        .url = url, .name_space = "e", .partitions = 4, .wait_replicas = wait_replicas
    };
    bool ok = queue_check(&options, &log, err);
    ssize_t n = pread(fd, said, sizeof said - 1, 0);
    ck_assert_int_ge(n, 0);
    said[n] = '\0';
    close(fd);
    return ok;
}

static void set(unsigned node, const char *name, const char *value)
{
    char *reply = test_redis_command(&group.nodes[node].redis, "CONFIG SET %s %s", name, value);
    ck_assert_str_eq(reply, "OK");
    free(reply);
}

static void settings_fine(unsigned node)
{
    set(node, "appendonly", "yes");
    set(node, "appendfsync", "always");
}

START_TEST(a_redis_as_it_should_be_is_passed_in_silence)
{
    struct err err;
    test_sentinel_start(&group, 2, 0);
    settings_fine(0);
    ck_assert_msg(check(group.url, 1, &err), "%s", err.text);
    ck_assert_str_eq(said, "");
    test_group_stop(&group);
}
END_TEST

static const struct {
    const char *name, *value;
    unsigned wait_replicas;
    const char *event, *advice;
} settings[] = {
    { "maxmemory-policy", "allkeys-lru", 0, "redis-eviction", "noeviction" },
    { "appendonly", "no", 0, "redis-volatile", "set yes" },
    { "appendfsync", "everysec", 0, "redis-volatile", "set always" },
    { "no-appendfsync-on-rewrite", "yes", 0, "redis-volatile", "set no" },
    { "appendfsync", "always", 1, "redis-replicas", "0 replicas" },
};

START_TEST(each_weakness_is_told_with_what_to_set)
{
    struct err err;
    test_sentinel_start(&group, 1, 0);
    settings_fine(0);
    set(0, settings[_i].name, settings[_i].value);
    ck_assert_msg(check(group.url, settings[_i].wait_replicas, &err), "%s", err.text);
    ck_assert_msg(strstr(said, settings[_i].event) && strstr(said, settings[_i].advice), "%s",
                  said);
    ck_assert_ptr_eq(strchr(said, '\n'), strrchr(said, '\n')); /* that, and nothing else */
    test_group_stop(&group);
}
END_TEST

START_TEST(settings_that_may_not_be_read_are_told_too)
{
    struct err err;
    test_sentinel_start(&group, 1, 0);
    free(test_redis_command(&group.nodes[0].redis, "ACL SETUSER default -config"));
    ck_assert_msg(check(group.url, 0, &err), "%s", err.text);
    ck_assert_ptr_nonnull(strstr(said, "redis-settings"));
    test_group_stop(&group);
}
END_TEST

START_TEST(every_primary_of_a_cluster_is_looked_at)
{
    struct err err;
    char place[3][32];
    test_cluster_start(&group);
    for (unsigned i = 0; i < 3; i++) {
        snprintf(place[i], sizeof place[i], "127.0.0.1:%d", group.nodes[i].port);
        settings_fine(i);
    }
    set(1, "appendfsync", "no");
    ck_assert_msg(check(group.url, 1, &err), "%s", err.text);
    ck_assert_ptr_nonnull(strstr(said, place[1]));
    ck_assert(!strstr(said, place[0]) && !strstr(said, place[2]));
    char *reply = test_redis_command(&group.nodes[2].redis, "CLUSTER DELSLOTS 16383");
    ck_assert_str_eq(reply, "OK");
    free(reply);
    ck_assert_msg(check(group.url, 1, &err), "%s", err.text);
    ck_assert_ptr_nonnull(strstr(said, "redis-cluster"));
    test_group_stop(&group);
}
END_TEST

START_TEST(what_cannot_work_is_an_error)
{
    struct err err;
    test_sentinel_start(&group, 1, 0);
    ck_assert(check(group.url, 0, &err));
    free(test_redis_command(&group.nodes[0].redis, "HSET e:meta partitions 7"));
    ck_assert(!check(group.url, 0, &err));
    ck_assert_int_eq(err.kind, ERR_CONFIG);
    ck_assert_ptr_nonnull(strstr(err.text, "7 partitions"));
    char url[64];
    snprintf(url, sizeof url, "redis://127.0.0.1:%d", test_port());
    ck_assert(!check(url, 0, &err));
    ck_assert_int_eq(err.kind, ERR_REDIS);
    ck_assert_ptr_nonnull(strstr(err.text, "refused"));
    free(test_redis_command(&group.nodes[0].redis, "CONFIG SET requirepass geheim"));
    ck_assert(!check(group.url, 0, &err));
    ck_assert_ptr_nonnull(strstr(err.text, "NOAUTH"));
    test_group_stop(&group);
}
END_TEST

int main(void)
{
    Suite *suite = SUITE_OF("check", a_redis_as_it_should_be_is_passed_in_silence,
                            settings_that_may_not_be_read_are_told_too,
                            every_primary_of_a_cluster_is_looked_at, what_cannot_work_is_an_error);
    TCase *table = tcase_create("settings");
    tcase_set_timeout(table, 0);
    tcase_add_loop_test(table, each_weakness_is_told_with_what_to_set, 0,
                        (int)(sizeof settings / sizeof *settings));
    suite_add_tcase(suite, table);
    return check_main(suite);
}
