/* Each time-out of a session, in virtual time: when it ends, in which phase, with which outcome;
 * that it runs for whole replies and not for bytes; and that nothing runs while the session is
 * idle. */
#include "tests/unit/engine/smtp/session_script.h"

#define ALL                                                                                        \
    {                                                                                              \
        .connect = 1001, .greeting = 2001, .ehlo = 3001, .starttls = 4001, .mail = 5001,           \
        .rcpt = 6001, .data = 7001, .block = 8001, .dot = 9001, .rset = 10001, .quit = 11001       \
    }

/* The world begins at 1 ms, and without latency everything but waiting takes no time. */
static const struct script silences[] = {
    { .name = "no greeting",
      .steps = { S("220 half a li") },
      .log = "ended ~421@greeting",
      .ended_ms = 2002 },
    { .name = "no reply to EHLO",
      .steps = { S("220 mx\r\n"), C("EHLO c.example\r\n"), S("250-mx\r\n") },
      .log = "ended ~421@ehlo",
      .ended_ms = 3002 },
    { .name = "no reply to HELO",
      .steps = { S("220 mx\r\n"), C("EHLO c.example\r\n"), WAIT(1000), S("500 no\r\n"),
                 C("HELO c.example\r\n") },
      .log = "ended ~421@ehlo",
      .ended_ms = 4002 },
    { .name = "no reply to STARTTLS",
      .steps = { HELLO("250-STARTTLS\r\n"), C("STARTTLS\r\n") },
      .tls = SMTP_TLS_OPPORTUNISTIC,
      .log = "ended ~421@starttls",
      .ended_ms = 4002 },
    { .name = "no reply to MAIL",
      .steps = { HELLO(PIPE), ENVELOPE },
      .log = "ready; done0 unsent ~421@mail; ended ~421@mail",
      .ended_ms = 5002 },
    { .name = "no reply to RCPT",
      .steps = { HELLO(PIPE), ENVELOPE, S("250 ok\r\n") },
      .log = "ready; done0 unsent ~421@rcpt; ended ~421@rcpt",
      .ended_ms = 6002 },
    { .name = "no reply to the second RCPT",
      .steps = { HELLO(PIPE), C(MAIL RCPT RCPT1 "DATA\r\n"), S("250 ok\r\n"), WAIT(6000),
                 S("250 ok\r\n") },
      .recipients = 2,
      .log = "ready; done0 unsent ~421@rcpt; ended ~421@rcpt",
      .ended_ms = 12002 },
    { .name = "no reply to DATA",
      .steps = { HELLO(PIPE), ENVELOPE, S("250 ok\r\n250 ok\r\n") },
      .log = "ready; done0 unsent ~421@data; ended ~421@data",
      .ended_ms = 7002 },
    { .name = "a first flight that isn't taken",
      .steps = { HELLO(PIPE), ENVELOPE, S(OK3), STALL },
      .body_bytes = 640000,
      .log = "ready; body0; sent0; done0 unsent ~421@body; ended ~421@body",
      .ended_ms = 8002 },
    { .name = "a last flight that isn't taken",
      .steps = { HELLO(PIPE), ENVELOPE, S(OK3), STALL },
      .body_bytes = 6400,
      .log = "ready; body0; commit0; sent0; done0 unknown ~421@body; ended ~421@body",
      .ended_ms = 8002 },
    { .name = "no reply to the dot",
      .steps = { HELLO(PIPE), ENVELOPE, S(OK3), C(MSG ".\r\n") },
      .log = "ready; body0; commit0; sent0; done0 unknown ~421@dot; ended ~421@dot",
      .ended_ms = 9002 },
    { .name = "no reply to the dot but bytes",
      .steps = { HELLO(PIPE), ENVELOPE, S(OK3), C(MSG ".\r\n"), WAIT(4000), S("25"), WAIT(4000),
                 S("0"), WAIT(1000), S("-ok\r\n") },
      .log = "ready; body0; commit0; sent0; done0 unknown ~421@dot; ended ~421@dot",
      .ended_ms = 9002 },
    { .name = "no reply to RSET",
      .steps = { HELLO(PIPE), ENVELOPE, S("250 ok\r\n550 no\r\n554 no\r\n"),
                 C("RSET\r\n" MAIL RCPT "DATA\r\n") },
      .transactions = 2,
      .log = "ready; rcpt0.0 550@rcpt; done0 no-recipient ~550@rcpt; done1 unsent ~421@rset; ended "
             "~421@rset",
      .ended_ms = 10002 },
    { .name = "no reply to QUIT",
      .steps = { HELLO(PIPE), C("QUIT\r\n") },
      .quit_on = "ready",
      .log = "ready; ended ~421@quit",
      .ended_ms = 11002 },
    { .name = "no reply to MAIL of a chunked flight",
      .steps = { HELLO(CHUNK), C(MAIL RCPT LAST) },
      .log = "ready; chunk0; commit0; sent0; done0 unknown ~421@mail; ended ~421@mail",
      .ended_ms = 5002 },
    { .name = "no reply to the chunk",
      .steps = { HELLO(CHUNK), C(MAIL RCPT LAST), S("250 ok\r\n250 ok\r\n") },
      .log = "ready; chunk0; commit0; sent0; done0 unknown ~421@dot; ended ~421@dot",
      .ended_ms = 9002 },
    { .name = "replies don't prolong the time of a flight that isn't taken",
      .steps = { HELLO(CHUNK), STALL, WAIT(4000), S("250 ok\r\n"), WAIT(4000), S("250 ok\r\n") },
      .body_bytes = 6400,
      .log = "ready; chunk0; commit0; sent0; done0 unknown ~421@body; ended ~421@body",
      .ended_ms = 8002 },
    { .name = "no reply to the lone dot changes nothing",
      .steps = { HELLO(PIPE), ENVELOPE, S("250 ok\r\n550 no\r\n354 go\r\n"), C(".\r\n") },
      .log = "ready; rcpt0.0 550@rcpt; done0 no-recipient ~550@rcpt; ended ~421@dot",
      .ended_ms = 9002 },
    { .name = "no reply to MAIL behind a dot",
      .steps = { HELLO(PIPE), ENVELOPE, S(OK3), C(MSG ".\r\n" MAIL RCPT "DATA\r\n"),
                 S("250 ok\r\n") },
      .transactions = 2,
      .depth = 2,
      .log = "ready; body0; commit0; sent0; done0 accepted 250@dot; done1 unsent ~421@mail; ended "
             "~421@mail",
      .ended_ms = 5002 },
    { .name = "the dot's time may be used up to its end",
      .steps = { HELLO(PIPE), ENVELOPE, S(OK3), C(MSG ".\r\n"), WAIT(9000), S("250 ok\r\n"),
                 C("QUIT\r\n"), S("221 bye\r\n") },
      .log = "ready; body0; commit0; sent0; done0 accepted 250@dot; ended 221@quit",
      .ended_ms = 9001 },
};

