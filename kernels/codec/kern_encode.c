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
 * symbols of freq and first: x / freq << 11 | slot. Here the former, and where the latter lies. The
 * quotient comes right or one too large; the rest of one too large is negative, or huge without a
 * sign.
 */
INLINE vi share16(vi *at, vi x, vi freq, vi first, vi bits, vi n, vm over, const bool split)
{
    vi y = i_pick(over, i_srl(x, 16), x);
    if (split)
        y = i_or(i_sllv(y, n), bits);
    vi share = i_quotient(y, freq), left = i_sub(y, i_mul(share, freq));

    share = i_sll(i_add(share, i_sra(left, 31)), KVS_RANS_BITS);
    *at = i_add(i_min_unsigned(left, i_add(left, freq)), first);
    return share; /* lanes beyond the last may have symbols without a frequency, and be anywhere */
}

/* A stream being encoded. Lanes are reversed in each half, so that words come in reverse too. */
struct enc_run {
    vi low, high;
    const uint8_t *symbol; /* of the row's first channel */
    const uint16_t *base, *delta, *n_low;
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

INLINE vi encode16(struct enc_run *run, const struct kvs_rans_enc *enc, vi x, vi rest, vm mine)
{
    vi freq = i_and(rest, i_set(KVS_RANS_M - 1)), first = i_srl(rest, KVS_RANS_BITS);
    vi bits = i_and(i_srl(rest, 28), i_set(3)), n = i_srl(rest, 30), at;
    vm over = over16(x, freq, n, true) & mine;

    i_spill(run->word, x, over);
    run->word += __builtin_popcount(m_bits(over));
    vi share = share16(&at, x, freq, first, bits, n, over, true);
    vi next = i_or(share, i_gather16(enc->slot, at)); /* by the low 16 bits */
    return mine == 0xffff ? next : i_pick(mine, next, x);
}

/* its 32 lanes at channel c; channels may have models of their own; before: how far back the row
 * is that comes next; 0: none does */
INLINE void encode32(struct enc_run *run, const struct kvs_rans_enc *enc, uint32_t c,
                     uint32_t lanes, size_t before)
{
    vi both[2] = {i_load(run->rest + c), i_load(run->rest + c + 16)};

    if (before)
        look32(run, enc, run->symbol - before, c);
    run->high = encode16(run, enc, run->high, both[1], back16(lanes >> 16));
    run->low = encode16(run, enc, run->low, both[0], back16(lanes & 0xffff));
}

#ifdef KVS_VEC_LOOKUP
/* The models of 32 channels, by registers. */
struct enc_flat {
    vt freq, first;
};
INLINE struct enc_flat flat_load(const struct kvs_rans_flat *flat, uint32_t block)
{
    return (struct enc_flat){i_lookup_table(flat->freq + (size_t)block * KVS_RANS_SYMBOL),
                             i_lookup_table(flat->first + (size_t)block * KVS_RANS_SYMBOL)};
}

INLINE vi front16(struct enc_run *run, vi x, vi rest, uint16_t *at, const bool split)
{
    vi freq = i_and(rest, i_set(split ? KVS_RANS_M - 1 : 0xffff)), first = i_srl(rest, 16);
    vi bits = x, n = x, where;
    if (split) {
        bits = i_and(i_srl(rest, KVS_RANS_BITS), i_set(3));
        n = i_and(i_srl(rest, KVS_RANS_BITS + 2), i_set(3));
    }
    vm over = over16(x, freq, n, split);
    i_spill(run->word, x, over);
    run->word += __builtin_popcount(m_bits(over));
    vi share = share16(&where, x, freq, first, bits, n, over, split);
    i_store_u16(at, where);
    return share;
}

/* Encodes 32 symbols but for their slots: at: where those lie. one: the model of all channels;
 * NULL: each 16 have theirs. */
INLINE void encode32_front(struct enc_run *run, uint16_t at[32], const struct kvs_rans_flat *flat,
                           const struct enc_flat *one, uint32_t c, const bool split)
{
    vi symbol = w_add(w_u8(run->symbol + c), i_load(run->delta + c)), bits16 = symbol;

    if (split) {
        vi n = i_load(run->n_low + c), high = w_srlv(symbol, n);
        bits16 = w_sllv(w_sub(symbol, w_sllv(high, n)), w_set(KVS_RANS_BITS));
        symbol = high;
    }
    struct enc_flat own = one ? *one : flat_load(flat, run->block[c / 16]);
    vi freq16 = w_lookup(&own.freq, symbol), first16 = w_lookup(&own.first, symbol);
    if (!one) {
        own = flat_load(flat, run->block[c / 16 + 1]);
        freq16 = w_halves(freq16, w_lookup(&own.freq, symbol));
        first16 = w_halves(first16, w_lookup(&own.first, symbol));
    }
    if (split)
        freq16 = i_or(freq16, bits16);
    run->high = front16(run, run->high, i_weave_back(freq16, first16, 1), at + 16, split);
    run->low = front16(run, run->low, i_weave_back(freq16, first16, 0), at, split);
}

INLINE void encode32_back(struct enc_run *run, uint16_t at[32], const uint16_t *slot)
{
    run->high = i_or(run->high, i_gather16_at(slot, at + 16));
    run->low = i_or(run->low, i_gather16_at(slot, at));
}

#endif

/* where models are looked up: in memory; in registers, of each 16 channels, or of all */
enum how { BY_LOADS, BY_EACH, BY_ONE };

INLINE void enc_begin(struct enc_run *run, const struct kvs_stream_job *job, uint32_t *rest,
                      const struct kvs_rans_enc *enc, const enum how how)
{
    *run = (struct enc_run){.low = i_set(KVS_RANS_LOW),
                            .high = i_set(KVS_RANS_LOW),
                            .symbol = job->symbol + job->n_tok * job->symbol_stride,
                            .base = job->base,
                            .delta = job->delta,
                            .n_low = job->low,
                            .block = job->block,
                            .rest = rest,
                            .word = job->word};
    for (uint32_t c = 0; c < job->n_chan && job->n_tok && how == BY_LOADS; c += 32)
        look32(run, enc, run->symbol - job->symbol_stride, c);
}

/* A row back; rows far back are fetched: streams' channels don't lie side by side. */
INLINE void enc_row(struct enc_run *run, size_t stride, uint32_t n_chan, uint32_t t)
{
    enum { AHEAD = 8 };

    run->symbol -= stride;
    for (uint32_t c = 0; c < n_chan && t >= AHEAD; c += 64)
        __builtin_prefetch(run->symbol - AHEAD * stride + c);
}

INLINE void enc_end(const struct enc_run *run, struct kvs_stream_job *job)
{
    uint32_t state[32];

    i_store(state, run->low);
    i_store(state + 16, run->high);
    for (int i = 0; i < 32; i++)
        job->state[i] = state[i ^ 15];
    job->n_word = (uint32_t)(run->word - job->word);
}

/* split: some models with low bits. Streams in turn, each step of all: what one waits for the
 * others fill. No loops over streams: compilers would keep states in memory. */
INLINE void rans_encode_n(struct kvs_stream_job *job, const unsigned n,
                          const struct kvs_rans_enc *enc, bool full, const enum how how,
                          const bool split)
{
    uint32_t n_chan = job[0].n_chan, n_tok = job[0].n_tok, rest[4][KVS_RANS_CHAN];
    size_t stride = job[0].symbol_stride;
    struct enc_run run0, run1, run2, run3;

#ifdef KVS_VEC_LOOKUP
    const struct kvs_rans_flat *flat = job[0].flat;
    struct enc_flat table, *one = how == BY_ONE ? &table : NULL;
    _Alignas(64) uint16_t at[4][32];
    if (how == BY_ONE)
        table = flat_load(flat, job[0].block[0]);
#endif
    (void)split;
    enc_begin(&run0, &job[0], rest[0], enc, how);
    if (n > 1)
        enc_begin(&run1, &job[1], rest[1], enc, how);
    if (n > 2)
        enc_begin(&run2, &job[2], rest[2], enc, how);
    if (n > 3)
        enc_begin(&run3, &job[3], rest[3], enc, how);
    for (uint32_t t = n_tok; t-- > 0;) {
        enc_row(&run0, stride, n_chan, t);
        if (n > 1)
            enc_row(&run1, stride, n_chan, t);
        if (n > 2)
            enc_row(&run2, stride, n_chan, t);
        if (n > 3)
            enc_row(&run3, stride, n_chan, t);
        for (uint32_t c = kvs_up(n_chan, 32); c > 0;) {
            c -= 32;
#ifdef KVS_VEC_LOOKUP
            if (how != BY_LOADS) {
                encode32_front(&run0, at[0], flat, one, c, split);
                if (n > 1)
                    encode32_front(&run1, at[1], flat, one, c, split);
                if (n > 2)
                    encode32_front(&run2, at[2], flat, one, c, split);
                if (n > 3)
                    encode32_front(&run3, at[3], flat, one, c, split);
                encode32_back(&run0, at[0], enc->slot);
                if (n > 1)
                    encode32_back(&run1, at[1], enc->slot);
                if (n > 2)
                    encode32_back(&run2, at[2], enc->slot);
                if (n > 3)
                    encode32_back(&run3, at[3], enc->slot);
                continue;
            }
#endif
            uint32_t lanes = full || n_chan - c >= 32 ? UINT32_MAX : (1u << (n_chan - c)) - 1;
            size_t before = t > 0 ? stride : 0;
            encode32(&run0, enc, c, lanes, before);
            if (n > 1)
                encode32(&run1, enc, c, lanes, before);
            if (n > 2)
                encode32(&run2, enc, c, lanes, before);
            if (n > 3)
                encode32(&run3, enc, c, lanes, before);
        }
    }
    enc_end(&run0, &job[0]);
    if (n > 1)
        enc_end(&run1, &job[1]);
    if (n > 2)
        enc_end(&run2, &job[2]);
    if (n > 3)
        enc_end(&run3, &job[3]);
}

/* full: channels come in whole 32s */
INLINE void rans_encode_all(struct kvs_stream_job *job, unsigned n, const struct kvs_rans_enc *enc,
                            bool full, const enum how how, const bool split)
{
    for (; n >= 4 && full; job += 4, n -= 4)
        rans_encode_n(job, 4, enc, true, how, split);
    for (; n >= 2 && full; job += 2, n -= 2)
        rans_encode_n(job, 2, enc, true, how, split);
    for (; n > 0; job++, n--)
        rans_encode_n(job, 1, enc, full, how, split);
}

#ifdef KVS_VEC_LOOKUP
/* The channels of all streams have one model. */
static bool one_model(const struct kvs_stream_job *job, unsigned n)
{
    for (unsigned s = 0; s < n; s++)
        for (uint32_t g = 0; g < job[s].n_chan / 16; g++)
            if (job[s].block[g] != job[0].block[0])
                return false;
    return true;
}
#endif

void KERN(rans_encode)(struct kvs_stream_job *job, unsigned n, const struct kvs_rans_enc *enc)
{
    if (job[0].n_chan % KVS_RANS_LANES != 0) {
        rans_encode_all(job, n, enc, false, BY_LOADS, false);
        return;
    }
#ifdef KVS_VEC_LOOKUP
    if (job[0].flat) {
        bool one = one_model(job, n), split = job[0].flat->split;
        if (one && split)
            rans_encode_all(job, n, enc, true, BY_ONE, true);
        else if (one)
            rans_encode_all(job, n, enc, true, BY_ONE, false);
        else if (split)
            rans_encode_all(job, n, enc, true, BY_EACH, true);
        else
            rans_encode_all(job, n, enc, true, BY_EACH, false);
        return;
    }
#endif
    rans_encode_all(job, n, enc, true, BY_LOADS, false);
}

void KERN(turn)(uint16_t *to, const uint16_t *from, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = from[n - 1 - i];
}
