/* A worker's life: create in the order ring, resolver, policies, delivery, queue, ingest; stop in
 * the order ingest (nothing new), delivery (open transactions end), queue (acks flushed, partitions
 * given up), resolver, ring. */
#include "engine/app/worker.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/app/resolver.h"
#include "engine/app/signing.h"
#include "engine/app/schema.h"
#include "engine/app/ways.h"
#include "engine/base/mem.h"

#define STOP_OPEN_MS 30000 /* for transactions under way */
#define WAYS_MS 5000       /* between looks at relays' secrets */
#define STOP_FLUSH_MS 5000 /* for acks */
#define RENDER_BYTES_MAX ((size_t)256 << 20)
#define CONTENT_BYTES_MAX ((size_t)256 << 20)

struct worker {
    const struct worker_common *common;
    unsigned index;
    pthread_t thread;
    sem_t started;
    bool ok;
    struct err err;
    char context[24];
    struct log log;

    struct ring *ring;
    struct dns_resolver *resolver;
    struct ways ways;
    struct dkim_signer *signer;
    struct ring_timer ways_timer;
    struct deliver *deliver;
    struct queue *queue;
    struct ingest *ingest;
    struct ring_letter stop_letter;
    bool stopping;
};

static struct smtp_timeouts timeouts_of(const struct config *config)
{
    return (struct smtp_timeouts){
        .connect = config->smtp.timeouts.connect_s * 1000,
        .greeting = config->smtp.timeouts.greeting_s * 1000,
        .ehlo = config->smtp.timeouts.ehlo_s * 1000,
        .starttls = config->smtp.timeouts.starttls_s * 1000,
        .mail = config->smtp.timeouts.mail_s * 1000,
        .rcpt = config->smtp.timeouts.rcpt_s * 1000,
        .data = config->smtp.timeouts.data_s * 1000,
        .block = config->smtp.timeouts.block_s * 1000,
        .dot = config->smtp.timeouts.dot_s * 1000,
        .rset = config->smtp.timeouts.rset_s * 1000,
    };
}

static bool worker_create_delivery(struct worker *worker, struct err *err)
{
    const struct worker_common *common = worker->common;
    const struct config *config = common->config;
    if (!ways_create(&worker->ways, config, err) ||
        !app_signer_create(&worker->signer, config, err))
        return false;
    struct deliver_options options = {
        .port = config->smtp.port,
        .sts = common->sts,
        .policies = worker->ways.policies,
        .policy_count = worker->ways.policy_count,
        .relays = worker->ways.relays,
        .relay_count = config->relays_count,
        .rules = worker->ways.rules,
        .rule_count = config->routes_count,
        .timeouts = timeouts_of(config),
        .no_pipelining = !config->smtp.pipelining,
        .no_chunking = !config->smtp.chunking,
        .pipeline_depth = config->smtp.pipeline_depth,
        .pipeline_rank = config->smtp.pipeline_rank,
        .sources = common->sources,
        .source_count = common->source_count,
        .pools = common->pools,
        .pool_count = common->pool_count,
        .connections_per_site = config->pool.connections_per_site,
        .reserved_per_site = config->pool.reserved_per_site,
        .connecting_per_site = config->pool.connect_concurrency_per_site,
        .messages_per_session = config->pool.messages_per_session,
        .idle_ms = config->pool.idle_s * 1000,
        .signer = worker->signer,
        .tally = common->tally,
        .sessions_max = config->pool.sessions_per_worker,
        .family = config->smtp.prefer == CONFIG_IPV6 ? AF_INET6 : AF_INET,
        .race_ms = config->smtp.race_ms,
        .hosts_per_round = config->smtp.hosts_per_attempt,
        .addresses_per_round = config->smtp.addresses_per_attempt,
        .jobs_max = config->queue.jobs_in_flight,
        .jobs_per_destination = config->queue.per_destination,
        .jobs_reserved_percent = config->queue.reserved_percent,
        .schedules = common->schedules,
        .schedule_count = config->retry.schedules_count,
        .retry_schedule_s = config->retry.schedule_s,
        .retry_count = config->retry.schedule_count,
        .retry_jitter_percent = config->retry.jitter_percent,
        .unknown_delay_s = config->retry.unknown_delay_s,
        .render_bytes_max = RENDER_BYTES_MAX,
        .content_bytes_max = CONTENT_BYTES_MAX,
        .shared = common->shared,
        .log = &worker->log,
    };
    return deliver_create(&worker->deliver, worker->ring, worker->resolver, &options, err);
}

static void ways_due(struct ring_timer *timer)
{
    struct worker *worker = CONTAINER_OF(timer, struct worker, ways_timer);
    ways_refresh(&worker->ways, &worker->log);
    ring_timer_start(worker->ring, timer, WAYS_MS);
}

