#include "opvec.h"

#include "backend.h"
#include "base/rng.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* NaN, as fresh memory is: what is read beyond an input's ends shows in the output. */
/* Where the back end itself finds such reads, inputs fill their buffers. */
enum { GUARD = 4096, GUARD_BYTE = 0xff, MAX_OPERAND = 8 };

/* What the makers below read; each operator takes its own meaning of the numbers. */
struct shape {
    enum kvs_item_kind kind;
    uint32_t a, b, c, d, e; /* see the maker */
    uint32_t gap;           /* stride beyond the row */
    enum kvs_elem y, x;     /* output, input */
    uint32_t variant;
};

struct operand {
    struct kvs_view *view; /* in the case's own item */
    enum kvs_elem elem;    /* KVS_U8: compared byte for byte */
    size_t n_byte;
    void *data;  /* what it holds before */
    bool output; /* compared after */
};

struct work {
    struct kvs_item item;
    struct operand operand[MAX_OPERAND];
    unsigned n_operand;
    double atol, rtol, l2tol; /* |diff| <= atol + rtol |want|; l2tol of the whole, 0: none */
    struct kvs_rng rng;
    bool nomem;
};

/* --- operands -------------------------------------------------------------------------------- */

/* n_byte of poison, to be filled by the caller; never NULL data unless nomem is set. */
static void *operand(struct work *work, struct kvs_view *view, enum kvs_elem elem, size_t n_byte,
                     bool output)
{
    void *data = malloc(n_byte + 1);

    assert(work->n_operand < MAX_OPERAND);
    if (!data) {
        work->nomem = true;
        return NULL;
    }
    memset(data, GUARD_BYTE, n_byte + 1);
    work->operand[work->n_operand++] = (struct operand){view, elem, n_byte, data, output};
    return data;
}

/* n_row rows of n normal numbers, stride apart; gaps stay poison. */
static void numbers(struct work *work, struct kvs_view *view, enum kvs_elem elem, size_t n_row,
                    size_t n, size_t stride, double scale, bool output)
{
    void *data =
        operand(work, view, elem,
                (n_row && n ? (n_row - 1) * stride + n : 0) * kvs_elem_bytes(elem), output);

    if (!data)
        return;
    for (size_t r = 0; r < n_row; r++)
        for (size_t i = 0; i < n; i++) {
            double value = scale * kvs_rng_normal(&work->rng);
            if (elem == KVS_F32)
                ((float *)data)[r * stride + i] = (float)value;
            else if (elem == KVS_BF16)
                ((uint16_t *)data)[r * stride + i] = kvs_bf16_of((float)value);
            else
                ((uint8_t *)data)[r * stride + i] = (uint8_t)kvs_rng_below(&work->rng, 256);
        }
}

static void output(struct work *work, struct kvs_view *view, enum kvs_elem elem, size_t n_row,
                   size_t n, size_t stride)
{
    (void)operand(work, view, elem,
                  (n_row && n ? (n_row - 1) * stride + n : 0) * kvs_elem_bytes(elem), true);
}

static int32_t *ints(struct work *work, struct kvs_view *view, size_t n)
{
    return operand(work, view, KVS_U8, n * sizeof(int32_t), false);
}

/* The first n of a random permutation of 0 .. of - 1. */
static void permutation(struct work *work, int32_t *to, size_t n, size_t of)
{
    int32_t *all = calloc(of + 1, sizeof *all);

    if (!all || !to) {
        work->nomem = true;
        free(all);
        return;
    }
    for (size_t i = 0; i < of; i++)
        all[i] = (int32_t)i;
    for (size_t i = 0; i < n; i++) {
        size_t j = i + kvs_rng_below(&work->rng, of - i);
        to[i] = all[j];
        all[j] = all[i];
    }
    free(all);
}

static void close_to(struct work *work, enum kvs_elem elem, double atol, double rtol)
{
    work->atol = atol;
    work->rtol = rtol + (elem == KVS_BF16 ? 1. / 128 : 0); /* one bf16 step: 2^-7 */
}

/* --- makers: a case of each operator ---------------------------------------------------------- */

