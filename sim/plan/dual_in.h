/*
 * dual_in.h - the inside of dual.h: what dual_fill.c makes of a problem and dual.c walks through.
 */
#ifndef KVS_PLAN_DUAL_IN_H
#define KVS_PLAN_DUAL_IN_H

#include "dual.h"

#define KVS_DUAL_LANES 4u /* fractions are padded to a multiple of it */
#define KVS_DUAL_BANNED 1e300

#if defined(__x86_64__)
#define KVS_DUAL_WIDE
#endif

/* The prices of a layer that are not 0, and where in a slot their costs lie. */
struct kvs_dual_terms {
    uint32_t n;
    double price[KVS_MAX_ROUTE + 3];
    size_t at[KVS_MAX_ROUTE + 3];
};

/*
 * Tables per class of layers that share their costs, and slot; fraction innermost: io of each
 * route, decode, post, distortion. A fraction's slots hold the levels that some feasible plan can
 * afford; the last one repeats.
 */
struct kvs_dual {
    const struct kvs_plan_problem *problem;
    int64_t budget;
    bool wide;                 /* the processor has vectors of KVS_DUAL_LANES doubles */
    const struct kvs_box *box; /* NULL: all staircases */
    uint32_t n_pad, n_field, n_class;
    double *cell;  /* [class][slot][field][n_pad] */
    double *edge;  /* [class][DUAL_EDGES][n_pad]: full - kv, kv, wfull - wkv, wkv, ban */
    double *value; /* [layer + 1][n_pad]: least price from the layer on, by its fraction */
    double *reach; /* [layer][n_pad]: least over next fractions up to this one */
    double own[KVS_MAX_FRAC];                               /* of the layer at hand */
    uint32_t class_of[KVS_MAX_LAYER], first[KVS_MAX_LAYER]; /* [layer]; [class]: a layer of it */
    uint32_t n_slot[KVS_MAX_LAYER];                         /* [class] */
    uint8_t *level;                                         /* [class][slot][n_pad] */
    struct kvs_dual_terms terms[KVS_MAX_LAYER];             /* of the last walk */
    /* with restart points only: i < n_frac; j < n_pad: the least fraction up to a layer (plan.h) */
    uint32_t first_state; /* no fraction rises before this layer */
    double *rising;       /* [2][i][j] of the layer at hand and the next: least price from (j, i) */
    double *up, *up_at;   /* [i][j] of a restart point: the best rise, and to which fraction */
    int32_t *next;        /* [layer][i][j] the next fraction */
};

enum { DUAL_FULL, DUAL_KV, DUAL_WFULL, DUAL_WKV, DUAL_BAN, DUAL_EDGES };

/* Prices of a layer's fractions, into dual->own; and which level is a fraction's best there. Layers
 * are priced from the last one down. */
void kvs_dual_price_layer(struct kvs_dual *dual, const struct kvs_prices *prices, uint32_t l);
uint8_t kvs_dual_best_level(const struct kvs_dual *dual, uint32_t l, uint32_t i);

/* dual_rising.c, for problems with restart points: kvs_dual_walk, without starts and budget; and
 * its way from the last layer down, by which dual->value is filled where `keep`. */
double kvs_dual_walk_rising(struct kvs_dual *dual, const struct kvs_prices *prices,
                            struct kvs_plan *plan);
void kvs_dual_up_rising(struct kvs_dual *dual, const struct kvs_prices *prices, bool keep);

#endif
