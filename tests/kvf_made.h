/* kvf_made.h - codec files of made-up elements, for tests. What fails fails the test. */
#ifndef KVS_TESTS_KVF_MADE_H
#define KVS_TESTS_KVF_MADE_H

#include "kernels/codec/codec.h"

#include <stddef.h>

/* All layers hold the same kind of made-up elements; level[] is that of every layer's K and V. */
struct made {
    struct kvs_kvf_shape shape;
    const uint16_t *x[64];
    uint8_t level[64];
    const float *const *weight; /* or NULL */
};

/* All raw16, no weights; ended by kvf_made_free. */
struct made kvf_make(uint32_t n_layer, uint32_t heads, uint32_t dim, uint32_t n_tok,
                     uint32_t block_tok, uint32_t n_sink, enum kvs_half half);
void kvf_made_free(struct made *made);
/* Two blocks and a bit, three layers, each level once or more, sinks. */
struct made kvf_mixed(enum kvs_half half, uint32_t dim);

/* isa: a name, or NULL. The file is the caller's to free. */
uint8_t *kvf_encode(const struct made *made, const char *isa, size_t *n);
struct kvs_kvf *kvf_parse(const uint8_t *file, size_t n);
/* K or V of a layer, all blocks: [n_tok][n_chan], the caller's to free */
uint16_t *kvf_decode(const struct kvs_kvf *codec, const char *isa, uint32_t layer, enum kvs_kv kv);
enum { KVF_ISAS = 4 };
extern const char *const kvf_isas[KVF_ISAS];

#endif
