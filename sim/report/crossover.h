/*
 * crossover.h - where each policy wins for a lone prompt: cached context against load bandwidth.
 *
 * For every point of a log-spaced grid the plan problem of one prompt (cached context behind one
 * link of that bandwidth, then the new tokens) is built by plan/tables.h and every policy plans it.
 * Nothing contends, HBM holds nothing, the link has no fixed costs.
 */
#ifndef KVS_CROSSOVER_H
#define KVS_CROSSOVER_H

#include "csv.h"
#include "workload.h"

#define KVS_CROSSOVER_CONTEXTS 65   /* 512 tokens to 128 Ki, 8 an octave */
#define KVS_CROSSOVER_BANDWIDTHS 61 /* 0.125 to 128 GB/s, 6 an octave */

/*
 * A row a point: its cell's edges; the fastest policy; the first of the registry within 2 % of it,
 * the simplest that will do (the choice, and its place in the registry); how many times as fast the
 * fastest is as the better of recompute and load; and each policy's TTFT. Policies: recompute, load
 * and what the workload compares, but not those that only pick among others ("best"); "optimal",
 * whose plans come as near as makes no difference on a map, stands in for "exact", which takes
 * long.
 */
KVS_MUST_CHECK enum kvs_code kvs_crossover_csv(struct kvs_csv *csv,
                                               const struct kvs_workload *workload,
                                               uint32_t new_tok, struct kvs_err *err);

/*
 * The fewest cached tokens, in steps of step_tok, from which a lone prompt with step_tok new tokens
 * has its first token no later by loading them all, raw, from the run's tier than by computing
 * them; 0: not up to 128 Ki.
 */
KVS_MUST_CHECK enum kvs_code kvs_crossover_threshold(const struct kvs_workload *workload,
                                                     uint32_t tier_i, uint32_t step_tok,
                                                     uint32_t *n_tok, struct kvs_err *err);

/*
 * A row a tier of the run: bytes per second at which its route brings the KV of n_tok tokens to one
 * replica, with the fixed costs of block_tok-token blocks.
 */
KVS_MUST_CHECK enum kvs_code kvs_crossover_tiers_csv(struct kvs_csv *csv,
                                                     const struct kvs_workload *workload,
                                                     uint32_t n_tok, uint32_t block_tok,
                                                     struct kvs_err *err);

#endif
