/*
 * dual.h - the Lagrangian relaxation of the plan problem: cheapest staircase under prices.
 *
 * T is the largest of many sums, one for each critical path: all work from gpu_start on, or a way
 * through the recursion that enters route k, changes to the decoder at layer j, to the compute
 * engine at layer m >= j, and stays there. Weights on paths that add up to 1, and a price on
 * distortion, make one price per layer for each cost; the staircase of least total price is found
 * by a walk over (layer, fraction), and its price, less price * budget, bounds every feasible T.
 * Doubles throughout: certify.h makes a proof of it.
 */
#ifndef KVS_PLAN_DUAL_H
#define KVS_PLAN_DUAL_H

#include "sums.h"

#include <stddef.h>

/* Prices of one nanosecond in each layer, and of one unit of distortion (in ns). */
struct kvs_prices {
    double io[KVS_MAX_ROUTE][KVS_MAX_LAYER], decode[KVS_MAX_LAYER], wait[KVS_MAX_LAYER];
    double pre, distortion;
    double start_ns; /* weighted starts of the paths, and the head */
};

#define KVS_DUAL_NEVER 1e299

struct kvs_dual; /* the problem's tables as the walk wants them, in caller's memory */

size_t kvs_dual_size(const struct kvs_plan_problem *problem);
/*
 * Prepares mem (kvs_dual_size bytes, aligned to 64). budget may be above the problem's. Choices
 * that no feasible plan can afford are left out.
 */
struct kvs_dual *kvs_dual_init(void *mem, const struct kvs_plan_problem *problem, int64_t budget);

/* The same for the problem with restart points (`plain`: without them), from its tables, which
 * it goes on to use. */
struct kvs_dual *kvs_dual_init_rising(void *mem, const struct kvs_dual *plain,
                                      const struct kvs_plan_problem *problem);

/* Walks keep to these staircases from now on; NULL: to all. box is borrowed. */
void kvs_dual_keep_to(struct kvs_dual *dual, const struct kvs_box *box);

/* All 0, for the problem's layers and routes; then weight times a path more. */
void kvs_prices_clear(const struct kvs_plan_problem *problem, struct kvs_prices *prices);
void kvs_prices_add(const struct kvs_plan_problem *problem, const struct kvs_path *path,
                    double weight, struct kvs_prices *prices);
/* The least price of a staircase, starts and head included, less distortion's price times budget;
 * and the staircase. KVS_DUAL_NEVER or more: none can be afforded. */
double kvs_dual_walk(struct kvs_dual *dual, const struct kvs_prices *prices, struct kvs_plan *plan);

/* Of the last walk, which was at these prices: the least price from each layer and fraction on,
 * without starts and budget. */
void kvs_dual_values(struct kvs_dual *dual, const struct kvs_prices *prices,
                     double (*value)[KVS_MAX_FRAC]);

#endif
