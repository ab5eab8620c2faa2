/*
 * coding.h - what storing keys and values at a level costs one thread of this host: encoding,
 * decoding a section, and bits an element, K and V apart.
 *
 * Points "codec.decode" and "codec.encode" say level and block (tokens) in params. One operation
 * decodes one section, in the order of blocks, layers, K and V, into memory of its own, checksums
 * verified; or encodes all. It stands for size_bytes of raw 16-bit elements. The rate of a repeat
 * is that of its median operation, of three at least, by the clock on the wall: where nothing else
 * runs it is that of `kvsim codec bench`, which counts the thread's CPU time.
 */
#ifndef KVS_PROBES_CODING_H
#define KVS_PROBES_CODING_H

#include "measure.h"

#include "kernels/codec/codec.h"

struct kvs_coding_config {
    uint32_t n_layer, n_kv_head, head_dim, n_tok;
    const uint16_t *const *x;   /* [n_layer * 2] of [n_tok][n_chan]: bf16; borrowed until close */
    const float *const *weight; /* or NULL */
    uint32_t n_sink;
    uint32_t block_tok[2]; /* the usual one; a small one, that tells what a section costs besides */
    const volatile int *stop;
};

struct kvs_coding; /* from kvs_coding_open, ended by kvs_coding_close */

/* Encodes at every level and block. */
KVS_MUST_CHECK enum kvs_code kvs_coding_open(const struct kvs_coding_config *config,
                                             struct kvs_coding **coding, struct kvs_err *err);
void kvs_coding_close(struct kvs_coding *coding); /* accepts NULL */
/* What a level stores, with all that a section has besides but its padding. */
struct kvs_coding_size {
    double bits[2];       /* an element of K, of V, in blocks of block_tok[0]; at most 16 */
    double channel_bytes; /* what each section has once a channel: from the two blocks' bytes */
};
struct kvs_coding_size kvs_coding_size(const struct kvs_coding *coding, enum kvs_level level);
/* Raw bytes of a section, or with encode of all. */
uint64_t kvs_coding_bytes(const struct kvs_coding *coding, bool encode, uint32_t block_tok);
/* A kvs_run_fn. */
enum kvs_code kvs_coding_run(void *coding, struct kvs_point *point, double secs,
                             struct kvs_sample *sample, struct kvs_err *err);

/* A file of configs/codec out of the points: from two sizes of sections, what each costs besides
 * its bytes; where decoding beside compute was measured, at the rate it has there. Pure. NULL: no
 * memory. */
json_t *kvs_codec_json(const char *name, const char *about, const struct kvs_points *points,
                       const struct kvs_coding_size size[KVS_N_LEVEL], const uint32_t block_tok[2],
                       const uint64_t section_bytes[2]);

#endif
