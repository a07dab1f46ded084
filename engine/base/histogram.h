#pragma once
/* Latency histogram: log-linear, 16 steps per power of two, so a percentile is right to about 6 %. One writer; readers on other threads use
 * the relaxed loads of histogram_add_to(). */
#include "engine/base/compiler.h"

#define HISTOGRAM_BUCKETS 592 /* microseconds up to 2^40 */

struct histogram {
    uint64_t counts[HISTOGRAM_BUCKETS];
    uint64_t count, sum_us, max_us;
};

void histogram_record(struct histogram *histogram, int64_t us);
/** Adds `from` (possibly being written) to `into`. */
void histogram_add_to(const struct histogram *from, struct histogram *into);
/** The value in µs below which `fraction` (0…1) of the records lie, at most 1/16 too large; 0 if empty. Not for a histogram
 *  that is being written: add it to one of your own first. */
uint64_t histogram_percentile(const struct histogram *histogram, double fraction);
/** How many records are at most `us`, to the precision of the steps. */
uint64_t histogram_count_up_to(const struct histogram *histogram, uint64_t us);
