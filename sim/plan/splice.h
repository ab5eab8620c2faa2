/*
 * splice.h - plans made of the first layers of one plan and the last of another.
 *
 * A mixture of plans on paper is mostly a plan that changes from one of them to the other at some
 * depth: the relaxation's mixture is the set to begin with.
 */
#ifndef KVS_PLAN_SPLICE_H
#define KVS_PLAN_SPLICE_H

#include "plan.h"

#include <stddef.h>

#define KVS_SPLICE_PLANS 12 /* at most, those made on the way among them */

struct kvs_splice;

size_t kvs_splice_size(void);
/* mem: kvs_splice_size bytes, aligned to 64. */
struct kvs_splice *kvs_splice_init(void *mem, const struct kvs_plan_problem *problem,
                                   int64_t budget);
/* One more plan, within the staircase; it may break the budget. Nothing happens when full. */
void kvs_splice_add(struct kvs_splice *splice, const struct kvs_plan *plan);
/*
 * The best plan within the budget that ends before limit_ns and is made of two known ones; it is
 * known from then on, and the search goes on with it until nothing is gained. *end_ns is its T.
 * false: there is none.
 */
bool kvs_splice_best(struct kvs_splice *splice, int64_t limit_ns, struct kvs_plan *plan,
                     int64_t *end_ns);

#endif
