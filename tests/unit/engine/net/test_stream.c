/* Streams in clear: in the simulated world where time or pieces matter, on each real body where the
 * kernel has a say. */
#include "engine/net/stream.h"

#include <unistd.h>

#include "tests/unit/engine/net/client.h"
#include "tests/unit/engine/ring/bodies.h"

/* ---- a played server ---- */

struct played {
    struct ring_sim_peer *peer;
    struct buf received;
    const char *greeting;
    unsigned ended;
    int error;
};

static void played_accepted(struct ring_sim_peer *peer)
{
    struct played *played = ring_sim_peer_user(peer);
    played->peer = peer;
    if (played->greeting)
        ring_sim_peer_send(peer, slice_str(played->greeting));
}

static void played_received(struct ring_sim_peer *peer, struct slice bytes)
{
    struct played *played = ring_sim_peer_user(peer);
    ck_assert(buf_append(&played->received, bytes));
}

static void played_ended(struct ring_sim_peer *peer, int error)
{
    struct played *played = ring_sim_peer_user(peer);
    played->ended++;
    played->error = error;
}

static const struct ring_sim_handlers played_handlers = { played_accepted, played_received,
                                                          played_ended };

static struct rig rig;
static struct played played;
static struct client client;
static struct sockaddr_in address;

static void sim_setup(void)
{
    rig = rig_on(BODY_SIM);
    address = loopback(25);
    ring_sim_listen(rig.sim, (struct sockaddr *)&address, sizeof address, &played_handlers,
                    &played);
    client_init(&client, rig.ring);
}

static void sim_teardown(void)
{
    if (client.closed == 0)
        client_close(&client, false);
    ring_sim_run_until(rig.ring, NULL, NULL);
    client_free(&client);
    buf_free(&played.received);
    rig_free(&rig);
}

static void run(void)
{
    ring_sim_run_until(rig.ring, NULL, NULL); /* until nothing is left */
}

START_TEST(a_refused_connection_says_so_in_words)
{
    struct sockaddr_in nobody = loopback(26);
    client_connect(&client, &nobody, sizeof nobody);
    run();
    ck_assert_uint_eq(client.heard[ON_ENDED], 1);
    ck_assert_int_eq(client.failure.end, STREAM_END_CONNECT_FAILED);
    ck_assert_int_eq(client.failure.errnum, ECONNREFUSED);
    ck_assert_str_eq(client.failure.text, "connection refused");
}
END_TEST

START_TEST(bytes_pass_both_ways_in_any_pieces)
{
    ring_sim_set_link(rig.sim, &(struct ring_sim_link){
                                   .piece_bytes = (size_t)_i, .to_peer_ms = 3, .to_ring_ms = 4 });
    played.greeting = "220 hello\r\n";
    client.greeting = vector("EHLO x\r\n");
    client_connect(&client, &address, sizeof address);
    run();
    ck_assert(client_got(&client, "220 hello\r\n"));
    ck_assert(slice_eq(buf_slice(&played.received), SLICE("EHLO x\r\n")));
    ck_assert_uint_eq(client.heard[ON_SENT], 1);
}
END_TEST

START_TEST(a_flight_of_many_vectors_arrives_in_order)
{
    client_connect(&client, &address, sizeof address);
    run();
    struct iovec iov[] = { vector("MAIL"), vector(""), vector("\r\n"), vector("DATA") };
    client_send(&client, iov, ARRAY_LEN(iov));
    ck_assert(stream_sending(&client.stream));
    run();
    ck_assert(!stream_sending(&client.stream));
    ck_assert(slice_eq(buf_slice(&played.received), SLICE("MAIL\r\nDATA")));
}
END_TEST

START_TEST(sending_goes_on_after_the_peers_half_close)
{
    client_connect(&client, &address, sizeof address);
    run();
    ring_sim_peer_shutdown(played.peer);
    run();
    ck_assert_int_eq(client.failure.end, STREAM_END_EOF);
    ck_assert_str_eq(client.failure.text, "closed by the peer");
    client_send(&client, (struct iovec[]){ vector("QUIT") }, 1);
    run();
    ck_assert_uint_eq(client.heard[ON_SENT], 1);
    ck_assert(slice_eq(buf_slice(&played.received), SLICE("QUIT")));
    ck_assert_uint_eq(client.heard[ON_ENDED], 1);
}
END_TEST

