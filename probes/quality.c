#include "quality.h"

#include "base/rng.h"
#include "kernels/codec/weigh.h"
#include "kernels/forward.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct kvs_lab {
    struct kvs_quality_config config;
    struct kvs_weights_shape shape;
    uint32_t n_part, n_chan;
    struct kvs_dev *dev;
    struct kvs_stream *stream;
    struct kvs_forward *forward;
    const float **weight;
    uint16_t **x, **y;    /* [n_part] of [context_tok][n_chan]: as computed, as decoded */
    float *p;             /* [window_tok][n_vocab]: the reference's probabilities */
    double *entropy;      /* [window_tok]: sum of p log p */
    uint32_t *best;       /* [window_tok] */
    float *logits;        /* [window_tok][n_vocab] */
    uint32_t *tok, *slot; /* of the text */
    struct kvs_buf
        *enter; /* [n_layer][window_tok][hidden] f32: the reference as it enters layers */
    struct kvs_buf *turn, *freq; /* positions that keys are moved by, and of which angles */
};

/* --- opening --------------------------------------------------------------------------------- */

static enum kvs_code new_memory(struct kvs_lab *lab, struct kvs_err *err)
{
    const struct kvs_quality_config *c = &lab->config;
    size_t n = (size_t)c->window_tok * lab->shape.n_vocab,
           n_tok = (size_t)c->context_tok + c->window_tok;
    bool good;
    lab->x = calloc(lab->n_part, sizeof *lab->x);
    lab->y = calloc(lab->n_part, sizeof *lab->y);
    lab->p = calloc(n, sizeof *lab->p);
    lab->logits = calloc(n, sizeof *lab->logits);
    lab->entropy = calloc(c->window_tok, sizeof *lab->entropy);
    lab->best = calloc(c->window_tok, sizeof *lab->best);
    lab->tok = calloc(n_tok, sizeof *lab->tok);
    lab->slot = calloc(n_tok, sizeof *lab->slot);
    good = lab->x && lab->y && lab->p && lab->logits && lab->entropy && lab->best && lab->tok &&
           lab->slot;
    for (uint32_t i = 0; i < lab->n_part && good; i++) {
        lab->x[i] = calloc((size_t)c->context_tok * lab->n_chan, sizeof **lab->x);
        lab->y[i] = calloc((size_t)c->context_tok * lab->n_chan, sizeof **lab->y);
        good = lab->x[i] && lab->y[i];
    }
    for (size_t i = 0; i < n_tok && good; i++)
        lab->slot[i] = (uint32_t)i;
    return good ? KVS_OK : kvs_nomem(err);
}

/* The residual stream of the window's rows as it enters a layer. */
static size_t enter_bytes(const struct kvs_lab *lab)
{
    return (size_t)lab->config.window_tok * lab->shape.hidden * sizeof(float);
}

static enum kvs_code open_parts(struct kvs_lab *lab, struct kvs_err *err)
{
    const struct kvs_quality_config *c = &lab->config;
    enum kvs_code code;
    if (c->context_tok == 0 || c->window_tok == 0 || c->context_tok > 1u << 24 ||
        c->window_tok > 1u << 20)
        return kvs_fail(err, KVS_ERR_RANGE, "a text of %u + %u tokens: want some of both",
                        c->context_tok, c->window_tok);
    if ((code = new_memory(lab, err)) ||
        (code = kvs_dev_open(c->backend, c->index, 1, &lab->dev, err)) ||
        (code = kvs_stream_new(lab->dev, &lab->stream, err)) ||
        (code = kvs_kvf_weigh(c->weights, &lab->weight, err)))
        return code;
    const struct kvs_dev_info *info = kvs_dev_info(lab->dev);
    uint32_t n_tok = c->context_tok + c->window_tok;
    struct kvs_forward_opt opt = {.max_row = n_tok,
                                  .max_ctx = n_tok,
                                  .max_out = c->window_tok,
                                  .kv_elem = KVS_BF16,
                                  .act_elem = info->act_elem,
                                  .gemm_elem = info->gemm_elem};
    size_t n_freq = lab->shape.head_dim / 2 * sizeof(double);
    if ((code = kvs_buf_new(lab->dev, KVS_MEM_DEVICE, lab->shape.n_layer * enter_bytes(lab),
                            &lab->enter, err)) ||
        (code = kvs_buf_new(lab->dev, KVS_MEM_DEVICE, c->context_tok * sizeof(int32_t), &lab->turn,
                            err)) ||
        (code = kvs_buf_new(lab->dev, KVS_MEM_DEVICE, n_freq, &lab->freq, err)) ||
        (code = kvs_buf_write(kvs_at(lab->freq, 0), lab->shape.freq, n_freq, err)))
        return code;
    return kvs_forward_new(lab->dev, c->weights, &opt, &lab->forward, err);
}

