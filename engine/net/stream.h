#pragma once
/* A stream is a ring socket with an optional TLS filter on top (OpenSSL over memory BIOs), and a send queue: what SMTP,
 * IMAP, POP3 and Redis speak through. Plaintext goes in and comes out; who reads doesn't see whether TLS is there.
 *
 * Sending takes vectors ("flights"). Without TLS they go to the kernel as they are, without a copy; with TLS they're
 * encrypted into the stream's own buffer. Either way `sent` tells when their memory may be reused.
 */
#include "engine/net/tls.h"
#include "engine/ring/ring.h"

struct stream;

/** Why a stream failed or ended: one structure for connect, TLS and reset. */
enum stream_end {
    STREAM_END_EOF,            /* the peer closed in order (for TLS: close_notify, or FIN) */
    STREAM_END_CONNECT_FAILED, /* errnum says why */
    STREAM_END_RESET,          /* connection reset or another socket error; errnum */
    STREAM_END_TLS_FAILED,     /* handshake or record failure; text says why */
};
struct stream_failure {
    enum stream_end end;
    int errnum;
    char text[160]; /* one line for people: "connection refused", "certificate verify failed: …" */
};

struct stream_events {
    void (*connected)(struct stream *stream);
    /** TLS is up after stream_tls_start(). */
    void (*secured)(struct stream *stream);
    /** Plaintext arrived, valid during the call; the callee takes all of it. May close the stream. */
    void (*received)(struct stream *stream, struct slice bytes);
    /** The flight has left; its memory is the caller's again. */
    void (*sent)(struct stream *stream);
    /** The end or a failure, once; a flight under way is void (its memory is the caller's again after `closed`).
     *  The owner then calls stream_close(). After STREAM_END_EOF sending may still work (half-closed). */
    void (*ended)(struct stream *stream, const struct stream_failure *failure);
    /** After stream_close(): nothing refers to the structure or to flights any more. The last callback. */
    void (*closed)(struct stream *stream);
};

struct stream {
    struct ring_socket socket;
    const struct stream_events *events;
    struct tls_filter *tls; /* NULL while in clear */
    uint8_t state;          /* private */
    bool ended;
};

void stream_init(struct stream *stream, struct ring *ring, const struct stream_events *events);
/** Starts connecting; receiving starts with the connection. */
void stream_connect(struct stream *stream, const struct sockaddr *peer, socklen_t peer_len,
                    const struct sockaddr *source, socklen_t source_len);
/** Takes over a connected descriptor and starts receiving. */
void stream_adopt(struct stream *stream, int fd);
/** Starts a TLS client handshake: STARTTLS after its 220, or at once after `connected`. No flight may be under way. */
void stream_tls_start(struct stream *stream, const struct tls_client_options *options);
bool stream_secure(const struct stream *stream);
/** Sends one flight, see ring_socket_send(); at most one at a time. */
void stream_send(struct stream *stream, struct iovec *iov, unsigned count);
bool stream_sending(const struct stream *stream);
void stream_quickack(struct stream *stream);
void stream_pause(struct stream *stream);
void stream_resume(struct stream *stream);
/** Closes; only `closed` follows. `reset`: see ring_socket_close(). With TLS and !reset a close_notify is tried. */
void stream_close(struct stream *stream, bool reset);
