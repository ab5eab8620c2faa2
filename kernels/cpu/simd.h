/*
 * simd.h - the operators of the cpu back end, three times from one source: simd.c is compiled for
 * plain x86-64 (or whatever the host is), AVX2 and AVX-512, and cpu.c picks at start-up.
 */
#ifndef KVS_CPU_SIMD_H
#define KVS_CPU_SIMD_H

#include "kernels/backend.h"

extern const struct kvs_kernels kvs_simd_base;
#if defined(__x86_64__)
extern const struct kvs_kernels kvs_simd_avx2, kvs_simd_avx512;
#endif

#endif
