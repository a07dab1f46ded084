#pragma once
/* A world of sockets for the tests of real bodies: both ends of each connection live on the same
 * ring, accepted through a ring_poll. An end's memory is freed in `closed`, so that ASan sees any
 * use after it. */
#include <errno.h>
#include <fcntl.h>
#include <sys/un.h>
#include <unistd.h>

#include "engine/base/mem.h"
#include "tests/unit/engine/ring/bodies.h"

struct world {
    struct ring *ring;
    int listener;
    struct sockaddr_storage address;
    socklen_t address_len;
    struct ring_poll accept_poll;
    struct end *accepted; /* the latest */
    int accepts, closed, polls_closed;
    bool inside;    /* a call into the ring is on the stack: no callback may come */
    bool hold_back; /* accepted ends don't receive */
    bool echo;      /* they send back what they get */
    bool leave;     /* they close themselves at the end */
};

struct end {
    struct ring_socket socket;
    struct world *world;
    /* what it does */
    bool in_order; /* nothing may arrive while it sends */
    bool echo, leave, close_on_bytes, close_on_connect, close_on_sent, reset;
    size_t pause_at; /* pauses once it has that many bytes; 0: never */
    /* what it saw */
    int connected, connect_error, ended, end_error, sent, send_error;
    char *bytes;
    size_t room, received, echoed;
    char *copy; /* being echoed */
    struct iovec iov;
};

#define CALL(world, call)                                                                          \
    do {                                                                                           \
        bool was_ = (world)->inside;                                                               \
        (world)->inside = true;                                                                    \
        call;                                                                                      \
        (world)->inside = was_;                                                                    \
    } while (0)

static inline struct end *end_of(struct ring_socket *socket)
{
    struct end *end = CONTAINER_OF(socket, struct end, socket);
    ck_assert_msg(!end->world->inside, "a callback inside a call");
    return end;
}

static inline void end_close(struct end *end, bool reset)
{
    CALL(end->world, ring_socket_close(&end->socket, reset));
}

static inline void end_send(struct end *end, const void *bytes, size_t len)
{
    end->iov = (struct iovec){ (void *)(uintptr_t)bytes, len };
    CALL(end->world, ring_socket_send(&end->socket, &end->iov, 1));
    ck_assert(ring_socket_sending(&end->socket));
}

static inline void end_echo(struct end *end)
{
    if (end->echoed == end->received || ring_socket_sending(&end->socket))
        return;
    size_t len = end->received - end->echoed;
    free(end->copy); /* what is being sent must stay in place, and `bytes` moves */
    end->copy = memcpy(mem_alloc(len), end->bytes + end->echoed, len);
    end->echoed = end->received;
    end_send(end, end->copy, len);
}

static void on_connected(struct ring_socket *socket, int error)
{
    struct end *end = end_of(socket);
    end->connected++;
    end->connect_error = error;
    if (end->close_on_connect)
        end_close(end, end->reset);
}

static void on_received(struct ring_socket *socket, struct slice bytes)
{
    struct end *end = end_of(socket);
    ck_assert_uint_gt(bytes.len, 0);
    ck_assert_int_eq(end->ended, 0);
    ck_assert(!end->in_order || !ring_socket_sending(socket));
    if (end->received + bytes.len > end->room) {
        end->room = (end->received + bytes.len) * 2;
        end->bytes = mem_realloc(end->bytes, end->room);
    }
    memcpy(end->bytes + end->received, bytes.ptr, bytes.len);
    end->received += bytes.len;
    if (end->close_on_bytes)
        end_close(end, end->reset);
    else if (end->pause_at > 0 && end->received >= end->pause_at)
        CALL(end->world, ring_socket_pause(socket));
    else if (end->echo)
        end_echo(end);
}

static void on_ended(struct ring_socket *socket, int error)
{
    struct end *end = end_of(socket);
    end->ended++;
    end->end_error = error;
    if (end->leave)
        end_close(end, false);
}

