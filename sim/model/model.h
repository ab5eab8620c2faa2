/*
 * model.h - the shape of a transformer: what its KV cache weighs, and what cost.h computes with.
 */
#ifndef KVS_MODEL_H
#define KVS_MODEL_H

#include "base/json.h"

struct kvs_model; /* from kvs_model_open, ended by kvs_model_free */

/*
 * name_or_file: the name of a shape in configs/models ("llama-3.1-8b") or a path (has a '/' or ends
 * in
 * ".json"). An unknown name fails with the nearest known one and the list.
 */
KVS_MUST_CHECK enum kvs_code kvs_model_open(const char *name_or_file, struct kvs_model **model,
                                            struct kvs_err *err);
void kvs_model_free(struct kvs_model *model); /* accepts NULL */
const char *kvs_model_name(const struct kvs_model *model);
uint32_t kvs_model_n_layer(const struct kvs_model *model);

/* Bytes of K and V together of one token in one layer, at the model's own KV element size, before
 * any sharding. */
double kvs_model_kv_bytes_per_tok(const struct kvs_model *model, uint32_t layer);
/* Tokens that a sliding-window layer sees; 0: all of them. */
uint32_t kvs_model_window_tok(const struct kvs_model *model, uint32_t layer);
/* All layers: the sum over layers of the above. KVS_ERR_RANGE if it does not fit. */
KVS_MUST_CHECK enum kvs_code kvs_model_kv_bytes(const struct kvs_model *model, uint64_t n_tok,
                                                uint64_t *kv_bytes, struct kvs_err *err);
double kvs_model_weight_bytes(const struct kvs_model *model);

#endif
