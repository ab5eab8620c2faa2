/* The optimal and the exact planner against brute force, and against the shared optima. */
#include "test.h"

#include "plan/instance.h"
#include "plan_random.h"

#include <string.h>

/* Every staircase with every choice of levels, by the evaluation alone; layer l and deeper. */
static void brute(const struct kvs_plan_problem *p, struct kvs_plan *plan, uint32_t l,
                  int64_t *best, int64_t *least)
{
    bool rises = l == 0 || (p->state_at && p->state_at[l]);
    uint32_t top = rises ? p->n_frac - 1 : plan->frac_i[l - 1];
    struct kvs_plan_eval e;

    if (l == p->n_layer) {
        assert_true(kvs_plan_eval(p, plan, NULL, &e));
        if (e.distortion <= p->budget && e.end_ns < *best)
            *best = e.end_ns;
        if (e.distortion < *least)
            *least = e.distortion;
        return;
    }
    for (uint32_t i = 0; i <= top; i++) {
        for (uint32_t q = 0; q < p->n_level; q++) {
            plan->frac_i[l] = (uint8_t)i;
            plan->level[l] = (uint8_t)q;
            brute(p, plan, l + 1, best, least);
        }
    }
}

static void run(const char *name, const struct kvs_plan_problem *p,
                struct kvs_plan_scratch *scratch, struct kvs_plan_eval *e, int64_t *bound)
{
    struct kvs_plan plan;
    struct kvs_plan_eval again;
    struct kvs_err err = {0};

    if (kvs_planner_find(name)->plan(p, scratch, &plan, e, bound, &err))
        fail_msg("%s: %s", name, err.msg);
    assert_true(kvs_plan_eval(p, &plan, NULL, &again));
    assert_memory_equal(e, &again, sizeof again);
}

static void check(const struct kvs_plan_problem *p, struct kvs_plan_scratch *scratch,
                  int64_t optimum, uint64_t seed, const char *name)
{
    struct kvs_plan_eval e;
    int64_t bound;

    run("exact", p, scratch, &e, &bound);
    if (e.end_ns != optimum || bound != optimum || e.distortion > p->budget)
        fail_msg("seed %d, %s: exact %lld, bound %lld, optimum %lld", (int)seed, name,
                 (long long)e.end_ns, (long long)bound, (long long)optimum);
    run("optimal", p, scratch, &e, &bound);
    if (e.end_ns < optimum || bound > optimum || e.distortion > p->budget || bound == INT64_MIN)
        fail_msg("seed %d, %s: optimal %lld, bound %lld, optimum %lld", (int)seed, name,
                 (long long)e.end_ns, (long long)bound, (long long)optimum);
}

static void planners_equal_brute_force_on_small_problems(void **state)
{
    struct kvs_plan_scratch *scratch = kvs_plan_scratch_new();
    uint32_t n_feasible = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= 800; seed++) {
        struct kvs_arena *arena = kvs_arena_new();
        struct kvs_rng rng = kvs_rng_stream(seed, "oracle");
        uint32_t n_layer = 1 + (uint32_t)kvs_rng_below(&rng, 4);
        uint32_t n_frac = 2 + (uint32_t)kvs_rng_below(&rng, 3);
        uint32_t n_level = 1 + (uint32_t)kvs_rng_below(&rng, 3);
        struct kvs_plan_problem *p = plan_random(
            arena, &rng, seed % 2 ? PLAN_REALISTIC : PLAN_ADVERSARIAL, n_layer, n_frac, n_level);
        int64_t best = INT64_MAX, least = INT64_MAX;
        struct kvs_plan plan = {{0}, {0}};

        if (seed % 5 == 0)
            plan_random_share(p);
        if (seed % 7 == 0)
            p->n_route = 0;
        brute(p, &plan, 0, &best, &least);
        if (least <= p->budget) {
            n_feasible++;
            check(p, scratch, best, seed, "random");
        }
        kvs_arena_free(arena);
    }
    assert_true(n_feasible > 700);
    kvs_plan_scratch_free(scratch);
}