static void on_sent(struct ring_socket *socket, int error)
{
    struct end *end = end_of(socket);
    ck_assert(!ring_socket_sending(socket));
    end->sent++;
    end->send_error = error;
    if (end->close_on_sent)
        end_close(end, end->reset);
    else if (end->echo && error == 0)
        end_echo(end);
}

static void on_closed(struct ring_socket *socket)
{
    struct end *end = end_of(socket);
    end->world->closed++;
    free(end->copy);
    free(end->bytes);
    free(end);
}

static const struct ring_socket_events end_events = { on_connected, on_received, on_ended, on_sent,
                                                      on_closed };

static inline struct end *end_new(struct world *world)
{
    struct end *end = mem_zalloc(sizeof *end);
    end->world = world;
    ring_socket_init(&end->socket, world->ring, &end_events);
    return end;
}

static inline struct end *end_adopt(struct world *world, int fd)
{
    struct end *end = end_new(world);
    end->echo = world->echo;
    end->leave = world->leave;
    CALL(world, ring_socket_adopt(&end->socket, fd));
    if (!world->hold_back)
        CALL(world, ring_socket_receive(&end->socket));
    return end;
}

static void world_accept(struct ring_poll *poll, bool readable, bool writable)
{
    (void)readable, (void)writable;
    struct world *world = CONTAINER_OF(poll, struct world, accept_poll);
    for (int fd; (fd = accept4(world->listener, NULL, NULL, SOCK_CLOEXEC)) >= 0; world->accepts++)
        world->accepted = end_adopt(world, fd);
}

static void world_poll_closed(struct ring_poll *poll)
{
    CONTAINER_OF(poll, struct world, accept_poll)->polls_closed++;
}

/** Listens on a loopback address: AF_INET, AF_INET6, or AF_UNIX with a name in the abstract
 * namespace. A negative backlog only binds it, so that connects are refused. */
static inline void world_listen(struct world *world, struct ring *ring, int family, int backlog)
{
    *world = (struct world){ .ring = ring };
    world->address.ss_family = (sa_family_t)family;
    socklen_t len = sizeof(struct sockaddr_in);
    if (family == AF_INET)
        ((struct sockaddr_in *)&world->address)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (family == AF_UNIX)
        len = sizeof(sa_family_t); /* the kernel chooses a name */
    world->listener = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    ck_assert_int_ge(world->listener, 0);
    ck_assert_int_eq(bind(world->listener, (struct sockaddr *)&world->address, len), 0);
    if (backlog >= 0)
        ck_assert_int_eq(listen(world->listener, backlog), 0);
    world->address_len = sizeof world->address;
    ck_assert_int_eq(
        getsockname(world->listener, (struct sockaddr *)&world->address, &world->address_len), 0);
    ring_poll_open(&world->accept_poll, ring, world->listener, world_accept, world_poll_closed);
    ring_poll_want(&world->accept_poll, backlog >= 0, false);
}

static inline void end_connect(struct end *end)
{
    struct world *world = end->world;
    CALL(world, ring_socket_connect(&end->socket, (struct sockaddr *)&world->address,
                                    world->address_len, NULL, 0));
}

/** A connected pair: the client is returned, world->accepted is the other. Both receive unless held
 * back. */
static inline struct end *world_pair(struct world *world)
{
    struct end *client = end_new(world);
    int accepts = world->accepts;
    end_connect(client);
    TURN_UNTIL(world->ring, client->connected && world->accepts > accepts);
    ck_assert_int_eq(client->connect_error, 0);
    CALL(world, ring_socket_receive(&client->socket));
    return client;
}

static inline void world_close(struct world *world)
{
    CALL(world, ring_poll_close(&world->accept_poll));
    TURN_UNTIL(world->ring, world->polls_closed);
    close(world->listener);
}

/** Bytes that differ everywhere, so that a shift or a swap shows. */
static inline char *pattern(size_t len, uint64_t seed)
{
    struct rng rng;
    rng_seed(&rng, seed);
    uint64_t *bytes = mem_alloc(len + sizeof *bytes);
    for (size_t i = 0; i <= len / sizeof *bytes; i++)
        bytes[i] = rng_next(&rng);
    return (char *)bytes;
}
