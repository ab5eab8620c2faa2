/*
 * cpu.c - the cpu back end: GEMM by oneDNN where it is installed, the rest by simd.c.
 *
 * oneDNN is opened when a device is, never linked: a simulation doesn't pay for loading it, and
 * without it the own GEMM takes over. A stream is a team of threads, pinned (team.h), one if not
 * told otherwise; all operators, GEMM too, are shared out by split.h, and oneDNN is held to the
 * thread that calls it. $KVS_CPU is a list: a narrower instruction set (base, avx2, avx512), "own"
 * to leave oneDNN aside, "threads=4"; for tests and comparisons.
 */
#include "kernels/host/queue.h"
#include "simd.h"
#include "split.h"
#include "team.h"

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
    const char *hash;
    unsigned cpu_runtime; /* 1 sequential, 2 OpenMP, 4 TBB, 8 a pool of the caller's */
};

struct cpu {
    const struct kvs_kernels *simd;
    void *library;
    sgemm_fn *sgemm;
    void (*set_threads)(int n); /* of the OpenMP runtime that oneDNN brings; a thread's own value */
    struct kvs_cores *cores;
    unsigned n_thread;
};

enum { MAX_THREAD = 256 };

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

struct wish { /* of $KVS_CPU */
    const struct simd *simd;
    bool own;
    unsigned n_thread;
};

/* One word of $KVS_CPU. */
static enum kvs_code take_word(struct wish *wish, const char *word, struct kvs_err *err)
{
    char *end;

    if (strcmp(word, "own") == 0) {
        wish->own = true;
        return KVS_OK;
    }
    if (strncmp(word, "threads=", 8) == 0) {
        unsigned long n = strtoul(word + 8, &end, 10);
        if (word[8] < '0' || word[8] > '9' || *end || n < 1 || n > MAX_THREAD)
            return kvs_fail(err, KVS_ERR_ARG, "KVS_CPU: found \"%s\", want threads=1 to %d", word,
                            MAX_THREAD);
        wish->n_thread = (unsigned)n;
        return KVS_OK;
    }
    for (int i = 0; i < N_SIMD; i++)
        if (strcmp(word, simds[i].name) == 0) {
            if (!runs_here(word))
                return kvs_fail(err, KVS_ERR_ABSENT, "KVS_CPU: this processor has no %s", word);
            wish->simd = &simds[i];
            return KVS_OK;
        }
    return kvs_fail(err, KVS_ERR_ARG,
                    "KVS_CPU: found \"%s\", want some of avx512, avx2, base, own, threads=N", word);
}

/* Without a wish: the widest instructions there are, oneDNN, one thread. */
static enum kvs_code read_wish(struct wish *wish, struct kvs_err *err)
{
    const char *text = getenv("KVS_CPU");
    char words[128], *rest = words;

    *wish = (struct wish){.simd = &simds[N_SIMD - 1], .n_thread = 1};
    for (int i = N_SIMD - 1; i-- > 0;)
        if (runs_here(simds[i].name))
            wish->simd = &simds[i];
    if (!text || !text[0])
        return KVS_OK;
    if ((size_t)snprintf(words, sizeof words, "%s", text) >= sizeof words)
        return kvs_fail(err, KVS_ERR_ARG, "KVS_CPU: %zu characters", strlen(text));
    for (char *word; (word = strsep(&rest, ","));) {
        enum kvs_code code = take_word(wish, word, err);
        if (code)
            return code;
    }
    return KVS_OK;
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
    if (version()->cpu_runtime != 1 && (version()->cpu_runtime != 2 || !cpu->set_threads)) {
        cpu->sgemm = NULL; /* its threads would be its own affair */
        return "own GEMM: oneDNN here runs neither sequential nor by OpenMP";
    }
    snprintf(text, 40, "oneDNN %d.%d.%d", version()->major, version()->minor, version()->patch);
    return text;
}

static enum kvs_code one_gemm(void *ctx, const struct kvs_gemm *op, void *stream,
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
        cpu->set_threads(1); /* split.h shares out */
    status = cpu->sgemm('N', 'T', op->m, op->n, op->k, 1, kvs_ptr(op->x), op->x_stride,
                        kvs_ptr(op->w), op->w_stride, 0, kvs_ptr(op->y), op->y_stride);
    if (status)
        return kvs_fail(err, KVS_ERR_DEVICE, "cpu: dnnl_sgemm %u x %u x %u failed with status %d",
                        op->m, op->n, op->k, status);
    return KVS_OK;
}

