/* TLS over streams in the simulated world: what arrives how, and what goes wrong when, to the byte.
 */
#include "engine/net/tls.h"

#include "engine/base/mem.h"
#include "tests/unit/engine/net/certs.h"
#include "tests/unit/engine/net/client.h"
#include "tests/unit/engine/net/tls_server.h"
#include "tests/unit/engine/ring/bodies.h"

static struct certs certs;

static struct rig rig;
static struct tls_server server;
static struct tls_context *trusting, *verifying;
static struct client client;
static struct sockaddr_in address;

static void make_certs(void)
{
    certs_make(&certs);
}

static void remove_certs(void)
{
    certs_remove(&certs);
}

static struct tls_context *context_with(struct tls_context_options options)
{
    struct tls_context *context;
    struct err err;
    if (!tls_context_create(&context, &options, &err))
        ck_abort_msg("%s", err.text);
    return context;
}

static void setup(void)
{
    rig = rig_on(BODY_SIM);
    address = loopback(25);
    server = (struct tls_server){ .certificate = certs.mx,
                                  .key = certs.mx_key,
                                  .greeting = "220 hello\r\n" };
    tls_server_prepare(&server);
    ring_sim_listen(rig.sim, (struct sockaddr *)&address, sizeof address, &tls_server_handlers,
                    &server);
    trusting = context_with((struct tls_context_options){ .verify = TLS_VERIFY_NONE });
    verifying = context_with(
        (struct tls_context_options){ .verify = TLS_VERIFY_NAME, .ca_file = certs.ca });
    client_init(&client, rig.ring);
}

static void run(void)
{
    ring_sim_run_until(rig.ring, NULL, NULL); /* until nothing is left */
}

static void finish_client(void)
{
    if (client.closed == 0)
        client_close(&client, false);
    run();
    client_free(&client);
}

static void teardown(void)
{
    finish_client();
    tls_context_destroy(&trusting);
    tls_context_destroy(&verifying);
    tls_server_free(&server);
    rig_free(&rig);
}

static void connect_with(struct tls_context *context, const char *name)
{
    client.tls.context = context;
    client.tls.server_name = name;
    client.tls.ticket = client_on_ticket;
    client.tls.ticket_user = &client;
    client.tls_at_once = true;
    client_connect(&client, &address, sizeof address);
    run();
}

/* A second connection that offers the first one's last ticket. */
static void connect_again_with(struct tls_context *context, const char *name)
{
    struct tls_ticket *ticket = client.ticket;
    client.ticket = NULL;
    ck_assert_ptr_nonnull(ticket);
    finish_client();
    client_init(&client, rig.ring);
    client.tls.resume = ticket;
    connect_with(context, name);
}

static struct tls_facts facts(void)
{
    struct tls_facts out;
    ck_assert(stream_tls_facts(&client.stream, &out));
    return out;
}

static void check_failed(const char *text)
{
    ck_assert_uint_eq(client.heard[ON_ENDED], 1);
    ck_assert_int_eq(client.failure.end, STREAM_END_TLS_FAILED);
    ck_assert_str_eq(client.failure.text, text);
    struct tls_facts out;
    ck_assert(!stream_secure(&client.stream) && !stream_tls_facts(&client.stream, &out));
}

/* ---- handshake ---- */

static const struct ring_sim_link links[] = {
    { 0 },
    { .piece_bytes = 1 },
    { .piece_bytes = 3, .to_peer_ms = 5, .to_ring_ms = 5 },
    { .random_pieces = true },
};

START_TEST(a_connection_is_secured_in_any_pieces)
{
    ring_sim_set_link(rig.sim, &links[_i]);
    client.greeting = vector("EHLO x\r\n");
    connect_with(trusting, "mx.test.example");
    ck_assert_uint_eq(client.heard[ON_SECURED], 1);
    ck_assert(client_got(&client, "220 hello\r\n"));
    ck_assert(slice_eq(buf_slice(&server.received), SLICE("EHLO x\r\n")));
    ck_assert_str_eq(facts().version, "TLSv1.3");
    ck_assert_str_eq(facts().cipher, "TLS_AES_128_GCM_SHA256");
    ck_assert(!facts().resumed && !facts().verified);
    ck_assert_str_eq(SSL_get_servername(server.ssl, TLSEXT_NAMETYPE_host_name), "mx.test.example");
}
END_TEST

