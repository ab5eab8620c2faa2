/*
 * attn.cu - causal attention over KV at any sorted positions, on bf16 tensor cores.
 *
 * FlashAttention-2's order (Dao 2023): a block of four warps holds 64 queries of one head, walks
 * over the KV in tiles of 64 with running maximum and sum, double buffered by cp.async. Only tiles
 * that some query sees are visited; a tile that all of them see whole needs no mask. DIM is
 * head_dim rounded up to what is compiled, the rest is zero. q, k, v: bf16; P is rounded to bf16
 * before it meets V, which sets the tolerance. Rows in shared memory are 8 elements longer than
 * DIM: the eight rows of an ldmatrix lie in different banks.
 */
#include "kernels/dialect.h"

enum { TILE = 64, BLOCK = 128 };

#define LOG2E 1.4426950408889634f

struct attn_at { /* the operands' addresses */
    void *y;
    const uint16_t *q, *k, *v;
    const int32_t *q_pos, *kv_pos, *page;
};

/* 64 rows of one head, zeros beyond n_row and beyond head_dim. slot: rows lie where the pages say.
 */
template <unsigned DIM>
KVS_FN void load_tile(uint16_t *tile, const uint16_t *from, const struct kvs_attn &op,
                      unsigned stride, unsigned head, unsigned row0, unsigned n_row,
                      const int32_t *page)
{
    for (unsigned c = kvs_tid(); c < TILE * (DIM / 8); c += BLOCK) {
        unsigned row = c / (DIM / 8), col = c % (DIM / 8) * 8;
        size_t at = row0 + row;
        bool inside = at < n_row + (size_t)(KVS_MUT(64) && !page) || (KVS_MUT(71) && !page) ||
                      (KVS_MUT(72) && page);
        inside = inside && (col < op.head_dim || KVS_MUT(65));
        if (inside && page && !KVS_MUT(57))
            at = (size_t)kvs_ld(page + at / op.page_tok) * op.page_tok + at % op.page_tok;
        kvs_cp_async16(tile + row * (DIM + 8) + col,
                       inside ? from + at * stride + (size_t)head * op.head_dim + col : from,
                       inside ? 16 : 0);
    }
}

