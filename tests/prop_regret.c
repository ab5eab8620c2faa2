/* Never worse: truths drawn inside the box of error bars, met by scaled tables and kvs_plan_eval.
 */
#include "test.h"

#include "plan/corner.h"
#include "plan/regret.h"
#include "plan_random.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { N_FACTOR = KVS_MAX_ROUTE + 3 };

static int64_t *scaled(struct kvs_arena *arena, const int64_t *from, uint32_t n, double factor)
{
    int64_t *to = kvs_arena_alloc(arena, n, sizeof *to);

    assert_non_null(to);
    for (uint32_t i = 0; i < n; i++)
        to[i] = (int64_t)((double)from[i] * factor + .5);
    return to;
}

/* Decoding on the compute engine has a factor of its own. */
static int64_t *post_at(struct kvs_arena *arena, const struct kvs_layer_cost *c, uint32_t n,
                        double compute, double gpu_decode)
{
    int64_t *to = kvs_arena_alloc(arena, n, sizeof *to);

    assert_non_null(to);
    for (uint32_t i = 0; i < n; i++) {
        double decode = c->gpu_decode_ns ? (double)c->gpu_decode_ns[i] : 0;

        to[i] = (int64_t)(((double)c->post_ns[i] - decode) * compute + decode * gpu_decode + .5);
    }
    return to;
}

/* A part of what waits in each layer is decoding. */
static void add_gpu_decode(struct kvs_arena *arena, struct kvs_rng *rng, struct kvs_plan_problem *p)
{
    const struct kvs_layer_cost **layer = kvs_arena_alloc(arena, p->n_layer, sizeof(void *));

    assert_non_null(layer);
    for (uint32_t l = 0; l < p->n_layer; l++) {
        struct kvs_layer_cost *c = kvs_arena_alloc(arena, 1, sizeof *c);

        assert_non_null(c);
        *c = *p->layer[l];
        c->gpu_decode_ns =
            scaled(arena, c->post_ns, p->n_frac * p->n_level, .9 * kvs_rng_unit(rng));
        layer[l] = c;
    }
    p->layer = layer;
}

/* The problem as it is at a truth. */
static struct kvs_plan_problem truth_of(struct kvs_arena *arena, const struct kvs_plan_problem *p,
                                        const double factor[N_FACTOR])
{
    double compute = factor[KVS_MAX_ROUTE + 1];
    uint32_t n_cell = p->n_frac * p->n_level;
    const struct kvs_layer_cost **layer = kvs_arena_alloc(arena, p->n_layer, sizeof(void *));
    struct kvs_plan_problem truth = *p;

    assert_non_null(layer);
    for (uint32_t l = 0; l < p->n_layer; l++) {
        struct kvs_layer_cost *c = kvs_arena_alloc(arena, 1, sizeof *c);

        assert_non_null(c);
        *c = *p->layer[l];
        for (uint32_t k = 0; k < p->n_route; k++)
            c->io_ns[k] = scaled(arena, c->io_ns[k], n_cell, factor[k]);
        c->decode_ns = scaled(arena, c->decode_ns, n_cell, factor[KVS_MAX_ROUTE]);
        c->post_ns = post_at(arena, c, n_cell, compute, factor[KVS_MAX_ROUTE + 2]);
        c->full_ns = scaled(arena, c->full_ns, p->n_frac, compute);
        c->kv_ns = scaled(arena, c->kv_ns, p->n_frac, compute);
        c->wfull_ns = scaled(arena, c->wfull_ns, p->n_frac, compute);
        c->wkv_ns = scaled(arena, c->wkv_ns, p->n_frac, compute);
        layer[l] = c;
    }
    truth.layer = layer;
    for (uint32_t k = 0; k < p->n_route; k++)
        truth.io_start_ns[k] = (int64_t)((double)p->io_start_ns[k] * factor[k] + .5);
    truth.gpu_start_ns = (int64_t)((double)p->gpu_start_ns * compute + .5);
    truth.head_ns = (int64_t)((double)p->head_ns * compute + .5);
    return truth;
}

