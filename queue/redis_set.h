#pragma once
/* The servers behind one URL (queue/url.h): one connection for redis:// and unix://; one to the
 * current primary with Sentinel; one to each primary of a cluster. Who uses a set asks for the
 * server of each key and needs to know nothing of this.
 *
 * What a server of the set promises is what one connection promises (queue/redis.h): its commands
 * run in order, and `down` comes when all its calls have been answered. Between two servers there
 * is no order. So whoever moves a key's commands from one server to another first waits for
 * `down` of the old one, dropping its connection if need be. */
#include "queue/redis.h"

struct redis_set;

struct redis_set_events {
    /** A server is connected, authenticated, its database selected. */
    void (*up)(void *user, struct redis *server);
    /** Its connection is gone; all its calls have been answered with NULL. */
    void (*down)(void *user, struct redis *server);
    /** Keys may have other servers than before. May be NULL. */
    void (*moved)(void *user);
    /** After redis_set_stop(); the last callback. */
    void (*stopped)(void *user);
    /** What the user keeps for each server, see redis_set_data(). */
    size_t server_bytes;
};

/** False when the URL or its certificates' files can't be used. */
MUST_USE bool redis_set_create(struct redis_set **out, struct ring *ring,
                               const struct redis_options *options,
                               const struct redis_set_events *events, void *user, struct err *err);
void redis_set_start(struct redis_set *set);
/** Closes. Calls under way are answered with NULL first, then `down` of each server that was up,
 * then `stopped`. */
void redis_set_stop(struct redis_set *set);
/** Only when never started, or after `stopped`. */
void redis_set_destroy(struct redis_set **set);

/** The server that serves this key now, of a cluster by the key's slot; NULL while it isn't up. */
struct redis *redis_set_server(const struct redis_set *set, struct slice key);
/** The user's memory for a server, server_bytes long: zeroed when the server joins the set, and
 * there until the server has left it, which is after its `down`. */
void *redis_set_data(const struct redis *server);

/** Those that are in the set now, connected or not. */
unsigned redis_set_count(const struct redis_set *set);
struct redis *redis_set_at(const struct redis_set *set, unsigned index);

enum redis_url_kind redis_set_kind(const struct redis_set *set);
/** Why something isn't up; "" when there's no reason to give. Without passwords. */
const char *redis_set_failure(const struct redis_set *set);

/** Sums over all servers, those that have left included. */
uint64_t redis_set_commands(const struct redis_set *set);
/** Connections made again after a loss. */
uint64_t redis_set_reconnects(const struct redis_set *set);
