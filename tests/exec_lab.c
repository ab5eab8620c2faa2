#include "exec_lab.h"

#include "kernels/store/fill.h"
#include "test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const enum kvs_level level_of[LAB_N_FORM] = {KVS_RAW16, KVS_P8, KVS_RAW16};

static void must(enum kvs_code code, const struct kvs_err *err)
{
    if (code)
        fail_msg("%s", err->msg);
}

struct kvs_weights *exec_lab_weights(void)
{
    struct kvs_weights_shape shape = {.n_layer = 4,
                                      .hidden = 48,
                                      .ffn = 80,
                                      .n_head = 6,
                                      .n_kv_head = 2,
                                      .head_dim = 8,
                                      .n_vocab = 96,
                                      .n_ctx = 512,
                                      .norm_eps = 1e-5f,
                                      .rope_halves = true};
    struct kvs_weights *w;
    struct kvs_err err = {0};

    for (int i = 0; i < 4; i++)
        shape.freq[i] = pow(10000, -i / 4.);
    must(kvs_weights_random(&shape, 5, &w, &err), &err);
    return w;
}

static void store_prompt(struct exec_lab *lab, const char *dir)
{
    struct kvs_store_opt opt = {.make = true};
    struct kvs_states *states;
    uint64_t model[2];
    struct kvs_err err = {0};

    must(kvs_store_open(dir, &opt, &lab->store, &err), &err);
    must(kvs_model_hash(lab->weights, model, &err), &err);
    kvs_block_keys(model, lab->tok, LAB_BLOCK_TOK, LAB_N_BLOCK, lab->key);
    must(kvs_states_new(lab->forward, lab->stream, lab->tok, LAB_N_TOK, 0, lab->n_layer, &states,
                        &err),
         &err);
    for (int f = 0; f < LAB_N_FORM; f++) {
        uint8_t level[2 * LAB_MAX_LAYER];
        char tag[KVS_TAG_MAX];
        struct kvs_fill fill = {.store = lab->store,
                                .shape = kvs_weights_shape(lab->weights),
                                .forward = lab->forward,
                                .model_hash = model,
                                .tok = lab->tok,
                                .n_tok = LAB_BLOCK_TOK * LAB_N_BLOCK,
                                .block_tok = LAB_BLOCK_TOK,
                                .n_sink = 1,
                                .level = level,
                                .states = f == LAB_HIDDEN ? states : NULL};
        memset(level, (int)level_of[f], sizeof level);
        must(kvs_fill(&fill, NULL, &err), &err);
        if (f == LAB_HIDDEN)
            kvs_states_tag(0, lab->n_layer, lab->n_layer, tag);
        else
            kvs_store_tag(level, lab->n_layer, tag);
        for (uint32_t b = 0; b < LAB_N_BLOCK; b++) {
            must(kvs_store_find(lab->store, lab->key[b], tag, &lab->stored[b][f], &err), &err);
            assert_non_null(lab->stored[b][f]);
        }
    }
    kvs_states_free(states);
}

void exec_lab_open(struct exec_lab *lab, const char *backend, uint64_t seed,
                   struct kvs_weights *weights, const char *dir, const struct kvs_exec_opt *opt)
{
    struct kvs_err err = {0};

    memset(lab, 0, sizeof *lab);
    lab->weights = weights ? weights : exec_lab_weights();
    lab->n_layer = kvs_weights_shape(lab->weights)->n_layer;
    lab->n_vocab = kvs_weights_shape(lab->weights)->n_vocab;
    assert_true(lab->n_layer <= LAB_MAX_LAYER);
    for (uint32_t t = 0; t < LAB_N_TOK; t++)
        lab->tok[t] = (t * 37 + 11) % lab->n_vocab;
    must(kvs_dev_open(backend, 0, seed, &lab->dev, &err), &err);
    bool simt = strcmp(backend, "simt") == 0;
    struct kvs_forward_opt f = {.max_row = LAB_N_TOK,
                                .max_ctx = LAB_N_TOK,
                                .max_out = 1,
                                .kv_elem = KVS_BF16,
                                .act_elem = simt ? KVS_BF16 : KVS_F32,
                                .gemm_elem = simt ? KVS_BF16 : KVS_F32};
    must(kvs_stream_new(lab->dev, &lab->stream, &err), &err);
    must(kvs_forward_new(lab->dev, lab->weights, &f, &lab->forward, &err), &err);
    must(kvs_exec_new(lab->dev, lab->forward, opt, &lab->exec, &err), &err);
    lab->full = calloc(lab->n_vocab, sizeof *lab->full);
    lab->logits = calloc(lab->n_vocab, sizeof *lab->logits);
    must(kvs_forward_prefill(lab->forward, lab->stream, lab->tok, 0, LAB_N_TOK, lab->full, &err),
         &err);
    store_prompt(lab, dir);
    for (uint32_t b = 0; b < LAB_N_BLOCK; b++)
        lab->block[b] = (struct kvs_exec_block){
            .first_tok = b * LAB_BLOCK_TOK, .n_tok = LAB_BLOCK_TOK, .form = lab->stored[b]};
    lab->plan = (struct kvs_exec_plan){.tok = lab->tok,
                                       .n_tok = LAB_N_TOK,
                                       .block = lab->block,
                                       .n_block = LAB_N_BLOCK,
                                       .n_form = LAB_N_FORM,
                                       .cut = lab->cut,
                                       .form = lab->form};
}

void exec_lab_close(struct exec_lab *lab)
{
    for (uint32_t b = 0; b < LAB_N_BLOCK; b++)
        for (int f = 0; f < LAB_N_FORM; f++)
            kvs_stored_close(lab->stored[b][f]);
    kvs_store_close(lab->store);
    kvs_exec_free(lab->exec);
    kvs_stream_free(lab->stream);
    kvs_forward_free(lab->forward);
    kvs_weights_close(lab->weights);
    kvs_dev_close(lab->dev);
    free(lab->full);
    free(lab->logits);
}

void exec_lab_run(struct exec_lab *lab)
{
    size_t n_byte = LAB_N_TOK * kvs_forward_slot_bytes(lab->forward);
    void *nan = malloc(n_byte);
    struct kvs_err err = {0};

    memset(nan, 0xff, n_byte);
    for (uint32_t l = 0; l < lab->n_layer; l++) {
        must(kvs_buf_write(kvs_forward_k(lab->forward, l), nan, n_byte, &err), &err);
        must(kvs_buf_write(kvs_forward_v(lab->forward, l), nan, n_byte, &err), &err);
    }
    memset(lab->logits, 0xff, lab->n_vocab * sizeof *lab->logits);
    must(kvs_exec_run(lab->exec, lab->store, &lab->plan, lab->logits, &lab->result, &err), &err);
    free(nan);
}

double exec_lab_apart(const struct exec_lab *lab)
{
    double most = 0;

    for (uint32_t i = 0; i < lab->n_vocab; i++) {
        double apart = fabs((double)lab->logits[i] - (double)lab->full[i]);
        most = apart <= most ? most : apart;
    }
    return most;
}
