/* Starting and stopping a sink. Every worker has a listener of its own on every address
 * (SO_REUSEPORT), so that the kernel spreads the sessions and no thread hands one to another. */
#include "bench/sink/sink.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "bench/sink/side.h"
#include "bench/sink/worker.h"
#include "engine/base/mem.h"

#define BACKLOG 4096
#define THREADS_MAX 256
#define PORT_TRIES 16

struct sink_options sink_options_default(void)
{
    return (struct sink_options){
        .listen = "127.0.0.1:0",
        .threads = 1,
        .hostname = "sink.invalid",
        .size_bytes_max = 64u << 20,
        .duplicates_listed_max = 100,
        .dns_hosts = 1,
        .dns_ttl_seconds = 300,
    };
}

static int listen_on(const struct endpoint *endpoint)
{
    int fd = socket(endpoint->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0),
        on = 1;
    if (fd < 0)
        return -1;
    /* Accepted sockets inherit TCP_NODELAY: replies are small and each answers something. */
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) == 0 &&
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0 &&
        bind(fd, (const struct sockaddr *)&endpoint->address, endpoint->length) == 0 &&
        listen(fd, BACKLOG) == 0)
        return fd;
    int errnum = errno;
    close(fd);
    errno = errnum;
    return -1;
}

/* SO_REUSEPORT would let two sinks share a port unnoticed: the first listener of an address is
 * tried without. */
