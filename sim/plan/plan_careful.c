/*
 * plan_careful.c - the fastest plan that can't lose: one whose regret against the better of
 * load-all and recompute-all is at most 1 % of T wherever the truth lies within the inputs' error
 * bars (regret.h). Tried are, fastest first: the optimum, the plans of all policies that don't
 * search, what the scratch knows, and optima of the machine as it is at the corners of the error
 * bars where the optimum and then its successor lose most; then plans between the optimum and the
 * fastest of those. Published hybrids do lose: 0.80x in one table of Cake.
 */
#include "optimal.h"
#include "regret.h"

#include <stdlib.h>
#include <string.h>

#define N_CORNER 4  /* optima of other truths, at most */
#define N_BETWEEN 3 /* times that what is held draws nearer to the optimum */
#define N_PART 8

/* The fastest plan so far whose regret holds. */
struct held {
    bool any;
    struct kvs_plan plan;
    struct kvs_plan_eval eval;
};

/* regret is set where the plan is faster than what is held. */
static void try_plan(const struct kvs_plan_problem *problem, const struct kvs_plan *plan,
                     struct held *held, struct kvs_regret *regret)
{
    struct kvs_plan one = *plan;
    struct kvs_plan_eval eval;

    if (!kvs_plan_eval(problem, plan, NULL, &eval) || eval.distortion > problem->budget ||
        (held->any && eval.end_ns >= held->eval.end_ns))
        return;
    if (kvs_never_worse(problem, &one, &eval, regret))
        *held = (struct held){true, one, eval};
}

static enum kvs_code try_policies(const struct kvs_plan_problem *problem,
                                  struct kvs_plan_scratch *scratch, struct held *held,
                                  struct kvs_err *err)
{
    for (uint32_t i = 0; kvs_planner_list[i]; i++) {
        struct kvs_plan_eval eval;
        struct kvs_regret regret;
        struct kvs_plan plan;
        int64_t bound_ns;

        if (kvs_planner_list[i]->searches)
            continue;
        if (kvs_planner_list[i]->plan(problem, scratch, &plan, &eval, &bound_ns, err))
            return err->code;
        try_plan(problem, &plan, held, &regret);
    }
    uint32_t n_known;
    const struct kvs_plan *known = kvs_plan_scratch_known(scratch, &n_known);
    for (uint32_t i = 0; i < n_known; i++) {
        struct kvs_regret regret;

        try_plan(problem, &known[i], held, &regret);
    }
    return KVS_OK;
}

/* Optima of the truths at which the plan before loses most. */
static enum kvs_code try_corners(const struct kvs_plan_problem *problem,
                                 struct kvs_plan_scratch *scratch, struct kvs_regret regret,
                                 struct held *held, struct kvs_err *err)
{
    uint32_t corner[N_CORNER];

    for (uint32_t n = 0; n < N_CORNER; n++) {
        struct kvs_optimum optimum;
        struct kvs_plan_problem *truth;
        int64_t before_ns = held->any ? held->eval.end_ns : INT64_MAX;

        corner[n] = regret.corner;
        for (uint32_t i = 0; i < n; i++)
            if (corner[i] == corner[n])
                return KVS_OK;
        truth = kvs_regret_truth(problem, corner[n]);
        if (!truth)
            return kvs_nomem(err);
        enum kvs_code code = kvs_optimize(truth, scratch, KVS_ENOUGH, &optimum, err);
        free(truth);
        if (code)
            return code;
        try_plan(problem, &optimum.plan, held, &regret);
        if (held->any && held->eval.end_ns < before_ns)
            return KVS_OK;
    }
    return KVS_OK;
}

/* Plans between the optimum and what is held: of the first layers of one and the last of the
 * other, and of fractions between theirs. */
static void try_between(const struct kvs_plan_problem *problem, const struct kvs_plan *optimum,
                        struct held *held)
{
    const struct kvs_plan end[2] = {*optimum, held->plan};
    struct kvs_regret regret;

    for (uint32_t cut = 1; cut < problem->n_layer; cut++)
        for (unsigned first = 0; first < 2; first++) {
            struct kvs_plan plan = end[first];

            memcpy(plan.frac_i + cut, end[!first].frac_i + cut, problem->n_layer - cut);
            memcpy(plan.level + cut, end[!first].level + cut, problem->n_layer - cut);
            try_plan(problem, &plan, held, &regret);
        }
    for (unsigned part = 1; part < N_PART; part++)
        for (unsigned levels = 0; levels < 2; levels++) {
            struct kvs_plan plan = end[levels];

            for (uint32_t l = 0; l < problem->n_layer; l++)
                plan.frac_i[l] =
                    (uint8_t)((part * end[0].frac_i[l] + (N_PART - part) * end[1].frac_i[l]) /
                              N_PART);
            try_plan(problem, &plan, held, &regret);
        }
}

static enum kvs_code plan(const struct kvs_plan_problem *problem, struct kvs_plan_scratch *scratch,
                          struct kvs_plan *plan_out, struct kvs_plan_eval *eval,
                          int64_t *lower_bound_ns, struct kvs_err *err)
{
    struct kvs_optimum optimum;
    struct kvs_regret regret;
    struct held held = {.any = false};
    struct kvs_plan best;
    enum kvs_code code = kvs_optimize(problem, scratch, KVS_ENOUGH, &optimum, err);

    *lower_bound_ns = INT64_MIN;
    if (code)
        return code;
    kvs_optimum_take(problem, &optimum, plan_out, eval, lower_bound_ns);
    best = *plan_out;
    if (kvs_never_worse(problem, &best, eval, &regret))
        return KVS_OK;
    *plan_out = best; /* load-all or recompute-all, which is where a policy must be faster */
    if (eval->distortion <= problem->budget)
        held = (struct held){true, best, *eval};
    code = try_policies(problem, scratch, &held, err);
    if (!code)
        code = try_corners(problem, scratch, regret, &held, err);
    for (unsigned n = 0; !code && held.any && n < N_BETWEEN; n++)
        try_between(problem, &optimum.plan, &held);
    if (!code && held.any) {
        *plan_out = held.plan;
        *eval = held.eval;
    }
    return code;
}

const struct kvs_planner_ops kvs_planner_careful = {
    .name = "careful",
    .help = "the fastest plan that loses at most 1 % to loading or recomputing all, whatever of "
            "the error bars is true",
    .may_recompute = true,
    .searches = true,
    .plan = plan,
};