enum kvs_code kvs_lab_open(const struct kvs_quality_config *config, struct kvs_lab **out,
                           struct kvs_err *err)
{
    struct kvs_lab *lab = calloc(1, sizeof *lab);
    *out = NULL;
    if (!lab)
        return kvs_nomem(err);
    lab->config = *config;
    lab->shape = *kvs_weights_shape(config->weights);
    lab->n_part = 2 * lab->shape.n_layer;
    lab->n_chan = lab->shape.n_kv_head * lab->shape.head_dim;
    enum kvs_code code = open_parts(lab, err);
    if (code) {
        kvs_lab_close(lab);
        return code;
    }
    *out = lab;
    return KVS_OK;
}

void kvs_lab_close(struct kvs_lab *lab)
{
    if (!lab)
        return;
    for (uint32_t i = 0; i < lab->n_part; i++) {
        free(lab->x ? lab->x[i] : NULL);
        free(lab->y ? lab->y[i] : NULL);
    }
    void *const all[] = {lab->x,    lab->y,   lab->p,    lab->logits,        lab->entropy,
                         lab->best, lab->tok, lab->slot, (void *)lab->weight};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
    kvs_forward_free(lab->forward);
    kvs_buf_free(lab->enter);
    kvs_buf_free(lab->turn);
    kvs_buf_free(lab->freq);
    kvs_stream_free(lab->stream);
    kvs_dev_close(lab->dev);
    free(lab);
}

/* --- the model ------------------------------------------------------------------------------- */

/* Waits; the logits of the last n_out rows, if any. */
static enum kvs_code end_pass(struct kvs_lab *lab, uint32_t n_out, enum kvs_code code,
                              struct kvs_err *err)
{
    struct kvs_view logits;
    if (!code && n_out)
        code = kvs_forward_logits(lab->forward, lab->stream, n_out, &logits, err);
    enum kvs_code waited = kvs_stream_sync(lab->stream, err);
    code = code ? code : waited;
    if (!code && n_out)
        code = kvs_buf_read(lab->logits, logits,
                            (size_t)n_out * lab->shape.n_vocab * sizeof *lab->logits, err);
    return code;
}

/* Tokens [first, first + n) of the text, all layers; the logits of the last n_out. keep: what
 * enters each layer is kept. */
static enum kvs_code forward(struct kvs_lab *lab, const uint32_t *tok, uint32_t first, uint32_t n,
                             uint32_t n_out, bool keep, struct kvs_err *err)
{
    enum kvs_code code = kvs_forward_begin(lab->forward, lab->stream, tok + first,
                                           lab->slot + first, n, NULL, first + n, err);
    for (uint32_t l = 0; l < lab->shape.n_layer && !code; l++) {
        if (keep)
            code = kvs_stream_copy(lab->stream, kvs_at(lab->enter, l * enter_bytes(lab)),
                                   kvs_forward_hidden(lab->forward), enter_bytes(lab), err);
        if (!code)
            code = kvs_forward_layer(lab->forward, lab->stream, NULL, 0, err);
    }
    return end_pass(lab, n_out, code, err);
}

/* The window from a layer on, below which all is as it was. */
static enum kvs_code forward_from(struct kvs_lab *lab, uint32_t layer, struct kvs_err *err)
{
    const struct kvs_quality_config *c = &lab->config;
    enum kvs_code code = kvs_forward_resume(
        lab->forward, lab->stream, layer, kvs_at(lab->enter, layer * enter_bytes(lab)),
        lab->slot + c->context_tok, c->window_tok, NULL, c->context_tok + c->window_tok, err);
    for (uint32_t l = layer; l < lab->shape.n_layer && !code; l++)
        code = kvs_forward_layer(lab->forward, lab->stream, NULL, 0, err);
    return end_pass(lab, c->window_tok, code, err);
}

static struct kvs_view cache_of(struct kvs_lab *lab, uint32_t part)
{
    return part % 2 ? kvs_forward_v(lab->forward, part / 2) : kvs_forward_k(lab->forward, part / 2);
}

