/*
 * cost.h - seconds that operators take: one model on one kind of GPU, under tensor parallelism.
 *
 * Composed from operators (DESIGN.md, section 3): GEMMs, attention with its position term,
 * operators bound by memory, a launch floor, two all-reduces a layer under TP. Layers of equal
 * shape form a class; costs are asked by class. All times are seconds of one replica (tp GPUs
 * working as one).
 */
#ifndef KVS_COST_H
#define KVS_COST_H

#include "hardware.h"
#include "model.h"

struct kvs_cost; /* from kvs_cost_new, ended by kvs_cost_free; borrows model and hw */

/* KVS_ERR_RANGE if tp does not divide the heads, or the weights do not fit the GPUs' memory. */
KVS_MUST_CHECK enum kvs_code kvs_cost_new(const struct kvs_model *model, const struct kvs_hw *hw,
                                          uint32_t tp, struct kvs_cost **cost, struct kvs_err *err);
void kvs_cost_free(struct kvs_cost *cost); /* accepts NULL */
uint32_t kvs_cost_n_class(const struct kvs_cost *cost);
uint32_t kvs_cost_class(const struct kvs_cost *cost, uint32_t layer);

/*
 * Sequences that share one forward pass: n_seq of them, each with n_tok new tokens that see
 * context_tok earlier ones (the mean over the n_seq) and, causally, one another.
 */
struct kvs_seg {
    double n_seq, n_tok, context_tok;
};

/* One whole layer for all segments in one batch: norms, projections, attention, MLP, all-reduces. 0
 * if no token. */
double kvs_cost_layer_s(const struct kvs_cost *cost, uint32_t class_i, const struct kvs_seg *seg,
                        uint32_t n_seg);
/* Only the norm and the K and V projections (with RoPE) of n_tok tokens. 0 if no token. */
double kvs_cost_kv_s(const struct kvs_cost *cost, uint32_t class_i, double n_tok);
/* Embedding of n_tok tokens, final norm and logits of n_row of them. */
double kvs_cost_head_s(const struct kvs_cost *cost, double n_tok, double n_row);
/*
 * One decode step of n_seq sequences, whole model with head, is affine in the sum of their
 * contexts:
 *
 *     step_s = *fixed_s + *per_context_tok_s * sum of contexts
 */
void kvs_cost_decode_s(const struct kvs_cost *cost, double n_seq, double *fixed_s,
                       double *per_context_tok_s);
/* HBM of one replica left for KV: usable share of all GPUs less weights and activation peak for
 * max_tok tokens a step. */
double kvs_cost_kv_room_bytes(const struct kvs_cost *cost, double max_tok);

#endif
