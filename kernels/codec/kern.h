/*
 * kern.h - the loops of the codec, four times from one source: kern*.c are compiled over plain C,
 * AVX2, AVX-512 and what Zen 4 and Sapphire Rapids have of it (vec_*.h), and isa.c picks at
 * start-up. All copies agree bit for bit: the plain one is the format's definition.
 *
 * Rows of floats (means, steps and so on) are padded to a multiple of 64 channels.
 */
#ifndef KVS_KVF_KERN_H
#define KVS_KVF_KERN_H

#include "format.h"

/* Rows of packed integers, fp8 or lx; the same struct both ways. */
struct kvs_rows_job {
    enum kvs_level level;
    enum kvs_half half;
    bool by_token; /* parameters: a row's own, one for each `group` channels; else one a channel */
    uint32_t n_row, n_chan, group;
    size_t stride, row_bytes; /* elements; bytes */
    bool stream;              /* unpacking: x and its rows lie at multiples of 64 bytes, past the
                                 caches is best; integers and fp8 */
    bool more;                /* with stream: rows follow, whose end waits for these too */
    uint8_t *packed;
    uint16_t *x;
    /* [n_chan], or by_token [n_row][n_group]; low: minimum (fp8: unused); step: what a unit is
     * worth, or when packing its inverse */
    const float *low, *step;
    uint32_t n_group;
    const uint16_t *next;    /* packing: what is packed after, fetched ahead; or NULL */
    const uint8_t *exponent; /* lx: decoding [16]; encoding [256]: code of each, 255: none */
};

/* What decoding wants of 32 channels side by side in a stream: where their tables begin, means, and
 * steps as a table's values count them; low bits of the tables: how many, 2^low - 1, and of a
 * state's upper half those which, if low > 0, say that it is 2^(15 + low) or more. */
struct kvs_chan32 {
    int32_t table_at[32];
    uint16_t low[32], low_mask[32], high_mask[32];
    float step[32], mean[32];
};

/* One rANS stream: its tokens and channels, states, words. */
struct kvs_stream_job {
    uint32_t n_tok, n_chan;
    uint32_t *state; /* [32] */
    uint16_t *word;
    uint32_t n_word;
    /* decoding */
    const struct kvs_chan32 *chan;      /* from the part's first place, a multiple of 32 */
    const struct kvs_rans_small *small; /* the table of all channels; NULL: they differ */
    /* of each 16 places likewise, if not of all; NULL: in some 16 they differ */
    const struct kvs_rans_small *const *each;
    bool split; /* some table has low bits */
    /* [n_chan, to the next 32]: the channels' places in the stream, see kvs_order; NULL: their own
     */
    const uint8_t *place;
    uint16_t *x; /* first token, first channel */
    size_t stride;
    bool stream; /* as above */
    /* encoding */
    const uint16_t *base;             /* [n_chan, to the next 32]: where a model begins in rest */
    const struct kvs_rans_flat *flat; /* NULL: 16 channels side by side differ in their models */
    const uint8_t *block;             /* of each 16: whose in flat their model is */
    const uint16_t *delta;            /* [n_chan]: from a symbol to its model's first, mod 2^16 */
    const uint16_t *low;              /* [n_chan]: low bits of the model */
    const uint16_t *slot;             /* of K's models or V's, see kvs_rans_enc */
    const uint8_t *symbol;            /* [n_tok][symbol_stride] */
    size_t symbol_stride;
};

/*
 * What rANS encodes with; rest: [model][256] by symbol: freq | first << 11 | its low bits << 28 |
 * how many << 30. slot: [model][2^11], by
 * first + rank, where first counts all models before. The new state is x / freq << 11 | slot[first
 * + x % freq]. Kernels see 16 bits of first: slot is that of 32 models, K's or V's.
 */
struct kvs_rans_enc {
    uint32_t *rest;
    uint16_t *slot;
};
/* The same of a section's models, by their own symbols from the first on, without low bits: for
 * lookups in registers. */
enum { KVS_FLAT_MODELS = 32 }; /* K's or V's */
struct kvs_rans_flat {
    _Alignas(64) uint16_t freq16[KVS_FLAT_MODELS * KVS_RANS_SYMBOL]; /* frequencies times 16 */
    uint16_t first[KVS_FLAT_MODELS * KVS_RANS_SYMBOL];
    uint32_t low[KVS_FLAT_MODELS]; /* bits */
    bool split;                    /* some model has low bits */
};

/* A decoder's table, small enough for registers; see kvs_rans_alias. */
struct kvs_rans_small {
    _Alignas(64) uint16_t bucket[KVS_RANS_SYMBOL]; /* own slots << 11 | other symbol; all own: as if
                                                      none were, and the other the same */
    uint16_t rank[KVS_RANS_SYMBOL];                /* the other's first less own slots, mod 2^16 */
    uint16_t freq[KVS_RANS_SYMBOL];                /* times 32 */
    uint16_t value[KVS_RANS_SYMBOL];               /* + 512 */
};

