/* kern_decode.c - rANS to elements with tables in memory. See kern.h; kern_lookup.c: in registers.
 */
#include "kern_vec.h"

/* 16 lanes of one stream, of a chan32 those from `from` on, take a symbol each: their values, and
 * the state after. What is off the
 * state: low bits are the value's, of fewer than 2^15 the next word follows. */
INLINE vi decode16(vi *state, const uint32_t *table, const struct kvs_chan32 *chan, unsigned from,
                   const uint16_t *word, uint32_t *at, vm lanes)
{
    vi x = *state, low = i_set(KVS_RANS_M - 1);
    vi entry = i_gather(table, i_or(i_load(chan->table_at + from), i_and(x, low)));
    vi freq = i_and(i_srl(entry, KVS_RANS_BITS), low);
    vi next = i_add(i_mul(freq, i_srl(x, KVS_RANS_BITS)), i_and(entry, low));
    vi value = i_add(i_sra(entry, 2 * KVS_RANS_BITS), i_and(next, i_u16(chan->low_mask + from)));
    next = i_srlv(next, i_u16(chan->low + from));
    vm less = i_lt(next, i_set(KVS_RANS_LOW));
    if (lanes != 0xffff) { /* known to the compiler where all take part */
        less &= lanes;
        next = i_pick(lanes, next, x);
    }
    *state = i_fill(next, less, word + *at);
    *at += (unsigned)__builtin_popcount(m_bits(less));
    return value;
}

/* A stream being decoded. Members by themselves, and no loop over streams or halves where they
 * change: compilers would keep states in memory. */
struct dec_run {
    vi low, high; /* states of lanes 0 to 15 and 16 to 31 */
    const uint16_t *word;
    uint32_t at, n_word;
    const struct kvs_chan32 *chan;
    uint16_t *x;          /* where it goes */
    const uint8_t *place; /* if channels stand elsewhere; else NULL */
    uint16_t *row;        /* then: a row in the stream's order */
};

/* 32 channels from c on; of them `left`, if not full. Words have not run out: at <= n_word. */
INLINE void decode32(struct dec_run *run, uint32_t c, uint32_t left, const uint32_t *table,
                     enum kvs_half half, const bool full)
{
    const struct kvs_chan32 *p = &run->chan[c / 32];
    uint16_t *to = run->place ? run->row + c : run->x + c;
    uint32_t lanes = left >= 32 ? UINT32_MAX : (1u << left) - 1;

    vi low =
        decode16(&run->low, table, p, 0, run->word, &run->at, (vm)(full ? 0xffff : lanes & 0xffff));
    vi high =
        decode16(&run->high, table, p, 16, run->word, &run->at, (vm)(full ? 0xffff : lanes >> 16));
    /* 10 bits times 11: exact */
    vf a = f_fma(f_of_i(low), f_load(p->step), f_load(p->mean));
    vf b = f_fma(f_of_i(high), f_load(p->step + 16), f_load(p->mean + 16));
    if (full) {
        half_store(to, a, half);
        half_store(to + 16, b, half);
        return;
    }
    store(to, a, left, half);
    if (left > 16)
        store(to + 16, b, left - 16, half);
}

INLINE void run_begin(struct dec_run *run, const struct kvs_stream_job *job, uint16_t *row)
{
    *run = (struct dec_run){.low = i_load(job->state),
                            .high = i_load(job->state + 16),
                            .word = job->word,
                            .n_word = job->n_word,
                            .chan = job->chan,
                            .x = job->x,
                            .place = job->place,
                            .row = row};
}

INLINE void run_row(struct dec_run *run, size_t stride, uint32_t n_chan)
{
    for (uint32_t c = 0; run->place && c < n_chan; c++)
        run->x[c] = run->row[run->place[c]];
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

/* full: channels come in whole 32s. Two streams in turn without a branch between: what one waits
 * for the other fills. */
INLINE bool streams(const struct kvs_stream_job *job, const unsigned n, const uint32_t *table,
                    enum kvs_half half, const bool full)
{
    uint16_t row[2][KVS_RANS_CHAN];
    uint32_t n_chan = job[0].n_chan;
    struct dec_run run0, run1;

    run_begin(&run0, &job[0], row[0]);
    if (n > 1)
        run_begin(&run1, &job[1], row[1]);
    for (uint32_t t = 0; t < job[0].n_tok; t++) {
        for (uint32_t c = 0; c < n_chan; c += KVS_RANS_LANES) {
            uint32_t left = full ? 32 : n_chan - c;
            if ((run0.at > run0.n_word) | (n > 1 && run1.at > run1.n_word))
                return false;
            decode32(&run0, c, left, table, half, full);
            if (n > 1)
                decode32(&run1, c, left, table, half, full);
        }
        run_row(&run0, job[0].stride, n_chan);
        if (n > 1)
            run_row(&run1, job[1].stride, n_chan);
    }
    return run_end(&run0) && (n < 2 || run_end(&run1));
}

INLINE bool decode(const struct kvs_stream_job *job, unsigned n, const uint32_t *table,
                   enum kvs_half half)
{
    unsigned i = 0;

    if (job[0].n_chan % KVS_RANS_LANES == 0)
        for (; i + 2 <= n; i += 2)
            if (!streams(job + i, 2, table, half, true))
                return false;
    for (; i < n; i++)
        if (!streams(job + i, 1, table, half, false))
            return false;
    return true;
}

#ifdef KVS_VEC_BF16
static bool tiny(const struct kvs_stream_job *job, unsigned n, enum kvs_half half)
{
    for (unsigned i = 0; i < n && half == KVS_HALF_BF16; i++)
        for (uint32_t c = 0; c < job[i].n_chan; c += 32)
            if (f_tiny(job[i].chan[c / 32].step, 32) || f_tiny(job[i].chan[c / 32].mean, 32))
                return true;
    return false;
}
#endif

bool KERN(rans_decode)(const struct kvs_stream_job *job, unsigned n, const uint32_t *table,
                       enum kvs_half half)
{
#ifdef KVS_VEC_BF16
    if (tiny(job, n, half))
        return kvs_kvf_avx512.rans_decode(job, n, table, half);
#endif
#ifdef KVS_VEC_LOOKUP
    if (job[0].n_chan % KVS_RANS_LANES == 0 && (job[0].small || job[0].each))
        return KERN(rans_look)(job, n, half);
#endif
    return half == KVS_F16 ? decode(job, n, table, KVS_F16) : decode(job, n, table, KVS_HALF_BF16);
}
