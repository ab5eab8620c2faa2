/*
 * kvf.cu - sections of a codec file to 16-bit elements: rANS with a warp a stream, packed rows with
 * a thread an element, escapes. The same bits as kernels/codec/kern.h: products are exact, sums
 * rounded once.
 */
#include "kernels/dialect.h"

extern "C" {
#include "kernels/codec/gpu.h"
}

enum { BLOCK = 128, STEPS = KVS_RANS_CHAN / KVS_RANS_LANES };
constexpr uint32_t MAX_Y = 1024; /* rows of blocks: each takes every 1024th token */

#ifdef __CUDACC__
#include <cuda_fp16.h>
KVS_FN uint32_t kvf_ballot(bool yes)
{
    return __ballot_sync(~0u, yes);
}
KVS_FN unsigned kvf_popc(uint32_t bits)
{
    return (unsigned)__popc(bits);
}
KVS_FN float kvf_wide(uint16_t x, enum kvs_half half)
{
    return half == KVS_F16 ? __half2float(__ushort_as_half(x)) : kvs_to_f32(x);
}
KVS_FN uint16_t kvf_narrow(float x, enum kvs_half half)
{
    return half == KVS_F16 ? __half_as_ushort(__float2half_rn(x)) : kvs_to_bf16(x);
}
KVS_FN float kvf_float(uint32_t bits)
{
    return __uint_as_float(bits);
}
KVS_FN uint32_t kvf_bits(float x)
{
    return __float_as_uint(x);
}
KVS_FN void kvf_count(uint32_t *n)
{
    atomicAdd(n, 1u);
}
#else
extern "C" {
#include "kernels/codec/half.h"
}
static void ballot_op(struct simt_slot lane[32], unsigned imm)
{
    uint32_t bits = 0;
    (void)imm;
    for (unsigned i = 0; i < 32; i++)
        bits |= lane[i].in[0] << i;
    for (unsigned i = 0; i < 32; i++)
        lane[i].out[0] = bits;
}
KVS_FN uint32_t kvf_ballot(bool yes)
{
    struct simt_slot slot;
    slot.in[0] = yes;
    simt_collective(ballot_op, 0, &slot);
    return slot.out[0];
}
KVS_FN unsigned kvf_popc(uint32_t bits)
{
    return (unsigned)__builtin_popcount(bits);
}
KVS_FN float kvf_wide(uint16_t x, enum kvs_half half)
{
    return kvs_f32_of_half(x, half);
}
KVS_FN uint16_t kvf_narrow(float x, enum kvs_half half)
{
    return kvs_half_of(x, half);
}
KVS_FN float kvf_float(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}
KVS_FN uint32_t kvf_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}
KVS_FN void kvf_count(uint32_t *n)
{
    kvs_st(n, kvs_ld(n) + 1);
}
#endif

/* One warp a stream: a lane keeps its places' channels and parameters in registers, where its next
 * word stands it learns from how many lanes before it need one. */
