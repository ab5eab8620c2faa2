/*
 * simd.c - see simd.h. KVS_SIMD names the copy (base, avx2, avx512), KVS_SIMD_BYTES the width of
 * its vectors. All products go through one register-blocked kernel, `block`: c = a b with a's rows
 * broadcast and b's rows as vectors; GEMM packs w for it, attention packs K and V.
 */
#include "simd.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PASTE_(a, b) a##b
#define PASTE(a, b) PASTE_(a, b)

typedef float vec __attribute__((vector_size(KVS_SIMD_BYTES), aligned(4), may_alias));
typedef int32_t ivec __attribute__((vector_size(KVS_SIMD_BYTES), aligned(4), may_alias));

enum {
    LANES = KVS_SIMD_BYTES / 4,
    N_VEC = KVS_SIMD_BYTES == 64 ? 4 : 2, /* accumulators a row: 6 * N_VEC fill the registers */
    COLS = LANES * N_VEC,
    ROWS = 6,
    K_TILE = 512,  /* of a GEMM: a panel of w stays in the second-level cache */
    KV_TILE = 64,  /* of attention; a multiple of COLS */
    Q_CHUNK = 384, /* query rows that share a packed KV tile; a multiple of ROWS */
};

static inline vec splat(float value)
{
    return value - (vec){0};
}

static inline float load(const void *base, enum kvs_elem elem, size_t i)
{
    return elem == KVS_BF16 ? kvs_f32_of_bf16(((const uint16_t *)base)[i])
                            : ((const float *)base)[i];
}

static inline void store(void *base, enum kvs_elem elem, size_t i, float value)
{
    if (elem == KVS_BF16)
        ((uint16_t *)base)[i] = kvs_bf16_of(value);
    else
        ((float *)base)[i] = value;
}

/* n elements of a row, as f32 */
static void load_row(float *to, const void *base, enum kvs_elem elem, size_t at, size_t n)
{
    if (elem == KVS_F32)
        memcpy(to, (const float *)base + at, n * sizeof *to);
    else
        for (size_t i = 0; i < n; i++)
            to[i] = kvs_f32_of_bf16(((const uint16_t *)base)[at + i]);
}

static void store_row(void *base, enum kvs_elem elem, size_t at, const float *from, size_t n)
{
    if (elem == KVS_F32)
        memcpy((float *)base + at, from, n * sizeof *from);
    else
        for (size_t i = 0; i < n; i++)
            ((uint16_t *)base)[at + i] = kvs_bf16_of(from[i]);
}

/*
 * exp for x <= 88, relative error about 2e-7; below -87: 0. NaN stays NaN.
 * 2^n * e^r, |r| <= ln 2 / 2, Taylor to r^7; ln 2 in two parts (Cody, Waite).
 */
static inline vec exp_vec(vec x)
{
    const float round = 12582912.f; /* 1.5 * 2^23: adding it leaves an integer in the low bits */
    ivec small = x < splat(-87.f);
    vec shifted = x * splat(1.44269504f) + splat(round);
    ivec n = (ivec)shifted - (ivec)splat(round);
    vec whole = shifted - splat(round);
    vec r = x - whole * splat(0.693359375f) + whole * splat(2.12194440e-4f);
    vec p = splat(1.f / 5040) * r + splat(1.f / 720);
    p = p * r + splat(1.f / 120);
    p = p * r + splat(1.f / 24);
    p = p * r + splat(1.f / 6);
    p = p * r + splat(.5f);
    p = p * r + splat(1.f);
    p = p * r + splat(1.f);
    vec scaled = p * (vec)((n + 127) << 23);
    return (vec)((ivec)scaled & ~small);
}

/* --- the register block ---------------------------------------------------------------------- */

