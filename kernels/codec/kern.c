/* kern.c - see kern.h. KVS_VEC_HEADER names the numbers it is written over. */
#include "kern.h"

#include KVS_VEC_HEADER

#include "rans.h"

#define XXH_INLINE_ALL /* with this instruction set */
#include <xxhash.h>

#ifndef INLINE
#define INLINE static inline __attribute__((always_inline))
#endif
#define PASTE_(a, b) a##b
#define PASTE(a, b) PASTE_(a, b)

/* --- ends of rows ------------------------------------------------------------------------------
 */

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

/* 16 bits, the last first */
INLINE unsigned back16(unsigned mask)
{
    mask = (mask & 0x5555) << 1 | (mask >> 1 & 0x5555);
    mask = (mask & 0x3333) << 2 | (mask >> 2 & 0x3333);
    mask = (mask & 0x0f0f) << 4 | (mask >> 4 & 0x0f0f);
    return (mask << 8 | mask >> 8) & 0xffff;
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

/* --- statistics --------------------------------------------------------------------------------
 */

/* In steps, so that what comes next is fetched while this is summed: from memory a third faster. */
static uint64_t hash(const void *data, size_t n_byte)
{
    enum { STEP = 2048, AHEAD = 8192 };
    const uint8_t *p = data;
    XXH3_state_t state;

    if (n_byte < 4 * AHEAD)
        return XXH3_64bits(data, n_byte);
    (void)XXH3_64bits_reset(&state);
    for (size_t k = 0; k < AHEAD; k += 64)
        __builtin_prefetch(p + k);
    for (size_t i = 0; i < n_byte; i += STEP) {
        for (size_t k = i + AHEAD; k < i + AHEAD + STEP && k < n_byte; k += 64)
            __builtin_prefetch(p + k);
        (void)XXH3_64bits_update(&state, p + i, n_byte - i < STEP ? n_byte - i : STEP);
    }
    return XXH3_64bits_digest(&state);
}

static void widen(float *to, const uint16_t *from, size_t n, enum kvs_half half)
{
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        f_store(to + i, f_half(from + i, half));
    for (; i < n; i++)
        to[i] = kvs_f32_of_half(from[i], half);
}

static unsigned max_bits(const uint16_t *x, size_t n)
{
    enum { BLOCK = 256, AHEAD = 4096 }; /* this is who reads a section first */
    uint16_t most = 0;
    size_t i = 0;

    for (; i + BLOCK <= n; i += BLOCK) {
        for (size_t k = 0; k < BLOCK && i + AHEAD < n; k += 32)
            __builtin_prefetch(x + i + AHEAD + k);
        for (size_t k = i; k < i + BLOCK; k++) {
            uint16_t bits = x[k] & 0x7fff;
            most = bits > most ? bits : most;
        }
    }
    for (; i < n; i++) {
        uint16_t bits = x[i] & 0x7fff;
        most = bits > most ? bits : most;
    }
    return most;
}

/* n vectors side by side: whole lines of the cache are read, and once */
INLINE void range_n(float *low, float *high, const uint16_t *x, size_t stride, uint32_t n_tok,
                    const uint32_t n, uint32_t left, enum kvs_half half)
{
    vf least[4], most[4];
    for (uint32_t g = 0; g < n; g++)
        least[g] = most[g] = load(x + 16 * g, left - 16 * g, half);
    for (uint32_t t = 1; t < n_tok; t++)
#pragma GCC unroll 4
        for (uint32_t g = 0; g < n; g++) {
            vf value = load(x + t * stride + 16 * g, left - 16 * g, half);
            least[g] = f_min(value, least[g]);
            most[g] = f_max(value, most[g]);
        }
    for (uint32_t g = 0; g < n; g++) {
        f_store(low + 16 * g, least[g]);
        f_store(high + 16 * g, most[g]);
    }
}

static void range(float *low, float *high, const uint16_t *x, size_t stride, uint32_t n_tok,
                  uint32_t n_chan, enum kvs_half half)
{
    uint32_t c = 0;
    for (; c + 64 <= n_chan; c += 64)
        range_n(low + c, high + c, x + c, stride, n_tok, 4, 64, half);
    for (; c < n_chan; c += 16)
        range_n(low + c, high + c, x + c, stride, n_tok, 1, n_chan - c, half);
}

static void range_row(float *low, float *high, const uint16_t *x, uint32_t n_chan, uint32_t group,
                      enum kvs_half half)
{
    for (uint32_t g = 0; g * group < n_chan; g++) {
        uint32_t from = g * group, n = n_chan - from < group ? n_chan - from : group;
        if (n == 64 || n == 32) {
            vf least = f_half(x + from, half), most = least;
            for (uint32_t c = 16; c < n; c += 16) {
                vf value = f_half(x + from + c, half);
                least = f_min(value, least);
                most = f_max(value, most);
            }
            low[g] = f_least(least);
            high[g] = f_most(most);
            continue;
        }
        low[g] = high[g] = kvs_f32_of_half(x[from], half);
        for (uint32_t c = 1; c < n; c++) {
            float value = kvs_f32_of_half(x[from + c], half);
            low[g] = value < low[g] ? value : low[g];
            high[g] = value > high[g] ? value : high[g];
        }
    }
}

static void scales(uint16_t *low16, uint16_t *step16, float *inverse, const float *low,
                   const float *high, uint32_t n, float top, enum kvs_half half)
{
    for (uint32_t i = 0; i < n; i += 16) {
        uint32_t left = n - i;
        vf least = f_add(f_load(low + i), f_set(0)); /* -0 becomes 0 */
        vf wide = f_add(f_sub(f_load(high + i), least), f_set(0));
        uint16_t bits[16];
        store(low16 + i, least, left, half);
        half_store(bits, f_mul(wide, f_set(1 / top)), half);
        vf step = f_half(bits, half);
        vi up = i_bits(i_lt(i_as(f_mul(step, f_set(top))), i_as(wide)), 1); /* both positive */
        i_store_u16(bits, i_add(i_u16(bits), up));
        step = f_half(bits, half);
        vf one = f_min(f_div(f_set(1), step), f_set(3e38f)); /* 0 times it is 0 */
        vi zero = i_bits(i_lt(i_as(step), i_set(1)), -1);
        one = f_as(i_sub(i_as(one), i_and(zero, i_as(one))));
        memcpy(step16 + i, bits, (left < 16 ? left : 16) * sizeof *bits);
        f_store(inverse + i, one);
    }
}

/* Adds what rows from .. end are off the first. */
INLINE void moments_n(float *sum, float *square, const uint16_t *x, size_t stride, uint32_t from,
                      uint32_t end, const uint32_t n, uint32_t left, enum kvs_half half)
{
    vf first[4], s[4], q[4];
    for (uint32_t g = 0; g < n; g++) {
        first[g] = load(x + 16 * g, left - 16 * g, half);
        s[g] = f_load(sum + 16 * g);
        q[g] = f_load(square + 16 * g);
    }
    for (uint32_t t = from; t < end; t++)
#pragma GCC unroll 4
        for (uint32_t g = 0; g < n; g++) {
            vf away = f_sub(load(x + t * stride + 16 * g, left - 16 * g, half), first[g]);
            s[g] = f_add(s[g], away);
            q[g] = f_add(q[g], f_mul(away, away));
        }
    for (uint32_t g = 0; g < n; g++) {
        f_store(sum + 16 * g, s[g]);
        f_store(square + 16 * g, q[g]);
    }
}

static unsigned moments(float *sum, float *square, const uint16_t *x, uint32_t n_tok,
                        uint32_t n_chan, enum kvs_half half)
{
    enum { ROWS = 64 }; /* into the second cache by the first that reads them */
    unsigned most = 0;

    memset(sum, 0, kvs_up(n_chan, 16) * sizeof *sum);
    memset(square, 0, kvs_up(n_chan, 16) * sizeof *square);
    for (uint32_t t = 0; t < n_tok; t += ROWS) {
        uint32_t c = 0, end = n_tok - t < ROWS ? n_tok : t + ROWS;
        unsigned bits = max_bits(x + (size_t)t * n_chan, (size_t)(end - t) * n_chan);
        most = bits > most ? bits : most;
        for (; c + 64 <= n_chan; c += 64)
            moments_n(sum + c, square + c, x + c, n_chan, t, end, 4, 64, half);
        for (; c < n_chan; c += 16)
            moments_n(sum + c, square + c, x + c, n_chan, t, end, 1, n_chan - c, half);
    }
    return most;
}

/* --- packed integers ---------------------------------------------------------------------------
 */

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
    if (stream)
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

static void unpack(const struct kvs_rows_job *job)
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
            third |= (uint64_t)i_lt(i_set(3), q[g]) << (16 * g);
        }
        i_store_u8(row + c / 4,
                   i_or(i_or(low[0], i_sll(low[1], 2)), i_or(i_sll(low[2], 4), i_sll(low[3], 6))));
        if (level == KVS_P3)
            memcpy(row + kvs_up(n_chan, 64) / 4 + c / 8, &third, 8);
    }
}

