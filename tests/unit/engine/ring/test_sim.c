/* The simulated world: virtual time, links, faults, and that a seed gives one run. */
#include <errno.h>
#include <stdlib.h>

#include "engine/ring/sim.h"
#include "tests/support/check_main.h"

struct played {
    struct ring_sim_peer *peer;
    char bytes[8192];
    size_t received, calls;
    int ended, end_error;
    int64_t accepted_at;
    struct slice greeting;
    bool echo;
};

struct client {
    struct ring_socket socket;
    struct ring *ring;
    struct iovec iov;
    char bytes[8192];
    size_t received, calls, pause_at;
    int connected, connect_error, ended, end_error, sent, send_error, closed;
    int64_t connected_at, sent_at, ended_at;
};

struct stage {
    struct ring_sim *sim;
    struct ring *ring;
    struct played played;
    struct client client;
};

static const struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = 0x1900 };
#define ADDRESS (const struct sockaddr *)&address, sizeof address

static void played_accepted(struct ring_sim_peer *peer)
{
    struct played *played = ring_sim_peer_user(peer);
    played->peer = peer;
    played->accepted_at = ring_sim_now_ms(ring_sim_peer_sim(peer));
    ring_sim_peer_send(peer, played->greeting);
}

static void played_received(struct ring_sim_peer *peer, struct slice bytes)
{
    struct played *played = ring_sim_peer_user(peer);
    ck_assert_uint_le(played->received + bytes.len, sizeof played->bytes);
    memcpy(played->bytes + played->received, bytes.ptr, bytes.len);
    played->received += bytes.len;
    played->calls++;
    if (played->echo)
        ring_sim_peer_send(peer, bytes);
}

static void played_ended(struct ring_sim_peer *peer, int error)
{
    struct played *played = ring_sim_peer_user(peer);
    played->ended++;
    played->end_error = error;
}

static const struct ring_sim_handlers server = { played_accepted, played_received, played_ended };

static struct client *client_of(struct ring_socket *socket)
{
    return CONTAINER_OF(socket, struct client, socket);
}

static void client_connected(struct ring_socket *socket, int error)
{
    struct client *client = client_of(socket);
    client->connected++;
    client->connect_error = error;
    client->connected_at = ring_now_ms(client->ring);
}

static void client_received(struct ring_socket *socket, struct slice bytes)
{
    struct client *client = client_of(socket);
    ck_assert_uint_le(client->received + bytes.len, sizeof client->bytes);
    memcpy(client->bytes + client->received, bytes.ptr, bytes.len);
    client->received += bytes.len;
    client->calls++;
    if (client->pause_at > 0 && client->received >= client->pause_at)
        ring_socket_pause(socket);
}

static void client_ended(struct ring_socket *socket, int error)
{
    struct client *client = client_of(socket);
    client->ended++;
    client->end_error = error;
    client->ended_at = ring_now_ms(client->ring);
}

static void client_sent(struct ring_socket *socket, int error)
{
    struct client *client = client_of(socket);
    client->sent++;
    client->send_error = error;
    client->sent_at = ring_now_ms(client->ring);
}

static void client_closed(struct ring_socket *socket)
{
    client_of(socket)->closed++;
}

static const struct ring_socket_events client_events = { client_connected, client_received,
                                                         client_ended, client_sent, client_closed };

static struct stage *stage_new(uint64_t seed, struct ring_sim_link link)
{
    struct stage *stage = calloc(1, sizeof *stage);
    struct err err;
    ck_assert_ptr_nonnull(stage);
    stage->sim = ring_sim_create(seed);
    ring_sim_set_link(stage->sim, &link);
    ring_sim_listen(stage->sim, ADDRESS, &server, &stage->played);
    ck_assert(ring_create(
        &stage->ring, &(struct ring_options){ .body = RING_BODY_SIM, .sim = stage->sim }, &err));
    stage->client.ring = stage->ring;
    ring_socket_init(&stage->client.socket, stage->ring, &client_events);
    return stage;
}

static void stage_connect(struct stage *stage)
{
    ring_socket_connect(&stage->client.socket, ADDRESS, NULL, 0);
    ring_socket_receive(&stage->client.socket);
    ck_assert(!ring_sim_run_until(stage->ring, NULL, NULL));
}

static void stage_send(struct stage *stage, struct slice bytes)
{
    stage->client.iov = (struct iovec){ (void *)(uintptr_t)bytes.ptr, bytes.len };
    ring_socket_send(&stage->client.socket, &stage->client.iov, 1);
}

static void stage_idle(struct stage *stage)
{
    ring_sim_run_until(stage->ring, NULL, NULL);
}

