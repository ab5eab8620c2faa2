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

/* The table of all, where there is one. */
struct rans_one {
#ifdef KVS_VEC_LOOKUP
    struct small_table table;
#else
    char none;
#endif
};
INLINE void one_load(struct rans_one *one, const struct kvs_stream_job *job, const enum how how)
{
#ifdef KVS_VEC_LOOKUP
    if (how == BY_ONE)
        one->table = small_load(job->small);
#else
    one->none = 0;
    (void)job;
    (void)how;
#endif
}

/* A stream being decoded. Members by themselves, and no loop over streams or halves where they
 * change: compilers would keep states in memory. */
struct dec_run {
    vi low, high; /* states of lanes 0 to 15 and 16 to 31 */
    const uint16_t *word;
    uint32_t at, n_word;
    const struct kvs_chan16 *chan;
    const struct kvs_rans_small *const *each;
    uint16_t *x, *row; /* where it goes, or waits for its place */
    const uint8_t *place;
};

INLINE vi take16(struct dec_run *run, vi *state, const struct kvs_chan16 *p, uint32_t i,
                 const uint32_t *table, const struct rans_one *one, const enum how how,
                 const bool split, vm lanes)
{
#ifdef KVS_VEC_LOOKUP
    if (how == BY_EACH) {
        struct small_table own = small_load(run->each[i]);
        return decode16_small(state, &own, p, run->word, &run->at, split);
    }
    if (how == BY_ONE)
        return decode16_small(state, &one->table, p, run->word, &run->at, split);
#endif
    (void)i;
    (void)one;
    (void)how;
    (void)split;
    return decode16(state, table, p, run->word, &run->at, lanes);
}

/* 32 channels from c on; of them `left`, if not full. false: words have run out. */
INLINE bool decode32(struct dec_run *run, uint32_t c, uint32_t left, const uint32_t *table,
                     const struct rans_one *one, enum kvs_half half, const bool full,
                     const enum how how, const bool split, bool stream)
{
    const struct kvs_chan16 *p = &run->chan[c / 16];
    uint32_t lanes = left >= 32 ? UINT32_MAX : (1u << left) - 1;

    if (run->at > run->n_word)
        return false;
    vi low = take16(run, &run->low, p, c / 16, table, one, how, split,
                    (vm)(full ? 0xffff : lanes & 0xffff));
    vi high = take16(run, &run->high, p + 1, c / 16 + 1, table, one, how, split,
                     (vm)(full ? 0xffff : lanes >> 16));
    /* 10 bits times 11: exact */
    vf a = f_fma(f_of_i(low), f_load(p[0].step), f_load(p[0].mean));
    vf b = f_fma(f_of_i(high), f_load(p[1].step), f_load(p[1].mean));
    uint16_t *to = run->place ? run->row + c : run->x + c;
    if (!full) {
        store(to, a, left, half);
        if (left > 16)
            store(to + 16, b, left - 16, half);
    } else if (how == BY_LOADS) { /* beside lookups by loads: faster */
        half_store(to, a, half);
        half_store(to + 16, b, half);
    } else {
        half_store32(to, a, b, half, stream && !run->place);
    }
    return true;
}

INLINE void run_begin(struct dec_run *run, const struct kvs_stream_job *job, uint16_t *row,
                      const enum how how)
{
    *run = (struct dec_run){.low = i_load(job->state),
                            .high = i_load(job->state + 16),
                            .word = job->word,
                            .n_word = job->n_word,
                            .chan = job->chan,
                            .each = job->each,
                            .x = job->x,
                            .row = row,
                            .place =
                                how != BY_ONE ? job->place : NULL}; /* one table: all stand still */
    if (run->place)
        memset(row, 0, KVS_RANS_CHAN * sizeof *row);
}

INLINE void run_row(struct dec_run *run, size_t stride, uint32_t n_chan, bool full, bool stream)
{
    if (run->place)
        turn_row(run->x, run->row, run->place, n_chan, full, stream);
    run->x += stride;
}

/* All words are taken, and states are those that encoding began with. */
INLINE bool run_end(const struct dec_run *run)
{
    vi start = i_set(KVS_RANS_LOW);

    return run->at == run->n_word &&
           !(m_bits(i_lt(run->low, start)) | m_bits(i_lt(start, run->low)) |
             m_bits(i_lt(run->high, start)) | m_bits(i_lt(start, run->high)));
}

/* full: channels come in whole 32s */
INLINE bool rans_streams(const struct kvs_stream_job *job, const unsigned n, const uint32_t *table,
                         enum kvs_half half, bool full, const enum how how, const bool split)
{
    uint16_t row[4][KVS_RANS_CHAN] __attribute__((aligned(64)));
    uint32_t n_chan = job[0].n_chan;
    bool stream = job[0].stream;
    struct dec_run run0, run1, run2, run3;
    struct rans_one one;

    one_load(&one, &job[0], how);
    run_begin(&run0, &job[0], row[0], how);
    if (n > 1)
        run_begin(&run1, &job[1], row[1], how);
    if (n > 2)
        run_begin(&run2, &job[2], row[2], how);
    if (n > 3)
        run_begin(&run3, &job[3], row[3], how);
    for (uint32_t t = 0; t < job[0].n_tok; t++) {
        for (uint32_t c = 0; c < n_chan; c += KVS_RANS_LANES) {
            uint32_t left = full ? 32 : n_chan - c;
            if (!decode32(&run0, c, left, table, &one, half, full, how, split, stream) ||
                (n > 1 && !decode32(&run1, c, left, table, &one, half, full, how, split, stream)) ||
                (n > 2 && !decode32(&run2, c, left, table, &one, half, full, how, split, stream)) ||
                (n > 3 && !decode32(&run3, c, left, table, &one, half, full, how, split, stream)))
                return false;
        }
        run_row(&run0, job[0].stride, n_chan, full, stream);
        if (n > 1)
            run_row(&run1, job[1].stride, n_chan, full, stream);
        if (n > 2)
            run_row(&run2, job[2].stride, n_chan, full, stream);
        if (n > 3)
            run_row(&run3, job[3].stride, n_chan, full, stream);
    }
    if (stream)
        stream_end();
    return run_end(&run0) && (n < 2 || run_end(&run1)) && (n < 3 || run_end(&run2)) &&
           (n < 4 || run_end(&run3));
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
