/*
 * cpu.c - the cpu back end: GEMM by oneDNN where it is installed, the rest by simd.c.
 *
 * oneDNN is opened when a device is, never linked: a simulation doesn't pay for loading it, and
 * without it the own GEMM takes over. $KVS_CPU picks a narrower instruction set (base, avx2,
 * avx512) and with ",own" leaves oneDNN aside; for tests and comparisons.
 */
#include "kernels/host/queue.h"
#include "simd.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* dnnl_sgemm of dnnl.h, row-major: C = alpha op(A) op(B) + beta C; dims are int64_t; 0: success. */
typedef int sgemm_fn(char transa, char transb, int64_t m, int64_t n, int64_t k, float alpha,
                     const float *a, int64_t lda, const float *b, int64_t ldb, float beta, float *c,
                     int64_t ldc);
struct dnnl_version { /* dnnl_version_t's beginning */
    int major, minor, patch;
};

struct cpu {
    const struct kvs_kernels *simd;
    void *library;
    sgemm_fn *sgemm;
    void (*set_threads)(int n); /* of the OpenMP runtime that oneDNN brings; a thread's own value */
};

static const struct simd {
    const char *name;
    const struct kvs_kernels *kernels;
} simds[] = {
#if defined(__x86_64__)
    {"avx512", &kvs_simd_avx512},
    {"avx2", &kvs_simd_avx2},
#endif
    {"base", &kvs_simd_base},
};
enum { N_SIMD = sizeof simds / sizeof *simds };

static bool runs_here(const char *simd)
{
#if defined(__x86_64__)
    if (strcmp(simd, "avx512") == 0)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
    if (strcmp(simd, "avx2") == 0)
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
    return strcmp(simd, "base") == 0;
}

/* NULL: err says why. */
static const struct simd *pick(const char *wish, size_t n_wish, struct kvs_err *err)
{
    for (int i = 0; i < N_SIMD; i++) {
        if (n_wish && (strlen(simds[i].name) != n_wish || memcmp(simds[i].name, wish, n_wish) != 0))
            continue;
        if (runs_here(simds[i].name))
            return &simds[i];
        if (n_wish) {
            kvs_fail(err, KVS_ERR_ABSENT, "KVS_CPU: this processor has no %s", simds[i].name);
            return NULL;
        }
    }
    kvs_fail(err, KVS_ERR_ARG,
             "KVS_CPU: found \"%.*s\", want avx512, avx2 or base, then perhaps \",own\"",
             (int)n_wish, wish);
    return NULL;
}

static const char *open_dnnl(struct cpu *cpu, char text[40])
{
    static const char *const names[] = {"libdnnl.so.3", "libdnnl.so.2", "libdnnl.so"};
    const struct dnnl_version *(*version)(void) = NULL;

    for (size_t i = 0; i < sizeof names / sizeof *names && !cpu->library; i++)
        cpu->library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    if (!cpu->library)
        return "own GEMM: libdnnl is not installed";
    *(void **)&cpu->sgemm = dlsym(cpu->library, "dnnl_sgemm");
    *(void **)&version = dlsym(cpu->library, "dnnl_version");
    *(void **)&cpu->set_threads = dlsym(cpu->library, "omp_set_num_threads");
    if (!cpu->sgemm || !version)
        return "own GEMM: libdnnl has no dnnl_sgemm";
    snprintf(text, 40, "oneDNN %d.%d.%d", version()->major, version()->minor, version()->patch);
    return text;
}

static enum kvs_code cpu_gemm(void *ctx, const struct kvs_gemm *op, void *stream,
                              struct kvs_err *err)
{
    const struct cpu *cpu = ctx;
    int status;

    if (!cpu->sgemm || op->x_elem != KVS_F32 || op->w_elem != KVS_F32 || op->y_elem != KVS_F32 ||
        op->k == 0)
        return cpu->simd->gemm(NULL, op, stream, err);
    if (op->m == 0 || op->n == 0)
        return KVS_OK;
    if (cpu->set_threads)
        cpu->set_threads(1); /* a second thread brought nothing where it was measured */
    status = cpu->sgemm('N', 'T', op->m, op->n, op->k, 1, kvs_ptr(op->x), op->x_stride,
                        kvs_ptr(op->w), op->w_stride, 0, kvs_ptr(op->y), op->y_stride);
    if (status)
        return kvs_fail(err, KVS_ERR_DEVICE, "cpu: dnnl_sgemm %u x %u x %u failed with status %d",
                        op->m, op->n, op->k, status);
    return KVS_OK;
}

#define FORWARD(name)                                                                              \
    static enum kvs_code cpu_##name(void *ctx, const struct kvs_##name *op, void *stream,          \
                                    struct kvs_err *err)                                           \
    {                                                                                              \
        const struct cpu *cpu = ctx;                                                               \
        return cpu->simd->name(NULL, op, stream, err);                                             \
    }
FORWARD(rmsnorm)
FORWARD(rope)
FORWARD(attn)
FORWARD(swiglu)
FORWARD(add)
FORWARD(rows)

static const struct kvs_kernels kernels = {
#define X(name) .name = cpu_##name,
    KVS_OPS(X)
#undef X
};

static void drop(struct cpu *cpu)
{
    if (cpu->library)
        dlclose(cpu->library);
    free(cpu);
}

static enum kvs_code cpu_open(struct kvs_dev *dev, int index, uint64_t seed, struct kvs_err *err)
{
    const char *wish = getenv("KVS_CPU");
    const struct simd *simd;
    char version[40];
    struct cpu *cpu;

    if (index != 0)
        return kvs_fail(err, KVS_ERR_ABSENT, "cpu: there is no device %d, only 0", index);
    wish = wish ? wish : "";
    simd = pick(wish, strcspn(wish, ","), err);
    if (!simd)
        return err->code;
    cpu = calloc(1, sizeof *cpu);
    if (!cpu)
        return kvs_nomem(err);
    cpu->simd = simd->kernels;
    const char *gemm = strstr(wish, ",own") ? "own GEMM: KVS_CPU says so" : open_dnnl(cpu, version);
    snprintf(dev->info.detail, sizeof dev->info.detail, "%s, %s", simd->name, gemm);
    enum kvs_code code = kvs_queue_open(dev, KVS_QUEUE_THREADS, seed, false, &kernels, cpu, err);
    if (code)
        drop(cpu);
    return code;
}

static void cpu_close(struct kvs_dev *dev)
{
    struct cpu *cpu = kvs_queue_ctx(dev);

    kvs_queue_close(dev);
    drop(cpu);
}

const struct kvs_backend kvs_backend_cpu = {
    .name = "cpu",
    .help = "this processor: oneDNN and SIMD",
    .act_elem = KVS_F32,
    .gemm_elem = KVS_F32,
    .open = cpu_open,
    .close = cpu_close,
    KVS_QUEUE_FUNCTIONS,
};
