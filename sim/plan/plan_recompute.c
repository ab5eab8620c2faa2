/*
 * plan_recompute.c - plain prefill: what is cached is not used (r = 1 in every layer).
 */
#include "corner.h"

static enum kvs_code plan(const struct kvs_plan_problem *problem, struct kvs_plan_scratch *scratch,
                          struct kvs_plan *plan_out, struct kvs_plan_eval *eval,
                          int64_t *lower_bound_ns, struct kvs_err *err)
{
    struct kvs_corner_pick pick = {0};

    (void)scratch;
    (void)err;
    *lower_bound_ns = INT64_MIN;
    kvs_corner_flat(problem, problem->n_frac - 1, problem->n_frac - 1, &pick);
    kvs_corner_plan(problem, &pick, plan_out, eval);
    return KVS_OK;
}

const struct kvs_planner_ops kvs_planner_recompute = {
    .name = "recompute",
    .help = "compute every token again: plain prefill",
    .never_loads = true,
    .may_recompute = true,
    .ends_only = true,
    .plan = plan,
};
