/* vec_avx512.h - see vec_scalar.h: one register of 16. */
#ifndef KVS_KVF_VEC_H
#define KVS_KVF_VEC_H

#include "half.h"

#include <immintrin.h>

#ifndef KVS_VEC_NAME
#define KVS_VEC_NAME avx512
#endif

typedef __m512 vf;
typedef __m512i vi;
typedef __mmask16 vm; /* a bit a lane */

static inline vf f_set(float x)
{
    return _mm512_set1_ps(x);
}
static inline vf f_load(const float *p)
{
    return _mm512_loadu_ps(p);
}
static inline void f_store(float *p, vf x)
{
    _mm512_storeu_ps(p, x);
}
static inline vf f_add(vf a, vf b)
{
    return _mm512_add_ps(a, b);
}
static inline vf f_sub(vf a, vf b)
{
    return _mm512_sub_ps(a, b);
}
static inline vf f_mul(vf a, vf b)
{
    return _mm512_mul_ps(a, b);
}
static inline vf f_fma(vf a, vf b, vf c)
{
    return _mm512_fmadd_ps(a, b, c);
}
static inline vf f_div(vf a, vf b)
{
    return _mm512_div_ps(a, b);
}
static inline vf f_min(vf a, vf b)
{
    return _mm512_min_ps(a, b);
}
static inline vf f_max(vf a, vf b)
{
    return _mm512_max_ps(a, b);
}
static inline float f_least(vf x)
{
    return _mm512_reduce_min_ps(x);
}
static inline float f_most(vf x)
{
    return _mm512_reduce_max_ps(x);
}
static inline vf f_of_i(vi a)
{
    return _mm512_cvtepi32_ps(a);
}
static inline vi i_round(vf a)
{
    return _mm512_cvtps_epi32(a);
}
static inline vi i_trunc(vf a)
{
    return _mm512_cvttps_epi32(a);
}
static inline vf f_as(vi a)
{
    return _mm512_castsi512_ps(a);
}
static inline vi i_as(vf a)
{
    return _mm512_castps_si512(a);
}
static inline vi i_set(int32_t x)
{
    return _mm512_set1_epi32(x);
}
static inline vi i_load(const void *p)
{
    return _mm512_loadu_si512(p);
}
static inline void i_store(void *p, vi x)
{
    _mm512_storeu_si512(p, x);
}
static inline vi i_add(vi a, vi b)
{
    return _mm512_add_epi32(a, b);
}
static inline vi i_sub(vi a, vi b)
{
    return _mm512_sub_epi32(a, b);
}
static inline vi i_mul(vi a, vi b)
{
    return _mm512_mullo_epi32(a, b);
}
static inline vi i_and(vi a, vi b)
{
    return _mm512_and_si512(a, b);
}
static inline vi i_or(vi a, vi b)
{
    return _mm512_or_si512(a, b);
}
static inline vi i_min(vi a, vi b)
{
    return _mm512_min_epi32(a, b);
}
static inline vi i_min_unsigned(vi a, vi b)
{
    return _mm512_min_epu32(a, b);
}
static inline vi i_max(vi a, vi b)
{
    return _mm512_max_epi32(a, b);
}
static inline vi i_srl(vi a, int n)
{
    return _mm512_srli_epi32(a, (unsigned)n);
}
static inline vi i_sra(vi a, int n)
{
    return _mm512_srai_epi32(a, (unsigned)n);
}
static inline vi i_sll(vi a, int n)
{
    return _mm512_slli_epi32(a, (unsigned)n);
}
static inline vi i_srlv(vi a, vi n)
{
    return _mm512_srlv_epi32(a, n);
}
static inline vi i_sllv(vi a, vi n)
{
    return _mm512_sllv_epi32(a, n);
}
static inline vi i_u8(const uint8_t *p)
{
    return _mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)p));
}
static inline void i_store_u8(uint8_t *p, vi a)
{
    _mm_storeu_si128((void *)p, _mm512_cvtepi32_epi8(a));
}
static inline vi i_u16(const uint16_t *p)
{
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)p));
}
static inline void i_store_u16(uint16_t *p, vi a)
{
    _mm256_storeu_si256((void *)p, _mm512_cvtepi32_epi16(a));
}
/* A reciprocal good to 14 bits, and after one step of Newton's to 23: quotients below 2^20 are off
 * by less than .22. Only one product has to wait for y. */
