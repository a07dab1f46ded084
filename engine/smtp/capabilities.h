#pragma once
/* What a server said it can do: the keyword lines of its reply to EHLO (RFC 5321, 4.1.1.1). */
#include "engine/base/slice.h"
#include "engine/net/sasl.h"

enum smtp_capability {
    SMTP_CAP_ESMTP = 1 << 0, /* EHLO was accepted */
    SMTP_CAP_PIPELINING = 1 << 1,
    SMTP_CAP_CHUNKING = 1 << 2,
    SMTP_CAP_SIZE = 1 << 3,
    SMTP_CAP_8BITMIME = 1 << 4,
    SMTP_CAP_SMTPUTF8 = 1 << 5,
    SMTP_CAP_STARTTLS = 1 << 6,
    SMTP_CAP_ENHANCEDSTATUSCODES = 1 << 7,
    SMTP_CAP_DSN = 1 << 8,
    SMTP_CAP_BINARYMIME = 1 << 9,
    SMTP_CAP_REQUIRETLS = 1 << 10,
    SMTP_CAP_AUTH = 1 << 11,
};

struct smtp_capabilities {
    unsigned offered;    /* enum smtp_capability, or'ed */
    unsigned mechanisms; /* of AUTH: enum sasl_mechanism as a set, those that we know */
    uint64_t size_limit; /* 0: none announced, or more than 64 bits can hold */
};

/** Adds one keyword line, without code; unknown keywords are ignored, letter case doesn't matter.
 *  Of several SIZE lines the smallest limit counts, of several AUTH lines all mechanisms; "AUTH="
 * of old servers (draft-myers) is understood. Holds no memory, however many lines come. */
void smtp_capabilities_add(struct smtp_capabilities *capabilities, struct slice line);
