/* Addresses. One pass for what may stand nowhere (blanks, controls, angle brackets), then the local
 * part from the left: a quoted string may hold an `@`, so the domain begins behind the quoted
 * string or behind the first
 * `@` of a dot-string, never at some `@` that a search from one end happens to meet.
 *
 * Stricter than RFC 5321 where its freedom serves only attackers and typing errors: no blanks even
 * in quoted strings, no `%` routing, no domain that looks like an IPv4 address. */
#include "engine/message/address.h"

#include <idn2.h>

#include "engine/base/utf8.h"

enum {
    LOCAL_BYTES_MAX = 64,
    DOMAIN_BYTES_MAX = 255,
    ADDRESS_BYTES_MAX = 254,
    LABEL_BYTES_MAX = 63
};

/* A character that nobody sees, and that a list gets from a web page or a spreadsheet. */
static bool is_invisible(uint32_t c)
{
    return c < 0xa1 || c == 0xad || c == 0x3000 || c == 0xfeff || (c >= 0x2000 && c <= 0x200f) ||
           (c >= 0x2028 && c <= 0x202f) || (c >= 0x205f && c <= 0x206f);
}

static uint32_t decode(const char *p, size_t width)
{
    const unsigned char *u = (const unsigned char *)p;
    if (width == 2)
        return (u[0] & 0x1fu) << 6 | (u[1] & 0x3fu);
    if (width == 3)
        return (u[0] & 0x0fu) << 12 | (u[1] & 0x3fu) << 6 | (u[2] & 0x3fu);
    return (u[0] & 0x07u) << 18 | (u[1] & 0x3fu) << 12 | (u[2] & 0x3fu) << 6 | (u[3] & 0x3fu);
}

