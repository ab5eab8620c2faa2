#include "steady.h"

#include "base/hist.h"

#include <math.h>
#include <stdlib.h>

#define T_95_19 2.0930 /* Student's t, two-sided 95 %, KVS_N_BATCH - 1 degrees of freedom */
#define T_99_18 2.8784 /* two-sided 99 %, KVS_N_BATCH - 2: of a slope */
#define LEAST_BATCH 10 /* requests, for a mean or a median */
#define LEAST_BATCH_P99 100

const char *kvs_steady_name(enum kvs_steady steady)
{
    static const char *const name[] = {"steady", "short", "drifting"};
    return name[steady];
}

uint64_t kvs_mser5(const double *value, uint64_t n, bool *found)
{
    const uint64_t n_mean = n / 5;
    uint64_t best = 0;
    double least = (double)INFINITY, sum = 0, square = 0;
    *found = false;
    /* from the end: sums over the means that are kept */
    for (uint64_t cut = n_mean; cut-- > 0;) {
        double mean = 0;
        for (int i = 0; i < 5; i++)
            mean += value[5 * cut + (uint64_t)i] / 5;
        sum += mean;
        square += mean * mean;
        const double kept = (double)(n_mean - cut);
        const double error = fmax(0, square - sum * sum / kept) / (kept * kept);
        if (kept >= 5 && error <= least) {
            least = error;
            best = cut;
        }
    }
    if (n_mean < 10)
        return 0;
    *found = best <= n_mean / 2;
    return *found ? 5 * best : 0;
}

static double mean_of(const double batch[KVS_N_BATCH])
{
    double sum = 0;
    for (int b = 0; b < KVS_N_BATCH; b++)
        sum += batch[b];
    return sum / KVS_N_BATCH;
}

/* Sum of squared distances from the mean. */
static double spread_of(const double batch[KVS_N_BATCH], double mean)
{
    double square = 0;
    for (int b = 0; b < KVS_N_BATCH; b++)
        square += (batch[b] - mean) * (batch[b] - mean);
    return square;
}

struct kvs_interval kvs_batch_interval(double centre, const double batch[KVS_N_BATCH])
{
    const double variance = spread_of(batch, mean_of(batch)) / (KVS_N_BATCH - 1);
    const double half = T_95_19 * sqrt(variance / KVS_N_BATCH);
    return (struct kvs_interval){centre - half, centre + half};
}

enum kvs_steady kvs_batch_steady(const double batch[KVS_N_BATCH])
{
    const double mean = mean_of(batch), spread = spread_of(batch, mean);
    const double middle = (KVS_N_BATCH - 1) / 2.0;
    double along = 0, steps = 0, next = 0;
    if (spread <= 0)
        return KVS_STEADY;
    for (int b = 0; b < KVS_N_BATCH; b++) {
        along += (b - middle) * (batch[b] - mean);
        steps += (b - middle) * (b - middle);
        if (b)
            next += (batch[b] - mean) * (batch[b - 1] - mean);
    }
    const double slope = along / steps, rest = spread - slope * along;
    if (fabs(slope) * sqrt(steps) > T_99_18 * sqrt(fmax(0, rest) / (KVS_N_BATCH - 2)))
        return KVS_STEADY_DRIFTING;
    return next / spread > 2 / sqrt(KVS_N_BATCH) ? KVS_STEADY_SHORT : KVS_STEADY;
}

/* How many of a batch's sorted values are at most x. */
static uint64_t n_upto(const double *value, uint64_t n, double x)
{
    uint64_t low = 0, high = n;
    while (low < high) {
        const uint64_t middle = low + (high - low) / 2;
        if (value[middle] <= x)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The least value with a share frac of all at or below it; each batch is sorted. Halves the range
 * of values until it holds no double between. */
static double quantile(const double *value, uint64_t each, double frac)
{
    const double n_want = frac * KVS_N_BATCH * (double)each;
    double low = value[0], high = value[each - 1];
    for (int b = 1; b < KVS_N_BATCH; b++) {
        low = fmin(low, value[(uint64_t)b * each]);
        high = fmax(high, value[(uint64_t)(b + 1) * each - 1]);
    }
    low = nextafter(low, -(double)INFINITY);
    for (double middle; (middle = low + (high - low) / 2) > low && middle < high;) {
        uint64_t n = 0;
        for (int b = 0; b < KVS_N_BATCH; b++)
            n += n_upto(value + (uint64_t)b * each, each, middle);
        if ((double)n >= n_want)
            high = middle;
        else
            low = middle;
    }
    return high;
}

static struct kvs_interval p99_interval(const double *value, uint64_t each)
{
    const double p99 = quantile(value, each, 0.99);
    double share[KVS_N_BATCH];
    for (int b = 0; b < KVS_N_BATCH; b++)
        share[b] = (double)n_upto(value + (uint64_t)b * each, each, p99) / (double)each;
    const struct kvs_interval at = kvs_batch_interval(0.99, share);
    return (struct kvs_interval){quantile(value, each, fmax(0, at.low)),
                                 quantile(value, each, fmin(1, at.high))};
}

void kvs_batches_make(double *value, uint64_t n, struct kvs_batches *batches)
{
    *batches = (struct kvs_batches){.each = n / KVS_N_BATCH};
    kvs_mser5(value, n, &batches->settled);
    const uint64_t each = batches->each;
    double *from = value + n % KVS_N_BATCH;
    for (int b = 0; b < KVS_N_BATCH && each; b++, from += each) {
        double sum = 0;
        for (uint64_t i = 0; i < each; i++)
            sum += from[i];
        batches->mean[b] = sum / (double)each;
        qsort(from, each, sizeof *from, kvs_cmp_double);
        batches->p50[b] = kvs_percentile(from, each, 50);
    }
    if (each)
        batches->p99 = p99_interval(value + n % KVS_N_BATCH, each);
}

struct kvs_ttft_intervals kvs_ttft_intervals(const struct kvs_batches *batches, double mean,
                                             double p50, double p99)
{
    static const struct kvs_interval none = {(double)NAN, (double)NAN};
    struct kvs_ttft_intervals out = {none, none, none, KVS_STEADY_SHORT};
    if (batches->each < LEAST_BATCH)
        return out;
    out.mean = kvs_batch_interval(mean, batches->mean);
    out.p50 = kvs_batch_interval(p50, batches->p50);
    if (batches->each >= LEAST_BATCH_P99)
        out.p99 = (struct kvs_interval){fmin(batches->p99.low, p99), fmax(batches->p99.high, p99)};
    out.steady = batches->settled ? kvs_batch_steady(batches->mean) : KVS_STEADY_DRIFTING;
    return out;
}
