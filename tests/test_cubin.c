/*
 * What nvcc made of the kernels, without a GPU: registers, spills, shared memory, occupancy and the
 * number of tensor-core, copy, shuffle and barrier instructions, each as
 * tests/data/kernel_budget.txt has it. A cubin is an ELF file; an instruction has 16 bytes, its
 * operation the low 12 bits; which number means what comes from cubin_probe.cu.
 */
#include "test.h"

#include "kernels/host/queue.h"
#include "kernels/opvec.h"
#include "kernels/simt/simt.h"

#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { N_COUNTED = 5, EM_CUBIN = 190, MAX_LINE = 48 };
static const char *const counted[N_COUNTED] = {"mma", "ldmatrix", "cp_async", "shfl", "barrier"};

struct budget {
    char entry[96], arch[16];
    unsigned registers, block, shared_bytes, n_resident; /* blocks of an SM */
    unsigned n[N_COUNTED];
    bool seen_registers, seen_code, seen_launch;
};

static struct budget budget[MAX_LINE];
static unsigned n_budget;

static void read_budget(void)
{
    FILE *file = fopen("tests/data/kernel_budget.txt", "r");
    char line[512];
    assert_non_null(file);
    n_budget = 0;
    while (fgets(line, sizeof line, file)) {
        struct budget *b = &budget[n_budget];
        if (line[0] == '#')
            continue;
        assert_true(n_budget < MAX_LINE);
        memset(b, 0, sizeof *b);
        assert_int_equal(sscanf(line, "%95s %15s %u %u %u %u %u %u %u %u %u", b->entry, b->arch,
                                &b->registers, &b->block, &b->shared_bytes, &b->n_resident,
                                &b->n[0], &b->n[1], &b->n[2], &b->n[3], &b->n[4]),
                         11);
        n_budget++;
    }
    (void)fclose(file);
}

/* sm_90a counts as sm_90 */
static struct budget *find(const char *entry, const char *arch)
{
    for (unsigned b = 0; b < n_budget; b++)
        if (strcmp(budget[b].entry, entry) == 0 && strncmp(budget[b].arch, arch, 5) == 0)
            return &budget[b];
    fail_msg("%s for %s has no line in tests/data/kernel_budget.txt", entry, arch);
    return NULL;
}

static bool nvcc_was_here(void)
{
    return access("build-cuda/attn.ptxas", R_OK) == 0 &&
           access("build-cuda/cubin_probe.o", R_OK) == 0;
}

static const char *const sources[] = {"attn", "elementwise", "gemm", "intrinsics", "rmsnorm"};
enum { N_SOURCE = sizeof sources / sizeof *sources };

/* --- registers and spills: ptxas says them -----------------------------------------------------
 */

static void kernels_keep_to_their_registers_and_never_spill(void **state)
{
    (void)state;
    if (!nvcc_was_here())
        KVS_SKIP("no nvcc: the kernels were not compiled for a GPU");
    read_budget();
    for (size_t i = 0; i < N_SOURCE; i++) {
        char path[64], line[512], entry[96] = "", arch[16] = "";
        snprintf(path, sizeof path, "build-cuda/%s.ptxas", sources[i]);
        FILE *file = fopen(path, "r");
        assert_non_null(file);
        while (fgets(line, sizeof line, file)) {
            const char *at = strstr(line, "entry function '");
            unsigned registers = 0, stack = 0, stores = 0;
            if (at)
                assert_int_equal(sscanf(at, "entry function '%95[^']' for '%15[^']'", entry, arch),
                                 2);
            at = strstr(line, "bytes stack frame");
            if (at) {
                assert_int_equal(
                    sscanf(line, " %u bytes stack frame, %u bytes spill stores", &stack, &stores),
                    2);
                if (stores)
                    fail_msg("%s for %s spills %u bytes", entry, arch, stores);
            }
            at = strstr(line, "Used ");
            if (!at || sscanf(at, "Used %u registers", &registers) != 1)
                continue;
            struct budget *b = find(entry, arch);
            if (registers > b->registers)
                fail_msg("%s for %s: %u registers, budget %u", entry, arch, registers,
                         b->registers);
            if (strstr(line, "bytes smem"))
                fail_msg("%s for %s: shared memory that is not asked for at launch", entry, arch);
            b->seen_registers = true;
        }
        (void)fclose(file);
    }
    for (unsigned b = 0; b < n_budget; b++)
        if (!budget[b].seen_registers)
            fail_msg("%s for %s was not compiled", budget[b].entry, budget[b].arch);
}

