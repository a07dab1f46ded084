/* The dispatcher, and what several commands need. */
#include "engine/cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "engine/app/embedded_redis.h"
#include "engine/base/buf.h"
#include "queue/producer.h"
#include "queue/url.h"

#define CONFIG_PATH "/etc/eilpost/eilpost.yaml"

static const struct command {
    const char *name, *summary;
    int (*run)(int argc, char **argv);
} commands[] = {
    { "run", "Run the engine.", command_run },
    { "demo", "Show the whole engine at work on this machine; nothing leaves it.", command_demo },
    { "send", "Submit a campaign from a list and a template, or one message.", command_send },
    { "status", "Show the queue's totals, or those of submissions.", command_status },
    { "events", "Print what happened to each message, as JSON lines.", command_events },
    { "queue", "Show what is queued; suspend, cancel, restore, retry or move jobs.",
      command_queue },
    { "campaign", "Show campaigns; pause, resume, cancel or throttle them.", command_campaign },
    { "node", "Show the engines that work on the queue.", command_node },
    { "suppression", "Keep the addresses that get nothing.", command_suppression },
    { "dkim", "Make and check keys for signatures.", command_dkim },
    { "explain", "Show how mail for a domain would go, and why.", command_explain },
    { "tls-report", "Show what is reported to other domains about TLS.", command_tls_report },
    { "check-config", "Check a configuration file.", command_check_config },
    { "version", "Show the version.", command_version },
};

static void print_overview(FILE *to)
{
    fprintf(to, "Eilpost delivers mail in bulk straight to the recipients' servers.\n\n"
                "usage: eilpost COMMAND [OPTION…]\n\ncommands:\n");
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        fprintf(to, "  %-14s%s\n", commands[i].name, commands[i].summary);
    fprintf(to, "\n`eilpost COMMAND --help` tells more.\n");
}

int cli_main(int argc, char **argv)
{
    if (argc < 2) {
        print_overview(stderr);
        return CLI_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        print_overview(stdout);
        return CLI_OK;
    }
    if (strcmp(name, "--version") == 0)
        name = "version";
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (strcmp(name, commands[i].name) == 0) {
            int code = commands[i].run(argc - 1, argv + 1);
            if (fflush(stdout) != 0 && code == CLI_OK) {
                fprintf(stderr, "eilpost %s: can't write the output: %s\n", name, strerror(errno));
                return CLI_SYSTEM;
            }
            return code;
        }
    fprintf(stderr, "eilpost: there is no command '%s' (see eilpost --help)\n", name);
    return CLI_USAGE;
}

enum cli_exit cli_exit_of(enum err_kind kind)
{
    switch (kind) {
    case ERR_NONE:
        return CLI_OK;
    case ERR_USAGE:
        return CLI_USAGE;
    case ERR_CONFIG:
        return CLI_CONFIG;
    case ERR_INPUT:
        return CLI_INPUT;
    case ERR_REDIS:
        return CLI_REDIS;
    case ERR_SYSTEM:
        return CLI_SYSTEM;
    case ERR_PROTO:
    case ERR_LIMIT:
    case ERR_NOT_FOUND:
    case ERR_CANCELLED:
        return CLI_FAILED;
    }
    return CLI_FAILED;
}

int cli_fail(const char *command, const struct err *err)
{
    fflush(stdout);
    fprintf(stderr, "eilpost %s: %s\n", command, err->text);
    return cli_exit_of(err->kind);
}

bool cli_config_load(const char *path, struct config *config, struct err *err)
{
    if (!path && access(CONFIG_PATH, F_OK) != 0)
        return err_set(err, ERR_USAGE, "no --config FILE, and there is no %s", CONFIG_PATH);
    return config_load(path ? path : CONFIG_PATH, config, err);
}

bool cli_redis_url(const struct config *config, char *url, size_t room, struct err *err)
{
    if (!config->redis.url[0])
        return embedded_redis_locate(config->state_dir, url, room, err);
    int n = snprintf(url, room, "%s", config->redis.url);
    return (n > 0 && (size_t)n < room) || err_set(err, ERR_CONFIG, "redis.url is too long");
}

bool cli_producer_open(struct producer **out, const struct config *config, struct err *err)
{
    char url[REDIS_URL_BYTES];
    if (!config->redis.url[0] && access(config->state_dir, F_OK) != 0)
        return err_set(err, ERR_REDIS,
                       "there is no queue in %s yet; start it with: eilpost run --config %s",
                       config->state_dir, config->path);
    if (!cli_redis_url(config, url, sizeof url, err))
        return false;
    const struct producer_options options = {
        .url = url,
        .name_space = config->redis.name_space,
        .partitions = config->redis.partitions,
        .wait_replicas = config->redis.wait_replicas,
        .wait_timeout_ms = config->redis.wait_timeout_ms,
    };
    if (producer_open_with(out, &options, err))
        return true;
    if (!config->redis.url[0] && err->kind == ERR_REDIS) {
        size_t len = strlen(err->text);
        snprintf(err->text + len, sizeof err->text - len,
                 " (the private Redis lives with the engine: is `eilpost run` running?)");
    }
    return false;
}

bool cli_read_file(const char *path, size_t bytes_max, struct buf *out, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_system(err, errno, "%s", path);
    out->bytes_max = bytes_max;
    bool good = true;
    for (ssize_t n = 1; good && n > 0;) {
        char *room = buf_reserve(out, MIN_OF((size_t)65536, bytes_max - out->len + 1));
        if (!room) {
            good = err_set(err, ERR_INPUT, "%s is larger than %zu bytes", path, bytes_max);
            break;
        }
        n = read(fd, room, MIN_OF((size_t)65536, bytes_max - out->len));
        if (n < 0 && errno != EINTR)
            good = err_system(err, errno, "%s", path);
        else if (n > 0)
            buf_grow(out, (size_t)n);
        else
            n = n < 0;
    }
    close(fd);
    return good;
}

char *cli_thousands(uint64_t n, char out[28])
{
    char digits[24];
    int len = snprintf(digits, sizeof digits, "%llu", (unsigned long long)n);
    size_t to = 0;
    for (int i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0)
            out[to++] = ',';
        out[to++] = digits[i];
    }
    out[to] = '\0';
    return out;
}
