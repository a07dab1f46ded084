#pragma once
/* The simulated world behind a ring with RING_BODY_SIM: virtual time, and servers that a test
 * plays. Nothing here touches the operating system; one seed gives one course of events.
 *
 *     struct ring_sim *sim = ring_sim_create(seed);
 *     ring_sim_listen(sim, address, sizeof address, &server, user);
 *     ring_create(&ring, &(struct ring_options){ .body = RING_BODY_SIM, .sim = sim }, &err);
 *     … start what is tested on `ring` …
 *     ring_sim_run_until(ring, done, user);
 *     ring_destroy(&ring);
 *     ring_sim_destroy(&sim);
 *
 * Callbacks of the server's side and of ring_sim_at() run inside ring_turn(), between the ring's
 * own, at the virtual time of their event; they may call anything in this header and in ring.h. A
 * world has one ring at a time.
 */
#include "engine/ring/ring.h"

struct ring_sim_peer; /* the far end of one connection */

/** What a played server hears. Any member may be NULL. */
struct ring_sim_handlers {
    /** A client's SYN arrived and was answered; greet here. */
    void (*accepted)(struct ring_sim_peer *peer);
    /** Bytes from the client, in order, in the pieces that the link makes; valid during the call.
     */
    void (*received)(struct ring_sim_peer *peer, struct slice bytes);
    /** The client's FIN (error 0) or its RST (ECONNRESET). Once. Sending still works after a FIN.
     */
    void (*ended)(struct ring_sim_peer *peer, int error);
};

/** How bytes travel. Zeroed: at once, in one piece, into a window without end. */
struct ring_sim_link {
    int64_t to_peer_ms, to_ring_ms; /* latency per direction; a connect takes both */
    size_t piece_bytes;             /* arrive in pieces of at most this; 0: as sent */
    bool random_pieces;  /* pieces of random size, 1…piece_bytes (0: …all that is there) */
    size_t window_bytes; /* what a stalled peer takes before the client's send waits; 0: nothing */
};

/** Creates a world at virtual time 1 ms. */
struct ring_sim *ring_sim_create(uint64_t seed);
/** The ring must be destroyed first. Frees all peers. Sets *sim to NULL. */
void ring_sim_destroy(struct ring_sim **sim);

/** The link of connections made from now on (ring_sim_peer_link() changes one). Initially all zero.
 */
void ring_sim_set_link(struct ring_sim *sim, const struct ring_sim_link *link);
/** Plays a server at an address; again with the same address replaces it. `handlers` must stay
 * valid. */
void ring_sim_listen(struct ring_sim *sim, const struct sockaddr *address, socklen_t len,
                     const struct ring_sim_handlers *handlers, void *user);
/** Connects to this address fail with `error` from now on; 0: are never answered. An address
 * without a listener refuses (ECONNREFUSED). ring_sim_listen() takes it back. */
void ring_sim_fail_connects(struct ring_sim *sim, const struct sockaddr *address, socklen_t len,
                            int error);
/** A connection that is already up, for ring_socket_adopt(): its simulated descriptor. `accepted`
 * isn't called; *peer (may be NULL) is the played end. */
int ring_sim_pair(struct ring_sim *sim, const struct ring_sim_handlers *handlers, void *user,
                  struct ring_sim_peer **peer);
/** Makes a simulated descriptor (any number ≥ 0) ready or not for ring_poll. */
void ring_sim_set_ready(struct ring_sim *sim, int fd, bool readable, bool writable);

/** The user pointer: the listener's at first. */
void *ring_sim_peer_user(const struct ring_sim_peer *peer);
void ring_sim_peer_set_user(struct ring_sim_peer *peer, void *user);
struct ring_sim *ring_sim_peer_sim(const struct ring_sim_peer *peer);
/** Changes the link of this connection for what is sent from now on. */
void ring_sim_peer_link(struct ring_sim_peer *peer, const struct ring_sim_link *link);
/** The address that the client connected to, and the one it bound (family AF_UNSPEC if none). */
const struct sockaddr_storage *ring_sim_peer_address(const struct ring_sim_peer *peer);
const struct sockaddr_storage *ring_sim_peer_source(const struct ring_sim_peer *peer);
/** Sends to the client; the bytes are copied. No effect after a close or a reset. */
void ring_sim_peer_send(struct ring_sim_peer *peer, struct slice bytes);
/** Sends FIN behind what was sent (half-close); receiving goes on. */
void ring_sim_peer_shutdown(struct ring_sim_peer *peer);
/** Ends the connection, with a FIN or a RST; no handler runs for this peer any more. What the
 * client sends after a close is answered with a RST. The peer stays valid until ring_sim_destroy().
 */
void ring_sim_peer_close(struct ring_sim_peer *peer, bool reset);
/** Stalled, a peer reads nothing: beyond the link's window the client's flight doesn't complete. */
void ring_sim_peer_stall(struct ring_sim_peer *peer, bool stalled);

/** Runs `run(sim, user)` once, `delay_ms` from now. */
void ring_sim_at(struct ring_sim *sim, int64_t delay_ms,
                 void (*run)(struct ring_sim *sim, void *user), void *user);
int64_t ring_sim_now_ms(const struct ring_sim *sim);
struct rng *ring_sim_rng(struct ring_sim *sim);
/** A number that depends on each event so far, its order and time: equal seeds must give equal
 * digests. */
uint64_t ring_sim_digest(const struct ring_sim *sim);

/** Turns the ring until `done(user)` holds (looked at after each turn) or nothing is left that
 * could happen: no event, timer, task or letter. Returns whether it holds. A NULL `done` never
 * holds.
 *
 *  On such a ring, ring_turn(ring, -1) jumps to the next event or timer and returns at once when
 * there is none; ring_turn(ring, ms) jumps no farther than `ms`; ring_run() returns when nothing is
 * left. */
bool ring_sim_run_until(struct ring *ring, bool (*done)(void *user), void *user);
