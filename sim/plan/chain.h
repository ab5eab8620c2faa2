/*
 * chain.h - the recursion of plan.c taken apart at a layer, for planners that try many plans.
 *
 * In (max, +) algebra each layer is a linear map, so a plan splits anywhere into a head (layers
 * before l, a state) and a tail (layers from l on, a row of coefficients), and joining the two
 * costs a few maxima. kvs_plan_eval stays the only evaluation: what a planner returns is evaluated
 * by it.
 */
#ifndef KVS_PLAN_CHAIN_H
#define KVS_PLAN_CHAIN_H

#include "plan.h"

#define KVS_CHAIN_NEVER                                                                            \
    (INT64_MIN / 4) /* a path that does not exist; sums with costs stay far off */

/* What one layer adds, given its fraction and the next layer's. */
struct kvs_chain_step {
    int64_t io_ns[KVS_MAX_ROUTE];
    int64_t decode_ns, wait_ns, pre_ns, distortion;
};

/* Layers before l: I per route, X, the chain that starts at an arrival, all work, distortion. */
struct kvs_chain_head {
    int64_t in_ns[KVS_MAX_ROUTE];
    int64_t x_ns, after_ns, work_ns, distortion;
};

/* Layers from l on: how long from I[k], from X and from the compute chain to the end; all work. */
struct kvs_chain_tail {
    int64_t from_in_ns[KVS_MAX_ROUTE];
    int64_t from_x_ns, wait_ns, work_ns, distortion;
};

static inline void kvs_chain_step_at(const struct kvs_plan_problem *problem, uint32_t l, uint32_t i,
                                     uint32_t next, uint32_t q, struct kvs_chain_step *step)
{
    const struct kvs_layer_cost *cost = problem->layer[l];
    uint32_t at = i * problem->n_level + q;

    for (uint32_t k = 0; k < problem->n_route; k++)
        step->io_ns[k] = cost->io_ns[k][at];
    step->decode_ns = cost->decode_ns[at];
    step->wait_ns = cost->post_ns[at] + cost->wfull_ns[next] + cost->wkv_ns[i] - cost->wkv_ns[next];
    step->pre_ns = cost->full_ns[next] + cost->kv_ns[i] - cost->kv_ns[next];
    step->distortion = cost->distortion[at];
}

/*
 * The same where fractions may rise (plan.h, restart points): low is the least fraction up to layer
 * l, and a rise to the next layer's is loaded behind this layer, see kvs_chain_rise.
 */
static inline void kvs_chain_step_low(const struct kvs_plan_problem *problem, uint32_t l,
                                      uint32_t low, uint32_t i, uint32_t next, uint32_t q,
                                      struct kvs_chain_step *step)
{
    const struct kvs_layer_cost *cost = problem->layer[l];
    uint32_t on = next < low ? next : low;
    int64_t work;

    kvs_chain_step_at(problem, l, i, next < i ? next : i, q, step);
    work = step->pre_ns;
    step->pre_ns = cost->full_ns[on] + cost->kv_ns[low] - cost->kv_ns[on];
    step->wait_ns += work - step->pre_ns;
}

/* low[l]: the least fraction up to layer l. */
static inline void kvs_plan_lows(const struct kvs_plan_problem *problem,
                                 const struct kvs_plan *plan, uint8_t *low)
{
    for (uint32_t l = 0; l < problem->n_layer; l++)
        low[l] = l > 0 && low[l - 1] < plan->frac_i[l] ? low[l - 1] : plan->frac_i[l];
}

static inline void kvs_chain_rise(const struct kvs_plan_problem *problem, uint32_t i, uint32_t next,
                                  struct kvs_chain_head *head)
{
    for (uint32_t k = 0; next > i && k < problem->n_route; k++)
        head->in_ns[k] += problem->state_ns[k][next] - problem->state_ns[k][i];
}

static inline void kvs_chain_head_init(const struct kvs_plan_problem *problem,
                                       struct kvs_chain_head *head)
{
    *head = (struct kvs_chain_head){.after_ns = KVS_CHAIN_NEVER};
    for (uint32_t k = 0; k < problem->n_route; k++)
        head->in_ns[k] = problem->io_start_ns[k];
}

static inline void kvs_chain_append(uint32_t n_route, struct kvs_chain_head *head,
                                    const struct kvs_chain_step *step)
{
    for (uint32_t k = 0; k < n_route; k++) {
        head->in_ns[k] += step->io_ns[k];
        head->x_ns = head->x_ns > head->in_ns[k] ? head->x_ns : head->in_ns[k];
    }
    head->x_ns += step->decode_ns;
    head->after_ns = (head->after_ns > head->x_ns ? head->after_ns : head->x_ns) + step->wait_ns;
    head->work_ns += step->pre_ns + step->wait_ns;
    head->distortion += step->distortion;
}

static inline void kvs_chain_tail_init(struct kvs_chain_tail *tail)
{
    *tail = (struct kvs_chain_tail){.from_x_ns = KVS_CHAIN_NEVER};
    for (uint32_t k = 0; k < KVS_MAX_ROUTE; k++)
        tail->from_in_ns[k] = KVS_CHAIN_NEVER;
}

static inline void kvs_chain_prepend(uint32_t n_route, const struct kvs_chain_step *step,
                                     struct kvs_chain_tail *tail)
{
    tail->wait_ns += step->wait_ns;
    tail->from_x_ns = tail->from_x_ns > tail->wait_ns ? tail->from_x_ns : tail->wait_ns;
    tail->from_x_ns += step->decode_ns;
    for (uint32_t k = 0; k < n_route; k++) {
        int64_t on = tail->from_in_ns[k];

        tail->from_in_ns[k] = (on > tail->from_x_ns ? on : tail->from_x_ns) + step->io_ns[k];
    }
    tail->work_ns += step->pre_ns + step->wait_ns;
    tail->distortion += step->distortion;
}

/* T of head and tail joined. */
static inline int64_t kvs_chain_end_ns(const struct kvs_plan_problem *problem,
                                       const struct kvs_chain_head *head,
                                       const struct kvs_chain_tail *tail)
{
    int64_t end = problem->gpu_start_ns + head->work_ns + tail->work_ns;
    int64_t path = head->after_ns + tail->wait_ns;

    end = end > path ? end : path;
    path = head->x_ns + tail->from_x_ns;
    end = end > path ? end : path;
    for (uint32_t k = 0; k < problem->n_route; k++) {
        path = head->in_ns[k] + tail->from_in_ns[k];
        end = end > path ? end : path;
    }
    return end + problem->head_ns;
}

#endif
