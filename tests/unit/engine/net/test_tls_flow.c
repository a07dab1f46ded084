/* TLS over streams in the simulated world, once it is up: what leaves in which records, and how it
 * ends. */
#include "engine/net/tls.h"

#include "engine/base/mem.h"
#include "tests/unit/engine/net/tls_rig.h"

/* ---- sending ---- */

START_TEST(small_vectors_leave_in_records_as_large_as_possible)
{
    connect_with(trusting, NULL);
    static char text[40 * 1000];
    struct iovec iov[42];
    for (size_t i = 0; i < 40; i++)
        iov[i] = (struct iovec){ text + i * 1000, 1000 };
    iov[40] = iov[41] = (struct iovec){ text, 0 };
    memset(text, 'x', sizeof text);
    server.records = 0;
    client_send(&client, iov, ARRAY_LEN(iov));
    run();
    ck_assert_uint_eq(client.heard[ON_SENT], 1);
    ck_assert_uint_eq(server.received.len, sizeof text);
    ck_assert_uint_eq(server.records, 3); /* 16384 + 16384 + 7232 */
}
END_TEST

START_TEST(a_flight_of_any_vectors_arrives_as_it_was)
{
    struct rng rng;
    const char *given = getenv("EILPOST_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 0) : rng_system_seed();
    printf("tls: EILPOST_SEED=0x%llx\n", (unsigned long long)seed);
    fflush(stdout);
    rng_seed(&rng, seed);
    enum { BYTES = 600000 };
    char *text = mem_alloc(BYTES);
    for (size_t i = 0; i < BYTES; i++)
        text[i] = (char)rng_next(&rng);
    connect_with(trusting, NULL);
    ring_sim_peer_link(server.peer, &(struct ring_sim_link){ .random_pieces = true });
    for (unsigned round = 1; round <= 20; round++) {
        struct iovec iov[32];
        unsigned count = 1 + (unsigned)rng_below(&rng, ARRAY_LEN(iov));
        size_t at = 0;
        for (unsigned i = 0; i < count; i++) {
            size_t most = rng_below(&rng, 3) ? 200 : BYTES / ARRAY_LEN(iov);
            iov[i] = (struct iovec){ text + at, rng_below(&rng, most) };
            at += iov[i].iov_len;
        }
        buf_clear(&server.received);
        client_send(&client, iov, count);
        ck_assert(stream_sending(&client.stream));
        run();
        ck_assert_uint_eq(client.heard[ON_SENT], round);
        ck_assert(slice_eq(buf_slice(&server.received), slice_of(text, at)));
    }
    free(text);
}
END_TEST

START_TEST(a_flight_without_bytes_is_sent_like_any_other)
{
    connect_with(trusting, NULL);
    struct iovec iov[] = { vector(""), vector("") };
    client_send(&client, iov, 2);
    run();
    ck_assert_uint_eq(client.heard[ON_SENT], 1);
    client_send(&client, (struct iovec[]){ vector("NOOP\r\n") }, 1);
    run();
    ck_assert_uint_eq(client.heard[ON_SENT], 2);
    ck_assert(slice_eq(buf_slice(&server.received), SLICE("NOOP\r\n")));
}
END_TEST

START_TEST(a_stalled_peer_holds_back_sent_and_bounds_what_is_encrypted_ahead)
{
    connect_with(trusting, NULL);
    ring_sim_peer_stall(server.peer, true);
    static char text[1 << 20];
    client_send(&client, &(struct iovec){ text, sizeof text }, 1);
    run();
    ck_assert_uint_eq(client.heard[ON_SENT], 0);
    tls_server_write(&server, SLICE("421 wait"));
    run();
    ck_assert(client_got(&client, "220 hello\r\n421 wait")); /* both directions are independent */
    ring_sim_peer_stall(server.peer, false);
    run();
    ck_assert_uint_eq(client.heard[ON_SENT], 1);
    ck_assert_uint_eq(server.received.len, sizeof text);
}
END_TEST

START_TEST(a_key_update_in_the_middle_of_a_flight_passes_unseen)
{
    connect_with(trusting, NULL);
    ring_sim_peer_stall(server.peer, true);
    static char text[200000];
    client_send(&client, &(struct iovec){ text, sizeof text }, 1);
    run();
    for (unsigned i = 0; i < 5; i++) {
        ck_assert_int_eq(SSL_key_update(server.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
        tls_server_write(&server, SLICE("."));
        run();
    }
    ring_sim_peer_stall(server.peer, false);
    run();
    ck_assert_uint_eq(client.heard[ON_SENT], 1);
    ck_assert_uint_eq(server.received.len, sizeof text);
    ck_assert(client_got(&client, "220 hello\r\n....."));
}
END_TEST

START_TEST(a_peer_that_provokes_answers_without_reading_them_is_cut_off)
{
    connect_with(trusting, NULL);
    ring_sim_peer_stall(server.peer, true);
    static char text[200000];
    client_send(&client, &(struct iovec){ text, sizeof text }, 1);
    for (unsigned i = 0; i < 20000 && client.heard[ON_ENDED] == 0; i++) {
        SSL_key_update(server.ssl, SSL_KEY_UPDATE_REQUESTED);
        tls_server_write(&server, SLICE("."));
        run();
    }
    check_failed("TLS failed: the peer provokes answers without reading them");
}
END_TEST

START_TEST(renegotiation_is_refused)
{
    server.max_version = TLS1_2_VERSION;
    tls_server_prepare(&server);
    connect_with(trusting, NULL);
    ck_assert_int_eq(SSL_renegotiate(server.ssl), 1);
    SSL_do_handshake(server.ssl); /* sends the HelloRequest */
    tls_server_flush(&server);
    run();
    ck_assert(server.failed);
    ck_assert_int_eq(server.reason, SSL_R_NO_RENEGOTIATION);
    ck_assert_uint_eq(client.heard[ON_SECURED], 1);
    check_failed("TLS failed: the peer refused: handshake failure");
}
END_TEST

/* ---- ends ---- */

START_TEST(a_close_notify_is_an_end_in_order_and_sending_goes_on)
{
    connect_with(trusting, NULL);
    SSL_shutdown(server.ssl);
    tls_server_flush(&server);
    run();
    ck_assert_uint_eq(client.heard[ON_ENDED], 1);
    ck_assert_int_eq(client.failure.end, STREAM_END_EOF);
    ck_assert_str_eq(client.failure.text, "closed by the peer");
    client_send(&client, (struct iovec[]){ vector("QUIT\r\n") }, 1);
    run();
    ck_assert_uint_eq(client.heard[ON_SENT], 1);
    ring_sim_peer_close(server.peer, false);
    run();
    ck_assert_uint_eq(client.heard[ON_ENDED], 1);
}
END_TEST

START_TEST(an_end_without_close_notify_is_an_end_with_a_note)
{
    connect_with(trusting, NULL);
    ring_sim_peer_close(server.peer, false);
    run();
    ck_assert_int_eq(client.failure.end, STREAM_END_EOF);
    ck_assert_str_eq(client.failure.text, "closed by the peer without close_notify");
}
END_TEST

START_TEST(a_damaged_record_fails_the_stream_and_its_flight)
{
    connect_with(trusting, NULL);
    ring_sim_peer_stall(server.peer, true);
    static char text[200000];
    client_send(&client, &(struct iovec){ text, sizeof text }, 1);
    run();
    ring_sim_peer_send(server.peer, SLICE("\x17\x03\x03\x00\x20garbage garbage garbage garbage "));
    run();
    check_failed("TLS failed: a record was damaged on the way");
    ck_assert_uint_eq(client.heard[ON_SENT], 0);
    client_send(&client, (struct iovec[]){ vector("QUIT") }, 1); /* harmless */
    client_close(&client, false);
    run();
    ck_assert_uint_eq(client.closed, 1);
    ck_assert_uint_eq(client.heard[ON_SENT], 0);
}
END_TEST

/* Under TLS 1.3 we're done before the peer has looked at our answer. */
START_TEST(an_alert_after_the_handshake_is_told_in_the_peers_words)
{
    SSL_CTX_set_verify(server.context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    connect_with(trusting, NULL);
    ck_assert_uint_eq(client.heard[ON_SECURED], 1);
    check_failed("TLS failed: the peer refused: certificate required");
}
END_TEST

START_TEST(closing_sends_a_close_notify)
{
    connect_with(trusting, NULL);
    client_close(&client, false);
    int64_t before = ring_sim_now_ms(rig.sim);
    run();
    ck_assert_uint_eq(client.closed, 1);
    ck_assert(server.close_notify && server.ended);
    ck_assert_int_eq(ring_sim_now_ms(rig.sim), before); /* the timer is gone, too */
}
END_TEST

START_TEST(closing_with_a_reset_sends_nothing)
{
    connect_with(trusting, NULL);
    client_close(&client, true);
    run();
    ck_assert_uint_eq(client.closed, 1);
    ck_assert(!server.close_notify && server.ended);
}
END_TEST

START_TEST(a_peer_that_doesnt_read_delays_closing_by_a_second_at_most)
{
    connect_with(trusting, NULL);
    ring_sim_peer_stall(server.peer, true);
    int64_t before = ring_sim_now_ms(rig.sim);
    client_close(&client, false);
    if (_i == 1)
        client_close(&client, false); /* no effect */
    if (_i == 2)
        client_close(&client, true); /* won't wait */
    run();
    ck_assert_uint_eq(client.closed, 1);
    int64_t took = ring_sim_now_ms(rig.sim) - before;
    if (_i == 2)
        ck_assert_int_lt(took, 1000);
    else
        ck_assert(took >= 1000 && took <= 1002);
}
END_TEST

START_TEST(closing_with_a_flight_under_way_doesnt_wait)
{
    connect_with(trusting, NULL);
    ring_sim_peer_stall(server.peer, true);
    static char text[200000];
    client_send(&client, &(struct iovec){ text, sizeof text }, 1);
    run();
    int64_t before = ring_sim_now_ms(rig.sim);
    client_close(&client, false);
    run();
    ck_assert_uint_eq(client.closed, 1);
    ck_assert_uint_eq(client.heard[ON_SENT], 0);
    ck_assert_int_eq(ring_sim_now_ms(rig.sim), before);
}
END_TEST

START_TEST(closing_inside_any_callback_leaves_only_closed)
{
    enum client_event event = (enum client_event)(ON_CONNECTED + _i / 4);
    bool tls12 = _i & 2;
    client.close_in = event;
    client.close_with_reset = _i & 1;
    server.max_version = tls12 ? TLS1_2_VERSION : 0;
    tls_server_prepare(&server);
    client.greeting = vector("EHLO x\r\n");
    connect_with(trusting, NULL);
    if (client.closed == 0) {
        /* Two records in one read: the second mustn't arrive after a close in the first. */
        SSL_write(server.ssl, "one", 3);
        SSL_write(server.ssl, "two", 3);
        tls_server_flush(&server);
        run();
    }
    if (client.closed == 0)
        ring_sim_peer_close(server.peer, false);
    run();
    ck_assert_uint_eq(client.heard[event], 1);
    ck_assert_uint_eq(client.closed, 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tls flow");
    TCase *tcase = tls_case();
    tcase_add_test(tcase, small_vectors_leave_in_records_as_large_as_possible);
    tcase_add_test(tcase, a_flight_of_any_vectors_arrives_as_it_was);
    tcase_add_test(tcase, a_flight_without_bytes_is_sent_like_any_other);
    tcase_add_test(tcase, a_stalled_peer_holds_back_sent_and_bounds_what_is_encrypted_ahead);
    tcase_add_test(tcase, a_key_update_in_the_middle_of_a_flight_passes_unseen);
    tcase_add_test(tcase, a_peer_that_provokes_answers_without_reading_them_is_cut_off);
    tcase_add_test(tcase, renegotiation_is_refused);
    tcase_add_test(tcase, a_close_notify_is_an_end_in_order_and_sending_goes_on);
    tcase_add_test(tcase, an_end_without_close_notify_is_an_end_with_a_note);
    tcase_add_test(tcase, a_damaged_record_fails_the_stream_and_its_flight);
    tcase_add_test(tcase, an_alert_after_the_handshake_is_told_in_the_peers_words);
    tcase_add_test(tcase, closing_sends_a_close_notify);
    tcase_add_test(tcase, closing_with_a_reset_sends_nothing);
    tcase_add_loop_test(tcase, a_peer_that_doesnt_read_delays_closing_by_a_second_at_most, 0, 3);
    tcase_add_test(tcase, closing_with_a_flight_under_way_doesnt_wait);
    tcase_add_loop_test(tcase, closing_inside_any_callback_leaves_only_closed, 0,
                        (CLIENT_EVENTS - 1) * 4);
    suite_add_tcase(suite, tcase);
    return check_main(suite);
}
