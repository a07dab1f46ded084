/* Replies: a table of shapes, each fed whole, byte by byte, and cut in two at every place; limits;
 * texts; formatting. */
#include "engine/smtp/reply.h"

#include <stdlib.h>

#include "engine/base/mem.h"
#include "engine/base/utf8.h"
#include "tests/support/check_main.h"

#define BAD                                                                                        \
    {                                                                                              \
        0, { 0, 0, 0 }, NULL                                                                       \
    }
#define MORE                                                                                       \
    {                                                                                              \
        1, { 0, 0, 0 }, NULL                                                                       \
    }

static const struct shape {
    const char *bytes;
    struct {
        unsigned code; /* 0: refused, 1: not complete */
        struct smtp_enhanced enhanced;
        const char *text;
    } want;
} shapes[] = {
    { "250 ok\r\n", { 250, { 0, 0, 0 }, "ok" } },
    { "250\r\n", { 250, { 0, 0, 0 }, "" } },
    { "250 \r\n", { 250, { 0, 0, 0 }, "" } },
    { "250 ok\n", { 250, { 0, 0, 0 }, "ok" } },
    { "250-one\n250 two\n", { 250, { 0, 0, 0 }, "one / two" } },
    { "250-one\r\n250-two\r\n250 three\r\n", { 250, { 0, 0, 0 }, "one / two / three" } },
    { "250-\r\n250-\r\n250 last\r\n", { 250, { 0, 0, 0 }, "last" } },
    { "250-first\r\n250\r\n", { 250, { 0, 0, 0 }, "first" } },
    { "250-   blanks  \r\n250 \t more\t\r\n", { 250, { 0, 0, 0 }, "blanks / more" } },
    { "354 go ahead\r\n", { 354, { 0, 0, 0 }, "go ahead" } },
    { "200 lowest\r\n", { 200, { 0, 0, 0 }, "lowest" } },
    { "599 highest\r\n", { 599, { 0, 0, 0 }, "highest" } },
    { "250 2.1.5 ok\r\n", { 250, { 2, 1, 5 }, "ok" } },
    { "250 2.0.0\r\n", { 250, { 2, 0, 0 }, "" } },
    { "550 5.1.1 <x@y>: unknown\r\n", { 550, { 5, 1, 1 }, "<x@y>: unknown" } },
    { "550-5.7.1 one\r\n550 5.7.1 two\r\n", { 550, { 5, 7, 1 }, "one / two" } },
    { "550-5.7.1 one\r\n550-two\r\n550 5.7.2 three\r\n",
      { 550, { 5, 7, 1 }, "one / two / three" } },
    { "550-one\r\n550 5.7.26 two\r\n", { 550, { 5, 7, 26 }, "one / two" } },
    { "451 4.7.500 slow down\r\n", { 451, { 4, 7, 500 }, "slow down" } },
    { "250 5.1.1 other class\r\n", { 250, { 0, 0, 0 }, "5.1.1 other class" } },
    { "550 2.0.0 other class\r\n", { 550, { 0, 0, 0 }, "2.0.0 other class" } },
    { "354 3.0.0 no such class\r\n", { 354, { 0, 0, 0 }, "3.0.0 no such class" } },
    { "550 5.1 two numbers\r\n", { 550, { 0, 0, 0 }, "5.1 two numbers" } },
    { "550 5.1.1.1 four numbers\r\n", { 550, { 0, 0, 0 }, "5.1.1.1 four numbers" } },
    { "550 5.1.1x\r\n", { 550, { 0, 0, 0 }, "5.1.1x" } },
    { "550 5.1000.1 too large\r\n", { 550, { 0, 0, 0 }, "5.1000.1 too large" } },
    { "550 5.01.1 leading zero\r\n", { 550, { 0, 0, 0 }, "5.01.1 leading zero" } },
    { "550 5.1.\r\n", { 550, { 0, 0, 0 }, "5.1." } },
    { "550 55.1.1 class of two digits\r\n", { 550, { 0, 0, 0 }, "55.1.1 class of two digits" } },
    { "250 gr\xc3\xbc\xc3\x9f\r\n", { 250, { 0, 0, 0 }, "gr\xc3\xbc\xc3\x9f" } },
    { "250 \xff\xfe raw\r\n", { 250, { 0, 0, 0 }, "\xef\xbf\xbd\xef\xbf\xbd raw" } },
    { "250 a\x1b[31mred\x07\r\n", { 250, { 0, 0, 0 }, "a?[31mred?" } },
    { "250 bare\rreturn\r\n", { 250, { 0, 0, 0 }, "bare?return" } },
    { "250 c1 \xc2\x9b and \xc2\xa0\r\n", { 250, { 0, 0, 0 }, "c1 ? and \xc2\xa0" } },
    { "250 \xe2\x80\xaerevo\xe2\x81\xa6\xe2\x80\xa8\r\n", { 250, { 0, 0, 0 }, "?revo??" } },
    { "250 <script>&\r\n", { 250, { 0, 0, 0 }, "<script>&" } },
    { "", MORE },
    { "2", MORE },
    { "250", MORE },
    { "250 ok", MORE },
    { "250 ok\r", MORE },
    { "250-ok\r\n", MORE },
    { "250-ok\r\n250-", MORE },
    { "25 0 ok\r\n", BAD },
    { "250x\r\n", BAD },
    { "250\tok\r\n", BAD },
    { "2500 ok\r\n", BAD },
    { "\r\n", BAD },
    { "\n", BAD },
    { "ok\r\n", BAD },
    { " 250 ok\r\n", BAD },
    { "-250 ok\r\n", BAD },
    { "+25 ok\r\n", BAD },
    { "199 too low\r\n", BAD },
    { "100 too low\r\n", BAD },
    { "000 too low\r\n", BAD },
    { "600 too high\r\n", BAD },
    { "999 too high\r\n", BAD },
    { "250-one\r\n251 two\r\n", BAD },
    { "250-one\r\n550 two\r\n", BAD },
    { "250-one\r\nGET / HTTP/1.0\r\n", BAD },
    { "250-one\r\n\r\n", BAD },
    { "HTTP/1.1 400 Bad Request\r\n", BAD },
    { "\xef\xbb\xbf"
      "250 behind a mark\r\n",
      BAD },
};

