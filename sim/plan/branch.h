/*
 * branch.h - branch and bound over staircases: a higher bound by cases, and plans on the way.
 *
 * A mixture of different staircases can beat every one of them, and no weights bound above it. So
 * the staircases are split where the mixture's differ most, each half has its own relaxation, and
 * the half with the least bound is split again. The bound is the least of all cases'.
 */
#ifndef KVS_PLAN_BRANCH_H
#define KVS_PLAN_BRANCH_H

#include "optimal.h"

struct kvs_branch;

/* mem: kvs_branch_size bytes, aligned to 64. The one case of the beginning is out->relax, which has
 * been run. */
size_t kvs_branch_size(const struct kvs_plan_problem *problem);
struct kvs_branch *kvs_branch_init(void *mem, const struct kvs_optimum *out);
/*
 * Splits until the best plan is within `enough` (relative) of the bound, or there are n_case cases
 * in all, or nothing is left to split. *out gets better plans met on the way, and the cases and
 * their bound.
 */
void kvs_branch_run(struct kvs_branch *branch, uint32_t n_case, double enough,
                    struct kvs_optimum *out);

#endif
