/*
 * What reads every byte of .kvt: the checksum (XXH3, 64 bits) and the check of a chunk's requests
 * and blocks. This file is built once for any processor and, on x86, once with AVX2 and once with
 * AVX-512 (Makefile); XXH3 has loops of its own for each.
 */
#include "kvt.h"

#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#ifndef KVT_WIDE
#define KVT_WIDE 0
#endif
#if KVT_WIDE
#include <immintrin.h>
#endif

static uint64_t sum(const void *data, size_t n_byte)
{
    return XXH3_64bits(data, n_byte);
}

/*
 * Each form has `seen`, what is known of all blocks so far, and tok_of, which adds n blocks to it
 * and returns their tokens.
 *
 * The wide forms take 16 blocks at a time, so that no branch depends on a request's length but
 * every 16 blocks: a mispredicted one would cost as much as the rest. A block's second word is
 * n_tok | part << 32; less one it is n_tok - 1, which is all ones for n_tok 0, below part. `seen`
 * is the largest of each half.
 */
#if KVT_WIDE == 512
#define KVT_WORK kvt_work_avx512
typedef __m512i seen;

static inline seen seen_none(void)
{
    return _mm512_setzero_si512();
}

/* What is masked out is not read. */
static inline uint64_t tok_of(const struct kvs_trace_block *block, uint32_t n,
                              const struct kvs_trace_block *end, seen *most)
{
    const __m512i one = _mm512_set1_epi64(1), tok = _mm512_set1_epi64(UINT32_MAX);
    __m512i four = _mm512_setzero_si512();
    (void)end;
    for (uint32_t n_in; n; n -= n_in, block += n_in) {
        n_in = n < 16 ? n : 16;
        const uint32_t in = 0xaaaaaaaau >> (32 - 2 * n_in);
        for (uint32_t i = 0; i < 4; i++) {
            const __mmask8 mask = (__mmask8)(in >> (8 * i));
            const __m512i v = _mm512_maskz_loadu_epi64(mask, block + (size_t)KVT_LINE_BLOCK * i);
            four = _mm512_add_epi64(four, _mm512_and_si512(v, tok));
            *most = _mm512_max_epu32(*most, _mm512_mask_sub_epi64(v, mask, v, one));
        }
    }
    const __m256i two =
        _mm256_add_epi64(_mm512_castsi512_si256(four), _mm512_extracti64x4_epi64(four, 1));
    const __m128i last =
        _mm_add_epi64(_mm256_castsi256_si128(two), _mm256_extracti128_si256(two, 1));
    return (uint64_t)_mm_extract_epi64(last, 1);
}
#elif KVT_WIDE == 256
#define KVT_WORK kvt_work_avx2
typedef __m256i seen;

static inline seen seen_none(void)
{
    return _mm256_setzero_si256();
}

/* Ones for the second words of 16 blocks, as the format has them, then none: from word 2 * (16 - n)
 * on they are a mask of the first n. */
#define M4 0, UINT64_MAX, 0, UINT64_MAX, 0, UINT64_MAX, 0, UINT64_MAX
static const uint64_t mask_of[64] = {M4, M4, M4, M4};

/* Whole groups of 16 are read, but where they would pass the end. */
static inline uint64_t tok_of(const struct kvs_trace_block *block, uint32_t n,
                              const struct kvs_trace_block *end, seen *most)
{
    const __m256i tok = _mm256_set1_epi64x(UINT32_MAX);
    __m256i two = _mm256_setzero_si256();
    struct kvs_trace_block last[16] = {{0}};
    for (uint32_t n_in; n; n -= n_in, block += n_in) {
        const struct kvs_trace_block *from = block;
        n_in = n < 16 ? n : 16;
        if (end - block < 16) {
            for (uint32_t i = 0; i < n_in; i++)
                last[i] = block[i];
            from = last;
        }
        const uint64_t *mask = mask_of + (size_t)2 * (16 - n_in);
        for (uint32_t i = 0; i < 16; i += 2) {
            const __m256i in = _mm256_loadu_si256((const void *)(mask + (size_t)2 * i));
            const __m256i v = _mm256_and_si256(in, _mm256_loadu_si256((const void *)(from + i)));
            *most = _mm256_max_epu32(*most, _mm256_add_epi64(v, in));
            two = _mm256_add_epi64(two, _mm256_and_si256(v, tok));
        }
    }
    return (uint64_t)_mm256_extract_epi64(two, 1) + (uint64_t)_mm256_extract_epi64(two, 3);
}
#else
#define KVT_WORK kvt_work_base
typedef bool seen; /* one that can't be */

static inline seen seen_none(void)
{
    return false;
}

static inline uint64_t tok_of(const struct kvs_trace_block *block, uint32_t n,
                              const struct kvs_trace_block *end, seen *bad)
{
    uint64_t n_tok = 0;
    (void)end;
    for (uint32_t i = 0; i < n; i++) {
        *bad |= !block[i].n_tok;
        *bad |= block[i].part >= KVS_N_PART;
        n_tok += block[i].n_tok;
    }
    return n_tok;
}
#endif

static bool seen_fits(seen all)
{
#if KVT_WIDE
    uint32_t top[sizeof all / sizeof(uint32_t)];
    memcpy(top, &all, sizeof top);
    for (unsigned i = 2; i < sizeof top / sizeof *top; i += 4)
        if (top[i] == UINT32_MAX || top[i + 1] >= KVS_N_PART)
            return false;
    return true;
#else
    return !all;
#endif
}

static bool fits(const struct kvt_request *request, uint32_t n_request,
                 const struct kvs_trace_block *block, uint32_t n_block, int64_t since_ns)
{
    const struct kvs_trace_block *end = block + n_block;
    seen all = seen_none();
    bool bad = false;
    for (const struct kvt_request *last = request + n_request; request < last; request++) {
        const uint32_t n = request->n_block;
        if (n > (size_t)(end - block))
            return false;
        /* what lies as far into the next chunk, while the memory has nothing else to do */
        __builtin_prefetch(block + n_block, 0, 2);
        __builtin_prefetch(block + n_block + KVT_LINE_BLOCK, 0, 2);
        bad |= tok_of(block, n, end, &all) > request->input_tok;
        bad |= !request->input_tok;
        bad |= request->zero != 0;
        bad |= request->arrive_ns < since_ns;
        since_ns = request->arrive_ns;
        block += n;
    }
    return !bad && block == end && seen_fits(all);
}

const struct kvt_work KVT_WORK = {.sum = sum, .fits = fits};

#if !KVT_WIDE
const struct kvt_work *kvt_work(void)
{
#ifdef KVS_HAVE_KVT_WIDE
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("bmi2"))
        return &kvt_work_avx512;
    if (__builtin_cpu_supports("avx2"))
        return &kvt_work_avx2;
#endif
    return &kvt_work_base;
}
#endif
