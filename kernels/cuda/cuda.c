/*
 * cuda.c - the cuda back end: CUDA's runtime linked statically, all else opened at run time.
 *
 * On a machine without GPU or driver it says "no GPU: reason"; built without nvcc it says that.
 * Never run on hardware so far.
 */
#include "kernels/backend.h"

#ifdef KVS_HAVE_CUDA

#include "lt.h"

#include <cuda_runtime_api.h>
#include <stdio.h>
#include <stdlib.h>

enum { WORKSPACE_BYTES = 32 << 20 }; /* what cuBLASLt's documentation asks for on Hopper */

struct cuda {
    int index;
    bool has_lt;
    struct kvs_lt lt;
};

static enum kvs_code check(cudaError_t status, const char *what, struct kvs_err *err)
{
    if (status == cudaSuccess)
        return KVS_OK;
    return kvs_fail(err, status == cudaErrorMemoryAllocation ? KVS_ERR_NOMEM : KVS_ERR_DEVICE,
                    "cuda: %s: %s", what, cudaGetErrorString(status));
}

#define X(name)                                                                                    \
    enum kvs_code kvs_cuda_##name(void *ctx, const struct kvs_##name *op, void *stream,            \
                                  struct kvs_err *err);
KVS_OPS(X)
#undef X

enum kvs_code kvs_cuda_intrinsic(void *ctx, const struct kvs_intrinsic *op, void *stream,
                                 struct kvs_err *err);

static enum kvs_code gemm(void *ctx, const struct kvs_gemm *op, void *stream, struct kvs_err *err)
{
    struct cuda *cuda = ctx;
    struct kvs_err refused = {0};

    if (cuda->has_lt && op->m && op->n && op->k && op->x_elem == op->w_elem) {
        enum kvs_code code = kvs_lt_gemm(&cuda->lt, op, stream, &refused);
        if (code == KVS_OK)
            return KVS_OK;
        if (code != KVS_ERR_ABSENT)
            return kvs_fail(err, code, "%s", refused.msg);
    }
    return kvs_cuda_gemm(ctx, op, stream, err);
}

static const struct kvs_kernels kernels = {
    .rmsnorm = kvs_cuda_rmsnorm,
    .gemm = gemm,
    .rope = kvs_cuda_rope,
    .attn = kvs_cuda_attn,
    .swiglu = kvs_cuda_swiglu,
    .add = kvs_cuda_add,
    .rows = kvs_cuda_rows,
};

/* A missing driver (35), the toolkit's stub of one (34) and no device (100) are the same to us. */
static enum kvs_code find_gpu(int index, struct kvs_err *err)
{
    int n = 0; /* cudaGetDeviceCount leaves it alone when it fails */
    cudaError_t status = cudaGetDeviceCount(&n);

    if (status != cudaSuccess) {
        (void)cudaGetLastError();
        return kvs_fail(err, KVS_ERR_ABSENT, "cuda: no GPU: %s", cudaGetErrorString(status));
    }
    if (n == 0)
        return kvs_fail(err, KVS_ERR_ABSENT, "cuda: no GPU: the driver counts none");
    if (index < 0 || index >= n)
        return kvs_fail(err, KVS_ERR_ABSENT, "cuda: there is no device %d, only 0 to %d", index,
                        n - 1);
    return KVS_OK;
}

static enum kvs_code open_cuda(struct kvs_dev *dev, int index, uint64_t seed, struct kvs_err *err)
{
    struct cudaDeviceProp prop;
    char why[80] = "cuBLASLt";
    struct cuda *cuda;
    enum kvs_code code = find_gpu(index, err);

    (void)seed;
    if (code)
        return code;
    if ((code = check(cudaSetDevice(index), "cudaSetDevice", err)) ||
        (code = check(cudaGetDeviceProperties(&prop, index), "cudaGetDeviceProperties", err)))
        return code;
    if (prop.major < 8)
        return kvs_fail(err, KVS_ERR_ABSENT, "cuda: %s is sm_%d%d, the kernels need sm_80 or later",
                        prop.name, prop.major, prop.minor);
    cuda = calloc(1, sizeof *cuda);
    if (!cuda)
        return kvs_nomem(err);
    cuda->index = index;
    cuda->has_lt = kvs_lt_open(&cuda->lt, why, sizeof why);
    cuda->lt.workspace_bytes = WORKSPACE_BYTES;
    if (cuda->has_lt &&
        (code = check(cudaMalloc(&cuda->lt.workspace, WORKSPACE_BYTES), "cudaMalloc", err))) {
        kvs_lt_close(&cuda->lt);
        free(cuda);
        return code;
    }
    snprintf(dev->info.detail, sizeof dev->info.detail, "%.60s, sm_%d%d, GEMM: %s%s", prop.name,
             prop.major, prop.minor, cuda->has_lt ? "" : "own, ", why);
    dev->state = cuda;
    return KVS_OK;
}

static void close_cuda(struct kvs_dev *dev)
{
    struct cuda *cuda = dev->state;

    (void)cudaFree(cuda->lt.workspace);
    kvs_lt_close(&cuda->lt);
    free(cuda);
}

