/*
 * Kernels that hold a known number of one instruction each: test_cubin.c finds out from them which
 * machine code stands for what, instead of trusting a table of NVIDIA's private encoding.
 */
#include "kernels/dialect.h"

template <int n> __global__ void probe_mma(float *out, const uint32_t *in)
{
    float d[4] = {};
#pragma unroll
    for (int i = 0; i < n; i++)
        kvs_mma_16816_bf16(d, in, in + 4);
    out[threadIdx.x] = d[0] + d[1] + d[2] + d[3];
}

template <int n> __global__ void probe_ldmatrix(uint32_t *out)
{
    uint32_t r[4], sum = 0;
#pragma unroll
    for (int i = 0; i < n; i++) {
        kvs_ldmatrix_x4(r, kvs_shared_mem() + threadIdx.x * 16 + 512 * i);
        sum ^= r[0] ^ r[1] ^ r[2] ^ r[3];
    }
    out[threadIdx.x] = sum;
}

template <int n> __global__ void probe_cp_async(uint32_t *out, const uint32_t *in)
{
#pragma unroll
    for (int i = 0; i < n; i++)
        kvs_cp_async16(kvs_shared_mem() + 16 * i, in + 4 * i, 16);
    kvs_cp_commit();
    kvs_cp_wait<0>();
    out[threadIdx.x] = kvs_shared_mem()[threadIdx.x];
}

template <int n> __global__ void probe_shfl(float *out)
{
    float value = out[threadIdx.x];
#pragma unroll
    for (int i = 0; i < n; i++)
        value = kvs_shfl_xor(value, 1u << i % 5);
    out[threadIdx.x] = value;
}

template <int n> __global__ void probe_barrier(unsigned char *out)
{
    kvs_shared_mem()[threadIdx.x] = out[threadIdx.x];
#pragma unroll
    for (int i = 0; i < n; i++)
        kvs_barrier();
    out[threadIdx.x] = kvs_shared_mem()[threadIdx.x ^ 1];
}

template __global__ void probe_mma<3>(float *, const uint32_t *);
template __global__ void probe_mma<7>(float *, const uint32_t *);
template __global__ void probe_ldmatrix<3>(uint32_t *);
template __global__ void probe_ldmatrix<7>(uint32_t *);
template __global__ void probe_cp_async<3>(uint32_t *, const uint32_t *);
template __global__ void probe_cp_async<7>(uint32_t *, const uint32_t *);
template __global__ void probe_shfl<3>(float *);
template __global__ void probe_shfl<7>(float *);
template __global__ void probe_barrier<3>(unsigned char *);
template __global__ void probe_barrier<7>(unsigned char *);
