/*
 * tensors.h - what the file formats have in common: a list of named tensors in a piece of memory.
 * For kernels/weights/ only.
 */
#ifndef KVS_TENSORS_H
#define KVS_TENSORS_H

#include "weights.h"

#include "base/arena.h"

#include <stdio.h>

enum { KVS_MAX_TENSOR = 16384, KVS_MAX_LAYER = 1000 };

/* How elements are stored; the numbers are GGUF's. */
struct kvs_packing {
    uint32_t id;
    const char *name;
    uint32_t n_block, n_byte;                       /* elements and bytes of a block */
    void (*unpack)(float *to, const uint8_t *from); /* one block */
};
const struct kvs_packing *kvs_packing_of(uint32_t id); /* NULL: not known */
const struct kvs_packing *
kvs_packing_named(const char *name);   /* safetensors' "F32", "F16", "BF16" */
extern const char kvs_packing_known[]; /* for messages */

struct kvs_tensor {
    const char *name; /* not ended by 0 */
    size_t n_name;
    const struct kvs_packing
        *packing; /* NULL: unknown type packing_id, an error only if it is needed */
    uint32_t packing_id, n_dim;
    uint64_t dim[4]; /* dim[0] lies contiguous */
    const uint8_t *data;
};

struct kvs_weights {
    const char *file; /* for messages; not borrowed after opening */
    struct kvs_arena *arena;
    struct kvs_weights_shape shape;
    struct kvs_tensor *tensor;
    size_t n_tensor;
    const struct kvs_tensor **role; /* [layer * KVS_W_N_LAYER_KIND + kind], then the model's own */
    bool tied, random;
    uint64_t seed;
    uint8_t *own; /* the file's bytes; NULL: memory is the caller's */
};

/* Little-endian reads from where no alignment is promised. */
uint16_t kvs_le16(const uint8_t *at);
uint32_t kvs_le32(const uint8_t *at);
uint64_t kvs_le64(const uint8_t *at);

/*
 * Puts a tensor whose data is n_byte bytes from at on of a region of n_region into the list: sizes
 * must multiply without overflow and lie inside. tensor->data is set.
 */
KVS_MUST_CHECK enum kvs_code kvs_tensor_place(const struct kvs_weights *weights,
                                              struct kvs_tensor *tensor, const uint8_t *region,
                                              uint64_t n_region, uint64_t at, struct kvs_err *err);

/* The parsers: fill shape and tensors; roles come after. */
enum kvs_code kvs_gguf_parse(struct kvs_weights *weights, const uint8_t *data, size_t n_byte,
                             struct kvs_err *err);
enum kvs_code kvs_safetensors_parse(struct kvs_weights *weights, const uint8_t *data, size_t n_byte,
                                    const char *config, size_t n_config, struct kvs_err *err);
enum kvs_code kvs_llama2c_parse(struct kvs_weights *weights, const uint8_t *data, size_t n_byte,
                                struct kvs_err *err);

/* RoPE's plain frequencies, base^(-2i / head_dim). */
void kvs_rope_freq(struct kvs_weights_shape *shape, double base);

#endif