static inline vi i_quotient(vi y, vi freq)
{
    vf f = f_of_i(freq), r = _mm512_rcp14_ps(f);
    r = _mm512_mul_ps(r, _mm512_fnmadd_ps(f, r, _mm512_set1_ps(2)));
    return i_trunc(f_fma(f_of_i(y), r, f_set(.25f)));
}
/*
 * Lookups by one load each, indices by memory: on Zen 5 a fourth less time than two gathers of 8, a
 * third less than one of 16.
 */
static inline __m128i gather4(const uint32_t *table, const uint64_t two[2])
{
    __m128i x = _mm_cvtsi32_si128((int)table[(uint32_t)two[0]]);
    x = _mm_insert_epi32(x, (int)table[two[0] >> 32], 1);
    x = _mm_insert_epi32(x, (int)table[(uint32_t)two[1]], 2);
    return _mm_insert_epi32(x, (int)table[two[1] >> 32], 3);
}
static inline vi i_gather(const uint32_t *table, vi at)
{
    uint64_t two[8] __attribute__((aligned(64)));
    _mm512_store_si512(two, at);
    __asm__("" : "+m"(two)); /* else compilers take it apart by shuffles */
    __m256i low = _mm256_inserti128_si256(_mm256_castsi128_si256(gather4(table, two)),
                                          gather4(table, two + 2), 1);
    __m256i high = _mm256_inserti128_si256(_mm256_castsi128_si256(gather4(table, two + 4)),
                                           gather4(table, two + 6), 1);
    return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}
