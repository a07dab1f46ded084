#include "engine/cli/demo_world.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/sink/sink.h"
#include "engine/cli/stats_client.h"

#define SINK_ADDRESSES "127.0.1.1-127.0.1.50:0"
#define STATS_PORT 8025
#define HEALTH_PAUSE_MS 20

static const char sink_script[] =
    "recipient=" DEMO_GONE "* rcpt=550 5.1.1 No such user here\n"
    "recipient=" DEMO_LATER "* first rcpt=451 4.7.1 Greylisted, please come again later\n";

/* ---- the sink ---- */

/** The child: serves until its end of the pipe is closed. */
NORETURN static void sink_child(const struct demo_world *world,
                                const struct demo_world_options *demo, int control, int report)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    struct sink_options options = sink_options_default();
    options.listen = SINK_ADDRESSES;
    options.hostname = "sink.example";
    options.script_text = sink_script;
    options.ledger_file = world->ledger_path;
    options.dns_listen = "127.0.0.1:0";
    options.dns_hosts = 2;
    options.io = demo->io && strcmp(demo->io, "epoll") == 0 ? SINK_IO_EPOLL : SINK_IO_AUTO;
    struct sink *sink;
    struct err err;
    uint16_t ports[2] = { 0 };
    if (!sink_start(&options, &sink, &err)) {
        fprintf(stderr, "eilpost demo: sink: %s\n", err.text);
        _exit(1);
    }
    ports[0] = sink_smtp_port(sink);
    ports[1] = sink_dns_port(sink);
    if (write(report, ports, sizeof ports) != sizeof ports)
        _exit(1);
    close(report);
    char byte;
    while (read(control, &byte, 1) < 0 && errno == EINTR) {
    }
    sink_stop(&sink);
    _exit(0);
}

static bool start_sink(struct demo_world *world, const struct demo_world_options *options,
                       struct err *err)
{
    int control[2], report[2];
    if (pipe2(control, O_CLOEXEC) != 0 || pipe2(report, O_CLOEXEC) != 0)
        return err_system(err, errno, "pipe");
    world->sink = fork();
    if (world->sink < 0)
        return err_system(err, errno, "can't start a process");
    if (world->sink == 0) {
        close(control[1]);
        close(report[0]);
        sink_child(world, options, control[0], report[1]);
    }
    close(control[0]);
    close(report[1]);
    world->sink_pipe = control[1];
    uint16_t ports[2];
    bool good = read(report[0], ports, sizeof ports) == sizeof ports;
    close(report[0]);
    if (!good)
        return err_set(err, ERR_SYSTEM, "the sink didn't start");
    world->smtp_port = ports[0];
    world->dns_port = ports[1];
    return true;
}

/* ---- the engine ---- */

/** The usual port of the stats endpoint if it's free, else another. */
static unsigned free_port(unsigned wanted)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                   .sin_port = htons((uint16_t)wanted) };
    socklen_t len = sizeof address;
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    bool good = bind(fd, (struct sockaddr *)&address, len) == 0 && listen(fd, 1) == 0 &&
                getsockname(fd, (struct sockaddr *)&address, &len) == 0;
    close(fd);
    if (good)
        return ntohs(address.sin_port);
    return wanted ? free_port(0) : 0;
}

static bool write_config(struct demo_world *world, const struct demo_world_options *options,
                         struct err *err)
{
    snprintf(world->stats_address, sizeof world->stats_address, "127.0.0.1:%u",
             free_port(STATS_PORT));
    FILE *file = fopen(world->config_path, "we");
    if (!file)
        return err_system(err, errno, "%s", world->config_path);
    fprintf(file,
            "# Made by `eilpost demo`: a private Redis, and the sink in place of the world.\n"
            "state_dir: \"%s/state\"\n"
            "io: %s\n"
            "smtp:\n  port: %u\n  ehlo_name: demo.example\n"
            "dns:\n  servers: \"127.0.0.1:%u\"\n  ipv6: false\n  refused: []\n"
            "queue:\n  events_max: %llu\n"
            "retry:\n  schedule_s: [1]\n  jitter_percent: 0\n"
            "api:\n  listen: \"%s\"\n",
            world->directory, options->io ? options->io : "auto", world->smtp_port, world->dns_port,
            (unsigned long long)options->events_max, world->stats_address);
    return fclose(file) == 0 || err_system(err, errno, "%s", world->config_path);
}

