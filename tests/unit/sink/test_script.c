#include "bench/sink/script.h"

#include "tests/support/check_main.h"

static struct script *parse(const char *text)
{
    struct script *script = NULL;
    struct err err;
    bool parsed = script_parse(slice_str(text), &script, &err);
    ck_assert_msg(parsed, "%s", err.text);
    return script;
}

static struct script_verdict judge(struct script *script, enum script_phase phase,
                                   const char *recipient, struct rng *rng)
{
    struct script_subject subject = { .phase = phase,
                                      .address = SLICE("127.0.0.5"),
                                      .sender = SLICE("news@shop.test"),
                                      .recipient = slice_str(recipient) };
    struct script_verdict verdict;
    script_judge(script, &subject, rng, &verdict);
    return verdict;
}

static const struct {
    const char *pattern, *text;
    bool matches;
} globs[] = {
    { "*", "", true },
    { "", "", true },
    { "", "x", false },
    { "bounce-*", "bounce-1", true },
    { "bounce-*", "xbounce-1", false },
    { "*.test", "a.b.test", true },
    { "*.test", "a.b.tes", false },
    { "a*b*c", "a1b2b3c", true },
    { "a*b*c", "acb", false },
    { "d?.test", "d1.test", true },
    { "d?.test", "d.test", false },
    { "**", "x", true },
};

START_TEST(star_stands_for_any_bytes_and_question_mark_for_one)
{
    for (size_t i = 0; i < ARRAY_LEN(globs); i++)
        ck_assert_msg(script_glob(slice_str(globs[i].pattern), slice_str(globs[i].text)) ==
                          globs[i].matches,
                      "%s against %s", globs[i].pattern, globs[i].text);
}
END_TEST

START_TEST(rules_match_by_domain_recipient_sender_address_and_phase)
{
    struct rng rng = { 0 };
    struct script *script = parse("# a comment\n\n"
                                  "recipient=bounce-* rcpt=550 5.1.1 no such user\r\n"
                                  "domain=Slow.test delay=100ms\n"
                                  "recipient=u@full.test phase=rcpt,dot reply=452 4.2.2 full\n"
                                  "address=127.0.0.5 phase=greeting close\n"
                                  "sender=*@spam.test mail=554 5.7.1 no\n");
    struct script_verdict verdict = judge(script, SCRIPT_RCPT, "bounce-7@d.test", &rng);
    ck_assert_int_eq(verdict.action, SCRIPT_REPLY);
    ck_assert_uint_eq(verdict.code, 550);
    ck_assert(slice_eq(verdict.reply, SLICE("550 5.1.1 no such user\r\n")));
    ck_assert_int_eq(judge(script, SCRIPT_DOT, "bounce-7@d.test", &rng).action, SCRIPT_PASS);
    ck_assert_int_eq(judge(script, SCRIPT_RCPT, "x-bounce-7@d.test", &rng).action, SCRIPT_PASS);
    ck_assert_uint_eq(judge(script, SCRIPT_RCPT, "u@slow.test", &rng).delay_ms, 100);
    ck_assert_uint_eq(judge(script, SCRIPT_RCPT, "u@notslow.test", &rng).delay_ms, 0);
    ck_assert_uint_eq(judge(script, SCRIPT_RCPT, "u@full.test", &rng).code, 452);
    ck_assert_uint_eq(judge(script, SCRIPT_DOT, "u@full.test", &rng).code, 452);
    ck_assert_uint_eq(judge(script, SCRIPT_DATA, "u@full.test", &rng).code, 0);
    ck_assert_int_eq(judge(script, SCRIPT_GREETING, "", &rng).action, SCRIPT_CLOSE);
    ck_assert_int_eq(judge(script, SCRIPT_MAIL, "", &rng).action, SCRIPT_PASS);
    script_destroy(&script);
}
END_TEST

START_TEST(a_rule_with_first_refuses_each_recipient_once)
{
    struct rng rng = { 0 };
    struct script *script = parse("recipient=defer-* first rcpt=451 4.2.0 greylisted\n");
    ck_assert_uint_eq(judge(script, SCRIPT_RCPT, "defer-1@d.test", &rng).code, 451);
    ck_assert_uint_eq(judge(script, SCRIPT_RCPT, "defer-2@d.test", &rng).code, 451);
    ck_assert_uint_eq(judge(script, SCRIPT_RCPT, "defer-1@d.test", &rng).code, 0);
    ck_assert_uint_eq(judge(script, SCRIPT_RCPT, "defer-2@d.test", &rng).code, 0);
    script_destroy(&script);
}
END_TEST

