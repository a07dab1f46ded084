#include "engine/base/mem.h"

#include <stdio.h>
#include <stdlib.h>

static NORETURN void mem_exhausted(size_t size)
{
    fprintf(stderr, "eilpost: out of memory (asked for %zu bytes)\n", size);
    abort();
}

void *mem_alloc(size_t size)
{
    void *ptr = malloc(size ? size : 1);
    if (!ptr)
        mem_exhausted(size);
    return ptr;
}

void *mem_zalloc(size_t size)
{
    void *ptr = calloc(1, size ? size : 1);
    if (!ptr)
        mem_exhausted(size);
    return ptr;
}

void *mem_realloc(void *ptr, size_t size)
{
    void *grown = realloc(ptr, size ? size : 1);
    if (!grown)
        mem_exhausted(size);
    return grown;
}

void *mem_array(size_t count, size_t size)
{
    void *ptr = calloc(count ? count : 1, size ? size : 1);
    if (!ptr)
        mem_exhausted(count * size);
    return ptr;
}
