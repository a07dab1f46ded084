/* The private Redis (see the header). Who does what:
 *
 *  - The keeper thread forks the server, waits for its end, and forks the next one, until it's told
 * to stop. It must be one thread for all of the engine's life: the kernel kills a PR_SET_PDEATHSIG
 * child when the thread that forked it ends, not the process. SIGKILL is as good as an orderly end,
 * since each answered write is on disk.
 *  - The server holds a POSIX record lock on redis/lock: taken between fork and exec, kept over
 * exec, not inherited by the server's own children, gone with the process. A server that still dies
 * after a kill -9 of its engine is so waited for, and two never write the same files.
 *  - The starting thread waits until the server has loaded its data: it pings, between pauses that
 * end early when the server dies.
 */
#include "engine/app/embedded_redis.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "engine/app/append_only.h"
#include "engine/base/buf.h"
#include "engine/base/mem.h"

#define READY_PAUSE_MS 10
#define READY_REPORT_MS 10000 /* loading a large queue takes a while; say so */
#define RESTART_PAUSE_MS 500  /* for a server that dies at once */
#define STOP_WAIT_S 10
#define EXIT_NO_SERVER 127
#define EXIT_NO_LOCK 126

struct embedded_redis {
    const struct log *log;
    char *directory; /* STATE_DIR/redis */
    char *lock_path;
    char *log_path;
    char *program;
    char socket_path[sizeof(((struct sockaddr_un *)0)->sun_path)];
    char url[512];
    pid_t engine;
    pthread_t keeper;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    pid_t server; /* 0: none, or already reaped; guarded, as all below */
    bool stopping, ever_ready;
    int end_status; /* of the server that ended before it was ever ready; -1 */
};

/* ---- places ---- */

static char *join(const char *directory, const char *name)
{
    struct buf path = BUF_EMPTY;
    buf_printf(&path, "%s/%s", directory, name);
    char *text = strdup(buf_cstr(&path));
    assert(text);
    buf_free(&path);
    return text;
}

/** The socket's path, and its URL with '%' and '?' escaped. */
static bool socket_names(const char *state_dir, char *path, size_t path_room, char *url,
                         size_t url_room, struct err *err)
{
    char absolute[PATH_MAX];
    if (!realpath(state_dir, absolute))
        return err_system(err, errno, "%s", state_dir);
    int n = snprintf(path, path_room, "%s/redis/redis.sock", absolute);
    if (n < 0 || (size_t)n >= path_room)
        return err_set(
            err, ERR_CONFIG,
            "state_dir '%s' is too long: with /redis/redis.sock it must fit in %zu bytes", absolute,
            path_room - 1);
    struct buf text = BUF_EMPTY;
    buf_append(&text, SLICE("unix://"));
    for (const char *c = path; *c; c++)
        if (*c == '%' || *c == '?')
            buf_printf(&text, "%%%02X", (unsigned)*c);
        else
            buf_append_char(&text, *c);
    bool fits = text.len < url_room;
    if (fits)
        memcpy(url, buf_cstr(&text), text.len + 1);
    buf_free(&text);
    return fits || err_set(err, ERR_CONFIG, "state_dir '%s' is too long", absolute);
}

bool embedded_redis_locate(const char *state_dir, char *url, size_t room, struct err *err)
{
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
    return socket_names(state_dir, path, sizeof path, url, room, err);
}

/** redis-server's full path, so that the child needs no search between fork and exec. */
static char *find_program(struct err *err)
{
    const char *path = getenv("PATH");
    struct slice rest = slice_str(path ? path : "/usr/local/bin:/usr/bin:/bin");
    while (rest.len > 0) {
        char *directory = slice_dup(slice_cut(&rest, ':'));
        char *program = join(*directory ? directory : ".", "redis-server");
        free(directory);
        if (access(program, X_OK) == 0)
            return program;
        free(program);
    }
    err_set(err, ERR_SYSTEM,
            "redis-server isn't in PATH (install the package redis-server, or set redis.url)");
    return NULL;
}

/** The last line of the server's log, for an error. */
static void last_log_line(const char *path, char *line, size_t room)
{
    line[0] = '\0';
    FILE *file = fopen(path, "re");
    if (!file)
        return;
    char text[512];
    while (fgets(text, sizeof text, file)) {
        text[strcspn(text, "\n")] = '\0';
        if (text[0])
            snprintf(line, room, "%.200s", text);
    }
    fclose(file);
}

/* ---- the server's process ---- */