/* Feeds `bytes` in pieces of at most `piece`, the first of them `first` bytes long, and compares.
 */
static void check_shape(const struct shape *shape, struct slice bytes, size_t first, size_t piece)
{
    struct smtp_reply_parser parser;
    smtp_reply_parser_init(&parser, NULL);
    enum smtp_parsed parsed = SMTP_PARSED_MORE;
    struct smtp_reply reply = { 0 };
    struct err err = { 0 };
    size_t size = first;
    while (bytes.len > 0 && parsed == SMTP_PARSED_MORE) {
        /* A copy of the piece on the heap, so that reading past it is seen. */
        size_t n = MIN_OF(size, bytes.len);
        char *copy = mem_alloc(n);
        memcpy(copy, bytes.ptr, n);
        struct slice part = slice_of(copy, n);
        bytes = slice_skip(bytes, n);
        parsed = smtp_reply_parser_feed(&parser, &part, &reply, &err);
        if (parsed == SMTP_PARSED_REPLY) {
            ck_assert_uint_eq(part.len, 0);
            ck_assert_uint_eq(bytes.len, 0);
            ck_assert_msg(slice_eq(reply.text, slice_str(shape->want.text)), "%s: \"%.*s\"",
                          shape->bytes, SLICE_FMT(reply.text));
        }
        free(copy);
        size = piece;
    }
    if (shape->want.code == 0) {
        ck_assert_msg(parsed == SMTP_PARSED_BAD, "%s", shape->bytes);
        ck_assert_uint_eq(err.kind, ERR_PROTO);
        ck_assert(err.text[0] != '\0');
    } else if (shape->want.code == 1) {
        ck_assert_msg(parsed == SMTP_PARSED_MORE, "%s", shape->bytes);
    } else {
        ck_assert_msg(parsed == SMTP_PARSED_REPLY, "%s: %s", shape->bytes, err.text);
        ck_assert_uint_eq(reply.code, shape->want.code);
        ck_assert_uint_eq(reply.origin, SMTP_PEER);
        ck_assert_uint_eq(reply.enhanced.klass, shape->want.enhanced.klass);
        ck_assert_uint_eq(reply.enhanced.subject, shape->want.enhanced.subject);
        ck_assert_uint_eq(reply.enhanced.detail, shape->want.enhanced.detail);
        ck_assert(smtp_reply_parser_idle(&parser));
    }
    smtp_reply_parser_deinit(&parser);
}