static size_t part_bytes(const struct kvs_lab *lab)
{
    return (size_t)lab->config.context_tok * lab->n_chan * sizeof(uint16_t);
}

/* log of the sum of exp(x - *most). */
static double log_sum(const float *x, uint32_t n, float *most)
{
    double sum = 0;
    *most = x[0];
    for (uint32_t i = 1; i < n; i++)
        *most = x[i] > *most ? x[i] : *most;
    for (uint32_t i = 0; i < n; i++)
        sum += (double)expf(x[i] - *most);
    return log(sum);
}

/* Gumbel's trick: the largest of logit - log(-log u) is a draw from the distribution. */
static uint32_t draw(const float *logits, uint32_t n, struct kvs_rng *rng)
{
    uint32_t best = 0;
    double most = -HUGE_VAL;
    for (uint32_t v = 0; v < n; v++) {
        double x = (double)logits[v] - log(-log(kvs_rng_unit(rng) + 1e-300) + 1e-300);
        if (x > most) {
            most = x;
            best = v;
        }
    }
    return best;
}

enum kvs_code kvs_lab_sample(struct kvs_lab *lab, uint64_t seed, uint32_t *tok, uint32_t n_tok,
                             struct kvs_err *err)
{
    struct kvs_rng rng = kvs_rng_stream(seed, "text");
    enum kvs_code code = KVS_OK;
    if (n_tok > lab->config.context_tok + lab->config.window_tok)
        return kvs_fail(err, KVS_ERR_RANGE, "a text of %u tokens: want at most %u", n_tok,
                        lab->config.context_tok + lab->config.window_tok);
    for (uint32_t i = 0; i < n_tok && !code; i++) {
        if (i == 0) {
            tok[0] = (uint32_t)kvs_rng_below(&rng, lab->shape.n_vocab);
            continue;
        }
        code = forward(lab, tok, i - 1, 1, 1, false, err);
        tok[i] = code ? 0 : draw(lab->logits, lab->shape.n_vocab, &rng);
    }
    return code;
}

/* --- a text ---------------------------------------------------------------------------------- */

/* The logits at hand become the reference. */
static void keep_reference(struct kvs_lab *lab, double *nll)
{
    uint32_t n_vocab = lab->shape.n_vocab, window = lab->config.window_tok;
    double lost = 0;
    for (uint32_t i = 0; i < window; i++) {
        const float *x = lab->logits + (size_t)i * n_vocab;
        float *p = lab->p + (size_t)i * n_vocab, most;
        double log_z = log_sum(x, n_vocab, &most), entropy = 0;
        uint32_t best = 0;
        for (uint32_t v = 0; v < n_vocab; v++) {
            double log_p = (double)(x[v] - most) - log_z;
            p[v] = (float)exp(log_p);
            entropy += (double)p[v] * log_p;
            best = x[v] > x[best] ? v : best;
        }
        lab->entropy[i] = entropy;
        lab->best[i] = best;
        if (i + 1 < window)
            lost -= (double)(x[lab->tok[lab->config.context_tok + i + 1]] - most) - log_z;
    }
    if (nll)
        *nll = window > 1 ? lost / (window - 1) : 0;
}

enum kvs_code kvs_lab_read(struct kvs_lab *lab, const uint32_t *tok, double *nll,
                           struct kvs_err *err)
{
    const struct kvs_quality_config *c = &lab->config;
    enum kvs_code code;
    memcpy(lab->tok, tok, ((size_t)c->context_tok + c->window_tok) * sizeof *tok);
    if ((code = forward(lab, lab->tok, 0, c->context_tok, 0, false, err)))
        return code;
    for (uint32_t i = 0; i < lab->n_part && !code; i++)
        code = kvs_buf_read(lab->x[i], cache_of(lab, i), part_bytes(lab), err);
    if (!code)
        code = forward(lab, lab->tok, c->context_tok, c->window_tok, c->window_tok, true, err);
    if (!code)
        keep_reference(lab, nll);
    return code;
}

