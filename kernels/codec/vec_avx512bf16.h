/*
 * vec_avx512bf16.h - see vec_avx512.h: of CPUs that have VBMI2 and BF16 too.
 *
 * Their rounding to bf16 takes numbers less than 2^-126 for 0. Elements are multiples of what
 * means, minima and steps, of 8 bits, have in their last bit, times 2^-9 where numbers are fp8: if
 * none of those is less than 2^-110, but 0, no such number comes. Where one is, avx512 does the
 * work.
 */
#ifndef KVS_VEC_NAME
#define KVS_VEC_NAME avx512bf16
#endif
#define KVS_VEC_BF16

#include "vec_avx512.h"
