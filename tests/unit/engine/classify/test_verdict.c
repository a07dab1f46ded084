#include "engine/classify/verdict.h"

#include "tests/support/check_main.h"

static const struct {
    struct classify_reply reply;
    enum verdict_action action;
    const char *category;
    bool destination_wide;
} cases[] = {
    { { 250, 2, 0, 0, false, CLASSIFY_MESSAGE }, VERDICT_DELIVERED, NULL, false },
    { { 550, 5, 1, 1, false, CLASSIFY_RECIPIENT }, VERDICT_BOUNCE, "bad-mailbox", false },
    { { 550, 0, 0, 0, false, CLASSIFY_RECIPIENT }, VERDICT_BOUNCE, "bad-mailbox", false },
    { { 452, 4, 2, 2, false, CLASSIFY_RECIPIENT }, VERDICT_RETRY, "mailbox-full", false },
    { { 552, 0, 0, 0, false, CLASSIFY_RECIPIENT }, VERDICT_RETRY, "mailbox-full", false },
    { { 552, 5, 3, 4, false, CLASSIFY_MESSAGE }, VERDICT_BOUNCE, "too-large", false },
    { { 451, 4, 7, 1, false, CLASSIFY_MESSAGE }, VERDICT_RETRY, "policy", false },
    { { 554, 5, 7, 1, false, CLASSIFY_MESSAGE }, VERDICT_BOUNCE, "policy", false },
    { { 554, 5, 7, 1, false, CLASSIFY_HOST }, VERDICT_RETRY, "policy", true },
    { { 421, 4, 4, 2, true, CLASSIFY_HOST }, VERDICT_RETRY, "network", true },
    { { 556, 5, 1, 10, true, CLASSIFY_DNS }, VERDICT_BOUNCE, "bad-domain", false },
    { { 550, 5, 1, 2, true, CLASSIFY_DNS }, VERDICT_BOUNCE, "bad-domain", false },
    { { 451, 4, 4, 3, true, CLASSIFY_DNS }, VERDICT_RETRY, "dns", true },
    { { 599, 0, 0, 0, false, CLASSIFY_MESSAGE }, VERDICT_BOUNCE, "other", false },
};

/* Temporary refusals of one code, told apart by what they say. */
static const struct {
    unsigned code, subject, detail; /* 4.x.y; both 0: no enhanced code */
    const char *text, *category;
    unsigned retry_after_s;
} told_apart[] = {
    { 451, 7, 1, "Greylisting in action, please come back in 00:05:00", "greylisted", 300 },
    { 450, 2, 0, "Recipient address rejected: Greylisted, see http://x.example/", "greylisted", 0 },
    { 451, 0, 0, "Grey-listed, try again in 2 minutes", "greylisted", 120 },
    { 451, 7, 1, "Service refused, try later", "policy", 0 },
    { 421, 7, 0, "Connection rate limit exceeded.", "rate-limited", 0 },
    { 452, 3, 2, "Connection rate limit exceeded.", "rate-limited", 0 },
    { 421, 7, 28, "Our system has detected mail that is not wanted", "rate-limited", 0 },
    { 421, 0, 0, "Too many connections, slow down. OFR005_104 [104]", "rate-limited", 0 },
    { 450, 2, 1, "receiving mail at a rate that prevents more", "rate-limited", 0 },
    { 451, 7, 650, "temporarily rate-limited due to IP reputation", "rate-limited", 0 },
    { 452, 2, 2, "The recipient's inbox is out of storage space.", "mailbox-full", 0 },
    { 450, 2, 1, "this mailbox is inactive and has been disabled", "inactive", 0 },
    { 452, 5, 3, "Too many recipients", "protocol", 0 },
};

START_TEST(temporary_refusals_are_told_apart_by_their_words)
{
    struct classify_reply reply = { .code = told_apart[_i].code,
                                    .enhanced_class = told_apart[_i].subject ? 4 : 0,
                                    .enhanced_subject = told_apart[_i].subject,
                                    .enhanced_detail = told_apart[_i].detail,
                                    .scope = CLASSIFY_RECIPIENT,
                                    .text = slice_str(told_apart[_i].text) };
    struct verdict verdict = classify_verdict(&reply);
    ck_assert_int_eq(verdict.action, VERDICT_RETRY);
    ck_assert_str_eq(verdict.category, told_apart[_i].category);
    ck_assert_uint_eq(verdict.retry_after_s, told_apart[_i].retry_after_s);
}
END_TEST

START_TEST(only_a_peers_temporary_refusal_names_a_pause)
{
    struct classify_reply reply = { .code = 451,
                                    .scope = CLASSIFY_MESSAGE,
                                    .text = SLICE("greylisted, try again in 5 minutes") };
    ck_assert_uint_eq(classify_verdict(&reply).retry_after_s, 300);
    reply.local = true;
    ck_assert_uint_eq(classify_verdict(&reply).retry_after_s, 0);
    ck_assert_str_eq(classify_verdict(&reply).category, "other");
    reply.local = false;
    reply.code = 554;
    ck_assert_uint_eq(classify_verdict(&reply).retry_after_s, 0);
    ck_assert_str_eq(classify_verdict(&reply).category, "other");
    reply.scope = CLASSIFY_HOST; /* never permanent */
    ck_assert_uint_eq(classify_verdict(&reply).retry_after_s, 300);
}
END_TEST

START_TEST(each_reply_has_its_verdict)
{
    struct verdict verdict = classify_verdict(&cases[_i].reply);
    ck_assert_int_eq(verdict.action, cases[_i].action);
    ck_assert_pstr_eq(verdict.category, cases[_i].category);
    ck_assert_int_eq(verdict.destination_wide, cases[_i].destination_wide);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("verdict");
    TCase *tcase = tcase_create("verdict");
    tcase_add_loop_test(tcase, each_reply_has_its_verdict, 0, (int)ARRAY_LEN(cases));
    tcase_add_loop_test(tcase, temporary_refusals_are_told_apart_by_their_words, 0,
                        (int)ARRAY_LEN(told_apart));
    tcase_add_test(tcase, only_a_peers_temporary_refusal_names_a_pause);
    suite_add_tcase(suite, tcase);
    return check_main(suite);
}