/* a rows of b */
static void make_rmsnorm(struct work *work, const struct shape *s)
{
    struct kvs_rmsnorm *op = &work->item.u.rmsnorm;

    *op = (struct kvs_rmsnorm){.y_elem = s->y, .n_row = s->a, .n = s->b, .eps = 1e-5f};
    output(work, &op->y, s->y, s->a, s->b, s->b);
    numbers(work, &op->x, KVS_F32, s->a, s->b, s->b, 3, false);
    numbers(work, &op->w, KVS_F32, 1, s->b, s->b, 1, false);
    close_to(work, s->y, 1e-6, 1e-5);
}

/* a x b x c (m, n, k); w has x's type */
static void make_gemm(struct work *work, const struct shape *s)
{
    struct kvs_gemm *op = &work->item.u.gemm;

    *op = (struct kvs_gemm){.y_elem = s->y,
                            .x_elem = s->x,
                            .w_elem = s->x,
                            .m = s->a,
                            .n = s->b,
                            .k = s->c,
                            .y_stride = s->b + s->gap,
                            .x_stride = s->c + s->gap,
                            .w_stride = s->c + s->gap};
    output(work, &op->y, s->y, s->a, s->b, op->y_stride);
    numbers(work, &op->x, s->x, s->a, s->c, op->x_stride, 1, false);
    numbers(work, &op->w, s->x, s->b, s->c, op->w_stride, 1, false);
    /* summing k products in f32: at most k eps sum |x w|; seen far below sqrt(k) 1e-6 */
    close_to(work, s->y, 4e-6 * (1 + sqrt(s->c)), 1e-6);
}

/* a rows, b heads of c; variant: bit 0 pairs, bit 1 negative positions */
static void make_rope(struct work *work, const struct shape *s)
{
    struct kvs_rope *op = &work->item.u.rope;
    uint32_t n = s->b * s->c;

    *op = (struct kvs_rope){.elem = s->y,
                            .pairs = s->variant & 1 ? KVS_ROPE_HALVES : KVS_ROPE_ADJACENT,
                            .n_row = s->a,
                            .n_head = s->b,
                            .head_dim = s->c,
                            .row_stride = n + s->gap};
    numbers(work, &op->x, s->y, s->a, n, op->row_stride, 1, true);
    int32_t *pos = ints(work, &op->pos, s->a);
    double *freq = operand(work, &op->freq, KVS_U8, s->c / 2 * sizeof *freq, false);
    for (size_t i = 0; pos && i < s->a; i++)
        pos[i] = (int32_t)kvs_rng_below(&work->rng, 130000) - (s->variant & 2 ? 65000 : 0);
    for (size_t i = 0; freq && i < s->c / 2; i++)
        freq[i] = pow(10000, -2. * (double)i / s->c);
    close_to(work, s->y, s->y == KVS_BF16 ? 1e-2 : 2e-6, 0);
}

/*
 * a queries over b tokens, c heads over d KV heads of e. variant: bit 0 paged; bits 1-2 positions:
 * 0 the queries are the last tokens, 1 any subset of all tokens, 2 positions with gaps and some
 * queries before every token.
 */
static void make_attn(struct work *work, const struct shape *s)
{
    struct kvs_attn *op = &work->item.u.attn;
    uint32_t page_tok = s->variant & 1 ? 16 : 0;
    uint32_t n_page = page_tok ? s->b / page_tok + 4 : 0;
    uint32_t n_slot = page_tok ? n_page * page_tok : s->b, n = s->c * s->e, n_kv = s->d * s->e;
    int32_t step = s->variant >> 1 == 2 ? 3 : 1, before = s->variant >> 1 == 2 ? 7 : 0;

    *op = (struct kvs_attn){.y_elem = s->y,
                            .q_elem = s->x,
                            .kv_elem = s->x,
                            .n_q = s->a,
                            .n_kv = s->b,
                            .n_head = s->c,
                            .n_kv_head = s->d,
                            .head_dim = s->e,
                            .y_stride = n + s->gap,
                            .q_stride = n + s->gap,
                            .kv_stride = n_kv + s->gap,
                            .page_tok = page_tok,
                            .n_page = n_page,
                            .scale = 2 / sqrtf((float)s->e)};
    output(work, &op->y, s->y, s->a, n, op->y_stride);
    numbers(work, &op->q, s->x, s->a, n, op->q_stride, 1, false);
    numbers(work, &op->k, s->x, n_slot, n_kv, op->kv_stride, 1, false);
    numbers(work, &op->v, s->x, n_slot, n_kv, op->kv_stride, 1, false);
    int32_t *q_pos = ints(work, &op->q_pos, s->a), *kv_pos = ints(work, &op->kv_pos, s->b);
    if (page_tok)
        permutation(work, ints(work, &op->page, (s->b + page_tok - 1) / page_tok),
                    (s->b + page_tok - 1) / page_tok, n_page);
    if (work->nomem)
        return;
    for (size_t j = 0; j < s->b; j++)
        kv_pos[j] = before + (int32_t)j * step;
    size_t left = s->a, seen = s->variant >> 1 ? (size_t)s->b * (size_t)step + 9 : s->b;
    for (size_t p = 0, i = 0; p < seen && left; p++)
        if (s->variant >> 1 == 0 ? p + left >= seen : kvs_rng_below(&work->rng, seen - p) < left) {
            q_pos[i++] = (int32_t)p;
            left--;
        }
    assert(left == 0);
    close_to(work, s->y, s->x == KVS_BF16 ? 1.2e-2 : 1e-5, 0);
    work->l2tol = s->x == KVS_BF16 ? 4e-3 : 2e-6;
}

