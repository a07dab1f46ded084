/* Streams: a ring socket, in clear or with a tls_filter between it and its owner.
 *
 *               stream_send                       stream_close
 *   owner ──► flight (iovec) ──► tls_filter.output ──► sealed ──► socket      clear: flight ──►
 * socket owner ◄── received ◄── tls_filter_read ◄── the ring's receive buffer      clear: received
 * ◄── the ring's buffer
 *
 * Ciphertext lies in two buffers: `output`, into which OpenSSL may write at any moment, and
 * `sealed`, which the socket is sending and nobody touches. tls_pump() is the one place that
 * encrypts and sends; it looks at the stream and does what is now possible, and may be called at
 * any time. Both buffers are freed as soon as they're sent, because an idle session should cost
 * what OpenSSL costs and no more.
 *
 * What goes wrong inside a call of the owner's (an SSL_write that fails) is told by a task, so that
 * no callback fires inside the owner's own call; the state is STREAM_FAILED from then on, and what
 * the socket still says is ignored.
 */
#include "engine/net/stream.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/mem.h"
#include "engine/net/tls_filter.h"

enum stream_state {
    STREAM_IDLE,
    STREAM_CONNECTING,
    STREAM_CLEAR,
    STREAM_HANDSHAKE,
    STREAM_SECURE,
    STREAM_FAILED,   /* only stream_close() is left */
    STREAM_FAREWELL, /* a close_notify or an alert is leaving, then the socket is closed */
    STREAM_CLOSED,   /* the socket is closing */
};

#define FAREWELL_MS 1000

struct stream_tls {
    struct tls_filter filter;
    struct stream *stream;
    void (*ticket)(void *user, struct tls_ticket *ticket);
    void *ticket_user;
    struct buf sealed; /* the socket is sending it */
    struct iovec sealed_iov;
    struct iovec *iov; /* what is left of the owner's flight, not yet encrypted */
    unsigned iov_count;
    bool flight; /* the owner waits for `sent` */
    struct ring_task later;
    struct ring_timer farewell;
    struct stream_failure failure; /* what `later` tells in STREAM_FAILED */
};

static struct stream *stream_of(struct ring_socket *socket)
{
    return CONTAINER_OF(socket, struct stream, socket);
}

/* ---- how it ends ---- */

static void say_errno(struct stream_failure *failure, const char *context)
{
    const char *name = strerrordesc_np(failure->errnum);
    char text[96];
    snprintf(text, sizeof text, "%s", name ? name : "unknown error");
    if (text[0] && ascii_lower(text[1]) == text[1])
        text[0] = ascii_lower(text[0]); /* "Connection refused", but "RPC …" */
    snprintf(failure->text, sizeof failure->text, "%s%s", text, context);
}

static void tell_end(struct stream *stream, const struct stream_failure *failure)
{
    if (failure->end != STREAM_END_EOF)
        stream->state = STREAM_FAILED;
    stream->ended = true;
    stream->events->ended(stream, failure);
}

static void tell_errno(struct stream *stream, enum stream_end end, int errnum)
{
    struct stream_failure failure = { .end = end, .errnum = errnum };
    say_errno(&failure, stream->state == STREAM_HANDSHAKE ? " during the TLS handshake" : "");
    tell_end(stream, &failure);
}

static void tell_eof(struct stream *stream, const char *text)
{
    struct stream_failure failure = { .end = STREAM_END_EOF };
    snprintf(failure.text, sizeof failure.text, "%s", text);
    tell_end(stream, &failure);
}

/* failure.text has been filled. Told by the task. */
static void tls_fail(struct stream *stream)
{
    stream->tls->failure.end = STREAM_END_TLS_FAILED;
    stream->tls->failure.problem = stream->tls->filter.problem;
    stream->state = STREAM_FAILED;
    ring_task_queue(stream->socket.ring, &stream->tls->later);
}

static void finish(struct stream *stream, bool reset)
{
    stream->state = STREAM_CLOSED;
    if (stream->tls) {
        ring_task_cancel(&stream->tls->later);
        ring_timer_stop(&stream->tls->farewell);
    }
    ring_socket_close(&stream->socket, reset);
}

/* ---- TLS over the socket ---- */