enum { KVS_COUNT_ALL = 64 * 256 };       /* symbols of all models */
enum { KVS_COUNT_PAIR = 2 * 128 * 128 }; /* of symbols, in two tables */

struct kvs_kvf_isa {
    const char *name;
    /* n_byte a multiple of 64; past the caches, if to is one too */
    void (*copy)(void *to, const void *from, size_t n_byte);
    uint64_t (*hash)(const void *data, size_t n_byte); /* XXH3, 64 bits */
    void (*widen)(float *to, const uint16_t *from, size_t n, enum kvs_half half);
    /* the largest of n numbers as bits without the sign */
    unsigned (*max_bits)(const uint16_t *x, size_t n);
    /* least and largest of each channel over n_tok rows; true: some element is more than
     * kvs_half_huge or none, and they are anything */
    bool (*range)(float *low, float *high, const uint16_t *x, size_t stride, uint32_t n_tok,
                  uint32_t n_chan, enum kvs_half half);
    /* least and largest of each group of channels of one row */
    bool (*range_row)(float *low, float *high, const uint16_t *x, uint32_t n_chan, uint32_t group,
                      enum kvs_half half);
    /* minimum and step as stored (step rounded up), and as used: step's inverse, 0 for 0 */
    void (*scales)(uint16_t *low16, uint16_t *step16, float *inverse, const float *low,
                   const float *high, uint32_t n, float top, enum kvs_half half);
    /* sum and sum of squares of each channel, about the first row, of rows side by side; the
     * largest number as bits without the sign */
    unsigned (*moments)(float *sum, float *square, const uint16_t *x, uint32_t n_tok,
                        uint32_t n_chan, enum kvs_half half);
    void (*pack)(const struct kvs_rows_job *job);
    void (*unpack)(const struct kvs_rows_job *job);
    /* symbol = 128 + round((x - mean) * inverse), or 0 where that is outside 1..255; one row; true
     * if there is such an element. What is huge is like any number here */
    bool (*quantise)(uint8_t *symbol, const uint16_t *x, const float *mean, const float *inverse,
                     uint32_t n_chan, enum kvs_half half);
    /* adds a row's elements to the words at base[channel] + symbol: 2^40 each, and the place in the
     * bin from 0 to 2^16 - 1; elements of symbol 0 anything. Symbols may be read to the next 16. */
    void (*places)(uint64_t *place, const uint16_t *base, const uint8_t *symbol, const uint16_t *x,
                   const float *mean, const float *inverse, uint32_t n_chan, enum kvs_half half);
    /* adds how often each symbol came to count and, where count_pairs finds it, to pair, of
     * KVS_COUNT_PAIR */
    void (*count)(uint32_t count[256], uint32_t *pair, const uint8_t *symbol, size_t stride,
                  uint32_t n_tok, uint32_t n_chan);
    void (*count_pairs)(uint32_t count[256], const uint32_t *pair);
    /* adds how often each symbol came, at base[channel], a multiple of 256, + symbol, to one of
     * four tables of KVS_COUNT_ALL */
    void (*count_each)(uint32_t *count, const uint16_t *base, const uint8_t *symbol, size_t stride,
                       uint32_t n_tok, uint32_t n_chan);
    /* which of n numbers, at most KVS_RANS_CHAN and none negative or NaN, stands where if the
     * least is first, equal ones as they come */
    void (*sort)(uint8_t *by, const float *x, uint32_t n);
    /* rows of n_chan symbols, to the next 32, to the order of from: [n_chan, likewise] */
    void (*place)(uint8_t *symbol, size_t stride, uint32_t n_tok, const uint8_t *from,
                  uint32_t n_chan);
    /* n words, the last first */
    void (*turn)(uint16_t *to, const uint16_t *from, size_t n);
    /* whether a symbol of a row lies outside its channel's low .. last */
    bool (*outside)(const uint8_t *symbol, const uint8_t *low, const uint8_t *last,
                    uint32_t n_chan);
    /* n streams (at most 3) of equal n_tok and n_chan; false: words ran out or were left over, or a
     * state did not end right; words may be read 64 bytes beyond the end */
    bool (*rans_decode)(const struct kvs_stream_job *job, unsigned n, const uint32_t *table,
                        enum kvs_half half);
    /* n streams (at most 4) of equal n_tok and n_chan; words are written the last first, and
     * anything to the 16 after them; n_word becomes how many they are */
    void (*rans_encode)(struct kvs_stream_job *job, unsigned n, const uint32_t *rest);
};

extern const struct kvs_kvf_isa kvs_kvf_scalar;
#if defined(__x86_64__)
extern const struct kvs_kvf_isa kvs_kvf_avx2, kvs_kvf_avx512, kvs_kvf_avx512bf16;
#endif

#endif
