#include "queue/record.h"

#include <stdlib.h>

#include "tests/support/check_main.h"

static struct slice values_of[4] = { { "Ada", 3 }, { "", 0 }, { "\0\t\n", 3 }, { "x", 1 } };

START_TEST(a_record_comes_back_as_written)
{
    struct record record = { .id = SLICE("s1-a"),
                             .recipient = SLICE("ada@example.org"),
                             .last_reply = SLICE("450 later"),
                             .attempts = 300,
                             .flags = 0x80000001,
                             .value_count = 4,
                             .values = values_of };
    struct buf bytes = BUF_EMPTY;
    ck_assert(record_write(&bytes, &record));
    struct record parsed;
    struct slice values[4];
    struct err err;
    ck_assert_msg(record_parse(buf_slice(&bytes), &parsed, values, 4, &err), "%s", err.text);
    ck_assert(slice_eq(parsed.id, record.id));
    ck_assert(slice_eq(parsed.recipient, record.recipient));
    ck_assert(slice_eq(parsed.last_reply, record.last_reply));
    ck_assert_uint_eq(parsed.attempts, 300);
    ck_assert_uint_eq(parsed.flags, 0x80000001);
    ck_assert_uint_eq(parsed.value_count, 4);
    for (unsigned i = 0; i < 4; i++)
        ck_assert(slice_eq(values[i], values_of[i]));
    buf_free(&bytes);
}
END_TEST

START_TEST(a_record_cut_anywhere_is_refused)
{
    struct record record = {
        .id = SLICE("s1-a"), .recipient = SLICE("a@b"), .value_count = 4, .values = values_of
    };
    struct buf bytes = BUF_EMPTY;
    ck_assert(record_write(&bytes, &record));
    for (size_t len = 0; len < bytes.len; len++) {
        struct record parsed;
        struct slice values[4];
        char *copy =
            slice_dup(slice_head(buf_slice(&bytes), len)); /* so that ASan sees a step too far */
        ck_assert(!record_parse(slice_of(copy, len), &parsed, values, 4, NULL));
        free(copy);
    }
    buf_free(&bytes);
}
END_TEST

START_TEST(a_long_reply_is_cut)
{
    char reply[1000];
    memset(reply, 'x', sizeof reply);
    struct record record = { .id = SLICE("s-0"),
                             .recipient = SLICE("a@b"),
                             .last_reply = slice_of(reply, sizeof reply) };
    struct buf bytes = BUF_EMPTY;
    ck_assert(record_write(&bytes, &record));
    struct record parsed;
    ck_assert(record_parse(buf_slice(&bytes), &parsed, NULL, 0, NULL));
    ck_assert_uint_eq(parsed.last_reply.len, QUEUE_RECORD_REPLY_BYTES_MAX);
    buf_free(&bytes);
}
END_TEST

START_TEST(more_values_than_room_are_counted)
{
    struct record record = {
        .id = SLICE("s-0"), .recipient = SLICE("a@b"), .value_count = 4, .values = values_of
    };
    struct buf bytes = BUF_EMPTY;
    ck_assert(record_write(&bytes, &record));
    struct record parsed;
    struct slice values[2];
    struct err err;
    ck_assert(!record_parse(buf_slice(&bytes), &parsed, values, 2, &err));
    ck_assert_int_eq(err.kind, ERR_LIMIT);
    ck_assert_uint_eq(parsed.value_count, 4);
    buf_free(&bytes);
}
END_TEST

static const struct {
    const char *what;
    struct slice bytes;
} malformed[] = {
    { "no tab", { "s-0", 3 } },
    { "no id", { "\t\0\0\0\1a\0", 7 } },
    { "an id without a submission", { "s0\t\0\0\0\1a\0", 9 } },
    { "an id that is too long", { "s-0123456789012345678901234567890123456\t\0\0\0\1a\0", 46 } },
    { "no recipient", { "s-0\t\0\0\0\0\0", 9 } },
    { "a padded number", { "s-0\t\x80\0\0\0\1a\0", 11 } },
    { "a number of more than 32 bits", { "s-0\t\xff\xff\xff\xff\x7f\0\0\1a\0", 14 } },
    { "more values than allowed", { "s-0\t\0\0\0\1a\x81\x08", 11 } },
    { "a byte too many", { "s-0\t\0\0\0\1a\0x", 11 } },
};

START_TEST(a_malformed_record_is_refused)
{
    struct record parsed;
    struct slice values[2];
    ck_assert_msg(!record_parse(malformed[_i].bytes, &parsed, values, 2, NULL), "%s",
                  malformed[_i].what);
}
END_TEST

int main(void)
{
    Suite *suite =
        SUITE_OF("record", a_record_comes_back_as_written, a_record_cut_anywhere_is_refused,
                 a_long_reply_is_cut, more_values_than_room_are_counted);
    TCase *table = tcase_create("malformed");
    tcase_add_loop_test(table, a_malformed_record_is_refused, 0,
                        (int)(sizeof malformed / sizeof *malformed));
    suite_add_tcase(suite, table);
    return check_main(suite);
}
