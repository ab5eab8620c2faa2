#include "polish.h"

#include "chain.h"

#include <assert.h>

/* What a choice is judged by, in this order. */
struct rank {
    int64_t end_ns, work_ns, distortion;
};

static bool is_less(const struct rank *a, const struct rank *b)
{
    if (a->end_ns != b->end_ns)
        return a->end_ns < b->end_ns;
    if (a->work_ns != b->work_ns)
        return a->work_ns < b->work_ns;
    return a->distortion < b->distortion;
}

static uint32_t frac_at(const struct kvs_plan_problem *problem, const struct kvs_plan *plan,
                        uint32_t l)
{
    return l < problem->n_layer ? plan->frac_i[l] : 0;
}

/*
 * The best choice in layer l. head: of the layers before l - 1 (before 0 for l = 0), since the
 * layer before pays for what this one recomputes; tail: of those after l.
 */
static bool improve(const struct kvs_plan_problem *problem, int64_t budget, uint32_t l,
                    const struct kvs_chain_head *head, const struct kvs_chain_tail *tail,
                    struct kvs_plan *plan, struct rank *rank)
{
    uint32_t low = frac_at(problem, plan, l + 1);
    uint32_t high = l > 0 ? plan->frac_i[l - 1] : problem->n_frac - 1;
    bool better = false;

    for (uint32_t i = low; i <= high; i++) {
        struct kvs_chain_head before = *head;
        struct kvs_chain_step step;

        if (l > 0) {
            kvs_chain_step_at(problem, l - 1, plan->frac_i[l - 1], i, plan->level[l - 1], &step);
            kvs_chain_append(problem->n_route, &before, &step);
        }
        for (uint32_t q = 0; q < problem->n_level; q++) {
            struct kvs_chain_head on = before;
            struct rank other;

            kvs_chain_step_at(problem, l, i, low, q, &step);
            kvs_chain_append(problem->n_route, &on, &step);
            other = (struct rank){kvs_chain_end_ns(problem, &on, tail), on.work_ns + tail->work_ns,
                                  on.distortion + tail->distortion};
            if (other.distortion > budget || !is_less(&other, rank))
                continue;
            *rank = other;
            plan->frac_i[l] = (uint8_t)i;
            plan->level[l] = (uint8_t)q;
            better = true;
        }
    }
    return better;
}

/* The best levels of layers l and l + 1 together, fractions as they are; head: of the layers
 * before. */
static bool improve_pair(const struct kvs_plan_problem *problem, int64_t budget, uint32_t l,
                         const struct kvs_chain_head *head, const struct kvs_chain_tail *tail,
                         struct kvs_plan *plan, struct rank *rank)
{
    uint32_t i = plan->frac_i[l], j = plan->frac_i[l + 1], next = frac_at(problem, plan, l + 2);
    bool better = false;

    for (uint32_t q = 0; q < problem->n_level; q++) {
        struct kvs_chain_head first = *head;
        struct kvs_chain_step step;

        kvs_chain_step_at(problem, l, i, j, q, &step);
        kvs_chain_append(problem->n_route, &first, &step);
        for (uint32_t r = 0; r < problem->n_level; r++) {
            struct kvs_chain_head on = first;
            struct rank other;

            kvs_chain_step_at(problem, l + 1, j, next, r, &step);
            kvs_chain_append(problem->n_route, &on, &step);
            other = (struct rank){kvs_chain_end_ns(problem, &on, tail), on.work_ns + tail->work_ns,
                                  on.distortion + tail->distortion};
            if (other.distortion > budget || !is_less(&other, rank))
                continue;
            *rank = other;
            plan->level[l] = (uint8_t)q;
            plan->level[l + 1] = (uint8_t)r;
            better = true;
        }
    }
    return better;
}

static void step_of(const struct kvs_plan_problem *problem, const struct kvs_plan *plan, uint32_t l,
                    struct kvs_chain_step *step)
{
    kvs_chain_step_at(problem, l, plan->frac_i[l], frac_at(problem, plan, l + 1), plan->level[l],
                      step);
}

int64_t kvs_polish(const struct kvs_plan_problem *problem, int64_t budget, uint32_t n_sweep,
                   struct kvs_plan *plan)
{
    struct kvs_chain_tail tail[KVS_MAX_LAYER + 1];
    struct kvs_chain_step step;
    struct kvs_plan_eval eval;
    struct rank rank;
    bool better = kvs_plan_eval(problem, plan, NULL, &eval);

    assert(better && eval.distortion <= budget);
    rank = (struct rank){eval.end_ns, eval.pre_ns + eval.wait_ns, eval.distortion};
    for (uint32_t n = 0; n < n_sweep && better; n++) {
        struct kvs_chain_head head;

        better = false;
        kvs_chain_tail_init(&tail[problem->n_layer]);
        for (uint32_t l = problem->n_layer; l-- > 0;) {
            tail[l] = tail[l + 1];
            step_of(problem, plan, l, &step);
            kvs_chain_prepend(problem->n_route, &step, &tail[l]);
        }
        kvs_chain_head_init(problem, &head);
        for (uint32_t l = 0; l < problem->n_layer; l++) {
            better |= improve(problem, budget, l, &head, &tail[l + 1], plan, &rank);
            if (l > 0) {
                step_of(problem, plan, l - 1, &step);
                kvs_chain_append(problem->n_route, &head, &step);
            }
            if (l > 0 && l + 1 < problem->n_layer)
                better |= improve_pair(problem, budget, l, &head, &tail[l + 2], plan, &rank);
        }
    }
    return rank.end_ns;
}
