/*
 * validate_lab.c - the model on its device, the profile, and the prompt.
 */
#include "base/rng.h"
#include "validate.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CANARY_M 64

int kvs_val_level(const struct kvs_val_lab *lab, const char *name)
{
    for (uint32_t q = 0; q < lab->n_level; q++)
        if (strcmp(lab->level[q], name) == 0)
            return (int)q;
    return -1;
}

/* Whole numbers of a text file, in any layout; lines that begin with # are skipped. */
static enum kvs_code read_tokens(const char *path, uint32_t n_vocab, uint32_t *tok, uint32_t n,
                                 struct kvs_err *err)
{
    FILE *file = fopen(path, "r");
    char *line = NULL;
    size_t room = 0;
    uint32_t at = 0;

    if (!file)
        return kvs_fail(err, kvs_errno_code(errno), "%s: %s", path, strerror(errno));
    for (unsigned row = 1; at < n && getline(&line, &room, file) >= 0; row++) {
        char *from = line, *end;

        while (line[0] != '#' && at < n) {
            unsigned long value = strtoul(from, &end, 10);
            if (end == from)
                break;
            if (value >= n_vocab) {
                kvs_fail(err, KVS_ERR_RANGE, "%s:%u: token %lu, want below %u", path, row, value,
                         n_vocab);
                break;
            }
            tok[at++] = (uint32_t)value;
            from = end;
        }
        if (line[0] != '#' && !err->code && at < n && from[strspn(from, " \t\r\n")])
            kvs_fail(err, KVS_ERR_PARSE, "%s:%u: found \"%.20s\", want token numbers", path, row,
                     from);
        if (err->code)
            break;
    }
    free(line);
    (void)fclose(file); /* was only read */
    if (!err->code && at < n)
        kvs_fail(err, KVS_ERR_RANGE, "%s: has %u tokens, want %u", path, at, n);
    return err->code;
}

static enum kvs_code make_tokens(struct kvs_val_lab *lab, struct kvs_err *err)
{
    uint32_t n = lab->max_context_tok + lab->max_new_tok;
    uint32_t n_vocab = kvs_weights_shape(lab->weights)->n_vocab;
    struct kvs_rng rng = kvs_rng_stream(lab->options.seed, "prompt");

    lab->tok = calloc(n + KVS_VAL_GREEDY, sizeof *lab->tok);
    if (!lab->tok)
        return kvs_nomem(err);
    if (lab->options.tokens)
        return read_tokens(lab->options.tokens, n_vocab, lab->tok, n, err);
    for (uint32_t t = 0; t < n; t++)
        lab->tok[t] = (uint32_t)kvs_rng_below(&rng, n_vocab);
    return KVS_OK;
}

/* --- opening ------------------------------------------------------------------------------------
 */

/* true if a level needs a quality table; one that is not known does too. */
static bool is_lossy(const struct kvs_val_lab *lab)
{
    for (uint32_t q = 0; q < lab->n_level; q++) {
        int i = kvs_codec_level(lab->codec, lab->level[q]);

        if (strcmp(lab->level[q], KVS_HIDDEN) == 0)
            continue;
        if (i < 0 || !lab->codec->level[i].lossless)
            return true;
    }
    return false;
}

static enum kvs_code open_profile(struct kvs_val_lab *lab, struct kvs_err *err)
{
    const struct kvs_val_options *o = &lab->options;
    const struct kvs_weights_shape *shape = kvs_weights_shape(lab->weights);
    enum kvs_code code;

    if ((code = kvs_model_open(o->model, &lab->model, err)) ||
        (code = kvs_hw_open(o->hw, &lab->hw, err)) ||
        (code = kvs_codec_open(o->codec, &lab->codec, err)))
        return code;
    if (is_lossy(lab) &&
        (code = kvs_quality_open(o->quality, kvs_model_n_layer(lab->model), &lab->quality, err)))
        return code;
    if (lab->model->n_layer != shape->n_layer || lab->model->hidden != shape->hidden ||
        lab->model->kv_heads != shape->n_kv_head || lab->model->head_dim != shape->head_dim)
        return kvs_fail(err, KVS_ERR_ARG,
                        "--weights: %u layers, hidden %u, %u KV heads of %u; --model: %s has %u, "
                        "%u, %u of %u",
                        shape->n_layer, shape->hidden, shape->n_kv_head, shape->head_dim,
                        lab->model->name, lab->model->n_layer, lab->model->hidden,
                        lab->model->kv_heads, lab->model->head_dim);
    return kvs_cost_new(lab->model, lab->hw, 1, &lab->cost, err);
}

static enum kvs_code open_device(struct kvs_val_lab *lab, struct kvs_err *err)
{
    const struct kvs_weights_shape *shape = kvs_weights_shape(lab->weights);
    uint32_t n_tok = lab->max_context_tok + lab->max_new_tok;
    enum kvs_code code = kvs_dev_open(lab->options.device, 0, lab->options.seed, &lab->dev, err);

