#include "test.h"

#include "make_cost.h"

#include <math.h>

#define N_SEED 300

struct made {
    struct kvs_rng rng;
    struct kvs_model *model;
    struct kvs_hw *hw;
    struct kvs_cost *cost;
};

static struct made make(uint64_t seed)
{
    struct kvs_err err = {0};
    struct made made = {.rng = kvs_rng_stream(seed, "prop_cost")};
    struct made_gpu gpu = made_random_gpu(&made.rng);
    made.model = made_random_model(&made.rng);
    made.hw = made_hw(&gpu);
    if (kvs_cost_new(made.model, made.hw, 1u << kvs_rng_below(&made.rng, 4), &made.cost, &err))
        fail_msg("seed %llu: %s", (unsigned long long)seed, err.msg);
    return made;
}

static void drop(struct made *made)
{
    kvs_cost_free(made->cost);
    kvs_hw_free(made->hw);
    kvs_model_free(made->model);
}

static struct kvs_seg draw_seg(struct kvs_rng *rng)
{
    return (struct kvs_seg){
        .n_seq = (double)(1 + kvs_rng_below(rng, 40)),
        .n_tok = floor(kvs_rng_lognormal(rng, 3, 3)) + 1,
        .context_tok = floor(kvs_rng_lognormal(rng, 6, 3)),
    };
}

/* more >= less up to rounding, both finite and not negative. */
static void not_less(uint64_t seed, const char *what, double less, double more)
{
    if (!(isfinite(less) && isfinite(more) && less >= 0 && more >= less * (1 - 1e-12)))
        fail_msg("seed %llu: %s: %.17g then %.17g", (unsigned long long)seed, what, less, more);
}

static void layers_cost_more_with_more_of_anything(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= N_SEED; seed++) {
        struct made made = make(seed);
        for (int draw = 0; draw < 20; draw++) {
            uint32_t class_i = (uint32_t)kvs_rng_below(&made.rng, kvs_cost_n_class(made.cost));
            struct kvs_seg seg[2] = {draw_seg(&made.rng), draw_seg(&made.rng)};
            double base = kvs_cost_layer_s(made.cost, class_i, seg, 2);
            struct kvs_seg more[2] = {seg[0], seg[1]};
            not_less(seed, "one segment", kvs_cost_layer_s(made.cost, class_i, seg, 1), base);
            more[0].n_tok += (double)kvs_rng_below(&made.rng, 3);
            not_less(seed, "tokens", base, kvs_cost_layer_s(made.cost, class_i, more, 2));
            more[0].context_tok += (double)(1 + kvs_rng_below(&made.rng, 200));
            not_less(seed, "context", base, kvs_cost_layer_s(made.cost, class_i, more, 2));
            more[1].n_seq += 1;
            not_less(seed, "sequences", base, kvs_cost_layer_s(made.cost, class_i, more, 2));
            not_less(seed, "K and V", kvs_cost_kv_s(made.cost, class_i, seg[0].n_tok),
                     kvs_cost_kv_s(made.cost, class_i, more[0].n_tok));
            not_less(seed, "head", kvs_cost_head_s(made.cost, seg[0].n_tok, 1),
                     kvs_cost_head_s(made.cost, more[0].n_tok, 2));
        }
        drop(&made);
    }
}

static void only_k_and_v_costs_less_than_the_layer(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= N_SEED; seed++) {
        struct made made = make(seed);
        for (uint32_t i = 0; i < kvs_cost_n_class(made.cost); i++) {
            struct kvs_seg seg = {1, draw_seg(&made.rng).n_tok, 0};
            not_less(seed, "K and V of a layer", kvs_cost_kv_s(made.cost, i, seg.n_tok),
                     kvs_cost_layer_s(made.cost, i, &seg, 1));
        }
        drop(&made);
    }
}

/* A step by the affine form equals the sum over the layers, where no window is being filled. */
static void decode_is_the_sum_of_its_layers(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= N_SEED; seed++) {
        struct made made = make(seed);
        double fixed, per_tok, n_seq = (double)(1 + kvs_rng_below(&made.rng, 64));
        double ctx = 6000 + (double)kvs_rng_below(&made.rng, 100000);
        struct kvs_seg seg = {n_seq, 1, ctx};
        double sum = kvs_cost_head_s(made.cost, n_seq, n_seq);
        for (uint32_t l = 0; l < kvs_model_n_layer(made.model); l++)
            sum += kvs_cost_layer_s(made.cost, kvs_cost_class(made.cost, l), &seg, 1);
        kvs_cost_decode_s(made.cost, n_seq, &fixed, &per_tok);
        double step = fixed + per_tok * n_seq * ctx;
        if (!(fabs(step - sum) <= 1e-9 * sum))
            fail_msg("seed %llu: %.17g by layers, %.17g by the affine form",
                     (unsigned long long)seed, sum, step);
        drop(&made);
    }
}

/* Chunks never make a prompt cheaper: they pay launches and weights again. */
static void one_chunk_is_the_cheapest_prefill(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= N_SEED; seed++) {
        struct made made = make(seed);
        double n_tok = 1 + (double)kvs_rng_below(&made.rng, 20000);
        double chunk = 64 + (double)kvs_rng_below(&made.rng, 4000);
        not_less(seed, "chunks", kvs_cost_prefill_s(made.cost, 0, n_tok, 0) * (1 - 1e-9),
                 kvs_cost_prefill_s(made.cost, 0, n_tok, chunk));
        not_less(seed, "a longer prompt", kvs_cost_prefill_s(made.cost, 0, n_tok, 0),
                 kvs_cost_prefill_s(made.cost, 0, n_tok + 1, 0));
        drop(&made);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layers_cost_more_with_more_of_anything),
        cmocka_unit_test(only_k_and_v_costs_less_than_the_layer),
        cmocka_unit_test(decode_is_the_sum_of_its_layers),
        cmocka_unit_test(one_chunk_is_the_cheapest_prefill),
    };
    return cmocka_run_group_tests_name("prop_cost", tests, NULL, NULL);
}
