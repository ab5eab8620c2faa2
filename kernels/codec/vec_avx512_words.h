/*
 * vec_avx512_words.h - what AVX-512 does with 32 words of 16 bits: tables in registers, states of
 * rANS in halves, extremes, numbers of 16 bits by the vector. The end of vec_avx512.h, which
 * alone includes it.
 */
#ifndef KVS_KVF_WORDS_H
#define KVS_KVF_WORDS_H

/* 64 numbers of 16 bits, looked up by the low 6 bits of what may have more */
#define KVS_VEC_LOOKUP
typedef struct {
    __m512i low, high;
} vt;
static inline vt i_lookup_table(const uint16_t *p)
{
    return (vt){_mm512_loadu_si512(p), _mm512_loadu_si512(p + 32)};
}
/* 32 words of 16 bits */
static inline vi w_u8(const uint8_t *p)
{
    return _mm512_cvtepu8_epi16(_mm256_loadu_si256((const void *)p));
}
static inline vi w_u8_twice(const uint8_t *p) /* 16 bytes, and once more */
{
    return _mm512_cvtepu8_epi16(_mm256_broadcastsi128_si256(_mm_loadu_si128((const void *)p)));
}
static inline vi w_or_bits(vi a, uint32_t mask, int16_t value)
{
    return _mm512_or_si512(a, _mm512_maskz_set1_epi16(mask, value));
}
static inline vi w_srl4(vi a)
{
    return _mm512_srli_epi16(a, 4);
}
static inline vi w_add(vi a, vi b)
{
    return _mm512_add_epi16(a, b);
}
static inline vi w_sub(vi a, vi b)
{
    return _mm512_sub_epi16(a, b);
}
static inline vi w_mul(vi a, vi b) /* lower halves */
{
    return _mm512_mullo_epi16(a, b);
}
static inline vi w_mul_high(vi a, vi b) /* upper halves, unsigned */
{
    return _mm512_mulhi_epu16(a, b);
}
static inline vi w_set(int16_t x)
{
    return _mm512_set1_epi16(x);
}
static inline vi w_sllv(vi a, vi n)
{
    return _mm512_sllv_epi16(a, n);
}
static inline vi w_srlv(vi a, vi n)
{
    return _mm512_srlv_epi16(a, n);
}
static inline vi w_lookup(const vt *table, vi at)
{
    return _mm512_permutex2var_epi16(table->low, at, table->high);
}
static inline vi w_lookup_at(const uint16_t table[64], vi at)
{
    return _mm512_permutex2var_epi16(_mm512_loadu_si512(table), at, _mm512_loadu_si512(table + 32));
}
static inline vi w_lookup32(vi table, vi at) /* by the low 5 bits */
{
    return _mm512_permutexvar_epi16(at, table);
}
/* in 128, by the low 7 bits */
static inline vi w_lookup2(const vt table[2], vi at)
{
    return _mm512_mask_mov_epi16(w_lookup(table, at),
                                 _mm512_test_epi16_mask(at, _mm512_set1_epi16(64)),
                                 w_lookup(table + 1, at));
}
typedef __mmask32 wm;                       /* of words */
static inline vi w_and_or(vi a, vi b, vi c) /* a & b | c */
{
    enum { A_AND_B_OR_C = 0xea };
    return _mm512_ternarylogic_epi32(a, b, c, A_AND_B_OR_C);
}
static inline vi w_rotate11(vi a) /* to the left */
{
#ifdef __AVX512VBMI2__
    return _mm512_shldi_epi16(a, a, 11);
#else
    return _mm512_or_si512(_mm512_slli_epi16(a, 11), _mm512_srli_epi16(a, 5));
#endif
}
static inline vi w_add_where(wm mask, vi a, vi b) /* a elsewhere */
{
    return _mm512_mask_add_epi16(a, mask, a, b);
}
static inline wm w_lt_unsigned(vi a, vi b)
{
    return _mm512_cmplt_epu16_mask(a, b);
}
/* of 32 numbers a vector has 16 each: their lower halves, their upper halves */
static inline vi w_lower(vi a, vi b)
{
    static const uint16_t at[32] = {0,  2,  4,  6,  8,  10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30,
                                    32, 34, 36, 38, 40, 42, 44, 46, 48, 50, 52, 54, 56, 58, 60, 62};
    return _mm512_permutex2var_epi16(a, _mm512_loadu_si512(at), b);
}
static inline vi w_upper(vi a, vi b)
{
    static const uint16_t at[32] = {1,  3,  5,  7,  9,  11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31,
                                    33, 35, 37, 39, 41, 43, 45, 47, 49, 51, 53, 55, 57, 59, 61, 63};
    return _mm512_permutex2var_epi16(a, _mm512_loadu_si512(at), b);
}
/* numbers of 32 bits in two halves, n bits to the right: their lower half */
static inline vi w_shift_in(vi high, vi low, vi n)
{
#ifdef __AVX512VBMI2__
    return _mm512_shrdv_epi16(low, high, n);
#else
    return _mm512_or_si512(_mm512_srlv_epi16(low, n),
                           _mm512_sllv_epi16(high, _mm512_sub_epi16(_mm512_set1_epi16(16), n)));
#endif
}
/* over: 0 or not; where it is 0, numbers in two halves become 16 bits to the left and the next
 * words, of which how many is told. 32 words are read. */