static void send_sealed(struct stream *stream)
{
    struct stream_tls *tls = stream->tls;
    buf_free(&tls->sealed);
    tls->sealed = tls->filter.output;
    tls->filter.output = (struct buf){ .bytes_max = tls->sealed.bytes_max };
    struct slice bytes = buf_slice(&tls->sealed);
    tls->sealed_iov = (struct iovec){ .iov_base = (char *)bytes.ptr, .iov_len = bytes.len };
    ring_socket_send(&stream->socket, &tls->sealed_iov, 1);
}

/* Encrypts and sends what can be now; calls nobody. */
static void tls_pump(struct stream *stream)
{
    struct stream_tls *tls = stream->tls;
    if (ring_socket_sending(&stream->socket) || stream->send_errnum)
        return;
    if (tls->iov_count > 0 && !tls_filter_write(&tls->filter, &tls->iov, &tls->iov_count,
                                                tls->failure.text, sizeof tls->failure.text)) {
        tls_fail(stream);
        return;
    }
    if (tls->filter.output.len > 0)
        send_sealed(stream);
}

static bool flight_done(const struct stream *stream)
{
    const struct stream_tls *tls = stream->tls;
    return tls->flight && tls->iov_count == 0 && !ring_socket_sending(&stream->socket);
}

static void tell_sent(struct stream *stream)
{
    stream->tls->flight = false;
    stream->events->sent(stream);
}

static void on_later(struct ring_task *task)
{
    struct stream_tls *tls = CONTAINER_OF(task, struct stream_tls, later);
    struct stream *stream = tls->stream;
    if (stream->state == STREAM_FAILED)
        tell_end(stream, &tls->failure);
    else if (stream->state == STREAM_SECURE && flight_done(stream)) /* a flight without bytes */
        tell_sent(stream);
}

static void on_farewell_expired(struct ring_timer *timer)
{
    finish(CONTAINER_OF(timer, struct stream_tls, farewell)->stream, false);
}

/* In the order in which they came. Each callee may close the stream; the filter lives until
 * `closed` and frees the rest. */
static void hand_over_tickets(struct stream *stream)
{
    struct stream_tls *tls = stream->tls;
    struct tls_ticket *ticket;
    while (stream->state == STREAM_SECURE && (ticket = tls_filter_take_ticket(&tls->filter)))
        tls->ticket(tls->ticket_user, ticket);
}

/* One step of the handshake; whether there may be more to do. */
static bool tls_step_handshake(struct stream *stream)
{
    struct stream_tls *tls = stream->tls;
    switch (tls_filter_handshake(&tls->filter, tls->failure.text, sizeof tls->failure.text)) {
    case TLS_DONE:
        stream->state = STREAM_SECURE;
        stream->events->secured(stream);
        return true;
    case TLS_BROKEN:
        tls_fail(stream);
        return false;
    case TLS_CLOSED:
    case TLS_WANTS_INPUT:
        break;
    }
    return false;
}

static bool tls_step_read(struct stream *stream)
{
    struct stream_tls *tls = stream->tls;
    struct slice plain;
    switch (tls_filter_read(&tls->filter, &plain, tls->failure.text, sizeof tls->failure.text)) {
    case TLS_DONE:
        hand_over_tickets(stream); /* those that came before */
        if (stream->state == STREAM_SECURE)
            stream->events->received(stream, plain);
        return true;
    case TLS_CLOSED:
        if (!stream->ended)
            tell_eof(stream, "closed by the peer");
        return false;
    case TLS_BROKEN:
        tls_fail(stream);
        return false;
    case TLS_WANTS_INPUT:
        break;
    }
    return false;
}

static void tls_received(struct stream *stream, struct slice bytes)
{
    struct stream_tls *tls = stream->tls;
    tls->filter.input = bytes;
    bool more = true;
    while (more) {
        if (stream->state == STREAM_HANDSHAKE)
            more = tls_step_handshake(stream);
        else if (stream->state == STREAM_SECURE)
            more = tls_step_read(stream);
        else
            more = false;
        hand_over_tickets(stream);
    }
    tls->filter.input = (struct slice){ 0 };
    if (stream->state == STREAM_HANDSHAKE || stream->state == STREAM_SECURE)
        tls_pump(stream);
}

static void tls_sent(struct stream *stream)
{
    buf_free(&stream->tls->sealed);
    tls_pump(stream);
    if (stream->state == STREAM_SECURE && flight_done(stream))
        tell_sent(stream);
}

/* ---- the socket's events ---- */