/* A corner, half of the time; else anywhere in the box. */
static void draw(struct kvs_rng *rng, const struct kvs_plan_error *error, double factor[N_FACTOR])
{
    bool corner = kvs_rng_below(rng, 2) == 0;

    for (int f = 0; f < N_FACTOR; f++) {
        double e = f == KVS_MAX_ROUTE       ? error->decode
                   : f == KVS_MAX_ROUTE + 1 ? error->compute
                   : f == KVS_MAX_ROUTE + 2 ? error->gpu_decode
                                            : error->route[f];
        double at = corner ? (double)kvs_rng_below(rng, 2) : kvs_rng_unit(rng);

        factor[f] = pow(1 + e, 2 * at - 1);
    }
}

static struct kvs_plan_problem *make(struct kvs_arena *arena, uint64_t seed, struct kvs_plan *plan)
{
    struct kvs_rng rng = kvs_rng_stream(seed, "regret");
    uint32_t n_layer = 1 + (uint32_t)kvs_rng_below(&rng, 32);
    struct kvs_plan_problem *p =
        plan_random(arena, &rng, seed % 3 ? PLAN_REALISTIC : PLAN_ADVERSARIAL, n_layer,
                    2 + (uint32_t)kvs_rng_below(&rng, 8), 1 + (uint32_t)kvs_rng_below(&rng, 4));

    for (uint32_t k = 0; k < p->n_route; k++)
        p->error.route[k] = .4 * kvs_rng_unit(&rng);
    p->error.decode = .3 * kvs_rng_unit(&rng);
    p->error.compute = .3 * kvs_rng_unit(&rng);
    if (seed % 4 < 2) {
        p->error.gpu_decode = .6 * kvs_rng_unit(&rng);
        add_gpu_decode(arena, &rng, p);
    }
    plan_random_plan(&rng, p, plan);
    return p;
}

static int64_t end_of(const struct kvs_plan_problem *p, const struct kvs_plan *plan)
{
    struct kvs_plan_eval e;

    assert_true(kvs_plan_eval(p, plan, NULL, &e));
    return e.end_ns;
}

/* true: within the budget. */
static bool the_plan_that_loads_all(const struct kvs_plan_problem *p, struct kvs_plan *load)
{
    struct kvs_corner_pick pick = {0};
    struct kvs_plan_eval e;

    kvs_corner_flat(p, 0, 0, &pick);
    kvs_corner_plan(p, &pick, load, &e);
    return e.distortion <= p->budget;
}

/* 10,000 truths of the optimum, where the rule takes it, and as many of plans of any kind. */
static void no_truth_in_the_box_regrets_more_than_the_bound(void **state)
{
    struct kvs_plan_scratch *scratch = kvs_plan_scratch_new();
    uint32_t n_truth = 0, n_taken = 0, n_refused = 0, n_barred = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= 500; seed++) {
        struct kvs_arena *arena = kvs_arena_new();
        struct kvs_plan plan, load, all = {{0}, {0}};
        struct kvs_plan_problem *p = make(arena, seed, &plan);
        struct kvs_rng rng = kvs_rng_stream(seed, "truths");
        struct kvs_regret regret;
        bool rule = seed % 2, taken = false;
        int64_t limit_ns = 0;

        memset(all.frac_i, (int)p->n_frac - 1, sizeof all.frac_i);
        bool may_load = the_plan_that_loads_all(p, &load);
        if (rule) {
            struct kvs_plan_eval e;
            int64_t bound;

            n_barred += !may_load;
            if (!may_load) /* it is nothing to lose against */
                load = all;

            assert_int_equal(kvs_planner_find("optimal")->plan(p, scratch, &plan, &e, &bound, NULL),
                             KVS_OK);
            taken = kvs_never_worse(p, &plan, &e, &regret);
            limit_ns = (int64_t)(KVS_REGRET_FRAC * (double)e.end_ns);
            n_taken += taken;
            n_refused += !taken;
        } else {
            kvs_regret(p, &plan, &load, 0, &regret);
        }
        for (int n = 0; n < 40 && (taken || !rule); n++) {
            double factor[N_FACTOR], rounding = 8. * p->n_layer + 8, is;
            struct kvs_plan_problem truth;
            int64_t load_ns, all_ns;

            draw(&rng, &p->error, factor);
            truth = truth_of(arena, p, factor);
            load_ns = end_of(&truth, &load);
            all_ns = end_of(&truth, &all);
            is = (double)(end_of(&truth, &plan) - (load_ns < all_ns ? load_ns : all_ns));
            if (is > regret.most_ns + rounding || (taken && is > (double)limit_ns + rounding))
                fail_msg("seed %d: %g ns worse, not %g", (int)seed, is, regret.most_ns);
            n_truth++;
        }
        assert_true(regret.most_ns >= regret.corner_ns - 1);
        kvs_arena_free(arena);
    }
    assert_true(n_truth >= 10000 && n_taken > 50 && n_refused > 10 && n_barred > 10);
    kvs_plan_scratch_free(scratch);
}