static enum kvs_code mem_new(struct kvs_dev *dev, enum kvs_where where, size_t n_byte, void **base,
                             struct kvs_err *err)
{
    (void)dev;
    return check(where == KVS_MEM_PINNED ? cudaHostAlloc(base, n_byte, cudaHostAllocDefault)
                                         : cudaMalloc(base, n_byte),
                 "memory", err);
}

static void mem_free(struct kvs_dev *dev, enum kvs_where where, void *base)
{
    (void)dev;
    (void)(where == KVS_MEM_PINNED ? cudaFreeHost(base) : cudaFree(base));
}

static enum kvs_code mem_copy(struct kvs_dev *dev, void *dst, const void *src, size_t n_byte,
                              struct kvs_err *err)
{
    (void)dev;
    return check(cudaMemcpy(dst, src, n_byte, cudaMemcpyDefault), "copy", err);
}

static enum kvs_code stream_new(struct kvs_dev *dev, void **stream, struct kvs_err *err)
{
    (void)dev;
    return check(cudaStreamCreateWithFlags((cudaStream_t *)stream, cudaStreamNonBlocking), "stream",
                 err);
}

static void stream_free(struct kvs_dev *dev, void *stream)
{
    (void)dev;
    (void)cudaStreamSynchronize(stream);
    (void)cudaStreamDestroy(stream);
}

static enum kvs_code stream_sync(struct kvs_dev *dev, void *stream, struct kvs_err *err)
{
    (void)dev;
    return check(cudaStreamSynchronize(stream), "work on a stream", err);
}

static enum kvs_code submit(struct kvs_dev *dev, void *stream, const struct kvs_item *item,
                            struct kvs_err *err)
{
    switch (item->kind) {
    case KVS_ITEM_COPY:
        return check(cudaMemcpyAsync(item->u.copy.dst, item->u.copy.src, item->u.copy.n_byte,
                                     cudaMemcpyDefault, stream),
                     "copy", err);
    case KVS_ITEM_RECORD:
        return check(cudaEventRecord(item->u.event.impl, stream), "event", err);
    case KVS_ITEM_WAIT:
        return check(cudaStreamWaitEvent(stream, item->u.event.impl, 0), "wait", err);
    case KVS_ITEM_CALL:
        return check(cudaLaunchHostFunc(stream, item->u.call.fn, item->u.call.arg), "call", err);
    default:
        return kvs_kernels_run(&kernels, dev->state, item, stream, err);
    }
}

static enum kvs_code event_new(struct kvs_dev *dev, void **event, struct kvs_err *err)
{
    (void)dev;
    return check(cudaEventCreate((cudaEvent_t *)event), "event", err);
}

static void event_free(struct kvs_dev *dev, void *event)
{
    (void)dev;
    (void)cudaEventDestroy(event);
}

static enum kvs_code event_sync(struct kvs_dev *dev, void *event, struct kvs_err *err)
{
    (void)dev;
    return check(cudaEventSynchronize(event), "event", err);
}

static enum kvs_code event_elapsed(struct kvs_dev *dev, void *from, void *to, int64_t *ns,
                                   struct kvs_err *err)
{
    float ms = 0;
    cudaError_t status = cudaEventElapsedTime(&ms, from, to);

    (void)dev;
    if (status == cudaErrorInvalidResourceHandle || status == cudaErrorNotReady)
        return kvs_fail(err, KVS_ERR_ARG, "an event has not happened yet");
    *ns = (int64_t)((double)ms * 1e6);
    return check(status, "elapsed time", err);
}

static enum kvs_code intrinsic(struct kvs_dev *dev, const struct kvs_intrinsic *op,
                               struct kvs_err *err)
{
    enum kvs_code code = kvs_cuda_intrinsic(dev->state, op, NULL, err);

    return code ? code : check(cudaDeviceSynchronize(), "an intrinsic", err);
}

#else

static enum kvs_code open_cuda(struct kvs_dev *dev, int index, uint64_t seed, struct kvs_err *err)
{
    (void)dev, (void)index, (void)seed;
    return kvs_fail(err, KVS_ERR_ABSENT, "cuda: kvsim was built without nvcc");
}

#endif

const struct kvs_backend kvs_backend_cuda = {
    .name = "cuda",
    .help = "an NVIDIA GPU",
    .can = "every operator; GEMM and attention in bf16, head_dim up to 128 in steps of 8",
    .act_elem = KVS_BF16,
    .gemm_elem = KVS_BF16,
    .open = open_cuda,
#ifdef KVS_HAVE_CUDA
    .close = close_cuda,
    .mem_new = mem_new,
    .mem_free = mem_free,
    .mem_copy = mem_copy,
    .stream_new = stream_new,
    .stream_free = stream_free,
    .stream_sync = stream_sync,
    .submit = submit,
    .event_new = event_new,
    .event_free = event_free,
    .event_sync = event_sync,
    .event_elapsed = event_elapsed,
    .intrinsic = intrinsic,
#endif
};
