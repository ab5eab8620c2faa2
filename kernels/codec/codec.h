/*
 * codec.h - KV blocks in a file: compression levels, one layer readable without the others.
 *
 * A file holds n_tok tokens of all layers, cut into blocks of block_tok tokens. A section is one
 * (block, layer, K or V); it begins at a multiple of 4 KiB, and K and V of a layer lie side by
 * side. All that is needed to decode a section besides its own bytes is the file's head: header,
 * rANS tables, directory (format.h has the layout). Elements are 16 bits wide, f16 or bf16. What is
 * wrong with a file is told before a byte of it is used: checksums first, then every size and
 * position; with checksums off a broken file gives an error or wrong numbers, never a read or a
 * write outside.
 *
 * Whether keys were stored before RoPE is a flag of the file; turning them is the caller's.
 */
#ifndef KVS_KVF_H
#define KVS_KVF_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * raw16: a copy. lx: bf16 without loss, exponents as 4-bit codes. fp8: e4m3, a scale a channel (K)
 * or head (V). p8..p2: integers of 8, 4, 3, 2 bits with minimum and step for each group of 64 (p2:
 * 32): tokens of a channel (K), channels of a token (V). e6..e1.5: a uniform step tied to the
 * channel's deviation (1/16, 1/8, 1/4, 1/2, 3/4, 1, 3/2 of it), entropy coded by rANS; the number
 * is about the bits an element of Gaussian data.
 */
enum kvs_level {
    KVS_RAW16,
    KVS_LX,
    KVS_FP8,
    KVS_P8,
    KVS_P4,
    KVS_P3,
    KVS_P2,
    KVS_E6,
    KVS_E5,
    KVS_E4,
    KVS_E3,
    KVS_E2_5,
    KVS_E2,
    KVS_E1_5,
    KVS_N_LEVEL
};
extern const char *const kvs_level_names[KVS_N_LEVEL + 1]; /* "raw16" .. "e1.5", NULL-ended */
/* The level of a name; false: there is none. */
bool kvs_level_find(const char *name, enum kvs_level *level);

enum kvs_half { KVS_F16, KVS_HALF_BF16 }; /* how 16 bits are a number */
enum kvs_kv { KVS_K, KVS_V };

struct kvs_kvf_shape {
    uint32_t n_layer, n_kv_head, head_dim;
    uint32_t n_tok, block_tok; /* the last block may be shorter */
    uint32_t n_sink;           /* first tokens of the file that stay raw in every section */
    enum kvs_half half;
    bool before_rope; /* keys */
    /* what enters layers first_layer to first_layer + n_layer - 1 (the residual stream) instead of
     * K and V: the first half of its channels stands for K, the other for V */
    bool hidden;
    uint32_t first_layer;    /* 0 but for hidden */
    uint64_t model_hash[2];  /* whose they are, the caller's own fingerprints */
    uint64_t prefix_hash[2]; /* of which tokens */
};
static inline uint32_t kvs_kvf_n_chan(const struct kvs_kvf_shape *shape)
{
    return shape->n_kv_head * shape->head_dim;
}

/* --- instruction sets --------------------------------------------------------------------------
 */

/* All give the same bytes and the same numbers, bit for bit. */
struct kvs_kvf_isa; /* "scalar", "avx2", "avx512", "avx512bf16" */
/* The one of that name, or with NULL the fastest here. NULL: unknown, or this CPU has it not. */
const struct kvs_kvf_isa *kvs_kvf_isa(const char *name);
const char *kvs_kvf_isa_name(const struct kvs_kvf_isa *isa);

/* --- writing -----------------------------------------------------------------------------------
 */

struct kvs_kvf_in {
    struct kvs_kvf_shape shape;
    /* [n_layer * 2]: K of layer 0, V of layer 0, K of layer 1, ...: [n_tok][n_chan], contiguous */
    const uint16_t *const *x;
    const uint8_t *level; /* [n_layer * 2], of enum kvs_level */
    /* [n_layer * 2] of [n_chan], or NULL, or NULL inside: how much an error in a channel weighs
     * (squared); e-levels give channels steps as 1 / sqrt(weight), with the same mean rate */
    const float *const *weight;
};
/*
 * The file, in memory that is the caller's to free. KVS_ERR_RANGE if the shape is outside what a
 * file can hold, KVS_ERR_ARG for a level that cannot be (lx of f16).
 */
KVS_MUST_CHECK enum kvs_code kvs_kvf_encode(const struct kvs_kvf_in *in,
                                            const struct kvs_kvf_isa *isa, uint8_t **file,
                                            size_t *n_byte, struct kvs_err *err);
/* Where files lie one after another: pages written before cost no fault. {0} at first, ended by
 * kvs_kvf_memory_free. */
