/* TLS over streams in the simulated world: how a connection is secured, verified and resumed, and
 * how that fails. */
#include "engine/net/tls.h"

#include "tests/unit/engine/net/tls_rig.h"

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

START_TEST(a_peer_without_a_common_cipher_is_called_that)
{
    server.max_version = TLS1_2_VERSION;
    tls_server_prepare(&server);
    ck_assert_int_eq(SSL_CTX_set_cipher_list(server.context, "eNULL"), 1);
    connect_with(trusting, "mx.test.example");
    check_failed("TLS handshake failed: the peer accepts none of the offered ciphers or keys");
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

int main(void)
{
    Suite *suite = suite_create("tls");
    TCase *tcase = tls_case();
    tcase_add_loop_test(tcase, a_connection_is_secured_in_any_pieces, 0, ARRAY_LEN(links));
    tcase_add_test(tcase, tls_1_2_is_spoken_where_the_peer_knows_nothing_newer);
    tcase_add_test(tcase, a_peer_with_tls_1_1_only_is_refused);
    tcase_add_test(tcase, a_peer_without_a_common_cipher_is_called_that);
    tcase_add_test(tcase, a_context_can_ask_for_tls_1_3);
    tcase_add_test(tcase, a_context_with_wrong_options_says_what_is_wrong);
    tcase_add_test(tcase, a_callee_may_start_tls_within_received_and_only_later_bytes_are_tls);
    tcase_add_test(tcase, an_answer_that_isnt_tls_is_called_that);
    tcase_add_loop_test(tcase, an_end_or_a_reset_during_the_handshake_is_told_as_such, 0, 2);
    tcase_add_loop_test(tcase, a_certificate_must_be_valid_and_for_the_name, 0,
                        ARRAY_LEN(verify_cases));
    tcase_add_loop_test(tcase,
                        without_verification_any_certificate_passes_and_none_counts_as_verified, 0,
                        ARRAY_LEN(verify_cases));
    tcase_add_loop_test(tcase, verification_without_a_name_fails_before_anything_is_sent, 0, 2);
    tcase_add_test(tcase, a_name_that_cant_be_one_is_refused);
    tcase_add_test(tcase, the_peer_is_told_why_by_an_alert);
    tcase_add_loop_test(tcase, a_ticket_resumes_one_connection_and_brings_the_next_ticket, 0, 2);
    tcase_add_test(tcase, a_ticket_stays_good_when_its_connection_ends_badly);
    tcase_add_test(tcase, a_ticket_without_verification_isnt_offered_where_names_count);
    tcase_add_test(tcase, a_ticket_for_another_name_isnt_offered_where_names_count);
    tcase_add_test(tcase, an_unknown_ticket_costs_a_full_handshake_and_nothing_else);
    tcase_add_test(tcase, a_flood_of_tickets_is_bounded);
    suite_add_tcase(suite, tcase);
    return check_main(suite);
}
