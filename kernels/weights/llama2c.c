/*
 * llama2c.c - llama2.c's version 0 .bin: seven int32, then f32 tensors in a fixed order.
 */
#include "tensors.h"

/* Adds a tensor of n_layer slices as n_layer tensors in the roles' order. */
static const uint8_t *slice(struct kvs_weights *w, enum kvs_weight kind, uint64_t out, uint64_t in,
                            const uint8_t *at)
{
    uint32_t n = kind < KVS_W_N_LAYER_KIND ? w->shape.n_layer : 1;

    for (uint32_t l = 0; l < n; l++) {
        size_t role = kind < KVS_W_N_LAYER_KIND
                          ? (size_t)l * KVS_W_N_LAYER_KIND + kind
                          : (size_t)w->shape.n_layer * KVS_W_N_LAYER_KIND + kind - KVS_W_EMBED;
        w->tensor[role] = (struct kvs_tensor){
            .packing = kvs_packing_of(0), .n_dim = 2, .dim = {in, out, 1, 1}, .data = at};
        at += out * in * 4;
    }
    return at;
}

enum kvs_code kvs_llama2c_parse(struct kvs_weights *weights, const uint8_t *data, size_t n_byte,
                                struct kvs_err *err)
{
    static const char *const names[] = {"dim",        "hidden_dim", "n_layers", "n_heads",
                                        "n_kv_heads", "vocab_size", "seq_len"};
    static const int32_t max[] = {1 << 16, 1 << 18, KVS_MAX_LAYER, 1 << 10,
                                  1 << 10, 1 << 20, 1 << 20};
    struct kvs_weights_shape *s = &weights->shape;
    int64_t v[7];

    for (int i = 0; i < 7; i++) {
        v[i] = (int32_t)kvs_le32(data + 4 * (size_t)i);
        if (i == 5 && v[i] < 0)
            v[i] = -v[i]; /* a negative vocabulary: the output is not tied */
        if (v[i] < 1 || v[i] > max[i])
            return kvs_fail(err, KVS_ERR_PARSE,
                            "%s: neither GGUF nor safetensors, and as llama2.c's .bin: %s: found "
                            "%lld, want 1 to %d",
                            weights->file, names[i], (long long)v[i], max[i]);
    }
    weights->tied = (int32_t)kvs_le32(data + 20) > 0;
    *s = (struct kvs_weights_shape){.n_layer = (uint32_t)v[2],
                                    .hidden = (uint32_t)v[0],
                                    .ffn = (uint32_t)v[1],
                                    .n_head = (uint32_t)v[3],
                                    .n_kv_head = (uint32_t)v[4],
                                    .head_dim = (uint32_t)(v[0] / v[3]),
                                    .n_vocab = (uint32_t)v[5],
                                    .n_ctx = (uint32_t)v[6],
                                    .norm_eps = 1e-5f};
    if (v[0] % v[3] || s->head_dim > 256)
        return kvs_fail(err, KVS_ERR_PARSE, "%s: dim %u does not divide over %u heads of 2 to 256",
                        weights->file, s->hidden, s->n_head);
    kvs_rope_freq(s, 10000);
    /* with these limits 64 bits hold every product */
    uint64_t q = (uint64_t)s->n_head * s->head_dim, kv = (uint64_t)s->n_kv_head * s->head_dim;
    uint64_t layer = s->hidden * (2 + 2 * q + 2 * kv + 3 * (uint64_t)s->ffn);
    uint64_t rope = (uint64_t)s->n_ctx * s->head_dim; /* cos and sin tables, which we compute */
    uint64_t embed = (uint64_t)s->n_vocab * s->hidden;
    uint64_t want =
        28 + 4 * (s->n_layer * layer + s->hidden + rope + embed * (weights->tied ? 1 : 2));
    if (n_byte != want)
        return kvs_fail(err, KVS_ERR_PARSE, "%s: %zu bytes, its header asks for %llu",
                        weights->file, n_byte, (unsigned long long)want);
    weights->n_tensor = (size_t)s->n_layer * KVS_W_N_LAYER_KIND + 3;
    weights->tensor = kvs_arena_alloc(weights->arena, weights->n_tensor, sizeof *weights->tensor);
    if (!weights->tensor)
        return kvs_nomem(err);
    const uint8_t *at = slice(weights, KVS_W_EMBED, s->n_vocab, s->hidden, data + 28);
    at = slice(weights, KVS_W_ATTN_NORM, 1, s->hidden, at);
    at = slice(weights, KVS_W_Q, q, s->hidden, at);
    at = slice(weights, KVS_W_K, kv, s->hidden, at);
    at = slice(weights, KVS_W_V, kv, s->hidden, at);
    at = slice(weights, KVS_W_O, s->hidden, q, at);
    at = slice(weights, KVS_W_FFN_NORM, 1, s->hidden, at);
    at = slice(weights, KVS_W_GATE, s->ffn, s->hidden, at);
    at = slice(weights, KVS_W_DOWN, s->hidden, s->ffn, at);
    at = slice(weights, KVS_W_UP, s->ffn, s->hidden, at);
    at = slice(weights, KVS_W_OUT_NORM, 1, s->hidden, at);
    if (!weights->tied)
        (void)slice(weights, KVS_W_OUTPUT, s->n_vocab, s->hidden, at + 4 * rope);
    return KVS_OK;
}
