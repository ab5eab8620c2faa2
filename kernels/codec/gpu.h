/*
 * gpu.h - sections decoded on the GPU: the same bits as on the CPU.
 *
 * Launchers as those of the operators: kvs_cuda_kvf, kvs_simt_kvf (the same kernels through the
 * SIMT shim) and, in a build for tests, kvs_mutant_kvf. They check nothing: the section was checked
 * on the host (kvs_kvf_gpu_plan), its payload can do no harm.
 */
#ifndef KVS_KVF_GPU_H
#define KVS_KVF_GPU_H

#include "format.h"

#include <stddef.h>

/* A section to decode; all pointers are the device's. */
struct kvs_kvf_gpu {
    const uint8_t *section;  /* its bytes, at a multiple of 16 */
    const uint32_t *table;   /* all tables, kvs_kvf_gpu_tables */
    const uint8_t *fraction; /* of each table: | low bits << 4 */
    const uint32_t *word_at; /* e-levels: first word of each stream, and the end: [n_stream + 1] */
    const uint8_t *order;    /* e-levels: of each place its channel in the part: [n_chan] */
    uint16_t *out;           /* of the first coded token; the sinks are the caller's copy */
    size_t stride;           /* elements */
    uint32_t *n_bad;         /* e-levels: streams that did not end right are counted here */
    struct kvs_layout at;
    uint64_t row_bytes;
    uint32_t group, n_kv_head;
    enum kvs_level level;
    enum kvs_kv kv;
    enum kvs_half half;
};

/* Elements to a section of a packed level: parameters and payload as the CPU's encoder writes them.
 * All pointers are the device's. */
struct kvs_kvq_pack {
    const uint16_t *x; /* of the first coded token */
    size_t stride;     /* elements */
    uint8_t *section;  /* at a multiple of 16 */
    uint32_t *n_huge;  /* elements that must become escapes are counted here; coded as 0 */
    struct kvs_layout at;
    uint64_t row_bytes;
    uint32_t group, bits;
    uint16_t huge; /* the largest that is none, without the sign */
    enum kvs_level level;
    enum kvs_kv kv;
    enum kvs_half half;
};

/* Rows of an e-level. sum, square: [n_chan], of differences from the first row, from x without what
 * is huge; mean, inverse (of the step): [n_chan]; symbol: 128 + round((x - mean) * inverse), 0
 * outside 1..255. What is huge is the caller's to make an escape, as of kvs_kvf_isa's quantise. */
struct kvs_kvq_quant {
    const uint16_t *x;
    size_t stride;
    uint32_t n_tok, n_chan;
    enum kvs_half half;
    float *sum, *square;
    const float *mean, *inverse;
    uint8_t *symbol;
    size_t symbol_stride;
};

#ifdef __cplusplus
extern "C" {
#endif

/* Fills what is no pointer and no stride. n_tok counts the sinks. */
void kvs_kvq_plan(struct kvs_kvq_pack *job, const struct kvs_kvf_shape *shape, enum kvs_level level,
                  enum kvs_kv kv, uint32_t n_tok, uint32_t n_sink);
#define KVS_KVQ_LAUNCHERS(side)                                                                    \
    enum kvs_code kvs_##side##_kvq_pack(void *ctx, const struct kvs_kvq_pack *job, void *stream,   \
                                        struct kvs_err *err);                                      \
    enum kvs_code kvs_##side##_kvq_moments(void *ctx, const struct kvs_kvq_quant *job,             \
                                           void *stream, struct kvs_err *err);                     \
    enum kvs_code kvs_##side##_kvq_symbols(void *ctx, const struct kvs_kvq_quant *job,             \
                                           void *stream, struct kvs_err *err);
KVS_KVQ_LAUNCHERS(cuda)
KVS_KVQ_LAUNCHERS(simt)
KVS_KVQ_LAUNCHERS(mutant)

/* Fills what is no pointer, word_at (room for n_stream + 1) and order (n_chan), after checking
 * section i as kvs_kvf_decode does. bytes: on the host. */
KVS_MUST_CHECK enum kvs_code kvs_kvf_gpu_plan(const struct kvs_kvf *codec, uint32_t i,
                                              const uint8_t *bytes, struct kvs_kvf_gpu *job,
                                              uint32_t *word_at, uint8_t *order,
                                              struct kvs_err *err);
/* What the device needs of the head: [n_table][2^11], [n_table]. */
const uint32_t *kvs_kvf_gpu_tables(const struct kvs_kvf *codec, const uint8_t **fraction,
                                   uint32_t *n_table);

enum kvs_code kvs_cuda_kvf(void *ctx, const struct kvs_kvf_gpu *job, void *stream,
                           struct kvs_err *err);
enum kvs_code kvs_simt_kvf(void *ctx, const struct kvs_kvf_gpu *job, void *stream,
                           struct kvs_err *err);
enum kvs_code kvs_mutant_kvf(void *ctx, const struct kvs_kvf_gpu *job, void *stream,
                             struct kvs_err *err);

#ifdef __cplusplus
}
#endif
#endif
