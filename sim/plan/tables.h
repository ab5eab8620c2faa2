/*
 * tables.h - from a cost model and the pieces of a prompt to a plan problem.
 *
 * A prompt is a row of pieces: resident in HBM, cached behind a route, or absent. The recompute
 * menu is nested sets of whole blocks, the first ones on routes. What is rounded to nanoseconds is
 * rounded per layer. kvs_tables holds what all prompts share, kvs_tables_inst one prompt's tables,
 * to be used again for the next.
 */
#ifndef KVS_TABLES_H
#define KVS_TABLES_H

#include "model/cost.h"
#include "plan.h"

#define KVS_AT_HBM (-1)  /* resident: nothing to load */
#define KVS_AT_NONE (-2) /* absent: a hole, or the new tokens at the end */

/* In prompt order. On a route: one piece a block. */
struct kvs_piece {
    uint32_t n_tok;
    int32_t where; /* KVS_AT_HBM, KVS_AT_NONE, or the index of a route */
    bool moved;    /* cached behind other text, or at another position: its keys are rotated, and
                      what it did not attend to is repaired */
    uint16_t held; /* the levels that the block is held at, a bit each; 0: at all of them */
    int64_t loss;  /* of a cached piece: what it carries, as if all cached text were such */
    /* [n_level] what it weighs as stored, in tokens of the level's ratio; NULL: n_tok at all */
    const double *stored_tok;
    bool stateless; /* on a route, without the hidden states of config.state_at */
};

/* One hop of a route. */
struct kvs_table_hop {
    const struct kvs_hw_link *link;
    double share; /* part of a replica's bytes that crosses this one link: 1, or 1/tp for a link of
                     each GPU */
};

struct kvs_table_route {
    uint32_t n_hop;
    struct kvs_table_hop hop[KVS_MAX_HOP]; /* storage side first */
};

/* A form that KV is loaded in; level 0 is raw: ratios 1, no decoding, no distortion. */
struct kvs_table_level {
    const char *name;
    double k_ratio, v_ratio;   /* bytes, relative to raw */
    double decode_bytes_per_s; /* of raw bytes produced; 0: nothing to decode */
    double decode_unit_s; /* decoding what a block, or unit of one, holds of a layer, besides */
    double encode_bytes_per_s; /* of raw bytes taken in; 0: no bound, or not known */
    double decode_error;       /* relative, of decoding's rate */
    bool on_gpu;               /* decoded on the compute engine: counts in post, not in decode */
    bool projected; /* hidden states: K and V are projected from them, which counts in post */
    /* [layer * n_frac + j] of a layer, when share j / (n_frac - 1) of the cached tokens is exact
     * and the rest at this level; NULL: none */
    const int64_t *distortion;
};

/*
 * Repair of moved text (CacheBlend, EPIC): of each moved piece the first share of its tokens is
 * computed again, once what stands before it is there.
 */
struct kvs_table_repair {
    uint32_t n;                /* shares to choose from; 0: moved text needs no repair */
    const double *frac;        /* [n] ascending from 0, below 1 */
    const int64_t *distortion; /* [n] all layers, of a prompt whose cached text is all moved */
    /*
     * Not 0: there are two choices, nothing or so many first tokens of each passage. What the share
     * that this comes to loses lies on straight lines between the n, and down to 0 at 1.
     */
    uint32_t first_tok;
};

struct kvs_tables_config {
    const struct kvs_model *model;
    const struct kvs_cost *cost; /* of that model */
    uint32_t n_route;
    const struct kvs_table_route *route; /* [n_route] */
    uint32_t chunk_tok;                  /* of a prefill chunk */
    uint32_t n_frac;                     /* fractions i / (n_frac - 1); at least 2 */
    double descriptors;                  /* per unit and layer */
    uint32_t unit_tok; /* a block is stored in units of so many tokens; 0: in one */
    uint32_t n_level;
    const struct kvs_table_level *level; /* [n_level] */
    bool keep_shared; /* of shared hops also those that can't bind with these levels */
    bool as_held; /* plans have no level to choose: each block is loaded at the one it is held at */
    struct kvs_table_repair repair; /* n < n_frac */
    /* Restart points (plan.h): routes hold the hidden states that enter these layers, too; */
    const uint8_t *state_at;    /* [layers] 1: of this one (never the first); NULL: of none */
    double state_bytes_per_tok; /* of one layer, all ranks; one descriptor a unit */
    int64_t budget;             /* of distortion */
};

