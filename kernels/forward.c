#include "forward.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct layer {
    struct kvs_buf *attn_norm, *qkv, *o, *ffn_norm, *gate_up, *down; /* weights */
    struct kvs_buf *k, *v;                                           /* cache */
    /* int32, a batch each: what the rows are after this layer's keep; see rows_at */
    struct kvs_buf *row[KVS_FORWARD_BATCHES], *staged[KVS_FORWARD_BATCHES];
};

struct kvs_forward {
    struct kvs_dev *dev;
    struct kvs_weights_shape shape;
    struct kvs_forward_opt opt;
    struct layer *layer;
    struct kvs_buf *embed, *out_norm, *output; /* output: embed where they are tied */
    struct kvs_buf *freq;
    struct kvs_buf *x[2], *h[2], *qkv, *attn, *proj, *gate_up, *ff, *last, *logits;
    /* int32, a batch each: as of begin; then tokens and the context's positions */
    struct kvs_buf *row[KVS_FORWARD_BATCHES], *staged[KVS_FORWARD_BATCHES];
    bool tied;
    /* the batch */
    unsigned batch; /* which of the buffers above it uses */
    uint32_t next_layer, n_row, n_ctx;
    unsigned side;       /* which of x and h holds the rows */
    uint32_t *slot;      /* host: of each row */
    int32_t *ctx_pos;    /* host: of each slot */
    struct kvs_buf *now; /* the buffer whose positions and slots are the rows' */
};

/* Three arrays of max_row int32 in a row buffer. */
enum rows_at { AT_POS, AT_SLOT, AT_FROM /* row of the batch before */, N_ROWS_AT };

static struct kvs_view ints(const struct kvs_forward *f, struct kvs_buf *buf, enum rows_at which)
{
    return kvs_at(buf, (size_t)which * f->opt.max_row * sizeof(int32_t));
}

static uint32_t n_q(const struct kvs_forward *f)
{
    return f->shape.n_head * f->shape.head_dim;
}

static uint32_t n_kv(const struct kvs_forward *f)
{
    return f->shape.n_kv_head * f->shape.head_dim;
}

