/* SASL's mechanisms against published examples, and what a server may not make them do. */
#include "engine/net/sasl.h"

#include <stdio.h>
#include <stdlib.h>

#include "tests/support/check_main.h"

static struct sasl *sasl;
static struct buf out;
static struct err err;

static void setup(void)
{
    sasl = NULL;
    out = BUF_EMPTY;
}

static void teardown(void)
{
    sasl_destroy(&sasl);
    buf_free(&out);
}

static void start(enum sasl_mechanism mechanism, const struct sasl_identity *identity)
{
    ck_assert_msg(sasl_start(&sasl, mechanism, identity, &err), "%s", err.text);
}

static void expect_initial(struct slice want)
{
    buf_clear(&out);
    ck_assert_uint_ge(sasl_initial_bytes(sasl), want.len);
    sasl_initial(sasl, &out);
    ck_assert_msg(slice_eq(buf_slice(&out), want), "%s", buf_cstr(&out));
}

static void expect_answer(const char *challenge, struct slice want)
{
    buf_clear(&out);
    ck_assert_msg(sasl_challenge(sasl, slice_str(challenge), &out, &err), "%s", err.text);
    ck_assert_msg(slice_eq(buf_slice(&out), want), "%s", buf_cstr(&out));
}

static void expect_cancel(const char *challenge, const char *why)
{
    ck_assert(!sasl_challenge(sasl, slice_str(challenge), &out, &err));
    ck_assert_msg(strstr(err.text, why), "%s", err.text);
}

/* ---- names ---- */

START_TEST(the_strongest_mechanism_of_a_list_is_found)
{
    unsigned set = sasl_set_parse(SLICE("GSSAPI login  PLAIN Xoauth2 SCRAM-SHA-256-PLUS"));
    ck_assert_uint_eq(set, SASL_SET(SASL_LOGIN) | SASL_SET(SASL_PLAIN) | SASL_SET(SASL_XOAUTH2));
    enum sasl_mechanism found;
    ck_assert(sasl_set_strongest(set & SASL_SET_PASSWORD, &found));
    ck_assert_int_eq(found, SASL_PLAIN);
    ck_assert(sasl_set_strongest(set | SASL_SET(SASL_SCRAM_SHA_256), &found));
    ck_assert_int_eq(found, SASL_SCRAM_SHA_256);
    ck_assert(!sasl_set_strongest(0, &found));
    ck_assert_uint_eq(sasl_set_parse(SLICE("")), 0);
}
END_TEST

/* ---- Base64 ---- */

START_TEST(base64_goes_both_ways)
{
    static const char *const pairs[][2] = { { "", "" },
                                            { "f", "Zg==" },
                                            { "fo", "Zm8=" },
                                            { "foo", "Zm9v" },
                                            { "foob", "Zm9vYg==" },
                                            { "\xff\xfe\xfd", "//79" },
                                            { "\xfb\xef", "++8=" } };
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        buf_clear(&out);
        sasl_encode(&out, slice_str(pairs[i][0]));
        ck_assert_str_eq(buf_cstr(&out), pairs[i][1]);
        buf_clear(&out);
        ck_assert(sasl_decode(&out, slice_str(pairs[i][1])));
        ck_assert_str_eq(buf_cstr(&out), pairs[i][0]);
    }
}
END_TEST

START_TEST(what_is_not_base64_is_refused_and_appends_nothing)
{
    static const char *const bad[] = { "Z",
                                       "Zg",
                                       "Zg=",
                                       "Zg===",
                                       "====",
                                       "Z===",
                                       "Zh==",
                                       "Zm9=",
                                       "Zm 9v",
                                       "Zm9v=",
                                       "Z-_v",
                                       "=Zm9",
                                       "Zg==Zm9v",
                                       "Zm9v\n",
                                       "Zm\xff"
                                       "v" };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        ck_assert_msg(!sasl_decode(&out, slice_str(bad[i])), "%s", bad[i]);
        ck_assert_uint_eq(out.len, 0);
    }
}
END_TEST