/* --- instructions: out of the cubins in the objects ---------------------------------------------
 */

struct bytes {
    unsigned char *data;
    size_t n;
};

static struct bytes load(const char *path)
{
    struct bytes file = {NULL, 0};
    FILE *from = fopen(path, "rb");
    assert_non_null(from);
    assert_int_equal(fseek(from, 0, SEEK_END), 0);
    file.n = (size_t)ftell(from);
    rewind(from);
    file.data = malloc(file.n);
    assert_non_null(file.data);
    assert_int_equal(fread(file.data, 1, file.n, from), file.n);
    (void)fclose(from);
    return file;
}

/* Calls fn for each kernel of each cubin in an object: its code, its name, its target. */
typedef void kernel_fn(const char *entry, const char *arch, const unsigned char *code, size_t n,
                       void *arg);

static void walk_cubin(const unsigned char *cubin, size_t room, kernel_fn *fn, void *arg)
{
    Elf64_Ehdr head;
    Elf64_Shdr names, section;
    char arch[16];
    memcpy(&head, cubin, sizeof head);
    assert_true(head.e_shoff + (size_t)head.e_shnum * sizeof section <= room);
    memcpy(&names, cubin + head.e_shoff + (size_t)head.e_shstrndx * sizeof names, sizeof names);
    assert_true(names.sh_offset + names.sh_size <= room);
    snprintf(arch, sizeof arch, "sm_%u", head.e_flags >> 8 & 0xff);
    for (unsigned i = 0; i < head.e_shnum; i++) {
        memcpy(&section, cubin + head.e_shoff + i * sizeof section, sizeof section);
        const char *name = (const char *)cubin + names.sh_offset + section.sh_name;
        if (strncmp(name, ".text.", 6) != 0)
            continue;
        assert_true(section.sh_offset + section.sh_size <= room);
        fn(name + 6, arch, cubin + section.sh_offset, section.sh_size, arg);
    }
}

static void walk_object(const char *path, kernel_fn *fn, void *arg)
{
    struct bytes file = load(path);
    unsigned n_cubin = 0;
    for (size_t i = 1; i + sizeof(Elf64_Ehdr) < file.n; i++) { /* 0: the object itself */
        Elf64_Half machine;
        if (memcmp(file.data + i, ELFMAG, SELFMAG) != 0)
            continue;
        memcpy(&machine, file.data + i + offsetof(Elf64_Ehdr, e_machine), sizeof machine);
        if (machine == EM_CUBIN) {
            walk_cubin(file.data + i, file.n - i, fn, arg);
            n_cubin++;
        }
    }
    free(file.data);
    if (n_cubin != 2)
        fail_msg("%s holds %u cubins, want 2: are they compressed?", path, n_cubin);
}

static void histogram(const unsigned char *code, size_t n, unsigned count[4096])
{
    memset(count, 0, 4096 * sizeof *count);
    for (size_t i = 0; i + 16 <= n; i += 16)
        count[(code[i] | code[i + 1] << 8) & 0xfff]++;
}

struct probes {
    unsigned count[2][N_COUNTED][2][4096]; /* target; instruction; 3 or 7 of it; operation */
    unsigned operation[2][N_COUNTED];
};

static unsigned target(const char *arch)
{
    return strcmp(arch, "sm_80") != 0;
}

static void see_probe(const char *entry, const char *arch, const unsigned char *code, size_t n,
                      void *arg)
{
    struct probes *probes = arg;
    for (int i = 0; i < N_COUNTED; i++) {
        char name[40];
        snprintf(name, sizeof name, "probe_%s", counted[i]);
        if (strstr(entry, name))
            histogram(code, n, probes->count[target(arch)][i][strstr(entry, "Li7E") != NULL]);
    }
}