enum kvs_code kvs_lab_encode(struct kvs_lab *lab, const uint8_t *level, bool weighted, double *bits,
                             struct kvs_err *err)
{
    const struct kvs_quality_config *c = &lab->config;
    struct kvs_kvf_in in = {{.n_layer = lab->shape.n_layer,
                             .n_kv_head = lab->shape.n_kv_head,
                             .head_dim = lab->shape.head_dim,
                             .n_tok = c->context_tok,
                             .block_tok = c->block_tok,
                             .n_sink = c->n_sink,
                             .half = KVS_HALF_BF16},
                            (const uint16_t *const *)lab->x,
                            level,
                            weighted ? lab->weight : NULL};
    struct kvs_kvf_parts parts = {0};
    const struct kvs_kvf_isa *isa = kvs_kvf_isa(NULL);
    struct kvs_kvf *kvf = NULL;
    uint8_t *file = NULL;
    size_t n = 0;
    enum kvs_code code;
    if ((code = kvs_kvf_encode(&in, isa, &file, &n, err)) ||
        (code = kvs_kvf_parse("made", file, n, n, false, &kvf, err)))
        goto done;
    kvs_kvf_head_parts(kvf, &parts);
    for (uint32_t i = 0; i < kvs_kvf_n_section(kvf) && !code; i++) {
        struct kvs_section s = kvs_kvf_section(kvf, i);
        uint16_t *to = lab->y[2 * s.layer + s.kv] + (size_t)s.first_tok * lab->n_chan;
        if (!(code = kvs_kvf_section_parts(kvf, i, NULL, &parts, err)))
            code = kvs_kvf_decode(kvf, i, NULL, isa, to, lab->n_chan, err);
    }
    if (bits)
        *bits = (double)(n - parts.padding - parts.sink) * 8 /
                ((double)c->context_tok * lab->n_chan * lab->n_part);
done:
    kvs_kvf_close(kvf);
    free(file);
    return code;
}

const uint16_t *const *kvs_lab_kv(const struct kvs_lab *lab)
{
    return (const uint16_t *const *)lab->x;
}

const float *const *kvs_lab_weight(const struct kvs_lab *lab)
{
    return lab->weight;
}

static struct kvs_quality_score compare(struct kvs_lab *lab)
{
    uint32_t n_vocab = lab->shape.n_vocab, window = lab->config.window_tok;
    struct kvs_quality_score score = {0, 0, window};
    for (uint32_t i = 0; i < window; i++) {
        const float *p = lab->p + (size_t)i * n_vocab, *x = lab->logits + (size_t)i * n_vocab;
        float most;
        double log_z = log_sum(x, n_vocab, &most), cross = 0, sum = 0;
        uint32_t best = 0;
        for (uint32_t v = 0; v < n_vocab; v++) {
            cross += (double)p[v] * (double)(x[v] - most);
            sum += (double)p[v];
            best = x[v] > x[best] ? v : best;
        }
        /* probabilities were rounded: by as much as their sum is off 1, entropy and this agree */
        score.kl += fmax(0, lab->entropy[i] - (cross - log_z * sum)) / window;
        if (best == lab->best[i])
            score.agreement += 1. / window;
        else if (score.first_tok == window)
            score.first_tok = i;
    }
    return score;
}

enum kvs_code kvs_lab_score(struct kvs_lab *lab, uint32_t first, uint32_t n,
                            struct kvs_quality_score *score, struct kvs_err *err)
{
    enum kvs_code code = KVS_OK, back = KVS_OK;
    *score = (struct kvs_quality_score){0, 0, 0};
    if (first > lab->n_part || n > lab->n_part - first)
        return kvs_fail(err, KVS_ERR_RANGE, "parts %u to %u of %u", first, first + n, lab->n_part);
    for (uint32_t i = first; i < first + n && !code; i++)
        code = kvs_buf_write(cache_of(lab, i), lab->y[i], part_bytes(lab), err);
    if (!code)
        code = forward_from(lab, n ? first / 2 : 0, err);
    if (!code)
        *score = compare(lab);
    for (uint32_t i = first; i < first + n && !back; i++)
        back = kvs_buf_write(cache_of(lab, i), lab->x[i], part_bytes(lab), err);
    return code ? code : back;
}

/* --- passages that moved ---------------------------------------------------------------------- */

/* Keys of the first n tokens of a layer's cache, turned by lab->turn. */
static enum kvs_code turn_keys(struct kvs_lab *lab, uint32_t layer, uint32_t n, struct kvs_err *err)
{
    struct kvs_rope op = {.x = kvs_forward_k(lab->forward, layer),
                          .pos = kvs_at(lab->turn, 0),
                          .freq = kvs_at(lab->freq, 0),
                          .elem = KVS_BF16,
                          .pairs = lab->shape.rope_halves ? KVS_ROPE_HALVES : KVS_ROPE_ADJACENT,
                          .n_row = n,
                          .n_head = lab->shape.n_kv_head,
                          .head_dim = lab->shape.head_dim,
                          .row_stride = lab->n_chan};
    return kvs_stream_rope(lab->stream, &op, err);
}

