/* The online planner: what prices do to a plan, and that none of them leave it the optimum of T. */
#include "test.h"

#include "plan_random.h"

#include <string.h>

static struct kvs_plan_problem *make(struct kvs_arena *arena, uint64_t seed)
{
    struct kvs_rng rng = kvs_rng_stream(seed, "online");
    uint32_t n_layer = 2 + (uint32_t)kvs_rng_below(&rng, 30);
    struct kvs_plan_problem *p =
        plan_random(arena, &rng, PLAN_REALISTIC, n_layer, 9, 1 + (uint32_t)kvs_rng_below(&rng, 3));

    p->budget = INT64_MAX / 4;
    return p;
}

static void plan_with(const struct kvs_plan_problem *p, const char *name,
                      struct kvs_plan_scratch *scratch, struct kvs_plan *plan,
                      struct kvs_plan_eval *eval)
{
    int64_t bound;

    assert_int_equal(kvs_planner_find(name)->plan(p, scratch, plan, eval, &bound, NULL), KVS_OK);
}

static int64_t io_of(const struct kvs_plan_problem *p, const struct kvs_plan *plan)
{
    int64_t sum = 0;

    for (uint32_t l = 0; l < p->n_layer; l++)
        for (uint32_t k = 0; k < p->n_route; k++)
            sum += p->layer[l]->io_ns[k][plan->frac_i[l] * p->n_level + plan->level[l]];
    return sum;
}

static void without_prices_it_is_the_optimum(void **state)
{
    struct kvs_plan_scratch *scratch = kvs_plan_scratch_new();

    (void)state;
    for (uint64_t seed = 1; seed <= 100; seed++) {
        struct kvs_arena *arena = kvs_arena_new();
        struct kvs_plan_problem *p = make(arena, seed);
        struct kvs_plan a, b;
        struct kvs_plan_eval x, y;

        plan_with(p, "optimal", scratch, &a, &x);
        plan_with(p, "online", scratch, &b, &y);
        assert_int_equal(x.end_ns, y.end_ns);
        kvs_arena_free(arena);
    }
    kvs_plan_scratch_free(scratch);
}

static void no_other_policy_costs_less_at_any_price(void **state)
{
    static const char *const others[] = {"recompute", "load",    "token-split", "layer-split",
                                         "best",      "optimal", "careful"};
    struct kvs_plan_scratch *scratch = kvs_plan_scratch_new();

    (void)state;
    for (uint64_t seed = 1; seed <= 100; seed++) {
        struct kvs_arena *arena = kvs_arena_new();
        struct kvs_plan_problem *p = make(arena, seed);
        struct kvs_rng rng = kvs_rng_stream(seed, "prices");
        int64_t pass_ns[KVS_MAX_FRAC] = {0};
        struct kvs_plan plan;
        struct kvs_plan_eval eval;
        double cost;

        p->price_t = 5 * kvs_rng_unit(&rng);
        p->price_gpu = 5 * kvs_rng_unit(&rng);
        for (uint32_t k = 0; k < p->n_route; k++)
            p->price_link[k] = 5 * kvs_rng_unit(&rng);
        for (uint32_t i = 1; i < p->n_frac; i++)
            pass_ns[i] = (int64_t)kvs_rng_below(&rng, 1000000);
        p->pass_ns = pass_ns;
        plan_with(p, "online", scratch, &plan, &eval);
        cost = kvs_plan_cost(p, &plan, &eval);
        for (size_t n = 0; n < sizeof others / sizeof *others; n++) {
            plan_with(p, others[n], scratch, &plan, &eval);
            if (kvs_plan_cost(p, &plan, &eval) < cost - 1)
                fail_msg("seed %d: %s costs less", (int)seed, others[n]);
        }
        kvs_arena_free(arena);
    }
    kvs_plan_scratch_free(scratch);
}

static void a_dear_gpu_is_spared_and_a_dear_link_too(void **state)
{
    struct kvs_plan_scratch *scratch = kvs_plan_scratch_new();

    (void)state;
    for (uint64_t seed = 1; seed <= 100; seed++) {
        struct kvs_arena *arena = kvs_arena_new();
        struct kvs_plan_problem *p = make(arena, seed);
        struct kvs_plan plan, load, cheap;
        struct kvs_plan_eval eval, less, free_eval;

        plan_with(p, "online", scratch, &cheap, &free_eval);
        p->price_gpu = 1e6;
        plan_with(p, "online", scratch, &plan, &eval);
        plan_with(p, "load", scratch, &load, &less);
        assert_true(eval.pre_ns + eval.wait_ns <= less.pre_ns + less.wait_ns);
        assert_true(eval.pre_ns + eval.wait_ns <= free_eval.pre_ns + free_eval.wait_ns);
        p->price_gpu = 0;
        for (uint32_t k = 0; k < p->n_route; k++)
            p->price_link[k] = 1e6;
        plan_with(p, "online", scratch, &plan, &eval);
        assert_int_equal(io_of(p, &plan), 0); /* what recomputes all loads nothing */
        kvs_arena_free(arena);
    }
    kvs_plan_scratch_free(scratch);
}

/* Two layers by hand. */
static void the_cost_is_t_and_what_others_pay(void **state)
{
    static const int64_t io[] = {15, 0}, none[2] = {0}, pass_ns[] = {0, 100}, rest_ns[] = {0, 10},
                         post[] = {5, 5}, full[] = {0, 6};
    static const double frac[] = {0, 1};
    struct kvs_layer_cost cost = {{io}, none, post, none, full, none, none, none, NULL};
    const struct kvs_layer_cost *layer[] = {&cost, &cost};
    struct kvs_plan_problem p = {.n_layer = 2,
                                 .n_frac = 2,
                                 .n_level = 1,
                                 .n_route = 1,
                                 .frac = frac,
                                 .layer = layer,
                                 .head_ns = 1};
    struct kvs_plan load = {{0}, {0}}, all = {{1, 1}, {0}};
    struct kvs_plan_eval eval;

    (void)state;
    p.price_t = .5;
    p.price_gpu = 2;
    p.price_link[0] = .5;
    p.pass_ns = pass_ns;
    p.pass_rest_ns = rest_ns;
    assert_true(kvs_plan_eval(&p, &load, NULL, &eval));
    /* io 15, 30; compute 5 + 5 + 1: T = 36; 1.5 * 36 + 2 * 11 + .5 * 30 */
    assert_true(kvs_plan_cost(&p, &load, &eval) == 91);
    assert_true(kvs_plan_eval(&p, &all, NULL, &eval));
    /* full 6 once (the last layer computes no more than K and V), post 10, head 1: T = 17; a pass,
     * and that layer's more */
    assert_true(kvs_plan_cost(&p, &all, &eval) == 1.5 * (17 + 110) + 2 * (17 + 110));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_prices_it_is_the_optimum),
        cmocka_unit_test(no_other_policy_costs_less_at_any_price),
        cmocka_unit_test(a_dear_gpu_is_spared_and_a_dear_link_too),
        cmocka_unit_test(the_cost_is_t_and_what_others_pay),
    };
    return cmocka_run_group_tests_name("online", tests, NULL, NULL);
}
