/*
 * hist.h - order statistics: exact over a list of values, and a log-bucketed histogram for streams.
 *
 * Percentiles are nearest rank: sorted[ceil(p / 100 * n) - 1].
 */
#ifndef KVS_BASE_HIST_H
#define KVS_BASE_HIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Sum, mean and exact percentiles of non-negative integers, in memory that grows with the number of
 * different values. */
struct kvs_tally;                      /* from kvs_tally_new, ended by kvs_tally_free */
struct kvs_tally *kvs_tally_new(void); /* NULL: no memory */
void kvs_tally_free(struct kvs_tally *tally);
bool kvs_tally_add(struct kvs_tally *tally, uint64_t value);      /* false: no memory */
uint64_t kvs_tally_sum(const struct kvs_tally *tally);            /* saturates at UINT64_MAX */
double kvs_tally_mean(const struct kvs_tally *tally);             /* 0 if empty */
uint64_t kvs_tally_percentile(struct kvs_tally *tally, double p); /* 0 < p <= 100; 0 if empty */
uint64_t kvs_tally_min(struct kvs_tally *tally);
uint64_t kvs_tally_max(struct kvs_tally *tally);

/* Nearest-rank percentile of values sorted ascending; NaN if n is 0. */
double kvs_percentile(const double *sorted, size_t n, double p);
/* Sorts ascending; for qsort too. */
int kvs_cmp_double(const void *a, const void *b);
/* The middle value, of an even number the mean of the middle two: it sorts values. NaN if n is 0.
 */
double kvs_middle(double *values, size_t n);

/* Histogram of nanoseconds or bytes: buckets of relative width 1/128, exact below 128; 64-bit
 * range. */
struct kvs_hist {
    uint64_t n, min, max;
    double sum;
    uint64_t bucket[(64 - 6) * 128];
};
void kvs_hist_init(struct kvs_hist *hist);
void kvs_hist_add(struct kvs_hist *hist, uint64_t value);
void kvs_hist_merge(struct kvs_hist *into, const struct kvs_hist *from);
uint64_t kvs_hist_percentile(const struct kvs_hist *hist,
                             double p); /* upper edge of the bucket, at most max */
uint64_t kvs_hist_top(unsigned bucket); /* the largest value that falls into bucket[bucket] */

#endif
