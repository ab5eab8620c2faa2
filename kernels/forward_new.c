#include "forward_in.h"

#include <stdlib.h>
#include <string.h>

static enum kvs_code check_opt(const struct kvs_weights_shape *s, const struct kvs_forward_opt *opt,
                               struct kvs_err *err)
{
    uint64_t widest = (uint64_t)s->n_head * s->head_dim + 2 * (uint64_t)s->n_kv_head * s->head_dim;

    if (opt->max_row == 0 || opt->max_ctx == 0 || opt->max_out == 0 ||
        opt->max_row > opt->max_ctx || opt->max_out > opt->max_row)
        return kvs_fail(
            err, KVS_ERR_RANGE,
            "forward: %u rows, %u slots, %u outputs: want each at least 1, rows at most "
            "slots, outputs at most rows",
            opt->max_row, opt->max_ctx, opt->max_out);
    if (opt->max_ctx > INT32_MAX || widest > UINT32_MAX / 2 || s->ffn > UINT32_MAX / 4)
        return kvs_fail(err, KVS_ERR_RANGE,
                        "forward: a shape of %u x %u heads, %u FFN does not fit", s->n_head,
                        s->head_dim, s->ffn);
    return KVS_OK;
}

static enum kvs_code device_mem(struct kvs_forward *f, size_t n, size_t size, struct kvs_buf **buf,
                                struct kvs_err *err)
{
    size_t n_byte;

    if (__builtin_mul_overflow(n, size, &n_byte))
        return kvs_fail(err, KVS_ERR_RANGE, "forward: %zu elements do not fit in memory", n);
    return kvs_buf_new(f->dev, KVS_MEM_DEVICE, n_byte, buf, err);
}

/* One tensor into to, which begins at element `at`; room: host f32 scratch for it. */
static enum kvs_code upload(struct kvs_forward *f, const struct kvs_weights *w,
                            enum kvs_weight kind, uint32_t layer, struct kvs_buf *to, size_t at,
                            enum kvs_elem elem, float *room, struct kvs_err *err)
{
    size_t n = kvs_weights_n(w, kind);

    (void)f;
    kvs_weights_read(w, kind, layer, room);
    if (elem == KVS_BF16)
        for (size_t i = 0; i < n; i++) /* in place: element i fits before float i is read */
            memcpy((char *)room + 2 * i, &(uint16_t){kvs_bf16_of(room[i])}, 2);
    return kvs_buf_write(kvs_at(to, at * kvs_elem_bytes(elem)), room, n * kvs_elem_bytes(elem),
                         err);
}

static enum kvs_code new_layer(struct kvs_forward *f, const struct kvs_weights *w, uint32_t l,
                               float *room, struct kvs_err *err)
{
    struct kvs_forward_block *y = &f->layer[l];
    enum kvs_elem g = f->opt.gemm_elem;
    size_t size = kvs_elem_bytes(g), hidden = f->shape.hidden, ffn = f->shape.ffn;
    size_t row_bytes = (size_t)KVS_N_ROWS_AT * f->opt.max_row * sizeof(int32_t);
    size_t kv_bytes = kvs_forward_n_kv(f) * kvs_elem_bytes(f->opt.kv_elem);
    enum kvs_code code;

    for (int i = 0; i < KVS_FORWARD_BATCHES; i++)
        if ((code = device_mem(f, row_bytes, 1, &y->row[i], err)) ||
            (code = kvs_buf_new(f->dev, KVS_MEM_PINNED, row_bytes, &y->staged[i], err)))
            return code;
    if ((code = device_mem(f, hidden, sizeof(float), &y->attn_norm, err)) ||
        (code = device_mem(f, hidden, sizeof(float), &y->ffn_norm, err)) ||
        (code = device_mem(f, ((size_t)kvs_forward_n_q(f) + 2 * kvs_forward_n_kv(f)) * hidden, size,
                           &y->qkv, err)) ||
        (code = device_mem(f, hidden * kvs_forward_n_q(f), size, &y->o, err)) ||
        (code = device_mem(f, 2 * ffn * hidden, size, &y->gate_up, err)) ||
        (code = device_mem(f, ffn * hidden, size, &y->down, err)) ||
        (code = device_mem(f, f->opt.max_ctx, kv_bytes, &y->k, err)) ||
        (code = device_mem(f, f->opt.max_ctx, kv_bytes, &y->v, err)) ||
        (code = upload(f, w, KVS_W_ATTN_NORM, l, y->attn_norm, 0, KVS_F32, room, err)) ||
        (code = upload(f, w, KVS_W_FFN_NORM, l, y->ffn_norm, 0, KVS_F32, room, err)) ||
        (code = upload(f, w, KVS_W_Q, l, y->qkv, 0, g, room, err)) ||
        (code = upload(f, w, KVS_W_K, l, y->qkv, kvs_forward_n_q(f) * hidden, g, room, err)) ||
        (code =
             upload(f, w, KVS_W_V, l, y->qkv,
                    ((size_t)kvs_forward_n_q(f) + kvs_forward_n_kv(f)) * hidden, g, room, err)) ||
        (code = upload(f, w, KVS_W_O, l, y->o, 0, g, room, err)) ||
        (code = upload(f, w, KVS_W_GATE, l, y->gate_up, 0, g, room, err)) ||
        (code = upload(f, w, KVS_W_UP, l, y->gate_up, ffn * hidden, g, room, err)) ||
        (code = upload(f, w, KVS_W_DOWN, l, y->down, 0, g, room, err)))
        return code;
    return KVS_OK;
}

