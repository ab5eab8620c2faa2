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
    const uint16_t *base, *delta, *n_low, *slot;
    const struct kvs_rans_flat *flat;
    const uint8_t *block;
    uint32_t *rest; /* [KVS_RANS_CHAN]: what this row's symbols are encoded with, 16s reversed */
    uint16_t *word;
};

/* Looks up 32 channels of a row: one by one, a row before they are wanted. */
INLINE void look32(struct enc_run *run, const uint32_t *table, const uint8_t *symbol, uint32_t c)
{
    const uint16_t *base = run->base + c;
    uint32_t *rest = run->rest + c;

    symbol += c;
#pragma GCC unroll 32
    for (uint32_t i = 0; i < 32; i++)
        rest[i ^ 15] = table[(uint32_t)base[i] + symbol[i]];
}

INLINE vi encode16(struct enc_run *run, vi x, vi rest, vm mine)
{
    vi freq = i_and(rest, i_set(KVS_RANS_M - 1)), first = i_srl(rest, KVS_RANS_BITS);
    vi bits = i_and(i_srl(rest, 28), i_set(3)), n = i_srl(rest, 30), at;
    vm over = i_ge(x, i_sllv(freq, i_sub(i_set(20), n))) & mine;

    i_spill(run->word, x, over);
    run->word += __builtin_popcount(m_bits(over));
    vi share = share16(&at, x, freq, first, bits, n, over, true);
    vi next = i_or(share, i_gather16(run->slot, at)); /* by the low 16 bits */
    return mine == 0xffff ? next : i_pick(mine, next, x);
}

/* its 32 lanes at channel c; channels may have models of their own; before: how far back the row
 * is that comes next; 0: none does */
INLINE void encode32(struct enc_run *run, const uint32_t *table, uint32_t c, uint32_t lanes,
                     size_t before)
{
    vi both[2] = {i_load(run->rest + c), i_load(run->rest + c + 16)};

    if (before)
        look32(run, table, run->symbol - before, c);
    run->high = encode16(run, run->high, both[1], back16(lanes >> 16));
    run->low = encode16(run, run->low, both[0], back16(lanes & 0xffff));
}

#ifdef KVS_VEC_LOOKUP
/* The models of 32 channels, by registers. */
struct enc_flat {
    vt freq, first;
};
INLINE struct enc_flat flat_load(const struct kvs_rans_flat *flat, uint32_t block)
{
    return (struct enc_flat){i_lookup_table(flat->freq16 + (size_t)block * KVS_RANS_SYMBOL),
                             i_lookup_table(flat->first + (size_t)block * KVS_RANS_SYMBOL)};
}

/* rest: first | low bits << 16 | freq << 20; block: of the model */
INLINE vi front16(struct enc_run *run, vi x, vi rest, uint16_t at[16], uint32_t block,
                  const bool split)
{
    vi freq = i_srl(rest, 20), room = i_and(rest, i_set((int32_t)0xfff00000)), n = x, bits = x,
       where;

    if (split) {
        n = i_set((int32_t)run->flat->low[block]);
        room = i_srlv(room, n);
        bits = i_and(i_srl(rest, 16), i_set(3));
    }
    vm over = i_ge(x, room);
    i_spill(run->word, x, over);
    run->word += __builtin_popcount(m_bits(over));
    vi share = share16(&where, x, freq, i_and(rest, i_set(0xffff)), bits, n, over, split);
    i_store_u16(at, where);
    return share;
}

/* Encodes 32 symbols but for their slots: at: where those lie. one: the model of all channels;
 * NULL: each 16 have theirs. */
INLINE void encode32_front(struct enc_run *run, uint16_t at[32], const struct enc_flat *one,
                           uint32_t c, const bool split)
{
    vi symbol = w_add(w_u8(run->symbol + c), i_load(run->delta + c)), low = symbol;
    uint32_t low_block = one ? 0 : run->block[c / 16],
             high_block = one ? 0 : run->block[c / 16 + 1];

    if (split) {
        vi n = i_load(run->n_low + c);
        symbol = w_srlv(symbol, n);
        low = w_sub(low, w_sllv(symbol, n)); /* the low bits alone */
    }
    struct enc_flat own = one ? *one : flat_load(run->flat, low_block);
    vi freq16 = w_lookup(&own.freq, symbol), first16 = w_lookup(&own.first, symbol);
    if (!one) {
        own = flat_load(run->flat, high_block);
        freq16 = w_halves(freq16, w_lookup(&own.freq, symbol));
        first16 = w_halves(first16, w_lookup(&own.first, symbol));
    }
    if (split)
        freq16 = i_or(freq16, low);
    vi rest_low = i_weave_back(first16, freq16, 0), rest_high = i_weave_back(first16, freq16, 1);
    run->high = front16(run, run->high, rest_high, at + 16, high_block, split);
    run->low = front16(run, run->low, rest_low, at, low_block, split);
}

INLINE void encode32_back(struct enc_run *run, uint16_t at[32])
{
    run->high = i_or(run->high, i_gather16_at(run->slot, at + 16));
    run->low = i_or(run->low, i_gather16_at(run->slot, at));
}

