#pragma once
/* One parser for addresses: at ingest, for the envelope, for routing and output (RELIABILITY 3.5).
 */
#include "engine/base/err.h"
#include "engine/base/slice.h"

struct address {
    struct slice local;  /* as written, quotes included */
    struct slice domain; /* as written, U- or A-labels */
    bool utf8;           /* the local part isn't ASCII: needs SMTPUTF8 */
};

/** Parses `local@domain` (RFC 5321 Mailbox, RFC 6531): dot-string or quoted string, host name; no
 * address literal, source route, port, control characters, blanks or comments. Lengths: local ≤ 64,
 * domain ≤ 255, all ≤ 254. `err` says what is wrong in words for a list's owner. */
MUST_USE bool address_parse(struct slice text, struct address *out, struct err *err);

/** The domain as A-labels (RFC 5891), lower case, into `out` (room for 256 bytes, no NUL); returns
 * its length, 0 when it can't be one. */
size_t address_domain_ascii(struct slice domain, char out[256]);
