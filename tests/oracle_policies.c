/* Each static policy equals the enumeration of its whole family, by the evaluation alone. */
#include "test.h"

#include "plan_random.h"

#include <string.h>

struct found {
    int64_t over, end_ns;
};

static void try_plan(const struct kvs_plan_problem *p, uint32_t below, uint32_t cut, uint32_t above,
                     uint32_t q, struct found *found)
{
    struct kvs_plan plan;
    struct kvs_plan_eval e;
    int64_t over;

    memset(&plan, 0, sizeof plan);
    for (uint32_t l = 0; l < p->n_layer; l++) {
        plan.frac_i[l] = (uint8_t)(l < cut ? below : above);
        plan.level[l] = (uint8_t)q;
    }
    assert_true(kvs_plan_eval(p, &plan, NULL, &e));
    over = e.distortion > p->budget ? e.distortion - p->budget : 0;
    if (over < found->over || (over == found->over && e.end_ns < found->end_ns))
        *found = (struct found){over, e.end_ns};
}

static struct found enumerate(const struct kvs_plan_problem *p, bool recompute, bool load,
                              bool token, bool layer)
{
    struct found found = {INT64_MAX, INT64_MAX};
    uint32_t last = p->n_frac - 1;

    for (uint32_t q = 0; q < p->n_level; q++) {
        if (recompute)
            try_plan(p, last, 0, last, q, &found);
        if (load)
            try_plan(p, 0, 0, 0, q, &found);
        for (uint32_t i = 0; token && i <= last; i++)
            try_plan(p, i, 0, i, q, &found);
        for (uint32_t cut = 0; layer && cut <= p->n_layer; cut++)
            try_plan(p, last, cut, 0, q, &found);
    }
    return found;
}

static void check(const struct kvs_plan_problem *p, const char *name, struct found want)
{
    struct kvs_plan plan;
    struct kvs_plan_eval e, again;
    int64_t bound = 0;
    const struct kvs_planner_ops *ops = kvs_planner_find(name);

    assert_non_null(ops);
    assert_int_equal(ops->plan(p, NULL, &plan, &e, &bound, NULL), KVS_OK);
    assert_true(kvs_plan_eval(p, &plan, NULL, &again));
    assert_memory_equal(&e, &again, sizeof e);
    assert_int_equal(e.end_ns, want.end_ns);
    assert_int_equal(e.distortion > p->budget ? e.distortion - p->budget : 0, want.over);
}

static void policies_equal_enumeration(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 600; seed++) {
        struct kvs_arena *arena = kvs_arena_new();
        struct kvs_rng rng = kvs_rng_stream(seed, "policies");
        uint32_t n_layer = 1 + (uint32_t)kvs_rng_below(&rng, seed % 20 ? 12 : 80);
        uint32_t n_frac = 2 + (uint32_t)kvs_rng_below(&rng, 8);
        uint32_t n_level = 1 + (uint32_t)kvs_rng_below(&rng, 4);
        struct kvs_plan_problem *p = plan_random(
            arena, &rng, seed % 2 ? PLAN_REALISTIC : PLAN_ADVERSARIAL, n_layer, n_frac, n_level);

        if (seed % 3 == 0)
            plan_random_share(p);
        if (seed % 7 == 0)
            p->budget = (int64_t)kvs_rng_below(&rng, (uint64_t)p->budget / 8 + 1);
        if (seed % 11 == 0)
            p->n_route = 0;
        check(p, "recompute", enumerate(p, true, false, false, false));
        check(p, "load", enumerate(p, false, true, false, false));
        check(p, "token-split", enumerate(p, false, false, true, false));
        check(p, "layer-split", enumerate(p, false, false, false, true));
        check(p, "best", enumerate(p, true, true, true, true));
        kvs_arena_free(arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(policies_equal_enumeration),
    };
    return cmocka_run_group_tests_name("policies", tests, NULL, NULL);
}