/* KV rows at or before a position: they are the first ones. */
KVS_FN unsigned n_seen(const int32_t *kv_pos, unsigned n_kv, int32_t pos)
{
    unsigned low = 0, high = n_kv;
    while (low < high) {
        unsigned mid = low + (high - low) / 2;
        int32_t at = kvs_ld(kv_pos + mid);
        if (KVS_MUT(66) ? at < pos : at <= pos)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* s[8][4]: scores of a warp's 16 queries with 64 keys. */
template <unsigned DIM> KVS_FN void score(float s[8][4], const uint16_t *q, const uint16_t *k)
{
    unsigned lane = kvs_tid() % 32, warp = kvs_tid() / 32;

#pragma unroll
    for (unsigned i = 0; i < 8; i++)
        s[i][0] = s[i][1] = s[i][2] = s[i][3] = 0;
#pragma unroll
    for (unsigned c = 0; c < DIM; c += 16) {
        uint32_t a[4], b[4];
        kvs_ldmatrix_x4(a, q + (warp * 16 + lane % 16) * (DIM + 8) + c + lane / 16 * 8);
#pragma unroll
        for (unsigned i = 0; i < 4; i++) {
            kvs_ldmatrix_x4(b, k + (16 * i + lane / 16 * 8 + lane % 8) * (DIM + 8) + c +
                                   lane / 8 % 2 * 8);
            kvs_mma_16816_bf16(s[2 * i], a, b);
            kvs_mma_16816_bf16(s[2 * i + 1], a, b + 2);
        }
    }
}

/* sum += P V: the scores' registers are P's fragments as they lie. */
template <unsigned DIM>
KVS_FN void weigh(float sum[DIM / 8][4], const float p[8][4], const uint16_t *v)
{
    unsigned lane = kvs_tid() % 32;

#pragma unroll
    for (unsigned i = 0; i < 4; i++) {
        uint32_t a[4] = {kvs_pack_bf16(p[2 * i][0], p[2 * i][1]),
                         kvs_pack_bf16(p[2 * i][2], p[2 * i][3]),
                         kvs_pack_bf16(p[2 * i + 1][0], p[2 * i + 1][1]),
                         kvs_pack_bf16(p[2 * i + 1][2], p[2 * i + 1][3])};
#pragma unroll
        for (unsigned c = 0; c < DIM; c += 16) {
            uint32_t b[4];
            kvs_ldmatrix_x4_trans(b, v + (16 * i + lane % 16) * (DIM + 8) + c + lane / 16 * 8);
            kvs_mma_16816_bf16(sum[c / 8], a, b);
            kvs_mma_16816_bf16(sum[c / 8 + 1], a, b + 2);
        }
    }
}

template <unsigned DIM> KVS_KERNEL attn_kernel(struct kvs_attn op, struct attn_at at)
{
    const unsigned tile_elems = TILE * (DIM + 8);
    uint16_t *q = (uint16_t *)kvs_shared_mem(), *kv = q + tile_elems; /* kv: 2 stages of K and V */
    unsigned q0 = kvs_bid_x() * TILE, head = kvs_bid_y(), group = op.n_head / op.n_kv_head;
    unsigned lane = kvs_tid() % 32, warp = kvs_tid() / 32;
    unsigned last = q0 + TILE < op.n_q || KVS_MUT(68) ? q0 + TILE - 1 : op.n_q - 1;
    unsigned n_kv = n_seen(at.kv_pos, op.n_kv, kvs_ld(at.q_pos + last));
    unsigned n_tile = (n_kv + TILE - 1) / TILE;
    unsigned row[2] = {q0 + warp * 16 + lane / 4, q0 + warp * 16 + lane / 4 + 8};
    int32_t pos[2] = {kvs_ld(at.q_pos + (row[0] < op.n_q || KVS_MUT(73) ? row[0] : last)),
                      kvs_ld(at.q_pos + (row[1] < op.n_q || KVS_MUT(74) ? row[1] : last))};
    float sum[DIM / 8][4] = {}, max[2] = {-INFINITY, -INFINITY}, total[2] = {0, 0};

    load_tile<DIM>(q, at.q, op, op.q_stride, head, q0, op.n_q, NULL);
    load_tile<DIM>(kv, at.k, op, op.kv_stride, head / group, 0, n_kv, at.page);
    load_tile<DIM>(kv + tile_elems, at.v, op, op.kv_stride, head / group, 0, n_kv, at.page);
    kvs_cp_commit();
    for (unsigned t = 0; t < n_tile; t++) {
        uint16_t *now = kv + t % 2 * 2 * tile_elems, *next = kv + (t + 1) % 2 * 2 * tile_elems;
        unsigned kv0 = t * TILE;
        float s[8][4];
        if (t + 1 < n_tile) {
            load_tile<DIM>(next, at.k, op, op.kv_stride, head / group, kv0 + TILE, n_kv, at.page);
            load_tile<DIM>(next + tile_elems, at.v, op, op.kv_stride, head / group, kv0 + TILE,
                           n_kv, at.page);
        }
        kvs_cp_commit();
        if (!KVS_MUT(50))
            kvs_cp_wait<1>();
        if (!KVS_MUT(51))
            kvs_barrier(); /* the stage is there, for all */
        score<DIM>(s, q, now);
        if ((kv0 + TILE > n_kv && !KVS_MUT(67)) ||
            kvs_ld(at.kv_pos + kv0 + TILE - 1) > kvs_ld(at.q_pos + (KVS_MUT(55) ? last : q0))) {
#pragma unroll
            for (unsigned i = 0; i < 8; i++)
#pragma unroll
                for (unsigned e = 0; e < 4; e++) {
                    unsigned j = kv0 + 8 * i + lane % 4 * 2 + e % 2;
                    bool seen = (j < n_kv || KVS_MUT(75)) &&
                                kvs_ld(at.kv_pos + j) <= pos[e / 2] + (int32_t)KVS_MUT(54);
                    s[i][e] = seen || (KVS_MUT(58) && j >= n_kv) ? s[i][e] : -INFINITY;
                }
        }
#pragma unroll
        for (unsigned r = 0; r < 2; r++) {
            float most = max[r];
#pragma unroll
            for (unsigned i = 0; i < 8; i++)
                most = fmaxf(most, fmaxf(s[i][2 * r], s[i][2 * r + 1]) * (op.scale * LOG2E));
            if (!KVS_MUT(62))
                most = fmaxf(most, kvs_shfl_xor(most, 1));
            if (!KVS_MUT(53))
                most = fmaxf(most, kvs_shfl_xor(most, 2));
            float base = most == -INFINITY && !KVS_MUT(70)
                             ? 0
                             : most; /* nothing seen yet: weights are exp(-inf) */
            float shrink = KVS_MUT(59) ? 1 : exp2f(max[r] - base);
            max[r] = most;
            total[r] *= shrink;
#pragma unroll
            for (unsigned i = 0; i < 8; i++)
#pragma unroll
                for (unsigned e = 2 * r; e < 2 * r + 2; e++) {
                    s[i][e] = exp2f(s[i][e] * (op.scale * LOG2E) - base);
                    total[r] += s[i][e];
                }
#pragma unroll
            for (unsigned i = 0; i < DIM / 8; i++) {
                sum[i][2 * r] *= shrink;
                sum[i][2 * r + 1] *= shrink;
            }
        }
        weigh<DIM>(sum, s, now + tile_elems);
        if (!KVS_MUT(52))
            kvs_barrier(); /* all are done with the stage: it may be overwritten */
    }
#pragma unroll
    for (unsigned r = 0; r < 2; r++) {
        if (!KVS_MUT(63))
            total[r] += kvs_shfl_xor(total[r], 1);
        if (!KVS_MUT(60))
            total[r] += kvs_shfl_xor(total[r], 2);
        float scale = total[r] == 0 && !KVS_MUT(69) ? 0 : 1 / total[r];
#pragma unroll
        for (unsigned i = 0; i < DIM / 8; i++)
#pragma unroll
            for (unsigned e = 0; e < 2; e++) {
                unsigned col = 8 * i + lane % 4 * 2 + e;
                if (row[r] < op.n_q + (unsigned)KVS_MUT(56) &&
                    col < op.head_dim + (unsigned)KVS_MUT(61))
                    kvs_store(at.y, op.y_elem,
                              (size_t)row[r] * op.y_stride + (size_t)head * op.head_dim + col,
                              sum[i][2 * r + e] * scale);
            }
    }
}

template <unsigned DIM>
static enum kvs_code launch(void *ctx, const struct kvs_attn *op, void *stream, struct kvs_err *err)
{
    (void)ctx, (void)stream;
    size_t shared_bytes = 5 * TILE * (DIM + 8) * sizeof(uint16_t);
    struct attn_at at;

    at.y = kvs_ptr(op->y);
    at.q = (const uint16_t *)kvs_ptr(op->q);
    at.k = (const uint16_t *)kvs_ptr(op->k);
    at.v = (const uint16_t *)kvs_ptr(op->v);
    at.q_pos = (const int32_t *)kvs_ptr(op->q_pos);
    at.kv_pos = (const int32_t *)kvs_ptr(op->kv_pos);
    at.page = (const int32_t *)kvs_ptr(op->page);
    enum kvs_code code = KVS_ALLOW_SHARED(attn_kernel<DIM>, shared_bytes);
    if (code)
        return code;
    return KVS_LAUNCH(attn_kernel<DIM>, (op->n_q + TILE - 1) / TILE, op->n_head, BLOCK,
                      shared_bytes, *op, at);
}

extern "C" enum kvs_code KVS_SIDE(attn)(void *ctx, const struct kvs_attn *op, void *stream,
                                        struct kvs_err *err)
{
    if (op->q_elem != KVS_BF16 || op->kv_elem != KVS_BF16)
        return kvs_fail(err, KVS_ERR_ABSENT, "attn: the CUDA kernel takes q, k and v as bf16");
    if (op->head_dim % 8 || op->head_dim > 128 || op->q_stride % 8 || op->kv_stride % 8 ||
        (uintptr_t)kvs_ptr(op->q) % 16 || (uintptr_t)kvs_ptr(op->k) % 16 ||
        (uintptr_t)kvs_ptr(op->v) % 16)
        return kvs_fail(err, KVS_ERR_ABSENT,
                        "attn: the CUDA kernel takes head_dim up to 128, and head_dim, strides and "
                        "addresses in steps of 8 elements");
    if (op->n_q == 0 || op->n_head == 0 || op->head_dim == 0)
        return KVS_OK;
    if (op->head_dim <= 16)
        return launch<16>(ctx, op, stream, err);
    if (op->head_dim <= 64)
        return launch<64>(ctx, op, stream, err);
    return launch<128>(ctx, op, stream, err);
}
