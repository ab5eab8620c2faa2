/*
 * safetensors.c - safetensors as Hugging Face writes Llama models: a JSON header whose length comes
 * first, then the data. The shape is in config.json.
 */
#include "tensors.h"

#include "base/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static enum kvs_code tensor_of(struct kvs_weights *w, struct kvs_json entry, const char *name,
                               const uint8_t *data, uint64_t n_byte, struct kvs_err *err)
{
    struct kvs_tensor *t = &w->tensor[w->n_tensor];
    struct kvs_json shape = kvs_json_get(entry, "shape");
    struct kvs_json offsets = kvs_json_get(entry, "data_offsets");
    const char *dtype;
    int64_t from, to;
    enum kvs_code code;

    *t = (struct kvs_tensor){.packing_id = UINT32_MAX, .dim = {1, 1, 1, 1}};
    t->name = kvs_arena_str(w->arena, name);
    if (!t->name)
        return kvs_nomem(err);
    t->n_name = strlen(t->name);
    if ((code = kvs_json_str(kvs_json_get(entry, "dtype"), &dtype, err)) ||
        (code = kvs_json_array(shape, err)) || (code = kvs_json_array(offsets, err)) ||
        (code = kvs_json_i64(kvs_json_at(offsets, 0), 0, INT64_MAX, &from, err)) ||
        (code = kvs_json_i64(kvs_json_at(offsets, 1), 0, INT64_MAX, &to, err)))
        return code;
    if (kvs_json_size(shape) > 4)
        return kvs_json_fail(shape, err, KVS_ERR_RANGE, "more than 4 dimensions");
    t->packing = kvs_packing_named(dtype);
    t->n_dim = (uint32_t)kvs_json_size(shape);
    for (uint32_t i = 0; i < t->n_dim; i++) {
        int64_t n;
        if ((code = kvs_json_i64(kvs_json_at(shape, i), 0, INT64_MAX, &n, err)))
            return code;
        t->dim[t->n_dim - 1 - i] = (uint64_t)n; /* the last one lies contiguous */
    }
    w->n_tensor++;
    if (!t->packing)
        return KVS_OK; /* an error only if it is needed */
    if (from > to || (uint64_t)to > n_byte)
        return kvs_json_fail(offsets, err, KVS_ERR_RANGE, "outside the file");
    return kvs_tensor_place(w, t, data, (uint64_t)to, (uint64_t)from, err);
}

static enum kvs_code whole(struct kvs_json config, const char *key, int64_t max, int64_t missing,
                           uint32_t *to, struct kvs_err *err)
{
    struct kvs_json node = kvs_json_get(config, key);
    int64_t value = missing;
    enum kvs_code code = node.v || !missing ? kvs_json_i64(node, 1, max, &value, err) : KVS_OK;

    *to = (uint32_t)value;
    return code;
}

static enum kvs_code number(struct kvs_json config, const char *key, double min, double max,
                            double missing, double *to, struct kvs_err *err)
{
    struct kvs_json node = kvs_json_get(config, key);

    *to = missing;
    return node.v ? kvs_json_double(node, min, max, to, err) : KVS_OK;
}

/*
 * Llama 3's frequency scaling: long waves slow down by factor, short ones stay, between them a
 * blend (rope_type "llama3" of Hugging Face's transformers).
 */
static enum kvs_code scale_freq(struct kvs_json scaling, struct kvs_weights_shape *s,
                                struct kvs_err *err)
{
    struct kvs_json type = kvs_json_get(scaling, "rope_type");
    const char *name = "";
    double factor, low, high, ctx;
    enum kvs_code code;

    if (!scaling.v || json_is_null(scaling.v))
        return KVS_OK;
    if ((code = kvs_json_str(type, &name, err)))
        return code;
    if (strcmp(name, "llama3") != 0)
        return kvs_json_fail(type, err, KVS_ERR_PARSE, "found \"%s\", only llama3 is known", name);
    if ((code = number(scaling, "factor", 1, 1e6, 8, &factor, err)) ||
        (code = number(scaling, "low_freq_factor", 1e-3, 1e6, 1, &low, err)) ||
        (code = number(scaling, "high_freq_factor", 1e-3, 1e6, 4, &high, err)) ||
        (code = number(scaling, "original_max_position_embeddings", 1, 1e9, 8192, &ctx, err)))
        return code;
    if (!(high > low))
        return kvs_json_fail(scaling, err, KVS_ERR_RANGE, "high_freq_factor is not the higher");
    for (uint32_t i = 0; i < s->head_dim / 2; i++) {
        double turns = ctx * s->freq[i] / (2 * 3.14159265358979323846);
        double blend = fmin(1, fmax(0, (turns - low) / (high - low)));
        s->freq[i] *= blend + (1 - blend) / factor;
    }
    return KVS_OK;
}