INLINE void pack_rows(const struct kvs_rows_job *job, enum kvs_level level, bool by_token,
                      enum kvs_half half, uint32_t group)
{
    vi top = i_set((1 << kvs_level_bits(level)) - 1);

    for (uint32_t t = 0; t < job->n_row; t++) {
        uint8_t *row = job->packed + t * job->row_bytes;
        const uint16_t *x = job->x + t * job->stride;
        const float *low = job->low + (by_token ? t * job->n_group : 0);
        const float *inverse = job->step + (by_token ? t * job->n_group : 0);
        for (uint32_t c = 0; c < job->n_chan; c += 64) {
            vi q[4];
            for (uint32_t g = 0; g < 4; g++) {
                uint32_t at = c + 16 * g;
                q[g] = i_set(0);
                if (at >= job->n_chan)
                    continue;
                vf value = load(x + at, job->n_chan - at, half);
                vf unit = by_token ? f_set(inverse[at / group]) : f_load(inverse + at);
                if (level == KVS_FP8) {
                    q[g] = fp8_code(f_mul(value, unit));
                } else {
                    value = f_sub(value, by_token ? f_set(low[at / group]) : f_load(low + at));
                    q[g] = i_max(i_min(i_round(f_mul(value, unit)), top), i_set(0));
                }
                if (job->n_chan - at < 16)
                    q[g] = i_and(q[g], i_bits((1u << (job->n_chan - at)) - 1, -1));
            }
            pack64(q, level, row, c, job->n_chan);
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
                    q[g] = i_and(q[g], i_bits((1u << left) - 1, -1));
                i_store_u8(rest + c + 16 * g,
                           i_or(i_and(i_srl(bits, 8), i_set(0x80)), i_and(bits, i_set(0x7f))));
            }
            pack64(q, KVS_LX, row, c, job->n_chan);
        }
    }
}

