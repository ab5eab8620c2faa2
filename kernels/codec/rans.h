/*
 * rans.h - tables of the entropy coder: frequencies from counts, and what both directions look up.
 *
 * Range variant of asymmetric numeral systems (Duda 2013), 32-bit states, 16-bit words, 2^11 slots.
 * Symbols here are 1..255 (128: the channel's mean); 0 is none. A decoder never sees symbols, only
 * their values: signed fixed-point numbers of steps.
 */
#ifndef KVS_KVF_RANS_H
#define KVS_KVF_RANS_H

#include "kern.h"

enum { KVS_N_SYMBOL = 256, KVS_SYMBOL_ZERO = 128 };

struct kvs_rans_model {
    uint16_t freq[KVS_N_SYMBOL]; /* sum 2^11; 0: not coded */
    int16_t value[KVS_N_SYMBOL]; /* value * 2^-fraction steps */
    uint16_t first, n;           /* symbols with a frequency lie in first .. first + n - 1, all of
                                    which have one */
    uint16_t fraction;
};

/*
 * From how often each symbol came. Rare symbols at both ends are left out (to be escapes) where
 * that is shorter. offset[s]: mean place of the elements of a symbol, in steps beside its middle.
 */
void kvs_rans_fit(struct kvs_rans_model *model, const uint32_t count[KVS_N_SYMBOL],
                  const float offset[KVS_N_SYMBOL]);
/* Bits a symbol with the counts and the model: what rANS spends, less than 0.01 % apart. */
double kvs_rans_cost(const struct kvs_rans_model *model, const uint32_t count[KVS_N_SYMBOL]);

/* 2^11 words, a slot each: value << 22 | freq << 11 | slot - cum. n symbols, each below 2^11. */
void kvs_rans_table(uint32_t table[KVS_RANS_M], const uint16_t *freq, const int16_t *value,
                    uint32_t n);
/*
 * For symbols of one table: x / freq = mulhi(x, inverse) >> shift, exact for x < 2^31 (Alverson
 * 1991, as in ryg_rans); rest = 2^11 - freq | bias << 11 | shift << 23; the new state is
 * x + bias + (x / freq) * (2^11 - freq).
 */
void kvs_rans_enc_table(uint32_t inverse[KVS_N_SYMBOL], uint32_t rest[KVS_N_SYMBOL],
                        const struct kvs_rans_model *model);

#endif
