/* kern_decode.c - rANS to elements. See kern.h. */
#include "kern_vec.h"

/* What is left of the state when a symbol is off it: low bits are the value's, of fewer than 2^15
 * the next word follows. */
INLINE vi rest16(vi *state, vi next, vi value, const struct kvs_chan16 *chan, const uint16_t *word,
                 uint32_t *at, vm lanes, const bool split)
{
    if (split) {
        value = i_add(value, i_and(next, i_load(chan->low_mask)));
        next = i_srlv(next, i_load(chan->low));
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
    return rest16(state, next, i_sra(entry, 2 * KVS_RANS_BITS), chan, word, at, lanes, true);
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
    wm off = w_off(bucket, in);
    vi symbol = w_pick(off, bucket, own);
    vi rank = w_add_where(off, in, i_lookup(&table->rank, own));
    vi freq = i_lookup(&table->freq, symbol);
    vi value = i_sub(i_lookup(&table->value, symbol), i_set(512));
    vi next = i_add(i_mul(freq, i_srl(x, KVS_RANS_BITS)), rank);
    return rest16(state, next, value, chan, word, at, 0xffff, split);
}
#endif

/* A row in the stream's order to where its channels are. */
INLINE void turn_row(uint16_t *x, const uint16_t *row, const uint16_t *place, uint32_t n_chan,
                     bool stream)
{
    uint32_t c = 0;

#ifdef KVS_VEC_LOOKUP
    vt both[2] = {i_lookup_table(row), i_lookup_table(row + 64)};
    for (; c + 32 <= n_chan; c += 32)
        w_store(x + c, w_lookup2(both, i_load(place + c)), stream);
#else
    (void)stream;
#endif
    for (; c < n_chan; c++)
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

/* A row in the stream's order, and where in it each channel stands. */
struct dec_turn {
    _Alignas(64) uint16_t row[KVS_RANS_CHAN], place[KVS_RANS_CHAN];
};

/* A stream being decoded. Members by themselves, and no loop over streams or halves where they
 * change: compilers would keep states in memory. */
struct dec_run {
    vi low, high; /* states of lanes 0 to 15 and 16 to 31 */
    const uint16_t *word;
    uint32_t at, n_word;
    const struct kvs_chan16 *chan;
    const struct kvs_rans_small *const *each;
    uint16_t *x;           /* where it goes */
    struct dec_turn *turn; /* if channels stand elsewhere: where it waits; NULL */
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

/* 32 channels from c on; of them `left`, if not full. Words have not run out: at <= n_word. */
INLINE void decode32(struct dec_run *run, uint32_t c, uint32_t left, const uint32_t *table,
                     const struct rans_one *one, enum kvs_half half, const bool full,
                     const enum how how, const bool split, bool stream)
{
    const struct kvs_chan16 *p = &run->chan[c / 16];
    uint32_t lanes = left >= 32 ? UINT32_MAX : (1u << left) - 1;

    vi low = take16(run, &run->low, p, c / 16, table, one, how, split,
                    (vm)(full ? 0xffff : lanes & 0xffff));
    vi high = take16(run, &run->high, p + 1, c / 16 + 1, table, one, how, split,
                     (vm)(full ? 0xffff : lanes >> 16));
    /* 10 bits times 11: exact */
    vf a = f_fma(f_of_i(low), f_load(p[0].step), f_load(p[0].mean));
    vf b = f_fma(f_of_i(high), f_load(p[1].step), f_load(p[1].mean));
    uint16_t *to = run->turn ? run->turn->row + c : run->x + c;
    if (!full) {
        store(to, a, left, half);
        if (left > 16)
            store(to + 16, b, left - 16, half);
    } else if (how == BY_LOADS) { /* beside lookups by loads: faster */
        half_store(to, a, half);
        half_store(to + 16, b, half);
    } else {
        half_store32(to, a, b, half, stream && !run->turn);
    }
}

INLINE void run_begin(struct dec_run *run, const struct kvs_stream_job *job, struct dec_turn *turn,
                      const enum how how)
{
    *run = (struct dec_run){.low = i_load(job->state),
                            .high = i_load(job->state + 16),
                            .word = job->word,
                            .n_word = job->n_word,
                            .chan = job->chan,
                            .each = job->each,
                            .x = job->x,
                            /* one table: all stand still */
                            .turn = how != BY_ONE && job->place ? turn : NULL};
    if (!run->turn)
        return;
    memset(turn->row, 0, sizeof turn->row);
    for (uint32_t c = 0; c < job->n_chan; c++)
        turn->place[c] = job->place[c];
}

INLINE void run_row(struct dec_run *run, size_t stride, uint32_t n_chan, bool stream)
{
    if (run->turn)
        turn_row(run->x, run->turn->row, run->turn->place, n_chan, stream);
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

/* full: channels come in whole 32s. Streams in turn without a branch between: what one waits for
 * the others fill. */
INLINE bool rans_streams(const struct kvs_stream_job *job, const unsigned n, const uint32_t *table,
                         enum kvs_half half, bool full, const enum how how, const bool split)
{
    struct dec_turn turn[3];
    uint32_t n_chan = job[0].n_chan;
    bool stream = job[0].stream;
    struct dec_run run0, run1, run2;
    struct rans_one one;

    one_load(&one, &job[0], how);
    run_begin(&run0, &job[0], &turn[0], how);
    if (n > 1)
        run_begin(&run1, &job[1], &turn[1], how);
    if (n > 2)
        run_begin(&run2, &job[2], &turn[2], how);
    for (uint32_t t = 0; t < job[0].n_tok; t++) {
        for (uint32_t c = 0; c < n_chan; c += KVS_RANS_LANES) {
            uint32_t left = full ? 32 : n_chan - c;
            if ((run0.at > run0.n_word) | (n > 1 && run1.at > run1.n_word) |
                (n > 2 && run2.at > run2.n_word))
                return false;
            decode32(&run0, c, left, table, &one, half, full, how, split, stream);
            if (n > 1)
                decode32(&run1, c, left, table, &one, half, full, how, split, stream);
            if (n > 2)
                decode32(&run2, c, left, table, &one, half, full, how, split, stream);
        }
        run_row(&run0, job[0].stride, n_chan, stream);
        if (n > 1)
            run_row(&run1, job[1].stride, n_chan, stream);
        if (n > 2)
            run_row(&run2, job[2].stride, n_chan, stream);
    }
    if (stream)
        stream_end();
    return run_end(&run0) && (n < 2 || run_end(&run1)) && (n < 3 || run_end(&run2));
}

INLINE bool rans_full(const struct kvs_stream_job *job, unsigned n, const uint32_t *table,
                      enum kvs_half half, const enum how how, const bool split)
{
    switch (n) {
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