static inline __m128i gather8(const uint16_t *table, const uint64_t four[2])
{
    __m128i x = _mm_cvtsi32_si128(table[four[0] & 0xffff]);
    x = _mm_insert_epi16(x, table[four[0] >> 16 & 0xffff], 1);
    x = _mm_insert_epi16(x, table[four[0] >> 32 & 0xffff], 2);
    x = _mm_insert_epi16(x, table[four[0] >> 48], 3);
    x = _mm_insert_epi16(x, table[four[1] & 0xffff], 4);
    x = _mm_insert_epi16(x, table[four[1] >> 16 & 0xffff], 5);
    x = _mm_insert_epi16(x, table[four[1] >> 32 & 0xffff], 6);
    return _mm_insert_epi16(x, table[four[1] >> 48], 7);
}
/* By 16 words of memory: few loads of them. */
static inline vi i_gather16_at(const uint16_t *table, uint16_t *at)
{
    uint64_t four[4];
    __asm__("" : "+m"(*(uint16_t(*)[16])at)); /* else compilers take apart what was stored */
    memcpy(four, at, sizeof four);
    return _mm512_cvtepu16_epi32(_mm256_inserti128_si256(
        _mm256_castsi128_si256(gather8(table, four)), gather8(table, four + 2), 1));
}
static inline vi i_gather16(const uint16_t *table, vi at) /* by the low 16 bits */
{
    uint16_t words[16] __attribute__((aligned(32)));
    _mm256_store_si256((void *)words, _mm512_cvtepi32_epi16(at));
    return i_gather16_at(table, words);
}
static inline vi i_pick(vm mask, vi a, vi b)
{
    return _mm512_mask_blend_epi32(mask, b, a);
}
/* 64 integers to bytes, saturated to 0 .. 255; words of two 16s each, as packs_epi32 mixes them */
typedef __m512i vb;
static inline vb b_mix(vi one, vi two)
{
    vi mixed = _mm512_packus_epi16(one, two);
    return _mm512_permutexvar_epi32(
        _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), mixed);
}
static inline vb b_of_i(vi a, vi b, vi c, vi d)
{
    return b_mix(_mm512_packs_epi32(a, b), _mm512_packs_epi32(c, d));
}
/* The same of 1 .. 255; others 0, and true is added to *out. */
static inline vb b_within(vi a, vi b, vi c, vi d, bool *out)
{
    vi one = _mm512_packs_epi32(a, b), two = _mm512_packs_epi32(c, d), least = _mm512_set1_epi16(1);
    __mmask32 in = _mm512_cmplt_epu16_mask(_mm512_sub_epi16(one, least), _mm512_set1_epi16(255));
    __mmask32 in2 = _mm512_cmplt_epu16_mask(_mm512_sub_epi16(two, least), _mm512_set1_epi16(255));
    *out = *out || (in & in2) != UINT32_MAX;
    return b_mix(_mm512_maskz_mov_epi16(in, one), _mm512_maskz_mov_epi16(in2, two));
}
static inline vb b_least(vb a, uint8_t top)
{
    return _mm512_min_epu8(a, _mm512_set1_epi8((char)top));
}
static inline void b_store8(uint8_t *p, vb a)
{
    _mm512_storeu_si512(p, a);
}
/* 4 bits each: 32 bytes, the first 32 numbers low */
static inline __m256i b_fold(vb a)
{
    return _mm256_or_si256(_mm512_castsi512_si256(a),
                           _mm256_slli_epi16(_mm512_extracti64x4_epi64(a, 1), 4));
}
static inline void b_store4(uint8_t *p, vb a)
{
    _mm256_storeu_si256((void *)p, b_fold(a));
}
/* the low 2 bits of each: 16 bytes, the first 16 numbers lowest */
static inline void b_store2(uint8_t *p, vb a)
{
    __m256i x = b_fold(_mm512_and_si512(a, _mm512_set1_epi8(3)));
    _mm_storeu_si128((void *)p, _mm_or_si128(_mm256_castsi256_si128(x),
                                             _mm_slli_epi16(_mm256_extracti128_si256(x, 1), 2)));
}
static inline uint64_t b_bits(vb a, uint8_t bit) /* where the bit is set */
{
    return _mm512_test_epi8_mask(a, _mm512_set1_epi8((char)bit));
}
static inline vm i_ge(vi a, vi b)
{
    return _mm512_cmpge_epi32_mask(a, b);
}
static inline vm i_lt(vi a, vi b)
{
    return _mm512_cmplt_epi32_mask(a, b);
}
/* as a number: left to gcc 12, 16 bits of it may be spilled and 32 read back */
static inline unsigned m_bits(vm mask)
{
    unsigned bits;
    __asm__("kmovw %1, %0" : "=r"(bits) : "k"(mask));
    return bits;
}
static inline vi i_bits(vm mask, int32_t value)
{
    return _mm512_maskz_set1_epi32(mask, value);
}
static inline vi i_or_bits(vi a, vm mask, int32_t value)
{
    return _mm512_mask_or_epi32(a, mask, a, _mm512_set1_epi32(value));
}
static inline vi i_fill(vi a, vm mask, const uint16_t *p)
{
    vi word = _mm512_maskz_expand_epi32(mask, i_u16(p));
    return _mm512_or_si512(_mm512_mask_slli_epi32(a, mask, a, 16), word);
}
static inline void i_spill(uint16_t *p, vi a, vm mask)
{
    i_store_u16(p, _mm512_maskz_compress_epi32(mask, a));
}
static inline vf f_half(const uint16_t *p, enum kvs_half half)
{
    __m256i x = _mm256_loadu_si256((const void *)p);
    return half == KVS_F16 ? _mm512_cvtph_ps(x)
                           : f_as(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16));
}
typedef struct {
    vf low, high;
} vf2;
static inline vf2 f_half32(const uint16_t *p, enum kvs_half half)
{
    if (half == KVS_F16)
        return (vf2){f_half(p, half), f_half(p + 16, half)};
    static const uint16_t at[2][32] = {
        {0, 0, 0, 1, 0, 2,  0, 3,  0, 4,  0, 5,  0, 6,  0, 7,
         0, 8, 0, 9, 0, 10, 0, 11, 0, 12, 0, 13, 0, 14, 0, 15},
        {0, 16, 0, 17, 0, 18, 0, 19, 0, 20, 0, 21, 0, 22, 0, 23,
         0, 24, 0, 25, 0, 26, 0, 27, 0, 28, 0, 29, 0, 30, 0, 31},
    };
    __m512i x = _mm512_loadu_si512(p);
    enum { ODD = (int)0xaaaaaaaa };
    return (vf2){
        f_as(_mm512_maskz_permutexvar_epi16((__mmask32)ODD, _mm512_loadu_si512(at[0]), x)),
        f_as(_mm512_maskz_permutexvar_epi16((__mmask32)ODD, _mm512_loadu_si512(at[1]), x))};
}
static inline void half_store(uint16_t *p, vf a, enum kvs_half half)
{
    if (half == KVS_F16) {
        _mm256_storeu_si256((void *)p, _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
        return;
    }
    vi u = i_as(a), odd = i_and(i_srl(u, 16), i_set(1));
    i_store_u16(p, i_srl(i_add(u, i_add(odd, i_set(0x7fff))), 16)); /* never NaN here */
}
static inline void stream_end(void)
{
    _mm_sfence();
}

#include "vec_avx512_words.h"

#endif
