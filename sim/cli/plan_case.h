/*
 * plan_case.h - `kvsim plan`: one prompt on one machine, as the options describe it, and the same
 * with a knob turned.
 */
#ifndef KVS_PLAN_CASE_H
#define KVS_PLAN_CASE_H

#include "base/opt.h"
#include "plan/levels.h"

struct kvs_plan_options {
    const char *instances, *planner, *plot;
    bool json, overwrite;
    const char *model, *hw, *codec, *quality, *repair, *budget;
    struct kvs_strs tiers, levels, states;
    uint64_t context_tok, new_tok, block_tok, chunk_tok, fractions, tp, decoders;
    double error, bandwidth, load, slo; /* bandwidth 0: the profile's */
    int reuse;                          /* 0 prefix, 1 content */
    bool hidden;
};

/* What may be turned, as factors of what the options say. */
struct kvs_knobs {
    double link, gpu, decoder; /* speeds */
    double descriptor;         /* fixed cost of a descriptor */
    double new_tok, context_tok;
};
#define KVS_KNOBS_AS_IS                                                                            \
    (struct kvs_knobs)                                                                             \
    {                                                                                              \
        1, 1, 1, 1, 1, 1                                                                           \
    }

/* What all variants share. */
struct kvs_plan_case {
    struct kvs_plan_options options;
    struct kvs_model *model;
    struct kvs_hw *hw;
    struct kvs_codec *codec;
    struct kvs_quality *quality; /* NULL: none needed */
    struct kvs_plan_scratch *scratch;
    uint32_t tp, n_decoder, n_route;
    const struct kvs_hw_tier *tier[KVS_MAX_ROUTE];
    double budget_nats;
    uint32_t n_state; /* restart points: layers that --states names */
    uint8_t state_at[KVS_MAX_LAYER];
    double link_error, gpu_error; /* relative, of the slowest hop and of the GPU's GEMMs */
};

/* One variant: a problem and what it was made of. */
struct kvs_variant {
    uint32_t context_tok, new_tok, n_frac;
    struct kvs_hw hw; /* the profile with its GPU turned */
    struct kvs_hw_gpu gpu;
    struct kvs_hw_link link[KVS_MAX_ROUTE][KVS_MAX_HOP];
    struct kvs_table_route route[KVS_MAX_ROUTE];
    double repair_frac[8];
    int64_t repair_distortion[8];
    struct kvs_cost *cost;
    struct kvs_levels *levels;
    struct kvs_tables *tables;
    struct kvs_tables_inst *inst;
    struct kvs_piece *piece;
    struct kvs_plan_problem problem;
};

KVS_MUST_CHECK enum kvs_code kvs_plan_case_open(const struct kvs_plan_options *options,
                                                struct kvs_plan_case **c, struct kvs_err *err);
void kvs_plan_case_free(struct kvs_plan_case *c); /* accepts NULL */

/* The case with knobs turned and a menu of n_frac fractions; ended by kvs_variant_end, also when it
 * fails. */
KVS_MUST_CHECK enum kvs_code kvs_variant_begin(const struct kvs_plan_case *c,
                                               const struct kvs_knobs *knobs, uint32_t n_frac,
                                               struct kvs_variant *v, struct kvs_err *err);
void kvs_variant_end(struct kvs_variant *v);

/* Bytes per second at which the routes bring raw KV of all the context, fixed costs included. */
double kvs_variant_load_rate(const struct kvs_variant *v);

#endif
