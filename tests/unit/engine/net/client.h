#pragma once
/* A stream's owner that writes down what it hears, and closes where the test says. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/buf.h"
#include "engine/net/stream.h"
#include "tests/support/check_main.h"

enum client_event {
    ON_NOTHING,
    ON_CONNECTED,
    ON_SECURED,
    ON_RECEIVED,
    ON_SENT,
    ON_ENDED,
    ON_TICKET,
    CLIENT_EVENTS,
};

struct client {
    struct stream stream;
    struct tls_client_options tls;
    bool tls_at_once;           /* start TLS in `connected` */
    enum client_event close_in; /* the first time that it fires */
    bool close_with_reset;
    struct iovec greeting; /* sent as soon as connected, or secured */
    unsigned heard[CLIENT_EVENTS];
    unsigned closed;
    bool inside; /* a call of the stream's is running: nothing may fire */
    struct buf received;
    struct stream_failure failure; /* of the last `ended` */
    struct tls_ticket *ticket;     /* the last one */
};

static inline struct iovec vector(const char *text)
{
    return (struct iovec){ .iov_base = (char *)text, .iov_len = strlen(text) };
}

static inline struct client *client_of(struct stream *stream)
{
    return CONTAINER_OF(stream, struct client, stream);
}

static inline void client_close(struct client *client, bool reset)
{
    client->inside = true;
    stream_close(&client->stream, reset);
    client->inside = false;
}

/* Whether the owner goes on. */
static inline bool client_heard(struct client *client, enum client_event event)
{
    ck_assert_msg(!client->inside, "event %d inside a call", event);
    ck_assert_msg(client->closed == 0, "event %d after closed", event);
    bool first = client->heard[event]++ == 0;
    if (client->close_in == event && first)
        client_close(client, client->close_with_reset);
    ck_assert_msg(client->close_in != event || first, "event %d after the close", event);
    return client->close_in != event;
}

static inline void client_send(struct client *client, struct iovec *iov, unsigned count)
{
    client->inside = true;
    stream_send(&client->stream, iov, count);
    client->inside = false;
}

static inline void client_start_tls(struct client *client)
{
    client->inside = true;
    stream_tls_start(&client->stream, &client->tls);
    client->inside = false;
}

static inline void client_greet(struct client *client)
{
    if (client->greeting.iov_base)
        client_send(client, &client->greeting, 1);
}

static void client_on_connected(struct stream *stream)
{
    struct client *client = client_of(stream);
    if (!client_heard(client, ON_CONNECTED))
        return;
    if (client->tls_at_once)
        client_start_tls(client);
    else
        client_greet(client);
}

static void client_on_secured(struct stream *stream)
{
    struct client *client = client_of(stream);
    ck_assert(stream_secure(stream));
    if (client_heard(client, ON_SECURED))
        client_greet(client);
}

static void client_on_received(struct stream *stream, struct slice bytes)
{
    struct client *client = client_of(stream);
    ck_assert_uint_gt(bytes.len, 0);
    ck_assert(buf_append(&client->received, bytes));
    client_heard(client, ON_RECEIVED);
}

static void client_on_sent(struct stream *stream)
{
    ck_assert(!stream_sending(stream));
    client_heard(client_of(stream), ON_SENT);
}

static void client_on_ended(struct stream *stream, const struct stream_failure *failure)
{
    struct client *client = client_of(stream);
    ck_assert(stream->ended);
    client->failure = *failure;
    client_heard(client, ON_ENDED);
}

static void client_on_closed(struct stream *stream)
{
    struct client *client = client_of(stream);
    ck_assert(!client->inside);
    client->closed++;
}

static inline void client_on_ticket(void *user, struct tls_ticket *ticket)
{
    struct client *client = user;
    tls_ticket_free(client->ticket);
    client->ticket = ticket;
    client_heard(client, ON_TICKET);
}

static const struct stream_events client_events = {
    .connected = client_on_connected,
    .secured = client_on_secured,
    .received = client_on_received,
    .sent = client_on_sent,
    .ended = client_on_ended,
    .closed = client_on_closed,
};

static inline void client_init(struct client *client, struct ring *ring)
{
    *client = (struct client){ 0 };
    stream_init(&client->stream, ring, &client_events);
}

static inline void client_connect(struct client *client, const void *address, socklen_t len)
{
    client->inside = true;
    stream_connect(&client->stream, address, len, NULL, 0);
    client->inside = false;
}

static inline struct slice client_text(const struct client *client)
{
    return buf_slice(&client->received);
}

static inline bool client_got(const struct client *client, const char *text)
{
    return slice_eq(client_text(client), slice_str(text));
}

static inline void client_free(struct client *client)
{
    ck_assert_uint_eq(client->closed, 1);
    buf_free(&client->received);
    tls_ticket_free(client->ticket);
}

static inline struct sockaddr_in loopback(uint16_t port)
{
    return (struct sockaddr_in){ .sin_family = AF_INET,
                                 .sin_port = htons(port),
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
}
