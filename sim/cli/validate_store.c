/*
 * validate_store.c - a prompt's blocks in a store, at each level: as its prefix, and each by
 * itself, as text that stood elsewhere is held.
 */
#include "kernels/codec/weigh.h"
#include "kernels/store/fill.h"
#include "kernels/store/levels.h"
#include "signals.h"
#include "validate.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int drop_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st;
    (void)kind;
    (void)at;
    return remove(path);
}

enum kvs_code kvs_val_store_open(struct kvs_val_lab *lab, struct kvs_err *err)
{
    struct kvs_store_opt opt = {.make = true};
    const char *place = lab->options.store, *tmp = getenv("TMPDIR");
    size_t n = (size_t)lab->n_block * lab->n_level + 1;

    for (int h = 0; h < KVS_VAL_N_HELD; h++) {
        lab->held[h].stored = calloc(n, sizeof(struct kvs_stored *));
        lab->held[h].tok = calloc(n, sizeof *lab->held[h].tok);
        if (!lab->held[h].stored || !lab->held[h].tok)
            return kvs_nomem(err);
    }
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

void kvs_val_store_close(struct kvs_val_lab *lab)
{
    for (int h = 0; h < KVS_VAL_N_HELD; h++) {
        for (uint32_t i = 0; lab->held[h].stored && i < lab->n_block * lab->n_level; i++)
            kvs_stored_close(lab->held[h].stored[i]);
        free(lab->held[h].stored);
        free(lab->held[h].tok);
    }
    kvs_store_close(lab->store);
    if (lab->made_store[0])
        (void)nftw(lab->made_store, drop_one, 16,
                   FTW_DEPTH | FTW_PHYS); /* best effort: temporary */
}

/* --- a text ------------------------------------------------------------------------------------
 */

/* Blocks of the prompt computed as one text, from position 0 on. */
struct text {
    const uint64_t *model; /* its hash */
    const float **weight;  /* of channels, as quality tables are measured */
    struct kvs_stream *stream;
    struct kvs_val_held *held;
    uint32_t first_block, n_block;
    const uint32_t *tok;
    uint32_t n_tok;
    struct kvs_block_key *key; /* [n_block] */
};

/* What is stored at a level: K and V at it ("e4", "e5/e4"), or hidden states, then the caller's to
 * free. */
static enum kvs_code choose_level(struct kvs_val_lab *lab, const struct text *text, uint32_t q,
                                  uint8_t *level, struct kvs_states **states, char tag[KVS_TAG_MAX],
                                  struct kvs_err *err)
{
    uint32_t n_layer = kvs_weights_shape(lab->weights)->n_layer;

    if (strcmp(lab->level[q], KVS_HIDDEN) == 0) {
        kvs_states_tag(0, n_layer, n_layer, tag);
        return kvs_states_new(lab->forward, text->stream, text->tok, text->n_tok, 0, n_layer,
                              states, err);
    }
    if (kvs_levels_parse("--levels", lab->level[q], n_layer, level, err))
        return err->code;
    kvs_store_tag(level, n_layer, tag);
    return KVS_OK;
}

/* The text's blocks at a level, stored and found again; tok is their bytes for now. */
static enum kvs_code store_level(struct kvs_val_lab *lab, const struct text *text, uint32_t q,
                                 struct kvs_err *err)
{
    const struct kvs_weights_shape *shape = kvs_weights_shape(lab->weights);
    uint8_t level[2 * KVS_MAX_LAYER];
    struct kvs_states *states = NULL;
    char tag[KVS_TAG_MAX];
    enum kvs_code code = choose_level(lab, text, q, level, &states, tag, err);
    struct kvs_fill fill = {.store = lab->store,
                            .shape = shape,
                            .forward = lab->forward,
                            .model_hash = text->model,
                            .tok = text->tok,
                            .n_tok = text->n_tok,
                            .block_tok = (uint32_t)lab->options.block_tok,
                            .n_sink = 4,
                            .level = level,
                            .weight = text->weight,
                            .states = states};

