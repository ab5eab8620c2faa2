/* kern_symbol.c - symbols of elements: made, counted, checked. See kern.h. */
#include "kern_vec.h"

#ifndef KVS_VEC_LOOKUP
static inline void w_widen32(uint16_t *row, const uint8_t *from)
{
    for (int i = 0; i < 32; i++)
        row[i] = from[i];
}
static inline void w_pick32(uint8_t *to, const uint16_t *row, const uint8_t *from)
{
    for (int i = 0; i < 32; i++)
        to[i] = (uint8_t)row[from[i]];
}
#endif

INLINE vi symbol16(vf x, const float *mean, const float *inverse)
{
    vf away = f_mul(f_sub(x, f_load(mean)), f_load(inverse));
    return i_add(i_round(away), i_set(KVS_SYMBOL_ZERO));
}

bool KERN(quantise)(uint8_t *symbol, const uint16_t *x, const float *mean, const float *inverse,
                    uint32_t n_chan, enum kvs_half half)
{
    bool out = false;
    uint32_t c = 0;

#ifdef KVS_VEC_LOOKUP
    for (; c + 64 <= n_chan; c += 64) {
        vf2 one = f_half32(x + c, half), two = f_half32(x + c + 32, half);
        b_store8(symbol + c, b_within(symbol16(one.low, mean + c, inverse + c),
                                      symbol16(one.high, mean + c + 16, inverse + c + 16),
                                      symbol16(two.low, mean + c + 32, inverse + c + 32),
                                      symbol16(two.high, mean + c + 48, inverse + c + 48), &out));
    }
#endif
    for (; c < n_chan; c += 16) {
        vi q = symbol16(load(x + c, n_chan - c, half), mean + c, inverse + c);
        vm bad = i_lt(q, i_set(1)) | i_lt(i_set(255), q);
        if (n_chan - c < 16) {
            vm there = (vm)((1u << (n_chan - c)) - 1);
            bad &= there;
            q = i_pick(there, q, i_set(KVS_SYMBOL_ZERO));
        }
        i_store_u8(symbol + c, i_pick(bad, i_set(0), q));
        out = out || m_bits(bad);
    }
    return out;
}

bool KERN(outside)(const uint8_t *symbol, const uint8_t *low, const uint8_t *last, uint32_t n_chan)
{
    uint8_t bad = 0;
    for (uint32_t c = 0; c < n_chan; c++)
        bad |= (uint8_t)((symbol[c] < low[c]) | (symbol[c] > last[c]));
    return bad;
}

void KERN(place)(uint8_t *symbol, size_t stride, uint32_t n_tok, const uint8_t *from,
                 uint32_t n_chan)
{
    uint16_t row[KVS_RANS_CHAN] __attribute__((aligned(64))) = {0};

    for (uint32_t t = 0; t < n_tok; t++, symbol += stride) {
        for (uint32_t c = 0; c < n_chan; c += 32)
            w_widen32(row + c, symbol + c);
        for (uint32_t c = 0; c < n_chan; c += 32)
            w_pick32(symbol + c, row, from + c);
    }
}

void KERN(places)(uint64_t *place, const uint16_t *base, const uint8_t *symbol, const uint16_t *x,
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
void KERN(count_each)(uint32_t *count, const uint16_t *base, const uint8_t *symbol, size_t stride,
                      uint32_t n_tok, uint32_t n_chan)
{
    uint32_t *a = count, *b = a + KVS_COUNT_ALL, *c = b + KVS_COUNT_ALL, *d = c + KVS_COUNT_ALL;

    for (uint32_t t = 0; t < n_tok; t++, symbol += stride) {
        uint32_t i = 0;
        for (; i + 4 <= n_chan; i += 4) {
            a[base[i] + symbol[i]]++;
            b[base[i + 1] + symbol[i + 1]]++;
            c[base[i + 2] + symbol[i + 2]]++;
            d[base[i + 3] + symbol[i + 3]]++;
        }
        for (; i < n_chan; i++)
            a[base[i] + symbol[i]]++;
    }
}

/* By how many come before: all pairs are compared, by vectors that is faster than few. */
void KERN(sort)(uint8_t *by, const float *x, uint32_t n)
{
    int32_t bits[KVS_RANS_CHAN] = {0}, before[KVS_RANS_CHAN] = {0}; /* bits are in x's order */
    uint8_t same[KVS_RANS_CHAN] = {0};

    memcpy(bits, x, n * sizeof *x);
    for (uint32_t from = 0; from < n; from += 32) {
        int32_t mine[32] = {0};
        for (uint32_t k = 0; k < n; k++)
            for (uint32_t i = 0; i < 32; i++)
                mine[i] += bits[k] < bits[from + i];
        memcpy(before + from, mine, sizeof mine);
    }
    for (uint32_t i = 0; i < n; i++)
        by[before[i] + same[before[i]]++] = (uint8_t)i;
}

INLINE bool row_within(const uint8_t *symbol, uint32_t n_chan, uint8_t low, uint8_t high)
{
    uint8_t bad = 0;

    for (uint32_t c = 0; c < n_chan; c++)
        bad |= (uint8_t)((symbol[c] < low) | (symbol[c] > high));
    return !bad;
}

/*
 * Symbols 64 to 191 in pairs, half the work: 7 bits of one at an even place and of the next. In two
 * tables, so that equal neighbours don't wait, where symbols are few; else both would not fit into
 * the first cache.
 */
void KERN(count)(uint32_t count[256], uint32_t *pair, const uint8_t *symbol, size_t stride,
                 uint32_t n_tok, uint32_t n_chan)
{
    enum { FEW = 20, N_PAIR = KVS_COUNT_PAIR / 2 };
    bool few = n_tok && row_within(symbol, n_chan, KVS_SYMBOL_ZERO - FEW, KVS_SYMBOL_ZERO + FEW);
    uint32_t *a = pair, *b = few ? pair + N_PAIR : pair;

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
            eight ^= 0x4040404040404040; /* from 64 on */
            eight = (eight & 0x007f007f007f007f) | (eight >> 1 & 0x3f803f803f803f80);
            a[eight & 0xffff]++;
            b[eight >> 16 & 0xffff]++;
            a[eight >> 32 & 0xffff]++;
            b[eight >> 48]++;
        }
        for (; c < n_chan; c++)
            count[symbol[c]]++;
    }
}

void KERN(count_pairs)(uint32_t count[256], const uint32_t *pair)
{
    uint32_t first[128] = {0};

    for (uint32_t k = 0; k < 2 * 128; k++, pair += 128) {
        uint32_t second = 0;
        for (uint32_t i = 0; i < 128; i++) {
            first[i] += pair[i];
            second += pair[i];
        }
        count[64 + k % 128] += second;
    }
    for (uint32_t i = 0; i < 128; i++)
        count[64 + i] += first[i];
}
