/*
 * rule.h - what published policies weigh when they decide: sums of compute and load times, without
 * the pipeline that kvs_plan_eval follows. And the pick of the best of a few plans.
 */
#ifndef KVS_RULE_H
#define KVS_RULE_H

#include "plan.h"

/* Compute of layer l when fraction i is recomputed there, waiting or not. */
static inline int64_t kvs_rule_compute_ns(const struct kvs_plan_problem *problem, uint32_t l,
                                          uint32_t i)
{
    return problem->layer[l]->full_ns[i] + problem->layer[l]->wfull_ns[i];
}

/* The slowest route's time, or the decoder's, for what is left at fraction i and level q. */
static inline int64_t kvs_rule_load_ns(const struct kvs_plan_problem *problem, uint32_t l,
                                       uint32_t i, uint32_t q)
{
    uint32_t at = i * problem->n_level + q;
    int64_t ns = problem->layer[l]->decode_ns[at];

    for (uint32_t k = 0; k < problem->n_route; k++)
        if (problem->layer[l]->io_ns[k][at] > ns)
            ns = problem->layer[l]->io_ns[k][at];
    return ns;
}

/* Loaded as K and V: hidden states are HCache's. */
static inline bool kvs_rule_is_kv(const struct kvs_plan_problem *problem, uint32_t q)
{
    return q == 0 || q != problem->hidden_level;
}

/* The best plan offered so far: least excess over the budget, then least T, then the first. */
struct kvs_rule_pick {
    bool any;
    struct kvs_plan plan;
    struct kvs_plan_eval eval;
};

void kvs_rule_offer(const struct kvs_plan_problem *problem, const struct kvs_plan *plan,
                    struct kvs_rule_pick *pick);

#endif
