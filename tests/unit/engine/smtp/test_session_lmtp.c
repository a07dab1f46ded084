/* LMTP (RFC 2033): LHLO, and after the end of data one reply for each accepted recipient. */
#include "tests/unit/engine/smtp/session_script.h"

#define LHELLO                                                                                     \
    S("220 mx.example LMTP\r\n"), C("LHLO c.example\r\n"),                                         \
        S("250-mx.example\r\n" CHUNK "250 HELP\r\n")
#define RCPT2 "RCPT TO:<r2@d.example>\r\n"
#define ENVELOPE3 C(MAIL RCPT RCPT1 RCPT2 "DATA\r\n")
#define OK5 "250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n"
#define DOT C(MSG ".\r\n")

static const struct script scripts[] = {
    { .name = "one recipient is as in SMTP, and nothing goes by BDAT",
      .steps = { LHELLO, ENVELOPE, S(OK3), DOT, S("250 saved\r\n"), QUIT },
      .log = "ready; " SENT "done0 accepted 250@dot; " QUITTED },
    { .name = "one recipient refused at the end",
      .steps = { LHELLO, ENVELOPE, S(OK3), DOT, S("452 4.2.2 full\r\n"), QUIT },
      .log = "ready; " SENT "rcpt0.0 452@dot; done0 no-recipient ~550@rcpt; " QUITTED },
    { .name = "each of three has its own reply",
      .steps = { LHELLO, ENVELOPE3, S(OK5), DOT, S("250 a\r\n550 b\r\n250 c\r\n"), QUIT },
      .recipients = 3,
      .log = "ready; " SENT "rcpt0.1 550@dot; done0 accepted 250@dot; " QUITTED },
    { .name = "the last one refused doesn't refuse the others",
      .steps = { LHELLO, ENVELOPE3, S(OK5), DOT, S("250 a\r\n250 b\r\n"), WAIT(10), S("550 c\r\n"),
                 QUIT },
      .recipients = 3,
      .log = "ready; " SENT "rcpt0.2 550@dot; done0 accepted 250@dot; " QUITTED },
    { .name = "those refused at RCPT get no reply at the end",
      .steps = { LHELLO, ENVELOPE3, S("250 ok\r\n550 no\r\n250 ok\r\n450 no\r\n354 go\r\n"), DOT,
                 S("451 later\r\n"), QUIT },
      .recipients = 3,
      .log = "ready; rcpt0.0 550@rcpt; rcpt0.2 450@rcpt; " SENT
             "rcpt0.1 451@dot; done0 no-recipient ~550@rcpt; " QUITTED },
    { .name = "no recipient: DATA fails, as it must",
      .steps = { LHELLO, ENVELOPE, S("250 ok\r\n550 no\r\n503 none\r\n"), QUIT },
      .log = "ready; rcpt0.0 550@rcpt; done0 no-recipient ~550@rcpt; " QUITTED },
    { .name = "no recipient and DATA accepted is a violation",
      .steps = { LHELLO, ENVELOPE, S("250 ok\r\n550 no\r\n354 go\r\n") },
      .log = "ready; rcpt0.0 550@rcpt; done0 no-recipient ~550@rcpt; ended ~421@data!" },
    { .name = "a connection lost between the replies leaves the rest unknown",
      .steps = { LHELLO, ENVELOPE3, S(OK5), DOT, S("250 a\r\n550 b\r\n"), WAIT(10), CLOSE },
      .recipients = 3,
      .log = "ready; " SENT "rcpt0.1 550@dot; done0 unknown ~421@dot; ended ~421@dot" },
    { .name = "421 answers one recipient and ends the session",
      .steps = { LHELLO, ENVELOPE3, S(OK5), DOT, S("250 a\r\n421 bye\r\n") },
      .recipients = 3,
      .log = "ready; " SENT "rcpt0.1 421@dot; done0 unknown 421@dot; ended 421@dot" },
    { .name = "421 for the last",
      .steps = { LHELLO, ENVELOPE, S(OK3), DOT, S("421 bye\r\n") },
      .log = "ready; " SENT "rcpt0.0 421@dot; done0 no-recipient ~550@rcpt; ended 421@dot" },
    { .name = "a reply too many is a violation",
      .steps = { LHELLO, ENVELOPE, S(OK3), DOT, S("250 a\r\n250 b\r\n") },
      .stay = true,
      .log = "ready; " SENT "done0 accepted 250@dot; ended ~421@idle!" },
    { .name = "the next envelope behind the dot, and each message its replies",
      .steps = { LHELLO, C(MAIL RCPT RCPT1 "DATA\r\n"),
                 S("250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n"),
                 C(MSG ".\r\n" MAIL RCPT RCPT1 "DATA\r\n"),
                 S("250 a\r\n250 b\r\n250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n"), DOT,
                 S("550 a\r\n250 b\r\n"), QUIT },
      .transactions = 2,
      .depth = 2,
      .recipients = 2,
      .log = "ready; body0; commit0; sent0; done0 accepted 250@dot; body1; commit1; sent1; "
             "rcpt1.0 550@dot; done1 accepted 250@dot; " QUITTED },
    { .name = "LHLO refused isn't tried as HELO",
      .steps = { S("220 mx\r\n"), C("LHLO c.example\r\n"), S("500 what?\r\n") },
      .log = "ended 500@ehlo" },
    { .name = "lock-step",
      .steps = { S("220 mx\r\n"), C("LHLO c.example\r\n"), S("250 mx\r\n"), C(MAIL),
                 S("250 ok\r\n"), C(RCPT), S("250 ok\r\n"), C(RCPT1), S("250 ok\r\n"),
                 C("DATA\r\n"), S("354 go\r\n"), DOT, S("250 a\r\n"), WAIT(10), S("450 b\r\n"),
                 QUIT },
      .recipients = 2,
      .log = "ready; " SENT "rcpt0.1 450@dot; done0 accepted 250@dot; " QUITTED },
};

/* The scripts above, as sessions that speak LMTP. */
START_TEST(each_recipient_has_its_own_end)
{
    struct script script = scripts[_i];
    script.lmtp = true;
    play_in_all_ways(&script, NULL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("session_lmtp");
    add_table(suite, "lmtp", each_recipient_has_its_own_end, ARRAY_LEN(scripts));
    return check_main(suite);
}