KVS_KERNEL kvf_rans_kernel(struct kvs_kvf_gpu job)
{
    uint32_t lane = kvs_tid(), s = kvs_bid_x(), n_chan = job.at.n_chan;
    uint32_t room = (n_chan + job.at.n_part - 1) / job.at.n_part;
    room = (room + KVS_RANS_LANES - 1) / KVS_RANS_LANES * KVS_RANS_LANES;
    uint32_t tok = s / job.at.n_part * KVS_RANS_TOK, first = s % job.at.n_part * room;
    uint32_t n = n_chan - first < room ? n_chan - first : room;
    uint32_t left = job.at.n_tok - tok;
    uint32_t n_tok = left < KVS_RANS_TOK && !KVS_MUT(89) ? left : (uint32_t)KVS_RANS_TOK;
    const uint16_t *mean16 = (const uint16_t *)(job.section + job.at.param_at);
    const uint16_t *step16 = mean16 + n_chan;
    const uint8_t *number = (const uint8_t *)(step16 + n_chan);
    const uint32_t *states = (const uint32_t *)(job.section + job.at.stream_at) + job.at.n_stream;
    const uint16_t *word = (const uint16_t *)(job.section + job.at.payload_at);
    uint32_t x = kvs_ld(&states[s * KVS_RANS_LANES + lane]);
    uint32_t at = kvs_ld(&job.word_at[s]), end = kvs_ld(&job.word_at[s + 1]);
    uint32_t table_at[STEPS], of[STEPS], low[STEPS];
    float mean[STEPS], step[STEPS];
    bool bad = false;

    for (uint32_t k = 0; k < STEPS; k++) {
        uint32_t c = k * KVS_RANS_LANES + lane, place = first + (c < n || KVS_MUT(88) ? c : 0);
        uint32_t chan = first + kvs_ld(&job.order[place]);
        uint32_t t = kvs_ld(&number[chan]), fraction = kvs_ld(&job.fraction[t]);
        table_at[k] = t * KVS_RANS_M;
        of[k] = KVS_MUT(121) ? c : chan - first;
        mean[k] = kvf_wide(kvs_ld(&mean16[chan]), job.half);
        low[k] = fraction >> 4;
        step[k] = kvf_wide(kvs_ld(&step16[chan]), job.half) / (float)(1u << (fraction & 15));
    }
    for (uint32_t t = 0; t < n_tok && !bad; t++) {
        uint16_t *row = job.out + (size_t)(tok + t) * job.stride + first;
#pragma unroll
        for (uint32_t k = 0; k < STEPS; k++) {
            uint32_t c = k * KVS_RANS_LANES + lane;
            bool mine = c < n || (KVS_MUT(80) && k * KVS_RANS_LANES < n);
            if (k * KVS_RANS_LANES >= n)
                break; /* the same for all lanes */
            uint32_t entry = kvs_ld(&job.table[table_at[k] | (x & (KVS_RANS_M - 1))]);
            uint32_t freq = entry >> KVS_RANS_BITS & (KVS_RANS_M - 1);
            uint32_t next = freq * (x >> KVS_RANS_BITS) + (entry & (KVS_RANS_M - 1));
            int32_t value = (int32_t)entry >> (2 * KVS_RANS_BITS);
            value += (int32_t)(next & ((1u << low[k]) - (KVS_MUT(122) ? 0 : 1)));
            next >>= KVS_MUT(123) ? 0 : low[k];
            bool needs = mine && (int32_t)next < KVS_RANS_LOW;
            bool votes = KVS_MUT(81) ? next < KVS_RANS_LOW && lane < 31 && mine : needs;
            uint32_t all = kvf_ballot(votes);
            uint32_t from = at + kvf_popc(all & ((1u << lane) - (KVS_MUT(82) ? 0 : 1)));
            if (needs)
                next = next << 16 | (from < end || KVS_MUT(100) ? kvs_ld(&word[from]) : 0u);
            at += kvf_popc(all);
            if (mine) {
                float y =
                    fmaf(step[k], (float)value, mean[k]); /* the product may be beyond floats */
                x = next;
                kvs_st(&row[of[k]], kvf_narrow(y, job.half));
            }
        }
        bad = at > end;
    }
    bool off = bad || at != end || x != KVS_RANS_LOW;
    uint32_t wrong = kvf_ballot(off && !(KVS_MUT(101) && lane > 0));
    if (lane == 0 && wrong != 0 && !KVS_MUT(83))
        kvf_count(job.n_bad);
}

KVS_FN uint32_t kvf_code(const uint8_t *row, enum kvs_level level, uint32_t c, uint32_t n_chan)
{
    uint32_t in = c % 64, at = c - in;

    switch (level) {
    case KVS_P4:
    case KVS_LX:
        return kvs_ld(&row[at / 2 + in % 32]) >> (in / 32 * 4) & 15u;
    case KVS_P3:
    case KVS_P2: {
        uint32_t q = kvs_ld(&row[at / 4 + in % 16]) >> (in / 16 * 2) & 3u;
        if (level == KVS_P3 && !KVS_MUT(85))
            q |= (kvs_ld(&row[(n_chan + 63) / 64 * 16 + c / 8]) >> c % 8 & 1u) << 2;
        return q;
    }
    default:
        return kvs_ld(&row[c]);
    }
}

