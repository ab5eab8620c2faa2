/*
 * test_preempt.c - HBM as a pool: answers grow with decoding, the youngest request leaves when they
 * outgrow it. A case worked out by hand, and random traffic in little HBM.
 */
#include "simlab.h"
#include "test.h"

#include "base/rng.h"
#include "base/units.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Lets HBM have room for about n_tok tokens. */
static void shrink(struct simlab *lab, double n_tok)
{
    struct kvs_figure *usable = &lab->hw->gpu->usable_frac;
    double room = kvs_cost_kv_room_bytes(lab->cost, lab->config.chunk_tok);
    double want = n_tok * 131072; /* bytes a token */
    usable->value -= (room - want) / lab->hw->gpu->memory_bytes.value;
    assert_true(fabs(kvs_cost_kv_room_bytes(lab->cost, lab->config.chunk_tok) - want) < 10);
}

/* A lab of that size. */
static void open_small(struct simlab *lab, double n_tok)
{
    simlab_open(lab, "llama-3.1-8b", "h100-sxm", 1);
    shrink(lab, n_tok);
    lab->config.hbm_cache = false;
}

/*
 * Two prompts of 1000 tokens, answers of 500 and 400, in HBM for 2500. Admitted with one token of
 * room each and about one more for rounding, they hold 2004 and grow by two an iteration: 248 fit.
 * Then the second, which has 249 tokens, leaves.
 */
static void youngest_leaves_when_answers_outgrow_hbm(void **state)
{
    struct kvs_request request[2] = {{.input_tok = 1000, .output_tok = 500},
                                     {.arrive_ns = 1, .input_tok = 1000, .output_tok = 400}};
    struct simlab lab;
    (void)state;
    open_small(&lab, 2500.5);
    lab.config.chunk_tok = 2048;
    lab.config.preemption = KVS_PREEMPT_NEVER;
    simlab_run(&lab, request, 2, true);
    assert_true(lab.record[1].admit_ns == lab.record[0].finish_ns); /* 3000 never fit at once */
    assert_int_equal(lab.result.n_preempt, 0);
    const int64_t alone_ns = lab.record[0].finish_ns;
    const int64_t one_after_other_ns = lab.result.end_ns;

    lab.config.preemption = KVS_PREEMPT_RECOMPUTE;
    simlab_run(&lab, request, 2, true);
    assert_int_equal(lab.result.n_preempt, 1);
    assert_int_equal(lab.record[0].n_preempt, 0);
    assert_int_equal(lab.record[1].n_preempt, 1);
    /* the second prompt is computed beside the first's decoding, which gains it one token */
    assert_in_range(lab.record[1].again_tok, 1000 + 247, 1000 + 250);
    assert_true(lab.record[1].first_token_ns < lab.record[0].finish_ns);
    assert_true(lab.record[1].finish_ns > lab.record[0].finish_ns);
    assert_true(lab.record[0].finish_ns < alone_ns * 3 / 2);
    assert_true(lab.result.end_ns < one_after_other_ns);
    assert_int_equal(lab.record[1].new_tok, 1000); /* as found when it came */

    lab.config.preemption = KVS_PREEMPT_SWAP;
    simlab_run(&lab, request, 2, true);
    assert_int_equal(lab.result.n_preempt, 1);
    assert_int_equal(lab.record[1].again_tok, 0);
    assert_in_range(lab.result.swap_bytes, (1000 + 247) * 131072, (1000 + 250) * 131072);
    simlab_close(&lab);
}

/*
 * HBM for 2500 tokens, chunks of 8. The second prompt has 1000 tokens; the third comes while it is
 * computed and loads the first 512 of its 1430 tokens, which the first prompt left in DRAM. The
 * others take 115 steps beside the second's decoding, but after about 67 of them its answer needs
 * their room. The third comes back when the second ends, and loads the same again.
 */
