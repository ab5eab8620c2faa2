/*
 * kern_vec.h - what the files kern*.c share: numbers of the instruction set, named by
 * KVS_VEC_HEADER, ends of rows, and the loops as kern.h describes them, named after the set.
 */
#ifndef KVS_KVF_KERN_VEC_H
#define KVS_KVF_KERN_VEC_H

#include "kern.h"

#ifndef KVS_VEC_HEADER /* for those who read this by itself */
#define KVS_VEC_HEADER "vec_scalar.h"
#endif
#include KVS_VEC_HEADER

#include "rans.h"

#ifndef INLINE
#define INLINE static inline __attribute__((always_inline))
#endif
#define KERN__(set, name) kvs_kvf_##set##_##name
#define KERN_(set, name) KERN__(set, name)
#define KERN(name) KERN_(KVS_VEC_NAME, name)

void KERN(widen)(float *to, const uint16_t *from, size_t n, enum kvs_half half);
unsigned KERN(max_bits)(const uint16_t *x, size_t n);
bool KERN(range)(float *low, float *high, const uint16_t *x, size_t stride, uint32_t n_tok,
                 uint32_t n_chan, enum kvs_half half);
bool KERN(range_row)(float *low, float *high, const uint16_t *x, uint32_t n_chan, uint32_t group,
                     enum kvs_half half);
void KERN(scales)(uint16_t *low16, uint16_t *step16, float *inverse, const float *low,
                  const float *high, uint32_t n, float top, enum kvs_half half);
unsigned KERN(moments)(float *sum, float *square, const uint16_t *x, uint32_t n_tok,
                       uint32_t n_chan, enum kvs_half half);
void KERN(pack)(const struct kvs_rows_job *job);
void KERN(unpack)(const struct kvs_rows_job *job);
bool KERN(quantise)(uint8_t *symbol, const uint16_t *x, const float *mean, const float *inverse,
                    uint32_t n_chan, enum kvs_half half);
void KERN(places)(uint64_t *place, const uint16_t *base, const uint8_t *symbol, const uint16_t *x,
                  const float *mean, const float *inverse, uint32_t n_chan, enum kvs_half half);
void KERN(count)(uint32_t count[256], uint32_t *pair, const uint8_t *symbol, size_t stride,
                 uint32_t n_tok, uint32_t n_chan);
void KERN(count_pairs)(uint32_t count[256], const uint32_t *pair);
void KERN(count_each)(uint32_t *count, const uint16_t *base, const uint8_t *symbol, size_t stride,
                      uint32_t n_tok, uint32_t n_chan);
void KERN(sort)(uint8_t *by, const float *x, uint32_t n);
void KERN(place)(uint8_t *symbol, size_t stride, uint32_t n_tok, const uint8_t *from,
                 uint32_t n_chan);
void KERN(turn)(uint16_t *to, const uint16_t *from, size_t n);
bool KERN(outside)(const uint8_t *symbol, const uint8_t *low, const uint8_t *last, uint32_t n_chan);
bool KERN(rans_decode)(const struct kvs_stream_job *job, unsigned n, const uint32_t *table,
                       enum kvs_half half);
/* the same by lookups in registers: whole 32s of channels that have `small` or `each` */
bool KERN(rans_look)(const struct kvs_stream_job *job, unsigned n, enum kvs_half half);
void KERN(rans_encode)(struct kvs_stream_job *job, unsigned n, const uint32_t *rest);

/* what differs is constant inside */
#define BY_HALF(f, ...)                                                                            \
    do {                                                                                           \
        if (job->half == KVS_F16)                                                                  \
            f(job, __VA_ARGS__, KVS_F16, 64);                                                      \
        else                                                                                       \
            f(job, __VA_ARGS__, KVS_HALF_BF16, 64);                                                \
    } while (0)
#define BY_TOKEN(f, level)                                                                         \
    do {                                                                                           \
        if (job->by_token)                                                                         \
            BY_HALF(f, level, true);                                                               \
        else                                                                                       \
            BY_HALF(f, level, false);                                                              \
    } while (0)

INLINE vf load(const uint16_t *x, uint32_t left, enum kvs_half half)
{
    uint16_t end[16] = {0};
    if (left >= 16)
        return f_half(x, half);
    memcpy(end, x, left * sizeof *x);
    return f_half(end, half);
}

INLINE vi load_bits(const uint16_t *x, uint32_t left)
{
    uint16_t end[16] = {0};
    if (left >= 16)
        return i_u16(x);
    memcpy(end, x, left * sizeof *x);
    return i_u16(end);
}

INLINE void store(uint16_t *x, vf value, uint32_t left, enum kvs_half half)
{
    uint16_t end[16];
    if (left >= 16) {
        half_store(x, value, half);
        return;
    }
    half_store(end, value, half);
    memcpy(x, end, left * sizeof *x);
}

INLINE void store_bits(uint16_t *x, vi value, uint32_t left)
{
    uint16_t end[16];
    if (left >= 16) {
        i_store_u16(x, value);
        return;
    }
    i_store_u16(end, value);
    memcpy(x, end, left * sizeof *x);
}

#endif