/* a rows of b */
static void make_swiglu(struct work *work, const struct shape *s)
{
    struct kvs_swiglu *op = &work->item.u.swiglu;

    *op = (struct kvs_swiglu){.y_elem = s->y,
                              .x_elem = s->x,
                              .n_row = s->a,
                              .n = s->b,
                              .y_stride = s->b + s->gap,
                              .x_stride = 2 * s->b + s->gap};
    output(work, &op->y, s->y, s->a, s->b, op->y_stride);
    numbers(work, &op->gate, s->x, s->a, s->b, op->x_stride, s->variant ? 60 : 3, false);
    numbers(work, &op->up, s->x, s->a, s->b, op->x_stride, 1, false);
    close_to(work, s->y, 1e-6, 2e-6);
}

/* a numbers */
static void make_add(struct work *work, const struct shape *s)
{
    struct kvs_add *op = &work->item.u.add;

    *op = (struct kvs_add){.y_elem = s->x, .n = s->a};
    numbers(work, &op->x, KVS_F32, 1, s->a, s->a, 1, true);
    numbers(work, &op->y, s->x, 1, s->a, s->a, 1, false);
    close_to(work, KVS_F32, 0, 1e-7);
}

/* a rows of b, from a pool of c, into one of d; variant: bit 0 dst_i, bit 1 src_i */
static void make_rows(struct work *work, const struct shape *s)
{
    struct kvs_rows *op = &work->item.u.rows;

    *op = (struct kvs_rows){.dst_elem = s->y,
                            .src_elem = s->x,
                            .n_row = s->a,
                            .n_dst_row = s->d,
                            .n_src_row = s->c,
                            .n = s->b,
                            .dst_stride = s->b + s->gap,
                            .src_stride = s->b + 2 * s->gap};
    output(work, &op->dst, s->y, s->d, s->b, op->dst_stride);
    numbers(work, &op->src, s->x, s->c, s->b, op->src_stride, 1, false);
    if (s->variant & 1)
        permutation(work, ints(work, &op->dst_i, s->a), s->a, s->d);
    if (s->variant & 2) {
        int32_t *src_i = ints(work, &op->src_i, s->a);
        for (size_t i = 0; src_i && i < s->a; i++)
            src_i[i] = (int32_t)kvs_rng_below(&work->rng, s->c);
    }
}

