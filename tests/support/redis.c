#include "tests/support/redis.h"

#include <check.h>
#include <hiredis/hiredis.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { OPTIONS_MAX = 64 };

static void server_exec(struct test_redis *redis, int out)
{
    const char *argv[OPTIONS_MAX] = { "redis-server",
                                      "--port",
                                      "0",
                                      "--unixsocket",
                                      redis->socket,
                                      "--dir",
                                      redis->folder,
                                      "--daemonize",
                                      "no",
                                      "--save",
                                      "",
                                      NULL };
    size_t n = 11;
    for (size_t i = 0; redis->options && redis->options[i] && n + 1 < OPTIONS_MAX; i++)
        argv[n++] = redis->options[i];
    argv[n] = NULL;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(out, STDOUT_FILENO);
    setpgid(0, 0);
    execvp("redis-server", (char *const *)argv);
    _exit(127);
}

static void server_start(struct test_redis *redis)
{
    int out[2];
    ck_assert_int_eq(pipe(out), 0);
    redis->pid = fork();
    ck_assert_int_ge(redis->pid, 0);
    if (redis->pid == 0)
        server_exec(redis, out[1]);
    close(out[1]);
    /* It says when it's ready; then its log has no reader, which it doesn't mind. */
    FILE *log = fdopen(out[0], "r");
    char line[1024];
    bool ready = false;
    while (!ready && fgets(line, sizeof line, log))
        ready = strstr(line, "ready to accept connections") != NULL;
    fclose(log);
    ck_assert_msg(ready, "redis-server didn't start");
}

void test_redis_start(struct test_redis *redis, const char *const *options)
{
    *redis = (struct test_redis){ .options = options };
    snprintf(redis->folder, sizeof redis->folder, "/tmp/eilpost-redis-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(redis->folder));
    snprintf(redis->socket, sizeof redis->socket, "%s/socket", redis->folder);
    snprintf(redis->url, sizeof redis->url, "unix://%s", redis->socket);
    server_start(redis);
}

void test_redis_kill(struct test_redis *redis)
{
    if (redis->context)
        redisFree(redis->context);
    redis->context = NULL;
    kill(redis->pid, SIGKILL);
    waitpid(redis->pid, NULL, 0);
    redis->pid = 0;
}

void test_redis_restart(struct test_redis *redis)
{
    server_start(redis);
}

void test_redis_pause(struct test_redis *redis)
{
    kill(redis->pid, SIGSTOP);
}

void test_redis_continue(struct test_redis *redis)
{
    kill(redis->pid, SIGCONT);
}

void test_redis_stop(struct test_redis *redis)
{
    if (redis->pid > 0)
        test_redis_kill(redis);
    char command[96];
    snprintf(command, sizeof command, "rm -rf %s", redis->folder);
    ck_assert_int_eq(system(command), 0);
}

static void reply_print(FILE *out, const redisReply *reply)
{
    switch (reply->type) {
    case REDIS_REPLY_INTEGER:
        fprintf(out, "%lld", reply->integer);
        break;
    case REDIS_REPLY_NIL:
        fprintf(out, "(nil)");
        break;
    case REDIS_REPLY_ARRAY:
        for (size_t i = 0; i < reply->elements; i++) {
            if (i > 0)
                fputc('\n', out);
            reply_print(out, reply->element[i]);
        }
        break;
    default:
        fwrite(reply->str, 1, reply->len, out);
    }
}

static char *command_run(struct test_redis *redis, const char *format, va_list args)
{
    if (!redis->context)
        redis->context = redisConnectUnix(redis->socket);
    redisContext *context = redis->context;
    ck_assert_msg(context && !context->err, "no connection to redis-server");
    redisReply *reply = redisvCommand(context, format, args);
    ck_assert_msg(reply != NULL, "redis-server didn't answer");
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    reply_print(out, reply);
    fclose(out);
    freeReplyObject(reply);
    return text;
}

char *test_redis_command(struct test_redis *redis, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *text = command_run(redis, format, args);
    va_end(args);
    return text;
}

long long test_redis_number(struct test_redis *redis, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *text = command_run(redis, format, args);
    va_end(args);
    long long number = strtoll(text, NULL, 10);
    free(text);
    return number;
}
