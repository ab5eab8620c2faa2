#include "weigh.h"

#include <stdlib.h>

/* Adds a layer's weights: q, o and g as f32. k and v begin at zero. */
static void add_layer(const struct kvs_weights_shape *s, const float *q, const float *o,
                      const float *g, float *k, float *v)
{
    uint32_t share = s->n_head / s->n_kv_head, dim = s->head_dim;

    for (uint32_t h = 0; h < s->n_head; h++)
        for (uint32_t c = 0; c < dim; c++) {
            uint32_t row = h * dim + c, head = h / share * dim;
            uint32_t pair = s->rope_halves ? (c + dim / 2) % dim : c ^ 1;

            for (uint32_t i = 0; i < s->hidden; i++) {
                float a = q[(size_t)row * s->hidden + i] * g[i];
                float b = o[(size_t)i * s->n_head * dim + row];

                k[head + c] += a * a;
                k[head + pair] += a * a;
                v[head + c] += b * b;
            }
        }
}

enum kvs_code kvs_kvf_weigh(const struct kvs_weights *weights, const float ***weight,
                            struct kvs_err *err)
{
    const struct kvs_weights_shape *s = kvs_weights_shape(weights);
    size_t n_part = 2 * (size_t)s->n_layer, n_chan = (size_t)s->n_kv_head * s->head_dim;
    size_t n_q = kvs_weights_n(weights, KVS_W_Q), n_o = kvs_weights_n(weights, KVS_W_O);
    float *room = malloc((n_q + n_o + s->hidden) * sizeof *room);
    const float **w = calloc(1, n_part * (sizeof *w + n_chan * sizeof **w));

    *weight = NULL;
    if (!room || !w) {
        free(room);
        free(w);
        return kvs_nomem(err);
    }
    float *at = (float *)(void *)(w + n_part), *o = room + n_q, *g = o + n_o;
    for (uint32_t l = 0; l < s->n_layer; l++, at += 2 * n_chan) {
        kvs_weights_read(weights, KVS_W_Q, l, room);
        kvs_weights_read(weights, KVS_W_O, l, o);
        kvs_weights_read(weights, KVS_W_ATTN_NORM, l, g);
        add_layer(s, room, o, g, at, at + n_chan);
        w[2 * l] = at;
        w[2 * l + 1] = at + n_chan;
    }
    free(room);
    *weight = w;
    return KVS_OK;
}
