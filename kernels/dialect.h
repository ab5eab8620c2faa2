/*
 * dialect.h - the CUDA C that our kernels are written in, for two compilers.
 *
 * nvcc makes GPU code of it; g++ makes host code that simt.h runs. Kernels use the names below and
 * nothing else of CUDA. Shared memory is one piece, asked for at launch (kvs_shared_mem). Element
 * copies are typed stores: memcpy of a few bytes has become byte stores before.
 *
 * KVS_SIDE(op) names the launcher: kvs_cuda_op, kvs_simt_op, or kvs_mutant_op in the build where
 * KVS_MUT(n) is true for the planted bug n (tests only; constant false elsewhere).
 */
#ifndef KVS_DIALECT_H
#define KVS_DIALECT_H

extern "C" {
#include "kernels/backend.h"
}

#include <math.h>

#ifdef __CUDACC__

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#define KVS_SIDE(op) kvs_cuda_##op
#define KVS_KERNEL static __global__ void
#define KVS_FN static __device__ __forceinline__
#define KVS_MUT(n) false

/* What lies in global memory is read and written through these. */
template <class T> KVS_FN T kvs_ld(const T *at)
{
    return *at;
}
template <class T> KVS_FN void kvs_st(T *at, T value)
{
    *at = value;
}
KVS_FN unsigned kvs_tid()
{
    return threadIdx.x;
}
KVS_FN unsigned kvs_block()
{
    return blockDim.x;
}
KVS_FN unsigned kvs_bid_x()
{
    return blockIdx.x;
}
KVS_FN unsigned kvs_bid_y()
{
    return blockIdx.y;
}
KVS_FN unsigned kvs_grid_x()
{
    return gridDim.x;
}
KVS_FN unsigned char *kvs_shared_mem()
{
    extern __shared__ __align__(128) unsigned char kvs_shared_bytes[];
    return kvs_shared_bytes;
}
#define kvs_barrier() __syncthreads()
KVS_FN float kvs_shfl_xor(float value, unsigned mask)
{
    return __shfl_xor_sync(~0u, value, mask);
}
KVS_FN uint32_t kvs_smem_addr(const void *shared)
{
    return (uint32_t)__cvta_generic_to_shared(shared);
}
/* 16 bytes to shared memory, of which the first n_byte from global and the rest zero */
KVS_FN void kvs_cp_async16(void *shared, const void *global, unsigned n_byte)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(kvs_smem_addr(shared)),
                 "l"(global), "r"(n_byte)
                 : "memory");
}
KVS_FN void kvs_cp_commit()
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int n_left> KVS_FN void kvs_cp_wait()
{
    asm volatile("cp.async.wait_group %0;" ::"n"(n_left) : "memory");
}
KVS_FN void kvs_ldmatrix_x4(uint32_t r[4], const void *shared)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(kvs_smem_addr(shared))
                 : "memory");
}
KVS_FN void kvs_ldmatrix_x4_trans(uint32_t r[4], const void *shared)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(kvs_smem_addr(shared))
                 : "memory");
}
KVS_FN void kvs_mma_16816_bf16(float d[4], const uint32_t a[4], const uint32_t b[2])
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, "
                 "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
KVS_FN float kvs_to_f32(uint16_t bf16)
{
    return __uint_as_float((uint32_t)bf16 << 16);
}
KVS_FN uint16_t kvs_to_bf16(float value)
{
    return __bfloat16_as_ushort(__float2bfloat16_rn(value));
}

/* stream is the launcher's parameter */
#define KVS_LAUNCH(kernel, grid_x, grid_y, block, shared_bytes, ...)                               \
    (kernel<<<dim3(grid_x, grid_y), block, shared_bytes, (cudaStream_t)stream>>>(__VA_ARGS__),     \
     kvs_launched(err))
static inline enum kvs_code kvs_launched(struct kvs_err *err)
{
    cudaError_t status = cudaGetLastError();
    return status == cudaSuccess
               ? KVS_OK
               : kvs_fail(err, KVS_ERR_DEVICE, "cuda: launch: %s", cudaGetErrorString(status));
}
/* over 48 KiB a kernel must ask */
#define KVS_ALLOW_SHARED(kernel, shared_bytes)                                                     \
    (cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,                     \
                          (int)(shared_bytes)) == cudaSuccess                                      \
         ? KVS_OK                                                                                  \
         : kvs_fail(err, KVS_ERR_DEVICE, "cuda: no %zu bytes of shared memory",                    \
                    (size_t)(shared_bytes)))

#else

#include "kernels/simt/simt.h"

