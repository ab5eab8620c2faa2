/*
 * sampled.h - a cluster too large to replay, told from samples of it: each figure's mean over
 * several samples with its 95 % interval, and beside it the full run's where one is asked for.
 *
 * A sample is a share of the trace's sessions or groups on the same share of the cluster
 * (report/sample.h). The interval is Student's over samples of different seeds: it tells how much
 * which sessions were drawn matters, not how the trace would differ another day, nor what the
 * smaller cluster changes in waiting.
 */
#ifndef KVS_SAMPLED_H
#define KVS_SAMPLED_H

#include "base/opt.h"

#include <stdio.h>

#define KVS_MAX_SAMPLES 30
#define KVS_N_SAMPLED 13

struct kvs_sampled_options {
    const char *workload;
    struct kvs_strs sets;
    double share;             /* 0: what the workload's trace.sample says */
    unsigned n_sample, n_job; /* 2 to KVS_MAX_SAMPLES samples, of seeds 1, 2, ... */
    bool full;                /* simulates the whole as well */
    bool (*progress)(void *ctx, uint64_t n_simulated); /* true stops; may be NULL */
    void *ctx;
};

struct kvs_estimate {
    double mean, half; /* the interval is mean -+ half; NaN: not to be had */
    double full;       /* NaN: not asked for */
};

struct kvs_sampled_policy {
    char name[32];
    struct kvs_estimate figure[KVS_N_SAMPLED]; /* as kvs_sampled_name */
};

struct kvs_sampled {
    double share;
    unsigned n_sample, n_policy;
    bool full;
    struct kvs_sampled_policy *policy;
};

/* Columns of a sweep's table, "ttft_p99_s", and "hit_frac", of HBM and tiers together; requests,
 * rates and bytes are given for the whole. */
extern const char *const kvs_sampled_name[KVS_N_SAMPLED];

/* A sample that fails is an error, with its reason. */
KVS_MUST_CHECK enum kvs_code kvs_sampled(const struct kvs_sampled_options *options,
                                         struct kvs_sampled **sampled, struct kvs_err *err);
void kvs_sampled_free(struct kvs_sampled *sampled); /* accepts NULL */

/* Student's 95 % interval of n values' mean. */
struct kvs_estimate kvs_sampled_estimate(const double *value, unsigned n);

#endif
