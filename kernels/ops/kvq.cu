/*
 * kvq.cu - elements to sections' integers: packed levels whole, parameters and payload; of e-levels
 * the sums that steps come from, and the symbols. The same bits as kernels/codec/kern.c: sums in
 * its order, no multiplication joined with an addition.
 */
#include "kernels/dialect.h"

extern "C" {
#include "kernels/codec/gpu.h"
}

/* Channels of a packed chunk; threads of the others. */
enum { WIDE = 64, BLOCK = 128 };
constexpr uint32_t MAX_Y = 1024; /* rows of blocks: each takes every 1024th token */

#ifdef __CUDACC__
#include <cuda_fp16.h>
KVS_FN float kvq_wide(uint16_t x, enum kvs_half half)
{
    return half == KVS_F16 ? __half2float(__ushort_as_half(x)) : kvs_to_f32(x);
}
KVS_FN uint16_t kvq_narrow(float x, enum kvs_half half)
{
    return half == KVS_F16 ? __half_as_ushort(__float2half_rn(x)) : kvs_to_bf16(x);
}
KVS_FN float kvq_add(float a, float b)
{
    return __fadd_rn(a, b);
}
KVS_FN float kvq_mul(float a, float b)
{
    return __fmul_rn(a, b);
}
KVS_FN void kvq_count(uint32_t *n)
{
    atomicAdd(n, 1u);
}
#else
extern "C" {
#include "kernels/codec/half.h"
}
KVS_FN float kvq_wide(uint16_t x, enum kvs_half half)
{
    return kvs_f32_of_half(x, half);
}
KVS_FN uint16_t kvq_narrow(float x, enum kvs_half half)
{
    return kvs_half_of(x, half);
}
KVS_FN float kvq_add(float a, float b)
{
    return a + b;
}
KVS_FN float kvq_mul(float a, float b)
{
    return a * b;
}
KVS_FN void kvq_count(uint32_t *n)
{
    kvs_st(n, kvs_ld(n) + 1);
}
#endif

/* To nearest, ties to even; what does not fit, NaN too: INT32_MIN. */
KVS_FN int32_t kvq_round(float x)
{
    return fabsf(x) < 0x1p31f ? (int32_t)rintf(x) : INT32_MIN;
}

/* As `scales` of kern.c: step as stored, rounded up; what one unit is by then, inverted. */
KVS_FN uint16_t kvq_step(float low, float high, float top, enum kvs_half half, float *inverse)
{
    float wide = high - (low + 0.f) + 0.f;
    uint16_t bits = kvq_narrow(kvq_mul(wide, 1 / top), half);
    if (kvq_mul(kvq_wide(bits, half), top) < wide && !KVS_MUT(90))
        bits++;
    float step = kvq_wide(bits, half);
    *inverse = step > 0 ? fminf(1 / step, 3e38f) : 0.f;
    return bits;
}

KVS_FN uint32_t kvq_code(float value, float low, float inverse, int32_t top)
{
    int32_t q = kvq_round(kvq_mul(value - low, inverse));
    return (uint32_t)(q < 0 ? 0 : q > top ? top : q);
}

/* 64 integers side by side, as format.h has them, from shared memory. */
KVS_FN void kvq_put(uint8_t *row, const uint32_t *q, enum kvs_level level, uint32_t c,
                    uint32_t n_chan, uint32_t lane)
{
    if (level == KVS_P8) {
        kvs_st(&row[c + lane], (uint8_t)q[lane]);
    } else if (level == KVS_P4) {
        if (lane < 32 || KVS_MUT(113))
            kvs_st(&row[c / 2 + lane], (uint8_t)(q[lane] | q[lane % 32 + 32] << 4));
    } else if (lane < 16 || (KVS_MUT(114) && level == KVS_P2)) {
        uint32_t bits = 0;
        for (uint32_t k = 0; k < 4; k++)
            bits |= (q[lane % 16 + 16 * k] & 3u) << 2 * k;
        kvs_st(&row[c / 4 + lane], (uint8_t)bits);
    } else if (level == KVS_P3 && (lane < 24 || KVS_MUT(115)) && !KVS_MUT(91)) {
        uint32_t bits = 0, b = lane - 16;
        for (uint32_t k = 0; k < 8; k++)
            bits |= (q[8 * (b % 8) + k] >> 2) << k;
        kvs_st(&row[(n_chan + 63) / 64 * 16 + c / 8 + b], (uint8_t)bits);
    }
}

