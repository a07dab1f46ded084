/* The private Redis against the real redis-server: it comes back with its data after kill -9, dies
 * with the engine, and two never share a folder. */
#include "engine/app/embedded_redis.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/check_main.h"

static const struct log quiet = { .fd = 2, .level = LOG_ERROR };

static char directory[] = "/tmp/eilpost-redis-XXXXXX";

static void make_directory(void)
{
    ck_assert_ptr_nonnull(mkdtemp(directory));
}

static void remove_directory(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", directory);
    ck_assert_int_eq(system(command), 0);
}

/** Sends an inline command and returns the first bytes of the reply; empty when Redis isn't there.
 */
static void ask(const char *command, char *reply, size_t room)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    snprintf(address.sun_path, sizeof address.sun_path, "%s/redis/redis.sock", directory);
    reply[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0 &&
        write(fd, command, strlen(command)) == (ssize_t)strlen(command)) {
        ssize_t n = read(fd, reply, room - 1);
        reply[n > 0 ? n : 0] = '\0';
    }
    close(fd);
}

/** As ask(), again and again until Redis is there and has loaded its data. */
static void ask_until_there(const char *command, char *reply, size_t room)
{
    do {
        ask(command, reply, room);
        if (!reply[0] || strncmp(reply, "-LOADING", 8) == 0)
            poll(NULL, 0, 5);
    } while (!reply[0] || strncmp(reply, "-LOADING", 8) == 0);
}

static pid_t server_pid(void)
{
    char reply[8192];
    ask_until_there("INFO server\r\n", reply, sizeof reply);
    const char *at = strstr(reply, "process_id:");
    ck_assert_ptr_nonnull(at);
    return (pid_t)atoi(at + strlen("process_id:"));
}

static void await_end(int pidfd)
{
    struct pollfd wait = { .fd = pidfd, .events = POLLIN };
    ck_assert_int_eq(poll(&wait, 1, -1), 1);
    close(pidfd);
}

START_TEST(it_writes_each_change_to_disk_and_listens_on_its_socket_only)
{
    struct embedded_redis *redis;
    struct err err;
    ck_assert_msg(embedded_redis_start(&redis, directory, &quiet, &err), "%s", err.text);
    char reply[256], url[256];
    ask("CONFIG GET appendfsync\r\n", reply, sizeof reply);
    ck_assert_ptr_nonnull(strstr(reply, "\r\nalways\r\n"));
    ask("CONFIG GET appendonly\r\n", reply, sizeof reply);
    ck_assert_ptr_nonnull(strstr(reply, "\r\nyes\r\n"));
    ask("CONFIG GET maxmemory-policy\r\n", reply, sizeof reply);
    ck_assert_ptr_nonnull(strstr(reply, "\r\nnoeviction\r\n"));
    ask("CONFIG GET port\r\n", reply, sizeof reply);
    ck_assert_ptr_nonnull(strstr(reply, "\r\n0\r\n"));
    ck_assert(embedded_redis_locate(directory, url, sizeof url, &err));
    ck_assert_str_eq(url, embedded_redis_url(redis));
    embedded_redis_stop(&redis);
    ck_assert_ptr_null(redis);
    ask("PING\r\n", reply, sizeof reply);
    ck_assert_str_eq(reply, "");
}
END_TEST

START_TEST(it_comes_back_with_its_data_after_kill_9)
{
    struct embedded_redis *redis;
    struct err err;
    ck_assert_msg(embedded_redis_start(&redis, directory, &quiet, &err), "%s", err.text);
    char reply[256];
    for (int round = 0; round < 3; round++) {
        char command[64];
        snprintf(command, sizeof command, "SET key-%d value-%d\r\n", round, round);
        ask_until_there(command, reply, sizeof reply);
        ck_assert_str_eq(reply, "+OK\r\n");
        pid_t pid = server_pid();
        int pidfd = pidfd_open(pid, 0);
        ck_assert_int_eq(kill(pid, SIGKILL), 0);
        await_end(pidfd);
        ask_until_there("GET key-0\r\n", reply, sizeof reply);
        ck_assert_str_eq(reply, "$7\r\nvalue-0\r\n");
        ck_assert_int_ne(server_pid(), pid);
    }
    embedded_redis_stop(&redis);
    ck_assert_msg(embedded_redis_start(&redis, directory, &quiet, &err), "%s", err.text);
    ask("GET key-2\r\n", reply, sizeof reply);
    ck_assert_str_eq(reply, "$7\r\nvalue-2\r\n");
    embedded_redis_stop(&redis);
}
END_TEST