static const struct shape shapes[] = {
#define F KVS_F32
#define H KVS_BF16
#define NORM(a, b, y)                                                                              \
    {                                                                                              \
        KVS_ITEM_rmsnorm, a, b, 0, 0, 0, 0, y, F, 0                                                \
    }
    NORM(0, 5, F),
    NORM(1, 1, F),
    NORM(1, 31, F),
    NORM(3, 32, H),
    NORM(2, 33, F),
    NORM(5, 576, H),
    NORM(2, 1027, F),
    NORM(3, 1027, H),
    NORM(7, 64, F),
#define GEMM(m, n, k, gap, y, x)                                                                   \
    {                                                                                              \
        KVS_ITEM_gemm, m, n, k, 0, 0, gap, y, x, 0                                                 \
    }
    GEMM(0, 5, 8, 0, F, F),
    GEMM(1, 1, 1, 0, F, F),
    GEMM(3, 5, 7, 1, F, F),
    GEMM(5, 6, 0, 0, F, F),
    GEMM(33, 31, 32, 3, F, F),
    GEMM(65, 130, 96, 0, F, F),
    GEMM(7, 64, 172, 0, F, F),
    GEMM(13, 70, 1100, 4, F, F),
    GEMM(1, 1, 1, 0, F, H),
    GEMM(3, 5, 7, 1, F, H),
    GEMM(5, 6, 0, 0, F, H),
    GEMM(33, 31, 32, 8, H, H),
    GEMM(64, 64, 64, 0, F, H),
    GEMM(65, 130, 96, 0, F, H),
    GEMM(65, 130, 200, 8, H, H),
    GEMM(1, 512, 64, 0, F, H),
    GEMM(7, 64, 172, 0, H, H),
    GEMM(0, 4, 8, 0, H, H),
    GEMM(67, 66, 100, 4, H, H),
#define ROPE(r, h, d, gap, v, y)                                                                   \
    {                                                                                              \
        KVS_ITEM_rope, r, h, d, 0, 0, gap, y, y, v                                                 \
    }
    ROPE(0, 2, 8, 0, 0, F),
    ROPE(1, 1, 2, 0, 0, F),
    ROPE(5, 3, 64, 5, 0, F),
    ROPE(5, 3, 64, 0, 1, F),
    ROPE(33, 2, 128, 0, 3, F),
    ROPE(7, 5, 64, 6, 2, H),
    ROPE(31, 1, 128, 0, 3, H),
    ROPE(9, 8, 8, 0, 0, H),
#define ATTN(q, kv, h, g, d, gap, v, y, x)                                                         \
    {                                                                                              \
        KVS_ITEM_attn, q, kv, h, g, d, gap, y, x, v                                                \
    }
    ATTN(0, 4, 2, 1, 8, 0, 0, F, F),
    ATTN(3, 0, 2, 1, 8, 0, 4, F, F),
    ATTN(1, 1, 1, 1, 8, 0, 0, F, F),
    ATTN(5, 70, 4, 2, 64, 4, 0, F, F),
    ATTN(70, 70, 3, 1, 48, 0, 0, F, F),
    ATTN(33, 200, 4, 2, 128, 0, 3, F, F),
    ATTN(65, 130, 2, 2, 64, 0, 5, F, F),
    ATTN(31, 200, 4, 4, 16, 0, 2, H, H),
    ATTN(0, 4, 2, 1, 8, 0, 0, H, H),
    ATTN(3, 0, 2, 1, 8, 0, 4, H, H),
    ATTN(1, 1, 1, 1, 8, 0, 0, H, H),
    ATTN(1, 65, 4, 2, 64, 0, 0, H, H),
    ATTN(64, 64, 2, 1, 64, 0, 0, H, H),
    ATTN(65, 200, 4, 2, 64, 8, 1, H, H),
    ATTN(70, 133, 2, 1, 128, 0, 3, H, H),
    ATTN(40, 129, 2, 2, 8, 0, 5, H, H),
    ATTN(130, 260, 2, 1, 64, 0, 2, H, H),
    ATTN(33, 300, 2, 1, 128, 8, 4, F, H),
#define GLU(r, n, gap, v, y, x)                                                                    \
    {                                                                                              \
        KVS_ITEM_swiglu, r, n, 0, 0, 0, gap, y, x, v                                               \
    }
    GLU(0, 3, 0, 0, F, F),
    GLU(1, 1, 0, 0, F, F),
    GLU(3, 31, 5, 0, F, F),
    GLU(2, 1027, 0, 1, F, F),
    GLU(3, 33, 1, 0, H, H),
    GLU(5, 172, 0, 0, H, H),
    GLU(2, 300, 0, 1, H, F),
#define ADD(n, x)                                                                                  \
    {                                                                                              \
        KVS_ITEM_add, n, 0, 0, 0, 0, 0, F, x, 0                                                    \
    }
    ADD(0, F),
    ADD(1, F),
    ADD(31, F),
    ADD(33, H),
    ADD(1027, F),
    ADD(5000, H),
#define ROWS(r, n, src, dst, gap, v, y, x)                                                         \
    {                                                                                              \
        KVS_ITEM_rows, r, n, src, dst, 0, gap, y, x, v                                             \
    }
    ROWS(0, 4, 3, 3, 0, 0, F, F),
    ROWS(1, 1, 1, 1, 0, 0, KVS_U8, KVS_U8),
    ROWS(31, 33, 40, 50, 1, 3, KVS_U8, KVS_U8),
    ROWS(7, 1027, 3, 9, 0, 3, KVS_U8, KVS_U8),
    ROWS(5, 4096, 9, 6, 0, 2, KVS_U8, KVS_U8),
    ROWS(9, 64, 9, 20, 16, 1, KVS_U8, KVS_U8),
    ROWS(12, 65, 30, 12, 3, 2, F, H),
    ROWS(12, 64, 12, 40, 0, 1, H, F),
    ROWS(5, 32, 8, 8, 0, 0, H, H),
    ROWS(4, 127, 9, 9, 1, 3, F, F),
#undef F
#undef H
};

