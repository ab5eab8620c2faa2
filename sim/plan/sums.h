/*
 * sums.h - a plan's costs summed over its layers, from which any critical path's length follows.
 *
 * Sums of several plans may be mixed: a path's length is linear in them.
 */
#ifndef KVS_PLAN_SUMS_H
#define KVS_PLAN_SUMS_H

#include "certify.h"

/* Costs of one plan summed over layers before l, for l from 0 to n_layer: any path's length by a
 * few subtractions. */
struct kvs_sums {
    double io[KVS_MAX_ROUTE][KVS_MAX_LAYER + 1], decode[KVS_MAX_LAYER + 1], wait[KVS_MAX_LAYER + 1];
    double work, distortion;
};

void kvs_sums_of(const struct kvs_plan_problem *problem, const struct kvs_plan *plan,
                 struct kvs_sums *sums);
double kvs_path_ns(const struct kvs_plan_problem *problem, const struct kvs_path *path,
                   const struct kvs_sums *sums);
/* The longest path of the sums (which may be a mixture of plans'), and its length with the head. */
double kvs_path_longest(const struct kvs_plan_problem *problem, const struct kvs_sums *sums,
                        struct kvs_path *path);

#endif
