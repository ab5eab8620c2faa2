/*
 * made.h - keys and values made up: channels of log-normal deviation and a mean of about 1.5 of it,
 * 3 % of them 8 to 14 times as large, each a normal AR(1) process along the tokens.
 */
#ifndef KVS_KVF_MADE_H
#define KVS_KVF_MADE_H

#include "codec.h"

/* [n_tok][n_chan], the caller's to free; NULL: no memory. rho: correlation of neighbouring tokens.
 */
uint16_t *kvs_kvf_made(uint64_t seed, uint32_t n_tok, uint32_t n_chan, double rho,
                       enum kvs_half half);

#endif