struct kvs_tables; /* from kvs_tables_new, ended by kvs_tables_free; borrows what config names */
struct kvs_tables_inst; /* from kvs_tables_inst_new, ended by kvs_tables_inst_free */

/* KVS_ERR_RANGE if a count is above what plan.h allows, or 0 where one is needed. */
KVS_MUST_CHECK enum kvs_code kvs_tables_new(const struct kvs_tables_config *config,
                                            struct kvs_tables **tables, struct kvs_err *err);
void kvs_tables_free(struct kvs_tables *tables); /* accepts NULL; instances go first */
struct kvs_tables_inst *kvs_tables_inst_new(const struct kvs_tables *tables); /* NULL: no memory */
void kvs_tables_inst_free(struct kvs_tables_inst *inst);                      /* accepts NULL */

/*
 * The problem of one prompt; it borrows from inst until the next build. Fraction i recomputes the
 * shortest row of blocks on routes, from the first on, with at least i / (n_frac - 1) of their
 * tokens N; the problem's frac[i] is the share that it has.
 * With moved pieces the menu first repairs the shares of config.repair, then adds such rows to the
 * greatest share; moved pieces count whether on a route or resident.
 *
 *     io       slowest hop's time for the blocks of the route that are left (kvs_link_s);
 *              behind the routes, of each hop that several take: its time for what all of them
 *              bring. Hops that can't bind are left out, those beyond KVS_MAX_SHARED counted
 *              with the last
 *     io_start sum of the hops' latencies; 0 if the route holds nothing of this prompt
 *     full, kv the recomputed set as one sequence in one pass; each token sees all before it
 *     wfull, wkv  repaired tokens, in one pass with the first chunk: what they add to it
 *     post     the first chunk of the absent tokens; where all cached tokens are recomputed, its
 *              marginal cost in one pass with them; besides it, what the compute engine does to
 * what is loaded: keys of moved tokens rotated, levels decoded on the GPU (gpu_decode), hidden
 * states projected state    as io, of the blocks that a fraction computes: what a restart point
 * loads. None where a piece is moved or carries a loss (its states saw other text, or lossy
 *              layers), or one on a route has no states
 *     head     the later chunks, each its own pass, embedding and logits of one row
 *
 * Carried losses are weighed by the tokens that stay as they are, of all cached ones, and counted
 * evenly in all layers. With as_held, the problem has one level, and each piece on a route says its
 * own.
 *
 * A layer with a sliding window loads only blocks that the first absent token's window reaches. A
 * hole before recomputed blocks is charged with the absent tokens, in post and head. Where nothing
 * lies on a route, n_route is 0 and all fractions are equal; routes after the last used are left
 * out.
 */
void kvs_tables_build(const struct kvs_tables *tables, struct kvs_tables_inst *inst,
                      const struct kvs_piece *piece, uint32_t n_piece,
                      struct kvs_plan_problem *problem);

/* Of the prompt built last. */
/* Recomputed from the front, waiting for no load; and repaired in moved text, after loads. */
uint32_t kvs_tables_recompute_tok(const struct kvs_tables_inst *inst, uint32_t frac_i);
uint32_t kvs_tables_repair_tok(const struct kvs_tables_inst *inst, uint32_t frac_i);
uint32_t kvs_tables_first_tok(const struct kvs_tables_inst *inst); /* absent, in the first chunk */
/* What a layer loses at a fraction whatever its level: moved text that is not repaired, and what
 * cached text carries. */
int64_t kvs_tables_other_loss(const struct kvs_tables_inst *inst, uint32_t frac_i);
/* Of that, what cached text carries. */
int64_t kvs_tables_carried_loss(const struct kvs_tables_inst *inst, uint32_t frac_i);
/* The share of all cached tokens that a layer of a class loads at level h, a lossy one, where the
 * plan has fraction i and level q. */
double kvs_tables_lossy_frac(const struct kvs_tables_inst *inst, uint32_t class_i, uint32_t frac_i,
                             uint32_t q, uint32_t h);
/* Bytes of states that a rise from one fraction to another loads, all ranks: from all routes, and
 * from one. */
double kvs_tables_state_bytes(const struct kvs_tables_inst *inst, uint32_t from_i, uint32_t to_i);
double kvs_tables_route_state_bytes(const struct kvs_tables_inst *inst, uint32_t route,
                                    uint32_t from_i, uint32_t to_i);
/* Bytes of one layer of a class that a route brings at fraction i and level q, all ranks together.
 */
double kvs_tables_load_bytes(const struct kvs_tables_inst *inst, uint32_t route, uint32_t class_i,
                             uint32_t frac_i, uint32_t level);

#endif
