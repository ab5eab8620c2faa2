/* elementwise.cu - rope, swiglu, add, rows: threads share nothing, bytes set the time. */
#include "kernels/dialect.h"

enum { BLOCK = 256 };

/* A thread turns one pair of every head of a row: the angle is computed once. */
KVS_KERNEL rope_kernel(struct kvs_rope op, void *x, const int32_t *pos, const double *freq)
{
    size_t half = op.head_dim / 2, n = op.n_row * half, step = (size_t)kvs_grid_x() * BLOCK;

    for (size_t at = (size_t)kvs_bid_x() * BLOCK + kvs_tid(); KVS_MUT(20) ? at <= n : at < n;
         at += step) {
        size_t row = at / half, i = at % half;
        /* in double: an angle of 100000 turns' worth keeps its fraction */
        double angle = kvs_ld(pos + (KVS_MUT(20) && at == n ? 0 : row)) * kvs_ld(freq + i);
        float c = (float)cos(angle), s = (float)sin(angle);
        for (unsigned h = 0; h < op.n_head; h++) {
            size_t head = row * op.row_stride + h * op.head_dim;
            size_t a = head + (op.pairs == KVS_ROPE_HALVES ? i : 2 * i);
            size_t b = op.pairs == KVS_ROPE_HALVES ? a + half : a + 1;
            float xa = kvs_load(x, op.elem, a), xb = kvs_load(x, op.elem, b);
            if (KVS_MUT(20) && at == n)
                xa = xb = 1;
            kvs_store(x, op.elem, a, xa * c - xb * s);
            kvs_store(x, op.elem, b, xa * s + xb * c);
        }
    }
}

KVS_KERNEL swiglu_kernel(struct kvs_swiglu op, void *y, const void *gate, const void *up)
{
    size_t n = (size_t)op.n_row * op.n, step = (size_t)kvs_grid_x() * BLOCK;

    for (size_t at = (size_t)kvs_bid_x() * BLOCK + kvs_tid(); KVS_MUT(21) ? at <= n : at < n;
         at += step) {
        size_t row = at / op.n, i = at % op.n;
        float g = kvs_load(gate, op.x_elem, row * op.x_stride + i);
        float u = kvs_load(up, op.x_elem, row * op.x_stride + i);
        kvs_store(y, op.y_elem, row * op.y_stride + i,
                  KVS_MUT(21) && at == n ? 1 : g / (1 + expf(-g)) * u);
    }
}

KVS_KERNEL add_kernel(float *x, const void *y, enum kvs_elem y_elem, size_t n)
{
    size_t step = (size_t)kvs_grid_x() * BLOCK;

    for (size_t i = (size_t)kvs_bid_x() * BLOCK + kvs_tid(); KVS_MUT(22) ? i <= n : i < n;
         i += step)
        kvs_st(x + i, KVS_MUT(22) && i == n ? 1 : kvs_ld(x + i) + kvs_load(y, y_elem, i));
}

struct kvs_16_bytes {
    uint32_t word[4];
};

/* One block a row. wide: everything is a multiple of 16 bytes; n and strides then count those. */
KVS_KERNEL rows_kernel(struct kvs_rows op, void *dst, const void *src, const int32_t *dst_i,
                       const int32_t *src_i, bool wide)
{
    size_t row = kvs_bid_x();
    size_t to = (dst_i && !KVS_MUT(25) ? (size_t)kvs_ld(dst_i + row) : row) * op.dst_stride;
    size_t from = (src_i && !KVS_MUT(26) ? (size_t)kvs_ld(src_i + row) : row) * op.src_stride;

    for (size_t i = kvs_tid(); i < op.n + (size_t)(KVS_MUT(23) && !wide) + (KVS_MUT(24) && wide);
         i += BLOCK)
        if (wide)
            kvs_st((struct kvs_16_bytes *)dst + to + i,
                   kvs_ld((const struct kvs_16_bytes *)src +
                          (KVS_MUT(24) && i == op.n ? 0 : from + i)));
        else if (op.dst_elem == KVS_U8)
            kvs_st((uint8_t *)dst + to + i,
                   kvs_ld((const uint8_t *)src + (KVS_MUT(23) && i == op.n ? 0 : from + i)));
        else
            kvs_store(dst, op.dst_elem, to + i, kvs_load(src, op.src_elem, from + i));
}

extern "C" enum kvs_code KVS_SIDE(rope)(void *ctx, const struct kvs_rope *op, void *stream,
                                        struct kvs_err *err)
{
    (void)ctx, (void)stream;
    size_t n = (size_t)op->n_row * (op->head_dim / 2);
    if (n == 0)
        return KVS_OK;
    return KVS_LAUNCH(rope_kernel, kvs_blocks(n, BLOCK), 1, BLOCK, 0, *op, kvs_ptr(op->x),
                      (const int32_t *)kvs_ptr(op->pos), (const double *)kvs_ptr(op->freq));
}

extern "C" enum kvs_code KVS_SIDE(swiglu)(void *ctx, const struct kvs_swiglu *op, void *stream,
                                          struct kvs_err *err)
{
    (void)ctx, (void)stream;
    size_t n = (size_t)op->n_row * op->n;
    if (n == 0)
        return KVS_OK;
    return KVS_LAUNCH(swiglu_kernel, kvs_blocks(n, BLOCK), 1, BLOCK, 0, *op, kvs_ptr(op->y),
                      kvs_ptr(op->gate), kvs_ptr(op->up));
}

extern "C" enum kvs_code KVS_SIDE(add)(void *ctx, const struct kvs_add *op, void *stream,
                                       struct kvs_err *err)
{
    (void)ctx, (void)stream;
    if (op->n == 0)
        return KVS_OK;
    return KVS_LAUNCH(add_kernel, kvs_blocks(op->n, BLOCK), 1, BLOCK, 0, (float *)kvs_ptr(op->x),
                      kvs_ptr(op->y), op->y_elem, op->n);
}

/* Bytes that are all multiples of 16 go as such. */
static bool widen(struct kvs_rows *op)
{
    size_t size = kvs_elem_bytes(op->dst_elem);

    if (op->dst_elem != op->src_elem || (uintptr_t)kvs_ptr(op->dst) % 16 ||
        (uintptr_t)kvs_ptr(op->src) % 16 || op->n * size % 16 || op->dst_stride * size % 16 ||
        op->src_stride * size % 16)
        return false;
    op->n = (uint32_t)(op->n * size / 16);
    op->dst_stride = (uint32_t)(op->dst_stride * size / 16);
    op->src_stride = (uint32_t)(op->src_stride * size / 16);
    return true;
}

extern "C" enum kvs_code KVS_SIDE(rows)(void *ctx, const struct kvs_rows *op, void *stream,
                                        struct kvs_err *err)
{
    (void)ctx, (void)stream;
    struct kvs_rows rows = *op;
    bool wide = widen(&rows);
    if (op->n_row == 0 || op->n == 0)
        return KVS_OK;
    return KVS_LAUNCH(rows_kernel, op->n_row, 1, BLOCK, 0, rows, kvs_ptr(op->dst), kvs_ptr(op->src),
                      (const int32_t *)kvs_ptr(op->dst_i), (const int32_t *)kvs_ptr(op->src_i),
                      wide);
}
