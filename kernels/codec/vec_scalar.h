/*
 * vec_scalar.h - 16 numbers at once in plain C: the definition of what vec_avx2.h and vec_avx512.h
 * do with the CPU's instructions. f_: floats; i_: 32-bit integers; masks have a bit a lane.
 */
#ifndef KVS_KVF_VEC_H
#define KVS_KVF_VEC_H

#include "half.h"

#include <math.h>

#define KVS_VEC_NAME scalar
#define INLINE static inline /* inlined throughout it would be half a megabyte of code */

typedef struct {
    float v[16];
} vf;
typedef struct {
    int32_t v[16];
} vi;
typedef unsigned vm; /* a bit a lane */

/* NOLINTBEGIN(bugprone-macro-parentheses): to is a declarator */
#define EACH(type, to, value)                                                                      \
    type to;                                                                                       \
    for (int i = 0; i < 16; i++)                                                                   \
        to.v[i] = value;                                                                           \
    return to
/* NOLINTEND(bugprone-macro-parentheses) */

static inline vf f_set(float x)
{
    EACH(vf, y, x);
}
static inline vf f_load(const float *p)
{
    EACH(vf, y, p[i]);
}
static inline void f_store(float *p, vf x)
{
    memcpy(p, x.v, sizeof x.v);
}
static inline vf f_add(vf a, vf b)
{
    EACH(vf, y, a.v[i] + b.v[i]);
}
static inline vf f_sub(vf a, vf b)
{
    EACH(vf, y, a.v[i] - b.v[i]);
}
static inline vf f_mul(vf a, vf b)
{
    EACH(vf, y, a.v[i] * b.v[i]);
}
/* a * b + c, rounded once: a product of at most 21 bits. As doubles it is exact and finite, also
 * beyond floats, and the sum either exact or far from a tie of floats. */
