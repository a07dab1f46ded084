#pragma once
/* Who serves what, as a sentinel or a node of a cluster tells it. */
#include "engine/base/arena.h"
#include "queue/redis_value.h"
#include "queue/url.h"

enum {
    REDIS_SLOTS = 16384,
    REDIS_PRIMARIES_MAX = 256, /* in a cluster */
    REDIS_NODES_MAX = 1024,    /* replicas included */
};

struct redis_slot_range {
    uint16_t first, last, primary; /* both ends included; an index */
};

struct redis_topology {
    struct redis_host *primaries; /* those with slots */
    unsigned primary_count;
    struct redis_slot_range *ranges;
    unsigned range_count;
    struct redis_host *others; /* replicas: they can be asked, too */
    unsigned other_count;
    int64_t asked_ms; /* monotonic: nothing in it is older */
};

/** The slot of a key: CRC-16 (XMODEM) of what is between the first '{' and the next '}', or of the
 * whole key when there's no such part or nothing in it, modulo 16384. */
unsigned redis_key_slot(struct slice key);

/** Reads the reply to CLUSTER SLOTS, from a node that was reached as `asked`. The arrays are the
 * arena's. False when it isn't one, or names no primary. */
MUST_USE bool redis_topology_cluster(struct redis_topology *out, struct arena *arena,
                                     const struct redis_value *reply,
                                     const struct redis_host *asked);
/** Reads the reply to SENTINEL GET-MASTER-ADDR-BY-NAME: one primary with all slots. */
MUST_USE bool redis_topology_sentinel(struct redis_topology *out, struct arena *arena,
                                      const struct redis_value *reply);

bool redis_host_eq(const struct redis_host *a, const struct redis_host *b);