static enum kvs_code shape_of(struct kvs_weights *w, struct kvs_json config, struct kvs_err *err)
{
    struct kvs_weights_shape *s = &w->shape;
    struct kvs_json tied = kvs_json_get(config, "tie_word_embeddings");
    double base, eps;
    enum kvs_code code;

    if ((code = kvs_json_object(config, err)) ||
        (code = whole(config, "num_hidden_layers", KVS_MAX_LAYER, 0, &s->n_layer, err)) ||
        (code = whole(config, "hidden_size", 1 << 20, 0, &s->hidden, err)) ||
        (code = whole(config, "intermediate_size", 1 << 22, 0, &s->ffn, err)) ||
        (code = whole(config, "num_attention_heads", 1 << 12, 0, &s->n_head, err)) ||
        (code = whole(config, "num_key_value_heads", 1 << 12, s->n_head, &s->n_kv_head, err)) ||
        (code = whole(config, "head_dim", 256, s->hidden / s->n_head, &s->head_dim, err)) ||
        (code = whole(config, "vocab_size", 1 << 24, 0, &s->n_vocab, err)) ||
        (code = whole(config, "max_position_embeddings", 1 << 30, 2048, &s->n_ctx, err)) ||
        (code = number(config, "rope_theta", 1, 1e12, 10000, &base, err)) ||
        (code = number(config, "rms_norm_eps", 0, 1, 1e-5, &eps, err)))
        return code;
    s->norm_eps = (float)eps;
    s->rope_halves = true;
    if (s->head_dim > 256)
        return kvs_json_fail(config, err, KVS_ERR_RANGE, "heads of %u, at most 256", s->head_dim);
    kvs_rope_freq(s, base);
    w->tied = json_is_true(tied.v);
    return scale_freq(kvs_json_get(config, "rope_scaling"), s, err);
}

enum kvs_code kvs_safetensors_parse(struct kvs_weights *weights, const uint8_t *data, size_t n_byte,
                                    const char *config, size_t n_config, struct kvs_err *err)
{
    struct kvs_doc *doc = NULL, *config_doc = NULL;
    uint64_t n_header = kvs_le64(data);
    const char *name;
    json_t *entry;
    enum kvs_code code;

    if (n_header > n_byte - 8)
        return kvs_fail(err, KVS_ERR_PARSE, "%s: a header of %llu bytes in a file of %zu",
                        weights->file, (unsigned long long)n_header, n_byte);
    if (!config)
        return kvs_fail(err, KVS_ERR_ARG, "%s: config.json is missing beside it", weights->file);
    if ((code = kvs_doc_parse("config.json", config, n_config, &config_doc, err)) ||
        (code = shape_of(weights, kvs_doc_root(config_doc), err)) ||
        (code = kvs_doc_parse(weights->file, (const char *)data + 8, (size_t)n_header, &doc, err)))
        goto done;
    struct kvs_json root = kvs_doc_root(doc);
    if ((code = kvs_json_object(root, err)))
        goto done;
    if (kvs_json_size(root) > KVS_MAX_TENSOR) {
        code =
            kvs_fail(err, KVS_ERR_RANGE, "%s: more than %d tensors", weights->file, KVS_MAX_TENSOR);
        goto done;
    }
    weights->tensor = kvs_arena_alloc(weights->arena, kvs_json_size(root), sizeof *weights->tensor);
    if (!weights->tensor) {
        code = kvs_nomem(err);
        goto done;
    }
    json_object_foreach((json_t *)root.v, name, entry)
    {
        if (strcmp(name, "__metadata__") == 0)
            continue;
        struct kvs_json node = kvs_json_get(root, name);
        if ((code = kvs_json_object(node, err)) ||
            (code =
                 tensor_of(weights, node, name, data + 8 + n_header, n_byte - 8 - n_header, err)))
            goto done;
    }
done:
    kvs_doc_free(doc);
    kvs_doc_free(config_doc);
    return code;
}