static bool worker_create(struct worker *worker, struct err *err)
{
    const struct worker_common *common = worker->common;
    const struct config *config = common->config;
    unsigned entries = 4096;
    struct ring_options ring = { .body = config->io,
                                 .submission_entries = entries,
                                 .log = &worker->log };
    if (!ring_create(&worker->ring, &ring, err))
        return err_prefix(err, "io");
    ring_timer_init(&worker->ways_timer, ways_due);
    if (!app_resolver_create(&worker->resolver, worker->ring, config, err))
        return err_prefix(err, "dns");
    if (!worker_create_delivery(worker, err))
        return false;
    struct queue_options queue = {
        .url = common->redis_url,
        .name_space = config->redis.name_space,
        .partitions = config->redis.partitions,
        .wait_replicas = config->redis.wait_replicas,
        .wait_timeout_ms = config->redis.wait_timeout_ms,
        .node = common->node,
        .instance = common->instance,
        .worker = worker->index,
        .workers = common->workers,
        .owner_lease_ms = config->queue.owner_lease_ms,
        .events_max = config->queue.events_max,
        .journal = common->journals[worker->index],
        .tenants = common->tenants,
        .tenant_count = config->tenants_count,
        .log = &worker->log,
    };
    if (!queue_create(&worker->queue, worker->ring, &queue, &deliver_queue_events, worker->deliver,
                      err))
        return err_prefix(err, "queue");
    deliver_attach(worker->deliver, worker->queue);
    struct ingest_options ingest = {
        .url = common->redis_url,
        .name_space = config->redis.name_space,
        .partitions = config->redis.partitions,
        .wait_replicas = config->redis.wait_replicas,
        .wait_timeout_ms = config->redis.wait_timeout_ms,
        .node = common->node,
        .worker = worker->index,
        .expires_s = config->retry.expire_s,
        .expires_transactional_s = config->retry.expire_transactional_s,
        .idempotency_s = config->queue.idempotency_s,
        .log = &worker->log,
    };
    if (!ingest_create(&worker->ingest, worker->ring, &ingest, &app_ingest_callbacks, NULL, err))
        return err_prefix(err, "ingest");
    return true;
}

/* ---- stopping, step by step ---- */

static void resolver_closed(void *user)
{
    struct worker *worker = user;
    ring_timer_stop(&worker->ways_timer);
    ring_stop(worker->ring);
}

static void queue_stopped(void *user)
{
    struct worker *worker = user;
    dns_resolver_close(worker->resolver, resolver_closed, worker);
    worker->resolver = NULL;
}

static void deliver_stopped(void *user)
{
    struct worker *worker = user;
    queue_stop(worker->queue, STOP_FLUSH_MS, queue_stopped, worker);
}

static void ingest_stopped(void *user)
{
    struct worker *worker = user;
    deliver_stop(worker->deliver, STOP_OPEN_MS, deliver_stopped, worker);
}

static void worker_stop_delivered(struct ring_letter *letter)
{
    struct worker *worker = CONTAINER_OF(letter, struct worker, stop_letter);
    ingest_stop(worker->ingest, ingest_stopped, worker);
}

/* Frees what worker_create() made, as far as it came. */
static void worker_destroy_parts(struct worker *worker)
{
    ingest_destroy(&worker->ingest);
    queue_destroy(&worker->queue);
    deliver_destroy(&worker->deliver);
    if (worker->resolver) { /* never ran */
        dns_resolver_close(worker->resolver, resolver_closed, worker);
        ring_run(worker->ring);
    }
    ways_free(&worker->ways);
    dkim_signer_destroy(&worker->signer);
    ring_destroy(&worker->ring);
}

static void *worker_main(void *arg)
{
    struct worker *worker = arg;
    char name[16];
    snprintf(name, sizeof name, "worker-%u", worker->index);
    pthread_setname_np(pthread_self(), name);
    worker->ok = worker_create(worker, &worker->err);
    bool ok = worker->ok;
    if (!ok)
        worker_destroy_parts(worker);
    sem_post(&worker->started);
    if (!ok)
        return NULL;
    queue_start(worker->queue);
    if (worker->common->config->relays_count > 0)
        ring_timer_start(worker->ring, &worker->ways_timer, WAYS_MS);
    deliver_start(worker->deliver);
    ingest_start(worker->ingest);
    ring_run(worker->ring);
    worker_destroy_parts(worker);
    return NULL;
}

bool worker_start(struct worker **out, const struct worker_common *common, unsigned index,
                  struct err *err)
{
    struct worker *worker = mem_zalloc(sizeof *worker);
    worker->common = common;
    worker->index = index;
    snprintf(worker->context, sizeof worker->context, "worker=%u", index);
    worker->log = *common->log;
    worker->log.context = worker->context;
    worker->stop_letter.deliver = worker_stop_delivered;
    sem_init(&worker->started, 0, 0);
    int error = pthread_create(&worker->thread, NULL, worker_main, worker);
    if (error) {
        sem_destroy(&worker->started);
        free(worker);
        return err_system(err, error, "can't start worker %u", index);
    }
    while (sem_wait(&worker->started) != 0) {
        /* interrupted */
    }
    if (!worker->ok) {
        *err = worker->err;
        worker_join(&worker);
        return false;
    }
    *out = worker;
    return true;
}

void worker_stop(struct worker *worker)
{
    ring_post(worker->ring, &worker->stop_letter);
}

void worker_join(struct worker **out)
{
    struct worker *worker = *out;
    if (!worker)
        return;
    pthread_join(worker->thread, NULL);
    sem_destroy(&worker->started);
    free(worker);
    *out = NULL;
}

struct worker_view worker_view(const struct worker *worker)
{
    return (struct worker_view){
        .deliver = deliver_stats(worker->deliver),
        .queue = queue_stats(worker->queue),
        .dns = dns_resolver_stats(worker->resolver),
        .ring = ring_stats(worker->ring),
        .io = ring_body_name(worker->ring),
    };
}