static void pack(const struct kvs_rows_job *job)
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

/* --- entropy coded -----------------------------------------------------------------------------
 */

static bool quantise(uint8_t *symbol, const uint16_t *x, const float *mean, const float *inverse,
                     uint32_t n_chan, enum kvs_half half)
{
    unsigned out = 0;
    for (uint32_t c = 0; c < n_chan; c += 16) {
        vf value = f_sub(load(x + c, n_chan - c, half), f_load(mean + c));
        vi q = i_add(i_round(f_mul(value, f_load(inverse + c))), i_set(KVS_SYMBOL_ZERO));
        unsigned bad = i_lt(q, i_set(1)) | i_lt(i_set(255), q);
        if (n_chan - c < 16) {
            bad &= (1u << (n_chan - c)) - 1;
            q = i_pick((1u << (n_chan - c)) - 1, q, i_set(KVS_SYMBOL_ZERO));
        }
        i_store_u8(symbol + c, i_pick(bad, i_set(0), q));
        out |= bad;
    }
    return out != 0;
}

/* 16 lanes of one stream take a symbol each: their values, and the state after. */
INLINE vi decode16(vi *state, const uint32_t *table, vi table_at, const uint16_t *word,
                   uint32_t *at, unsigned lanes)
{
    vi x = *state, low = i_set(KVS_RANS_M - 1);
    vi entry = i_gather(table, i_or(table_at, i_and(x, low)));
    vi freq = i_and(i_srl(entry, KVS_RANS_BITS), low);
    vi next = i_add(i_mul(freq, i_srl(x, KVS_RANS_BITS)), i_and(entry, low));
    unsigned less = i_lt(next, i_set(KVS_RANS_LOW));
    if (lanes != 0xffff) { /* known to the compiler where all take part */
        less &= lanes;
        next = i_pick(lanes, next, x);
    }
    *state = i_fill(next, less, word + *at);
    *at += (unsigned)__builtin_popcount(less);
    return i_sra(entry, 2 * KVS_RANS_BITS);
}

