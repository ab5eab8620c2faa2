/*
 * plan_epic.c - EPIC's LegoLink-16 (Hu et al., ICML 2025, arXiv 2410.15332): of every passage
 * cached behind other text the first 16 tokens are computed again in all layers, known before
 * anything is loaded; what stands where it stood is loaded as it is. Of the levels the one with the
 * least T within the budget.
 */
#include "rule.h"

#include <string.h>

static enum kvs_code plan(const struct kvs_plan_problem *problem, struct kvs_plan_scratch *scratch,
                          struct kvs_plan *plan_out, struct kvs_plan_eval *eval,
                          int64_t *lower_bound_ns, struct kvs_err *err)
{
    struct kvs_rule_pick pick = {0};

    (void)scratch;
    (void)err;
    *lower_bound_ns = INT64_MIN;
    for (uint32_t q = 0; q < problem->n_level; q++) {
        struct kvs_plan plan = {{0}, {0}};

        memset(plan.frac_i, (int)problem->first_i, problem->n_layer);
        memset(plan.level, (int)q, problem->n_layer);
        if (kvs_rule_is_kv(problem, q))
            kvs_rule_offer(problem, &plan, &pick);
    }
    *plan_out = pick.plan;
    *eval = pick.eval;
    return KVS_OK;
}

const struct kvs_planner_ops kvs_planner_epic = {
    .name = "epic",
    .help = "EPIC: the first 16 tokens of each moved passage computed again, the rest loaded",
    .repairs = "first-tokens",
    .repair_tok = KVS_LEGO_TOK,
    .plan = plan,
};