static bool address_free(const struct endpoint *endpoint, uint16_t *port)
{
    int fd = socket(endpoint->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    struct endpoint bound = *endpoint;
    socklen_t length = sizeof bound.address;
    bool is_free = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
                   bind(fd, (const struct sockaddr *)&endpoint->address, endpoint->length) == 0 &&
                   getsockname(fd, (struct sockaddr *)&bound.address, &length) == 0;
    int errnum = errno;
    if (fd >= 0)
        close(fd);
    errno = errnum;
    *port = endpoint_port(&bound);
    return is_free;
}

/* Settles on ports: where 0 is asked for, one that is free on all those addresses. */
static bool choose_ports(struct endpoints *endpoints, struct err *err)
{
    char host[64];
    for (int tries = PORT_TRIES;; tries--) {
        uint16_t shared = 0, port;
        size_t i;
        for (i = 0; i < endpoints->count; i++) {
            struct endpoint candidate = endpoints->items[i];
            bool any = endpoint_port(&candidate) == 0;
            if (any)
                endpoint_set_port(&candidate, shared);
            if (!address_free(&candidate, &port))
                break;
            if (any)
                shared = port;
        }
        if (i == endpoints->count) {
            for (i = 0; i < endpoints->count; i++)
                if (endpoint_port(&endpoints->items[i]) == 0)
                    endpoint_set_port(&endpoints->items[i], shared);
            return true;
        }
        if (shared == 0 || tries == 0) {
            endpoint_host(&endpoints->items[i], host, sizeof host);
            return err_system(err, errno, "cannot listen on %s port %u", host,
                              endpoint_port(&endpoints->items[i]));
        }
    }
}

static bool worker_listen(struct worker *worker, struct err *err)
{
    const struct endpoints *endpoints = &worker->sink->endpoints;
    worker->listeners = mem_array(endpoints->count, sizeof worker->listeners[0]);
    for (size_t i = 0; i < endpoints->count; i++) {
        int fd = listen_on(&endpoints->items[i]);
        if (fd < 0) {
            char host[64];
            endpoint_host(&endpoints->items[i], host, sizeof host);
            return err_system(err, errno, "cannot listen on %s port %u", host,
                              endpoint_port(&endpoints->items[i]));
        }
        worker->listeners[worker->listeners_count++] = (struct listener){ .fd = fd, .address = i };
    }
    return true;
}

static bool worker_prepare(struct sink *sink, unsigned index, struct err *err)
{
    struct worker *worker = &sink->workers[index];
    worker->sink = sink;
    worker->index = index;
    worker->ledger.ledger = &sink->ledger;
    worker->env = (struct dialogue_env){
        .features = &sink->features,
        .script = sink->script,
        .ledger = &worker->ledger,
        .counters = &worker->counters,
        .latency = sink->options.latency ? &worker->latency : NULL,
    };
    rng_seed(&worker->env.rng, sink->options.seed + index);
    worker->wake_fd = eventfd(0, EFD_CLOEXEC);
    if (worker->wake_fd < 0)
        return err_system(err, errno, "cannot make an eventfd");
    return worker_listen(worker, err);
}

/* Starts one worker and waits until its I/O body is open. */
static bool worker_start(struct worker *worker, const struct io_body *body, struct err *err)
{
    pthread_barrier_t ready;
    pthread_barrier_init(&ready, NULL, 2);
    worker->body = body;
    worker->ready = &ready;
    int errnum = pthread_create(&worker->thread, NULL, worker_main, worker);
    if (errnum == 0)
        pthread_barrier_wait(&ready);
    pthread_barrier_destroy(&ready);
    if (errnum != 0)
        return err_system(err, errnum, "cannot start a thread");
    if (worker->opened)
        return true;
    pthread_join(worker->thread, NULL);
    *err = worker->err;
    return false;
}

static bool worker_start_any(struct worker *worker, enum sink_io io, struct err *err)
{
    if (io == SINK_IO_EPOLL)
        return worker_start(worker, &io_body_epoll, err);
    if (worker_start(worker, &io_body_uring, err))
        return true;
    return io == SINK_IO_AUTO && worker_start(worker, &io_body_epoll, err);
}

static void worker_stop(struct worker *worker)
{
    if (worker->opened) {
        atomic_store(&worker->stop, true);
        eventfd_write(worker->wake_fd, 1);
        pthread_join(worker->thread, NULL);
    }
    for (size_t i = 0; i < worker->listeners_count; i++)
        close(worker->listeners[i].fd);
    free(worker->listeners);
    if (worker->wake_fd > 0)
        close(worker->wake_fd);
    buf_free(&worker->ledger.lines);
}

void sink_stop(struct sink **out)
{
    struct sink *sink = *out;
    if (!sink)
        return;
    side_stop(&sink->side);
    for (unsigned i = 0; i < sink->workers_count; i++)
        worker_stop(&sink->workers[i]);
    free(sink->workers);
    free(sink->addresses);
    endpoints_free(&sink->endpoints);
    script_destroy(&sink->script);
    sink_tls_context_destroy(&sink->tls);
    ledger_close(&sink->ledger);
    free(sink->hostname);
    free(sink->ledger_file);
    free(sink->zone);
    free(sink);
    *out = NULL;
}

static bool sink_prepare(struct sink *sink, const struct sink_options *options, struct err *err)
{
    if (options->threads < 1 || options->threads > THREADS_MAX)
        return err_set(err, ERR_USAGE, "threads must be from 1 to %d", THREADS_MAX);
    if (!endpoints_parse(slice_str(options->listen), &sink->endpoints, err) ||
        !choose_ports(&sink->endpoints, err))
        return false;
    if (options->script_text && !script_parse(slice_str(options->script_text), &sink->script, err))
        return false;
    if (options->starttls && !sink_tls_context_create(options->certificate_file, options->key_file,
                                                      sink->hostname, &sink->tls, err))
        return false;
    sink->features = (struct dialogue_features){
        .hostname = sink->hostname,
        .chunking = !options->no_chunking,
        .pipelining = !options->no_pipelining,
        .starttls = options->starttls,
        .requiretls = options->requiretls,
        .size_bytes_max = options->size_bytes_max,
        .delay_ms = options->delay_ms,
        .content = {
            .id = options->ledger_file || options->id_in_key,
            .digest = options->ledger_file && options->ledger_digest,
            .inspect = options->inspect,
        },
    };
    sink->addresses = mem_array(sink->endpoints.count, sizeof sink->addresses[0]);
    for (size_t i = 0; i < sink->endpoints.count; i++)
        endpoint_host(&sink->endpoints.items[i], sink->addresses[i].host,
                      sizeof sink->addresses[i].host);
    sink->workers = mem_array(options->threads, sizeof sink->workers[0]);
    for (unsigned i = 0; i < options->threads; i++) {
        sink->workers_count++;
        if (!worker_prepare(sink, i, err))
            return false;
    }
    return true;
}

static bool sink_run(struct sink *sink, struct err *err)
{
    const struct sink_options *options = &sink->options;
    for (unsigned i = 0; i < sink->workers_count; i++)
        if (!worker_start_any(&sink->workers[i], options->io, err))
            return false;
    if (!options->dns_listen && !options->stats_listen)
        return true;
    struct side_options side = {
        .dns_listen = options->dns_listen,
        .stats_listen = options->stats_listen,
        .world = {
            .addresses = &sink->endpoints,
            .zone = slice_str(sink->zone),
            .sites = options->dns_sites,
            .hosts = options->dns_hosts,
            .ttl_seconds = options->dns_ttl_seconds,
        },
        .sink = sink,
        .counters = &sink->side_counters,
    };
    return side_start(&side, &sink->side, err);
}

bool sink_start(const struct sink_options *options, struct sink **out, struct err *err)
{
    struct sink *sink = mem_zalloc(sizeof *sink);
    sink->options = *options;
    sink->hostname = slice_dup(slice_str(options->hostname));
    sink->zone = slice_dup(slice_str(options->dns_zone ? options->dns_zone : ""));
    sink->ledger_file = options->ledger_file ? slice_dup(slice_str(options->ledger_file)) : NULL;
    for (char *c = sink->zone; *c; c++)
        *c = ascii_lower(*c);
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    sink->started_us = (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
    struct ledger_options ledger = {
        .file = sink->ledger_file,
        .id_in_key = options->id_in_key,
        .duplicates_listed_max = options->duplicates_listed_max,
    };
    if (!ledger_open(&sink->ledger, ledger, err)) {
        free(sink->hostname);
        free(sink->zone);
        free(sink->ledger_file);
        free(sink);
        return false;
    }
    /* Signals belong to the caller's thread. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool started = sink_prepare(sink, options, err) && sink_run(sink, err);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!started) {
        sink_stop(&sink);
        return false;
    }
    /* The caller's strings may go now. */
    sink->options.listen = sink->options.hostname = sink->options.script_text = NULL;
    sink->options.certificate_file = sink->options.key_file = sink->options.ledger_file = NULL;
    sink->options.dns_listen = sink->options.dns_zone = sink->options.stats_listen = NULL;
    *out = sink;
    return true;
}

uint16_t sink_smtp_port(const struct sink *sink)
{
    return endpoint_port(&sink->endpoints.items[0]);
}

uint16_t sink_dns_port(const struct sink *sink)
{
    return sink->side ? side_dns_port(sink->side) : 0;
}

uint16_t sink_stats_port(const struct sink *sink)
{
    return sink->side ? side_stats_port(sink->side) : 0;
}