#ifdef KVS_VEC_LOOKUP
/* The same with tables in registers, of 64 numbers or twice as many. */
struct small_table {
    vt bucket[2], rank[2], freq[2], value[2];
};
INLINE void small_part(vt to[2], const uint16_t *from, uint32_t n_bucket)
{
    to[0] = i_lookup_table(from);
    if (n_bucket > 64)
        to[1] = i_lookup_table(from + 64);
}
INLINE struct small_table small_load(const struct kvs_rans_small *small, uint32_t n_bucket)
{
    struct small_table table;
    small_part(table.bucket, small->bucket, n_bucket);
    small_part(table.rank, small->rank, n_bucket);
    small_part(table.freq, small->freq, n_bucket);
    small_part(table.value, small->value, n_bucket);
    return table;
}
INLINE vi small_look(const vt table[2], vi at, uint32_t n_bucket)
{
    return n_bucket > 64 ? i_lookup128(&table[0], &table[1], at) : i_lookup(&table[0], at);
}
INLINE vi decode16_small(vi *state, const struct small_table *table, const uint16_t *word,
                         uint32_t *at, const uint32_t n_bucket)
{
    const int wide = KVS_RANS_M / (int)n_bucket;
    vi x = *state, in = i_and(x, i_set(wide - 1));
    vi own = i_srl(x, n_bucket > 64 ? 4 : 5); /* higher bits above */
    vi bucket = small_look(table->bucket, own, n_bucket);
    unsigned mine = i_lt(in, i_and(bucket, i_set(63)));
    vi symbol = i_pick(mine, own, i_srl(bucket, 6));
    vi rank = i_add(i_sub(in, i_set(wide)), small_look(table->rank, own, n_bucket));
    rank = i_pick(mine, in, rank);
    vi freq = small_look(table->freq, symbol, n_bucket);
    vi value = small_look(table->value, symbol, n_bucket);
    vi next = i_add(i_mul(freq, i_srl(x, KVS_RANS_BITS)), rank);
    unsigned less = i_lt(next, i_set(KVS_RANS_LOW));
    *state = i_fill(next, less, word + *at);
    *at += (unsigned)__builtin_popcount(less);
    return i_sub(value, i_set(512));
}
#endif

/* full: channels come in whole 32s; small: buckets of the one table that all have, if small; or 0
 */
INLINE bool rans_streams(const struct kvs_stream_job *job, const unsigned n, const uint32_t *table,
                         enum kvs_half half, bool full, const uint32_t small)
{
    vi state[4][2];
    uint32_t at[4] = {0}, n_chan = job[0].n_chan, n_word[4];
    const uint16_t *word[4];
    const struct kvs_chan16 *chan[4];
    uint16_t *x[4];
    bool stream = job[0].stream;
#ifdef KVS_VEC_LOOKUP
    struct small_table tables;
    if (small)
        tables = small_load(job[0].small, small);
#endif