static enum kvs_code new_model(struct kvs_forward *f, const struct kvs_weights *w, float *room,
                               struct kvs_err *err)
{
    const struct kvs_weights_shape *s = &f->shape;
    size_t size = kvs_elem_bytes(f->opt.gemm_elem), n_embed = (size_t)s->n_vocab * s->hidden;
    enum kvs_code code;

    f->tied = kvs_weights_tied(w);
    if ((code = device_mem(f, n_embed, size, &f->embed, err)) ||
        (code = device_mem(f, s->hidden, sizeof(float), &f->out_norm, err)) ||
        (code = device_mem(f, s->head_dim / 2, sizeof(double), &f->freq, err)) ||
        (code =
             kvs_buf_write(kvs_at(f->freq, 0), s->freq, s->head_dim / 2 * sizeof(double), err)) ||
        (code = upload(f, w, KVS_W_EMBED, 0, f->embed, 0, f->opt.gemm_elem, room, err)) ||
        (code = upload(f, w, KVS_W_OUT_NORM, 0, f->out_norm, 0, KVS_F32, room, err)))
        return code;
    if (f->tied)
        return KVS_OK;
    if ((code = device_mem(f, n_embed, size, &f->output, err)))
        return code;
    return upload(f, w, KVS_W_OUTPUT, 0, f->output, 0, f->opt.gemm_elem, room, err);
}

static enum kvs_code new_activations(struct kvs_forward *f, struct kvs_err *err)
{
    const struct kvs_weights_shape *s = &f->shape;
    size_t act = kvs_elem_bytes(f->opt.act_elem), n_row = f->opt.max_row;
    size_t n_int = (size_t)(KVS_N_ROWS_AT + 1) * n_row + f->opt.max_ctx;
    enum kvs_code code;

    for (int i = 0; i < 2; i++)
        if ((code = device_mem(f, n_row * s->hidden, sizeof(float), &f->x[i], err)) ||
            (code = device_mem(f, n_row * s->hidden, act, &f->h[i], err)))
            return code;
    if ((code = device_mem(f, n_row * ((size_t)kvs_forward_n_q(f) + 2 * kvs_forward_n_kv(f)), act,
                           &f->qkv, err)) ||
        (code = device_mem(f, n_row * kvs_forward_n_q(f), act, &f->attn, err)) ||
        (code = device_mem(f, n_row * s->hidden, sizeof(float), &f->proj, err)) ||
        (code = device_mem(f, n_row * s->ffn * 2, act, &f->gate_up, err)) ||
        (code = device_mem(f, n_row * s->ffn, act, &f->ff, err)) ||
        (code = device_mem(f, (size_t)f->opt.max_out * s->hidden, act, &f->last, err)) ||
        (code = device_mem(f, (size_t)f->opt.max_out * s->n_vocab, sizeof(float), &f->logits, err)))
        return code;
    for (int i = 0; i < KVS_FORWARD_BATCHES; i++)
        if ((code = device_mem(f, n_int, sizeof(int32_t), &f->row[i], err)) ||
            (code =
                 kvs_buf_new(f->dev, KVS_MEM_PINNED, n_int * sizeof(int32_t), &f->staged[i], err)))
            return code;
    return KVS_OK;
}