    if (!code)
        code = kvs_fill(&fill, NULL, err);
    kvs_states_free(states);
    for (uint32_t b = 0; b < text->n_block && !code; b++) {
        size_t i = (size_t)(text->first_block + b) * lab->n_level + q;
        struct kvs_stored **stored = &text->held->stored[i];

        code = kvs_store_find(lab->store, text->key[b], tag, stored, err);
        for (uint32_t l = 0; !code && *stored && l < shape->n_layer; l++) {
            uint64_t at;
            size_t n;

            kvs_stored_range(*stored, 2 * l, 2, &at, &n);
            text->held->tok[i] += (double)n;
        }
    }
    return code;
}

static enum kvs_code store_text(struct kvs_val_lab *lab, struct text *text, uint32_t first_block,
                                uint32_t n_block, struct kvs_err *err)
{
    uint32_t block_tok = (uint32_t)lab->options.block_tok;
    enum kvs_code code;

    text->first_block = first_block;
    text->n_block = n_block;
    text->tok = lab->tok + (size_t)first_block * block_tok;
    text->n_tok = n_block * block_tok;
    code =
        kvs_forward_prefill(lab->forward, text->stream, text->tok, 0, text->n_tok, lab->full, err);
    kvs_block_keys(text->model, text->tok, block_tok, n_block, text->key);
    for (uint32_t q = 0; q < lab->n_level && !code; q++)
        code = kvs_interrupted() ? kvs_fail(err, KVS_ERR_IO, "interrupted")
                                 : store_level(lab, text, q, err);
    return code;
}

/* --- all of it ---------------------------------------------------------------------------------
 */

/* Bytes of all blocks become a ratio to raw K and V, those of a block tokens at that ratio. */
static void weigh(const struct kvs_val_lab *lab, struct kvs_val_held *held)
{
    const struct kvs_weights_shape *shape = kvs_weights_shape(lab->weights);
    double n_tok = (double)lab->n_block * (double)lab->options.block_tok;
    double raw_bytes = n_tok * shape->n_layer * 4 * shape->n_kv_head * shape->head_dim;

    for (uint32_t q = 0; q < lab->n_level; q++) {
        double n_byte = 0;

        for (uint32_t b = 0; b < lab->n_block; b++)
            n_byte += held->tok[b * lab->n_level + q];
        held->ratio[q] = n_byte / raw_bytes;
        for (uint32_t b = 0; b < lab->n_block && n_byte > 0; b++)
            held->tok[b * lab->n_level + q] *= n_tok / n_byte;
    }
}

enum kvs_code kvs_val_store_fill(struct kvs_val_lab *lab, struct kvs_err *err)
{
    bool prefix = lab->options.reuse != KVS_VAL_CONTENT;
    bool content = lab->options.reuse != KVS_VAL_PREFIX;
    uint64_t model[2];
    struct text text = {.model = model, .key = calloc(lab->n_block + 1u, sizeof *text.key)};
    enum kvs_code code = text.key ? KVS_OK : kvs_nomem(err);

    if (!code)
        code = kvs_model_hash(lab->weights, model, err);
    if (!code)
        code = kvs_kvf_weigh(lab->weights, &text.weight, err);
    if (!code)
        code = kvs_stream_new(lab->dev, &text.stream, err);
    text.held = &lab->held[KVS_VAL_PREFIX];
    if (!code && prefix)
        code = store_text(lab, &text, 0, lab->n_block, err);
    text.held = &lab->held[KVS_VAL_CONTENT];
    for (uint32_t b = 0; content && b < lab->n_block && !code; b++)
        code = store_text(lab, &text, b, 1, err);
    for (int h = 0; h < KVS_VAL_N_HELD && !code; h++)
        weigh(lab, &lab->held[h]);
    if (text.stream)
        kvs_stream_free(text.stream);
    free((void *)text.weight);
    free(text.key);
    return code;
}