static bool start_engine(struct demo_world *world, struct err *err)
{
    world->engine = fork();
    if (world->engine < 0)
        return err_system(err, errno, "can't start a process");
    if (world->engine > 0)
        return true;
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    /* Not in the terminal's group: a Ctrl-C is for the demonstration, which stops the engine in its
     * turn. */
    setpgid(0, 0);
    int log = open(world->engine_log_path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (log >= 0)
        dup2(log, STDERR_FILENO);
    execl("/proc/self/exe", "eilpost", "run", "--config", world->config_path, (char *)NULL);
    _exit(127);
}

static void last_line(const char *path, char *out, size_t room)
{
    char line[512];
    out[0] = '\0';
    FILE *file = fopen(path, "re");
    while (file && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = '\0';
        snprintf(out, room, "%.199s", line);
    }
    if (file)
        fclose(file);
}

/** Reaps a child that has ended; *pid is 0 then. */
static bool has_ended(pid_t *pid, int *status)
{
    if (*pid <= 0 || waitpid(*pid, status, WNOHANG) != *pid)
        return *pid <= 0;
    *pid = 0;
    return true;
}

bool demo_world_alive(struct demo_world *world, struct err *err)
{
    int status;
    char line[200];
    if (has_ended(&world->engine, &status)) {
        last_line(world->engine_log_path, line, sizeof line);
        return err_set(err, ERR_SYSTEM, "the engine ended; its log says: %s", line);
    }
    if (has_ended(&world->sink, &status))
        return err_set(err, ERR_SYSTEM, "the sink ended");
    return true;
}

static bool wait_healthy(struct demo_world *world, struct err *err)
{
    while (!stats_healthy(world->stats_address)) {
        if (!demo_world_alive(world, err))
            return false;
        poll(NULL, 0, HEALTH_PAUSE_MS);
    }
    return demo_world_alive(world, err);
}

bool demo_world_start(struct demo_world *world, const struct demo_world_options *options,
                      struct err *err)
{
    *world = (struct demo_world){ .sink_pipe = -1 };
    const char *parent = getenv("TMPDIR");
    snprintf(world->directory, sizeof world->directory, "%s/eilpost-demo-XXXXXX",
             parent && *parent ? parent : "/tmp");
    if (!mkdtemp(world->directory))
        return err_system(err, errno, "can't create %s", world->directory);
    snprintf(world->ledger_path, sizeof world->ledger_path, "%s/ledger", world->directory);
    snprintf(world->config_path, sizeof world->config_path, "%s/eilpost.yaml", world->directory);
    snprintf(world->engine_log_path, sizeof world->engine_log_path, "%s/engine.log",
             world->directory);
    if (start_sink(world, options, err) && write_config(world, options, err) &&
        start_engine(world, err) && wait_healthy(world, err))
        return true;
    demo_world_stop_engine(world);
    demo_world_stop_sink(world);
    return false;
}

static bool reap(pid_t *pid)
{
    int status = 0;
    if (*pid <= 0)
        return false;
    while (waitpid(*pid, &status, 0) < 0 && errno == EINTR) {
    }
    *pid = 0;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

bool demo_world_stop_engine(struct demo_world *world)
{
    if (world->engine > 0)
        kill(world->engine, SIGTERM);
    return reap(&world->engine);
}

void demo_world_stop_sink(struct demo_world *world)
{
    if (world->sink_pipe >= 0)
        close(world->sink_pipe);
    world->sink_pipe = -1;
    reap(&world->sink);
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *place)
{
    (void)info;
    (void)kind;
    (void)place;
    return remove(path);
}

void demo_world_remove(struct demo_world *world)
{
    nftw(world->directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}