/* Elements of the largest tensor. */
static size_t largest(const struct kvs_weights *w)
{
    size_t most = 0;

    for (int kind = 0; kind < KVS_W_N_KIND; kind++)
        if (kvs_weights_n(w, (enum kvs_weight)kind) > most)
            most = kvs_weights_n(w, (enum kvs_weight)kind);
    return most;
}

enum kvs_code kvs_forward_new(struct kvs_dev *dev, const struct kvs_weights *weights,
                              const struct kvs_forward_opt *opt, struct kvs_forward **out,
                              struct kvs_err *err)
{
    const struct kvs_weights_shape *s = kvs_weights_shape(weights);
    struct kvs_forward *f = NULL;
    float *room = NULL;
    enum kvs_code code;

    *out = NULL;
    if ((code = check_opt(s, opt, err)))
        return code;
    f = calloc(1, sizeof *f);
    room = calloc(largest(weights) + 1, sizeof *room);
    if (f) {
        f->dev = dev;
        f->shape = *s;
        f->opt = *opt;
        f->layer = calloc(s->n_layer, sizeof *f->layer);
        f->slot = calloc(opt->max_row, sizeof *f->slot);
        f->ctx_pos = calloc(opt->max_ctx, sizeof *f->ctx_pos);
    }
    if (!f || !room || !f->layer || !f->slot || !f->ctx_pos) {
        code = kvs_nomem(err);
        goto done;
    }
    if ((code = new_model(f, weights, room, err)) || (code = new_activations(f, err)))
        goto done;
    for (uint32_t l = 0; l < s->n_layer; l++)
        if ((code = new_layer(f, weights, l, room, err)))
            goto done;
    *out = f;
    f = NULL;
done:
    free(room);
    kvs_forward_free(f);
    return code;
}

void kvs_forward_free(struct kvs_forward *f)
{
    if (!f)
        return;
    for (uint32_t l = 0; l < f->shape.n_layer && f->layer; l++) {
        struct kvs_forward_block *y = &f->layer[l];
        struct kvs_buf *const bufs[] = {y->attn_norm, y->qkv,  y->o, y->ffn_norm,
                                        y->gate_up,   y->down, y->k, y->v};
        for (size_t i = 0; i < sizeof bufs / sizeof bufs[0]; i++)
            kvs_buf_free(bufs[i]);
        for (int i = 0; i < KVS_FORWARD_BATCHES; i++) {
            kvs_buf_free(y->row[i]);
            kvs_buf_free(y->staged[i]);
        }
    }
    for (int i = 0; i < KVS_FORWARD_BATCHES; i++) {
        kvs_buf_free(f->row[i]);
        kvs_buf_free(f->staged[i]);
    }
    struct kvs_buf *const bufs[] = {f->embed, f->out_norm, f->output, f->freq, f->x[0],
                                    f->x[1],  f->h[0],     f->h[1],   f->qkv,  f->attn,
                                    f->proj,  f->gate_up,  f->ff,     f->last, f->logits};
    for (size_t i = 0; i < sizeof bufs / sizeof bufs[0]; i++)
        kvs_buf_free(bufs[i]);
    free(f->layer);
    free(f->slot);
    free(f->ctx_pos);
    free(f);
}

struct kvs_view kvs_forward_k(struct kvs_forward *f, uint32_t layer)
{
    return kvs_at(f->layer[layer].k, 0);
}

struct kvs_view kvs_forward_v(struct kvs_forward *f, uint32_t layer)
{
    return kvs_at(f->layer[layer].v, 0);
}

size_t kvs_forward_slot_bytes(const struct kvs_forward *f)
{
    return kvs_forward_n_kv(f) * kvs_elem_bytes(f->opt.kv_elem);
}

const struct kvs_weights_shape *kvs_forward_shape(const struct kvs_forward *f)
{
    return &f->shape;
}

const struct kvs_forward_opt *kvs_forward_opt(const struct kvs_forward *f)
{
    return &f->opt;
}
