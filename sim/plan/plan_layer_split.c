/*
 * plan_layer_split.c - CacheFlow's layer mode (arXiv 2604.25080 v1): recompute all tokens in the
 * layers below k, load all from k on; k from 0 to the number of layers. The cut and the one level
 * with the least T.
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
    kvs_corner_flat(problem, 0, 0, &pick);
    kvs_corner_flat(problem, problem->n_frac - 1, problem->n_frac - 1, &pick);
    kvs_corner_cuts(problem, &pick);
    kvs_corner_plan(problem, &pick, plan_out, eval);
    return KVS_OK;
}

const struct kvs_planner_ops kvs_planner_layer_split = {
    .name = "layer-split",
    .help = "recompute the lower layers, load the upper ones (CacheFlow's layer mode)",
    .may_recompute = true,
    .ends_only = true,
    .plan = plan,
};