static bool check_bytes(struct slice text, struct err *err)
{
    for (size_t i = 0; i < text.len;) {
        unsigned char c = (unsigned char)text.ptr[i];
        if (LIKELY(c > ' ' && c < 0x7f && c != '<' && c != '>')) {
            i++;
            continue;
        }
        if (c == '\r' || c == '\n')
            return err_set(err, ERR_INPUT, "an address can't have a line break");
        if (c == ' ' || c == '\t')
            return err_set(err, ERR_INPUT, "an address can't have a blank");
        if (c < ' ' || c == 0x7f)
            return err_set(err, ERR_INPUT, "an address can't have a control character (0x%02x)", c);
        if (c < 0x80)
            return err_set(err, ERR_INPUT, "an address can't have '%c'", c);
        size_t width = utf8_sequence_len(slice_skip(text, i));
        if (width == 0)
            return err_set(err, ERR_INPUT, "the address is not valid UTF-8");
        uint32_t point = decode(text.ptr + i, width);
        if (is_invisible(point))
            return err_set(err, ERR_INPUT, "the address has an invisible character (U+%04X)",
                           point);
        i += width;
    }
    return true;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_letter_or_digit(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* Length of the quoted string at the front, quotes included; 0 when it isn't closed. */
static size_t quoted_string_len(struct slice text)
{
    for (size_t i = 1; i < text.len; i++) {
        if (text.ptr[i] == '"')
            return i + 1;
        if (text.ptr[i] == '\\')
            i++;
    }
    return 0;
}

static bool check_dot_string(struct slice local, struct err *err)
{
    bool after_dot = true;
    for (size_t i = 0; i < local.len; i++) {
        char c = local.ptr[i];
        if (c == '.') {
            if (after_dot)
                return err_set(err, ERR_INPUT, "the part before '@' %s",
                               i == 0 ? "begins with a dot" : "has two dots in a row");
            after_dot = true;
            continue;
        }
        after_dot = false;
        if ((unsigned char)c >= 0x80 || is_letter_or_digit(c))
            continue;
        if (c == '%')
            return err_set(err, ERR_INPUT, "routing with '%%' is not supported");
        if (!memchr("!#$&'*+-/=?^_`{|}~", c, 18))
            return err_set(err, ERR_INPUT, "the part before '@' can't have '%c'", c);
    }
    if (after_dot)
        return err_set(err, ERR_INPUT, "the part before '@' ends in a dot");
    return true;
}

static bool split(struct slice text, struct slice *local, struct slice *domain, struct err *err)
{
    if (text.ptr[0] == '"') {
        size_t len = quoted_string_len(text);
        if (len == 0)
            return err_set(err, ERR_INPUT, "the quotation mark before '@' isn't closed");
        if (len == text.len || text.ptr[len] != '@')
            return err_set(err, ERR_INPUT, "no '@' behind the quoted part");
        *local = slice_head(text, len);
        *domain = slice_skip(text, len + 1);
        return true;
    }
    ptrdiff_t at = slice_find(text, '@');
    if (at < 0)
        return err_set(err, ERR_INPUT, "no '@' in the address");
    if (at == 0)
        return err_set(err, ERR_INPUT, "%s",
                       slice_find(text, ':') > 0 ? "source routes are not supported"
                                                 : "nothing before '@'");
    *local = slice_head(text, (size_t)at);
    *domain = slice_skip(text, (size_t)at + 1);
    return check_dot_string(*local, err);
}

static bool check_label(struct slice label, struct err *err)
{
    if (label.len == 0)
        return err_set(err, ERR_INPUT,
                       "the domain has an empty part (two dots, or a dot at an end)");
    if (label.len > LABEL_BYTES_MAX && ascii_only(label))
        return err_set(err, ERR_INPUT, "a part of the domain is longer than %d characters",
                       LABEL_BYTES_MAX);
    if (label.ptr[0] == '-' || label.ptr[label.len - 1] == '-')
        return err_set(err, ERR_INPUT, "a part of the domain begins or ends with '-'");
    for (size_t i = 0; i < label.len; i++) {
        char c = label.ptr[i];
        if (is_letter_or_digit(c) || c == '-' || (unsigned char)c >= 0x80)
            continue;
        if (c == '@')
            return err_set(err, ERR_INPUT, "more than one '@'");
        if (c == ':')
            return err_set(err, ERR_INPUT, "the domain can't have a port");
        return err_set(err, ERR_INPUT, "the domain can't have '%c'", c);
    }
    return true;
}

static bool check_domain(struct slice domain, struct err *err)
{
    if (domain.len == 0)
        return err_set(err, ERR_INPUT, "no domain behind '@'");
    if (domain.ptr[0] == '[')
        return err_set(err, ERR_INPUT, "IP addresses instead of a domain are not supported");
    struct slice rest = domain, label = { 0 };
    for (bool more = true; more;) {
        more = slice_find(rest, '.') >= 0;
        label = slice_cut(&rest, '.');
        if (!check_label(label, err))
            return false;
    }
    bool numeric = true;
    for (size_t i = 0; i < label.len; i++)
        numeric &= is_digit(label.ptr[i]);
    if (numeric)
        return err_set(err, ERR_INPUT, "the domain ends in a number, not in a top-level domain");
    char ascii[256];
    if (!ascii_only(domain) && address_domain_ascii(domain, ascii) == 0)
        return err_set(err, ERR_INPUT, "the domain is not a valid internationalised name");
    return true;
}

bool address_parse(struct slice text, struct address *out, struct err *err)
{
    if (text.len == 0)
        return err_set(err, ERR_INPUT, "the address is empty");
    if (text.len > ADDRESS_BYTES_MAX)
        return err_set(err, ERR_INPUT, "the address is longer than %d bytes", ADDRESS_BYTES_MAX);
    struct slice local, domain;
    if (!check_bytes(text, err) || !split(text, &local, &domain, err))
        return false;
    if (local.len > LOCAL_BYTES_MAX)
        return err_set(err, ERR_INPUT, "the part before '@' is longer than %d bytes",
                       LOCAL_BYTES_MAX);
    if (!check_domain(domain, err))
        return false;
    *out = (struct address){ .local = local, .domain = domain, .utf8 = !ascii_only(local) };
    return true;
}

size_t address_domain_ascii(struct slice domain, char out[256])
{
    if (domain.len == 0 || domain.len > DOMAIN_BYTES_MAX)
        return 0;
    if (ascii_only(domain)) {
        for (size_t i = 0; i < domain.len; i++)
            out[i] = ascii_lower(domain.ptr[i]);
        return domain.len;
    }
    uint8_t input[DOMAIN_BYTES_MAX + 1];
    uint8_t *labels = NULL;
    memcpy(input, domain.ptr, domain.len);
    input[domain.len] = '\0';
    if (idn2_lookup_u8(input, &labels, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL) != IDN2_OK)
        return 0;
    size_t len = strlen((const char *)labels);
    bool ok = len > 0 && len <= DOMAIN_BYTES_MAX;
    /* A mapping may bring back what check_label refuses, such as '@' for its full-width form.
     * Checked here, since libidn2 2.3 with IDN2_USE_STD3_ASCII_RULES drops such a character and
     * makes another domain. */
    for (size_t i = 0; ok && i < len; i++)
        ok = labels[i] == '.' || labels[i] == '-' || is_letter_or_digit((char)labels[i]);
    if (ok)
        memcpy(out, labels, len);
    idn2_free(labels);
    return ok ? len : 0;
}
