/*
 * weights.h - the weights of a Llama-family model, from a file or seeded random.
 *
 * Formats, told apart by content: GGUF (F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q4_K, Q6_K), safetensors
 * (F32, F16, BF16; config.json beside it gives the shape), and llama2.c's version 0 .bin. A file is
 * read whole when it is opened; a tensor is turned into f32 when it is read. Every size in a file
 * is checked before it is used: a hostile file gets an error that names it and what is wrong.
 */
#ifndef KVS_WEIGHTS_H
#define KVS_WEIGHTS_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct kvs_weights; /* from kvs_weights_open or _random, ended by kvs_weights_close */

struct kvs_weights_shape {
    uint32_t n_layer, hidden, ffn, n_head, n_kv_head, head_dim, n_vocab;
    uint32_t n_ctx;   /* the longest context it was trained for */
    bool rope_halves; /* pairs are (i, i + head_dim / 2), else (2i, 2i + 1) */
    float norm_eps;
    double freq[128]; /* RoPE: radians a position, head_dim / 2 of them, scaling included */
};

/* Matrices are [out][in], as device.h's GEMM takes w. */
enum kvs_weight {
    KVS_W_ATTN_NORM, /* of a layer: [hidden] */
    KVS_W_Q,         /* [n_head * head_dim][hidden] */
    KVS_W_K,         /* [n_kv_head * head_dim][hidden] */
    KVS_W_V,
    KVS_W_O,        /* [hidden][n_head * head_dim] */
    KVS_W_FFN_NORM, /* [hidden] */
    KVS_W_GATE,     /* [ffn][hidden] */
    KVS_W_UP,
    KVS_W_DOWN, /* [hidden][ffn] */
    KVS_W_N_LAYER_KIND,
    KVS_W_EMBED = KVS_W_N_LAYER_KIND, /* of the model: [n_vocab][hidden] */
    KVS_W_OUT_NORM,                   /* [hidden] */
    KVS_W_OUTPUT, /* [n_vocab][hidden]; the embedding again where they are tied */
    KVS_W_N_KIND
};

KVS_MUST_CHECK enum kvs_code kvs_weights_open(const char *file, struct kvs_weights **weights,
                                              struct kvs_err *err);
/*
 * The same from memory, which must outlive weights. name stands for the file in messages. config:
 * the text of config.json for safetensors, or NULL.
 */
KVS_MUST_CHECK enum kvs_code kvs_weights_parse(const char *name, const uint8_t *data, size_t n_byte,
                                               const char *config, size_t n_config,
                                               struct kvs_weights **weights, struct kvs_err *err);
/* Normal numbers of deviation 1 / sqrt(in), norms of 1: for timing. n_byte of memory: none. */
KVS_MUST_CHECK enum kvs_code kvs_weights_random(const struct kvs_weights_shape *shape,
                                                uint64_t seed, struct kvs_weights **weights,
                                                struct kvs_err *err);
void kvs_weights_close(struct kvs_weights *weights); /* accepts NULL */

const struct kvs_weights_shape *kvs_weights_shape(const struct kvs_weights *weights);
bool kvs_weights_tied(const struct kvs_weights *weights); /* output is the embedding */
/* Elements of a tensor, by the shape. */
size_t kvs_weights_n(const struct kvs_weights *weights, enum kvs_weight kind);
/* All of a tensor as f32; layer is ignored for the model's own. Never fails: all was checked. */
void kvs_weights_read(const struct kvs_weights *weights, enum kvs_weight kind, uint32_t layer,
                      float *to);

#endif
