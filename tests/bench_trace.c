/*
 * Trace input: JSON lines in MB/s, .kvt in GB/s, beside a copy of the file and a plain loop over
 * it, and requests/s, one core. Each figure is the median of N_PASS passes or more over a file of
 * generated requests that lies in the page cache; the Mooncake figure is over rows of its format
 * made from the same lengths.
 */
#include "base/hist.h"
#include "base/opt.h"
#include "base/rng.h"
#include "workloads/gen.h"
#include "workloads/trace_write.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { N_REQUEST = 500000, N_MOONCAKE = 100000, N_PASS = 5 };

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static bool make_kvsim(const char *json, const char *kvt, struct kvs_err *err)
{
    struct kvs_gen_options options;
    bool help;
    char *argv[] = {(char *)"generate", NULL};
    if (kvs_opt_argv(kvs_gen_table, kvs_gen_n_opt, 1, argv, &options, NULL, &help, err))
        return false;
    options.n_request = N_REQUEST;
    for (int i = 0; i < 2; i++) {
        struct kvs_trace *trace;
        enum kvs_code code;
        if (kvs_gen_open(&options, 1, &trace, err))
            return false;
        code = kvs_trace_copy(trace, i ? kvt : json, NULL, NULL, NULL, err);
        kvs_trace_close(trace);
        if (code)
            return false;
    }
    return true;
}

/* Rows of Mooncake's format with its mean of 24 blocks, ids of six digits. */
static bool make_mooncake(const char *path)
{
    struct kvs_rng rng = kvs_rng_stream(1, "bench");
    FILE *file = fopen(path, "w");
    if (!file)
        return false;
    for (unsigned i = 0; i < N_MOONCAKE; i++) {
        unsigned n = 1 + (unsigned)kvs_rng_below(&rng, 47);
        fprintf(file,
                "{\"timestamp\": %u, \"input_length\": %u, \"output_length\": %u, \"hash_ids\": [",
                i, n * 512 - 100, 1 + (unsigned)kvs_rng_below(&rng, 700));
        for (unsigned k = 0; k < n; k++)
            fprintf(file, "%s%u", k ? ", " : "", 100000 + (unsigned)kvs_rng_below(&rng, 900000));
        fprintf(file, "]}\n");
    }
    return fclose(file) == 0;
}

struct pass {
    double s;
    uint64_t n_request;
};

static bool read_all(const char *path, struct pass *pass, struct kvs_err *err)
{
    struct kvs_trace *trace;
    const struct kvs_request *req;
    double from_s = now_s();
    enum kvs_code code = kvs_trace_open(path, NULL, &trace, err);
    if (code)
        return false;
    for (pass->n_request = 0; (code = kvs_trace_next(trace, &req, err)) == KVS_OK && req;)
        pass->n_request++;
    kvs_trace_close(trace);
    pass->s = now_s() - from_s;
    return code == KVS_OK;
}

static void print(const char *name, double figure, const char *unit, double goal)
{
    printf("{\"bench\": \"%s\", \"figure\": %.4g, \"unit\": \"%s\", \"goal\": %.4g}\n", name,
           figure, unit, goal);
}

/* Seconds in which a file, mapped anew as .kvt is, is copied by memcpy to `to`, memory to memory
 * (what .kvt is held to), or, to being NULL, its 8-byte words are added up. 0: it can't be read. */