/* ---- PLAIN, LOGIN, OAuth ---- */

static const struct sasl_identity tim = { .user = "tim", .secret = "tanstaaftanstaaf" };

START_TEST(plain_says_all_at_once)
{
    start(SASL_PLAIN, &tim);
    ck_assert(sasl_speaks_first(sasl));
    ck_assert(!sasl_success(sasl, &err)); /* nothing was said yet */
    expect_initial(SLICE("\0tim\0tanstaaftanstaaf"));
    ck_assert(sasl_success(sasl, &err));
    expect_cancel("", "one challenge too many");
}
END_TEST

START_TEST(the_first_response_waits_for_an_empty_challenge_where_it_has_no_room)
{
    start(SASL_PLAIN, &tim);
    expect_cancel("more?", "client speaks first");
    expect_answer("", SLICE("\0tim\0tanstaaftanstaaf"));
    ck_assert(sasl_success(sasl, &err));
}
END_TEST

START_TEST(login_answers_two_prompts_whatever_they_say)
{
    start(SASL_LOGIN, &tim);
    ck_assert(!sasl_speaks_first(sasl));
    ck_assert(!sasl_success(sasl, &err));
    expect_answer("Username:", SLICE("tim"));
    ck_assert(!sasl_success(sasl, &err));
    expect_answer("Passwort?", SLICE("tanstaaftanstaaf"));
    ck_assert(sasl_success(sasl, &err));
    expect_cancel("Again:", "one challenge too many");
}
END_TEST

static const struct sasl_identity mailbox = { .user = "user@example.com",
                                              .secret =
                                                  "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==",
                                              .host = "server.example.com",
                                              .port = 143 };

/* RFC 7628, 4.1. */
START_TEST(oauthbearer_is_as_in_its_rfc)
{
    start(SASL_OAUTHBEARER, &mailbox);
    expect_initial(SLICE("n,a=user@example.com,\x01host=server.example.com\x01port=143\x01"
                         "auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\x01\x01"));
    ck_assert(sasl_success(sasl, &err));
    expect_answer("{\"status\":\"invalid_token\"}", SLICE("\x01"));
    ck_assert(slice_eq(sasl_error(sasl), SLICE("{\"status\":\"invalid_token\"}")));
    ck_assert(!sasl_success(sasl, &err)); /* it has said no */
    expect_cancel("", "one challenge too many");
}
END_TEST

START_TEST(xoauth2_gets_an_empty_answer_to_its_error)
{
    start(SASL_XOAUTH2, &mailbox);
    expect_initial(SLICE("user=user@example.com\x01"
                         "auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\x01\x01"));
    expect_answer("{\"status\":\"401\"}\r\n\xff", SLICE(""));
    ck_assert(slice_eq(sasl_error(sasl), SLICE("{\"status\":\"401\"}???")));
    ck_assert(!sasl_success(sasl, &err));
}
END_TEST

START_TEST(what_a_mechanism_cannot_carry_is_refused)
{
    char *long_text = malloc(20000);
    memset(long_text, 'x', 19999);
    long_text[19999] = '\0';
    const struct {
        enum sasl_mechanism mechanism;
        struct sasl_identity identity;
    } bad[] = {
        { SASL_PLAIN, { .user = "", .secret = "x" } },
        { SASL_PLAIN, { .user = NULL, .secret = "x" } },
        { SASL_PLAIN, { .user = "x", .secret = "" } },
        { SASL_PLAIN, { .user = "x", .secret = NULL } },
        { SASL_LOGIN, { .user = "x\r\nQUIT", .secret = "x" } },
        { SASL_LOGIN, { .user = "x", .secret = "a\nb" } },
        { SASL_PLAIN, { .user = "\xff", .secret = "x" } },
        { SASL_PLAIN, { .user = long_text, .secret = "x" } },
        { SASL_PLAIN, { .user = "x", .secret = long_text } },
        { SASL_XOAUTH2, { .user = "x", .secret = long_text } },
        { SASL_XOAUTH2, { .user = "x", .secret = "a b" } },
        { SASL_XOAUTH2, { .user = "x", .secret = "a\x01" } },
        { SASL_XOAUTH2, { .user = "x\x01", .secret = "a" } },
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        ck_assert_msg(!sasl_start(&sasl, bad[i].mechanism, &bad[i].identity, &err), "%zu", i);
        ck_assert_msg(!strstr(err.text, "QUIT"), "%s", err.text);
    }
    free(long_text);
}
END_TEST

