/*
 * plan_exact.c - the optimum: label setting over the layers with dominance and bounds, from the
 * certified planner's plan and potentials. Time and memory grow without bound with the problem:
 * over N_MOST partial plans at one layer it gives up with KVS_ERR_RANGE. Where someone watches
 * (kvs_plan_scratch_watch), giving up means the certified planner's own plan and bound, which are
 * apart.
 */
#include "optimal.h"

#define N_MOST 16000000u

/* Below limit_ns, from the sharpest bound there is; *found: there is such a plan. */
static enum kvs_code search_all(const struct kvs_plan_problem *problem,
                                struct kvs_plan_scratch *scratch, int64_t limit_ns,
                                struct kvs_plan *plan, bool *found, struct kvs_err *err)
{
    struct kvs_optimum sharp;
    struct kvs_label_search search = {.problem = problem, .n_most = N_MOST};
    enum kvs_code code = kvs_optimize(problem, scratch, 0, &sharp, err);
    bool sharper = !code && sharp.end_ns < limit_ns;

    *found = false;
    if (code)
        return code;
    kvs_relax_spread(sharp.relax);
    search.budget = sharp.budget;
    search.potential = (const struct kvs_potential *const *)sharp.relax->potential;
    search.n_potential = sharp.relax->n_potential;
    search.limit_ns = sharper ? sharp.end_ns : limit_ns;
    search.watch = kvs_plan_scratch_watched(scratch);
    code = kvs_label_search(kvs_plan_scratch_labels(scratch), &search, plan, found, err);
    if (!code && !*found && sharper) {
        *plan = sharp.plan;
        *found = true;
    }
    return code;
}

static enum kvs_code plan(const struct kvs_plan_problem *problem, struct kvs_plan_scratch *scratch,
                          struct kvs_plan *plan_out, struct kvs_plan_eval *eval,
                          int64_t *lower_bound_ns, struct kvs_err *err)
{
    struct kvs_optimum optimum;
    struct kvs_err why = {0};
    struct kvs_plan best;
    bool found;
    enum kvs_code code = kvs_optimize(problem, scratch, KVS_ENOUGH, &optimum, err);

    *lower_bound_ns = INT64_MIN;
    if (code)
        return code;
    kvs_optimum_take(problem, &optimum, plan_out, eval, lower_bound_ns);
    code = search_all(problem, scratch, optimum.end_ns, &best, &found, &why);
    if (code == KVS_ERR_RANGE && kvs_plan_scratch_watched(scratch))
        return KVS_OK; /* someone knows that it may give up */
    *lower_bound_ns = INT64_MIN;
    if (code)
        return kvs_fail(err, code, "%s", why.msg);
    if (found)
        *plan_out = best;
    if (kvs_plan_eval(problem, plan_out, NULL, eval) && eval->distortion <= problem->budget)
        *lower_bound_ns = eval->end_ns;
    return KVS_OK;
}

const struct kvs_planner_ops kvs_planner_exact = {
    .name = "exact",
    .help = "the optimum by label setting; for small problems",
    .may_recompute = true,
    .searches = true,
    .plan = plan,
};