struct kvs_kvf_memory {
    uint8_t *bytes;
    size_t room;
    uint8_t *symbol; /* of e-levels, between analysis and coding */
    size_t n_symbol;
    uint8_t *section; /* one, on its way past the caches */
    size_t n_section;
};
void kvs_kvf_memory_free(struct kvs_kvf_memory *memory);
/* The same into memory, over the last file there; NULL: as above. */
KVS_MUST_CHECK enum kvs_code kvs_kvf_encode_into(struct kvs_kvf_memory *memory,
                                                 const struct kvs_kvf_in *in,
                                                 const struct kvs_kvf_isa *isa, uint8_t **file,
                                                 size_t *n_byte, struct kvs_err *err);

/* --- reading -----------------------------------------------------------------------------------
 */

struct kvs_kvf; /* a file's head; from kvs_kvf_parse or _open, ended by kvs_kvf_close */

/*
 * From memory that outlives the codec: at least the file's head of n_file bytes in all; name stands
 * for the file in messages. check: verify checksums, of the head now and of each section before it
 * is decoded.
 */
KVS_MUST_CHECK enum kvs_code kvs_kvf_parse(const char *name, const uint8_t *data, size_t n_byte,
                                           size_t n_file, bool check, struct kvs_kvf **codec,
                                           struct kvs_err *err);
/* A file, read into memory: one that is cut later does no harm. */
KVS_MUST_CHECK enum kvs_code kvs_kvf_open(const char *file, bool check, struct kvs_kvf **codec,
                                          struct kvs_err *err);
void kvs_kvf_close(struct kvs_kvf *codec); /* accepts NULL */
const struct kvs_kvf_shape *kvs_kvf_shape(const struct kvs_kvf *codec);
/* Bytes from the file's beginning that hold the head, told by its first 128; 0: no such file. */
size_t kvs_kvf_head_bytes(const uint8_t *data, size_t n_byte);

struct kvs_section {
    uint64_t at_bytes, n_byte; /* in the file, without the padding after it */
    uint32_t block, layer;
    enum kvs_kv kv;
    enum kvs_level level;
    uint32_t first_tok, n_tok;
};
uint32_t kvs_kvf_n_section(const struct kvs_kvf *codec);
uint32_t kvs_kvf_n_block(const struct kvs_kvf *codec);
struct kvs_section kvs_kvf_section(const struct kvs_kvf *codec, uint32_t i);
static inline uint32_t kvs_kvf_section_i(const struct kvs_kvf_shape *shape, uint32_t block,
                                         uint32_t layer, enum kvs_kv kv)
{
    return (block * shape->n_layer + layer) * 2 + (uint32_t)kv;
}

/*
 * Section i into out, [n_tok][n_chan], rows `stride` elements apart. bytes: the section's n_byte
 * bytes, wherever they were read from, at a multiple of 4; NULL: from the memory that was parsed,
 * which then holds all the file.
 */
KVS_MUST_CHECK enum kvs_code kvs_kvf_decode(const struct kvs_kvf *codec, uint32_t i,
                                            const uint8_t *bytes, const struct kvs_kvf_isa *isa,
                                            uint16_t *out, size_t stride, struct kvs_err *err);

/* Where the bytes of a file go. */
struct kvs_kvf_parts {
    uint64_t payload;  /* packed integers, rANS words, raw elements of raw16 and lx */
    uint64_t sink;     /* raw first tokens */
    uint64_t param;    /* minima, steps, means, table numbers */
    uint64_t stream;   /* rANS: states and lengths */
    uint64_t escape;   /* elements that no code stands for */
    uint64_t table;    /* rANS: symbols and frequencies, once a file */
    uint64_t head;     /* header and directory, section headers, slack */
    uint64_t padding;  /* to 4 KiB */
    uint64_t n_escape; /* elements, not bytes */
};
/*
 * Steps of section i, [n_tok][n_chan]: of an e-level's channels, a packed level's groups; 0 for
 * sinks and at levels without. Its header is read, and checked as for decoding.
 */
KVS_MUST_CHECK enum kvs_code kvs_kvf_steps(const struct kvs_kvf *codec, uint32_t i,
                                           const uint8_t *bytes, float *step, struct kvs_err *err);
/*
 * What order-0 entropy asks for section i's symbols, channels of one table together, in bits; 0 if
 * its level is no e-level. They are decoded, and checked as for decoding.
 */
KVS_MUST_CHECK enum kvs_code kvs_kvf_entropy(const struct kvs_kvf *codec, uint32_t i,
                                             const uint8_t *bytes, const struct kvs_kvf_isa *isa,
                                             double *bits, struct kvs_err *err);

/* Adds section i's bytes; its header is read, and checked as for decoding. */
KVS_MUST_CHECK enum kvs_code kvs_kvf_section_parts(const struct kvs_kvf *codec, uint32_t i,
                                                   const uint8_t *bytes,
                                                   struct kvs_kvf_parts *parts,
                                                   struct kvs_err *err);
/* The head's own bytes and padding. */
void kvs_kvf_head_parts(const struct kvs_kvf *codec, struct kvs_kvf_parts *parts);

#endif