START_TEST(the_first_reply_and_the_first_delay_count)
{
    struct rng rng = { 0 };
    struct script *script = parse("domain=d.test phase=rcpt delay=2s\n"
                                  "domain=d.test rcpt=450 4.2.1 later\n"
                                  "domain=* phase=rcpt delay=5 reply=550 5.0.0 never\n");
    struct script_verdict verdict = judge(script, SCRIPT_RCPT, "u@d.test", &rng);
    ck_assert_uint_eq(verdict.code, 450);
    ck_assert_uint_eq(verdict.delay_ms, 2000);
    verdict = judge(script, SCRIPT_RCPT, "u@e.test", &rng);
    ck_assert_uint_eq(verdict.code, 550);
    ck_assert_uint_eq(verdict.delay_ms, 5);
    script_destroy(&script);
}
END_TEST

START_TEST(a_probability_is_kept_to_and_depends_on_nothing_but_the_seed)
{
    struct script *script = parse("domain=* phase=dot probability=0.1 reply=451 4.3.0 try later\n");
    unsigned refused[2] = { 0 };
    for (int run = 0; run < 2; run++) {
        struct rng rng;
        rng_seed(&rng, 42);
        for (int i = 0; i < 10000; i++)
            refused[run] += judge(script, SCRIPT_DOT, "u@d.test", &rng).code == 451;
    }
    ck_assert_uint_eq(refused[0], refused[1]);
    ck_assert_uint_ge(refused[0], 850);
    ck_assert_uint_le(refused[0], 1150);
    script_destroy(&script);
}
END_TEST

START_TEST(a_reply_of_several_lines_repeats_its_code_and_421_closes)
{
    struct rng rng = { 0 };
    struct script *script = parse("ehlo=421 4.3.2 one\\ntwo\\n\n");
    struct script_verdict verdict = judge(script, SCRIPT_EHLO, "", &rng);
    ck_assert(slice_eq(verdict.reply, SLICE("421-4.3.2 one\r\n421-two\r\n421 \r\n")));
    ck_assert_int_eq(verdict.action, SCRIPT_CLOSE);
    script_destroy(&script);
}
END_TEST

static const struct {
    const char *text, *error;
} broken[] = {
    { "rcpt=550 5.1.1 x\nfoo=bar close\n", "script line 2: unknown setting 'foo'" },
    { "domain=x hang\n", "script line 1: unknown word 'hang'" },
    { "domain=x\n", "script line 1: a rule needs" },
    { "reply=550 x\n", "script line 1: a rule with reply= needs phase=" },
    { "rcpt=99 x\n", "script line 1: '99 x' is not a reply" },
    { "rcpt=650 x\n", "script line 1: '650 x' is not a reply" },
    { "rcpt=5500\n", "script line 1: '5500' is not a reply" },
    { "phase=rcp close\n", "script line 1: unknown phase 'rcp'" },
    { "delay=1h\n", "script line 1: '1h' is not a delay" },
    { "probability=1.5 close\n", "script line 1: '1.5' is not a probability" },
    { "probability= close\n", "script line 1: '' is not a probability" },
};

START_TEST(a_broken_rule_is_named_by_its_line)
{
    struct script *script = NULL;
    struct err err = { 0 };
    ck_assert(!script_parse(slice_str(broken[_i].text), &script, &err));
    ck_assert_msg(strncmp(err.text, broken[_i].error, strlen(broken[_i].error)) == 0, "%s",
                  err.text);
}
END_TEST

int main(void)
{
    Suite *suite = SUITE_OF("script", star_stands_for_any_bytes_and_question_mark_for_one,
                            rules_match_by_domain_recipient_sender_address_and_phase,
                            a_rule_with_first_refuses_each_recipient_once,
                            the_first_reply_and_the_first_delay_count,
                            a_probability_is_kept_to_and_depends_on_nothing_but_the_seed,
                            a_reply_of_several_lines_repeats_its_code_and_421_closes);
    TCase *errors = tcase_create("errors");
    tcase_set_timeout(errors, 0);
    tcase_add_loop_test(errors, a_broken_rule_is_named_by_its_line, 0, (int)ARRAY_LEN(broken));
    suite_add_tcase(suite, errors);
    return check_main(suite);
}
