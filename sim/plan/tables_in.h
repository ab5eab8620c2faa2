/*
 * tables_in.h - the inside of tables.h: what tables.c makes and fill.c fills.
 */
#ifndef KVS_TABLES_IN_H
#define KVS_TABLES_IN_H

#include "tables.h"

/* A link that several routes of a prompt take. */
struct kvs_shared_link {
    const struct kvs_hw_link *link;
    uint8_t by; /* bit k: route k */
};

struct kvs_tables {
    struct kvs_tables_config config;
    uint32_t n_layer, n_class;
    uint32_t n_menu; /* levels that plans choose from */
    bool by_layer;   /* distortion differs from layer to layer */
    uint32_t class_of[KVS_MAX_LAYER];
    uint32_t *class_n;         /* [class] layers of it */
    double *raw_bytes_per_tok; /* [class] K and V, one layer, all ranks */
    uint32_t *window_tok;      /* [class] 0: sees all */
    double frac[KVS_MAX_FRAC];
    double latency_s[KVS_MAX_ROUTE];
    double ratio[KVS_MAX_LEVEL];
};

/* What is computed again at one fraction. */
struct kvs_cut {
    uint32_t piece_i; /* pieces before it that are not kept as they are: all of them */
    uint32_t n_tok;
    double context_tok;  /* as one sequence: what its tokens see besides one another, in the mean */
    uint32_t repair_tok; /* in moved pieces from piece_i on */
    bool has_first;      /* of each passage there KVS_LEGO_TOK, at least */
    double repair_context_tok;
    uint32_t moved_tok; /* tokens of moved pieces that stay as they are */
    double carried;     /* by what stays as it is, of all cached tokens */
};

/* One class of layers. */
struct kvs_tables_class {
    struct kvs_layer_cost cost;
    int64_t *io_ns[KVS_MAX_ROUTE], *decode_ns, *post_ns, *gpu_decode_ns,
        *distortion;                              /* [i * n_menu + q] */
    int64_t *full_ns, *kv_ns, *wfull_ns, *wkv_ns; /* [i] */
    double *load_bytes[KVS_MAX_TIER_ROUTE];       /* [i * n_menu + q] stored */
    double *lossy_frac; /* [(i * n_menu + q) * n_level + held q]: of all cached tokens */
};

struct kvs_tables_inst {
    const struct kvs_tables *tables;
    uint32_t absent_tok, first_tok, first_absent_pos;
    uint32_t cached_tok; /* on routes and resident */
    uint32_t menu_tok;   /* on routes, and of moved residents: what may be computed again */
    bool used[KVS_MAX_TIER_ROUTE];
    uint32_t n_shared; /* links; with pipes behind the routes' (share.h) */
    struct kvs_shared_link shared[KVS_MAX_TIER_ROUTE * KVS_MAX_HOP];
    bool moved, mixed; /* any piece is moved; any is not held at all levels */
    bool carries;      /* any piece carries a loss */
    bool stateless;    /* any piece on a route has no states */
    struct kvs_cut cut[KVS_MAX_FRAC];
    double frac[KVS_MAX_FRAC];
    double repair_frac[KVS_MAX_FRAC];
    const struct kvs_layer_cost *layer[KVS_MAX_LAYER];
    int64_t *state_ns[KVS_MAX_ROUTE]; /* [n_frac], and what they are bytes of; NULL: no states */
    double *state_bytes[KVS_MAX_TIER_ROUTE];
    int64_t *zero;                     /* [n_frac * n_menu] */
    int64_t *cells;                    /* memory of all classes' integer tables */
    double *bytes;                     /* and of their byte counts and shares */
    struct kvs_layer_cost *layer_cost; /* [n_layer] if by_layer */
    int64_t *layer_distortion;         /* [n_layer * n_frac * n_menu] if by_layer */
    struct kvs_tables_class class[];
};

/* true if the piece may be computed again. */
static inline bool kvs_on_menu(const struct kvs_piece *piece)
{
    return piece->where >= 0 || (piece->where == KVS_AT_HBM && piece->moved);
}

/* Fractions that repair and cut nothing; 1: that is only loading all. */
static inline uint32_t kvs_n_repair(const struct kvs_tables_inst *inst)
{
    const struct kvs_table_repair *repair = &inst->tables->config.repair;

    return !inst->moved || !repair->n ? 1 : repair->first_tok ? 2 : repair->n;
}

/* fill.c: loads, decoding and compute of one class; and the distortion of all layers. */
void kvs_fill_class(const struct kvs_tables *t, struct kvs_tables_inst *inst, uint32_t class_i,
                    const struct kvs_piece *piece, uint32_t n_piece, const struct kvs_seg *first);
/* Loads of restart points, after all classes. */
void kvs_fill_states(const struct kvs_tables *t, struct kvs_tables_inst *inst,
                     const struct kvs_piece *piece);
void kvs_fill_distortion(const struct kvs_tables *t, struct kvs_tables_inst *inst);

#endif
