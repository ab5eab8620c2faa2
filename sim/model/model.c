#include "model.h"

#include "base/data.h"
#include "base/opt.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What the file holds, as the option tables fill it. */
struct file {
    const char *name, *source;
    uint64_t layers, hidden, heads, kv_heads, head_dim, ffn, vocab;
    bool tied;
    double weight_bits, kv_bits;
    int compute;
    struct kvs_json moe, mla, window;
};

struct moe_file {
    uint64_t experts, active, shared, expert_ffn, dense_layers;
    double expert_bits;
};

struct mla_file {
    uint64_t q_lora, kv_lora, rope_dim, nope_dim, v_dim;
};

struct window_file {
    uint64_t tok, period;
};

static const char *const compute_names[] = {"bf16", "fp8", NULL};

#define MAX_WIDTH (1 << 20)
#define COUNT(key, field, def, min, max, help)                                                     \
    {                                                                                              \
        key, KVS_OPT_U64, offsetof(struct FILE_T, field), def, min, max, help, NULL,               \
            (def) == NULL, 0                                                                       \
    }

#define FILE_T file
static const struct kvs_opt shape_table[] = {
    {"name", KVS_OPT_STR, offsetof(struct file, name), NULL, 0, 0, "name", NULL, true, 0},
    {"source", KVS_OPT_STR, offsetof(struct file, source), NULL, 0, 0,
     "where the shape is published", NULL, true, 0},
    COUNT("layers", layers, NULL, 1, 256, "decoder layers"),
    COUNT("hidden", hidden, NULL, 1, MAX_WIDTH, "width of the residual stream"),
    COUNT("heads", heads, NULL, 1, 4096, "query heads"),
    COUNT("kv_heads", kv_heads, NULL, 1, 4096, "key and value heads; divides heads"),
    COUNT("head_dim", head_dim, NULL, 1, 4096, "width of a head"),
    COUNT("ffn", ffn, NULL, 1, MAX_WIDTH, "inner width of a dense (gated) MLP"),
    COUNT("vocab", vocab, NULL, 1, 1 << 24, "tokens of the vocabulary"),
    {"tied_embeddings", KVS_OPT_FLAG, offsetof(struct file, tied), "false", 0, 0,
     "the logits use the embedding's weights", NULL, false, 0},
    {"weight_bits", KVS_OPT_DOUBLE, offsetof(struct file, weight_bits), "16", 1, 64,
     "bits a weight, scales included", NULL, false, 0},
    {"kv_bits", KVS_OPT_DOUBLE, offsetof(struct file, kv_bits), "16", 1, 64,
     "bits an element of K or V", NULL, false, 0},
    {"compute", KVS_OPT_ENUM, offsetof(struct file, compute), "bf16", 0, 0,
     "element type that the GEMMs multiply", compute_names, false, 0},
    {"moe", KVS_OPT_NODE, offsetof(struct file, moe), NULL, 0, 0, "mixture of experts", NULL, false,
     0},
    {"mla", KVS_OPT_NODE, offsetof(struct file, mla), NULL, 0, 0, "multi-head latent attention",
     NULL, false, 0},
    {"window", KVS_OPT_NODE, offsetof(struct file, window), NULL, 0, 0, "sliding window", NULL,
     false, 0},
};
#undef FILE_T

#define FILE_T moe_file
static const struct kvs_opt moe_table[] = {
    COUNT("experts", experts, NULL, 1, 65536, "routed experts of a layer"),
    COUNT("active", active, NULL, 1, 65536, "routed experts a token takes"),
    COUNT("shared", shared, "0", 0, 65536, "experts that every token takes besides"),
    COUNT("expert_ffn", expert_ffn, NULL, 1, MAX_WIDTH, "inner width of one expert"),
    COUNT("dense_layers", dense_layers, "0", 0, 256, "first layers, with a dense MLP"),
    {"expert_bits", KVS_OPT_DOUBLE, offsetof(struct moe_file, expert_bits), "0", 0, 64,
     "bits a weight of the routed experts; 0: weight_bits", NULL, false, 0},
};
#undef FILE_T

#define FILE_T mla_file
static const struct kvs_opt mla_table[] = {
    COUNT("q_lora", q_lora, "0", 0, MAX_WIDTH, "rank of the queries' projection; 0: full"),
    COUNT("kv_lora", kv_lora, NULL, 1, MAX_WIDTH, "width of the latent"),
    COUNT("rope_dim", rope_dim, NULL, 1, 4096, "width of the key's shared rotary part"),
    COUNT("nope_dim", nope_dim, NULL, 1, 4096, "width of a head's other part"),
    COUNT("v_dim", v_dim, NULL, 1, 4096, "width of a value head"),
};
#undef FILE_T

