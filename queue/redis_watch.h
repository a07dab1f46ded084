#pragma once
/* Keeps asking who serves what: one connection to a sentinel, or to any node of a cluster, and the
 * next one when that fails or seems to know less than others do. */
#include "queue/redis.h"
#include "queue/redis_topology.h"

struct redis_watch;

struct redis_watch_events {
    /** An answer; the topology lives during the call. */
    void (*learned)(void *user, const struct redis_topology *topology);
    /** Whether something isn't as it should be: then it asks five times a second, else once a
     * second (a sentinel) or a minute (a cluster's node). */
    bool (*troubled)(void *user);
    /** After redis_watch_stop(); the last callback. */
    void (*stopped)(void *user);
};

/** `url` and `target` (a sentinel's or a node's, but for its host) outlive it. */
void redis_watch_create(struct redis_watch **out, struct ring *ring,
                        const struct redis_options *options, const struct redis_url *url,
                        const struct redis_target *target, const struct redis_watch_events *events,
                        void *user);
void redis_watch_start(struct redis_watch *watch);
void redis_watch_stop(struct redis_watch *watch);
void redis_watch_destroy(struct redis_watch **watch);
/** Asks soon, whatever was said before. */
void redis_watch_ask(struct redis_watch *watch);
/** Why nothing is known; "" when there's no reason to give. */
const char *redis_watch_failure(const struct redis_watch *watch);
