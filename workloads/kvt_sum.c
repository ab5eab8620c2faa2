/*
 * The checksum of .kvt: XXH3, 64 bits. This file is built once for any processor and, on x86, once
 * with AVX2 (Makefile), which is twice as fast as what the library has.
 */
#include "kvt.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#ifdef KVS_KVT_AVX2
uint64_t kvt_sum_avx2(const void *data, size_t n_byte)
{
    return XXH3_64bits(data, n_byte);
}
#else
uint64_t kvt_sum(const void *data, size_t n_byte)
{
#ifdef KVS_HAVE_KVT_AVX2
    if (__builtin_cpu_supports("avx2"))
        return kvt_sum_avx2(data, n_byte);
#endif
    return XXH3_64bits(data, n_byte);
}
#endif
