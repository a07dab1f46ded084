#pragma once
/* bench-queue: the queue under load without SMTP. It fills a Redis through enqueue.lua as ingest
 * does, then leases and ends jobs through queue.h as engine/deliver does, with a delivery that
 * takes no time, and tells what each of it cost Redis. One thread, one ring.
 *
 *   server.c  a connection of its own: commands one at a time, and what Redis says of itself
 *   fill.c    submissions into the partitions
 *   drain.c   workers: windows per destination, requests by name, discovery, ends of jobs
 *   main.c    the command line, and the result as one line of JSON
 */
#include "engine/ring/ring.h"
#include "queue/keys.h"
#include "queue/loader.h"
#include "queue/url.h"

enum {
    LOAD_PARTITIONS = 16,
    LOAD_SUBMISSIONS_MAX = 64,
    LOAD_SLICES_MAX = 1000, /* of all rounds */
};

struct load_options {
    const char *url;
    uint64_t jobs;         /* queued at the beginning of each round */
    uint64_t drain;        /* of them leased and ended in each round … */
    unsigned slices;       /* … in so many steps that are measured one by one */
    unsigned rounds;       /* each with submissions of its own; one but for short queues */
    unsigned destinations; /* at most as many as jobs */
    unsigned submissions, campaigns;
    unsigned workers;
    unsigned jobs_max, per_destination; /* held by a worker, and of one destination */
    unsigned data_bytes;                /* merge data of a job */
};

/** What Redis says of itself. */
struct server_usage {
    double cpu_us; /* user and system, all threads, since its start */
    uint64_t memory_bytes;
};

/** The longest calls of a script, wall clock, as Redis' slow log has them. */
struct server_slowest {
    uint64_t script_us[SCRIPT_COUNT];
    uint64_t other_us; /* any other command */
};

struct server {
    struct ring *ring;
    struct redis *redis;
    struct redis_url url;
    struct script_loader scripts;
    bool up, stopped;
    const char *lost; /* why it can't be used any more */
};

/** Connects and loads the scripts; turns the ring meanwhile. `server` must not move. */
MUST_USE bool server_open(struct server *server, struct ring *ring, const char *url,
                          const struct log *log, struct err *err);
void server_close(struct server *server);
/** One command and its reply, which `take` (may be NULL) looks at; turns the ring. An error reply
 * is a failure. */
MUST_USE bool server_command(struct server *server, const struct slice *args, unsigned count,
                             void (*take)(void *user, const struct redis_value *reply), void *user,
                             struct err *err);
MUST_USE bool server_usage_read(struct server *server, struct server_usage *out, struct err *err);
/** Makes Redis note all calls that take LOAD_SLOW_US or longer from now on. */
MUST_USE bool server_slowest_start(struct server *server, struct err *err);
/** The longest since then; 0 for scripts none of whose calls took so long. */
MUST_USE bool server_slowest_read(struct server *server, struct server_slowest *out,
                                  struct err *err);
#define LOAD_SLOW_US 200

/** Queues the jobs of a round. Every destination has its share of each submission. */
MUST_USE bool fill_run(struct server *server, const struct load_options *options, unsigned round,
                       struct err *err);

struct drain_result {
    uint64_t leased, ended;
    uint64_t visits; /* destinations in the replies, those where nothing was found included */
    uint64_t calls;  /* of lease.lua */
    int64_t elapsed_us;
};

struct drain;
/** Starts the workers' queues and waits until they own their partitions. */
MUST_USE bool drain_create(struct drain **out, struct ring *ring,
                           const struct load_options *options, const struct log *log,
                           struct err *err);
/** Leases and ends at least `jobs` jobs, and returns when all that was leased is recorded. */
MUST_USE bool drain_run(struct drain *drain, uint64_t jobs, struct drain_result *out,
                        struct err *err);
void drain_destroy(struct drain **drain);
