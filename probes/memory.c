#include "memory.h"

#include "base/rng.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MAX_THREAD 256
#define LINE 64u
#define PASS_BYTES (4u << 20) /* between two looks at the clock */
#define N_CHASE 100000

struct kvs_mem {
    unsigned char *from, *to;
    uint64_t n_byte; /* of each */
    int from_node, to_node;
    uint64_t seed;
    const volatile int *stop;
};

struct worker {
    struct kvs_mem *mem;
    uint64_t (*pass)(unsigned char *to, const unsigned char *from, size_t n_byte);
    uint64_t at, n_byte; /* its part */
    double secs;
    int64_t begin_ns, end_ns;
    double cpu_ns;
    uint64_t bytes, sum;
    pthread_t thread;
};

/* Memory on one node, touched; NULL: none. mbind by number: libnuma is not worth a dependency. */
static unsigned char *map_on(uint64_t n_byte, int node)
{
    unsigned char *p =
        mmap(NULL, n_byte, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    madvise(p, n_byte, MADV_HUGEPAGE);
    if (node >= 0 && node < 64) {
        unsigned long mask = 1ul << node;
        if (syscall(SYS_mbind, p, n_byte, 2 /* MPOL_BIND */, &mask, 65ul, 0u) != 0 && node > 0) {
            munmap(p, n_byte);
            return NULL;
        }
    }
    memset(p, 0x5a, n_byte);
    return p;
}

enum kvs_code kvs_mem_open(uint64_t buffer_bytes, int from_node, int to_node, uint64_t seed,
                           const volatile int *stop, struct kvs_mem **mem, struct kvs_err *err)
{
    struct kvs_mem *m = calloc(1, sizeof *m);
    *mem = NULL;
    if (!m)
        return kvs_nomem(err);
    m->n_byte = buffer_bytes & ~(uint64_t)(PASS_BYTES - 1);
    m->from_node = from_node;
    m->to_node = to_node;
    m->seed = seed;
    m->stop = stop;
    if (m->n_byte == 0) {
        kvs_mem_close(m);
        return kvs_fail(err, KVS_ERR_RANGE, "a buffer of %llu bytes; want 4 MiB or more",
                        (unsigned long long)buffer_bytes);
    }
    m->from = map_on(m->n_byte, from_node);
    m->to = map_on(m->n_byte, to_node);
    if (!m->from || !m->to) {
        kvs_mem_close(m);
        return kvs_fail(err, KVS_ERR_NOMEM, "no memory for two buffers of %llu bytes",
                        (unsigned long long)buffer_bytes);
    }
    *mem = m;
    return KVS_OK;
}

void kvs_mem_close(struct kvs_mem *mem)
{
    if (!mem)
        return;
    if (mem->from)
        munmap(mem->from, mem->n_byte);
    if (mem->to)
        munmap(mem->to, mem->n_byte);
    free(mem);
}

/* Eight sums, so that the adds do not wait for each other; the compiler makes vectors of them. */
static uint64_t pass_read(unsigned char *to, const unsigned char *from, size_t n_byte)
{
    const uint64_t *word = (const uint64_t *)(const void *)from;
    uint64_t sum[8] = {0}, all = 0;
    (void)to;
    for (size_t i = 0; i < n_byte / 8; i += 8)
        for (size_t k = 0; k < 8; k++)
            sum[k] += word[i + k];
    for (size_t k = 0; k < 8; k++)
        all += sum[k];
    return all;
}

static uint64_t pass_write(unsigned char *to, const unsigned char *from, size_t n_byte)
{
    (void)from;
    memset(to, 0xa5, n_byte);
    return to[n_byte - 1];
}

static uint64_t pass_copy(unsigned char *to, const unsigned char *from, size_t n_byte)
{
    memcpy(to, from, n_byte);
    return to[n_byte - 1];
}

static bool is_stopped(const struct kvs_mem *mem)
{
    return mem->stop && *mem->stop;
}

static void *work(void *self)
{
    struct worker *w = self;
    uint64_t at = 0;
    double cpu_ns = kvs_cpu_ns();
    w->begin_ns = w->end_ns = kvs_now_ns();
    while (w->end_ns - w->begin_ns < (int64_t)(w->secs * 1e9) && !is_stopped(w->mem)) {
        size_t n = w->n_byte - at < PASS_BYTES ? (size_t)(w->n_byte - at) : PASS_BYTES;
        w->sum += w->pass(w->mem->to + w->at + at, w->mem->from + w->at + at, n);
        __asm__ volatile("" : : "r"(w->sum) : "memory"); /* the passes may not be left out */
        w->bytes += n;
        at = at + n >= w->n_byte ? 0 : at + n;
        w->end_ns = kvs_now_ns();
    }
    w->cpu_ns = kvs_cpu_ns() - cpu_ns;
    return NULL;
}

static enum kvs_code run_workers(struct kvs_mem *mem, const struct kvs_point *point, double secs,
                                 struct kvs_sample *sample, struct kvs_err *err)
{
    unsigned n = (unsigned)point->jobs, started = 0;
    struct worker *w = calloc(n, sizeof *w);
    enum kvs_code code = KVS_OK;
    if (!w)
        return kvs_nomem(err);
    for (; started < n && !code; started++) {
        uint64_t part = mem->n_byte / n & ~(uint64_t)(LINE - 1);
        w[started] =
            (struct worker){.mem = mem, .at = started * part, .n_byte = part, .secs = secs};
        w[started].pass = strcmp(point->probe, "memory.read") == 0    ? pass_read
                          : strcmp(point->probe, "memory.write") == 0 ? pass_write
                                                                      : pass_copy;
        if (pthread_create(&w[started].thread, NULL, work, &w[started]) != 0) {
            code = kvs_fail(err, KVS_ERR_IO, "cannot start %u threads", n);
            break;
        }
    }
    for (unsigned i = 0; i < started; i++) {
        pthread_join(w[i].thread, NULL);
        double s = (double)(w[i].end_ns - w[i].begin_ns) / 1e9;
        sample->bytes += w[i].bytes;
        sample->bytes_per_s += s > 0 ? (double)w[i].bytes / s : 0;
        sample->secs = sample->secs > s ? sample->secs : s;
    }
    if (!code)
        sample->cpu_ns = w[0].cpu_ns;
    sample->ops = sample->bytes / PASS_BYTES;
    free(w);
    return code;
}

/* Pieces from random places into one stream: what gathering KV blocks in DRAM costs. */
static void run_gather(struct kvs_mem *mem, const struct kvs_point *point, double secs,
                       struct kvs_sample *sample)
{
    struct kvs_rng rng = kvs_rng_stream(mem->seed, "gather");
    uint64_t size = point->size_bytes, n_place = mem->n_byte / size, to = 0;
    uint64_t batch = PASS_BYTES / 4 / size + 1;
    assert(batch > 0);
    int64_t begin_ns = kvs_now_ns(), now_ns = begin_ns;
    double cpu_ns = kvs_cpu_ns();
    while (now_ns - begin_ns < (int64_t)(secs * 1e9) && !is_stopped(mem)) {
        int64_t start_ns = now_ns;
        for (uint64_t i = 0; i < batch; i++) {
            memcpy(mem->to + to, mem->from + kvs_rng_below(&rng, n_place) * size, size);
            to = to + 2 * size <= mem->n_byte ? to + size : 0;
        }
        __asm__ volatile("" : : "r"(mem->to) : "memory");
        now_ns = kvs_now_ns();
        sample->ops += batch;
        kvs_hist_add(&sample->lat_ns, (uint64_t)(now_ns - start_ns) / batch);
    }
    sample->cpu_ns = kvs_cpu_ns() - cpu_ns;
    sample->bytes = sample->ops * size;
    sample->secs = (double)(now_ns - begin_ns) / 1e9;
    sample->bytes_per_s = (double)sample->bytes / sample->secs;
}

/* One cycle through all lines in random order (Sattolo 1986), so that no load can be guessed. */
static void make_chase(struct kvs_mem *mem, uint64_t n_line)
{
    struct kvs_rng rng = kvs_rng_stream(mem->seed, "chase");
    for (uint64_t i = 0; i < n_line; i++)
        *(uint64_t *)(void *)(mem->from + i * LINE) = i;
    for (uint64_t i = n_line - 1; i > 0; i--) {
        uint64_t k = kvs_rng_below(&rng, i);
        uint64_t *a = (uint64_t *)(void *)(mem->from + i * LINE);
        uint64_t *b = (uint64_t *)(void *)(mem->from + k * LINE), t = *a;
        *a = *b;
        *b = t;
    }
}

static void run_latency(struct kvs_mem *mem, double secs, struct kvs_sample *sample)
{
    uint64_t at = 0;
    make_chase(mem, mem->n_byte / LINE);
    int64_t begin_ns = kvs_now_ns(), now_ns = begin_ns;
    double cpu_ns = kvs_cpu_ns();
    while (now_ns - begin_ns < (int64_t)(secs * 1e9) && !is_stopped(mem)) {
        int64_t start_ns = now_ns;
        for (int i = 0; i < N_CHASE; i++)
            at = *(const uint64_t *)(const void *)(mem->from + at * LINE);
        __asm__ volatile("" : : "r"(at) : "memory");
        now_ns = kvs_now_ns();
        kvs_hist_add(&sample->lat_ns, (uint64_t)(now_ns - start_ns) / N_CHASE);
        sample->ops += N_CHASE;
    }
    sample->cpu_ns = kvs_cpu_ns() - cpu_ns;
    sample->bytes = sample->ops * LINE;
    sample->secs = (double)(now_ns - begin_ns) / 1e9;
    sample->bytes_per_s = (double)sample->bytes / sample->secs;
}

enum kvs_code kvs_mem_run(void *self, struct kvs_point *point, double secs,
                          struct kvs_sample *sample, struct kvs_err *err)
{
    struct kvs_mem *mem = self;
    bool gather = strcmp(point->probe, "memory.gather") == 0;
    if (gather && (point->size_bytes == 0 || point->size_bytes > mem->n_byte / 2))
        return kvs_fail(err, KVS_ERR_RANGE, "pieces of %llu bytes; want 1 to half the buffer",
                        (unsigned long long)point->size_bytes);
    if (point->jobs < 1 || point->jobs > MAX_THREAD)
        return kvs_fail(err, KVS_ERR_RANGE, "%llu threads; want 1 to %d",
                        (unsigned long long)point->jobs, MAX_THREAD);
    if (gather)
        run_gather(mem, point, secs, sample);
    else if (strcmp(point->probe, "memory.latency") == 0)
        run_latency(mem, secs, sample);
    else
        return run_workers(mem, point, secs, sample, err);
    return KVS_OK;
}
