/*
 * plan_token_split.c - Cake (Jin et al., ICML 2025, arXiv 2410.03065), its static optimum: compute
 * from the front, load from the back, meet; the same fraction in every layer. The fraction and the
 * one level with the least T.
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
    kvs_corner_flat(problem, 0, problem->n_frac - 1, &pick);
    kvs_corner_plan(problem, &pick, plan_out, eval);
    return KVS_OK;
}

const struct kvs_planner_ops kvs_planner_token_split = {
    .name = "token-split",
    .help = "recompute the first tokens, load the rest, the same split in every layer (Cake's "
            "static optimum)",
    .may_recompute = true,
    .plan = plan,
};
