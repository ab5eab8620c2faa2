/*
 * steady.h - what a run's figures are worth: warm-up, steadiness, 95 % intervals by batch means.
 *
 * A latency of one request says much about the next one's, so the spread of single requests tells
 * too little. Batches of many requests are nearly independent: the interval is that of their means
 * (Schmeiser 1982: 10 to 30 batches). It holds for a run that could go on like this for ever.
 *
 * A batch's own 99th percentile is biased and skewed. So for p99 the interval is that of the share
 * of values at or below it, by the batches' shares, and its ends are the percentiles of all values
 * at the ends of that (Iglehart 1976; Heidelberger and Lewis 1984): wider upwards than downwards.
 */
#ifndef KVS_STEADY_H
#define KVS_STEADY_H

#include <stdbool.h>
#include <stdint.h>

#define KVS_N_BATCH 20

struct kvs_interval {
    double low, high; /* both NaN: too few requests for one */
};

enum kvs_steady {
    KVS_STEADY,
    /* fewer than 10 requests a batch, or batches that depend on each other more than chance
     * (lag-1 correlation over 2 / sqrt(batches)): the intervals are too narrow; a longer run helps
     */
    KVS_STEADY_SHORT,
    /* the batches' means rise or fall beyond chance (slope, t test at 1 %), or MSER-5 finds no end
     * of the warm-up: this is no steady state, and intervals mean little */
    KVS_STEADY_DRIFTING
};
const char *kvs_steady_name(enum kvs_steady steady); /* "steady", "short", "drifting" */

/*
 * MSER-5 (White 1997; White, Cobb and Spratt 2000): how many of the first of n values to leave out
 * so that the mean of the rest is known best, in means of 5. *found is false if the best cut lies
 * in the latter half: the run is too short to tell.
 */
uint64_t kvs_mser5(const double *value, uint64_t n, bool *found);

/* centre -+ t * deviation of the batches / sqrt(KVS_N_BATCH), t of Student's 95 % */
struct kvs_interval kvs_batch_interval(double centre, const double batch[KVS_N_BATCH]);
enum kvs_steady kvs_batch_steady(const double batch[KVS_N_BATCH]);

/* Batches of latencies in order of arrival; the first n % KVS_N_BATCH are in none. */
struct kvs_batches {
    uint64_t each; /* values a batch */
    bool settled;  /* MSER-5 found where the warm-up ends */
    double mean[KVS_N_BATCH], p50[KVS_N_BATCH];
    struct kvs_interval p99; /* of all values in batches; no end lies beyond them */
};
void kvs_batches_make(double *value, uint64_t n, struct kvs_batches *batches); /* reorders value */

struct kvs_ttft_intervals {
    struct kvs_interval mean, p50, p99; /* p99: from 100 values a batch on; on M/M/1 each holds the
                                           truth in 92 to 96 % of runs (oracle_steady) */
    enum kvs_steady steady;
};
/* Around the figures of all values. */
struct kvs_ttft_intervals kvs_ttft_intervals(const struct kvs_batches *batches, double mean,
                                             double p50, double p99);

#endif
