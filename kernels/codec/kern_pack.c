/* kern_pack.c - rows of elements to packed integers, fp8 and lx. See kern.h. */
#include "kern_vec.h"

/* To e4m3, to nearest, ties to even; below 2^-6 in units of 2^-9; at most 448. */
INLINE vi fp8_code(vf value)
{
    vi bits = i_as(value), size = i_and(bits, i_set(0x7fffffff));
    vi odd = i_and(i_srl(size, 20), i_set(1));
    vi code = i_sub(i_srl(i_add(size, i_add(odd, i_set(0x7ffff))), 20), i_set(120 << 3));
    vi small = i_round(f_mul(f_as(size), f_set(512)));
    code = i_pick(i_lt(size, i_set((127 - 6) << 23)), small, code);
    return i_or(i_min(code, i_set(0x7e)), i_and(i_srl(bits, 24), i_set(0x80)));
}

INLINE void pack64(vi q[4], enum kvs_level level, uint8_t *row, uint32_t c, uint32_t n_chan)
{
    if (level == KVS_P8 || level == KVS_FP8) {
        for (int g = 0; g < 4; g++)
            i_store_u8(row + c + 16 * g, q[g]);
    } else if (level == KVS_P4 || level == KVS_LX) {
        for (int g = 0; g < 2; g++)
            i_store_u8(row + c / 2 + 16 * g, i_or(q[g], i_sll(q[g + 2], 4)));
    } else {
        vi low[4];
        uint64_t third = 0;
        for (int g = 0; g < 4; g++) {
            low[g] = i_and(q[g], i_set(3));
            third |= (uint64_t)m_bits(i_lt(i_set(3), q[g])) << (16 * g);
        }
        i_store_u8(row + c / 4,
                   i_or(i_or(low[0], i_sll(low[1], 2)), i_or(i_sll(low[2], 4), i_sll(low[3], 6))));
        if (level == KVS_P3)
            memcpy(row + kvs_up(n_chan, 64) / 4 + c / 8, &third, 8);
    }
}

/* A row as pack_rows takes it: low and inverse from its first channel or group. */
struct pack_row {
    const uint16_t *x;
    const float *low, *inverse;
    uint8_t *to;
};

/* 64 channels from c, of which `left` are there: known to the compiler where all are */
INLINE void pack_block(const struct kvs_rows_job *job, const struct pack_row *row,
                       enum kvs_level level, bool by_token, enum kvs_half half, uint32_t group,
                       uint32_t c, uint32_t left)
{
    vi q[4], top = i_set(level == KVS_P8 ? 255 : level == KVS_P4 ? 15 : level == KVS_P3 ? 7 : 3);

#pragma GCC unroll 4
    for (uint32_t g = 0; g < 4; g++) {
        uint32_t at = c + 16 * g, param = by_token ? c / group + 16 * g / group : at;
        q[g] = i_set(0);
        if (16 * g >= left)
            continue;
        vf value = load(row->x + at, left - 16 * g, half);
        vf unit = by_token ? f_set(row->inverse[param]) : f_load(row->inverse + param);
        if (level == KVS_FP8) {
            q[g] = fp8_code(f_mul(value, unit));
        } else {
            value = f_sub(value, by_token ? f_set(row->low[param]) : f_load(row->low + param));
            q[g] = i_max(i_min(i_round(f_mul(value, unit)), top), i_set(0));
        }
        if (left - 16 * g < 16)
            q[g] = i_and(q[g], i_bits((vm)((1u << (left - 16 * g)) - 1), -1));
    }
    pack64(q, level, row->to, c, job->n_chan);
}

