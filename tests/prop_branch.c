/* Properties of branch and bound over staircases: proofs by cases, walks in a box, the whole. */
#include "test.h"

#include "plan/optimal.h"
#include "plan_random.h"

#include <math.h>
#include <stdlib.h>

/* 3 layers, 3 fractions, 2 levels: small enough to try all. */
enum { N_SMALL = 6 * 6 * 6 };

static bool small_plan(const struct kvs_plan_problem *p, uint32_t n, struct kvs_plan *plan,
                       struct kvs_plan_eval *e)
{
    uint32_t a = n % 6, b = n / 6 % 6, d = n / 36;

    *plan = (struct kvs_plan){{(uint8_t)(a / 2), (uint8_t)(b / 2), (uint8_t)(d / 2)},
                              {a % 2, b % 2, d % 2}};
    return kvs_plan_eval(p, plan, NULL, e);
}

static struct kvs_plan_problem *make(struct kvs_arena *arena, struct kvs_rng *rng, uint64_t seed,
                                     uint32_t n_layer, uint32_t n_frac, uint32_t n_level)
{
    return plan_random(arena, rng, seed % 2 ? PLAN_REALISTIC : PLAN_ADVERSARIAL, n_layer, n_frac,
                       n_level);
}

static void random_certificate(struct kvs_rng *rng, const struct kvs_plan_problem *p,
                               double price_ns, struct kvs_certificate *c)
{
    c->n_path = 1 + (uint32_t)kvs_rng_below(rng, 5);
    for (uint32_t n = 0; n < c->n_path; n++) {
        struct kvs_path *path = &c->path[n];

        path->all_work = kvs_rng_below(rng, 4) == 0;
        path->route = (uint32_t)kvs_rng_below(rng, p->n_route + 1);
        path->compute = (uint32_t)kvs_rng_below(rng, p->n_layer);
        path->enter =
            path->route == p->n_route ? 0 : (uint32_t)kvs_rng_below(rng, path->compute + 1);
        c->weight[n] = 1e-3 + kvs_rng_unit(rng);
    }
    c->price_ns = kvs_rng_below(rng, 2) ? 0 : kvs_rng_exp(rng, price_ns);
}

/* A tree of random splits, empty halves among them; each leaf has a certificate of the list. */
static uint32_t random_tree(struct kvs_rng *rng, const struct kvs_plan_problem *p,
                            const struct kvs_certificate *certificate, uint32_t n_certificate,
                            struct kvs_case *node)
{
    uint32_t n_split = (uint32_t)kvs_rng_below(rng, 8), n_node = 1;

    node[0].is_split = false;
    for (uint32_t n = 0; n < n_split; n++) {
        uint32_t at = (uint32_t)kvs_rng_below(rng, n_node);

        while (node[at].is_split)
            at = kvs_rng_below(rng, 2) ? node[at].below : node[at].above;
        node[at] = (struct kvs_case){.is_split = true,
                                     .layer = (uint8_t)kvs_rng_below(rng, p->n_layer),
                                     .frac_i = (uint8_t)kvs_rng_below(rng, p->n_frac - 1),
                                     .below = n_node,
                                     .above = n_node + 1};
        node[n_node++].is_split = false;
        node[n_node++].is_split = false;
    }
    for (uint32_t n = 0; n < n_node; n++)
        node[n].certificate = &certificate[kvs_rng_below(rng, n_certificate)];
    return n_node;
}

static void cases_of_one_certificate_prove_what_it_proves_alone(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct kvs_arena *arena = kvs_arena_new();
        struct kvs_rng rng = kvs_rng_stream(seed, "one certificate");
        struct kvs_plan_problem *p = make(arena, &rng, seed, 12, 5, 3);
        struct kvs_certificate c = {.n_path = 0};
        struct kvs_case node[KVS_MAX_CASE];
        uint32_t n_node = random_tree(&rng, p, &c, 1, node);

        random_certificate(&rng, p, 1000, &c);
        assert_true(kvs_certify_cases(p, p->budget, node, n_node) == kvs_certify(p, p->budget, &c));
        kvs_arena_free(arena);
    }
}

static void no_cases_bound_above_the_optimum(void **state)
{
    struct kvs_plan_scratch *scratch = kvs_plan_scratch_new();

    (void)state;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct kvs_arena *arena = kvs_arena_new();
        struct kvs_rng rng = kvs_rng_stream(seed, "cases");
        struct kvs_plan_problem *p = make(arena, &rng, seed, 6, 4, 3);
        struct kvs_certificate c[4] = {{.n_path = 0}};
        struct kvs_case node[KVS_MAX_CASE];
        struct kvs_plan_eval e;
        struct kvs_plan plan;
        int64_t bound;

        assert_int_equal(kvs_planner_find("exact")->plan(p, scratch, &plan, &e, &bound, NULL),
                         KVS_OK);
        for (int turn = 0; turn < 20 && e.distortion <= p->budget; turn++) {
            for (int n = 0; n < 4; n++)
                random_certificate(&rng, p, (double)e.end_ns / 100, &c[n]);
            bound = kvs_certify_cases(p, p->budget, node, random_tree(&rng, p, c, 4, node));
            assert_true(bound <= e.end_ns);
        }
        kvs_arena_free(arena);
    }
    kvs_plan_scratch_free(scratch);
}

