/* STARTTLS and TLS from the first byte, against a scripted server that speaks TLS through OpenSSL.
 */
#include "tests/unit/engine/smtp/session_script.h"

#include "tests/unit/engine/net/certs.h"
#include "tests/unit/engine/net/tls_server.h"

static struct certs certs;
static struct tls_server server;
static struct buf said; /* before the handshake was over */
static struct play_security security;

static void server_start(struct play *play)
{
    ring_sim_peer_set_user(play->peer, &server);
    tls_server_accepted(play->peer);
    ring_sim_peer_set_user(play->peer, play);
}

static void server_say(struct play *play, struct slice text)
{
    (void)play;
    if (server.established)
        tls_server_write(&server, text);
    else
        buf_append(&said, text);
}

static void server_take(struct play *play, struct slice bytes)
{
    BIO_write(server.in, bytes.ptr, (int)bytes.len);
    tls_server_step(&server);
    if (server.established && said.len > 0) {
        tls_server_write(&server, buf_slice(&said));
        buf_clear(&said);
    }
    if (!play->deaf)
        buf_append(&play->received, buf_slice(&server.received));
    buf_clear(&server.received);
}

static void setup(void)
{
    certs_make(&certs);
    server = (struct tls_server){ .certificate = certs.self, .key = certs.mx_key };
    tls_server_prepare(&server);
    security =
        (struct play_security){ .start = server_start, .take = server_take, .say = server_say };
}

static void teardown(void)
{
    tls_context_destroy(&security.context);
    tls_server_free(&server);
    buf_free(&said);
    certs_remove(&certs);
}

static void trust(enum tls_verify verify)
{
    struct err err;
    tls_context_destroy(&security.context);
    ck_assert_msg(tls_context_create(
                      &security.context,
                      &(struct tls_context_options){ .verify = verify, .ca_file = certs.ca }, &err),
                  "%s", err.text);
}

#define STARTTLS                                                                                   \
    HELLO(CHUNK "250-SIZE 5\r\n250-STARTTLS\r\n"), C("STARTTLS\r\n"), S("220 go\r\n"), TLS

static const struct smtp_auth auth = { .identity = { .user = "tim", .secret = "secret" } };