/* ---- SCRAM-SHA-256: RFC 7677, 3 ---- */

#define CLIENT_NONCE "rOprNGfwEbeRWgbNEkqO"
#define NONCE CLIENT_NONCE "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
#define SERVER_FIRST "r=" NONCE ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
#define CLIENT_FINAL "c=biws,r=" NONCE ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
#define SERVER_FINAL "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="

static const struct sasl_identity published = { .user = "user",
                                                .secret = "pencil",
                                                .nonce = CLIENT_NONCE };

static void start_scram(void)
{
    start(SASL_SCRAM_SHA_256, &published);
    expect_initial(SLICE("n,,n=user,r=" CLIENT_NONCE));
}

START_TEST(scram_is_as_in_its_rfc)
{
    start_scram();
    ck_assert(!sasl_success(sasl, &err));
    expect_answer(SERVER_FIRST, SLICE(CLIENT_FINAL));
    ck_assert(!sasl_success(sasl, &err)); /* the server has proved nothing yet */
    expect_answer(SERVER_FINAL, SLICE(""));
    ck_assert(sasl_success(sasl, &err));
    expect_cancel("", "one challenge too many");
}
END_TEST

START_TEST(scram_escapes_the_user_and_makes_its_own_nonces)
{
    char seen[2][64];
    for (int i = 0; i < 2; i++) {
        start(SASL_SCRAM_SHA_256, &(struct sasl_identity){ .user = "a,b=c", .secret = "x" });
        buf_clear(&out);
        sasl_initial(sasl, &out);
        ck_assert(slice_starts_with(buf_slice(&out), SLICE("n,,n=a=2Cb=3Dc,r=")));
        struct slice nonce = slice_skip(buf_slice(&out), strlen("n,,n=a=2Cb=3Dc,r="));
        ck_assert_uint_eq(nonce.len, 24);
        snprintf(seen[i], sizeof seen[i], "%.*s", SLICE_FMT(nonce));
        sasl_destroy(&sasl);
    }
    ck_assert_str_ne(seen[0], seen[1]);
}
END_TEST

