/*
 * elem.h - element types of tensors, and how bfloat16 is rounded.
 *
 * Plain C that nvcc and g++ take too: the kernels, their launchers and the references share it.
 */
#ifndef KVS_ELEM_H
#define KVS_ELEM_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum kvs_elem { KVS_U8, KVS_BF16, KVS_F32 };

static inline size_t kvs_elem_bytes(enum kvs_elem elem)
{
    return (size_t)1 << elem;
}

/* To nearest, ties to even; NaN stays NaN. */
static inline uint16_t kvs_bf16_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(bits >> 16 | 0x40u);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

static inline float kvs_f32_of_bf16(uint16_t bf16)
{
    uint32_t bits = (uint32_t)bf16 << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

#endif
