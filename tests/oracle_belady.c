/*
 * oracle_belady.c - Belady in a simulation: one prompt at a time, blocks of one size, no other
 * policy hits more; and as many hits as the same policy has in hit-rate mode on the same look-ups,
 * nearly.
 */
#include "simlab.h"
#include "test.h"

#include "base/rng.h"
#include "memtrace.h"
#include "store/evict.h"

#include <stdlib.h>
#include <string.h>

#define N 600
#define N_BLOCK 4
#define N_ID 300
#define N_HELD 40
#define BLOCK_TOK 256

static struct kvs_request *traffic(uint64_t seed, struct kvs_trace_block *block)
{
    struct kvs_rng rng = kvs_rng_stream(seed, "belady");
    struct kvs_zipf zipf = kvs_zipf_make(N_ID, 0.9);
    struct kvs_request *request = calloc(N, sizeof *request);
    assert_non_null(request);
    for (size_t i = 0; i < N; i++) {
        request[i] = (struct kvs_request){.arrive_ns = (int64_t)i * 1000000000,
                                          .input_tok = N_BLOCK * BLOCK_TOK + 5,
                                          .output_tok = 1,
                                          .n_block = N_BLOCK,
                                          .block = block + i * N_BLOCK};
        for (uint32_t b = 0; b < N_BLOCK; b++) /* no passage twice in one prompt */
            block[i * N_BLOCK + b] = (struct kvs_trace_block){
                kvs_zipf_draw(&zipf, &rng) * N_BLOCK + b, BLOCK_TOK, KVS_PART_PASSAGE};
    }
    return request;
}

static uint64_t hit_blocks(struct simlab *lab, const struct kvs_request *request, const char *evict)
{
    struct kvs_foresight foresight = {0};
    assert_int_equal(kvs_evict_find(evict, &lab->config.tier[0].evict, NULL), KVS_OK);
    if (kvs_sim_wants_foresight(&lab->config)) {
        struct kvs_trace *trace = memtrace(request, N, false);
        assert_int_equal(kvs_foresee(&lab->config, trace, &foresight, NULL), KVS_OK);
        kvs_trace_close(trace);
        lab->config.foresight = &foresight;
    }
    simlab_run(lab, request, N, false);
    lab->config.foresight = NULL;
    kvs_foresight_free(&foresight);
    return lab->result.tier[0].hit_blocks;
}

/* The same accesses in hit-rate mode. */
static uint64_t bound(const struct kvs_trace_block *block, uint64_t block_bytes)
{
    const struct kvs_evict_ops *belady = NULL;
    const struct kvs_block_info info = {.n_bytes = block_bytes};
    struct kvs_future future = {0};
    struct kvs_tier *tier = NULL;
    assert_int_equal(kvs_evict_find("belady", &belady, NULL), KVS_OK);
    for (size_t i = 0; i < N * N_BLOCK; i++)
        assert_int_equal(kvs_future_add(&future, &block[i].id, 1, NULL), KVS_OK);
    assert_int_equal(kvs_future_find(&future, NULL), KVS_OK);
    assert_int_equal(kvs_tier_new(belady, N_HELD * block_bytes, NULL, NULL, &tier, NULL), KVS_OK);
    uint64_t n_hit = kvs_tier_access(tier, future.key, future.n, &info, future.next_use);
    kvs_tier_free(tier);
    kvs_future_free(&future);
    return n_hit;
}

static void belady_hits_most(void **state)
{
    static struct kvs_trace_block block[N * N_BLOCK];
    uint64_t most_lru = 0, all_belady = 0, all_bound = 0;
    (void)state;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct simlab lab;
        struct kvs_request *request = traffic(seed, block);
        simlab_open(&lab, "llama-3.1-8b", "h100-sxm", 1);
        const uint64_t block_bytes = (uint64_t)BLOCK_TOK * kvs_model_n_layer(lab.model) *
                                     (uint64_t)kvs_model_kv_bytes_per_tok(lab.model, 0);
        lab.config.reuse = KVS_REUSE_CONTENT;
        lab.config.hbm_cache = false;
        lab.config.n_tier = 1;
        lab.config.tier[0].capacity_bytes = N_HELD * block_bytes;
        const uint64_t belady = hit_blocks(&lab, request, "belady");
        for (int i = 0; kvs_evict_all[i]; i++) {
            const uint64_t other = hit_blocks(&lab, request, kvs_evict_all[i]->name);
            if (other > belady)
                fail_msg("seed %llu: %s hits %llu, Belady %llu", (unsigned long long)seed,
                         kvs_evict_all[i]->name, (unsigned long long)other,
                         (unsigned long long)belady);
            most_lru += strcmp(kvs_evict_all[i]->name, "lru") ? 0 : other;
        }
        all_belady += belady;
        all_bound += bound(block, block_bytes);
        free(request);
        simlab_close(&lab);
    }
    print_message("# hits: LRU %llu, Belady %llu, in hit-rate mode %llu\n",
                  (unsigned long long)most_lru, (unsigned long long)all_belady,
                  (unsigned long long)all_bound);
    assert_true(all_belady > most_lru + most_lru / 5);
    assert_true(all_belady >= all_bound - all_bound / 50 &&
                all_belady <= all_bound + all_bound / 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(belady_hits_most),
    };
    return cmocka_run_group_tests_name("belady", tests, NULL, NULL);
}