unsigned kvs_opvec_n(void)
{
    return sizeof shapes / sizeof *shapes;
}

static const char *elem_name(enum kvs_elem elem)
{
    return elem == KVS_F32 ? "f32" : elem == KVS_BF16 ? "bf16" : "bytes";
}

const char *kvs_opvec_name(unsigned case_i, char buf[160])
{
    const struct shape *s = &shapes[case_i];
    static const char *const names[] = {"copy", "record", "wait", "call",
#define X(name) #name,
                                        KVS_OPS(X)
#undef X
    };

    snprintf(buf, 160, "%s %u, %u, %u, %u, %u, gap %u, variant %u, %s from %s", names[s->kind],
             s->a, s->b, s->c, s->d, s->e, s->gap, s->variant, elem_name(s->y), elem_name(s->x));
    return buf;
}

/* --- running --------------------------------------------------------------------------------- */

static enum kvs_code put_on(struct kvs_stream *stream, const struct kvs_item *item,
                            struct kvs_err *err)
{
    switch (item->kind) {
#define X(name)                                                                                    \
    case KVS_ITEM_##name:                                                                          \
        return kvs_stream_##name(stream, &item->u.name, err);
        KVS_OPS(X)
#undef X
    default:
        assert(0 && "an operator");
        return KVS_ERR_ARG;
    }
}

static bool guarded(const unsigned char *at)
{
    for (int i = 0; i < GUARD; i++)
        if (at[i] != GUARD_BYTE)
            return false;
    return true;
}

/* Bytes of poison before and behind an operand in its buffer. */
static size_t guard_bytes(const struct kvs_dev *dev, const struct operand *o)
{
    return dev->backend->checks && !o->output ? 0 : GUARD;
}

/* Binds the operands to buffers of dev, runs the operator, fills got[] with the outputs. */
static enum kvs_code run_on(struct work *work, struct kvs_dev *dev, void *got[MAX_OPERAND],
                            struct kvs_err *err)
{
    struct kvs_buf *buf[MAX_OPERAND] = {0};
    struct kvs_stream *stream = NULL;
    unsigned char guard[GUARD];
    enum kvs_code code = kvs_stream_new(dev, &stream, err);

