/* Blocks of rendered messages. A message's list of iovecs lies at the front of its first block, so
 * a message of usual size is one block and nothing else; a longer list moves into a block of its
 * own, and a very long one into a block of odd size that counts against the cap like any other. One
 * worker's: no locks. */
#include "engine/message/blocks.h"

#include <stdlib.h>

#include "engine/base/mem.h"

enum { IOV_INLINE = 16, BLOCK_BYTES_MIN = 1024, BLOCK_BYTES_DEFAULT = 16384 };
/* A burst's blocks go back to the system, all but these. */
#define FREE_BYTES_MAX ((size_t)4 << 20)
#define BYTES_MAX_DEFAULT ((size_t)64 << 20)

struct message_blocks *message_blocks_create(size_t block_bytes, size_t bytes_max)
{
    struct message_blocks *pool = mem_zalloc(sizeof *pool);
    pool->block_bytes =
        MAX_OF(block_bytes ? block_bytes : BLOCK_BYTES_DEFAULT, (size_t)BLOCK_BYTES_MIN) &
        ~(size_t)15;
    pool->bytes_max = MAX_OF(bytes_max ? bytes_max : BYTES_MAX_DEFAULT, pool->block_bytes);
    return pool;
}

void message_blocks_destroy(struct message_blocks **blocks)
{
    struct message_blocks *pool = *blocks;
    if (!pool)
        return;
    assert(pool->in_use == 0); /* outputs are released before their pool */
    while (pool->free) {
        struct output_block *block = pool->free;
        pool->free = block->next;
        free(block);
    }
    buf_free(&pool->scratch);
    buf_free(&pool->line);
    free(pool);
    *blocks = NULL;
}

size_t message_blocks_in_use(const struct message_blocks *blocks)
{
    return blocks->in_use;
}

static void blocks_release(struct message_blocks *pool, struct output_block *block)
{
    while (block) {
        struct output_block *next = block->next;
        assert(pool->in_use >= block->size);
        pool->in_use -= block->size;
        if (block->size == pool->block_bytes && pool->free_bytes < FREE_BYTES_MAX) {
            block->next = pool->free;
            pool->free = block;
            pool->free_bytes += block->size;
        } else {
            free(block);
        }
        block = next;
    }
}

static struct output_block *block_take(struct output_writer *writer, size_t size, struct err *err)
{
    struct message_blocks *pool = writer->pool;
    if (size > pool->bytes_max - MIN_OF(pool->bytes_max, pool->in_use)) {
        if (writer->blocks_bytes ==
            pool->in_use) /* alone, and still too large: waiting won't help */
            err_set(err, ERR_INPUT,
                    "the message is larger than the %zu bytes that rendering may take",
                    pool->bytes_max);
        else
            err_set(err, ERR_LIMIT, "all %zu bytes for rendered messages are in use",
                    pool->bytes_max);
        return NULL;
    }
    struct output_block *block = NULL;
    if (size == pool->block_bytes && pool->free) {
        block = pool->free;
        pool->free = block->next;
        pool->free_bytes -= size;
    } else {
        block = mem_alloc(size);
        block->size = size;
    }
    pool->in_use += size;
    writer->blocks_bytes += size;
    block->next = writer->blocks;
    writer->blocks = block;
    return block;
}

static bool next_block(struct output_writer *writer, struct err *err)
{
    struct output_block *block = block_take(writer, writer->pool->block_bytes, err);
    if (!block)
        return false;
    writer->start = writer->at = (char *)(block + 1);
    writer->end = (char *)block + block->size;
    return true;
}

bool output_writer_init(struct output_writer *writer, struct message_blocks *pool, struct err *err)
{
    *writer = (struct output_writer){ .pool = pool };
    if (!next_block(writer, err))
        return false;
    writer->iov = (struct iovec *)(void *)writer->at;
    writer->iov_room = IOV_INLINE;
    writer->start = writer->at = writer->at + IOV_INLINE * sizeof *writer->iov;
    return true;
}

static bool iov_grow(struct output_writer *writer, struct err *err)
{
    size_t head = sizeof(struct output_block), entry = sizeof(struct iovec);
    size_t in_block = (writer->pool->block_bytes - head) / entry;
    size_t size = writer->iov_room < in_block ? writer->pool->block_bytes
                                              : head + 2 * entry * writer->iov_room;
    struct output_block *block = block_take(writer, size, err);
    if (!block)
        return false;
    struct iovec *wider = (struct iovec *)(void *)(block + 1);
    memcpy(wider, writer->iov, writer->iov_count * entry);
    writer->iov = wider;
    writer->iov_room = (unsigned)((size - head) / entry);
    return true;
}

static bool iov_add(struct output_writer *writer, struct slice bytes, struct err *err)
{
    if (bytes.len == 0)
        return true;
    struct iovec *last = writer->iov_count ? &writer->iov[writer->iov_count - 1] : NULL;
    writer->bytes += bytes.len;
    if (last && (char *)last->iov_base + last->iov_len == bytes.ptr) {
        last->iov_len += bytes.len;
        return true;
    }
    if (writer->iov_count == writer->iov_room && !iov_grow(writer, err))
        return false;
    writer->iov[writer->iov_count++] = (struct iovec){ (void *)(uintptr_t)bytes.ptr, bytes.len };
    return true;
}

static bool commit(struct output_writer *writer, struct err *err)
{
    if (!iov_add(writer, slice_of(writer->start, (size_t)(writer->at - writer->start)), err))
        return false;
    writer->start = writer->at;
    return true;
}

bool output_writer_more(struct output_writer *writer, size_t room, struct err *err)
{
    assert(room <= writer->pool->block_bytes / 2);
    if ((size_t)(writer->end - writer->at) >= room)
        return true;
    return commit(writer, err) && next_block(writer, err);
}

bool output_writer_copy_slow(struct output_writer *writer, struct slice bytes, struct err *err)
{
    while (bytes.len > 0) {
        if (writer->at == writer->end && !output_writer_more(writer, 1, err))
            return false;
        size_t n = MIN_OF(bytes.len, (size_t)(writer->end - writer->at));
        memcpy(writer->at, bytes.ptr, n);
        writer->at += n;
        bytes = slice_skip(bytes, n);
    }
    return true;
}

bool output_writer_refer(struct output_writer *writer, struct slice bytes, struct err *err)
{
    return commit(writer, err) && iov_add(writer, bytes, err);
}

bool output_writer_finish(struct output_writer *writer, struct message_output *out, struct err *err)
{
    if (!commit(writer, err))
        return false;
    *out = (struct message_output){ .iov = writer->iov,
                                    .iov_count = writer->iov_count,
                                    .bytes = writer->bytes,
                                    .blocks = writer->blocks,
                                    .pool = writer->pool };
    return true;
}

void output_writer_abort(struct output_writer *writer)
{
    blocks_release(writer->pool, writer->blocks);
    writer->blocks = NULL;
}

void message_output_release(struct message_output *out)
{
    if (out->pool)
        blocks_release(out->pool, out->blocks);
    *out = (struct message_output){ 0 };
}
