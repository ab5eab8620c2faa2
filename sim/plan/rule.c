#include "rule.h"

#include <assert.h>

static int64_t over(const struct kvs_plan_problem *problem, const struct kvs_plan_eval *eval)
{
    return eval->distortion > problem->budget ? eval->distortion - problem->budget : 0;
}

void kvs_rule_offer(const struct kvs_plan_problem *problem, const struct kvs_plan *plan,
                    struct kvs_rule_pick *pick)
{
    struct kvs_plan_eval eval;
    bool whole = kvs_plan_eval(problem, plan, NULL, &eval);

    assert(whole);
    (void)whole;
    if (pick->any) {
        int64_t a = over(problem, &eval), b = over(problem, &pick->eval);

        if (a > b || (a == b && eval.end_ns >= pick->eval.end_ns))
            return;
    }
    *pick = (struct kvs_rule_pick){.any = true, .plan = *plan, .eval = eval};
}