/* One split, all work on one side and the decoder's chain on the other, against all plans. */
static void each_case_is_bounded_by_its_own_staircases(void **state)
{
    struct kvs_certificate work = {.n_path = 1, .path = {{.all_work = true}}, .weight = {1}};

    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct kvs_arena *arena = kvs_arena_new();
        struct kvs_rng rng = kvs_rng_stream(seed, "split");
        struct kvs_plan_problem *p = make(arena, &rng, seed, 3, 3, 2);
        struct kvs_certificate chain = {
            .n_path = 1, .path = {{.route = p->n_route, .compute = 1}}, .weight = {1}};
        struct kvs_case node[3] = {{.is_split = true,
                                    .layer = (uint8_t)(seed % 3),
                                    .frac_i = (uint8_t)(seed / 3 % 2),
                                    .below = 2,
                                    .above = 1},
                                   {.certificate = seed % 2 ? &work : &chain},
                                   {.certificate = seed % 2 ? &chain : &work}};
        double least = HUGE_VAL;

        for (uint32_t n = 0; n < N_SMALL; n++) {
            struct kvs_plan plan;
            struct kvs_plan_eval e;
            struct kvs_sums sums;
            double own;

            if (!small_plan(p, n, &plan, &e))
                continue;
            kvs_sums_of(p, &plan, &sums);
            own = kvs_path_ns(p,
                              plan.frac_i[node[0].layer] <= node[0].frac_i
                                  ? &node[2].certificate->path[0]
                                  : &node[1].certificate->path[0],
                              &sums);
            least = fmin(least, own);
        }
        assert_true((double)kvs_certify_cases(p, 1000000000, node, 3) == least);
        kvs_arena_free(arena);
    }
}

static void a_walk_keeps_to_its_box(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 100; seed++) {
        struct kvs_arena *arena = kvs_arena_new();
        struct kvs_rng rng = kvs_rng_stream(seed, "box");
        struct kvs_plan_problem *p = make(arena, &rng, seed, 3, 3, 2);
        struct kvs_dual *dual = aligned_alloc(64, (kvs_dual_size(p) + 63) / 64 * 64);
        uint8_t i = (uint8_t)(1 + kvs_rng_below(&rng, 2));
        struct kvs_box box = {.low = {(uint8_t)(i - 1), 0, 0}, .high = {2, i, (uint8_t)(i - 1)}};
        struct kvs_path path = {.all_work = true};
        struct kvs_prices prices = {.pre = 0};
        struct kvs_plan found = {{0}, {0}}, plan;
        double least = HUGE_VAL, bound;

        assert_non_null(dual);
        kvs_dual_init(dual, p, INT64_MAX / 4);
        kvs_dual_keep_to(dual, &box);
        kvs_prices_add(p, &path, 1, &prices);
        bound = kvs_dual_walk(dual, &prices, &found);
        for (uint32_t n = 0; n < N_SMALL; n++) {
            struct kvs_plan_eval e;
            bool within = small_plan(p, n, &plan, &e);

            for (uint32_t l = 0; l < 3; l++)
                within &= plan.frac_i[l] >= box.low[l] && plan.frac_i[l] <= box.high[l];
            if (within)
                least = fmin(least, (double)(p->gpu_start_ns + e.pre_ns + e.wait_ns + p->head_ns));
        }
        assert_true(fabs(bound - least) <= 1e-9 * least);
        for (uint32_t l = 0; l < 3; l++)
            assert_true(found.frac_i[l] >= box.low[l] && found.frac_i[l] <= box.high[l]);
        free(dual);
        kvs_arena_free(arena);
    }
}

static void cases_raise_the_bound_and_never_above_the_plan(void **state)
{
    struct kvs_plan_scratch *scratch = kvs_plan_scratch_new();
    uint32_t n_tree = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct kvs_arena *arena = kvs_arena_new();
        struct kvs_rng rng = kvs_rng_stream(seed, "raise");
        struct kvs_plan_problem *p = make(arena, &rng, seed, 16, 6, 3);
        struct kvs_optimum optimum;
        struct kvs_plan_eval e;
        struct kvs_plan plan;
        int64_t bound, whole;

        assert_int_equal(kvs_optimize(p, scratch, 1e-3, &optimum, NULL), KVS_OK);
        kvs_optimum_take(p, &optimum, &plan, &e, &bound);
        whole = kvs_certify(p, p->budget, &optimum.relax->certificate);
        assert_true(bound >= whole && bound <= e.end_ns);
        if (bound > INT64_MIN) /* what doubles say of it is what integers prove */
            assert_true(fabs(optimum.bound_ns - (double)bound) <= 1e-6 * (double)bound + 2);
        n_tree += bound > whole;
        kvs_arena_free(arena);
    }
    assert_true(n_tree > 10);
    kvs_plan_scratch_free(scratch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cases_of_one_certificate_prove_what_it_proves_alone),
        cmocka_unit_test(no_cases_bound_above_the_optimum),
        cmocka_unit_test(each_case_is_bounded_by_its_own_staircases),
        cmocka_unit_test(a_walk_keeps_to_its_box),
        cmocka_unit_test(cases_raise_the_bound_and_never_above_the_plan),
    };
    return cmocka_run_group_tests_name("branch and bound", tests, NULL, NULL);
}
