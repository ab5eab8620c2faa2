/* kern_decode.c - rANS to elements. See kern.h. */
#include "kern_vec.h"

/* What is left of the state when a symbol is off it: low bits are the value's, of fewer than 2^15
 * the next word follows. */
INLINE vi rest16(vi *state, vi next, vi value, const int32_t *low, const uint16_t *word,
                 uint32_t *at, vm lanes, const bool split)
{
    if (split) {
        vi n = i_load(low), high = i_srlv(next, n);
        value = i_add(value, i_sub(next, i_sllv(high, n)));
        next = high;
    }
    vm less = i_lt(next, i_set(KVS_RANS_LOW));
    if (lanes != 0xffff) { /* known to the compiler where all take part */
        less &= lanes;
        next = i_pick(lanes, next, *state);
    }
    *state = i_fill(next, less, word + *at);
    *at += (unsigned)__builtin_popcount(m_bits(less));
    return value;
}

/* 16 lanes of one stream take a symbol each: their values, and the state after. */
INLINE vi decode16(vi *state, const uint32_t *table, const struct kvs_chan16 *chan,
                   const uint16_t *word, uint32_t *at, vm lanes)
{
    vi x = *state, low = i_set(KVS_RANS_M - 1);
    vi entry = i_gather(table, i_or(i_load(chan->table_at), i_and(x, low)));
    vi freq = i_and(i_srl(entry, KVS_RANS_BITS), low);
    vi next = i_add(i_mul(freq, i_srl(x, KVS_RANS_BITS)), i_and(entry, low));
    return rest16(state, next, i_sra(entry, 2 * KVS_RANS_BITS), chan->low, word, at, lanes, true);
}

#ifdef KVS_VEC_LOOKUP
/* The same with a table in registers. */
struct small_table {
    vt bucket, rank, freq, value;
};
INLINE struct small_table small_load(const struct kvs_rans_small *small)
{
    return (struct small_table){i_lookup_table(small->bucket), i_lookup_table(small->rank),
                                i_lookup_table(small->freq), i_lookup_table(small->value)};
}
INLINE vi decode16_small(vi *state, const struct small_table *table, const struct kvs_chan16 *chan,
                         const uint16_t *word, uint32_t *at, const bool split)
{
    vi x = *state, in = i_and(x, i_set(KVS_RANS_WIDE - 1));
    vi own = i_srl(x, 5); /* higher bits above */
    vi bucket = i_lookup(&table->bucket, own);
    vm mine = i_lt(in, i_and(bucket, i_set(63)));
    vi symbol = i_pick(mine, own, i_srl(bucket, 6));
    vi rank = i_add(i_sub(in, i_set(KVS_RANS_WIDE)), i_lookup(&table->rank, own));
    rank = i_pick(mine, in, rank);
    vi freq = i_lookup(&table->freq, symbol);
    vi value = i_sub(i_lookup(&table->value, symbol), i_set(512));
    vi next = i_add(i_mul(freq, i_srl(x, KVS_RANS_BITS)), rank);
    return rest16(state, next, value, chan->low, word, at, 0xffff, split);
}
#endif

#ifndef KVS_VEC_LOOKUP
static inline void half_turn32(uint16_t *x, const uint16_t *row, const uint8_t *place, bool stream)
{
    (void)stream;
    for (int i = 0; i < 32; i++)
        x[i] = row[place[i]];
}
#endif

/* A row in the stream's order to where its channels are. */
INLINE void turn_row(uint16_t *x, const uint16_t *row, const uint8_t *place, uint32_t n_chan,
                     bool full, bool stream)
{
    uint32_t c = 0;

    for (; c + 32 <= n_chan; c += 32)
        half_turn32(x + c, row, place + c, stream);
    for (; c < n_chan && !full; c++)
        x[c] = row[place[c]];
}

/* where tables are looked up: in memory; in registers, one of each 16 channels, or of all */
enum how { BY_LOADS, BY_EACH, BY_ONE };

