/*
 * menu.h - which pairs of levels, one for K and one for V, plans should choose from.
 *
 * A plan takes in each layer the pair of least time + price * nats, at one price for all layers;
 * which price, is known only when a plan is made. A menu has room for a few pairs and shall serve
 * all prices near the budget.
 */
#ifndef KVS_MENU_H
#define KVS_MENU_H

#include "model/codec.h"

#define KVS_MENU_PAIRS (KVS_MAX_CODEC_LEVEL * KVS_MAX_CODEC_LEVEL)

struct kvs_menu_pair {
    uint32_t k, v; /* levels of the codec */
    double time_s; /* of a raw byte, at the slower of link and decoder */
    double nats;   /* all layers, all loaded */
};

struct kvs_menu_in {
    uint32_t n_pair, n_layer;
    const double *nats; /* [n_pair][n_layer] */
    double raw_s;       /* what a raw byte takes that is stored as it is: always on the menu */
    double budget_nats; /* 0: not known */
};

/* Slowest first; then by what is lost, and by level. For qsort. */
int kvs_menu_by_time(const void *a, const void *b);
/* Moves up to n_most of the n_pair pairs to the front, slowest first; *n: how many. The menu grows
 * by the pair that lowers the layers' costs most, in the mean of their logarithms over prices; room
 * that is left goes to pairs that are best if all layers have the same. */
KVS_MUST_CHECK enum kvs_code kvs_menu_choose(const struct kvs_menu_in *in, uint32_t n_most,
                                             struct kvs_menu_pair *pair, uint32_t *n,
                                             struct kvs_err *err);

#endif
