#include "engine/smtp/capabilities.h"

static const struct {
    struct slice name;
    enum smtp_capability capability;
} keywords[] = {
    { { "PIPELINING", 10 }, SMTP_CAP_PIPELINING },
    { { "CHUNKING", 8 }, SMTP_CAP_CHUNKING },
    { { "SIZE", 4 }, SMTP_CAP_SIZE },
    { { "8BITMIME", 8 }, SMTP_CAP_8BITMIME },
    { { "SMTPUTF8", 8 }, SMTP_CAP_SMTPUTF8 },
    { { "STARTTLS", 8 }, SMTP_CAP_STARTTLS },
    { { "ENHANCEDSTATUSCODES", 19 }, SMTP_CAP_ENHANCEDSTATUSCODES },
    { { "DSN", 3 }, SMTP_CAP_DSN },
    { { "BINARYMIME", 10 }, SMTP_CAP_BINARYMIME },
    { { "REQUIRETLS", 10 }, SMTP_CAP_REQUIRETLS },
    { { "AUTH", 4 }, SMTP_CAP_AUTH },
};

void smtp_capabilities_add(struct smtp_capabilities *capabilities, struct slice line)
{
    struct slice rest = slice_trim(line);
    bool old_auth = slice_starts_with_nocase(rest, SLICE("AUTH="));
    struct slice keyword = slice_cut(&rest, old_auth ? '=' : ' ');
    for (size_t i = 0; i < ARRAY_LEN(keywords); i++) {
        if (!slice_eq_nocase(keyword, keywords[i].name))
            continue;
        capabilities->offered |= keywords[i].capability;
        if (keywords[i].capability == SMTP_CAP_AUTH)
            capabilities->mechanisms |= sasl_set_parse(rest);
        uint64_t limit = 0;
        if (keywords[i].capability == SMTP_CAP_SIZE && slice_to_u64(slice_trim(rest), &limit) &&
            limit > 0 && (capabilities->size_limit == 0 || limit < capabilities->size_limit))
            capabilities->size_limit = limit;
        return;
    }
}
