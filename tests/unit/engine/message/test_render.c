/* Rendering: exact bytes for some messages, and the property that no value gets out of its place.
 * What the messages mean to a reader is judged by Python's `email` in
 * tests/unit/test_message_python.py. */
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/buf.h"
#include "engine/base/rng.h"
#include "engine/message/content.h"
#include "tests/support/check_main.h"

static const struct message_stamp stamp = { 1751373296789, SLICE("job-17"), SLICE("mail.example") };
#define STAMP_HEADERS                                                                              \
    "Date: Tue, 01 Jul 2025 12:34:56 +0000\r\nMessage-ID: <job-17@mail.example>\r\nMIME-Version: " \
    "1.0\r\n"
#define TEXT_HEADERS                                                                               \
    "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: "                       \
    "quoted-printable\r\n\r\n"

static struct message_content *compiled(const char *json)
{
    struct message_content *content;
    struct err err;
    ck_assert_msg(message_content_compile(&content, slice_str(json), NULL, &err), "%s", err.text);
    return content;
}

static void gather(const struct message_output *out, struct buf *into)
{
    buf_clear(into);
    for (unsigned i = 0; i < out->iov_count; i++)
        buf_append(into, slice_of(out->iov[i].iov_base, out->iov[i].iov_len));
    ck_assert_uint_eq(into->len, out->bytes);
}

/* One message with one recipient, freed; `into` gets the bytes or err's text. */
static bool render_once(const char *json, struct slice address, const struct slice *values,
                        size_t count, size_t block_bytes, struct buf *into)
{
    struct message_content *content = compiled(json);
    struct message_blocks *pool = message_blocks_create(block_bytes, 64 << 20);
    struct message_recipient recipient = { address, values, count };
    struct message_output out;
    struct err err;
    bool ok = message_render(content, &recipient, &stamp, MESSAGE_DATA, pool, &out, &err);
    if (ok) {
        gather(&out, into);
        ck_assert_msg(into->len <= message_size_estimate(content, &recipient),
                      "%zu estimated, %zu rendered", message_size_estimate(content, &recipient),
                      into->len);
    } else {
        buf_clear(into);
        buf_append(into, slice_str(err.text));
        ck_assert_int_eq(err.kind, ERR_INPUT);
    }
    message_output_release(&out);
    ck_assert_uint_eq(message_blocks_in_use(pool), 0);
    message_blocks_destroy(&pool);
    message_content_destroy(&content);
    return ok;
}

#define ONE_VALUE_JSON(subject, text)                                                              \
    "{\"headers\": {\"From\": \"S <s@x.example>\", \"Subject\": \"" subject                        \
    "\"}, \"text\": \"" text "\"}"
#define TOP "From: S <s@x.example>\r\n"
#define TO "To: a@x.example\r\n"

static const struct {
    const char *json;
    struct slice value;
    const char *out;
} exact[] = {
    { ONE_VALUE_JSON("Hi {{n}}", "Dear {{n}},\\nbye"), SLICE("Anna"),
      TOP "Subject: Hi Anna\r\n" TO STAMP_HEADERS TEXT_HEADERS "Dear Anna,\r\nbye\r\n" },
    { ONE_VALUE_JSON("{{n}}", "{{n}}"), SLICE(""),
      TOP "Subject:\r\n" TO STAMP_HEADERS TEXT_HEADERS },
    { ONE_VALUE_JSON("{{n}}", "{{n}}\\nend\\n"), SLICE("a \r\nBcc: x@y\n.\n"),
      TOP "Subject: a   Bcc: x@y .\r\n" TO STAMP_HEADERS TEXT_HEADERS
          "a=20\r\nBcc: x@y\r\n=2E\r\n\r\nend\r\n" },
    { ONE_VALUE_JSON("x", "Hello {{n}}\\nend {{n}}"), SLICE(""),
      TOP "Subject: x\r\n" TO STAMP_HEADERS TEXT_HEADERS "Hello =\r\n\r\nend =\r\n\r\n" },
    { ONE_VALUE_JSON("x", "{{n}}rom here\\n{{n}}rom"), SLICE("F"),
      TOP "Subject: x\r\n" TO STAMP_HEADERS TEXT_HEADERS "=46rom here\r\n=46rom\r\n" },
    { ONE_VALUE_JSON("=?utf-8?q?x?=", "x"), SLICE(""),
      TOP "Subject: =?utf-8?b?PT91dGYtOD9xP3g/PQ==?=\r\n" TO STAMP_HEADERS TEXT_HEADERS "x\r\n" },
    { "{\"headers\": {\"From\": \"s@x.example\", \"To\": \"\\\"{{n}}\\\" <{{email}}>, Other "
      "<o@x.example>\", \"Date\": "
      "\"Mon, 1 Jan 2024 00:00:00 +0000\"}, \"text\": \"\"}",
      SLICE("Smith, \"J\" <evil@x>"),
      "From: s@x.example\r\nTo: \"Smith, \\\"J\\\" <evil@x>\" <a@x.example>, Other "
      "<o@x.example>\r\n"
      "Date: Mon, 1 Jan 2024 00:00:00 +0000\r\nMessage-ID: <job-17@mail.example>\r\nMIME-Version: "
      "1.0\r\n" TEXT_HEADERS },
    { "{\"headers\": {\"From\": \"s@x.example\", \"To\": \"undisclosed-recipients:;\", "
      "\"List-Unsubscribe\": "
      "\"<https://x.example/?t={{n}}>\"}, \"text\": \"\"}",
      SLICE("a==?b"),
      "From: s@x.example\r\nTo: undisclosed-recipients:;\r\nList-Unsubscribe: "
      "<https://x.example/?t=a==?b>\r\n" STAMP_HEADERS TEXT_HEADERS },
};

