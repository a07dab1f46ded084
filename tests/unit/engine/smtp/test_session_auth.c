/* AUTH: what is sent for each mechanism, what is never sent, and how everything that goes wrong
 * ends the session in phase AUTH. */
#include "tests/unit/engine/smtp/session_script.h"

#define PLAIN_RESPONSE "AHRpbQBzZWNyZXQ="
#define NO_MAIL C(MAIL), S("550 no\r\n"), QUIT
#define REFUSED_MAIL "ready; done0 refused 550@mail; " QUITTED
#define ENDED "ended 535@auth"
#define GIVEN_UP "ended ~454@auth"

static const struct smtp_auth in_clear = { .identity = { .user = "tim", .secret = "secret" },
                                           .in_clear = true };
static const struct smtp_auth secured = { .identity = { .user = "tim", .secret = "secret" } };
static const struct smtp_auth login = { .identity = { .user = "tim", .secret = "secret" },
                                        .mechanisms = SASL_SET(SASL_LOGIN),
                                        .in_clear = true };
static const struct smtp_auth scram = {
    .identity = { .user = "user", .secret = "pencil", .nonce = "rOprNGfwEbeRWgbNEkqO" },
    .in_clear = true
};
static const struct smtp_auth token = { .identity = { .user = "tim", .secret = "token" },
                                        .mechanisms = SASL_SET_TOKEN,
                                        .in_clear = true };
static const struct smtp_auth unusable = { .identity = { .user = "tim", .secret = "" },
                                           .in_clear = true };

#define SCRAM_FIRST "biwsbj11c2VyLHI9ck9wck5HZndFYmVSV2diTkVrcU8="
#define SCRAM_CHALLENGE                                                                            \
    "334 cj1yT3ByTkdmd0ViZVJXZ2JORWtxTyVodllEcFdVYTJSYVRDQWZ1eEZJbGopaE5sRiRrMCxzPVcyMlphSjBTTlk3" \
    "c29Fc1VFamI2Z1E9PSxpPTQwOTY=\r\n"
#define SCRAM_EXCESSIVE                                                                            \
    "334 cj1yT3ByTkdmd0ViZVJXZ2JORWtxTyVodllEcFdVYTJSYVRDQWZ1eEZJbGopaE5sRiRrMCxzPVcyMlphSjBTTlk3" \
    "c29Fc1VFamI2Z1E9PSxpPTk5OTk5OTk=\r\n"
#define SCRAM_FINAL                                                                                \
    "Yz1iaXdzLHI9ck9wck5HZndFYmVSV2diTkVrcU8laHZZRHBXVWEyUmFUQ0FmdXhGSWxqKWhObEYkazAscD1kSHpiWmFw" \
    "V0lrNGpVaE4rVXRlOXl0YWc5empmTUhnc3FtbWl6N0FuZFZRPQ==\r\n"
#define SCRAM_SIGNATURE "334 dj02cnJpVFJCaTIzV3BSUi93dHVwK21NaFVaVW4vZEI1bkxUSlJzamw5NUc0PQ==\r\n"
#define SCRAM_HELLO HELLO("250-AUTH SCRAM-SHA-256 PLAIN LOGIN\r\n")