/* --- making it -------------------------------------------------------------------------------- */

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
    struct layer *y = &f->layer[l];
    enum kvs_elem g = f->opt.gemm_elem;
    size_t size = kvs_elem_bytes(g), hidden = f->shape.hidden, ffn = f->shape.ffn;
    size_t row_bytes = (size_t)N_ROWS_AT * f->opt.max_row * sizeof(int32_t);
    size_t kv_bytes = n_kv(f) * kvs_elem_bytes(f->opt.kv_elem);
    enum kvs_code code;

    for (int i = 0; i < KVS_FORWARD_BATCHES; i++)
        if ((code = device_mem(f, row_bytes, 1, &y->row[i], err)) ||
            (code = kvs_buf_new(f->dev, KVS_MEM_PINNED, row_bytes, &y->staged[i], err)))
            return code;
    if ((code = device_mem(f, hidden, sizeof(float), &y->attn_norm, err)) ||
        (code = device_mem(f, hidden, sizeof(float), &y->ffn_norm, err)) ||
        (code = device_mem(f, ((size_t)n_q(f) + 2 * n_kv(f)) * hidden, size, &y->qkv, err)) ||
        (code = device_mem(f, hidden * n_q(f), size, &y->o, err)) ||
        (code = device_mem(f, 2 * ffn * hidden, size, &y->gate_up, err)) ||
        (code = device_mem(f, ffn * hidden, size, &y->down, err)) ||
        (code = device_mem(f, f->opt.max_ctx, kv_bytes, &y->k, err)) ||
        (code = device_mem(f, f->opt.max_ctx, kv_bytes, &y->v, err)) ||
        (code = upload(f, w, KVS_W_ATTN_NORM, l, y->attn_norm, 0, KVS_F32, room, err)) ||
        (code = upload(f, w, KVS_W_FFN_NORM, l, y->ffn_norm, 0, KVS_F32, room, err)) ||
        (code = upload(f, w, KVS_W_Q, l, y->qkv, 0, g, room, err)) ||
        (code = upload(f, w, KVS_W_K, l, y->qkv, n_q(f) * hidden, g, room, err)) ||
        (code =
             upload(f, w, KVS_W_V, l, y->qkv, ((size_t)n_q(f) + n_kv(f)) * hidden, g, room, err)) ||
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
    size_t n_int = (size_t)(N_ROWS_AT + 1) * n_row + f->opt.max_ctx;
    enum kvs_code code;

    for (int i = 0; i < 2; i++)
        if ((code = device_mem(f, n_row * s->hidden, sizeof(float), &f->x[i], err)) ||
            (code = device_mem(f, n_row * s->hidden, act, &f->h[i], err)))
            return code;
    if ((code = device_mem(f, n_row * ((size_t)n_q(f) + 2 * n_kv(f)), act, &f->qkv, err)) ||
        (code = device_mem(f, n_row * n_q(f), act, &f->attn, err)) ||
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
        struct layer *y = &f->layer[l];
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
    return n_kv(f) * kvs_elem_bytes(f->opt.kv_elem);
}

const struct kvs_weights_shape *kvs_forward_shape(const struct kvs_forward *f)
{
    return &f->shape;
}

const struct kvs_forward_opt *kvs_forward_opt(const struct kvs_forward *f)
{
    return &f->opt;
}

/* --- a batch ---------------------------------------------------------------------------------- */

static enum kvs_code check_batch(const struct kvs_forward *f, const uint32_t *tok,
                                 const uint32_t *slot, uint32_t n_row, const int32_t *pos,
                                 uint32_t n_ctx, struct kvs_err *err)
{
    if (n_row == 0 || n_row > f->opt.max_row)
        return kvs_fail(err, KVS_ERR_RANGE, "forward: a batch of %u rows, want 1 to %u", n_row,
                        f->opt.max_row);
    if (n_ctx == 0 || n_ctx > f->opt.max_ctx)
        return kvs_fail(err, KVS_ERR_RANGE, "forward: a context of %u slots, want 1 to %u", n_ctx,
                        f->opt.max_ctx);
    for (uint32_t r = 0; r < n_row; r++) {
        if (tok && tok[r] >= f->shape.n_vocab)
            return kvs_fail(err, KVS_ERR_RANGE, "forward: token %u of row %u, want below %u",
                            tok[r], r, f->shape.n_vocab);
        if (slot[r] >= n_ctx || (r && slot[r] <= slot[r - 1]))
            return kvs_fail(err, KVS_ERR_RANGE,
                            "forward: slot %u of row %u, want ascending and below %u", slot[r], r,
                            n_ctx);
    }
    for (uint32_t j = 0; j < n_ctx && pos; j++)
        if (pos[j] < 0 || (j && pos[j] <= pos[j - 1]))
            return kvs_fail(err, KVS_ERR_RANGE,
                            "forward: position %d of slot %u, want ascending from 0", pos[j], j);
    return KVS_OK;
}

/* Rows, their places and the context's go to the device; tok may be NULL. */
static enum kvs_code begin(struct kvs_forward *f, struct kvs_stream *stream, const uint32_t *tok,
                           const uint32_t *slot, uint32_t n_row, const int32_t *pos, uint32_t n_ctx,
                           struct kvs_err *err)
{
    size_t max_row = f->opt.max_row, tok_at = (size_t)N_ROWS_AT * max_row;
    enum kvs_code code = check_batch(f, tok, slot, n_row, pos, n_ctx, err);

    if (code)
        return code;
    f->batch = (f->batch + 1) % KVS_FORWARD_BATCHES;
    int32_t *staged = kvs_buf_host(f->staged[f->batch]);
    for (uint32_t j = 0; j < n_ctx; j++)
        staged[tok_at + max_row + j] = f->ctx_pos[j] = pos ? pos[j] : (int32_t)j;
    for (uint32_t r = 0; r < n_row; r++) {
        f->slot[r] = slot[r];
        staged[AT_POS * max_row + r] = f->ctx_pos[slot[r]];
        staged[AT_SLOT * max_row + r] = (int32_t)slot[r];
        staged[tok_at + r] = tok ? (int32_t)tok[r] : 0;
    }
    f->n_row = n_row;
    f->n_ctx = n_ctx;
    f->now = f->row[f->batch];
    return kvs_stream_copy(stream, kvs_at(f->now, 0), kvs_at(f->staged[f->batch], 0),
                           kvs_buf_bytes(f->now), err);
}

enum kvs_code kvs_forward_begin(struct kvs_forward *f, struct kvs_stream *stream,
                                const uint32_t *tok, const uint32_t *slot, uint32_t n_row,
                                const int32_t *pos, uint32_t n_ctx, struct kvs_err *err)
{
    size_t tok_at = (size_t)N_ROWS_AT * f->opt.max_row;
    enum kvs_code code = begin(f, stream, tok, slot, n_row, pos, n_ctx, err);

    if (code)
        return code;
    f->next_layer = f->side = 0;
    struct kvs_rows embed = {.dst = kvs_at(f->x[0], 0),
                             .src = kvs_at(f->embed, 0),
                             .src_i = kvs_at(f->now, tok_at * sizeof(int32_t)),
                             .dst_elem = KVS_F32,
                             .src_elem = f->opt.gemm_elem,
                             .n_row = n_row,
                             .n_dst_row = n_row,
                             .n_src_row = f->shape.n_vocab,
                             .n = f->shape.hidden,
                             .dst_stride = f->shape.hidden,
                             .src_stride = f->shape.hidden};
    return kvs_stream_rows(stream, &embed, err);
}

struct kvs_view kvs_forward_hidden(struct kvs_forward *f)
{
    return kvs_at(f->x[f->side], 0);
}

enum kvs_code kvs_forward_resume(struct kvs_forward *f, struct kvs_stream *stream, uint32_t layer,
                                 struct kvs_view x, const uint32_t *slot, uint32_t n_row,
                                 const int32_t *pos, uint32_t n_ctx, struct kvs_err *err)
{
    enum kvs_code code;

    if (layer >= f->shape.n_layer)
        return kvs_fail(err, KVS_ERR_RANGE, "forward: resumed at layer %u, want below %u", layer,
                        f->shape.n_layer);
    if ((code = begin(f, stream, NULL, slot, n_row, pos, n_ctx, err)))
        return code;
    f->side = x.buf == f->x[0]; /* the rows may be the batch's before */
    f->next_layer = layer;
    return kvs_stream_copy(stream, kvs_at(f->x[f->side], 0), x,
                           (size_t)n_row * f->shape.hidden * sizeof(float), err);
}

/* Rows that operators work on: those of the batch, or loaded states. */
struct rows {
    unsigned side; /* of x and h */
    uint32_t n;
    struct kvs_view pos, slot; /* int32[n] */
};

static struct rows of_batch(const struct kvs_forward *f)
{
    return (struct rows){f->side, f->n_row, ints(f, f->now, AT_POS), ints(f, f->now, AT_SLOT)};
}

static enum kvs_code norm(struct kvs_forward *f, struct kvs_stream *stream, const struct rows *rows,
                          struct kvs_buf *w, struct kvs_err *err)
{
    struct kvs_rmsnorm op = {.y = kvs_at(f->h[rows->side], 0),
                             .x = kvs_at(f->x[rows->side], 0),
                             .w = kvs_at(w, 0),
                             .y_elem = f->opt.act_elem,
                             .n_row = rows->n,
                             .n = f->shape.hidden,
                             .eps = f->shape.norm_eps};
    return kvs_stream_rmsnorm(stream, &op, err);
}

/* y[m][n at column y_at of y_stride] = x[m][k] times rows w_at.. of w */
static enum kvs_code linear(struct kvs_forward *f, struct kvs_stream *stream, uint32_t m,
                            struct kvs_buf *y, enum kvs_elem y_elem, size_t y_at, size_t y_stride,
                            struct kvs_buf *x, struct kvs_buf *w, size_t w_at, size_t n, size_t k,
                            struct kvs_err *err)
{
    struct kvs_gemm op = {.y = kvs_at(y, y_at * kvs_elem_bytes(y_elem)),
                          .x = kvs_at(x, 0),
                          .w = kvs_at(w, w_at * k * kvs_elem_bytes(f->opt.gemm_elem)),
                          .y_elem = y_elem,
                          .x_elem = f->opt.act_elem,
                          .w_elem = f->opt.gemm_elem,
                          .m = m,
                          .n = (uint32_t)n,
                          .k = (uint32_t)k,
                          .y_stride = (uint32_t)y_stride,
                          .x_stride = (uint32_t)k,
                          .w_stride = (uint32_t)k};
    return kvs_stream_gemm(stream, &op, err);
}

static enum kvs_code turn(struct kvs_forward *f, struct kvs_stream *stream, const struct rows *rows,
                          size_t at, uint32_t n_head, struct kvs_err *err)
{
    struct kvs_rope op = {.x = kvs_at(f->qkv, at * kvs_elem_bytes(f->opt.act_elem)),
                          .pos = rows->pos,
                          .freq = kvs_at(f->freq, 0),
                          .elem = f->opt.act_elem,
                          .pairs = f->shape.rope_halves ? KVS_ROPE_HALVES : KVS_ROPE_ADJACENT,
                          .n_row = rows->n,
                          .n_head = n_head,
                          .head_dim = f->shape.head_dim,
                          .row_stride = n_q(f) + 2 * n_kv(f)};
    return kvs_stream_rope(stream, &op, err);
}

static enum kvs_code append(struct kvs_forward *f, struct kvs_stream *stream,
                            const struct rows *rows, size_t at, struct kvs_buf *cache,
                            struct kvs_err *err)
{
    struct kvs_rows op = {.dst = kvs_at(cache, 0),
                          .src = kvs_at(f->qkv, at * kvs_elem_bytes(f->opt.act_elem)),
                          .dst_i = rows->slot,
                          .dst_elem = f->opt.kv_elem,
                          .src_elem = f->opt.act_elem,
                          .n_row = rows->n,
                          .n_dst_row = f->opt.max_ctx,
                          .n_src_row = rows->n,
                          .n = n_kv(f),
                          .dst_stride = n_kv(f),
                          .src_stride = n_q(f) + 2 * n_kv(f)};
    return kvs_stream_rows(stream, &op, err);
}

/* The kept rows of x and h move together on the other side; positions and slots follow. */
static enum kvs_code shrink(struct kvs_forward *f, struct kvs_stream *stream, struct layer *y,
                            const uint32_t *keep, uint32_t n_keep, struct kvs_err *err)
{
    struct kvs_buf *row = y->row[f->batch], *from = y->staged[f->batch];
    int32_t *staged = kvs_buf_host(from);
    size_t max_row = f->opt.max_row;
    struct kvs_rows op = {.src_i = ints(f, row, AT_FROM),
                          .n_row = n_keep,
                          .n_dst_row = n_keep,
                          .n_src_row = f->n_row,
                          .n = f->shape.hidden,
                          .dst_stride = f->shape.hidden,
                          .src_stride = f->shape.hidden};
    enum kvs_code code;

    for (uint32_t r = 0; r < n_keep; r++)
        if (keep[r] >= f->n_row || (r && keep[r] <= keep[r - 1]))
            return kvs_fail(err, KVS_ERR_RANGE,
                            "forward: kept row %u is %u, want ascending and below %u", r, keep[r],
                            f->n_row);
    for (uint32_t r = 0; r < n_keep; r++) {
        f->slot[r] = f->slot[keep[r]];
        staged[AT_POS * max_row + r] = f->ctx_pos[f->slot[r]];
        staged[AT_SLOT * max_row + r] = (int32_t)f->slot[r];
        staged[AT_FROM * max_row + r] = (int32_t)keep[r];
    }
    if ((code = kvs_stream_copy(stream, kvs_at(row, 0), kvs_at(from, 0), kvs_buf_bytes(row), err)))
        return code;
    op.dst_elem = op.src_elem = KVS_F32;
    op.dst = kvs_at(f->x[!f->side], 0);
    op.src = kvs_at(f->x[f->side], 0);
    if ((code = kvs_stream_rows(stream, &op, err)))
        return code;
    op.dst_elem = op.src_elem = f->opt.act_elem;
    op.dst = kvs_at(f->h[!f->side], 0);
    op.src = kvs_at(f->h[f->side], 0);
    if ((code = kvs_stream_rows(stream, &op, err)))
        return code;
    f->side = !f->side;
    f->n_row = n_keep;
    f->now = row;
    return KVS_OK;
}

static enum kvs_code attend(struct kvs_forward *f, struct kvs_stream *stream, struct layer *y,
                            struct kvs_err *err)
{
    size_t ctx_at = (size_t)(N_ROWS_AT + 1) * f->opt.max_row * sizeof(int32_t);
    struct kvs_attn op = {.y = kvs_at(f->attn, 0),
                          .q = kvs_at(f->qkv, 0),
                          .k = kvs_at(y->k, 0),
                          .v = kvs_at(y->v, 0),
                          .q_pos = ints(f, f->now, AT_POS),
                          .kv_pos = kvs_at(f->row[f->batch], ctx_at),
                          .y_elem = f->opt.act_elem,
                          .q_elem = f->opt.act_elem,
                          .kv_elem = f->opt.kv_elem,
                          .n_q = f->n_row,
                          .n_kv = f->slot[f->n_row - 1] + 1, /* no row sees what is behind it */
                          .n_head = f->shape.n_head,
                          .n_kv_head = f->shape.n_kv_head,
                          .head_dim = f->shape.head_dim,
                          .y_stride = n_q(f),
                          .q_stride = n_q(f) + 2 * n_kv(f),
                          .kv_stride = n_kv(f),
                          .scale = (float)(1 / sqrt(f->shape.head_dim))};
    return kvs_stream_attn(stream, &op, err);
}

static enum kvs_code residual(struct kvs_forward *f, struct kvs_stream *stream, struct kvs_err *err)
{
    struct kvs_add op = {.x = kvs_at(f->x[f->side], 0),
                         .y = kvs_at(f->proj, 0),
                         .y_elem = KVS_F32,
                         .n = (size_t)f->n_row * f->shape.hidden};
    return kvs_stream_add(stream, &op, err);
}

static enum kvs_code mlp(struct kvs_forward *f, struct kvs_stream *stream, struct layer *y,
                         struct kvs_err *err)
{
    size_t ffn = f->shape.ffn, hidden = f->shape.hidden;
    enum kvs_elem act = f->opt.act_elem;
    struct kvs_swiglu glu = {.y = kvs_at(f->ff, 0),
                             .gate = kvs_at(f->gate_up, 0),
                             .up = kvs_at(f->gate_up, ffn * kvs_elem_bytes(act)),
                             .y_elem = act,
                             .x_elem = act,
                             .n_row = f->n_row,
                             .n = (uint32_t)ffn,
                             .y_stride = (uint32_t)ffn,
                             .x_stride = (uint32_t)(2 * ffn)};
    const struct rows rows = of_batch(f);
    enum kvs_code code;

    if ((code = norm(f, stream, &rows, y->ffn_norm, err)) ||
        (code = linear(f, stream, rows.n, f->gate_up, act, 0, 2 * ffn, f->h[f->side], y->gate_up, 0,
                       2 * ffn, hidden, err)) ||
        (code = kvs_stream_swiglu(stream, &glu, err)) ||
        (code = linear(f, stream, rows.n, f->proj, KVS_F32, 0, hidden, f->ff, y->down, 0, hidden,
                       ffn, err)))
        return code;
    return residual(f, stream, err);
}

/* K and V of rows, and with_q their Q in the same product; K and V go to the cache. */
static enum kvs_code project(struct kvs_forward *f, struct kvs_stream *stream, struct layer *y,
                             const struct rows *rows, bool with_q, struct kvs_err *err)
{
    size_t q = n_q(f), kv = n_kv(f), stride = q + 2 * kv, from = with_q ? 0 : q;
    enum kvs_code code;

    if ((code = norm(f, stream, rows, y->attn_norm, err)) ||
        (code = linear(f, stream, rows->n, f->qkv, f->opt.act_elem, from, stride, f->h[rows->side],
                       y->qkv, from, stride - from, f->shape.hidden, err)) ||
        (code = turn(f, stream, rows, from, f->shape.n_kv_head + (with_q ? f->shape.n_head : 0),
                     err)) ||
        (code = append(f, stream, rows, q, y->k, err)))
        return code;
    return append(f, stream, rows, q + kv, y->v, err);
}

enum kvs_code kvs_forward_project(struct kvs_forward *f, struct kvs_stream *stream, uint32_t layer,
                                  const struct kvs_forward_states *states, struct kvs_err *err)
{
    /* the batch's other side holds nothing between its layers */
    const struct rows rows = {!f->side, states->n_row, states->pos, states->slot};
    struct kvs_rows widen = {.dst = kvs_at(f->x[rows.side], 0),
                             .src = states->x,
                             .dst_elem = KVS_F32,
                             .src_elem = states->elem,
                             .n_row = states->n_row,
                             .n_dst_row = states->n_row,
                             .n_src_row = states->n_row,
                             .n = f->shape.hidden,
                             .dst_stride = f->shape.hidden,
                             .src_stride = f->shape.hidden};
    enum kvs_code code;

    if (layer >= f->shape.n_layer || states->n_row == 0 || states->n_row > f->opt.max_row)
        return kvs_fail(err, KVS_ERR_RANGE,
                        "forward: states of %u rows before layer %u: want 1 to %u, below %u",
                        states->n_row, layer, f->opt.max_row, f->shape.n_layer);
    if ((code = kvs_stream_rows(stream, &widen, err)))
        return code;
    return project(f, stream, &f->layer[layer], &rows, false, err);
}

enum kvs_code kvs_forward_layer(struct kvs_forward *f, struct kvs_stream *stream,
                                const uint32_t *keep, uint32_t n_keep, struct kvs_err *err)
{
    enum kvs_elem act = f->opt.act_elem;
    size_t q = n_q(f), hidden = f->shape.hidden, stride = q + 2 * n_kv(f);
    struct rows rows = of_batch(f);
    enum kvs_code code;

    if (f->next_layer >= f->shape.n_layer || f->n_row == 0)
        return kvs_fail(err, KVS_ERR_ARG, "forward: no layer %u in this batch", f->next_layer);
    struct layer *y = &f->layer[f->next_layer++];
    /* with all rows kept, Q comes in the same product as K and V */
    if ((code = project(f, stream, y, &rows, !keep, err)))
        return code;
    if (keep) {
        if ((code = shrink(f, stream, y, keep, n_keep, err)))
            return code;
        if (n_keep == 0)
            return KVS_OK;
        rows = of_batch(f);
        if ((code = linear(f, stream, rows.n, f->qkv, act, 0, stride, f->h[f->side], y->qkv, 0, q,
                           hidden, err)) ||
            (code = turn(f, stream, &rows, 0, f->shape.n_head, err)))
            return code;
    }
    if ((code = attend(f, stream, y, err)) ||
        (code = linear(f, stream, rows.n, f->proj, KVS_F32, 0, hidden, f->attn, y->o, 0, hidden, q,
                       err)) ||
        (code = residual(f, stream, err)))
        return code;
    return mlp(f, stream, y, err);
}

enum kvs_code kvs_forward_logits(struct kvs_forward *f, struct kvs_stream *stream, uint32_t n_out,
                                 struct kvs_view *logits, struct kvs_err *err)
{
    size_t hidden = f->shape.hidden;

    *logits = (struct kvs_view){0};
    if (f->next_layer != f->shape.n_layer || n_out == 0 || n_out > f->n_row ||
        n_out > f->opt.max_out)
        return kvs_fail(
            err, KVS_ERR_ARG,
            "forward: logits of %u rows after layer %u: want all %u layers, and 1 to %u "
            "rows",
            n_out, f->next_layer, f->shape.n_layer,
            f->n_row < f->opt.max_out ? f->n_row : f->opt.max_out);
    struct kvs_rmsnorm last = {
        .y = kvs_at(f->last, 0),
        .x = kvs_at(f->x[f->side], (f->n_row - n_out) * hidden * sizeof(float)),
        .w = kvs_at(f->out_norm, 0),
        .y_elem = f->opt.act_elem,
        .n_row = n_out,
        .n = (uint32_t)hidden,
        .eps = f->shape.norm_eps};
    struct kvs_gemm out = {.y = kvs_at(f->logits, 0),
                           .x = kvs_at(f->last, 0),
                           .w = kvs_at(f->tied ? f->embed : f->output, 0),
                           .y_elem = KVS_F32,
                           .x_elem = f->opt.act_elem,
                           .w_elem = f->opt.gemm_elem,
                           .m = n_out,
                           .n = f->shape.n_vocab,
                           .k = (uint32_t)hidden,
                           .y_stride = f->shape.n_vocab,
                           .x_stride = (uint32_t)hidden,
                           .w_stride = (uint32_t)hidden};
    enum kvs_code code = kvs_stream_rmsnorm(stream, &last, err);
    if (code || (code = kvs_stream_gemm(stream, &out, err)))
        return code;
    *logits = kvs_at(f->logits, 0);
    return KVS_OK;
}

enum kvs_code kvs_forward_prefill(struct kvs_forward *f, struct kvs_stream *stream,
                                  const uint32_t *tok, uint32_t n_cached, uint32_t n_tok, float *to,
                                  struct kvs_err *err)
{
    struct kvs_view logits;
    uint32_t *slot;
    enum kvs_code code;

    if (n_cached >= n_tok || n_tok > f->opt.max_ctx)
        return kvs_fail(err, KVS_ERR_RANGE,
                        "forward: %u of %u tokens cached: want at least one new, at most %u slots",
                        n_cached, n_tok, f->opt.max_ctx);
    slot = malloc((n_tok - n_cached) * sizeof *slot);
    if (!slot)
        return kvs_nomem(err);
    for (uint32_t r = 0; r < n_tok - n_cached; r++)
        slot[r] = n_cached + r;
    code = kvs_forward_begin(f, stream, tok + n_cached, slot, n_tok - n_cached, NULL, n_tok, err);
    free(slot);
    for (uint32_t l = 0; l < f->shape.n_layer && !code; l++)
        code = kvs_forward_layer(f, stream, NULL, 0, err);
    if (!code)
        code = kvs_forward_logits(f, stream, 1, &logits, err);
    /* also after a failure: what was put on the stream must not outlive the call */
    enum kvs_code waited = kvs_stream_sync(stream, err);
    code = code ? code : waited;
    return code ? code : kvs_buf_read(to, logits, f->shape.n_vocab * sizeof *to, err);
}