START_TEST(a_message_is_rendered_to_these_bytes)
{
    struct buf into = BUF_EMPTY;
    ck_assert(render_once(exact[_i].json, SLICE("a@x.example"), &exact[_i].value, 1, 0, &into));
    ck_assert_str_eq(buf_cstr(&into), exact[_i].out);
    buf_free(&into);
}
END_TEST

static const struct {
    const char *json;
    struct slice address, value;
    const char *words;
} refused[] = {
    { "{\"headers\": {\"From\": \"{{n}} <s@x.example>\"}, \"text\": \"\"}", SLICE("a@x.example"),
      SLICE("a\r\nBcc: x@y"), "header From: a name with a line break or NUL" },
    { "{\"headers\": {\"From\": \"{{n}} <s@x.example>\"}, \"text\": \"\"}", SLICE("a@x.example"),
      SLICE("a\0"), "header From: a name with a line break or NUL" },
    { "{\"headers\": {\"From\": \"{{n}}@x.example\"}, \"text\": \"\"}", SLICE("a@x.example"),
      SLICE("a\n"), "header From: an address can't have a line break" },
    { "{\"headers\": {\"From\": \"{{n}}\"}, \"text\": \"\"}", SLICE("a@x.example"),
      SLICE("a@b.example, c@d.example"), "header From: an address can't have a blank" },
    { "{\"headers\": {\"From\": \"S <{{n}}>\"}, \"text\": \"\"}", SLICE("a@x.example"),
      SLICE("a@b>,<c@d"), "header From: an address can't have" },
    { "{\"headers\": {\"From\": \"s@x.example\"}, \"text\": \"\"}", SLICE("a@x.example\r\nBcc: b"),
      SLICE(""), "header To: an address can't have a line break" },
    { "{\"headers\": {\"From\": \"s@x.example\", \"List-Id\": \"<{{n}}>\"}, \"text\": \"\"}",
      SLICE("a@x.example"), SLICE("a\r\nb"), "header List-Id: a value that isn't printable ASCII" },
    { "{\"headers\": {\"From\": \"s@x.example\", \"Cc\": \"{{n}}\"}, \"text\": \"\"}",
      SLICE("a@x.example"), SLICE(""), "header Cc: the address is empty" },
};

START_TEST(a_value_that_cant_stand_where_it_is_put_is_refused)
{
    struct buf into = BUF_EMPTY;
    ck_assert(!render_once(refused[_i].json, refused[_i].address, &refused[_i].value, 1, 0, &into));
    ck_assert_msg(strstr(buf_cstr(&into), refused[_i].words) != NULL, "%s", buf_cstr(&into));
    buf_free(&into);
}
END_TEST