static inline vf f_fma(vf a, vf b, vf c)
{
    EACH(vf, y, (float)((double)a.v[i] * (double)b.v[i] + (double)c.v[i]));
}
static inline vf f_div(vf a, vf b)
{
    EACH(vf, y, a.v[i] / b.v[i]);
}
static inline vf f_min(vf a, vf b)
{
    EACH(vf, y, a.v[i] < b.v[i] ? a.v[i] : b.v[i]);
}
static inline vf f_max(vf a, vf b)
{
    EACH(vf, y, a.v[i] > b.v[i] ? a.v[i] : b.v[i]);
}
static inline float f_least(vf a)
{
    float y = a.v[0];
    for (int i = 1; i < 16; i++)
        y = a.v[i] < y ? a.v[i] : y;
    return y;
}
static inline float f_most(vf a)
{
    float y = a.v[0];
    for (int i = 1; i < 16; i++)
        y = a.v[i] > y ? a.v[i] : y;
    return y;
}
static inline vf f_of_i(vi a)
{
    EACH(vf, y, (float)a.v[i]);
}
static inline int32_t round_lane(float x)
{
    return fabsf(x) < 0x1p31f ? (int32_t)rintf(x) : INT32_MIN;
}
/* To nearest, ties to even; what does not fit, NaN too: INT32_MIN. */
static inline vi i_round(vf a)
{
    EACH(vi, y, round_lane(a.v[i]));
}
static inline vi i_trunc(vf a) /* of what fits */
{
    EACH(vi, y, (int32_t)a.v[i]);
}
static inline vf f_as(vi a)
{
    vf y;
    memcpy(&y, &a, sizeof y);
    return y;
}
static inline vi i_as(vf a)
{
    vi y;
    memcpy(&y, &a, sizeof y);
    return y;
}
static inline vf f_half(const uint16_t *p, enum kvs_half half)
{
    EACH(vf, y, kvs_f32_of_half(p[i], half));
}
static inline void half_store(uint16_t *p, vf a, enum kvs_half half)
{
    for (int i = 0; i < 16; i++)
        p[i] = kvs_half_of(a.v[i], half);
}
/* 32 numbers side by side; to where a multiple of 64 bytes is, past the caches if stream. */
static inline void half_store32(uint16_t *p, vf a, vf b, enum kvs_half half, bool stream)
{
    (void)stream;
    half_store(p, a, half);
    half_store(p + 16, b, half);
}
static inline void stream_end(void)
{
}
static inline vi i_set(int32_t x)
{
    EACH(vi, y, x);
}
static inline vi i_load(const void *p)
{
    vi y;
    memcpy(&y, p, sizeof y);
    return y;
}
static inline void i_store(void *p, vi x)
{
    memcpy(p, &x, sizeof x);
}
static inline vi i_add(vi a, vi b)
{
    EACH(vi, y, (int32_t)((uint32_t)a.v[i] + (uint32_t)b.v[i]));
}
static inline vi i_sub(vi a, vi b)
{
    EACH(vi, y, (int32_t)((uint32_t)a.v[i] - (uint32_t)b.v[i]));
}
static inline vi i_mul(vi a, vi b)
{
    EACH(vi, y, (int32_t)((uint32_t)a.v[i] * (uint32_t)b.v[i]));
}
static inline vi i_and(vi a, vi b)
{
    EACH(vi, y, a.v[i] & b.v[i]);
}
static inline vi i_or(vi a, vi b)
{
    EACH(vi, y, a.v[i] | b.v[i]);
}
static inline vi i_min(vi a, vi b)
{
    EACH(vi, y, a.v[i] < b.v[i] ? a.v[i] : b.v[i]);
}
static inline vi i_min_unsigned(vi a, vi b)
{
    EACH(vi, y, (uint32_t)a.v[i] < (uint32_t)b.v[i] ? a.v[i] : b.v[i]);
}
static inline vi i_max(vi a, vi b)
{
    EACH(vi, y, a.v[i] > b.v[i] ? a.v[i] : b.v[i]);
}
static inline vi i_srl(vi a, int n)
{
    EACH(vi, y, (int32_t)((uint32_t)a.v[i] >> n));
}
static inline vi i_sra(vi a, int n)
{
    EACH(vi, y, a.v[i] >> n);
}
static inline vi i_sll(vi a, int n)
{
    EACH(vi, y, (int32_t)((uint32_t)a.v[i] << n));
}
static inline vi i_srlv(vi a, vi n) /* each by its own, under 32 */
{
    EACH(vi, y, (int32_t)((uint32_t)a.v[i] >> n.v[i]));
}
static inline vi i_sllv(vi a, vi n)
{
    EACH(vi, y, (int32_t)((uint32_t)a.v[i] << n.v[i]));
}
static inline vi i_u8(const uint8_t *p)
{
    EACH(vi, y, p[i]);
}
static inline void i_store_u8(uint8_t *p, vi a) /* the low byte of each */
{
    for (int i = 0; i < 16; i++)
        p[i] = (uint8_t)a.v[i];
}
static inline vi i_u16(const uint16_t *p)
{
    EACH(vi, y, p[i]);
}
static inline void i_store_u16(uint16_t *p, vi a)
{
    for (int i = 0; i < 16; i++)
        p[i] = (uint16_t)a.v[i];
}
/* y / freq below 2^20, or one more; of lanes without freq anything */
static inline vi i_quotient(vi y, vi freq)
{
    EACH(vi, q, freq.v[i] > 0 ? y.v[i] / freq.v[i] : 0);
}
static inline vi i_gather(const uint32_t *table, vi at)
{
    EACH(vi, y, (int32_t)table[at.v[i]]);
}
static inline vi i_gather16(const uint16_t *table, vi at) /* by the low 16 bits */
{
    EACH(vi, y, table[at.v[i] & 0xffff]);
}
/* Lanes where a < b, signed. */
static inline vm i_lt(vi a, vi b)
{
    unsigned mask = 0;
    for (int i = 0; i < 16; i++)
        mask |= (unsigned)(a.v[i] < b.v[i]) << i;
    return mask;
}
static inline vm i_ge(vi a, vi b)
{
    return i_lt(a, b) ^ 0xffff;
}
static inline unsigned m_bits(vm mask)
{
    return mask;
}
/* value where the mask has a bit, else 0 */
static inline vi i_bits(vm mask, int32_t value)
{
    EACH(vi, y, mask >> i & 1 ? value : 0);
}
/* or what has value where the mask has a bit */
static inline vi i_or_bits(vi a, vm mask, int32_t value)
{
    return i_or(a, i_bits(mask, value));
}
/* a where the mask has a bit, else b */
static inline vi i_pick(vm mask, vi a, vi b)
{
    EACH(vi, y, mask >> i & 1 ? a.v[i] : b.v[i]);
}
/* Lanes of the mask take the words at p in turn: x << 16 | word. 32 bytes at p may be read. */
static inline vi i_fill(vi a, vm mask, const uint16_t *p)
{
    EACH(vi, y, mask >> i & 1 ? (int32_t)((uint32_t)a.v[i] << 16 | *p++) : a.v[i]);
}
/* The low 16 bits of the mask's lanes go to p, side by side; 32 bytes at p may be written. */
static inline void i_spill(uint16_t *p, vi a, vm mask)
{
    for (int i = 0; i < 16; i++)
        if (mask >> i & 1)
            *p++ = (uint16_t)a.v[i];
}

#undef EACH
#endif