static void start_receiving(struct stream *stream)
{
    stream->state = STREAM_CLEAR;
    if (!stream->paused)
        ring_socket_receive(&stream->socket);
}

static void on_connected(struct ring_socket *socket, int error)
{
    struct stream *stream = stream_of(socket);
    if (stream->state != STREAM_CONNECTING)
        return;
    if (error) {
        tell_errno(stream, STREAM_END_CONNECT_FAILED, error);
        return;
    }
    start_receiving(stream);
    stream->events->connected(stream);
}

static void on_received(struct ring_socket *socket, struct slice bytes)
{
    struct stream *stream = stream_of(socket);
    if (stream->state == STREAM_CLEAR)
        stream->events->received(stream, bytes);
    else if (stream->state == STREAM_HANDSHAKE || stream->state == STREAM_SECURE)
        tls_received(stream, bytes);
}

static void on_ended(struct ring_socket *socket, int error)
{
    struct stream *stream = stream_of(socket);
    switch ((enum stream_state)stream->state) {
    case STREAM_CLEAR:
    case STREAM_SECURE:
        if (error || stream->send_errnum)
            tell_errno(stream, STREAM_END_RESET, error ? error : stream->send_errnum);
        else if (!stream->ended)
            tell_eof(stream, stream->tls ? "closed by the peer without close_notify"
                                         : "closed by the peer");
        return;
    case STREAM_HANDSHAKE:
        if (error || stream->send_errnum) {
            tell_errno(stream, STREAM_END_RESET, error ? error : stream->send_errnum);
            return;
        }
        snprintf(stream->tls->failure.text, sizeof stream->tls->failure.text,
                 "TLS handshake failed: closed by the peer");
        tls_fail(stream);
        return;
    case STREAM_FAREWELL: /* nobody is left to take it */
        finish(stream, false);
        return;
    case STREAM_IDLE:
    case STREAM_CONNECTING:
    case STREAM_FAILED:
    case STREAM_CLOSED:
        return;
    }
}

/* A peer that says "421" and resets has its last words in our receive queue while the send fails:
 * the connection's death is told by `ended`, behind them. It always comes, unless nothing is being
 * received. */
static void send_failed(struct stream *stream, int error)
{
    bool told_later = (error == EPIPE || error == ECONNRESET) && !stream->paused && !stream->ended;
    if (told_later)
        stream->send_errnum = error;
    else
        tell_errno(stream, STREAM_END_RESET, error);
}

static void on_sent(struct ring_socket *socket, int error)
{
    struct stream *stream = stream_of(socket);
    switch ((enum stream_state)stream->state) {
    case STREAM_CLEAR:
    case STREAM_HANDSHAKE:
    case STREAM_SECURE:
        if (error)
            send_failed(stream, error);
        else if (stream->tls)
            tls_sent(stream);
        else
            stream->events->sent(stream);
        return;
    case STREAM_FAREWELL:
        finish(stream, false);
        return;
    case STREAM_IDLE:
    case STREAM_CONNECTING:
    case STREAM_FAILED:
    case STREAM_CLOSED:
        return;
    }
}

static void on_closed(struct ring_socket *socket)
{
    struct stream *stream = stream_of(socket);
    if (stream->tls) {
        tls_filter_deinit(&stream->tls->filter);
        buf_free(&stream->tls->sealed);
        free(stream->tls);
        stream->tls = NULL;
    }
    if (stream->events->closed)
        stream->events->closed(stream);
}

static const struct ring_socket_events socket_events = {
    .connected = on_connected,
    .received = on_received,
    .ended = on_ended,
    .sent = on_sent,
    .closed = on_closed,
};

/* ---- the owner's calls ---- */

void stream_init(struct stream *stream, struct ring *ring, const struct stream_events *events)
{
    *stream = (struct stream){ .events = events, .state = STREAM_IDLE };
    ring_socket_init(&stream->socket, ring, &socket_events);
}

void stream_timely(struct stream *stream)
{
    ring_socket_timely(&stream->socket);
}

void stream_connect(struct stream *stream, const struct sockaddr *peer, socklen_t peer_len,
                    const struct sockaddr *source, socklen_t source_len)
{
    assert(stream->state == STREAM_IDLE);
    stream->state = STREAM_CONNECTING;
    ring_socket_connect(&stream->socket, peer, peer_len, source, source_len);
}

