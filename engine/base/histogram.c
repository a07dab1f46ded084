#include "engine/base/histogram.h"

static unsigned bucket_of(uint64_t us)
{
    if (us < 16)
        return (unsigned)us;
    unsigned top = 63 - (unsigned)__builtin_clzll(us);
    unsigned bucket = (top - 3) * 16 + (unsigned)((us >> (top - 4)) & 15);
    return bucket < HISTOGRAM_BUCKETS ? bucket : HISTOGRAM_BUCKETS - 1;
}

static uint64_t bucket_upper(unsigned bucket)
{
    if (bucket < 16)
        return bucket;
    unsigned top = bucket / 16 + 3;
    if (bucket == HISTOGRAM_BUCKETS - 1)
        return UINT64_MAX; /* takes all that is larger, too */
    return ((16ULL + bucket % 16 + 1) << (top - 4)) - 1;
}

static void add_relaxed(uint64_t *to, uint64_t n)
{
    __atomic_store_n(to, __atomic_load_n(to, __ATOMIC_RELAXED) + n, __ATOMIC_RELAXED);
}

void histogram_record(struct histogram *histogram, int64_t us)
{
    uint64_t value = us > 0 ? (uint64_t)us : 0;
    add_relaxed(&histogram->counts[bucket_of(value)], 1);
    add_relaxed(&histogram->count, 1);
    add_relaxed(&histogram->sum_us, value);
    if (value > histogram->max_us)
        __atomic_store_n(&histogram->max_us, value, __ATOMIC_RELAXED);
}

void histogram_add_to(const struct histogram *from, struct histogram *into)
{
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
        into->counts[i] += __atomic_load_n(&from->counts[i], __ATOMIC_RELAXED);
    into->count += __atomic_load_n(&from->count, __ATOMIC_RELAXED);
    into->sum_us += __atomic_load_n(&from->sum_us, __ATOMIC_RELAXED);
    uint64_t max = __atomic_load_n(&from->max_us, __ATOMIC_RELAXED);
    if (max > into->max_us)
        into->max_us = max;
}

uint64_t histogram_percentile(const struct histogram *histogram, double fraction)
{
    uint64_t total = 0;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
        total += histogram->counts[i];
    if (total == 0)
        return 0;
    uint64_t rank = 0, seen = 0;
    if (fraction >= 1)
        rank = total - 1;
    else if (fraction > 0)
        rank = (uint64_t)((double)total * fraction);
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += histogram->counts[i];
        if (seen > rank)
            return MIN_OF(bucket_upper(i), histogram->max_us);
    }
    return histogram->max_us;
}

uint64_t histogram_count_up_to(const struct histogram *histogram, uint64_t us)
{
    uint64_t count = 0;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS && bucket_upper(i) <= us; i++)
        count += histogram->counts[i];
    return count;
}
