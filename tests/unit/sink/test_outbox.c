#include "bench/sink/outbox.h"

#include "tests/support/check_main.h"

START_TEST(a_reply_without_delay_is_ready_at_once_unless_one_waits_before_it)
{
    struct outbox outbox = { 0 };
    outbox_put(&outbox, SLICE("a"), 0, OUTBOX_KEEP);
    ck_assert_uint_eq(outbox.ready_bytes, 1);
    outbox_put(&outbox, SLICE("bb"), 50, OUTBOX_KEEP);
    outbox_put(&outbox, SLICE("ccc"), 0, OUTBOX_KEEP);
    ck_assert_uint_eq(outbox.ready_bytes, 1);
    ck_assert_int_eq(outbox_next_due(&outbox), 50);
    outbox_release(&outbox, 50);
    ck_assert_uint_eq(outbox.ready_bytes, 6);
    ck_assert(slice_eq(buf_slice(&outbox.bytes), SLICE("abbccc")));
    outbox_free(&outbox);
}
END_TEST

START_TEST(what_follows_a_reply_counts_only_when_that_is_ready)
{
    struct outbox outbox = { 0 };
    outbox_put(&outbox, SLICE("a"), 10, OUTBOX_KEEP);
    outbox_put(&outbox, SLICE("b"), 20, OUTBOX_CLOSE);
    outbox_release(&outbox, 10);
    ck_assert_int_eq(outbox.then, OUTBOX_KEEP);
    outbox_release(&outbox, 20);
    ck_assert_int_eq(outbox.then, OUTBOX_CLOSE);
    outbox_free(&outbox);
}
END_TEST

START_TEST(thousands_of_delayed_replies_leave_in_order)
{
    struct outbox outbox = { 0 };
    size_t put = 0, taken = 0;
    for (int64_t now = 1; now < 5000; now++) {
        for (int64_t n = 0; n < now % 7; n++, put++)
            outbox_put(&outbox, SLICE("x"), now + 30, OUTBOX_KEEP);
        outbox_release(&outbox, now);
        taken += outbox.ready_bytes;
        buf_consume(&outbox.bytes, outbox.ready_bytes);
        outbox.ready_bytes = 0;
        ck_assert(outbox_next_due(&outbox) > now);
        ck_assert_uint_eq(put - taken, outbox.bytes.len);
    }
    outbox_release(&outbox, INT64_MAX);
    ck_assert_uint_eq(taken + outbox.ready_bytes, put);
    outbox_free(&outbox);
}
END_TEST

int main(void)
{
    return check_main(SUITE_OF("outbox",
                               a_reply_without_delay_is_ready_at_once_unless_one_waits_before_it,
                               what_follows_a_reply_counts_only_when_that_is_ready,
                               thousands_of_delayed_replies_leave_in_order));
}
