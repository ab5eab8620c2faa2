/*
 * plan_load.c - load all, layer by layer (r = 0): what LMCache's layer-wise mode (arXiv
 * 2510.09665), vLLM's native offloading and SGLang's HiCache do with a hit. Of the levels, the one
 * with the least T within the budget, for all layers.
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
    kvs_corner_plan(problem, &pick, plan_out, eval);
    return KVS_OK;
}

const struct kvs_planner_ops kvs_planner_load = {
    .name = "load",
    .help = "load all that is cached, layer by layer, at the best level within the budget "
            "(LMCache, vLLM offload, HiCache)",
    .ends_only = true,
    .plan = plan,
};
