#pragma once
/* What every file may assume of the compiler, and no more. */
#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MUST_USE __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))
#define NORETURN __attribute__((noreturn))
#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)
#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/** The structure that holds `member` at `ptr`. */
#define CONTAINER_OF(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member)))

#define MIN_OF(a, b)                                                                             \
    __extension__({                                                                              \
        __typeof__(a) a_ = (a);                                                                  \
        __typeof__(b) b_ = (b);                                                                  \
        a_ < b_ ? a_ : b_;                                                                       \
    })
#define MAX_OF(a, b)                                                                             \
    __extension__({                                                                              \
        __typeof__(a) a_ = (a);                                                                  \
        __typeof__(b) b_ = (b);                                                                  \
        a_ > b_ ? a_ : b_;                                                                       \
    })
