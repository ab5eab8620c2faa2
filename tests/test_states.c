/*
 * test_states.c - tiers that store hidden states beside K and V: bytes worked out by hand, whose
 * blocks have them, and what plans that begin from them take.
 */
#include "simlab.h"
#include "test.h"

#include "base/rng.h"
#include "base/units.h"

#include <stdlib.h>
#include <string.h>

#define HOUR_NS 3600000000000
#define KV_TOK_BYTES 524288ull        /* llama-2-7b: 32 layers x 2 x 4096 x 2 */
#define STATE_TOK_BYTES (7 * 8192ull) /* every fourth layer: 4096 x 2 each */

static const uint8_t every_fourth[32] = {
    [4] = 1, [8] = 1, [12] = 1, [16] = 1, [20] = 1, [24] = 1, [28] = 1};

static const struct kvs_planner_ops *planner(const char *name)
{
    const struct kvs_planner_ops *ops = kvs_planner_find(name);
    assert_non_null(ops);
    return ops;
}

/* DRAM and NVMe; both keep states. */
static void open_lab(struct simlab *lab, const char *model)
{
    simlab_open(lab, model, "h100-sxm", 1);
    lab->config.hbm_cache = false;
    lab->config.n_frac = 17;
    lab->config.state_at = every_fourth;
    lab->config.tier[0].states = lab->config.tier[1].states = true;
}

static void only_nvme(struct simlab *lab)
{
    lab->config.tier[0] = lab->config.tier[1];
    lab->config.n_tier = 1;
}

/* The same n blocks twice, an hour apart, the second time with some new text. */
struct pair {
    struct kvs_trace_block block[64];
    struct kvs_request request[2];
};

static void fill(struct pair *pair, uint32_t n, uint32_t new_tok)
{
    for (uint32_t b = 0; b < n; b++)
        pair->block[b] = (struct kvs_trace_block){1 + b, 512, KVS_PART_TEXT};
    for (int i = 0; i < 2; i++)
        pair->request[i] =
            (struct kvs_request){i * HOUR_NS, 0, n * 512 + new_tok, 1, n, pair->block};
}

static bool rises(const struct simlab *lab)
{
    const struct kvs_plan *plan = lab->record[1].plan ? &lab->plan[1] : NULL;
    bool any = false;
    for (int l = 1; plan && l < 32; l++) /* no plan: nothing was held */
        any |= plan->frac_i[l] > plan->frac_i[l - 1];
    return any;
}

static void states_count_in_capacity_writes_and_loads(void **state)
{
    struct pair pair;
    struct simlab lab;
    (void)state;
    fill(&pair, 32, 256);
    open_lab(&lab, "llama-2-7b");
    only_nvme(&lab);
    const struct kvs_sim_tier_total *nvme = &lab.result.tier[0];
    const uint64_t n_tok = 32 * 512;

    simlab_run(&lab, pair.request, 2, true); /* load: reads no states */
    assert_true(nvme->stats.used_bytes == n_tok * (KV_TOK_BYTES + STATE_TOK_BYTES));
    assert_true(nvme->stats.insert_bytes == n_tok * (KV_TOK_BYTES + STATE_TOK_BYTES));
    assert_true(nvme->write_bytes == n_tok * (KV_TOK_BYTES + STATE_TOK_BYTES));
    assert_true(nvme->load_bytes == n_tok * KV_TOK_BYTES && nvme->load_state_bytes == 0);

    lab.config.planner = planner("optimal");
    simlab_run(&lab, pair.request, 2, true);
    const int64_t with_ns = simlab_ttft_ns(&lab, 1);
    const struct kvs_plan *plan = &lab.plan[1];
    double kv_bytes = 0, state_bytes = 0; /* fractions of 16ths are whole blocks */
    assert_true(rises(&lab));
    for (int l = 0; l < 32; l++) {
        const int rise = l ? plan->frac_i[l] - plan->frac_i[l - 1] : 0;
        kv_bytes += (16 - plan->frac_i[l]) / 16. * (double)n_tok * 16384;
        if (rise > 0)
            state_bytes += rise / 16. * (double)n_tok * 8192;
    }
    assert_true((double)nvme->load_state_bytes == state_bytes);
    assert_true((double)nvme->load_bytes == kv_bytes + state_bytes);
    assert_true(lab.record[1].load_bytes[0] == nvme->load_bytes);

    lab.config.tier[0].states = false;
    lab.config.state_at = NULL;
    simlab_run(&lab, pair.request, 2, true);
    assert_true(nvme->stats.used_bytes == n_tok * KV_TOK_BYTES);
    assert_true(with_ns < simlab_ttft_ns(&lab, 1) * 97 / 100);
    simlab_close(&lab);
}