#ifdef KVS_VEC_LOOKUP
/* A whole block, by bytes. */
INLINE void pack_whole(const struct kvs_rows_job *job, const struct pack_row *row,
                       enum kvs_level level, bool by_token, enum kvs_half half, uint32_t group,
                       uint32_t c)
{
    const uint8_t top = level == KVS_P4 ? 15 : level == KVS_P3 ? 7 : level == KVS_P2 ? 3 : 255;
    vf2 one = f_half32(row->x + c, half), two = f_half32(row->x + c + 32, half);
    vf value[4] = {one.low, one.high, two.low, two.high};
    vi q[4];

#pragma GCC unroll 4
    for (uint32_t g = 0; g < 4; g++) {
        uint32_t at = c + 16 * g, param = by_token ? c / group + 16 * g / group : at;
        vf unit = by_token ? f_set(row->inverse[param]) : f_load(row->inverse + param);
        if (level == KVS_FP8) {
            q[g] = fp8_code(f_mul(value[g], unit));
        } else {
            vf low = by_token ? f_set(row->low[param]) : f_load(row->low + param);
            q[g] = i_round(f_mul(f_sub(value[g], low), unit));
        }
    }
    vb b = b_of_i(q[0], q[1], q[2], q[3]);
    if (top != 255)
        b = b_least(b, top);
    if (level == KVS_P4) {
        b_store4(row->to + c / 2, b);
    } else if (level == KVS_P8 || level == KVS_FP8) {
        b_store8(row->to + c, b);
    } else {
        b_store2(row->to + c / 4, b);
        uint64_t third = b_bits(b, 4);
        if (level == KVS_P3)
            memcpy(row->to + kvs_up(job->n_chan, 64) / 4 + c / 8, &third, 8);
    }
}
#endif

INLINE void pack_rows(const struct kvs_rows_job *job, enum kvs_level level, bool by_token,
                      enum kvs_half half, uint32_t group)
{
    enum { AHEAD = 2048 }; /* bytes written */
    const uint32_t bits = level == KVS_P4 ? 4 : level == KVS_P8 || level == KVS_FP8 ? 8 : 2;

    for (uint32_t t = 0; t < job->n_row; t++) {
        size_t param = by_token ? (size_t)t * job->n_group : 0;
        struct pack_row row = {job->x + t * job->stride, job->low + param, job->step + param,
                               job->packed + t * job->row_bytes};
        const uint16_t *next = job->next ? job->next + (size_t)t * job->n_chan : NULL;
        for (uint32_t c = 0; c < job->n_chan; c += 64) {
            uint32_t left = job->n_chan - c;
            if (next) {
                __builtin_prefetch(next + c, 0, 2);
                __builtin_prefetch(next + c + 32, 0, 2);
            }
            __builtin_prefetch(row.to + AHEAD + c * bits / 8, 1);
            if (left >= 64)
#ifdef KVS_VEC_LOOKUP
                pack_whole(job, &row, level, by_token, half, group, c);
#else
                pack_block(job, &row, level, by_token, half, group, c, 64);
#endif
            else
                pack_block(job, &row, level, by_token, half, group, c, left);
        }
    }
}

static void pack_lx(const struct kvs_rows_job *job)
{
    uint32_t code[256];
    for (int i = 0; i < 256; i++)
        code[i] = job->exponent[i] & 15;
    for (uint32_t t = 0; t < job->n_row; t++) {
        uint8_t *row = job->packed + t * job->row_bytes;
        uint8_t *rest = row + kvs_up(job->n_chan, 64) / 2;
        const uint16_t *x = job->x + t * job->stride;
        for (uint32_t c = 0; c < job->n_chan; c += 64) {
            vi q[4];
            for (uint32_t g = 0; g < 4; g++) {
                uint32_t left = job->n_chan > c + 16 * g ? job->n_chan - c - 16 * g : 0;
                vi bits = load_bits(x + c + 16 * g, left);
                q[g] = i_gather(code, i_and(i_srl(bits, 7), i_set(0xff)));
                if (left < 16)
                    q[g] = i_and(q[g], i_bits((vm)((1u << left) - 1), -1));
                i_store_u8(rest + c + 16 * g,
                           i_or(i_and(i_srl(bits, 8), i_set(0x80)), i_and(bits, i_set(0x7f))));
            }
            pack64(q, KVS_LX, row, c, job->n_chan);
        }
    }
}

void KERN(pack)(const struct kvs_rows_job *job)
{
    switch (job->level) {
    case KVS_P8:
        BY_TOKEN(pack_rows, KVS_P8);
        break;
    case KVS_P4:
        BY_TOKEN(pack_rows, KVS_P4);
        break;
    case KVS_P3:
        BY_TOKEN(pack_rows, KVS_P3);
        break;
    case KVS_P2:
        if (job->by_token)
            pack_rows(job, KVS_P2, true, job->half, 32);
        else
            BY_HALF(pack_rows, KVS_P2, false);
        break;
    case KVS_FP8:
        BY_HALF(pack_rows, KVS_FP8, false);
        break;
    default:
        pack_lx(job);
    }
}
