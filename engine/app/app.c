/* The engine's main thread: prepares what workers share, starts them and the stats endpoint, waits
 * for a signal, stops all in order. It does no delivery work itself, and it never leaves while a
 * child (the private Redis) depends on it. */
#include "engine/app/app.h"

#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "engine/api/stats.h"
#include "engine/app/embedded_redis.h"
#include "engine/app/node.h"
#include "engine/app/reporter.h"
#include "engine/app/snapshot.h"
#include "engine/app/worker.h"
#include "engine/base/mem.h"
#include "engine/base/rng.h"
#include "queue/producer.h"
#include "queue/url.h"

struct app {
    const struct config *config;
    const struct log *log;
    char node[NODE_ID_MAX + 1];
    char ehlo_name[256];
    char redis_url[REDIS_URL_BYTES];
    struct embedded_redis *redis;
    struct queue_journal_file *journal;
    struct queue_journal **journals;
    struct deliver_source *sources;
    unsigned source_count;
    struct deliver_pool *pools;
    unsigned pool_count;
    unsigned *every_source, *same_weights; /* of the pool of all sources */
    struct deliver_schedule *schedules;
    struct queue_tenant *tenants;
    struct sts *sts;
    struct tls_tally *tally;
    struct reporter *reporter;
    struct worker_common common;
    struct worker **workers;
    unsigned worker_count;
    struct app_stats stats;
    struct api *api;
};

static void raise_file_limit(const struct log *log)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max)
        return;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        log_warn(log, "file-limit", "can't raise the limit of open files to %llu",
                 (unsigned long long)limit.rlim_max);
}

static bool prepare_sources(struct app *app, struct err *err)
{
    const struct config *config = app->config;
    if (config->smtp.ehlo_name[0])
        snprintf(app->ehlo_name, sizeof app->ehlo_name, "%s", config->smtp.ehlo_name);
    else if (gethostname(app->ehlo_name, sizeof app->ehlo_name - 1) != 0)
        return err_system(err, errno, "smtp.ehlo_name isn't set and the host has no name");
    app->source_count = config->sources_count ? config->sources_count : 1;
    app->sources = mem_array(app->source_count, sizeof *app->sources);
    app->sources[0] = (struct deliver_source){ .name = "default", .ehlo_name = app->ehlo_name };
    for (unsigned i = 0; i < config->sources_count; i++) {
        const struct config_source *from = &config->sources[i];
        struct deliver_source *to = &app->sources[i];
        to->name = from->name;
        to->ehlo_name = from->ehlo_name[0] ? from->ehlo_name : app->ehlo_name;
        struct sockaddr_in *v4 = (struct sockaddr_in *)&to->address;
        struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&to->address;
        if (inet_pton(AF_INET, from->address, &v4->sin_addr) == 1)
            v4->sin_family = AF_INET;
        else if (inet_pton(AF_INET6, from->address, &v6->sin6_addr) == 1)
            v6->sin6_family = AF_INET6;
        else if (from->address[0])
            return err_set(err, ERR_CONFIG, "%s: sources[%u].address '%s' is neither IPv4 nor IPv6",
                           config->path, i, from->address);
    }
    return true;
}

/* Those configured, or one of all sources. */
static void prepare_pools(struct app *app)
{
    const struct config *config = app->config;
    app->pool_count = config->pools_count ? config->pools_count : 1;
    app->pools = mem_array(app->pool_count, sizeof *app->pools);
    app->every_source = mem_array(app->source_count, sizeof *app->every_source);
    app->same_weights = mem_array(app->source_count, sizeof *app->same_weights);
    for (unsigned i = 0; i < app->source_count; i++) {
        app->every_source[i] = i;
        app->same_weights[i] = 1;
    }
    app->pools[0] = (struct deliver_pool){ .name = "",
                                           .sources = app->every_source,
                                           .weights = app->same_weights,
                                           .source_count = app->source_count };
    for (unsigned i = 0; i < config->pools_count; i++) {
        const struct config_pool *from = &config->pools[i];
        app->pools[i] = (struct deliver_pool){ .name = from->name,
                                               .sources = from->members,
                                               .weights = from->weights,
                                               .source_count = from->texts_count };
    }
}

static_assert((unsigned)CONFIG_TRANSACTIONAL == QUEUE_TRANSACTIONAL &&
                  (unsigned)CONFIG_DEADLINE == QUEUE_DEADLINE &&
                  (unsigned)CONFIG_BULK == QUEUE_BULK &&
                  (unsigned)CONFIG_ANY_CLASS == DELIVER_ANY_CLASS,
              "classes are passed on as they are");

static void prepare_schedules(struct app *app)
{
    const struct config *config = app->config;
    app->schedules = mem_array(config->retry.schedules_count, sizeof *app->schedules);
    for (unsigned i = 0; i < config->retry.schedules_count; i++) {
        const struct config_schedule *from = &config->retry.schedules[i];
        app->schedules[i] = (struct deliver_schedule){ .class = from->class,
                                                       .category = from->category,
                                                       .schedule_s = from->schedule_s,
                                                       .count = from->schedule_count };
    }
}

static void prepare_tenants(struct app *app)
{
    const struct config *config = app->config;
    app->tenants = mem_array(config->tenants_count, sizeof *app->tenants);
    for (unsigned i = 0; i < config->tenants_count; i++)
        app->tenants[i] = (struct queue_tenant){ .name = config->tenants[i].name,
                                                 .weight = config->tenants[i].weight };
}