    memset(guard, GUARD_BYTE, sizeof guard);
    for (unsigned i = 0; i < work->n_operand && !code; i++) {
        struct operand *o = &work->operand[i];
        const size_t n_guard = guard_bytes(dev, o);
        if ((code = kvs_buf_new(dev, KVS_MEM_DEVICE, o->n_byte + 2 * n_guard, &buf[i], err)) ||
            (code = kvs_buf_write(kvs_at(buf[i], 0), guard, n_guard, err)) ||
            (code = kvs_buf_write(kvs_at(buf[i], n_guard), o->data, o->n_byte, err)) ||
            (code = kvs_buf_write(kvs_at(buf[i], n_guard + o->n_byte), guard, n_guard, err)))
            break;
        *o->view = kvs_at(buf[i], n_guard);
    }
    if (!code && !(code = put_on(stream, &work->item, err)))
        code = kvs_stream_sync(stream, err);
    for (unsigned i = 0; i < work->n_operand && !code; i++) {
        const struct operand *o = &work->operand[i];
        const size_t n_guard = guard_bytes(dev, o);
        unsigned char *all = malloc(o->n_byte + 2 * n_guard + 1);
        if (!all) {
            code = kvs_nomem(err);
            break;
        }
        got[i] = all;
        code = kvs_buf_read(all, kvs_at(buf[i], 0), o->n_byte + 2 * n_guard, err);
        if (!code && n_guard && (!guarded(all) || !guarded(all + n_guard + o->n_byte)))
            code = kvs_fail(err, KVS_ERR_DEVICE, "operand %u: a write beyond its ends", i);
        if (!code && !o->output && memcmp(all + n_guard, o->data, o->n_byte) != 0)
            code = kvs_fail(err, KVS_ERR_DEVICE, "operand %u: an input was written", i);
    }
    kvs_stream_free(stream);
    for (unsigned i = 0; i < work->n_operand; i++)
        kvs_buf_free(buf[i]);
    return code;
}

static double value_at(const unsigned char *data, enum kvs_elem elem, size_t i)
{
    float f32;
    uint16_t bf16;

    if (elem == KVS_F32) {
        memcpy(&f32, data + 4 * i, sizeof f32);
        return (double)f32;
    }
    memcpy(&bf16, data + 2 * i, sizeof bf16);
    return (double)kvs_f32_of_bf16(bf16);
}

static enum kvs_code compare(const struct work *work, const struct operand *o,
                             const unsigned char *got, const unsigned char *want,
                             struct kvs_err *err)
{
    size_t size = kvs_elem_bytes(o->elem);
    double diff2 = 0, want2 = 0;

    for (size_t i = 0; i < o->n_byte / size; i++) {
        bool same = memcmp(got + i * size, want + i * size, size) == 0;
        if (o->elem == KVS_U8 && !same)
            return kvs_fail(err, KVS_ERR_DEVICE, "byte %zu is %u, want %u", i, got[i], want[i]);
        if (o->elem == KVS_U8)
            continue;
        double w = value_at(want, o->elem, i), g = value_at(got, o->elem, i);
        double tol = work->atol + work->rtol * fabs(w);
        if (!same && !(fabs(g - w) <= tol))
            return kvs_fail(err, KVS_ERR_DEVICE, "element %zu is %.9g, want %.9g +- %.3g", i, g, w,
                            tol);
        if (isnan(w))
            continue; /* a gap between rows, the same on both */
        diff2 += (g - w) * (g - w);
        want2 += w * w;
    }
    if (work->l2tol > 0 && !(sqrt(diff2) <= work->l2tol * sqrt(want2)))
        return kvs_fail(err, KVS_ERR_DEVICE, "relative L2 error %.3g, tolerance %.3g",
                        sqrt(diff2 / want2), work->l2tol);
    return KVS_OK;
}

enum kvs_code kvs_opvec_run(struct kvs_dev *dev, unsigned case_i, struct kvs_err *err)
{
    static void (*const makers[])(struct work *, const struct shape *) = {
#define X(name) [KVS_ITEM_##name] = make_##name,
        KVS_OPS(X)
#undef X
    };
    const struct shape *shape = &shapes[case_i];
    struct work *work = calloc(1, sizeof *work);
    void *got[MAX_OPERAND] = {0}, *want[MAX_OPERAND] = {0};
    struct kvs_dev *ref = NULL;
    enum kvs_code code;

    if (!work)
        return kvs_nomem(err);
    work->item.kind = shape->kind;
    work->rng = kvs_rng_stream(case_i, "operator vector");
    makers[shape->kind](work, shape);
    code = work->nomem ? kvs_nomem(err) : kvs_dev_open("ref", 0, case_i, &ref, err);
    if (!code && !(code = run_on(work, dev, got, err)))
        code = run_on(work, ref, want, err);
    for (unsigned i = 0; i < work->n_operand; i++) {
        if (!code && work->operand[i].output)
            code = compare(work, &work->operand[i], (unsigned char *)got[i] + GUARD,
                           (unsigned char *)want[i] + GUARD, err);
        free(got[i]);
        free(want[i]);
        free(work->operand[i].data);
    }
    kvs_dev_close(ref);
    free(work);
    return code;
}