static const struct script scripts[] = {
    { .name = "the login is sent inside TLS, to what the server offers there",
      .steps = { HELLO("250-AUTH LOGIN\r\n250-STARTTLS\r\n"), C("STARTTLS\r\n"), S("220 go\r\n"),
                 TLS, C("EHLO c.example\r\n"), S("250-mx\r\n250 AUTH PLAIN\r\n"),
                 C("AUTH PLAIN AHRpbQBzZWNyZXQ=\r\n"), S("235 ok\r\n"), C(MAIL), S("550 no\r\n"),
                 QUIT },
      .tls = SMTP_TLS_REQUIRED,
      .auth = &auth,
      .log = "ready; done0 refused 550@mail; " QUITTED },
    { .name = "AUTH offered before TLS and not inside is not offered",
      .steps = { HELLO("250-AUTH PLAIN\r\n250-STARTTLS\r\n"), C("STARTTLS\r\n"), S("220 go\r\n"),
                 TLS, C("EHLO c.example\r\n"), S("250 mx\r\n") },
      .tls = SMTP_TLS_OPPORTUNISTIC,
      .auth = &auth,
      .log = "ended ~454@auth" },
    { .name = "the login on a session with TLS from the first byte",
      .steps = { TLS, S("220 mx\r\n"), C("EHLO c.example\r\n"), S("250-mx\r\n250 AUTH PLAIN\r\n"),
                 C("AUTH PLAIN AHRpbQBzZWNyZXQ=\r\n"), S("535 no\r\n") },
      .tls = SMTP_TLS_IMPLICIT,
      .auth = &auth,
      .log = "ended 535@auth" },
    { .name = "REQUIRETLS is asked for where it's offered",
      .steps = { STARTTLS, C("EHLO c.example\r\n"), S("250-mx\r\n250 REQUIRETLS\r\n"),
                 C("MAIL FROM:<a@c.example> REQUIRETLS\r\n"), S("550 no\r\n"), QUIT },
      .tls = SMTP_TLS_REQUIRED,
      .requiretls = true,
      .log = "ready; done0 refused 550@mail; " QUITTED },
    { .name = "REQUIRETLS not offered inside TLS ends the session",
      .steps = { HELLO("250-REQUIRETLS\r\n250-STARTTLS\r\n"), C("STARTTLS\r\n"), S("220 go\r\n"),
                 TLS, C("EHLO c.example\r\n"), S("250 mx\r\n") },
      .tls = SMTP_TLS_REQUIRED,
      .requiretls = true,
      .log = "ended ~550@ehlo" },
    { .name = "a reply slipped in behind the 220 ends the session before the handshake",
      .steps = { HELLO("250-STARTTLS\r\n"), C("STARTTLS\r\n"),
                 S("220 go\r\n250-mx\r\n250 AUTH PLAIN\r\n") },
      .tls = SMTP_TLS_OPPORTUNISTIC,
      .whole_only = true,
      .log = "ended ~421@starttls!" },
    { .name = "so does the half of a reply",
      .steps = { HELLO("250-STARTTLS\r\n"), C("STARTTLS\r\n"), S("220 go\r\n25") },
      .tls = SMTP_TLS_REQUIRED,
      .whole_only = true,
      .log = "ended ~421@starttls!" },
    { .name = "a reply slipped in where the handshake should be is no TLS",
      .steps = { HELLO("250-STARTTLS\r\n"), C("STARTTLS\r\n"), S("220 go\r\n"), DEAF, WAIT(1),
                 S("250-mx\r\n250 AUTH PLAIN\r\n") },
      .tls = SMTP_TLS_REQUIRED,
      .auth = &auth,
      .log = "ended ~421@tls" },
    { .name = "after STARTTLS, EHLO is asked again and what it said before is forgotten",
      .steps = { STARTTLS, C("EHLO c.example\r\n"), S("250-mx\r\n250 PIPELINING\r\n"), ENVELOPE,
                 S(OK3), C(MSG ".\r\n"), S("250 ok\r\n"), QUIT },
      .tls = SMTP_TLS_OPPORTUNISTIC,
      .size_estimate = 100,
      .log = "ready; " SENT "done0 accepted 250@dot; " QUITTED },
    { .name = "STARTTLS offered again inside TLS isn't taken again",
      .steps = { STARTTLS, C("EHLO c.example\r\n"), S("250-mx\r\n250 STARTTLS\r\n"), C(MAIL),
                 S("550 no\r\n"), QUIT },
      .tls = SMTP_TLS_REQUIRED,
      .log = "ready; done0 refused 550@mail; " QUITTED },
    { .name = "EHLO refused inside TLS falls back to HELO",
      .steps = { STARTTLS, C("EHLO c.example\r\n"), S("502 no\r\n"), C("HELO c.example\r\n"),
                 S("250 mx\r\n"), C(MAIL), S("550 no\r\n"), QUIT },
      .tls = SMTP_TLS_REQUIRED,
      .log = "ready; done0 refused 550@mail; " QUITTED },
    { .name = "several chunked messages in one flight inside TLS",
      .steps = { STARTTLS, C("EHLO c.example\r\n"), S("250-mx\r\n" CHUNK "250 HELP\r\n"),
                 C(MAIL RCPT LAST "RSET\r\n" MAIL RCPT LAST),
                 S("250 ok\r\n250 ok\r\n250 q0\r\n250 ok\r\n250 ok\r\n250 ok\r\n250 q1\r\n"),
                 QUIT },
      .tls = SMTP_TLS_OPPORTUNISTIC,
      .transactions = 2,
      .depth = 2,
      .log = "ready; chunk0; commit0; chunk1; commit1; sent0; sent1; done0 accepted 250@dot; done1 "
             "accepted 250@dot; " QUITTED },
    { .name = "a large message inside TLS",
      .steps = { STARTTLS, C("EHLO c.example\r\n"), S("250-mx\r\n" PIPE "250 HELP\r\n"), ENVELOPE,
                 S(OK3), BODY(640000), C(".\r\n"), S("250 ok\r\n"), QUIT },
      .tls = SMTP_TLS_OPPORTUNISTIC,
      .body_bytes = 640000,
      .whole_only = true,
      .log = "ready; " SENT "done0 accepted 250@dot; " QUITTED },
    { .name = "TLS from the first byte",
      .steps = { TLS, S("220 mx\r\n"), C("EHLO c.example\r\n"),
                 S("250-mx\r\n250-STARTTLS\r\n" PIPE "250 HELP\r\n"), ENVELOPE, S(OK3),
                 C(MSG ".\r\n"), S("250 ok\r\n"), QUIT },
      .tls = SMTP_TLS_IMPLICIT,
      .log = "ready; " SENT "done0 accepted 250@dot; " QUITTED },
    { .name = "a FIN without close_notify while idle ends the session without blame",
      .steps = { STARTTLS, C("EHLO c.example\r\n"), S("250 mx\r\n"), C(MAIL), S("550 no\r\n"),
                 WAIT(50), CLOSE },
      .tls = SMTP_TLS_REQUIRED,
      .stay = true,
      .log = "ready; done0 refused 550@mail; ended ~421@idle" },
    { .name = "garbage instead of a handshake ends the session",
      .steps = { HELLO("250-STARTTLS\r\n"), C("STARTTLS\r\n"), S("220 go\r\n"), DEAF, WAIT(50),
                 S("250-mx\r\n250 SIZE\r\n") },
      .tls = SMTP_TLS_OPPORTUNISTIC,
      .log = "ended ~421@tls" },
    { .name = "a FIN instead of a handshake ends the session",
      .steps = { HELLO("250-STARTTLS\r\n"), C("STARTTLS\r\n"), S("220 go\r\n"), DEAF, WAIT(50),
                 CLOSE },
      .tls = SMTP_TLS_OPPORTUNISTIC,
      .log = "ended ~421@tls" },
    { .name = "a RST instead of a handshake ends the session",
      .steps = { HELLO("250-STARTTLS\r\n"), C("STARTTLS\r\n"), S("220 go\r\n"), DEAF, WAIT(50),
                 RESET },
      .tls = SMTP_TLS_REQUIRED,
      .log = "ended ~421@tls" },
    { .name = "garbage instead of TLS from the first byte ends the session",
      .steps = { DEAF, S("220 mx.example\r\n") },
      .tls = SMTP_TLS_IMPLICIT,
      .log = "ended ~421@tls" },
};
TABLE_TEST_WITH(tls_is_started_and_believed_only_as_far_as_it_goes, scripts, &security,
                trust(TLS_VERIFY_NONE))

