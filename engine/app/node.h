#pragma once
/* The node's place on disk: the state directory and the node's stable id in it. */
#include "engine/base/err.h"

#define NODE_ID_MAX 40

/** Creates the state directory (0700, parents too) if it isn't there, and reads or makes the node
 * id in its file `node-id`. */
MUST_USE bool node_open(const char *state_dir, char id[NODE_ID_MAX + 1], struct err *err);
