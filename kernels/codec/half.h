/*
 * half.h - numbers of 16 bits: f16 (IEEE 754 binary16) and bf16, to f32 and back.
 *
 * To nearest, ties to even; to f16 too large a number becomes infinite. Plain C for every compiler;
 * the SIMD copies use the CPU's own conversions, which agree on every number.
 */
#ifndef KVS_KVF_HALF_H
#define KVS_KVF_HALF_H

#include "codec.h"
#include "kernels/elem.h"

static inline float kvs_f32_of_f16(uint16_t f16)
{
    uint32_t sign = (uint32_t)(f16 & 0x8000u) << 16, bits = (uint32_t)(f16 & 0x7fffu) << 13;
    float value;

    if (bits >= 0x0f800000u) { /* infinite or NaN */
        bits |= 0x7f800000u | sign;
        memcpy(&value, &bits, sizeof value);
        return value;
    }
    memcpy(&value, &bits, sizeof value);
    value *= 0x1p112f; /* exact, subnormal numbers too */
    memcpy(&bits, &value, sizeof bits);
    bits |= sign;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint16_t kvs_f16_of(float value)
{
    uint32_t bits;

    memcpy(&bits, &value, sizeof bits);
    uint32_t sign = bits >> 16 & 0x8000u;
    bits &= 0x7fffffffu;
    if (bits > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00u | (bits >> 13 & 0x1ffu));
    if (bits >= 0x477ff000u) /* 65520 and more */
        return (uint16_t)(sign | 0x7c00u);
    if (bits <
        0x38800000u) { /* below 2^-14: subnormal, the sum with 0.5 leaves it in the low bits */
        float small;
        memcpy(&small, &bits, sizeof small);
        small += 0.5f;
        memcpy(&bits, &small, sizeof bits);
        return (uint16_t)(sign | (bits - 0x3f000000u));
    }
    bits += 0xfffu + (bits >> 13 & 1u) - (112u << 23);
    return (uint16_t)(sign | bits >> 13);
}

static inline float kvs_f32_of_half(uint16_t x, enum kvs_half half)
{
    return half == KVS_F16 ? kvs_f32_of_f16(x) : kvs_f32_of_bf16(x);
}

static inline uint16_t kvs_half_of(float value, enum kvs_half half)
{
    return half == KVS_F16 ? kvs_f16_of(value) : kvs_bf16_of(value);
}

/* The largest finite number, and the largest that is quantised (more is kept as it is): 2^15 and
 * 2^48, so that no step overflows, nor a sum of squares of a block. As bits without the sign. */
static inline uint16_t kvs_half_max(enum kvs_half half)
{
    return half == KVS_F16 ? 0x7bff : 0x7f7f;
}
static inline uint16_t kvs_half_huge(enum kvs_half half)
{
    return half == KVS_F16 ? 0x7800 : 0x5780;
}

#endif
