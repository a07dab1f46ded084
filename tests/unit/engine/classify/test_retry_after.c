/* What pause a reply's words ask for, and which numbers are none. */
#include <stdlib.h>

#include "engine/classify/verdict.h"
#include "tests/support/check_main.h"

static const struct {
    const char *text;
    unsigned seconds;
} cases[] = {
    /* asked for */
    { "Greylisted, please try again in 5 minutes", 300 },
    { "Greylisted, please retry in 5 minutes", 300 },
    { "Greylisting in action, please come back in 00:04:59", 299 },
    { "Please try again in 300 seconds.", 300 },
    { "retry after 00:10:00", 600 },
    { "You must wait 2 hours before sending more", 7200 },
    { "try later in 1h", 3600 },
    { "Recipient address rejected: Try again (see http://greylist.example/?id=77) 60 sec", 60 },
    { "<a@b.example>: greylisted for 240 seconds (see http://x.example/q)", 240 },
    { "TRY AGAIN IN 90S", 90 },
    { "deferred: try again in 1 hour and 30 minutes", 5400 },
    { "try again in 1 hour, 30 mins", 5400 },
    { "try again in 1h30m", 5400 },
    { "try again after at least 15 minutes", 900 },
    { "Please allow 10 minutes before retrying", 600 },
    { "Too many connections; retry in about 30 s", 30 },
    { "Too many messages from 192.0.2.7, wait 45 minutes", 2700 },
    { "try your message again in (10 minute(s))", 600 },
    { "retry-after\ntry again\nin\n7\nminutes", 420 },
    { "Do not try again for 12 hours", 43200 },
    { "greylisted 300 seconds", 300 },
    { "delayed, come back after 3 min.", 180 },
    /* longer than anybody should wait */
    { "try again in 3 days", CLASSIFY_RETRY_AFTER_S_MAX },
    { "try again in 99999999999999999999 seconds", CLASSIFY_RETRY_AFTER_S_MAX },
    { "retry after 999999999999:00:00", CLASSIFY_RETRY_AFTER_S_MAX },
    /* says nothing of when */
    { "", 0 },
    { "Please try again later", 0 },
    { "Server busy. Please try again later from [192.0.2.16]. (S77714)", 0 },
    { "try again in 0 seconds", 0 },
    { "try again in 5", 0 },
    { "try again in minutes", 0 },
    { "try again in 5 apples", 0 },
    { "try again in 1.5 hours", 0 },
    /* numbers that are something else */
    { "more than 100 messages in 60 minutes, try again later", 0 },
    { "Try again later: 100 messages sent in 60 minutes", 0 },
    { "try later, limit is 10 per 60 seconds", 0 },
    { "Try again later. You connected 5 times in 60 seconds", 0 },
    { "Please try again. Last connection was 20 seconds ago", 0 },
    { "wait: first seen 20 seconds ago", 0 },
    { "not delivered within 0 days and 1 hours", 0 },
    { "Message could not be delivered for 8 hours", 0 },
    { "we retry for 5 days", 0 },
    { "try again at 10:15:00", 0 },
    { "try again, 2024-06-24T08:58:06.389Z", 0 },
    { "try again (10.0.0.5) [192.0.2.5]", 0 },
    { "try again in 5 minutes, not: retry in 5x", 300 },
    { "(-1915321397:308:-2147467259) try again", 0 },
};

START_TEST(each_text_has_its_pause)
{
    unsigned seconds = classify_retry_after_s(slice_str(cases[_i].text));
    ck_assert_msg(seconds == cases[_i].seconds, "'%s': %u, not %u", cases[_i].text, seconds,
                  cases[_i].seconds);
}
END_TEST

START_TEST(a_text_cut_anywhere_is_read_without_harm)
{
    /* a heap copy of each length: the sanitizer sees a byte too many */
    struct slice text = slice_str(cases[_i].text);
    for (size_t len = 0; len <= text.len; len++) {
        char *copy = malloc(len + 1);
        memcpy(copy, text.ptr, len);
        char *exact = len ? realloc(copy, len) : copy;
        ck_assert_uint_le(classify_retry_after_s(slice_of(exact, len)), CLASSIFY_RETRY_AFTER_S_MAX);
        free(exact);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("retry_after");
    TCase *tcase = tcase_create("retry_after");
    tcase_add_loop_test(tcase, each_text_has_its_pause, 0, (int)ARRAY_LEN(cases));
    tcase_add_loop_test(tcase, a_text_cut_anywhere_is_read_without_harm, 0, (int)ARRAY_LEN(cases));
    suite_add_tcase(suite, tcase);
    return check_main(suite);
}
