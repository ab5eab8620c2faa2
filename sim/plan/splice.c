#include "splice.h"

#include "chain.h"

#include <assert.h>
#include <string.h>

struct kvs_splice {
    const struct kvs_plan_problem *problem;
    int64_t budget;
    uint32_t n;
    struct kvs_plan plan[KVS_SPLICE_PLANS];
    struct kvs_chain_tail tail[KVS_SPLICE_PLANS][KVS_MAX_LAYER]; /* from the layer on */
    /* with restart points only: the least fraction up to a layer; and the tail if nothing had to
     * wait for states, which no tail of these layers is shorter than */
    uint8_t low[KVS_SPLICE_PLANS][KVS_MAX_LAYER];
    struct kvs_chain_tail least[KVS_SPLICE_PLANS][KVS_MAX_LAYER];
};

/* Where two plans join best. */
struct joint {
    uint32_t above, below, cut; /* layers before the cut are of plan `above` */
    int64_t end_ns, work_ns;
};

size_t kvs_splice_size(void)
{
    return (sizeof(struct kvs_splice) + 63) / 64 * 64;
}

struct kvs_splice *kvs_splice_init(void *mem, const struct kvs_plan_problem *problem,
                                   int64_t budget)
{
    struct kvs_splice *s = mem;

    s->problem = problem;
    s->budget = budget;
    s->n = 0;
    return s;
}

static void step_of(const struct kvs_plan_problem *problem, const struct kvs_plan *plan, uint32_t l,
                    uint32_t next, struct kvs_chain_step *step)
{
    kvs_chain_step_at(problem, l, plan->frac_i[l], next, plan->level[l], step);
}

/* Tails of a plan whose least fractions up to the layers are `low`. */
static void tails_of(const struct kvs_plan_problem *problem, const struct kvs_plan *plan,
                     const uint8_t *low, struct kvs_chain_tail *out)
{
    uint32_t n_route = problem->n_route;
    struct kvs_chain_tail tail;
    struct kvs_chain_step step;

    kvs_chain_tail_init(&tail);
    for (uint32_t l = problem->n_layer; l-- > 0;) {
        uint32_t i = plan->frac_i[l], next = l + 1 < problem->n_layer ? plan->frac_i[l + 1] : 0;

        for (uint32_t k = 0; next > i && k < n_route; k++)
            tail.from_in_ns[k] += problem->state_ns[k][next] - problem->state_ns[k][i];
        kvs_chain_step_low(problem, l, low[l], i, next, plan->level[l], &step);
        kvs_chain_prepend(n_route, &step, &tail);
        out[l] = tail;
    }
}

void kvs_splice_add(struct kvs_splice *s, const struct kvs_plan *plan)
{
    const struct kvs_plan_problem *problem = s->problem;
    struct kvs_chain_tail tail;
    struct kvs_chain_step step;

    if (s->n == KVS_SPLICE_PLANS)
        return;
    s->plan[s->n] = *plan;
    if (problem->state_at) {
        kvs_plan_lows(problem, plan, s->low[s->n]);
        tails_of(problem, plan, s->low[s->n], s->tail[s->n]);
        tails_of(problem, plan, plan->frac_i, s->least[s->n]);
        s->n++;
        return;
    }
    kvs_chain_tail_init(&tail);
    for (uint32_t l = problem->n_layer; l-- > 0;) {
        step_of(problem, plan, l, l + 1 < problem->n_layer ? plan->frac_i[l + 1] : 0, &step);
        kvs_chain_prepend(problem->n_route, &step, &tail);
        s->tail[s->n][l] = tail;
    }
    s->n++;
}

/* Plan a's layers before the cut, then plan b's. */
static void make(const struct kvs_splice *s, uint32_t a, uint32_t b, uint32_t cut,
                 struct kvs_plan *plan)
{
    uint32_t n = s->problem->n_layer - cut;

    *plan = s->plan[a];
    memcpy(plan->frac_i + cut, s->plan[b].frac_i + cut, n);
    memcpy(plan->level + cut, s->plan[b].level + cut, n);
}

/* The same of the plan as a whole. */
static void join_whole(const struct kvs_splice *s, uint32_t a, uint32_t b, uint32_t cut,
                       struct joint *best)
{
    struct kvs_plan plan;
    struct kvs_plan_eval eval;

    make(s, a, b, cut, &plan);
    if (kvs_plan_eval(s->problem, &plan, NULL, &eval) && eval.distortion <= s->budget &&
        eval.end_ns < best->end_ns)
        *best = (struct joint){a, b, cut, eval.end_ns, 0};
}

/* No path through the decoder or a route is longer than `left`. */
static bool is_within(uint32_t n_route, const struct kvs_chain_head *head,
                      const struct kvs_chain_tail *tail, int64_t left)
{
    int64_t path = head->x_ns + tail->from_x_ns;

    for (uint32_t k = 0; k < n_route; k++) {
        int64_t in = head->in_ns[k] + tail->from_in_ns[k];

        path = in > path ? in : path;
    }
    return path <= left;
}

/*
 * Joints at one cut where fractions may rise: a tail's work waits for more the less the layers
 * before it compute. Where these leave the least fraction that plan b has there, its tail fits;
 * where they leave less, it is a bound, else the shortest one is: what that lets pass is evaluated
 * as a whole. head: of the layers before cut - 1.
 */
