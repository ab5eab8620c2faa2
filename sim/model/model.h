/*
 * model.h - the shape of a transformer: what its KV cache weighs, and what cost.h computes with.
 *
 * A shape is a file of configs/models (format: configs/README.md). Attention is grouped-query
 * (MHA and MQA are its ends) or latent (MLA); the MLP is dense or a mixture of experts; layers may
 * see only a window. All counts are whole-model, before any sharding; bytes are those of the
 * element sizes the file names.
 */
#ifndef KVS_MODEL_H
#define KVS_MODEL_H

#include "base/json.h"

/* A mixture of experts; experts == 0: every MLP is dense. */
struct kvs_moe {
    uint32_t experts, active; /* routed experts of a layer, and how many one token takes */
    uint32_t shared;          /* experts that every token takes besides, of the same size */
    uint32_t expert_ffn;      /* inner width of one expert */
    uint32_t dense_layers;    /* the first layers, whose MLP is dense */
    double expert_bits;       /* bits a weight of the routed experts */
};

/* Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434); kv_lora == 0: none. */
struct kvs_mla {
    uint32_t q_lora; /* 0: queries are projected at once */
    uint32_t kv_lora, rope_dim, nope_dim, v_dim;
};

struct kvs_model {
    const char *name;   /* borrowed from doc, as source */
    const char *source; /* where the shape is published */
    uint32_t n_layer, hidden, heads, kv_heads, head_dim, ffn, vocab;
    bool tied;                   /* the logits use the embedding's weights */
    double weight_bits, kv_bits; /* of one element as stored */
    bool fp8;                    /* GEMMs run in FP8 where the GPU has it */
    struct kvs_moe moe;
    struct kvs_mla mla;
    uint32_t window_tok;    /* 0: every layer sees all */
    uint32_t window_period; /* every window_period-th layer sees all (0: none does) */
    struct kvs_doc *doc;
};

/*
 * name_or_file: the name of a shape in configs/models ("llama-3.1-8b") or a path (has a '/' or ends
 * in ".json"). An unknown name fails with the nearest known one and the list.
 */
KVS_MUST_CHECK enum kvs_code kvs_model_open(const char *name_or_file, struct kvs_model **model,
                                            struct kvs_err *err);
/* The same from a document, which it takes, also when it fails. */
KVS_MUST_CHECK enum kvs_code kvs_model_from(struct kvs_doc *doc, struct kvs_model **model,
                                            struct kvs_err *err);
void kvs_model_free(struct kvs_model *model); /* accepts NULL */
const char *kvs_model_name(const struct kvs_model *model);
uint32_t kvs_model_n_layer(const struct kvs_model *model);

/*
 * Bytes of K and V together of one token in one layer, at the model's own KV element size, before
 * any sharding: 2 * kv_heads * head_dim elements, or kv_lora + rope_dim with MLA.
 */
double kvs_model_kv_bytes_per_tok(const struct kvs_model *model, uint32_t layer);
/* Tokens that a sliding-window layer sees; 0: all of them. */
uint32_t kvs_model_window_tok(const struct kvs_model *model, uint32_t layer);
/* true if the layer's MLP is a mixture of experts. */
bool kvs_model_is_moe(const struct kvs_model *model, uint32_t layer);
/*
 * All layers: the sum over layers of the above, windows or not (what computing n_tok tokens
 * writes). KVS_ERR_RANGE if it does not fit.
 */
KVS_MUST_CHECK enum kvs_code kvs_model_kv_bytes(const struct kvs_model *model, uint64_t n_tok,
                                                uint64_t *kv_bytes, struct kvs_err *err);
/*
 * All layers, what must be there before the next token can be computed behind n_tok tokens: a
 * sliding-window layer counts only its window.
 */
double kvs_model_kv_needed_bytes(const struct kvs_model *model, double n_tok);
/* Weights as stored: layers, embedding, logits. Norms and biases are left out (under 0.1 %). */
double kvs_model_weight_bytes(const struct kvs_model *model);
/* The share of one layer's K and V that each of tp ranks holds: max(1 / tp, 1 / kv_heads), MLA: 1.
 */
double kvs_model_kv_share(const struct kvs_model *model, uint32_t tp);

#endif
