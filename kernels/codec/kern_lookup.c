/*
 * kern_lookup.c - rANS to elements with tables in registers. See kern_vec.h, and kern_decode.c for
 * what tables in memory do.
 *
 * 32 lanes are words: their states' lower and upper halves, apart.
 */
#include "kern_vec.h"

#ifdef KVS_VEC_LOOKUP
struct look_table {
    vt bucket, rank, freq, value;
};

/* A row in the stream's order, and where in it each channel stands. */
struct look_turn {
    _Alignas(64) uint16_t row[KVS_RANS_CHAN], place[KVS_RANS_CHAN];
};

/* A stream being decoded, and what is known of its next 32 symbols. Members by themselves, and no
 * loop over streams where they change: compilers would keep them in memory. */
struct look_run {
    vi low, high; /* states */
    vi own, symbol, rank, freq, value;
    const uint16_t *word;
    uint32_t at, n_word;
    const struct kvs_chan32 *chan;
    const struct kvs_rans_small *const *each;
    uint16_t *x;            /* where it goes */
    struct look_turn *turn; /* if channels stand elsewhere: where it waits; NULL */
};

/* Looks up by the low 6 bits: in the table of all channels; or NULL: in those of each 16. */
#define LOOK_UP(run, all, c, member, at)                                                           \
    ((all) ? w_lookup(&(all)->member, at)                                                          \
           : w_halves(w_lookup_at((run)->each[(c) / 16]->member, at),                              \
                      w_lookup_at((run)->each[(c) / 16 + 1]->member, at)))

/* Slots of a bucket may be two symbols': the table has own slots << 11 | the other, which is less
 * than slot << 11 | 64 | own where the slot is not an own one. */
INLINE void find_bucket(struct look_run *run, const struct look_table *all, uint32_t c)
{
    run->own = w_rotate11(run->low);
    run->symbol = LOOK_UP(run, all, c, bucket, run->own);
    run->rank = LOOK_UP(run, all, c, rank, run->own);
}

INLINE void find_symbol(struct look_run *run)
{
    vi in = i_and(run->low, w_set(KVS_RANS_WIDE - 1));
    vi own = w_and_or(run->own, w_set((int16_t)0xf83f), w_set(64));
    run->rank = w_add_where(w_lt_unsigned(run->symbol, own), in, run->rank);
    run->symbol = w_min_unsigned(run->symbol, own);
}

INLINE void look_symbol(struct look_run *run, const struct look_table *all, uint32_t c)
{
    run->freq = LOOK_UP(run, all, c, freq, run->symbol);
    run->value = LOOK_UP(run, all, c, value, run->symbol);
}

/* State >> 11 is high << 5 | low >> 11, so that times a frequency it is two products of 16 bits,
 * by freq * 32: one of high, and one of low's top 5 bits, which with a rank is less than 2^16. */
INLINE void next_state(struct look_run *run, const struct look_table *all, uint32_t c,
                       const bool split)
{
    vi top = i_and(run->low, w_set((int16_t)0xf800));
    vi rest = w_add(w_mul_high(run->freq, top), run->rank);
    vi product = w_mul(run->freq, run->high), high = w_mul_high(run->freq, run->high);
    vi over;

    run->low = w_add(product, rest);
    run->high = w_add(high, w_carry(product, rest, run->low));
    if (!split) {
        over = w_over(high, w_add_most(product, rest)); /* sooner known than by run->high */
    } else {
        const struct kvs_chan32 *chan = &run->chan[all ? 0 : c / 32];
        vi n = i_load(chan->low);
        over = i_and(run->high, i_load(chan->high_mask));
        run->value = w_add(run->value, i_and(run->low, i_load(chan->low_mask)));
        run->low = w_shift_in(run->high, run->low, n);
        run->high = w_srlv(run->high, n);
        if (!all) /* some have no low bits */
            over = w_over(run->high, run->low);
    }
    run->at += w_fill(&run->high, &run->low, over, run->word + run->at);
}

INLINE void put_elements(const struct look_run *run, uint32_t c, enum kvs_half half, bool stream)
{
    const struct kvs_chan32 *chan = &run->chan[c / 32];
    vf2 value = f_of_w(run->value, 512); /* 10 bits, times 11: exact */
    vf a = f_fma(value.low, f_load(chan->step), f_load(chan->mean));
    vf b = f_fma(value.high, f_load(chan->step + 16), f_load(chan->mean + 16));

    half_store32(run->turn ? run->turn->row + c : run->x + c, a, b, half, stream && !run->turn);
}

