/* kern_unpack.c - rows of packed integers, fp8 and lx to elements. See kern.h. */
#include "kern_vec.h"

/* 64 channels, 16 by 16. No array: compilers would keep it in memory. */
struct vec4 {
    vi a, b, c, d;
};

INLINE struct vec4 unpack64(enum kvs_level level, const uint8_t *row, uint32_t c, uint32_t n_chan)
{
    if (level == KVS_P8 || level == KVS_FP8)
        return (struct vec4){i_u8(row + c), i_u8(row + c + 16), i_u8(row + c + 32),
                             i_u8(row + c + 48)};
    if (level == KVS_P4 || level == KVS_LX) {
        vi one = i_u8(row + c / 2), two = i_u8(row + c / 2 + 16), low = i_set(15);
        return (struct vec4){i_and(one, low), i_and(two, low), i_srl(one, 4), i_srl(two, 4)};
    }
    vi all = i_u8(row + c / 4), low = i_set(3);
    struct vec4 q = {i_and(all, low), i_and(i_srl(all, 2), low), i_and(i_srl(all, 4), low),
                     i_srl(all, 6)};
    if (level == KVS_P3) {
        uint16_t third[4];
        memcpy(third, row + kvs_up(n_chan, 64) / 4 + c / 8, 8);
        q.a = i_or_bits(q.a, third[0], 4);
        q.b = i_or_bits(q.b, third[1], 4);
        q.c = i_or_bits(q.c, third[2], 4);
        q.d = i_or_bits(q.d, third[3], 4);
    }
    return q;
}

/* e4m3 by its bits: four of exponent above three of mantissa are those of an f32 over 2^120. */
INLINE vf fp8_value(vi code)
{
    vi bits = i_and(i_sra(i_sll(code, 24), 4), i_set((int32_t)0x87f00000));
    return f_mul(f_as(bits), f_set(0x1p120f));
}

/* Rows being unpacked: what is the same for all of them is constant where it is called. */
struct unpacking {
    enum kvs_level level;
    enum kvs_half half;
    bool by_token;
    uint32_t group; /* channels, by_token */
    const float *low, *step;
};

/* 16 integers, from channel c on */
INLINE vf unpack_value(struct unpacking how, vi q, uint32_t c)
{
    uint32_t at = how.by_token ? c / how.group : c;
    vf unit = how.by_token ? f_set(how.step[at]) : f_load(how.step + at);
    if (how.level == KVS_FP8)
        return f_mul(fp8_value(q), unit);
    /* 8 bits times 11: exact */
    return f_fma(f_of_i(q), unit, how.by_token ? f_set(how.low[at]) : f_load(how.low + at));
}

/* the last channels of a row, fewer than 64 */
INLINE void unpack_end(struct unpacking how, uint16_t *x, struct vec4 q, uint32_t c, uint32_t left)
{
    store(x, unpack_value(how, q.a, c), left, how.half);
    if (left > 16)
        store(x + 16, unpack_value(how, q.b, c + 16), left - 16, how.half);
    if (left > 32)
        store(x + 32, unpack_value(how, q.c, c + 32), left - 32, how.half);
    if (left > 48)
        store(x + 48, unpack_value(how, q.d, c + 48), left - 48, how.half);
}

/* 64 channels of a token, group by group: few integers, so their elements are looked up. false:
 * not by this instruction set. */
