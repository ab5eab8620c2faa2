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

void kvs_splice_add(struct kvs_splice *s, const struct kvs_plan *plan)
{
    const struct kvs_plan_problem *problem = s->problem;
    struct kvs_chain_tail tail;
    struct kvs_chain_step step;

    if (s->n == KVS_SPLICE_PLANS)
        return;
    kvs_chain_tail_init(&tail);
    for (uint32_t l = problem->n_layer; l-- > 0;) {
        step_of(problem, plan, l, l + 1 < problem->n_layer ? plan->frac_i[l + 1] : 0, &step);
        kvs_chain_prepend(problem->n_route, &step, &tail);
        s->tail[s->n][l] = tail;
    }
    s->plan[s->n++] = *plan;
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

/* Where fractions may rise, a tail's work depends on its head: the two are evaluated as a whole. */
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

            if (b == a || (next > i && !(problem->state_at && problem->state_at[cut])))
                continue;
            if (problem->state_at) {
                join_whole(s, a, b, cut, best);
                continue;
            }
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

        for (uint32_t a = 0; a < s->n; a++)
            join(s, a, a < known ? known : 0, &best);
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
