/* The end-of-data scanner. A five-state automaton carries a terminator over the border of two
 * buffers; in between, 32 bytes at a time are compared with three of the terminator's five
 * characters, which ordinary text never has at these distances. */
#include "bench/sink/scan.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define TERMINATOR_BYTES 5

static uint8_t scan_step(uint8_t matched, char c)
{
    static const char terminator[TERMINATOR_BYTES] = { '\r', '\n', '.', '\r', '\n' };
    if (c == terminator[matched])
        return (uint8_t)(matched + 1);
    return c == '\r' ? 1 : 0;
}

size_t scan_end_of_data_scalar(struct scan *scan, struct slice in, bool *found)
{
    uint8_t matched = scan->matched;
    *found = false;
    for (size_t i = 0; i < in.len; i++) {
        matched = scan_step(matched, in.ptr[i]);
        if (matched == TERMINATOR_BYTES) {
            *found = true;
            scan->matched = 0;
            return i + 1;
        }
    }
    scan->matched = matched;
    return in.len;
}

#if defined(__x86_64__)
/* The first terminator that begins at or after `at`, as far as whole blocks reach; where to go on
 * otherwise. */
__attribute__((target("avx2"))) static size_t scan_blocks(struct slice in, size_t at, bool *found)
{
    const __m256i cr = _mm256_set1_epi8('\r'), dot = _mm256_set1_epi8('.'),
                  lf = _mm256_set1_epi8('\n');
    for (; at + 32 + TERMINATOR_BYTES - 1 <= in.len; at += 32) {
        const char *p = in.ptr + at;
        __m256i first = _mm256_loadu_si256((const __m256i *)p);
        __m256i third = _mm256_loadu_si256((const __m256i *)(p + 2));
        __m256i fifth = _mm256_loadu_si256((const __m256i *)(p + 4));
        __m256i hits = _mm256_and_si256(
            _mm256_and_si256(_mm256_cmpeq_epi8(first, cr), _mm256_cmpeq_epi8(third, dot)),
            _mm256_cmpeq_epi8(fifth, lf));
        for (uint32_t mask = (uint32_t)_mm256_movemask_epi8(hits); mask != 0; mask &= mask - 1) {
            const char *hit = p + __builtin_ctz(mask);
            if (hit[1] == '\n' && hit[3] == '\r') {
                *found = true;
                return (size_t)(hit - in.ptr) + TERMINATOR_BYTES;
            }
        }
    }
    return at;
}
#endif

size_t scan_end_of_data(struct scan *scan, struct slice in, bool *found)
{
#if defined(__x86_64__)
    if (in.len >= 64 && __builtin_cpu_supports("avx2")) {
        /* One begun in the buffer before ends within these bytes, or not at all. */
        size_t at = scan_end_of_data_scalar(scan, slice_head(in, TERMINATOR_BYTES - 1), found);
        if (*found)
            return at;
        at = scan_blocks(in, 0, found);
        if (*found) {
            scan->matched = 0;
            return at;
        }
        /* The blocks saw every start below `at`, so what is left needs no memory of them. */
        scan->matched = 0;
        return at + scan_end_of_data_scalar(scan, slice_skip(in, at), found);
    }
#endif
    return scan_end_of_data_scalar(scan, in, found);
}
