#include "bench/blaster/message.h"

#include <stdio.h>

static void digits_put(char *to, unsigned digits, uint64_t value)
{
    for (unsigned i = digits; i > 0; i--) {
        to[i - 1] = (char)('0' + value % 10);
        value /= 10;
    }
}

static bool envelope_init(struct envelope *envelope, const struct blaster_options *options,
                          struct err *err)
{
    char data[64] = "DATA\r\n";
    const char *reset = options->shape == BLASTER_BDAT ? "RSET\r\n" : "";
    if (options->shape == BLASTER_BDAT)
        snprintf(data, sizeof data, "BDAT %zu LAST\r\n", options->size_bytes);
    int head = snprintf(envelope->text, sizeof envelope->text,
                        "%sMAIL FROM:<b@blaster.test>\r\nRCPT TO:<%s", reset, options->prefix);
    int len = head + ENVELOPE_NUMBER_DIGITS + 2 + ENVELOPE_DOMAIN_DIGITS + 8 + (int)strlen(data);
    if (head < 0 || len >= (int)sizeof envelope->text)
        return err_set(err, ERR_USAGE, "the prefix '%s' is too long", options->prefix);
    snprintf(envelope->text + head, sizeof envelope->text - (size_t)head, "%0*d@d%0*d.test>\r\n%s",
             ENVELOPE_NUMBER_DIGITS, 0, ENVELOPE_DOMAIN_DIGITS, 0, data);
    envelope->len = strlen(envelope->text);
    envelope->reset_len = strlen(reset);
    envelope->number_at = (size_t)head;
    envelope->domain_at = (size_t)head + ENVELOPE_NUMBER_DIGITS + 2;
    return true;
}

bool message_template_init(struct message_template *template, const struct blaster_options *options,
                           struct err *err)
{
    static const char head[] =
        "From: <b@blaster.test>\r\nSubject: measured\r\nMIME-Version: 1.0\r\n"
        "Content-Type: text/plain; charset=us-ascii\r\n\r\n";
    static const char line[] =
        "The quick brown fox jumps over the lazy dog and over the lazy dog once more\r\n";
    *template = (struct message_template){ .to_domains = options->to_domains,
                                           .content_bytes = options->size_bytes };
    if (options->size_bytes < sizeof head + 2)
        return err_set(err, ERR_USAGE, "a message has at least %zu bytes", sizeof head + 2);
    buf_append(&template->body, slice_str(head));
    while (template->body.len + sizeof line + 1 < options->size_bytes)
        buf_append(&template->body, slice_str(line));
    while (template->body.len + 2 < options->size_bytes)
        buf_append_char(&template->body, 'x');
    buf_append(&template->body, SLICE("\r\n.\r\n"));
    return envelope_init(&template->envelope, options, err);
}

void message_template_free(struct message_template *template)
{
    buf_free(&template->body);
}

size_t message_envelope(const struct message_template *template, uint64_t number, bool with_reset,
                        char *out)
{
    const struct envelope *envelope = &template->envelope;
    size_t skip = with_reset ? 0 : envelope->reset_len;
    memcpy(out, envelope->text + skip, envelope->len - skip);
    digits_put(out + envelope->number_at - skip, ENVELOPE_NUMBER_DIGITS, number);
    digits_put(out + envelope->domain_at - skip, ENVELOPE_DOMAIN_DIGITS,
               number % template->to_domains);
    return envelope->len - skip;
}