/* The rules of the wire, and that header fields and parts are exactly those of the template. */
static void check_wire(struct slice message, unsigned header_fields, unsigned delimiters)
{
    unsigned fields = 0, seen = 0;
    bool in_header = true;
    for (size_t at = 0; at < message.len;) {
        struct slice rest = slice_skip(message, at);
        ptrdiff_t end = slice_find(rest, '\n');
        if (end <= 0 ||
            rest.ptr[end - 1] != '\r') /* libcheck's assertions are too slow for every line */
            ck_abort_msg("a line without CRLF");
        struct slice line = slice_head(rest, (size_t)end - 1);
        if (line.len > (in_header ? 998 : 76) || slice_find(line, '\r') >= 0 ||
            slice_find(line, '\0') >= 0)
            ck_abort_msg("a bad line of %zu: %.*s", line.len, SLICE_FMT(line));
        if (line.len > 0 && (line.ptr[0] == '.' || slice_starts_with(line, SLICE("From "))))
            ck_abort_msg("a line begins badly: %.*s", SLICE_FMT(line));
        if (!in_header && line.len > 0 &&
            (line.ptr[line.len - 1] == ' ' || line.ptr[line.len - 1] == '\t'))
            ck_abort_msg("a line ends in a blank: %.*s", SLICE_FMT(line));
        for (size_t i = 0; i < line.len; i++)
            if ((unsigned char)line.ptr[i] >= 0x80 || (line.ptr[i] < ' ' && line.ptr[i] != '\t'))
                ck_abort_msg("byte 0x%02x", (unsigned char)line.ptr[i]);
        if (in_header && line.len > 0 && line.ptr[0] != ' ')
            fields++;
        in_header = in_header && line.len > 0;
        seen += slice_starts_with(line, SLICE("--=_"));
        at += (size_t)end + 1;
    }
    ck_assert_uint_eq(fields, header_fields);
    ck_assert_uint_eq(seen, delimiters);
}

