/*
 * test_held.c - tiers that store blocks at a compression level: sizes, times, what is lost, and how
 * losses add up, worked out by hand; and what holds over seeds.
 */
#include "simlab.h"
#include "test.h"

#include "base/rng.h"
#include "base/units.h"

#include <stdlib.h>
#include <string.h>

#define HOUR_NS 3600000000000
#define N_LAYER 32 /* of llama-3.1-8b */
#define N_FRAC 17
#define BLOCK_BYTES (512ull * 131072) /* raw */
#define LOSS 3200000                  /* of a prompt loaded whole, 1e-9 nats */

/* Raw, and a level of a quarter of K and half of V. */
struct menu {
    struct kvs_table_level level[2];
    int64_t distortion[N_LAYER * N_FRAC];
};

/* loss of a prompt whose cached text is all loaded; it falls in a line to 0 where all is exact. */
static void make(struct menu *menu, struct simlab *lab, int64_t loss)
{
    for (int l = 0; l < N_LAYER; l++)
        for (int j = 0; j < N_FRAC; j++)
            menu->distortion[l * N_FRAC + j] = loss / N_LAYER * (N_FRAC - 1 - j) / (N_FRAC - 1);
    menu->level[0] = (struct kvs_table_level){.name = "raw16", .k_ratio = 1, .v_ratio = 1};
    menu->level[1] = (struct kvs_table_level){.name = "x",
                                              .k_ratio = .25,
                                              .v_ratio = .5,
                                              .decode_bytes_per_s = 2e11,
                                              .distortion = menu->distortion};
    lab->config.n_level = 2;
    lab->config.level = menu->level;
    lab->config.budget = 1000000000;
    lab->config.n_frac = N_FRAC;
}

static void fill(struct kvs_trace_block *block, uint32_t n, uint64_t first)
{
    for (uint32_t b = 0; b < n; b++)
        block[b] = (struct kvs_trace_block){first + b, 512, KVS_PART_TEXT};
}

/* NVMe alone, at the level. */
static void open_nvme(struct simlab *lab, struct menu *menu)
{
    simlab_open(lab, "llama-3.1-8b", "h100-sxm", 1);
    lab->config.hbm_cache = false;
    lab->config.tier[0] = lab->config.tier[1];
    lab->config.n_tier = 1;
    make(menu, lab, LOSS);
    lab->config.tier[0].level = 1;
}

static void blocks_are_held_moved_and_lost_at_their_level(void **state)
{
    struct kvs_trace_block block[16];
    struct kvs_request request[2] = {{0}};
    struct simlab lab;
    struct menu menu;
    (void)state;
    fill(block, 16, 1);
    for (int i = 0; i < 2; i++)
        request[i] = (struct kvs_request){i * HOUR_NS, 0, 16 * 512 + 100, 1, 16, block};
    open_nvme(&lab, &menu);
    simlab_run(&lab, request, 2, true);
    const struct kvs_sim_tier_total *nvme = &lab.result.tier[0];
    assert_int_equal(lab.record[1].tier_tok[0], 16 * 512);
    assert_true(nvme->stats.used_bytes == 16 * BLOCK_BYTES * 3 / 8);
    assert_true(nvme->stats.insert_bytes == 16 * BLOCK_BYTES * 3 / 8); /* endurance */
    assert_true(nvme->write_bytes == 16 * BLOCK_BYTES * 3 / 8);
    assert_true(nvme->load_bytes == 16 * BLOCK_BYTES * 3 / 8);
    assert_true(nvme->hit_bytes == 16 * BLOCK_BYTES); /* of the tokens */
    assert_true(lab.record[0].loss == 0);
    assert_true(lab.record[1].loss == LOSS);
    const int64_t level_ns = simlab_ttft_ns(&lab, 1);

    /* in the same bytes without a decoder it can only be quicker, raw it is slower */
    menu.level[1].decode_bytes_per_s = 0;
    simlab_run(&lab, request, 2, true);
    assert_true(simlab_ttft_ns(&lab, 1) < level_ns);
    const int64_t layer_ns = kvs_ns(16 * BLOCK_BYTES / 2e11 / N_LAYER);
    assert_true(level_ns - simlab_ttft_ns(&lab, 1) <= N_LAYER * layer_ns);
    assert_true(level_ns - simlab_ttft_ns(&lab, 1) >= layer_ns); /* the last layer's */
    lab.config.tier[0].level = 0;
    simlab_run(&lab, request, 2, true);
    assert_true(simlab_ttft_ns(&lab, 1) > level_ns);
    assert_true(lab.record[1].loss == 0);

    /* a budget that it breaks: computed again */
    lab.config.tier[0].level = 1;
    lab.config.budget = LOSS - 1;
    simlab_run(&lab, request, 2, true);
    assert_int_equal(lab.record[1].recompute_tok, 16 * 512);
    assert_true(lab.record[1].loss == 0 && lab.result.tier[0].load_bytes == 0);
    simlab_close(&lab);
}

