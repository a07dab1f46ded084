#include "engine/base/arena.h"

#include <stdlib.h>

#include "engine/base/mem.h"

struct arena_block {
    struct arena_block *older;
    size_t room, used;
    _Alignas(16) char data[];
};

void *arena_alloc(struct arena *arena, size_t size)
{
    size = (size + 15) & ~(size_t)15;
    struct arena_block *block = arena->blocks;
    if (!block || block->room - block->used < size) {
        size_t room = arena->block_bytes ? arena->block_bytes : 4096;
        if (room < size)
            room = size;
        block = mem_alloc(sizeof *block + room);
        block->older = arena->blocks;
        block->room = room;
        block->used = 0;
        arena->blocks = block;
    }
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

static void free_blocks(struct arena_block *block, const struct arena_block *end)
{
    while (block != end) {
        struct arena_block *older = block->older;
        free(block);
        block = older;
    }
}

void arena_reset(struct arena *arena)
{
    struct arena_block *first = arena->blocks;
    while (first && first->older)
        first = first->older;
    free_blocks(arena->blocks, first);
    arena->blocks = first;
    if (first)
        first->used = 0;
    arena->used_bytes = 0;
}

void arena_free(struct arena *arena)
{
    free_blocks(arena->blocks, NULL);
    arena->blocks = NULL;
    arena->used_bytes = 0;
}