static inline unsigned w_fill(vi *high, vi *low, vi over, const uint16_t *p)
{
    __mmask32 less = _mm512_testn_epi16_mask(over, over);
    *high = _mm512_mask_mov_epi16(*high, less, *low);
#ifdef __AVX512VBMI2__
    *low = _mm512_mask_expand_epi16(*low, less, _mm512_loadu_si512(p));
    return (unsigned)__builtin_popcount(less);
#else
    unsigned n = (unsigned)_mm_popcnt_u32((uint16_t)less);
    vi a = _mm512_maskz_expand_epi32((__mmask16)less, i_u16(p));
    vi b = _mm512_maskz_expand_epi32((__mmask16)_kshiftri_mask32(less, 16), i_u16(p + n));
    *low = _mm512_mask_mov_epi16(*low, less, w_lower(a, b));
    return (unsigned)_mm_popcnt_u32(less);
#endif
}
/* whether numbers in two halves are 2^15 or more: 0 or not */
static inline vi w_over(vi high, vi low)
{
    return w_and_or(low, _mm512_set1_epi16((int16_t)-0x8000), high);
}
static inline vi w_add_most(vi a, vi b) /* unsigned, 2^16 - 1 at most */
{
    return _mm512_adds_epu16(a, b);
}
/* 1 where a + b, which came to sum, is 2^16 or more */
static inline vi w_carry(vi a, vi b, vi sum)
{
    enum { A_AND_B_OR_EITHER_NOT_C = 0xd4 };
    return _mm512_srli_epi16(_mm512_ternarylogic_epi32(a, b, sum, A_AND_B_OR_EITHER_NOT_C), 15);
}
static inline void w_store(uint16_t *p, vi x, bool stream) /* stream: p at a multiple of 64 bytes */
{
    if (stream)
        _mm512_stream_si512((void *)p, x);
    else
        _mm512_storeu_si512(p, x);
}
/* 32 numbers in the order of signed words, and back; NaN is beyond what is infinite */
static inline vi w_order(vi x)
{
    enum { A_XOR_B_AND_C = 0x78 };
    return _mm512_ternarylogic_epi32(x, _mm512_srai_epi16(x, 15), _mm512_set1_epi16(0x7fff),
                                     A_XOR_B_AND_C);
}
static inline vi w_min(vi a, vi b)
{
    return _mm512_min_epi16(a, b);
}
static inline vi w_min_unsigned(vi a, vi b)
{
    return _mm512_min_epu16(a, b);
}
static inline vi w_max(vi a, vi b)
{
    return _mm512_max_epi16(a, b);
}
/* The least of each eight vectors' 32 words */
static inline __m128i w_least8(const vi a[8])
{
    vi b[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) { /* 16 words left of each: 0 and 2, 1 and 3, 4 and 6, 5 and 7 */
        vi x = a[i / 2 * 4 + i % 2], y = a[i / 2 * 4 + i % 2 + 2];
        b[i] = w_min(_mm512_shuffle_i64x2(x, y, 0x44), _mm512_shuffle_i64x2(x, y, 0xee));
    }
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++) /* 8 words: 0, 2, 4, 6 and 1, 3, 5, 7 */
        b[i] = w_min(_mm512_shuffle_i64x2(b[i], b[i + 2], 0x88),
                     _mm512_shuffle_i64x2(b[i], b[i + 2], 0xdd));
    vi x = w_min(_mm512_unpacklo_epi64(b[0], b[1]), _mm512_unpackhi_epi64(b[0], b[1]));
    x = w_min(x, _mm512_srli_epi64(x, 32));
    return _mm512_cvtepi64_epi16(w_min(x, _mm512_srli_epi32(x, 16)));
}
/* Words in w_order's order: whether some are off -huge .. huge */
static inline bool w_beyond(vi least, vi most, uint16_t huge)
{
    __mmask32 below = _mm512_cmplt_epi16_mask(least, _mm512_set1_epi16((int16_t)(-1 - huge)));
    return (below | _mm512_cmpgt_epi16_mask(most, _mm512_set1_epi16((int16_t)huge))) != 0;
}
/* The least of eight vectors in w_order's order, widened; turned: of their complements. Whether
 * some are off what kvs_half_huge bounds. */
