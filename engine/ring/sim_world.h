#pragma once
/* The simulated world's inside: a queue of events in virtual time and, per connection, two pipes of
 * segments. sim_world.c keeps the world and the played ends; sim.c is the ring's body on top of it.
 */
#include "engine/ring/ring_body.h"
#include "engine/ring/sim.h"

enum sim_segment_kind { SEGMENT_DATA, SEGMENT_FIN, SEGMENT_RST };

struct sim_segment {
    struct list node;
    enum sim_segment_kind kind;
    int64_t arrives_ms;
    size_t len, taken; /* taken: delivered already, in pieces */
    char bytes[];
};

/** One direction of a connection. Segments arrive in order, however the latency changes. */
struct sim_pipe {
    struct list segments;
    int64_t last_ms;
    size_t bytes;   /* sent, and not delivered */
    bool scheduled; /* an event will deliver the first segment's next piece */
    bool over;      /* a FIN or RST is on it, or delivered */
};

struct ring_sim_peer {
    struct ring_sim *sim;
    const struct ring_sim_handlers *handlers;
    void *user;
    struct ring_sim_link link;
    struct sockaddr_storage address, source;
    int id;                     /* the simulated descriptor */
    struct ring_socket *socket; /* NULL before it's adopted and once it's closed */
    struct sim_pipe to_peer, to_ring;
    bool stalled;
    bool closed; /* by the played end */
    bool ended;  /* its handler has heard so */
    bool gone;   /* the client has closed */
    bool broken; /* a RST has reached the client: sending fails */
};

enum sim_event_kind {
    EVENT_CALL,
    EVENT_SYN,
    EVENT_CONNECTED,
    EVENT_TO_PEER,
    EVENT_TO_RING,
    EVENT_BREAK
};

struct sim_event {
    int64_t at_ms;
    uint64_t order; /* among those of one time: first come, first served */
    enum sim_event_kind kind;
    int error;
    struct ring_sim_peer *peer;
    void (*run)(struct ring_sim *sim, void *user);
    void *user;
};

struct sim_listener {
    struct list node;
    struct sockaddr_storage address;
    const struct ring_sim_handlers *handlers; /* NULL: connects fail with `error`, 0: unanswered */
    void *user;
    int error;
};

struct sim_ready {
    struct list node;
    int fd;
    unsigned events;
};

struct ring_sim {
    int64_t now_ms;
    uint64_t digest;
    struct rng rng;
    struct ring_sim_link link;
    struct list listeners, ready;
    struct ring_sim_peer **peers; /* by id */
    size_t peer_count, peer_room;
    struct sim_event *events; /* a heap */
    size_t event_count, event_room;
    uint64_t event_order;
    struct ring *ring;
};

struct ring_sim_peer *sim_peer_new(struct ring_sim *sim);
struct sim_listener *sim_listener_find(struct ring_sim *sim,
                                       const struct sockaddr_storage *address);
/** A copy of any address, with zeroes behind. */
void sim_address_copy(struct sockaddr_storage *out, const struct sockaddr *address, socklen_t len);
/** What POLLIN and POLLOUT hold for a simulated descriptor. */
unsigned sim_ready_of(const struct ring_sim *sim, int fd);

void sim_event_push(struct ring_sim *sim, struct sim_event event);
/** The time of the next event, or -1. */
int64_t sim_event_next(const struct ring_sim *sim);
struct sim_event sim_event_pop(struct ring_sim *sim);
/** Runs one event that is due. */
void sim_event_run(struct ring_sim *sim, const struct sim_event *event);

/** Puts a segment on a pipe and sees to its delivery. */
void sim_pipe_push(struct ring_sim_peer *peer, struct sim_pipe *pipe, enum sim_segment_kind kind,
                   struct slice bytes);
/** Schedules the delivery of what can be delivered: call when a pipe's reader is ready again. */
void sim_pipe_kick(struct ring_sim_peer *peer, struct sim_pipe *pipe);
/** Forgets what is on the pipe; nothing more gets on it. */
void sim_pipe_cut(struct sim_pipe *pipe);
/** Moves the client's flight into the pipe as far as the window allows. */
void sim_flight_send(struct ring_sim_peer *peer);