START_TEST(each_phase_ends_when_its_time_is_over)
{
    struct script script = silences[_i];
    script.timeouts = (struct smtp_timeouts)ALL;
    play_script(&script, &script_links[0], 1);
    if (!script.window)
        play_script(&script, &script_links[1], 2);
}
END_TEST

/* RFC 5321, 4.5.3.2. */
static const struct script defaults[] = {
    { .name = "greeting", .log = "ended ~421@greeting", .ended_ms = 300001 },
    { .name = "ehlo",
      .steps = { S("220 mx\r\n"), C("EHLO c.example\r\n") },
      .log = "ended ~421@ehlo",
      .ended_ms = 300001 },
    { .name = "mail",
      .steps = { HELLO(PIPE), ENVELOPE },
      .log = "ready; done0 unsent ~421@mail; ended ~421@mail",
      .ended_ms = 300001 },
    { .name = "rcpt",
      .steps = { HELLO(PIPE), ENVELOPE, S("250 ok\r\n") },
      .log = "ready; done0 unsent ~421@rcpt; ended ~421@rcpt",
      .ended_ms = 300001 },
    { .name = "data",
      .steps = { HELLO(PIPE), ENVELOPE, S("250 ok\r\n250 ok\r\n") },
      .log = "ready; done0 unsent ~421@data; ended ~421@data",
      .ended_ms = 120001 },
    { .name = "block",
      .steps = { HELLO(PIPE), ENVELOPE, S(OK3), STALL },
      .body_bytes = 640000,
      .log = "ready; body0; sent0; done0 unsent ~421@body; ended ~421@body",
      .ended_ms = 180001 },
    { .name = "dot",
      .steps = { HELLO(PIPE), ENVELOPE, S(OK3), C(MSG ".\r\n") },
      .log = "ready; body0; commit0; sent0; done0 unknown ~421@dot; ended ~421@dot",
      .ended_ms = 600001 },
    { .name = "starttls",
      .steps = { HELLO("250-STARTTLS\r\n"), C("STARTTLS\r\n") },
      .tls = SMTP_TLS_REQUIRED,
      .log = "ended ~421@starttls",
      .ended_ms = 60001 },
    { .name = "quit",
      .steps = { HELLO(PIPE), C("QUIT\r\n") },
      .quit_on = "ready",
      .log = "ready; ended ~421@quit",
      .ended_ms = 5001 },
};

