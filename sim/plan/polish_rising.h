/*
 * polish_rising.h - local search where fractions may rise (plan.h, restart points): polish.h's
 * kvs_polish ends here then.
 *
 * What a layer's work waits for depends on the least fraction of all layers before. A change mostly
 * leaves that of the layers after it alone, and then head, layer and tail are joined as in
 * polish.c; else the tail is made anew down to the layer from which it is the same again.
 */
#ifndef KVS_PLAN_POLISH_RISING_H
#define KVS_PLAN_POLISH_RISING_H

#include "plan.h"

/* As kvs_polish. */
int64_t kvs_polish_rising(const struct kvs_plan_problem *problem, int64_t budget, uint32_t n_sweep,
                          struct kvs_plan *plan);

#endif
