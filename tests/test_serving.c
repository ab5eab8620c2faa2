/* test_serving.c - what a serving system adds: lone prompts by formula, the front end's queue, and
 * published TTFT of prefill and decode apart. */
#include "simlab.h"
#include "test.h"

#include "base/units.h"

#include <math.h>
#include <string.h>

static const struct kvs_hw_serving *serving_of(const struct kvs_hw *hw, const char *name)
{
    for (uint32_t i = 0; i < hw->n_serving; i++)
        if (!strcmp(hw->serving[i].name, name))
            return &hw->serving[i];
    fail_msg("%s has no serving %s", hw->name, name);
    return NULL;
}

/* TTFT grows by request_s + n tok_s + a step_s for each chunk, TPOT by step_s. */
static void lone_prompt_pays_request_tokens_and_steps(void **state)
{
    struct kvs_request request = {.input_tok = 5000, .output_tok = 11};
    struct simlab lab;
    (void)state;
    simlab_open(&lab, "llama-3.1-8b", "h100-sxm", 1);
    lab.config.n_tier = 0;
    simlab_run(&lab, &request, 1, true);
    const int64_t ttft_ns = simlab_ttft_ns(&lab, 0);
    const int64_t decode_ns = lab.record[0].finish_ns - lab.record[0].first_token_ns;
    const struct kvs_hw_serving *serving = lab.config.serving = serving_of(lab.hw, "vllm");
    simlab_run(&lab, &request, 1, true);
    const int64_t front_ns = kvs_ns(serving->request_s.value + 5000 * serving->tok_s.value);
    const int64_t step_ns = kvs_ns(serving->step_s.value);
    assert_true(front_ns > 0 && step_ns > 0);
    assert_int_equal(simlab_ttft_ns(&lab, 0), ttft_ns + front_ns + 3 * step_ns); /* 2048 a chunk */
    assert_int_equal(lab.record[0].predicted_ttft_ns, simlab_ttft_ns(&lab, 0));
    assert_int_equal(lab.record[0].queue_ns, front_ns);
    int64_t more_ns = lab.record[0].finish_ns - lab.record[0].first_token_ns - decode_ns;
    assert_in_range(more_ns, 10 * step_ns - 10, 10 * step_ns + 10);
    simlab_close(&lab);
}

/* Three prompts at once: the front end passes them on one after the other, in order. */
static void front_end_takes_one_prompt_at_a_time(void **state)
{
    struct kvs_request request[3] = {
        {.input_tok = 3000, .output_tok = 1}, {.input_tok = 10}, {.input_tok = 20}};
    struct simlab lab;
    (void)state;
    simlab_open(&lab, "llama-3.1-8b", "h100-sxm", 1);
    lab.config.n_tier = 0;
    const struct kvs_hw_serving *serving = lab.config.serving = serving_of(lab.hw, "vllm");
    simlab_run(&lab, request, 3, true);
    int64_t at_ns = 0;
    for (int i = 0; i < 3; i++) {
        at_ns += kvs_ns(serving->request_s.value + request[i].input_tok * serving->tok_s.value);
        assert_int_equal(lab.record[i].admit_ns, at_ns);
    }
    simlab_close(&lab);
}

/* The same prompt twice: the second time the GPU waits for the cache, once and for each token it
 * held; computing the first time it does not. */
static void gpu_waits_for_a_cache_in_the_forward_pass(void **state)
{
    struct kvs_trace_block block[4];
    struct kvs_hw_serving serving = {.name = "cache"};
    struct simlab lab;
    int64_t ttft_ns[2][2];
    (void)state;
    for (unsigned i = 0; i < 4; i++)
        block[i] = (struct kvs_trace_block){.id = i + 1, .n_tok = 500};
    const struct kvs_request request[2] = {
        {.input_tok = 2100, .output_tok = 1, .n_block = 4, .block = block},
        {.arrive_ns = 5000000000,
         .input_tok = 2100,
         .output_tok = 1,
         .n_block = 4,
         .block = block}};
    for (int with = 0; with < 2; with++) {
        simlab_open(&lab, "llama-3.1-8b", "h100-sxm", 1);
        lab.config.hbm_cache = false; /* what is held lies in tiers */
        lab.config.serving = &serving;
        serving.cache_request_s.value = with ? 0.03 : 0;
        serving.cache_tok_s.value = with ? 5e-6 : 0;
        simlab_run(&lab, request, 2, true);
        assert_int_equal(lab.record[1].new_tok, 100);
        for (uint32_t i = 0; i < 2; i++) {
            ttft_ns[with][i] = simlab_ttft_ns(&lab, i);
            assert_int_equal(lab.record[i].predicted_ttft_ns, ttft_ns[with][i]);
        }
        simlab_close(&lab);
    }
    assert_int_equal(ttft_ns[1][0], ttft_ns[0][0]);
    assert_int_equal(ttft_ns[1][1], ttft_ns[0][1] + kvs_ns(0.03 + 2000 * 5e-6));
}

/*
 * TTFT of Qwen3-8B on 8 H800, prefill and decode apart (Mooncake PD performance doc: the sum of
 * recompute and transfer). Three of the rows fitted the profile, so they are held to 8 %, the
 * others to 25 %.
 */
static void prefill_and_decode_apart_meet_published_ttft(void **state)
{
    static const struct {
        uint32_t n_tok;
        double s, within;
    } row[] = {{128, 0.0461, 0.08},
               {512, 0.0599, 0.25},
               {2048, 0.0853, 0.08},
               {8192, 0.2121, 0.25},
               {32768, 0.7496, 0.08}};
    (void)state;
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        struct kvs_request request = {.input_tok = row[i].n_tok, .output_tok = 2};
        struct simlab lab;
        simlab_open(&lab, "qwen3-8b", "h800-8", 8);
        lab.config.n_decode_replica = 1;
        while (strcmp(lab.hw->link[lab.config.handover_link].name, "nic") != 0)
            lab.config.handover_link++;
        lab.config.serving = serving_of(lab.hw, "mooncake-pd");
        lab.config.chunk_tok = (uint32_t)lab.config.serving->chunk_tok;
        simlab_run(&lab, &request, 1, true);
        double s = (double)simlab_ttft_ns(&lab, 0) * 1e-9;
        print_message("# %u tokens: %.1f ms, published %.1f ms\n", row[i].n_tok, s * 1e3,
                      row[i].s * 1e3);
        assert_true(fabs(s - row[i].s) <= row[i].within * row[i].s);
        simlab_close(&lab);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lone_prompt_pays_request_tokens_and_steps),
        cmocka_unit_test(front_end_takes_one_prompt_at_a_time),
        cmocka_unit_test(gpu_waits_for_a_cache_in_the_forward_pass),
        cmocka_unit_test(prefill_and_decode_apart_meet_published_ttft),
    };
    return cmocka_run_group_tests_name("serving", tests, NULL, NULL);
}
