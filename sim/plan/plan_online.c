/*
 * plan_online.c - under load, GPU seconds and link seconds have prices: the least of
 *
 *     (1 + price_t) * (T + passes) + price_gpu * (compute + passes)
 *                                  + sum over routes of price_link * io
 *
 * over the optimum of T, all flat plans and all layer splits. Without prices it is the optimum of
 * T.
 */
#include "corner.h"
#include "optimal.h"

#include <assert.h>
#include <math.h>
#include <string.h>

struct pick {
    struct kvs_plan plan;
    struct kvs_plan_eval eval;
    double cost;
    int64_t over; /* distortion above the budget */
};

static void offer(const struct kvs_plan_problem *problem, const struct kvs_plan *plan,
                  struct pick *pick)
{
    struct kvs_plan_eval eval;
    bool whole = kvs_plan_eval(problem, plan, NULL, &eval);
    int64_t over = eval.distortion > problem->budget ? eval.distortion - problem->budget : 0;
    double cost;

    assert(whole);
    (void)whole;
    if (over > pick->over)
        return;
    cost = kvs_plan_cost(problem, plan, &eval);
    if (over == pick->over && cost >= pick->cost)
        return;
    *pick = (struct pick){*plan, eval, cost, over};
}

static void offer_corners(const struct kvs_plan_problem *problem, struct pick *pick)
{
    uint32_t n_layer = problem->n_layer, last = problem->n_frac - 1;
    struct kvs_plan plan = {{0}, {0}};

    for (uint32_t q = 0; q < problem->n_level; q++) {
        memset(plan.level, (int)q, n_layer);
        for (uint32_t i = 0; i <= last; i++) {
            memset(plan.frac_i, (int)i, n_layer);
            offer(problem, &plan, pick);
        }
        for (uint32_t cut = n_layer - 1; cut > 0; cut--) {
            plan.frac_i[cut] = 0;
            offer(problem, &plan, pick);
        }
    }
}

static enum kvs_code plan(const struct kvs_plan_problem *problem, struct kvs_plan_scratch *scratch,
                          struct kvs_plan *plan_out, struct kvs_plan_eval *eval,
                          int64_t *lower_bound_ns, struct kvs_err *err)
{
    struct kvs_optimum optimum;
    struct pick pick;
    bool priced = problem->price_gpu > 0 || problem->pass_ns;
    enum kvs_code code = kvs_optimize(problem, scratch, KVS_ENOUGH, &optimum, err);

    *lower_bound_ns = INT64_MIN;
    if (code)
        return code;
    kvs_optimum_take(problem, &optimum, &pick.plan, &pick.eval, lower_bound_ns);
    for (uint32_t k = 0; k < problem->n_route; k++)
        priced |= problem->price_link[k] > 0;
    if (priced) {
        pick.cost = kvs_plan_cost(problem, &pick.plan, &pick.eval);
        pick.over =
            pick.eval.distortion > problem->budget ? pick.eval.distortion - problem->budget : 0;
        offer_corners(problem, &pick);
    }
    *plan_out = pick.plan;
    *eval = pick.eval;
    return KVS_OK;
}

const struct kvs_planner_ops kvs_planner_online = {
    .name = "online",
    .help = "the least T plus what its GPU and link time delay others by, priced by the backlog",
    .may_recompute = true,
    .searches = true,
    .priced = true,
    .replans = true,
    .plan = plan,
};
