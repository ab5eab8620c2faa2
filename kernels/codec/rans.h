/*
 * rans.h - tables of the entropy coder: frequencies from counts, and what both directions look up.
 *
 * Range variant of asymmetric numeral systems (Duda 2013), 32-bit states, 16-bit words, 2^11 slots.
 * Symbols here are 1..255 (128: the channel's mean); 0 is none. A model of many takes two or four
 * side by side as one, whose `low` bits then follow as they are. A decoder never sees symbols, only
 * their values: signed fixed-point numbers of steps.
 */
#ifndef KVS_KVF_RANS_H
#define KVS_KVF_RANS_H

#include "kern.h"

enum { KVS_N_SYMBOL = 256, KVS_SYMBOL_ZERO = 128 };

struct kvs_rans_model {
    uint16_t low;                /* bits of a symbol that are not modelled, 0 .. 2 */
    uint16_t freq[KVS_N_SYMBOL]; /* of symbol >> low; sum 2^11; 0: not coded */
    int16_t value[KVS_N_SYMBOL]; /* likewise, of the first: value * 2^-fraction steps */
    uint16_t first, n;           /* those with a frequency lie in first .. first + n - 1, all of
                                    which have one; n <= KVS_RANS_SYMBOL */
    uint16_t fraction;           /* 0 if there are low bits */
};

/*
 * From how often each symbol came. Rare symbols at both ends are left out (to be escapes) where
 * that is shorter. offset[s]: mean place of the elements of a symbol, in steps beside its middle.
 */
void kvs_rans_fit(struct kvs_rans_model *model, const uint32_t count[KVS_N_SYMBOL],
                  const float offset[KVS_N_SYMBOL]);
/* Bits a symbol with the counts and the model: what rANS spends, less than 0.01 % apart. */
double kvs_rans_cost(const struct kvs_rans_model *model, const uint32_t count[KVS_N_SYMBOL]);

/*
 * Which slots are whose, by the alias method (Walker 1977, Vose 1991): 64 buckets of 32 slots, of
 * as many symbols at most. A bucket's first slots are its own symbol's, the rest another's. Ranks
 * of a symbol's slots: those of its own bucket, then the others, ascending. Whatever is looked up
 * by slot is so looked up by bucket, in tables that fit into registers.
 */
struct kvs_rans_alias {
    uint8_t own[KVS_RANS_SYMBOL], other[KVS_RANS_SYMBOL]; /* slots; symbol of the rest */
    uint16_t rank[KVS_RANS_SYMBOL];                       /* of the other's first slot here */
};
/* freq: sum 2^11, n symbols */
void kvs_rans_alias(struct kvs_rans_alias *alias, const uint16_t *freq, uint32_t n);

/* 2^11 words, a slot each: value << 22 | freq << 11 | rank. */
void kvs_rans_table(uint32_t table[KVS_RANS_M], const struct kvs_rans_alias *alias,
                    const uint16_t *freq, const int16_t *value);
void kvs_rans_small(struct kvs_rans_small *small, const struct kvs_rans_alias *alias,
                    const uint16_t *freq, const int16_t *value, uint32_t n);
/* Fills model m of the encoder's tables. */
void kvs_rans_enc_table(struct kvs_rans_enc *enc, uint32_t m, const struct kvs_rans_model *model);

#endif