START_TEST(reply_and_handshake_share_the_time_of_starttls)
{
    struct script script = {
        .name = "silence",
        .tls = SMTP_TLS_REQUIRED,
        .timeouts = { .starttls = 10000 },
        .steps = { HELLO("250-STARTTLS\r\n"), C("STARTTLS\r\n"), WAIT(6000), S("220 go\r\n"),
                   DEAF },
        .log = "ended ~421@tls",
        .ended_ms = 10001,
    };
    trust(TLS_VERIFY_NONE);
    play_secured(&script, &script_links[0], 1, &security);
    script = (struct script){ .name = "silence from the first byte",
                              .tls = SMTP_TLS_IMPLICIT,
                              .timeouts = { .starttls = 10000 },
                              .steps = { DEAF },
                              .log = "ended ~421@tls",
                              .ended_ms = 10001 };
    play_secured(&script, &script_links[0], 1, &security);
}
END_TEST

START_TEST(a_certificate_that_must_be_right_and_is_not_ends_the_session)
{
    struct script script = { .name = "self-signed",
                             .steps = { STARTTLS },
                             .tls = SMTP_TLS_REQUIRED,
                             .log = "ended ~421@tls" };
    trust(TLS_VERIFY_NAME);
    play_secured(&script, &script_links[0], 1, &security);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("session_tls");
    TCase *tls = tcase_create("tls");
    tcase_set_timeout(tls, 0);
    tcase_add_unchecked_fixture(tls, setup, teardown);
    tcase_add_loop_test(tls, tls_is_started_and_believed_only_as_far_as_it_goes, 0,
                        (int)ARRAY_LEN(scripts));
    tcase_add_test(tls, reply_and_handshake_share_the_time_of_starttls);
    tcase_add_test(tls, a_certificate_that_must_be_right_and_is_not_ends_the_session);
    suite_add_tcase(suite, tls);
    return check_main(suite);
}
