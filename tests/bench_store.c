/*
 * Hit-rate mode: accesses per second over 20 M Zipf(1.0) draws of 1 M keys, 100 k blocks held, one
 * core; and the memory a held block takes. Each figure is the median of N_PASS passes over the same
 * keys, each with a new tier that starts empty. Then the lookup of whole prompts in three tiers.
 */
#include "base/hist.h"
#include "base/map.h"
#include "base/rng.h"
#include "store/evict.h"
#include "store/lookup.h"
#include "store/tier.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { N_ACCESS = 20000000, N_KEY = 1000000, N_HELD = 100000, N_PASS = 5, N_CALL = 4096 };

/* Accesses per second wanted of one core; 0: told for comparison only. */
static const struct goal {
    const char *policy;
    double per_s;
} goals[] = {{"lru", 10e6}, {"s3fifo", 8e6}, {"sieve", 12e6}, {"fifo", 0}};

/* Processor time: one thread that never waits, so it is the time of a core of its own. */
static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static size_t heap_bytes(void)
{
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

struct pass {
    double s;
    uint64_t n_hit, bytes_per_block;
};

static bool run_pass(const struct kvs_evict_ops *ops, const uint64_t *key, struct pass *pass)
{
    const struct kvs_block_info info = {.n_bytes = 1};
    struct kvs_tier *tier;
    size_t before = heap_bytes();
    if (kvs_tier_new(ops, N_HELD, NULL, NULL, &tier, NULL))
        return false;
    *pass = (struct pass){0};
    double from_s = now_s();
    for (size_t at = 0; at < N_ACCESS; at += N_CALL)
        pass->n_hit += kvs_tier_access(
            tier, key + at, N_ACCESS - at < N_CALL ? N_ACCESS - at : N_CALL, &info, NULL);
    pass->s = now_s() - from_s;
    pass->bytes_per_block = (heap_bytes() - before) / N_HELD;
    kvs_tier_free(tier);
    return true;
}

static bool bench(const struct goal *goal, const uint64_t *key)
{
    const struct kvs_evict_ops *ops;
    struct pass pass[N_PASS];
    double s[N_PASS];
    if (kvs_evict_find(goal->policy, &ops, NULL))
        return false;
    for (int i = 0; i < N_PASS; i++) {
        if (!run_pass(ops, key, &pass[i]))
            return false;
        s[i] = pass[i].s;
    }
    qsort(s, N_PASS, sizeof s[0], kvs_cmp_double);
    printf("{\"bench\": \"store hit rate, %s\", \"figure\": %.4g, \"unit\": \"accesses/s\"",
           goal->policy, N_ACCESS / kvs_percentile(s, N_PASS, 50));
    if (goal->per_s > 0)
        printf(", \"goal\": %.4g", goal->per_s);
    printf(", \"fastest\": %.4g, \"slowest\": %.4g, \"miss_ratio\": %.6f}\n", N_ACCESS / s[0],
           N_ACCESS / s[N_PASS - 1], 1 - (double)pass[0].n_hit / N_ACCESS);
    printf("{\"bench\": \"store memory, %s\", \"figure\": %d, \"unit\": \"bytes/block\", "
           "\"goal\": 64}\n",
           goal->policy, (int)pass[0].bytes_per_block);
    return true;
}

enum { N_TIER = 3, N_PROMPT = 200000, PROMPT_BLOCKS = 24 };

/* Keys per second of prompts whose blocks lie in tiers of 20 k, 200 k and 2 M blocks, or nowhere.
 */
static bool bench_lookup(void)
{
    static const uint64_t n_block[N_TIER] = {20000, 200000, 2000000};
    const struct kvs_block_info info = {.n_bytes = 1};
    struct kvs_tier *tier[N_TIER] = {NULL};
    const struct kvs_evict_ops *lru;
    bool ok = kvs_evict_find("lru", &lru, NULL) == KVS_OK;
    for (uint32_t t = 0; t < N_TIER && ok; t++) {
        ok = kvs_tier_new(lru, n_block[t], NULL, NULL, &tier[t], NULL) == KVS_OK;
        for (uint64_t i = 0; i < n_block[t] && ok; i++)
            ok = kvs_tier_insert(tier[t], kvs_mix64(i), &info, 0) != KVS_NO_SLOT;
    }
    uint64_t key[PROMPT_BLOCKS];
    struct kvs_place place[PROMPT_BLOCKS];
    struct kvs_rng rng = kvs_rng_stream(1, "lookup");
    size_t n_held = 0;
    double s = 0;
    for (int p = 0; p < N_PROMPT && ok; p++) {
        for (int i = 0; i < PROMPT_BLOCKS; i++)
            key[i] = kvs_mix64(kvs_rng_below(&rng, n_block[N_TIER - 1] * 5 / 4));
        double from_s = now_s();
        n_held += kvs_lookup(KVS_LOOKUP_CONTENT, tier, N_TIER, key, PROMPT_BLOCKS, place);
        s += now_s() - from_s;
    }
    printf("{\"bench\": \"store lookup, 3 tiers, %d blocks a prompt\", \"figure\": %.4g, "
           "\"unit\": \"keys/s\", \"held_frac\": %.3f}\n",
           PROMPT_BLOCKS, (double)N_PROMPT * PROMPT_BLOCKS / s,
           (double)n_held / N_PROMPT / PROMPT_BLOCKS);
    for (uint32_t t = 0; t < N_TIER; t++)
        kvs_tier_free(tier[t]);
    return ok;
}

int main(int argc, char **argv)
{
    uint64_t *key = malloc(N_ACCESS * sizeof *key);
    if (!key)
        return 1;
    struct kvs_rng rng = kvs_rng_stream(1, "bench");
    struct kvs_zipf zipf = kvs_zipf_make(N_KEY, 1.0);
    for (size_t i = 0; i < N_ACCESS; i++)
        key[i] = kvs_zipf_draw(&zipf, &rng);
    bool ok = true;
    for (size_t i = 0; i < sizeof goals / sizeof goals[0]; i++)
        if (argc < 2 || strcmp(argv[1], goals[i].policy) == 0)
            ok = bench(&goals[i], key) && ok;
    free(key);
    if (argc < 2 || strcmp(argv[1], "lookup") == 0)
        ok = bench_lookup() && ok;
    return ok ? 0 : 1;
}
