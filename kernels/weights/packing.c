/*
 * packing.c - stored elements to f32. Block layouts as GGUF's files define them: a block's scale d
 * (and minimum m) in half precision before its codes, two 4-bit codes a byte, low halves first.
 */
#include "tensors.h"

#include "kernels/elem.h"

#include <math.h>

const char kvs_packing_known[] = "F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q4_K, Q6_K";

uint16_t kvs_le16(const uint8_t *at)
{
    return (uint16_t)(at[0] | at[1] << 8);
}

uint32_t kvs_le32(const uint8_t *at)
{
    return (uint32_t)kvs_le16(at) | (uint32_t)kvs_le16(at + 2) << 16;
}

uint64_t kvs_le64(const uint8_t *at)
{
    return (uint64_t)kvs_le32(at) | (uint64_t)kvs_le32(at + 4) << 32;
}

static float half(const uint8_t *at)
{
    uint16_t bits = kvs_le16(at);
    int exponent = bits >> 10 & 31;
    float fraction = (float)(bits & 1023), value;

    if (exponent == 31)
        value = fraction == 0 ? INFINITY : NAN;
    else if (exponent == 0)
        value = ldexpf(fraction, -24);
    else
        value = ldexpf(fraction + 1024, exponent - 25);
    return bits & 0x8000 ? -value : value;
}

static void unpack_f32(float *to, const uint8_t *from)
{
    uint32_t bits = kvs_le32(from);
    memcpy(to, &bits, sizeof bits);
}

static void unpack_f16(float *to, const uint8_t *from)
{
    *to = half(from);
}

static void unpack_bf16(float *to, const uint8_t *from)
{
    *to = kvs_f32_of_bf16(kvs_le16(from));
}

static void unpack_q8_0(float *to, const uint8_t *from)
{
    float d = half(from);
    for (int i = 0; i < 32; i++)
        to[i] = d * (float)(int8_t)from[2 + i];
}

static void unpack_q4_0(float *to, const uint8_t *from)
{
    float d = half(from);
    for (int i = 0; i < 16; i++) {
        to[i] = d * (float)((from[2 + i] & 15) - 8);
        to[i + 16] = d * (float)((from[2 + i] >> 4) - 8);
    }
}

static void unpack_q4_1(float *to, const uint8_t *from)
{
    float d = half(from), m = half(from + 2);
    for (int i = 0; i < 16; i++) {
        to[i] = d * (float)(from[4 + i] & 15) + m;
        to[i + 16] = d * (float)(from[4 + i] >> 4) + m;
    }
}

/* Eight groups of 32; their 6-bit scales and minima share 12 bytes. */
static void unpack_q4_k(float *to, const uint8_t *from)
{
    float d = half(from), min = half(from + 2);
    const uint8_t *packed = from + 4, *code = from + 16;

    for (int g = 0; g < 8; g++) {
        int scale = g < 4 ? packed[g] & 63 : (packed[g + 4] & 15) | packed[g - 4] >> 6 << 4;
        int low = g < 4 ? packed[g + 4] & 63 : packed[g + 4] >> 4 | packed[g] >> 6 << 4;
        for (int i = 0; i < 32; i++) {
            int byte = code[g / 2 * 32 + i];
            to[g * 32 + i] =
                d * (float)scale * (float)(g % 2 ? byte >> 4 : byte & 15) - min * (float)low;
        }
    }
}

/* 6-bit codes: four low bits in ql, two high in qh; 16 groups of 16 with 8-bit scales. */
static void unpack_q6_k(float *to, const uint8_t *from)
{
    float d = half(from + 208);

    for (int h = 0; h < 2; h++) {
        const uint8_t *ql = from + 64 * h, *qh = from + 128 + 32 * h, *scale = from + 192 + 8 * h;
        for (int quarter = 0; quarter < 4; quarter++)
            for (int i = 0; i < 32; i++) {
                int low = ql[i + quarter % 2 * 32] >> (quarter / 2 * 4) & 15;
                int code = (low | (qh[i] >> 2 * quarter & 3) << 4) - 32;
                to[128 * h + 32 * quarter + i] =
                    d * (float)(int8_t)scale[2 * quarter + i / 16] * (float)code;
            }
    }
}

static const struct kvs_packing packings[] = {
    {0, "F32", 1, 4, unpack_f32},        {1, "F16", 1, 2, unpack_f16},
    {2, "Q4_0", 32, 18, unpack_q4_0},    {3, "Q4_1", 32, 20, unpack_q4_1},
    {8, "Q8_0", 32, 34, unpack_q8_0},    {12, "Q4_K", 256, 144, unpack_q4_k},
    {14, "Q6_K", 256, 210, unpack_q6_k}, {30, "BF16", 1, 2, unpack_bf16},
};
enum { N_PACKING = sizeof packings / sizeof packings[0] };

const struct kvs_packing *kvs_packing_of(uint32_t id)
{
    for (int i = 0; i < N_PACKING; i++)
        if (packings[i].id == id)
            return &packings[i];
    return NULL;
}

const struct kvs_packing *kvs_packing_named(const char *name)
{
    for (int i = 0; i < N_PACKING; i++)
        if (packings[i].n_block == 1 && strcmp(packings[i].name, name) == 0)
            return &packings[i];
    return NULL;
}
