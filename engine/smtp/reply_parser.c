/* The reply parser. One line that arrives whole and is plain ASCII (nearly every reply there is) is
 * shown in place, without a copy; only lines split over pieces, and replies of several lines, go
 * through a buffer. */
#include "engine/smtp/reply.h"

const struct smtp_reply_limits smtp_reply_limits_default = {
    .line_bytes_max = 4096,
    .lines_max = 128,
    .total_bytes_max = 65536,
};

void smtp_reply_parser_init(struct smtp_reply_parser *parser,
                            const struct smtp_reply_limits *limits)
{
    *parser = (struct smtp_reply_parser){ .limits = limits ? limits : &smtp_reply_limits_default };
}

bool smtp_reply_parser_idle(const struct smtp_reply_parser *parser)
{
    return parser->lines == 0 && parser->partial.len == 0;
}

void smtp_reply_parser_trim(struct smtp_reply_parser *parser)
{
    if (!smtp_reply_parser_idle(parser) || (!parser->partial.data && !parser->text.data))
        return;
    buf_free(&parser->partial);
    buf_free(&parser->text);
}

void smtp_reply_parser_deinit(struct smtp_reply_parser *parser)
{
    buf_free(&parser->partial);
    buf_free(&parser->text);
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* One number of an enhanced code: one to three digits without leading zeros (RFC 3463, 2). */
static bool take_number(struct slice *text, uint16_t *out)
{
    size_t digits = 0;
    unsigned value = 0;
    while (digits < text->len && digits < 4 && is_digit(text->ptr[digits]))
        value = value * 10 + (unsigned)(text->ptr[digits++] - '0');
    if (digits == 0 || digits > 3 || (digits > 1 && text->ptr[0] == '0'))
        return false;
    *text = slice_skip(*text, digits);
    *out = (uint16_t)value;
    return true;
}

static bool take_char(struct slice *text, char c)
{
    if (text->len == 0 || text->ptr[0] != c)
        return false;
    *text = slice_skip(*text, 1);
    return true;
}

/* Takes "5.1.1 " off the front of a line's text, if it is there and its class is that of the code.
 */
static void take_enhanced(struct slice *text, unsigned code, struct smtp_enhanced *out)
{
    struct slice rest = *text;
    struct smtp_enhanced enhanced = { .klass = (uint8_t)(code / 100) };
    if (enhanced.klass == 3 || !take_char(&rest, (char)('0' + enhanced.klass)) ||
        !take_char(&rest, '.') || !take_number(&rest, &enhanced.subject) ||
        !take_char(&rest, '.') || !take_number(&rest, &enhanced.detail))
        return;
    if (rest.len > 0 && rest.ptr[0] != ' ' && rest.ptr[0] != '\t')
        return;
    *text = slice_trim(rest);
    if (out->klass == 0)
        *out = enhanced;
}

/* Splits a line (without its end) into code, last or not, text. */
static bool split_line(struct slice line, unsigned *code, bool *last, struct slice *text,
                       struct err *err)
{
    if (!slice_take_digits(&line, 3, code) || *code < 200 || *code > 599)
        return err_set(err, ERR_PROTO, "reply line without a valid code");
    if (line.len > 0 && line.ptr[0] != ' ' && line.ptr[0] != '-')
        return err_set(err, ERR_PROTO, "reply code %u without a separator", *code);
    *last = line.len == 0 || line.ptr[0] == ' ';
    *text = line.len > 0 ? slice_skip(line, 1) : line;
    return true;
}

static bool is_plain(struct slice text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.ptr[i] < 0x20 || text.ptr[i] >= 0x7f)
            return false;
    return true;
}

static void add_text(struct smtp_reply_parser *parser, struct slice text)
{
    if (text.len == 0)
        return;
    if (parser->text.len > 0)
        buf_append(&parser->text, SLICE(" / "));
    smtp_text_append_clean(&parser->text, text);
}

static void show_reply(struct smtp_reply_parser *parser, struct slice text,
                       struct smtp_reply *reply)
{
    if (parser->lines == 1 && is_plain(text)) {
        reply->text = text;
    } else {
        add_text(parser, text);
        reply->text = buf_slice(&parser->text);
    }
    reply->code = parser->code;
    reply->origin = SMTP_PEER;
    reply->enhanced = parser->enhanced;
    /* Emptied, not freed: the text just shown stays until the next call. */
    buf_clear(&parser->partial);
    buf_clear(&parser->text);
    parser->bytes = 0;
    parser->lines = 0;
    parser->enhanced = (struct smtp_enhanced){ 0 };
}

/* One line, its end cut off. */
static enum smtp_parsed take_line(struct smtp_reply_parser *parser, struct slice line,
                                  struct smtp_reply *reply, struct err *err)
{
    unsigned code = 0;
    bool last = false;
    struct slice text;
    if (!split_line(line, &code, &last, &text, err))
        return SMTP_PARSED_BAD;
    if (parser->lines > 0 && code != parser->code) {
        err_set(err, ERR_PROTO, "reply with codes %u and %u", parser->code, code);
        return SMTP_PARSED_BAD;
    }
    if (parser->lines >= parser->limits->lines_max) {
        err_set(err, ERR_PROTO, "reply of more than %zu lines", parser->limits->lines_max);
        return SMTP_PARSED_BAD;
    }
    if (parser->line)
        parser->line(parser, text, parser->lines);
    parser->lines++;
    parser->code = (uint16_t)code;
    text = slice_trim(text);
    take_enhanced(&text, code, &parser->enhanced);
    if (last) {
        show_reply(parser, text, reply);
        return SMTP_PARSED_REPLY;
    }
    add_text(parser, text);
    buf_clear(&parser->partial);
    return SMTP_PARSED_MORE;
}

enum smtp_parsed smtp_reply_parser_feed(struct smtp_reply_parser *parser, struct slice *bytes,
                                        struct smtp_reply *reply, struct err *err)
{
    while (bytes->len > 0) {
        ptrdiff_t newline = slice_find(*bytes, '\n');
        struct slice piece = newline < 0 ? *bytes : slice_head(*bytes, (size_t)newline + 1);
        if (parser->partial.len + piece.len > parser->limits->line_bytes_max) {
            err_set(err, ERR_PROTO, "reply line longer than %zu bytes",
                    parser->limits->line_bytes_max);
            return SMTP_PARSED_BAD;
        }
        parser->bytes += piece.len;
        if (parser->bytes > parser->limits->total_bytes_max) {
            err_set(err, ERR_PROTO, "reply longer than %zu bytes", parser->limits->total_bytes_max);
            return SMTP_PARSED_BAD;
        }
        *bytes = slice_skip(*bytes, piece.len);
        if (newline < 0 || parser->partial.len > 0)
            buf_append(&parser->partial, piece);
        if (newline < 0)
            return SMTP_PARSED_MORE;
        struct slice line = parser->partial.len > 0 ? buf_slice(&parser->partial) : piece;
        line.len--;
        if (line.len > 0 && line.ptr[line.len - 1] == '\r')
            line.len--;
        enum smtp_parsed parsed = take_line(parser, line, reply, err);
        if (parsed != SMTP_PARSED_MORE)
            return parsed;
    }
    return SMTP_PARSED_MORE;
}