START_TEST(each_shape_of_a_reply_has_its_verdict_however_it_is_cut)
{
    const struct shape *shape = &shapes[_i];
    struct slice bytes = slice_str(shape->bytes);
    check_shape(shape, bytes, SIZE_MAX, SIZE_MAX);
    check_shape(shape, bytes, 1, 1);
    for (size_t cut = 1; cut < bytes.len; cut++)
        check_shape(shape, bytes, cut, SIZE_MAX);
}
END_TEST

START_TEST(nul_bytes_are_shown_as_question_marks)
{
    struct shape shape = { "250 a\\0b", { 250, { 0, 0, 0 }, "a?b" } };
    check_shape(&shape, SLICE("250 a\0b\r\n"), SIZE_MAX, SIZE_MAX);
    check_shape(&shape, SLICE("250 a\0b\r\n"), 1, 1);
    struct shape bad = { "25\\0", BAD };
    check_shape(&bad, SLICE("25\0 ok\r\n"), SIZE_MAX, SIZE_MAX);
}
END_TEST

START_TEST(replies_in_one_piece_come_one_by_one)
{
    struct smtp_reply_parser parser;
    smtp_reply_parser_init(&parser, NULL);
    struct slice bytes = SLICE("250 a\r\n550-5.1.1 b\r\n550 c\r\n354 d\r\n25");
    struct smtp_reply reply;
    ck_assert_int_eq(smtp_reply_parser_feed(&parser, &bytes, &reply, NULL), SMTP_PARSED_REPLY);
    ck_assert_uint_eq(reply.code, 250);
    ck_assert_uint_eq(reply.enhanced.klass, 0);
    ck_assert_int_eq(smtp_reply_parser_feed(&parser, &bytes, &reply, NULL), SMTP_PARSED_REPLY);
    ck_assert_uint_eq(reply.code, 550);
    ck_assert(slice_eq(reply.text, SLICE("b / c")));
    ck_assert_int_eq(smtp_reply_parser_feed(&parser, &bytes, &reply, NULL), SMTP_PARSED_REPLY);
    ck_assert_uint_eq(reply.code, 354);
    ck_assert_uint_eq(reply.enhanced.klass, 0);
    ck_assert(slice_eq(reply.text, SLICE("d")));
    ck_assert(smtp_reply_parser_idle(&parser));
    ck_assert_int_eq(smtp_reply_parser_feed(&parser, &bytes, &reply, NULL), SMTP_PARSED_MORE);
    ck_assert(!smtp_reply_parser_idle(&parser));
    ck_assert_uint_eq(bytes.len, 0);
    smtp_reply_parser_deinit(&parser);
}
END_TEST

static enum smtp_parsed feed_text(struct smtp_reply_parser *parser, const char *text,
                                  struct err *err)
{
    struct slice bytes = slice_str(text);
    struct smtp_reply reply;
    return smtp_reply_parser_feed(parser, &bytes, &reply, err);
}