static void loads_of_a_prompt_put_back_are_counted_as_unused(void **state)
{
    struct kvs_trace_block block[2] = {{1, 256, KVS_PART_TEXT}, {2, 256, KVS_PART_TEXT}};
    const int64_t s = 1000000000;
    struct kvs_request request[3] = {
        {.input_tok = 600, .output_tok = 1, .n_block = 2, .block = block},
        {.arrive_ns = 100 * s, .input_tok = 1000, .output_tok = 1000},
        {.arrive_ns = 100 * s + 1,
         .input_tok = 1430,
         .output_tok = 1,
         .n_block = 2,
         .block = block}};
    struct simlab lab;
    (void)state;
    open_small(&lab, 2500.5);
    lab.config.chunk_tok = 8;
    shrink(&lab, 2500.5);
    simlab_run(&lab, request, 3, true);
    assert_int_equal(lab.record[2].tier_tok[0], 512);
    assert_int_equal(lab.record[2].n_preempt, 1);
    assert_true(lab.record[2].finish_ns > lab.record[1].finish_ns);
    assert_true(lab.result.tier[0].load_unused_bytes == 512ull * 131072);
    assert_true(lab.result.tier[0].load_bytes == 2 * 512ull * 131072);
    assert_true(lab.result.tier[1].load_unused_bytes == 0);

    shrink(&lab, 3000); /* where nothing is preempted, nothing is loaded for nothing */
    simlab_run(&lab, request, 3, true);
    assert_int_equal(lab.result.n_preempt, 0);
    assert_true(lab.result.tier[0].load_unused_bytes == 0);
    assert_true(lab.result.tier[0].load_bytes == 512ull * 131072);
    simlab_close(&lab);
}

/* The second finds no room while the first decodes, and nothing else ever happens after its end:
 * the room of its answer must be back by then. */
static void the_last_answers_room_is_there_for_who_waits(void **state)
{
    struct kvs_request request[2] = {{.input_tok = 1000, .output_tok = 1400},
                                     {.arrive_ns = 1, .input_tok = 2400, .output_tok = 50}};
    struct simlab lab;
    (void)state;
    open_small(&lab, 2500.5);
    simlab_run(&lab, request, 2, true);
    assert_true(lab.record[1].first_token_ns > lab.record[0].finish_ns);
    simlab_close(&lab);
}

/* A lone request that just fits is never preempted; one token more is refused. */
static void what_fits_alone_is_never_preempted(void **state)
{
    struct kvs_request request = {.input_tok = 1000, .output_tok = 1499};
    struct simlab lab;
    (void)state;
    open_small(&lab, 2500.5);
    for (int mode = 0; mode < 3; mode++) {
        lab.config.preemption = (enum kvs_preempt)mode;
        request.output_tok = 1499;
        simlab_run(&lab, &request, 1, true);
        assert_int_equal(lab.result.n_preempt, 0);
        assert_int_equal(lab.result.n_refused, 0);
        request.output_tok = 1500;
        simlab_run(&lab, &request, 1, true);
        assert_int_equal(lab.result.n_refused, 1);
    }
    simlab_close(&lab);
}

/*
 * One answer of 1400 tokens decodes in HBM for 2500 beside its prompt of 1000. When 200 more come
 * it has had a few tokens: they are admitted at once, not when the long answer is there, although
 * its decoding is one event until then.
 */
static void a_prompt_does_not_wait_for_room_that_decoding_will_need(void **state)
{
    struct kvs_request request[2] = {{.input_tok = 1000, .output_tok = 1400},
                                     {.arrive_ns = 200000000, .input_tok = 200, .output_tok = 50}};
    struct simlab lab;
    (void)state;
    open_small(&lab, 2500.5);
    for (int mode = 0; mode < 2; mode++) {
        lab.config.preemption = mode ? KVS_PREEMPT_SWAP : KVS_PREEMPT_RECOMPUTE;
        simlab_run(&lab, request, 2, true);
        assert_true(lab.record[1].admit_ns == request[1].arrive_ns);
        assert_true(lab.record[1].finish_ns < lab.record[0].finish_ns);
        assert_int_equal(lab.result.n_preempt, 0);
    }
    lab.config.preemption = KVS_PREEMPT_NEVER; /* 1000 + 1400 + 200 + 50 do not fit */
    simlab_run(&lab, request, 2, true);
    assert_true(lab.record[1].admit_ns == lab.record[0].finish_ns);
    simlab_close(&lab);
}