static void lone_request_takes_what_the_plan_says(void **state)
{
    struct kvs_trace_block block[24];
    struct kvs_request request[2] = {{0}};
    struct simlab lab;
    struct menu menu;
    (void)state;
    fill(block, 24, 1);
    request[0] = (struct kvs_request){0, 0, 20 * 512 + 700, 1, 20, block};
    request[1] = (struct kvs_request){HOUR_NS, 0, 24 * 512 + 3000, 1, 24, block};
    simlab_open(&lab, "llama-3.1-8b", "h100-sxm", 1);
    make(&menu, &lab, LOSS);
    lab.config.hbm_cache = false;
    lab.config.tier[0].capacity_bytes = 9 * BLOCK_BYTES; /* the others are on NVMe only */
    lab.config.tier[1].level = 1;
    for (int on_gpu = 0; on_gpu < 2; on_gpu++)
        for (int p = 0; kvs_planner_list[p]; p++) {
            lab.config.planner = kvs_planner_list[p];
            if (!strcmp(lab.config.planner->name, "exact"))
                continue; /* made for small problems */
            menu.level[1].on_gpu = on_gpu;
            simlab_run(&lab, request, 2, true);
            if (simlab_ttft_ns(&lab, 1) != lab.record[1].predicted_ttft_ns)
                fail_msg("%s: %lld ns, the plan says %lld", lab.config.planner->name,
                         (long long)simlab_ttft_ns(&lab, 1),
                         (long long)lab.record[1].predicted_ttft_ns);
            assert_true(lab.record[1].loss <= LOSS);
            if (!strcmp(lab.config.planner->name, "load")) /* 9 exact, 11 at the level */
                assert_in_range(lab.record[1].loss, LOSS * 11 / 20 - N_LAYER,
                                LOSS * 11 / 20 + N_LAYER);
        }
    simlab_close(&lab);
}

/*
 * Each turn brings 8 blocks more. The second loads the first's, which cost LOSS; its own carry
 * that. The third loads both: LOSS for the level, and half of its cached text carries LOSS.
 */
static void losses_add_up_over_turns(void **state)
{
    struct kvs_trace_block block[32];
    struct kvs_request request[4] = {{0}};
    struct simlab lab;
    struct menu menu;
    (void)state;
    fill(block, 32, 1);
    for (uint32_t i = 0; i < 4; i++)
        request[i] =
            (struct kvs_request){i * HOUR_NS, 0, 8 * 512 * (i + 1) + 10, 1, 8 * (i + 1), block};
    open_nvme(&lab, &menu);
    const int64_t want[4] = {0, LOSS, LOSS + LOSS / 2, LOSS + (LOSS + LOSS + LOSS / 2) / 3};
    for (int cache = 0; cache < 2; cache++) {
        lab.config.hbm_cache = cache;
        simlab_run(&lab, request, 4, true);
        for (int i = 0; i < 4; i++) /* what stays in HBM was never encoded */
            assert_true(llabs(lab.record[i].loss - (cache ? 0 : want[i])) <= (cache ? 0 : 100));
    }
    simlab_close(&lab);
}

/* 16 blocks leave DRAM, which is raw, and come back from NVMe: there they stay as small and lossy
 * as they are, and lose nothing more. */
