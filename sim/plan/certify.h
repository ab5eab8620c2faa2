/*
 * certify.h - a proof that no plan within the budget ends before a time.
 *
 * T is the longest of many paths through the recursion, so no weighted mean of paths exceeds it. A
 * certificate names paths, their weights, and a price of distortion; the bound is the least, over
 * all staircases, of the mean plus price * (distortion - budget). It is computed here in integers,
 * from the problem alone; nothing is shared with the search for plans, and whatever the weights
 * are, the bound holds.
 *
 * A proof by cases splits the staircases at a layer into those of at most a fraction and the
 * others, each half again where that helps, and has a certificate for each case: weights that fit
 * all staircases at once bound less than weights made for each kind. The cases follow from the
 * tree, so none can be forgotten.
 */
#ifndef KVS_PLAN_CERTIFY_H
#define KVS_PLAN_CERTIFY_H

#include "plan.h"

/* A path to the end. */
struct kvs_path {
    bool all_work;    /* gpu_start, pre and waiting work of all layers; the rest is unused */
    uint32_t route;   /* n_route: none, the decoder's chain from time 0 (enter is 0) */
    uint32_t enter;   /* j: loads of layers up to it, decoding from it on */
    uint32_t compute; /* m >= j: decoding up to it, waiting work from it on */
};

#define KVS_MAX_PATH 128

/* The staircases that lie within bounds at every layer. */
struct kvs_box {
    uint8_t low[KVS_MAX_LAYER], high[KVS_MAX_LAYER]; /* fractions' indices; neither ever grows */
};

struct kvs_certificate {
    uint32_t n_path;
    struct kvs_path path[KVS_MAX_PATH];
    double weight[KVS_MAX_PATH]; /* not negative, any sum above 0 */
    double price_ns;             /* of a unit of distortion; not negative */
};

#define KVS_MAX_CASE 128

/* A node of the tree. */
struct kvs_case {
    bool is_split; /* into nodes `below`, those of at most frac_i in the layer, and `above` */
    uint8_t layer, frac_i;
    uint32_t below, above;                     /* later in the list than this one */
    const struct kvs_certificate *certificate; /* where it is not split */
};

/* The bound; INT64_MIN if the certificate proves nothing (or no plan fits the budget at all). */
int64_t kvs_certify(const struct kvs_plan_problem *problem, int64_t budget,
                    const struct kvs_certificate *certificate);
/* The same by cases: the tree's root is node[0] of n. */
int64_t kvs_certify_cases(const struct kvs_plan_problem *problem, int64_t budget,
                          const struct kvs_case *node, uint32_t n_node);

#endif
