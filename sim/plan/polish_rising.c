#include "polish_rising.h"

#include "chain.h"

#include <assert.h>
#include <string.h>

/* What a plan is judged by, in this order: polish.c's. */
struct rank {
    int64_t end_ns, work_ns, distortion;
};

/* The plan, and what its layers leave to one another. */
struct climb {
    const struct kvs_plan_problem *problem;
    int64_t budget;
    struct kvs_plan plan;
    struct rank rank;
    bool better;
    uint8_t low[KVS_MAX_LAYER];                    /* the least fraction up to the layer */
    struct kvs_chain_head head[KVS_MAX_LAYER];     /* layers before; a rise to this one is not in */
    struct kvs_chain_tail tail[KVS_MAX_LAYER + 1]; /* from the layer on; nor is it here */
};

static uint32_t frac_at(const struct climb *c, uint32_t l)
{
    return l < c->problem->n_layer ? c->plan.frac_i[l] : 0;
}

static uint32_t min(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* Layer l at fraction i, `low` the least up to it, behind what is there; then the rise to the next.
 */
static void add(const struct climb *c, uint32_t l, uint32_t low, uint32_t i, uint32_t next,
                uint32_t q, struct kvs_chain_head *head)
{
    struct kvs_chain_step step;

    kvs_chain_step_low(c->problem, l, low, i, next, q, &step);
    kvs_chain_append(c->problem->n_route, head, &step);
    if (l + 1 < c->problem->n_layer)
        kvs_chain_rise(c->problem, i, next, head);
}

/* The same in front of a tail. */
static void add_front(const struct climb *c, uint32_t l, uint32_t low, uint32_t i, uint32_t next,
                      struct kvs_chain_tail *tail)
{
    const struct kvs_plan_problem *problem = c->problem;
    struct kvs_chain_step step;

    for (uint32_t k = 0; next > i && k < problem->n_route; k++)
        tail->from_in_ns[k] += problem->state_ns[k][next] - problem->state_ns[k][i];
    kvs_chain_step_low(problem, l, low, i, next, c->plan.level[l], &step);
    kvs_chain_prepend(problem->n_route, &step, tail);
}

/* Layers before l with what each rises to, and the step to fraction `next` in layer l. */
static void head_to(const struct climb *c, uint32_t l, uint32_t next, struct kvs_chain_head *head)
{
    if (l == 0) {
        *head = c->head[0];
        return;
    }
    *head = c->head[l - 1];
    if (l > 1)
        kvs_chain_rise(c->problem, c->plan.frac_i[l - 2], c->plan.frac_i[l - 1], head);
    add(c, l - 1, c->low[l - 1], c->plan.frac_i[l - 1], next, c->plan.level[l - 1], head);
}

/* The plan's layers from l on where `low` is the least fraction before: they are as they were from
 * where the least is the same again. */
static void tail_from(const struct climb *c, uint32_t l, uint32_t low, struct kvs_chain_tail *tail)
{
    uint8_t lows[KVS_MAX_LAYER];
    uint32_t m = l;

    for (; m < c->problem->n_layer; m++) {
        low = min(low, c->plan.frac_i[m]);
        if (low == c->low[m])
            break;
        lows[m] = (uint8_t)low;
    }
    *tail = c->tail[m];
    while (m-- > l)
        add_front(c, m, lows[m], c->plan.frac_i[m], frac_at(c, m + 1), tail);
}

/* All of it, from the plan. */
static void refresh(struct climb *c)
{
    const struct kvs_plan_problem *problem = c->problem;
    uint32_t n_layer = problem->n_layer;

    kvs_plan_lows(problem, &c->plan, c->low);
    kvs_chain_head_init(problem, &c->head[0]);
    for (uint32_t l = 1; l < n_layer; l++) {
        struct kvs_chain_step step;

        c->head[l] = c->head[l - 1];
        if (l > 1)
            kvs_chain_rise(problem, c->plan.frac_i[l - 2], c->plan.frac_i[l - 1], &c->head[l]);
        kvs_chain_step_low(problem, l - 1, c->low[l - 1], c->plan.frac_i[l - 1], c->plan.frac_i[l],
                           c->plan.level[l - 1], &step);
        kvs_chain_append(problem->n_route, &c->head[l], &step);
    }
    kvs_chain_tail_init(&c->tail[n_layer]);
    for (uint32_t l = n_layer; l-- > 0;) {
        c->tail[l] = c->tail[l + 1];
        add_front(c, l, c->low[l], c->plan.frac_i[l], frac_at(c, l + 1), &c->tail[l]);
    }
}

/* Head and tail joined where that ranks before the plan; it has that rank from now on. */
static bool is_gain(struct climb *c, const struct kvs_chain_head *head,
                    const struct kvs_chain_tail *tail)
{
    struct rank rank = {.work_ns = head->work_ns + tail->work_ns,
                        .distortion = head->distortion + tail->distortion};

    if (rank.distortion > c->budget)
        return false;
    rank.end_ns = kvs_chain_end_ns(c->problem, head, tail);
    if (rank.end_ns > c->rank.end_ns)
        return false;
    if (rank.end_ns == c->rank.end_ns &&
        (rank.work_ns > c->rank.work_ns ||
         (rank.work_ns == c->rank.work_ns && rank.distortion >= c->rank.distortion)))
        return false;
    c->rank = rank;
    return true;
}

/* No route alone takes longer than the plan does. */
static bool loads_in_time(const struct climb *c, const struct kvs_chain_head *head,
                          const struct kvs_chain_tail *tail)
{
    int64_t left = c->rank.end_ns - c->problem->head_ns;

    for (uint32_t k = 0; k < c->problem->n_route; k++)
        if (head->in_ns[k] + tail->from_in_ns[k] > left)
            return false;
    return true;
}

/* Takes a fraction in the layers from `from` to `to`. */
static void take(struct climb *c, uint32_t from, uint32_t to, uint32_t i)
{
    memset(c->plan.frac_i + from, (int)i, to - from + 1);
    c->better = true;
    refresh(c);
}

/* The best fraction and level of one layer, the others as they are. */
static void improve_layer(struct climb *c, uint32_t l)
{
    const struct kvs_plan_problem *problem = c->problem;
    bool ends = l + 1 == problem->n_layer, gain = false;
    uint32_t next = frac_at(c, l + 1), low = ends || problem->state_at[l + 1] ? 0 : next;
    uint32_t high = l > 0 && !problem->state_at[l] ? c->plan.frac_i[l - 1] : problem->n_frac - 1;
    uint32_t best_i = 0, best_q = 0;

    for (uint32_t i = low; i <= high; i++) {
        const int64_t *distortion = problem->layer[l]->distortion + i * problem->n_level;
        uint32_t least = l > 0 ? min(c->low[l - 1], i) : i;
        struct kvs_chain_head before;
        struct kvs_chain_tail tail;

        head_to(c, l, i, &before);
        tail_from(c, l + 1, least, &tail);
        for (uint32_t q = 0; q < problem->n_level; q++) {
            struct kvs_chain_head on = before;

            if (before.distortion + distortion[q] + tail.distortion > c->budget)
                continue;
            add(c, l, least, i, next, q, &on);
            if (!is_gain(c, &on, &tail))
                continue;
            gain = true;
            best_i = i;
            best_q = q;
        }
    }
    if (!gain)
        return;
    c->plan.level[l] = (uint8_t)best_q;
    take(c, l, l, best_i);
}

/* At a restart point: computed from there on up to some layer, at least as much as fraction i. */
static void raise_behind(struct climb *c, uint32_t at, uint32_t i)
{
    const struct kvs_plan_problem *problem = c->problem;
    uint32_t low = min(c->low[at - 1], i), to = 0;
    struct kvs_chain_head head;
    struct kvs_chain_tail tail;

    head_to(c, at, i, &head);
    for (uint32_t l = at; l < problem->n_layer && c->plan.frac_i[l] < i; l++) {
        struct kvs_chain_head on = head;

        add(c, l, low, i, frac_at(c, l + 1), c->plan.level[l], &on);
        tail_from(c, l + 1, low, &tail);
        if (problem->gpu_start_ns + on.work_ns + tail.work_ns + problem->head_ns > c->rank.end_ns)
            break; /* nor does more work help */
        if (is_gain(c, &on, &tail))
            to = l;
        add(c, l, low, i, i, c->plan.level[l], &head);
    }
    if (to > 0)
        take(c, at, to, i);
}

/* From some layer on up to a restart point: at most as much as fraction i. */
static void lower_before(struct climb *c, uint32_t at, uint32_t i)
{
    uint32_t low = UINT32_MAX, from = at;
    struct kvs_chain_head head;
    struct kvs_chain_tail tail;

    for (uint32_t l = at; l-- > 0 && c->plan.frac_i[l] > i;) {
        uint32_t least = l > 0 ? min(c->low[l - 1], i) : i;

        if (least != low) { /* it rises on the way back, seldom */
            tail_from(c, at, least, &tail);
            for (uint32_t m = at; m-- > l;)
                add_front(c, m, least, i, m + 1 < at ? i : c->plan.frac_i[at], &tail);
            low = least;
        } else {
            add_front(c, l, low, i, i, &tail);
        }
        head_to(c, l, i, &head);
        if (!loads_in_time(c, &head, &tail))
            break; /* nor does loading more help */
        if (is_gain(c, &head, &tail))
            from = l;
    }
    if (from < at)
        take(c, from, at - 1, i);
}

int64_t kvs_polish_rising(const struct kvs_plan_problem *problem, int64_t budget, uint32_t n_sweep,
                          struct kvs_plan *plan)
{
    struct climb c = {.problem = problem, .budget = budget};
    struct kvs_plan_eval eval;

    c.plan = *plan;
    c.better = kvs_plan_eval(problem, plan, NULL, &eval);
    assert(c.better && eval.distortion <= budget);
    c.rank = (struct rank){eval.end_ns, eval.pre_ns + eval.wait_ns, eval.distortion};
    refresh(&c);
    for (uint32_t n = 0; n < n_sweep && c.better; n++) {
        c.better = false;
        for (uint32_t l = 0; l < problem->n_layer; l++) {
            improve_layer(&c, l);
            for (uint32_t i = 0; l > 0 && problem->state_at[l] && i < problem->n_frac; i++) {
                raise_behind(&c, l, i);
                lower_before(&c, l, i);
            }
        }
    }
    *plan = c.plan;
    return c.rank.end_ns;
}
