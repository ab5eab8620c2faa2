/*
 * plan_epic.c - EPIC's LegoLink (Hu et al., ICML 2025, arXiv 2410.15332): the first 16 tokens of
 * every passage are computed again in all layers, known before anything is loaded. 16 of 512: the
 * first share of the menu of at least 3 %. Of the levels the one with the least T within the
 * budget.
 */
#include "rule.h"

#include <string.h>

#define SHARE .03

/* Fraction i computes nothing from the front on: of moved text it repairs a share. */
static bool repairs(const struct kvs_plan_problem *problem, uint32_t i)
{
    return problem->layer[0]->full_ns[i] == 0 && problem->layer[0]->wfull_ns[i] > 0;
}

static enum kvs_code plan(const struct kvs_plan_problem *problem, struct kvs_plan_scratch *scratch,
                          struct kvs_plan *plan_out, struct kvs_plan_eval *eval,
                          int64_t *lower_bound_ns, struct kvs_err *err)
{
    uint32_t last = problem->n_frac - 1, i = 0;
    struct kvs_rule_pick pick = {0};

    (void)scratch;
    (void)err;
    *lower_bound_ns = INT64_MIN;
    /* the first passage is not moved; of few passages the greatest share may be less */
    while (i < last && problem->frac[i] < SHARE * .9 &&
           (!repairs(problem, i) || repairs(problem, i + 1)))
        i++;
    for (uint32_t q = 0; q < problem->n_level; q++) {
        struct kvs_plan plan = {{0}, {0}};

        memset(plan.frac_i, (int)i, problem->n_layer);
        memset(plan.level, (int)q, problem->n_layer);
        kvs_rule_offer(problem, &plan, &pick);
    }
    *plan_out = pick.plan;
    *eval = pick.eval;
    return KVS_OK;
}

const struct kvs_planner_ops kvs_planner_epic = {
    .name = "epic",
    .help = "EPIC: the first 3 % of each passage computed again in all layers, the rest loaded",
    .plan = plan,
};
