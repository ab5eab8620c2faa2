/*
 * labels.h - label setting over the layers: partial plans, extended layer by layer.
 *
 * A label is what a partial plan leaves to the layers after it: the next fraction, I of each route,
 * X, the chain that started at an arrival, all work, distortion. A label is dropped when another of
 * the same fraction is no worse in every entry, when it can't stay within the budget, or when a
 * potential proves that it can't end before the limit. With a width, only that many of the most
 * promising labels survive a layer, and the search is a heuristic.
 */
#ifndef KVS_PLAN_LABELS_H
#define KVS_PLAN_LABELS_H

#include "dual.h"

/* What the prices of a walk say of the rest of any partial plan. */
struct kvs_potential {
    struct kvs_prices prices;
    double value[KVS_MAX_LAYER + 1][KVS_MAX_FRAC]; /* least price from the layer on */
};

/* Copies what the dual's last walk at these prices found. */
void kvs_potential_of(struct kvs_dual *dual, const struct kvs_prices *prices,
                      struct kvs_potential *potential);

/*
 * How a mixture of plans goes on from each layer: a label completed by it tells how promising it
 * is, with all its paths and not only those that have a price. No bound, only an order.
 */
struct kvs_guide {
    double from_in[KVS_MAX_LAYER + 1][KVS_MAX_ROUTE], from_x[KVS_MAX_LAYER + 1];
    double wait[KVS_MAX_LAYER + 1], work[KVS_MAX_LAYER + 1], distortion[KVS_MAX_LAYER + 1];
    double
        value[KVS_MAX_LAYER + 1]; /* mean of the first potential's over the mixture's fractions */
};

struct kvs_labels; /* working memory that grows; from kvs_labels_new, ended by kvs_labels_free */

struct kvs_labels *kvs_labels_new(void); /* NULL: no memory */
void kvs_labels_free(struct kvs_labels *labels);

struct kvs_label_search {
    const struct kvs_plan_problem *problem;
    int64_t budget;
    const struct kvs_potential *const *potential; /* the first also orders what is tried */
    uint32_t n_potential;
    const struct kvs_guide *guide; /* with a width: orders labels */
    int64_t limit_ns;              /* plans that end at it or later are not wanted */
    uint32_t width;                /* 0: no limit, the search is exact */
    uint32_t
        n_most; /* labels of one layer before dominance, at most; with no width: KVS_ERR_RANGE */
    const struct kvs_plan_watch *watch; /* NULL: none; when it stops: KVS_ERR_RANGE */
};

/*
 * The best plan that ends before the limit, if *found: of all, or with a width, of those that
 * survived. KVS_ERR_NOMEM, or KVS_ERR_RANGE when n_most is not enough or the watch stops it.
 */
KVS_MUST_CHECK enum kvs_code kvs_label_search(struct kvs_labels *labels,
                                              const struct kvs_label_search *search,
                                              struct kvs_plan *plan, bool *found,
                                              struct kvs_err *err);

#endif