#define FORWARD(name)                                                                              \
    static enum kvs_code one_##name(void *ctx, const struct kvs_##name *op, void *stream,          \
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

/* On the calling thread. */
static const struct kvs_kernels ones = {
#define X(name) .name = one_##name,
    KVS_OPS(X)
#undef X
};

struct shared {
    struct cpu *cpu;
    const struct kvs_item *item;
    unsigned n;
};

static enum kvs_code run_part(void *arg, unsigned i, struct kvs_err *err)
{
    const struct shared *shared = arg;
    struct kvs_item part = kvs_split(shared->item, shared->n, i);

    return kvs_kernels_run(&ones, shared->cpu, &part, NULL, err);
}

/* On the stream's team. */
static enum kvs_code run_shared(void *ctx, const struct kvs_item *item, struct kvs_team *team,
                                struct kvs_err *err)
{
    struct shared shared = {ctx, item, kvs_split_n(item, kvs_team_n(team))};

    if (shared.n == 1)
        return kvs_kernels_run(&ones, ctx, item, NULL, err);
    return kvs_team_run(team, run_part, &shared, shared.n, err);
}

#define SHARED(name)                                                                               \
    static enum kvs_code cpu_##name(void *ctx, const struct kvs_##name *op, void *stream,          \
                                    struct kvs_err *err)                                           \
    {                                                                                              \
        struct kvs_item item = {.kind = KVS_ITEM_##name, .u.name = *op};                           \
        return run_shared(ctx, &item, stream, err);                                                \
    }
KVS_OPS(SHARED)

static const struct kvs_kernels kernels = {
#define X(name) .name = cpu_##name,
    KVS_OPS(X)
#undef X
};

static enum kvs_code make_team(void *ctx, unsigned stream_i, void **own, struct kvs_err *err)
{
    const struct cpu *cpu = ctx;

    return kvs_team_new(cpu->cores, cpu->n_thread, stream_i, (struct kvs_team **)own, err);
}

static void begin_team(void *own)
{
    kvs_team_enter(own);
}

static void end_team(void *own)
{
    kvs_team_free(own);
}

static const struct kvs_queue_own teams = {make_team, begin_team, end_team};

static void drop(struct cpu *cpu)
{
    kvs_cores_free(cpu->cores);
    if (cpu->library)
        dlclose(cpu->library);
    free(cpu);
}

static enum kvs_code cpu_open(struct kvs_dev *dev, int index, uint64_t seed, struct kvs_err *err)
{
    struct wish wish;
    char version[40];
    struct cpu *cpu;
    enum kvs_code code;

    if (index != 0)
        return kvs_fail(err, KVS_ERR_ABSENT, "cpu: there is no device %d, only 0", index);
    if ((code = read_wish(&wish, err)))
        return code;
    cpu = calloc(1, sizeof *cpu);
    if (!cpu)
        return kvs_nomem(err);
    cpu->simd = wish.simd->kernels;
    cpu->n_thread = wish.n_thread;
    const char *gemm = wish.own ? "own GEMM: KVS_CPU says so" : open_dnnl(cpu, version);
    if (!(code = kvs_cores_new(&cpu->cores, err)))
        code = kvs_queue_open(dev, KVS_QUEUE_THREADS, seed, false, &kernels, cpu, err);
    if (code) {
        drop(cpu);
        return code;
    }
    kvs_queue_set_own(dev, &teams);
    snprintf(dev->info.detail, sizeof dev->info.detail, "%s, %s, %u of %u threads", wish.simd->name,
             gemm, cpu->n_thread, kvs_cores_n(cpu->cores));
    return KVS_OK;
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
    .can = "every operator in f32 and bf16, best in f32; a team of threads a stream",
    .act_elem = KVS_F32,
    .gemm_elem = KVS_F32,
    .open = cpu_open,
    .close = cpu_close,
    KVS_QUEUE_FUNCTIONS,
};
