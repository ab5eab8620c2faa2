#include "polish.h"

#include "chain.h"
#include "polish_rising.h"

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

/* What a sweep carries along. */
struct sweep {
    const struct kvs_plan_problem *problem;
    int64_t budget;
    struct kvs_plan *plan;
    struct rank rank; /* of the plan */
    bool better;
};

/* Head and tail joined where that ranks before the plan. n_route is a constant where it matters. */
static inline __attribute__((always_inline)) bool is_gain(const struct sweep *s, uint32_t n_route,
                                                          const struct kvs_chain_head *head,
                                                          const struct kvs_chain_tail *tail,
                                                          struct rank *rank)
{
    int64_t base = s->problem->gpu_start_ns, limit = s->rank.end_ns - s->problem->head_ns;
    int64_t end, path;

    rank->work_ns = head->work_ns + tail->work_ns;
    rank->distortion = head->distortion + tail->distortion;
    end = base + rank->work_ns;
    path = head->after_ns + tail->wait_ns;
    end = end > path ? end : path;
    path = head->x_ns + tail->from_x_ns;
    end = end > path ? end : path;
    for (uint32_t k = 0; k < n_route; k++) {
        path = head->in_ns[k] + tail->from_in_ns[k];
        end = end > path ? end : path;
    }
    if (rank->distortion > s->budget || end > limit)
        return false;
    rank->end_ns = end + s->problem->head_ns;
    return is_less(rank, &s->rank);
}

/*
 * The best choice in layer l. head: of the layers before l - 1 (before 0 for l = 0), since the
 * layer before pays for what this one recomputes; tail: of those after l.
 */
static inline __attribute__((always_inline)) void improve(struct sweep *s, uint32_t n_route,
                                                          uint32_t l,
                                                          const struct kvs_chain_head *head,
                                                          const struct kvs_chain_tail *tail)
{
    const struct kvs_plan_problem *problem = s->problem;
    struct kvs_plan *plan = s->plan;
    uint32_t low = frac_at(problem, plan, l + 1), n_level = problem->n_level;
    uint32_t high = l > 0 ? plan->frac_i[l - 1] : problem->n_frac - 1;
    int64_t spare = s->budget - tail->distortion;
    struct kvs_chain_step step;

    for (uint32_t i = low; i <= high; i++) {
        const int64_t *distortion = problem->layer[l]->distortion + i * n_level;
        struct kvs_chain_head before = *head;

        if (l > 0) {
            kvs_chain_step_at(problem, l - 1, plan->frac_i[l - 1], i, plan->level[l - 1], &step);
            kvs_chain_append(n_route, &before, &step);
        }
        for (uint32_t q = 0; q < n_level; q++) {
            struct kvs_chain_head on = before;
            struct rank other;

            if (before.distortion + distortion[q] > spare)
                continue;
            kvs_chain_step_at(problem, l, i, low, q, &step);
            kvs_chain_append(n_route, &on, &step);
            if (!is_gain(s, n_route, &on, tail, &other))
                continue;
            s->rank = other;
            plan->frac_i[l] = (uint8_t)i;
            plan->level[l] = (uint8_t)q;
            s->better = true;
        }
    }
}

/* The best levels of layers l and l + 1 together, fractions as they are; head: of the layers
 * before l, tail: of those after l + 1. */
static inline __attribute__((always_inline)) void improve_pair(struct sweep *s, uint32_t n_route,
                                                               uint32_t l,
                                                               const struct kvs_chain_head *head,
                                                               const struct kvs_chain_tail *tail)
{
    const struct kvs_plan_problem *problem = s->problem;
    struct kvs_plan *plan = s->plan;
    uint32_t i = plan->frac_i[l], j = plan->frac_i[l + 1], n_level = problem->n_level;
    uint32_t next = frac_at(problem, plan, l + 2);
    struct kvs_chain_tail second[KVS_MAX_LEVEL];
    struct kvs_chain_step step;

    for (uint32_t r = 0; r < n_level; r++) {
        second[r] = *tail;
        kvs_chain_step_at(problem, l + 1, j, next, r, &step);
        kvs_chain_prepend(n_route, &step, &second[r]);
    }
    for (uint32_t q = 0; q < n_level; q++) {
        struct kvs_chain_head first = *head;
        struct rank other;

        kvs_chain_step_at(problem, l, i, j, q, &step);
        kvs_chain_append(n_route, &first, &step);
        for (uint32_t r = 0; r < n_level; r++) {
            if (!is_gain(s, n_route, &first, &second[r], &other))
                continue;
            s->rank = other;
            plan->level[l] = (uint8_t)q;
            plan->level[l + 1] = (uint8_t)r;
            s->better = true;
        }
    }
}

static void step_of(const struct kvs_plan_problem *problem, const struct kvs_plan *plan, uint32_t l,
                    struct kvs_chain_step *step)
{
    kvs_chain_step_at(problem, l, plan->frac_i[l], frac_at(problem, plan, l + 1), plan->level[l],
                      step);
}

static inline __attribute__((always_inline)) void sweep_once(struct sweep *s, uint32_t n_route)
{
    const struct kvs_plan_problem *problem = s->problem;
    uint32_t n_layer = problem->n_layer;
    struct kvs_chain_tail tail[KVS_MAX_LAYER + 1];
    struct kvs_chain_head head;
    struct kvs_chain_step step;

    kvs_chain_tail_init(&tail[n_layer]);
    for (uint32_t l = n_layer; l-- > 0;) {
        tail[l] = tail[l + 1];
        step_of(problem, s->plan, l, &step);
        kvs_chain_prepend(n_route, &step, &tail[l]);
    }
    kvs_chain_head_init(problem, &head);
    for (uint32_t l = 0; l < n_layer; l++) {
        improve(s, n_route, l, &head, &tail[l + 1]);
        if (l > 0) {
            step_of(problem, s->plan, l - 1, &step);
            kvs_chain_append(n_route, &head, &step);
        }
        if (l > 0 && l + 1 < n_layer)
            improve_pair(s, n_route, l, &head, &tail[l + 2]);
    }
}

int64_t kvs_polish(const struct kvs_plan_problem *problem, int64_t budget, uint32_t n_sweep,
                   struct kvs_plan *plan)
{
    struct sweep s = {.problem = problem, .budget = budget, .plan = plan};
    struct kvs_plan_eval eval;

    if (problem->state_at)
        return kvs_polish_rising(problem, budget, n_sweep, plan);
    s.better = kvs_plan_eval(problem, plan, NULL, &eval);
    assert(s.better && eval.distortion <= budget);
    s.rank = (struct rank){eval.end_ns, eval.pre_ns + eval.wait_ns, eval.distortion};
    for (uint32_t n = 0; n < n_sweep && s.better; n++) {
        s.better = false;
        if (problem->n_route == 1)
            sweep_once(&s, 1);
        else if (problem->n_route == 2)
            sweep_once(&s, 2);
        else
            sweep_once(&s, problem->n_route);
    }
    return s.rank.end_ns;
}