/* A block 64 channels of 64 tokens (K: of a group), a thread a channel. */
KVS_KERNEL kvq_pack_kernel(struct kvs_kvq_pack job)
{
    uint32_t *q = (uint32_t *)kvs_shared_mem();
    float *least = (float *)(q + WIDE), *most = least + 2;
    uint32_t lane = kvs_tid(), first = kvs_bid_x() * WIDE, c = first + lane;
    uint32_t n_chan = job.at.n_chan, span = job.kv == KVS_K ? job.group : (uint32_t)WIDE;
    uint32_t tok = kvs_bid_y() * span, left = job.at.n_tok - tok;
    uint32_t n_tok = left < span && !KVS_MUT(107) ? left : span;
    uint16_t *low16 = (uint16_t *)(job.section + job.at.param_at);
    uint16_t *step16 = low16 + job.at.n_param;
    const uint16_t *x = job.x + tok * job.stride + c;
    int32_t top = (1 << job.bits) - 1;
    float low = INFINITY, high = -INFINITY, inverse = 0;
    bool here = c < n_chan || KVS_MUT(106);

    if (job.kv == KVS_K && here) {
        for (uint32_t t = 0; t < n_tok; t++) {
            uint16_t bits = kvs_ld(&x[t * job.stride]);
            float value = (bits & 0x7fffu) > job.huge ? 0.f : kvq_wide(bits, job.half);
            low = value < low ? value : low;
            high = value > high || (KVS_MUT(92) && t == n_tok - 1) ? value : high;
        }
        size_t p = (size_t)kvs_bid_y() * n_chan + c;
        kvs_st(&low16[p], kvq_narrow(low + 0.f, job.half));
        kvs_st(&step16[p], kvq_step(low, high, (float)top, job.half, &inverse));
    }
    for (uint32_t t = 0; t < n_tok; t++) {
        uint16_t bits = here ? kvs_ld(&x[t * job.stride]) : (uint16_t)0;
        bool huge = (bits & 0x7fffu) > job.huge;
        float value = huge ? 0.f : kvq_wide(bits, job.half);
        if (huge && !KVS_MUT(93))
            kvq_count(job.n_huge);
        if (job.kv == KVS_V) {
            low = here ? value : INFINITY;
            high = here ? value : -INFINITY;
            for (unsigned m = 16; m > 0; m /= 2) {
                low = fminf(low, kvs_shfl_xor(low, KVS_MUT(108) ? 1 : m));
                high = fmaxf(high, kvs_shfl_xor(high, KVS_MUT(109) ? 1 : m));
            }
            if (job.group == WIDE) { /* two warps */
                if (lane % 32 == 0) {
                    least[lane / 32] = low;
                    most[lane / 32] = high;
                }
                if (!KVS_MUT(110))
                    kvs_barrier();
                low = fminf(least[0], least[1]);
                high = KVS_MUT(94) ? most[lane / 32] : fmaxf(most[0], most[1]);
            }
            uint16_t step = here ? kvq_step(low, high, (float)top, job.half, &inverse) : 0;
            if (here && c % job.group == 0) {
                size_t p = (size_t)(tok + t) * job.at.n_group + c / job.group;
                kvs_st(&low16[p], kvq_narrow(low + 0.f, job.half));
                kvs_st(&step16[p], step);
            }
        }
        q[lane] = here ? kvq_code(value, low, inverse, top) : KVS_MUT(95) ? 1u : 0u;
        if (!KVS_MUT(111))
            kvs_barrier();
        kvq_put(job.section + job.at.payload_at + (tok + t) * job.row_bytes, q, job.level, first,
                n_chan, lane);
        if (!KVS_MUT(112))
            kvs_barrier();
    }
}