static void join_rising(const struct kvs_splice *s, uint32_t a, uint32_t first, uint32_t cut,
                        const struct kvs_chain_head *head, struct joint *best)
{
    const struct kvs_plan_problem *problem = s->problem;
    const struct kvs_plan *above = &s->plan[a];
    uint32_t i = above->frac_i[cut - 1], last = KVS_MAX_FRAC;
    struct kvs_chain_head at = *head;
    struct kvs_chain_step step;

    for (uint32_t b = first; b < s->n; b++) {
        const struct kvs_chain_tail *tail = &s->tail[b][cut];
        uint32_t next = s->plan[b].frac_i[cut], low = s->low[a][cut - 1];
        int64_t end_ns, left = best->end_ns - problem->head_ns;

        if (b == a || (next > i && !problem->state_at[cut]) ||
            head->work_ns + tail->work_ns > left - problem->gpu_start_ns)
            continue;
        low = next < low ? next : low;
        if (low > s->low[b][cut])
            tail = &s->least[b][cut];
        if (!is_within(problem->n_route, head, tail, left))
            continue; /* whatever the layer before the cut adds */
        if (next != last) {
            at = *head;
            kvs_chain_step_low(problem, cut - 1, s->low[a][cut - 1], i, next, above->level[cut - 1],
                               &step);
            kvs_chain_append(problem->n_route, &at, &step);
            kvs_chain_rise(problem, i, next, &at);
            last = next;
        }
        end_ns = kvs_chain_end_ns(problem, &at, tail);
        if (at.distortion + tail->distortion > s->budget || end_ns >= best->end_ns)
            continue;
        if (low == s->low[b][cut])
            *best = (struct joint){a, b, cut, end_ns, 0};
        else
            join_whole(s, a, b, cut, best);
    }
}

/* Offers plan a's head before the cut to all tails, where fractions may rise. */
static void join_all_rising(const struct kvs_splice *s, uint32_t a, uint32_t first,
                            struct joint *best)
{
    const struct kvs_plan_problem *problem = s->problem;
    const struct kvs_plan *above = &s->plan[a];
    struct kvs_chain_head head;
    struct kvs_chain_step step;

    kvs_chain_head_init(problem, &head);
    for (uint32_t cut = 1; cut < problem->n_layer; cut++) {
        uint32_t i = above->frac_i[cut - 1], next = above->frac_i[cut];

        join_rising(s, a, first, cut, &head, best);
        kvs_chain_step_low(problem, cut - 1, s->low[a][cut - 1], i, next, above->level[cut - 1],
                           &step);
        kvs_chain_append(problem->n_route, &head, &step);
        kvs_chain_rise(problem, i, next, &head);
    }
}

/* Offers joints of plan a's head with tails of plans from `first` on. */
static void join(const struct kvs_splice *s, uint32_t a, uint32_t first, struct joint *best)
{
    const struct kvs_plan_problem *problem = s->problem;
    const struct kvs_plan *above = &s->plan[a];
    struct kvs_chain_head head;
    struct kvs_chain_step step;

    kvs_chain_head_init(problem, &head);
    for (uint32_t cut = 1; cut < problem->n_layer; cut++) {
        uint32_t i = above->frac_i[cut - 1], last = KVS_MAX_FRAC;
        struct kvs_chain_head at = head;

        for (uint32_t b = first; b < s->n; b++) {
            const struct kvs_chain_tail *tail = &s->tail[b][cut];
            uint32_t next = s->plan[b].frac_i[cut];
            int64_t end_ns, left = best->end_ns - problem->head_ns;
            int64_t spare = left - problem->gpu_start_ns;

            if (b == a || next > i)
                continue;
            if (head.work_ns + tail->work_ns > spare || head.x_ns + tail->from_x_ns > left)
                continue; /* whatever the layer before the cut adds */
            if (next != last) {
                at = head;
                step_of(problem, above, cut - 1, next, &step);
                kvs_chain_append(problem->n_route, &at, &step);
                last = next;
            }
            if (at.distortion + tail->distortion > s->budget)
                continue;
            end_ns = kvs_chain_end_ns(problem, &at, tail);
            if (end_ns < best->end_ns)
                *best = (struct joint){a, b, cut, end_ns, 0};
        }
        step_of(problem, above, cut - 1, above->frac_i[cut], &step);
        kvs_chain_append(problem->n_route, &head, &step);
    }
}

bool kvs_splice_best(struct kvs_splice *s, int64_t limit_ns, struct kvs_plan *plan, int64_t *end_ns)
{
    struct joint best = {.end_ns = limit_ns};
    uint32_t known = 0;
    bool found = false;

    while (known < s->n) {
        int64_t before = best.end_ns;

        for (uint32_t a = 0; a < s->n; a++) {
            if (s->problem->state_at)
                join_all_rising(s, a, a < known ? known : 0, &best);
            else
                join(s, a, a < known ? known : 0, &best);
        }
        known = s->n;
        if (best.end_ns >= before)
            break;
        found = true;
        *end_ns = best.end_ns;
        make(s, best.above, best.below, best.cut, plan);
        kvs_splice_add(s, plan);
    }
    return found;
}
