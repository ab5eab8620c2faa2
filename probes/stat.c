#include "stat.h"

#include "base/hist.h"
#include "base/rng.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define N_RESAMPLE 2000
#define STEADY_WINDOW 5

double kvs_median(const double *x, size_t n)
{
    double sorted[KVS_MAX_REPEAT];
    assert(n <= KVS_MAX_REPEAT);
    memcpy(sorted, x, n * sizeof *x);
    return kvs_middle(sorted, n);
}

double kvs_mad(const double *x, size_t n)
{
    double off[KVS_MAX_REPEAT], mid = kvs_median(x, n);
    for (size_t i = 0; i < n; i++)
        off[i] = fabs(x[i] - mid);
    return kvs_median(off, n);
}

void kvs_bootstrap_median(const double *x, size_t n, uint64_t seed, double ci95[2])
{
    struct kvs_rng rng = kvs_rng_stream(seed, "bootstrap");
    double pick[KVS_MAX_REPEAT], medians[N_RESAMPLE];
    ci95[0] = ci95[1] = (double)NAN;
    if (n == 0)
        return;
    for (size_t k = 0; k < N_RESAMPLE; k++) {
        for (size_t i = 0; i < n; i++)
            pick[i] = x[kvs_rng_below(&rng, n)];
        medians[k] = kvs_median(pick, n);
    }
    qsort(medians, N_RESAMPLE, sizeof *medians, kvs_cmp_double);
    ci95[0] = kvs_percentile(medians, N_RESAMPLE, 2.5);
    ci95[1] = kvs_percentile(medians, N_RESAMPLE, 97.5);
}

struct kvs_summary kvs_summarize(const double *x, size_t n, uint64_t seed)
{
    struct kvs_summary s = {kvs_median(x, n),           (double)NAN, (double)NAN, kvs_mad(x, n),
                            {(double)NAN, (double)NAN}, (unsigned)n};
    for (size_t i = 0; i < n; i++) {
        s.min = fmin(s.min, x[i]); /* fmin and fmax pass over a NaN */
        s.max = fmax(s.max, x[i]);
    }
    kvs_bootstrap_median(x, n, seed, s.ci95);
    return s;
}

bool kvs_is_steady(const double *x, size_t n)
{
    double mean = 0, low, high, slope = 0;
    if (n < STEADY_WINDOW)
        return false;
    x += n - STEADY_WINDOW;
    low = high = x[0];
    for (int i = 0; i < STEADY_WINDOW; i++) {
        low = fmin(low, x[i]);
        high = fmax(high, x[i]);
        mean += x[i] / STEADY_WINDOW;
        slope += (i - 2) * x[i] / 10; /* 2 is the middle, 10 the sum of (i - 2)^2 */
    }
    return mean > 0 && high - low <= 0.2 * mean && fabs(slope) * (STEADY_WINDOW - 1) <= 0.1 * mean;
}

void kvs_gaps_see(struct kvs_gaps *gaps, int64_t at_ns, int64_t gap_ns)
{
    if (gaps->n++ == 0)
        gaps->first_ns = at_ns;
    else if (at_ns - gaps->last_ns > gap_ns)
        gaps->lost_ns += at_ns - gaps->last_ns;
    gaps->last_ns = at_ns;
}

double kvs_gaps_frac(const struct kvs_gaps *gaps)
{
    int64_t all_ns = gaps->last_ns - gaps->first_ns;
    return all_ns > 0 ? (double)gaps->lost_ns / (double)all_ns : 0;
}