/* A thread a channel: sums about the first row, in order. */
KVS_KERNEL kvq_moments_kernel(struct kvs_kvq_quant job)
{
    uint32_t c = kvs_bid_x() * BLOCK + kvs_tid();
    float s = 0, square = 0;

    if (c >= job.n_chan && !KVS_MUT(116))
        return;
    float first = kvq_wide(kvs_ld(&job.x[c]), job.half);
    for (uint32_t t = KVS_MUT(96) ? 2 : 1; t < job.n_tok + (KVS_MUT(119) ? 1 : 0); t++) {
        float away = kvq_add(kvq_wide(kvs_ld(&job.x[t * job.stride + c]), job.half), -first);
        s = kvq_add(s, away);
        square = kvq_add(square, kvq_mul(away, away));
    }
    kvs_st(&job.sum[c], s);
    kvs_st(&job.square[c], square);
}

/* A thread an element; a block a row's 128. */
KVS_KERNEL kvq_symbols_kernel(struct kvs_kvq_quant job)
{
    uint32_t c = kvs_bid_x() * BLOCK + kvs_tid();

    if (c >= job.n_chan && !KVS_MUT(117))
        return;
    float mean = kvs_ld(&job.mean[c]), inverse = kvs_ld(&job.inverse[c]);
    for (uint32_t t = kvs_bid_y(); t < job.n_tok + (KVS_MUT(118) ? MAX_Y : 0u);
         t += KVS_MUT(120) ? job.n_tok : MAX_Y) {
        float away = kvq_add(kvq_wide(kvs_ld(&job.x[t * job.stride + c]), job.half), -mean);
        int32_t q = kvq_round(kvq_mul(away, inverse));
        bool in = q >= (KVS_MUT(97) ? -126 : -127) && q <= 127;
        kvs_st(&job.symbol[t * job.symbol_stride + c], (uint8_t)(in            ? q + 128
                                                                 : KVS_MUT(98) ? 128
                                                                               : 0));
    }
}

extern "C" enum kvs_code KVS_SIDE(kvq_pack)(void *ctx, const struct kvs_kvq_pack *job, void *stream,
                                            struct kvs_err *err)
{
    uint32_t span = job->kv == KVS_K ? job->group : (uint32_t)WIDE;

    (void)ctx, (void)stream;
    if (job->at.n_tok == 0)
        return KVS_OK;
    return KVS_LAUNCH(kvq_pack_kernel, (job->at.n_chan + WIDE - 1) / WIDE,
                      (job->at.n_tok + span - 1) / span, WIDE,
                      WIDE * sizeof(uint32_t) + 4 * sizeof(float), *job);
}

extern "C" enum kvs_code KVS_SIDE(kvq_moments)(void *ctx, const struct kvs_kvq_quant *job,
                                               void *stream, struct kvs_err *err)
{
    (void)ctx, (void)stream;
    if (job->n_tok == 0)
        return KVS_OK;
    return KVS_LAUNCH(kvq_moments_kernel, (job->n_chan + BLOCK - 1) / BLOCK, 1, BLOCK, 0, *job);
}

extern "C" enum kvs_code KVS_SIDE(kvq_symbols)(void *ctx, const struct kvs_kvq_quant *job,
                                               void *stream, struct kvs_err *err)
{
    (void)ctx, (void)stream;
    if (job->n_tok == 0)
        return KVS_OK;
    return KVS_LAUNCH(kvq_symbols_kernel, (job->n_chan + BLOCK - 1) / BLOCK,
                      job->n_tok < MAX_Y ? job->n_tok : MAX_Y, BLOCK, 0, *job);
}