static bool holds(const struct kvs_plan_problem *p, const struct kvs_plan *plan,
                  struct kvs_plan_eval *e)
{
    struct kvs_plan one = *plan;
    struct kvs_regret regret;

    assert_true(kvs_plan_eval(p, plan, NULL, e));
    return e->distortion <= p->budget && kvs_never_worse(p, &one, e, &regret);
}

/* 10,000 truths of what careful takes; and no policy whose own regret holds is faster. */
static void careful_is_no_slower_than_any_policy_that_can_not_lose(void **state)
{
    struct kvs_plan_scratch *scratch = kvs_plan_scratch_new();
    uint32_t n_truth = 0, n_other = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= 260; seed++) {
        struct kvs_arena *arena = kvs_arena_new();
        struct kvs_plan plan, load, one, all = {{0}, {0}};
        struct kvs_plan_problem *p = make(arena, seed, &plan);
        struct kvs_rng rng = kvs_rng_stream(seed, "careful truths");
        struct kvs_plan_eval e, other;
        int64_t bound;

        assert_int_equal(kvs_planner_find("careful")->plan(p, scratch, &plan, &e, &bound, NULL),
                         KVS_OK);
        memset(all.frac_i, (int)p->n_frac - 1, sizeof all.frac_i);
        bool may_load = the_plan_that_loads_all(p, &load);
        if (!may_load)
            load = all;
        for (int i = 0; kvs_planner_list[i]; i++) {
            struct kvs_plan_eval own;

            if (strcmp(kvs_planner_list[i]->name, "exact") == 0)
                continue;
            assert_int_equal(kvs_planner_list[i]->plan(p, scratch, &one, &own, &bound, NULL),
                             KVS_OK);
            if (holds(p, &one, &other) && other.end_ns < e.end_ns)
                fail_msg("seed %d: %s takes %lld, careful %lld", (int)seed,
                         kvs_planner_list[i]->name, (long long)other.end_ns, (long long)e.end_ns);
        }
        kvs_planner_find("optimal")->plan(p, scratch, &one, &other, &bound, NULL);
        n_other += memcmp(&one, &plan, sizeof one) != 0 && memcmp(&plan, &load, sizeof load) != 0;
        for (int n = 0; n < 40 && e.distortion <= p->budget; n++, n_truth++) {
            double factor[N_FACTOR], rounding = 8. * p->n_layer + 8;

            draw(&rng, &p->error, factor);
            struct kvs_plan_problem truth = truth_of(arena, p, factor);
            int64_t load_ns = end_of(&truth, &load), all_ns = end_of(&truth, &all);
            double is = (double)(end_of(&truth, &plan) - (load_ns < all_ns ? load_ns : all_ns));

            if (memcmp(plan.frac_i, load.frac_i, p->n_layer) != 0 &&
                memcmp(plan.frac_i, all.frac_i, p->n_layer) != 0 &&
                is > KVS_REGRET_FRAC * (double)e.end_ns + rounding)
                fail_msg("seed %d: %g ns worse than the better end", (int)seed, is);
        }
        kvs_arena_free(arena);
    }
    assert_true(n_truth >= 10000 && n_other > 10);
    kvs_plan_scratch_free(scratch);
}