/* c[n_row][COLS] (+)= a[n_row][k] b[k][COLS]; n_row is a constant wherever this is inlined. */
static inline __attribute__((always_inline)) void block_of(size_t n_row, const float *a,
                                                           size_t a_stride, const float *b,
                                                           size_t b_stride, size_t k, float *c,
                                                           size_t c_stride, bool add)
{
    vec sum[ROWS][N_VEC];

    for (size_t r = 0; r < n_row; r++)
        for (int v = 0; v < N_VEC; v++)
            sum[r][v] = add ? *(const vec *)(c + r * c_stride + (size_t)v * LANES) : (vec){0};
    for (size_t i = 0; i < k; i++) {
        vec row[N_VEC];
        for (int v = 0; v < N_VEC; v++)
            row[v] = *(const vec *)(b + i * b_stride + (size_t)v * LANES);
        for (size_t r = 0; r < n_row; r++)
            for (int v = 0; v < N_VEC; v++)
                sum[r][v] += splat(a[r * a_stride + i]) * row[v];
    }
    for (size_t r = 0; r < n_row; r++)
        for (int v = 0; v < N_VEC; v++)
            *(vec *)(c + r * c_stride + (size_t)v * LANES) = sum[r][v];
}

static void block(size_t n_row, const float *a, size_t a_stride, const float *b, size_t b_stride,
                  size_t k, float *c, size_t c_stride, bool add)
{
    switch (n_row) {
#define CASE(n)                                                                                    \
    case n:                                                                                        \
        block_of(n, a, a_stride, b, b_stride, k, c, c_stride, add);                                \
        break;
        CASE(1)
        CASE(2)
        CASE(3)
        CASE(4)
        CASE(5)
        CASE(6)
#undef CASE
    }
}

/* --- operators ------------------------------------------------------------------------------- */

/* One panel of COLS output columns from column c on, k from at to at + n_k. */
static void gemm_panel(const struct kvs_gemm *op, const float *x, float *panel, float *sum,
                       size_t c, size_t at, size_t n_k)
{
    size_t n_col = op->n - c < COLS ? op->n - c : COLS;

    memset(panel, 0, n_k * COLS * sizeof *panel);
    for (size_t j = 0; j < n_col; j++)
        for (size_t i = 0; i < n_k; i++)
            panel[i * COLS + j] = load(kvs_ptr(op->w), op->w_elem, (c + j) * op->w_stride + at + i);
    for (size_t r = 0; r < op->m; r += ROWS) {
        size_t n_row = op->m - r < ROWS ? op->m - r : ROWS;
        block(n_row, x + r * op->k + at, op->k, panel, COLS, n_k, sum + r * COLS, COLS, at > 0);
    }
}

static enum kvs_code simd_gemm(void *ctx, const struct kvs_gemm *op, void *stream,
                               struct kvs_err *err)
{
    size_t m = op->m, k = op->k;
    float *x = malloc((m * k + K_TILE * COLS + m * COLS) * sizeof *x);

    (void)ctx, (void)stream;
    if (!x)
        return kvs_nomem(err);
    float *panel = x + m * k, *sum = panel + K_TILE * COLS;
    for (size_t r = 0; r < m; r++)
        load_row(x + r * k, kvs_ptr(op->x), op->x_elem, r * op->x_stride, k);
    for (size_t c = 0; c < op->n; c += COLS) {
        memset(sum, 0, m * COLS * sizeof *sum);
        for (size_t at = 0; at < k; at += K_TILE)
            gemm_panel(op, x, panel, sum, c, at, k - at < K_TILE ? k - at : K_TILE);
        for (size_t r = 0; r < m; r++)
            store_row(kvs_ptr(op->y), op->y_elem, r * op->y_stride + c, sum + r * COLS,
                      op->n - c < COLS ? op->n - c : COLS);
    }
    free(x);
    return KVS_OK;
}

static enum kvs_code simd_rmsnorm(void *ctx, const struct kvs_rmsnorm *op, void *stream,
                                  struct kvs_err *err)
{
    const float *w = kvs_ptr(op->w);