static const struct script logins[] = {
    { .name = "PLAIN goes with its command",
      .steps = { HELLO("250-AUTH LOGIN PLAIN\r\n"), C("AUTH PLAIN " PLAIN_RESPONSE "\r\n"),
                 S("235 2.7.0 ok\r\n"), NO_MAIL },
      .auth = &in_clear,
      .log = REFUSED_MAIL },
    { .name = "PLAIN asked for again by an empty challenge can't be said twice",
      .steps = { HELLO("250-AUTH PLAIN\r\n"), C("AUTH PLAIN " PLAIN_RESPONSE "\r\n"), S("334 \r\n"),
                 C("*\r\n"), S("501 cancelled\r\n") },
      .auth = &in_clear,
      .log = GIVEN_UP },
    { .name = "LOGIN answers two prompts",
      .steps = { HELLO("250-AUTH LOGIN PLAIN\r\n"), C("AUTH LOGIN\r\n"), S("334 VXNlcm5hbWU6\r\n"),
                 C("dGlt\r\n"), S("334 UGFzc3dvcmQ6\r\n"), C("c2VjcmV0\r\n"), S("235 ok\r\n"),
                 NO_MAIL },
      .auth = &login,
      .log = REFUSED_MAIL },
    { .name = "old servers' AUTH= is understood",
      .steps = { HELLO("250-AUTH=LOGIN PLAIN\r\n"), C("AUTH PLAIN " PLAIN_RESPONSE "\r\n"),
                 S("235 ok\r\n"), NO_MAIL },
      .auth = &in_clear,
      .log = REFUSED_MAIL },
    { .name = "SCRAM is preferred, and the server has to prove itself",
      .steps = { SCRAM_HELLO, C("AUTH SCRAM-SHA-256 " SCRAM_FIRST "\r\n"), S(SCRAM_CHALLENGE),
                 C(SCRAM_FINAL), S(SCRAM_SIGNATURE), C("\r\n"), S("235 ok\r\n"), NO_MAIL },
      .auth = &scram,
      .log = REFUSED_MAIL },
    { .name = "a server that says yes without its proof isn't believed",
      .steps = { SCRAM_HELLO, C("AUTH SCRAM-SHA-256 " SCRAM_FIRST "\r\n"), S(SCRAM_CHALLENGE),
                 C(SCRAM_FINAL), S("235 ok\r\n") },
      .auth = &scram,
      .log = GIVEN_UP },
    { .name = "nor one that says yes at once",
      .steps = { SCRAM_HELLO, C("AUTH SCRAM-SHA-256 " SCRAM_FIRST "\r\n"), S("235 ok\r\n") },
      .auth = &scram,
      .log = GIVEN_UP },
    { .name = "a server that demands too many iterations gets no proof",
      .steps = { SCRAM_HELLO, C("AUTH SCRAM-SHA-256 " SCRAM_FIRST "\r\n"), S(SCRAM_EXCESSIVE),
                 C("*\r\n"), S("501 ok\r\n") },
      .auth = &scram,
      .log = GIVEN_UP },
    { .name = "XOAUTH2's error challenge gets an empty answer",
      .steps = { HELLO("250-AUTH XOAUTH2 PLAIN\r\n"),
                 C("AUTH XOAUTH2 dXNlcj10aW0BYXV0aD1CZWFyZXIgdG9rZW4BAQ==\r\n"),
                 S("334 eyJzdGF0dXMiOiI0MDEifQ==\r\n"), C("\r\n"), S("535 5.7.8 no\r\n") },
      .auth = &token,
      .log = ENDED },
    { .name = "a token isn't sent as a password",
      .steps = { HELLO("250-AUTH PLAIN LOGIN\r\n") },
      .auth = &token,
      .log = GIVEN_UP },
    { .name = "a wrong password ends the session, and nothing else is tried",
      .steps = { HELLO("250-AUTH PLAIN LOGIN\r\n"), C("AUTH PLAIN " PLAIN_RESPONSE "\r\n"),
                 S("535 5.7.8 bad credentials\r\n") },
      .auth = &in_clear,
      .log = ENDED },
    { .name = "so does a failure that passes",
      .steps = { HELLO("250-AUTH PLAIN LOGIN\r\n"), C("AUTH PLAIN " PLAIN_RESPONSE "\r\n"),
                 S("454 4.7.0 later\r\n") },
      .auth = &in_clear,
      .log = "ended 454@auth" },
    { .name = "a code that isn't AUTH's is a violation",
      .steps = { HELLO("250-AUTH PLAIN LOGIN\r\n"), C("AUTH PLAIN " PLAIN_RESPONSE "\r\n"),
                 S("250 ok\r\n") },
      .auth = &in_clear,
      .log = "ended ~421@auth!" },
    { .name = "a challenge that isn't Base64 is cancelled",
      .steps = { HELLO("250-AUTH LOGIN\r\n"), C("AUTH LOGIN\r\n"), S("334 Username:\r\n"),
                 C("*\r\n"), S("501 ok\r\n") },
      .auth = &login,
      .log = GIVEN_UP },
    { .name = "a prompt too many is cancelled",
      .steps = { HELLO("250-AUTH LOGIN\r\n"), C("AUTH LOGIN\r\n"), S("334 \r\n"), C("dGlt\r\n"),
                 S("334 \r\n"), C("c2VjcmV0\r\n"), S("334 \r\n"), C("*\r\n"), S("501 ok\r\n") },
      .auth = &login,
      .log = GIVEN_UP },
    { .name = "no AUTH offered", .steps = { HELLO("") }, .auth = &in_clear, .log = GIVEN_UP },
    { .name = "no AUTH after HELO",
      .steps = { S("220 mx\r\n"), C("EHLO c.example\r\n"), S("502 no\r\n"), C("HELO c.example\r\n"),
                 S("250 mx\r\n") },
      .auth = &in_clear,
      .log = GIVEN_UP },
    { .name = "no mechanism in common",
      .steps = { HELLO("250-AUTH GSSAPI CRAM-MD5\r\n") },
      .auth = &in_clear,
      .log = GIVEN_UP },
    { .name = "nothing is said in clear unless that's asked for",
      .steps = { HELLO("250-AUTH PLAIN LOGIN SCRAM-SHA-256\r\n") },
      .auth = &secured,
      .log = GIVEN_UP },
    { .name = "nor when opportunistic TLS isn't to be had",
      .steps = { HELLO("250-AUTH PLAIN\r\n250-STARTTLS\r\n"), C("STARTTLS\r\n"),
                 S("454 no TLS now\r\n") },
      .auth = &secured,
      .tls = SMTP_TLS_OPPORTUNISTIC,
      .log = GIVEN_UP },
    { .name = "a password that can't be used isn't tried",
      .steps = { HELLO("250-AUTH PLAIN LOGIN\r\n") },
      .auth = &unusable,
      .log = GIVEN_UP },
    { .name = "a connection lost in the middle",
      .steps = { HELLO("250-AUTH PLAIN LOGIN\r\n"), C("AUTH PLAIN " PLAIN_RESPONSE "\r\n"), RESET },
      .auth = &in_clear,
      .log = "ended ~421@auth" },
    { .name = "silence",
      .steps = { HELLO("250-AUTH PLAIN LOGIN\r\n"), C("AUTH PLAIN " PLAIN_RESPONSE "\r\n") },
      .auth = &in_clear,
      .timeouts = { .auth = 5000 },
      .log = "ended ~421@auth" },
    { .name = "two replies at once",
      .steps = { HELLO("250-AUTH PLAIN LOGIN\r\n"), C("AUTH PLAIN " PLAIN_RESPONSE "\r\n"),
                 S("235 ok\r\n250 more\r\n") },
      .auth = &in_clear,
      .whole_only = true,
      .log = "ended ~421@auth!" },
};
TABLE_TEST(each_login_says_what_it_must_and_no_more, logins)

