#include "dns/name.h"

#include "dns/resolver.h"
#include "tests/support/check_main.h"

#define L63 "abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz0"
#define LONG253                                                                                    \
    L63 "." L63 "." L63 "."                                                                        \
        "abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxy"

static const struct {
    const char *in, *out; /* out NULL: refused */
} names[] = {
    { "example.com", "example.com" },
    { "EXAMPLE.Com", "example.com" },
    { "example.com.", "example.com" },
    { "localhost", "localhost" },
    { "a", "a" },
    { "1.example", "1.example" },
    { "mx_1.example.com", "mx_1.example.com" },
    { "r3---sn.example", "r3---sn.example" },
    { "XN--BCHER-KVA.example", "xn--bcher-kva.example" },
    /* UTS #46, non-transitional */
    { "B\xc3\xbc"
      "cher.Example.",
      "xn--bcher-kva.example" },
    { "bu\xcc\x88"
      "cher.example",
      "xn--bcher-kva.example" }, /* u and a combining diaeresis: NFC */
    { "fa\xc3\x9f.de", "xn--fa-hia.de" },
    { "B\xc3\x9c"
      "CHER.DE",
      "xn--bcher-kva.de" },
    { "\xe4\xbe\x8b\xe3\x81\x88\xe3\x80\x82\xe3\x83\x86\xe3\x82\xb9\xe3\x83\x88",
      "xn--r8jz45g.xn--zckzah" },
    { "\xef\xbd\x85xample.com", "example.com" },        /* a full-width e */
    { "\xef\xbc\x91\xef\xbc\x92\xef\xbc\x97.1", NULL }, /* full-width digits: 127.1 */
    { L63 ".com", L63 ".com" },
    { LONG253, LONG253 },
    { LONG253 ".", LONG253 },
    { LONG253 "z", NULL },
    { L63 "x.com", NULL },
    { "", NULL },
    { ".", NULL },
    { "..", NULL },
    { "example..com", NULL },
    { ".example.com", NULL },
    { "example.com..", NULL },
    { "exa mple.com", NULL },
    { "example.com\r\n", NULL },
    { "example.com/", NULL },
    { "exa\\046mple.com", NULL },
    { "-example.com", NULL },
    { "example-.com", NULL },
    { "*.example.com", NULL },
    { "user@example.com", NULL },
    { "[127.0.0.1]", NULL },
    { "[IPv6:::1]", NULL },
    { "127.0.0.1", NULL },
    { "127.1", NULL },
    { "2130706433", NULL },
    { "0x7f000001", NULL },
    { "0X7F.1", NULL },
    { "127.0x0.0.0x1", NULL },
    { "::1", NULL },
    { "b\xfc"
      "cher.example",
      NULL }, /* Latin-1 */
    { "\xed\xa0\x80.example", NULL },
    { "a\xe2\x80\xae"
      "b.example",
      NULL }, /* right-to-left override */
};

START_TEST(each_name_has_one_form_or_none)
{
    char out[256];
    size_t len = 0;
    bool ok = dns_name_normalise(slice_str(names[_i].in), out, &len);
    ck_assert_msg(ok == (names[_i].out != NULL), "%s", names[_i].in);
    if (!ok)
        return;
    ck_assert_str_eq(out, names[_i].out);
    ck_assert_uint_eq(len, strlen(out));
    ck_assert(dns_name_is_host(slice_of(out, len)));
}
END_TEST

START_TEST(a_nul_inside_a_name_is_refused)
{
    char out[256];
    size_t len = 0;
    ck_assert(!dns_name_normalise(SLICE("evil.example\0.com"), out, &len));
    ck_assert(!dns_name_normalise(SLICE("b\xc3\xbc\0.com"), out, &len));
}
END_TEST

START_TEST(endless_names_are_refused)
{
    static char text[100000];
    char out[256];
    size_t len = 0;
    memset(text, 'a', sizeof text);
    ck_assert(!dns_name_normalise(slice_of(text, sizeof text), out, &len));
    for (size_t i = 0; i + 2 <= sizeof text; i += 2)
        memcpy(text + i, "\xc3\xbc", 2);
    ck_assert(!dns_name_normalise(slice_of(text, sizeof text), out, &len));
}
END_TEST

int main(void)
{
    Suite *suite = SUITE_OF("name", a_nul_inside_a_name_is_refused, endless_names_are_refused);
    TCase *tcase = tcase_create("table");
    tcase_set_timeout(tcase, 0);
    tcase_add_loop_test(tcase, each_name_has_one_form_or_none, 0, (int)ARRAY_LEN(names));
    suite_add_tcase(suite, tcase);
    return check_main(suite);
}
