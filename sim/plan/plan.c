#include "plan.h"

#include "plan_list.h"

#include <assert.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* What no path has reached yet; far from overflow when costs are added. */
#define NEVER_NS (INT64_MIN / 4)

/* The staircase and the ranges of indices. */
static bool is_staircase(const struct kvs_plan_problem *problem, const struct kvs_plan *plan)
{
    uint32_t last = problem->n_frac - 1;
    uint32_t bad = 0;

    for (uint32_t l = 0; l < problem->n_layer; l++) {
        bad |= (uint32_t)(plan->frac_i[l] > last) | (uint32_t)(plan->level[l] >= problem->n_level);
        last = plan->frac_i[l];
    }
    return bad == 0;
}

/* The same where it may rise at restart points. */
static bool is_rising_staircase(const struct kvs_plan_problem *problem, const struct kvs_plan *plan)
{
    for (uint32_t l = 0; l < problem->n_layer; l++) {
        bool free = l == 0 || problem->state_at[l];

        if (plan->frac_i[l] >= problem->n_frac || plan->level[l] >= problem->n_level ||
            (!free && plan->frac_i[l] > plan->frac_i[l - 1]))
            return false;
    }
    return true;
}

/*
 * The recursion. P is followed as two chains, since P[-1] is known only when all of pre is: work
 * waiting for loads alone (wait_ns, stacked on P[-1]) and the chain that starts at an arrival
 * (after_ns). max distributes over +, so P[L-1] is the larger of both. n_route, actual and restarts
 * are constants where this is inlined.
 */
static inline __attribute__((always_inline)) void run(const struct kvs_plan_problem *problem,
                                                      const struct kvs_plan *plan,
                                                      const struct kvs_plan_actual *actual,
                                                      uint32_t n_route, bool restarts,
                                                      struct kvs_plan_eval *eval)
{
    int64_t in_ns[KVS_MAX_ROUTE] = {0}; /* I */
    int64_t x_ns = 0, pre_ns = 0, wait_ns = 0, after_ns = NEVER_NS;
    int64_t distortion = 0, moved_ns = 0;
    uint32_t n_level = problem->n_level, n_layer = problem->n_layer;
    uint32_t before = plan->frac_i[0], low = before; /* low: what all layers so far compute */
    int64_t start_ns;

    for (uint32_t k = 0; k < n_route; k++)
        in_ns[k] = problem->io_start_ns[k];
    for (uint32_t l = 0; l < n_layer; l++) {
        const struct kvs_layer_cost *cost = problem->layer[l];
        uint32_t i = plan->frac_i[l];
        uint32_t next = l + 1 < n_layer ? plan->frac_i[l + 1] : 0;
        uint32_t at = i * n_level + plan->level[l];
        int64_t wait, pre;

        for (uint32_t k = 0; k < n_route; k++) {
            int64_t io = cost->io_ns[k][at];

            if (restarts && i > before)
                io += problem->state_ns[k][i] - problem->state_ns[k][before];
            moved_ns |= io;
            in_ns[k] += io;
            if (actual && actual->arrive_ns[k])
                in_ns[k] = actual->arrive_ns[k][l];
            x_ns = x_ns > in_ns[k] ? x_ns : in_ns[k];
        }
        moved_ns |= cost->decode_ns[at];
        x_ns += cost->decode_ns[at];
        before = i;
        if (restarts) {
            uint32_t on = next < low ? next : low;

            next = next < i ? next : i;
            pre = cost->full_ns[on] + cost->kv_ns[low] - cost->kv_ns[on];
            wait = cost->full_ns[next] + cost->kv_ns[i] - cost->kv_ns[next] - pre;
            low = on;
        } else {
            pre = cost->full_ns[next] + cost->kv_ns[i] - cost->kv_ns[next];
            wait = 0;
        }
        pre_ns += pre;
        wait += cost->post_ns[at] + cost->wfull_ns[next] + cost->wkv_ns[i] - cost->wkv_ns[next];
        wait_ns += wait;
        after_ns = (after_ns > x_ns ? after_ns : x_ns) + wait;
        distortion += cost->distortion[at];
    }
    start_ns = actual && actual->has_start ? actual->start_ns : problem->gpu_start_ns + pre_ns;
    eval->slack_ns = after_ns > start_ns + wait_ns ? after_ns - start_ns - wait_ns : 0;
    eval->stall_ns = eval->slack_ns; /* the engine idles just as long as it could have come later */
    eval->end_ns = start_ns + wait_ns + eval->stall_ns + problem->head_ns;
    eval->pre_ns = pre_ns;
    eval->wait_ns = wait_ns;
    eval->loaded_ns = moved_ns ? x_ns : 0;
    eval->distortion = distortion;
}

