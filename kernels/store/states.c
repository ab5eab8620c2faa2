/* states.c - a prompt computed, and what enters its layers kept. */
#include "states.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the batch's rows are now, as rows at and on of a layer's states. */
static enum kvs_code keep(struct kvs_states *states, struct kvs_forward *forward,
                          struct kvs_stream *stream, uint32_t layer, uint32_t at, uint32_t n_row,
                          float *room, struct kvs_err *err)
{
    size_t n = (size_t)n_row * states->hidden;
    uint16_t *to =
        states->x + ((size_t)(layer - states->first_layer) * states->n_tok + at) * states->hidden;
    enum kvs_code code = kvs_stream_sync(stream, err);

    if (!code)
        code = kvs_buf_read(room, kvs_forward_hidden(forward), n * sizeof *room, err);
    for (size_t i = 0; i < n && !code; i++)
        to[i] = kvs_bf16_of(room[i]);
    return code;
}

static enum kvs_code batch(struct kvs_states *states, struct kvs_forward *forward,
                           struct kvs_stream *stream, const uint32_t *tok, uint32_t at,
                           uint32_t n_row, uint32_t *slot, float *room, struct kvs_err *err)
{
    uint32_t n_layer = kvs_forward_shape(forward)->n_layer;
    enum kvs_code code, waited;

    for (uint32_t r = 0; r < n_row; r++)
        slot[r] = at + r;
    code = kvs_forward_begin(forward, stream, tok + at, slot, n_row, NULL, at + n_row, err);
    for (uint32_t l = 0; l < n_layer && !code; l++) {
        if (l >= states->first_layer && l - states->first_layer < states->n_layer)
            code = keep(states, forward, stream, l, at, n_row, room, err);
        if (!code)
            code = kvs_forward_layer(forward, stream, NULL, 0, err);
    }
    /* also after a failure: what was put on the stream must not outlive the call */
    waited = kvs_stream_sync(stream, err);
    return code ? code : waited;
}

enum kvs_code kvs_states_new(struct kvs_forward *forward, struct kvs_stream *stream,
                             const uint32_t *tok, uint32_t n_tok, uint32_t first_layer,
                             uint32_t n_layer, struct kvs_states **result, struct kvs_err *err)
{
    const struct kvs_weights_shape *shape = kvs_forward_shape(forward);
    uint32_t max_row = kvs_forward_opt(forward)->max_row;
    size_t n_byte = 0;
    struct kvs_states *states = NULL;
    uint32_t *slot = NULL;
    float *room = NULL;
    enum kvs_code code = KVS_OK;

    *result = NULL;
    if (n_tok == 0 || n_layer == 0 || first_layer >= shape->n_layer ||
        n_layer > shape->n_layer - first_layer || shape->hidden % 2 != 0 ||
        __builtin_mul_overflow((size_t)n_tok * n_layer, shape->hidden * sizeof(uint16_t), &n_byte))
        return kvs_fail(err, KVS_ERR_RANGE,
                        "hidden states of %u tokens, layers %u to %u, width %u: want a token or "
                        "more, layers below %u, an even width",
                        n_tok, first_layer, first_layer + n_layer - 1, shape->hidden,
                        shape->n_layer);
    states = calloc(1, sizeof *states);
    slot = calloc(max_row, sizeof *slot);
    room = calloc((size_t)max_row * shape->hidden, sizeof *room);
    if (states) {
        *states = (struct kvs_states){.first_layer = first_layer,
                                      .n_layer = n_layer,
                                      .n_tok = n_tok,
                                      .hidden = shape->hidden,
                                      .x = malloc(n_byte)};
    }
    if (!states || !states->x || !slot || !room)
        code = kvs_nomem(err);
    assert(code || states);
    for (uint32_t at = 0; at < n_tok && !code; at += max_row)
        code = batch(states, forward, stream, tok, at, n_tok - at < max_row ? n_tok - at : max_row,
                     slot, room, err);
    free(slot);
    free(room);
    if (code)
        kvs_states_free(states);
    else
        *result = states;
    return code;
}

void kvs_states_free(struct kvs_states *states)
{
    if (!states)
        return;
    free(states->x);
    free(states);
}

void kvs_states_tag(uint32_t first_layer, uint32_t n_layer, uint32_t n_model, char tag[KVS_TAG_MAX])
{
    if (n_layer == n_model)
        snprintf(tag, KVS_TAG_MAX, "hidden");
    else
        snprintf(tag, KVS_TAG_MAX, "hidden-%hu-%hu", (unsigned short)first_layer,
                 (unsigned short)(first_layer + n_layer - 1));
}

enum kvs_code kvs_states_parse(const char *what, const char *text, uint32_t n_model,
                               uint32_t *first_layer, uint32_t *n_layer, struct kvs_err *err)
{
    uint32_t first = 0, last = n_model - 1;
    char rest;
    int n = strcmp(text, "all") == 0 ? 2 : sscanf(text, "%u-%u%c", &first, &last, &rest);

    if (n == 1 && sscanf(text, "%u%c", &first, &rest) == 1)
        last = first;
    else if (n != 2)
        return kvs_fail(err, KVS_ERR_ARG, "%s: found \"%s\", want all, A-B or A: layers from 0",
                        what, text);
    if (first > last || last >= n_model)
        return kvs_fail(err, KVS_ERR_RANGE, "%s: found \"%s\", want layers from 0 to %u, ascending",
                        what, text, n_model - 1);
    *first_layer = first;
    *n_layer = last - first + 1;
    return KVS_OK;
}