START_TEST(tls_1_2_is_spoken_where_the_peer_knows_nothing_newer)
{
    server.max_version = TLS1_2_VERSION;
    tls_server_prepare(&server);
    connect_with(trusting, "mx.test.example");
    ck_assert(client_got(&client, "220 hello\r\n"));
    ck_assert_str_eq(facts().version, "TLSv1.2");
    ck_assert_str_eq(facts().cipher, "ECDHE-ECDSA-AES128-GCM-SHA256");
}
END_TEST

START_TEST(a_peer_with_tls_1_1_only_is_refused)
{
    server.max_version = TLS1_1_VERSION;
    tls_server_prepare(&server);
    connect_with(trusting, "mx.test.example");
    check_failed(
        "TLS handshake failed: the peer offers no TLS version from the allowed minimum on");
}
END_TEST

START_TEST(a_context_can_ask_for_tls_1_3)
{
    server.max_version = TLS1_2_VERSION;
    tls_server_prepare(&server);
    struct tls_context *modern = context_with((struct tls_context_options){ .min_version = "1.3" });
    connect_with(modern, "mx.test.example");
    tls_context_destroy(&modern); /* the stream still holds it */
    check_failed(
        "TLS handshake failed: the peer offers no TLS version from the allowed minimum on");
}
END_TEST

START_TEST(a_context_with_wrong_options_says_what_is_wrong)
{
    struct tls_context *context;
    struct err err;
    ck_assert(
        !tls_context_create(&context, &(struct tls_context_options){ .min_version = "1.1" }, &err));
    ck_assert_str_eq(err.text, "TLS version \"1.1\" is neither 1.2 nor 1.3");
    struct tls_context_options missing = { .verify = TLS_VERIFY_NAME,
                                           .ca_file = "/nowhere/ca.pem" };
    ck_assert(!tls_context_create(&context, &missing, &err));
    ck_assert_str_eq(err.text,
                     "certificates of /nowhere/ca.pem can't be used: No such file or directory");
}
END_TEST

START_TEST(a_callee_may_start_tls_within_received_and_only_later_bytes_are_tls)
{
    server.clear_text = "220 go ahead\r\ninjected";
    client.tls = (struct tls_client_options){ .context = trusting };
    client_connect(&client, &address, sizeof address);
    run();
    ck_assert(client_got(
        &client, "220 go ahead\r\ninjected")); /* what follows the 220 is there to be seen */
    server.clear_phase = false;
    client_start_tls(&client);
    run();
    ck_assert_uint_eq(client.heard[ON_SECURED], 1);
    ck_assert(client_got(&client, "220 go ahead\r\ninjected220 hello\r\n"));
}
END_TEST

START_TEST(an_answer_that_isnt_tls_is_called_that)
{
    server.clear_text = "";
    client.tls.context = trusting;
    client.tls_at_once = true;
    client_connect(&client, &address, sizeof address);
    run();
    ring_sim_peer_send(server.peer, SLICE("454 TLS not available due to temporary reason\r\n"));
    run();
    check_failed("TLS handshake failed: the peer's answer isn't TLS");
}
END_TEST

START_TEST(an_end_or_a_reset_during_the_handshake_is_told_as_such)
{
    bool reset = _i;
    server.clear_text = "";
    client.tls.context = trusting;
    client.tls_at_once = true;
    client_connect(&client, &address, sizeof address);
    run();
    ring_sim_peer_close(server.peer, reset);
    run();
    ck_assert_uint_eq(client.heard[ON_ENDED], 1);
    ck_assert_int_eq(client.failure.end, reset ? STREAM_END_RESET : STREAM_END_TLS_FAILED);
    ck_assert_str_eq(client.failure.text, reset
                                              ? "connection reset by peer during the TLS handshake"
                                              : "TLS handshake failed: closed by the peer");
}
END_TEST

/* ---- verification ---- */

static const struct verify_case {
    const char *name, *text; /* text NULL: verified */
    bool expired, self_signed;
} verify_cases[] = {
    { "mx.test.example", NULL, false, false },
    { "MX.Test.Example.", NULL, false, false },
    { "127.0.0.1", NULL, false, false },
    { "other.example", "it isn't for other.example", false, false },
    { "127.0.0.2", "it isn't for 127.0.0.2", false, false },
    { "mx.test.example", "certificate has expired", true, false },
    { "mx.test.example", "self-signed certificate", false, true },
};