static uint64_t seed_from_environment(void)
{
    const char *given = getenv("EILPOST_TEST_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 10) : rng_system_seed();
    printf("EILPOST_TEST_SEED=%llu\n", (unsigned long long)seed);
    return seed;
}

static void random_value(struct rng *rng, struct buf *into, size_t bytes_max)
{
    static const struct slice nasty[] = {
        SLICE("\r\n"),
        SLICE("\r"),
        SLICE("\n"),
        SLICE("\0"),
        SLICE("{{"),
        SLICE("}}"),
        SLICE("\r\n.\r\n"),
        SLICE("\n.\n"),
        SLICE("\r.\r"),
        SLICE("."),
        SLICE("From "),
        SLICE("F"),
        SLICE("\r\n\r\n--=_"),
        SLICE("--=_"),
        SLICE("=?utf-8?q?x?="),
        SLICE("=\r\n"),
        SLICE("="),
        SLICE("\""),
        SLICE("<a@b>, "),
        SLICE("\\"),
        SLICE(" "),
        SLICE("        "),
        SLICE("\t"),
        SLICE("\xc3\xbc"),
        SLICE("\xf0\x9f\x8e\x89"),
        SLICE("\xff"),
        SLICE("\xc3"),
        SLICE("\nBcc: x@y.example\n"),
        SLICE("\x7f"),
        SLICE("\xe2\x80\xae"),
        SLICE("word"),
        SLICE("\x1b[0m"),
        SLICE("&"),
        SLICE("</p>"),
    };
    buf_clear(into);
    size_t target = rng_below(rng, 4) ? rng_below(rng, 40) : rng_below(rng, bytes_max);
    while (into->len < target) {
        if (rng_below(rng, 3) == 0) {
            buf_append_char(into, (char)rng_next(rng));
            continue;
        }
        struct slice unit = nasty[rng_below(rng, ARRAY_LEN(nasty))];
        for (uint64_t times = rng_below(rng, 8) ? 1 : rng_below(rng, 120); times > 0; times--)
            buf_append(into, unit);
    }
}

START_TEST(no_value_gets_out_of_its_place)
{
    struct message_content *content =
        compiled("{\"headers\": {\"From\": \"Shop <s@x.example>\", \"Subject\": \"Hi {{a}} and "
                 "{{b}}\", \"X-B\": "
                 "\"{{b}}\"}, \"text\": \"{{a}}.{{b}}\\n{{a}}\\n.{{b}}From {{a}}rom {{b}} \\n\\n "
                 "{{a}}\", \"html\": "
                 "\"<p>{{a}}</p>{{b}}\\n{{a}}\"}");
    struct message_content *single =
        compiled("{\"headers\": {\"From\": \"Shop <s@x.example>\"}, \"html\": "
                 "\"{{b}}{{a}}{{b}}\\n{{a}}{{b}}\"}");
    struct rng rng;
    struct buf a = BUF_EMPTY, b = BUF_EMPTY, into = BUF_EMPTY;
    rng_seed(&rng, seed_from_environment());
    for (int round = 0; round < 4000; round++) {
        random_value(&rng, &a, 3000);
        random_value(&rng, &b, 3000);
        struct slice values[] = { buf_slice(&a), buf_slice(&b) };
        struct message_recipient recipient = { SLICE("a@x.example"), values, 2 };
        struct message_blocks *pool = message_blocks_create(1024 + rng_below(&rng, 8192), 64 << 20);
        struct message_output out;
        struct err err;
        bool both = round % 2;
        if (!message_render(both ? content : single, &recipient, &stamp, MESSAGE_DATA, pool, &out,
                            &err))
            ck_abort_msg("%s", err.text);
        gather(&out, &into);
        check_wire(buf_slice(&into), both ? 8 : 7, both ? 3 : 0);
        if (out.bytes > message_size_estimate(both ? content : single, &recipient))
            ck_abort_msg("estimated too low");
        message_output_release(&out);
        message_blocks_destroy(&pool);
    }
    message_content_destroy(&content);
    message_content_destroy(&single);
    buf_free(&a);
    buf_free(&b);
    buf_free(&into);
}
END_TEST

START_TEST(no_name_gets_out_of_its_mailbox)
{
    struct message_content *content =
        compiled("{\"headers\": {\"From\": \"Shop <s@x.example>\", \"To\": \"{{a}} <{{email}}>, "
                 "\\\"x {{b}}\\\" <t@x.example>\"},"
                 "\"text\": \"\"}");
    struct rng rng;
    struct buf a = BUF_EMPTY, b = BUF_EMPTY, into = BUF_EMPTY;
    unsigned accepted = 0;
    rng_seed(&rng, seed_from_environment());
    for (int round = 0; round < 4000; round++) {
        random_value(&rng, &a, 300);
        random_value(&rng, &b, 300);
        if (round % 4)
            for (size_t i = 0; i < a.len + b.len; i++) { /* refused otherwise */
                char *c = i < a.len ? &a.data[i] : &b.data[i - a.len];
                *c = *c == '\r' || *c == '\n' || *c == '\0' ? ',' : *c;
            }
        struct slice values[] = { buf_slice(&a), buf_slice(&b) };
        struct message_recipient recipient = { SLICE("a@x.example"), values, 2 };
        struct message_blocks *pool = message_blocks_create(4096, 64 << 20);
        struct message_output out;
        struct err err;
        if (message_render(content, &recipient, &stamp, MESSAGE_DATA, pool, &out, &err)) {
            accepted++;
            gather(&out, &into);
            check_wire(buf_slice(&into), 7, 0);
        }
        message_output_release(&out);
        message_blocks_destroy(&pool);
    }
    ck_assert_uint_gt(accepted, 2500);
    message_content_destroy(&content);
    buf_free(&a);
    buf_free(&b);
    buf_free(&into);
}
END_TEST

START_TEST(values_of_a_mebibyte_are_rendered_or_refused)
{
    static const struct slice units[] = { SLICE("a"),   SLICE("\xff"), SLICE("\r"),
                                          SLICE(".\n"), SLICE("a b "), SLICE("\0") };
    for (size_t u = 0; u < ARRAY_LEN(units); u++) {
        struct buf value = BUF_EMPTY, into = BUF_EMPTY;
        while (value.len < 1 << 20)
            buf_append(&value, units[u]);
        struct slice values = buf_slice(&value);
        ck_assert(render_once("{\"headers\": {\"From\": \"s@x.example\"}, \"text\": \"x{{n}}y\", "
                              "\"html\": \"{{n}}\"}",
                              SLICE("a@x.example"), &values, 1, 1024, &into));
        check_wire(buf_slice(&into), 6, 3);
        ck_assert(
            !render_once(ONE_VALUE_JSON("{{n}}", ""), SLICE("a@x.example"), &values, 1, 0, &into));
        ck_assert(strstr(buf_cstr(&into), "header Subject would be longer than 16384 bytes"));
        buf_free(&value);
        buf_free(&into);
    }
}
END_TEST

START_TEST(a_pool_that_is_exhausted_says_try_later_and_one_that_is_too_small_says_so)
{
    struct message_content *content = compiled(ONE_VALUE_JSON("x", "{{n}}"));
    struct message_blocks *pool = message_blocks_create(1024, 4096);
    struct message_output outs[4], out;
    struct message_recipient recipient = { SLICE("a@x.example"), NULL, 0 };
    struct err err;
    for (size_t i = 0; i < ARRAY_LEN(outs); i++)
        ck_assert(message_render(content, &recipient, &stamp, MESSAGE_DATA, pool, &outs[i], &err));
    ck_assert_uint_eq(message_blocks_in_use(pool), 4096);
    ck_assert(!message_render(content, &recipient, &stamp, MESSAGE_DATA, pool, &out, &err));
    ck_assert_int_eq(err.kind, ERR_LIMIT);
    message_output_release(&out);
    message_output_release(&outs[1]);
    ck_assert(message_render(content, &recipient, &stamp, MESSAGE_DATA, pool, &outs[1], &err));
    for (size_t i = 0; i < ARRAY_LEN(outs); i++)
        message_output_release(&outs[i]);
    char *much = calloc(1, 10000);
    struct slice value = slice_of(memset(much, 'x', 10000), 10000);
    recipient = (struct message_recipient){ SLICE("a@x.example"), &value, 1 };
    ck_assert(!message_render(content, &recipient, &stamp, MESSAGE_DATA, pool, &out, &err));
    ck_assert_int_eq(err.kind, ERR_INPUT);
    ck_assert_uint_eq(message_blocks_in_use(pool), 0);
    free(much);
    message_blocks_destroy(&pool);
    message_content_destroy(&content);
}
END_TEST

START_TEST(long_static_runs_are_not_copied)
{
    struct buf json = BUF_EMPTY, into = BUF_EMPTY;
    buf_append(&json, SLICE("{\"headers\": {\"From\": \"s@x.example\"}, \"text\": \"Hi {{n}}\\n"));
    for (int i = 0; i < 20000; i++)
        buf_append(&json, SLICE("some words "));
    buf_append(&json, SLICE("{{n}}\"}"));
    struct message_content *content = compiled(buf_cstr(&json));
    struct message_blocks *pool = message_blocks_create(4096, 1 << 20);
    struct slice value = SLICE("Anna");
    struct message_recipient recipient = { SLICE("a@x.example"), &value, 1 };
    struct message_output out;
    struct err err;
    ck_assert(message_render(content, &recipient, &stamp, MESSAGE_DATA, pool, &out, &err));
    ck_assert_uint_eq(out.iov_count, 3);
    ck_assert_uint_eq(message_blocks_in_use(pool), 4096);
    gather(&out, &into);
    check_wire(buf_slice(&into), 7, 0);
    message_output_release(&out);
    message_blocks_destroy(&pool);
    message_content_destroy(&content);
    buf_free(&json);
    buf_free(&into);
}
END_TEST

START_TEST(every_recipient_and_every_retry_gets_the_same_bytes_from_the_same_stamp)
{
    struct message_content *content = compiled(
        "{\"headers\": {\"From\": \"s@x.example\"}, \"text\": \"{{n}}\", \"html\": \"{{n}}\"}");
    struct message_blocks *pool = message_blocks_create(0, 0);
    struct message_recipient recipient = { SLICE("a@x.example"), NULL, 0 };
    struct message_output first, second;
    struct buf a = BUF_EMPTY, b = BUF_EMPTY;
    struct err err;
    ck_assert(message_render(content, &recipient, &stamp, MESSAGE_DATA, pool, &first, &err));
    ck_assert(message_render(content, &recipient, &stamp, MESSAGE_CHUNK, pool, &second, &err));
    gather(&first, &a);
    gather(&second, &b);
    ck_assert(slice_eq(buf_slice(&a), buf_slice(&b)));
    message_output_release(&first);
    message_output_release(&second);
    message_blocks_destroy(&pool);
    message_content_destroy(&content);
    buf_free(&a);
    buf_free(&b);
}
END_TEST

START_TEST(a_stamp_that_would_break_the_header_is_refused)
{
    static const struct slice ids[] = { SLICE(""), SLICE("a b"), SLICE("a>\r\nBcc: x"),
                                        SLICE("a@b") };
    struct message_content *content = compiled(ONE_VALUE_JSON("x", ""));
    struct message_blocks *pool = message_blocks_create(0, 0);
    struct message_recipient recipient = { SLICE("a@x.example"), NULL, 0 };
    struct message_output out;
    struct err err;
    for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
        struct message_stamp bad = { 0, ids[i], SLICE("x.example") };
        ck_assert(!message_render(content, &recipient, &bad, MESSAGE_DATA, pool, &out, &err));
        bad = (struct message_stamp){ 0, SLICE("1"), ids[i] };
        ck_assert(!message_render(content, &recipient, &bad, MESSAGE_DATA, pool, &out, &err));
    }
    message_blocks_destroy(&pool);
    message_content_destroy(&content);
}
END_TEST