START_TEST(a_flight_that_fails_after_the_peers_end_is_told)
{
    client_connect(&client, &address, sizeof address);
    run();
    ring_sim_peer_close(played.peer, false);
    run();
    ck_assert_int_eq(client.failure.end, STREAM_END_EOF);
    for (unsigned tries = 0; tries < 3 && client.heard[ON_ENDED] == 1; tries++) {
        client_send(&client, (struct iovec[]){ vector("QUIT") },
                    1); /* answered with RST; the next one fails */
        run();
    }
    ck_assert_uint_eq(client.heard[ON_ENDED], 2);
    ck_assert_int_eq(client.failure.end, STREAM_END_RESET);
    unsigned sent = client.heard[ON_SENT];
    client_send(&client, (struct iovec[]){ vector("QUIT") }, 1); /* harmless on a failed stream */
    run();
    ck_assert_uint_eq(client.heard[ON_SENT], sent);
    ck_assert_uint_eq(client.heard[ON_ENDED], 2);
}
END_TEST

START_TEST(a_reset_is_told_once_and_in_words)
{
    client_connect(&client, &address, sizeof address);
    run();
    ring_sim_peer_close(played.peer, true);
    run();
    ck_assert_uint_eq(client.heard[ON_ENDED], 1);
    ck_assert_int_eq(client.failure.end, STREAM_END_RESET);
    ck_assert_int_eq(client.failure.errnum, ECONNRESET);
    ck_assert_str_eq(client.failure.text, "connection reset by peer");
}
END_TEST

START_TEST(closing_inside_any_callback_leaves_only_closed)
{
    client.close_in = (enum client_event)_i;
    client.close_with_reset = _i % 2;
    played.greeting = "220 hello\r\n";
    client.greeting = vector("EHLO x\r\n");
    ring_sim_set_link(rig.sim, &(struct ring_sim_link){ .piece_bytes = 2 });
    client_connect(&client, &address, sizeof address);
    run();
    if (client.closed == 0)
        ring_sim_peer_shutdown(played.peer);
    run();
    ck_assert_uint_eq(client.heard[_i], 1);
    ck_assert_uint_eq(client.closed, 1);
}
END_TEST

START_TEST(closing_twice_or_while_connecting_closes_once)
{
    client_connect(&client, &address, sizeof address);
    client_close(&client, false);
    client_close(&client, true);
    run();
    ck_assert_uint_eq(client.closed, 1);
    ck_assert_uint_eq(client.heard[ON_CONNECTED] + client.heard[ON_ENDED], 0);
}
END_TEST

START_TEST(a_paused_stream_hears_nothing_until_resumed)
{
    played.greeting = "220 hello\r\n";
    stream_pause(&client.stream);
    client_connect(&client, &address, sizeof address);
    run();
    ck_assert_uint_eq(client.heard[ON_CONNECTED], 1);
    ck_assert_uint_eq(client.heard[ON_RECEIVED], 0);
    stream_resume(&client.stream);
    run();
    ck_assert(client_got(&client, "220 hello\r\n"));
    stream_pause(&client.stream);
    run();
    ring_sim_peer_send(played.peer, SLICE("more"));
    run();
    ck_assert(client_got(&client, "220 hello\r\n"));
    stream_resume(&client.stream);
    stream_resume(&client.stream);
    run();
    ck_assert(client_got(&client, "220 hello\r\nmore"));
}
END_TEST

START_TEST(a_stream_in_clear_costs_less_than_300_bytes)
{
    ck_assert_uint_lt(sizeof(struct stream), sizeof(struct ring_socket) + 64);
    ck_assert_uint_lt(sizeof(struct stream), 300);
}
END_TEST

/* ---- with the kernel ---- */

static int listen_on_loopback(struct sockaddr_in *out)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    socklen_t len = sizeof *out;
    *out = loopback(0);
    ck_assert(fd >= 0 && bind(fd, (struct sockaddr *)out, len) == 0 && listen(fd, 8) == 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)out, &len), 0);
    return fd;
}

