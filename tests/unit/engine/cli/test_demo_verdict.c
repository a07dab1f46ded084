/* The demonstration's judge: content with what should be, and with nothing else. */
#include "engine/cli/demo_verdict.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/support/check_main.h"

/** A world of four, one of each kind, whose events and ledger are given; returns the judgement. */
static bool judge(const char *const *events, const char *ledger, struct demo_verdict *verdict)
{
    static const char *const people[] = { "ann@a.example", "gone.bob@a.example",
                                          "later.cy@b.example", "dee@nx-c.example" };
    *verdict = (struct demo_verdict){ 0 };
    for (size_t i = 0; i < ARRAY_LEN(people); i++)
        ck_assert(demo_verdict_expect(verdict, slice_str(people[i])));
    for (; *events; events++)
        demo_verdict_event(verdict, slice_str(*events));
    char path[] = "/tmp/eilpost-ledger-XXXXXX";
    int fd = mkstemp(path);
    ck_assert_int_eq(write(fd, ledger, strlen(ledger)), (ssize_t)strlen(ledger));
    close(fd);
    struct err err;
    ck_assert(demo_verdict_ledger(verdict, path, &err));
    unlink(path);
    return demo_verdict_close(verdict);
}

#define EVENT(type, to, more) "{\"type\":\"" type "\",\"to\":\"" to "\"" more "}"
#define ANN EVENT("delivered", "ann@a.example", "")
#define BOB EVENT("bounced", "gone.bob@a.example", ",\"code\":550")
#define CY_LATER EVENT("deferred", "later.cy@b.example", "")
#define CY EVENT("delivered", "later.cy@b.example", "")
#define DEE EVENT("bounced", "dee@nx-c.example", ",\"local\":true")
#define ANN_LINE "1\tann@a.example\t<1>\t\tnew\n"
#define CY_LINE "2\tlater.cy@b.example\t<2>\t\tnew\n"
#define EVENTS(...) ((const char *const[]){ __VA_ARGS__, NULL })

START_TEST(what_should_be_is_good)
{
    struct demo_verdict verdict;
    ck_assert_msg(judge(EVENTS(ANN, BOB, CY_LATER, DEE, CY), ANN_LINE CY_LINE, &verdict), "%s",
                  buf_cstr(&verdict.complaints));
    ck_assert_uint_eq(verdict.delivered, 2);
    ck_assert_uint_eq(verdict.bounced, 2);
    ck_assert_uint_eq(verdict.deferred, 1);
    ck_assert_uint_eq(verdict.received, 2);
    demo_verdict_free(&verdict);
}
END_TEST

static const struct fault {
    const char *const *events;
    const char *ledger, *complaint;
} faults[] = {
    { EVENTS(ANN, BOB, CY_LATER, DEE), ANN_LINE, "later.cy@b.example: never ended" },
    { EVENTS(ANN, ANN, BOB, CY_LATER, CY, DEE), ANN_LINE CY_LINE,
      "ann@a.example: ended more than once" },
    { EVENTS(ANN, BOB, CY, DEE), ANN_LINE CY_LINE,
      "later.cy@b.example: should have been deferred first" },
    { EVENTS(EVENT("bounced", "ann@a.example", ""), BOB, CY_LATER, CY, DEE), CY_LINE,
      "ann@a.example: should have been delivered" },
    { EVENTS(ANN, EVENT("delivered", "gone.bob@a.example", ""), CY_LATER, CY, DEE),
      ANN_LINE CY_LINE, "gone.bob@a.example: should have bounced" },
    { EVENTS(ANN, EVENT("expired", "gone.bob@a.example", ""), CY_LATER, CY, DEE), ANN_LINE CY_LINE,
      "gone.bob@a.example: should have bounced" },
    { EVENTS(ANN, BOB, CY_LATER, CY, EVENT("bounced", "dee@nx-c.example", "")), ANN_LINE CY_LINE,
      "dee@nx-c.example: bounced by a server" },
    { EVENTS(ANN, EVENT("bounced", "gone.bob@a.example", ",\"local\":true"), CY_LATER, CY, DEE),
      ANN_LINE CY_LINE, "gone.bob@a.example: bounced without a server's word" },
    { EVENTS(ANN, BOB, CY_LATER, CY, DEE), CY_LINE,
      "ann@a.example: delivered, but the sink doesn't have it" },
    { EVENTS(ANN, BOB, CY_LATER, CY, DEE), ANN_LINE ANN_LINE CY_LINE,
      "ann@a.example: was received more than once" },
    { EVENTS(ANN, BOB, CY_LATER, CY, DEE), ANN_LINE CY_LINE "3\tgone.bob@a.example\t\t\tnew\n",
      "gone.bob@a.example: bounced, but the sink has it" },
    { EVENTS(ANN, BOB, CY_LATER, CY, DEE), ANN_LINE CY_LINE "3\teve@e.example\t\t\tnew\n",
      "eve@e.example: received by the sink, but in no list" },
    { EVENTS(ANN, BOB, CY_LATER, CY, DEE, EVENT("delivered", "eve@e.example", "")),
      ANN_LINE CY_LINE, "eve@e.example: an event nobody waits for" },
};

START_TEST(each_fault_is_found_and_named)
{
    struct demo_verdict verdict;
    ck_assert(!judge(faults[_i].events, faults[_i].ledger, &verdict));
    ck_assert_msg(strstr(buf_cstr(&verdict.complaints), faults[_i].complaint), "%s isn't in:\n%s",
                  faults[_i].complaint, buf_cstr(&verdict.complaints));
    demo_verdict_free(&verdict);
}
END_TEST

START_TEST(an_address_is_expected_once)
{
    struct demo_verdict verdict = { 0 };
    ck_assert(demo_verdict_expect(&verdict, SLICE("a@b.example")));
    ck_assert(!demo_verdict_expect(&verdict, SLICE("a@b.example")));
    demo_verdict_free(&verdict);
}
END_TEST

int main(void)
{
    Suite *suite = SUITE_OF("demo verdict", what_should_be_is_good, an_address_is_expected_once);
    TCase *table = tcase_create("faults");
    tcase_set_timeout(table, 0);
    tcase_add_loop_test(table, each_fault_is_found_and_named, 0, ARRAY_LEN(faults));
    suite_add_tcase(suite, table);
    return check_main(suite);
}