static bool prepare_sts(struct app *app, struct err *err)
{
    const struct config *config = app->config;
    if (!config->mta_sts)
        return true;
    char folder[4096];
    snprintf(folder, sizeof folder, "%s/mta-sts", config->state_dir);
    const struct sts_options options = {
        .folder = folder,
        .ca_file = *config->tls.ca_file ? config->tls.ca_file : NULL,
        .port = config->mta_sts_port,
        .log = app->log,
    };
    return sts_create(&app->sts, &options, err) || err_prefix(err, "tls.mta_sts");
}

/* The private Redis if none is configured; either way it must answer before a worker starts. */
static bool prepare_redis(struct app *app, struct err *err)
{
    const struct config *config = app->config;
    if (config->redis.url[0]) {
        snprintf(app->redis_url, sizeof app->redis_url, "%s", config->redis.url);
    } else {
        if (!embedded_redis_start(&app->redis, config->state_dir, app->log, err))
            return err_prefix(err, "private Redis");
        snprintf(app->redis_url, sizeof app->redis_url, "%s", embedded_redis_url(app->redis));
    }
    const struct producer_options options = {
        .url = app->redis_url,
        .name_space = config->redis.name_space,
        .partitions = config->redis.partitions,
        .wait_replicas = config->redis.wait_replicas,
    };
    return queue_check(&options, app->log, err);
}

/* The stats endpoint before the workers: a port in use is told before any job is leased. */
static bool start_api(struct app *app, struct err *err)
{
    app_stats_init(&app->stats, app->workers, app->node);
    if (!app->config->api.enabled)
        return true;
    struct api_options options = {
        .listen = app->config->api.listen,
        .snapshot = app_stats_snapshot,
        .healthy = app_stats_healthy,
        .user = &app->stats,
        .log = app->log,
    };
    return api_start(&options, &app->api, err);
}

static bool start_workers(struct app *app, struct err *err)
{
    app->common = (struct worker_common){
        .config = app->config,
        .log = app->log,
        .redis_url = app->redis_url,
        .node = app->node,
        .instance = rng_system_seed(),
        .workers = app->worker_count,
        .shared = deliver_shared_create(),
        .sts = app->sts,
        .tally = app->tally,
        .journals = app->journals,
        .sources = app->sources,
        .source_count = app->source_count,
        .pools = app->pools,
        .pool_count = app->pool_count,
        .schedules = app->schedules,
        .tenants = app->tenants,
    };
    for (unsigned i = 0; i < app->worker_count; i++)
        if (!worker_start(&app->workers[i], &app->common, i, err))
            return false;
    app_stats_running(&app->stats, app->worker_count);
    return true;
}

static bool start_reporter(struct app *app, struct err *err)
{
    if (!*app->config->tls_reports.from)
        return true;
    app->tally = tls_tally_create();
    const struct reporter_options options = {
        .config = app->config,
        .log = app->log,
        .redis_url = app->redis_url,
        .node = app->node,
        .tally = app->tally,
    };
    return reporter_start(&app->reporter, &options, err);
}

static void app_stop(struct app *app)
{
    api_stop(&app->api);
    for (unsigned i = 0; i < app->worker_count; i++)
        if (app->workers[i])
            worker_stop(app->workers[i]);
    for (unsigned i = 0; i < app->worker_count; i++)
        worker_join(&app->workers[i]);
    reporter_stop(&app->reporter);
    tls_tally_destroy(&app->tally);
    sts_destroy(&app->sts);
    deliver_shared_destroy(&app->common.shared);
    queue_journal_close(&app->journal);
    embedded_redis_stop(&app->redis);
    free(app->workers);
    free(app->journals);
    free(app->sources);
    free(app->pools);
    free(app->every_source);
    free(app->same_weights);
    free(app->schedules);
    free(app->tenants);
}

static bool app_start(struct app *app, struct err *err)
{
    const struct config *config = app->config;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    app->worker_count = config->workers ? config->workers : (unsigned)MAX_OF(cores, 1L);
    app->worker_count = MIN_OF(app->worker_count, config->redis.partitions);
    app->workers = mem_array(app->worker_count, sizeof(struct worker *));
    app->journals = mem_array(app->worker_count, sizeof(struct queue_journal *));
    raise_file_limit(app->log);
    if (!node_open(config->state_dir, app->node, err) || !prepare_sources(app, err))
        return false;
    prepare_pools(app);
    prepare_schedules(app);
    prepare_tenants(app);
    /* A slot is taken from an end-of-data to its durable ack, so more are needed than jobs are
     * held. */
    unsigned slots = MAX_OF(config->queue.jobs_in_flight * 4, 65536u);
    if (!queue_journal_open(&app->journal, config->state_dir, app->worker_count, slots, err))
        return false;
    for (unsigned i = 0; i < app->worker_count; i++)
        app->journals[i] = queue_journal_worker(app->journal, i);
    return prepare_sts(app, err) && prepare_redis(app, err) && start_api(app, err) &&
           start_reporter(app, err) && start_workers(app, err);
}

bool app_run(const struct config *config, const struct log *log, struct err *err)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);

    struct app app = { .config = config, .log = log };
    bool ok = app_start(&app, err);
    if (ok) {
        log_info(log, "started", "node %s, %u workers on %s, stats at http://%s/", app.node,
                 app.worker_count, worker_view(app.workers[0]).io,
                 config->api.enabled ? api_address(app.api) : "(off)");
        int signal_number = 0;
        while (sigwait(&signals, &signal_number) != 0) {
            /* interrupted */
        }
        log_info(log, "stopping", "signal %d", signal_number);
    }
    app_stop(&app);
    if (ok)
        log_info(log, "stopped", "all recorded");
    return ok;
}
