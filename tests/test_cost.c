#include "test.h"

#include "make_cost.h"

#include <math.h>
#include <string.h>

/* A layer of 2 query heads on 1 KV head: QKV 8 x 16, output 8 x 8, MLP 3 x 8 x 10. */
#define TINY                                                                                       \
    "\"name\": \"tiny\", \"source\": \"-\", \"layers\": 2, \"hidden\": 8, \"heads\": 2, "          \
    "\"kv_heads\": 1, \"head_dim\": 4, \"ffn\": 10, \"vocab\": 100"

struct made {
    struct kvs_model *model;
    struct kvs_hw *hw;
    struct kvs_cost *cost;
};

static struct made make(const char *json, const struct made_gpu *gpu, uint32_t tp)
{
    struct kvs_err err = {0};
    struct made made = {.model = made_model(json), .hw = made_hw(gpu)};
    if (kvs_cost_new(made.model, made.hw, tp, &made.cost, &err))
        fail_msg("%s", err.msg);
    return made;
}

static void drop(struct made *made)
{
    kvs_cost_free(made->cost);
    kvs_hw_free(made->hw);
    kvs_model_free(made->model);
}

static void near(double got, double want)
{
    if (!(fabs(got - want) <= 1e-9 * fabs(want)))
        fail_msg("found %.12g, want %.12g", got, want);
}

/* Memory so fast that only compute counts. */
static struct made_gpu compute_only(void)
{
    struct made_gpu gpu = made_plain_gpu();
    gpu.mem_bytes_per_s = 1e15;
    gpu.mem_eff = 1.5;
    return gpu;
}

static void linear_time_is_flop_over_peak(void **state)
{
    struct made_gpu gpu = compute_only();
    struct made made = make("{" TINY "}", &gpu, 1);
    (void)state;
    /* 2 * (128 + 64 + 240) FLOP a token */
    double per_tok = 2 * (8 * 16 + 8 * 8 + 3 * 8 * 10) * 1e-9;
    assert_true(fabs(kvs_cost_linear_s(made.cost, 0, 100) / (100 * per_tok) - 1) < 1e-3);
    assert_true(kvs_cost_linear_s(made.cost, 0, 0) == 0);
    drop(&made);
    gpu.gemm_half_rows = 50; /* 100 rows then cost as much as 150 */
    gpu.gemm_eff = 0.5;
    made = make("{" TINY "}", &gpu, 1);
    assert_true(fabs(kvs_cost_linear_s(made.cost, 0, 100) / (2 * 150 * per_tok) - 1) < 1e-3);
    drop(&made);
}

static void one_token_costs_the_read_of_the_weights(void **state)
{
    struct made_gpu gpu = made_plain_gpu();
    gpu.peak_flop_per_s = 1e18;
    struct made made = make("{" TINY "}", &gpu, 1);
    (void)state;
    /* 432 weights of 2 bytes; in and out of 4 GEMMs: 8 + 16, 8 + 8, 8 + 20, 10 + 8; norms and sums
     * 10 * 8, RoPE 2 * (8 + 4), activation 3 * 10, of 2 bytes each */
    near(kvs_cost_linear_s(made.cost, 0, 1), (2 * 432 + 2 * 86 + 2 * (80 + 24 + 30)) * 1e-9);
    /* K and V: 8 x 8 weights, 16 in and out, 16 + 8 streamed */
    near(kvs_cost_kv_s(made.cost, 0, 1), (2 * 64 + 2 * 16 + 2 * 24) * 1e-9);
    /* the embedding read and written, then 8 x 100 weights */
    near(kvs_cost_head_s(made.cost, 1, 1), (2 * 2 * 8 + 2 * 800 + 2 * 108) * 1e-9);
    drop(&made);
}

