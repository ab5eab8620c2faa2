/* fill.c - a model's fingerprint; blocks encoded from its cache. */
#include "fill.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum kvs_code kvs_model_hash(const struct kvs_weights *weights, uint64_t hash[2],
                             struct kvs_err *err)
{
    const struct kvs_weights_shape *shape = kvs_weights_shape(weights);
    const uint32_t number[] = {shape->n_layer, shape->hidden,     shape->ffn,
                               shape->n_head,  shape->n_kv_head,  shape->head_dim,
                               shape->n_vocab, shape->rope_halves};
    XXH3_state_t *state = XXH3_createState();
    size_t most = 0;
    float *x;

    hash[0] = hash[1] = 0;
    for (int kind = 0; kind < KVS_W_N_KIND; kind++) {
        size_t n = kvs_weights_n(weights, (enum kvs_weight)kind);
        most = n > most ? n : most;
    }
    x = malloc(most * sizeof *x);
    if (!state || !x) {
        free(x);
        XXH3_freeState(state);
        return kvs_nomem(err);
    }
    XXH3_128bits_reset(state);
    XXH3_128bits_update(state, number, sizeof number);
    XXH3_128bits_update(state, &shape->norm_eps, sizeof shape->norm_eps);
    XXH3_128bits_update(state, shape->freq, shape->head_dim / 2 * sizeof *shape->freq);
    for (int kind = 0; kind < KVS_W_N_KIND; kind++) {
        uint32_t n_layer = kind < KVS_W_N_LAYER_KIND ? shape->n_layer : 1;
        size_t n = kvs_weights_n(weights, (enum kvs_weight)kind);
        if (kind == KVS_W_OUTPUT && kvs_weights_tied(weights))
            continue; /* the embedding again */
        for (uint32_t layer = 0; layer < n_layer; layer++) {
            kvs_weights_read(weights, (enum kvs_weight)kind, layer, x);
            XXH3_128bits_update(state, x, n * sizeof *x);
        }
    }
    XXH128_hash_t digest = XXH3_128bits_digest(state);
    hash[0] = digest.high64;
    hash[1] = digest.low64;
    free(x);
    XXH3_freeState(state);
    return KVS_OK;
}

/* One block's K and V of all layers, as the encoder takes them. */
struct staging {
    uint16_t *memory;
    const uint16_t **x; /* [n_layer * 2], into memory */
};

static enum kvs_code read_block(const struct kvs_fill *fill, uint32_t block,
                                const struct staging *staging, struct kvs_err *err)
{
    uint32_t n_chan = fill->shape->n_kv_head * fill->shape->head_dim;
    size_t n_byte = (size_t)fill->block_tok * n_chan * sizeof(uint16_t), at = block * n_byte;
    enum kvs_code code = KVS_OK;

    for (uint32_t i = 0; i < fill->shape->n_layer * 2 && !code; i++) {
        struct kvs_view view =
            i % 2 ? kvs_forward_v(fill->forward, i / 2) : kvs_forward_k(fill->forward, i / 2);
        view.at_bytes += at;
        code = kvs_buf_read(staging->memory + i * (n_byte / sizeof(uint16_t)), view, n_byte, err);
    }
    return code;
}

/* Halves of the hidden states of a block, as K and V of the layers; no level but raw. */
static enum kvs_code encode_states(const struct kvs_fill *fill, uint32_t block,
                                   struct kvs_block_key key, uint8_t **file, size_t *n_byte,
                                   struct kvs_err *err)
{
    const struct kvs_states *states = fill->states;
    size_t half = states->hidden / 2, n_one = half * fill->block_tok;
    uint32_t n_x = states->n_layer * 2;
    uint16_t *memory = malloc(n_one * n_x * sizeof *memory);
    const uint16_t **x = malloc(n_x * sizeof *x);
    uint8_t *level = calloc(n_x, 1);
    enum kvs_code code = memory && x && level ? KVS_OK : kvs_nomem(err);

    static_assert(KVS_RAW16 == 0, "zeroed levels are raw");
    assert(code || (memory && x));
    for (uint32_t i = 0; i < n_x && !code; i++) {
        const uint16_t *from =
            states->x +
            ((size_t)(i / 2) * states->n_tok + (size_t)block * fill->block_tok) * states->hidden +
            i % 2 * half;

        x[i] = memory + i * n_one;
        for (uint32_t t = 0; t < fill->block_tok; t++)
            memcpy(memory + i * n_one + t * half, from + (size_t)t * states->hidden,
                   half * sizeof *memory);
    }
    struct kvs_kvf_in in = {.shape = {.n_layer = states->n_layer,
                                      .n_kv_head = 1,
                                      .head_dim = (uint32_t)half,
                                      .n_tok = fill->block_tok,
                                      .block_tok = fill->block_tok,
                                      .half = KVS_HALF_BF16,
                                      .hidden = true,
                                      .first_layer = states->first_layer,
                                      .model_hash = {fill->model_hash[0], fill->model_hash[1]},
                                      .prefix_hash = {key.word[0], key.word[1]}},
                            .x = x,
                            .level = level};
    if (!code)
        code = kvs_kvf_encode_into(fill->memory, &in, kvs_kvf_isa(NULL), file, n_byte, err);
    free(memory);
    free((void *)x);
    free(level);
    return code;
}