START_TEST(it_dies_with_the_engine_and_the_next_engine_waits_for_that)
{
    int ready[2];
    ck_assert_int_eq(pipe(ready), 0);
    pid_t engine = fork();
    if (engine == 0) {
        struct embedded_redis *redis;
        struct err err;
        bool good = embedded_redis_start(&redis, directory, &quiet, &err);
        pid_t pid = good ? server_pid() : 0;
        if (write(ready[1], &pid, sizeof pid) != sizeof pid)
            _exit(1);
        for (;;)
            pause();
    }
    pid_t server = 0;
    ck_assert_int_eq(read(ready[0], &server, sizeof server), sizeof server);
    ck_assert_int_gt(server, 0);
    int pidfd = pidfd_open(server, 0);
    ck_assert_int_ge(pidfd, 0);
    char reply[64];
    ask("SET key value\r\n", reply, sizeof reply);
    kill(engine, SIGKILL);
    waitpid(engine, NULL, 0);
    /* At once, without waiting for the old server's end. */
    struct embedded_redis *redis;
    struct err err;
    ck_assert_msg(embedded_redis_start(&redis, directory, &quiet, &err), "%s", err.text);
    await_end(pidfd);
    ask("GET key\r\n", reply, sizeof reply);
    ck_assert_str_eq(reply, "$5\r\nvalue\r\n");
    embedded_redis_stop(&redis);
}
END_TEST

START_TEST(a_server_that_cannot_start_is_an_error_with_its_last_words)
{
    char path[128];
    snprintf(path, sizeof path, "%s/redis", directory);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    snprintf(path, sizeof path, "%s/redis/appendonlydir", directory);
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600); /* a file where a folder must be */
    ck_assert_int_ge(fd, 0);
    close(fd);
    struct embedded_redis *redis = NULL;
    struct err err = { 0 };
    ck_assert(!embedded_redis_start(&redis, directory, &quiet, &err));
    ck_assert_ptr_null(redis);
    ck_assert_msg(strstr(err.text, "redis-server ended with exit code 1") &&
                      strstr(err.text, "appendonlydir"),
                  "%s", err.text);
}
END_TEST

START_TEST(without_redis_server_the_error_names_the_package)
{
    setenv("PATH", "/nonexistent", 1);
    struct embedded_redis *redis = NULL;
    struct err err = { 0 };
    ck_assert(!embedded_redis_start(&redis, directory, &quiet, &err));
    ck_assert_msg(strstr(err.text, "redis-server isn't in PATH"), "%s", err.text);
    setenv("PATH", "/usr/bin:/bin", 1);
}
END_TEST

START_TEST(a_state_directory_whose_socket_would_not_fit_is_refused)
{
    char path[512];
    int n = snprintf(path, sizeof path, "%s/", directory);
    memset(path + n, 'x', 100);
    path[n + 100] = '\0';
    ck_assert_int_eq(mkdir(path, 0700), 0);
    struct embedded_redis *redis = NULL;
    struct err err = { 0 };
    ck_assert(!embedded_redis_start(&redis, path, &quiet, &err));
    ck_assert_msg(strstr(err.text, "is too long"), "%s", err.text);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("embedded redis");
    TCase *tests = tcase_create("embedded redis");
    tcase_set_timeout(tests, 0);
    tcase_add_checked_fixture(tests, make_directory, remove_directory);
    tcase_add_test(tests, it_writes_each_change_to_disk_and_listens_on_its_socket_only);
    tcase_add_test(tests, it_comes_back_with_its_data_after_kill_9);
    tcase_add_test(tests, it_dies_with_the_engine_and_the_next_engine_waits_for_that);
    tcase_add_test(tests, a_server_that_cannot_start_is_an_error_with_its_last_words);
    tcase_add_test(tests, without_redis_server_the_error_names_the_package);
    tcase_add_test(tests, a_state_directory_whose_socket_would_not_fit_is_refused);
    suite_add_tcase(suite, tests);
    return check_main(suite);
}