static void attention_is_affine_in_context(void **state)
{
    struct made_gpu gpu = compute_only();
    struct made made = make("{" TINY "}", &gpu, 1);
    (void)state;
    /* 4 * 8 FLOP a query and key; 10 queries behind 100 see 105.5 keys on average */
    struct kvs_seg seg = {1, 10, 100};
    near(kvs_cost_attention_s(made.cost, 0, &seg, 1), 32e-9 * 10 * 105.5);
    seg.n_seq = 3;
    near(kvs_cost_attention_s(made.cost, 0, &seg, 1), 3 * 32e-9 * 10 * 105.5);
    drop(&made);
    gpu.attn_half_rows = 6; /* two heads share a KV head: 3 more queries */
    gpu.attn_tail_tok = 50;
    made = make("{" TINY "}", &gpu, 1);
    near(kvs_cost_attention_s(made.cost, 0, &seg, 1), 3 * 32e-9 * 13 * 155.5);
    drop(&made);
}

static void a_decode_step_reads_the_context(void **state)
{
    double fixed, per_tok;
    struct made_gpu gpu = made_plain_gpu();
    gpu.peak_flop_per_s = 1e18;
    struct made made = make("{" TINY "}", &gpu, 1);
    (void)state;
    kvs_cost_decode_s(made.cost, 4, &fixed, &per_tok);
    near(per_tok, 2 * 16e-9); /* two layers, 2 * 4 elements of 2 bytes */
    drop(&made);
}

/* Two chunks, of 60 and 40 tokens; logits only once. */
static void a_prefill_is_the_sum_of_its_chunks(void **state)
{
    struct made_gpu gpu = made_plain_gpu();
    struct made made = make("{" TINY "}", &gpu, 1);
    struct kvs_seg first = {1, 60, 500}, second = {1, 40, 560};
    (void)state;
    near(kvs_cost_prefill_s(made.cost, 500, 100, 60),
         2 * kvs_cost_layer_s(made.cost, 0, &first, 1) +
             2 * kvs_cost_layer_s(made.cost, 0, &second, 1) + kvs_cost_head_s(made.cost, 60, 0) +
             kvs_cost_head_s(made.cost, 40, 1));
    drop(&made);
}

static void windows_cap_what_is_seen(void **state)
{
    struct made_gpu gpu = compute_only();
    struct made made = make("{" TINY ", \"window\": {\"tokens\": 64, \"full_every\": 2}}", &gpu, 1);
    struct kvs_seg seg = {1, 10, 1000};
    double fixed, per_tok;
    (void)state;
    assert_int_equal(kvs_cost_n_class(made.cost), 2);
    assert_int_not_equal(kvs_cost_class(made.cost, 0), kvs_cost_class(made.cost, 1));
    near(kvs_cost_attention_s(made.cost, kvs_cost_class(made.cost, 0), &seg, 1), 32e-9 * 10 * 64);
    near(kvs_cost_attention_s(made.cost, kvs_cost_class(made.cost, 1), &seg, 1),
         32e-9 * 10 * 1005.5);
    /* the first 64 queries of 100 see 1, 2, ... keys, the others 64: 4384 in all */
    seg = (struct kvs_seg){1, 100, 0};
    double whole = kvs_cost_attention_s(made.cost, kvs_cost_class(made.cost, 0), &seg, 1);
    assert_true(fabs(whole / (32e-9 * 4384) - 1) < 1e-4);
    kvs_cost_decode_s(made.cost, 1, &fixed, &per_tok);
    near(per_tok, 32e-9); /* only one of the two layers grows */
    drop(&made);
}

/* Of 4 experts a token takes 1: n tokens hit 4 (1 - (3/4)^n). */
static void weights_of_distinct_experts_are_read(void **state)
{
    struct made_gpu gpu = made_plain_gpu();
    gpu.peak_flop_per_s = 1e18;
    struct made made = make("{" TINY ", \"moe\": {\"experts\": 4, \"active\": 1, \"expert_ffn\": "
                            "1000, \"dense_layers\": 1}}",
                            &gpu, 1);
    (void)state;
    uint32_t dense = kvs_cost_class(made.cost, 0), moe = kvs_cost_class(made.cost, 1);
    assert_int_not_equal(dense, moe);
    /* tokens add 2 bytes each of: attention 40 + 104, router 12, experts 16 + 3000, and twice 32 +
     * 3000 gathered */
    double one = kvs_cost_linear_s(made.cost, moe, 1), two = kvs_cost_linear_s(made.cost, moe, 2);
    double many = kvs_cost_linear_s(made.cost, moe, 1000),
           more = kvs_cost_linear_s(made.cost, moe, 1001);
    double per_tok = more - many, expert = 2 * 3 * 8 * 1000 * 1e-9;
    near(two - one - per_tok, 0.75 * expert);
    near(many - one - 999 * per_tok, 3 * expert);
    drop(&made);
}