enum kvs_code kvs_fill_encode(const struct kvs_fill *fill, uint32_t block, struct kvs_block_key key,
                              uint8_t **file, size_t *n_byte, struct kvs_err *err)
{
    *file = NULL;
    *n_byte = 0;
    if (fill->states)
        return encode_states(fill, block, key, file, n_byte, err);
    uint32_t n_x = fill->shape->n_layer * 2, first = block * fill->block_tok;
    size_t n_one = (size_t)fill->shape->n_kv_head * fill->shape->head_dim * fill->block_tok;
    uint32_t n_sink = fill->n_sink <= first ? 0 : fill->n_sink - first;
    struct staging staging = {malloc(n_one * n_x * sizeof *staging.memory),
                              malloc(n_x * sizeof *staging.x)};
    enum kvs_code code = staging.memory && staging.x ? KVS_OK : kvs_nomem(err);

    for (uint32_t i = 0; i < n_x && staging.x && !code; i++)
        staging.x[i] = staging.memory + i * n_one;
    struct kvs_kvf_in in = {
        .shape = {.n_layer = fill->shape->n_layer,
                  .n_kv_head = fill->shape->n_kv_head,
                  .head_dim = fill->shape->head_dim,
                  .n_tok = fill->block_tok,
                  .block_tok = fill->block_tok,
                  .n_sink = n_sink < fill->block_tok ? n_sink : fill->block_tok,
                  .half = KVS_HALF_BF16,
                  .model_hash = {fill->model_hash[0], fill->model_hash[1]},
                  .prefix_hash = {key.word[0], key.word[1]}},
        .x = staging.x,
        .level = fill->level,
        .weight = fill->weight,
    };
    if (!code)
        code = read_block(fill, block, &staging, err);
    if (!code)
        code = kvs_kvf_encode_into(fill->memory, &in, kvs_kvf_isa(NULL), file, n_byte, err);
    free(staging.memory);
    free((void *)staging.x);
    return code;
}

static enum kvs_code put_block(const struct kvs_fill *fill, uint32_t block,
                               const struct kvs_block_key *key, const char *tag,
                               struct kvs_filled *filled, struct kvs_err *err)
{
    uint8_t *file;
    size_t n_byte;
    bool there = false;
    enum kvs_code code = kvs_fill_encode(fill, block, *key, &file, &n_byte, err);

    if (!code)
        code = kvs_store_put(fill->store, *key, tag, file, n_byte, &there, err);
    if (!fill->memory)
        free(file);
    if (!code && there) {
        filled->n_there++;
    } else if (!code) {
        filled->n_put++;
        filled->put_bytes += n_byte;
    }
    return code;
}

/* Nothing is encoded that is there already, unless its head can't be read: that is an error. */
static enum kvs_code fill_blocks(const struct kvs_fill *fill, uint32_t n_block,
                                 const struct kvs_block_key *key, const char *tag,
                                 struct kvs_filled *filled, struct kvs_err *err)
{
    enum kvs_code code = KVS_OK;

    for (uint32_t i = 0; i < n_block && !code; i++) {
        struct kvs_stored *held = NULL;
        code = kvs_store_find(fill->store, key[i], tag, &held, err);
        if (!code && held)
            filled->n_there++;
        else if (!code)
            code = put_block(fill, i, &key[i], tag, filled, err);
        kvs_stored_close(held);
    }
    return code;
}

enum kvs_code kvs_fill(const struct kvs_fill *fill, struct kvs_filled *filled, struct kvs_err *err)
{
    size_t n_one = (size_t)fill->shape->n_kv_head * fill->shape->head_dim * fill->block_tok;
    struct kvs_kvf_memory memory = {0};
    struct kvs_fill own = *fill;
    struct kvs_filled ignored;
    uint32_t n_block;
    struct kvs_block_key *key = NULL;
    char tag[KVS_TAG_MAX];
    enum kvs_code code;

    filled = filled ? filled : &ignored;
    *filled = (struct kvs_filled){0};
    if (fill->block_tok == 0)
        return kvs_fail(err, KVS_ERR_ARG, "tokens in a block: found 0, want 1 or more");
    if (!fill->states &&
        kvs_forward_slot_bytes(fill->forward) * fill->block_tok != n_one * sizeof(uint16_t))
        return kvs_fail(err, KVS_ERR_ARG, "stored KV is bf16, and the cache holds something else");
    n_block = fill->n_tok / fill->block_tok;
    if (fill->states)
        kvs_states_tag(fill->states->first_layer, fill->states->n_layer, fill->shape->n_layer, tag);
    else
        kvs_store_tag(fill->level, fill->shape->n_layer, tag);
    key = malloc((n_block ? n_block : 1) * sizeof *key);
    if (key) {
        kvs_block_keys(fill->model_hash, fill->tok, fill->block_tok, n_block, key);
        own.memory = fill->memory ? fill->memory : &memory;
        code = fill_blocks(&own, n_block, key, fill->tag ? fill->tag : tag, filled, err);
    } else {
        code = kvs_nomem(err);
    }
    kvs_kvf_memory_free(&memory);
    free(key);
    return code;
}
