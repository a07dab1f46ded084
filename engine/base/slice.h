#pragma once
/* A slice is a pointer and a length: the string type of all parsers. It owns nothing and knows no NUL. */
#include <string.h>

#include "engine/base/compiler.h"

struct slice {
    const char *ptr;
    size_t len;
};

/** A slice over a string literal, usable in initialisers. */
#define SLICE(literal) ((struct slice){ "" literal, sizeof(literal) - 1 })
/** For printf: `"%.*s", SLICE_FMT(s)`. */
#define SLICE_FMT(s) (int)(s).len, (s).ptr

static inline struct slice slice_of(const void *ptr, size_t len)
{
    return (struct slice){ ptr, len };
}

static inline struct slice slice_str(const char *text)
{
    return (struct slice){ text, text ? strlen(text) : 0 };
}

static inline bool slice_eq(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static inline char ascii_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

/** Equal but for the case of ASCII letters. */
bool slice_eq_nocase(struct slice a, struct slice b);
bool slice_starts_with(struct slice s, struct slice prefix);
bool slice_starts_with_nocase(struct slice s, struct slice prefix);
bool slice_ends_with(struct slice s, struct slice suffix);

/** Index of the first `c`, or -1. */
static inline ptrdiff_t slice_find(struct slice s, char c)
{
    const char *at = s.len ? memchr(s.ptr, c, s.len) : NULL;
    return at ? at - s.ptr : -1;
}

/** The slice without its first n bytes (n ≤ len). */
static inline struct slice slice_skip(struct slice s, size_t n)
{
    assert(n <= s.len);
    return (struct slice){ n ? s.ptr + n : s.ptr, s.len - n }; /* NULL + 0 is undefined in C */
}

/** The first n bytes (n ≤ len). */
static inline struct slice slice_head(struct slice s, size_t n)
{
    assert(n <= s.len);
    return (struct slice){ s.ptr, n };
}

/** Without blanks (space, tab, CR, LF) at both ends. */
struct slice slice_trim(struct slice s);

/**
 * Cuts the part before the first `separator` off `s` and returns it; the separator is consumed.
 * Without one, returns all of `s` and leaves it empty.
 */
struct slice slice_cut(struct slice *s, char separator);

/** Takes exactly `n` decimal digits off the front of `s` into `out`; false leaves both untouched. */
MUST_USE bool slice_take_digits(struct slice *s, size_t n, unsigned *out);

/** The whole slice as an unsigned decimal number; false on anything else or on overflow. */
MUST_USE bool slice_to_u64(struct slice s, uint64_t *out);

/** 64-bit hash, well mixed; `seed` keeps tables safe from chosen keys. */
uint64_t slice_hash(struct slice s, uint64_t seed);

/** A NUL-terminated copy on the heap; the caller frees it. */
char *slice_dup(struct slice s);