START_TEST(the_defaults_are_those_of_rfc_5321)
{
    play_script(&defaults[_i], &script_links[0], 1);
}
END_TEST

/* ---- connecting ---- */

static void refuse_play(int error, int64_t ended_ms, const char *text)
{
    struct script script = { .name = "connect", .timeouts = ALL };
    struct play play = { .script = &script, .step = script.steps };
    struct sockaddr_in address = server_address();
    play.sim = ring_sim_create(1);
    ring_sim_fail_connects(play.sim, (struct sockaddr *)&address, sizeof address, error);
    ck_assert(ring_create(&play.ring,
                          &(struct ring_options){ .body = RING_BODY_SIM, .sim = play.sim }, NULL));
    play.session = smtp_session_create(
        play.ring, &owner_events,
        &(struct smtp_session_options){ .timeouts = &script.timeouts, .ehlo_name = "c" }, &play);
    smtp_session_open(play.session, (struct sockaddr *)&address, sizeof address, NULL, 0);
    ck_assert(ring_sim_run_until(play.ring, play_closed, &play));
    ck_assert_str_eq(buf_cstr(&play.log), text);
    ck_assert_int_eq(play.ended_ms, ended_ms);
    ring_destroy(&play.ring);
    ring_sim_destroy(&play.sim);
    buf_free(&play.log);
}

START_TEST(a_refused_connection_ends_at_once)
{
    refuse_play(ECONNREFUSED, 1, "ended ~421@connect");
}
END_TEST

START_TEST(a_connection_that_is_never_answered_ends_when_its_time_is_over)
{
    refuse_play(0, 1002, "ended ~421@connect");
}
END_TEST

START_TEST(nothing_ends_an_idle_session)
{
    struct script script = {
        .name = "idle for a day",
        .timeouts = ALL,
        .stay = true,
        .steps = { HELLO(PIPE), ENVELOPE, S(OK3), C(MSG ".\r\n"), S("250 ok\r\n"), WAIT(86400000),
                   S("421 at last\r\n") },
        .log = "ready; body0; commit0; sent0; done0 accepted 250@dot; ended 421@idle",
        .ended_ms = 86400001,
    };
    play_script(&script, &script_links[0], 1);
}
END_TEST

int main(void)
{
    Suite *suite = SUITE_OF("session_time", a_refused_connection_ends_at_once,
                            a_connection_that_is_never_answered_ends_when_its_time_is_over,
                            nothing_ends_an_idle_session);
    add_table(suite, "silences", each_phase_ends_when_its_time_is_over, ARRAY_LEN(silences));
    add_table(suite, "defaults", the_defaults_are_those_of_rfc_5321, ARRAY_LEN(defaults));
    return check_main(suite);
}
