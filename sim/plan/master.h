/*
 * master.h - the linear program over known plans and known critical paths: the mixture of plans
 * whose longest known path is least, within the budget in the mean; and, dual to it, the weights of
 * the paths and the price of distortion.
 *
 * A dense simplex tableau that grows by a column a plan and a row a path, each followed by the
 * pivots that make it optimal again.
 */
#ifndef KVS_PLAN_MASTER_H
#define KVS_PLAN_MASTER_H

#include "dual.h"

#define KVS_MASTER_PATHS KVS_MAX_PATH
#define KVS_MASTER_PLANS 192

struct kvs_master;

size_t kvs_master_size(void);
/* Starts with one plan, within the budget, and its longest path. mem is aligned to 64. */
struct kvs_master *kvs_master_init(void *mem, const struct kvs_plan_problem *problem,
                                   int64_t budget, const struct kvs_plan *plan);
/*
 * Starts with no plan but a stand-in that has no distortion and takes most_ns on every path. It
 * leaves the mixture as soon as the plans known can do without it; its share is told as 0.
 */
struct kvs_master *kvs_master_init_empty(void *mem, const struct kvs_plan_problem *problem,
                                         int64_t budget, double most_ns,
                                         const struct kvs_path *path);
/* false: no room, or known already. */
bool kvs_master_add_plan(struct kvs_master *master, const struct kvs_plan *plan);
bool kvs_master_add_path(struct kvs_master *master, const struct kvs_path *path);

/* Of the present optimum: T of the mixture over known paths. */
double kvs_master_value(const struct kvs_master *master);
/* Plans known, and plan n's share of the mixture; plan may be NULL. */
uint32_t kvs_master_n_plan(const struct kvs_master *master);
double kvs_master_share(const struct kvs_master *master, uint32_t n, struct kvs_plan *plan);
/* Sums of the mixture. */
void kvs_master_mix(const struct kvs_master *master, struct kvs_sums *sums);
/* Weights of known paths, which add up to 1, and the price of a unit of distortion in ns. */
uint32_t kvs_master_n_path(const struct kvs_master *master);
const struct kvs_path *kvs_master_path(const struct kvs_master *master, uint32_t n);
double kvs_master_duals(const struct kvs_master *master, double weight[KVS_MASTER_PATHS]);

#endif