    if (code)
        return code;
    const struct kvs_dev_info *info = kvs_dev_info(lab->dev);
    struct kvs_forward_opt opt = {.max_row = n_tok,
                                  .max_ctx = n_tok + KVS_VAL_GREEDY,
                                  .max_out = lab->max_new_tok,
                                  .kv_elem = KVS_BF16,
                                  .act_elem = info->act_elem,
                                  .gemm_elem = info->gemm_elem};
    size_t size = kvs_elem_bytes(info->gemm_elem), hidden = shape->hidden;
    size_t n_byte[3] = {CANARY_M * hidden * size, CANARY_M * hidden * size, hidden * hidden * size};
    for (int i = 0; i < 3; i++)
        if ((code = kvs_buf_new(lab->dev, KVS_MEM_DEVICE, n_byte[i], &lab->canary_buf[i], err)))
            return code;
    for (int i = 1; i < 3; i++) {
        void *zero = calloc(1, n_byte[i]);
        code = zero ? kvs_buf_write(kvs_at(lab->canary_buf[i], 0), zero, n_byte[i], err)
                    : kvs_nomem(err);
        free(zero);
        if (code)
            return code;
    }
    return kvs_forward_new(lab->dev, lab->weights, &opt, &lab->forward, err);
}

static enum kvs_code open_all(struct kvs_val_lab *lab, struct kvs_err *err)
{
    enum kvs_code code;
    size_t n_vocab;

    if ((code = kvs_weights_open(lab->options.weights, &lab->weights, err)) ||
        (code = open_profile(lab, err)) || (code = make_tokens(lab, err)))
        return code;
    uint32_t n_ctx = kvs_weights_shape(lab->weights)->n_ctx;
    if (n_ctx && lab->max_context_tok + lab->max_new_tok > n_ctx)
        return kvs_fail(err, KVS_ERR_RANGE, "%s: a prompt of %u tokens, the model takes %u",
                        lab->options.weights, lab->max_context_tok + lab->max_new_tok, n_ctx);
    n_vocab = kvs_weights_shape(lab->weights)->n_vocab;
    lab->scratch = kvs_plan_scratch_new();
    lab->logits = calloc(n_vocab, sizeof *lab->logits);
    lab->full = calloc(n_vocab, sizeof *lab->full);
    lab->new_logits = calloc(lab->max_new_tok * n_vocab, sizeof *lab->new_logits);
    lab->new_full = calloc(lab->max_new_tok * n_vocab, sizeof *lab->new_full);
    if (!lab->scratch || !lab->logits || !lab->full || !lab->new_logits || !lab->new_full)
        return kvs_nomem(err);
    if ((code = open_device(lab, err)) || (code = kvs_val_store_open(lab, err)))
        return code;
    return kvs_val_store_fill(lab, err);
}

enum kvs_code kvs_val_lab_open(const struct kvs_val_options *options, uint32_t max_context_tok,
                               uint32_t max_new_tok, struct kvs_val_lab **out, struct kvs_err *err)
{
    struct kvs_val_lab *lab = calloc(1, sizeof *lab);

    *out = NULL;
    if (!lab)
        return kvs_nomem(err);
    lab->options = *options;
    lab->max_context_tok = max_context_tok;
    lab->max_new_tok = max_new_tok;
    lab->n_block = max_context_tok / (uint32_t)options->block_tok;
    lab->n_level = options->levels.n < KVS_MAX_LEVEL ? options->levels.n : KVS_MAX_LEVEL;
    for (uint32_t q = 0; q < lab->n_level; q++)
        lab->level[q] = options->levels.v[q];
    if (open_all(lab, err)) {
        kvs_val_lab_close(lab);
        return err->code;
    }
    *out = lab;
    return KVS_OK;
}

void kvs_val_lab_close(struct kvs_val_lab *lab)
{
    if (!lab)
        return;
    kvs_val_store_close(lab);
    kvs_forward_free(lab->forward);
    for (int i = 0; i < 3; i++)
        kvs_buf_free(lab->canary_buf[i]);
    if (lab->canary)
        kvs_stream_free(lab->canary);
    kvs_dev_close(lab->dev);
    kvs_cost_free(lab->cost);
    kvs_quality_free(lab->quality);
    kvs_codec_free(lab->codec);
    kvs_hw_free(lab->hw);
    kvs_model_free(lab->model);
    kvs_weights_close(lab->weights);
    kvs_plan_scratch_free(lab->scratch);
    free(lab->new_logits);
    free(lab->new_full);
    free(lab->logits);
    free(lab->full);
    free(lab->tok);
    free(lab);
}
