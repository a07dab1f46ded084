#pragma once
/* The private Redis: a redis-server child below the state directory that syncs each write to disk
 * before it answers, listens on a Unix socket only, and lives and dies with the engine. A thread of
 * its own starts it, waits for its end, and starts it again when that came unasked (kill -9 loses
 * nothing that was answered). */
#include "engine/base/err.h"
#include "engine/base/log.h"

struct embedded_redis;

/** Creates STATE_DIR/redis (STATE_DIR must exist), starts the server found in PATH, and returns
 * once it answers and has loaded its data. `log` outlives it. On false nothing is left running. */
MUST_USE bool embedded_redis_start(struct embedded_redis **out, const char *state_dir,
                                   const struct log *log, struct err *err);
/** Ends the server in order (at most some seconds, then by force; either way nothing answered is
 * lost). NULL is fine. */
void embedded_redis_stop(struct embedded_redis **redis);
/** "unix:///…/redis.sock" */
const char *embedded_redis_url(const struct embedded_redis *redis);
/** The same for programs that aren't the engine: where the private Redis of a state directory
 * listens while its engine runs. False when the folder isn't there or its path is too long. */
MUST_USE bool embedded_redis_locate(const char *state_dir, char *url, size_t room, struct err *err);
