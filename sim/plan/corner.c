#include "corner.h"

#include "chain.h"

#include <assert.h>
#include <string.h>

#define FLATS (KVS_MAX_FRAC * KVS_MAX_LEVEL)

static int64_t max_ns(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static void offer(const struct kvs_plan_problem *problem, int64_t distortion, int64_t end_ns,
                  const struct kvs_corner_pick *what, struct kvs_corner_pick *pick)
{
    int64_t over = distortion > problem->budget ? distortion - problem->budget : 0;

    if (problem->hidden_level && what->level == problem->hidden_level)
        return;
    if (pick->any && (over > pick->over || (over == pick->over && end_ns >= pick->end_ns)))
        return;
    *pick = *what;
    pick->any = true;
    pick->over = over;
    pick->end_ns = end_ns;
}

static bool layers_share(const struct kvs_plan_problem *problem)
{
    for (uint32_t l = 1; l < problem->n_layer; l++)
        if (problem->layer[l] != problem->layer[0])
            return false;
    return true;
}

/*
 * T of n equal layers in closed form. X[l] is a maximum of functions linear in l (enter the decoder
 * from route k at layer j <= l, or at time 0), so it is convex in l; the compute chain that starts
 * at layer m ends at X[m] + waiting work from m on, again convex in m. Maxima lie at the ends.
 */
static int64_t flat_equal_ns(const struct kvs_plan_problem *problem, uint32_t i, uint32_t q,
                             int64_t *distortion)
{
    int64_t n = problem->n_layer;
    struct kvs_chain_step step, last;
    int64_t x_first, x_last, wait, end;

    kvs_chain_step_at(problem, 0, i, i, q, &step);
    kvs_chain_step_at(problem, 0, i, 0, q, &last);
    x_first = step.decode_ns;
    x_last = n * step.decode_ns;
    for (uint32_t k = 0; k < problem->n_route; k++) {
        int64_t start = problem->io_start_ns[k];

        x_first = max_ns(x_first, start + step.io_ns[k] + step.decode_ns);
        x_last = max_ns(x_last, start + step.io_ns[k] + n * step.decode_ns);
        x_last = max_ns(x_last, start + n * step.io_ns[k] + step.decode_ns);
    }
    wait = (n - 1) * step.wait_ns + last.wait_ns;
    end = problem->gpu_start_ns + (n - 1) * step.pre_ns + last.pre_ns + wait;
    end = max_ns(end, x_first + wait);
    end = max_ns(end, x_last + last.wait_ns);
    *distortion = n * step.distortion;
    return end + problem->head_ns;
}

/* Flat plans side by side, one lane each: fraction first + lane / n_level, level lane % n_level. */
struct lanes {
    int64_t in_ns[KVS_MAX_ROUTE][FLATS], x_ns[FLATS], after_ns[FLATS], wait_ns[FLATS];
    int64_t distortion[FLATS];
    int64_t pre_ns[KVS_MAX_FRAC];
};

static void lanes_init(const struct kvs_plan_problem *problem, uint32_t n, struct lanes *lanes)
{
    for (uint32_t c = 0; c < n; c++) {
        lanes->after_ns[c] = KVS_CHAIN_NEVER;
        for (uint32_t k = 0; k < problem->n_route; k++)
            lanes->in_ns[k][c] = problem->io_start_ns[k];
    }
}

/* chain.h's append of layer l, to all lanes. */
static void lanes_append(const struct kvs_plan_problem *problem, uint32_t l, uint32_t first,
                         uint32_t n, struct lanes *lanes)
{
    const struct kvs_layer_cost *cost = problem->layer[l];
    uint32_t n_level = problem->n_level, from = first * n_level;
    bool on = l + 1 < problem->n_layer;

    for (uint32_t k = 0; k < problem->n_route; k++) {
        const int64_t *io_ns = cost->io_ns[k] + from;

        for (uint32_t c = 0; c < n; c++) {
            int64_t in_ns = lanes->in_ns[k][c] + io_ns[c];

            lanes->in_ns[k][c] = in_ns;
            lanes->x_ns[c] = max_ns(lanes->x_ns[c], in_ns);
        }
    }
    for (uint32_t c = 0, i = first; c < n; i++) {
        uint32_t next = on ? i : 0;
        int64_t step_ns = cost->wfull_ns[next] + cost->wkv_ns[i] - cost->wkv_ns[next];

        lanes->pre_ns[i] += cost->full_ns[next] + cost->kv_ns[i] - cost->kv_ns[next];
        for (uint32_t end = c + n_level; c < end; c++) {
            int64_t wait_ns = cost->post_ns[from + c] + step_ns;
            int64_t x_ns = lanes->x_ns[c] + cost->decode_ns[from + c];

            lanes->x_ns[c] = x_ns;
            lanes->after_ns[c] = max_ns(lanes->after_ns[c], x_ns) + wait_ns;
            lanes->wait_ns[c] += wait_ns;
            lanes->distortion[c] += cost->distortion[from + c];
        }
    }
}

static void flat_unequal(const struct kvs_plan_problem *problem, uint32_t first, uint32_t last,
                         struct kvs_corner_pick *pick)
{
    uint32_t n_level = problem->n_level, n = (last - first + 1) * n_level;
    struct lanes lanes = {.pre_ns = {0}};

    lanes_init(problem, n, &lanes);
    for (uint32_t l = 0; l < problem->n_layer; l++)
        lanes_append(problem, l, first, n, &lanes);
    for (uint32_t c = 0; c < n; c++) {
        uint8_t i = (uint8_t)(first + c / n_level);
        struct kvs_corner_pick what = {.below = i, .above = i, .level = (uint8_t)(c % n_level)};
        int64_t end_ns = problem->gpu_start_ns + lanes.pre_ns[i] + lanes.wait_ns[c];

        offer(problem, lanes.distortion[c], max_ns(end_ns, lanes.after_ns[c]) + problem->head_ns,
              &what, pick);
    }
}

void kvs_corner_flat(const struct kvs_plan_problem *problem, uint32_t first, uint32_t last,
                     struct kvs_corner_pick *pick)
{
    if (!layers_share(problem)) {
        flat_unequal(problem, first, last, pick);
        return;
    }
    for (uint32_t i = first; i <= last; i++) {
        for (uint32_t q = 0; q < problem->n_level; q++) {
            struct kvs_corner_pick what = {
                .below = (uint8_t)i, .above = (uint8_t)i, .level = (uint8_t)q};
            int64_t distortion, end_ns = flat_equal_ns(problem, i, q, &distortion);

            offer(problem, distortion, end_ns, &what, pick);
        }
    }
}

/* All cuts in one walk each way: tails of load-all from every layer, then heads of recompute-all.
 */
void kvs_corner_cuts(const struct kvs_plan_problem *problem, struct kvs_corner_pick *pick)
{
    uint32_t n_layer = problem->n_layer, last = problem->n_frac - 1;
    struct kvs_chain_tail tail[KVS_MAX_LAYER];
    struct kvs_chain_step step;

    for (uint32_t q = 0; q < problem->n_level; q++) {
        struct kvs_chain_tail on;
        struct kvs_chain_head head;

        kvs_chain_tail_init(&on);
        for (uint32_t l = n_layer; l-- > 1;) {
            kvs_chain_step_at(problem, l, 0, 0, q, &step);
            kvs_chain_prepend(problem->n_route, &step, &on);
            tail[l] = on;
        }
        kvs_chain_head_init(problem, &head);
        for (uint32_t cut = 1; cut < n_layer; cut++) {
            struct kvs_corner_pick what = {
                .cut = cut, .below = (uint8_t)last, .above = 0, .level = (uint8_t)q};
            struct kvs_chain_head at = head;

            kvs_chain_step_at(problem, cut - 1, last, 0, q, &step);
            kvs_chain_append(problem->n_route, &at, &step);
            offer(problem, at.distortion + tail[cut].distortion,
                  kvs_chain_end_ns(problem, &at, &tail[cut]), &what, pick);
            kvs_chain_step_at(problem, cut - 1, last, last, q, &step);
            kvs_chain_append(problem->n_route, &head, &step);
        }
    }
}

void kvs_corner_plan(const struct kvs_plan_problem *problem, const struct kvs_corner_pick *pick,
                     struct kvs_plan *plan, struct kvs_plan_eval *eval)
{
    bool whole;

    assert(pick->any);
    memset(plan, 0, sizeof *plan);
    memset(plan->frac_i, pick->below, pick->cut);
    memset(plan->frac_i + pick->cut, pick->above, problem->n_layer - pick->cut);
    memset(plan->level, pick->level, problem->n_layer);
    whole = kvs_plan_eval(problem, plan, NULL, eval);
    assert(whole && eval->end_ns == pick->end_ns);
    (void)whole;
}
