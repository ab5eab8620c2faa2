/*
 * prop_tally.c - samples over time and counts of look-ups: their sums are the run's totals,
 * whatever the traffic and the bins.
 */
#include "simlab.h"
#include "test.h"

#include "base/rng.h"
#include "base/units.h"
#include "memtrace.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define N 400
#define N_BLOCK 12

struct kept {
    size_t n;
    struct kvs_sim_sample sample[2000];
    uint64_t input_tok, hit_tok;
};

static enum kvs_code take_request(void *ctx, const struct kvs_sim_request *request,
                                  struct kvs_err *err)
{
    struct kept *kept = ctx;
    (void)err;
    if (request->refused)
        return KVS_OK;
    kept->input_tok += request->input_tok;
    kept->hit_tok += request->hbm_tok + request->tier_tok[0] + request->tier_tok[1];
    return KVS_OK;
}

static enum kvs_code take_sample(void *ctx, const struct kvs_sim_sample *sample,
                                 struct kvs_err *err)
{
    struct kept *kept = ctx;
    (void)err;
    assert_true(kept->n < 2000);
    kept->sample[kept->n++] = *sample;
    return KVS_OK;
}

static struct kvs_request *traffic(uint64_t seed, struct kvs_trace_block *block)
{
    struct kvs_rng rng = kvs_rng_stream(seed, "tally");
    struct kvs_request *request = calloc(N, sizeof *request);
    double at_s = 0;
    assert_non_null(request);
    for (size_t i = 0; i < N; i++) {
        uint64_t group = kvs_rng_below(&rng, 30);
        at_s += kvs_rng_exp(&rng, 0.3);
        request[i] = (struct kvs_request){.arrive_ns = kvs_ns(at_s),
                                          .input_tok = 300 * N_BLOCK,
                                          .output_tok = (uint32_t)kvs_rng_below(&rng, 100),
                                          .n_block = N_BLOCK,
                                          .block = block + i * N_BLOCK};
        uint64_t own = kvs_rng_below(&rng, N_BLOCK + 1);
        for (uint32_t b = 0; b < N_BLOCK; b++)
            block[i * N_BLOCK + b] = (struct kvs_trace_block){
                b < own ? group * 100 + b : 100000 + i * 100 + b, 300, KVS_PART_TEXT};
    }
    return request;
}

static void check(const struct simlab *lab, const struct kept *kept)
{
    const struct kvs_sim_result *result = &lab->result;
    const struct kvs_sim_sample *last = &kept->sample[kept->n - 1];
    assert_true(last->at_ns == result->end_ns);
    assert_true(last->n_arrived == result->n_request && last->n_in_system == 0);
    assert_true(last->input_tok == kept->input_tok);
    assert_true(last->hbm_hit_tok == result->hbm_hit_tok);
    assert_true(result->first_hit_tok == kept->hit_tok); /* nothing is admitted twice here */
    assert_true(fabs(last->gpu_busy_s - result->gpu_busy_s) < 1e-9 * (1 + result->gpu_busy_s));
    for (uint32_t l = 0; l < result->n_link; l++)
        assert_true(fabs(last->link_busy_s[l] - result->link[l].busy_s) < 1e-9);
    for (uint32_t t = 0; t < result->n_tier; t++) {
        const struct kvs_sim_tier_total *tier = &result->tier[t];
        assert_true(last->tier_hit_tok[t] == tier->hit_tok);
        assert_true(last->tier_insert_bytes[t] == tier->stats.insert_bytes);
        assert_true(tier->hit_blocks <= tier->lookup_blocks);
        assert_true(tier->stats.unused_bytes <= tier->stats.used_bytes);
        assert_true(tier->stats.evict_unused_bytes <= tier->stats.evict_bytes);
        if (t > 0) /* a miss nearer is what is looked up here */
            assert_true(tier->lookup_blocks ==
                        result->tier[t - 1].lookup_blocks - result->tier[t - 1].hit_blocks);
    }
    for (size_t i = 1; i < kept->n; i++) {
        const struct kvs_sim_sample *a = &kept->sample[i - 1], *b = &kept->sample[i];
        const double span_s = (double)(b->at_ns - a->at_ns) * 1e-9;
        assert_true(b->at_ns > a->at_ns && b->n_arrived >= a->n_arrived);
        assert_true(b->input_tok >= a->input_tok && b->hbm_hit_tok >= a->hbm_hit_tok);
        for (uint32_t l = 0; l < result->n_link; l++) {
            double busy_s = b->link_busy_s[l] - a->link_busy_s[l];
            assert_true(busy_s >= -1e-9 && busy_s <= span_s * result->link[l].n * (1 + 1e-9));
        }
    }
}

static void samples_add_up_to_the_totals(void **state)
{
    static struct kvs_trace_block block[N * N_BLOCK];
    static struct kept kept;
    (void)state;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        struct kvs_sim_sink sink = {.ctx = &kept, .request = take_request, .sample = take_sample};
        struct kvs_err err = {0};
        struct simlab lab;
        struct kvs_request *request = traffic(seed, block);
        simlab_open(&lab, "llama-3.1-8b", "h100-sxm", 1);
        lab.config.n_replica = 1 + (uint32_t)seed % 3;
        lab.config.reuse = (enum kvs_reuse)(seed % 2);
        lab.config.hbm_cache = seed % 4;
        lab.config.tier[0].capacity_bytes = seed % 3 ? (uint64_t)4 << 30 : 0;
        lab.config.bin_ns = seed % 5 ? 0 : 250000000;
        memset(&kept, 0, sizeof kept);
        struct kvs_trace *trace = memtrace(request, N, false);
        if (kvs_sim_run(&lab.config, trace, &sink, &lab.result, &err))
            fail_msg("%s", err.msg);
        kvs_trace_close(trace);
        check(&lab, &kept);
        assert_true(kept.n >= 128 && (lab.config.bin_ns || kept.n <= 258));
        const int64_t bin_ns = lab.config.bin_ns ? lab.config.bin_ns : kept.sample[1].at_ns;
        for (size_t i = 1; i + 1 < kept.n; i++)
            assert_true(kept.sample[i].at_ns == (int64_t)i * bin_ns);
        free(request);
        simlab_close(&lab);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(samples_add_up_to_the_totals),
    };
    return cmocka_run_group_tests_name("tally", tests, NULL, NULL);
}
