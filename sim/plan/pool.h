/*
 * pool.h - a problem over more levels than a plan's menu has room for.
 *
 * A plan chooses from KVS_MAX_LEVEL levels at most; which, is a choice too. What a certificate of
 * one menu proves over all levels, and which levels its prices would rather take, is asked here.
 */
#ifndef KVS_PLAN_POOL_H
#define KVS_PLAN_POOL_H

#include "optimal.h"

#define KVS_MAX_POOL 255

/* A level of a problem; problems of a pool differ in nothing but their levels. */
struct kvs_pool_level {
    const struct kvs_plan_problem *problem;
    uint32_t q;
};

struct kvs_pool; /* from kvs_pool_new, ended by kvs_pool_free; borrows the problems */

/* Levels that another is as quick and as good as everywhere are left out. KVS_ERR_RANGE: more than
 * KVS_MAX_POOL others are left. */
KVS_MUST_CHECK enum kvs_code kvs_pool_new(const struct kvs_pool_level *level, uint32_t n,
                                          struct kvs_pool **pool, struct kvs_err *err);
void kvs_pool_free(struct kvs_pool *pool); /* accepts NULL */

/* A proven bound on T over all levels, from what the search over some of them left behind. */
int64_t kvs_pool_bound(const struct kvs_pool *pool, const struct kvs_optimum *optimum);
/* count[n]: how many layers would be loaded at each given level, at the search's prices. */
void kvs_pool_wants(struct kvs_pool *pool, const struct kvs_optimum *optimum, uint32_t *count);

#endif