/* Whether arrivals are given, of any route. */
static bool arrived(const struct kvs_plan_actual *actual)
{
    for (uint32_t k = 0; k < KVS_MAX_ROUTE; k++)
        if (actual->arrive_ns[k])
            return true;
    return false;
}

bool kvs_plan_eval(const struct kvs_plan_problem *problem, const struct kvs_plan *plan,
                   const struct kvs_plan_actual *actual, struct kvs_plan_eval *eval)
{
    assert(problem->n_layer >= 1 && problem->n_layer <= KVS_MAX_LAYER);
    assert(problem->n_frac >= 1 && problem->n_frac <= KVS_MAX_FRAC);
    assert(problem->n_level >= 1 && problem->n_level <= KVS_MAX_LEVEL);
    assert(problem->n_route <= KVS_MAX_ROUTE);
    if (!(problem->state_at ? is_rising_staircase(problem, plan) : is_staircase(problem, plan))) {
        *eval = (struct kvs_plan_eval){0};
        return false;
    }
    if (problem->state_at)
        run(problem, plan, actual, problem->n_route, true, eval);
    else if (actual)
        run(problem, plan, actual, arrived(actual) ? kvs_plan_routes(problem) : problem->n_route,
            false, eval);
    else if (problem->n_route == 1)
        run(problem, plan, NULL, 1, false, eval);
    else if (problem->n_route == 2)
        run(problem, plan, NULL, 2, false, eval);
    else
        run(problem, plan, NULL, problem->n_route, false, eval);
    return true;
}

double kvs_plan_pass_ns(const struct kvs_plan_problem *problem, const struct kvs_plan *plan)
{
    const uint32_t none = problem->n_repair ? problem->n_repair - 1u : 0; /* is computed up to it */
    uint32_t i = plan->frac_i[0], l = 1;

    if (!problem->pass_ns)
        return 0;
    while (l < problem->n_layer && plan->frac_i[l] > none)
        l++;
    double rest_ns = problem->pass_rest_ns ? (double)problem->pass_rest_ns[i] : 0;
    return (double)problem->pass_ns[i] + rest_ns * (double)(problem->n_layer - l + 1);
}

double kvs_plan_cost(const struct kvs_plan_problem *problem, const struct kvs_plan *plan,
                     const struct kvs_plan_eval *eval)
{
    int64_t work_ns = eval->pre_ns + eval->wait_ns + problem->head_ns;
    double pass_ns = kvs_plan_pass_ns(problem, plan);
    double cost = (1 + problem->price_t) * ((double)eval->end_ns + pass_ns) +
                  problem->price_gpu * ((double)work_ns + pass_ns);

    for (uint32_t k = 0; k < problem->n_route; k++) {
        int64_t io_ns = 0;

        for (uint32_t l = 0; problem->price_link[k] > 0 && l < problem->n_layer; l++)
            io_ns +=
                problem->layer[l]->io_ns[k][plan->frac_i[l] * problem->n_level + plan->level[l]] +
                kvs_plan_state_ns(problem, plan, l, k);
        cost += problem->price_link[k] * (double)io_ns;
    }
    return cost;
}

#define X(name) extern const struct kvs_planner_ops kvs_planner_##name;
KVS_PLANNERS
#undef X

#define X(name) &kvs_planner_##name,
const struct kvs_planner_ops *const kvs_planner_list[] = {KVS_PLANNERS NULL};
#undef X

const struct kvs_planner_ops *kvs_planner_find(const char *name)
{
    for (unsigned n = 0; kvs_planner_list[n]; n++)
        if (strcmp(kvs_planner_list[n]->name, name) == 0)
            return kvs_planner_list[n];
    return NULL;
}
