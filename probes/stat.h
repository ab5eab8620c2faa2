/*
 * stat.h - what the repeats of one point say: median, spread, an interval, and whether they
 * settled.
 *
 * Pure functions over at most KVS_MAX_REPEAT values; nothing here measures.
 */
#ifndef KVS_PROBES_STAT_H
#define KVS_PROBES_STAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KVS_MAX_REPEAT 32

struct kvs_summary {
    double median, min, max;
    double mad;     /* median of the absolute deviations from the median */
    double ci95[2]; /* bootstrap interval of the median */
    unsigned n;     /* 0: all of the above are NaN */
};

double kvs_median(const double *x, size_t n); /* mean of the middle two for even n; NaN for none */
double kvs_mad(const double *x, size_t n);
/*
 * The 95 % percentile bootstrap interval of the median (Efron 1979): 2000 resamples with
 * replacement, seeded. With five repeats it is about the span from the least to the largest, which
 * holds the true median in 94 % of cases.
 */
void kvs_bootstrap_median(const double *x, size_t n, uint64_t seed, double ci95[2]);
struct kvs_summary kvs_summarize(const double *x, size_t n, uint64_t seed);

/*
 * The steady-state rule (after SNIA's performance test specification): among the last five values
 * the range is at most 20 % of their mean, and the least-squares line through them moves by at most
 * 10 % of it. Fewer than five are not steady.
 */
bool kvs_is_steady(const double *x, size_t n);

/*
 * The spin-gap canary: of clock readings taken back to back, the share of time that lies in gaps
 * over gap_ns, when somebody else had the core. Start with all zero; 0 for fewer than two readings.
 */
struct kvs_gaps {
    int64_t first_ns, last_ns, lost_ns;
    uint64_t n;
};
void kvs_gaps_see(struct kvs_gaps *gaps, int64_t at_ns, int64_t gap_ns);
double kvs_gaps_frac(const struct kvs_gaps *gaps);

#endif
