#include "tests/support/redis_group.h"

#include <arpa/inet.h>
#include <check.h>
#include <hiredis/hiredis.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void nap(void)
{
    nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
}

static void run(const char *format, ...)
{
    char command[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(command, sizeof command, format, args);
    va_end(args);
    ck_assert_msg(system(command) == 0, "%s", command);
}

char *test_redis_fresh(struct test_redis *redis, const char *command)
{
    redisContext *context = redisConnectUnix(redis->socket);
    redisReply *reply = context->err ? NULL : redisCommand(context, command);
    const redisReply *first = reply;
    while (first && first->type == REDIS_REPLY_ARRAY && first->elements > 0)
        first = first->element[0];
    char *text = strdup(first && first->str ? first->str : "");
    if (reply)
        freeReplyObject(reply);
    redisFree(context);
    return text;
}

void test_redis_await(struct test_redis *redis, const char *text, const char *command)
{
    for (;;) {
        char *reply = test_redis_command(redis, command);
        bool found = strstr(reply, text) != NULL;
        free(reply);
        if (found)
            return;
        nap();
    }
}

/* ---- nodes ---- */

static unsigned options_fill(struct test_node *node, const char *const *more)
{
    static const char *const common[] = {
        "--bind", "127.0.0.1", "--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"
    };
    unsigned n = 0;
    for (unsigned i = 0; i < sizeof common / sizeof *common; i++)
        node->options[n++] = common[i];
    for (; *more; more++) {
        ck_assert_uint_lt(n + 1, TEST_OPTIONS_MAX);
        node->options[n++] = *more;
    }
    node->options[n] = NULL;
    return n;
}

static const char *number(struct test_node *node, unsigned at, int value)
{
    snprintf(node->texts[at], sizeof node->texts[at], "%d", value);
    return node->texts[at];
}

static void folder_make(struct test_group *group)
{
    snprintf(group->folder, sizeof group->folder, "/tmp/eilpost-group-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(group->folder));
}

/* ---- Sentinel ---- */

static void sentinel_run(struct test_group *group, unsigned index, const char *more)
{
    char path[128];
    snprintf(path, sizeof path, "%s/sentinel%u.conf", group->folder, index);
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    group->sentinels[index].port = test_port();
    fprintf(file,
            "%s\nbind 127.0.0.1\n%s %d\ndir %s\nlogfile %s/sentinel%u.log\n"
            "sentinel monitor main 127.0.0.1 %d %u\n"
            "sentinel down-after-milliseconds main 2000\nsentinel failover-timeout main 2000\n",
            more, more[0] ? "port 0\ntls-port" : "port", group->sentinels[index].port,
            group->folder, group->folder, index, group->nodes[0].port,
            group->sentinel_count / 2 + 1);
    fclose(file);
    pid_t pid = group->sentinels[index].pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        setpgid(0, 0);
        execlp("redis-server", "redis-server", path, "--sentinel", NULL);
        _exit(127);
    }
}

/* Until it knows all others and the replicas: before that it wouldn't fail over. */
static void sentinel_wait(struct test_group *group, unsigned index)
{
    for (bool ready = false; !ready; nap()) {
        redisContext *context = redisConnect("127.0.0.1", group->sentinels[index].port);
        redisReply *reply = context->err ? NULL : redisCommand(context, "SENTINEL MASTER main");
        unsigned good = 0;
        for (size_t i = 0; reply && reply->type == REDIS_REPLY_ARRAY && i + 1 < reply->elements;
             i += 2) {
            int value = atoi(reply->element[i + 1]->str);
            good += !strcmp(reply->element[i]->str, "num-slaves") && value == (int)group->count - 1;
            good += !strcmp(reply->element[i]->str, "num-other-sentinels") &&
                    value == (int)group->sentinel_count - 1;
        }
        ready = good == 2;
        if (reply)
            freeReplyObject(reply);
        redisFree(context);
    }
}

void test_sentinel_start(struct test_group *group, unsigned nodes, unsigned sentinels)
{
    *group = (struct test_group){ .count = nodes, .sentinel_count = sentinels };
    folder_make(group);
    for (unsigned i = 0; i < nodes; i++) {
        struct test_node *node = &group->nodes[i];
        node->port = test_port();
        const char *const more[] = { "--port", number(node, 0, node->port), NULL };
        unsigned n = options_fill(node, more);
        if (i > 0) {
            snprintf(node->texts[1], sizeof node->texts[1], "127.0.0.1 %d", group->nodes[0].port);
            node->options[n] = "--replicaof";
            node->options[n + 1] = node->texts[1];
        }
        test_redis_start(&node->redis, node->options);
    }
    for (unsigned i = 1; i < nodes; i++)
        test_redis_await(&group->nodes[i].redis, "master_link_status:up", "INFO replication");
    for (unsigned i = 0; i < sentinels; i++)
        sentinel_run(group, i, "");
    for (unsigned i = 0; i < sentinels; i++)
        sentinel_wait(group, i);
    if (sentinels == 0) {
        snprintf(group->url, sizeof group->url, "redis://127.0.0.1:%d", group->nodes[0].port);
        return;
    }
    size_t n = (size_t)snprintf(group->url, sizeof group->url, "redis+sentinel://");
    for (unsigned i = 0; i < sentinels; i++)
        n += (size_t)snprintf(group->url + n, sizeof group->url - n, "%s127.0.0.1:%d", i ? "," : "",
                              group->sentinels[i].port);
    snprintf(group->url + n, sizeof group->url - n, "/main");
}

/* ---- Cluster ---- */

static void command_ok(struct test_redis *redis, const char *format, ...)
{
    char command[256];
    va_list args;
    va_start(args, format);
    vsnprintf(command, sizeof command, format, args);
    va_end(args);
    char *reply = test_redis_command(redis, command);
    ck_assert_msg(strcmp(reply, "OK") == 0, "%s: %s", command, reply);
    free(reply);
}

void test_cluster_start(struct test_group *group)
{
    *group = (struct test_group){ .count = 6 };
    folder_make(group);
    for (unsigned i = 0; i < 6; i++) {
        struct test_node *node = &group->nodes[i];
        node->port = test_port();
        node->bus_port = test_port();
        const char *const more[] = { "--port",
                                     number(node, 0, node->port),
                                     "--cluster-port",
                                     number(node, 1, node->bus_port),
                                     "--cluster-enabled",
                                     "yes",
                                     "--cluster-node-timeout",
                                     "1000",
                                     "--cluster-require-full-coverage",
                                     "no",
                                     "--cluster-allow-replica-migration",
                                     "no",
                                     NULL };
        options_fill(node, more);
        test_redis_start(&node->redis, node->options);
        command_ok(&node->redis, "CLUSTER SET-CONFIG-EPOCH %u", i + 1);
    }
    for (unsigned i = 0; i < 3; i++)
        command_ok(&group->nodes[i].redis, "CLUSTER ADDSLOTSRANGE %u %u", i * 16384 / 3,
                   (i + 1) * 16384 / 3 - 1);
    for (unsigned i = 1; i < 6; i++)
        command_ok(&group->nodes[0].redis, "CLUSTER MEET 127.0.0.1 %d %d", group->nodes[i].port,
                   group->nodes[i].bus_port);
    for (unsigned i = 0; i < 6; i++)
        test_redis_await(&group->nodes[i].redis, "cluster_known_nodes:6", "CLUSTER INFO");
    for (unsigned i = 3; i < 6; i++) {
        char *id = test_redis_command(&group->nodes[i - 3].redis, "CLUSTER MYID");
        /* It must have heard that the other one is a primary. */
        for (bool done = false; !done; nap()) {
            char *reply = test_redis_command(&group->nodes[i].redis, "CLUSTER REPLICATE %s", id);
            done = strcmp(reply, "OK") == 0;
            free(reply);
        }
        free(id);
    }
    for (unsigned i = 3; i < 6; i++)
        test_redis_await(&group->nodes[i].redis, "master_link_status:up", "INFO replication");
    for (unsigned i = 0; i < 6; i++) {
        test_redis_await(&group->nodes[i].redis, "cluster_state:ok", "CLUSTER INFO");
        test_redis_await(&group->nodes[i].redis, "cluster_slots_ok:16384", "CLUSTER INFO");
    }
    size_t n = (size_t)snprintf(group->url, sizeof group->url, "redis+cluster://");
    for (unsigned i = 0; i < 6; i += 2)
        n += (size_t)snprintf(group->url + n, sizeof group->url - n, "%s127.0.0.1:%d", i ? "," : "",
                              group->nodes[i].port);
}

int test_cluster_owner(struct test_group *group, unsigned slot)
{
    for (unsigned i = 0; i < group->count; i++) {
        struct test_redis *redis = &group->nodes[i].redis;
        if (redis->pid == 0)
            continue;
        char *nodes = test_redis_command(redis, "CLUSTER NODES");
        char *mine = strstr(nodes, "myself,master");
        bool found = false;
        if (mine) {
            mine[strcspn(mine, "\n")] = '\0';
            char *range = strstr(mine, "connected");
            for (range = range ? strchr(range, ' ') : NULL; range; range = strchr(range, ' ')) {
                unsigned first, last;
                int n = sscanf(++range, "%u-%u", &first, &last);
                found = found || (n >= 1 && slot >= first && slot <= (n == 2 ? last : first));
            }
        }
        free(nodes);
        if (found)
            return (int)i;
    }
    return -1;
}

/* ---- TLS ---- */

static void certificate_make(struct test_group *group, const char *name, const char *subject,
                             const char *extra)
{
    run("cd %s && openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "
        "%s.key -out %s.csr -subj /CN=%s 2>/dev/null && printf '%s' > %s.ext && openssl x509 -req "
        "-in %s.csr -CA ca.pem -CAkey ca.key -days 10 -extfile %s.ext -out %s.pem 2>/dev/null",
        group->folder, name, name, subject, extra, name, name, name, name);
}

static void authority_make(struct test_group *group, const char *name)
{
    run("cd %s && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes "
        "-keyout %s.key -out %s.pem -subj '/CN=test %s' -days 10 2>/dev/null",
        group->folder, name, name, name);
}

void test_tls_start(struct test_group *group, bool clients)
{
    *group = (struct test_group){ .count = 1 };
    folder_make(group);
    authority_make(group, "ca");
    authority_make(group, "other");
    certificate_make(group, "server", "redis.test", "subjectAltName=DNS:redis.test");
    certificate_make(group, "client", "engine", "basicConstraints=CA:FALSE");
    struct test_node *node = &group->nodes[0];
    node->port = test_port();
    static const char *const files[] = { "server.pem", "server.key", "ca.pem" };
    for (unsigned i = 0; i < 3; i++)
        snprintf(node->texts[i + 1], sizeof node->texts[i + 1], "%s/%s", group->folder, files[i]);
    const char *const more[] = { "--tls-port",
                                 number(node, 0, node->port),
                                 "--tls-cert-file",
                                 node->texts[1],
                                 "--tls-key-file",
                                 node->texts[2],
                                 "--tls-ca-cert-file",
                                 node->texts[3],
                                 "--tls-auth-clients",
                                 clients ? "yes" : "no",
                                 NULL };
    options_fill(node, more);
    test_redis_start(&node->redis, node->options);
    snprintf(group->url, sizeof group->url, "rediss://127.0.0.1:%d", node->port);
}

void test_tls_sentinel_add(struct test_group *group, const char *password)
{
    char more[600];
    const struct test_node *node = &group->nodes[0];
    snprintf(more, sizeof more,
             "tls-cert-file %s\ntls-key-file %s\ntls-ca-cert-file %s\ntls-auth-clients no\n"
             "tls-replication yes\nrequirepass %s",
             node->texts[1], node->texts[2], node->texts[3], password);
    group->sentinel_count = 1;
    sentinel_run(group, 0, more);
    snprintf(group->url, sizeof group->url, "rediss+sentinel://127.0.0.1:%d/main",
             group->sentinels[0].port);
}

/* ---- the end ---- */

void test_group_stop(struct test_group *group)
{
    for (unsigned i = 0; i < group->sentinel_count; i++) {
        if (group->sentinels[i].pid <= 0)
            continue;
        kill(group->sentinels[i].pid, SIGKILL);
        waitpid(group->sentinels[i].pid, NULL, 0);
    }
    for (unsigned i = 0; i < group->count; i++)
        test_redis_stop(&group->nodes[i].redis);
    run("rm -rf %s", group->folder);
}
