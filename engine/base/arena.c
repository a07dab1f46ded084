#include "engine/base/arena.h"

#include <stdlib.h>

#include "engine/base/mem.h"

struct arena_block {
    struct arena_block *older;
    size_t room, used;
    _Alignas(16) char data[];
};

static size_t block_room(const struct arena *arena)
{
    return arena->block_bytes ? arena->block_bytes : 4096;
}

static struct arena_block *block_create(size_t room)
{
    struct arena_block *block = mem_alloc(sizeof *block + room);
    block->room = room;
    block->used = 0;
    return block;
}

/* A piece larger than a block gets one of its own, behind the one in use, whose rest stays usable.
 */
static struct arena_block *add_block(struct arena *arena, size_t size)
{
    bool own = size > block_room(arena);
    struct arena_block *block = block_create(own ? size : block_room(arena));
    struct arena_block **at = own && arena->blocks ? &arena->blocks->older : &arena->blocks;
    block->older = *at;
    *at = block;
    return block;
}

void *arena_alloc(struct arena *arena, size_t size)
{
    if (size > PTRDIFF_MAX / 2)
        return mem_array(2, size); /* says so and ends the process */
    size = (size + 15) & ~(size_t)15;
    struct arena_block *block = arena->blocks;
    if (!block || block->room - block->used < size)
        block = add_block(arena, size);
    void *at = block->data + block->used;
    block->used += size;
    arena->used_bytes += size;
    return at;
}

struct slice arena_copy(struct arena *arena, struct slice bytes)
{
    char *copy = arena_alloc(arena, bytes.len + 1);
    if (bytes.len)
        memcpy(copy, bytes.ptr, bytes.len);
    copy[bytes.len] = '\0';
    return slice_of(copy, bytes.len);
}

void arena_reset(struct arena *arena)
{
    struct arena_block *kept = NULL;
    for (struct arena_block *block = arena->blocks, *older; block; block = older) {
        older = block->older;
        if (block->room == block_room(arena)) { /* the oldest of them stays */
            free(kept);
            kept = block;
        } else {
            free(block);
        }
    }
    if (kept) {
        kept->older = NULL;
        kept->used = 0;
    }
    arena->blocks = kept;
    arena->used_bytes = 0;
}

void arena_free(struct arena *arena)
{
    arena_reset(arena);
    free(arena->blocks);
    arena->blocks = NULL;
}
