#pragma once
/* The running engine: wires the modules into workers, starts and stops them in order. */
#include "engine/app/config.h"
#include "engine/base/log.h"

/** Runs until SIGTERM or SIGINT: takes no new jobs then, waits for open transactions (at most 30
 * s), records, and returns true. False when it couldn't start; `err` says why, and nothing is left
 * behind. Call on a process's main thread before other threads exist. */
MUST_USE bool app_run(const struct config *config, const struct log *log, struct err *err);
