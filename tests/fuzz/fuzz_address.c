// module: message
/* An address that is accepted holds nothing that could end a command or a header, and is split at
 * the right place. */
#include <stdlib.h>

#include "engine/base/utf8.h"
#include "engine/message/address.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = slice_of(data, size);
    struct address address, again;
    struct err err;
    if (!address_parse(text, &address, &err)) {
        check(err.kind == ERR_INPUT && err.text[0] != '\0');
        return 0;
    }
    check(utf8_valid(text) && text.len <= 254);
    for (size_t i = 0; i < text.len; i++)
        check((unsigned char)text.ptr[i] > ' ' && text.ptr[i] != '<' && text.ptr[i] != '>' &&
              text.ptr[i] != 0x7f);
    check(address.local.len + 1 + address.domain.len == text.len &&
          text.ptr[address.local.len] == '@');
    check(slice_find(address.domain, '@') < 0 && slice_find(address.domain, '"') < 0 &&
          address.domain.len > 0);
    check(address.utf8 != ascii_only(address.local));
    char ascii[256], rebuilt[64 + 1 + 256];
    size_t len = address_domain_ascii(address.domain, ascii);
    check(len > 0);
    memcpy(rebuilt, address.local.ptr, address.local.len);
    rebuilt[address.local.len] = '@';
    memcpy(rebuilt + address.local.len + 1, ascii, len);
    /* A-labels are no address of another domain: what parses again has the same local part. */
    if (address_parse(slice_of(rebuilt, address.local.len + 1 + len), &again, NULL))
        check(slice_eq(again.local, address.local) && slice_eq(again.domain, slice_of(ascii, len)));
    return 0;
}
