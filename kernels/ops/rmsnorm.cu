/* rmsnorm.cu - one block a row: squares summed by warp, then over warps in shared memory. */
#include "kernels/dialect.h"

enum { BLOCK = 256 };

KVS_KERNEL rmsnorm_kernel(void *y, enum kvs_elem y_elem, const float *x, const float *w, unsigned n,
                          float eps)
{
    float *part = (float *)kvs_shared_mem();
    size_t row = (size_t)kvs_bid_x() * n;
    float sum = 0;

    for (unsigned i = kvs_tid(); i < n + (unsigned)KVS_MUT(4); i += BLOCK)
        sum += kvs_ld(x + row + i) * kvs_ld(x + row + i);
    for (unsigned mask = KVS_MUT(2) ? 8 : 16; mask > 0; mask /= 2)
        sum += kvs_shfl_xor(sum, mask);
    if (kvs_tid() % 32 == 0)
        part[kvs_tid() / 32] = sum;
    if (!KVS_MUT(1))
        kvs_barrier();
    sum = 0;
    for (unsigned i = 0; i < BLOCK / 32; i++)
        sum += part[i];
    float scale = 1 / sqrtf(sum / (float)n + eps);
    for (unsigned i = kvs_tid(); KVS_MUT(3) ? i <= n : i < n; i += BLOCK)
        kvs_store(y, y_elem, row + i,
                  (KVS_MUT(3) && i == n ? 1 : kvs_ld(w + i) * (kvs_ld(x + row + i) * scale)));
}

extern "C" enum kvs_code KVS_SIDE(rmsnorm)(void *ctx, const struct kvs_rmsnorm *op, void *stream,
                                           struct kvs_err *err)
{
    (void)ctx, (void)stream;
    if (op->n_row == 0 || op->n == 0)
        return KVS_OK;
    return KVS_LAUNCH(rmsnorm_kernel, op->n_row, 1, BLOCK, BLOCK / 32 * sizeof(float),
                      kvs_ptr(op->y), op->y_elem, (const float *)kvs_ptr(op->x),
                      (const float *)kvs_ptr(op->w), op->n, op->eps);
}