/* The problem at a corner is what the truths of the box have there, to the rounding. */
static void a_corner_is_a_truth(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct kvs_arena *arena = kvs_arena_new();
        struct kvs_plan plan;
        struct kvs_plan_problem *p = make(arena, seed, &plan);
        struct kvs_rng rng = kvs_rng_stream(seed, "corners");
        uint32_t corner = (uint32_t)kvs_rng_below(&rng, 1u << N_FACTOR);
        double factor[N_FACTOR];

        for (uint32_t f = 0; f < N_FACTOR; f++) {
            double e = f == KVS_CORNER_DECODE       ? p->error.decode
                       : f == KVS_CORNER_COMPUTE    ? p->error.compute
                       : f == KVS_CORNER_GPU_DECODE ? p->error.gpu_decode
                                                    : p->error.route[f];

            factor[f] = corner >> f & 1 ? 1 + e : 1 / (1 + e);
        }
        struct kvs_plan_problem truth = truth_of(arena, p, factor);
        struct kvs_plan_problem *at = kvs_regret_truth(p, corner);
        assert_non_null(at);
        assert_true(llabs(end_of(at, &plan) - end_of(&truth, &plan)) <= 8 * p->n_layer + 8);
        free(at);
        kvs_arena_free(arena);
    }
}

/* Of route time s: load-all takes max(8, 10 s), the plan 4 + 6 s. At s = 1/2 and at s = 2 the plan
 * is faster by 1 and by 4; at s = .8 it is slower by .8. */
static void a_regret_inside_the_box_is_found(void **state)
{
    static const int64_t io[2][3] = {{0, 0, 0}, {10000, 6000, 0}}, none[3] = {0};
    static const int64_t post[2][3] = {{8000, 0, 16000}, {0, 4000, 16000}};
    static const double frac[] = {0, .5, 1};
    struct kvs_layer_cost cost[2] = {{{io[0]}, none, post[0], none, none, none, none, none, NULL},
                                     {{io[1]}, none, post[1], none, none, none, none, none, NULL}};
    const struct kvs_layer_cost *layer[] = {&cost[0], &cost[1]};
    struct kvs_plan_problem p = {.n_layer = 2,
                                 .n_frac = 3,
                                 .n_level = 1,
                                 .n_route = 1,
                                 .frac = frac,
                                 .layer = layer,
                                 .error = {.route = {1}}};
    struct kvs_plan plan = {{1, 1}, {0}}, load = {{0}, {0}};
    struct kvs_regret regret;

    (void)state;
    kvs_regret(&p, &plan, &load, 801, &regret);
    assert_true(fabs(regret.corner_ns + 1000) < 1e-6);
    assert_true(regret.most_ns >= 800 && regret.most_ns < 850);
}

static void without_error_bars_the_regret_is_the_difference(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 100; seed++) {
        struct kvs_arena *arena = kvs_arena_new();
        struct kvs_plan plan, load, all = {{0}, {0}};
        struct kvs_plan_problem *p = make(arena, seed, &plan);
        struct kvs_regret regret;
        int64_t load_ns, all_ns, less;

        memset(all.frac_i, (int)p->n_frac - 1, sizeof all.frac_i);
        memset(&p->error, 0, sizeof p->error);
        for (uint32_t k = 0; k < p->n_route; k++)
            p->io_start_ns[k] = 0; /* recompute-all waits for no route */
        the_plan_that_loads_all(p, &load);
        kvs_regret(p, &plan, &load, 0, &regret);
        load_ns = end_of(p, &load);
        all_ns = end_of(p, &all);
        less = load_ns < all_ns ? load_ns : all_ns;
        if (seed % 3) /* of random costs, even recompute-all waits for loads */
            assert_true(fabs(regret.most_ns - (double)(end_of(p, &plan) - less)) < 1);
        kvs_arena_free(arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_truth_in_the_box_regrets_more_than_the_bound),
        cmocka_unit_test(careful_is_no_slower_than_any_policy_that_can_not_lose),
        cmocka_unit_test(a_corner_is_a_truth),
        cmocka_unit_test(a_regret_inside_the_box_is_found),
        cmocka_unit_test(without_error_bars_the_regret_is_the_difference),
    };
    return cmocka_run_group_tests_name("regret", tests, NULL, NULL);
}
