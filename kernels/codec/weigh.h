/*
 * weigh.h - how much an error in a channel of K or V counts, from the model's own matrices.
 *
 *     K: mean square of the query's channel if the normed input were white, summed over the query
 *        heads that share the key; the two channels of a RoPE pair count alike
 *     V: squared column of the output projection, summed over the query heads that share the value
 *
 * No calibration text is needed. Steps of e-levels as 1 / sqrt(weight) give 2 to 4 times less KL at
 * equal bits (README.md). They are what stores encode with.
 */
#ifndef KVS_KVF_WEIGH_H
#define KVS_KVF_WEIGH_H

#include "kernels/weights/weights.h"

/*
 * *weight: [n_layer * 2] of [n_kv_head * head_dim], K of layer 0, V of layer 0, ..: what
 * kvs_kvf_in.weight takes. One piece of memory, the caller's to free.
 */
KVS_MUST_CHECK enum kvs_code kvs_kvf_weigh(const struct kvs_weights *weights, const float ***weight,
                                           struct kvs_err *err);

#endif
