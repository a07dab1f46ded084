/* Sockets on every real body: connecting, flights, ends, back-pressure, and closing in every state.
 */
#include "tests/unit/engine/ring/ends.h"

#include <netinet/tcp.h>
#include <sys/resource.h>
#include <time.h>

static const int families[] = { AF_INET, AF_UNIX };
enum { CASES = BODIES_REAL * 2 }; /* _i: body and family */

struct stage {
    struct rig rig;
    struct world world;
};

static struct stage *stage_with(int i, struct ring_options options)
{
    struct stage *stage = mem_zalloc(sizeof *stage);
    stage->rig = rig_with(i % BODIES_REAL, options);
    world_listen(&stage->world, stage->rig.ring, families[i / BODIES_REAL], 512);
    return stage;
}

static struct stage *stage_on(int i)
{
    return stage_with(i, (struct ring_options){ 0 });
}

/** Closes both ends, waits for them, and takes everything down. */
static void stage_free(struct stage *stage, struct end *a, struct end *b)
{
    int closed = stage->world.closed + (a != NULL) + (b != NULL);
    if (a != NULL)
        end_close(a, false);
    if (b != NULL)
        end_close(b, false);
    TURN_UNTIL(stage->world.ring, stage->world.closed == closed);
    world_close(&stage->world);
    rig_free(&stage->rig);
    free(stage);
}

/* ---- connecting ---- */

START_TEST(a_refused_connect_says_so)
{
    struct stage *stage = stage_on(_i);
    struct end *end = end_new(&stage->world);
    struct world deaf; /* bound, so that nobody else can listen there */
    world_listen(&deaf, stage->world.ring, families[_i / BODIES_REAL], -1);
    stage->world.address = deaf.address;
    stage->world.address_len = deaf.address_len;
    end_connect(end);
    TURN_UNTIL(stage->world.ring, end->connected);
    ck_assert_int_eq(end->connect_error, ECONNREFUSED);
    world_close(&deaf);
    stage_free(stage, end, NULL);
}
END_TEST

START_TEST(a_source_address_is_bound_and_can_be_asked_for)
{
    struct stage *stage = stage_on(_i);
    struct end *end = end_new(&stage->world);
    struct sockaddr_in source = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000005) };
    CALL(&stage->world,
         ring_socket_connect(&end->socket, (struct sockaddr *)&stage->world.address,
                             stage->world.address_len, (struct sockaddr *)&source, sizeof source));
    struct sockaddr_storage local;
    socklen_t len;
    ck_assert(!ring_socket_local(&end->socket, &local, &len));
    TURN_UNTIL(stage->world.ring, end->connected && stage->world.accepted);
    ck_assert_int_eq(end->connect_error, 0);
    ck_assert(ring_socket_local(&end->socket, &local, &len));
    ck_assert_uint_eq(((struct sockaddr_in *)&local)->sin_addr.s_addr, htonl(0x7f000005));
    ck_assert_uint_ne(((struct sockaddr_in *)&local)->sin_port, 0);
    int nodelay = 0;
    len = sizeof nodelay;
    ck_assert_int_eq(getsockopt(end->socket.fd, IPPROTO_TCP, TCP_NODELAY, &nodelay, &len), 0);
    ck_assert_int_eq(nodelay, 1);
    stage_free(stage, end, stage->world.accepted);
}
END_TEST

START_TEST(a_source_that_is_not_ours_fails_through_connected)
{
    struct stage *stage = stage_on(_i);
    struct end *end = end_new(&stage->world);
    struct sockaddr_in source = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(0xc0000201) };
    CALL(&stage->world,
         ring_socket_connect(&end->socket, (struct sockaddr *)&stage->world.address,
                             stage->world.address_len, (struct sockaddr *)&source, sizeof source));
    TURN_UNTIL(stage->world.ring, end->connected);
    ck_assert_int_eq(end->connect_error, EADDRNOTAVAIL);
    stage_free(stage, end, NULL);
}
END_TEST

START_TEST(no_descriptor_left_fails_through_connected)
{
    struct stage *stage = stage_on(_i);
    struct end *end = end_new(&stage->world);
    struct rlimit few, usual;
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &usual), 0);
    few = (struct rlimit){ 3, usual.rlim_max };
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
    end_connect(end);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &usual), 0);
    TURN_UNTIL(stage->world.ring, end->connected);
    ck_assert_int_eq(end->connect_error, EMFILE);
    stage_free(stage, end, NULL);
}
END_TEST