/* RFC 4954, 4: a first response that would make the command longer than 512 bytes waits for the
 * server's empty challenge; a challenge may be longer than other replies' lines. */
START_TEST(a_long_first_response_waits_for_a_challenge)
{
    char secret[600], *line = mem_alloc(2000);
    memset(secret, 't', sizeof secret - 1);
    secret[sizeof secret - 1] = '\0';
    struct smtp_auth auth = { .identity = { .user = "tim", .secret = secret },
                              .mechanisms = SASL_SET_TOKEN,
                              .in_clear = true };
    struct buf response = BUF_EMPTY, encoded = BUF_EMPTY;
    buf_printf(&response,
               "user=tim\x01"
               "auth=Bearer %s\x01\x01",
               secret);
    sasl_encode(&encoded, buf_slice(&response));
    snprintf(line, 2000, "%.*s\r\n", SLICE_FMT(buf_slice(&encoded)));
    char *challenge = mem_alloc(12000);
    memset(challenge, 'A', 12000);
    memcpy(challenge, "334 ", 4);
    memcpy(challenge + 4 + 8000, "\r\n", 3);
    struct script script = { .name = "a long token",
                             .steps = { HELLO("250-AUTH XOAUTH2\r\n"), C("AUTH XOAUTH2\r\n"),
                                        S("334 \r\n"), C(line), S(challenge), C("\r\n"),
                                        S("535 no\r\n") },
                             .auth = &auth,
                             .log = ENDED };
    play_in_all_ways(&script, NULL);
    buf_free(&response);
    buf_free(&encoded);
    free(line);
    free(challenge);
}
END_TEST

static const struct script requiring[] = {
    { .name = "REQUIRETLS never goes in clear",
      .steps = { HELLO("250-REQUIRETLS\r\n") },
      .requiretls = true,
      .log = "ended ~550@ehlo" },
    { .name = "nor when TLS was offered but isn't to be had",
      .steps = { HELLO("250-STARTTLS\r\n"), C("STARTTLS\r\n"), S("454 no\r\n") },
      .tls = SMTP_TLS_OPPORTUNISTIC,
      .requiretls = true,
      .log = "ended ~550@ehlo" },
};
TABLE_TEST(requiretls_without_tls_ends_the_session, requiring)

int main(void)
{
    Suite *suite = SUITE_OF("session_auth", a_long_first_response_waits_for_a_challenge);
    add_table(suite, "logins", each_login_says_what_it_must_and_no_more, ARRAY_LEN(logins));
    add_table(suite, "requiretls", requiretls_without_tls_ends_the_session, ARRAY_LEN(requiring));
    return check_main(suite);
}
