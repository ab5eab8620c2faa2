/*
 * optimal.h - what the planners `optimal` and `exact` share: a good plan, and weights that bound
 * it.
 */
#ifndef KVS_PLAN_OPTIMAL_H
#define KVS_PLAN_OPTIMAL_H

#include "relax.h"
#include "scratch.h"

#define KVS_ENOUGH 1e-3 /* relative gap at which the certified planner's search ends */

struct kvs_optimum {
    int64_t budget; /* the problem's, or the least distortion there is if that is more */
    struct kvs_plan plan;
    int64_t end_ns;
    double bound_ns;             /* no plan ends before it, as far as doubles can tell */
    const struct kvs_case *tree; /* the bound's cases, in the scratch's memory */
    uint32_t n_tree;             /* 0: there is one case, and the relaxation has its certificate */
    struct kvs_relax *relax;     /* in the scratch's memory; with its guide only if `guided` */
    bool guided;
};

/* The least distortion that any plan has, and one that has it: above the budget, none fits. */
int64_t kvs_least_distortion(const struct kvs_plan_problem *problem, struct kvs_plan *plan);

/* Ends when the plan is within `enough` (relative) of the bound, or the search's stages are done;
 * then what the scratch knows is offered. */
KVS_MUST_CHECK enum kvs_code kvs_optimize(const struct kvs_plan_problem *problem,
                                          struct kvs_plan_scratch *scratch, double enough,
                                          struct kvs_optimum *out, struct kvs_err *err);
/* The best splice of the relaxation's heaviest plans and the best one, polished, if that is better.
 * mem: kvs_splice_size bytes. */
void kvs_optimum_splice(const struct kvs_relax *relax, void *mem, double enough,
                        struct kvs_optimum *out);
/* kvs_plan_eval of the plan found, and the bound proven by kvs_certify: INT64_MIN if nothing fits
 * the problem's own budget. */
void kvs_optimum_take(const struct kvs_plan_problem *problem, const struct kvs_optimum *optimum,
                      struct kvs_plan *plan, struct kvs_plan_eval *eval, int64_t *lower_bound_ns);

#endif
