/* kern_unpack.c - rows of packed integers, fp8 and lx to elements. See kern.h. */
#include "kern_vec.h"

/* 64 channels as 4 vectors of integers */
INLINE void unpack64(vi q[4], enum kvs_level level, const uint8_t *row, uint32_t c, uint32_t n_chan)
{
    if (level == KVS_P8 || level == KVS_FP8) {
        for (int g = 0; g < 4; g++)
            q[g] = i_u8(row + c + 16 * g);
    } else if (level == KVS_P4 || level == KVS_LX) {
        for (int g = 0; g < 2; g++) {
            vi both = i_u8(row + c / 2 + 16 * g);
            q[g] = i_and(both, i_set(15));
            q[g + 2] = i_srl(both, 4);
        }
    } else {
        vi all = i_u8(row + c / 4);
        q[0] = i_and(all, i_set(3));
        q[1] = i_and(i_srl(all, 2), i_set(3));
        q[2] = i_and(i_srl(all, 4), i_set(3));
        q[3] = i_srl(all, 6);
        if (level == KVS_P3) {
            uint16_t third[4];
            memcpy(third, row + kvs_up(n_chan, 64) / 4 + c / 8, 8);
            for (int g = 0; g < 4; g++)
                q[g] = i_or_bits(q[g], third[g], 4);
        }
    }
}

/* e4m3 by its bits: four of exponent above three of mantissa are those of an f32 over 2^120. */
INLINE vf fp8_value(vi code)
{
    vf size = f_mul(f_as(i_sll(i_and(code, i_set(0x7f)), 20)), f_set(0x1p120f));
    return f_as(i_or(i_as(size), i_sll(i_and(code, i_set(0x80)), 24)));
}

/* one of 16 integers, from channel c */
INLINE vf unpack_value(vi q, const float *low, const float *step, enum kvs_level level,
                       bool by_token, uint32_t at)
{
    vf unit = by_token ? f_set(step[at]) : f_load(step + at);
    if (level == KVS_FP8)
        return f_mul(fp8_value(q), unit);
    /* 8 bits times 11: exact */
    return f_fma(f_of_i(q), unit, by_token ? f_set(low[at]) : f_load(low + at));
}

INLINE void unpack_rows(const struct kvs_rows_job *job, enum kvs_level level, bool by_token,
                        enum kvs_half half, uint32_t group)
{
    enum { AHEAD = 4096 }; /* bytes; a checksum has brought them into the second cache */
    const uint32_t bits = level == KVS_P4 ? 4 : level == KVS_P8 || level == KVS_FP8 ? 8 : 2;
    bool stream = job->stream;

    for (uint32_t t = 0; t < job->n_row; t++) {
        const uint8_t *row = job->packed + t * job->row_bytes;
        uint16_t *x = job->x + t * job->stride;
        const float *low = job->low + (by_token ? t * job->n_group : 0);
        const float *step = job->step + (by_token ? t * job->n_group : 0);
        for (uint32_t c = 0; c < job->n_chan; c += 64) {
            uint32_t left = job->n_chan - c;
            vi q[4];
            vf value[4];
            __builtin_prefetch(row + AHEAD + c * bits / 8);
            unpack64(q, level, row, c, job->n_chan);
            for (uint32_t g = 0; g < 4 && 16 * g < left; g++)
                value[g] = unpack_value(q[g], low, step, level, by_token,
                                        by_token ? c / group + 16 * g / group : c + 16 * g);
            if (left >= 64) {
                half_store32(x + c, value[0], value[1], half, stream);
                half_store32(x + c + 32, value[2], value[3], half, stream);
                continue;
            }
            for (uint32_t g = 0; g < 4 && 16 * g < left; g++)
                store(x + c + 16 * g, value[g], left - 16 * g, half);
        }
    }
    if (stream && !job->more)
        stream_end();
}

static void unpack_lx(const struct kvs_rows_job *job)
{
    uint32_t exponent[16];
    for (int i = 0; i < 16; i++)
        exponent[i] = (uint32_t)job->exponent[i] << 7;
    for (uint32_t t = 0; t < job->n_row; t++) {
        const uint8_t *row = job->packed + t * job->row_bytes;
        const uint8_t *rest = row + kvs_up(job->n_chan, 64) / 2;
        uint16_t *x = job->x + t * job->stride;
        for (uint32_t c = 0; c < job->n_chan; c += 64) {
            vi q[4];
            unpack64(q, KVS_LX, row, c, job->n_chan);
            for (uint32_t g = 0; g < 4 && c + 16 * g < job->n_chan; g++) {
                vi low = i_u8(rest + c + 16 * g);
                vi bits = i_or(i_sll(i_and(low, i_set(0x80)), 8), i_and(low, i_set(0x7f)));
                bits = i_or(bits, i_gather(exponent, q[g]));
                store_bits(x + c + 16 * g, bits, job->n_chan - c - 16 * g);
            }
        }
    }
}

void KERN(unpack)(const struct kvs_rows_job *job)
{
    switch (job->level) {
    case KVS_P8:
        BY_TOKEN(unpack_rows, KVS_P8);
        break;
    case KVS_P4:
        BY_TOKEN(unpack_rows, KVS_P4);
        break;
    case KVS_P3:
        BY_TOKEN(unpack_rows, KVS_P3);
        break;
    case KVS_P2:
        if (job->by_token)
            unpack_rows(job, KVS_P2, true, job->half, 32);
        else
            BY_HALF(unpack_rows, KVS_P2, false);
        break;
    case KVS_FP8:
        BY_HALF(unpack_rows, KVS_FP8, false);
        break;
    default:
        unpack_lx(job);
    }
}
