/*
 * polish_rising.h - local search where fractions may rise (plan.h, restart points): polish.h's
 * kvs_polish ends here then.
 *
 * What a layer's work waits for depends on all layers before, so each change is evaluated as a
 * whole plan.
 */
#ifndef KVS_PLAN_POLISH_RISING_H
#define KVS_PLAN_POLISH_RISING_H

#include "plan.h"

/* As kvs_polish. */
int64_t kvs_polish_rising(const struct kvs_plan_problem *problem, int64_t budget, uint32_t n_sweep,
                          struct kvs_plan *plan);

#endif
