/*
 * polish.h - local search: a better plan by changes in one layer at a time.
 */
#ifndef KVS_PLAN_POLISH_H
#define KVS_PLAN_POLISH_H

#include "plan.h"

/*
 * Sweeps over the layers, giving each the fraction (between its neighbours') and level with the
 * least T within the budget, ties to the least total work and then distortion; until a sweep gains
 * nothing, or n_sweep of them. plan must be within staircase and budget. Returns its T.
 */
int64_t kvs_polish(const struct kvs_plan_problem *problem, int64_t budget, uint32_t n_sweep,
                   struct kvs_plan *plan);

#endif
