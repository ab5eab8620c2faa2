/*
 * fill.h - from a model's cache into a store: which model it is, and its blocks encoded.
 */
#ifndef KVS_STORE_FILL_H
#define KVS_STORE_FILL_H

#include "../forward.h"
#include "states.h"

/* A hash of a model's shape and of every weight: whose KV it is. Reads all weights. */
KVS_MUST_CHECK enum kvs_code kvs_model_hash(const struct kvs_weights *weights, uint64_t hash[2],
                                            struct kvs_err *err);

struct kvs_fill {
    struct kvs_store *store;
    const struct kvs_weights_shape *shape;
    struct kvs_forward
        *forward;               /* its cache holds the tokens, slot j is position j; kv_elem BF16 */
    const uint64_t *model_hash; /* [2] */
    const uint32_t *tok;        /* [n_tok] */
    uint32_t n_tok, block_tok;  /* a last block that is not whole is left out */
    uint32_t n_sink;            /* first tokens of the prompt that stay raw */
    const uint8_t *level;       /* [n_layer * 2] */
    const float *const *weight; /* as in struct kvs_kvf_in, or NULL */
    const char *tag;            /* NULL: kvs_store_tag's, or kvs_states_tag's */
    /* of the tokens, stored raw instead of K and V: then forward's cache, n_sink, level and weight
     * are not looked at; or NULL */
    const struct kvs_states *states;
    struct kvs_kvf_memory *memory; /* of blocks' files, one after another; or NULL */
};
struct kvs_filled {
    uint32_t n_put, n_there; /* blocks */
    uint64_t put_bytes;
};
/* One block as a codec file, the caller's to free unless it lies in fill's memory; store and tag
 * are not looked at. */
KVS_MUST_CHECK enum kvs_code kvs_fill_encode(const struct kvs_fill *fill, uint32_t block,
                                             struct kvs_block_key key, uint8_t **file,
                                             size_t *n_byte, struct kvs_err *err);
/* Encodes and stores the blocks that are not held yet, first to last, up to the first error, which
 * leaves those before it. No work on the cache may be pending. */
KVS_MUST_CHECK enum kvs_code kvs_fill(const struct kvs_fill *fill, struct kvs_filled *filled,
                                      struct kvs_err *err);

#endif
