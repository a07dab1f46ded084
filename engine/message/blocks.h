#pragma once
/* The memory of rendered messages: blocks of one size from a capped pool, and the writer that fills
 * them. */
#include "engine/base/buf.h"
#include "engine/message/content.h"

struct output_block {
    struct output_block *next;
    size_t size; /* all of it; the pool's block size, or odd: a large list of iovecs, not kept */
};

struct message_blocks {
    struct output_block *free;
    size_t free_bytes; /* of those kept for reuse */
    size_t block_bytes, bytes_max, in_use;
    struct buf scratch, line; /* a header's value and its encoded form */
};

/* Writes one message. Bytes between `start` and `at` aren't in the list of iovecs yet. */
struct output_writer {
    struct message_blocks *pool;
    struct output_block *blocks; /* newest first */
    size_t blocks_bytes;
    struct iovec *iov;
    unsigned iov_count, iov_room;
    char *start, *at, *end;
    size_t bytes; /* in the list */
};

MUST_USE bool output_writer_init(struct output_writer *writer, struct message_blocks *pool,
                                 struct err *err);
/** Makes room for at least `room` contiguous bytes at `at` (room ≤ half a block). */
MUST_USE bool output_writer_more(struct output_writer *writer, size_t room, struct err *err);
/** Copies bytes that don't fit into the current block. */
MUST_USE bool output_writer_copy_slow(struct output_writer *writer, struct slice bytes,
                                      struct err *err);
/** Puts bytes that outlive the output into it without copying. */
MUST_USE bool output_writer_refer(struct output_writer *writer, struct slice bytes,
                                  struct err *err);
/** Hands everything to `out`. */
MUST_USE bool output_writer_finish(struct output_writer *writer, struct message_output *out,
                                   struct err *err);
/** Gives everything back. */
void output_writer_abort(struct output_writer *writer);

static inline bool output_writer_copy(struct output_writer *writer, struct slice bytes,
                                      struct err *err)
{
    if (UNLIKELY(bytes.len > (size_t)(writer->end - writer->at)))
        return output_writer_copy_slow(writer, bytes, err);
    memcpy(writer->at, bytes.ptr, bytes.len);
    writer->at += bytes.len;
    return true;
}
