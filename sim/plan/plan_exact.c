/*
 * plan_exact.c - the optimum: label setting over the layers with dominance and bounds, from the
 * certified planner's plan and potentials. Time and memory grow without bound with the problem:
 * over N_MOST partial plans at one layer it gives up with KVS_ERR_RANGE. Where someone watches
 * (kvs_plan_scratch_watch), giving up means the certified planner's plan and bound, which are
 * apart.
 */
#include "optimal.h"

#define N_MOST 4000000u

static enum kvs_code plan(const struct kvs_plan_problem *problem, struct kvs_plan_scratch *scratch,
                          struct kvs_plan *plan_out, struct kvs_plan_eval *eval,
                          int64_t *lower_bound_ns, struct kvs_err *err)
{
    struct kvs_optimum optimum;
    struct kvs_label_search search = {.problem = problem, .n_most = N_MOST};
    enum kvs_code code = kvs_optimize(problem, scratch, 0, &optimum, err);
    struct kvs_err why = {0};
    bool found;

    *lower_bound_ns = INT64_MIN;
    if (code)
        return code;
    kvs_relax_spread(optimum.relax);
    search.budget = optimum.budget;
    search.potential = (const struct kvs_potential *const *)optimum.relax->potential;
    search.n_potential = optimum.relax->n_potential;
    search.limit_ns = optimum.end_ns;
    search.watch = kvs_plan_scratch_watched(scratch);
    code = kvs_label_search(kvs_plan_scratch_labels(scratch), &search, plan_out, &found, &why);
    if (code == KVS_ERR_RANGE && search.watch) { /* someone knows that it may give up */
        kvs_optimum_take(problem, &optimum, plan_out, eval, lower_bound_ns);
        return KVS_OK;
    }
    if (code)
        return kvs_fail(err, code, "%s", why.msg);
    if (!found)
        *plan_out = optimum.plan;
    if (kvs_plan_eval(problem, plan_out, NULL, eval) && eval->distortion <= problem->budget)
        *lower_bound_ns = eval->end_ns;
    return KVS_OK;
}

const struct kvs_planner_ops kvs_planner_exact = {
    .name = "exact",
    .help = "the optimum by label setting; for small problems",
    .may_recompute = true,
    .plan = plan,
};