#define FILE_T window_file
static const struct kvs_opt window_table[] = {
    COUNT("tokens", tok, NULL, 1, 1 << 30, "tokens that a windowed layer sees"),
    COUNT("full_every", period, "0", 0, 256, "every so many layers one sees all; 0: none"),
};
#undef FILE_T

#define N(table) ((unsigned)(sizeof(table) / sizeof *(table)))

static enum kvs_code read_moe(struct kvs_json node, struct kvs_model *model, struct kvs_err *err)
{
    struct moe_file f;
    if (!node.v)
        return KVS_OK;
    enum kvs_code code = kvs_opt_json(moe_table, N(moe_table), node, &f, err);
    if (code)
        return code;
    if (f.active > f.experts)
        return kvs_json_fail(kvs_json_get(node, "active"), err, KVS_ERR_RANGE,
                             "%llu is more than the %llu experts", (unsigned long long)f.active,
                             (unsigned long long)f.experts);
    model->moe = (struct kvs_moe){
        .experts = (uint32_t)f.experts,
        .active = (uint32_t)f.active,
        .shared = (uint32_t)f.shared,
        .expert_ffn = (uint32_t)f.expert_ffn,
        .dense_layers = (uint32_t)f.dense_layers,
        .expert_bits = f.expert_bits > 0 ? f.expert_bits : model->weight_bits,
    };
    return KVS_OK;
}

static enum kvs_code read_mla(struct kvs_json node, struct kvs_model *model, struct kvs_err *err)
{
    struct mla_file f;
    if (!node.v)
        return KVS_OK;
    enum kvs_code code = kvs_opt_json(mla_table, N(mla_table), node, &f, err);
    if (code)
        return code;
    model->mla = (struct kvs_mla){
        .q_lora = (uint32_t)f.q_lora,
        .kv_lora = (uint32_t)f.kv_lora,
        .rope_dim = (uint32_t)f.rope_dim,
        .nope_dim = (uint32_t)f.nope_dim,
        .v_dim = (uint32_t)f.v_dim,
    };
    return KVS_OK;
}

static enum kvs_code read_window(struct kvs_json node, struct kvs_model *model, struct kvs_err *err)
{
    struct window_file f;
    if (!node.v)
        return KVS_OK;
    enum kvs_code code = kvs_opt_json(window_table, N(window_table), node, &f, err);
    if (code)
        return code;
    model->window_tok = (uint32_t)f.tok;
    model->window_period = (uint32_t)f.period;
    return KVS_OK;
}

static enum kvs_code read_shape(struct kvs_json root, struct kvs_model *model, struct kvs_err *err)
{
    struct file f;
    enum kvs_code code = kvs_opt_json(shape_table, N(shape_table), root, &f, err);
    if (code)
        return code;
    if (f.heads % f.kv_heads)
        return kvs_json_fail(kvs_json_get(root, "kv_heads"), err, KVS_ERR_RANGE,
                             "found %llu, want a divisor of the %llu heads",
                             (unsigned long long)f.kv_heads, (unsigned long long)f.heads);
    model->name = f.name;
    model->source = f.source;
    model->n_layer = (uint32_t)f.layers;
    model->hidden = (uint32_t)f.hidden;
    model->heads = (uint32_t)f.heads;
    model->kv_heads = (uint32_t)f.kv_heads;
    model->head_dim = (uint32_t)f.head_dim;
    model->ffn = (uint32_t)f.ffn;
    model->vocab = (uint32_t)f.vocab;
    model->tied = f.tied;
    model->weight_bits = f.weight_bits;
    model->kv_bits = f.kv_bits;
    model->fp8 = f.compute == 1;
    if ((code = read_moe(f.moe, model, err)) || (code = read_mla(f.mla, model, err)))
        return code;
    return read_window(f.window, model, err);
}

enum kvs_code kvs_model_from(struct kvs_doc *doc, struct kvs_model **model, struct kvs_err *err)
{
    enum kvs_code code;
    struct kvs_model *m = calloc(1, sizeof *m);
    *model = NULL;
    if (!m) {
        kvs_doc_free(doc);
        return kvs_fail(err, KVS_ERR_NOMEM, "no memory for a model shape");
    }
    m->doc = doc;
    code = read_shape(kvs_doc_root(doc), m, err);
    if (code) {
        kvs_model_free(m);
        return code;
    }
    *model = m;
    return KVS_OK;
}

