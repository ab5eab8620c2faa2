/*
 * sweep.h - a study over axes: every point run once, kept as it ends, one table of all.
 *
 * The folder holds points.journal (points-I-of-N.journal of a shard), what is finished so far; and
 * results.csv, once all points are there: a row a point and policy, in the order of the points, the
 * same bytes whatever ran them. A sweep that was interrupted or killed goes on where it stopped.
 */
#ifndef KVS_SWEEP_H
#define KVS_SWEEP_H

#include "farm.h"
#include "spec.h"

struct kvs_sweep_count {
    uint64_t n_point;       /* of this sweep, or of this shard */
    uint64_t n_kept, n_run; /* done before, and now */
    uint64_t n_failed;      /* of both */
    bool complete;          /* results.csv is there */
};

struct kvs_sweep_options {
    const char *dir;
    bool overwrite;            /* forgets what the folder holds of this shard */
    unsigned n_job;            /* processes on this machine */
    uint64_t shard_i, shard_n; /* points of which number % shard_n = shard_i; shard_n 1: all */
    /* Deals the points out; NULL: kvs_farm_local. */
    enum kvs_code (*deal)(void *deal_ctx, const struct kvs_farm *farm, struct kvs_err *err);
    void *deal_ctx;
    /* true stops the sweep: KVS_ERR_IO "interrupted", and what is done stays. */
    bool (*progress)(void *ctx, const struct kvs_sweep_count *count);
    void *ctx;
};

KVS_MUST_CHECK enum kvs_code kvs_sweep_run(const struct kvs_spec *spec,
                                           const struct kvs_sweep_options *options,
                                           struct kvs_sweep_count *count, struct kvs_err *err);

/*
 * Work for a farmer elsewhere: makes points of spec until work_elsewhere says that there are no
 * more. For the ranks of an MPI job.
 */
KVS_MUST_CHECK enum kvs_code kvs_sweep_help(
    const struct kvs_spec *spec,
    enum kvs_code (*work_elsewhere)(void *ctx, const struct kvs_farm *farm, struct kvs_err *err),
    void *ctx, struct kvs_err *err);

/*
 * One results.csv in out of the journals in all of dirs, which must be of one sweep and together
 * hold every point; a point that several hold counts once and must be the same in all.
 */
KVS_MUST_CHECK enum kvs_code kvs_sweep_merge(const struct kvs_strs *dirs, const char *out,
                                             struct kvs_sweep_count *count, struct kvs_err *err);

#endif