static void lossy_copy_is_never_stored_as_a_better_one(void **state)
{
    struct kvs_trace_block x[16], y[16];
    struct kvs_request request[4] = {{0}};
    struct simlab lab;
    struct menu menu;
    (void)state;
    fill(x, 16, 1);
    fill(y, 16, 100);
    for (int i = 0; i < 4; i++)
        request[i] = (struct kvs_request){i * HOUR_NS, 0, 16 * 512 + 10, 1, 16, i == 1 ? y : x};
    simlab_open(&lab, "llama-3.1-8b", "h100-sxm", 1);
    make(&menu, &lab, LOSS);
    lab.config.hbm_cache = false;
    lab.config.tier[0].capacity_bytes = 16 * BLOCK_BYTES;
    lab.config.tier[1].level = 1;
    simlab_run(&lab, request, 4, true);
    assert_int_equal(lab.record[2].tier_tok[1], 16 * 512); /* from NVMe */
    assert_int_equal(lab.record[3].tier_tok[0], 16 * 512); /* from DRAM */
    assert_true(lab.record[3].load_bytes[0] == 16 * BLOCK_BYTES * 3 / 8);
    assert_true(lab.record[2].loss == LOSS && lab.record[3].loss == LOSS);
    assert_true(lab.result.tier[0].stats.insert_bytes ==
                16 * BLOCK_BYTES * 2 + 16 * BLOCK_BYTES * 3 / 8);
    simlab_close(&lab);
}

/* The same from HBM: what was loaded lossy is written as such when it leaves. */
static void lossy_copy_in_hbm_is_written_back_as_such(void **state)
{
    struct kvs_trace_block x[4], fills[24];
    struct kvs_request request[27] = {{0}};
    struct simlab lab;
    struct menu menu;
    size_t n = 0;
    (void)state;
    fill(x, 4, 1);
    simlab_open(&lab, "llama-3.1-8b", "h100-sxm", 1);
    make(&menu, &lab, LOSS);
    lab.config.tier[0].write = KVS_WRITE_BACK;
    lab.config.tier[1].level = 1;
    for (int i = 0; i < 24; i++) /* a few push all else out of HBM */
        fills[i] = (struct kvs_trace_block){100 + (uint64_t)i, 60000, KVS_PART_TEXT};
    request[n++] = (struct kvs_request){0, 0, 4 * 512 + 10, 1, 4, x};
    for (int i = 0; i < 24; i++) {
        if (i == 12)
            request[n++] =
                (struct kvs_request){12 * HOUR_NS + HOUR_NS / 2, 0, 4 * 512 + 10, 1, 4, x};
        request[n++] = (struct kvs_request){(i + 1) * HOUR_NS, 0, 60000, 1, 1, &fills[i]};
    }
    request[n++] = (struct kvs_request){25 * HOUR_NS, 0, 4 * 512 + 10, 1, 4, x};
    lab.config.tier[0].capacity_bytes = 4 * 60000ull * 131072; /* x leaves DRAM, too */
    simlab_run(&lab, request, n, true);
    assert_int_equal(lab.record[13].tier_tok[1], 4 * 512);
    assert_true(lab.record[13].loss == LOSS);
    assert_int_equal(lab.record[26].hbm_tok + lab.record[26].new_tok, 10);
    assert_true(lab.record[26].loss == LOSS);
    simlab_close(&lab);
}

/* A raw block takes 67 s to encode: it is there a minute later, not half a minute. */
static void encoding_bounds_the_write(void **state)
{
    struct kvs_trace_block block[1];
    struct kvs_request request[3] = {{0}};
    struct simlab lab;
    struct menu menu;
    (void)state;
    fill(block, 1, 1);
    for (int i = 0; i < 3; i++)
        request[i] = (struct kvs_request){i * 50 * (int64_t)1000000000, 0, 522, 1, 1, block};
    open_nvme(&lab, &menu);
    menu.level[1].encode_bytes_per_s = 1e6;
    simlab_run(&lab, request, 3, true);
    assert_int_equal(lab.record[1].tier_tok[0], 0);
    assert_int_equal(lab.record[2].tier_tok[0], 512);
    menu.level[1].encode_bytes_per_s = 0; /* not known: no bound */
    simlab_run(&lab, request, 3, true);
    assert_int_equal(lab.record[1].tier_tok[0], 512);
    simlab_close(&lab);
}

enum { N_REQUEST = 80, N_BLOCK = 30 };