/** Between fork and exec: only calls that are safe after a fork of a threaded process. */
NORETURN static void become_server(const struct embedded_redis *redis, char *const arguments[])
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    /* Its own session: a Ctrl-C in the engine's terminal is for the engine, which stops the server
     * last. */
    setsid();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != redis->engine)
        _exit(EXIT_NO_SERVER);
    int null = open("/dev/null", O_RDWR);
    if (null >= 0) {
        dup2(null, 0);
        dup2(null, 1);
        dup2(null, 2);
    }
    int lock = open(redis->lock_path, O_RDWR | O_CREAT, 0600);
    struct flock whole = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    int locked;
    do
        locked = fcntl(lock, F_SETLKW, &whole);
    while (locked < 0 && errno == EINTR);
    if (locked < 0)
        _exit(EXIT_NO_LOCK);
    unlink(redis->socket_path);
    append_only_mend(redis->directory);
    execv(redis->program, arguments);
    _exit(EXIT_NO_SERVER);
}

static pid_t start_server(struct embedded_redis *redis)
{
    const char *arguments[] = {
        redis->program,
        "--port",
        "0",
        "--unixsocket",
        redis->socket_path,
        "--unixsocketperm",
        "600",
        "--dir",
        redis->directory,
        "--logfile",
        redis->log_path,
        "--daemonize",
        "no",
        "--appendonly",
        "yes",
        "--appendfsync",
        "always",
        "--save",
        "",
        "--maxmemory-policy",
        "noeviction",
        "--shutdown-timeout",
        "0",
        NULL,
    };
    pid_t pid = fork();
    if (pid == 0)
        become_server(redis, (char *const *)arguments);
    return pid;
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/** Waits on `changed` for at most `ms`; the mutex is held. */
static void wait_changed(struct embedded_redis *redis, int64_t ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += ms / 1000;
    until.tv_nsec += ms % 1000 * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_cond_timedwait(&redis->changed, &redis->mutex, &until);
}

static void describe_end(int status, char *text, size_t room)
{
    if (WIFSIGNALED(status))
        snprintf(text, room, "was killed by signal %d", WTERMSIG(status));
    else
        snprintf(text, room, "ended with exit code %d", WEXITSTATUS(status));
}

/** One life of the server. Called and returns with the mutex held. */
static void keep_once(struct embedded_redis *redis)
{
    int64_t started_ms = now_ms();
    pid_t server = start_server(redis);
    if (server < 0) {
        log_error(redis->log, "redis-fork", "can't start redis-server: %s", strerror(errno));
        wait_changed(redis, RESTART_PAUSE_MS);
        return;
    }
    redis->server = server;
    pthread_mutex_unlock(&redis->mutex);
    /* Without reaping, so that embedded_redis_stop() can't signal a process id that's someone
     * else's by then. */
    siginfo_t info;
    while (waitid(P_PID, (id_t)server, &info, WEXITED | WNOWAIT) < 0 && errno == EINTR) {
    }
    pthread_mutex_lock(&redis->mutex);
    int status = 0;
    waitpid(server, &status, 0);
    redis->server = 0;
    redis->end_status = status;
    pthread_cond_broadcast(&redis->changed);
    if (redis->stopping || !redis->ever_ready)
        return;
    char end[64];
    describe_end(status, end, sizeof end);
    log_error(redis->log, "redis-ended", "the private Redis %s; starting it again", end);
    if (now_ms() - started_ms < RESTART_PAUSE_MS)
        wait_changed(redis, RESTART_PAUSE_MS);
}

static void *keeper_main(void *argument)
{
    struct embedded_redis *redis = argument;
    pthread_mutex_lock(&redis->mutex);
    /* A server that dies before it was ever ready has a reason that starting again doesn't cure. */
    while (!redis->stopping && (redis->ever_ready || redis->end_status < 0))
        keep_once(redis);
    pthread_mutex_unlock(&redis->mutex);
    return NULL;
}

/* ---- starting and stopping ---- */

/** Whether it answers a PING and has loaded its data. */
static bool answers(const char *socket_path)
{
    static const char ping[] = "PING\r\n", pong[] = "+PONG";
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    memcpy(address.sun_path, socket_path, strlen(socket_path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    /* A server that is busy loading answers in between; don't hang on one that doesn't. */
    struct timeval limit = { .tv_sec = 1 };
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    char reply[64];
    bool good = connect(fd, (struct sockaddr *)&address, sizeof address) == 0 &&
                write(fd, ping, sizeof ping - 1) == (ssize_t)sizeof ping - 1 &&
                read(fd, reply, sizeof reply) >= (ssize_t)sizeof pong - 1 &&
                memcmp(reply, pong, sizeof pong - 1) == 0;
    close(fd);
    return good;
}

static bool end_err(const struct embedded_redis *redis, struct err *err)
{
    char end[64], line[256];
    describe_end(redis->end_status, end, sizeof end);
    if (WIFEXITED(redis->end_status) && WEXITSTATUS(redis->end_status) == EXIT_NO_LOCK)
        return err_set(err, ERR_SYSTEM, "can't lock %s", redis->lock_path);
    last_log_line(redis->log_path, line, sizeof line);
    return err_set(err, ERR_REDIS, "redis-server %s (%s ends with: %s)", end, redis->log_path,
                   line);
}

/** Until the server is ready, or has ended. */
static bool wait_ready(struct embedded_redis *redis, struct err *err)
{
    int64_t started_ms = now_ms(), reported_ms = started_ms;
    pthread_mutex_lock(&redis->mutex);
    while (redis->end_status < 0 && !redis->ever_ready) {
        pthread_mutex_unlock(&redis->mutex);
        bool ready = answers(redis->socket_path);
        pthread_mutex_lock(&redis->mutex);
        redis->ever_ready = ready && redis->server != 0 && redis->end_status < 0;
        if (redis->ever_ready || redis->end_status >= 0)
            break;
        wait_changed(redis, READY_PAUSE_MS);
        if (now_ms() - reported_ms >= READY_REPORT_MS) {
            reported_ms = now_ms();
            log_warn(redis->log, "redis-wait",
                     "the private Redis isn't ready after %lld s (see %s)",
                     (long long)(reported_ms - started_ms) / 1000, redis->log_path);
        }
    }
    bool good = redis->ever_ready;
    if (!good)
        end_err(redis, err);
    pthread_mutex_unlock(&redis->mutex);
    return good;
}

static struct embedded_redis *redis_create(const char *state_dir, const struct log *log)
{
    struct embedded_redis *redis = mem_zalloc(sizeof *redis);
    redis->log = log;
    redis->engine = getpid();
    redis->end_status = -1;
    redis->directory = join(state_dir, "redis");
    redis->lock_path = join(redis->directory, "lock");
    redis->log_path = join(redis->directory, "redis.log");
    pthread_mutex_init(&redis->mutex, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&redis->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    return redis;
}

static void redis_destroy(struct embedded_redis *redis)
{
    pthread_cond_destroy(&redis->changed);
    pthread_mutex_destroy(&redis->mutex);
    free(redis->directory);
    free(redis->lock_path);
    free(redis->log_path);
    free(redis->program);
    free(redis);
}

bool embedded_redis_start(struct embedded_redis **out, const char *state_dir, const struct log *log,
                          struct err *err)
{
    char absolute[PATH_MAX];
    if (!realpath(state_dir, absolute)) /* the server changes its folder */
        return err_system(err, errno, "%s", state_dir);
    struct embedded_redis *redis = redis_create(absolute, log);
    if (mkdir(redis->directory, 0700) != 0 && errno != EEXIST) {
        err_system(err, errno, "can't create %s", redis->directory);
        redis_destroy(redis);
        return false;
    }
    redis->program = find_program(err);
    if (!redis->program || !socket_names(absolute, redis->socket_path, sizeof redis->socket_path,
                                         redis->url, sizeof redis->url, err)) {
        redis_destroy(redis);
        return false;
    }
    int errnum = pthread_create(&redis->keeper, NULL, keeper_main, redis);
    if (errnum) {
        redis_destroy(redis);
        return err_system(err, errnum, "can't start a thread");
    }
    bool good = wait_ready(redis, err);
    *out = redis;
    if (!good)
        embedded_redis_stop(out);
    return good;
}

static void signal_server(struct embedded_redis *redis, int signal_number)
{
    pthread_mutex_lock(&redis->mutex);
    redis->stopping = true;
    if (redis->server > 0)
        kill(redis->server, signal_number);
    pthread_cond_broadcast(&redis->changed);
    pthread_mutex_unlock(&redis->mutex);
}

void embedded_redis_stop(struct embedded_redis **redis)
{
    if (!*redis)
        return;
    signal_server(*redis, SIGTERM);
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += STOP_WAIT_S;
    if (pthread_clockjoin_np((*redis)->keeper, NULL, CLOCK_MONOTONIC, &until) != 0) {
        log_warn((*redis)->log, "redis-kill", "the private Redis didn't end within %d s",
                 STOP_WAIT_S);
        signal_server(*redis, SIGKILL);
        pthread_join((*redis)->keeper, NULL);
    }
    redis_destroy(*redis);
    *redis = NULL;
}

const char *embedded_redis_url(const struct embedded_redis *redis)
{
    return redis->url;
}
