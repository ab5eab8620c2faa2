/*
 * validate_loss.c - what a plan did to the model's next tokens: beside full recompute.
 */
#include "validate.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static uint32_t best_of(const float *logits, uint32_t n)
{
    uint32_t best = 0;

    for (uint32_t i = 1; i < n; i++)
        best = logits[i] > logits[best] ? i : best;
    return best;
}

/* log of the sum of exp. */
static double log_sum(const float *logits, uint32_t n)
{
    double most = (double)logits[best_of(logits, n)], sum = 0;

    for (uint32_t i = 0; i < n; i++)
        sum += exp((double)logits[i] - most);
    return most + log(sum);
}

/* KL(full || run) of a next token, nats. */
static double divergence(const float *of_full, const float *of_run, uint32_t n)
{
    double full = log_sum(of_full, n), run = log_sum(of_run, n), kl = 0;

    for (uint32_t i = 0; i < n; i++) {
        double p = (double)of_full[i] - full, q = (double)of_run[i] - run;
        kl += exp(p) * (p - q);
    }
    return kl > 0 ? kl : 0;
}

/* Greedy tokens behind the prompt, over the cache as it is; logits: of the first. */
static enum kvs_code greedy(struct kvs_val_lab *lab, const struct kvs_val_case *c,
                            const float *logits, uint32_t tok[KVS_VAL_GREEDY], struct kvs_err *err)
{
    uint32_t n = c->context_tok + c->new_tok, n_vocab = kvs_weights_shape(lab->weights)->n_vocab;
    uint32_t kept[KVS_VAL_GREEDY];
    float *next = malloc(n_vocab * sizeof *next);
    enum kvs_code code = next ? KVS_OK : kvs_nomem(err);

    memcpy(kept, lab->tok + n, sizeof kept); /* of a longer prompt */
    if (next)
        memcpy(next, logits, n_vocab * sizeof *next);
    assert(code || next);
    for (uint32_t i = 0; i < KVS_VAL_GREEDY && !code; i++) {
        tok[i] = lab->tok[n + i] = best_of(next, n_vocab);
        if (i + 1 < KVS_VAL_GREEDY)
            code = kvs_forward_prefill(lab->forward, lab->canary, lab->tok, n + i, n + i + 1, next,
                                       err);
    }
    memcpy(lab->tok + n, kept, sizeof kept);
    free(next);
    return code;
}

/* Logits of all new tokens, computed once more over the cache as it is. */
static enum kvs_code new_logits(struct kvs_val_lab *lab, const struct kvs_val_case *c, float *to,
                                struct kvs_err *err)
{
    uint32_t n = c->context_tok + c->new_tok, n_vocab = kvs_weights_shape(lab->weights)->n_vocab;
    uint32_t *slot = calloc(c->new_tok, sizeof *slot);
    struct kvs_view logits;
    enum kvs_code code = slot ? KVS_OK : kvs_nomem(err), waited;

    for (uint32_t r = 0; r < c->new_tok && slot; r++)
        slot[r] = c->context_tok + r;
    if (!code)
        code = kvs_forward_begin(lab->forward, lab->canary, lab->tok + c->context_tok, slot,
                                 c->new_tok, NULL, n, err);
    for (uint32_t l = 0; l < lab->model->n_layer && !code; l++)
        code = kvs_forward_layer(lab->forward, lab->canary, NULL, 0, err);
    if (!code)
        code = kvs_forward_logits(lab->forward, lab->canary, c->new_tok, &logits, err);
    /* also after a failure: what was put on the stream must not outlive the call */
    waited = kvs_stream_sync(lab->canary, err);
    code = code ? code : waited;
    free(slot);
    return code ? code : kvs_buf_read(to, logits, (size_t)c->new_tok * n_vocab * sizeof *to, err);
}

/* Full recompute of the case's prompt, once for all cells of it. */
enum kvs_code kvs_val_reference(struct kvs_val_lab *lab, const struct kvs_val_case *c,
                                struct kvs_err *err)
{
    enum kvs_code code = KVS_OK;

    if (lab->full_context_tok == c->context_tok && lab->full_new_tok == c->new_tok)
        return KVS_OK;
    lab->full_context_tok = lab->full_new_tok = 0;
    if (!lab->canary && (code = kvs_stream_new(lab->dev, &lab->canary, err)))
        return code;
    if ((code = kvs_forward_prefill(lab->forward, lab->canary, lab->tok, 0,
                                    c->context_tok + c->new_tok, lab->full, err)) ||
        (code = new_logits(lab, c, lab->new_full, err)) ||
        (code = greedy(lab, c, lab->full, lab->full_greedy, err)))
        return code;
    lab->full_context_tok = c->context_tok;
    lab->full_new_tok = c->new_tok;
    return KVS_OK;
}

enum kvs_code kvs_val_loss(struct kvs_val_lab *lab, const struct kvs_val_case *c,
                           struct kvs_val_loss *loss, struct kvs_err *err)
{
    uint32_t n_vocab = kvs_weights_shape(lab->weights)->n_vocab, tok[KVS_VAL_GREEDY];
    enum kvs_code code = new_logits(lab, c, lab->new_logits, err);

    memset(loss, 0, sizeof *loss);
    loss->nats = divergence(lab->full, lab->logits, n_vocab);
    for (uint32_t r = 0; r < c->new_tok && !code; r++) {
        const float *full = lab->new_full + (size_t)r * n_vocab;
        const float *run = lab->new_logits + (size_t)r * n_vocab;

        loss->mean_nats += divergence(full, run, n_vocab) / c->new_tok;
        loss->agreement += best_of(full, n_vocab) == best_of(run, n_vocab) ? 1. / c->new_tok : 0;
    }
    if (!code)
        code = greedy(lab, c, lab->logits, tok, err);
    while (!code && loss->n_same < KVS_VAL_GREEDY &&
           tok[loss->n_same] == lab->full_greedy[loss->n_same])
        loss->n_same++;
    return code;
}
