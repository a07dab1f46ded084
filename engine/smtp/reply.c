#include "engine/smtp/reply.h"

#include <stdio.h>

#include "engine/base/utf8.h"

const char *smtp_phase_name(enum smtp_phase phase)
{
    static const char *const names[] = {
        [SMTP_PHASE_DNS] = "dns",           [SMTP_PHASE_CONNECT] = "connect",
        [SMTP_PHASE_GREETING] = "greeting", [SMTP_PHASE_EHLO] = "ehlo",
        [SMTP_PHASE_STARTTLS] = "starttls", [SMTP_PHASE_TLS] = "tls",
        [SMTP_PHASE_AUTH] = "auth",         [SMTP_PHASE_MAIL] = "mail",
        [SMTP_PHASE_RCPT] = "rcpt",         [SMTP_PHASE_DATA] = "data",
        [SMTP_PHASE_BODY] = "body",         [SMTP_PHASE_DOT] = "dot",
        [SMTP_PHASE_RSET] = "rset",         [SMTP_PHASE_IDLE] = "idle",
        [SMTP_PHASE_QUIT] = "quit",
    };
    assert((size_t)phase < ARRAY_LEN(names));
    return names[phase];
}

struct smtp_reply smtp_reply_local(enum smtp_phase phase, unsigned code,
                                   struct smtp_enhanced enhanced, struct slice text)
{
    assert(code >= 400 && code <= 599);
    assert(enhanced.klass == 0 || enhanced.klass == code / 100);
    return (struct smtp_reply){ .code = (uint16_t)code,
                                .origin = SMTP_LOCAL,
                                .phase = phase,
                                .enhanced = enhanced,
                                .text = text };
}

size_t smtp_reply_format(const struct smtp_reply *reply, char *out, size_t room)
{
    assert(room > 0);
    char head[32];
    const struct smtp_enhanced *enhanced = &reply->enhanced;
    int head_len = enhanced->klass ? snprintf(head, sizeof head, "%03u %u.%u.%u", reply->code,
                                              enhanced->klass, enhanced->subject, enhanced->detail)
                                   : snprintf(head, sizeof head, "%03u", reply->code);
    size_t len = MIN_OF((size_t)head_len, room - 1);
    memcpy(out, head, len);
    if (reply->text.len > 0 && len + 2 < room) {
        out[len++] = ' ';
        struct slice text = slice_head(reply->text, MIN_OF(reply->text.len, room - 1 - len));
        while (text.len > 0 && text.len < reply->text.len &&
               ((unsigned char)reply->text.ptr[text.len] & 0xc0) == 0x80)
            text.len--; /* don't cut a character in two */
        memcpy(out + len, text.ptr, text.len);
        len += text.len;
    }
    out[len] = '\0';
    return len;
}

/* What a terminal, a log viewer or a browser might act on instead of showing it. */
static bool is_control(struct slice character)
{
    const unsigned char *b = (const unsigned char *)character.ptr;
    if (character.len == 1)
        return b[0] < 0x20 || b[0] == 0x7f;
    if (character.len == 2)
        return b[0] == 0xc2 && b[1] < 0xa0; /* C1: U+0080…U+009F */
    if (character.len == 3 && b[0] == 0xe2 && b[1] == 0x80)
        return b[2] == 0x8e || b[2] == 0x8f ||
               (b[2] >= 0xa8 && b[2] <= 0xae); /* U+200E, 200F, 2028…202E */
    if (character.len == 3 && b[0] == 0xe2 && b[1] == 0x81)
        return b[2] >= 0xa6 && b[2] <= 0xa9; /* U+2066…U+2069 */
    return false;
}

void smtp_text_append_clean(struct buf *out, struct slice text)
{
    while (text.len > 0) {
        size_t plain = 0;
        while (plain < text.len && text.ptr[plain] >= 0x20 && text.ptr[plain] < 0x7f)
            plain++;
        buf_append(out, slice_head(text, plain));
        text = slice_skip(text, plain);
        if (text.len == 0)
            return;
        size_t width = utf8_sequence_len(text);
        if (width == 0)
            buf_append(out, SLICE("\xef\xbf\xbd"));
        else if (is_control(slice_head(text, width)))
            buf_append_char(out, '?');
        else
            buf_append(out, slice_head(text, width));
        text = slice_skip(text, width ? width : 1);
    }
}
