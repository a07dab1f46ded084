#pragma once
/* A job as it lies in Redis: the bytes of one element of a destination's list, built for size
 * (queue/README.md, "The record"):
 *
 *   id TAB recipient TAB attempts flags last_reply count value…
 *
 * Numbers are varints (7 bits a byte, low first, high bit: more follows), byte strings a varint
 * length and the bytes. Scripts read as far as last_reply. */
#include "engine/base/buf.h"
#include "engine/base/err.h"
#include "engine/base/slice.h"

enum {
    QUEUE_RECORD_VALUES_MAX = 1024,
    QUEUE_RECORD_REPLY_BYTES_MAX =
        200, /* of last_reply: it's there for people, and Redis memory is dear */
    QUEUE_RECIPIENT_BYTES_MAX = 254,
    QUEUE_RECORD_BYTES_MAX = 1 << 20,
};

struct record {
    struct slice id, recipient, last_reply;
    uint32_t attempts, flags;
    uint32_t value_count;
    const struct slice *values; /* write: the values; parse: see record_parse() */
};

/** Appends the record. False when `out`'s cap would be passed. A longer last_reply is cut. */
MUST_USE bool record_write(struct buf *out, const struct record *record);

/** Parses a record; all slices point into `bytes`. Up to `values_max` values are stored at
 * `values`; when there are more, false with ERR_LIMIT and out->value_count set, so that the caller
 * can come again with room. On other failures `out` is meaningless. */
MUST_USE bool record_parse(struct slice bytes, struct record *out, struct slice *values,
                           uint32_t values_max, struct err *err);