/** A listener that never accepts and whose backlog is full leaves connects hanging. */
START_TEST(a_connect_under_way_can_be_closed_at_any_time)
{
    struct rig rig = rig_on(_i);
    struct world world;
    world_listen(&world, rig.ring, AF_INET, 0);
    ring_poll_want(&world.accept_poll, false, false);
    enum { TRIES = 12 };
    struct end *ends[TRIES];
    for (int i = 0; i < TRIES; i++) {
        ends[i] = end_new(&world);
        end_connect(ends[i]);
        if (i % 3 == 0) { /* closed before the kernel knows */
            end_close(ends[i], i % 2);
            ends[i] = NULL;
        }
    }
    ring_turn(rig.ring, 0);
    int hanging = 0;
    for (int i = 0; i < TRIES; i++) {
        if (ends[i] != NULL) {
            hanging += ends[i]->connected == 0;
            end_close(ends[i], i % 2);
        }
    }
    ck_assert_int_gt(hanging, 0);
    TURN_UNTIL(rig.ring, world.closed == TRIES);
    world_close(&world);
    rig_free(&rig);
}
END_TEST

START_TEST(a_socket_never_opened_can_be_closed_and_one_closed_be_used_again)
{
    struct stage *stage = stage_on(_i);
    struct ring_socket socket;
    static const struct ring_socket_events none = { 0 };
    ring_socket_init(&socket, stage->world.ring, &none);
    ring_socket_close(&socket, false);
    ring_turn(stage->world.ring, 0);
    for (int i = 0; i < 3; i++) {
        int fds[2];
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
        ring_socket_adopt(&socket, fds[0]);
        ring_socket_receive(&socket);
        ring_turn(stage->world.ring, 0);
        ring_socket_close(&socket, false);
        ring_socket_close(&socket, true); /* once more does nothing */
        while (socket.state != 0)
            ring_turn(stage->world.ring, -1);
        ring_turn(stage->world.ring, 0);
        char byte;
        ck_assert_int_eq(read(fds[1], &byte, 1), 0); /* the kernel has closed it, too */
        close(fds[1]);
    }
    stage_free(stage, NULL, NULL);
}
END_TEST

/* ---- flights ---- */

START_TEST(a_large_flight_of_many_vectors_comes_back_whole)
{
    struct stage *stage = stage_on(_i);
    stage->world.echo = true;
    struct end *client = world_pair(&stage->world);
    enum { VECTORS = 3000, BYTES = 6 * 1024 * 1024 };
    char *bytes = pattern(BYTES, 11);
    struct iovec *iov = mem_array(VECTORS, sizeof *iov);
    struct rng rng;
    rng_seed(&rng, 12);
    size_t at = 0;
    for (size_t i = 0; i < VECTORS; i++) { /* some are empty, the last takes the rest */
        size_t len = rng_below(&rng, 8) == 0 ? 0 : rng_below(&rng, 4000);
        len = i + 1 == VECTORS ? BYTES - at : MIN_OF(len, BYTES - at);
        iov[i] = (struct iovec){ bytes + at, len };
        at += len;
    }
    CALL(&stage->world, ring_socket_send(&client->socket, iov, VECTORS));
    TURN_UNTIL(stage->world.ring, client->sent && client->received == BYTES);
    ck_assert_int_eq(client->sent, 1);
    ck_assert_int_eq(client->send_error, 0);
    ck_assert_mem_eq(client->bytes, bytes, BYTES);
    free(iov);
    free(bytes);
    stage_free(stage, client, stage->world.accepted);
}
END_TEST

START_TEST(small_flights_keep_their_order)
{
    struct stage *stage = stage_on(_i);
    struct end *client = world_pair(&stage->world);
    char *bytes = pattern(2000, 3);
    for (size_t at = 0; at < 2000; at += 10) {
        int sent = client->sent;
        end_send(client, bytes + at, 10);
        TURN_UNTIL(stage->world.ring, client->sent > sent);
    }
    TURN_UNTIL(stage->world.ring, stage->world.accepted->received == 2000);
    ck_assert_mem_eq(stage->world.accepted->bytes, bytes, 2000);
    free(bytes);
    stage_free(stage, client, stage->world.accepted);
}
END_TEST