/* Prompts of up to 4000 tokens, some of them shared, with answers of up to 2000. */
static size_t crowd(uint64_t seed, struct kvs_request *request, struct kvs_trace_block *block,
                    size_t n)
{
    struct kvs_rng rng = kvs_rng_stream(seed, "crowd");
    double at_s = 0;
    for (size_t i = 0; i < n; i++) {
        at_s += kvs_rng_exp(&rng, 0.2);
        uint32_t n_block = (uint32_t)kvs_rng_below(&rng, 16);
        request[i] = (struct kvs_request){
            .arrive_ns = kvs_ns(at_s), .n_block = n_block, .block = block + 16 * i};
        uint64_t group = kvs_rng_below(&rng, 6);
        for (uint32_t b = 0; b < n_block; b++)
            block[16 * i + b] = (struct kvs_trace_block){
                b < 8 ? group * 100 + b : 1000 + 16 * i + b, 256, KVS_PART_TEXT};
        request[i].input_tok = 256 * n_block + 1 + (uint32_t)kvs_rng_below(&rng, 200);
        request[i].output_tok = (uint32_t)kvs_rng_below(&rng, 2000);
    }
    return n;
}

/*
 * Whatever leaves comes back and ends: the run's own assertions see to bytes, tokens and Little's
 * law. Growth admits more at once than room for whole answers does, so it ends no later.
 */
static void crowded_hbm_serves_everybody(void **state)
{
    enum { N = 150 };
    struct kvs_request *request = calloc(N, sizeof *request);
    struct kvs_trace_block *block = calloc(16 * N, sizeof *block);
    uint64_t n_preempt[3] = {0}, swap_bytes = 0, again_tok[3] = {0};
    double sojourn_s[3] = {0};
    (void)state;
    assert_non_null(request);
    assert_non_null(block);
    for (uint64_t seed = 1; seed <= 12; seed++) {
        struct kvs_rng rng = kvs_rng_stream(seed, "lab");
        struct simlab lab;
        crowd(seed, request, block, N);
        open_small(&lab, 7000 + (double)kvs_rng_below(&rng, 12000));
        lab.config.hbm_cache = seed & 1;
        lab.config.planner = kvs_planner_find(seed % 3 ? "load" : "best");
        lab.config.sched = kvs_sched_list[seed % 3];
        lab.config.max_pending_loads = seed & 2;
        lab.config.n_decode_replica = seed % 4 == 0; /* hand-overs wait for room, too */
        while (strcmp(lab.hw->link[lab.config.handover_link].name, "nic") != 0)
            lab.config.handover_link++;
        for (int mode = 0; mode < 3; mode++) {
            lab.config.preemption = (enum kvs_preempt)mode;
            simlab_run(&lab, request, N, true);
            uint64_t n = 0, again = 0;
            for (size_t i = 0; i < N; i++) {
                const struct kvs_sim_request *record = &lab.record[i];
                n += record->n_preempt;
                again += record->again_tok;
                assert_true(record->finish_ns >= record->first_token_ns);
                assert_true(record->first_token_ns > record->admit_ns);
            }
            assert_int_equal(n, lab.result.n_preempt);
            assert_int_equal(again, lab.result.again_tok);
            n_preempt[mode] += n;
            again_tok[mode] += again;
            swap_bytes += lab.result.swap_bytes;
            sojourn_s[mode] += lab.result.sojourn_s;
        }
        simlab_close(&lab);
    }
    print_message(
        "# preemptions %llu, %llu; again %llu, %llu tokens; swapped %.3g GB; sojourn %.0f, "
        "%.0f, %.0f s\n",
        (unsigned long long)n_preempt[0], (unsigned long long)n_preempt[1],
        (unsigned long long)again_tok[0], (unsigned long long)again_tok[1],
        (double)swap_bytes * 1e-9, sojourn_s[0], sojourn_s[1], sojourn_s[2]);
    assert_true(n_preempt[0] > 50 && n_preempt[1] > 50 && n_preempt[2] == 0);
    assert_true(again_tok[0] > again_tok[1] && swap_bytes > 0);
    assert_true(sojourn_s[0] < sojourn_s[2]);
    free(request);
    free(block);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(youngest_leaves_when_answers_outgrow_hbm),
        cmocka_unit_test(loads_of_a_prompt_put_back_are_counted_as_unused),
        cmocka_unit_test(the_last_answers_room_is_there_for_who_waits),
        cmocka_unit_test(what_fits_alone_is_never_preempted),
        cmocka_unit_test(a_prompt_does_not_wait_for_room_that_decoding_will_need),
        cmocka_unit_test(crowded_hbm_serves_everybody),
    };
    return cmocka_run_group_tests_name("preempt", tests, NULL, NULL);
}
