/*
 * gemm.cu - y = x w^T on bf16 tensor cores: right for every shape, the fallback beside cuBLASLt.
 *
 * A block of four warps makes a 64 x 64 tile of y, 32 elements of k at a time, double buffered:
 * while one stage is multiplied, cp.async brings the next. Rows in shared memory are 40 elements
 * apart, so that the eight rows of an ldmatrix lie in different banks. x, w: bf16.
 */
#include "kernels/dialect.h"

enum { TILE = 64, STEP = 32, PITCH = STEP + 8, BLOCK = 128, STAGE = 2 * TILE * PITCH };

/* One operand's 64 rows of STEP elements from column k0 on; zeros beyond its ends. */
template <bool aligned>
KVS_FN void load_tile(uint16_t *tile, const uint16_t *from, unsigned stride, unsigned row0,
                      unsigned n_row, unsigned k0, unsigned k)
{
    if (aligned) {
        for (unsigned c = kvs_tid(); c < TILE * (STEP / 8); c += BLOCK) {
            unsigned row = c / (STEP / 8), col = c % (STEP / 8) * 8;
            unsigned left = k0 + col < k ? k - k0 - col : 0;
            bool inside = row0 + row < n_row || KVS_MUT(39);
            unsigned n_byte = inside ? (left < 8 && !KVS_MUT(33) ? left : 8) * 2 : 0;
            if (KVS_MUT(33) && left == 0)
                n_byte = 0;
            kvs_cp_async16(tile + row * PITCH + col,
                           n_byte ? from + (size_t)(row0 + row) * stride + k0 + col : from, n_byte);
        }
    } else {
        for (unsigned c = kvs_tid(); c < TILE * STEP; c += BLOCK) {
            unsigned row = c / STEP, col = c % STEP;
            bool inside = (row0 + row < n_row || KVS_MUT(40)) && (k0 + col < k || KVS_MUT(38));
            tile[row * PITCH + col] =
                inside ? kvs_ld(from + (size_t)(row0 + row) * stride + k0 + col) : 0;
        }
    }
}

/* A warp's 32 x 32 part: 2 x 4 tensor-core tiles. n_row: rows of the block's tile that are of x;
 * the rest is left alone, so that a few tokens cost a few tokens. */
KVS_FN void multiply(float sum[2][4][4], const uint16_t *x, const uint16_t *w, unsigned n_row)
{
    unsigned lane = kvs_tid() % 32, warp = kvs_tid() / 32;
    unsigned row = warp / 2 * 32, col = warp % 2 * 32;

    if (row + (KVS_MUT(36) ? 16 : 0) >= n_row)
        return;
#pragma unroll
    for (unsigned k = 0; k < STEP; k += 16) {
        uint32_t a[2][4], b[2][4];
#pragma unroll
        for (unsigned i = 0; i < 2; i++) {
            kvs_ldmatrix_x4(a[i], x + (row + 16 * i + lane % 16) * PITCH + k + lane / 16 * 8);
            kvs_ldmatrix_x4(b[i], w + (col + 16 * i + lane / 16 * 8 + lane % 8) * PITCH + k +
                                      lane / 8 % 2 * 8);
        }
#pragma unroll
        for (unsigned i = 0; i < 2; i++)
            if (row + 16 * i + (KVS_MUT(37) ? 15 : 0) < n_row)
#pragma unroll
                for (unsigned j = 0; j < 4; j++)
                    kvs_mma_16816_bf16(sum[i][j], a[i], b[j / 2] + j % 2 * 2);
    }
}

template <bool aligned>
KVS_KERNEL gemm_kernel(struct kvs_gemm op, void *y, const uint16_t *x, const uint16_t *w)
{
    uint16_t *stage = (uint16_t *)kvs_shared_mem();
    unsigned row0 = kvs_bid_y() * TILE, col0 = kvs_bid_x() * TILE;
    unsigned n_step = (op.k + STEP - 1) / STEP;
    float sum[2][4][4] = {};

    load_tile<aligned>(stage, x, op.x_stride, row0, op.m, 0, op.k);
    load_tile<aligned>(stage + TILE * PITCH, w, op.w_stride, col0, op.n, 0, op.k);
    kvs_cp_commit();
    for (unsigned i = 0; i < n_step; i++) {
        uint16_t *now = stage + i % 2 * STAGE, *next = stage + (i + 1) % 2 * STAGE;
        if (i + 1 < n_step) {
            load_tile<aligned>(next, x, op.x_stride, row0, op.m, (i + 1) * STEP, op.k);
            load_tile<aligned>(next + TILE * PITCH, w, op.w_stride, col0, op.n, (i + 1) * STEP,
                               op.k);
        }
        kvs_cp_commit();
        if (!KVS_MUT(30))
            kvs_cp_wait<1>();
        if (!KVS_MUT(31))
            kvs_barrier(); /* the stage is there, for all */
        multiply(sum, now, now + TILE * PITCH, op.m - row0);
        if (!KVS_MUT(32))
            kvs_barrier(); /* all are done with it: it may be overwritten */
    }
    unsigned lane = kvs_tid() % 32, warp = kvs_tid() / 32;
#pragma unroll
    for (unsigned i = 0; i < 2; i++)
#pragma unroll
        for (unsigned j = 0; j < 4; j++)
#pragma unroll
            for (unsigned e = 0; e < 4; e++) {
                unsigned row = row0 + warp / 2 * 32 + 16 * i + lane / 4 + e / 2 * 8;
                unsigned col = col0 + warp % 2 * 32 + 8 * j + lane % 4 * 2 + e % 2;
                if (row < op.m + (unsigned)KVS_MUT(34) && col < op.n + (unsigned)KVS_MUT(35))
                    kvs_store(y, op.y_elem, (size_t)row * op.y_stride + col, sum[i][j][e]);
            }
}

extern "C" enum kvs_code KVS_SIDE(gemm)(void *ctx, const struct kvs_gemm *op, void *stream,
                                        struct kvs_err *err)
{
    (void)ctx, (void)stream;
    const uint16_t *x = (const uint16_t *)kvs_ptr(op->x), *w = (const uint16_t *)kvs_ptr(op->w);
    unsigned grid_x = (op->n + TILE - 1) / TILE, grid_y = (op->m + TILE - 1) / TILE;
    bool aligned = (uintptr_t)x % 16 == 0 && (uintptr_t)w % 16 == 0 && op->x_stride % 8 == 0 &&
                   op->w_stride % 8 == 0;

    if (op->x_elem != KVS_BF16 || op->w_elem != KVS_BF16)
        return kvs_fail(err, KVS_ERR_ABSENT, "gemm: the CUDA kernel takes x and w as bf16");
    if (grid_y > 65535)
        return kvs_fail(err, KVS_ERR_RANGE, "gemm: %u rows, at most %u", op->m, 65535u * TILE);
    if (op->m == 0 || op->n == 0)
        return KVS_OK;
    if (aligned)
        return KVS_LAUNCH(gemm_kernel<true>, grid_x, grid_y, BLOCK, 2 * STAGE * sizeof(uint16_t),
                          *op, kvs_ptr(op->y), x, w);
    return KVS_LAUNCH(gemm_kernel<false>, grid_x, grid_y, BLOCK, 2 * STAGE * sizeof(uint16_t), *op,
                      kvs_ptr(op->y), x, w);
}