START_TEST(a_flight_ends_before_its_answer_arrives)
{
    struct stage *stage = stage_on(_i);
    stage->world.echo = true;
    struct end *client = world_pair(&stage->world);
    client->in_order = true;
    for (size_t i = 1; i <= 200; i++) {
        end_send(client, "EHLO here\r\n", 11);
        TURN_UNTIL(stage->world.ring, client->received == i * 11);
    }
    stage_free(stage, client, stage->world.accepted);
}
END_TEST

START_TEST(an_empty_flight_is_sent_at_once)
{
    struct stage *stage = stage_on(_i);
    struct end *client = world_pair(&stage->world);
    struct iovec nothing[2] = { { NULL, 0 }, { NULL, 0 } };
    CALL(&stage->world, ring_socket_send(&client->socket, nothing, 2));
    TURN_UNTIL(stage->world.ring, client->sent);
    ck_assert_int_eq(client->send_error, 0);
    stage_free(stage, client, stage->world.accepted);
}
END_TEST

START_TEST(an_adopted_descriptor_may_be_nonblocking)
{
    struct rig rig = rig_on(_i);
    struct world world = { .ring = rig.ring };
    int fds[2];
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    struct end *a = end_adopt(&world, fds[0]), *b = end_adopt(&world, fds[1]);
    ring_turn(rig.ring, 0);
    char *bytes = pattern(1 << 20, 4);
    end_send(a, bytes, 1 << 20);
    TURN_UNTIL(rig.ring, a->sent && b->received == 1 << 20);
    ck_assert_mem_eq(b->bytes, bytes, 1 << 20);
    free(bytes);
    ring_socket_quickack(&a->socket); /* no TCP: no effect */
    end_close(a, false);
    TURN_UNTIL(rig.ring, b->ended);
    end_close(b, false);
    TURN_UNTIL(rig.ring, world.closed == 2);
    rig_free(&rig);
}
END_TEST

START_TEST(quickack_does_no_harm)
{
    struct stage *stage = stage_on(_i);
    stage->world.echo = true;
    struct end *client = world_pair(&stage->world);
    for (int i = 1; i <= 20; i++) {
        end_send(client, "0123456789", 10);
        CALL(&stage->world, ring_socket_quickack(&client->socket));
        TURN_UNTIL(stage->world.ring, client->received == (size_t)i * 10 && client->sent == i);
    }
    CALL(&stage->world, ring_socket_quickack(&client->socket));
    stage_free(stage, client, stage->world.accepted);
}
END_TEST

/* ---- ends ---- */

START_TEST(a_half_closed_peer_can_still_be_sent_to)
{
    struct stage *stage = stage_on(_i);
    struct end *client = world_pair(&stage->world), *server = stage->world.accepted;
    char *bytes = pattern(3 << 20, 5);
    end_send(client, bytes, 3 << 20);
    CALL(&stage->world, ring_socket_shutdown(&client->socket)); /* waits for the flight */
    TURN_UNTIL(stage->world.ring, server->ended);
    ck_assert_int_eq(server->end_error, 0);
    ck_assert_uint_eq(server->received, 3 << 20);
    ck_assert_int_eq(client->sent, 1);
    end_send(server, bytes, 3 << 20);
    TURN_UNTIL(stage->world.ring, client->received == 3 << 20);
    ck_assert_int_eq(client->ended, 0);
    CALL(&stage->world, ring_socket_shutdown(&server->socket));
    TURN_UNTIL(stage->world.ring, client->ended);
    ck_assert_int_eq(client->end_error, 0);
    ck_assert_mem_eq(client->bytes, bytes, 3 << 20);
    free(bytes);
    ring_socket_receive(&client->socket); /* nothing more will come */
    ring_turn(stage->world.ring, 0);
    ck_assert_int_eq(client->ended, 1);
    stage_free(stage, client, server);
}
END_TEST

START_TEST(a_shutdown_while_connecting_follows_the_connection)
{
    struct stage *stage = stage_on(_i);
    struct end *client = end_new(&stage->world);
    end_connect(client);
    CALL(&stage->world, ring_socket_receive(&client->socket));
    CALL(&stage->world, ring_socket_shutdown(&client->socket));
    TURN_UNTIL(stage->world.ring, stage->world.accepted && stage->world.accepted->ended);
    end_close(stage->world.accepted, false);
    TURN_UNTIL(stage->world.ring, client->ended);
    stage_free(stage, client, NULL);
}
END_TEST

