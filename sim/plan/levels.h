/*
 * levels.h - the menu of levels that a plan may load at, from a codec and a quality table.
 *
 * An entry is a level for K and one for V ("p8/p4"; "p4": both), or the hidden states that K and V
 * are projected from (HCache). Distortions are integers, in units of 1e-9 nats.
 */
#ifndef KVS_LEVELS_H
#define KVS_LEVELS_H

#include "model/codec.h"
#include "model/quality.h"
#include "tables.h"

#define KVS_NAT 1000000000 /* distortion of one nat */
#define KVS_HIDDEN "hidden"

/* Bytes of a token's hidden state, 16 bits an element as HCache stores them. */
double kvs_state_bytes_per_tok(const struct kvs_model *model);

struct kvs_levels_config {
    const struct kvs_model *model;
    const struct kvs_codec *codec;     /* NULL: raw16 only */
    const struct kvs_quality *quality; /* NULL: exact levels only */
    uint32_t n_decoder;                /* threads of the host, or GPUs, that decode at once */
    uint32_t n_frac;                   /* as in kvs_tables_config */
    uint32_t block_tok; /* of a stored block: K and V of a layer are each a section of whole pages
                           (kvs_codec_section_bytes); 0: bytes as the bits have it */
    bool hidden;        /* hidden states too, where they are fewer bytes than K and V */
    double load_s_per_byte; /* of the slowest route: for choosing where no names are given */
    double budget_nats;     /* likewise; 0: not known */
    const char *prefix;     /* of errors about names; NULL: "--levels: " */
    /* entries wanted besides raw16, hidden states too ("hidden"), however many bytes they are; NULL
     * or none: up to KVS_MAX_LEVEL that layers trade time for quality best with */
    const struct kvs_strs *names;
    bool exactly; /* where there are names: these are all, raw16 only if it is among them */
};

struct kvs_levels {
    uint32_t n;
    /* [0] is raw16, or of `exactly` the largest; then by falling size */
    struct kvs_table_level level[KVS_MAX_LEVEL];
    double bits[KVS_MAX_LEVEL];   /* an element, K and V in the mean */
    char name[KVS_MAX_LEVEL][64]; /* what pairs' names lie in */
    int64_t *distortion;          /* what the levels' tables lie in */
};

/* Names of all pairs that may be planned with, as `names` takes them, besides raw16; *n: how many.
 * To be freed. */
KVS_MUST_CHECK enum kvs_code kvs_levels_pairs(const struct kvs_levels_config *config,
                                              char (**name)[64], uint32_t *n, struct kvs_err *err);
/* Why nothing can be planned with a level of the codec, as "no decoding rate"; NULL: it can. */
const char *kvs_levels_why_not(const struct kvs_levels_config *config, uint32_t level);
/* Bits an element of K, or of V, as blocks are stored at a level of the codec; 0: nothing can be
 * planned with it. */
double kvs_levels_bits(const struct kvs_levels_config *config, uint32_t level, bool value);
/* KVS_ERR_ARG names a level that the codec lacks, or that has no decoding rate or no loss, or that
 * the codec calls lossless where the quality table has a loss. */
KVS_MUST_CHECK enum kvs_code kvs_levels_new(const struct kvs_levels_config *config,
                                            struct kvs_levels **levels, struct kvs_err *err);
void kvs_levels_free(struct kvs_levels *levels); /* accepts NULL */

#endif