/* The same where fractions may rise; and restart points never make the optimum slower. */
static void planners_equal_brute_force_with_restart_points(void **state)
{
    struct kvs_plan_scratch *scratch = kvs_plan_scratch_new();
    uint32_t n_feasible = 0, n_faster = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= 800; seed++) {
        struct kvs_arena *arena = kvs_arena_new();
        struct kvs_rng rng = kvs_rng_stream(seed, "restart");
        uint32_t n_layer = 2 + (uint32_t)kvs_rng_below(&rng, 3);
        uint32_t n_frac = 2 + (uint32_t)kvs_rng_below(&rng, 2);
        uint32_t n_level = 1 + (uint32_t)kvs_rng_below(&rng, 2);
        struct kvs_plan_problem *p = plan_random(
            arena, &rng, seed % 2 ? PLAN_REALISTIC : PLAN_ADVERSARIAL, n_layer, n_frac, n_level);
        int64_t best = INT64_MAX, plain = INT64_MAX, least = INT64_MAX;
        struct kvs_plan plan = {{0}, {0}};

        if (seed % 5 == 0)
            plan_random_share(p);
        brute(p, &plan, 0, &plain, &least);
        plan_random_states(arena, &rng, p, 2);
        if (seed % 7 == 0)
            p->n_route = 0;
        least = INT64_MAX;
        brute(p, &plan, 0, &best, &least);
        if (least <= p->budget) {
            n_feasible++;
            n_faster += best < plain;
            check(p, scratch, best, seed, "restart points");
        }
        kvs_arena_free(arena);
    }
    assert_true(n_feasible > 600);
    assert_true(n_faster > 100);
    kvs_plan_scratch_free(scratch);
}

static void without_a_feasible_plan_distortion_is_least(void **state)
{
    struct kvs_plan_scratch *scratch = kvs_plan_scratch_new();

    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct kvs_arena *arena = kvs_arena_new();
        struct kvs_rng rng = kvs_rng_stream(seed, "infeasible");
        struct kvs_plan_problem *p = plan_random(arena, &rng, PLAN_ADVERSARIAL, 3, 3, 3);
        int64_t best = INT64_MAX, least = INT64_MAX, bound;
        struct kvs_plan plan = {{0}, {0}};
        struct kvs_plan_eval e;

        p->budget = INT64_MIN / 4;
        brute(p, &plan, 0, &best, &least);
        p->budget = least - 1;
        run("optimal", p, scratch, &e, &bound);
        assert_int_equal(e.distortion, least);
        assert_int_equal(bound, INT64_MIN);
        run("exact", p, scratch, &e, &bound);
        assert_int_equal(e.distortion, least);
        assert_int_equal(bound, INT64_MIN);
        kvs_arena_free(arena);
    }
    kvs_plan_scratch_free(scratch);
}

static void planners_meet_the_shared_optima(void **state)
{
    const char *file = kvs_shared("golden/plans.json");
    struct kvs_plan_scratch *scratch;
    struct kvs_plan_set *set;
    struct kvs_err err = {0};

    (void)state;
    if (!file)
        KVS_SKIP("no shared golden/plans.json");
    if (kvs_plan_set_open(file, &set, &err))
        fail_msg("%s", err.msg);
    scratch = kvs_plan_scratch_new();
    for (size_t n = 0; n < kvs_plan_set_n(set); n++) {
        const struct kvs_plan_instance *in = kvs_plan_set_at(set, n);

        check(&in->problem, scratch, in->optimum_ns, n, in->name);
    }
    kvs_plan_scratch_free(scratch);
    kvs_plan_set_free(set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(planners_equal_brute_force_on_small_problems),
        cmocka_unit_test(planners_equal_brute_force_with_restart_points),
        cmocka_unit_test(without_a_feasible_plan_distortion_is_least),
        cmocka_unit_test(planners_meet_the_shared_optima),
    };
    return cmocka_run_group_tests_name("plan oracle", tests, NULL, NULL);
}
