#include "dns/name.h"

/* Domains come from recipients' addresses, hosts from MX records. Both end up here, once: mapped by
 * UTS #46 (non-transitional, as browsers and the registries do it), lower-cased, checked. A name in
 * plain ASCII, which is nearly every one, never reaches libidn2: it needs no mapping, and a
 * punycode label that decodes to nothing is the DNS's to refuse. */
#include <idn2.h>
#include <stdlib.h>

#include "dns/resolver.h"
#include "engine/base/utf8.h"

#define DNS_NAME_INPUT_MAX                                                                         \
    1000 /* UTF-8 of any name whose A-labels fit 253 characters, with room for mapping */
#define DNS_LABEL_MAX 63

static bool is_label_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_';
}

static bool is_label(struct slice label)
{
    if (label.len == 0 || label.len > DNS_LABEL_MAX)
        return false;
    for (size_t i = 0; i < label.len; i++)
        if (!is_label_char(label.ptr[i]))
            return false;
    return label.ptr[0] != '-' && label.ptr[label.len - 1] != '-';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_hex(char c)
{
    return is_digit(c) || (ascii_lower(c) >= 'a' && ascii_lower(c) <= 'f');
}

/* What inet_aton() would take for a number: all digits, or 0x and hexadecimal digits. */
static bool is_number(struct slice label)
{
    bool hex = label.len >= 2 && label.ptr[0] == '0' && ascii_lower(label.ptr[1]) == 'x';
    for (size_t i = hex ? 2 : 0; i < label.len; i++)
        if (!(hex ? is_hex(label.ptr[i]) : is_digit(label.ptr[i])))
            return false;
    return true;
}

bool dns_name_is_host(struct slice name)
{
    if (name.len == 0 || name.len > DNS_NAME_MAX || name.ptr[name.len - 1] == '.')
        return false;
    struct slice label = { 0 };
    while (name.len > 0) {
        label = slice_cut(&name, '.');
        if (!is_label(label))
            return false;
    }
    return !is_number(label);
}

static bool finish(struct slice ascii, char out[256], size_t *len)
{
    if (ascii.len > 0 && ascii.ptr[ascii.len - 1] == '.')
        ascii.len--;
    if (!dns_name_is_host(ascii))
        return false;
    for (size_t i = 0; i < ascii.len; i++)
        out[i] = ascii_lower(ascii.ptr[i]);
    out[ascii.len] = '\0';
    *len = ascii.len;
    return true;
}

static bool normalise_idn(struct slice domain, char out[256], size_t *len)
{
    char input[DNS_NAME_INPUT_MAX + 1];
    if (domain.len > DNS_NAME_INPUT_MAX || slice_find(domain, '\0') >= 0 || !utf8_valid(domain))
        return false;
    memcpy(input, domain.ptr, domain.len);
    input[domain.len] = '\0';
    char *ascii = NULL;
    if (idn2_to_ascii_8z(input, &ascii, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL) != IDN2_OK)
        return false;
    bool ok = finish(slice_str(ascii), out, len);
    idn2_free(ascii);
    return ok;
}

bool dns_name_normalise(struct slice domain, char out[256], size_t *len)
{
    return ascii_only(domain) ? finish(domain, out, len) : normalise_idn(domain, out, len);
}