START_TEST(a_line_may_have_its_limit_and_not_a_byte_more)
{
    struct smtp_reply_limits limits = { .line_bytes_max = 20,
                                        .lines_max = 3,
                                        .total_bytes_max = 1000 };
    struct smtp_reply_parser parser;
    struct err err;
    smtp_reply_parser_init(&parser, &limits);
    ck_assert_int_eq(feed_text(&parser, "250 45678901234567\r\n", &err), SMTP_PARSED_REPLY);
    ck_assert_int_eq(feed_text(&parser, "250 456789012345678\r\n", &err), SMTP_PARSED_BAD);
    ck_assert_str_eq(err.text, "reply line longer than 20 bytes");
    smtp_reply_parser_deinit(&parser);
    smtp_reply_parser_init(&parser, &limits);
    ck_assert_int_eq(feed_text(&parser, "250 456789", &err), SMTP_PARSED_MORE);
    ck_assert_int_eq(feed_text(&parser, "01234567\r\n", &err), SMTP_PARSED_REPLY);
    ck_assert_int_eq(feed_text(&parser, "250 456789", &err), SMTP_PARSED_MORE);
    ck_assert_int_eq(feed_text(&parser, "012345678901", &err),
                     SMTP_PARSED_BAD); /* before its end has come */
    smtp_reply_parser_deinit(&parser);
}
END_TEST

START_TEST(a_reply_may_have_its_limit_of_lines_and_not_one_more)
{
    struct smtp_reply_limits limits = { .line_bytes_max = 20,
                                        .lines_max = 3,
                                        .total_bytes_max = 1000 };
    struct smtp_reply_parser parser;
    struct err err;
    smtp_reply_parser_init(&parser, &limits);
    ck_assert_int_eq(feed_text(&parser, "250-\r\n250-\r\n250 \r\n", &err), SMTP_PARSED_REPLY);
    ck_assert_int_eq(feed_text(&parser, "250-\r\n250-\r\n250-\r\n250 \r\n", &err), SMTP_PARSED_BAD);
    ck_assert_str_eq(err.text, "reply of more than 3 lines");
    smtp_reply_parser_deinit(&parser);
}
END_TEST

START_TEST(a_reply_without_end_is_refused_at_its_total_limit)
{
    struct smtp_reply_limits limits = { .line_bytes_max = 4096,
                                        .lines_max = SIZE_MAX,
                                        .total_bytes_max = 65536 };
    struct smtp_reply_parser parser;
    struct err err;
    smtp_reply_parser_init(&parser, &limits);
    enum smtp_parsed parsed = SMTP_PARSED_MORE;
    size_t fed = 0;
    while (parsed == SMTP_PARSED_MORE) {
        parsed = feed_text(&parser, "250-abcdefgh\r\n", &err);
        fed += 14;
    }
    ck_assert_int_eq(parsed, SMTP_PARSED_BAD);
    ck_assert_uint_le(fed, 65536 + 14);
    ck_assert_str_eq(err.text, "reply longer than 65536 bytes");
    ck_assert_uint_le(parser.text.room, 262144);
    smtp_reply_parser_deinit(&parser);
}
END_TEST

START_TEST(an_endless_line_takes_no_more_memory_than_its_limit)
{
    struct smtp_reply_parser parser;
    struct err err;
    smtp_reply_parser_init(&parser, NULL);
    enum smtp_parsed parsed = feed_text(&parser, "220 ", &err);
    while (parsed == SMTP_PARSED_MORE)
        parsed = feed_text(&parser, "0123456789abcdef", &err);
    ck_assert_int_eq(parsed, SMTP_PARSED_BAD);
    ck_assert_uint_le(parser.partial.room, 8192);
    smtp_reply_parser_deinit(&parser);
}
END_TEST

START_TEST(an_idle_parser_holds_no_memory)
{
    struct smtp_reply_parser parser;
    smtp_reply_parser_init(&parser, NULL);
    ck_assert_int_eq(feed_text(&parser, "250 in one piece\r\n", NULL), SMTP_PARSED_REPLY);
    ck_assert_ptr_null(parser.partial.data);
    ck_assert_ptr_null(parser.text.data);
    ck_assert_int_eq(feed_text(&parser, "250-in ", NULL), SMTP_PARSED_MORE);
    smtp_reply_parser_trim(&parser); /* not idle: keeps what it has */
    ck_assert_int_eq(feed_text(&parser, "many\r\n250 pieces\r\n", NULL), SMTP_PARSED_REPLY);
    ck_assert_ptr_nonnull(parser.text.data);
    smtp_reply_parser_trim(&parser);
    ck_assert_ptr_null(parser.partial.data);
    ck_assert_ptr_null(parser.text.data);
    smtp_reply_parser_deinit(&parser);
}
END_TEST