#endif

/* where models are looked up: in memory; of each 16 channels, by registers; of two streams */
enum how { BY_LOADS, BY_EACH, BY_ONE };

INLINE void enc_begin(struct enc_run *run, const struct kvs_stream_job *job, uint32_t *rest,
                      const uint32_t *table, const enum how how)
{
    *run = (struct enc_run){.low = i_set(KVS_RANS_LOW),
                            .high = i_set(KVS_RANS_LOW),
                            .symbol = job->symbol + job->n_tok * job->symbol_stride,
                            .base = job->base,
                            .delta = job->delta,
                            .n_low = job->low,
                            .slot = job->slot,
                            .flat = job->flat,
                            .block = job->block,
                            .rest = rest,
                            .word = job->word};
    for (uint32_t c = 0; c < job->n_chan && job->n_tok && how == BY_LOADS; c += 32)
        look32(run, table, run->symbol - job->symbol_stride, c);
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
INLINE void rans_encode_n(struct kvs_stream_job *job, const unsigned n, const uint32_t *table,
                          bool full, const enum how how, const bool split)
{
    uint32_t n_chan = job[0].n_chan, n_tok = job[0].n_tok, rest[4][KVS_RANS_CHAN];
    size_t stride = job[0].symbol_stride;
    struct enc_run run0, run1, run2, run3;

#ifdef KVS_VEC_LOOKUP
    _Alignas(64) uint16_t at[4][32];
    struct enc_flat table01, table23, *one = how == BY_ONE ? &table01 : NULL,
                                      *two = how == BY_ONE ? &table23 : NULL;
    if (how == BY_ONE)
        table01 = flat_load(job[0].flat, 0);
    if (how == BY_ONE && n > 2)
        table23 = flat_load(job[2].flat, 0);
#endif
    (void)split;
    enc_begin(&run0, &job[0], rest[0], table, how);
    if (n > 1)
        enc_begin(&run1, &job[1], rest[1], table, how);
    if (n > 2)
        enc_begin(&run2, &job[2], rest[2], table, how);
    if (n > 3)
        enc_begin(&run3, &job[3], rest[3], table, how);
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
                encode32_front(&run0, at[0], one, c, split);
                if (n > 1)
                    encode32_front(&run1, at[1], one, c, split);
                if (n > 2)
                    encode32_front(&run2, at[2], two, c, split);
                if (n > 3)
                    encode32_front(&run3, at[3], two, c, split);
                encode32_back(&run0, at[0]);
                if (n > 1)
                    encode32_back(&run1, at[1]);
                if (n > 2)
                    encode32_back(&run2, at[2]);
                if (n > 3)
                    encode32_back(&run3, at[3]);
                continue;
            }
#endif
            uint32_t lanes = full || n_chan - c >= 32 ? UINT32_MAX : (1u << (n_chan - c)) - 1;
            size_t before = t > 0 ? stride : 0;
            encode32(&run0, table, c, lanes, before);
            if (n > 1)
                encode32(&run1, table, c, lanes, before);
            if (n > 2)
                encode32(&run2, table, c, lanes, before);
            if (n > 3)
                encode32(&run3, table, c, lanes, before);
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
INLINE void rans_encode_all(struct kvs_stream_job *job, unsigned n, const uint32_t *table,
                            bool full, const enum how how, const bool split)
{
    for (; n >= 4 && full; job += 4, n -= 4)
        rans_encode_n(job, 4, table, true, how, split);
    for (; n >= 2 && full; job += 2, n -= 2)
        rans_encode_n(job, 2, table, true, how, split);
    for (; n > 0; job++, n--)
        rans_encode_n(job, 1, table, full, how, split);
}

void KERN(rans_encode)(struct kvs_stream_job *job, unsigned n, const uint32_t *rest)
{
    bool full = job[0].n_chan % KVS_RANS_LANES == 0;

#ifdef KVS_VEC_LOOKUP
    bool each = full, one = full, split = false; /* of all streams; one: of each two */
    for (unsigned s = 0; s < n && each; s++) {
        each = job[s].flat;
        split = split || (each && job[s].flat->split);
        for (uint32_t g = 0; g < job[s].n_chan / 16 && each; g++)
            one = one && job[s].block[g] == 0;
        one = one && (s % 2 == 0 || job[s].flat == job[s - 1].flat);
    }
    if (each && one && split)
        rans_encode_all(job, n, rest, true, BY_ONE, true);
    else if (each && one)
        rans_encode_all(job, n, rest, true, BY_ONE, false);
    else if (each && split)
        rans_encode_all(job, n, rest, true, BY_EACH, true);
    else if (each)
        rans_encode_all(job, n, rest, true, BY_EACH, false);
    else
#endif
        if (full)
        rans_encode_all(job, n, rest, true, BY_LOADS, false);
    else
        rans_encode_all(job, n, rest, false, BY_LOADS, false);
}

void KERN(turn)(uint16_t *to, const uint16_t *from, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = from[n - 1 - i];
}
