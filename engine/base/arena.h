#pragma once
/* An arena hands out memory that is all given back at once: for a submission's compiled content, or for the
 * values of one Redis reply. It keeps one block over a reset, so that a steady state of small pieces allocates nothing. */
#include "engine/base/slice.h"

struct arena_block;
struct arena {
    struct arena_block *blocks; /* the one in use first */
    size_t block_bytes;         /* size of a fresh block; 0 means 4096 */
    size_t used_bytes;          /* handed out since the last reset */
};

/** Memory aligned to 16, never NULL; valid until arena_reset or arena_free. */
void *arena_alloc(struct arena *arena, size_t size) __attribute__((returns_nonnull));
/** A copy of the bytes in the arena (with a NUL behind, not counted). */
struct slice arena_copy(struct arena *arena, struct slice bytes);
void arena_reset(struct arena *arena);
void arena_free(struct arena *arena);
