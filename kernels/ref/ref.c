/*
 * ref.c - the reference back end: every operator in double, read straight from its formula.
 *
 * Shares no arithmetic with cpu/ or ops/. Slow on purpose where speed would hide the formula.
 */
#include "kernels/host/queue.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static double get(const void *base, enum kvs_elem elem, size_t i)
{
    return elem == KVS_BF16 ? (double)kvs_f32_of_bf16(((const uint16_t *)base)[i])
                            : (double)((const float *)base)[i];
}

static void put(void *base, enum kvs_elem elem, size_t i, double value)
{
    if (elem == KVS_BF16)
        ((uint16_t *)base)[i] = kvs_bf16_of((float)value);
    else
        ((float *)base)[i] = (float)value;
}

static enum kvs_code ref_rmsnorm(void *ctx, const struct kvs_rmsnorm *op, void *stream,
                                 struct kvs_err *err)
{
    const float *x = kvs_ptr(op->x), *w = kvs_ptr(op->w);

    (void)ctx, (void)stream, (void)err;
    for (size_t r = 0; r < op->n_row; r++) {
        double sum = 0;
        for (size_t i = 0; i < op->n; i++)
            sum += (double)x[r * op->n + i] * (double)x[r * op->n + i];
        double rms = sqrt(sum / op->n + (double)op->eps);
        for (size_t i = 0; i < op->n; i++)
            put(kvs_ptr(op->y), op->y_elem, r * op->n + i,
                (double)w[i] * (double)x[r * op->n + i] / rms);
    }
    return KVS_OK;
}

static enum kvs_code ref_gemm(void *ctx, const struct kvs_gemm *op, void *stream,
                              struct kvs_err *err)
{
    double *x = calloc((size_t)op->m * op->k + 1, sizeof *x), *w = calloc(op->k + 1, sizeof *w);

    (void)ctx, (void)stream;
    if (!x || !w) {
        free(x);
        free(w);
        return kvs_nomem(err);
    }
    for (size_t r = 0; r < op->m; r++)
        for (size_t i = 0; i < op->k; i++)
            x[r * op->k + i] = get(kvs_ptr(op->x), op->x_elem, r * op->x_stride + i);
    for (size_t c = 0; c < op->n; c++) {
        for (size_t i = 0; i < op->k; i++)
            w[i] = get(kvs_ptr(op->w), op->w_elem, c * op->w_stride + i);
        for (size_t r = 0; r < op->m; r++) {
            double sum = 0;
            for (size_t i = 0; i < op->k; i++)
                sum += x[r * op->k + i] * w[i];
            put(kvs_ptr(op->y), op->y_elem, r * op->y_stride + c, sum);
        }
    }
    free(x);
    free(w);
    return KVS_OK;
}

static enum kvs_code ref_rope(void *ctx, const struct kvs_rope *op, void *stream,
                              struct kvs_err *err)
{
    const int32_t *pos = kvs_ptr(op->pos);
    const double *freq = kvs_ptr(op->freq);
    void *x = kvs_ptr(op->x);
    size_t half = op->head_dim / 2;

    (void)ctx, (void)stream, (void)err;
    for (size_t r = 0; r < op->n_row; r++)
        for (size_t h = 0; h < op->n_head; h++)
            for (size_t i = 0; i < half; i++) {
                size_t at = r * op->row_stride + h * op->head_dim;
                size_t a = at + (op->pairs == KVS_ROPE_HALVES ? i : 2 * i);
                size_t b = op->pairs == KVS_ROPE_HALVES ? a + half : a + 1;
                double angle = pos[r] * freq[i];
                double xa = get(x, op->elem, a), xb = get(x, op->elem, b);
                put(x, op->elem, a, xa * cos(angle) - xb * sin(angle));
                put(x, op->elem, b, xa * sin(angle) + xb * cos(angle));
            }
    return KVS_OK;
}

static size_t slot_of(const struct kvs_attn *op, size_t j)
{
    const int32_t *page = kvs_ptr(op->page);

    return page ? (size_t)page[j / op->page_tok] * op->page_tok + j % op->page_tok : j;
}