START_TEST(a_certificate_must_be_valid_and_for_the_name)
{
    struct verify_case c = verify_cases[_i];
    server.certificate = c.expired ? certs.expired : c.self_signed ? certs.self : certs.mx;
    tls_server_prepare(&server);
    connect_with(verifying, c.name);
    if (!c.text) {
        ck_assert(facts().verified);
        ck_assert(client_got(&client, "220 hello\r\n"));
        return;
    }
    char text[160];
    snprintf(text, sizeof text, "TLS handshake failed: certificate verify failed: %s", c.text);
    check_failed(text);
    ck_assert_uint_eq(client.heard[ON_RECEIVED] + client.heard[ON_SECURED], 0);
}
END_TEST

START_TEST(without_verification_any_certificate_passes_and_none_counts_as_verified)
{
    struct verify_case c = verify_cases[_i];
    server.certificate = c.expired ? certs.expired : c.self_signed ? certs.self : certs.mx;
    tls_server_prepare(&server);
    connect_with(trusting, c.name);
    ck_assert(client_got(&client, "220 hello\r\n"));
    ck_assert(!facts().verified);
}
END_TEST

START_TEST(verification_without_a_name_fails_before_anything_is_sent)
{
    connect_with(verifying, _i ? "" : NULL);
    check_failed("TLS handshake failed: no name to verify the certificate against");
    ck_assert(!server.established);
}
END_TEST

START_TEST(a_name_that_cant_be_one_is_refused)
{
    char name[400];
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    connect_with(trusting, name);
    ck_assert_int_eq(client.failure.end, STREAM_END_TLS_FAILED);
    ck_assert_ptr_nonnull(strstr(client.failure.text, "can't be a server's name"));
}
END_TEST

START_TEST(the_peer_is_told_why_by_an_alert)
{
    client.close_in = ON_ENDED;
    connect_with(verifying, "other.example");
    ck_assert_int_eq(server.alert, SSL_AD_BAD_CERTIFICATE);
    ck_assert(server.ended);
}
END_TEST

/* ---- resumption ---- */

START_TEST(a_ticket_resumes_one_connection_and_brings_the_next_ticket)
{
    server.max_version = _i ? TLS1_2_VERSION : 0;
    tls_server_prepare(&server);
    connect_with(verifying, "mx.test.example");
    for (unsigned round = 0; round < 3; round++) {
        ck_assert_uint_ge(client.heard[ON_TICKET], 1);
        connect_again_with(verifying, "mx.test.example");
        ck_assert(server.resumed && facts().resumed && facts().verified);
        ck_assert(client_got(&client, "220 hello\r\n"));
    }
}
END_TEST

START_TEST(a_ticket_stays_good_when_its_connection_ends_badly)
{
    connect_with(trusting, "mx.test.example");
    ring_sim_peer_send(server.peer, SLICE("\x17\x03\x03\x00\x20garbage garbage garbage garbage "));
    run();
    ck_assert_int_eq(client.failure.end, STREAM_END_TLS_FAILED);
    connect_again_with(trusting, "mx.test.example");
    ck_assert(facts().resumed);
}
END_TEST

START_TEST(a_ticket_without_verification_isnt_offered_where_names_count)
{
    connect_with(trusting, "mx.test.example");
    connect_again_with(verifying, "mx.test.example");
    ck_assert(!facts().resumed && facts().verified);
}
END_TEST

START_TEST(a_ticket_for_another_name_isnt_offered_where_names_count)
{
    connect_with(verifying, "mx.test.example");
    connect_again_with(verifying, "127.0.0.1");
    ck_assert(!facts().resumed && facts().verified);
}
END_TEST

START_TEST(an_unknown_ticket_costs_a_full_handshake_and_nothing_else)
{
    connect_with(trusting, "mx.test.example");
    tls_server_prepare(&server); /* new ticket keys */
    connect_again_with(trusting, "mx.test.example");
    ck_assert(!facts().resumed);
    ck_assert(client_got(&client, "220 hello\r\n"));
}
END_TEST

