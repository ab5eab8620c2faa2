/*
 * decode.h - a section being decoded, between the files that do it: decode.c finds and checks it
 * and unpacks packed levels, decode_streams.c decodes e-levels, decode_gpu.c checks for the GPU.
 */
#ifndef KVS_KVF_DECODE_H
#define KVS_KVF_DECODE_H

#include "kern.h"

struct kvs_decoder {
    const struct kvs_kvf *codec;
    const struct kvs_kvf_isa *isa;
    const struct kvs_entry *entry;
    const uint8_t *bytes;
    struct kvs_layout at;
    uint16_t *out; /* of the first coded token */
    size_t stride;
    float *scratch;
    /* of e-levels, a place each, see kvs_order; and tables of each 16 places */
    uint8_t *place;
    const struct kvs_rans_small **each;
    bool split;  /* as a stream's job has it */
    bool values; /* f16 of the tables' values is wanted instead of elements; of e-levels */
};

/* Finds the section's bytes and believes its header only where it agrees with the directory. */
KVS_MUST_CHECK enum kvs_code kvs_decoder_find(struct kvs_decoder *d, uint32_t i,
                                              const uint8_t *bytes, struct kvs_err *err);
/* Parameters are numbers; then no sum or product of a decoder is NaN, on any machine. The last
 * n_step are steps, which are not negative. */
KVS_MUST_CHECK enum kvs_code kvs_decoder_check_params(const struct kvs_decoder *d,
                                                      const uint16_t *param, size_t n,
                                                      size_t n_step, struct kvs_err *err);
/* States are those that an encoder leaves: then they stay so, whatever the words are. */
KVS_MUST_CHECK enum kvs_code kvs_decoder_check_states(const struct kvs_decoder *d, uint32_t stream,
                                                      struct kvs_err *err);
/* Makes d->scratch, which free ends, and what lies in it. KVS_ERR_NOMEM. */
KVS_MUST_CHECK enum kvs_code kvs_decoder_scratch(struct kvs_decoder *d, struct kvs_err *err);
/* The elements of an e-level, but for escapes. */
KVS_MUST_CHECK enum kvs_code kvs_decode_streams(struct kvs_decoder *d, struct kvs_err *err);
/* Whether stores past the caches are best for a section of so many bytes or more: they save reading
 * what they overwrite; what is small may be used at once. */
bool kvs_decoder_past_caches(const struct kvs_decoder *d, uint64_t least_bytes);

/* The channels' tables, one byte each. */
static inline const uint8_t *kvs_decoder_tables(const struct kvs_decoder *d)
{
    return d->bytes + d->at.param_at + 4 * (size_t)d->at.n_chan;
}

#endif