static void traffic(uint64_t seed, struct kvs_request *request, struct kvs_trace_block *block)
{
    struct kvs_rng rng = kvs_rng_stream(seed, "held");
    double at_s = 0;
    for (uint32_t i = 0; i < N_REQUEST; i++, block += N_BLOCK) {
        const uint64_t group = kvs_rng_below(&rng, 8);
        const uint32_t n = 1 + (uint32_t)kvs_rng_below(&rng, N_BLOCK);
        const uint32_t shared = (uint32_t)kvs_rng_below(&rng, n + 1);
        at_s += kvs_rng_exp(&rng, 0.3);
        request[i] = (struct kvs_request){kvs_ns(at_s), 0, n * 512 + 30, 20, n, block};
        for (uint32_t b = 0; b < n; b++)
            block[b] = (struct kvs_trace_block){
                b < shared ? group * 1000 + b : 100000 + i * 1000 + b, 512, KVS_PART_TEXT};
    }
}

static int same(const struct simlab *lab, const struct kvs_sim_request *before, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (lab->record[i].first_token_ns != before[i].first_token_ns ||
            lab->record[i].finish_ns != before[i].finish_ns ||
            lab->record[i].load_bytes[1] != before[i].load_bytes[1])
            return 0;
    return 1;
}

/*
 * Over seeds, policies, write policies and preemption: each run's own checks see to the bytes. A
 * level that loses nothing costs nothing; one that loses twice as much loses more in every request,
 * at the same times; and levels that no tier uses change nothing.
 */
static void more_lossy_levels_lose_more_and_take_as_long(void **state)
{
    static struct kvs_request request[N_REQUEST];
    static struct kvs_trace_block block[N_REQUEST * N_BLOCK];
    static struct kvs_sim_request before[N_REQUEST];
    uint64_t n_lossy = 0;
    (void)state;
    for (uint64_t seed = 1; seed <= 9; seed++) {
        struct simlab lab;
        struct menu menu;
        int64_t sum[3] = {0};
        traffic(seed, request, block);
        simlab_open(&lab, "llama-3.1-8b", "h100-sxm", 1);
        make(&menu, &lab, LOSS);
        lab.config.n_replica = 1 + seed % 2;
        lab.config.planner = kvs_planner_find(seed % 3 == 2 ? "token-split" : "load");
        lab.config.hbm_cache = seed & 1;
        lab.config.tier[0].capacity_bytes = 40 * BLOCK_BYTES;
        lab.config.tier[1].capacity_bytes = 100 * BLOCK_BYTES;
        lab.config.tier[0].write = (enum kvs_write)(seed % 3);
        lab.config.tier[1].write = (enum kvs_write)(seed / 3 % 3);
        simlab_run(&lab, request, N_REQUEST, true);
        memcpy(before, lab.record, sizeof before);
        lab.config.n_level = 0; /* raw */
        simlab_run(&lab, request, N_REQUEST, true);
        assert_true(same(&lab, before, N_REQUEST));

        lab.config.tier[1].level = 1;
        for (int twice = 0; twice < 2; twice++) {
            make(&menu, &lab, LOSS << twice);
            simlab_run(&lab, request, N_REQUEST, true);
            for (size_t i = 0; i < N_REQUEST; i++) {
                sum[twice] += lab.record[i].loss;
                n_lossy += lab.record[i].loss > 0;
                if (twice && lab.record[i].loss + 1000 < 2 * before[i].loss)
                    fail_msg("seed %llu, request %zu: %lld and %lld", (unsigned long long)seed, i,
                             (long long)before[i].loss, (long long)lab.record[i].loss);
            }
            if (twice)
                assert_true(same(&lab, before, N_REQUEST));
            memcpy(before, lab.record, sizeof before);
        }
        menu.level[1].distortion = NULL; /* lossless */
        simlab_run(&lab, request, N_REQUEST, true);
        for (size_t i = 0; i < N_REQUEST; i++)
            sum[2] += lab.record[i].loss;
        assert_true(sum[2] == 0 && sum[0] <= sum[1]);
        simlab_close(&lab);
    }
    assert_true(n_lossy > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_held_moved_and_lost_at_their_level),
        cmocka_unit_test(lone_request_takes_what_the_plan_says),
        cmocka_unit_test(losses_add_up_over_turns),
        cmocka_unit_test(lossy_copy_is_never_stored_as_a_better_one),
        cmocka_unit_test(lossy_copy_in_hbm_is_written_back_as_such),
        cmocka_unit_test(encoding_bounds_the_write),
        cmocka_unit_test(more_lossy_levels_lose_more_and_take_as_long),
    };
    return cmocka_run_group_tests_name("held", tests, NULL, NULL);
}