/* One passage, from position 0, its keys turned by where it stands, into y. */
static enum kvs_code move_passage(struct kvs_lab *lab, uint32_t first, uint32_t n,
                                  struct kvs_err *err)
{
    int32_t *by = malloc(n * sizeof *by);
    enum kvs_code code;
    if (!by)
        return kvs_nomem(err);
    for (uint32_t i = 0; i < n; i++)
        by[i] = (int32_t)first;
    code = kvs_buf_write(kvs_at(lab->turn, 0), by, n * sizeof *by, err);
    if (!code)
        code = kvs_forward_begin(lab->forward, lab->stream, lab->tok + first, lab->slot, n, NULL, n,
                                 err);
    for (uint32_t l = 0; l < lab->shape.n_layer && !code; l++)
        if (!(code = kvs_forward_layer(lab->forward, lab->stream, NULL, 0, err)))
            code = turn_keys(lab, l, n, err);
    code = end_pass(lab, 0, code, err);
    for (uint32_t i = 0; i < lab->n_part && !code; i++)
        code = kvs_buf_read(lab->y[i] + (size_t)first * lab->n_chan, cache_of(lab, i),
                            (size_t)n * lab->n_chan * sizeof **lab->y, err);
    free(by);
    return code;
}

static enum kvs_code set_cache(struct kvs_lab *lab, uint16_t *const *to, struct kvs_err *err)
{
    enum kvs_code code = KVS_OK;
    for (uint32_t i = 0; i < lab->n_part && !code; i++)
        code = kvs_buf_write(cache_of(lab, i), to[i], part_bytes(lab), err);
    return code;
}

enum kvs_code kvs_lab_move(struct kvs_lab *lab, uint32_t passage_tok, struct kvs_err *err)
{
    const uint32_t n_tok = lab->config.context_tok;
    enum kvs_code code = KVS_OK, back;
    if (passage_tok == 0)
        return kvs_fail(err, KVS_ERR_RANGE, "passages of 0 tokens");
    for (uint32_t at = 0; at < n_tok && !code; at += passage_tok)
        code = move_passage(lab, at, n_tok - at < passage_tok ? n_tok - at : passage_tok, err);
    back = set_cache(lab, lab->x, err);
    return code ? code : back;
}

/* The rows that are repaired, then the window: how many. */
static uint32_t repair_rows(const struct kvs_lab *lab, uint32_t passage_tok, uint32_t repair_tok,
                            uint32_t *tok, uint32_t *slot)
{
    const struct kvs_quality_config *c = &lab->config;
    uint32_t n = 0;
    for (uint32_t i = passage_tok; i < c->context_tok + c->window_tok; i++)
        if (i >= c->context_tok || i % passage_tok < repair_tok) {
            tok[n] = lab->tok[i];
            slot[n++] = i;
        }
    return n;
}

enum kvs_code kvs_lab_score_moved(struct kvs_lab *lab, uint32_t passage_tok, uint32_t repair_tok,
                                  struct kvs_quality_score *score, struct kvs_err *err)
{
    const struct kvs_quality_config *c = &lab->config;
    const uint32_t n_tok = c->context_tok + c->window_tok;
    uint32_t *tok, *slot;
    *score = (struct kvs_quality_score){0, 0, 0};
    if (passage_tok == 0 || passage_tok > c->context_tok || repair_tok > passage_tok)
        return kvs_fail(err, KVS_ERR_RANGE, "%u tokens repaired of passages of %u", repair_tok,
                        passage_tok);
    tok = calloc(2 * (size_t)n_tok, sizeof *tok);
    if (!tok)
        return kvs_nomem(err);
    slot = tok + n_tok;
    enum kvs_code code = set_cache(lab, lab->y, err), back;
    if (!code)
        code = kvs_forward_begin(lab->forward, lab->stream, tok, slot,
                                 repair_rows(lab, passage_tok, repair_tok, tok, slot), NULL, n_tok,
                                 err);
    for (uint32_t l = 0; l < lab->shape.n_layer && !code; l++)
        code = kvs_forward_layer(lab->forward, lab->stream, NULL, 0, err);
    if (!(code = end_pass(lab, c->window_tok, code, err)))
        *score = compare(lab);
    back = set_cache(lab, lab->x, err);
    free(tok);
    return code ? code : back;
}