START_TEST(a_reset_is_reported_as_such_after_the_bytes_before_it)
{
    struct stage *stage = stage_on(_i);
    struct end *client = world_pair(&stage->world), *server = stage->world.accepted;
    end_send(client, "before", 6);
    TURN_UNTIL(stage->world.ring, server->received == 6);
    end_close(client, true);
    TURN_UNTIL(stage->world.ring, server->ended);
    ck_assert_int_eq(server->end_error, ECONNRESET);
    end_send(server, "x", 1);
    TURN_UNTIL(stage->world.ring, server->sent);
    ck_assert_int_ne(server->send_error, 0);
    stage_free(stage, server, NULL);
}
END_TEST

START_TEST(a_flight_to_a_peer_that_goes_away_fails)
{
    struct stage *stage = stage_on(_i);
    stage->world.hold_back = true;
    struct end *client = world_pair(&stage->world), *server = stage->world.accepted;
    char *bytes = pattern(16 << 20, 6);
    end_send(client, bytes, 16 << 20);
    ring_turn(stage->world.ring, 0);
    ring_turn(stage->world.ring, 0);
    ck_assert_int_eq(client->sent, 0);
    end_close(server, false);
    TURN_UNTIL(stage->world.ring, client->sent);
    ck_assert(client->send_error == ECONNRESET || client->send_error == EPIPE);
    free(bytes);
    stage_free(stage, client, NULL);
}
END_TEST

/* As if the process had been stopped between the decision to send and the system call. */
START_TEST(a_timely_flight_that_would_leave_late_fails_instead)
{
    struct stage *stage = stage_on(_i);
    struct end *client = world_pair(&stage->world), *server = stage->world.accepted;
    ring_socket_timely(&client->socket);
    end_send(client, "stale", 5);
    end_send(server, "patient", 7);
    struct timespec stalled = { .tv_sec = 1 + RING_STALL_MS / 1000 };
    nanosleep(&stalled, NULL);
    TURN_UNTIL(stage->world.ring, client->sent);
    ck_assert_int_eq(client->send_error, EBADF);
    ck_assert_uint_eq(ring_stats(stage->world.ring)->held_back, 1);
    TURN_UNTIL(stage->world.ring, client->received == 7);
    ck_assert_int_eq(server->send_error, 0);
    end_send(client, "fresh", 5);
    TURN_UNTIL(stage->world.ring, server->received > 0);
    ck_assert_uint_eq(server->received, 5);
    ck_assert_int_eq(server->bytes[0], 'f');
    stage_free(stage, client, server);
}
END_TEST

/* ---- back-pressure ---- */

START_TEST(a_paused_socket_holds_its_peer_back_until_it_goes_on)
{
    struct stage *stage = stage_on(_i);
    struct end *client = world_pair(&stage->world), *server = stage->world.accepted;
    enum { BYTES = 24 << 20 };
    char *bytes = pattern(BYTES, 8);
    server->pause_at = 1;
    end_send(client, bytes, BYTES);
    TURN_UNTIL(stage->world.ring, server->received > 0);
    for (int i = 0; i < 50; i++) /* nothing to wait for: only that nothing happens */
        ring_turn(stage->world.ring, 1);
    ck_assert_int_eq(client->sent, 0);
    size_t held = server->received;
    ring_turn(stage->world.ring, 5);
    ck_assert_uint_eq(server->received, held);
    /* On and off again, and twice within one turn. */
    for (int i = 0; i < 200 && server->received < BYTES; i++) {
        server->pause_at = server->received + 10000;
        CALL(&stage->world, ring_socket_receive(&server->socket));
        CALL(&stage->world, ring_socket_pause(&server->socket));
        CALL(&stage->world, ring_socket_receive(&server->socket));
        TURN_UNTIL(stage->world.ring, server->received > held);
        held = server->received;
    }
    server->pause_at = 0;
    CALL(&stage->world, ring_socket_receive(&server->socket));
    TURN_UNTIL(stage->world.ring, client->sent && server->received == BYTES);
    ck_assert_mem_eq(server->bytes, bytes, BYTES);
    free(bytes);
    stage_free(stage, client, server);
}
END_TEST

