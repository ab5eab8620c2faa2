/*
 * cmd_codec.h - `kvsim codec`: what its subcommands share.
 */
#ifndef KVS_CMD_CODEC_H
#define KVS_CMD_CODEC_H

#include "kernels/codec/attend.h"
#include "kernels/codec/measure.h"

/* Of encode, decode and inspect; each has some. */
struct kvs_codec_options {
    const char *out, *level, *isa, *against, *weights;
    uint64_t layers, kv_heads, head_dim, block, sinks;
    int half;
    bool before_rope, json, no_check;
};
/* Behind a word that counts n. */
#define KVS_S(n) ((n) == 1 ? "" : "s")
extern const char *const kvs_codec_halves[]; /* by enum kvs_half; then NULL */

/* from: the file. It prints to stdout. */
KVS_MUST_CHECK enum kvs_code kvs_codec_inspect(const struct kvs_codec_options *opt,
                                               const char *from, struct kvs_err *err);
/* All of a file; the caller frees it. */
KVS_MUST_CHECK enum kvs_code kvs_codec_read(const char *path, uint8_t **data, size_t *n,
                                            struct kvs_err *err);
/* Places of K and V of each layer in raw elements, to be freed; tells the tokens. */
KVS_MUST_CHECK enum kvs_code kvs_codec_lay_out(const char *path, const uint8_t *data, size_t n,
                                               struct kvs_kvf_shape *shape, const uint16_t ***x,
                                               struct kvs_err *err);
/*
 * What errors in channels weigh by the model of --weights, as kvs_kvf_weigh has it; NULL without
 * one. The model and the elements are of one shape.
 */
KVS_MUST_CHECK enum kvs_code kvs_codec_weigh(const char *file, const struct kvs_kvf_shape *shape,
                                             const float ***weight, struct kvs_err *err);

/* argv[0] is the subcommand's name. They print to stdout; errors come back for main to print. */
KVS_MUST_CHECK enum kvs_code kvs_codec_bench_cmd(int argc, char *const *argv, struct kvs_err *err);

/* A level's size, and errors if compared, as members of a JSON object, without braces. */
void kvs_codec_print_measure(const char *level, const struct kvs_kvf_measure *measure,
                             bool compared, bool weighted);
/* Bytes of each part, n elements: members of a JSON object, or lines. */
void kvs_codec_print_parts(const struct kvs_kvf_parts *parts, double n, bool json);
/* Errors of attention, as a further member of a JSON object. */
void kvs_codec_print_attention(const struct kvs_kvf_attention *attention);
/* The ISA of --isa, NULL: the fastest. */
KVS_MUST_CHECK enum kvs_code kvs_codec_pick_isa(const char *name, const struct kvs_kvf_isa **isa,
                                                struct kvs_err *err);

/* A codec file; one that is not there is wrong input. */
KVS_MUST_CHECK enum kvs_code kvs_codec_open_file(const char *path, bool check,
                                                 struct kvs_kvf **codec, struct kvs_err *err);

#endif