    (void)small;
    for (unsigned s = 0; s < n; s++) {
        state[s][0] = i_load(job[s].state);
        state[s][1] = i_load(job[s].state + 16);
        n_word[s] = job[s].n_word;
        word[s] = job[s].word;
        chan[s] = job[s].chan;
        x[s] = job[s].x;
    }
    for (uint32_t t = 0; t < job[0].n_tok; t++) {
        for (uint32_t c = 0; c < n_chan; c += KVS_RANS_LANES) {
            uint32_t left = full ? 32 : n_chan - c;
            uint32_t lanes = left >= 32 ? UINT32_MAX : (1u << left) - 1;
#pragma GCC unroll 4
            for (unsigned s = 0; s < n; s++) {
                const struct kvs_chan16 *p = &chan[s][c / 16];
                vi value[2];
                vf y[2];
                if (at[s] > n_word[s])
                    return false;
#pragma GCC unroll 2
                for (uint32_t h = 0; h < 2; h++) {
#ifdef KVS_VEC_LOOKUP
                    if (small) {
                        value[h] = decode16_small(&state[s][h], &tables, word[s], &at[s], small);
                        continue;
                    }
#endif
                    value[h] = decode16(&state[s][h], table, i_load(p[h].table_at), word[s], &at[s],
                                        full ? 0xffff : lanes >> 16 * h & 0xffff);
                }
#pragma GCC unroll 2
                for (uint32_t h = 0; h < 2; h++) /* 10 bits times 11: exact */
                    y[h] = f_fma(f_of_i(value[h]), f_load(p[h].step), f_load(p[h].mean));
                if (full) {
                    if (!small) { /* beside lookups by loads: faster */
                        half_store(x[s] + c, y[0], half);
                        half_store(x[s] + c + 16, y[1], half);
                        continue;
                    }
                    half_store32(x[s] + c, y[0], y[1], half, stream);
                    continue;
                }
                for (uint32_t h = 0; h < 2 && left > 16 * h; h++)
                    store(x[s] + c + 16 * h, y[h], left - 16 * h, half);
            }
        }
        for (unsigned s = 0; s < n; s++)
            x[s] += job[s].stride;
    }
    if (stream)
        stream_end();
    unsigned wrong = 0;
    for (unsigned s = 0; s < n; s++) {
        wrong |= at[s] != n_word[s];
        for (int h = 0; h < 2; h++)
            wrong |=
                i_lt(state[s][h], i_set(KVS_RANS_LOW)) | i_lt(i_set(KVS_RANS_LOW), state[s][h]);
    }
    return wrong == 0;
}

INLINE bool rans_full(const struct kvs_stream_job *job, unsigned n, const uint32_t *table,
                      enum kvs_half half, const uint32_t small)
{
    switch (n) {
    case 4:
        return rans_streams(job, 4, table, half, true, small);
    case 3:
        return rans_streams(job, 3, table, half, true, small);
    case 2:
        return rans_streams(job, 2, table, half, true, small);
    default:
        return rans_streams(job, 1, table, half, true, small);
    }
}

INLINE bool rans_half(const struct kvs_stream_job *job, unsigned n, const uint32_t *table,
                      enum kvs_half half)
{
    if (job[0].n_chan % KVS_RANS_LANES == 0) {
#ifdef KVS_VEC_LOOKUP
        if (job[0].small)
            return job[0].small->n > 64 ? rans_full(job, n, table, half, 128)
                                        : rans_full(job, n, table, half, 64);
#endif
        return rans_full(job, n, table, half, 0);
    }
    for (unsigned i = 0; i < n; i++)
        if (!rans_streams(job + i, 1, table, half, false, 0))
            return false;
    return true;
}

static bool rans_decode(const struct kvs_stream_job *job, unsigned n, const uint32_t *table,
                        enum kvs_half half)
{
    return half == KVS_F16 ? rans_half(job, n, table, KVS_F16)
                           : rans_half(job, n, table, KVS_HALF_BF16);
}

/*
 * x, whose low word is spilled already where `over` has a bit, takes symbols of freq and first: x /
 * freq << 11 | slot. The quotient comes right or one too large; the rest of one too large is
 * negative, or huge without a sign.
 */
INLINE vi encode16(vi x, vi freq, vi first, unsigned over, const uint16_t *slot)
{
    vi y = i_pick(over, i_srl(x, 16), x), share = i_quotient(y, freq);
    vi left = i_sub(y, i_mul(share, freq));

    share = i_sll(i_add(share, i_sra(left, 31)), KVS_RANS_BITS);
    left = i_min_unsigned(left, i_add(left, freq));
    /* low bits: lanes beyond the last may have symbols without a frequency */
    return i_or(share, i_gather16(slot, i_add(left, first)));
}

/* A stream being encoded. Lanes are reversed in each half, so that words come in reverse too. */
struct enc_run {
    vi state[2];
    const uint8_t *symbol; /* of the row's first channel */
    const uint16_t *base, *delta;
    uint32_t *rest; /* [KVS_RANS_CHAN]: what this row's symbols are encoded with, 16s reversed */
    uint16_t *word;
};