enum kvs_code kvs_model_open(const char *name_or_file, struct kvs_model **model,
                             struct kvs_err *err)
{
    char *path = NULL;
    struct kvs_doc *doc = NULL;
    *model = NULL;
    enum kvs_code code = kvs_data_find("model", "configs/models", name_or_file, &path, err);
    if (!code)
        code = kvs_doc_open(path, &doc, err);
    if (!code)
        code = kvs_model_from(doc, model, err);
    free(path);
    return code;
}

void kvs_model_free(struct kvs_model *model)
{
    if (!model)
        return;
    kvs_doc_free(model->doc);
    free(model);
}

const char *kvs_model_name(const struct kvs_model *model)
{
    return model->name;
}

uint32_t kvs_model_n_layer(const struct kvs_model *model)
{
    return model->n_layer;
}

double kvs_model_kv_bytes_per_tok(const struct kvs_model *model, uint32_t layer)
{
    (void)layer; /* all layers of the shapes we know store alike */
    const struct kvs_mla *mla = &model->mla;
    double elems = mla->kv_lora ? (double)mla->kv_lora + mla->rope_dim
                                : 2.0 * model->kv_heads * model->head_dim;
    return elems * model->kv_bits / 8;
}

uint32_t kvs_model_window_tok(const struct kvs_model *model, uint32_t layer)
{
    if (model->window_period && (layer + 1) % model->window_period == 0)
        return 0;
    return model->window_tok;
}

bool kvs_model_is_moe(const struct kvs_model *model, uint32_t layer)
{
    return model->moe.experts && layer >= model->moe.dense_layers;
}

enum kvs_code kvs_model_kv_bytes(const struct kvs_model *model, uint64_t n_tok, uint64_t *kv_bytes,
                                 struct kvs_err *err)
{
    double per_tok = 0;
    *kv_bytes = 0;
    for (uint32_t l = 0; l < model->n_layer; l++)
        per_tok += kvs_model_kv_bytes_per_tok(model, l);
    /* under 4-bit elements a token may hold a fraction of a byte: count whole bytes a token */
    if (__builtin_mul_overflow(n_tok, (uint64_t)ceil(per_tok), kv_bytes)) {
        *kv_bytes = 0;
        return kvs_fail(err, KVS_ERR_RANGE, "%s: KV of %llu tokens does not fit 64 bits",
                        model->name, (unsigned long long)n_tok);
    }
    return KVS_OK;
}

double kvs_model_kv_needed_bytes(const struct kvs_model *model, double n_tok)
{
    double sum = 0;
    for (uint32_t l = 0; l < model->n_layer; l++) {
        double window = kvs_model_window_tok(model, l);
        double seen = window > 0 && window < n_tok ? window : n_tok;
        sum += seen * kvs_model_kv_bytes_per_tok(model, l);
    }
    return sum;
}

/* Parameters of the attention's projections of one layer. */
static double attention_params(const struct kvs_model *m)
{
    const struct kvs_mla *a = &m->mla;
    double h = m->hidden, heads = m->heads;
    if (!a->kv_lora)
        return h * m->head_dim * (2.0 * heads + 2.0 * m->kv_heads);
    double qk = (double)a->nope_dim + a->rope_dim;
    double q = a->q_lora ? a->q_lora * (h + heads * qk) : h * heads * qk;
    double kv = h * ((double)a->kv_lora + a->rope_dim) +
                (double)a->kv_lora * heads * ((double)a->nope_dim + a->v_dim);
    return q + kv + heads * a->v_dim * h;
}

double kvs_model_weight_bytes(const struct kvs_model *model)
{
    const struct kvs_moe *moe = &model->moe;
    double h = model->hidden, bytes = 0;
    for (uint32_t l = 0; l < model->n_layer; l++) {
        double params = attention_params(model);
        if (kvs_model_is_moe(model, l)) {
            params += 3.0 * h * moe->expert_ffn * moe->shared + h * moe->experts;
            bytes += 3.0 * h * moe->expert_ffn * moe->experts * moe->expert_bits / 8;
        } else {
            params += 3.0 * h * model->ffn;
        }
        bytes += params * model->weight_bits / 8;
    }
    return bytes + h * model->vocab * (model->tied ? 1 : 2) * 2; /* embeddings stay 16-bit */
}

double kvs_model_kv_share(const struct kvs_model *model, uint32_t tp)
{
    if (model->mla.kv_lora)
        return 1;
    return 1.0 / (tp < model->kv_heads ? tp : model->kv_heads);
}