/* full: channels come in whole 32s */
INLINE bool rans_streams(const struct kvs_stream_job *job, const unsigned n, const uint32_t *table,
                         enum kvs_half half, bool full, const enum how how, const bool split)
{
    uint16_t row[4][KVS_RANS_CHAN] __attribute__((aligned(64)));
    const uint8_t *place[4] = {NULL};
    vi state[4][2];
    uint32_t at[4] = {0}, n_chan = job[0].n_chan, n_word[4];
    const uint16_t *word[4];
    const struct kvs_chan16 *chan[4];
    uint16_t *x[4];
    bool stream = job[0].stream;
#ifdef KVS_VEC_LOOKUP
    struct small_table tables;
    if (how == BY_ONE)
        tables = small_load(job[0].small);
#endif

    (void)split;
    for (unsigned s = 0; s < n; s++) {
        state[s][0] = i_load(job[s].state);
        state[s][1] = i_load(job[s].state + 16);
        n_word[s] = job[s].n_word;
        word[s] = job[s].word;
        chan[s] = job[s].chan;
        x[s] = job[s].x;
        place[s] = how != BY_ONE ? job[s].place : NULL; /* one table: all stand still */
        if (place[s])
            memset(row[s], 0, sizeof row[s]);
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
                    if (how == BY_EACH) {
                        struct small_table own = small_load(job[s].each[c / 16 + h]);
                        value[h] =
                            decode16_small(&state[s][h], &own, &p[h], word[s], &at[s], split);
                        continue;
                    }
                    if (how == BY_ONE) {
                        value[h] =
                            decode16_small(&state[s][h], &tables, &p[h], word[s], &at[s], split);
                        continue;
                    }
#endif
                    value[h] = decode16(&state[s][h], table, &p[h], word[s], &at[s],
                                        (vm)(full ? 0xffff : lanes >> 16 * h & 0xffff));
                }
#pragma GCC unroll 2
                for (uint32_t h = 0; h < 2; h++) /* 10 bits times 11: exact */
                    y[h] = f_fma(f_of_i(value[h]), f_load(p[h].step), f_load(p[h].mean));
                uint16_t *to = place[s] ? row[s] + c : x[s] + c;
                if (full) {
                    if (how == BY_LOADS) { /* beside lookups by loads: faster */
                        half_store(to, y[0], half);
                        half_store(to + 16, y[1], half);
                        continue;
                    }
                    half_store32(to, y[0], y[1], half, stream && !place[s]);
                    continue;
                }
                for (uint32_t h = 0; h < 2 && left > 16 * h; h++)
                    store(to + 16 * h, y[h], left - 16 * h, half);
            }
        }
        for (unsigned s = 0; s < n; s++) {
            if (place[s])
                turn_row(x[s], row[s], place[s], n_chan, full, stream);
            x[s] += job[s].stride;
        }
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
                      enum kvs_half half, const enum how how, const bool split)
{
    switch (n) {
    case 4:
        return rans_streams(job, 4, table, half, true, how, split);
    case 3:
        return rans_streams(job, 3, table, half, true, how, split);
    case 2:
        return rans_streams(job, 2, table, half, true, how, split);
    default:
        return rans_streams(job, 1, table, half, true, how, split);
    }
}

INLINE bool rans_half(const struct kvs_stream_job *job, unsigned n, const uint32_t *table,
                      enum kvs_half half)
{
    if (job[0].n_chan % KVS_RANS_LANES == 0) {
#ifdef KVS_VEC_LOOKUP
        if (job[0].small)
            return job[0].split ? rans_full(job, n, table, half, BY_ONE, true)
                                : rans_full(job, n, table, half, BY_ONE, false);
        if (job[0].each)
            return job[0].split ? rans_full(job, n, table, half, BY_EACH, true)
                                : rans_full(job, n, table, half, BY_EACH, false);
#endif
        return rans_full(job, n, table, half, BY_LOADS, true);
    }
    for (unsigned i = 0; i < n; i++)
        if (!rans_streams(job + i, 1, table, half, false, BY_LOADS, true))
            return false;
    return true;
}

bool KERN(rans_decode)(const struct kvs_stream_job *job, unsigned n, const uint32_t *table,
                       enum kvs_half half)
{
    return half == KVS_F16 ? rans_half(job, n, table, KVS_F16)
                           : rans_half(job, n, table, KVS_HALF_BF16);
}