static void mixtures_compute_only_active_experts(void **state)
{
    struct made_gpu gpu = compute_only();
    struct made made = make("{" TINY ", \"moe\": {\"experts\": 64, \"active\": 2, \"shared\": 1, "
                            "\"expert_ffn\": 1000}}",
                            &gpu, 1);
    (void)state;
    double flop = 2.0 * (192 + 8 * 64 + 3 * 3 * 8 * 1000);
    assert_true(fabs(kvs_cost_linear_s(made.cost, 0, 1000) / (1000 * flop * 1e-9) - 1) < 1e-3);
    drop(&made);
}

/* Absorbed: one latent of 16 + 4 for all heads, 2 * heads * (20 + 16) FLOP a key; expanded: 2 *
 * heads * (6 + 4 + 6). */
static void latent_attention_decodes_on_the_latent(void **state)
{
    double fixed, per_tok;
    struct made_gpu gpu = made_plain_gpu();
    const char *json = "{" TINY ", \"mla\": {\"kv_lora\": 16, \"rope_dim\": 4, \"nope_dim\": 6, "
                       "\"v_dim\": 6}}";
    gpu.peak_flop_per_s = 1e18;
    struct made made = make(json, &gpu, 1);
    (void)state;
    kvs_cost_decode_s(made.cost, 1, &fixed, &per_tok);
    near(per_tok, 2 * 2 * 20e-9);
    drop(&made);
    gpu = compute_only();
    made = make(json, &gpu, 1);
    kvs_cost_decode_s(made.cost, 1, &fixed, &per_tok);
    near(per_tok, 2 * 2 * 2 * 36e-9);
    /* a long prefill expands each of its 4000.5 keys once, for 2 * 16 * 2 * 12 FLOP, and then pays
     * 2 * 2 * 16 FLOP a pair */
    struct kvs_seg seg = {1, 1000, 3500};
    near(kvs_cost_attention_s(made.cost, 0, &seg, 1), 4000.5e-9 * (1000 * 64 + 2 * 16 * 2 * 12));
    drop(&made);
}

static void ranks_share_work_and_reduce_twice(void **state)
{
    struct made_gpu gpu = compute_only();
    struct made one = make("{" TINY "}", &gpu, 1), two = make("{" TINY "}", &gpu, 2);
    (void)state;
    /* one KV head is copied, so its projections do not shrink */
    double shared = 2 * (8 * 4 + 8 * 8 + 8 * 4 + 3 * 8 * 5) * 1e-9 * 1000;
    assert_true(fabs(kvs_cost_linear_s(two.cost, 0, 1000) / shared - 1) < 1e-3);
    assert_true(kvs_cost_allreduce_s(one.cost, 100) == 0);
    /* two rings over two ranks: each sends 100 * 8 * 2 bytes */
    near(kvs_cost_allreduce_s(two.cost, 100), 2 * 1600e-9);
    drop(&one);
    drop(&two);
}

static void kv_room_is_what_weights_leave(void **state)
{
    struct made_gpu gpu = made_plain_gpu();
    gpu.memory_bytes = 10000;
    gpu.usable_frac = 0.9;
    struct made made = make("{" TINY "}", &gpu, 1);
    (void)state;
    /* two layers of 432 and twice 800 weights of 2 bytes; 2 * (2 * 8 + 3 * 10) bytes a token */
    near(kvs_model_weight_bytes(made.model), 2 * (2 * 432 + 1600));
    near(kvs_cost_kv_room_bytes(made.cost, 10), 9000 - 4928 - 920);
    drop(&made);
}