START_TEST(an_end_that_came_while_paused_is_told_afterwards)
{
    struct stage *stage = stage_on(_i);
    struct end *client = world_pair(&stage->world), *server = stage->world.accepted;
    CALL(&stage->world, ring_socket_pause(&server->socket));
    ring_turn(stage->world.ring, 0);
    end_send(client, "last words", 10);
    CALL(&stage->world, ring_socket_shutdown(&client->socket));
    TURN_UNTIL(stage->world.ring, client->sent);
    for (int i = 0; i < 5; i++)
        ring_turn(stage->world.ring, 1);
    ck_assert_int_eq(server->ended, 0);
    CALL(&stage->world, ring_socket_receive(&server->socket));
    TURN_UNTIL(stage->world.ring, server->ended);
    ck_assert_uint_eq(server->received, 10);
    stage_free(stage, client, server);
}
END_TEST

/* ---- closing ---- */

START_TEST(a_socket_can_be_closed_while_it_sends_and_receives)
{
    struct stage *stage = stage_on(_i);
    char *bytes = pattern(16 << 20, 9);
    for (int turns = 0; turns < 4; turns++) {
        stage->world.hold_back = true;
        struct end *client = world_pair(&stage->world), *server = stage->world.accepted;
        int closed = stage->world.closed;
        end_send(client, bytes, 16 << 20);
        for (int i = 0; i < turns; i++)
            ring_turn(stage->world.ring, 0);
        end_close(client, turns % 2);
        TURN_UNTIL(stage->world.ring, stage->world.closed == closed + 1);
        CALL(&stage->world, ring_socket_receive(&server->socket));
        TURN_UNTIL(stage->world.ring, server->ended);
        end_close(server, false);
        TURN_UNTIL(stage->world.ring, stage->world.closed == closed + 2);
    }
    free(bytes);
    stage_free(stage, NULL, NULL);
}
END_TEST

START_TEST(a_socket_can_be_closed_in_each_of_its_callbacks)
{
    struct stage *stage = stage_on(_i);
    for (int which = 0; which < 6; which++) {
        int closed = stage->world.closed, accepts = stage->world.accepts;
        struct end *client = end_new(&stage->world);
        client->close_on_connect = which % 3 == 0;
        client->close_on_sent = which % 3 == 1;
        client->close_on_bytes = which % 3 == 2;
        client->reset = which >= 3;
        bool on_connect = client->close_on_connect, on_sent_ = client->close_on_sent;
        end_connect(client);
        TURN_UNTIL(stage->world.ring, stage->world.accepts > accepts);
        struct end *server = stage->world.accepted;
        if (!on_connect) {
            TURN_UNTIL(stage->world.ring, client->connected);
            CALL(&stage->world, ring_socket_receive(&client->socket));
            if (on_sent_)
                end_send(client, "bye", 3);
            else
                end_send(server, "four little bytes", 17);
        }
        TURN_UNTIL(stage->world.ring, stage->world.closed == closed + 1 && server->ended);
        end_close(server, false);
        TURN_UNTIL(stage->world.ring, stage->world.closed == closed + 2);
    }
    stage_free(stage, NULL, NULL);
}
END_TEST

/* ---- scarcity ---- */

static void run_crowd(struct stage *stage, int count, size_t bytes_each)
{
    struct end **clients = mem_array((size_t)count, sizeof *clients);
    struct world *world = &stage->world;
    world->echo = world->leave = true;
    char *bytes = pattern(bytes_each, 10);
    for (int i = 0; i < count; i++) {
        clients[i] = end_new(world);
        end_connect(clients[i]);
        CALL(world, ring_socket_receive(&clients[i]->socket));
    }
    int connected = 0;
    while (connected < count) {
        ring_turn(world->ring, -1);
        connected = 0;
        for (int i = 0; i < count; i++)
            connected += clients[i]->connected && clients[i]->connect_error == 0;
    }
    for (int i = 0; i < count; i++)
        end_send(clients[i], bytes, bytes_each);
    for (int i = 0; i < count; i++) {
        TURN_UNTIL(world->ring, clients[i]->received == bytes_each && clients[i]->sent);
        ck_assert_mem_eq(clients[i]->bytes, bytes, bytes_each);
    }
    for (int i = 0; i < count; i++)
        end_close(clients[i], i % 2);
    TURN_UNTIL(world->ring, world->closed == 2 * count);
    free(clients);
    free(bytes);
}