static void stage_close(struct stage *stage, bool reset)
{
    ring_socket_close(&stage->client.socket, reset);
    stage_idle(stage);
    ck_assert_int_eq(stage->client.closed, 1);
}

static void stage_free(struct stage *stage)
{
    if (stage->client.closed == 0)
        stage_close(stage, false);
    ring_destroy(&stage->ring);
    ring_sim_destroy(&stage->sim);
    free(stage);
}

/* ---- time ---- */

START_TEST(a_connection_takes_the_latency_of_both_ways)
{
    struct stage *stage =
        stage_new(1, (struct ring_sim_link){ .to_peer_ms = 30, .to_ring_ms = 12 });
    stage->played.greeting = SLICE("220 hello\r\n");
    stage_connect(stage);
    ck_assert_int_eq(stage->played.accepted_at, 31);
    ck_assert_int_eq(stage->client.connected_at, 43);
    ck_assert_uint_eq(stage->client.received, 11);
    ck_assert_int_eq(ring_sim_now_ms(stage->sim), 43);
    stage_send(stage, SLICE("EHLO a\r\n"));
    stage_idle(stage);
    ck_assert_int_eq(stage->client.sent_at, 43);
    ck_assert_int_eq(ring_now_ms(stage->ring), 73);
    ck_assert_mem_eq(stage->played.bytes, "EHLO a\r\n", 8);
    stage_free(stage);
}
END_TEST

struct alarm {
    struct ring_timer timer;
    struct ring *ring;
    int64_t fired_at;
};

static void alarm_fired(struct ring_timer *timer)
{
    struct alarm *alarm = CONTAINER_OF(timer, struct alarm, timer);
    alarm->fired_at = ring_now_ms(alarm->ring);
}

START_TEST(a_timer_fires_at_its_exact_virtual_time)
{
    struct stage *stage = stage_new(1, (struct ring_sim_link){ 0 });
    static const int64_t delays[] = { 0, 1, 63, 64, 65, 4095, 300000, 86400000 };
    for (size_t i = 0; i < ARRAY_LEN(delays); i++) {
        struct alarm alarm = { .ring = stage->ring };
        ring_timer_init(&alarm.timer, alarm_fired);
        int64_t start = ring_now_ms(stage->ring), wall = ring_wall_ms(stage->ring);
        ring_timer_start(stage->ring, &alarm.timer, delays[i]);
        ring_turn(stage->ring, -1); /* one turn is enough, however far */
        ck_assert_int_eq(alarm.fired_at, start + delays[i]);
        ck_assert_int_eq(ring_wall_ms(stage->ring), wall + delays[i]);
        ck_assert_int_eq(ring_clock_us(stage->ring), alarm.fired_at * 1000);
    }
    stage_free(stage);
}
END_TEST

START_TEST(a_turn_jumps_no_farther_than_it_may)
{
    struct stage *stage = stage_new(1, (struct ring_sim_link){ 0 });
    struct alarm alarm = { .ring = stage->ring };
    ring_timer_init(&alarm.timer, alarm_fired);
    ring_timer_start(stage->ring, &alarm.timer, 50000);
    ring_turn(stage->ring, 49999);
    ck_assert_int_eq(alarm.fired_at, 0);
    ck_assert_int_eq(ring_now_ms(stage->ring), 50000);
    ring_turn(stage->ring, 60000);
    ck_assert_int_eq(alarm.fired_at, 50001);
    ring_turn(stage->ring, 500);
    ck_assert_int_eq(ring_now_ms(stage->ring), 50501);
    ring_turn(stage->ring, -1);
    ck_assert_int_eq(ring_now_ms(stage->ring), 50501);
    stage_free(stage);
}
END_TEST

static void note_time(struct ring_sim *sim, void *user)
{
    *(int64_t *)user = ring_sim_now_ms(sim);
}

static bool time_noted(void *user)
{
    return *(int64_t *)user != 0;
}

START_TEST(what_is_scheduled_runs_at_its_time_and_running_until_it_stops_there)
{
    struct stage *stage = stage_new(1, (struct ring_sim_link){ 0 });
    int64_t first = 0, second = 0;
    ring_sim_at(stage->sim, 7000, note_time, &second);
    ring_sim_at(stage->sim, 1000, note_time, &first);
    ck_assert(ring_sim_run_until(stage->ring, time_noted, &first));
    ck_assert_int_eq(first, 1001);
    ck_assert_int_eq(second, 0);
    ring_run(stage->ring); /* returns when nothing is left */
    ck_assert_int_eq(second, 7001);
    stage_free(stage);
}
END_TEST

