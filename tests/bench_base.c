/*
 * How fast the base's hot parts are: lookups in a map larger than the caches, random draws, lines.
 * One JSON line a result, in CPU time of one core.
 */
#include "base/lines.h"
#include "base/map.h"
#include "base/rng.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zstd.h>

static double cpu_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void report(const char *what, double figure, const char *unit, double goal)
{
    printf("{\"bench\": \"%s\", \"figure\": %.4g, \"unit\": \"%s\", \"goal\": %.4g}\n", what,
           figure, unit, goal);
}

#define N_OP (1u << 23)

static volatile uint64_t sink; /* what was computed, so that it is */

static int bench_map(uint64_t n_key, const char *find, double find_goal, const char *put,
                     double put_goal)
{
    struct kvs_map map;
    struct kvs_rng rng = kvs_rng_stream(1, "bench");
    uint64_t sum = 0;
    bool found;
    if (!kvs_map_init(&map, 0))
        return 1;
    double start = cpu_s();
    for (uint64_t key = 0; key < n_key; key++)
        if (!kvs_map_put(&map, key, (uint32_t)key, &found))
            return 1;
    report(put, (cpu_s() - start) / (double)n_key * 1e9, "ns", put_goal);
    start = cpu_s();
    for (uint32_t i = 0; i < N_OP; i++) /* three of four are there */
        if (kvs_map_find(&map, kvs_rng_below(&rng, n_key + n_key / 3)))
            sum++;
    report(find, (cpu_s() - start) / N_OP * 1e9, "ns", find_goal);
    sink = sum;
    kvs_map_free(&map);
    return 0;
}

static void bench_rng(void)
{
    struct kvs_rng rng = kvs_rng_stream(1, "bench");
    struct kvs_zipf zipf = kvs_zipf_make(1000000, 0.9);
    uint64_t sum = 0;
    double start = cpu_s();
    for (uint32_t i = 0; i < N_OP; i++)
        sum += kvs_rng_u64(&rng);
    report("rng u64", (cpu_s() - start) / N_OP * 1e9, "ns", 2);
    start = cpu_s();
    for (uint32_t i = 0; i < N_OP / 8; i++)
        sum += kvs_zipf_draw(&zipf, &rng);
    report("zipf draw", (cpu_s() - start) * 8 / N_OP * 1e9, "ns", 150);
    sink = sum;
}

static int bench_lines(const char *what, const void *data, size_t n_byte, size_t n_text,
                       double goal)
{
    struct kvs_lines *lines;
    char *line = NULL;
    size_t n;
    uint64_t sum = 0;
    double start = cpu_s();
    if (kvs_lines_mem("bench", data, n_byte, &lines, NULL) != KVS_OK)
        return 1;
    do {
        if (kvs_lines_next(lines, &line, &n, NULL) != KVS_OK)
            return 1;
        sum += n;
    } while (line);
    report(what, (double)n_text / (cpu_s() - start) / 1e9, "GB/s", goal);
    kvs_lines_close(lines);
    sink = sum;
    return 0;
}

int main(void)
{
    size_t n_text = 64u << 20;
    char *text = malloc(n_text), *z = malloc(ZSTD_compressBound(n_text));
    int bad = !text || !z;
    for (size_t i = 0; !bad && i < n_text; i++)
        text[i] = i % 200 == 199 ? '\n' : (char)('0' + kvs_mix64(i / 3) % 10);
    if (!bad) {
        bad |= bench_map(1u << 22, "map find, 4 Mi keys", 60, "map put, 4 Mi keys, growing", 120);
        bad |= bench_map(1u << 12, "map find, 4 Ki keys", 20, "map put, 4 Ki keys, growing", 60);
        bench_rng();
        bad |= bench_lines("lines, plain", text, n_text, n_text, 2);
        size_t n_z = ZSTD_compress(z, ZSTD_compressBound(n_text), text, n_text, 3);
        bad |= bench_lines("lines, zstd", z, n_z, n_text, 0.5);
    }
    free(text);
    free(z);
    return bad;
}
