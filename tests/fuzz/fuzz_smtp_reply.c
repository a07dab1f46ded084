// module: smtp
/* However the bytes are cut, the parser sees the same replies; what it shows is printable UTF-8,
 * within its limits. */
#include <stdlib.h>

#include "engine/base/mem.h"
#include "engine/base/utf8.h"
#include "engine/smtp/reply.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct smtp_reply_limits limits = { .line_bytes_max = 512,
                                                 .lines_max = 16,
                                                 .total_bytes_max = 2048 };

static void check(bool ok)
{
    if (!ok)
        abort();
}

static void check_text(struct slice text)
{
    check(utf8_valid(text));
    check(text.len <= 3 * limits.total_bytes_max);
    for (size_t i = 0; i < text.len; i++)
        check((unsigned char)text.ptr[i] >= 0x20 && text.ptr[i] != 0x7f);
}

static void check_format(const struct smtp_reply *reply)
{
    char out[64];
    size_t len = smtp_reply_format(reply, out, sizeof out);
    check(len < sizeof out && out[len] == '\0' && utf8_valid(slice_of(out, len)));
}

/* Writes down all replies and the end. */
static void parse(struct slice bytes, size_t piece, struct buf *seen)
{
    struct smtp_reply_parser parser;
    smtp_reply_parser_init(&parser, &limits);
    enum smtp_parsed parsed = SMTP_PARSED_MORE;
    while (bytes.len > 0 && parsed != SMTP_PARSED_BAD) {
        /* On the heap, so that a read past its end is seen. */
        size_t n = MIN_OF(piece, bytes.len);
        char *copy = mem_alloc(n);
        memcpy(copy, bytes.ptr, n);
        bytes = slice_skip(bytes, n);
        struct slice part = slice_of(copy, n);
        do {
            struct smtp_reply reply;
            struct err err;
            parsed = smtp_reply_parser_feed(&parser, &part, &reply, &err);
            if (parsed == SMTP_PARSED_BAD) {
                check(err.kind == ERR_PROTO);
                buf_append(seen, SLICE("bad"));
            } else if (parsed == SMTP_PARSED_REPLY) {
                check(reply.code >= 200 && reply.code <= 599);
                check(reply.enhanced.klass == 0 || reply.enhanced.klass == reply.code / 100);
                check_text(reply.text);
                check_format(&reply);
                buf_printf(seen, "%u %u.%u.%u ", reply.code, reply.enhanced.klass,
                           reply.enhanced.subject, reply.enhanced.detail);
                buf_append(seen, reply.text);
                buf_append_char(seen, '\n');
            }
        } while (parsed == SMTP_PARSED_REPLY && part.len > 0);
        free(copy);
    }
    if (parsed != SMTP_PARSED_BAD)
        buf_printf(seen, "%s", smtp_reply_parser_idle(&parser) ? "idle" : "more");
    smtp_reply_parser_deinit(&parser);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf whole = BUF_EMPTY, cut = BUF_EMPTY;
    struct slice bytes = slice_of(data, size);
    parse(bytes, SIZE_MAX, &whole);
    static const size_t pieces[] = { 1, 3, 17 };
    for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
        buf_clear(&cut);
        parse(bytes, pieces[i], &cut);
        check(slice_eq(buf_slice(&whole), buf_slice(&cut)));
    }
    buf_free(&whole);
    buf_free(&cut);
    return 0;
}