/* A tier that keeps none, and what only HBM had when it was written. */
static void blocks_without_states_are_no_restart_points(void **state)
{
    struct pair pair;
    struct simlab lab;
    (void)state;
    fill(&pair, 32, 256);
    open_lab(&lab, "llama-2-7b");
    lab.config.planner = planner("optimal");
    lab.config.tier[0].capacity_bytes = 8 * 512 * (KV_TOK_BYTES + STATE_TOK_BYTES);
    lab.config.tier[1].states = false;
    simlab_run(&lab, pair.request, 2, true);
    assert_true(lab.result.tier[0].stats.used_bytes <= lab.config.tier[0].capacity_bytes);
    assert_true(lab.result.tier[1].stats.used_bytes == 32 * 512 * KV_TOK_BYTES);
    assert_int_equal(lab.record[1].tier_tok[0], 8 * 512); /* with states only 8 blocks fit */
    assert_int_equal(lab.record[1].tier_tok[1], 24 * 512);
    assert_false(rises(&lab));

    /* 16 blocks that HBM keeps and NVMe forgot are written again, K and V only */
    struct kvs_trace_block other[64];
    struct kvs_request request[4] = {pair.request[0],
                                     pair.request[0],
                                     pair.request[0],
                                     {3 * HOUR_NS, 0, 100, 1, 0, NULL}}; /* a run's last writes are
                                                                            still to come */
    for (uint32_t b = 0; b < 64; b++)
        other[b] = (struct kvs_trace_block){1000 + b, 512, KVS_PART_TEXT};
    for (int i = 0; i < 3; i++) {
        request[i].arrive_ns = i * HOUR_NS;
        request[i].n_block = 16;
        request[i].input_tok = 16 * 512 + 256;
    }
    request[1].block = other;
    only_nvme(&lab);
    lab.config.hbm_cache = true;
    lab.config.tier[0].states = true;
    lab.config.tier[0].capacity_bytes = 16 * 512 * (KV_TOK_BYTES + STATE_TOK_BYTES);
    simlab_run(&lab, request, 4, true);
    assert_int_equal(lab.record[2].hbm_tok, 16 * 512);
    assert_true(lab.result.tier[0].write_bytes ==
                16 * 512 * (3 * KV_TOK_BYTES + 2 * STATE_TOK_BYTES));
    simlab_close(&lab);
}

static void lone_request_takes_what_its_plan_with_states_says(void **state)
{
    int n_rise = 0, n_both = 0;
    (void)state;
    for (uint64_t seed = 1; seed <= 16; seed++) {
        struct kvs_rng rng = kvs_rng_stream(seed, "states");
        struct pair pair;
        struct simlab lab;
        fill(&pair, 4 + (uint32_t)kvs_rng_below(&rng, 44), 1 + (uint32_t)kvs_rng_below(&rng, 3000));
        open_lab(&lab, seed % 4 ? "llama-2-7b" : "llama-3.1-8b");
        lab.config.chunk_tok = 512u << kvs_rng_below(&rng, 4);
        lab.config.tier[0].capacity_bytes = kvs_rng_below(&rng, 6) << 30;
        for (int p = 0; kvs_planner_list[p]; p++) {
            lab.config.planner = kvs_planner_list[p];
            if (!strcmp(lab.config.planner->name, "exact"))
                continue; /* made for small problems */
            lab.config.tier[0].states = lab.config.tier[1].states = true;
            lab.config.state_at = every_fourth;
            simlab_run(&lab, pair.request, 2, true);
            const int64_t ttft_ns = simlab_ttft_ns(&lab, 1);
            const bool rising = rises(&lab);
            n_rise += rising;
            n_both += rising && lab.record[1].tier_tok[0] && lab.record[1].tier_tok[1];
            if (ttft_ns != lab.record[1].predicted_ttft_ns)
                fail_msg("seed %llu, %s: %lld ns, the plan says %lld", (unsigned long long)seed,
                         lab.config.planner->name, (long long)ttft_ns,
                         (long long)lab.record[1].predicted_ttft_ns);
            /* where both tiers have room for all, states never cost anything */
            if (strcmp(lab.config.planner->name, "optimal") != 0 || lab.record[1].tier_tok[1])
                continue;
            lab.config.tier[0].states = lab.config.tier[1].states = false;
            lab.config.state_at = NULL;
            simlab_run(&lab, pair.request, 2, true);
            assert_true(ttft_ns <= simlab_ttft_ns(&lab, 1));
        }
        simlab_close(&lab);
    }
    assert_true(n_rise > 8 && n_both > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(states_count_in_capacity_writes_and_loads),
        cmocka_unit_test(blocks_without_states_are_no_restart_points),
        cmocka_unit_test(lone_request_takes_what_its_plan_with_states_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