/* A thread an element; a block a row's 128. */
KVS_KERNEL kvf_rows_kernel(struct kvs_kvf_gpu job)
{
    uint32_t c = kvs_bid_x() * BLOCK + kvs_tid(), n_chan = job.at.n_chan;
    const uint8_t *param = job.section + job.at.param_at;
    const uint16_t *low16 = (const uint16_t *)param, *step16 = low16 + job.at.n_param;

    for (uint32_t t = kvs_bid_y(); t < job.at.n_tok + (KVS_MUT(102) ? MAX_Y : 0u);
         t += KVS_MUT(105) ? job.at.n_tok : MAX_Y) {
        const uint8_t *row = job.section + job.at.payload_at + t * job.row_bytes;
        uint16_t *x = job.out + t * job.stride + c;
        if (c >= n_chan && !(KVS_MUT(84) && c == n_chan))
            continue;
        uint32_t q = KVS_MUT(84) && c == n_chan ? 0 : kvf_code(row, job.level, c, n_chan);
        if (job.level == KVS_LX) {
            uint32_t rest = kvs_ld(&row[(n_chan + 63) / 64 * 32 + c]);
            kvs_st(x, (uint16_t)((rest & 0x80u) << 8 | (uint32_t)kvs_ld(&param[q]) << 7 |
                                 (rest & 0x7fu)));
        } else if (job.level == KVS_FP8) {
            float size = kvf_float((q & 0x7fu) << 20) * 0x1p120f;
            float unit = kvf_wide(kvs_ld(&low16[c / (n_chan / job.at.n_param)]), job.half);
            kvs_st(x, kvf_narrow(kvf_float(kvf_bits(size) | (q & 0x80u) << 24) * unit, job.half));
        } else {
            size_t p = job.kv == KVS_K ? (size_t)(t / job.group) * n_chan + c
                                       : (size_t)t * job.at.n_group + c / job.group;
            if (KVS_MUT(86))
                p = job.kv == KVS_K ? c : p;
            float low = kvf_wide(kvs_ld(&low16[p]), job.half);
            float step = kvf_wide(kvs_ld(&step16[p]), job.half);
            kvs_st(x, kvf_narrow(fmaf(step, (float)q, low), job.half)); /* likewise */
        }
    }
}

KVS_KERNEL kvf_escape_kernel(struct kvs_kvf_gpu job)
{
    uint32_t i = kvs_bid_x() * BLOCK + kvs_tid();
    const uint32_t *where = (const uint32_t *)(job.section + job.at.escape_at);
    const uint16_t *value = (const uint16_t *)(where + job.at.n_escape);

    if (i < job.at.n_escape - (KVS_MUT(87) ? 1u : 0u) || KVS_MUT(103)) {
        uint32_t at = kvs_ld(&where[i]);
        kvs_st(&job.out[at / job.at.n_chan * job.stride + at % job.at.n_chan], kvs_ld(&value[i]));
    }
}

extern "C" enum kvs_code KVS_SIDE(kvf)(void *ctx, const struct kvs_kvf_gpu *job, void *stream,
                                       struct kvs_err *err)
{
    (void)ctx, (void)stream;
    enum kvs_code code = KVS_OK;
    uint32_t blocks = (job->at.n_chan + BLOCK - 1) / BLOCK;

    if (job->at.n_tok == 0)
        return KVS_OK;
    if (job->at.n_stream)
        code = KVS_LAUNCH(kvf_rans_kernel, job->at.n_stream, 1, KVS_RANS_LANES, 0, *job);
    else if (job->level != KVS_RAW16) /* which is a copy */
        code = KVS_LAUNCH(kvf_rows_kernel, blocks, job->at.n_tok < MAX_Y ? job->at.n_tok : MAX_Y,
                          BLOCK, 0, *job);
    if (!code && job->at.n_escape)
        code = KVS_LAUNCH(kvf_escape_kernel, (job->at.n_escape + BLOCK - 1) / BLOCK, 1, BLOCK, 0,
                          *job);
    return code;
}