START_TEST(smtputf8_is_needed_for_local_parts_only)
{
    static const struct {
        const char *to;
        struct slice address, value;
        bool needed;
    } cases[] = {
        { "{{n}} <{{email}}>", SLICE("a@x.example"), SLICE("J\xc3\xb6rg"), false },
        { "{{email}}", SLICE("j\xc3\xb6@x.example"), SLICE(""), true },
        { "{{email}}", SLICE("a@b\xc3\xbc.example"), SLICE(""), false },
        { "{{n}}", SLICE("a@x.example"), SLICE("j\xc3\xb6@x.example"), true },
        { "{{n}}@x.example", SLICE("a@x.example"), SLICE("j\xc3\xb6"), true },
        { "x@{{n}}", SLICE("a@x.example"), SLICE("b\xc3\xbc.example"), false },
        { "j\xc3\xb6@x.example", SLICE("a@x.example"), SLICE(""), true },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf json = BUF_EMPTY;
        struct err err;
        struct message_content *content;
        buf_printf(&json,
                   "{\"headers\": {\"From\": \"s@x.example\", \"To\": \"%s\"}, \"text\": \"\"}",
                   cases[i].to);
        ck_assert_msg(message_content_compile(&content, buf_slice(&json), NULL, &err), "%s",
                      err.text);
        struct message_recipient recipient = { cases[i].address, &cases[i].value, 1 };
        ck_assert_msg(message_needs_smtputf8(content, &recipient) == cases[i].needed, "case %zu",
                      i);
        ck_assert(!message_is_8bit(content));
        message_content_destroy(&content);
        buf_free(&json);
    }
}
END_TEST

