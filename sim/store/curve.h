/*
 * curve.h - hit ratio of LRU caches of every size, exact or from a sample, in one pass.
 *
 * Sampling is by key (Waldspurger et al., FAST '15, "SHARDS"): a key is followed if its hash falls
 * under a threshold, and a distance among the followed keys stands for distance / rate. The sample
 * is cut, again by hash, into groups that are estimates of their own; their scatter gives the error
 * bar of their mean. Each group is corrected for having drawn more or fewer accesses than its share
 * (SHARDS-adj: the difference counts at the smallest distance).
 */
#ifndef KVS_CURVE_H
#define KVS_CURVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KVS_CURVE_GROUPS 16

struct kvs_curve; /* from kvs_curve_new, ended by kvs_curve_free */

/* rate: share of the keys that is followed, 0 < rate <= 1; 1 is exact. NULL: no memory. */
struct kvs_curve *kvs_curve_new(double rate);
void kvs_curve_free(struct kvs_curve *curve); /* accepts NULL */
/* Accesses in their order. false: no memory. */
bool kvs_curve_add(struct kvs_curve *curve, const uint64_t *key, size_t n);

uint64_t kvs_curve_n_access(const struct kvs_curve *curve); /* all, followed or not */
uint64_t kvs_curve_n_followed(const struct kvs_curve *curve);
double kvs_curve_n_key(const struct kvs_curve *curve); /* different ones; an estimate of a sample */

/* Sums up what was added; before the calls below, and again after more was added. */
bool kvs_curve_end(struct kvs_curve *curve); /* false: no memory */
struct kvs_curve_point {
    double hit_frac; /* of all accesses */
    double error;    /* half width of its 95 % confidence interval; 0: exact */
};
struct kvs_curve_point kvs_curve_at(const struct kvs_curve *curve, uint64_t n_block);

#endif