static struct buf seen_lines;

static void note_line(struct smtp_reply_parser *parser, struct slice text, unsigned number)
{
    (void)parser;
    buf_printf(&seen_lines, "%u:%.*s;", number, SLICE_FMT(text));
}

START_TEST(the_line_hook_sees_each_line_without_its_code)
{
    struct smtp_reply_parser parser;
    smtp_reply_parser_init(&parser, NULL);
    parser.line = note_line;
    ck_assert_int_eq(feed_text(&parser, "250-mx.example\r\n250-SIZE / 1\r\n250 DSN\r\n", NULL),
                     SMTP_PARSED_REPLY);
    ck_assert_str_eq(buf_cstr(&seen_lines), "0:mx.example;1:SIZE / 1;2:DSN;");
    buf_free(&seen_lines);
    smtp_reply_parser_deinit(&parser);
}
END_TEST

START_TEST(formatting_gives_code_enhanced_code_and_text)
{
    char out[64];
    struct smtp_reply reply = smtp_reply_local(
        SMTP_PHASE_RCPT, 550, (struct smtp_enhanced){ 5, 1, 1 }, SLICE("user unknown"));
    ck_assert_int_eq(reply.origin, SMTP_LOCAL);
    ck_assert_uint_eq(smtp_reply_format(&reply, out, sizeof out), 22);
    ck_assert_str_eq(out, "550 5.1.1 user unknown");
    reply = smtp_reply_local(SMTP_PHASE_RCPT, 421, (struct smtp_enhanced){ 0 }, SLICE(""));
    ck_assert_uint_eq(smtp_reply_format(&reply, out, sizeof out), 3);
    ck_assert_str_eq(out, "421");
}
END_TEST

START_TEST(formatting_cuts_between_characters)
{
    struct smtp_reply reply = smtp_reply_local(
        SMTP_PHASE_DOT, 550, (struct smtp_enhanced){ 5, 7, 1 }, SLICE("a\xe2\x82\xac\xe2\x82\xac"));
    for (size_t room = 1; room < 32; room++) {
        char *out = mem_alloc(room);
        size_t len = smtp_reply_format(&reply, out, room);
        ck_assert_uint_lt(len, room);
        ck_assert_uint_eq(strlen(out), len);
        ck_assert(utf8_valid(slice_of(out, len)));
        free(out);
    }
}
END_TEST

START_TEST(each_phase_has_a_name)
{
    for (int phase = SMTP_PHASE_DNS; phase <= SMTP_PHASE_QUIT; phase++)
        ck_assert_ptr_nonnull(smtp_phase_name((enum smtp_phase)phase));
    ck_assert_str_eq(smtp_phase_name(SMTP_PHASE_DOT), "dot");
}
END_TEST

int main(void)
{
    Suite *suite = SUITE_OF(
        "reply", nul_bytes_are_shown_as_question_marks, replies_in_one_piece_come_one_by_one,
        a_line_may_have_its_limit_and_not_a_byte_more,
        a_reply_may_have_its_limit_of_lines_and_not_one_more,
        a_reply_without_end_is_refused_at_its_total_limit,
        an_endless_line_takes_no_more_memory_than_its_limit, an_idle_parser_holds_no_memory,
        the_line_hook_sees_each_line_without_its_code, formatting_gives_code_enhanced_code_and_text,
        formatting_cuts_between_characters, each_phase_has_a_name);
    TCase *table = tcase_create("shapes");
    tcase_set_timeout(table, 0);
    tcase_add_loop_test(table, each_shape_of_a_reply_has_its_verdict_however_it_is_cut, 0,
                        (int)ARRAY_LEN(shapes));
    suite_add_tcase(suite, table);
    return check_main(suite);
}
