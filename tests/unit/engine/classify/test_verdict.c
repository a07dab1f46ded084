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
    suite_add_tcase(suite, tcase);
    return check_main(suite);
}