    (void)ctx, (void)stream, (void)err;
    for (size_t r = 0; r < op->n_row; r++) {
        const float *x = (const float *)kvs_ptr(op->x) + r * op->n;
        vec part = {0};
        float sum = 0;
        size_t i = 0;
        for (; i + LANES <= op->n; i += LANES)
            part += *(const vec *)(x + i) * *(const vec *)(x + i);
        for (int v = 0; v < LANES; v++)
            sum += part[v];
        for (; i < op->n; i++)
            sum += x[i] * x[i];
        float scale = 1 / sqrtf(sum / (float)op->n + op->eps);
        for (i = 0; i < op->n; i++)
            store(kvs_ptr(op->y), op->y_elem, r * op->n + i, w[i] * (x[i] * scale));
    }
    return KVS_OK;
}

static enum kvs_code simd_rope(void *ctx, const struct kvs_rope *op, void *stream,
                               struct kvs_err *err)
{
    const int32_t *pos = kvs_ptr(op->pos);
    const double *freq = kvs_ptr(op->freq);
    void *x = kvs_ptr(op->x);
    size_t half = op->head_dim / 2;
    float *turn = malloc((2 * half + 1) * sizeof *turn);

    (void)ctx, (void)stream;
    if (!turn)
        return kvs_nomem(err);
    for (size_t r = 0; r < op->n_row; r++) {
        for (size_t i = 0; i < half; i++) {
            double angle = pos[r] * freq[i];
            turn[i] = (float)cos(angle);
            turn[half + i] = (float)sin(angle);
        }
        for (size_t h = 0; h < op->n_head; h++)
            for (size_t i = 0; i < half; i++) {
                size_t at = r * op->row_stride + h * op->head_dim;
                size_t a = at + (op->pairs == KVS_ROPE_HALVES ? i : 2 * i);
                size_t b = op->pairs == KVS_ROPE_HALVES ? a + half : a + 1;
                float xa = load(x, op->elem, a), xb = load(x, op->elem, b);
                store(x, op->elem, a, xa * turn[i] - xb * turn[half + i]);
                store(x, op->elem, b, xa * turn[half + i] + xb * turn[i]);
            }
    }
    free(turn);
    return KVS_OK;
}

/* What one KV head's attention works with. Query rows are (query, head of the group) pairs. */
struct attn_work {
    const struct kvs_attn *op;
    size_t g, group, dim, wide; /* KV head; query heads it serves; head_dim, rounded up to COLS */
    float *q;                   /* [Q_CHUNK][dim], scaled */
    float *sum;                 /* [Q_CHUNK][wide] */
    float *k, *v;               /* [dim][KV_TILE], [KV_TILE][wide] */
    float max[Q_CHUNK], total[Q_CHUNK];
};

static void pack_tile(struct attn_work *work, size_t at, size_t n_kv)
{
    const struct kvs_attn *op = work->op;
    const int32_t *page = kvs_ptr(op->page);
    float *row = work->v + (size_t)KV_TILE * work->wide; /* one row of room behind v */

    memset(work->v, 0, KV_TILE * work->wide * sizeof *work->v);
    memset(work->k, 0, work->dim * KV_TILE * sizeof *work->k);
    for (size_t j = 0; j < n_kv; j++) {
        size_t slot = at + j;
        if (page)
            slot = (size_t)page[slot / op->page_tok] * op->page_tok + slot % op->page_tok;
        size_t from = slot * op->kv_stride + work->g * work->dim;
        load_row(row, kvs_ptr(op->k), op->kv_elem, from, work->dim);
        for (size_t i = 0; i < work->dim; i++)
            work->k[i * KV_TILE + j] = row[i];
        load_row(work->v + j * work->wide, kvs_ptr(op->v), op->kv_elem, from, work->dim);
    }
}

