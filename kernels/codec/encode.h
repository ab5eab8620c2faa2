/*
 * encode.h - what the parts of the encoder share; for kernels/codec only.
 */
#ifndef KVS_KVF_ENCODE_H
#define KVS_KVF_ENCODE_H

#include "rans.h"

/* *room, of kvs_kvf_memory, has n bytes of anything then, n > 0. NULL: no memory, none are left. */
uint8_t *kvs_memory_room(uint8_t **room, size_t *n_room, size_t n);

/* Elements that stay as they are: positions in a section, ascending. */
struct kvs_escapes {
    uint32_t *at;
    uint32_t n, room;
};
/* false: no memory */
bool kvs_escapes_add(struct kvs_escapes *escapes, uint32_t at);

/* The elements of a section that are coded, [n_tok][n_chan], contiguous. */
struct kvs_rows {
    const uint16_t *x;    /* as they are */
    const uint16_t *calm; /* the same, what is huge or no number replaced by 0; may be x */
    const uint16_t *next; /* the section after, as long; or NULL */
    uint32_t n_tok, n_chan;
    enum kvs_half half;
    enum kvs_kv kv;
    enum kvs_level level;
};

/* Fills *room, which the caller frees, with what rows->calm is to be. KVS_ERR_NOMEM. */
KVS_MUST_CHECK enum kvs_code kvs_rows_calm(struct kvs_rows *rows, uint16_t **room,
                                           struct kvs_err *err);

/* Levels without entropy coding: writes parameters and payload, both zero before. scratch:
 * kvs_pack_scratch floats. false: some of rows->calm is huge or no number, what was written is
 * nothing. */
bool kvs_pack_section(uint8_t *section, const struct kvs_layout *at, const struct kvs_rows *rows,
                      uint32_t n_kv_head, float *scratch, const struct kvs_kvf_isa *isa);
size_t kvs_pack_scratch(const struct kvs_layout *at);
/* Which elements no code stands for (all levels but e and raw16). KVS_ERR_NOMEM. */
KVS_MUST_CHECK enum kvs_code kvs_pack_escapes(struct kvs_escapes *escapes,
                                              const struct kvs_rows *rows, struct kvs_err *err);

/* --- entropy coded ------------------------------------------------------------------------------
 */

enum { KVS_N_CLASS = 32, KVS_N_MODEL = 2 * KVS_N_CLASS }; /* tables to choose from: K's, V's */

/* A section between its analysis and its coding. */
struct kvs_quant {
    uint32_t n_tok;  /* without the sinks; 0 if the level is no e-level */
    uint8_t *symbol; /* [n_tok][symbol_stride] */
    size_t symbol_stride;
    uint16_t *mean, *step; /* [n_chan] */
    uint8_t *model;        /* [n_chan]: below KVS_N_MODEL */
    unsigned order;        /* the coder's */
    struct kvs_escapes escapes;
};
void kvs_quant_free(struct kvs_quant *quant);

/* What tables are fitted to, over all sections. */
struct kvs_counts {
    uint32_t count[KVS_N_MODEL][KVS_N_SYMBOL];
    /* of a sample, [model][symbol]: elements, sums of places in the bin (of 2^16), see kern.h */
    uint64_t n_place[KVS_N_MODEL * KVS_N_SYMBOL], sum_place[KVS_N_MODEL * KVS_N_SYMBOL];
    uint32_t every; /* tokens, of which one is counted: more than 1 where there are very many */
    bool used[KVS_N_MODEL]; /* by a channel of some section */
    /* not yet in the sums above, see kern.h */
    uint64_t place[KVS_N_MODEL * KVS_N_SYMBOL];
    uint32_t each[4 * KVS_COUNT_ALL];
    uint32_t n_sampled;               /* elements in place */
    uint32_t pair[2][KVS_COUNT_PAIR]; /* of a model of K's, of one of V's */
    uint8_t pair_model[2];
    bool pair_any[2];
};
/* all is in the sums */
void kvs_counts_end(struct kvs_counts *counts, const struct kvs_kvf_isa *isa);

/* weight: [n_chan] or NULL; calm: as in kvs_rows_calm, which it calls if it must. KVS_ERR_NOMEM. */
KVS_MUST_CHECK enum kvs_code kvs_quant_section(struct kvs_quant *quant, struct kvs_counts *counts,
                                               struct kvs_rows *rows, uint16_t **calm,
                                               const float *weight, const struct kvs_kvf_isa *isa,
                                               struct kvs_err *err);

/*
 * Codes the streams of a file's sections. Those of several sections go at once where one has few:
 * a stream alone waits for itself.
 */
struct kvs_coder_in {
    struct kvs_quant *quant; /* [n_section] */
    uint32_t n_section, n_chan;
    const struct kvs_rans_model *model;
    const struct kvs_rans_enc *enc;
    const struct kvs_kvf_isa *isa;
};
struct kvs_coder;
/* All that `in` points to outlives the coder. NULL: no memory. */
struct kvs_coder *kvs_coder_new(const struct kvs_coder_in *in);
void kvs_coder_free(struct kvs_coder *coder);
/* Sections in their order, those without streams may be left out: symbols that their model has not
 * become escapes, so that all but the streams is known. KVS_ERR_NOMEM. */
KVS_MUST_CHECK enum kvs_code kvs_coder_section(struct kvs_coder *coder, uint32_t i,
                                               struct kvs_err *err);
/* The next stream: all of a section, then those of the next that has some. Words come the last
 * first; they and the state are the coder's, until the next call. KVS_ERR_NOMEM. */
KVS_MUST_CHECK enum kvs_code kvs_coder_stream(struct kvs_coder *coder,
                                              const struct kvs_stream_job **stream,
                                              struct kvs_err *err);

#endif
