#pragma once
/* A submission's object as it lies in Redis: JSON text, or a zstd frame of it where that is
 * smaller. The frame's own magic number tells them apart: JSON can't begin with it. */
#include "engine/base/buf.h"
#include "engine/base/err.h"

enum {
    CONTENT_PACK_BYTES_MIN = 4096, /* smaller ones stay as they are: people can read them */
    CONTENT_BYTES_MAX = 96 << 20,  /* unpacked: the largest submission, and what is added to it */
};

/** `text` as it's to be stored: itself, or packed into `room`, which is overwritten then. */
struct slice content_pack(struct slice text, struct buf *room);

/** SHA-256 of a submission as it was sent, in hexadecimal digits with a NUL behind. */
void content_hash(struct slice text, char hex[65]);

/** The text of what was stored: itself, or unpacked into `room`. False when it's damaged, or would
 * be larger than CONTENT_BYTES_MAX; no memory beyond that is asked for. */
MUST_USE bool content_unpack(struct slice stored, struct buf *room, struct slice *text,
                             struct err *err);
