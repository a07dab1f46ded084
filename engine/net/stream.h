#pragma once
/* A stream is a ring socket with an optional TLS filter on top (OpenSSL), and one flight under way
 * at a time: what SMTP, IMAP, POP3 and Redis speak through. Plaintext goes in and comes out; who
 * reads doesn't see whether TLS is there.
 *
 * Sending takes vectors ("flights"). Without TLS they go to the kernel as they are, without a copy;
 * with TLS they're encrypted into the stream's own memory, a bounded part at a time. Either way
 * `sent` tells when their memory may be reused.
 *
 * No callback fires inside a call of this header, and each callback may call anything in it,
 * stream_close() included. One thread owns a stream: its ring's.
 */
#include "engine/net/tls.h"
#include "engine/ring/ring.h"

struct stream;
struct stream_tls;

/** Why a stream failed or ended: one structure for connect, TLS and reset. */
enum stream_end {
    STREAM_END_EOF, /* the peer closed in order (for TLS: close_notify, or FIN; text says which) */
    STREAM_END_CONNECT_FAILED, /* errnum says why */
    STREAM_END_RESET,          /* connection reset or another socket error; errnum */
    STREAM_END_TLS_FAILED,     /* handshake or record failure; text says why */
};
struct stream_failure {
    enum stream_end end;
    int errnum;
    enum tls_problem problem; /* STREAM_END_TLS_FAILED */
    char text[160]; /* one line for people: "connection refused", "TLS handshake failed: certificate
                       verify failed: …" */
};

struct stream_events {
    /** After stream_connect(). NULL where only stream_adopt() is used. */
    void (*connected)(struct stream *stream);
    /** TLS is up after stream_tls_start(). NULL where TLS isn't used. */
    void (*secured)(struct stream *stream);
    /** Plaintext arrived, valid during the call; the callee takes all of it. May close the stream,
     * or start TLS: what arrives after this call is then TLS, while `bytes` is all that came
     * before. (SMTP: when anything follows the 220 to STARTTLS in `bytes`, somebody injected it;
     * RFC 3207, 6.) */
    void (*received)(struct stream *stream, struct slice bytes);
    /** The flight has left; its memory is the caller's again. NULL where nothing is sent. */
    void (*sent)(struct stream *stream);
    /** The end or a failure; a flight under way is void after a failure (its memory is the caller's
     * again after `closed`). The owner then calls stream_close(). Once, but: after STREAM_END_EOF
     * sending still works (half-closed), and the flight of an owner that goes on sending may fail,
     * which is a second call. */
    void (*ended)(struct stream *stream, const struct stream_failure *failure);
    /** After stream_close(): nothing refers to the structure or to flights any more. The last
     * callback; may be NULL. */
    void (*closed)(struct stream *stream);
};

struct stream {
    struct ring_socket socket;
    const struct stream_events *events;
    struct stream_tls *tls; /* private; NULL while in clear */
    uint8_t state;          /* private */
    bool paused;            /* private */
    bool ended;             /* the first `ended` has been called, or is just being called */
    int send_errnum; /* private: the flight failed, and what was received before that is still to
                        come */
};

/** Prepares the structure; needs no close as long as nothing else is called. */
void stream_init(struct stream *stream, struct ring *ring, const struct stream_events *events);
/** Its flights leave in time or fail, see ring_socket_timely(). */
void stream_timely(struct stream *stream);
/** Starts connecting; receiving starts with the connection. Failure comes as `ended` with
 * STREAM_END_CONNECT_FAILED. The addresses are copied; `source` may be NULL. */
void stream_connect(struct stream *stream, const struct sockaddr *peer, socklen_t peer_len,
                    const struct sockaddr *source, socklen_t source_len);
/** Takes over a connected descriptor and starts receiving. */
void stream_adopt(struct stream *stream, int fd);
/** Starts a TLS client handshake: STARTTLS after its 220, or at once after `connected`. No flight
 * may be under way, and none may be sent before `secured`. */
void stream_tls_start(struct stream *stream, const struct tls_client_options *options);
bool stream_secure(const struct stream *stream);
/** Sends one flight, see ring_socket_send(); at most one at a time. The array's entries are
 * changed. On a stream that has failed nothing happens: `ended` has said so or is about to. */
void stream_send(struct stream *stream, struct iovec *iov, unsigned count);
/** Whether a flight of stream_send() is under way. */
bool stream_sending(const struct stream *stream);
/** See ring_socket_quickack(). */
void stream_quickack(struct stream *stream);
/** Back-pressure: stops receiving; what has been read already may still arrive. Allowed in any
 * state. */
void stream_pause(struct stream *stream);
void stream_resume(struct stream *stream);
/** Closes; only `closed` follows. `reset`: see ring_socket_close(). With TLS, !reset and no flight
 * under way, a close_notify (or the alert that belongs to a TLS failure) is sent first, for which a
 * peer that doesn't read gets one second. A second call has no effect, unless it asks for a reset
 * while that is being waited for. */
void stream_close(struct stream *stream, bool reset);