/* Looks up 32 channels of a row: one by one, a row before they are wanted. */
INLINE void look32(struct enc_run *run, const struct kvs_rans_enc *enc, const uint8_t *symbol,
                   uint32_t c)
{
    const uint32_t *table = enc->rest;
    const uint16_t *base = run->base + c;
    uint32_t *rest = run->rest + c;

    symbol += c;
#pragma GCC unroll 32
    for (uint32_t i = 0; i < 32; i++)
        rest[i ^ 15] = table[(uint32_t)base[i] + symbol[i]];
}

/* its 32 lanes at channel c; channels may have models of their own; before: the row's that comes
 * next, or NULL */
INLINE void encode32(struct enc_run *run, const struct kvs_rans_enc *enc, uint32_t c,
                     uint32_t lanes, const uint8_t *before)
{
    vi both[2] = {i_load(run->rest + c), i_load(run->rest + c + 16)};

    if (before)
        look32(run, enc, before, c);
#pragma GCC unroll 2
    for (unsigned h = 2; h-- > 0;) {
        vi x = run->state[h], low = i_set(KVS_RANS_M - 1);
        vi freq = i_and(both[h], low), first = i_srl(both[h], KVS_RANS_BITS);
        unsigned mine = back16(lanes >> 16 * h & 0xffff);
        unsigned over = i_lt(i_sub(i_sll(freq, 20), i_set(1)), x) & mine;
        i_spill(run->word, x, over);
        run->word += __builtin_popcount(over);
        x = encode16(x, freq, first, over, enc->slot);
        run->state[h] = mine == 0xffff ? x : i_pick(mine, x, run->state[h]);
    }
}

#ifdef KVS_VEC_LOOKUP
/* All models' symbols, in registers. */
struct enc_table {
    vt freq[KVS_FLAT_BLOCKS], first[KVS_FLAT_BLOCKS];
    const uint16_t *slot;
};

INLINE void encode32_flat(struct enc_run *run, const struct enc_table *table, uint32_t c,
                          const unsigned n_block)
{
    vi at = w_add(w_u8(run->symbol + c), i_load(run->delta + c));
    vi freq16 = w_lookup(table->freq, at, n_block), first16 = w_lookup(table->first, at, n_block);
#pragma GCC unroll 2
    for (unsigned h = 2; h-- > 0;) {
        vi x = run->state[h], rest = i_weave_back(freq16, first16, h);
        vi freq = i_and(rest, i_set(0xffff)), first = i_srl(rest, 16);
        unsigned over = i_le(i_sll(freq, 20), x);
        i_spill(run->word, x, over);
        run->word += __builtin_popcount(over);
        run->state[h] = encode16(x, freq, first, over, table->slot);
    }
}
#endif

/* blocks: of the flat table; 0: lookups one by one */
INLINE void rans_encode_n(struct kvs_stream_job *job, const unsigned n,
                          const struct kvs_rans_enc *enc, bool full, const unsigned blocks)
{
    enum { AHEAD = 8 }; /* rows: streams' channels don't lie side by side, and rows go back */
    uint32_t n_chan = job[0].n_chan, n_tok = job[0].n_tok, rest[4][KVS_RANS_CHAN];
    size_t stride = job[0].symbol_stride;
    struct enc_run run[4];
#ifdef KVS_VEC_LOOKUP
    struct enc_table table;

    for (unsigned i = 0; i < blocks; i++) {
        table.freq[i] = i_lookup_table(job[0].flat->freq + 64 * i);
        table.first[i] = i_lookup_table(job[0].flat->first + 64 * i);
    }
    table.slot = enc->slot;
#endif
    for (unsigned s = 0; s < n; s++) {
        run[s] = (struct enc_run){{i_set(KVS_RANS_LOW), i_set(KVS_RANS_LOW)},
                                  job[s].symbol + n_tok * stride,
                                  job[s].base,
                                  job[s].delta,
                                  rest[s],
                                  job[s].word};
        for (uint32_t c = 0; c < n_chan && n_tok && !blocks; c += 32)
            look32(&run[s], enc, run[s].symbol - stride, c);
    }
    for (uint32_t t = n_tok; t-- > 0;) {
        const uint8_t *before[4] = {NULL};
        for (unsigned s = 0; s < n; s++) {
            run[s].symbol -= stride;
            if (t > 0)
                before[s] = run[s].symbol - stride;
            for (uint32_t c = 0; c < n_chan && t >= AHEAD; c += 64)
                __builtin_prefetch(run[s].symbol - AHEAD * stride + c);
        }
        for (uint32_t c = kvs_up(n_chan, 32); c > 0;) {
            c -= 32;
#ifdef KVS_VEC_LOOKUP
            if (blocks) {
                /* no loop: compilers would keep its states in memory */
                encode32_flat(&run[0], &table, c, blocks);
                if (n > 1)
                    encode32_flat(&run[1], &table, c, blocks);
                if (n > 2)
                    encode32_flat(&run[2], &table, c, blocks);
                if (n > 3)
                    encode32_flat(&run[3], &table, c, blocks);
                continue;
            }
#endif
            uint32_t lanes = full || n_chan - c >= 32 ? UINT32_MAX : (1u << (n_chan - c)) - 1;
            encode32(&run[0], enc, c, lanes, before[0]);
            if (n > 1)
                encode32(&run[1], enc, c, lanes, before[1]);
            if (n > 2)
                encode32(&run[2], enc, c, lanes, before[2]);
            if (n > 3)
                encode32(&run[3], enc, c, lanes, before[3]);
        }
    }
    for (unsigned s = 0; s < n; s++) {
        uint32_t state[32];
        i_store(state, run[s].state[0]);
        i_store(state + 16, run[s].state[1]);
        for (int i = 0; i < 32; i++)
            job[s].state[i] = state[i ^ 15];
        job[s].n_word = (uint32_t)(run[s].word - job[s].word);
    }
}

