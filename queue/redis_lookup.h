#pragma once
/* From a host to an address, without stopping the ring: numeric addresses and Unix sockets at once,
 * names by the system's resolver (files, DNS, whatever it is set to) on a thread of its own, since
 * it only knows how to block. Looked up before each connect, so that a name that goes to another
 * server is followed. */
#include <sys/socket.h>

#include "engine/ring/ring.h"
#include "queue/url.h"

struct lookup_job;

struct redis_lookup {
    struct ring *ring;
    struct ring_timer timer;
    struct lookup_job *job;
    unsigned turn; /* of several addresses each one gets its turn */
    /** With the address, or NULL and why; it lives during the call. */
    void (*done)(struct redis_lookup *lookup, const struct sockaddr *address, socklen_t len,
                 const char *failure);
};

void redis_lookup_init(struct redis_lookup *lookup, struct ring *ring,
                       void (*done)(struct redis_lookup *, const struct sockaddr *, socklen_t,
                                    const char *));
/** Then `done` comes once, in a later turn, unless it's cancelled. */
void redis_lookup_start(struct redis_lookup *lookup, const struct redis_host *host);
void redis_lookup_cancel(struct redis_lookup *lookup);