/* ---- connecting ---- */

START_TEST(an_address_without_a_listener_refuses)
{
    struct stage *stage = stage_new(1, (struct ring_sim_link){ .to_peer_ms = 5, .to_ring_ms = 5 });
    struct sockaddr_in other = address;
    other.sin_port = 1;
    ring_socket_connect(&stage->client.socket, (struct sockaddr *)&other, sizeof other, NULL, 0);
    stage_idle(stage);
    ck_assert_int_eq(stage->client.connect_error, ECONNREFUSED);
    ck_assert_int_eq(stage->client.connected_at, 11);
    stage_free(stage);
}
END_TEST

START_TEST(a_connect_can_be_made_to_fail_or_to_hang)
{
    struct stage *stage = stage_new(1, (struct ring_sim_link){ 0 });
    ring_sim_fail_connects(stage->sim, ADDRESS, EHOSTUNREACH);
    stage_connect(stage);
    ck_assert_int_eq(stage->client.connect_error, EHOSTUNREACH);
    ring_socket_close(&stage->client.socket, false);
    stage_idle(stage);
    ring_sim_fail_connects(stage->sim, ADDRESS, 0);
    stage_connect(stage);
    ck_assert_int_eq(stage->client.connected, 1); /* the one before */
    ring_socket_close(&stage->client.socket, false);
    stage_idle(stage);
    ring_sim_listen(stage->sim, ADDRESS, &server, &stage->played);
    stage_connect(stage);
    ck_assert_int_eq(stage->client.connected, 2);
    ck_assert_int_eq(stage->client.connect_error, 0);
    stage->client.closed = 0;
    stage_free(stage);
}
END_TEST

START_TEST(a_connect_closed_under_way_reaches_nobody)
{
    struct stage *stage =
        stage_new(1, (struct ring_sim_link){ .to_peer_ms = 10, .to_ring_ms = 10 });
    ring_socket_connect(&stage->client.socket, ADDRESS, NULL, 0);
    ring_turn(stage->ring, 5);
    stage_close(stage, false);
    ck_assert_int_eq(stage->client.connected, 0);
    ck_assert_ptr_null(stage->played.peer);
    stage_free(stage);
}
END_TEST

START_TEST(the_played_end_knows_the_addresses)
{
    struct stage *stage = stage_new(1, (struct ring_sim_link){ 0 });
    struct sockaddr_in source = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000009) };
    ring_socket_connect(&stage->client.socket, ADDRESS, (struct sockaddr *)&source, sizeof source);
    stage_idle(stage);
    ck_assert_mem_eq(ring_sim_peer_address(stage->played.peer), &address, sizeof address);
    ck_assert_mem_eq(ring_sim_peer_source(stage->played.peer), &source, sizeof source);
    struct sockaddr_storage local;
    socklen_t len;
    ck_assert(ring_socket_local(&stage->client.socket, &local, &len));
    ck_assert_uint_eq(((struct sockaddr_in *)&local)->sin_addr.s_addr, source.sin_addr.s_addr);
    stage_free(stage);
}
END_TEST

START_TEST(one_end_of_a_pair_can_be_adopted)
{
    struct stage *stage = stage_new(1, (struct ring_sim_link){ 0 });
    stage->played.echo = true;
    int fd = ring_sim_pair(stage->sim, &server, &stage->played, &stage->played.peer);
    ring_sim_peer_send(stage->played.peer, SLICE("early "));
    ring_socket_adopt(&stage->client.socket, fd);
    ring_socket_receive(&stage->client.socket);
    stage_send(stage, SLICE("and late"));
    stage_idle(stage);
    ck_assert_uint_eq(stage->client.received, 14);
    ck_assert_mem_eq(stage->client.bytes, "early and late", 14);
    stage_free(stage);
}
END_TEST

/* ---- bytes ---- */

static void fill(char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        bytes[i] = (char)(i * 7 + i / 251);
}

START_TEST(bytes_come_in_pieces_but_in_order)
{
    static const struct ring_sim_link links[] = {
        { .piece_bytes = 1 },
        { .piece_bytes = 7, .random_pieces = true },
        { .random_pieces = true, .to_peer_ms = 3, .to_ring_ms = 4 },
        { .piece_bytes = 4000 },
    };
    struct stage *stage = stage_new(3, links[_i]);
    stage->played.echo = true;
    stage_connect(stage);
    char bytes[2000];
    fill(bytes, sizeof bytes);
    stage_send(stage, slice_of(bytes, sizeof bytes));
    stage_idle(stage);
    ck_assert_uint_eq(stage->client.received, sizeof bytes);
    ck_assert_mem_eq(stage->client.bytes, bytes, sizeof bytes);
    if (links[_i].piece_bytes == 1)
        ck_assert_uint_eq(stage->played.calls, sizeof bytes);
    else
        ck_assert(stage->client.calls > 1 || links[_i].piece_bytes == 4000);
    stage_free(stage);
}
END_TEST

