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
    const uint8_t *section; /* its bytes, at a multiple of 16 */
    const uint32_t *table;  /* all tables, kvs_kvf_gpu_tables */
    const uint8_t *fraction;
    const uint32_t *word_at; /* e-levels: first word of each stream, and the end: [n_stream + 1] */
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

#ifdef __cplusplus
extern "C" {
#endif

/* Fills what is no pointer, and word_at (room for n_stream + 1), after checking section i as
 * kvs_kvf_decode does. bytes: on the host. */
KVS_MUST_CHECK enum kvs_code kvs_kvf_gpu_plan(const struct kvs_kvf *codec, uint32_t i,
                                              const uint8_t *bytes, struct kvs_kvf_gpu *job,
                                              uint32_t *word_at, struct kvs_err *err);
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