/* Scores of one row to weights: masks, moves the running maximum, rescales the sum so far. */
static void soften(struct attn_work *work, size_t row, float *score, size_t n_kv,
                   const int32_t *kv_pos, int32_t q_pos)
{
    float max = work->max[row], total = 0;

    for (size_t j = 0; j < n_kv; j++)
        if (kv_pos[j] > q_pos)
            score[j] = -INFINITY;
    for (size_t j = n_kv; j < KV_TILE; j++)
        score[j] = -INFINITY;
    vec most = *(const vec *)score;
    for (size_t j = LANES; j < KV_TILE; j += LANES) {
        vec next = *(const vec *)(score + j);
        ivec larger = next > most;
        most = (vec)(((ivec)next & larger) | ((ivec)most & ~larger));
    }
    for (int v = 0; v < LANES; v++)
        max = most[v] > max ? most[v] : max;
    if (max == -INFINITY) {
        memset(score, 0, KV_TILE * sizeof *score);
        return;
    }
    vec part = {0};
    for (size_t j = 0; j < KV_TILE; j += LANES) {
        vec weight = exp_vec(*(const vec *)(score + j) - splat(max));
        *(vec *)(score + j) = weight;
        part += weight;
    }
    for (int v = 0; v < LANES; v++)
        total += part[v];
    if (max > work->max[row]) {
        float shrink = work->max[row] == -INFINITY ? 0 : expf(work->max[row] - max);
        for (size_t i = 0; i < work->wide; i += LANES)
            *(vec *)(work->sum + row * work->wide + i) *= splat(shrink);
        work->total[row] *= shrink;
        work->max[row] = max;
    }
    work->total[row] += total;
}

static void attend_tile(struct attn_work *work, size_t first, size_t n_row, size_t at, size_t n_kv)
{
    const int32_t *q_pos = kvs_ptr(work->op->q_pos);
    const int32_t *kv_pos = (const int32_t *)kvs_ptr(work->op->kv_pos) + at;
    float score[ROWS * KV_TILE];

    for (size_t r = 0; r < n_row; r += ROWS) {
        size_t n = n_row - r < ROWS ? n_row - r : ROWS;
        if (kv_pos[0] > q_pos[(first + r + n - 1) / work->group])
            continue; /* all of the tile lies after the last of these queries */
        for (size_t c = 0; c < KV_TILE; c += COLS)
            block(n, work->q + r * work->dim, work->dim, work->k + c, KV_TILE, work->dim, score + c,
                  KV_TILE, false);
        for (size_t i = 0; i < n; i++)
            soften(work, r + i, score + i * KV_TILE, n_kv, kv_pos,
                   q_pos[(first + r + i) / work->group]);
        for (size_t c = 0; c < work->wide; c += COLS)
            block(n, score, KV_TILE, work->v + c, work->wide, KV_TILE,
                  work->sum + r * work->wide + c, work->wide, true);
    }
}

static void attend_chunk(struct attn_work *work, size_t first, size_t n_row)
{
    const struct kvs_attn *op = work->op;
    const int32_t *q_pos = kvs_ptr(op->q_pos), *kv_pos = kvs_ptr(op->kv_pos);
    int32_t last = q_pos[(first + n_row - 1) / work->group];

    for (size_t r = 0; r < n_row; r++) {
        size_t i = (first + r) / work->group, h = work->g * work->group + (first + r) % work->group;
        float *q = work->q + r * work->dim;
        load_row(q, kvs_ptr(op->q), op->q_elem, i * op->q_stride + h * work->dim, work->dim);
        for (size_t c = 0; c < work->dim; c++)
            q[c] *= op->scale;
        work->max[r] = -INFINITY;
        work->total[r] = 0;
    }
    memset(work->sum, 0, n_row * work->wide * sizeof *work->sum);
    for (size_t at = 0; at < op->n_kv && kv_pos[at] <= last; at += KV_TILE) {
        size_t n_kv = op->n_kv - at < KV_TILE ? op->n_kv - at : KV_TILE;
        pack_tile(work, at, n_kv);
        attend_tile(work, first, n_row, at, n_kv);
    }
    for (size_t r = 0; r < n_row; r++) {
        size_t i = (first + r) / work->group, h = work->g * work->group + (first + r) % work->group;
        float *sum = work->sum + r * work->wide;
        float scale = work->total[r] == 0 ? 0 : 1 / work->total[r]; /* NaN goes through */
        for (size_t c = 0; c < work->dim; c++)
            sum[c] *= scale;
        store_row(kvs_ptr(op->y), op->y_elem, i * op->y_stride + h * work->dim, sum, work->dim);
    }
}