INLINE bool unpack64_by_lookup(struct unpacking how, uint16_t *x, const uint8_t *row, uint32_t c,
                               uint32_t n_chan, bool stream)
{
#ifdef KVS_VEC_LOOKUP
    if (!how.by_token || how.level == KVS_P8 || how.level == KVS_FP8)
        return false;
    static const float number[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    static const float in8[16] = {0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7};
    static const float in4[16] = {0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3};
    uint32_t at = c / how.group;
    vf q = f_load(how.level == KVS_P4 ? number : how.level == KVS_P3 ? in8 : in4);
    vf a = f_fma(q, f_set(how.step[at]), f_set(how.low[at])), b = a;
    if (how.group == 32) /* bit 4 tells which */
        b = f_fma(q, f_set(how.step[at + 1]), f_set(how.low[at + 1]));
    vi table = w_half(a, b, how.half), one, two;
    if (how.level == KVS_P4) {
        one = w_u8(row + c / 2);
        two = w_srl4(one);
    } else {
        static const uint16_t shift[2][32] = {
            {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
             2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2},
            {4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4,
             6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6},
        };
        vi all = w_u8_twice(row + c / 4);
        one = i_and(w_srlv(all, i_load(shift[0])), w_set(3));
        two = i_and(w_srlv(all, i_load(shift[1])), w_set(3));
        if (how.level == KVS_P3) {
            uint32_t third[2];
            memcpy(third, row + kvs_up(n_chan, 64) / 4 + c / 8, 8);
            one = w_or_bits(one, third[0], 4);
            two = w_or_bits(two, third[1], 4);
        }
        if (how.group == 32)
            two = i_or(two, w_set(16));
    }
    w_store(x + c, w_lookup32(table, one), stream);
    w_store(x + c + 32, w_lookup32(table, two), stream);
    return true;
#else
    (void)how;
    (void)x;
    (void)row;
    (void)c;
    (void)n_chan;
    (void)stream;
    return false;
#endif
}

INLINE void unpack_rows(const struct kvs_rows_job *job, enum kvs_level level, bool by_token,
                        enum kvs_half half, uint32_t group)
{
    enum { AHEAD = 4096 }; /* bytes; a checksum has brought them into the second cache */
    const uint32_t bits = level == KVS_P4 ? 4 : level == KVS_P8 || level == KVS_FP8 ? 8 : 2;
    uint32_t n_chan = job->n_chan, c;
    bool stream = job->stream;

    for (uint32_t t = 0; t < job->n_row; t++) {
        const uint8_t *row = job->packed + t * job->row_bytes;
        uint16_t *x = job->x + t * job->stride;
        struct unpacking how = {level,
                                half,
                                by_token,
                                group,
                                job->low + (by_token ? t * job->n_group : 0),
                                job->step + (by_token ? t * job->n_group : 0)};
        for (c = 0; c + 64 <= n_chan; c += 64) {
            __builtin_prefetch(row + AHEAD + c * bits / 8);
            if (unpack64_by_lookup(how, x, row, c, n_chan, stream))
                continue;
            struct vec4 q = unpack64(level, row, c, n_chan);
            half_store32(x + c, unpack_value(how, q.a, c), unpack_value(how, q.b, c + 16), half,
                         stream);
            half_store32(x + c + 32, unpack_value(how, q.c, c + 32), unpack_value(how, q.d, c + 48),
                         half, stream);
        }
        if (c < n_chan)
            unpack_end(how, x + c, unpack64(level, row, c, n_chan), c, n_chan - c);
    }
    if (stream && !job->more)
        stream_end();
}

INLINE void unpack_lx16(uint16_t *x, vi code, const uint8_t *rest, const uint32_t *exponent,
                        uint32_t left)
{
    vi low = i_u8(rest);
    vi bits = i_or(i_sll(i_and(low, i_set(0x80)), 8), i_and(low, i_set(0x7f)));
    store_bits(x, i_or(bits, i_gather(exponent, code)), left);
}

static void unpack_lx(const struct kvs_rows_job *job)
{
    uint32_t exponent[16], n_chan = job->n_chan;
    for (int i = 0; i < 16; i++)
        exponent[i] = (uint32_t)job->exponent[i] << 7;
    for (uint32_t t = 0; t < job->n_row; t++) {
        const uint8_t *row = job->packed + t * job->row_bytes;
        const uint8_t *rest = row + kvs_up(n_chan, 64) / 2;
        uint16_t *x = job->x + t * job->stride;
        for (uint32_t c = 0; c < n_chan; c += 64, x += 64, rest += 64) {
            struct vec4 q = unpack64(KVS_LX, row, c, n_chan);
            uint32_t left = n_chan - c;
            unpack_lx16(x, q.a, rest, exponent, left);
            if (left > 16)
                unpack_lx16(x + 16, q.b, rest + 16, exponent, left - 16);
            if (left > 32)
                unpack_lx16(x + 32, q.c, rest + 32, exponent, left - 32);
            if (left > 48)
                unpack_lx16(x + 48, q.d, rest + 48, exponent, left - 48);
        }
    }
}

#ifdef KVS_VEC_BF16
static bool tiny(const struct kvs_rows_job *job)
{
    size_t n = job->by_token ? (size_t)job->n_row * job->n_group : job->n_chan;

    return job->half == KVS_HALF_BF16 && job->level != KVS_LX &&
           (f_tiny(job->low, n) || f_tiny(job->step, n));
}
#endif

void KERN(unpack)(const struct kvs_rows_job *job)
{
#ifdef KVS_VEC_BF16
    if (tiny(job)) {
        kvs_kvf_avx512.unpack(job);
        return;
    }
#endif
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
