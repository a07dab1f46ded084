#pragma once
/* Replies on their way out of a session: bytes in order, each with the earliest time at which it
 * may leave. */
#include "engine/base/buf.h"

enum outbox_then { OUTBOX_KEEP, OUTBOX_CLOSE, OUTBOX_RESET };

struct outbox_mark {
    int64_t due_us;
    size_t bytes;          /* of this reply */
    enum outbox_then then; /* after its last byte */
};

struct outbox {
    struct buf bytes;
    size_t ready_bytes;        /* at the front, may leave now */
    enum outbox_then then;     /* what follows the ready bytes */
    struct outbox_mark *marks; /* the replies behind the ready ones, oldest at `first` */
    size_t first, count, room;
};

void outbox_free(struct outbox *outbox);
/**
 * Appends a reply that may leave at `due_us`; 0 or a time that has come means now. Replies never
 * overtake each other. Nothing may be put after one with `then` other than OUTBOX_KEEP.
 */
void outbox_put(struct outbox *outbox, struct slice reply, int64_t due_us, enum outbox_then then);
/** Makes ready what is due at `now_us`. */
void outbox_release(struct outbox *outbox, int64_t now_us);
/** When the next reply that isn't ready falls due, or INT64_MAX. */
int64_t outbox_next_due(const struct outbox *outbox);