#ifdef KVS_MUTANTS
#define KVS_SIDE(op) kvs_mutant_##op
#define KVS_MUT(n) (simt_self.mutant == (n))
#else
#define KVS_SIDE(op) kvs_simt_##op
#define KVS_MUT(n) false
#endif
#define KVS_KERNEL static void
#define KVS_FN static inline

template <class T> KVS_FN T kvs_ld(const T *at)
{
    simt_global(at, sizeof *at);
    return *at;
}
template <class T> KVS_FN void kvs_st(T *at, T value)
{
    simt_global(at, sizeof *at);
    *at = value;
}
KVS_FN unsigned kvs_tid()
{
    return simt_self.tid;
}
KVS_FN unsigned kvs_block()
{
    return simt_self.block;
}
KVS_FN unsigned kvs_bid_x()
{
    return simt_self.bid_x;
}
KVS_FN unsigned kvs_bid_y()
{
    return simt_self.bid_y;
}
KVS_FN unsigned kvs_grid_x()
{
    return simt_self.grid_x;
}
KVS_FN unsigned char *kvs_shared_mem()
{
    return simt_self.shared;
}
#define kvs_barrier() simt_barrier(__LINE__)
KVS_FN float kvs_shfl_xor(float value, unsigned mask)
{
    struct simt_slot slot;
    memcpy(slot.in, &value, sizeof value);
    simt_collective(simt_shfl_xor, mask, &slot);
    memcpy(&value, slot.out, sizeof value);
    return value;
}
KVS_FN void kvs_cp_async16(void *shared, const void *global, unsigned n_byte)
{
    simt_cp_async16(shared, global, n_byte);
}
KVS_FN void kvs_cp_commit()
{
    simt_cp_commit();
}
template <int n_left> KVS_FN void kvs_cp_wait()
{
    simt_cp_wait(n_left);
}
KVS_FN void kvs_ldmatrix_x4(uint32_t r[4], const void *shared)
{
    struct simt_slot slot;
    slot.address = shared;
    simt_collective(simt_ldmatrix_x4, 0, &slot);
    memcpy(r, slot.out, 16);
}
KVS_FN void kvs_ldmatrix_x4_trans(uint32_t r[4], const void *shared)
{
    struct simt_slot slot;
    slot.address = shared;
    simt_collective(simt_ldmatrix_x4_trans, 0, &slot);
    memcpy(r, slot.out, 16);
}
KVS_FN void kvs_mma_16816_bf16(float d[4], const uint32_t a[4], const uint32_t b[2])
{
    struct simt_slot slot;
    memcpy(slot.in, a, 16);
    memcpy(slot.in + 4, b, 8);
    memcpy(slot.out, d, 16);
    simt_collective(simt_mma_16816_bf16, 0, &slot);
    memcpy(d, slot.out, 16);
}
KVS_FN float kvs_to_f32(uint16_t bf16)
{
    return kvs_f32_of_bf16(bf16);
}
KVS_FN uint16_t kvs_to_bf16(float value)
{
    return kvs_bf16_of(value);
}

/* ctx is the launcher's parameter */
template <class F>
static enum kvs_code kvs_launch(void *ctx, unsigned grid_x, unsigned grid_y, unsigned block,
                                size_t shared_bytes, const F &body, struct kvs_err *err)
{
    return simt_run((struct simt *)ctx, grid_x, grid_y, block, shared_bytes,
                    [](void *arg) { (*(const F *)arg)(); }, (void *)&body, err);
}
#define KVS_LAUNCH(kernel, grid_x, grid_y, block, shared_bytes, ...)                               \
    kvs_launch(                                                                                    \
        ctx, grid_x, grid_y, block, shared_bytes, [&] { kernel(__VA_ARGS__); }, err)
#define KVS_ALLOW_SHARED(kernel, shared_bytes) KVS_OK

#endif

/* --- both ------------------------------------------------------------------------------------- */

KVS_FN float kvs_load(const void *base, enum kvs_elem elem, size_t i)
{
    return elem == KVS_BF16 ? kvs_to_f32(kvs_ld((const uint16_t *)base + i))
                            : kvs_ld((const float *)base + i);
}

KVS_FN void kvs_store(void *base, enum kvs_elem elem, size_t i, float value)
{
    if (elem == KVS_BF16)
        kvs_st((uint16_t *)base + i, kvs_to_bf16(value));
    else
        kvs_st((float *)base + i, value);
}

KVS_FN uint32_t kvs_pack_bf16(float low, float high)
{
    return (uint32_t)kvs_to_bf16(low) | (uint32_t)kvs_to_bf16(high) << 16;
}

/* Blocks for n items at one a thread; the kernels stride over what is beyond. */
static inline unsigned kvs_blocks(size_t n, unsigned block)
{
    size_t n_block = (n + block - 1) / block;
    return n_block < 65535 ? (unsigned)n_block : 65535;
}

#endif
