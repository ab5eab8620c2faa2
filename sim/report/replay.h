/*
 * replay.h - one policy's run of a workload in memory: the simulator's rows and totals, no file.
 *
 * What a run's folder and a study's points have in common.
 */
#ifndef KVS_REPLAY_H
#define KVS_REPLAY_H

#include "outcome.h"
#include "workload.h"

struct kvs_replay_options {
    uint64_t n_timeline; /* first requests whose spans are kept; 0: none */
    /* As in struct kvs_run_options. */
    bool (*progress)(void *ctx, uint32_t policy_i, uint64_t n_arrived, double done_frac);
    void *ctx;
};

/*
 * Runs policy policy_i of `compare` over the whole trace; *collect holds a row a request, by index,
 * and is the caller's to free. A trace without a request is KVS_ERR_PARSE.
 */
KVS_MUST_CHECK enum kvs_code kvs_replay(const struct kvs_workload *workload, uint32_t policy_i,
                                        const struct kvs_replay_options *options,
                                        struct kvs_collect *collect, struct kvs_trace_note *note,
                                        struct kvs_sim_result *result, struct kvs_err *err);

/* The same, down to the figures; outcome keeps no rows. End it with kvs_outcome_free. */
KVS_MUST_CHECK enum kvs_code kvs_replay_outcome(const struct kvs_workload *workload,
                                                uint32_t policy_i, struct kvs_outcome *outcome,
                                                struct kvs_err *err);

#endif