static enum kvs_code simd_attn(void *ctx, const struct kvs_attn *op, void *stream,
                               struct kvs_err *err)
{
    size_t dim = op->head_dim, wide = (dim + COLS - 1) / COLS * COLS;
    size_t group = op->n_head / op->n_kv_head, n_row = op->n_q * group;
    struct attn_work *work = malloc(sizeof *work);
    float *room = malloc((Q_CHUNK * (dim + wide) + KV_TILE * (dim + wide) + wide) * sizeof *room);

    (void)ctx, (void)stream;
    if (!work || !room) {
        free(work);
        free(room);
        return kvs_nomem(err);
    }
    *work = (struct attn_work){.op = op, .group = group, .dim = dim, .wide = wide};
    work->q = room;
    work->sum = work->q + Q_CHUNK * dim;
    work->k = work->sum + Q_CHUNK * wide;
    work->v = work->k + KV_TILE * dim;
    for (work->g = 0; work->g < op->n_kv_head; work->g++)
        for (size_t first = 0; first < n_row; first += Q_CHUNK)
            attend_chunk(work, first, n_row - first < Q_CHUNK ? n_row - first : Q_CHUNK);
    free(room);
    free(work);
    return KVS_OK;
}

static enum kvs_code simd_swiglu(void *ctx, const struct kvs_swiglu *op, void *stream,
                                 struct kvs_err *err)
{
    float gate[256] = {0}, up[256] = {0};

    (void)ctx, (void)stream, (void)err;
    for (size_t r = 0; r < op->n_row; r++)
        for (size_t at = 0; at < op->n; at += 256) {
            size_t n = op->n - at < 256 ? op->n - at : 256;
            load_row(gate, kvs_ptr(op->gate), op->x_elem, r * op->x_stride + at, n);
            load_row(up, kvs_ptr(op->up), op->x_elem, r * op->x_stride + at, n);
            for (size_t i = 0; i < 256; i += LANES) {
                vec g = *(const vec *)(gate + i);
                ivec low = g < splat(-88.f); /* exp(88) is finite, and the result then about 0 */
                vec e = exp_vec(-(vec)(((ivec)g & ~low) | ((ivec)splat(-88.f) & low)));
                *(vec *)(gate + i) = g / (splat(1.f) + e) * *(const vec *)(up + i);
            }
            store_row(kvs_ptr(op->y), op->y_elem, r * op->y_stride + at, gate, n);
        }
    return KVS_OK;
}

static enum kvs_code simd_add(void *ctx, const struct kvs_add *op, void *stream,
                              struct kvs_err *err)
{
    float *x = kvs_ptr(op->x);

    (void)ctx, (void)stream, (void)err;
    for (size_t i = 0; i < op->n; i++)
        x[i] += load(kvs_ptr(op->y), op->y_elem, i);
    return KVS_OK;
}

static enum kvs_code simd_rows(void *ctx, const struct kvs_rows *op, void *stream,
                               struct kvs_err *err)
{
    const int32_t *dst_i = kvs_ptr(op->dst_i), *src_i = kvs_ptr(op->src_i);
    size_t size = kvs_elem_bytes(op->dst_elem);

    (void)ctx, (void)stream, (void)err;
    for (size_t r = 0; r < op->n_row; r++) {
        size_t to = (dst_i ? (size_t)dst_i[r] : r) * op->dst_stride;
        size_t from = (src_i ? (size_t)src_i[r] : r) * op->src_stride;
        if (op->dst_elem == op->src_elem)
            memcpy((char *)kvs_ptr(op->dst) + to * size, (char *)kvs_ptr(op->src) + from * size,
                   op->n * size);
        else
            for (size_t i = 0; i < op->n; i++)
                store(kvs_ptr(op->dst), op->dst_elem, to + i,
                      load(kvs_ptr(op->src), op->src_elem, from + i));
    }
    return KVS_OK;
}

const struct kvs_kernels PASTE(kvs_simd_, KVS_SIMD) = {
#define X(name) .name = simd_##name,
    KVS_OPS(X)
#undef X
};
