#pragma once
/* Several real redis-servers of a test's own, on free ports of 127.0.0.1: a primary with
 * replicas and sentinels, a cluster, or one with TLS. */
#include "tests/support/port.h"
#include "tests/support/redis.h"

enum { TEST_NODES_MAX = 6, TEST_SENTINELS_MAX = 3, TEST_OPTIONS_MAX = 32 };

struct test_node {
    struct test_redis redis;
    int port, bus_port;
    char texts[12][160];
    const char *options[TEST_OPTIONS_MAX];
};

struct test_group {
    struct test_node nodes[TEST_NODES_MAX];
    unsigned count;
    struct {
        int port;
        pid_t pid;
    } sentinels[TEST_SENTINELS_MAX];
    unsigned sentinel_count;
    char folder[64]; /* of sentinels' configurations, or of certificates */
    char url[512];
};

/** Node 0 is the primary, the others are its replicas, all linked; with sentinels (0: none) that
 * know each other and the primary as "main", and fail over after two seconds (with less they
 * take each other's changes for failures). `url` is the
 * sentinels', or the primary's. */
void test_sentinel_start(struct test_group *group, unsigned nodes, unsigned sentinels);
/** Three primaries (nodes 0 to 2, a third of the slots each) and a replica of each (3 to 5). */
void test_cluster_start(struct test_group *group);
/** One server that speaks TLS only, with a certificate for "redis.test" from a CA in
 * folder/ca.pem; it asks for a client's certificate if `clients` says so (folder/client.pem and
 * client.key are one). folder/other.pem is a CA that has nothing to do with it. */
void test_tls_start(struct test_group *group, bool clients);
/** Adds a sentinel that speaks TLS only, too, and asks for `password`; `url` becomes its. */
void test_tls_sentinel_add(struct test_group *group, const char *password);
void test_group_stop(struct test_group *group);

/** As test_redis_command(), over a connection of its own, since a failover ends others; "" when it
 * ends this one, too. Of an array the first value. */
char *test_redis_fresh(struct test_redis *redis, const char *command);
/** Waits until a command's reply holds the text. */
void test_redis_await(struct test_redis *redis, const char *text, const char *command);
/** The node that serves the slot, by its own account; -1: none. */
int test_cluster_owner(struct test_group *group, unsigned slot);
