/*
 * certify.h - a proof that no plan within the budget ends before a time.
 *
 * T is the longest of many paths through the recursion, so no weighted mean of paths exceeds it. A
 * certificate names paths, their weights, and a price of distortion; the bound is the least, over
 * all staircases, of the mean plus price * (distortion - budget). It is computed here in integers,
 * from the problem alone; nothing is shared with the search for plans, and whatever the weights
 * are, the bound holds.
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

struct kvs_certificate {
    uint32_t n_path;
    struct kvs_path path[KVS_MAX_PATH];
    double weight[KVS_MAX_PATH]; /* not negative, any sum above 0 */
    double price_ns;             /* of a unit of distortion; not negative */
};

/* The bound; INT64_MIN if the certificate proves nothing (or no plan fits the budget at all). */
int64_t kvs_certify(const struct kvs_plan_problem *problem, int64_t budget,
                    const struct kvs_certificate *certificate);

#endif