/* One query, one head; p has room for n_kv, sum for head_dim. */
static void attend(const struct kvs_attn *op, size_t i, size_t h, double *p, double *sum)
{
    const int32_t *q_pos = kvs_ptr(op->q_pos), *kv_pos = kvs_ptr(op->kv_pos);
    size_t dim = op->head_dim, g = h / (op->n_head / op->n_kv_head);
    double max = -HUGE_VAL, total = 0;

    memset(sum, 0, dim * sizeof *sum);
    for (size_t j = 0; j < op->n_kv; j++) {
        if (kv_pos[j] > q_pos[i])
            continue;
        double dot = 0;
        for (size_t c = 0; c < dim; c++)
            dot += get(kvs_ptr(op->q), op->q_elem, i * op->q_stride + h * dim + c) *
                   get(kvs_ptr(op->k), op->kv_elem, slot_of(op, j) * op->kv_stride + g * dim + c);
        p[j] = dot * (double)op->scale;
        max = fmax(max, p[j]);
    }
    for (size_t j = 0; j < op->n_kv; j++) {
        if (kv_pos[j] > q_pos[i])
            continue;
        double weight = exp(p[j] - max);
        total += weight;
        for (size_t c = 0; c < dim; c++)
            sum[c] += weight * get(kvs_ptr(op->v), op->kv_elem,
                                   slot_of(op, j) * op->kv_stride + g * dim + c);
    }
    for (size_t c = 0; c < dim; c++)
        put(kvs_ptr(op->y), op->y_elem, i * op->y_stride + h * dim + c,
            total > 0 ? sum[c] / total : sum[c]);
}

static enum kvs_code ref_attn(void *ctx, const struct kvs_attn *op, void *stream,
                              struct kvs_err *err)
{
    double *p = calloc((size_t)op->n_kv + op->head_dim + 1, sizeof *p);

    (void)ctx, (void)stream;
    if (!p)
        return kvs_nomem(err);
    for (size_t i = 0; i < op->n_q; i++)
        for (size_t h = 0; h < op->n_head; h++)
            attend(op, i, h, p, p + op->n_kv);
    free(p);
    return KVS_OK;
}

static enum kvs_code ref_swiglu(void *ctx, const struct kvs_swiglu *op, void *stream,
                                struct kvs_err *err)
{
    (void)ctx, (void)stream, (void)err;
    for (size_t r = 0; r < op->n_row; r++)
        for (size_t i = 0; i < op->n; i++) {
            double gate = get(kvs_ptr(op->gate), op->x_elem, r * op->x_stride + i);
            double up = get(kvs_ptr(op->up), op->x_elem, r * op->x_stride + i);
            put(kvs_ptr(op->y), op->y_elem, r * op->y_stride + i, gate / (1 + exp(-gate)) * up);
        }
    return KVS_OK;
}

static enum kvs_code ref_add(void *ctx, const struct kvs_add *op, void *stream, struct kvs_err *err)
{
    (void)ctx, (void)stream, (void)err;
    for (size_t i = 0; i < op->n; i++)
        put(kvs_ptr(op->x), KVS_F32, i,
            get(kvs_ptr(op->x), KVS_F32, i) + get(kvs_ptr(op->y), op->y_elem, i));
    return KVS_OK;
}

static enum kvs_code ref_rows(void *ctx, const struct kvs_rows *op, void *stream,
                              struct kvs_err *err)
{
    const int32_t *dst_i = kvs_ptr(op->dst_i), *src_i = kvs_ptr(op->src_i);

    (void)ctx, (void)stream, (void)err;
    for (size_t r = 0; r < op->n_row; r++) {
        size_t to = (dst_i ? (size_t)dst_i[r] : r) * op->dst_stride;
        size_t from = (src_i ? (size_t)src_i[r] : r) * op->src_stride;
        for (size_t i = 0; i < op->n; i++)
            if (op->dst_elem == KVS_U8)
                ((uint8_t *)kvs_ptr(op->dst))[to + i] = ((uint8_t *)kvs_ptr(op->src))[from + i];
            else
                put(kvs_ptr(op->dst), op->dst_elem, to + i,
                    get(kvs_ptr(op->src), op->src_elem, from + i));
    }
    return KVS_OK;
}

static const struct kvs_kernels kernels = {
#define X(name) .name = ref_##name,
    KVS_OPS(X)
#undef X
};

static enum kvs_code ref_open(struct kvs_dev *dev, int index, uint64_t seed, struct kvs_err *err)
{
    if (index != 0)
        return kvs_fail(err, KVS_ERR_ABSENT, "ref: there is no device %d, only 0", index);
    return kvs_queue_open(dev, KVS_QUEUE_SEEDED, seed, true, &kernels, NULL, err);
}

const struct kvs_backend kvs_backend_ref = {
    .name = "ref",
    .help = "reference: double precision, straight from the formulas",
    .can = "every operator in f32 and bf16, slowly; ready work in seeded order",
    .act_elem = KVS_F32,
    .gemm_elem = KVS_F32,
    .open = ref_open,
    .close = kvs_queue_close,
    KVS_QUEUE_FUNCTIONS,
};