/* full: channels come in whole 32s */
INLINE void rans_encode_all(struct kvs_stream_job *job, unsigned n, const struct kvs_rans_enc *enc,
                            bool full, const unsigned blocks)
{
    for (; n >= 4 && full; job += 4, n -= 4)
        rans_encode_n(job, 4, enc, true, blocks);
    for (; n > 0; job++, n--)
        rans_encode_n(job, 1, enc, full, blocks);
}

static void rans_encode(struct kvs_stream_job *job, unsigned n, const struct kvs_rans_enc *enc)
{
    if (job[0].n_chan % KVS_RANS_LANES != 0) {
        rans_encode_all(job, n, enc, false, 0);
        return;
    }
#ifdef KVS_VEC_LOOKUP
    if (job[0].flat) {
        if (job[0].flat->n_block == 1)
            rans_encode_all(job, n, enc, true, 1);
        else if (job[0].flat->n_block == 2)
            rans_encode_all(job, n, enc, true, 2);
        else if (job[0].flat->n_block <= 4)
            rans_encode_all(job, n, enc, true, 4);
        else if (job[0].flat->n_block <= 8)
            rans_encode_all(job, n, enc, true, 8);
        else
            rans_encode_all(job, n, enc, true, 12);
        return;
    }
#endif
    rans_encode_all(job, n, enc, true, 0);
}

static void places(uint64_t *place, const uint16_t *base, const uint8_t *symbol, const uint16_t *x,
                   const float *mean, const float *inverse, uint32_t n_chan, enum kvs_half half)
{
    for (uint32_t c = 0; c < n_chan; c += 16) {
        uint32_t n = n_chan - c < 16 ? n_chan - c : 16, at[16];
        vf in = f_mul(f_sub(load(x + c, n_chan - c, half), f_load(mean + c)), f_load(inverse + c));
        vi bin = i_sub(i_u8(symbol + c), i_set(KVS_SYMBOL_ZERO));
        in = f_mul(f_add(f_sub(in, f_of_i(bin)), f_set(.5f)), f_set(0x1p16f));
        i_store(at, i_min(i_max(i_round(in), i_set(0)), i_set(65535)));
        for (uint32_t k = 0; k < n; k++)
            place[base[c + k] + symbol[c + k]] += 1ull << 40 | at[k];
    }
}

