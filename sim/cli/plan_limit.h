/*
 * plan_limit.h - `kvsim plan --planner exact --limit TIME`: ends a search that takes too long, and
 * tells how far it is.
 */
#ifndef KVS_PLAN_LIMIT_H
#define KVS_PLAN_LIMIT_H

#include "plan/plan.h"

struct kvs_plan_limit {
    double limit_s; /* processor time */
    double start_s, told_s;
    bool shown;   /* standard error is a terminal: progress is told there */
    bool stopped; /* a search gave up */
    struct kvs_plan_watch watch;
};

/* Begins to count. */
void kvs_plan_limit_begin(struct kvs_plan_limit *limit, double limit_s);
/* Wipes what was told. */
void kvs_plan_limit_end(struct kvs_plan_limit *limit);

#endif
