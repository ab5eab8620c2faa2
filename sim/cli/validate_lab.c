/*
 * validate_lab.c - the model on its device, and a prompt's blocks in a store, at each level.
 */
#include "base/rng.h"
#include "kernels/store/fill.h"
#include "validate.h"

#include <assert.h>
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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
        return kvs_fail(err, KVS_ERR_IO, "%s: %s", path, strerror(errno));
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

/* --- the store ----------------------------------------------------------------------------------
 */

static int drop_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st;
    (void)kind;
    (void)at;
    return remove(path);
}

static enum kvs_code open_store(struct kvs_val_lab *lab, struct kvs_err *err)
{
    struct kvs_store_opt opt = {.make = true};
    const char *place = lab->options.store, *tmp = getenv("TMPDIR");

    if (!place) {
        snprintf(lab->made_store, sizeof lab->made_store, "%s/kvsim-validate-XXXXXX",
                 tmp && strlen(tmp) < 200 ? tmp : "/var/tmp");
        if (!mkdtemp(lab->made_store)) {
            kvs_fail(err, KVS_ERR_IO, "%s: %s", lab->made_store, strerror(errno));
            lab->made_store[0] = 0;
            return err->code;
        }
        place = lab->made_store;
    }
    return kvs_store_open(place, &opt, &lab->store, err);
}

/* What is stored at a level: K and V at it, or hidden states, then the caller's to free. */
static enum kvs_code choose_level(struct kvs_val_lab *lab, struct kvs_stream *stream, uint32_t q,
                                  uint8_t *level, struct kvs_states **states, char tag[KVS_TAG_MAX],
                                  struct kvs_err *err)
{
    uint32_t n_layer = kvs_weights_shape(lab->weights)->n_layer;
    char known[300];
    enum kvs_level id;

    if (strcmp(lab->level[q], KVS_HIDDEN) == 0) {
        kvs_states_tag(0, n_layer, n_layer, tag);
        return kvs_states_new(lab->forward, stream, lab->tok, lab->max_context_tok, 0, n_layer,
                              states, err);
    }
    if (!kvs_level_find(lab->level[q], &id))
        return kvs_fail(
            err, KVS_ERR_ARG, "--levels: unknown level \"%s\"%s", lab->level[q],
            kvs_known(known, sizeof known, lab->level[q], kvs_level_names, KVS_N_LEVEL));
    memset(level, (int)id, 2ul * n_layer);
    kvs_store_tag(level, n_layer, tag);
    return KVS_OK;
}

/* All blocks of the longest context at one level; those of a shorter one are its first. */
static enum kvs_code store_level(struct kvs_val_lab *lab, const uint64_t model[2],
                                 const struct kvs_block_key *key, struct kvs_stream *stream,
                                 uint32_t q, struct kvs_err *err)
{
    const struct kvs_weights_shape *shape = kvs_weights_shape(lab->weights);
    uint64_t raw_bytes = (uint64_t)lab->n_block * lab->options.block_tok * shape->n_layer * 4 *
                         shape->n_kv_head * shape->head_dim;
    uint64_t n_byte = 0;
    uint8_t level[2 * KVS_MAX_LAYER];
    struct kvs_states *states = NULL;
    char tag[KVS_TAG_MAX];
    enum kvs_code code = choose_level(lab, stream, q, level, &states, tag, err);
    struct kvs_fill fill = {.store = lab->store,
                            .shape = shape,
                            .forward = lab->forward,
                            .model_hash = model,
                            .tok = lab->tok,
                            .n_tok = lab->max_context_tok,
                            .block_tok = (uint32_t)lab->options.block_tok,
                            .n_sink = 4,
                            .level = level,
                            .states = states};

    if (!code)
        code = kvs_fill(&fill, NULL, err);
    kvs_states_free(states);
    if (code)
        return code;
    assert(key);
    for (uint32_t b = 0; b < lab->n_block; b++) {
        struct kvs_stored **stored = &lab->stored[b * lab->n_level + q];

        if (kvs_store_find(lab->store, key[b], tag, stored, err))
            return err->code;
        lab->stored_tok[b * lab->n_level + q] = 0;
        for (uint32_t l = 0; *stored && l < shape->n_layer; l++) {
            uint64_t at;
            size_t n;

            kvs_stored_range(*stored, 2 * l, 2, &at, &n);
            n_byte += n;
            lab->stored_tok[b * lab->n_level + q] += (double)n;
        }
    }
    lab->stored_ratio[q] = (double)n_byte / (double)raw_bytes;
    for (uint32_t b = 0; b < lab->n_block; b++)
        lab->stored_tok[b * lab->n_level + q] *=
            (double)(lab->n_block * lab->options.block_tok) / (double)n_byte;
    return KVS_OK;
}

static enum kvs_code store_prompt(struct kvs_val_lab *lab, struct kvs_err *err)
{
    struct kvs_stream *stream = NULL;
    struct kvs_block_key *key = calloc(lab->n_block + 1u, sizeof *key);
    uint64_t model[2];
    enum kvs_code code = key ? KVS_OK : kvs_nomem(err);

    if (!code)
        code = kvs_model_hash(lab->weights, model, err);
    if (!code)
        code = kvs_stream_new(lab->dev, &stream, err);
    if (!code)
        code = kvs_forward_prefill(lab->forward, stream, lab->tok, 0, lab->max_context_tok,
                                   lab->full, err);
    if (!code)
        kvs_block_keys(model, lab->tok, (uint32_t)lab->options.block_tok, lab->n_block, key);
    for (uint32_t q = 0; q < lab->n_level && !code; q++)
        code = store_level(lab, model, key, stream, q, err);
    if (stream)
        kvs_stream_free(stream);
    free(key);
    return code;
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
                                  .max_out = 1,
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
    n_vocab = kvs_weights_shape(lab->weights)->n_vocab;
    lab->scratch = kvs_plan_scratch_new();
    lab->logits = calloc(n_vocab, sizeof *lab->logits);
    lab->full = calloc(n_vocab, sizeof *lab->full);
    lab->stored = calloc((size_t)lab->n_block * lab->n_level + 1,
                         sizeof(struct kvs_stored *)); /* NOLINT(bugprone-sizeof-expression) */
    lab->stored_tok = calloc((size_t)lab->n_block * lab->n_level + 1, sizeof *lab->stored_tok);
    if (!lab->scratch || !lab->logits || !lab->full || !lab->stored || !lab->stored_tok)
        return kvs_nomem(err);
    if ((code = open_device(lab, err)) || (code = open_store(lab, err)))
        return code;
    return store_prompt(lab, err);
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
    for (uint32_t i = 0; lab->stored && i < lab->n_block * lab->n_level; i++)
        kvs_stored_close(lab->stored[i]);
    kvs_store_close(lab->store);
    if (lab->made_store[0])
        (void)nftw(lab->made_store, drop_one, 16,
                   FTW_DEPTH | FTW_PHYS); /* best effort: temporary */
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
    free(lab->stored);
    free(lab->stored_tok);
    free(lab->logits);
    free(lab->full);
    free(lab->tok);
    free(lab);
}