/* In 4 tables, so that equal neighbours don't wait. */
static void count_each(uint32_t *count, uint32_t *part, const uint16_t *base, const uint8_t *symbol,
                       size_t stride, uint32_t n_tok, uint32_t n_chan)
{
    uint32_t *a = part, *b = a + KVS_COUNT_ALL, *c = b + KVS_COUNT_ALL, *d = c + KVS_COUNT_ALL;

    for (uint32_t t = 0; t < n_tok; t++, symbol += stride) {
        uint32_t i = 0;
        for (; i + 4 <= n_chan; i += 4) {
            a[base[i] + symbol[i]]++;
            b[base[i + 1] + symbol[i + 1]]++;
            c[base[i + 2] + symbol[i + 2]]++;
            d[base[i + 3] + symbol[i + 3]]++;
        }
        for (; i < n_chan; i++)
            count[base[i] + symbol[i]]++;
    }
    for (uint32_t i = 0; i < KVS_COUNT_ALL; i++)
        count[i] += a[i] + b[i] + c[i] + d[i];
    memset(part, 0, 4 * KVS_COUNT_ALL * sizeof *part);
}

INLINE bool row_within(const uint8_t *symbol, uint32_t n_chan, uint8_t low, uint8_t high)
{
    uint8_t bad = 0;

    for (uint32_t c = 0; c < n_chan; c++)
        bad |= (uint8_t)((symbol[c] < low) | (symbol[c] > high));
    return !bad;
}

/* What pairs were counted, to their symbols. */
static void count_pairs(uint32_t count[256], uint32_t *pair)
{
    uint32_t first[128] = {0};

    for (uint32_t k = 0; k < 128; k++, pair += 128) {
        uint32_t second = 0;
        for (uint32_t i = 0; i < 128; i++) {
            first[i] += pair[i];
            second += pair[i];
        }
        memset(pair, 0, 128 * sizeof *pair);
        count[64 + (k ^ 64)] += second;
    }
    for (uint32_t i = 0; i < 128; i++)
        count[64 + (i ^ 64)] += first[i];
}

/*
 * Symbols 64 to 191 in pairs, half the work: 7 bits of one at an even place and of the next. In two
 * tables, so that equal neighbours don't wait, where symbols are few; else both would not fit into
 * the first cache.
 */
static void count(uint32_t count[256], uint32_t *part, const uint8_t *symbol, size_t stride,
                  uint32_t n_tok, uint32_t n_chan)
{
    enum { FEW = 20 };
    bool few = n_tok && row_within(symbol, n_chan, KVS_SYMBOL_ZERO - FEW, KVS_SYMBOL_ZERO + FEW);
    uint32_t *a = part, *b = few ? part + (1 << 14) : part;

    for (uint32_t t = 0; t < n_tok; t++, symbol += stride) {
        uint32_t c = 0;
        if (!row_within(symbol, n_chan, 64, 191)) {
            for (; c < n_chan; c++)
                count[symbol[c]]++;
            continue;
        }
        for (; c + 8 <= n_chan; c += 8) {
            uint64_t eight;
            memcpy(&eight, symbol + c, 8);
            eight = (eight & 0x007f007f007f007f) | (eight >> 1 & 0x3f803f803f803f80);
            a[eight & 0xffff]++;
            b[eight >> 16 & 0xffff]++;
            a[eight >> 32 & 0xffff]++;
            b[eight >> 48]++;
        }
        for (; c < n_chan; c++)
            count[symbol[c]]++;
    }
    count_pairs(count, a);
    if (few)
        count_pairs(count, b);
}

static void turn(uint16_t *to, const uint16_t *from, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = from[n - 1 - i];
}

static bool outside(const uint8_t *symbol, const uint8_t *low, const uint8_t *last, uint32_t n_chan)
{
    uint8_t bad = 0;
    for (uint32_t c = 0; c < n_chan; c++)
        bad |= (uint8_t)((symbol[c] < low[c]) | (symbol[c] > last[c]));
    return bad;
}

#define TEXT_(name) #name
#define TEXT(name) TEXT_(name)

const struct kvs_kvf_isa PASTE(kvs_kvf_, KVS_VEC_NAME) = {
    .name = TEXT(KVS_VEC_NAME),
    .hash = hash,
    .widen = widen,
    .max_bits = max_bits,
    .range = range,
    .range_row = range_row,
    .scales = scales,
    .moments = moments,
    .pack = pack,
    .unpack = unpack,
    .quantise = quantise,
    .places = places,
    .count = count,
    .count_each = count_each,
    .turn = turn,
    .outside = outside,
    .rans_decode = rans_decode,
    .rans_encode = rans_encode,
};