static double once_s(const char *path, uint64_t *to)
{
    struct stat st;
    uint64_t sum = 0;
    const double from_s = now_s();
    int fd = open(path, O_RDONLY);
    if (fd < 0 || fstat(fd, &st) != 0)
        return 0;
    const size_t n_byte = (size_t)st.st_size;
    const uint64_t *word = mmap(NULL, n_byte, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    if (word == MAP_FAILED)
        return 0;
    if (to)
        sum += *(uint64_t *)memcpy(to, word, n_byte);
    for (size_t i = 0; !to && i < n_byte / sizeof *word; i++)
        sum += word[i];
    munmap((void *)(uintptr_t)word, n_byte);
    /* the sum must be of use, or the loop is left out */
    return now_s() - from_s + (sum == 1 ? 1 : 0);
}

/* .kvt beside the copy and the plain loop, by turns: the ratios of the medians. */
static bool bench_kvt(const char *path, struct kvs_err *err)
{
    enum { N = 4 * N_PASS };
    double copy[N], plain[N], kvt[N];
    struct pass pass = {0};
    struct stat st;
    if (stat(path, &st) != 0)
        return false;
    uint64_t *to = malloc((size_t)st.st_size);
    if (!to)
        return false;
    memset(to, 1, (size_t)st.st_size);
    bool is_read = true;
    for (int i = 0; i < N && is_read; i++) {
        copy[i] = once_s(path, to);
        plain[i] = once_s(path, NULL);
        is_read = copy[i] > 0 && plain[i] > 0 && read_all(path, &pass, err);
        kvt[i] = pass.s;
    }
    free(to);
    if (!is_read)
        return false;
    qsort(copy, N, sizeof *copy, kvs_cmp_double);
    qsort(plain, N, sizeof *plain, kvs_cmp_double);
    qsort(kvt, N, sizeof *kvt, kvs_cmp_double);
    const double copy_p50 = kvs_percentile(copy, N, 50), plain_p50 = kvs_percentile(plain, N, 50);
    const double kvt_p50 = kvs_percentile(kvt, N, 50), n_gb = (double)st.st_size / 1e9;
    print("trace_kvt_bytes", n_gb / kvt_p50, "GB/s", n_gb / copy_p50);
    print("trace_kvt_of_memcpy", copy_p50 / kvt_p50, "", 1);
    print("trace_kvt_of_plain_loop", plain_p50 / kvt_p50, "", 0);
    print("trace_kvt_requests", (double)pass.n_request / kvt_p50, "1/s", 0);
    return true;
}

static bool bench(const char *name, const char *path, const char *unit, double scale, double goal,
                  struct kvs_err *err)
{
    double s[N_PASS];
    char key[64];
    struct pass pass = {0};
    struct stat st;
    for (int i = 0; i < N_PASS; i++) {
        if (!read_all(path, &pass, err))
            return false;
        s[i] = pass.s;
    }
    if (stat(path, &st) != 0)
        return false;
    qsort(s, N_PASS, sizeof *s, kvs_cmp_double);
    snprintf(key, sizeof key, "trace_%s_bytes", name);
    print(key, (double)st.st_size / kvs_percentile(s, N_PASS, 50) / scale, unit, goal);
    snprintf(key, sizeof key, "trace_%s_requests", name);
    print(key, (double)pass.n_request / kvs_percentile(s, N_PASS, 50), "1/s", 0);
    return true;
}

int main(void)
{
    char json[64], kvt[64], mooncake[64];
    struct kvs_err err = {0};
    bool ok;
    snprintf(json, sizeof json, "/tmp/kvsim-bench-%d.jsonl", (int)getpid());
    snprintf(kvt, sizeof kvt, "/tmp/kvsim-bench-%d.kvt", (int)getpid());
    snprintf(mooncake, sizeof mooncake, "/tmp/kvsim-bench-%d-m.jsonl", (int)getpid());
    ok = make_kvsim(json, kvt, &err) && make_mooncake(mooncake) &&
         bench("jsonl_mooncake", mooncake, "MB/s", 1e6, 100, &err) &&
         bench("jsonl_kvsim", json, "MB/s", 1e6, 100, &err) && bench_kvt(kvt, &err);
    if (!ok)
        fprintf(stderr, "bench_trace: %s\n", err.msg);
    (void)unlink(json);
    (void)unlink(kvt);
    (void)unlink(mooncake);
    return ok ? 0 : 1;
}
