/*
 * plan_cacheblend.c - CacheBlend (Yao et al., EuroSys 2025, arXiv 2405.16444): of text cached
 * behind other text, all tokens in the first two layers (the second is where deviations are
 * measured), then a share of them: 15 %, or as many as can be computed while a layer loads, if that
 * is more. What stands where it stood is loaded as it is. Of the levels the one with the least T
 * within the budget.
 */
#include "rule.h"

#include <string.h>

#define LEAST_SHARE .15
#define CHECK_LAYERS 2

/* The greatest share whose compute hides behind the loads of all layers, but 15 % at least. */
static uint32_t share_i(const struct kvs_plan_problem *problem, uint32_t q)
{
    uint32_t i = 0;

    while (i + 1u < problem->n_repair && problem->repair_frac[i] < LEAST_SHARE)
        i++;
    for (; i + 1u < problem->n_repair; i++) {
        int64_t compute_ns = 0, load_ns = 0;

        for (uint32_t l = 0; l < problem->n_layer; l++) {
            compute_ns += kvs_rule_compute_ns(problem, l, i + 1);
            load_ns += kvs_rule_load_ns(problem, l, i + 1, q);
        }
        if (compute_ns > load_ns)
            break;
    }
    return i;
}

/* The fraction that computes all moved text again, and where there is such nothing else. */
static uint32_t all_i(const struct kvs_plan_problem *problem)
{
    uint32_t last = problem->n_repair - 1u;

    if (!problem->n_repair)
        return 0;
    return problem->repair_frac[last] >= 1 && problem->frac[last] < 1 ? last : problem->n_frac - 1;
}

static enum kvs_code plan(const struct kvs_plan_problem *problem, struct kvs_plan_scratch *scratch,
                          struct kvs_plan *plan_out, struct kvs_plan_eval *eval,
                          int64_t *lower_bound_ns, struct kvs_err *err)
{
    uint32_t n_check = problem->n_layer < CHECK_LAYERS ? problem->n_layer : CHECK_LAYERS;
    struct kvs_rule_pick pick = {0};

    (void)scratch;
    (void)err;
    *lower_bound_ns = INT64_MIN;
    for (uint32_t q = 0; q < problem->n_level; q++) {
        struct kvs_plan plan = {{0}, {0}};

        memset(plan.frac_i, (int)share_i(problem, q), problem->n_layer);
        memset(plan.frac_i, (int)all_i(problem), n_check);
        memset(plan.level, (int)q, problem->n_layer);
        if (kvs_rule_is_kv(problem, q))
            kvs_rule_offer(problem, &plan, &pick);
    }
    *plan_out = pick.plan;
    *eval = pick.eval;
    return KVS_OK;
}

const struct kvs_planner_ops kvs_planner_cacheblend = {
    .name = "cacheblend",
    .help = "CacheBlend: moved text whole in two layers, then 15 % of it or what hides behind the "
            "loads",
    .repairs = "deviation",
    .plan = plan,
};
