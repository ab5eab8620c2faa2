/*
 * plan_random.h - random instances of the plan problem, for tests and benches.
 */
#ifndef KVS_PLAN_RANDOM_H
#define KVS_PLAN_RANDOM_H

#include "base/arena.h"
#include "base/rng.h"
#include "plan/plan.h"

enum plan_random_kind {
    PLAN_REALISTIC,  /* costs of a transformer on a machine */
    PLAN_ADVERSARIAL /* random costs, many of them 0 */
};

/* A problem in arena's memory: n_frac >= 2. Aborts if there is no memory. */
struct kvs_plan_problem *plan_random(struct kvs_arena *arena, struct kvs_rng *rng,
                                     enum plan_random_kind kind, uint32_t n_layer, uint32_t n_frac,
                                     uint32_t n_level);
/* Lets all layers share the first one's costs. */
void plan_random_share(struct kvs_plan_problem *problem);
/* Gives it restart points: each layer but the first by a chance of one in `in`; and costs that let
 * work never fall with the fraction. */
void plan_random_states(struct kvs_arena *arena, struct kvs_rng *rng,
                        struct kvs_plan_problem *problem, uint32_t in);
/* Any plan within the staircase, risen at restart points. */
void plan_random_plan(struct kvs_rng *rng, const struct kvs_plan_problem *problem,
                      struct kvs_plan *plan);

#endif
