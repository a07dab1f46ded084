/* When a submission's mail may leave. */
#include "engine/deliver/internal.h"
#include "tests/support/check_main.h"

static int64_t windows[][2] = { { 100, 200 }, { 300, 301 }, { 500, 900 } };

static const struct {
    int64_t at;
    bool may;
} moments[] = {
    { 0, false },   { 99, false },  { 100, true },        { 199, true },  { 200, false },
    { 299, false }, { 300, true },  { 301, false },       { 499, false }, { 500, true },
    { 899, true },  { 900, false }, { INT64_MAX, false },
};

START_TEST(mail_leaves_in_its_windows_only)
{
    struct submission submission = { .windows = windows, .window_count = ARRAY_LEN(windows) };
    ck_assert_int_eq(submission_may_leave(&submission, moments[_i].at), moments[_i].may);
}
END_TEST

START_TEST(without_windows_mail_leaves_at_any_time)
{
    struct submission submission = { 0 };
    ck_assert(submission_may_leave(&submission, 0));
    ck_assert(submission_may_leave(&submission, INT64_MAX));
}
END_TEST

int main(void)
{
    Suite *suite = SUITE_OF("submission", without_windows_mail_leaves_at_any_time);
    TCase *tcase = tcase_create("windows");
    tcase_add_loop_test(tcase, mail_leaves_in_its_windows_only, 0, (int)ARRAY_LEN(moments));
    suite_add_tcase(suite, tcase);
    return check_main(suite);
}
