#pragma once
/* What TLS reports are made of (RFC 8460): the sessions of a node's workers, counted until they're
 * taken to Redis. Threads: any. */
#include "engine/base/slice.h"

struct tls_tally;

struct tls_tally_row {
    int64_t day; /* UTC, since 1970 */
    uint64_t count;
    struct slice domain;
    struct slice policy;  /* JSON object, as reports have it */
    struct slice failure; /* likewise, without its count; empty: sessions that went well */
};

struct tls_tally *tls_tally_create(void);
void tls_tally_destroy(struct tls_tally **tally);
/** Counts sessions; all is copied. More than 200,000 different rows at once are dropped. */
void tls_tally_add(struct tls_tally *tally, const struct tls_tally_row *row);
/** Takes all rows out, by day and domain; free() each, then the list. NULL: there are none. */
struct tls_tally_row **tls_tally_take(struct tls_tally *tally, size_t *count);