static void expect_error(const char *json, const struct made_gpu *gpu, uint32_t tp,
                         enum kvs_code code, const char *message)
{
    struct kvs_err err = {0};
    struct kvs_cost *cost;
    struct kvs_model *model = made_model(json);
    struct kvs_hw *hw = made_hw(gpu);
    assert_int_equal(kvs_cost_new(model, hw, tp, &cost, &err), code);
    assert_null(cost);
    if (!strstr(err.msg, message))
        fail_msg("\"%s\" does not hold \"%s\"", err.msg, message);
    kvs_hw_free(hw);
    kvs_model_free(model);
}

static void what_does_not_fit_is_refused(void **state)
{
    struct made_gpu gpu = made_plain_gpu();
    (void)state;
    expect_error("{" TINY "}", &gpu, 3, KVS_ERR_RANGE,
                 "tiny: tensor parallelism of 3 does not divide 2 heads");
    expect_error("{" TINY "}", &gpu, 0, KVS_ERR_RANGE, "tensor parallelism of 0");
    expect_error("{\"name\": \"odd\", \"source\": \"-\", \"layers\": 1, \"hidden\": 8, \"heads\": "
                 "24, \"kv_heads\": 4, \"head_dim\": 4, \"ffn\": 10, \"vocab\": 100}",
                 &gpu, 6, KVS_ERR_RANGE, "6 neither divides 4 KV heads nor is a multiple");
    gpu.memory_bytes = 4000;
    expect_error("{" TINY "}", &gpu, 1, KVS_ERR_RANGE, "weights of 0.0 GB do not fit");
}

/* The published fit of Llama-3.1-8B on one H100: 22.1 us a token and 0.471 ns a pair, 15 %. */
static void h100_prefill_meets_the_published_fit(void **state)
{
    struct kvs_err err = {0};
    struct kvs_model *model = NULL;
    struct kvs_hw *hw = NULL;
    struct kvs_cost *cost = NULL;
    (void)state;
    if (kvs_model_open("llama-3.1-8b", &model, &err) || kvs_hw_open("h100-sxm", &hw, &err) ||
        kvs_cost_new(model, hw, 1, &cost, &err) || !cost) {
        fail_msg("%s", err.msg);
        return;
    }
    for (int i = 0; i <= 40; i++) {
        double n = round(1000 * pow(100, i / 40.0)), fit = 22.1e-6 * n + 0.471e-9 * n * n;
        double ratio = kvs_cost_prefill_s(cost, 0, n, 0) / fit;
        if (!(ratio > 0.85 && ratio < 1.15))
            fail_msg("%.0f tokens: %.3f of the published fit", n, ratio);
        ratio = kvs_cost_prefill_s(cost, 0, n, 8192) / fit;
        if (!(ratio > 0.85 && ratio < 1.15))
            fail_msg("%.0f tokens in chunks: %.3f of the published fit", n, ratio);
    }
    kvs_cost_free(cost);
    kvs_hw_free(hw);
    kvs_model_free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(linear_time_is_flop_over_peak),
        cmocka_unit_test(one_token_costs_the_read_of_the_weights),
        cmocka_unit_test(attention_is_affine_in_context),
        cmocka_unit_test(a_decode_step_reads_the_context),
        cmocka_unit_test(a_prefill_is_the_sum_of_its_chunks),
        cmocka_unit_test(windows_cap_what_is_seen),
        cmocka_unit_test(weights_of_distinct_experts_are_read),
        cmocka_unit_test(mixtures_compute_only_active_experts),
        cmocka_unit_test(latent_attention_decodes_on_the_latent),
        cmocka_unit_test(ranks_share_work_and_reduce_twice),
        cmocka_unit_test(kv_room_is_what_weights_leave),
        cmocka_unit_test(what_does_not_fit_is_refused),
        cmocka_unit_test(h100_prefill_meets_the_published_fit),
    };
    return cmocka_run_group_tests_name("cost", tests, NULL, NULL);
}
