#include "polish_rising.h"

#include <assert.h>
#include <string.h>

/* The best plan so far, by what polish.c judges by. */
struct best {
    const struct kvs_plan_problem *problem;
    int64_t budget;
    struct kvs_plan plan;
    struct kvs_plan_eval eval;
};

static bool is_less(const struct kvs_plan_eval *a, const struct kvs_plan_eval *b)
{
    int64_t a_ns = a->pre_ns + a->wait_ns, b_ns = b->pre_ns + b->wait_ns;

    if (a->end_ns != b->end_ns)
        return a->end_ns < b->end_ns;
    if (a_ns != b_ns)
        return a_ns < b_ns;
    return a->distortion < b->distortion;
}

/* Takes the plan if it is one, within the budget, and better. */
static bool offer(struct best *best, const struct kvs_plan *plan)
{
    struct kvs_plan_eval eval;

    if (!kvs_plan_eval(best->problem, plan, NULL, &eval) || eval.distortion > best->budget ||
        !is_less(&eval, &best->eval))
        return false;
    best->plan = *plan;
    best->eval = eval;
    return true;
}

/* The best fraction and level of one layer, the others as they are. */
static bool improve_layer(struct best *best, uint32_t l)
{
    const struct kvs_plan_problem *problem = best->problem;
    struct kvs_plan plan = best->plan;
    bool after = l + 1 < problem->n_layer && !problem->state_at[l + 1], better = false;
    uint32_t low = after ? plan.frac_i[l + 1] : 0;
    uint32_t high = l > 0 && !problem->state_at[l] ? plan.frac_i[l - 1] : problem->n_frac - 1;

    for (uint32_t i = low; i <= high; i++)
        for (uint32_t q = 0; q < problem->n_level; q++) {
            plan.frac_i[l] = (uint8_t)i;
            plan.level[l] = (uint8_t)q;
            better |= offer(best, &plan);
        }
    return better;
}

/*
 * At a restart point: computed from there on up to some layer, at least as much as a fraction; or,
 * from some layer on up to there, at most so much.
 */
static bool improve_restart(struct best *best, uint32_t at)
{
    const struct kvs_plan_problem *problem = best->problem;
    bool better = false;

    for (uint32_t i = 0; i < problem->n_frac; i++) {
        struct kvs_plan plan = best->plan;

        for (uint32_t l = at; l < problem->n_layer && plan.frac_i[l] < i; l++) {
            plan.frac_i[l] = (uint8_t)i;
            better |= offer(best, &plan);
        }
        plan = best->plan;
        for (uint32_t l = at; l-- > 0 && plan.frac_i[l] > i;) {
            plan.frac_i[l] = (uint8_t)i;
            better |= offer(best, &plan);
        }
    }
    return better;
}

int64_t kvs_polish_rising(const struct kvs_plan_problem *problem, int64_t budget, uint32_t n_sweep,
                          struct kvs_plan *plan)
{
    struct best best = {.problem = problem, .budget = budget, .plan = *plan};
    bool better = kvs_plan_eval(problem, plan, NULL, &best.eval);

    assert(better && best.eval.distortion <= budget);
    for (uint32_t n = 0; n < n_sweep && better; n++) {
        better = false;
        for (uint32_t l = 0; l < problem->n_layer; l++) {
            better |= improve_layer(&best, l);
            if (l > 0 && problem->state_at[l])
                better |= improve_restart(&best, l);
        }
    }
    *plan = best.plan;
    return best.eval.end_ns;
}