static const struct {
    const char *first, *why;
} first_messages[] = {
    { "", "can't be read" },
    { "r=", "can't be read" },
    { "r=" NONCE ",s=W22ZaJ0SNY7soEsUEjb6gQ==", "can't be read" },
    { "s=W22ZaJ0SNY7soEsUEjb6gQ==,r=" NONCE ",i=4096", "can't be read" },
    { "m=x,r=" NONCE ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", "extension" },
    { "r=" CLIENT_NONCE ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", "nonce" },
    { "r=x" NONCE ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", "nonce" },
    { "r=" CLIENT_NONCE "\x01,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", "nonce" },
    { "r=" NONCE ",s=???,i=4096", "salt" },
    { "r=" NONCE ",s=,i=4096", "salt" },
    { "r=" NONCE ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4095", "iterations" },
    { "r=" NONCE ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=600001", "iterations" },
    { "r=" NONCE ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=99999999999999999999999999", "iterations" },
    { "r=" NONCE ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=-4096", "iterations" },
};

START_TEST(scram_cancels_when_the_servers_first_message_is_wrong)
{
    start_scram();
    buf_clear(&out);
    expect_cancel(first_messages[_i].first, first_messages[_i].why);
    ck_assert_uint_eq(out.len, 0);
    ck_assert(!sasl_success(sasl, &err));
}
END_TEST

static const struct {
    const char *final, *why;
} final_messages[] = {
    { "", "didn't prove" },
    { "e=invalid-proof", "refused: invalid-proof" },
    { "v=", "didn't prove" },
    { "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G0=", "didn't prove" },
    { "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl9", "didn't prove" },
    { "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4", "didn't prove" },
};

START_TEST(scram_cancels_when_the_server_does_not_know_the_password)
{
    start_scram();
    expect_answer(SERVER_FIRST, SLICE(CLIENT_FINAL));
    expect_cancel(final_messages[_i].final, final_messages[_i].why);
    ck_assert(!sasl_success(sasl, &err));
}
END_TEST

START_TEST(scram_spares_the_iterations_when_salt_and_count_are_the_same)
{
    struct sasl_salted salted = { 0 };
    struct sasl_identity identity = published;
    identity.salted = &salted;
    for (int i = 0; i < 2; i++) {
        start(SASL_SCRAM_SHA_256, &identity);
        expect_initial(SLICE("n,,n=user,r=" CLIENT_NONCE));
        expect_answer(SERVER_FIRST, SLICE(CLIENT_FINAL));
        expect_answer(SERVER_FINAL, SLICE(""));
        ck_assert(sasl_success(sasl, &err));
        ck_assert(salted.valid && salted.iterations == 4096 && salted.salt_len == 16);
        sasl_destroy(&sasl);
    }
    salted.key[0] ^= 1; /* what is kept is what is used … */
    start(SASL_SCRAM_SHA_256, &identity);
    expect_initial(SLICE("n,,n=user,r=" CLIENT_NONCE));
    buf_clear(&out);
    ck_assert(sasl_challenge(sasl, SLICE(SERVER_FIRST), &out, &err));
    ck_assert(!slice_eq(buf_slice(&out), SLICE(CLIENT_FINAL)));
    sasl_destroy(&sasl);
    salted.of[0] ^= 1; /* … but not with another password */
    start(SASL_SCRAM_SHA_256, &identity);
    expect_initial(SLICE("n,,n=user,r=" CLIENT_NONCE));
    expect_answer(SERVER_FIRST, SLICE(CLIENT_FINAL));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sasl");
    TCase *tests = tcase_create("sasl");
    tcase_set_timeout(tests, 0);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, the_strongest_mechanism_of_a_list_is_found);
    tcase_add_test(tests, base64_goes_both_ways);
    tcase_add_test(tests, what_is_not_base64_is_refused_and_appends_nothing);
    tcase_add_test(tests, plain_says_all_at_once);
    tcase_add_test(tests, the_first_response_waits_for_an_empty_challenge_where_it_has_no_room);
    tcase_add_test(tests, login_answers_two_prompts_whatever_they_say);
    tcase_add_test(tests, oauthbearer_is_as_in_its_rfc);
    tcase_add_test(tests, xoauth2_gets_an_empty_answer_to_its_error);
    tcase_add_test(tests, what_a_mechanism_cannot_carry_is_refused);
    tcase_add_test(tests, scram_is_as_in_its_rfc);
    tcase_add_test(tests, scram_escapes_the_user_and_makes_its_own_nonces);
    tcase_add_loop_test(tests, scram_cancels_when_the_servers_first_message_is_wrong, 0,
                        (int)ARRAY_LEN(first_messages));
    tcase_add_loop_test(tests, scram_cancels_when_the_server_does_not_know_the_password, 0,
                        (int)ARRAY_LEN(final_messages));
    tcase_add_test(tests, scram_spares_the_iterations_when_salt_and_count_are_the_same);
    suite_add_tcase(suite, tests);
    return check_main(suite);
}
