#pragma once
/* A real redis-server of a test's own: on a Unix socket in a fresh folder, ended with the test
 * whatever happens. Functions end the test (ck_abort) when the environment fails. */
#include <stdbool.h>
#include <sys/types.h>

struct test_redis {
    char folder[64];
    char socket[96];
    char url[112];              /* unix://… */
    const char *const *options; /* as given */
    pid_t pid;
    void *context; /* of test_redis_command() */
};

/** Starts a server with `options` (NULL-terminated pairs such as "--appendonly", "yes"; may be
 * NULL) and waits until it answers. */
void test_redis_start(struct test_redis *redis, const char *const *options);
/** kill -9; the folder stays. */
void test_redis_kill(struct test_redis *redis);
/** Starts again in the same folder, after a kill. */
void test_redis_restart(struct test_redis *redis);
void test_redis_pause(struct test_redis *redis);
void test_redis_continue(struct test_redis *redis);
/** Ends it and removes the folder. */
void test_redis_stop(struct test_redis *redis);

/** Runs one command from another connection; printf-like with hiredis' formats (%s, %b). The reply
 * as text, one value per line for arrays, in memory that the caller frees. */
char *test_redis_command(struct test_redis *redis, const char *format, ...);
/** The reply as a number. */
long long test_redis_number(struct test_redis *redis, const char *format, ...);
