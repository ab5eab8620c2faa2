/* kern_decode.c - rANS to elements. See kern.h. */
#include "kern_vec.h"

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

/* small: buckets of the one table that all have, if small; or one of these */
enum { BY_LOADS = 0, BY_EACH = 1, BY_EACH64 = 2 };

#ifdef KVS_VEC_LOOKUP
/* a table of 16 lanes' own, by loads; or one that is not small */
INLINE vi decode16_each(vi *state, const struct kvs_rans_small *small, const uint32_t *table,
                        const struct kvs_chan16 *chan, const uint16_t *word, uint32_t *at)
{
    if (!small)
        return decode16(state, table, i_load(chan->table_at), word, at, 0xffff);
    if (small->n <= 64) {
        struct small_table own = small_load(small, 64);
        return decode16_small(state, &own, word, at, 64);
    }
    struct small_table own = small_load(small, 128);
    return decode16_small(state, &own, word, at, 128);
}
#endif

/* full: channels come in whole 32s */
INLINE bool rans_streams(const struct kvs_stream_job *job, const unsigned n, const uint32_t *table,
                         enum kvs_half half, bool full, const uint32_t small)
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
    if (small > BY_EACH64)
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
        place[s] = small <= BY_EACH64 ? job[s].place : NULL; /* one table: all stand still */
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
                    if (small == BY_EACH64) {
                        struct small_table own = small_load(job[s].each[c / 16 + h], 64);
                        value[h] = decode16_small(&state[s][h], &own, word[s], &at[s], 64);
                        continue;
                    }
                    if (small == BY_EACH) {
                        value[h] = decode16_each(&state[s][h], job[s].each[c / 16 + h], table,
                                                 &p[h], word[s], &at[s]);
                        continue;
                    }
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
                uint16_t *to = place[s] ? row[s] + c : x[s] + c;
                if (full) {
                    if (!small) { /* beside lookups by loads: faster */
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
        if (job[0].each)
            return rans_full(job, n, table, half, job[0].narrow ? BY_EACH64 : BY_EACH);
#endif
        return rans_full(job, n, table, half, BY_LOADS);
    }
    for (unsigned i = 0; i < n; i++)
        if (!rans_streams(job + i, 1, table, half, false, 0))
            return false;
    return true;
}

bool KERN(rans_decode)(const struct kvs_stream_job *job, unsigned n, const uint32_t *table,
                       enum kvs_half half)
{
    return half == KVS_F16 ? rans_half(job, n, table, KVS_F16)
                           : rans_half(job, n, table, KVS_HALF_BF16);
}
