#pragma once
/* Allocation that ends the process when memory is gone: caps everywhere make that a bug or a wrong limit, and
 * the journal and the queue make dying safe. */
#include "engine/base/compiler.h"

/** Never NULL; size 0 gives a valid pointer. Free with free(). */
void *mem_alloc(size_t size) __attribute__((malloc, alloc_size(1), returns_nonnull));
void *mem_zalloc(size_t size) __attribute__((malloc, alloc_size(1), returns_nonnull));
void *mem_realloc(void *ptr, size_t size) __attribute__((alloc_size(2), returns_nonnull));
/** count × size with a check for overflow, zeroed. */
void *mem_array(size_t count, size_t size) __attribute__((malloc, returns_nonnull));
