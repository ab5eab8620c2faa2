/*
 * plan_optimal.c - any staircase, any held level per layer, within the budget, with a certificate.
 *
 * A Lagrangian relaxation over critical paths and the budget (relax.h) gives a bound and prices;
 * label setting of bounded width guided by them (labels.h) and local search (polish.h) give the
 * plan; kvs_certify proves the bound from the problem alone.
 */
#include "optimal.h"

static enum kvs_code plan(const struct kvs_plan_problem *problem, struct kvs_plan_scratch *scratch,
                          struct kvs_plan *plan_out, struct kvs_plan_eval *eval,
                          int64_t *lower_bound_ns, struct kvs_err *err)
{
    struct kvs_optimum optimum;
    enum kvs_code code = kvs_optimize(problem, scratch, KVS_ENOUGH, &optimum, err);

    *lower_bound_ns = INT64_MIN;
    if (code)
        return code;
    kvs_optimum_take(problem, &optimum, plan_out, eval, lower_bound_ns);
    return KVS_OK;
}

const struct kvs_planner_ops kvs_planner_optimal = {
    .name = "optimal",
    .help = "any staircase, any held level per layer, with a proven lower bound",
    .may_recompute = true,
    .searches = true,
    .plan = plan,
};