INLINE void run_begin(struct look_run *run, const struct kvs_stream_job *job,
                      struct look_turn *turn)
{
    vi low = i_load(job->state), high = i_load(job->state + 16);

    *run = (struct look_run){.low = w_lower(low, high),
                             .high = w_upper(low, high),
                             .word = job->word,
                             .n_word = job->n_word,
                             .chan = job->chan,
                             .each = job->each,
                             .x = job->x,
                             .turn = job->place ? turn : NULL};
    if (!run->turn)
        return;
    memset(turn->row, 0, sizeof turn->row);
    for (uint32_t c = 0; c < job->n_chan; c++)
        turn->place[c] = job->place[c];
}

/* A row in the stream's order goes where its channels are. */
INLINE void run_row(struct look_run *run, size_t stride, uint32_t n_chan, bool stream)
{
    if (run->turn) {
        vt both[2] = {i_lookup_table(run->turn->row), i_lookup_table(run->turn->row + 64)};
        for (uint32_t c = 0; c < n_chan; c += KVS_RANS_LANES)
            w_store(run->x + c, w_lookup2(both, i_load(run->turn->place + c)), stream);
    }
    run->x += stride;
}

/* All words are taken, and states are those that encoding began with. */
INLINE bool run_end(const struct look_run *run)
{
    vi low = w_set((int16_t)KVS_RANS_LOW), high = i_set(0);

    return run->at == run->n_word &&
           !(m_bits(i_lt(run->low, low)) | m_bits(i_lt(low, run->low)) |
             m_bits(i_lt(run->high, high)) | m_bits(i_lt(high, run->high)));
}

/* Streams in turn without a branch between: what one waits for the others fill. */
#define EACH_RUN(call, ...)                                                                        \
    do {                                                                                           \
        call(&run0, __VA_ARGS__);                                                                  \
        if (n > 1)                                                                                 \
            call(&run1, __VA_ARGS__);                                                              \
        if (n > 2)                                                                                 \
            call(&run2, __VA_ARGS__);                                                              \
    } while (0)

INLINE bool look_streams(const struct kvs_stream_job *job, const unsigned n,
                         const struct look_table *all, enum kvs_half half, const bool split)
{
    struct look_turn turn[3];
    struct look_run run0, run1, run2;
    uint32_t n_chan = job[0].n_chan;
    bool stream = job[0].stream;

    run_begin(&run0, &job[0], &turn[0]);
    if (n > 1)
        run_begin(&run1, &job[1], &turn[1]);
    if (n > 2)
        run_begin(&run2, &job[2], &turn[2]);
    for (uint32_t t = 0; t < job[0].n_tok; t++) {
        for (uint32_t c = 0; c < n_chan; c += KVS_RANS_LANES) {
            if ((run0.at > run0.n_word) | (n > 1 && run1.at > run1.n_word) |
                (n > 2 && run2.at > run2.n_word))
                return false;
            EACH_RUN(find_bucket, all, c);
            find_symbol(&run0);
            if (n > 1)
                find_symbol(&run1);
            if (n > 2)
                find_symbol(&run2);
            EACH_RUN(look_symbol, all, c);
            EACH_RUN(next_state, all, c, split);
            EACH_RUN(put_elements, c, half, stream);
        }
        EACH_RUN(run_row, job[0].stride, n_chan, stream);
    }
    if (stream)
        stream_end();
    return run_end(&run0) && (n < 2 || run_end(&run1)) && (n < 3 || run_end(&run2));
}

INLINE bool look_n(const struct kvs_stream_job *job, unsigned n, const struct look_table *all,
                   enum kvs_half half, const bool split)
{
    switch (n) {
    case 3:
        return look_streams(job, 3, all, half, split);
    case 2:
        return look_streams(job, 2, all, half, split);
    default:
        return look_streams(job, 1, all, half, split);
    }
}

INLINE bool look_half(const struct kvs_stream_job *job, unsigned n, enum kvs_half half)
{
    const struct kvs_rans_small *small = job[0].small;

    if (!small)
        return job[0].split ? look_n(job, n, NULL, half, true) : look_n(job, n, NULL, half, false);
    struct look_table all = {i_lookup_table(small->bucket), i_lookup_table(small->rank),
                             i_lookup_table(small->freq), i_lookup_table(small->value)};
    return job[0].split ? look_n(job, n, &all, half, true) : look_n(job, n, &all, half, false);
}

bool KERN(rans_look)(const struct kvs_stream_job *job, unsigned n, enum kvs_half half)
{
    return half == KVS_F16 ? look_half(job, n, KVS_F16) : look_half(job, n, KVS_HALF_BF16);
}
#endif
