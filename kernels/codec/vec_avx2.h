/* vec_avx2.h - see vec_scalar.h: two registers of 8. */
#ifndef KVS_KVF_VEC_H
#define KVS_KVF_VEC_H

#include "half.h"

#include <immintrin.h>

#define KVS_VEC_NAME avx2

typedef struct {
    __m256 a, b;
} vf;
typedef struct {
    __m256i a, b;
} vi;
typedef unsigned vm;

#define F2(f, x, y) ((vf){f((x).a, (y).a), f((x).b, (y).b)})
#define I2(f, x, y) ((vi){f((x).a, (y).a), f((x).b, (y).b)})

static inline vf f_set(float x)
{
    return (vf){_mm256_set1_ps(x), _mm256_set1_ps(x)};
}
static inline vf f_load(const float *p)
{
    return (vf){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}
static inline void f_store(float *p, vf x)
{
    _mm256_storeu_ps(p, x.a);
    _mm256_storeu_ps(p + 8, x.b);
}
static inline vf f_add(vf a, vf b)
{
    return F2(_mm256_add_ps, a, b);
}
static inline vf f_sub(vf a, vf b)
{
    return F2(_mm256_sub_ps, a, b);
}
static inline vf f_mul(vf a, vf b)
{
    return F2(_mm256_mul_ps, a, b);
}
static inline vf f_fma(vf a, vf b, vf c)
{
    return (vf){_mm256_fmadd_ps(a.a, b.a, c.a), _mm256_fmadd_ps(a.b, b.b, c.b)};
}
static inline vf f_div(vf a, vf b)
{
    return F2(_mm256_div_ps, a, b);
}
static inline vf f_min(vf a, vf b)
{
    return F2(_mm256_min_ps, a, b);
}
static inline vf f_max(vf a, vf b)
{
    return F2(_mm256_max_ps, a, b);
}
static inline float f_least(vf a)
{
    __m256 x = _mm256_min_ps(a.a, a.b);
    __m128 y = _mm_min_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    y = _mm_min_ps(y, _mm_movehl_ps(y, y));
    return _mm_cvtss_f32(_mm_min_ss(y, _mm_shuffle_ps(y, y, 1)));
}
static inline float f_most(vf a)
{
    __m256 x = _mm256_max_ps(a.a, a.b);
    __m128 y = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    y = _mm_max_ps(y, _mm_movehl_ps(y, y));
    return _mm_cvtss_f32(_mm_max_ss(y, _mm_shuffle_ps(y, y, 1)));
}
static inline vf f_of_i(vi a)
{
    return (vf){_mm256_cvtepi32_ps(a.a), _mm256_cvtepi32_ps(a.b)};
}
static inline vi i_round(vf a)
{
    return (vi){_mm256_cvtps_epi32(a.a), _mm256_cvtps_epi32(a.b)};
}
static inline vi i_trunc(vf a)
{
    return (vi){_mm256_cvttps_epi32(a.a), _mm256_cvttps_epi32(a.b)};
}
static inline vf f_as(vi a)
{
    return (vf){_mm256_castsi256_ps(a.a), _mm256_castsi256_ps(a.b)};
}
static inline vi i_as(vf a)
{
    return (vi){_mm256_castps_si256(a.a), _mm256_castps_si256(a.b)};
}
static inline vi i_set(int32_t x)
{
    return (vi){_mm256_set1_epi32(x), _mm256_set1_epi32(x)};
}
static inline vi i_load(const void *p)
{
    const __m256i *at = p;
    return (vi){_mm256_loadu_si256(at), _mm256_loadu_si256(at + 1)};
}
static inline void i_store(void *p, vi x)
{
    __m256i *at = p;
    _mm256_storeu_si256(at, x.a);
    _mm256_storeu_si256(at + 1, x.b);
}
static inline vi i_add(vi a, vi b)
{
    return I2(_mm256_add_epi32, a, b);
}
static inline vi i_sub(vi a, vi b)
{
    return I2(_mm256_sub_epi32, a, b);
}
static inline vi i_mul(vi a, vi b)
{
    return I2(_mm256_mullo_epi32, a, b);
}
static inline vi i_and(vi a, vi b)
{
    return I2(_mm256_and_si256, a, b);
}
static inline vi i_or(vi a, vi b)
{
    return I2(_mm256_or_si256, a, b);
}
static inline vi i_min(vi a, vi b)
{
    return I2(_mm256_min_epi32, a, b);
}
static inline vi i_min_unsigned(vi a, vi b)
{
    return I2(_mm256_min_epu32, a, b);
}
static inline vi i_max(vi a, vi b)
{
    return I2(_mm256_max_epi32, a, b);
}
static inline vi i_srl(vi a, int n)
{
    return (vi){_mm256_srli_epi32(a.a, n), _mm256_srli_epi32(a.b, n)};
}
static inline vi i_sra(vi a, int n)
{
    return (vi){_mm256_srai_epi32(a.a, n), _mm256_srai_epi32(a.b, n)};
}
static inline vi i_sll(vi a, int n)
{
    return (vi){_mm256_slli_epi32(a.a, n), _mm256_slli_epi32(a.b, n)};
}
static inline vi i_srlv(vi a, vi n)
{
    return (vi){_mm256_srlv_epi32(a.a, n.a), _mm256_srlv_epi32(a.b, n.b)};
}
static inline vi i_sllv(vi a, vi n)
{
    return (vi){_mm256_sllv_epi32(a.a, n.a), _mm256_sllv_epi32(a.b, n.b)};
}
static inline vi i_u8(const uint8_t *p)
{
    __m128i x = _mm_loadu_si128((const void *)p);
    return (vi){_mm256_cvtepu8_epi32(x), _mm256_cvtepu8_epi32(_mm_srli_si128(x, 8))};
}
static inline vi i_u16(const uint16_t *p)
{
    const __m128i *at = (const void *)p;
    return (vi){_mm256_cvtepu16_epi32(_mm_loadu_si128(at)),
                _mm256_cvtepu16_epi32(_mm_loadu_si128(at + 1))};
}
/* 16 words in order, the low half of each lane */
static inline __m256i narrow16(vi a)
{
    __m256i low = _mm256_set1_epi32(0xffff);
    __m256i x = _mm256_packus_epi32(_mm256_and_si256(a.a, low), _mm256_and_si256(a.b, low));
    return _mm256_permute4x64_epi64(x, 0xd8);
}
static inline void i_store_u16(uint16_t *p, vi a)
{
    _mm256_storeu_si256((void *)p, narrow16(a));
}
static inline void i_store_u8(uint8_t *p, vi a)
{
    __m256i x = narrow16((vi){_mm256_and_si256(a.a, _mm256_set1_epi32(0xff)),
                              _mm256_and_si256(a.b, _mm256_set1_epi32(0xff))});
    _mm_storeu_si128((void *)p,
                     _mm_packus_epi16(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1)));
}
static inline vi i_gather(const uint32_t *table, vi at)
{
    return (vi){_mm256_i32gather_epi32((const int *)table, at.a, 4),
                _mm256_i32gather_epi32((const int *)table, at.b, 4)};
}
static inline __m256i gather16(const uint16_t *table, __m256i at)
{
    uint64_t two[4]; /* faster than gathers of as many */
    __m128i x;
    _mm256_storeu_si256((void *)two, at);
    __asm__("" : "+m"(two)); /* else compilers take it apart by shuffles */
    x = _mm_cvtsi32_si128(table[(uint32_t)two[0]]);
    x = _mm_insert_epi16(x, table[two[0] >> 32], 1);
    x = _mm_insert_epi16(x, table[(uint32_t)two[1]], 2);
    x = _mm_insert_epi16(x, table[two[1] >> 32], 3);
    x = _mm_insert_epi16(x, table[(uint32_t)two[2]], 4);
    x = _mm_insert_epi16(x, table[two[2] >> 32], 5);
    x = _mm_insert_epi16(x, table[(uint32_t)two[3]], 6);
    x = _mm_insert_epi16(x, table[two[3] >> 32], 7);
    return _mm256_cvtepu16_epi32(x);
}
static inline vi i_gather16(const uint16_t *table, vi at)
{
    vi low = i_and(at, i_set(0xffff));
    return (vi){gather16(table, low.a), gather16(table, low.b)};
}
/* dividing floats rounds twice: off by an eighth at most */
static inline vi i_quotient(vi y, vi freq)
{
    return i_trunc(f_add(f_div(f_of_i(y), f_of_i(freq)), f_set(.25f)));
}
static inline vm i_lt(vi a, vi b)
{
    unsigned low = (unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpgt_epi32(b.a, a.a)));
    unsigned high = (unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpgt_epi32(b.b, a.b)));
    return low | high << 8;
}
static inline vm i_ge(vi a, vi b)
{
    return i_lt(a, b) ^ 0xffff;
}
static inline unsigned m_bits(vm mask)
{
    return mask;
}
/* all ones in the lanes of 8 mask bits */
static inline __m256i lanes8(unsigned mask)
{
    __m256i bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    return _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32((int)mask), bit), bit);
}
static inline vi i_bits(vm mask, int32_t value)
{
    return i_and((vi){lanes8(mask), lanes8(mask >> 8)}, i_set(value));
}
static inline vi i_or_bits(vi a, vm mask, int32_t value)
{
    return i_or(a, i_bits(mask, value));
}
static inline vi i_pick(vm mask, vi a, vi b)
{
    return (vi){_mm256_blendv_epi8(b.a, a.a, lanes8(mask)),
                _mm256_blendv_epi8(b.b, a.b, lanes8(mask >> 8))};
}
/* for each lane, how many lanes of the mask (8 bits) are before it */
static inline __m256i rank8(unsigned mask)
{
    uint64_t wide = _pdep_u64(mask, 0x0101010101010101ull); /* a byte a lane */
    uint64_t upto = wide * 0x0101010101010101ull;           /* sums up to and with it */
    return _mm256_cvtepu8_epi32(_mm_cvtsi64_si128((long long)(upto - wide)));
}
static inline __m256i fill8(__m256i a, unsigned mask, const uint16_t *p)
{
    __m256i word = _mm256_cvtepu16_epi32(_mm_loadu_si128((const void *)p));
    word = _mm256_permutevar8x32_epi32(word, rank8(mask));
    word = _mm256_or_si256(_mm256_slli_epi32(a, 16), word);
    return _mm256_blendv_epi8(a, word, lanes8(mask));
}
static inline vi i_fill(vi a, vm mask, const uint16_t *p)
{
    unsigned low = mask & 0xff;
    return (vi){fill8(a.a, low, p), fill8(a.b, mask >> 8, p + __builtin_popcount(low))};
}
static inline void spill8(uint16_t *p, __m256i a, unsigned mask)
{
    /* lane numbers of the mask's bits, side by side */
    uint64_t wide = _pdep_u64(mask, 0x0101010101010101ull) * 0xff;
    uint64_t from = _pext_u64(0x0706050403020100ull, wide);
    __m256i at = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128((long long)from));
    __m256i word = _mm256_permutevar8x32_epi32(a, at);
    word = _mm256_packus_epi32(_mm256_and_si256(word, _mm256_set1_epi32(0xffff)), word);
    word = _mm256_permute4x64_epi64(word, 0x08);
    _mm_storeu_si128((void *)p, _mm256_castsi256_si128(word));
}
static inline void i_spill(uint16_t *p, vi a, vm mask)
{
    spill8(p, a.a, mask & 0xff);
    spill8(p + __builtin_popcount(mask & 0xff), a.b, mask >> 8);
}
static inline vf f_half(const uint16_t *p, enum kvs_half half)
{
    vi x;
    if (half == KVS_F16) {
        const __m128i *at = (const void *)p;
        return (vf){_mm256_cvtph_ps(_mm_loadu_si128(at)), _mm256_cvtph_ps(_mm_loadu_si128(at + 1))};
    }
    x = i_u16(p);
    return f_as(i_sll(x, 16));
}
static inline void half_store(uint16_t *p, vf a, enum kvs_half half)
{
    if (half == KVS_F16) {
        __m128i *at = (void *)p;
        _mm_storeu_si128(at, _mm256_cvtps_ph(a.a, _MM_FROUND_TO_NEAREST_INT));
        _mm_storeu_si128(at + 1, _mm256_cvtps_ph(a.b, _MM_FROUND_TO_NEAREST_INT));
        return;
    }
    vi u = i_as(a), odd = i_and(i_srl(u, 16), i_set(1));
    i_store_u16(p, i_srl(i_add(u, i_add(odd, i_set(0x7fff))), 16)); /* never NaN here */
}
static inline void stream16(uint16_t *p, vf a, enum kvs_half half)
{
    uint16_t x[16];
    half_store(x, a, half);
    _mm256_stream_si256((void *)p, _mm256_loadu_si256((const void *)x));
}
static inline void half_store32(uint16_t *p, vf a, vf b, enum kvs_half half, bool stream)
{
    if (stream) {
        stream16(p, a, half);
        stream16(p + 16, b, half);
    } else {
        half_store(p, a, half);
        half_store(p + 16, b, half);
    }
}
static inline void stream_end(void)
{
    _mm_sfence();
}

#undef F2
#undef I2
#endif