void stream_adopt(struct stream *stream, int fd)
{
    assert(stream->state == STREAM_IDLE);
    ring_socket_adopt(&stream->socket, fd);
    start_receiving(stream);
}

void stream_tls_start(struct stream *stream, const struct tls_client_options *options)
{
    assert(stream->state == STREAM_CLEAR && !ring_socket_sending(&stream->socket));
    struct stream_tls *tls = mem_zalloc(sizeof *tls);
    tls->stream = stream;
    tls->ticket = options->ticket;
    tls->ticket_user = options->ticket_user;
    ring_task_init(&tls->later, on_later);
    ring_timer_init(&tls->farewell, on_farewell_expired);
    stream->tls = tls;
    stream->state = STREAM_HANDSHAKE;
    char *text = tls->failure.text;
    size_t text_size = sizeof tls->failure.text;
    if (!tls_filter_init(&tls->filter, options, text, text_size) ||
        tls_filter_handshake(&tls->filter, text, text_size) != TLS_WANTS_INPUT)
        tls_fail(stream);
    else
        tls_pump(stream);
}

bool stream_secure(const struct stream *stream)
{
    return stream->state == STREAM_SECURE;
}

bool stream_tls_facts(const struct stream *stream, struct tls_facts *out)
{
    if (stream->state != STREAM_SECURE)
        return false;
    const struct tls_filter *filter = &stream->tls->filter;
    *out = (struct tls_facts){
        .version = SSL_get_version(filter->ssl),
        .cipher = SSL_get_cipher_name(filter->ssl),
        .resumed = filter->resumed,
        .verified = filter->verified,
    };
    return true;
}

bool stream_tls_certificate(const struct stream *stream, struct tls_certificate *out)
{
    return stream->state == STREAM_SECURE && tls_filter_certificate(&stream->tls->filter, out);
}

void stream_send(struct stream *stream, struct iovec *iov, unsigned count)
{
    if (stream->state == STREAM_FAILED || stream->send_errnum)
        return;
    assert(!stream_sending(stream));
    assert(stream->state == STREAM_CLEAR || stream->state == STREAM_SECURE);
    if (stream->state == STREAM_CLEAR) {
        ring_socket_send(&stream->socket, iov, count);
        return;
    }
    struct stream_tls *tls = stream->tls;
    tls->iov = iov;
    tls->iov_count = count;
    tls->flight = true;
    tls_pump(stream);
    if (stream->state == STREAM_SECURE && flight_done(stream))
        ring_task_queue(stream->socket.ring, &tls->later);
}

bool stream_sending(const struct stream *stream)
{
    if (stream->tls)
        return stream->tls->flight;
    return ring_socket_sending(&stream->socket) || stream->send_errnum;
}

void stream_quickack(struct stream *stream)
{
    ring_socket_quickack(&stream->socket);
}

void stream_pause(struct stream *stream)
{
    stream->paused = true;
    if (stream->state >= STREAM_CLEAR && stream->state <= STREAM_SECURE)
        ring_socket_pause(&stream->socket);
}

void stream_resume(struct stream *stream)
{
    if (!stream->paused)
        return;
    stream->paused = false;
    if (stream->state >= STREAM_CLEAR && stream->state <= STREAM_SECURE)
        ring_socket_receive(&stream->socket);
}

/* Whether something goes out before the socket closes. */
static bool farewell_start(struct stream *stream)
{
    struct stream_tls *tls = stream->tls;
    bool tls_failed =
        stream->state == STREAM_FAILED && tls && tls->failure.end == STREAM_END_TLS_FAILED;
    if ((stream->state != STREAM_SECURE && !tls_failed) || stream->send_errnum ||
        ring_socket_sending(&stream->socket))
        return false;
    tls->iov_count = 0;
    tls_filter_close_notify(&tls->filter);
    if (tls->filter.output.len == 0)
        return false;
    send_sealed(stream);
    stream->state = STREAM_FAREWELL;
    ring_task_cancel(&tls->later);
    ring_timer_start(stream->socket.ring, &tls->farewell, FAREWELL_MS);
    return true;
}

void stream_close(struct stream *stream, bool reset)
{
    if (stream->state == STREAM_CLOSED)
        return;
    if (stream->state == STREAM_FAREWELL && !reset)
        return;
    if (reset || !farewell_start(stream))
        finish(stream, reset);
}
