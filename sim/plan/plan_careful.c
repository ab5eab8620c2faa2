/*
 * plan_careful.c - the optimum, where it can't lose: a hybrid is taken only if its regret against
 * the better of load-all and recompute-all is at most 1 % of T wherever the truth lies within the
 * inputs' error bars (regret.h). Published hybrids do lose: 0.80x in one table of Cake.
 */
#include "optimal.h"
#include "regret.h"

static enum kvs_code plan(const struct kvs_plan_problem *problem, struct kvs_plan_scratch *scratch,
                          struct kvs_plan *plan_out, struct kvs_plan_eval *eval,
                          int64_t *lower_bound_ns, struct kvs_err *err)
{
    struct kvs_optimum optimum;
    struct kvs_regret regret;
    enum kvs_code code = kvs_optimize(problem, scratch, KVS_ENOUGH, &optimum, err);

    *lower_bound_ns = INT64_MIN;
    if (code)
        return code;
    kvs_optimum_take(problem, &optimum, plan_out, eval, lower_bound_ns);
    kvs_never_worse(problem, plan_out, eval, &regret);
    return KVS_OK;
}

const struct kvs_planner_ops kvs_planner_careful = {
    .name = "careful",
    .help = "the optimum, unless it may lose over 1 % to loading or recomputing all",
    .may_recompute = true,
    .searches = true,
    .plan = plan,
};
