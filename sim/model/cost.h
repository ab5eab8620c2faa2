/*
 * cost.h - seconds that operators take: one model on one kind of GPU, under tensor parallelism.
 *
 * Composed from operators: GEMMs, attention with its position term,
 * operators bound by memory, a launch floor, two all-reduces a layer under TP. Layers of equal
 * shape form a class; costs are asked by class. All times are seconds of one replica (tp GPUs
 * working as one), finite, and never fall when tokens or context grow.
 *
 *   GEMM of m rows, k x n weights:   launch + max(2 k n (m + half) / (peak eff), bytes / memory)
 *   attention of q queries a head, each seeing s keys on average (rows: q times heads a KV head):
 *       compute (rows + half) tail + max(compute (rows + half) s, memory of all keys)
 *   MoE: rows is m, each with its active experts' weights, at a share of a GEMM's rate; the weights
 *       of E (1 - (1 - active / E)^m) distinct experts are read
 *   all-reduce over tp GPUs:         latency + 2 (tp - 1) / tp bytes / bus rate
 *
 * Where the profile has layers of the model's shape as they were measured ("compute", tp = 1),
 * their times are what measured.h says between the points; two segments add their attention. A
 * whole layer is then the sum of the three below, without a launch.
 *
 * half makes small batches inefficient (tiles half empty, short pipelines), tail charges each query
 * for the masked part of its diagonal tile and for its tile's start and end. sim/model/README.md
 * says how well that meets published measurements.
 */
#ifndef KVS_COST_H
#define KVS_COST_H

#include "hardware.h"
#include "model.h"

struct kvs_cost; /* from kvs_cost_new, ended by kvs_cost_free; borrows model and hw */

/*
 * KVS_ERR_RANGE if tp does not divide the heads, or the weights do not fit the GPUs' memory;
 * KVS_ERR_ABSENT if hw has no GPU or a figure that is needed is not known.
 */
KVS_MUST_CHECK enum kvs_code kvs_cost_new(const struct kvs_model *model, const struct kvs_hw *hw,
                                          uint32_t tp, struct kvs_cost **cost, struct kvs_err *err);
/* The same for what is only a part of a replica (one layer, a stage): the weights may be too large.
 */
KVS_MUST_CHECK enum kvs_code kvs_cost_new_part(const struct kvs_model *model,
                                               const struct kvs_hw *hw, uint32_t tp,
                                               struct kvs_cost **cost, struct kvs_err *err);
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
 * if no token. It is the sum of the three below, and a launch. */
double kvs_cost_layer_s(const struct kvs_cost *cost, uint32_t class_i, const struct kvs_seg *seg,
                        uint32_t n_seg);
/* Its norms, projections, RoPE and MLP for n_tok tokens in all. */
double kvs_cost_linear_s(const struct kvs_cost *cost, uint32_t class_i, double n_tok);
/* Its attention, without the launch. */
double kvs_cost_attention_s(const struct kvs_cost *cost, uint32_t class_i,
                            const struct kvs_seg *seg, uint32_t n_seg);
/* Its two all-reduces of n_tok tokens' hidden states; 0 without TP. */
double kvs_cost_allreduce_s(const struct kvs_cost *cost, double n_tok);

/* Only the norm and the K and V projections (with RoPE) of n_tok tokens. 0 if no token. */
double kvs_cost_kv_s(const struct kvs_cost *cost, uint32_t class_i, double n_tok);
/* Keys of n_tok tokens rotated to another position (RoPE), in place: read and written once. */
double kvs_cost_shift_s(const struct kvs_cost *cost, uint32_t class_i, double n_tok);
/* Embedding of n_tok tokens, final norm and logits of n_row of them. */
double kvs_cost_head_s(const struct kvs_cost *cost, double n_tok, double n_row);
/*
 * One decode step of n_seq sequences, whole model with head, is affine in the sum of their
 * contexts:
 *
 *     step_s = *fixed_s + *per_context_tok_s * sum of contexts
 *
 * (where attention was measured, by the chord from no context to the longest).
 * Windowed layers count as full: their windows' reads are part of *fixed_s.
 */
void kvs_cost_decode_s(const struct kvs_cost *cost, double n_seq, double *fixed_s,
                       double *per_context_tok_s);
/*
 * Prefill of n_tok tokens behind context_tok, alone, whole model with the head's one row, in chunks
 * of chunk_tok tokens (0: one chunk): n_tok >= 1.
 */
double kvs_cost_prefill_s(const struct kvs_cost *cost, double context_tok, double n_tok,
                          double chunk_tok);
/* HBM of one replica left for KV: usable share of all GPUs less weights and activation peak for
 * max_tok tokens a step. Negative if they do not fit. */
double kvs_cost_kv_room_bytes(const struct kvs_cost *cost, double max_tok);

#endif
