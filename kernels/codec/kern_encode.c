/* kern_encode.c - symbols to rANS. See kern.h. */
#include "kern_vec.h"

/* 16 bits, the last first */
INLINE vm back16(unsigned mask)
{
    mask = (mask & 0x5555) << 1 | (mask >> 1 & 0x5555);
    mask = (mask & 0x3333) << 2 | (mask >> 2 & 0x3333);
    mask = (mask & 0x0f0f) << 4 | (mask >> 4 & 0x0f0f);
    return (mask << 8 | mask >> 8) & 0xffff;
}

/* Where symbols of freq and n low bits find no room before a word is spilled. */
INLINE vm over16(vi x, vi freq, vi n, const bool split)
{
    vi room = i_sll(freq, 20);
    return i_lt(i_sub(split ? i_srlv(room, n) : room, i_set(1)), x);
}

/*
 * x, whose low word is spilled already where `over` has a bit, takes n low bits, if split, and
 * symbols of freq and first: x / freq << 11 | slot. The quotient comes right or one too large; the
 * rest of one too large is negative, or huge without a sign.
 */
INLINE vi encode16(vi x, vi freq, vi first, vi bits, vi n, vm over, const uint16_t *slot,
                   const bool split)
{
    vi y = i_pick(over, i_srl(x, 16), x);
    if (split)
        y = i_or(i_sllv(y, n), bits);
    vi share = i_quotient(y, freq), left = i_sub(y, i_mul(share, freq));

    share = i_sll(i_add(share, i_sra(left, 31)), KVS_RANS_BITS);
    left = i_min_unsigned(left, i_add(left, freq));
    /* low bits: lanes beyond the last may have symbols without a frequency */
    return i_or(share, i_gather16(slot, i_add(left, first)));
}

/* A stream being encoded. Lanes are reversed in each half, so that words come in reverse too. */
struct enc_run {
    vi state[2];
    const uint8_t *symbol; /* of the row's first channel */
    const uint16_t *base, *delta, *low;
    const uint8_t *block;
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
        vi bits = i_and(i_srl(both[h], 28), i_set(3)), n = i_srl(both[h], 30);
        vm mine = back16(lanes >> 16 * h & 0xffff);
        vm over = over16(x, freq, n, true) & mine;
        i_spill(run->word, x, over);
        run->word += __builtin_popcount(m_bits(over));
        x = encode16(x, freq, first, bits, n, over, enc->slot, true);
        run->state[h] = mine == 0xffff ? x : i_pick(mine, x, run->state[h]);
    }
}

#ifdef KVS_VEC_LOOKUP
/* Words of 32 symbols of two 16s' models. */
INLINE vi flat_look(const uint16_t *table, const uint8_t *block, vi at)
{
    vt part = i_lookup_table(table + (size_t)block[0] * KVS_RANS_SYMBOL);
    vi x = w_lookup(&part, at, 1);
    if (block[0] == block[1])
        return x;
    part = i_lookup_table(table + (size_t)block[1] * KVS_RANS_SYMBOL);
    return w_halves(x, w_lookup(&part, at, 1));
}

INLINE void encode32_flat(struct enc_run *run, const struct kvs_rans_flat *flat,
                          const uint16_t *slot, uint32_t c, const bool split)
{
    vi at = w_add(w_u8(run->symbol + c), i_load(run->delta + c)), bits16 = at;
    const uint8_t *block = run->block + c / 16;

    if (split) {
        vi n = i_load(run->low + c), high = w_srlv(at, n);
        bits16 = w_sllv(w_sub(at, w_sllv(high, n)), w_set(KVS_RANS_BITS));
        at = high;
    }
    vi freq16 = flat_look(flat->freq, block, at), first16 = flat_look(flat->first, block, at);
    if (split)
        freq16 = i_or(freq16, bits16);
#pragma GCC unroll 2
    for (unsigned h = 2; h-- > 0;) {
        vi x = run->state[h], rest = i_weave_back(freq16, first16, h), bits = x, n = x;
        vi freq = i_and(rest, i_set(split ? KVS_RANS_M - 1 : 0xffff)), first = i_srl(rest, 16);
        if (split) {
            bits = i_and(i_srl(rest, KVS_RANS_BITS), i_set(3));
            n = i_and(i_srl(rest, KVS_RANS_BITS + 2), i_set(3));
        }
        vm over = over16(x, freq, n, split);
        i_spill(run->word, x, over);
        run->word += __builtin_popcount(m_bits(over));
        run->state[h] = encode16(x, freq, first, bits, n, over, slot, split);
    }
}
#endif

/* flat: lookups in registers; split: some with low bits */
INLINE void rans_encode_n(struct kvs_stream_job *job, const unsigned n,
                          const struct kvs_rans_enc *enc, bool full, bool flat, bool split)
{
    enum { AHEAD = 8 }; /* rows: streams' channels don't lie side by side, and rows go back */
    uint32_t n_chan = job[0].n_chan, n_tok = job[0].n_tok, rest[4][KVS_RANS_CHAN];
    size_t stride = job[0].symbol_stride;
    struct enc_run run[4];

    (void)split;
    for (unsigned s = 0; s < n; s++) {
        run[s] = (struct enc_run){{i_set(KVS_RANS_LOW), i_set(KVS_RANS_LOW)},
                                  job[s].symbol + n_tok * stride,
                                  job[s].base,
                                  job[s].delta,
                                  job[s].low,
                                  job[s].block,
                                  rest[s],
                                  job[s].word};
        for (uint32_t c = 0; c < n_chan && n_tok && !flat; c += 32)
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
            if (flat) {
                /* no loop: compilers would keep its states in memory */
                encode32_flat(&run[0], job[0].flat, enc->slot, c, split);
                if (n > 1)
                    encode32_flat(&run[1], job[0].flat, enc->slot, c, split);
                if (n > 2)
                    encode32_flat(&run[2], job[0].flat, enc->slot, c, split);
                if (n > 3)
                    encode32_flat(&run[3], job[0].flat, enc->slot, c, split);
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
                            bool full, bool flat, bool split)
{
    for (; n >= 4 && full; job += 4, n -= 4)
        rans_encode_n(job, 4, enc, true, flat, split);
    for (; n >= 2 && full; job += 2, n -= 2)
        rans_encode_n(job, 2, enc, true, flat, split);
    for (; n > 0; job++, n--)
        rans_encode_n(job, 1, enc, full, flat, split);
}

void KERN(rans_encode)(struct kvs_stream_job *job, unsigned n, const struct kvs_rans_enc *enc)
{
    if (job[0].n_chan % KVS_RANS_LANES != 0) {
        rans_encode_all(job, n, enc, false, false, false);
        return;
    }
#ifdef KVS_VEC_LOOKUP
    if (job[0].flat) {
        if (job[0].flat->split)
            rans_encode_all(job, n, enc, true, true, true);
        else
            rans_encode_all(job, n, enc, true, true, false);
        return;
    }
#endif
    rans_encode_all(job, n, enc, true, false, false);
}

void KERN(turn)(uint16_t *to, const uint16_t *from, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = from[n - 1 - i];
}
