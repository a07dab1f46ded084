#include "dns/rpt_record.h"

#include <strings.h>

static struct slice trim(struct slice text)
{
    while (text.len > 0 && (text.ptr[0] == ' ' || text.ptr[0] == '\t'))
        text = slice_skip(text, 1);
    while (text.len > 0 && (text.ptr[text.len - 1] == ' ' || text.ptr[text.len - 1] == '\t'))
        text.len--;
    return text;
}

static bool begins(struct slice text, const char *with)
{
    size_t len = strlen(with);
    return text.len > len && strncasecmp(text.ptr, with, len) == 0;
}

static bool uri_valid(struct slice uri)
{
    for (size_t i = 0; i < uri.len; i++)
        if ((unsigned char)uri.ptr[i] <= ' ' || (unsigned char)uri.ptr[i] >= 0x7f)
            return false;
    return begins(uri, "https://") || begins(uri, "mailto:");
}

bool rpt_record_parse(struct slice text, struct rpt_record *out)
{
    *out = (struct rpt_record){ 0 };
    if (!slice_eq(trim(slice_cut(&text, ';')), SLICE("v=TLSRPTv1")))
        return false;
    while (text.len > 0) {
        struct slice field = trim(slice_cut(&text, ';'));
        if (field.len < 4 || memcmp(field.ptr, "rua=", 4) != 0)
            continue; /* an extension */
        if (out->count > 0)
            return false;
        struct slice list = slice_skip(field, 4);
        while (list.len > 0 && out->count < RPT_URIS_MAX) {
            struct slice uri = trim(slice_cut(&list, ','));
            if (uri_valid(uri))
                out->uris[out->count++] = uri;
        }
    }
    return out->count > 0;
}
