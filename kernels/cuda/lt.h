/*
 * lt.h - GEMM by cuBLASLt: the functions of the library as a table, and the one call made of them.
 *
 * The table is filled from libcublasLt at run time, or by a test with functions of its own that
 * carry the product out as described: mistakes in transposition and leading dimensions show without
 * a GPU. Only where CUDA's headers are (KVS_HAVE_CUDA).
 */
#ifndef KVS_CUDA_LT_H
#define KVS_CUDA_LT_H

#include "kernels/backend.h"

#include <cublasLt.h>

#define KVS_LT_FUNCTIONS(X)                                                                        \
    X(cublasLtCreate)                                                                              \
    X(cublasLtDestroy)                                                                             \
    X(cublasLtMatmulDescCreate)                                                                    \
    X(cublasLtMatmulDescDestroy)                                                                   \
    X(cublasLtMatmulDescSetAttribute)                                                              \
    X(cublasLtMatrixLayoutCreate)                                                                  \
    X(cublasLtMatrixLayoutDestroy)                                                                 \
    X(cublasLtMatmulPreferenceCreate)                                                              \
    X(cublasLtMatmulPreferenceDestroy)                                                             \
    X(cublasLtMatmulPreferenceSetAttribute)                                                        \
    X(cublasLtMatmulAlgoGetHeuristic)                                                              \
    X(cublasLtMatmul)

struct kvs_lt {
#define X(name) __typeof__(&(name)) name;
    KVS_LT_FUNCTIONS(X)
#undef X
    void *library;
    cublasLtHandle_t handle;
    void *workspace; /* device memory */
    size_t workspace_bytes;
};

/* Fills the table. false: not to be had, why says so (why: room for n). */
bool kvs_lt_open(struct kvs_lt *lt, char *why, size_t n);
void kvs_lt_close(struct kvs_lt *lt);
/* y = x w^T of device.h on a stream; x and w both bf16 or both f32. KVS_ERR_ABSENT: the library has
 * no algorithm for it, take another way. */
KVS_MUST_CHECK enum kvs_code kvs_lt_gemm(const struct kvs_lt *lt, const struct kvs_gemm *op,
                                         void *stream, struct kvs_err *err);

#endif
