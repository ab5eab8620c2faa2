/*
 * plan_cacheflow.c - CacheFlow, first version (arXiv 2604.25080 v1): one of two modes. Token mode
 * recomputes the first tokens in every layer, layer mode all tokens in the lower layers; either
 * splits where the sum of compute meets the sum of loads, and the mode with the lesser sum is taken
 * (which comes to a switch at a prefix length). It does not look at the pipeline. Of the levels the
 * one with the least T within the budget.
 */
#include "rule.h"

#include <string.h>

static int64_t max_ns(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* The fraction at which the greater of all compute and all loads is least. */
static int64_t token_mode(const struct kvs_plan_problem *problem, uint32_t q, struct kvs_plan *plan)
{
    int64_t least_ns = INT64_MAX;

    for (uint32_t i = 0; i < problem->n_frac; i++) {
        int64_t compute_ns = 0, load_ns = 0;

        for (uint32_t l = 0; l < problem->n_layer; l++) {
            compute_ns += kvs_rule_compute_ns(problem, l, i);
            load_ns += kvs_rule_load_ns(problem, l, i, q);
        }
        if (max_ns(compute_ns, load_ns) < least_ns) {
            least_ns = max_ns(compute_ns, load_ns);
            memset(plan->frac_i, (int)i, problem->n_layer);
        }
    }
    return least_ns;
}

/* The cut at which the greater of compute below and loads from it on is least. */
static int64_t layer_mode(const struct kvs_plan_problem *problem, uint32_t q, struct kvs_plan *plan)
{
    uint32_t last = problem->n_frac - 1, best_cut = 0;
    int64_t least_ns = INT64_MAX, compute_ns = 0, load_ns = 0;

    for (uint32_t l = 0; l < problem->n_layer; l++)
        load_ns += kvs_rule_load_ns(problem, l, 0, q);
    for (uint32_t cut = 0; cut <= problem->n_layer; cut++) {
        if (max_ns(compute_ns, load_ns) < least_ns) {
            least_ns = max_ns(compute_ns, load_ns);
            best_cut = cut;
        }
        if (cut < problem->n_layer) {
            compute_ns += kvs_rule_compute_ns(problem, cut, last);
            load_ns -= kvs_rule_load_ns(problem, cut, 0, q);
        }
    }
    memset(plan->frac_i, 0, problem->n_layer);
    memset(plan->frac_i, (int)last, best_cut);
    return least_ns;
}

static enum kvs_code plan(const struct kvs_plan_problem *problem, struct kvs_plan_scratch *scratch,
                          struct kvs_plan *plan_out, struct kvs_plan_eval *eval,
                          int64_t *lower_bound_ns, struct kvs_err *err)
{
    struct kvs_rule_pick pick = {0};

    (void)scratch;
    (void)err;
    *lower_bound_ns = INT64_MIN;
    for (uint32_t q = 0; q < problem->n_level; q++) {
        struct kvs_plan token = {{0}, {0}}, layer = {{0}, {0}};
        bool by_layer = layer_mode(problem, q, &layer) < token_mode(problem, q, &token);
        struct kvs_plan *mode = by_layer ? &layer : &token;

        memset(mode->level, (int)q, problem->n_layer);
        if (kvs_rule_is_kv(problem, q))
            kvs_rule_offer(problem, mode, &pick);
    }
    *plan_out = pick.plan;
    *eval = pick.eval;
    return KVS_OK;
}

const struct kvs_planner_ops kvs_planner_cacheflow = {
    .name = "cacheflow",
    .help = "CacheFlow: tokens or layers split where compute meets loads, by the lesser sum",
    .may_recompute = true,
    .plan = plan,
};