START_TEST(a_shorter_latency_does_not_let_bytes_overtake)
{
    struct stage *stage = stage_new(1, (struct ring_sim_link){ .to_ring_ms = 100 });
    stage_connect(stage);
    ring_sim_peer_send(stage->played.peer, SLICE("first "));
    ring_sim_peer_link(stage->played.peer, &(struct ring_sim_link){ 0 });
    ring_sim_peer_send(stage->played.peer, SLICE("second"));
    stage_idle(stage);
    ck_assert_mem_eq(stage->client.bytes, "first second", 12);
    stage_free(stage);
}
END_TEST

START_TEST(a_stalled_peer_holds_the_flight_back)
{
    struct stage *stage = stage_new(1, (struct ring_sim_link){ .window_bytes = 500 });
    stage_connect(stage);
    ring_sim_peer_stall(stage->played.peer, true);
    char bytes[2000];
    fill(bytes, sizeof bytes);
    stage_send(stage, slice_of(bytes, sizeof bytes));
    stage_idle(stage);
    ck_assert_int_eq(stage->client.sent, 0);
    ck_assert_uint_eq(stage->played.received, 0);
    ring_sim_peer_stall(stage->played.peer, false);
    stage_idle(stage);
    ck_assert_int_eq(stage->client.sent, 1);
    ck_assert_int_eq(stage->client.send_error, 0);
    ck_assert_uint_eq(stage->played.received, sizeof bytes);
    ck_assert_mem_eq(stage->played.bytes, bytes, sizeof bytes);
    stage_free(stage);
}
END_TEST

START_TEST(a_small_flight_fits_into_the_window_of_a_stalled_peer)
{
    struct stage *stage = stage_new(1, (struct ring_sim_link){ .window_bytes = 500 });
    stage_connect(stage);
    ring_sim_peer_stall(stage->played.peer, true);
    stage_send(stage, SLICE("QUIT\r\n"));
    stage_idle(stage);
    ck_assert_int_eq(stage->client.sent, 1);
    ck_assert_uint_eq(stage->played.received, 0);
    stage_free(stage);
}
END_TEST

START_TEST(a_paused_client_gets_the_rest_when_it_goes_on)
{
    struct stage *stage = stage_new(1, (struct ring_sim_link){ .piece_bytes = 2 });
    stage->client.pause_at = 4;
    stage->played.greeting = SLICE("abcdefgh");
    stage_connect(stage);
    ring_sim_peer_shutdown(stage->played.peer);
    stage_idle(stage);
    ck_assert_uint_eq(stage->client.received, 4);
    ck_assert_int_eq(stage->client.ended, 0);
    stage->client.pause_at = 0;
    ring_socket_receive(&stage->client.socket);
    stage_idle(stage);
    ck_assert_mem_eq(stage->client.bytes, "abcdefgh", 8);
    ck_assert_int_eq(stage->client.ended, 1);
    stage_free(stage);
}
END_TEST

/* ---- ends ---- */

START_TEST(both_ways_can_be_half_closed)
{
    struct stage *stage = stage_new(1, (struct ring_sim_link){ 0 });
    stage_connect(stage);
    ring_sim_peer_shutdown(stage->played.peer);
    stage_idle(stage);
    ck_assert_int_eq(stage->client.ended, 1);
    ck_assert_int_eq(stage->client.end_error, 0);
    stage_send(stage, SLICE("still here"));
    ring_socket_shutdown(&stage->client.socket);
    stage_idle(stage);
    ck_assert_uint_eq(stage->played.received, 10);
    ck_assert_int_eq(stage->played.ended, 1);
    ck_assert_int_eq(stage->played.end_error, 0);
    stage_free(stage);
}
END_TEST