START_TEST(last_words_before_a_reset_arrive_although_the_flight_fails)
{
    struct rig real = rig_on(_i);
    struct sockaddr_in to;
    int listener = listen_on_loopback(&to);
    struct client c;
    client_init(&c, real.ring);
    client_connect(&c, &to, sizeof to);
    TURN_UNTIL(real.ring, c.heard[ON_CONNECTED]);
    int fd = accept(listener, NULL, NULL);
    static char body[16 << 20]; /* more than the sockets' buffers take */
    client_send(&c, &(struct iovec){ body, sizeof body }, 1);
    ring_turn(real.ring, 0);
    char first;
    ck_assert_int_eq(read(fd, &first, 1), 1);
    ck_assert_int_eq(write(fd, "421 go away\r\n", 13), 13);
    close(fd); /* with unread bytes: RST */
    TURN_UNTIL(real.ring, c.heard[ON_ENDED]);
    ck_assert(client_got(&c, "421 go away\r\n"));
    /* The kernel tells an error once: whoever asks second, receiver or sender, hears of an ordinary
     * end. */
    TURN_UNTIL(real.ring, c.failure.end == STREAM_END_RESET);
    ck_assert_uint_eq(c.heard[ON_SENT], 0);
    client_close(&c, false);
    TURN_UNTIL(real.ring, c.closed);
    client_free(&c);
    close(listener);
    rig_free(&real);
}
END_TEST

START_TEST(an_adopted_descriptor_streams_both_ways)
{
    struct rig real = rig_on(_i);
    int fds[2];
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    struct client c;
    client_init(&c, real.ring);
    c.inside = true;
    stream_adopt(&c.stream, fds[0]);
    c.inside = false;
    ck_assert_int_eq(write(fds[1], "PING", 4), 4);
    TURN_UNTIL(real.ring, c.heard[ON_RECEIVED]);
    ck_assert(client_got(&c, "PING"));
    client_send(&c, (struct iovec[]){ vector("PO"), vector("NG") }, 2);
    TURN_UNTIL(real.ring, c.heard[ON_SENT]);
    char got[4];
    ck_assert_int_eq(read(fds[1], got, 4), 4);
    ck_assert_mem_eq(got, "PONG", 4);
    close(fds[1]);
    TURN_UNTIL(real.ring, c.heard[ON_ENDED]);
    ck_assert_int_eq(c.failure.end, STREAM_END_EOF);
    client_close(&c, false);
    TURN_UNTIL(real.ring, c.closed);
    client_free(&c);
    rig_free(&real);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("stream");
    TCase *sim = tcase_create("simulation");
    tcase_add_checked_fixture(sim, sim_setup, sim_teardown);
    tcase_set_timeout(sim, 0);
    tcase_add_test(sim, a_refused_connection_says_so_in_words);
    tcase_add_loop_test(sim, bytes_pass_both_ways_in_any_pieces, 0, 4);
    tcase_add_test(sim, a_flight_of_many_vectors_arrives_in_order);
    tcase_add_test(sim, sending_goes_on_after_the_peers_half_close);
    tcase_add_test(sim, a_flight_that_fails_after_the_peers_end_is_told);
    tcase_add_test(sim, a_reset_is_told_once_and_in_words);
    tcase_add_loop_test(sim, closing_inside_any_callback_leaves_only_closed, ON_CONNECTED,
                        ON_CONNECTED + 1);
    tcase_add_loop_test(sim, closing_inside_any_callback_leaves_only_closed, ON_RECEIVED,
                        ON_ENDED + 1);
    tcase_add_test(sim, closing_twice_or_while_connecting_closes_once);
    tcase_add_test(sim, a_paused_stream_hears_nothing_until_resumed);
    suite_add_tcase(suite, sim);
    TCase *real = tcase_create("kernel");
    tcase_set_timeout(real, 0);
    tcase_add_test(real, a_stream_in_clear_costs_less_than_300_bytes);
    CASE_LOOP(real, BODIES_REAL, last_words_before_a_reset_arrive_although_the_flight_fails,
              an_adopted_descriptor_streams_both_ways);
    suite_add_tcase(suite, real);
    return check_main(suite);
}
