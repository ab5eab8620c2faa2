/*
 * plan_hcache.c - HCache (Gao et al., EuroSys 2025, arXiv 2410.05004): hidden states in place of K
 * and V, and as many layers otherwise as balance: recomputed from tokens, then the first ones,
 * where loading is slow; loaded as KV, then the last ones, where computing is. The number with the
 * least max(sum of compute, sum of loads), each side. Without hidden states on the menu (they would
 * be more bytes than K and V) it loads all as it is.
 */
#include "rule.h"

#include <string.h>

/* Layers below first are computed; those from last on loaded as KV; between them hidden states. */
static void make(const struct kvs_plan_problem *problem, uint32_t first, uint32_t last,
                 struct kvs_plan *plan)
{
    memset(plan, 0, sizeof *plan);
    memset(plan->frac_i, (int)problem->n_frac - 1, first);
    memset(plan->level, problem->hidden_level, last);
}

static int64_t balance_ns(const struct kvs_plan_problem *problem, const struct kvs_plan *plan)
{
    int64_t compute_ns = 0, load_ns = 0;

    for (uint32_t l = 0; l < problem->n_layer; l++) {
        uint32_t i = plan->frac_i[l], q = plan->level[l];
        const struct kvs_layer_cost *cost = problem->layer[l];

        /* what projecting hidden states adds to the new tokens' work */
        compute_ns += kvs_rule_compute_ns(problem, l, i) + cost->post_ns[i * problem->n_level + q];
        load_ns += kvs_rule_load_ns(problem, l, i, q);
    }
    return compute_ns > load_ns ? compute_ns : load_ns;
}

static enum kvs_code plan(const struct kvs_plan_problem *problem, struct kvs_plan_scratch *scratch,
                          struct kvs_plan *plan_out, struct kvs_plan_eval *eval,
                          int64_t *lower_bound_ns, struct kvs_err *err)
{
    struct kvs_rule_pick pick = {0};
    struct kvs_plan best, one;
    uint32_t n_layer = problem->n_layer;
    int64_t least_ns;

    (void)scratch;
    (void)err;
    *lower_bound_ns = INT64_MIN;
    make(problem, 0, n_layer, &best);
    least_ns = balance_ns(problem, &best);
    for (uint32_t other = 1; other <= n_layer && problem->hidden_level; other++)
        for (int side = 0; side < 2; side++) {
            make(problem, side ? other : 0, side ? n_layer : n_layer - other, &one);
            int64_t ns = balance_ns(problem, &one);

            if (ns < least_ns) {
                least_ns = ns;
                best = one;
            }
        }
    kvs_rule_offer(problem, &best, &pick);
    *plan_out = pick.plan;
    *eval = pick.eval;
    return KVS_OK;
}

const struct kvs_planner_ops kvs_planner_hcache = {
    .name = "hcache",
    .help = "HCache: hidden states in place of K and V, the first layers computed or the last "
            "loaded as KV",
    .plan = plan,
};
