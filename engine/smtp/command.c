#include "engine/smtp/command.h"

#include "engine/net/sasl.h"

/* One check of the room per command, then copies: commands are written for each message. */
static char *put(char *at, struct slice bytes)
{
    memcpy(at, bytes.ptr, bytes.len);
    return at + bytes.len;
}

static char *put_number(char *at, uint64_t value)
{
    char digits[20];
    size_t first = sizeof digits;
    do {
        digits[--first] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    return put(at, slice_of(digits + first, sizeof digits - first));
}

static char *start(struct buf *out, size_t bytes_max)
{
    char *at = buf_reserve(out, bytes_max);
    assert(at);
    return at;
}

static void finish(struct buf *out, char *end)
{
    buf_grow(out, (size_t)(end - (out->data + out->start + out->len)));
}

/* No control characters, and brackets only where a quoted string holds them. */
static void assert_safe_path(struct slice path)
{
    bool quoted = false;
    for (size_t i = 0; i < path.len; i++) {
        unsigned char c = (unsigned char)path.ptr[i];
        assert(c >= 0x20 && c != 0x7f);
        if (quoted && c == '\\' && i + 1 < path.len) {
            assert((unsigned char)path.ptr[i + 1] >= 0x20);
            i++;
        } else if (c == '"') {
            quoted = !quoted;
        }
        assert(quoted || (c != '<' && c != '>' && c != ' '));
    }
    assert(!quoted);
}

void smtp_command_plain(struct buf *out, struct slice verb)
{
    char *at = start(out, verb.len + 2);
    at = put(at, verb);
    finish(out, put(at, SLICE("\r\n")));
}

void smtp_command_hello(struct buf *out, struct slice verb, const char *name)
{
    struct slice host = slice_str(name);
    for (size_t i = 0; i < host.len; i++)
        assert(host.ptr[i] > 0x20 && host.ptr[i] < 0x7f);
    char *at = start(out, verb.len + 1 + host.len + 2);
    at = put(put(at, verb), SLICE(" "));
    at = put(at, host);
    finish(out, put(at, SLICE("\r\n")));
}

void smtp_command_auth(struct buf *out, const char *mechanism, const struct slice *initial)
{
    buf_append(out, SLICE("AUTH "));
    buf_append(out, slice_str(mechanism));
    if (initial) {
        buf_append_char(out, ' ');
        if (initial->len > 0)
            sasl_encode(out, *initial);
        else
            buf_append_char(out, '=');
    }
    buf_append(out, SLICE("\r\n"));
}

void smtp_command_response(struct buf *out, struct slice response)
{
    sasl_encode(out, response);
    buf_append(out, SLICE("\r\n"));
}

void smtp_command_mail(struct buf *out, struct slice sender,
                       const struct smtp_mail_parameters *parameters)
{
    assert_safe_path(sender);
    char *at = start(out, sender.len + 100);
    at = put(at, SLICE("MAIL FROM:<"));
    at = put(at, sender);
    at = put(at, SLICE(">"));
    if (parameters->size > 0)
        at = put_number(put(at, SLICE(" SIZE=")), parameters->size);
    if (parameters->body_8bit)
        at = put(at, SLICE(" BODY=8BITMIME"));
    if (parameters->smtputf8)
        at = put(at, SLICE(" SMTPUTF8"));
    if (parameters->requiretls)
        at = put(at, SLICE(" REQUIRETLS"));
    finish(out, put(at, SLICE("\r\n")));
}

void smtp_command_rcpt(struct buf *out, struct slice address)
{
    assert_safe_path(address);
    assert(address.len > 0);
    char *at = start(out, address.len + 16);
    at = put(at, SLICE("RCPT TO:<"));
    at = put(at, address);
    finish(out, put(at, SLICE(">\r\n")));
}

void smtp_command_bdat(struct buf *out, size_t bytes, bool last)
{
    char *at = start(out, 40);
    at = put_number(put(at, SLICE("BDAT ")), bytes);
    finish(out, put(at, last ? SLICE(" LAST\r\n") : SLICE("\r\n")));
}
