#pragma once
/* Who works on this queue: each worker of each node writes itself into ns:nodes once a second. */
#include <jansson.h>

#include "engine/base/err.h"

struct producer;

enum { NODE_GONE_MS = 10000 };

/** All workers that were ever seen and not forgotten, by name: a JSON array of what they wrote
 * (node, worker, pid, host, version, partitions, leased), with "silent_ms" and "state": "live", or
 * "gone" past NODE_GONE_MS. */
MUST_USE bool nodes_list(struct producer *producer, json_t **nodes, struct err *err);
