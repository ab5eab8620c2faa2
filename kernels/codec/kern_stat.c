/* kern_stat.c - statistics of rows: largest and least, sums, what parameters come of them. See
 * kern.h. */
#include "kern_vec.h"

void KERN(widen)(float *to, const uint16_t *from, size_t n, enum kvs_half half)
{
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        f_store(to + i, f_half(from + i, half));
    for (; i < n; i++)
        to[i] = kvs_f32_of_half(from[i], half);
}

unsigned KERN(max_bits)(const uint16_t *x, size_t n)
{
    enum { BLOCK = 1024, AHEAD = 4096 }; /* this is who reads a section first */
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

/* Whether some of the bits, of floats without their signs, are more than kvs_half_huge has. */
INLINE bool any_huge(vi bits, enum kvs_half half)
{
    float most = half == KVS_F16 ? 0x1p15f : 0x1p48f;
    return m_bits(i_lt(i_as(f_set(most)), bits)) != 0;
}

/* n vectors side by side: whole lines of the cache are read, and once */
INLINE bool range_n(float *low, float *high, const uint16_t *x, size_t stride, uint32_t n_tok,
                    const uint32_t n, uint32_t left, enum kvs_half half)
{
    vf least[4], most[4];
    vi size = i_set(0), mask = i_set(INT32_MAX);
    for (uint32_t g = 0; g < n; g++) {
        least[g] = most[g] = load(x + 16 * g, left - 16 * g, half);
        size = i_max(size, i_and(i_as(least[g]), mask));
    }
    for (uint32_t t = 1; t < n_tok; t++)
#pragma GCC unroll 4
        for (uint32_t g = 0; g < n; g++) {
            vf value = load(x + t * stride + 16 * g, left - 16 * g, half);
            least[g] = f_min(value, least[g]);
            most[g] = f_max(value, most[g]);
            size = i_max(size, i_and(i_as(value), mask));
        }
    for (uint32_t g = 0; g < n; g++) {
        f_store(low + 16 * g, least[g]);
        f_store(high + 16 * g, most[g]);
    }
    return any_huge(size, half);
}

#ifdef KVS_VEC_LOOKUP
/* 64 channels, by words */
INLINE bool range_words(float *low, float *high, const uint16_t *x, size_t stride, uint32_t n_tok,
                        enum kvs_half half)
{
    vi least = w_order(i_load(x)), least2 = w_order(i_load(x + 32)), most = least, most2 = least2;
    uint16_t words[32];

    for (uint32_t t = 1; t < n_tok; t++) {
        vi one = w_order(i_load(x + t * stride)), two = w_order(i_load(x + t * stride + 32));
        least = w_min(least, one);
        most = w_max(most, one);
        least2 = w_min(least2, two);
        most2 = w_max(most2, two);
    }
    i_store(words, w_order(least));
    KERN(widen)(low, words, 32, half);
    i_store(words, w_order(least2));
    KERN(widen)(low + 32, words, 32, half);
    i_store(words, w_order(most));
    KERN(widen)(high, words, 32, half);
    i_store(words, w_order(most2));
    KERN(widen)(high + 32, words, 32, half);
    return w_beyond(w_min(least, least2), w_max(most, most2), kvs_half_huge(half));
}

/* Of eight groups of 32 or 64 channels, side by side. */
INLINE bool range_eight(float *low, float *high, const uint16_t *x, const uint32_t n,
                        enum kvs_half half)
{
    vi least[8], most[8]; /* most: complements */

#pragma GCC unroll 8
    for (uint32_t g = 0; g < 8; g++, x += n) {
        vi one = w_order(i_load(x)), two = n == 64 ? w_order(i_load(x + 32)) : one;
        least[g] = w_min(one, two);
        most[g] = i_sub(i_set(-1), w_max(one, two));
    }
    bool huge = w_least8_store(low, least, false, half);
    return w_least8_store(high, most, true, half) || huge;
}
#endif

bool KERN(range)(float *low, float *high, const uint16_t *x, size_t stride, uint32_t n_tok,
                 uint32_t n_chan, enum kvs_half half)
{
    uint32_t c = 0;
    bool huge = false;
    for (; c + 64 <= n_chan; c += 64)
#ifdef KVS_VEC_LOOKUP
        huge |= range_words(low + c, high + c, x + c, stride, n_tok, half);
#else
        huge |= range_n(low + c, high + c, x + c, stride, n_tok, 4, 64, half);
#endif
    for (; c < n_chan; c += 16)
        huge |= range_n(low + c, high + c, x + c, stride, n_tok, 1, n_chan - c, half);
    return huge;
}

bool KERN(range_row)(float *low, float *high, const uint16_t *x, uint32_t n_chan, uint32_t group,
                     enum kvs_half half)
{
    vi size = i_set(0), mask = i_set(INT32_MAX);
    uint32_t g = 0;
    bool huge = false;
#ifdef KVS_VEC_LOOKUP
    for (; (g + 8) * group <= n_chan && (group == 64 || group == 32); g += 8)
        if (group == 64)
            huge |= range_eight(low + g, high + g, x + g * group, 64, half);
        else
            huge |= range_eight(low + g, high + g, x + g * group, 32, half);
#endif
    for (; g * group < n_chan; g++) {
        uint32_t from = g * group, n = n_chan - from < group ? n_chan - from : group;
        if (n == 64 || n == 32) {
            vf least = f_half(x + from, half), most = least;
            size = i_max(size, i_and(i_as(least), mask));
            for (uint32_t c = 16; c < n; c += 16) {
                vf value = f_half(x + from + c, half);
                size = i_max(size, i_and(i_as(value), mask));
                least = f_min(value, least);
                most = f_max(value, most);
            }
            low[g] = f_least(least);
            high[g] = f_most(most);
            continue;
        }
        low[g] = high[g] = kvs_f32_of_half(x[from], half);
        huge |= KERN(max_bits)(x + from, n) > kvs_half_huge(half);
        for (uint32_t c = 1; c < n; c++) {
            float value = kvs_f32_of_half(x[from + c], half);
            low[g] = value < low[g] ? value : low[g];
            high[g] = value > high[g] ? value : high[g];
        }
    }
    return huge || any_huge(size, half);
}

void KERN(scales)(uint16_t *low16, uint16_t *step16, float *inverse, const float *low,
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

unsigned KERN(moments)(float *sum, float *square, const uint16_t *x, uint32_t n_tok,
                       uint32_t n_chan, enum kvs_half half)
{
    /* rows into the second cache by the first that reads them */
    const uint32_t rows = n_chan < 1024 ? 65536 / n_chan : 64;
    unsigned most = 0;

    memset(sum, 0, kvs_up(n_chan, 16) * sizeof *sum);
    memset(square, 0, kvs_up(n_chan, 16) * sizeof *square);
    for (uint32_t t = 0; t < n_tok; t += rows) {
        uint32_t c = 0, end = n_tok - t < rows ? n_tok : t + rows;
        unsigned bits = KERN(max_bits)(x + (size_t)t * n_chan, (size_t)(end - t) * n_chan);
        most = bits > most ? bits : most;
        for (; c + 64 <= n_chan; c += 64)
            moments_n(sum + c, square + c, x + c, n_chan, t, end, 4, 64, half);
        for (; c < n_chan; c += 16)
            moments_n(sum + c, square + c, x + c, n_chan, t, end, 1, n_chan - c, half);
    }
    return most;
}