START_TEST(a_flood_of_tickets_is_bounded)
{
    connect_with(trusting, "mx.test.example");
    for (unsigned i = 0; i < 100; i++)
        ck_assert_int_eq(SSL_new_session_ticket(server.ssl), 1);
    tls_server_write(&server, SLICE("after"));
    run();
    ck_assert(client_got(&client, "220 hello\r\nafter"));
    ck_assert_uint_le(client.heard[ON_TICKET], 2 + 4);
}
END_TEST

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

START_TEST(a_fatal_alert_is_told_in_the_peers_words)
{
    connect_with(trusting, NULL);
    ring_sim_peer_send(server.peer, SLICE("\x15\x03\x03\x00\x02\x02\x28"));
    run();
    ck_assert_int_eq(client.failure.end, STREAM_END_TLS_FAILED);
    ck_assert_int_eq(strncmp(client.failure.text, "TLS failed: ", 12), 0);
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
    if (client.closed ==
        0) { /* two records in one read: the second mustn't arrive after a close in the first */
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
    Suite *suite = suite_create("tls");
    TCase *tcase = tcase_create("simulation");
    tcase_add_unchecked_fixture(tcase, make_certs, remove_certs);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 0);
    tcase_add_loop_test(tcase, a_connection_is_secured_in_any_pieces, 0, ARRAY_LEN(links));
    tcase_add_loop_test(tcase, an_end_or_a_reset_during_the_handshake_is_told_as_such, 0, 2);
    tcase_add_loop_test(tcase, a_certificate_must_be_valid_and_for_the_name, 0,
                        ARRAY_LEN(verify_cases));
    tcase_add_loop_test(tcase,
                        without_verification_any_certificate_passes_and_none_counts_as_verified, 0,
                        ARRAY_LEN(verify_cases));
    tcase_add_loop_test(tcase, verification_without_a_name_fails_before_anything_is_sent, 0, 2);
    tcase_add_loop_test(tcase, a_ticket_resumes_one_connection_and_brings_the_next_ticket, 0, 2);
    tcase_add_loop_test(tcase, a_peer_that_doesnt_read_delays_closing_by_a_second_at_most, 0, 3);
    tcase_add_loop_test(tcase, closing_inside_any_callback_leaves_only_closed, 0,
                        (CLIENT_EVENTS - 1) * 4);
    const TTest *tests[] = {
        tls_1_2_is_spoken_where_the_peer_knows_nothing_newer,
        a_peer_with_tls_1_1_only_is_refused,
        a_context_can_ask_for_tls_1_3,
        a_context_with_wrong_options_says_what_is_wrong,
        a_callee_may_start_tls_within_received_and_only_later_bytes_are_tls,
        an_answer_that_isnt_tls_is_called_that,
        a_name_that_cant_be_one_is_refused,
        the_peer_is_told_why_by_an_alert,
        a_ticket_stays_good_when_its_connection_ends_badly,
        a_ticket_without_verification_isnt_offered_where_names_count,
        a_ticket_for_another_name_isnt_offered_where_names_count,
        an_unknown_ticket_costs_a_full_handshake_and_nothing_else,
        a_flood_of_tickets_is_bounded,
        small_vectors_leave_in_records_as_large_as_possible,
        a_flight_of_any_vectors_arrives_as_it_was,
        a_flight_without_bytes_is_sent_like_any_other,
        a_stalled_peer_holds_back_sent_and_bounds_what_is_encrypted_ahead,
        a_key_update_in_the_middle_of_a_flight_passes_unseen,
        a_peer_that_provokes_answers_without_reading_them_is_cut_off,
        renegotiation_is_refused,
        a_close_notify_is_an_end_in_order_and_sending_goes_on,
        an_end_without_close_notify_is_an_end_with_a_note,
        a_damaged_record_fails_the_stream_and_its_flight,
        a_fatal_alert_is_told_in_the_peers_words,
        closing_sends_a_close_notify,
        closing_with_a_reset_sends_nothing,
        closing_with_a_flight_under_way_doesnt_wait,
    };
    for (size_t i = 0; i < ARRAY_LEN(tests); i++)
        tcase_add_test(tcase, tests[i]);
    suite_add_tcase(suite, tcase);
    return check_main(suite);
}
