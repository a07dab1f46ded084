/* How deep pipelines of bulk may be, given how long transactions take. */
#include "engine/deliver/internal.h"
#include "tests/support/check_main.h"

enum { DEPTH = 8, RANK = 20 };

struct rig {
    struct deliver deliver;
    struct site site;
};

static void rig_setup(struct rig *rig, unsigned in_order)
{
    *rig = (struct rig){ .deliver.options = { .pipeline_depth = DEPTH, .pipeline_rank = RANK },
                         .site.in_order = in_order };
    rig->site.deliver = &rig->deliver;
}

/* A session that is kept as full as may be, at a server that takes `service_us` for each message,
 * one after the other, over a line with a round trip of `line_us`. */
static void run_full(struct rig *rig, unsigned messages, int64_t service_us, int64_t line_us)
{
    for (unsigned i = 0; i < messages; i++) {
        unsigned depth = site_bulk_depth(&rig->site);
        int64_t queue_us = (int64_t)depth * service_us;
        site_timed(&rig->site, MAX_OF(queue_us, line_us + service_us), depth - 1);
    }
}

static const struct {
    int64_t service_us, line_us;
    unsigned least, most;
} cases[] = {
    { 100, 200, DEPTH, DEPTH },     /* near and fast */
    { 1000, 300000, DEPTH, DEPTH }, /* far and fast: nobody waits for those before */
    { 50000, 1000, DEPTH, DEPTH },  /* eight times 50 ms may pass before one that is waited for */
    { 200000, 1000, 2, 4 },         /* near and slow */
    { 3000000, 1000, 1, 2 },        /* slower than may be waited for at all */
};

START_TEST(pipelines_are_as_deep_as_a_message_behind_them_can_wait_for)
{
    struct rig rig;
    rig_setup(&rig, 0);
    for (unsigned i = 0; i < RANK; i++) /* before the rank: one at a time */
        run_full(&rig, 1, cases[_i].service_us, cases[_i].line_us);
    rig.site.in_order = RANK;
    run_full(&rig, 200, cases[_i].service_us, cases[_i].line_us);
    unsigned sum = 0;
    for (unsigned i = 0; i < 200; i++) {
        run_full(&rig, 1, cases[_i].service_us, cases[_i].line_us);
        sum += site_bulk_depth(&rig.site);
    }
    ck_assert_uint_ge(sum / 200, cases[_i].least);
    ck_assert_uint_le(sum / 200, cases[_i].most);
}
END_TEST

START_TEST(a_server_that_recovers_gets_deep_pipelines_again)
{
    struct rig rig;
    rig_setup(&rig, RANK);
    run_full(&rig, 50, 1000, 1000);
    run_full(&rig, 50, 2000000, 1000);
    ck_assert_uint_le(site_bulk_depth(&rig.site), 2);
    run_full(&rig, 1000, 1000, 1000);
    ck_assert_uint_eq(site_bulk_depth(&rig.site), DEPTH);
}
END_TEST

START_TEST(without_rank_there_is_one_at_a_time)
{
    struct rig rig;
    rig_setup(&rig, RANK - 1);
    run_full(&rig, 10, 100, 100);
    ck_assert_uint_eq(site_bulk_depth(&rig.site), 1);
}
END_TEST

int main(void)
{
    Suite *suite = SUITE_OF("site", a_server_that_recovers_gets_deep_pipelines_again,
                            without_rank_there_is_one_at_a_time);
    TCase *tcase = tcase_create("depth");
    tcase_add_loop_test(tcase, pipelines_are_as_deep_as_a_message_behind_them_can_wait_for, 0,
                        (int)ARRAY_LEN(cases));
    suite_add_tcase(suite, tcase);
    return check_main(suite);
}