START_TEST(too_few_receive_buffers_only_slow_things_down)
{
    struct stage *stage =
        stage_with(_i, (struct ring_options){ .receive_buffers = 2, .receive_buffer_bytes = 64 });
    run_crowd(stage, 20, 10000);
    if (_i % BODIES_REAL != BODY_EPOLL)
        ck_assert_uint_gt(ring_stats(stage->world.ring)->no_buffers, 0);
    stage_free(stage, NULL, NULL);
}
END_TEST

START_TEST(a_tiny_submission_queue_only_costs_more_calls)
{
    struct stage *stage = stage_with(_i, (struct ring_options){ .submission_entries = 2 });
    run_crowd(stage, 100, 20000);
    if (_i % BODIES_REAL != BODY_EPOLL)
        ck_assert_uint_gt(ring_stats(stage->world.ring)->submission_full, 0);
    stage_free(stage, NULL, NULL);
}
END_TEST

START_TEST(more_completions_than_the_queue_holds_are_not_lost)
{
    struct stage *stage = stage_with(_i, (struct ring_options){ .submission_entries = 1,
                                                                .receive_buffers = 4096,
                                                                .receive_buffer_bytes = 16 });
    run_crowd(stage, 100, 3000);
    if (_i % BODIES_REAL != BODY_EPOLL)
        ck_assert_uint_gt(ring_stats(stage->world.ring)->completion_overflows, 0);
    stage_free(stage, NULL, NULL);
}
END_TEST

START_TEST(connections_that_come_and_go_leave_nothing_behind)
{
    struct stage *stage = stage_on(_i);
    for (int round = 1; round <= 10; round++) {
        stage->world.closed = 0;
        run_crowd(stage, 50, 100);
    }
    ck_assert_uint_gt(ring_stats(stage->world.ring)->completions, 0);
    ck_assert_uint_gt(ring_stats(stage->world.ring)->turns, 0);
    ck_assert_uint_gt(ring_stats(stage->world.ring)->submits, 0);
    stage_free(stage, NULL, NULL);
}
END_TEST

static void add_case(Suite *suite, const char *name, TCase **out)
{
    *out = tcase_create(name);
    tcase_set_timeout(*out, 0);
    suite_add_tcase(suite, *out);
}

int main(void)
{
    Suite *suite = suite_create("socket");
    TCase *tcp, *both;
    add_case(suite, "tcp", &tcp); /* loopback addresses only */
    CASE_LOOP(tcp, BODIES_REAL, a_source_address_is_bound_and_can_be_asked_for,
              a_source_that_is_not_ours_fails_through_connected,
              a_connect_under_way_can_be_closed_at_any_time,
              a_reset_is_reported_as_such_after_the_bytes_before_it, quickack_does_no_harm,
              an_adopted_descriptor_may_be_nonblocking);
    add_case(suite, "tcp and unix", &both);
    CASE_LOOP(both, CASES, a_refused_connect_says_so, no_descriptor_left_fails_through_connected,
              a_socket_never_opened_can_be_closed_and_one_closed_be_used_again,
              a_large_flight_of_many_vectors_comes_back_whole, small_flights_keep_their_order,
              an_empty_flight_is_sent_at_once, a_flight_ends_before_its_answer_arrives,
              a_half_closed_peer_can_still_be_sent_to,
              a_shutdown_while_connecting_follows_the_connection,
              a_flight_to_a_peer_that_goes_away_fails,
              a_timely_flight_that_would_leave_late_fails_instead);
    CASE_LOOP(both, CASES, a_paused_socket_holds_its_peer_back_until_it_goes_on,
              an_end_that_came_while_paused_is_told_afterwards,
              a_socket_can_be_closed_while_it_sends_and_receives,
              a_socket_can_be_closed_in_each_of_its_callbacks,
              too_few_receive_buffers_only_slow_things_down,
              a_tiny_submission_queue_only_costs_more_calls,
              more_completions_than_the_queue_holds_are_not_lost,
              connections_that_come_and_go_leave_nothing_behind);
    return check_main(suite);
}
