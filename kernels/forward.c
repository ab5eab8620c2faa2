#include "forward_in.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

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
    size_t max_row = f->opt.max_row, tok_at = (size_t)KVS_N_ROWS_AT * max_row;
    enum kvs_code code = check_batch(f, tok, slot, n_row, pos, n_ctx, err);

    if (code)
        return code;
    f->batch = (f->batch + 1) % KVS_FORWARD_BATCHES;
    int32_t *staged = kvs_buf_host(f->staged[f->batch]);
    for (uint32_t j = 0; j < n_ctx; j++)
        staged[tok_at + max_row + j] = f->ctx_pos[j] = pos ? pos[j] : (int32_t)j;
    for (uint32_t r = 0; r < n_row; r++) {
        f->slot[r] = slot[r];
        staged[KVS_AT_POS * max_row + r] = f->ctx_pos[slot[r]];
        staged[KVS_AT_SLOT * max_row + r] = (int32_t)slot[r];
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
    size_t tok_at = (size_t)KVS_N_ROWS_AT * f->opt.max_row;
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
    return (struct rows){f->side, f->n_row, kvs_forward_ints(f, f->now, KVS_AT_POS),
                         kvs_forward_ints(f, f->now, KVS_AT_SLOT)};
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
                          .row_stride = kvs_forward_n_q(f) + 2 * kvs_forward_n_kv(f)};
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
                          .n = kvs_forward_n_kv(f),
                          .dst_stride = kvs_forward_n_kv(f),
                          .src_stride = kvs_forward_n_q(f) + 2 * kvs_forward_n_kv(f)};
    return kvs_stream_rows(stream, &op, err);
}

/* The kept rows of x and h move together on the other side; positions and slots follow. */
static enum kvs_code shrink(struct kvs_forward *f, struct kvs_stream *stream,
                            struct kvs_forward_block *y, const uint32_t *keep, uint32_t n_keep,
                            struct kvs_err *err)
{
    struct kvs_buf *row = y->row[f->batch], *from = y->staged[f->batch];
    int32_t *staged = kvs_buf_host(from);
    size_t max_row = f->opt.max_row;
    struct kvs_rows op = {.src_i = kvs_forward_ints(f, row, KVS_AT_FROM),
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
        staged[KVS_AT_POS * max_row + r] = f->ctx_pos[f->slot[r]];
        staged[KVS_AT_SLOT * max_row + r] = (int32_t)f->slot[r];
        staged[KVS_AT_FROM * max_row + r] = (int32_t)keep[r];
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

static enum kvs_code attend(struct kvs_forward *f, struct kvs_stream *stream,
                            struct kvs_forward_block *y, struct kvs_err *err)
{
    size_t ctx_at = (size_t)(KVS_N_ROWS_AT + 1) * f->opt.max_row * sizeof(int32_t);
    struct kvs_attn op = {.y = kvs_at(f->attn, 0),
                          .q = kvs_at(f->qkv, 0),
                          .k = kvs_at(y->k, 0),
                          .v = kvs_at(y->v, 0),
                          .q_pos = kvs_forward_ints(f, f->now, KVS_AT_POS),
                          .kv_pos = kvs_at(f->row[f->batch], ctx_at),
                          .y_elem = f->opt.act_elem,
                          .q_elem = f->opt.act_elem,
                          .kv_elem = f->opt.kv_elem,
                          .n_q = f->n_row,
                          .n_kv = f->slot[f->n_row - 1] + 1, /* no row sees what is behind it */
                          .n_head = f->shape.n_head,
                          .n_kv_head = f->shape.n_kv_head,
                          .head_dim = f->shape.head_dim,
                          .y_stride = kvs_forward_n_q(f),
                          .q_stride = kvs_forward_n_q(f) + 2 * kvs_forward_n_kv(f),
                          .kv_stride = kvs_forward_n_kv(f),
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

static enum kvs_code mlp(struct kvs_forward *f, struct kvs_stream *stream,
                         struct kvs_forward_block *y, struct kvs_err *err)
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
static enum kvs_code project(struct kvs_forward *f, struct kvs_stream *stream,
                             struct kvs_forward_block *y, const struct rows *rows, bool with_q,
                             struct kvs_err *err)
{
    size_t q = kvs_forward_n_q(f), kv = kvs_forward_n_kv(f), stride = q + 2 * kv,
           from = with_q ? 0 : q;
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
    size_t q = kvs_forward_n_q(f), hidden = f->shape.hidden, stride = q + 2 * kvs_forward_n_kv(f);
    struct rows rows = of_batch(f);
    enum kvs_code code;

    if (f->next_layer >= f->shape.n_layer || f->n_row == 0)
        return kvs_fail(err, KVS_ERR_ARG, "forward: no layer %u in this batch", f->next_layer);
    struct kvs_forward_block *y = &f->layer[f->next_layer++];
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
