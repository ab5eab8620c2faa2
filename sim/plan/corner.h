/*
 * corner.h - the corners of the staircase, where the published policies stand: one fraction and one
 * level in all layers, or all recomputed below a cut and all loaded from it on. Hidden states are
 * no corner: they are HCache's.
 *
 * Candidates are offered to a pick, which keeps the best: least excess over the budget first, then
 * least T, then the one offered first. Exact, but cheaper than an evaluation each.
 */
#ifndef KVS_PLAN_CORNER_H
#define KVS_PLAN_CORNER_H

#include "plan.h"

struct kvs_corner_pick {
    bool any;
    int64_t over;         /* distortion above the budget */
    int64_t end_ns;       /* T */
    uint32_t cut;         /* fraction below in layers before cut, above from it on */
    uint8_t below, above; /* indices of fractions */
    uint8_t level;
};

/* Offers the plans with one fraction in every layer, i from first to last, at each level. */
void kvs_corner_flat(const struct kvs_plan_problem *problem, uint32_t first, uint32_t last,
                     struct kvs_corner_pick *pick);
/* Offers the layer split at every cut from 1 to n_layer - 1, at each level. */
void kvs_corner_cuts(const struct kvs_plan_problem *problem, struct kvs_corner_pick *pick);
/* The picked plan, and its evaluation. */
void kvs_corner_plan(const struct kvs_plan_problem *problem, const struct kvs_corner_pick *pick,
                     struct kvs_plan *plan, struct kvs_plan_eval *eval);

#endif
