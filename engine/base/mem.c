#include "engine/base/mem.h"

#include <stdio.h>
#include <stdlib.h>

static NORETURN void mem_exhausted(size_t size)
{
    fprintf(stderr, "eilpost: out of memory (asked for %zu bytes)\n", size);
    abort();
}

/* More can't exist; asked first, because sanitizers have an opinion of their own about such sizes.
 */
static void check_size(size_t size)
{
    if (size > PTRDIFF_MAX)
        mem_exhausted(size);
}

void *mem_alloc(size_t size)
{
    check_size(size);
    void *ptr = malloc(size ? size : 1);
    if (!ptr)
        mem_exhausted(size);
    return ptr;
}

void *mem_zalloc(size_t size)
{
    check_size(size);
    void *ptr = calloc(1, size ? size : 1);
    if (!ptr)
        mem_exhausted(size);
    return ptr;
}

void *mem_realloc(void *ptr, size_t size)
{
    check_size(size);
    void *grown = realloc(ptr, size ? size : 1);
    if (!grown)
        mem_exhausted(size);
    return grown;
}

void *mem_array(size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes))
        mem_exhausted(SIZE_MAX);
    return mem_zalloc(bytes);
}