/* The one operation of which a probe has 3 where it should, and 7. */
static void calibrate(struct probes *probes)
{
    walk_object("build-cuda/cubin_probe.o", see_probe, probes);
    for (int t = 0; t < 2; t++)
        for (int i = 0; i < N_COUNTED; i++) {
            unsigned n_found = 0;
            for (unsigned o = 0; o < 4096; o++)
                if (probes->count[t][i][0][o] == 3 && probes->count[t][i][1][o] == 7) {
                    probes->operation[t][i] = o;
                    n_found++;
                }
            if (n_found != 1)
                fail_msg("%s: %u operations could be it", counted[i], n_found);
        }
}

static void see_kernel(const char *entry, const char *arch, const unsigned char *code, size_t n,
                       void *arg)
{
    const struct probes *probes = arg;
    unsigned count[4096];
    struct budget *b = find(entry, arch);
    histogram(code, n, count);
    for (int i = 0; i < N_COUNTED; i++) {
        unsigned got = count[probes->operation[target(arch)][i]];
        if (got != b->n[i])
            fail_msg("%s for %s: %u x %s, want %u", entry, arch, got, counted[i], b->n[i]);
    }
    b->seen_code = true;
}

static void kernels_hold_the_instructions_they_should(void **state)
{
    (void)state;
    if (!nvcc_was_here())
        KVS_SKIP("no nvcc: the kernels were not compiled for a GPU");
    struct probes *probes = calloc(1, sizeof *probes);
    assert_non_null(probes);
    read_budget();
    calibrate(probes);
    for (size_t i = 0; i < N_SOURCE; i++) {
        char path[64];
        snprintf(path, sizeof path, "build-cuda/%s.o", sources[i]);
        walk_object(path, see_kernel, probes);
    }
    free(probes);
    for (unsigned b = 0; b < n_budget; b++)
        if (!budget[b].seen_code)
            fail_msg("%s for %s is in no object", budget[b].entry, budget[b].arch);
}

/* --- what a launch asks for: as seen by the shim -------------------------------------------------
 */

static struct simt *shim;

static void see_launch(const char *kernel)
{
    unsigned block = 0, n_found = 0;
    size_t shared_bytes = 0;
    if (!simt_last_launch(shim, &block, &shared_bytes))
        return; /* nothing to do */
    for (unsigned b = 0; b < n_budget; b++)
        if (strstr(budget[b].entry, kernel)) {
            assert_int_equal(block, budget[b].block);
            assert_int_equal(shared_bytes, budget[b].shared_bytes);
            budget[b].seen_launch = true;
            n_found++;
        }
    assert_true(n_found > 0);
}

static const char *kernel_of_attn(const struct kvs_attn *op)
{
    return op->head_dim <= 16   ? "attn_kernelILj16E"
           : op->head_dim <= 64 ? "attn_kernelILj64E"
                                : "attn_kernelILj128E";
}
#define KERNEL(name, kernel)                                                                       \
    enum kvs_code kvs_simt_##name(void *ctx, const struct kvs_##name *op, void *stream,            \
                                  struct kvs_err *err);                                            \
    static enum kvs_code seen_##name(void *ctx, const struct kvs_##name *op, void *stream,         \
                                     struct kvs_err *err)                                          \
    {                                                                                              \
        enum kvs_code code = kvs_simt_##name(ctx, op, stream, err);                                \
        see_launch(kernel);                                                                        \
        return code;                                                                               \
    }
KERNEL(rmsnorm, "rmsnorm_kernel")
KERNEL(gemm, "gemm_kernel")
KERNEL(rope, "rope_kernel")
KERNEL(attn, kernel_of_attn(op))
KERNEL(swiglu, "swiglu_kernel")
KERNEL(add, "add_kernel")
KERNEL(rows, "rows_kernel")

static const struct kvs_kernels kernels = {
#define X(name) .name = seen_##name,
    KVS_OPS(X)
#undef X
};

static enum kvs_code open_seen(struct kvs_dev *dev, int index, uint64_t seed, struct kvs_err *err)
{
    (void)index;
    shim = simt_new(SIMT_FORWARD, seed, 0);
    assert_non_null(shim);
    return kvs_queue_open(dev, KVS_QUEUE_SEEDED, seed, true, &kernels, shim, err);
}