START_TEST(a_reset_by_the_peer_ends_receiving_and_fails_the_flight)
{
    struct stage *stage = stage_new(1, (struct ring_sim_link){ .to_ring_ms = 20 });
    stage_connect(stage);
    ring_sim_peer_stall(stage->played.peer, true);
    stage_send(stage, SLICE("into the void"));
    ring_turn(stage->ring, 10);
    int64_t now = ring_now_ms(stage->ring);
    ring_sim_peer_close(stage->played.peer, true);
    ring_sim_peer_stall(stage->played.peer, true);
    stage_idle(stage);
    ck_assert_int_eq(stage->client.ended, 1);
    ck_assert_int_eq(stage->client.end_error, ECONNRESET);
    ck_assert_int_eq(stage->client.ended_at, now + 20);
    stage_send(stage, SLICE("again"));
    stage_idle(stage);
    ck_assert_int_eq(stage->client.send_error, ECONNRESET);
    stage_free(stage);
}
END_TEST

START_TEST(sending_to_a_peer_that_closed_is_answered_with_a_reset)
{
    struct stage *stage = stage_new(1, (struct ring_sim_link){ .to_peer_ms = 5, .to_ring_ms = 5 });
    stage_connect(stage);
    ring_sim_peer_close(stage->played.peer, false);
    stage_idle(stage);
    ck_assert_int_eq(stage->client.ended, 1);
    ck_assert_int_eq(stage->client.end_error, 0);
    stage_send(stage, SLICE("hello?"));
    stage_idle(stage);
    ck_assert_int_eq(stage->client.sent, 1);
    ck_assert_int_eq(stage->client.send_error, 0);
    ck_assert_uint_eq(stage->played.received, 0);
    stage_send(stage, SLICE("hello?"));
    stage_idle(stage);
    ck_assert_int_eq(stage->client.sent, 2);
    ck_assert_int_eq(stage->client.send_error, ECONNRESET);
    stage_free(stage);
}
END_TEST

START_TEST(the_peer_hears_how_the_client_closed)
{
    for (int reset = 0; reset < 2; reset++) {
        struct stage *stage = stage_new(1, (struct ring_sim_link){ 0 });
        stage_connect(stage);
        stage_send(stage, SLICE("bye"));
        stage_idle(stage);
        stage_close(stage, reset);
        ck_assert_uint_eq(stage->played.received, 3);
        ck_assert_int_eq(stage->played.ended, 1);
        ck_assert_int_eq(stage->played.end_error, reset ? ECONNRESET : 0);
        ring_sim_peer_send(stage->played.peer, SLICE("to nobody"));
        stage_idle(stage);
        ck_assert_int_eq(stage->played.ended, 1);
        stage_free(stage);
    }
}
END_TEST

/* ---- one seed, one run ---- */

static uint64_t digest_of_run(uint64_t seed)
{
    struct stage *stage =
        stage_new(seed, (struct ring_sim_link){ .random_pieces = true, .to_ring_ms = 2 });
    stage->played.echo = true;
    stage_connect(stage);
    char bytes[3000];
    fill(bytes, sizeof bytes);
    stage_send(stage, slice_of(bytes, sizeof bytes));
    stage_idle(stage);
    uint64_t digest = ring_sim_digest(stage->sim) ^ rng_next(ring_rng(stage->ring)) ^
                      rng_next(ring_sim_rng(stage->sim));
    stage_free(stage);
    return digest;
}

START_TEST(a_seed_gives_one_run_and_another_seed_another)
{
    ck_assert_uint_eq(digest_of_run(42), digest_of_run(42));
    ck_assert_uint_ne(digest_of_run(42), digest_of_run(43));
}
END_TEST

int main(void)
{
    Suite *suite = SUITE_OF(
        "sim", a_connection_takes_the_latency_of_both_ways, a_timer_fires_at_its_exact_virtual_time,
        a_turn_jumps_no_farther_than_it_may,
        what_is_scheduled_runs_at_its_time_and_running_until_it_stops_there,
        an_address_without_a_listener_refuses, a_connect_can_be_made_to_fail_or_to_hang,
        a_connect_closed_under_way_reaches_nobody, the_played_end_knows_the_addresses,
        one_end_of_a_pair_can_be_adopted, a_shorter_latency_does_not_let_bytes_overtake,
        a_stalled_peer_holds_the_flight_back, a_small_flight_fits_into_the_window_of_a_stalled_peer,
        a_paused_client_gets_the_rest_when_it_goes_on, both_ways_can_be_half_closed,
        a_reset_by_the_peer_ends_receiving_and_fails_the_flight,
        sending_to_a_peer_that_closed_is_answered_with_a_reset,
        the_peer_hears_how_the_client_closed, a_seed_gives_one_run_and_another_seed_another);
    TCase *links = tcase_create("links");
    tcase_set_timeout(links, 0);
    tcase_add_loop_test(links, bytes_come_in_pieces_but_in_order, 0, 4);
    suite_add_tcase(suite, links);
    return check_main(suite);
}
