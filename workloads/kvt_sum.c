/*
 * What reads every byte of .kvt: the checksum (XXH3, 64 bits) and the check of a request's blocks.
 * This file is built once for any processor and, on x86, once with AVX2 (Makefile), which is twice
 * as fast as what the library has.
 */
#include "kvt.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#ifdef KVS_KVT_AVX2
#include <immintrin.h>

uint64_t kvt_sum_avx2(const void *data, size_t n_byte)
{
    return XXH3_64bits(data, n_byte);
}

/* Ones for the second words of 16 blocks, as the format has them, then none: from word 2 * (16 - n)
 * on they are a mask of the first n. */
#define M4 0, UINT64_MAX, 0, UINT64_MAX, 0, UINT64_MAX, 0, UINT64_MAX
static const uint64_t mask_of[4 * KVT_GROUP] = {M4, M4, M4, M4};

/*
 * A block's second word is n_tok | part << 32. Less one it is n_tok - 1, which is all ones for
 * n_tok 0, below part. No branch depends on a request's length but every KVT_GROUP blocks: a
 * mispredicted one would cost as much as the rest.
 */
bool kvt_blocks_fit_avx2(const struct kvs_trace_block *block, uint32_t n, uint64_t *sum_tok)
{
    const __m256i tok = _mm256_set1_epi64x(UINT32_MAX);
    __m256i sum = _mm256_setzero_si256(), most = sum;
    for (uint32_t at = 0; at < n; at += KVT_GROUP) {
        const uint32_t n_in = n - at < KVT_GROUP ? n - at : KVT_GROUP;
        const uint64_t *mask = mask_of + 2 * (KVT_GROUP - n_in);
        for (int i = 0; i < KVT_GROUP; i += 2) {
            const __m256i in = _mm256_loadu_si256((const void *)(mask + 2 * i));
            const __m256i two =
                _mm256_and_si256(in, _mm256_loadu_si256((const void *)(block + at + i)));
            most = _mm256_max_epu32(most, _mm256_add_epi64(two, in));
            sum = _mm256_add_epi64(sum, _mm256_and_si256(two, tok));
        }
    }
    uint32_t top[8];
    uint64_t part_sum[4];
    _mm256_storeu_si256((void *)top, most);
    _mm256_storeu_si256((void *)part_sum, sum);
    *sum_tok = part_sum[1] + part_sum[3];
    return top[2] != UINT32_MAX && top[6] != UINT32_MAX && top[3] < KVS_N_PART &&
           top[7] < KVS_N_PART;
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

bool kvt_blocks_fit(const struct kvs_trace_block *block, uint32_t n, uint32_t n_room,
                    uint64_t *sum_tok)
{
    bool bad = false;
#ifdef KVS_HAVE_KVT_AVX2
    if (n <= n_room / KVT_GROUP * KVT_GROUP && __builtin_cpu_supports("avx2"))
        return kvt_blocks_fit_avx2(block, n, sum_tok);
#endif
    (void)n_room;
    *sum_tok = 0;
    for (uint32_t i = 0; i < n; i++) {
        bad |= block[i].part >= KVS_N_PART;
        bad |= !block[i].n_tok;
        *sum_tok += block[i].n_tok;
    }
    return !bad;
}
#endif