static const struct {
    int64_t ms;
    const char *date;
} dates[] = {
    { 0, "Thu, 01 Jan 1970 00:00:00" },
    { -5, "Thu, 01 Jan 1970 00:00:00" },
    { 951782400000, "Tue, 29 Feb 2000 00:00:00" },
    { 951868800000, "Wed, 01 Mar 2000 00:00:00" },
    { 1735689599999, "Tue, 31 Dec 2024 23:59:59" },
    { 4107542400000, "Mon, 01 Mar 2100 00:00:00" },
    { INT64_MAX, "Fri, 31 Dec 9999 23:59:59" },
};

START_TEST(dates_are_right)
{
    struct message_content *content = compiled(ONE_VALUE_JSON("x", ""));
    struct message_blocks *pool = message_blocks_create(0, 0);
    struct message_recipient recipient = { SLICE("a@x.example"), NULL, 0 };
    struct message_stamp at = { dates[_i].ms, SLICE("1"), SLICE("x.example") };
    struct message_output out;
    struct err err;
    struct buf into = BUF_EMPTY;
    ck_assert(message_render(content, &recipient, &at, MESSAGE_DATA, pool, &out, &err));
    gather(&out, &into);
    ck_assert_msg(strstr(buf_cstr(&into), dates[_i].date) != NULL, "%s", buf_cstr(&into));
    message_output_release(&out);
    message_blocks_destroy(&pool);
    message_content_destroy(&content);
    buf_free(&into);
}
END_TEST

int main(void)
{
    Suite *suite = SUITE_OF(
        "render", no_value_gets_out_of_its_place, no_name_gets_out_of_its_mailbox,
        values_of_a_mebibyte_are_rendered_or_refused,
        a_pool_that_is_exhausted_says_try_later_and_one_that_is_too_small_says_so,
        long_static_runs_are_not_copied,
        every_recipient_and_every_retry_gets_the_same_bytes_from_the_same_stamp,
        a_stamp_that_would_break_the_header_is_refused, smtputf8_is_needed_for_local_parts_only);
    TCase *table = tcase_create("tables");
    tcase_set_timeout(table, 0);
    tcase_add_loop_test(table, a_message_is_rendered_to_these_bytes, 0, ARRAY_LEN(exact));
    tcase_add_loop_test(table, a_value_that_cant_stand_where_it_is_put_is_refused, 0,
                        ARRAY_LEN(refused));
    tcase_add_loop_test(table, dates_are_right, 0, ARRAY_LEN(dates));
    suite_add_tcase(suite, table);
    return check_main(suite);
}