static void close_seen(struct kvs_dev *dev)
{
    kvs_queue_close(dev);
    simt_free(shim);
}

static const struct kvs_backend seen = {
    .name = "seen",
    .help = "",
    .open = open_seen,
    .close = close_seen,
    KVS_QUEUE_FUNCTIONS,
};

static void launches_ask_for_what_the_budget_says(void **state)
{
    struct kvs_dev *dev;
    (void)state;
    read_budget();
    assert_int_equal(kvs_dev_open_backend(&seen, 0, 0, &dev, NULL), KVS_OK);
    for (unsigned i = 0; i < kvs_opvec_n(); i++)
        (void)!kvs_opvec_run(dev, i, NULL); /* test_opvec says whether it is right */
    kvs_dev_close(dev);
    for (unsigned b = 0; b < n_budget; b++)
        if (!budget[b].seen_launch && !strstr(budget[b].entry, "intrinsics"))
            fail_msg("no vector launches %s", budget[b].entry);
}

/* --- occupancy: CUDA's own formula ---------------------------------------------------------------
 */

#ifdef KVS_HAVE_CUDA

#include <cuda_occupancy.h>

/* CUDA C++ Programming Guide, technical specifications per compute capability: 8.0 and 9.0. */
static const cudaOccDeviceProp props[] = {
    {.computeMajor = 8,
     .maxThreadsPerBlock = 1024,
     .maxThreadsPerMultiprocessor = 2048,
     .regsPerBlock = 65536,
     .regsPerMultiprocessor = 65536,
     .warpSize = 32,
     .sharedMemPerBlock = 48 << 10,
     .sharedMemPerMultiprocessor = 164 << 10,
     .numSms = 108,
     .sharedMemPerBlockOptin = 163 << 10,
     .reservedSharedMemPerBlock = 1024},
    {.computeMajor = 9,
     .maxThreadsPerBlock = 1024,
     .maxThreadsPerMultiprocessor = 2048,
     .regsPerBlock = 65536,
     .regsPerMultiprocessor = 65536,
     .warpSize = 32,
     .sharedMemPerBlock = 48 << 10,
     .sharedMemPerMultiprocessor = 228 << 10,
     .numSms = 132,
     .sharedMemPerBlockOptin = 227 << 10,
     .reservedSharedMemPerBlock = 1024},
};

static void occupancy_is_as_expected(void **state)
{
    (void)state;
    read_budget();
    for (unsigned b = 0; b < n_budget; b++) {
        const struct budget *k = &budget[b];
        cudaOccFuncAttributes use = {.maxThreadsPerBlock = 1024,
                                     .numRegs = (int)k->registers,
                                     .shmemLimitConfig = FUNC_SHMEM_LIMIT_OPTIN,
                                     .maxDynamicSharedSizeBytes = k->shared_bytes};
        cudaOccDeviceState device = {.carveoutConfig = SHAREDMEM_CARVEOUT_MAX_SHARED};
        cudaOccResult result;
        assert_int_equal(
            cudaOccMaxActiveBlocksPerMultiprocessor(&result, &props[strcmp(k->arch, "sm_80") != 0],
                                                    &use, &device, (int)k->block, k->shared_bytes),
            CUDA_OCC_SUCCESS);
        if (result.activeBlocksPerMultiprocessor != (int)k->n_resident)
            fail_msg("%s for %s: %d blocks fit on an SM, want %u", k->entry, k->arch,
                     result.activeBlocksPerMultiprocessor, k->n_resident);
    }
}

#else

static void occupancy_is_as_expected(void **state)
{
    (void)state;
    KVS_SKIP("built without CUDA's headers");
}

#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kernels_keep_to_their_registers_and_never_spill),
        cmocka_unit_test(kernels_hold_the_instructions_they_should),
        cmocka_unit_test(launches_ask_for_what_the_budget_says),
        cmocka_unit_test(occupancy_is_as_expected),
    };
    return cmocka_run_group_tests_name("cubin", tests, NULL, NULL);
}