static inline bool w_least8_store(float *to, const vi a[8], bool turned, enum kvs_half half)
{
    const int16_t huge = (int16_t)kvs_half_huge(half);
    __m128i x = w_least8(a);
    if (turned)
        x = _mm_xor_si128(x, _mm_set1_epi16(-1));
    __mmask8 off = _mm_cmplt_epi16_mask(x, _mm_set1_epi16((int16_t)(-1 - huge))) |
                   _mm_cmpgt_epi16_mask(x, _mm_set1_epi16(huge));
    x = _mm_xor_si128(x, _mm_srli_epi16(_mm_srai_epi16(x, 15), 1));
    _mm256_storeu_ps(
        to, half == KVS_F16 ? _mm256_maskz_cvtph_ps(255, x)
                            : _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16)));
    return off != 0;
}
/* 32 bytes as words, and back from places of a row of 128 words at a multiple of 64 bytes */
static inline void w_widen32(uint16_t *row, const uint8_t *from)
{
    _mm512_store_si512(row, w_u8(from));
}
static inline void w_pick32(uint8_t *to, const uint16_t *row, const uint8_t *from)
{
    vt both[2] = {i_lookup_table(row), i_lookup_table(row + 64)};
    _mm256_storeu_si256((void *)to, _mm512_cvtepi16_epi8(w_lookup2(both, w_u8(from))));
}
static inline vi w_halves(vi low, vi high) /* lanes 0 to 15 of one, 16 to 31 of the other */
{
    return _mm512_mask_blend_epi64(0xf0, low, high);
}
/* low | high << 16 of one half of 32, the last first */
static inline vi i_weave_back(vi low, vi high, unsigned half)
{
    static const uint16_t from[2][32] = {
        {15, 47, 14, 46, 13, 45, 12, 44, 11, 43, 10, 42, 9, 41, 8, 40,
         7,  39, 6,  38, 5,  37, 4,  36, 3,  35, 2,  34, 1, 33, 0, 32},
        {31, 63, 30, 62, 29, 61, 28, 60, 27, 59, 26, 58, 25, 57, 24, 56,
         23, 55, 22, 54, 21, 53, 20, 52, 19, 51, 18, 50, 17, 49, 16, 48},
    };
    return _mm512_permutex2var_epi16(low, _mm512_loadu_si512(from[half]), high);
}
/* 32 words of 0 to 2^16 - 1, less `less` */
static inline vf2 f_of_w(vi a, int less)
{
    static const uint16_t at[2][32] = {
        {0, 32, 1, 32, 2,  32, 3,  32, 4,  32, 5,  32, 6,  32, 7,  32,
         8, 32, 9, 32, 10, 32, 11, 32, 12, 32, 13, 32, 14, 32, 15, 32},
        {16, 32, 17, 32, 18, 32, 19, 32, 20, 32, 21, 32, 22, 32, 23, 32,
         24, 32, 25, 32, 26, 32, 27, 32, 28, 32, 29, 32, 30, 32, 31, 32},
    };
    enum { EXPONENT_23 = 0x4b00 }; /* then the 16 bits: 2^23 + a */
    const vi exponent = _mm512_set1_epi16(EXPONENT_23);
    const vf base = _mm512_set1_ps((float)((1 << 23) + less));
    return (vf2){
        f_sub(f_as(_mm512_permutex2var_epi16(a, _mm512_loadu_si512(at[0]), exponent)), base),
        f_sub(f_as(_mm512_permutex2var_epi16(a, _mm512_loadu_si512(at[1]), exponent)), base)};
}
/*
 * 32 numbers, never NaN here, rounded to bf16, ties to even: upper halves, and one more where the
 * lower one and the upper's last bit are over 2^15: the mean of low and 0x7ffe + bit, rounded up,
 * is 2^15 or more.
 */
static inline __m512i bf16_both(vf a, vf b)
{
    vi high = w_upper(i_as(a), i_as(b)), low = w_lower(i_as(a), i_as(b));
    enum { A_AND_B_OR_C = 0xea };
    __m512i with = _mm512_ternarylogic_epi32(high, _mm512_set1_epi16(1), _mm512_set1_epi16(0x7ffe),
                                             A_AND_B_OR_C);
    return _mm512_add_epi16(high, _mm512_srli_epi16(_mm512_avg_epu16(low, with), 15));
}
#ifdef KVS_VEC_BF16
/* Whether some of n numbers, but 0, is less than 2^-110. */
static inline bool f_tiny(const float *x, size_t n)
{
    const __m512i least = _mm512_set1_epi32(((127 - 110) << 23) - 1);
    __mmask16 tiny = 0;

    for (size_t i = 0; i < n; i += 16) {
        __mmask16 lanes = (__mmask16)(n - i < 16 ? (1u << (n - i)) - 1 : 0xffff);
        __m512i bits = _mm512_slli_epi32(_mm512_maskz_loadu_epi32(lanes, x + i), 1);
        bits = _mm512_sub_epi32(_mm512_srli_epi32(bits, 1), _mm512_set1_epi32(1)); /* 0: the most */
        tiny |= _mm512_cmplt_epu32_mask(bits, least);
    }
    return tiny != 0;
}
#endif
static inline vi w_half(vf a, vf b, enum kvs_half half)
{
#ifdef KVS_VEC_BF16
    if (half != KVS_F16)
        return (vi)_mm512_cvtne2ps_pbh(b, a); /* takes less than 2^-126 for 0 */
#endif
    if (half != KVS_F16)
        return bf16_both(a, b);
    return _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT)),
                              _mm512_cvtps_ph(b, _MM_FROUND_TO_NEAREST_INT), 1);
}
static inline void half_store32(uint16_t *p, vf a, vf b, enum kvs_half half, bool stream)
{
    w_store(p, w_half(a, b, half), stream);
}

#endif
