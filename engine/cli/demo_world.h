#pragma once
/* The processes of a demonstration: the sink that stands for the world, as a forked child; the
 * engine, this program again with `run`; and the folder where all of it lives. */
#include <sys/types.h>

#include "engine/base/buf.h"
#include "engine/base/err.h"

/** What the sink does to a recipient, told by the address: the demonstration's whole script. */
#define DEMO_GONE "gone."    /* local part: 550 */
#define DEMO_LATER "later."  /* local part: 451 the first time */
#define DEMO_NO_DOMAIN "nx-" /* domain: doesn't exist */

struct demo_world {
    char directory[256];
    char ledger_path[300], config_path[300], engine_log_path[300];
    char stats_address[64];
    uint16_t smtp_port, dns_port;
    pid_t sink, engine;
    int sink_pipe; /* to the sink: its end stops it */
};

struct demo_world_options {
    const char *io; /* for engine and sink; NULL: auto */
    uint64_t events_max;
};

/** Makes the folder, starts the sink, then the engine, and returns when that is healthy. Call
 * before there are threads: the children die with the calling one. On false what was started is
 * stopped. */
MUST_USE bool demo_world_start(struct demo_world *world, const struct demo_world_options *options,
                               struct err *err);
/** Whether engine and sink still run; `err` says who doesn't. */
MUST_USE bool demo_world_alive(struct demo_world *world, struct err *err);
/** Stops the engine in order; false when its exit code isn't 0. */
bool demo_world_stop_engine(struct demo_world *world);
/** Stops the sink, whose ledger is complete then. */
void demo_world_stop_sink(struct demo_world *world);
/** Deletes the folder. */
void demo_world_remove(struct demo_world *world);
