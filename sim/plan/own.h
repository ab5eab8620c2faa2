/*
 * own.h - published policies whose order of work is no staircase served layer by layer: they are
 * replayed by their own rule, over the token groups that a problem's fractions cut.
 *
 * Group g holds the tokens between fraction g and g + 1. Costs are the problem's: what a group's
 * compute or load adds to the sums over layers. These policies bring all layers of a token at once,
 * so the new tokens wait for all of it. kvs_plan_eval knows nothing of them; the optimum is shown
 * beside them.
 */
#ifndef KVS_OWN_H
#define KVS_OWN_H

#include "plan.h"

#define KVS_OWN_COMPUTED 255 /* a group's choice: no level, but computed again */

struct kvs_own_config {
    int64_t slo_ns;     /* CacheGen's deadline for the context */
    const double *rate; /* [group] the links' speed, relative to the problem's, while the group
                           travels; NULL: 1. Policies see only what they have measured. */
};

struct kvs_own_result {
    int64_t end_ns; /* T */
    int64_t distortion;
    double recompute_frac;
    uint8_t choice[KVS_MAX_FRAC]; /* [group] */
};

/* A policy: one file own_NAME.c and one line of own_list.h. */
struct kvs_own_ops {
    const char *name, *help;
    bool never_ahead; /* no instance in which it beats the optimum over the same menu: its split is
                         a corner, served later */
    bool chooses_level; /* has nothing to choose where there is one */
    void (*run)(const struct kvs_plan_problem *problem, const struct kvs_own_config *config,
                struct kvs_own_result *result);
};

extern const struct kvs_own_ops *const kvs_own_list[]; /* NULL-ended */

/* --- for the policies ----------------------------------------------------------------------------
 */

/* What group g adds to the sum of compute over layers; and at level q to the slowest route's sum of
 * loads, and to that of decoding. */
int64_t kvs_own_compute_ns(const struct kvs_plan_problem *problem, uint32_t g);
int64_t kvs_own_load_ns(const struct kvs_plan_problem *problem, uint32_t g, uint32_t q);
int64_t kvs_own_decode_ns(const struct kvs_plan_problem *problem, uint32_t g, uint32_t q);
/* When the last of the routes begins. */
int64_t kvs_own_start_ns(const struct kvs_plan_problem *problem);
/* The new tokens behind all layers, with the first i groups computed and the rest at level q. */
int64_t kvs_own_post_ns(const struct kvs_plan_problem *problem, uint32_t i, uint32_t q);
/* Fills recompute_frac and distortion from choice. */
void kvs_own_settle(const struct kvs_plan_problem *problem, struct kvs_own_result *result);

#endif
