/*
 * stairs.h - the plan problem with the staircase fixed: only levels are left to choose.
 *
 * It is a plan problem with one fraction, a fraction of the size, and every planner's parts work on
 * it. A search that alternates between staircase and levels gets out of corners that changes of one
 * layer at a time stay in.
 */
#ifndef KVS_PLAN_STAIRS_H
#define KVS_PLAN_STAIRS_H

#include "relax.h"

struct kvs_stairs {
    struct kvs_plan_problem problem; /* of the levels; borrows the original's tables */
    const struct kvs_layer_cost *layer[KVS_MAX_LAYER];
    struct kvs_layer_cost cost[KVS_MAX_LAYER];
    int64_t post_ns[KVS_MAX_LAYER * KVS_MAX_LEVEL];
};

/* T and distortion of the result with plan's fractions are those of the original with its own. */
void kvs_stairs_fix(const struct kvs_plan_problem *problem, const struct kvs_plan *plan,
                    int64_t budget, struct kvs_stairs *stairs);
/*
 * The staircase that gives each fraction as many layers as the mixture does, the largest first: a
 * mixture keeps all engines busy at once, a staircase one after the other. Levels are not set.
 */
void kvs_stairs_of_mixture(const struct kvs_relax *relax, struct kvs_plan *plan);

#endif
