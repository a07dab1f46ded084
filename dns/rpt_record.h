#pragma once
/* The TXT record of _smtp._tls.DOMAIN (RFC 8460, 3): where reports about TLS to the domain go. */
#include "engine/base/slice.h"

#define RPT_URIS_MAX 8 /* more are ignored */

struct rpt_record {
    unsigned count;
    struct slice uris[RPT_URIS_MAX]; /* "mailto:…" or "https://…", within the text; in order */
};

/** Reads one TXT record. False: it isn't one, or has no address that could be used. Any bytes are
 * allowed; what it takes has no blanks and no control characters. */
bool rpt_record_parse(struct slice text, struct rpt_record *out);
